"""Epochs, batches and collections as the replayed ledger has them (SPEC sections 9.4 and 9.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from protocol.acts import EpochDefinition, MovedBlock
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
from protocol.merkle import EMPTY_ROOT, leaf_hash, root_of
from protocol.wire import to_bytes


@dataclass(frozen=True, slots=True)
class Epoch:
    """One field key's life. A taint never lifts, and what is retired stays so."""

    definition: EpochDefinition
    creator: bytes
    made_at: int
    tainted: bool = False
    retired: bool = False

    @property
    def address(self) -> Address:
        """The (collection, field, epoch) that the key is for."""
        return self.definition.address


@dataclass(frozen=True, slots=True)
class Batch:
    """A committed batch; its manifest is the current one, `erased` the positions that are gone."""

    manifest: Manifest
    upload: bytes
    committed_at: int
    author: bytes
    erased: frozenset[int] = frozenset()

    @property
    def id(self) -> bytes:
        """The batch id, 16 bytes."""
        return self.manifest.batch_id

    @property
    def records(self) -> int:
        """How many of its records are still there."""
        return self.manifest.records - len(self.erased)

    def with_blocks(self, changed: Mapping[int, BlockRef]) -> Batch:
        """Return the batch with other blocks in the place of those of these fields."""
        blocks = tuple(changed.get(ref.field, ref) for ref in self.manifest.blocks)
        return replace(self, manifest=replace(self.manifest, blocks=blocks))


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
class PendingMoves:
    """Parts of a re-encryption whose last part has not landed; nothing has moved."""

    author: bytes
    collection: bytes
    moves: tuple[MovedBlock, ...]
    parts: int

    @property
    def addresses(self) -> frozenset[Address]:
        """The epochs to which its blocks move."""
        return frozenset(
            Address(self.collection, each.block.field, each.block.epoch) for each in self.moves
        )


Pending = PendingUpload | PendingMoves


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection: the class of each data field, and what was committed to it, in order.

    `definer` is the id of whoever defined it; empty for the people's, which comes with the vault.
    """

    id: bytes
    classes: tuple[FieldClass, ...]
    batches: tuple[Batch, ...] = ()
    definer: bytes = b""

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
        """How many records of data there are: those committed, without those erased."""
        return sum(batch.records for batch in self.batches if not batch.manifest.is_catalog)

    @property
    def cells(self) -> int:
        """How many data cells there are."""
        return self.records * len(self.classes)

    def root(self) -> bytes:
        """Return the RFC 6962 root over the current manifests in commit order."""
        if not self.batches:
            return EMPTY_ROOT
        return root_of([leaf_hash(to_bytes(batch.manifest)) for batch in self.batches])

    def blocks(self, number: int) -> tuple[tuple[Batch, BlockRef], ...]:
        """Return every current block of one field, in commit order."""
        return tuple(
            (batch, ref)
            for batch in self.batches
            for ref in batch.manifest.blocks
            if ref.field == number
        )

    def addresses(self) -> frozenset[Address]:
        """Return the epochs under which some cell lies; of a batch that is erased whole, none."""
        left = (batch.manifest for batch in self.batches if batch.records)
        used = {(ref.field, ref.epoch) for manifest in left for ref in manifest.blocks}
        return frozenset(Address(self.id, field, epoch) for field, epoch in used)

    def by_id(self) -> dict[bytes, Batch]:
        """Return the batches by their ids."""
        return {batch.id: batch for batch in self.batches}

    def with_batches(self, changed: Iterable[Batch]) -> Collection:
        """Return the collection with other batches in the place of those of the same ids."""
        new = {batch.id: batch for batch in changed}
        return replace(self, batches=tuple(new.get(each.id, each) for each in self.batches))
