"""The work that is measured: sealing, opening and resealing blocks, and what it is compared with.

Cells of 8, 20, 60 and 400 bytes, and text whose lengths differ or whose values repeat. Everything
is compared, in the same round, with two things:

(a)        the plainest way to do the work: a Python loop over one reused AESGCM object with random
           nonces and 40 bytes of associated data, on the same values;
bare loop  libsodium's AES-256-GCM with a key of its own for every cell, on as many padded bytes,
           in the barest loop in C: nothing that uses it can be faster.

What is sealed is handed on and let go of, as an upload does. Blocks include padding, salts, keys
and both hashes; "cells" are what an engine does between those.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from client.columns import Cells
from client.crypto.cells import ColumnToSeal, mode_of, open_block, reseal_block, seal_batch
from client.crypto.engines import BareLoop, Engine, Rules
from client.crypto.padding import Octets, shape_of
from protocol.blocks import TAG_BYTES, BlockRef, FieldClass
from protocol.limits import LIMITS

RECORDS = 5 * LIMITS.batch_records_default
FIELDS = 4
LENGTHS = (8, 20, 60, 400)

T = TypeVar("T")
Table = Sequence[Sequence[bytes]]
Batches = list[list[ColumnToSeal]]


# --- the tables


def table_of(length: int, records: int = RECORDS, fields: int = FIELDS) -> Table:
    """Return columns of many values of exactly so many bytes."""
    draw = random.Random(length)
    return [[draw.randbytes(length) for _ in range(records)] for _ in range(fields)]


def varied_table(records: int = RECORDS, fields: int = FIELDS) -> Table:
    """Return columns of many values of 12 to 28 bytes: every second cell is a step longer."""
    draw = random.Random(2)
    return [[draw.randbytes(draw.randint(12, 28)) for _ in range(records)] for _ in range(fields)]


def few_values_table(records: int = RECORDS, fields: int = FIELDS) -> Table:
    """Return columns of 12 values of 12 to 28 bytes: counting the values is part of the work."""
    draw = random.Random(3)
    values = [[draw.randbytes(draw.randint(12, 28)) for _ in range(12)] for _ in range(fields)]
    return [[draw.choice(some) for _ in range(records)] for some in values]


def tables(records: int = RECORDS, fields: int = FIELDS) -> Iterator[tuple[str, Table]]:
    """Return all of them by what they hold."""
    for length in LENGTHS:
        yield f"{length} bytes", table_of(length, records, fields)
    yield "12 to 28 bytes", varied_table(records, fields)
    yield "12 values", few_values_table(records, fields)


def batches_of(table: Table, records: int = LIMITS.batch_records_default) -> Batches:
    """Cut a table into batches as an upload would, with the columns ready to be sealed."""
    return [
        [
            ColumnToSeal(
                number,
                1,
                FieldClass.GENERAL,
                number.to_bytes(32, "big"),
                Cells.from_list(column[start : start + records], string_like=True),
            )
            for number, column in enumerate(table)
        ]
        for start in range(0, len(table[0]), records)
    ]


# --- the two things that everything is compared with


@dataclass(frozen=True, slots=True)
class Taken:
    """Nanoseconds a cell; None for what a way does not do."""

    seal: float
    open: float
    reseal: float | None = None


Clock = Callable[[], float]


def reference_round(table: Table, clock: Clock = time.perf_counter) -> Taken:
    """Seal and open every cell the plain way; the clock tells seconds."""
    (taken,) = reference_by(table, clock)
    return taken


def reference_by(table: Table, *clocks: Clock) -> list[Taken]:
    """Do that once, and return what each clock says of it."""
    cipher, address = AESGCM(bytes(32)), bytes(40)

    def seal() -> Iterator[bytes]:
        for column in table:
            for value in column:
                nonce = os.urandom(12)
                yield nonce + cipher.encrypt(nonce, value, address)

    def seal_all() -> None:
        for column in table:
            for value in column:
                nonce = os.urandom(12)
                nonce + cipher.encrypt(nonce, value, address)

    sealed = list(seal())

    def open_all() -> None:
        for cell in sealed:
            cipher.decrypt(cell[:12], cell[12:], address)

    cells = sum(map(len, table))
    both = zip(
        _nanoseconds_by(seal_all, cells, clocks),
        _nanoseconds_by(open_all, cells, clocks),
        strict=True,
    )
    return [Taken(seal, opened) for seal, opened in both]


_Buffers = tuple[Octets, Octets, Octets, Octets]


class BareWork:
    """As many padded bytes as each block of a table has, for the barest loop.

    Raises: LookupError where the loop was not compiled.
    """

    def __init__(self, batches: Batches, engine: Engine) -> None:
        self._loop = BareLoop()
        self._blocks = [self._buffers(column, engine) for batch in batches for column in batch]
        self._cells = sum(batch[0].cells.count * len(batch) for batch in batches)

    def _buffers(self, column: ColumnToSeal, engine: Engine) -> _Buffers:
        cells, count = column.cells, column.cells.count
        needs = engine.measure(cells, column.field_class.unit)
        mode = mode_of(cells, column.field_class, engine)
        total = shape_of(needs, count, mode, column.field_class).total
        # One size for all: the same blocks of the cipher as the mean, rounded to whole ones.
        size = round(total / count / 16) * 16
        keys, padded = (
            np.frombuffer(secrets.token_bytes(count * each), np.uint8) for each in (32, size)
        )
        return keys, padded, np.empty(count * (size + TAG_BYTES), np.uint8), np.empty_like(padded)

    def round(self, workers: Executor | None = None) -> Taken:
        """Seal and open all of it, on these threads if any."""
        return Taken(
            _nanoseconds(each(self._seal_one, self._blocks, workers), self._cells),
            _nanoseconds(each(self._open_one, self._blocks, workers), self._cells),
        )

    def seal(self) -> None:
        """Seal all of it."""
        each(self._seal_one, self._blocks, None)()

    def open(self) -> None:
        """Open what was sealed."""
        each(self._open_one, self._blocks, None)()

    def _seal_one(self, block: _Buffers) -> None:
        keys, cells, sealed, _ = block
        self._loop.seal(keys, cells, sealed)

    def _open_one(self, block: _Buffers) -> None:
        keys, _, sealed, opened = block
        self._loop.open(keys, sealed, opened)


# --- blocks


@dataclass(frozen=True, slots=True)
class Block:
    """One sealed column of a batch, with what it takes to open it."""

    column: ColumnToSeal
    ref: BlockRef
    batch_id: bytes
    content: bytes = field(repr=False)

    def open(self, engine: Engine) -> None:
        """Open it and let go of what comes out."""
        column = self.column
        open_block(
            column.field_key,
            column.field_class,
            self.ref,
            self.batch_id,
            column.cells.count,
            self.content,
            column.cells.string_like,
            engine=engine,
        )

    def reseal(self, engine: Engine) -> None:
        """Seal it again under another key."""
        column = self.column
        reseal_block(
            column.field_key,
            bytes(byte ^ 1 for byte in column.field_key),
            column.field_class,
            self.ref,
            2,
            self.batch_id,
            column.cells.count,
            self.content,
            column.cells.string_like,
            engine=engine,
        )


class BlockWork:
    """The batches of a table and the same sealed, for one engine and a number of threads."""

    def __init__(self, batches: Batches, engine: Engine) -> None:
        self._batches, self._engine = batches, engine
        self._blocks: list[Block] = []
        for columns in batches:
            sealed = seal_batch(columns, engine)
            # As an upload does: it also settles how the allocator treats buffers of this size.
            sealed.body()
            self._blocks += [
                Block(column, ref, sealed.manifest.batch_id, content)
                for column, ref, content in zip(
                    columns, sealed.manifest.blocks, sealed.blocks, strict=True
                )
            ]
        self._cells = sum(columns[0].cells.count * len(columns) for columns in batches)

    def round(self, workers: Executor | None = None) -> Taken:
        """Seal, open and reseal whole blocks, on these threads if any."""

        def seal(columns: list[ColumnToSeal]) -> None:
            seal_batch(columns, self._engine)

        return Taken(
            _nanoseconds(each(seal, self._batches, workers), self._cells),
            _nanoseconds(
                each(lambda block: block.open(self._engine), self._blocks, workers), self._cells
            ),
            _nanoseconds(
                each(lambda block: block.reseal(self._engine), self._blocks, workers), self._cells
            ),
        )

    def cells_round(self) -> Taken:
        """Only what the engine does: from columns to sealed cells and back, without hashes."""
        key = secrets.token_bytes(32)
        columns = [column for batch in self._batches for column in batch]

        def seal() -> None:
            for column in columns:
                self._sealed(column, key)

        def open_all() -> None:
            for column, content, mode in zip(columns, sealed, modes, strict=True):
                rules = Rules(column.field_class, mode, column.cells.string_like)
                self._engine.open(key, content, None, column.cells.count, rules)

        sealed = [self._sealed(column, key) for column in columns]
        modes = [mode_of(each.cells, each.field_class, self._engine) for each in columns]
        return Taken(_nanoseconds(seal, self._cells), _nanoseconds(open_all, self._cells))

    def _sealed(self, column: ColumnToSeal, key: bytes) -> bytes:
        engine, cells, field_class = self._engine, column.cells, column.field_class
        needs = engine.measure(cells, field_class.unit)
        shape = shape_of(needs, cells.count, mode_of(cells, field_class, engine), field_class)
        with engine.draft(cells, shape) as draft:
            return draft.seal(key)


def each(
    work: Callable[[T], None], parts: Sequence[T], workers: Executor | None
) -> Callable[[], None]:
    """Return what does a work on every part, one after another or on these threads."""

    def do() -> None:
        for _ in (map if workers is None else workers.map)(work, parts):
            pass

    return do


def _nanoseconds(work: Callable[[], None], cells: int) -> float:
    (taken,) = _nanoseconds_by(work, cells, (time.perf_counter,))
    return taken


def _nanoseconds_by(
    work: Callable[[], None], cells: int, clocks: Sequence[Clock]
) -> Iterator[float]:
    started = [clock() for clock in clocks]
    work()
    ended = [clock() for clock in clocks]
    return ((end - start) / cells * 1e9 for start, end in zip(started, ended, strict=True))
