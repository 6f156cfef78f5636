"""Tables made of other tables: several after each other, some of the rows, columns in their place.

Each is a `Source` like any other, read in bounded memory, and the same at each reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress, islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from client.tables.cells import taken
from client.tables.errors import TableError
from client.tables.source import Source, exact_batches

_COUNTED_AT_ONCE: Final = 10_000

Rows = npt.NDArray[np.bool_]
"""Which rows of a table: one entry for each."""


class Derived(Source):
    """A table read from another one, whose facts and notes are its own too."""

    def __init__(self, source: Source, table_format: dict[str, Any] | None = None) -> None:
        super().__init__(source.columns, source.format if table_format is None else table_format)
        self._source = source
        self.name, self.total_rows = source.name, source.total_rows
        self.bytes_total, self.rereadable = source.bytes_total, source.rereadable
        self.findings = source.findings
        self._take_notes()

    def fingerprint(self) -> bytes | None:
        """Return the source's own."""
        return self._source.fingerprint()

    def origin(self) -> bytes | None:
        """Return the source's own."""
        return self._source.origin()

    def row_numbers(self) -> Iterator[str]:
        """Yield the source's own."""
        return self._source.row_numbers()

    def _take_notes(self) -> None:
        for note in self._source.notes:
            self.note(note)

    def read(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the batches of the table that it is made of, and keep track of its facts."""
        for batch in self._source.batches(max_rows):
            self.bytes_read = self._source.bytes_read
            yield batch
        self.bytes_read = self._source.bytes_read
        self._take_notes()


class Arranged(Derived):
    """A table whose columns stand in another order; `order` says which comes where."""

    def __init__(self, source: Source, order: Sequence[int]) -> None:
        super().__init__(source)
        self._order = list(order)
        self.columns = tuple(source.columns[at] for at in order)

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows as the source has them, their cells in order."""
        for batch in self.read(max_rows):
            yield batch.select(self._order)


class Chosen(Derived):
    """Some rows of a table that has exactly as many rows as `rows` has entries.

    An upload of some rows is another one than that of all of them, or of others.
    """

    def __init__(self, source: Source, rows: Rows) -> None:
        super().__init__(source)
        self._rows = rows
        self.total_rows = int(rows.sum())

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows that were chosen, `max_rows` a batch but for the last."""
        yield from exact_batches(self._pieces(max_rows), max_rows)

    def fingerprint(self) -> bytes | None:
        """Return what names both the table and the rows of it."""
        whole = self._source.fingerprint()
        if whole is None:
            return None
        return hashlib.sha256(whole + np.packbits(self._rows).tobytes()).digest()

    def origin(self) -> bytes | None:
        """Rows by their places are no table that could be found again."""
        return None

    def row_numbers(self) -> Iterator[str]:
        """Yield the numbers that the rows have in the whole table."""
        return compress(self._source.row_numbers(), self._rows.tolist())

    def _pieces(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        done = 0
        for batch in self.read(max_rows):
            chosen = self._rows[done : done + batch.num_rows]
            done += batch.num_rows
            if chosen.all():
                yield batch
            elif chosen.any():
                yield taken(batch, pa.array(np.flatnonzero(chosen)))


class Several(Source):
    """Tables with the same columns, one after the other.

    What errors say of one of them begins with its name. Lines above and below the rows belong to
    one file, so those of several are not kept, and it is said.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        first = sources[0]
        kept = dict(first.format)
        around = [each for each in ("before", "after") if any(s.format.get(each) for s in sources)]
        kept |= dict.fromkeys(around, "")
        super().__init__(first.columns, kept)
        self._sources = tuple(sources)
        self.rereadable = all(source.rereadable for source in sources)
        self.total_rows = _sum(source.total_rows for source in sources)
        self.bytes_total = _sum(source.bytes_total for source in sources)
        if around:
            self.note("lines above and below the rows are not kept where several files are one")
        self._take_notes()

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all of them, `max_rows` a batch but for the last."""
        yield from exact_batches(self._pieces(max_rows), max_rows)

    def fingerprint(self) -> bytes | None:
        """Return what names all of them in their order; None where one has no name."""
        prints = [source.fingerprint() for source in self._sources]
        if any(each is None for each in prints):
            return None
        return hashlib.sha256(b"".join(each for each in prints if each)).digest()

    def row_numbers(self) -> Iterator[str]:
        """Yield the numbers that the rows have in their own tables, each with that one's name."""
        for source in self._sources:
            its_rows = sum(batch.num_rows for batch in source.batches(_COUNTED_AT_ONCE))
            for number in islice(source.row_numbers(), its_rows):
                yield f"{number} of {source.name}" if source.name else number

    def _pieces(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        schema: pa.Schema | None = None
        done = 0
        for source in self._sources:
            with _named(source):
                for batch in source.batches(max_rows):
                    schema = schema or batch.schema
                    self.bytes_read = done + source.bytes_read
                    yield pa.record_batch(batch.columns, schema=schema)
            done += source.bytes_total or 0
            self.bytes_read = done
        self._take_notes()

    def _take_notes(self) -> None:
        for source in self._sources:
            for note in source.notes:
                self.note(f"{source.name}: {note}" if source.name else note)


@contextmanager
def _named(source: Source) -> Iterator[None]:
    """Put a table's name beside what is wrong with it."""
    try:
        yield
    except TableError as error:
        if source.name and source.name not in error.message:
            error.message = f"{error.message} (in {source.name})"
        raise


def _sum(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total
