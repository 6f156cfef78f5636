"""New keys, and removing people (SPEC sections 9.3, 9.4 and 10.5)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from client.catalogs import name_of, read_people
from client.fields import Field, field_names, tainted_fields
from client.observing import observations
from client.results.keys import (
    KeysWait,
    ReencryptResult,
    RevokePlan,
    RevokeResult,
    RotatePlan,
    RotateResult,
    Undone,
)
from client.results.progress import OnProgress
from client.session import Session, saying
from client.standing import phase_at
from protocol import acts
from protocol.acts import Reason
from protocol.ledger.holders import held, holders, is_keyed
from protocol.ledger.parties import Member, MemberStatus
from protocol.ledger.state import Phase, State

# --- rotating


async def rotate(session: Session, fields: Sequence[Field]) -> RotateResult:
    """Start a new epoch for each field, for exactly its present holders.

    Raises:
        Refused: this member may not, or holds not all of them.
    """
    started = time.monotonic()
    if not fields:
        return RotateResult(None, (), 0, None, 0.0)
    index = await session.act(lambda _: session.next_epochs(fields))
    labels = await field_names(session, fields)
    made = {session.writable(*field) for field in fields}
    wraps = sum(1 for address, _ in session.believed.wraps if address in made)
    return RotateResult(index, labels, wraps, None, time.monotonic() - started)


async def rotate_in_full(
    session: Session, fields: Sequence[Field], on_progress: OnProgress
) -> RotateResult:
    """Put everything of these fields under new keys, and retire the old ones.

    Raises:
        SealroomError: as `client.reencryption.reencrypt`.
    """
    started = time.monotonic()
    if not fields:
        return RotateResult(None, (), 0, None, 0.0)
    from client.reencryption import reencrypt

    labels = await field_names(session, fields)
    done = await reencrypt(session, fields, on_progress)
    seconds = time.monotonic() - started
    moved = ReencryptResult(
        blocks=done.blocks,
        cells=done.cells,
        sealed_bytes=done.bytes,
        resumed_blocks=done.resumed,
        moved_by_others=done.by_others,
        retired=done.retired,
    )
    made = {session.writable(*field) for field in fields}
    wraps = sum(1 for address, _ in session.believed.wraps if address in made)
    return RotateResult(done.index, labels, wraps, moved, seconds)


async def plan_rotation(session: Session, fields: Sequence[Field], *, in_full: bool) -> RotatePlan:
    """Say what a rotation would do, for whom, and how long it took the last time.

    Raises:
        Refused: the rotation itself would be, as things stand.
    """
    if fields:
        session.expect_allowed(session.next_epochs(fields).payload)
    from client.reencryption import RATE, lying_in

    people = await read_people(session)
    state = session.state
    whom = sorted({party for field in fields for party in holders(state, *field)})
    lying = list(lying_in(state, fields)) if in_full else []
    cells = sum(batch.records for _, batch, _ in lying)
    rate = session.store.rate(RATE)
    return RotatePlan(
        fields=await field_names(session, fields),
        holders=tuple(name_of(state, people, party) or party.hex()[:16] for party in whom),
        blocks=len(lying),
        cells=cells,
        sealed_bytes=sum(ref.length for _, _, ref in lying),
        seconds=cells / rate if rate and in_full else None,
    )


# --- removing


async def revoke(
    session: Session,
    member: Member,
    reason: Reason,
    *,
    in_full: bool,
    on_progress: OnProgress,
) -> RevokeResult:
    """Remove a member, then replace every tainted epoch that the revoker may hold.

    The removal is one act and comes first: access is cut even if the rest is interrupted. With
    `in_full` what is stored is then sealed anew too. Where no keys can be made now, the result says
    so, and what was not done. Safe to repeat: for a member who was removed it does what is left.
    """
    await session.sync()
    index = session.state.members[member.id].removed_at
    before = session.state
    if index is None:
        index = await session.act(saying(acts.Revoke(member.id, reason)))
    else:
        before = session.believed.state_at(index)
    plan = await _what_it_had(session, before, member.id)
    could = _knew(session.state, before, member.id)
    mine, left = _to_replace(session)
    waits = keys_wait(session)
    if in_full and may_replace(session):
        again = sorted({*mine, *(field for field in could if session.holds(*field))})
        rotated = await rotate_in_full(session, again, on_progress)
    else:
        rotated = await rotate(session, mine)
    return RevokeResult(
        index=index,
        member_id=member.id.hex(),
        name=plan.name,
        could_read=plan.could_read,
        admitted_reads=plan.admitted_reads,
        admitted_blocks=plan.admitted_blocks,
        voided_invites=plan.voided_invites,
        rotated=rotated,
        left_tainted=await field_names(session, left),
        keys_wait=waits,
        undone=(Undone.REENCRYPT,) if in_full and waits else (),
    )


async def plan_revocation(
    session: Session, member: Member, *, in_full: bool, reinvited: bool
) -> RevokePlan:
    """Say what removing a member would do, and what it could and did read; nothing changes.

    Raises:
        Refused: the rules do not let this member remove that one.
    """
    session.expect_allowed(acts.Revoke(member.id, Reason.OTHER))
    plan = await _what_it_had(session, session.state, member.id)
    undone = [Undone.REENCRYPT] if in_full and plan.keys_wait else []
    undone += [Undone.REINVITE] if reinvited and invites_wait(session) else []
    return replace(plan, undone=tuple(undone))


async def _what_it_had(session: Session, before: State, member: bytes) -> RevokePlan:
    people = await read_people(session)
    known = _knew(session.state, before, member)
    mine = [field for field in known if session.holds(*field)]
    admitted = [seen.body for seen in await observations(session) if seen.untrue is None]
    reads = [body for body in admitted if body.member == member]
    voided = [i.id for i in before.invites.values() if i.live and i.inviter == member]
    state = session.state
    return RevokePlan(
        member_id=member.hex(),
        name=name_of(state, people, member),
        could_read=await field_names(session, known),
        admitted_reads=len(reads),
        admitted_blocks=sum(len(body.batches) * len(body.fields) for body in reads),
        voided_invites=tuple(name_of(state, people, each) or each.hex()[:16] for each in voided),
        replaced=await field_names(session, mine if may_replace(session) else ()),
        keys_wait=keys_wait(session),
    )


def _knew(state: State, before: State, member: bytes) -> list[Field]:
    """Return the fields of which a member had, or may have kept, a key, and that are still there.

    A collection that ended since the removal has nothing left that could be read.
    """
    addresses = held(before, member) | before.members[member].kept
    return sorted({(a.collection, a.field) for a in addresses if a.collection in state.collections})


def _to_replace(session: Session) -> tuple[list[Field], list[Field]]:
    """Return the tainted fields that this member replaces now, and those it leaves to others."""
    tainted = tainted_fields(session.state)
    mine = [field for field in tainted if session.holds(*field)]
    if not may_replace(session):
        # It may create no epoch; and under an open offer nobody may, until that is settled.
        mine = []
    return mine, [field for field in tainted if field not in mine]


def may_replace(session: Session) -> bool:
    """Say whether this member may make new keys now."""
    return makes_keys(session) and _phase(session) is Phase.OPEN


def invites_wait(session: Session) -> bool:
    """Say whether nobody is invited now, because the vault is offered or frozen."""
    return _phase(session) in _WAITS


def keys_wait(session: Session) -> KeysWait | None:
    """Say why this member makes no new keys now: None where it may, or the vault has ended."""
    if _phase(session) is Phase.ENDED:
        return None
    if not makes_keys(session):
        return KeysWait.ROLE
    return _WAITS.get(_phase(session))


_WAITS: Final[Mapping[Phase, KeysWait]] = {
    Phase.OFFERED: KeysWait.OFFER,
    Phase.FROZEN: KeysWait.FREEZE,
    Phase.FROZEN_OFFER: KeysWait.FREEZE,
}


def makes_keys(session: Session) -> bool:
    """Say whether this member's role makes new keys at all, though not now perhaps."""
    me = session.state.members[session.identity.member_id]
    return me.status is MemberStatus.CONFIRMED and is_keyed(me.role)


def _phase(session: Session) -> Phase:
    return phase_at(session.state, session.citation().time)
