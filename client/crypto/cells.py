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
from typing import NamedTuple, NoReturn

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from client.columns import Cells
from client.crypto.block_keys import (
    CellKey,
    check_key,
    derive_batch_key,
    fresh_salt,
)
from client.crypto.engines import (
    LENGTH_BYTES,
    NONCE,
    BlockRefused,
    Engine,
    Fault,
    Mask,
    Rules,
    default_engine,
)
from client.crypto.padding import (
    BadPadding,
    Needs,
    Shape,
    Sizes,
    allowed_modes,
    needed_sizes,
    power_sizes,
    round_up,
    round_up_one,
    rows_of_few_values,
    shape_of,
    unpad,
)
from protocol.blocks import (
    BATCH_ID_BYTES,
    CELL_LEAST,
    CELL_STEP,
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
from protocol.limits import LIMITS

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
        check_key(self.field_key)

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
    chosen = engine or default_engine()
    sealed = [_seal_column(column, batch_id, chosen) for column in ordered]
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
    cells, field_class = column.cells, column.field_class
    needs = _checked_needs(column, engine)
    padding = mode_of(cells, field_class, engine)
    plan = _BlockPlan(
        column.field,
        column.epoch,
        padding,
        shape_of(needs, cells.count, padding, field_class),
    )
    return _seal_cells(cells, plan, column.field_key, batch_id, engine)


def mode_of(cells: Cells, field_class: FieldClass, engine: Engine) -> Padding:
    """Return the mode in which a block of these cells is sealed (SPEC section 7)."""
    few = not cells.string_like or engine.rows_of_few_values(cells) == cells.count
    return Padding.UNIFORM if few else Padding.of_text(field_class)


def _checked_needs(column: ColumnToSeal, engine: Engine) -> Needs:
    """Return what the cells need once none is too long."""
    needs = engine.measure(column.cells, column.field_class.unit)
    if needs.longest - 1 > LIMITS.cell_bytes:
        raise LimitExceeded(
            f"field {column.field}, record {needs.position}: a cell of {needs.longest - 1} bytes, "
            f"at most {LIMITS.cell_bytes} are allowed"
        )
    return needs


def _length_of(records: int, present: int, shape: Shape) -> int:
    """Return how many bytes a block has of whose records so many were not erased."""
    return LENGTH_BYTES * records + shape.total + TAG_BYTES * present


class _BlockPlan(NamedTuple):
    """What a block will be: where it belongs, how it is padded, and which cells stay empty."""

    field: int
    epoch: int
    padding: Padding
    shape: Shape
    erased: Mask | None = None


def _seal_cells(
    cells: Cells, plan: _BlockPlan, field_key: bytes, batch_id: bytes, engine: Engine
) -> tuple[BlockRef, bytes]:
    """Seal the cells that were not erased as one block under a fresh salt."""
    records = cells.count if plan.erased is None else len(plan.erased)
    length = _length_of(records, cells.count, plan.shape)
    if length > LIMITS.block_bytes:
        raise LimitExceeded(
            f"field {plan.field}: a block of {length} bytes, at most {LIMITS.block_bytes}"
        )
    with engine.draft(cells, plan.shape, plan.erased) as draft:
        salt = fresh_salt(field_key, draft.plaintext)
        block = draft.seal(derive_batch_key(field_key, batch_id, salt))
    sha256 = hashlib.sha256(block).digest()
    return BlockRef(plan.field, plan.epoch, salt, length, sha256, plan.padding), block


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
    around = LENGTH_BYTES + manifest_bytes_at_most(len(columns))
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
    longest = _checked_needs(column, default_engine()).longest
    widest = round_up_one(longest, column.field_class.unit)
    if widest > UNIFORM_MOST:
        widest = 1 << (longest - 1).bit_length()
    return (LENGTH_BYTES + widest + TAG_BYTES) * column.cells.count


def _block_bytes_by_rows(column: ColumnToSeal) -> Sizes:
    """Return, for each number of leading records from 1, how many bytes their block has."""
    needed, unit = needed_sizes(column.cells), column.field_class.unit
    rows = np.arange(1, len(needed) + 1)
    widest = round_up(np.maximum.accumulate(needed), unit)
    uniform = np.where(widest <= UNIFORM_MOST, rows * widest, np.cumsum(power_sizes(needed)))
    multiple = np.cumsum(round_up(needed, unit))
    few = rows <= rows_of_few_values(column.cells)
    return np.where(few, uniform, multiple) + (LENGTH_BYTES + TAG_BYTES) * rows


# --- opening


class OpenedBlock(NamedTuple):
    """The cells of a block, and which of them were erased (they come as nulls)."""

    cells: Cells
    erased: Mask


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
    and `records`, and that `erased` is what the ledger's state says. Whether the values are those
    of the column's type is for whoever builds the column: a holder of the key may lie.

    Raises:
        IntegrityError: any of these is not so; it names the field, the batch, and at most one
            record.
    """
    check_key(field_key)
    try:
        # (0)
        if len(block) != ref.length or not hmac.compare_digest(
            hashlib.sha256(block).digest(), ref.sha256
        ):
            raise BlockRefused(Fault.BLOCK)
        if records < 1 or len(block) < LENGTH_BYTES * records:
            raise BlockRefused(Fault.SUM)
        if ref.padding not in allowed_modes(field_class, string_like):
            raise BlockRefused(Fault.MODE)
        gone = _mask(erased, records)
        # (1) (2) (3) (4)
        cells = (engine or default_engine()).open(
            derive_batch_key(field_key, batch_id, ref.salt),
            block,
            gone if erased else None,
            records,
            Rules(field_class, ref.padding, string_like),
        )
    except BlockRefused as refused:
        where = "" if refused.record is None else f", record {refused.record}"
        raise IntegrityError(
            f"field {ref.field} of batch {batch_id.hex()}{where} did not open"
        ) from refused
    return OpenedBlock(cells, gone)


def _mask(erased: frozenset[int], records: int) -> Mask:
    """Return which records were erased, once all of them are records of the block."""
    mask = np.zeros(records, np.bool_)
    if erased:
        if min(erased) < 0 or max(erased) >= records:
            raise BlockRefused(Fault.EMPTY)
        mask[list(erased)] = True
    return mask


# --- resealing


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
    """Open a block and seal it again under the key of another epoch (SPEC section 7.2).

    It keeps its batch id, its places, its padding mode and every padded length, so that nothing
    comes to light that it did not show, and it is no longer than it was. It gets a salt of its
    own, so calling this again seals nothing twice under one cell key. Cells that were erased stay
    empty. The caller owes what `open_block` asks for, and that `new_key` is the confirmed key of
    `new_epoch`.

    Raises:
        IntegrityError: the block does not open; see `open_block`.
        ApiMisuse: both keys are one.
    """
    check_key(new_key)
    if hmac.compare_digest(old_key, new_key):
        raise ApiMisuse("resealing needs another key")
    chosen = engine or default_engine()
    opened = open_block(
        old_key, field_class, ref, batch_id, records, block, string_like, erased, chosen
    )
    left = _without(opened.cells, opened.erased) if erased else opened.cells
    plan = _BlockPlan(
        ref.field,
        new_epoch,
        ref.padding,
        _shape_of(block, records, left.count, ref.padding, field_class),
        opened.erased if erased else None,
    )
    return _seal_cells(left, plan, new_key, batch_id, chosen)


def _shape_of(
    block: bytes, records: int, present: int, padding: Padding, field_class: FieldClass
) -> Shape:
    """Return the shape that the cells of a block have which has opened."""
    total = len(block) - LENGTH_BYTES * records - TAG_BYTES * present
    if padding is not Padding.UNIFORM:
        return Shape(0, field_class.unit, total)
    widest = int(np.frombuffer(block, "<u4", records).max()) - TAG_BYTES
    return Shape(widest if 0 < widest <= UNIFORM_MOST else 0, 0, total)


def _without(cells: Cells, erased: Mask) -> Cells:
    """Return the cells that were not erased; those that were have no bytes."""
    left = ~erased
    offsets = np.append(cells.offsets[:-1][left], cells.offsets[-1])
    return Cells.trusted(cells.values, offsets, cells.valid[left], cells.string_like)


# --- one cell


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
