"""Transitions of recovery by custodians (SPEC section 9.9)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from protocol import acts
from protocol.errors import LimitExceeded, NotAuthorised, OutOfOrder
from protocol.identity import recovery_context, verify_card
from protocol.ledger.members import enrolled, with_seen
from protocol.ledger.parties import MemberStatus
from protocol.ledger.state import Recovery, Released, State
from protocol.limits import LIMITS


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
    """Give one share to whoever rebuilds: from now on it may read the log.

    How many identities a custodian may give its share to is counted for each by itself, so that
    one of them cannot use up what the others need.
    """
    recovery = state.recovery
    if recovery is None or recovery.at != payload.dealing:
        raise OutOfOrder("that dealing is not the one in force")
    if act.author not in recovery.dealing.custodians:
        raise NotAuthorised("only a custodian has a share to release")
    rebuilder = payload.card.identity.member_id
    given = [each.rebuilder for each in recovery.released if each.custodian == act.author]
    if rebuilder in given:
        raise OutOfOrder("that share was released before")
    if len(given) >= LIMITS.rebuilders:
        raise LimitExceeded("a share that was released to too many", hint="Ask another custodian.")
    # One that was released to before, of an earlier dealing too, is the same somebody.
    proved = verify_card if rebuilder in state.rebuilders else partial(enrolled, state)
    identity = proved(payload.card, recovery_context(state.vault_id))
    released = (*recovery.released, Released(act.author, rebuilder, at))
    return replace(
        with_seen(state, identity),
        recovery=replace(recovery, released=released),
        rebuilders={**state.rebuilders, rebuilder: identity},
    )
