"""Who is who: names, words to compare, and the list of members (SPEC sections 4.2 and 7.4)."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from client.catalogs import (
    People,
    expect_all,
    name_of,
    person_row,
    read_names,
    read_people,
    seal_rows,
)
from client.drawn import alike
from client.errors import InputError, Refused
from client.planned import beyond_planner, planner_of
from client.remembered import Remembered
from client.results.people import MemberInfo
from client.session import ATTEMPTS, Session, saying
from client.words import compare_words, pair_words
from protocol import acts
from protocol.acts import Rule
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD
from protocol.ledger.parties import InviteState, Member, Party
from protocol.ledger.state import State

PEOPLE: Final = (PEOPLE_COLLECTION, PEOPLE_FIELD)
_PREFIX_LEAST: Final = 6


async def write_person(session: Session, party: bytes, name: str, **more: str | None) -> None:
    """Commit a name to the people catalog, with a new epoch first if the old takes no more."""
    for attempt in range(ATTEMPTS):
        await session.ensure_writable([PEOPLE])
        address = session.writable(*PEOPLE)
        sealed = seal_rows(session, address, [person_row(party, name, **more)])
        upload = secrets.token_bytes(16)
        payload = acts.Commit(upload, PEOPLE_COLLECTION, 0, True, (sealed.manifest,))
        try:
            await session.transport.stage(
                session.vault_id, upload, sealed.manifest.batch_id, sealed.body()
            )
            await session.act(saying(payload))
        except Refused:
            # Somebody who knew that key was removed meanwhile: seal it anew under the next.
            await session.sync()
            epoch = session.state.epoch(address)
            if epoch is None or not epoch.tainted or attempt == ATTEMPTS - 1:
                raise
        else:
            return


async def find_party(
    session: Session, text: str, *, removed: bool = False, members_first: bool = False
) -> Party:
    """Find a member or an open invite by name, id, or an unambiguous prefix of id or words.

    A name is what it is called, or what it was called when its words were compared here. With
    `removed`, a member who was removed is found where nobody else fits; with `members_first`, an
    invite of a member's name stands in nobody's way.

    Raises:
        InputError: nobody, or several; or the name is by now another's than it was when words
            were compared.
        Refused: not every name is here, and it is no id.
    """
    known = Names(session.state, await read_people(session), _compared_as(session))
    wanted = text.strip().lower()
    live: list[Party] = list(session.state.parties())
    # Names are given by admins: one that is another's id, or begins like it, must not win.
    found = [p for p in live if p.id.hex() == wanted]
    begun: list[Party] = []
    if not found:
        expect_all(known.people.missing)
        begun = [p for p in live if len(wanted) >= _PREFIX_LEAST and _starts(session, p, wanted)]
        named = [p for p in live if known.is_called(p, text) or known.was_compared_as(p, text)]
        found = [*named, *(p for p in begun if p not in named)]
    if members_first and any(isinstance(each, Member) for each in found):
        found = [each for each in found if isinstance(each, Member)]
    if removed and not found:
        gone = [each for each in session.state.members.values() if not each.live]
        found = [p for p in gone if p.id.hex() == wanted or known.is_called(p, text)]
    if len(found) != 1:
        how = "nobody here" if not found else "several members here"
        if any(known.was_compared_as(each, text) for each in found):
            how += ": one was called so when you compared words"
        raise InputError(
            f"{text!r} names {how}",
            hint="'sealroom members' lists names, ids and words; "
            f"{_PREFIX_LEAST} characters of an id or of words are enough.",
        )
    (party,) = found
    before = known.compared_as(party)
    by_name = party.id.hex() != wanted and party not in begun
    if by_name and before is not None and alike(before) != alike(text):
        raise InputError(
            f"whoever is called {text!r} now was called {before!r} when you compared words",
            hint="Names are others' to change: ask whose words they are, and name it by its id, "
            "which 'sealroom members' lists.",
        )
    return party


async def find_member(session: Session, text: str, *, removed: bool = False) -> Member:
    """Find a live member, or on request a removed one; raises as `find_party`."""
    party = await find_party(session, text, removed=removed, members_first=True)
    if not isinstance(party, Member):
        raise InputError(f"{text!r} is an invite that nobody has used yet")
    return party


def _starts(session: Session, party: Party, wanted: str) -> bool:
    """Say whether a party's id, or the words to compare with it, begin so."""
    if party.id.hex().startswith(wanted):
        return True
    me = session.identity.member_id
    return party.id != me and words_with(session, party.id).startswith(wanted)


def words_with(session: Session, other: bytes) -> str:
    """Return the twelve words that this member and another compare (SPEC section 4.2)."""
    return pair_words(session.vault_id, session.identity.member_id, other)


