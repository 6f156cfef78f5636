"""New keys, and removing people (SPEC sections 9.3, 9.4 and 10.5)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from client.catalogs import name_of, read_people
from client.fields import Field, field_names, tainted_fields
from client.observing import observations
from client.results import (
    OnProgress,
    ReencryptResult,
    RevokePlan,
    RevokeResult,
    RotatePlan,
    RotateResult,
)
from client.session import Session, saying
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
    """Say what a rotation would do, for whom, and how long it took the last time."""
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
    `in_full` what is stored is then sealed anew too. Safe to repeat: for a member who was removed
    it does what is left.
    """
    await session.sync()
    index = session.state.members[member.id].removed_at
    before = session.state
    if index is None:
        index = await session.act(saying(acts.Revoke(member.id, reason)))
    else:
        before = session.believed.state_at(index)
    plan = await _what_it_had(session, before, member.id)
    could = _knew(before, member.id)
    mine, left = _to_replace(session)
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
    )


async def plan_revocation(session: Session, member: Member) -> RevokePlan:
    """Say what removing a member would do, and what it could and did read; nothing changes.

    Raises:
        Refused: the rules do not let this member remove that one.
    """
    session.expect_allowed(acts.Revoke(member.id, Reason.OTHER))
    return await _what_it_had(session, session.state, member.id)


async def _what_it_had(session: Session, before: State, member: bytes) -> RevokePlan:
    people = await read_people(session)
    known = _knew(before, member)
    mine = [field for field in known if session.holds(*field)]
    reads = [seen for seen in await observations(session) if seen.member == member]
    voided = [i.id for i in before.invites.values() if i.live and i.inviter == member]
    state = session.state
    return RevokePlan(
        member_id=member.hex(),
        name=name_of(state, people, member),
        could_read=await field_names(session, known),
        admitted_reads=len(reads),
        admitted_blocks=sum(len(seen.batches) * len(seen.fields) for seen in reads),
        voided_invites=tuple(name_of(state, people, each) or each.hex()[:16] for each in voided),
        replaced=await field_names(session, mine if may_replace(session) else ()),
    )


def _knew(before: State, member: bytes) -> list[Field]:
    """Return the fields of which a member had, or may have kept, a key that is still in use."""
    addresses = held(before, member) | before.members[member].kept
    return sorted(
        {(a.collection, a.field) for a in addresses if a.collection in before.collections}
    )


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
    me = session.state.members[session.identity.member_id]
    confirmed = me.status is MemberStatus.CONFIRMED
    return confirmed and is_keyed(me.role) and session.state.phase is Phase.OPEN
