"""Sealing columns of cells into batches, and opening blocks again (SPEC section 7).

    sealed = seal_batch([ColumnToSeal(field, epoch, field_class, field_key, cells), ...])
    opened = open_block(field_key, field_class, ref, batch_id, records, block, string_like=True)

Every cell has a key of its own, which says where the cell belongs: the field key (vault,
collection, field, epoch), the batch and the position all went into it. So a cell that was moved
does not open, and no address and no nonce is stored with it. Use `plan_rows` first to learn how
many records one batch takes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from client.columns import Cells
from client.crypto.derivation import hkdf
from client.crypto.engines import DEFAULT, KEY_BYTES, NONCE, CellRefused, Engine
from client.crypto.padding import (
    BadPadding,
    Octets,
    Sizes,
    allowed_modes,
    mode_of,
    needed_sizes,
    pad,
    padded_sizes,
    power_sizes,
    round_up,
    rows_of_few_values,
    unpad,
    verify_sizes,
)
from client.crypto.secrets import Secret
from protocol.blocks import (
    BATCH_ID_BYTES,
    CELL_LEAST,
    CELL_STEP,
    SALT_BYTES,
    TAG_BYTES,
    UNIFORM_MOST,
    BlockRef,
    FieldClass,
    Manifest,
    Padding,
    join_batch_body,
    manifest_bytes_at_most,
)
from protocol.errors import ApiMisuse, IntegrityError, LimitExceeded
from protocol.labels import Label, framed
from protocol.limits import LIMITS

_COUNTER_BYTES: Final = 16
_LENGTH_BYTES: Final = 4


# --- sealing


@dataclass(frozen=True, slots=True, eq=False)
class ColumnToSeal:
    """One field's cells of a batch, with where they belong and the key to seal them under."""

    field: int
    epoch: int
    field_class: FieldClass
    field_key: bytes = dataclasses.field(repr=False)
    cells: Cells

    def __post_init__(self) -> None:
        """Refuse a key of another size."""
        _check_key(self.field_key)

    def __reduce__(self) -> NoReturn:
        """Refuse pickling: it holds a key."""
        raise TypeError("ColumnToSeal cannot be pickled")


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A manifest and its blocks, in its order; nothing of it is secret."""

    manifest: Manifest
    blocks: tuple[bytes, ...] = dataclasses.field(repr=False)

    def body(self) -> bytes:
        """Return what is uploaded; see `protocol.blocks.join_batch_body`."""
        return join_batch_body(self.manifest, self.blocks)


def seal_batch(columns: Sequence[ColumnToSeal], engine: Engine | None = None) -> SealedBatch:
    """Seal one batch: the same records in one or more fields (SPEC section 7).

    The batch id is drawn in here and each salt depends on the plaintext too, so neither a retry
    nor a cloned process seals two plaintexts under one cell key. Columns may come in any order.
    The caller owes that each field key belongs to the field and epoch it stands beside, and that
    a failed upload sends these same bytes again or seals anew.

    Raises:
        LimitExceeded: a cell, a block or the batch too large, or too many records; see
            `plan_rows`.
        ApiMisuse: no column, no record, columns of different counts, or a field twice.
    """
    ordered = sorted(columns, key=lambda column: column.field)
    records = _records_of(ordered)
    batch_id = secrets.token_bytes(BATCH_ID_BYTES)
    sealed = [_seal_column(column, batch_id, engine or DEFAULT) for column in ordered]
    manifest = Manifest(batch_id, records, tuple(ref for ref, _ in sealed))
    return SealedBatch(manifest, tuple(block for _, block in sealed))


def _records_of(columns: Sequence[ColumnToSeal]) -> int:
    """Return the number of records that all columns have."""
    counts = {column.cells.count for column in columns}
    if len(counts) != 1 or counts == {0}:
        raise ApiMisuse("a batch needs columns, records, and one count for all columns")
    if len({column.field for column in columns}) != len(columns):
        raise ApiMisuse("a batch has one column for each field")
    (records,) = counts
    if records > LIMITS.batch_records:
        raise LimitExceeded(f"{records} records, at most {LIMITS.batch_records} fit in a batch")
    return records


def _seal_column(column: ColumnToSeal, batch_id: bytes, engine: Engine) -> tuple[BlockRef, bytes]:
    needed = _checked_sizes(column)
    padding = mode_of(column.cells, column.field_class)
    sizes = padded_sizes(needed, padding, column.field_class.unit)
    length = _LENGTH_BYTES * len(sizes) + int((sizes + TAG_BYTES).sum())
    if length > LIMITS.block_bytes:
        raise LimitExceeded(
            f"field {column.field}: a block of {length} bytes, at most {LIMITS.block_bytes}"
        )
    plaintext, padded = _block_of(sizes)
    pad(column.cells, sizes, padded)
    salt = _fresh_salt(column.field_key, plaintext)
    keys = _cell_keys(_batch_key(column.field_key, batch_id, salt), len(sizes))
    header = (sizes + TAG_BYTES).astype("<u4")
    block = b"".join((header.data, engine.seal(keys, padded, sizes).data))
    sha256 = hashlib.sha256(block).digest()
    return BlockRef(column.field, column.epoch, salt, length, sha256, padding), block


def _checked_sizes(column: ColumnToSeal) -> Sizes:
    """Return what each cell needs once none is too long."""
    needed = needed_sizes(column.cells)
    largest = int(needed.argmax())
    if needed[largest] - 1 > LIMITS.cell_bytes:
        raise LimitExceeded(
            f"field {column.field}, record {largest}: a cell of {needed[largest] - 1} bytes, "
            f"at most {LIMITS.cell_bytes} are allowed"
        )
    return needed


def _block_of(sizes: Sizes) -> tuple[Octets, Octets]:
    """Return a block plaintext with its lengths written, and the part where the cells go."""
    header = _LENGTH_BYTES * len(sizes)
    plaintext = np.zeros(header + int(sizes.sum()), np.uint8)
    plaintext[:header] = sizes.astype("<u4").view(np.uint8)
    return plaintext, plaintext[header:]


# --- planning


def plan_rows(columns: Sequence[ColumnToSeal]) -> int:
    """Return how many leading records of these columns one batch takes: all, or fewer.

    Sealing exactly so many keeps to the limits on records, blocks and the batch. At least 1.

    Raises:
        LimitExceeded: a cell too long, or a first record that no batch has room for.
        ApiMisuse: no column, no record, columns of different counts, or a field twice.
    """
    records = _records_of([_first_rows(column, LIMITS.batch_records) for column in columns])
    first = [_first_rows(column, records) for column in columns]
    around = _LENGTH_BYTES + manifest_bytes_at_most(len(columns))
    most = [_block_bytes_at_most(column) for column in first]
    if max(most) <= LIMITS.block_bytes and sum(most) + around <= LIMITS.batch_bytes:
        return records
    total = np.full(records, around)
    fits = np.ones(records, np.bool_)
    for column in first:
        block = _block_bytes_by_rows(column)
        fits &= block <= LIMITS.block_bytes
        total += block
    fitting = np.flatnonzero(fits & (total <= LIMITS.batch_bytes))
    if not len(fitting):
        raise LimitExceeded("the first record alone is larger than a batch may be")
    return int(fitting[-1]) + 1


def _first_rows(column: ColumnToSeal, rows: int) -> ColumnToSeal:
    cells = column.cells
    if cells.count <= rows:
        return column
    end = int(cells.offsets[rows])
    values = np.frombuffer(cells.values, np.uint8)
    first = Cells(values[:end], cells.offsets[: rows + 1], cells.valid[:rows], cells.string_like)
    return ColumnToSeal(column.field, column.epoch, column.field_class, column.field_key, first)


def _block_bytes_at_most(column: ColumnToSeal) -> int:
    """Return what the block has if every cell is padded as the longest one, whatever the mode."""
    longest = _checked_sizes(column).max(keepdims=True)
    widest = int(padded_sizes(longest, Padding.UNIFORM, column.field_class.unit)[0])
    return (_LENGTH_BYTES + widest + TAG_BYTES) * column.cells.count


def _block_bytes_by_rows(column: ColumnToSeal) -> Sizes:
    """Return, for each number of leading records from 1, how many bytes their block has."""
    needed, unit = _checked_sizes(column), column.field_class.unit
    rows = np.arange(1, len(needed) + 1)
    widest = round_up(np.maximum.accumulate(needed), unit)
    uniform = np.where(widest <= UNIFORM_MOST, rows * widest, np.cumsum(power_sizes(needed)))
    multiple = np.cumsum(round_up(needed, unit))
    few = rows <= rows_of_few_values(column.cells)
    return np.where(few, uniform, multiple) + (_LENGTH_BYTES + TAG_BYTES) * rows


# --- opening


class OpenedBlock(NamedTuple):
    """The cells of a block, and which of them were erased (they come as nulls)."""

    cells: Cells
    erased: npt.NDArray[np.bool_]


class _DidNotOpen(Exception):
    """Why and where is for our tests; outward there is one answer."""

    def __init__(self, reason: str, position: int | None = None) -> None:
        super().__init__(reason)
        self.position = position


def open_block(
    field_key: bytes,
    field_class: FieldClass,
    ref: BlockRef,
    batch_id: bytes,
    records: int,
    block: bytes,
    string_like: bool,
    erased: frozenset[int] = frozenset(),
    engine: Engine | None = None,
) -> OpenedBlock:
    """Open a whole block, or nothing of it (SPEC section 7).

    Obligations:
      (0) the block has the length and the SHA-256 of the manifest's entry `ref`;
      (1) its lengths are those of sealed cells and add up to it;
      (2) exactly the `erased` positions are empty;
      (3) every other cell authenticates under the key of its own position;
      (4) the padding mode is one for this class and type, and every cell is padded by it.
    The caller owes that a believed commit vouches for the manifest that holds `ref`, `batch_id`
    and `records`, and that `erased` is what the ledger's state says: nothing, as long as no act
    erases (SPEC section 14). Whether the values are those of the column's type is for whoever
    builds the column: a holder of the key may lie.

    Raises:
        IntegrityError: any of these is not so; it names the field, the batch, and at most one
            record.
    """
    _check_key(field_key)
    try:
        # (0)
        if len(block) != ref.length or not hmac.compare_digest(
            hashlib.sha256(block).digest(), ref.sha256
        ):
            raise _DidNotOpen("another block")
        # (1) (2)
        sizes = _sealed_sizes(block, records)
        gone = _erased_mask(sizes, erased)
        # (3) (4)
        batch_key = _batch_key(field_key, batch_id, ref.salt)
        cells = _open_present(
            batch_key, field_class, ref.padding, block, sizes, string_like, engine or DEFAULT
        )
    except _DidNotOpen as failed:
        where = "" if failed.position is None else f", record {failed.position}"
        raise IntegrityError(
            f"field {ref.field} of batch {batch_id.hex()}{where} did not open"
        ) from failed
    return OpenedBlock(cells, gone)


def _sealed_sizes(block: bytes, records: int) -> Sizes:
    """Return the length of each sealed cell, 0 for an empty one (1)."""
    header = _LENGTH_BYTES * records
    if records < 1 or len(block) < header:
        raise _DidNotOpen("too short for its lengths")
    sizes = np.frombuffer(block, "<u4", records).astype(np.int64)
    wrong = (sizes != 0) & ((sizes < CELL_LEAST) | (sizes % CELL_STEP != 0))
    if wrong.any():
        raise _DidNotOpen("a length that no sealed cell has", int(wrong.argmax()))
    if header + int(sizes.sum()) != len(block):
        raise _DidNotOpen("lengths that do not add up")
    return sizes


def _erased_mask(sizes: Sizes, erased: frozenset[int]) -> npt.NDArray[np.bool_]:
    """Return which cells are empty, once they are those that should be (2)."""
    empty = np.equal(sizes, 0)
    if erased != frozenset(np.flatnonzero(empty).tolist()):
        raise _DidNotOpen("other cells are empty than were erased")
    return empty


def _open_present(
    batch_key: bytes,
    field_class: FieldClass,
    padding: Padding,
    block: bytes,
    sizes: Sizes,
    string_like: bool,
    engine: Engine,
) -> Cells:
    """Open what was not erased, and check how it was padded (3) (4)."""
    if padding not in allowed_modes(field_class, string_like):
        raise _DidNotOpen("a padding mode of another class or type")
    count, present = len(sizes), np.flatnonzero(sizes)
    offsets, valid = np.zeros(count + 1, np.int64), np.zeros(count, np.bool_)
    if not len(present):
        return Cells(b"", offsets, valid, string_like)
    some_erased = len(present) < count
    keys = _cell_keys(batch_key, count)
    if some_erased:
        keys = np.frombuffer(keys, f"V{KEY_BYTES}")[present].tobytes()
        sizes = sizes[present]
    sealed = np.frombuffer(block, np.uint8)[_LENGTH_BYTES * count :]
    try:
        padded = engine.open(keys, sealed, sizes)
        plain = unpad(padded, sizes - TAG_BYTES)
        verify_sizes(
            plain.lengths + 1,
            sizes - TAG_BYTES,
            padding,
            field_class.unit,
            some_erased=some_erased,
        )
    except (CellRefused, BadPadding) as refused:
        raise _DidNotOpen(type(refused).__name__, int(present[refused.position])) from None
    lengths = np.zeros(count, np.int64)
    lengths[present], valid[present] = plain.lengths, plain.valid
    np.cumsum(lengths, out=offsets[1:])
    return Cells(plain.values, offsets, valid, string_like)


def reseal_block(
    old_key: bytes,
    new_key: bytes,
    field_class: FieldClass,
    ref: BlockRef,
    new_epoch: int,
    batch_id: bytes,
    records: int,
    block: bytes,
    string_like: bool,
    erased: frozenset[int] = frozenset(),
    engine: Engine | None = None,
) -> tuple[BlockRef, bytes]:
    """Open a block and seal its cells anew under another key (SPEC section 9.5)."""
    engine = engine or DEFAULT
    cells = open_block(
        old_key, field_class, ref, batch_id, records, block, string_like, erased, engine
    ).cells
    there = np.array([i for i in range(records) if i not in erased], np.int64)
    padding, sizes, sealed = Padding.UNIFORM, np.zeros(0, np.int64), b""
    salt = _fresh_salt(new_key, np.zeros(4 * records, np.uint8))
    if len(there):
        kept = _taken(cells, there)
        padding = mode_of(kept, field_class)
        sizes = padded_sizes(needed_sizes(kept), padding, field_class.unit)
        lengths = np.zeros(records, np.int64)
        lengths[there] = sizes
        plaintext = np.zeros(4 * records + int(sizes.sum()), np.uint8)
        plaintext[: 4 * records] = lengths.astype("<u4").view(np.uint8)
        pad(kept, sizes, plaintext[4 * records :])
        salt = _fresh_salt(new_key, plaintext)
        keys = _cell_keys(_batch_key(new_key, batch_id, salt), records)
        if len(there) < records:
            keys = np.frombuffer(keys, f"V{KEY_BYTES}")[there].tobytes()
        sealed = engine.seal(keys, plaintext[4 * records :], sizes).tobytes()
    header = np.zeros(records, "<u4")
    header[there] = sizes + TAG_BYTES
    made = header.tobytes() + sealed
    sha256 = hashlib.sha256(made).digest()
    return BlockRef(ref.field, new_epoch, salt, len(made), sha256, padding), made


def _taken(cells: Cells, there: npt.NDArray[np.int64]) -> Cells:
    lengths = np.diff(cells.offsets)[there]
    offsets = np.zeros(len(there) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Cells(cells.values, offsets, cells.valid[there], cells.string_like)


# --- one cell


class CellKey(Secret):
    """The key of one cell, 32 bytes: opens that cell and nothing else."""


def cell_key(field_key: bytes, batch_id: bytes, salt: bytes, position: int) -> CellKey:
    """Derive the key of one cell, which may be given away alone (SPEC section 7).

    Raises:
        ApiMisuse: a position outside any batch, or a field key that is not 32 bytes.
    """
    _check_key(field_key)
    if not 0 <= position < LIMITS.batch_records:
        raise ApiMisuse("a position outside any batch")
    blocks_before = position * KEY_BYTES // _COUNTER_BYTES
    counter = blocks_before.to_bytes(_COUNTER_BYTES, "big")
    return CellKey(_keystream(_batch_key(field_key, batch_id, salt), counter, KEY_BYTES))


def open_cell(key: CellKey, sealed: bytes) -> bytes | None:
    """Open one cell under its own key: its value, or None for a null (SPEC section 7).

    That the cell is the committed one at its place, and the key the one that the field key
    gives (a cell can be made to open under two), is the caller's to check. How far it was
    padded is a matter of its whole block, so only `open_block` checks that.

    Raises:
        IntegrityError: it did not open.
    """
    try:
        padded = AESGCM(key.expose()).decrypt(NONCE, sealed, None)
        if len(sealed) < CELL_LEAST or len(sealed) % CELL_STEP:
            raise BadPadding(0)
        plain = unpad(np.frombuffer(padded, np.uint8), np.array([len(padded)]))
    except (InvalidTag, BadPadding):
        raise IntegrityError("the cell did not open") from None
    return plain.values.tobytes() if plain.valid[0] else None


# --- keys, from the field key down


def _check_key(key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise ApiMisuse(f"a key of {KEY_BYTES} bytes is needed")


def _fresh_salt(field_key: bytes, plaintext: Octets) -> bytes:
    """Draw a salt that no other plaintext gets, even from the same random bytes."""
    salt_key = hkdf(field_key, framed(Label.SALT_KEY))
    drawn = secrets.token_bytes(32) + hashlib.sha256(plaintext.data).digest()
    return hmac.digest(salt_key, drawn, "sha256")[:SALT_BYTES]


def _batch_key(field_key: bytes, batch_id: bytes, salt: bytes) -> bytes:
    return hkdf(field_key, framed(Label.BATCH_KEY, batch_id, salt))


def _cell_keys(batch_key: bytes, count: int) -> bytes:
    """Return the keys of `count` cells, 32 bytes each, joined."""
    return _keystream(batch_key, bytes(_COUNTER_BYTES), KEY_BYTES * count)


def _keystream(key: bytes, counter: bytes, length: int) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(length))
