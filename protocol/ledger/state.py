"""What the replayed ledger says: members, keys, data, handover (SPEC section 9).

States are values: a transition returns a new one and never touches the old. Mappings inside
are replaced, not mutated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from protocol.acts import CollectionRoot, Dealing, EpochDefinition, Policy, Statement
from protocol.blocks import Address
from protocol.errors import CommitmentMismatch, NotAuthorised
from protocol.identity import PublicIdentity
from protocol.ledger.contents import Collection, Epoch, Pending, PendingMoves
from protocol.ledger.parties import InviteState, Member, Party


class Phase(StrEnum):
    """What the vault as a whole is doing; decides which kinds of act may land at all."""

    OPEN = "open"
    OFFERED = "offered"
    FROZEN = "frozen"
    FROZEN_OFFER = "frozen offer"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class OpenOffer:
    """The one open offer; `addresses` are the epochs whose keys it disclosed."""

    index: int
    buyer: bytes
    expiry: int
    roots: tuple[CollectionRoot, ...]
    addresses: frozenset[Address]


@dataclass(frozen=True, slots=True)
class Handover:
    """A completed handover, for the record."""

    offer: int
    accepted_at: int
    seller: bytes
    buyer: bytes


@dataclass(frozen=True, slots=True)
class Released:
    """A share that a custodian gave to whoever rebuilds the seed."""

    custodian: bytes
    rebuilder: bytes
    at: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """The owner's seed in shares: the act that dealt them, and what was released since."""

    at: int
    owner: bytes
    dealing: Dealing
    released: tuple[Released, ...] = ()

    @property
    def rebuilders(self) -> frozenset[bytes]:
        """The ids of those whom a share of this dealing was released to."""
        return frozenset(each.rebuilder for each in self.released)

    @property
    def rebuilt(self) -> bool:
        """Whether somebody was given as many shares as it takes."""
        given = Counter(each.rebuilder for each in self.released)
        return max(given.values(), default=0) >= self.dealing.threshold


