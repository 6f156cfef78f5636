"""Inviting, joining, confirming, granting, revoking (SPEC sections 4.3 and 9.3)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from client.catalogs import name_of, person_row, read_names, read_people, seal_rows
from client.crypto.identity import Identity
from client.crypto.invites import fresh_invite_secret, invite_access_key, invite_identity
from client.crypto.secrets import InviteSecret
from client.errors import InputError, Refused
from client.results import MemberInfo, RevokeResult, RotateResult
from client.session import ATTEMPTS, Build, Draft, Session, saying
from client.transport import Transport
from client.uploads import ensure_writable
from client.words import compare_words, pair_words
from protocol import acts
from protocol.acts import Citation, Reason, Role, Rule
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD, FieldClass
from protocol.errors import (
    IntegrityError,
    ManifestMismatch,
    NotAuthorised,
    StaleAct,
)
from protocol.identity import join_context
from protocol.ledger.holders import held, holds
from protocol.ledger.parties import InviteState, Member, Party
from protocol.ledger.state import State
from protocol.merkle import leaf_hash
from protocol.observations import ObservationBody, observation_leaf, verify_observation
from protocol.wire import to_bytes

PEOPLE: Final = (PEOPLE_COLLECTION, PEOPLE_FIELD)
_PREFIX_LEAST: Final = 6


# --- names


async def write_person(session: Session, party: bytes, name: str, **more: str | None) -> None:
    """Commit a name to the people catalog, with a new epoch first if the old takes no more."""
    for attempt in range(ATTEMPTS):
        await ensure_writable(session, [PEOPLE])
        address = session.writable(*PEOPLE)
        sealed = seal_rows(session, address, [person_row(party, name, **more)])
        upload = secrets.token_bytes(16)
        await session.transport.stage(
            session.vault_id, upload, sealed.manifest.batch_id, sealed.body()
        )
        payload = acts.Commit(upload, PEOPLE_COLLECTION, 0, True, (sealed.manifest,))
        try:
            await session.act(saying(payload))
        except Refused:
            # Somebody who knew that key was removed meanwhile: seal it anew under the next.
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
    """
    people = await read_people(session)
    wanted = text.strip().lower()
    live: list[Party] = list(session.state.parties())
    # Names are given by admins: one that is another's id, or begins like it, must not win.
    found = [p for p in live if p.id.hex() == wanted] or [
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
    """Return each collection's name, or a short id where this member may not know it."""
    labels = {}
    for collection in session.state.collections:
        if collection != PEOPLE_COLLECTION:
            name = (await read_names(session, collection)).name
            labels[collection] = name or collection.hex()[:8]
    return labels


def rule_text(rule: Rule, labels: dict[bytes, str]) -> str:
    """Return a rule in words."""
    where = "" if rule.collection is None else f" in {labels.get(rule.collection, '?')}"
    if rule.field is not None:
        return f"field {rule.field}{where}"
    assert rule.field_class is not None
    return f"{rule.field_class.name.lower()}{where}"


# --- rules


async def make_rules(
    session: Session,
    classes: Sequence[FieldClass],
    fields: Sequence[str],
    collection: bytes | None,
) -> tuple[Rule, ...]:
    """Turn classes and field names into rules, in the one order.

    Raises:
        InputError: a field name that is not there, or is in several collections.
    """
    rules = [Rule(collection, each, None) for each in classes]
    for name in fields:
        rules.append(await _field_rule(session, name, collection))
    return tuple(sorted(set(rules), key=lambda rule: to_bytes(rule)))


async def _field_rule(session: Session, name: str, collection: bytes | None) -> Rule:
    known = [each for each in session.state.collections if each != PEOPLE_COLLECTION]
    found = []
    for each in [collection] if collection else known:
        named = (await read_names(session, each)).fields
        found += [(each, number) for number, field in named.items() if field.name == name]
    if len(found) != 1:
        how = "no field" if not found else "several collections have a field"
        raise InputError(f"{how} {name!r}", hint="Name its collection with --collection.")
    return Rule(found[0][0], None, found[0][1])


# --- inviting and joining


@dataclass(frozen=True, slots=True)
class MadeInvite:
    """An invite that landed, with the secret that its link carries."""

    secret: InviteSecret
    invite: InviteState


async def invite(
    session: Session, role: Role, rules: tuple[Rule, ...], name: str, seconds: int
) -> MadeInvite:
    """Invite somebody: name first, then the act, so that no invite stands without a name.

    Raises:
        Refused: this role may not invite, or not such a role or so long.
    """
    if not name.strip():
        raise InputError("an invite needs a name", hint="Give --name.")
    secret = fresh_invite_secret()
    for attempt in range(ATTEMPTS):
        await session.sync()
        await ensure_writable(session, [PEOPLE])
        draft = _invite_draft(session, session.state, secret, role, rules, seconds)
        session.expect_allowed(draft.payload, draft.cited)
        assert isinstance(draft.payload, acts.Invite)
        party = draft.payload.card.identity.member_id
        await write_person(session, party, name)
        try:
            await session.act(_always(draft))
        except Refused as refused:
            if refused.refusal != StaleAct.code or attempt == ATTEMPTS - 1:
                raise
        else:
            return MadeInvite(secret, session.state.invites[party])
    raise AssertionError("unreachable")


def _always(draft: Draft) -> Build:
    return lambda _: draft


def _invite_draft(
    session: Session,
    state: State,
    secret: InviteSecret,
    role: Role,
    rules: tuple[Rule, ...],
    seconds: int,
) -> Draft:
    cited = session.citation()
    expiry = cited.time + seconds
    identity = invite_identity(
        secret, state.vault_id, session.identity.member_id, role, expiry, cited.size, cited.root
    )
    access = bytes(invite_access_key(secret).verify_key)
    payload = acts.Invite(identity.card(state.vault_id), role, rules, False, expiry, access)
    return Draft(payload, cited=cited)


def invite_behind(session: Session, secret: InviteSecret) -> tuple[Identity, InviteState]:
    """Find the invite that a link's secret stands for, and check that it re-derives.

    Guarantees that the log up to the invite is what its inviter saw, since the identity
    binds vault, inviter, role, expiry and that log (SPEC section 4.3).

    Raises:
        Refused: no such invite, or it is used, withdrawn or expired.
        NotAuthorised: an act that claims the link's access key, but not its identity.
    """
    access = bytes(invite_access_key(secret).verify_key)
    for found in session.state.invites.values():
        if found.access_key != access:
            continue
        act = session.believed.acts[found.made_at]
        cited: Citation | None = None if act is None else act.cited
        assert cited is not None
        seen = (cited.size, cited.root)
        identity = invite_identity(
            secret, session.vault_id, found.inviter, found.role, found.expiry, *seen
        )
        if identity.member_id != found.id:
            raise NotAuthorised(
                "the invite on the server is not the one that the link was made for",
                hint="Do not join. Ask the inviter for a new link, by another way.",
            )
        if not found.live:
            raise Refused(
                f"the invite was {found.status}",
                code="invite_closed",
                hint="Ask for a new one.",
            )
        return identity, found
    raise Refused(
        "the link is not of an invite of this vault", code="not_found", hint="Ask for a new one."
    )


async def join(session: Session, through: Identity, as_member: Transport) -> int:
    """Join with an invite: its catalogs are rewrapped to this member in the same act."""
    card = session.identity.card(join_context(session.vault_id, through.member_id))
    payload = acts.Join(card)
    return await session.act(saying(payload), author=through, then=as_member)


# --- members


async def confirm(session: Session, member: Member, *, words: str | None, yes: bool) -> int:
    """Confirm a member whose words were compared; its planned grants are made in the same act.

    Raises:
        PinMismatch: the words differ.
        Refused: they were not compared, or this member lacks a key that the plan names.
    """
    if not remember_words(session, member.id, words, yes):
        raise Refused(
            "the twelve words were not compared",
            code="not_compared",
            hint=f"Ask for theirs by voice; yours are: {words_with(session, member.id)}",
        )
    return await session.act(saying(acts.Confirm(member.id)))


async def rotate(session: Session, fields: Sequence[tuple[bytes, int]]) -> RotateResult:
    """Start a new epoch for each field, for exactly its present holders.

    Raises:
        Refused: this member may not, or holds not all of them.
    """
    started = time.monotonic()
    if not fields:
        return RotateResult(None, (), 0, 0.0)
    index = await session.act(lambda _: session.next_epochs(fields))
    labels = await field_labels(session, fields)
    made = {session.writable(*field) for field in fields}
    wraps = sum(1 for address, _ in session.believed.wraps if address in made)
    return RotateResult(index, labels, wraps, time.monotonic() - started)


async def revoke(session: Session, member: Member, reason: Reason) -> RevokeResult:
    """Remove a member, then replace every tainted epoch that the revoker may hold.

    The removal is one act and comes first: access is cut even if the rest is interrupted.
    Safe to repeat: for a member who was removed it does what is left.
    """
    people = await read_people(session)
    name = name_of(session.state, people, member.id)
    await session.sync()
    before, index = session.state, session.state.members[member.id].removed_at
    if index is None:
        index = await session.act(saying(acts.Revoke(member.id, reason)))
    else:
        before = session.believed.state_at(index)
    known = before.members[member.id]
    could = sorted({(a.collection, a.field) for a in held(before, known.id) | known.kept})
    labels = await field_labels(session, could)
    mine = [field for field in _tainted(session.state) if session.holds(*field)]
    left = [field for field in _tainted(session.state) if not session.holds(*field)]
    author = session.state.members[session.identity.member_id]
    if author.role is Role.KEYLESS_ADMIN or session.state.offer is not None:
        # It may create no epoch; and under an open offer nobody may, until that is settled.
        mine, left = [], [*mine, *left]
    rotated = await rotate(session, mine)
    reads = [seen for seen in await observations(session) if seen.member == member.id]
    return RevokeResult(
        index=index,
        member_id=member.id.hex(),
        name=name,
        could_read=labels,
        admitted_reads=len(reads),
        admitted_blocks=sum(len(seen.batches) * len(seen.fields) for seen in reads),
        rotated=rotated,
        left_tainted=await field_labels(session, left),
    )


def _tainted(state: State) -> list[tuple[bytes, int]]:
    return [field for field, known in sorted(state.epochs.items()) if known[-1].tainted]


async def field_labels(session: Session, fields: Sequence[tuple[bytes, int]]) -> tuple[str, ...]:
    """Return each field's name where this member may know it."""
    labels = []
    for collection, number in fields:
        where = session.state.collections[collection]
        if collection == PEOPLE_COLLECTION:
            labels.append("names of people")
        elif number in where.catalogs:
            labels.append(f"names of {where.class_of(number).name.lower()} fields")
        else:
            named = (await read_names(session, collection)).fields.get(number)
            labels.append(named.name if named else f"field {number}")
    return tuple(labels)


async def observations(session: Session) -> tuple[ObservationBody, ...]:
    """Return what the server signed that it served; checked against the log (SPEC 8.4).

    They prove the reads that the server admits, never the absence of others.

    Raises:
        IntegrityError, ContextMismatch: one that is not the leaf it claims, or not signed.
        ManifestMismatch: not exactly those whose leaves are in the log.
        Refused: this role does not see them.
    """
    await session.sync()
    due = [index for index, act in enumerate(session.believed.acts) if act is None]
    seen: list[ObservationBody] = []
    while len(seen) < len(due):
        page = await session.transport.observations(session.vault_id, due[len(seen)])
        # Further ones may have landed since.
        for each, index in zip(page.observations, due[len(seen) :], strict=False):
            if each.index != index:
                raise ManifestMismatch(f"the server's observation {index} is missing")
            seen.append(_observed(session, index, each.salt, each.envelope))
        if not page.observations:
            raise ManifestMismatch(f"the server withholds its observation {due[len(seen)]}")
    return tuple(seen)


def _observed(session: Session, index: int, salt: bytes, envelope: bytes) -> ObservationBody:
    leaf, state = observation_leaf(salt, envelope), session.state
    if session.believed.ledger.tree.leaf(index) != leaf_hash(leaf):
        raise IntegrityError(f"the server's observation {index} is not the one in the log")
    return verify_observation(salt, envelope, leaf, state.vault_id, state.server_key)


def held_fields(session: Session, collection: bytes | None = None) -> list[tuple[bytes, int]]:
    """Return the fields that this member holds, of one collection or of all."""
    me = session.state.members[session.identity.member_id]
    return [
        (each.id, number)
        for each in session.state.collections.values()
        if collection in (None, each.id)
        for number in each.fields
        if holds(me, each, number)
    ]
