"""Tables in memory: whatever offers the Arrow PyCapsule interface (pandas, polars, DuckDB, Arrow).

Their own libraries hand the rows over; this module needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from client.tables.errors import TableUnreadable
from client.tables.source import Source, checked_batches, named_columns, schema_of


def offers_arrow(table: object) -> bool:
    """Whether an object has one of the two Arrow PyCapsule methods."""
    return hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__")


class ArrowSource(Source):
    """An Arrow stream from another library.

    Its rows can be had again where the table knows how many it has; a mere stream has them once.
    """

    rereadable = False

    def __init__(self, table: Any) -> None:
        self._table = table
        self._reader = _reader(table)
        schema = self._reader.schema
        columns, notes = named_columns(schema.names, schema.types)
        super().__init__(columns, {"kind": "arrow"})
        self.total_rows = _known_rows(table)
        self._read = False
        self.note(*notes)

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of exactly `max_rows` but for the last.

        Raises:
            TableUnreadable: a stream that was read before, or a value that is none of its type.
        """
        if self._read:
            if self.total_rows is None:
                raise TableUnreadable(
                    "the rows of a stream can be read once", hint="Hand the table over again."
                )
            self._reader = _reader(self._table)
        self._read = True
        yield from checked_batches(self._pieces(), max_rows)

    def fingerprint(self) -> None:
        """There is no file."""
        return

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        schema = schema_of(self.columns)
        try:
            for piece in self._reader:
                yield pa.record_batch(piece.columns, schema=schema)
        except (pa.ArrowException, OSError):
            raise TableUnreadable("the table's own library failed to hand over rows") from None


def _reader(table: Any) -> pa.RecordBatchReader:
    try:
        if hasattr(table, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(table)
        batch = pa.record_batch(table)
        return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    except (pa.ArrowException, OSError, ValueError, TypeError):
        # Its message may quote a cell, so it is not passed on.
        raise TableUnreadable(
            f"a {type(table).__name__} that does not convert to an Arrow table",
            hint="give every column one type (a column of mixed objects has none)",
        ) from None


def _known_rows(table: Any) -> int | None:
    """Return the number of rows where it can be had without computing anything."""
    counts = (getattr(table, "num_rows", None), getattr(table, "height", None))
    counted = next((count for count in counts if type(count) is int), None)
    if counted is None and type(table).__module__.startswith("pandas"):
        return len(table)
    return counted
