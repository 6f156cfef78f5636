"""Where cells lie: field addresses, blocks, manifests and upload bodies (SPEC section 7).

A batch is a number of records in some fields of one collection. Each field's cells of the batch
are one block: for each record a little-endian u32, the length of its sealed cell (0 where it was
erased), then the sealed cells joined. The manifest lists the blocks, and an upload body is the
manifest's length, the manifest and the blocks.

Nothing here opens a cell: sealing and padding are in `client.crypto`.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Collection, Sequence
from enum import IntEnum
from itertools import accumulate, pairwise
from typing import Annotated, Final, NamedTuple

from protocol.errors import ApiMisuse, LimitExceeded, MalformedMessage, ManifestMismatch
from protocol.limits import LIMITS
from protocol.wire import Fixed, ListOf, Uint, from_bytes, record, to_bytes

COLLECTION_BYTES: Final = 16
BATCH_ID_BYTES: Final = 16
SALT_BYTES: Final = 16
TAG_BYTES: Final = 16
U16_MAX: Final = 0xFFFF
U32_MAX: Final = 0xFFFF_FFFF

# Up to here one length serves all cells of a UNIFORM block; above, powers of two.
UNIFORM_MOST: Final = 1_024

CATALOG_BIT: Final = 0x8000
# A sealed cell is padding of at least 16 bytes in steps of 16, and the tag.
CELL_STEP: Final = 16
CELL_LEAST: Final = CELL_STEP + TAG_BYTES

_U32_BIG: Final = struct.Struct(">I")


# --- addresses


class FieldClass(IntEnum):
    """How much a field says about a person; grants, catalogs and padding go by it."""

    GENERAL = 0
    SENSITIVE = 1
    CORE = 2
    PEOPLE = 3

    @property
    def unit(self) -> int:
        """The step in which cells of this class are padded, in bytes."""
        return 32 if self is FieldClass.CORE else 16


class Padding(IntEnum):
    """How the cells of one block were padded; the manifest says which (SPEC section 7)."""

    UNIFORM = 0
    MULTIPLE_16 = 1
    MULTIPLE_32 = 2

    @classmethod
    def of_text(cls, field_class: FieldClass) -> Padding:
        """Return the mode of text and binary cells of many distinct values."""
        return cls.MULTIPLE_32 if field_class.unit == 32 else cls.MULTIPLE_16


PEOPLE_COLLECTION: Final = bytes(COLLECTION_BYTES)
PEOPLE_FIELD: Final = CATALOG_BIT | FieldClass.PEOPLE


def catalog_field(field_class: FieldClass) -> int:
    """Return the number of a class's catalog field (SPEC section 7)."""
    return CATALOG_BIT | field_class


def is_catalog(field: int) -> bool:
    """Tell whether a field number is that of a catalog."""
    return bool(field & CATALOG_BIT)


def catalog_class(field: int) -> FieldClass:
    """Return the class that a catalog field serves.

    Raises:
        MalformedMessage: not a catalog's number, or one that is reserved.
    """
    _known_field(field)
    if not is_catalog(field):
        raise MalformedMessage(f"field {field} is no catalog")
    return FieldClass(field ^ CATALOG_BIT)


@record
class Address:
    """One field in one epoch: what a field key belongs to (SPEC section 7).

    Guaranteed: no reserved catalog number, and the people catalog stands in its own collection
    (16 zero bytes), where nothing else does. Sorts by collection, field, epoch, which is also
    the order of the encodings.

    Raises:
        MalformedMessage: a reserved field number, or people and others mixed.
    """

    collection: Annotated[bytes, Fixed(COLLECTION_BYTES)]
    field: Annotated[int, Uint(U16_MAX)]
    epoch: Annotated[int, Uint(U32_MAX)]

    def __post_init__(self) -> None:
        """Refuse what no vault holds."""
        _known_field(self.field)
        if (self.field == PEOPLE_FIELD) != (self.collection == PEOPLE_COLLECTION):
            raise MalformedMessage("the people catalog and only that is in the zero collection")

    def encode(self) -> bytes:
        """Return the 22 bytes that key derivations and proofs bind: collection, field, epoch."""
        return self.collection + self.field.to_bytes(2, "big") + self.epoch.to_bytes(4, "big")

    def __str__(self) -> str:
        """Return a short form for messages to people."""
        return f"collection {self.collection.hex()[:8]} field {self.field} epoch {self.epoch}"

    def __lt__(self, other: Address) -> bool:
        return self.encode() < other.encode()


def _known_field(field: int) -> None:
    if is_catalog(field) and (field ^ CATALOG_BIT) not in FieldClass.__members__.values():
        raise MalformedMessage(f"field {field} is reserved")


# --- manifests


