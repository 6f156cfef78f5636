"""Leaves, admission and the replayed log (SPEC sections 8.1 and 9.1).

`Ledger` is the one place in which an act becomes believed, on the server and on every client:
`check` says what a leaf would do, or why it is refused, and changes nothing; `append` takes
what `check` returned. No clock, no files, no network, and no sides: those are checked beside
it by `protocol.ledger.sides`, from the states before and after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from protocol import acts
from protocol.acts import Act
from protocol.checkpoint import Checkpoint
from protocol.errors import (
    ApiMisuse,
    ContextMismatch,
    Fork,
    MalformedMessage,
    NotAuthorised,
    OutOfOrder,
    Replay,
    StaleAct,
)
from protocol.ledger import members
from protocol.ledger.handover import close_offer
from protocol.ledger.holders import CATALOG_ROLES
from protocol.ledger.parties import InviteStatus, MemberStatus
from protocol.ledger.state import Phase, State
from protocol.ledger.transitions import TRANSITIONS, Sides, Transition
from protocol.limits import LIMITS
from protocol.merkle import Tree, leaf_hash
from protocol.observations import OBSERVATION_LEAF, OBSERVATION_LEAF_BYTES
from protocol.signing import verify_signature
from protocol.wire import Envelope, pae

ACT_LEAF: Final = 0x01
LEAF_BYTES: Final = LIMITS.act_bytes + 4096


def act_leaf(envelope: bytes) -> bytes:
    """Return the leaf of a signed act: 0x01 and the envelope's exact bytes."""
    return bytes((ACT_LEAF,)) + envelope


@dataclass(frozen=True, slots=True)
class Landed:
    """What a leaf at `index` does: the states around it, and its act unless it observes."""

    index: int
    leaf: bytes
    act: Act | None
    before: State | None
    after: State


class Ledger:
    """A vault's log as replayed so far: the Merkle tree of its leaves, and the state they say."""

    def __init__(self) -> None:
        self.tree = Tree()
        self._state: State | None = None

    @property
    def state(self) -> State:
        """The state after the last leaf.

        Raises:
            ApiMisuse: there is no leaf yet.
        """
        if self._state is None:
            raise ApiMisuse("an empty ledger has no state")
        return self._state

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self.tree.size

    def copy(self) -> Ledger:
        """Return a ledger of the same leaves, to append to without this one growing."""
        other = Ledger()
        other.tree, other._state = self.tree.copy(), self._state
        return other

    def check(self, leaf: bytes) -> Landed:
        """Return what the leaf would do if it came next (SPEC section 9.1); nothing changes.

        Obligations, in this order:
        (1) the leaf is an act or an observation, and not too long;
        (2) the act is the one encoding of an act of this vault;
        (3) its author is enrolled, or was and attests, and signed exactly these bytes;
        (4) its number is the author's next;
        (5) the checkpoint it cites is the server's, and a true prefix of this log;
        (6) its kind is allowed in this phase, to this author, with sides or without;
        (7) a kind that names the control head has seen the last control act;
        (8) its own condition holds.
        Before (6), what the cited time says has expired is closed.

        Raises:
            SealroomError: the leaf is refused; the class says which obligation, the message why.
        """
        # (1)
        if not 1 <= len(leaf) <= LEAF_BYTES:
            raise MalformedMessage("a leaf of impossible length")
        if leaf[0] == OBSERVATION_LEAF:
            return self._observation(leaf)
        if leaf[0] != ACT_LEAF:
            raise MalformedMessage("a leaf that is neither an act nor an observation")
        # (2)
        envelope, act = acts.parse_envelope(leaf[1:])
        if self._state is None:
            return self._genesis(leaf, envelope, act)
        state = self._state
        if act.vault_id != state.vault_id:
            raise ContextMismatch("an act of another vault")
        # (3)
        verify_signature(
            signing_key_of(state, act),
            pae(envelope.payload_type, envelope.body),
            envelope.signature,
        )
        return Landed(self.size, leaf, act, state, self.preview(act))

    def preview(self, act: Act) -> State:
        """Return the state after the act if it came next: obligations (4) to (8) of `check`.

        For an author who is about to sign; whether the author is who it says is not looked at.

        Raises:
            SealroomError: the act would be refused.
        """
        state = self.state
        # (4)
        due = state.numbers.get(act.author, 0)
        if act.number != due:
            raise Replay(f"the author's next act is number {due}, not {act.number}")
        # (5)
        cited = self._cited(state, act)
        settled = _settled(state, act.author, cited.time)
        # (6)
        row = TRANSITIONS[type(act.payload)]
        _check_author(settled, row, act)
        if row.sides is Sides.NONE and act.sides_root is not None:
            raise NotAuthorised(f"nothing travels beside such an act ({act.kind})")
        # (7)
        if row.names_head and cited.size <= settled.control_head:
            raise StaleAct(
                "another act on members, keys or the handover landed meanwhile",
                hint="Look at what changed, and try again.",
            )
        # (8)
        after = row.apply(settled, act, act.payload, self.size)
        # An owner may sign this as the owner that it is, or that it becomes by it.
        signers = {settled.owner, after.owner, *settled.policy.head_signers}
        return replace(
            after,
            size=self.size + 1,
            control_head=self.size if row.control else after.control_head,
            numbers={**after.numbers, act.author: due + 1},
            # Not the newest time: one that is false would count for ever.
            head_time=cited.time if act.author in signers else after.head_time,
        )

    def append(self, landed: Landed) -> None:
        """Take a checked leaf.

        Raises:
            ApiMisuse: it was checked against another state.
        """
        if landed.before is not self._state or landed.index != self.size:
            raise ApiMisuse("a leaf checked against another state")
        self.tree.append(leaf_hash(landed.leaf))
        self._state = landed.after

    def _observation(self, leaf: bytes) -> Landed:
        if self._state is None or len(leaf) != OBSERVATION_LEAF_BYTES:
            raise MalformedMessage("a malformed observation")
        return Landed(self.size, leaf, None, self._state, replace(self._state, size=self.size + 1))

    def _genesis(self, leaf: bytes, envelope: Envelope, act: Act) -> Landed:
        payload = act.payload
        if not isinstance(payload, acts.Genesis):
            raise OutOfOrder("a vault begins with its genesis")
        if act.vault_id != acts.NO_VAULT or act.number != 0 or act.cited or act.sides_root:
            raise MalformedMessage("a genesis cites and carries nothing")
        if act.author != payload.owner.identity.member_id:
            raise NotAuthorised("a genesis is signed by the owner it names")
        verify_signature(
            payload.owner.identity.signing_key,
            pae(envelope.payload_type, envelope.body),
            envelope.signature,
        )
        vault_id = acts.vault_id_of(leaf[1:])
        return Landed(0, leaf, act, None, members.genesis(act, payload, vault_id))

    def _cited(self, state: State, act: Act) -> Checkpoint:
        if act.cited is None:
            raise MalformedMessage("an act cites the checkpoint that its author saw")
        cited = act.cited.verified(state.vault_id, state.server_key)
        # Only what the server signed is evidence of a fork; anybody can make up a root.
        if cited.size > self.size or self.tree.root(cited.size) != cited.root:
            raise Fork(
                "an act cites a tree that is no prefix of this log",
                shown=cited.note(),
                hint="Its author was shown another history. Compare checkpoints with its author.",
            )
        return cited