async def remember_words(session: Session, other: bytes, given: str | None, yes: bool) -> bool:
    """Compare words, or take the user's yes for having done so; say whether that is now known.

    It is known of an id, whatever it is called: for what goes to an id that nobody names.

    Raises:
        PinMismatch: the words differ: somebody sits between.
    """
    if given is not None:
        compare_words(words_with(session, other), given)
    if given is not None or yes:
        people = await read_people(session)
        name = None if people.missing else name_of(session.state, people, other)
        Remembered(session.store, session.identity).mark(other, name)
    return other in session.store.compared()


async def lacks_comparison(
    session: Session, other: bytes, given: str | None, yes: bool
) -> str | None:
    """Do as `remember_words` for what is done to somebody by name; None if all is well.

    Else what is to be said of the twelve words: that they were never compared, or not under the
    name that the id goes by now. Others give that name, and can change it.

    Raises:
        PinMismatch: the words differ.
    """
    if not await remember_words(session, other, given, yes):
        return "were never compared"
    name = name_of(session.state, await read_people(session), other)
    before = _compared_as(session).get(other)
    if name is None or (before is not None and alike(before) == alike(name)):
        return None
    if before is None:
        return f"were compared when its name was not kept, and it is called {name!r} now"
    return f"were compared as {before!r}, and it is called {name!r} now"


def _compared_as(session: Session) -> dict[bytes, str]:
    return Remembered(session.store, session.identity).names()


@dataclass(frozen=True, slots=True)
class Names:
    """What parties are called, and what they were called when words were compared here."""

    state: State
    people: People
    compared: Mapping[bytes, str]

    def is_called(self, party: Party, text: str) -> bool:
        """Say whether a party goes by a name, as far as anybody could tell it from another."""
        return self._is(name_of(self.state, self.people, party.id), text)

    def compared_as(self, party: Party) -> str | None:
        """Return the name under which a party's words were compared, or its predecessor's."""
        ids = self.state.lineage(party.id)
        return next((self.compared[each] for each in ids if each in self.compared), None)

    def was_compared_as(self, party: Party, text: str) -> bool:
        """Say whether that was this name."""
        return self._is(self.compared_as(party), text)

    def name_or_id(self, party: Party) -> str:
        """Return what a party is called, or the beginning of its id where no name is known."""
        return name_of(self.state, self.people, party.id) or party.id.hex()[:16]

    def _is(self, name: str | None, text: str) -> bool:
        return name is not None and alike(name) == alike(text) != ""


async def list_members(session: Session) -> tuple[MemberInfo, ...]:
    """List members and open invites, with what this member may know of them."""
    everyone: list[Party] = list(session.state.members.values())
    everyone += [each for each in session.state.invites.values() if each.live]
    return await describe(session, everyone)


async def describe(session: Session, parties: Sequence[Party]) -> tuple[MemberInfo, ...]:
    """Say what this member may know of some members and invites."""
    state = session.state
    known = Names(state, await read_people(session), _compared_as(session))
    labels = await collection_labels(session)
    me, compared = session.identity.member_id, session.store.compared()

    def described(party: Party) -> MemberInfo:
        name = name_of(state, known.people, party.id)
        before = known.compared.get(party.id)
        same = name is None or (before is not None and alike(before) == alike(name))
        planner = planner_of(state, party) if party.planned else None
        return MemberInfo(
            member_id=party.id.hex(),
            name=name,
            role=party.role.value,
            status="invited" if isinstance(party, InviteState) else party.status.value,
            me=party.id == me,
            grants=tuple(rule_text(rule, labels) for rule in party.rules),
            planned=tuple(rule_text(rule, labels) for rule in party.planned),
            words=None
            if party.id == me or isinstance(party, InviteState)
            else words_with(session, party.id),
            compared=party.id in compared and same,
            compared_as=None if same else before,
            planned_by=None if planner is None else known.name_or_id(planner),
            beyond=tuple(each.name.lower() for each in beyond_planner(state, party)),
        )

    return tuple(described(each) for each in parties)


async def collection_labels(session: Session) -> dict[bytes, str]:
    """Return each collection's name, or a short id where this member may not know it.

    Of several with one name each has the short id too.
    """
    names = {
        collection: (await read_names(session, collection)).name
        for collection in session.state.collections
        if collection != PEOPLE_COLLECTION
    }
    many = Counter(names.values())
    labels = {}
    for collection, name in names.items():
        short = collection.hex()[:8]
        labels[collection] = short if not name else name if many[name] == 1 else f"{name} ({short})"
    return labels


def rule_text(rule: Rule, labels: dict[bytes, str]) -> str:
    """Return a rule in words."""
    where = "" if rule.collection is None else f" in {labels.get(rule.collection, '?')}"
    if rule.field is not None:
        return f"field {rule.field}{where}"
    assert rule.field_class is not None
    return f"{rule.field_class.name.lower()}{where}"