@record
class BlockRef:
    """One block as its manifest lists it: which field, how it was sealed, exactly which bytes."""

    field: Annotated[int, Uint(U16_MAX)]
    epoch: Annotated[int, Uint(U32_MAX)]
    salt: Annotated[bytes, Fixed(SALT_BYTES)]
    length: Annotated[int, Uint(LIMITS.block_bytes, least=4)]
    sha256: Annotated[bytes, Fixed(32)]
    padding: Padding


@record
class Manifest:
    """What one batch consists of (SPEC section 7).

    Guaranteed: fields ascend and none repeats; either all are data fields or there is exactly
    one, a catalog; each block has room for its lengths, and the blocks together keep to the
    batch limit. That the blocks are these is for `verify_block`, that anyone vouches for the
    manifest is for the commit that lists its hash.

    Raises:
        MalformedMessage: fields out of order, mixed with a catalog, or a block too short.
        LimitExceeded: blocks of more bytes than a batch may have.
    """

    batch_id: Annotated[bytes, Fixed(BATCH_ID_BYTES)]
    records: Annotated[int, Uint(LIMITS.batch_records, least=1)]
    blocks: Annotated[tuple[BlockRef, ...], ListOf(BlockRef, LIMITS.fields, least=1)]

    def __post_init__(self) -> None:
        """Check what spans several fields."""
        numbers = [ref.field for ref in self.blocks]
        for number in numbers:
            _known_field(number)
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            raise MalformedMessage("blocks must ascend by field, one for each")
        if len(numbers) > 1 and any(is_catalog(number) for number in numbers):
            raise MalformedMessage("a catalog is a batch of its own")
        if any(ref.length < 4 * self.records for ref in self.blocks):
            raise MalformedMessage("a block too short for the lengths of its cells")
        if sum(ref.length for ref in self.blocks) > LIMITS.batch_bytes:
            raise LimitExceeded(f"blocks of more than {LIMITS.batch_bytes} bytes in one batch")

    @property
    def is_catalog(self) -> bool:
        """Whether the batch holds names rather than records."""
        return is_catalog(self.blocks[0].field)

    def ref(self, field: int) -> BlockRef:
        """Return the entry of one field.

        Raises:
            ManifestMismatch: the batch has no block of that field.
        """
        for ref in self.blocks:
            if ref.field == field:
                return ref
        raise ManifestMismatch(f"batch {self.batch_id.hex()} lists no block of field {field}")


def manifest_bytes_at_most(blocks: int) -> int:
    """Return a size in bytes that no encoded manifest of so many blocks exceeds."""
    # Each entry: array 1, field 3, epoch 5, salt 2+16, length 5, hash 2+32, padding 1.
    return 28 + 67 * blocks


def verify_block(ref: BlockRef, block: bytes) -> bytes:
    """Return the block once it is known to be the one that the manifest lists (SPEC section 7).

    Raises:
        ManifestMismatch: another length or another SHA-256.
    """
    if len(block) != ref.length or not hmac.compare_digest(
        hashlib.sha256(block).digest(), ref.sha256
    ):
        raise ManifestMismatch(f"a block of field {ref.field} other than the manifest lists")
    return block


# --- upload bodies


class BatchBody(NamedTuple):
    """An upload taken apart: the manifest, its bytes, and its blocks in its order, verified."""

    manifest: Manifest
    manifest_bytes: bytes
    blocks: tuple[bytes, ...]


def join_batch_body(manifest: Manifest, blocks: Sequence[bytes]) -> bytes:
    """Return the upload body: big-endian u32 manifest length, manifest, blocks (SPEC section 7).

    `blocks` are in the manifest's order; what this returns `split_batch_body` takes. The caller
    owes that they have the hashes that are listed: it has just sealed them, and hashing them once
    more would cost a sixth of that.

    Raises:
        ManifestMismatch: blocks of other lengths than the manifest lists.
        LimitExceeded: a body over the batch limit.
    """
    if [ref.length for ref in manifest.blocks] != list(map(len, blocks)):
        raise ManifestMismatch("blocks other than the manifest lists")
    encoded = to_bytes(manifest)
    _room_for(_U32_BIG.size + len(encoded) + sum(map(len, blocks)))
    return b"".join((_U32_BIG.pack(len(encoded)), encoded, *blocks))