@dataclass(frozen=True, slots=True)
class State:
    """Everything the ledger says after some leaf. `size` counts leaves, observations included.

    `head_time` is the time of the checkpoint that the owner or a head signer cited last, and
    `rebuilders` are all whom a share of any dealing was ever released to.
    """

    vault_id: bytes
    suite: int
    policy: Policy
    server_key: bytes
    owner: bytes
    size: int
    control_head: int
    members: Mapping[bytes, Member]
    invites: Mapping[bytes, InviteState] = field(default_factory=dict)
    collections: Mapping[bytes, Collection] = field(default_factory=dict)
    retired: frozenset[bytes] = frozenset()
    epochs: Mapping[tuple[bytes, int], tuple[Epoch, ...]] = field(default_factory=dict)
    numbers: Mapping[bytes, int] = field(default_factory=dict)
    pending: Mapping[bytes, Pending] = field(default_factory=dict)
    uploads: frozenset[bytes] = frozenset()
    batch_ids: frozenset[bytes] = frozenset()
    seen_keys: frozenset[bytes] = frozenset()
    offer: OpenOffer | None = None
    handovers: tuple[Handover, ...] = ()
    frozen: bool = False
    ended: bool = False
    head_time: int = 0
    recovery: Recovery | None = None
    rebuilders: Mapping[bytes, PublicIdentity] = field(default_factory=dict)
    attested: frozenset[tuple[bytes, Statement]] = frozenset()

    @property
    def phase(self) -> Phase:
        """What may land at all: whether the vault is over, frozen, or offered."""
        if self.ended:
            return Phase.ENDED
        if self.frozen:
            return Phase.FROZEN if self.offer is None else Phase.FROZEN_OFFER
        return Phase.OPEN if self.offer is None else Phase.OFFERED

    def party(self, party_id: bytes) -> Party | None:
        """Return the member or invite with this id."""
        return self.members.get(party_id) or self.invites.get(party_id)

    def enrolled(self, party_id: bytes) -> Party:
        """Return the member or invite with this id, live or not.

        Raises:
            NotAuthorised: there is none.
        """
        party = self.party(party_id)
        if party is None:
            raise NotAuthorised("nobody is enrolled under that id")
        return party

    def parties(self) -> Iterable[Party]:
        """Return every live member and open invite."""
        return (p for group in (self.members, self.invites) for p in group.values() if p.live)

    def epoch(self, address: Address) -> Epoch | None:
        """Return one epoch of a field, retired or not."""
        known = self.epochs.get((address.collection, address.field), ())
        return known[address.epoch - 1] if 1 <= address.epoch <= len(known) else None

    def published(self, address: Address) -> EpochDefinition:
        """Return what the creator of an epoch's key published about it.

        Raises:
            CommitmentMismatch: there is no such epoch.
        """
        epoch = self.epoch(address)
        if epoch is None:
            raise CommitmentMismatch(f"a key for {address}, which was never published")
        return epoch.definition

    def newest(self, collection: bytes, number: int) -> Epoch | None:
        """Return the newest epoch of a field."""
        known = self.epochs.get((collection, number), ())
        return known[-1] if known else None

    def live_addresses(self) -> tuple[Address, ...]:
        """Return the address of every epoch that is not retired, ascending."""
        return tuple(sorted(epoch.address for epoch in self.live_epochs()))

    def live_epochs(self) -> Iterator[Epoch]:
        """Yield every epoch that is not retired."""
        return (each for known in self.epochs.values() for each in known if not each.retired)

    def retired_since(self, before: State) -> frozenset[Address]:
        """Return the epochs that were live in an earlier state and are no more."""
        if self.epochs is before.epochs:
            return frozenset()
        return frozenset(before.live_addresses()) - frozenset(self.live_addresses())

    def is_retired(self, address: Address) -> bool:
        """Say whether an epoch that was published is no more: by itself, or with all around it."""
        epoch = self.epoch(address)
        return epoch is None or epoch.retired

    def lineage(self, member_id: bytes) -> tuple[bytes, ...]:
        """Return the ids under which a member has been here: its own, then those it replaced."""
        ids = [member_id]
        while (known := self.members.get(ids[-1])) is not None and known.predecessor is not None:
            ids.append(known.predecessor)
        return tuple(ids)

    def roots(self) -> tuple[CollectionRoot, ...]:
        """Return the current root of every collection, the people catalog included, ascending."""
        return tuple(
            CollectionRoot(each.id, each.root()) for _, each in sorted(self.collections.items())
        )

    def with_member(self, member: Member) -> State:
        """Return the state with this member added or replaced."""
        return replace(self, members={**self.members, member.id: member})

    def with_invite(self, invite: InviteState) -> State:
        """Return the state with this invite added or replaced."""
        return replace(self, invites={**self.invites, invite.id: invite})

    def with_collection(self, collection: Collection) -> State:
        """Return the state with this collection added or replaced."""
        return replace(self, collections={**self.collections, collection.id: collection})

    def tainted(self, addresses: Iterable[Address]) -> State:
        """Return the state in which these epochs take no commit, ever again.

        Parts of commits that have landed stand, as whole commits do. A re-encryption to such an
        epoch is dropped: whoever it was to keep out holds that key.
        """
        gone = frozenset(addresses)
        state = self._with_epochs(gone, lambda epoch: replace(epoch, tainted=True))
        return state.without_pending(
            lambda each: isinstance(each, PendingMoves) and not gone.isdisjoint(each.addresses)
        )

    def without_epochs(self, addresses: Iterable[Address]) -> State:
        """Return the state in which these epochs are retired; what was pending under them goes."""
        gone = frozenset(addresses)
        state = self._with_epochs(gone, lambda each: replace(each, tainted=True, retired=True))
        return state.without_pending(lambda each: not gone.isdisjoint(each.addresses))

    def without_uploads(self, author: bytes) -> State:
        """Return the state in which nothing that this member began to commit is pending."""
        return self.without_pending(lambda each: each.author == author)

    def without_pending(self, dropped: Callable[[Pending], bool]) -> State:
        """Return the state without those pending uploads."""
        kept = {key: each for key, each in self.pending.items() if not dropped(each)}
        return self if len(kept) == len(self.pending) else replace(self, pending=kept)

    def _with_epochs(
        self, addresses: frozenset[Address], change: Callable[[Epoch], Epoch]
    ) -> State:
        if not addresses:
            return self
        fields = {(address.collection, address.field) for address in addresses}
        epochs = dict(self.epochs)
        for key in fields & epochs.keys():
            epochs[key] = tuple(
                change(epoch) if epoch.address in addresses else epoch for epoch in epochs[key]
            )
        return replace(self, epochs=epochs)
