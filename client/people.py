"""Who is who: names, words to compare, and the list of members (SPEC sections 4.2 and 7.4)."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import Final

from client.catalogs import expect_all, name_of, person_row, read_names, read_people, seal_rows
from client.errors import InputError, Refused
from client.results.people import MemberInfo
from client.session import ATTEMPTS, Session, saying
from client.words import compare_words, pair_words
from protocol import acts
from protocol.acts import Rule
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD
from protocol.ledger.parties import InviteState, Member, Party

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

    With `removed`, a member who was removed is found where nobody else fits; with
    `members_first`, an invite of a member's name stands in nobody's way.

    Raises:
        InputError: nobody, or several.
        Refused: not every name is here, and it is no id.
    """
    people = await read_people(session)
    wanted = text.strip().lower()
    live: list[Party] = list(session.state.parties())
    # Names are given by admins: one that is another's id, or begins like it, must not win.
    found = [p for p in live if p.id.hex() == wanted]
    if not found:
        expect_all(people.missing)
        found = [
            p
            for p in live
            if (name_of(session.state, people, p.id) or "").lower() == wanted
            or (len(wanted) >= _PREFIX_LEAST and _starts(session, p, wanted))
        ]
    if members_first and any(isinstance(each, Member) for each in found):
        found = [each for each in found if isinstance(each, Member)]
    if removed and not found:
        gone = [each for each in session.state.members.values() if not each.live]
        found = [
            p
            for p in gone
            if wanted in (p.id.hex(), (name_of(session.state, people, p.id) or "").lower())
        ]
    if len(found) != 1:
        how = "nobody" if not found else "several members"
        raise InputError(
            f"{text!r} names {how} here",
            hint="'sealroom members' lists names, ids and words; "
            f"{_PREFIX_LEAST} characters of an id or of words are enough.",
        )
    return found[0]


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


def remember_words(session: Session, other: bytes, given: str | None, yes: bool) -> bool:
    """Compare words, or take the user's yes for having done so; say whether that is now known.

    Raises:
        PinMismatch: the words differ: somebody sits between.
    """
    if given is not None:
        compare_words(words_with(session, other), given)
    if given is not None or yes:
        session.store.mark_compared(other)
    return other in session.store.compared()


async def list_members(session: Session) -> tuple[MemberInfo, ...]:
    """List members and open invites, with what this member may know of them."""
    people = await read_people(session)
    labels = await collection_labels(session)
    me = session.identity.member_id
    compared = session.store.compared()
    everyone: list[Party] = list(session.state.members.values())
    everyone += [each for each in session.state.invites.values() if each.live]
    return tuple(
        MemberInfo(
            member_id=party.id.hex(),
            name=name_of(session.state, people, party.id),
            role=party.role.value,
            status="invited" if isinstance(party, InviteState) else party.status.value,
            me=party.id == me,
            grants=tuple(rule_text(rule, labels) for rule in party.rules),
            planned=tuple(rule_text(rule, labels) for rule in party.planned),
            words=None
            if party.id == me or isinstance(party, InviteState)
            else words_with(session, party.id),
            compared=party.id in compared,
        )
        for party in everyone
    )


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
