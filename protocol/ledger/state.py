"""What the replayed ledger says: members, keys, data, handover (SPEC section 9).

States are values: a transition returns a new one and never touches the old. Mappings inside
are replaced, not mutated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from protocol.acts import CollectionRoot, EpochDefinition, Policy, Role, Rule
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    Address,
    BlockRef,
    FieldClass,
    Manifest,
    catalog_class,
    catalog_field,
    is_catalog,
)
from protocol.errors import CommitmentMismatch, NotAuthorised
from protocol.identity import PublicIdentity
from protocol.merkle import EMPTY_ROOT, leaf_hash, root_of
from protocol.wire import to_bytes


class Phase(StrEnum):
    """What the vault as a whole is doing; decides which kinds of act may land at all."""

    OPEN = "open"
    OFFERED = "offered"


class MemberStatus(StrEnum):
    """A member's life: it never goes back."""

    UNCONFIRMED = "unconfirmed"
    CONFIRMED = "confirmed"
    REVOKED = "revoked"


class InviteStatus(StrEnum):
    """An invite's life: open until exactly one of the others."""

    OPEN = "open"
    USED = "used"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Member:
    """A member; `rules` are grants in force, `planned` those that confirm would make."""

    identity: PublicIdentity
    role: Role
    status: MemberStatus
    rules: tuple[Rule, ...]
    planned: tuple[Rule, ...]
    joined_at: int
    invite: bytes | None
    removed_at: int | None = None
    # Epochs it holds no more, whose keys it may have kept: removal taints them too.
    kept: frozenset[Address] = frozenset()

    @property
    def id(self) -> bytes:
        """The member id, 32 bytes."""
        return self.identity.member_id

    @property
    def live(self) -> bool:
        """Whether the member has not been removed."""
        return self.status is not MemberStatus.REVOKED


@dataclass(frozen=True, slots=True)
class InviteState:
    """An invite; a party of its own until somebody joins with it."""

    identity: PublicIdentity
    role: Role
    status: InviteStatus
    planned: tuple[Rule, ...]
    carries_data: bool
    expiry: int
    access_key: bytes
    inviter: bytes
    made_at: int

    @property
    def id(self) -> bytes:
        """The id of the invite's own identity, 32 bytes."""
        return self.identity.member_id

    @property
    def live(self) -> bool:
        """Whether somebody could still join with it."""
        return self.status is InviteStatus.OPEN

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The data rules in force for whoever has the link: none, unless it carries data."""
        return self.planned if self.carries_data else ()


Party = Member | InviteState


@dataclass(frozen=True, slots=True)
class Epoch:
    """One field key's life. A taint never lifts."""

    definition: EpochDefinition
    creator: bytes
    made_at: int
    tainted: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """A committed batch."""

    manifest: Manifest
    upload: bytes
    committed_at: int
    author: bytes


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """Parts of a commit whose last part has not landed; invisible."""

    author: bytes
    collection: bytes
    batches: tuple[Batch, ...]
    parts: int

    @property
    def addresses(self) -> frozenset[Address]:
        """The epochs that its blocks are sealed under."""
        return frozenset(
            Address(self.collection, ref.field, ref.epoch)
            for batch in self.batches
            for ref in batch.manifest.blocks
        )


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection: the class of each data field, and what was committed to it, in order."""

    id: bytes
    classes: tuple[FieldClass, ...]
    batches: tuple[Batch, ...] = ()

    @property
    def fields(self) -> tuple[int, ...]:
        """Every field number, data first, then one catalog for each class that occurs."""
        return (*range(len(self.classes)), *self.catalogs)

    @property
    def catalogs(self) -> tuple[int, ...]:
        """The catalog field numbers, ascending."""
        if self.id == PEOPLE_COLLECTION:
            return (PEOPLE_FIELD,)
        return tuple(catalog_field(each) for each in sorted(set(self.classes)))

    def class_of(self, number: int) -> FieldClass:
        """Return a field's class; a catalog has the class that it names."""
        return catalog_class(number) if is_catalog(number) else self.classes[number]

    def has(self, number: int) -> bool:
        """Say whether the collection has this field."""
        return number in self.catalogs if is_catalog(number) else number < len(self.classes)

    @property
    def records(self) -> int:
        """How many records of data were committed."""
        return sum(b.manifest.records for b in self.batches if not b.manifest.is_catalog)

    @property
    def cells(self) -> int:
        """How many data cells were committed."""
        return self.records * len(self.classes)

    def root(self) -> bytes:
        """Return the RFC 6962 root over the manifests in commit order."""
        if not self.batches:
            return EMPTY_ROOT
        return root_of([leaf_hash(to_bytes(batch.manifest)) for batch in self.batches])

    def blocks(self, number: int) -> tuple[tuple[Manifest, BlockRef], ...]:
        """Return every committed block of one field, in commit order."""
        return tuple(
            (batch.manifest, ref)
            for batch in self.batches
            for ref in batch.manifest.blocks
            if ref.field == number
        )


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
class State:
    """Everything the ledger says after some leaf. `size` counts leaves, observations included."""

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
    epochs: Mapping[tuple[bytes, int], tuple[Epoch, ...]] = field(default_factory=dict)
    numbers: Mapping[bytes, int] = field(default_factory=dict)
    pending: Mapping[bytes, PendingUpload] = field(default_factory=dict)
    uploads: frozenset[bytes] = frozenset()
    batch_ids: frozenset[bytes] = frozenset()
    seen_keys: frozenset[bytes] = frozenset()
    offer: OpenOffer | None = None
    handovers: tuple[Handover, ...] = ()

    @property
    def phase(self) -> Phase:
        """Whether an offer is open."""
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
        """Return one epoch of a field."""
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
        """Return the address of every live epoch, ascending."""
        return tuple(
            sorted(epoch.definition.address for known in self.epochs.values() for epoch in known)
        )

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

    def tainted(self, addresses: Iterable[Address]) -> State:
        """Return the state in which these epochs take no commit, ever again.

        An upload with a part under one of them could never end, and an offer waits for every
        upload to end; so it is dropped.
        """
        gone = frozenset(addresses)
        epochs = dict(self.epochs)
        for address in gone:
            key = (address.collection, address.field)
            epochs[key] = tuple(
                replace(epoch, tainted=True) if epoch.definition.epoch == address.epoch else epoch
                for epoch in epochs[key]
            )
        pending = {
            key: each for key, each in self.pending.items() if gone.isdisjoint(each.addresses)
        }
        return replace(self, epochs=epochs, pending=pending)

    def without_uploads(self, author: bytes) -> State:
        """Return the state in which nothing that this member began to commit is pending."""
        pending = {key: each for key, each in self.pending.items() if each.author != author}
        return replace(self, pending=pending)