def signing_key_of(state: State, act: Act) -> bytes:
    """Return the key that an act's author signs with: live members, open invites, and witnesses.

    Raises:
        NotAuthorised: nobody is enrolled under that id, or it was removed and does not attest.
    """
    party = state.enrolled(act.author)
    former = act.author in state.members and TRANSITIONS[type(act.payload)].former
    if not party.live and not former:
        raise NotAuthorised("an act by somebody who was removed, or by an invite that is closed")
    return party.identity.signing_key


def _check_author(state: State, row: Transition, act: Act) -> None:
    member = state.members.get(act.author)
    if member is None:
        if not row.by_invite:
            raise NotAuthorised("an invite can only join")
    elif member.role not in row.roles:
        raise NotAuthorised(f"the role {member.role} may not do this ({act.kind})")
    elif row.confirmed and member.status is not MemberStatus.CONFIRMED:
        raise NotAuthorised(f"not before being confirmed ({act.kind})")
    if state.phase not in row.phases:
        raise OutOfOrder(f"not while {_NOW[state.phase]} ({act.kind})")
    # A seed that several people have put together is good for one thing.
    rebuilt = state.recovery is not None and state.recovery.rebuilt
    if rebuilt and act.author == state.owner and not row.rebuilt:
        raise OutOfOrder(
            f"not before the owner has new keys: custodians released its seed ({act.kind})",
            hint="Run 'sealroom identity rotate'.",
        )


_NOW: Final = {
    Phase.OPEN: "no offer is open, and nothing is frozen",
    Phase.OFFERED: "a handover offer is open",
    Phase.FROZEN: "the vault is frozen",
    Phase.FROZEN_OFFER: "the vault is frozen, and a handover offer is open",
    Phase.ENDED: "the vault is destroyed",
}


def _settled(state: State, author: bytes, time: int) -> State:
    """Close what a citation by this author dates as expired; past means strictly later."""
    if state.ended:
        return state
    if state.offer is not None and time > state.offer.expiry:
        state = close_offer(state, state.offer)
    writer = state.members.get(author)
    if writer is None or writer.role not in CATALOG_ROLES:
        return state
    # Unconfirmed, an admin may be the server itself with a link it read.
    if writer.status is not MemberStatus.CONFIRMED:
        return state
    for invite in list(state.invites.values()):
        if invite.live and time > invite.expiry:
            state = members.close_invite(state, invite, InviteStatus.EXPIRED)
    return state
