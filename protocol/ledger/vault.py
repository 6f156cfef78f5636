"""Transitions on the vault as a whole (SPEC section 9.8)."""

from __future__ import annotations

from dataclasses import replace

from protocol import acts
from protocol.blocks import PEOPLE_COLLECTION
from protocol.errors import OutOfOrder
from protocol.ledger.contents import Collection
from protocol.ledger.parties import MemberStatus
from protocol.ledger.state import State


def freeze(state: State, act: acts.Act, payload: acts.Freeze, at: int) -> State:
    """Stop everything but removals, until the owner lifts it."""
    return replace(state, frozen=True)


def unfreeze(state: State, act: acts.Act, payload: acts.Unfreeze, at: int) -> State:
    """Let things go on."""
    return replace(state, frozen=False)


def destroy(state: State, act: acts.Act, payload: acts.Destroy, at: int) -> State:
    """End the vault: what was stored goes, and only attestations land any more."""
    return replace(
        state,
        collections={PEOPLE_COLLECTION: Collection(PEOPLE_COLLECTION, ())},
        retired=state.retired | (state.collections.keys() - {PEOPLE_COLLECTION}),
        epochs={},
        members={key: replace(each, kept=frozenset()) for key, each in state.members.items()},
        pending={},
        recovery=None,
        frozen=False,
        ended=True,
    )


def change_policy(state: State, act: acts.Act, payload: acts.ChangePolicy, at: int) -> State:
    """Put another policy in force; whoever signs heads is a confirmed member."""
    for signer in payload.policy.head_signers:
        member = state.members.get(signer)
        if member is None or member.status is not MemberStatus.CONFIRMED:
            raise OutOfOrder("who signs heads is a confirmed member")
    return replace(state, policy=payload.policy)


def attest(state: State, act: acts.Act, payload: acts.Attest, at: int) -> State:
    """Note a statement; each member, former or not, makes each one once."""
    made = (act.author, payload.statement)
    if made in state.attested:
        raise OutOfOrder("that was attested before")
    return replace(state, attested=state.attested | {made})