def split_batch_body(body: bytes) -> BatchBody:
    """Take an upload body apart and verify each block against the manifest (SPEC section 7).

    What the blocks hold is not looked at: `cell_lengths` tells whether one is well formed, and
    only a holder of the field key whether it opens.

    Raises:
        MalformedMessage: cut off, trailed by something, or a manifest that is none.
        ManifestMismatch: a block other than listed.
        LimitExceeded: more than the table of limits allows.
    """
    _room_for(len(body))
    if len(body) < _U32_BIG.size:
        raise MalformedMessage("an upload that ends inside the manifest's length")
    (length,) = _U32_BIG.unpack_from(body)
    end = _U32_BIG.size + length
    if end > len(body):
        raise MalformedMessage("an upload that ends inside the manifest")
    encoded = body[_U32_BIG.size : end]
    manifest = from_bytes(Manifest, encoded)
    ends = list(accumulate((ref.length for ref in manifest.blocks), initial=end))
    if ends[-1] != len(body):
        raise MalformedMessage("an upload longer or shorter than its manifest says")
    blocks = tuple(body[start:stop] for start, stop in pairwise(ends))
    for ref, block in zip(manifest.blocks, blocks, strict=True):
        verify_block(ref, block)
    return BatchBody(manifest, encoded, blocks)


def join_bundle(bodies: Sequence[bytes]) -> bytes:
    """Return a bundle of upload bodies: of each its length as a big-endian u32, and itself.

    What this returns `split_bundle` takes (SPEC section 7.3).

    Raises:
        ApiMisuse: no body.
        LimitExceeded: more of them, or more bytes, than one bundle may have.
    """
    if not bodies:
        raise ApiMisuse("a bundle of nothing")
    _room_in_bundle(len(bodies), sum(map(len, bodies)) + _U32_BIG.size * len(bodies))
    return b"".join(part for body in bodies for part in (_U32_BIG.pack(len(body)), body))


def split_bundle(bundle: bytes) -> tuple[bytes, ...]:
    """Take a bundle apart; what each of its bodies is, `split_batch_body` tells (SPEC section 7.3).

    Raises:
        MalformedMessage: cut off, or no body in it.
        LimitExceeded: more of them, or more bytes, than one bundle may have.
    """
    bodies: list[bytes] = []
    at = 0
    while at < len(bundle):
        start = at + _U32_BIG.size
        _room_in_bundle(len(bodies) + 1, len(bundle))
        if start > len(bundle):
            raise MalformedMessage("a bundle that ends inside a length")
        (length,) = _U32_BIG.unpack_from(bundle, at)
        at = start + length
        if at > len(bundle):
            raise MalformedMessage("a bundle that ends inside a body")
        bodies.append(bundle[start:at])
    if not bodies:
        raise MalformedMessage("a bundle of nothing")
    return tuple(bodies)


def _room_in_bundle(count: int, size: int) -> None:
    if count > LIMITS.bundle_batches:
        raise LimitExceeded(f"more than {LIMITS.bundle_batches} batches in one bundle")
    if size > LIMITS.bundle_bytes:
        raise LimitExceeded(f"a bundle of {size} bytes, {LIMITS.bundle_bytes} are allowed")


def _room_for(size: int) -> None:
    if size > LIMITS.batch_bytes:
        raise LimitExceeded(f"a batch of {size} bytes, at most {LIMITS.batch_bytes} are allowed")


# --- inside a block


def cell_lengths(block: bytes, records: int) -> tuple[int, ...]:
    """Return each sealed cell's length in bytes, 0 for an erased one (SPEC sections 7.2 and 7.3).

    Raises:
        MalformedMessage: lengths that no sealed cell has, or that do not add up to the block.
    """
    header = 4 * records
    if len(block) < header:
        raise MalformedMessage("a block that ends inside its lengths")
    lengths = struct.unpack_from(f"<{records}I", block)
    if any(length and (length % CELL_STEP or length < CELL_LEAST) for length in lengths):
        raise MalformedMessage("a length that no sealed cell has")
    if header + sum(lengths) != len(block):
        raise MalformedMessage("cells that do not add up to the block")
    return lengths


def empty_cells(block: bytes, records: int, positions: Collection[int]) -> bytes:
    """Return the block with the cells at `positions` erased: length 0, no bytes (SPEC 7.2, 9.5).

    Needs no key, so that the server and whoever erases build the same bytes, each by itself.
    A cell that is empty already stays so. Where all positions are named, what is left is lengths
    of zero, whatever the block was: so rubbish can be erased that no key opens.

    Raises:
        MalformedMessage: a block that is not well formed.
        ApiMisuse: a position outside the batch.
    """
    emptied = frozenset(positions)
    if not all(0 <= position < records for position in emptied):
        raise ApiMisuse("a position outside the batch")
    if len(emptied) == records:
        return bytes(4 * records)
    lengths = cell_lengths(block, records)
    starts = accumulate(lengths, initial=4 * records)
    kept = [
        (0, b"") if position in emptied else (length, block[start : start + length])
        for position, (length, start) in enumerate(zip(lengths, starts, strict=False))
    ]
    header = struct.pack(f"<{records}I", *(length for length, _ in kept))
    return header + b"".join(cell for _, cell in kept)
