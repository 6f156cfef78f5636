"""Transitions of recovery by custodians (SPEC section 9.9)."""

from __future__ import annotations

from dataclasses import replace

from protocol import acts
from protocol.errors import NotAuthorised, OutOfOrder
from protocol.identity import recovery_context
from protocol.ledger.members import enrolled, with_seen
from protocol.ledger.parties import MemberStatus
from protocol.ledger.state import Recovery, Released, State


def custodians(state: State, act: acts.Act, payload: acts.Custodians, at: int) -> State:
    """Put a new dealing in the place of the old one, or end recovery."""
    dealing = payload.dealing
    if dealing is None:
        return replace(state, recovery=None)
    for custodian in dealing.custodians:
        member = state.members.get(custodian)
        if member is None or member.status is not MemberStatus.CONFIRMED:
            raise OutOfOrder("a custodian is a confirmed member")
    if state.owner in dealing.custodians:
        raise OutOfOrder("the owner keeps no share of its own seed")
    return replace(state, recovery=Recovery(at, state.owner, dealing))


def release(state: State, act: acts.Act, payload: acts.Release, at: int) -> State:
    """Give one share to whoever rebuilds: from now on it may read the log."""
    recovery = state.recovery
    if recovery is None or recovery.at != payload.dealing:
        raise OutOfOrder("that dealing is not the one in force")
    if act.author not in recovery.dealing.custodians:
        raise NotAuthorised("only a custodian has a share to release")
    rebuilder = payload.card.identity.member_id
    if any(
        (each.custodian, each.rebuilder) == (act.author, rebuilder) for each in recovery.released
    ):
        raise OutOfOrder("that share was released before")
    if rebuilder not in recovery.rebuilders:
        identity = enrolled(state, payload.card, recovery_context(state.vault_id))
        state = with_seen(state, identity)
    released = Released(act.author, rebuilder, at)
    return replace(
        state,
        recovery=replace(
            recovery,
            rebuilders={**recovery.rebuilders, rebuilder: payload.card.identity},
            released=(*recovery.released, released),
        ),
    )
