"""Rows and keys of a table as short hashes, so that millions of them are compared in little memory.

They are made under a random key that lives as long as one command, and go nowhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from client.columns import Cells
from client.errors import InputError
from client.results.progress import OnProgress, Progress
from client.tables import Source, TableChanged, column_cells
from client.tables.combining import Derived

DIGEST_BYTES: Final = 16
MOST_NAMED: Final = 5

Digests = npt.NDArray[np.uint8]
"""A hash for each row: shape (rows, DIGEST_BYTES)."""


class Hashes:
    """Hashes of keys and of rows, under a key of this run alone: equal where the cells are."""

    def __init__(self, key_column: int) -> None:
        self._key_column = key_column
        self._secret = secrets.token_bytes(32)

    async def of_table(
        self, source: Source, key: str, batch_rows: int, on_progress: OnProgress
    ) -> tuple[Digests, Digests]:
        """Read a table; return the hash of each row's key, and of each row.

        Raises:
            InputError: keys that are null, or there twice; their rows are named.
        """
        keys: list[Digests] = []
        rows: list[Digests] = []
        nulls: list[int] = []
        done, total = 0, source.total_rows
        work = map(self._of_batch, source.batches(batch_rows))
        # Batch by batch, so that Ctrl-C waits for one at most.
        while (step := await asyncio.to_thread(next, work, None)) is not None:
            missing, of_keys, of_rows = step
            nulls += [done + int(row) for row in missing]
            keys.append(of_keys)
            rows.append(of_rows)
            done += len(of_rows)
            on_progress(Progress("looking at the keys", done, total, "records"))
        if nulls:
            named = await asyncio.to_thread(_rows, source, nulls)
            raise InputError(
                f"{key!r} is null in {named} of the table, so it tells no record",
                hint="Nothing was sent. Fill it in, or leave those rows out.",
            )
        all_keys = joined(keys)
        await asyncio.to_thread(_expect_once, source, all_keys, key)
        return all_keys, joined(rows)

    def _of_batch(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], Digests, Digests]:
        """Return which rows have no key, the first of them; the hashes of keys, and of rows."""
        columns = [column_cells(column) for column in batch.columns]
        keys = columns[self._key_column]
        return np.flatnonzero(~keys.valid)[:MOST_NAMED], self.of_keys(keys), self.of_rows(columns)

    def of_keys(self, cells: Cells) -> Digests:
        """Return the hash of each cell."""
        return self.of_rows([cells])

    def of_rows(self, columns: Sequence[Cells]) -> Digests:
        """Return the hash of each row of cells; a null is not an empty text."""
        count = columns[0].count
        widths = np.empty((count, len(columns)), "<i8")
        pieces = []
        for at, cells in enumerate(columns):
            widths[:, at] = np.where(cells.valid, np.diff(cells.offsets), -1)
            values = np.frombuffer(cells.values, np.uint8).tobytes()
            pieces.append((values, cells.offsets.tolist()))
        step, packed = 8 * len(columns), widths.tobytes()
        found = bytearray()
        for row in range(count):
            whole = b"".join(
                [packed[row * step : row * step + step]]
                + [values[offsets[row] : offsets[row + 1]] for values, offsets in pieces]
            )
            found += hashlib.blake2b(whole, digest_size=DIGEST_BYTES, key=self._secret).digest()
        return np.frombuffer(found, np.uint8).reshape(count, DIGEST_BYTES)


class Same(Derived):
    """A table that nothing keeps from being another at the next reading: then that is an error."""

    def __init__(self, source: Source, hashes: Hashes, rows: Digests) -> None:
        super().__init__(source)
        self._hashes = hashes
        self._rows = rows

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows; raises TableChanged if they are not those that were looked at."""
        done = 0
        for batch in self.read(max_rows):
            found = self._hashes.of_rows([column_cells(column) for column in batch.columns])
            known = self._rows[done : done + batch.num_rows]
            done += batch.num_rows
            if found.shape != known.shape or (found != known).any():
                raise _other_rows()
            yield batch
        if done != len(self._rows):
            raise _other_rows()


def _other_rows() -> TableChanged:
    return TableChanged(
        "the table gave other rows when it was read again, or in another order",
        hint="Nothing of them was sent. Name an order: --query 'SELECT ... ORDER BY ...'.",
    )


def joined(digests: Sequence[Digests]) -> Digests:
    """Return hashes of several batches as one array."""
    return np.concatenate([np.empty((0, DIGEST_BYTES), np.uint8), *digests])


def as_arrow(digests: Digests) -> pa.Array:
    """Return hashes as values that Arrow can look up."""
    buffer = pa.py_buffer(np.ascontiguousarray(digests))
    return pa.Array.from_buffers(pa.binary(DIGEST_BYTES), len(digests), [None, buffer])


def _expect_once(source: Source, keys: Digests, key: str) -> None:
    numbers = np.asarray(as_arrow(keys).dictionary_encode().indices)
    counts = np.bincount(numbers, minlength=1)
    doubled = np.flatnonzero(counts > 1)
    if len(doubled):
        told = [
            _rows(source, np.flatnonzero(numbers == number).tolist())
            for number in doubled[:MOST_NAMED]
        ]
        raise InputError(
            f"{len(doubled):,} values of {key!r} are there more than once in the table: "
            f"{'; '.join(told)}{'; ...' if len(doubled) > MOST_NAMED else ''}",
            hint="Nothing was sent. Leave one row of each, or tell records by another column.",
        )


def _rows(source: Source, rows: Sequence[int]) -> str:
    """Return rows, which are counted from 0 and ascend, as all errors of their table name them."""
    shown = rows[:MOST_NAMED]
    every = enumerate(islice(source.row_numbers(), shown[-1] + 1))
    numbers = [number for row, number in every if row in shown]
    more = ", ..." if len(rows) > len(shown) else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {', '.join(numbers)}{more}"


def listed(numbers: Iterable[int]) -> str:
    """Return the first few of some numbers, in words."""
    every = list(numbers)
    more = ", ..." if len(every) > MOST_NAMED else ""
    return ", ".join(f"{each:,}" for each in every[:MOST_NAMED]) + more
