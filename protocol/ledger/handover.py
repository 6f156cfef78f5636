"""Transitions of the handover (SPEC section 9.6)."""

from __future__ import annotations

from dataclasses import replace

from protocol import acts
from protocol.acts import Role
from protocol.errors import ManifestMismatch, NotAuthorised, OutOfOrder
from protocol.ledger.holders import held
from protocol.ledger.members import close_invite, remove
from protocol.ledger.parties import InviteStatus, MemberStatus
from protocol.ledger.state import Handover, OpenOffer, State


def offer(state: State, act: acts.Act, payload: acts.Offer, at: int) -> State:
    """Open the one offer: every live key for the buyer, and the roots as they stand here."""
    buyer = state.members.get(payload.buyer)
    if buyer is None or buyer.status is not MemberStatus.CONFIRMED or buyer.role is not Role.BIDDER:
        raise OutOfOrder("an offer goes to a confirmed bidder")
    if not act.cited_time < payload.expiry <= act.cited_time + state.policy.offer_seconds:
        raise OutOfOrder(
            f"an offer ends within {state.policy.offer_seconds // 86_400} days of its making"
        )
    if payload.roots != state.roots():
        raise ManifestMismatch("the offer's roots are not the collections' current ones")
    opened = OpenOffer(
        at, payload.buyer, payload.expiry, payload.roots, frozenset(state.live_addresses())
    )
    # What is half done nobody sees, and it must not keep the vault from being sold.
    return replace(state, offer=opened, pending={})


def accept(state: State, act: acts.Act, payload: acts.Accept, at: int) -> State:
    """Make the buyer the owner and everybody else a former member.

    Every epoch is tainted, because the seller held every one.
    """
    opened = _of_buyer(state, act, payload.offer)
    if not opened.index < payload.tree_size <= act.cited_size:
        raise OutOfOrder("an acceptance names a tree that holds its offer and that it cites")
    _check_receipts(state, payload)
    seller = state.owner
    for made in list(state.invites.values()):
        if made.live:
            state = close_invite(state, made, InviteStatus.VOID)
    for member in list(state.members.values()):
        if member.live and member.id != opened.buyer:
            state = remove(state, member, at)
    buyer = replace(state.members[opened.buyer], role=Role.OWNER, rules=(), planned=())
    done = Handover(opened.index, at, seller, opened.buyer)
    return replace(
        state.with_member(buyer),
        owner=opened.buyer,
        offer=None,
        policy=replace(state.policy, head_signers=()),
        recovery=None,
        handovers=(*state.handovers, done),
    )


def reject(state: State, act: acts.Act, payload: acts.Reject, at: int) -> State:
    """Close the offer; the buyer has seen every key it disclosed, so all of them are tainted."""
    return close_offer(state, _of_buyer(state, act, payload.offer))


def close_offer(state: State, opened: OpenOffer) -> State:
    """Close the open offer without a handover (SPEC section 9.6).

    Whatever its buyer becomes later, it has those keys.
    """
    buyer = state.members[opened.buyer]
    kept = buyer.kept | (opened.addresses - held(state, buyer.id))
    return replace(
        state.tainted(opened.addresses).with_member(replace(buyer, kept=kept)), offer=None
    )


def _of_buyer(state: State, act: acts.Act, index: int) -> OpenOffer:
    opened = state.offer
    if opened is None or opened.index != index:
        raise OutOfOrder("that offer is not open")
    if opened.buyer != act.author:
        raise NotAuthorised("only its buyer answers an offer")
    return opened


def _check_receipts(state: State, payload: acts.Accept) -> None:
    """Refuse a receipt that is not of exactly what was offered."""
    offered = tuple(
        acts.CollectionReceipt(each.id, each.root(), each.records, each.cells)
        for _, each in sorted(state.collections.items())
    )
    if payload.receipts != offered:
        raise ManifestMismatch("the receipt is not of what was offered")
