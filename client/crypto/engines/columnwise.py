"""Blocks for engines that only seal and open cells: whole columns at a time, in numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

import numpy as np

from client.columns import Cells
from client.crypto.block_keys import KEY_BYTES, fill_cell_keys
from client.crypto.engines.contract import (
    LENGTH_BYTES,
    BlockRefused,
    Fault,
    Mask,
    Rules,
)
from client.crypto.padding import (
    BadPadding,
    Needs,
    Octets,
    Shape,
    Sizes,
    needed_sizes,
    needs_of,
    pad,
    rows_of_few_values,
    shaped_sizes,
    unpad,
    verify_sizes,
)
from protocol.blocks import CELL_LEAST, CELL_STEP, TAG_BYTES
from protocol.errors import ApiMisuse

_LENGTHS: Final = np.dtype("<u4")


class CellRefused(Exception):
    """One cell does not authenticate; `position` counts those handed over, from 0."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class ColumnwiseEngine(ABC):
    """An engine that has a way to seal and open cells which lie joined in one buffer.

    Of both ways: `keys` holds 32 bytes for each cell, one after another. `sizes` are at least one,
    add up to the buffer and are multiples of 16: above 0 to seal, above 16 to open.
    Raises: ApiMisuse for other sizes or keys, before anything is read by them.
    """

    name: ClassVar[str]
    parallel: ClassVar[bool] = False

    @abstractmethod
    def seal_cells(self, keys: Octets, padded: Octets, sizes: Sizes) -> Octets:
        """Return the sealed cells joined: each 16 bytes longer than its size in `sizes`."""

    @abstractmethod
    def open_cells(self, keys: Octets, sealed: Octets, sizes: Sizes) -> Octets:
        """Return the cells joined, each 16 bytes shorter than its size, once all have opened.

        Raises:
            CellRefused: a cell that does not authenticate; nothing else comes out.
        """

    def rows_of_few_values(self, cells: Cells) -> int:
        """Count leading cells of few values; see `Engine.rows_of_few_values`."""
        return rows_of_few_values(cells)

    def measure(self, cells: Cells, unit: int) -> Needs:
        """Measure cells; see `Engine.measure`."""
        return needs_of(cells, unit)

    @contextmanager
    def draft(
        self, cells: Cells, shape: Shape, erased: Mask | None = None
    ) -> Iterator[ColumnwiseDraft]:
        """Pad cells; see `Engine.draft`."""
        sizes = shaped_sizes(needed_sizes(cells), shape)
        records = len(sizes) if erased is None else len(erased)
        header = LENGTH_BYTES * records
        plaintext = np.zeros(header + int(sizes.sum()), np.uint8)
        try:
            lengths = plaintext[:header].view(_LENGTHS)
            lengths[slice(None) if erased is None else ~erased] = sizes
            pad(cells, sizes, plaintext[header:])
            yield ColumnwiseDraft(self, plaintext, sizes, erased)
        finally:
            plaintext[:] = 0

    def open(
        self, batch_key: bytes, block: bytes, erased: Mask | None, records: int, rules: Rules
    ) -> Cells:
        """Open a block; see `Engine.open`."""
        sizes = _sealed_sizes(block, records)
        empty = np.equal(sizes, 0)
        if not np.array_equal(empty, np.zeros(records, np.bool_) if erased is None else erased):
            raise BlockRefused(Fault.EMPTY)
        present = np.flatnonzero(~empty)
        offsets, valid = np.zeros(records + 1, np.int64), np.zeros(records, np.bool_)
        if not len(present):
            return Cells(b"", offsets, valid, rules.string_like)
        some_erased = len(present) < records
        keys = _keys(batch_key, records, ~empty if some_erased else None)
        sealed = np.frombuffer(block, np.uint8)[LENGTH_BYTES * records :]
        sizes = sizes[present]
        try:
            padded = self.open_cells(keys, sealed, sizes)
            sizes = sizes - TAG_BYTES
            plain = unpad(padded, sizes)
            unit = rules.field_class.unit
            verify_sizes(plain.lengths + 1, sizes, rules.padding, unit, some_erased=some_erased)
        except CellRefused as refused:
            raise BlockRefused(Fault.CELL, int(present[refused.position])) from None
        except BadPadding as refused:
            raise BlockRefused(Fault.PADDING, int(present[refused.position])) from None
        lengths = np.zeros(records, np.int64)
        lengths[present], valid[present] = plain.lengths, plain.valid
        np.cumsum(lengths, out=offsets[1:])
        return Cells(plain.values, offsets, valid, rules.string_like)


class ColumnwiseDraft:
    """A padded block; see `Draft`."""

    def __init__(
        self, engine: ColumnwiseEngine, plaintext: Octets, sizes: Sizes, erased: Mask | None
    ) -> None:
        self.plaintext = plaintext
        self._engine = engine
        self._sizes = sizes
        self._erased = erased

    def seal(self, batch_key: bytes) -> bytes:
        """Seal the block; see `Draft.seal`."""
        records = len(self._sizes) if self._erased is None else len(self._erased)
        present = None if self._erased is None else ~self._erased
        lengths = self.plaintext[: LENGTH_BYTES * records].view(_LENGTHS)
        header = np.where(lengths, lengths + TAG_BYTES, 0).astype(_LENGTHS)
        if not len(self._sizes):
            return header.tobytes()
        keys = _keys(batch_key, records, present)
        padded = self.plaintext[LENGTH_BYTES * records :]
        return b"".join((header.data, self._engine.seal_cells(keys, padded, self._sizes).data))


def check_bounds(keys: Octets, buffer: Octets, sizes: Sizes) -> None:
    """Stand between the sizes and whatever is read by them; see `ColumnwiseEngine`."""
    stepwise = len(sizes) > 0 and bool(((sizes > 0) & (sizes % CELL_STEP == 0)).all())
    if not stepwise or int(sizes.sum()) != len(buffer) or len(keys) != KEY_BYTES * len(sizes):
        raise ApiMisuse("sizes or keys that do not fit the cells")


def _keys(batch_key: bytes, records: int, present: Mask | None) -> Octets:
    """Return the keys of the cells that are there, joined."""
    keys = np.empty(KEY_BYTES * records, np.uint8)
    fill_cell_keys(batch_key, keys)
    return keys if present is None else keys.reshape(records, KEY_BYTES)[present].reshape(-1)


def _sealed_sizes(block: bytes, records: int) -> Sizes:
    """Return the length of each sealed cell, 0 for an empty one."""
    lengths = np.frombuffer(block, _LENGTHS, records)
    wrong = (lengths != 0) & ((lengths < CELL_LEAST) | (lengths % CELL_STEP != 0))
    if wrong.any():
        raise BlockRefused(Fault.LENGTH, int(wrong.argmax()))
    sizes = lengths.astype(np.int64)
    if LENGTH_BYTES * records + int(sizes.sum()) != len(block):
        raise BlockRefused(Fault.SUM)
    return sizes
