"""The handover's acts: offering everything, accepting it or not (SPEC sections 9.6 and 10.5).

What the buyer verifies before it accepts is in `client.verifying`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from client.errors import Refused
from client.people import lacks_comparison, words_with
from client.session import Draft, Session, saying
from client.standing import who_may, your_role
from protocol import acts
from protocol.acts import CollectionReceipt, Reason, Role
from protocol.ledger.parties import Member
from protocol.ledger.state import OpenOffer, State

if TYPE_CHECKING:
    from client.verifying import Verified


async def offer(
    session: Session, buyer: Member, seconds: int, *, words: str | None, yes: bool
) -> int:
    """Offer everything to a confirmed bidder: every live key, rewrapped with proofs, in one act.

    Offering is disclosing: from here on the buyer can open everything, accepted or not. So the
    owner itself compares the buyer's words: any admin could have confirmed somebody else, and
    written the buyer's name beside it.

    Safe to repeat: the same offer to the same buyer, which is open, is not made again.

    Raises:
        PinMismatch: the words differ.
        Refused: they were never compared, or not under the name that the buyer goes by; this member
            is not the owner, the bidder is not confirmed, or another offer is open.
    """
    lacking = await lacks_comparison(session, buyer.id, words, yes)
    if lacking is not None:
        raise Refused(
            f"the buyer's twelve words {lacking}",
            code="not_compared",
            hint="Ask the buyer for them by voice, then give them with --words. "
            f"Yours are: {words_with(session, buyer.id)}",
        )

    def draft(state: State) -> Draft:
        return Draft(acts.Offer(buyer.id, session.citation().time + seconds, state.roots()))

    opened = session.state.offer
    if opened is not None and opened.buyer == buyer.id:
        made = session.believed.acts[opened.index]
        assert made is not None
        if opened.expiry == made.cited_time + seconds:
            return opened.index
    return await session.act(draft)


def open_offer(session: Session) -> OpenOffer:
    """Return the open offer if it is to this member.

    Raises:
        Refused: none is open, or it is to somebody else.
    """
    opened, me = session.state.offer, session.state.members[session.identity.member_id]
    if opened is None or opened.buyer != me.id:
        hint = "'sealroom handover status' shows whether one is. The owner offers it."
        if me.role is not Role.BIDDER:
            hint = f"{your_role(me.role)}: this is for {who_may(acts.Accept)}."
        raise Refused("no handover is offered to you", code="out_of_order", hint=hint)
    return opened


async def accept(session: Session, verified: Verified) -> Accepted:
    """Take over: this one act makes the buyer the owner, and everybody else a former member.

    Raises:
        Refused: the offer is no longer open, or no longer what was verified.
    """
    if open_offer(session) != verified.offer:
        raise Refused(
            "another offer is open than the one verified",
            code="out_of_order",
            hint="The same command verifies this one.",
        )

    def draft(state: State) -> Draft:
        return Draft(acts.Accept(verified.offer.index, state.size, verified.receipts))

    await session.act(draft)
    done = accepted(session)
    assert done is not None  # the act landed, and is found in the verified log
    return done


@dataclass(frozen=True, slots=True)
class Accepted:
    """An acceptance as the log has it: its index, and what its author had verified."""

    index: int
    keys: int
    receipts: tuple[CollectionReceipt, ...]
    bytes: int


def accepted(session: Session) -> Accepted | None:
    """Return the acceptance by which this member owns the vault, None if it did not buy it."""
    state = session.state
    done = state.handovers[-1] if state.handovers else None
    if done is None or done.buyer != session.identity.member_id:
        return None
    act = session.believed.acts[done.accepted_at]
    assert act is not None
    assert isinstance(act.payload, acts.Accept)
    epochs = (epoch for known in state.epochs.values() for epoch in known)
    batches = (batch for where in state.collections.values() for batch in where.batches)
    return Accepted(
        index=done.accepted_at,
        keys=sum(epoch.made_at < done.accepted_at for epoch in epochs),
        receipts=act.payload.receipts,
        bytes=sum(
            ref.length
            for batch in batches
            if batch.committed_at < done.accepted_at
            for ref in batch.manifest.blocks
        ),
    )


async def reject(session: Session, reason: Reason) -> int:
    """Decline the open offer; every key it disclosed takes no more commits.

    Safe to repeat: whoever declined the last offer, for the same reason, is told so again.

    Raises:
        Refused: nothing is offered to this member.
    """
    await session.sync_as_member()
    if (done := _rejected(session, reason)) is not None:
        return done
    return await session.act(saying(acts.Reject(open_offer(session).index, reason)))


def _rejected(session: Session, reason: Reason) -> int | None:
    """Return where this member declined the last offer there was, if it did and none is open."""
    answers = (acts.Offer, acts.Reject, acts.Accept)
    known = session.believed.acts
    for index in range(len(known) - 1, -1, -1):
        act = known[index]
        if act is not None and isinstance(act.payload, answers):
            mine = act.author == session.identity.member_id
            same = isinstance(act.payload, acts.Reject) and act.payload.reason is reason
            return index if mine and same else None
    return None
