"""Parquet out, typed as the columns are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from client.tables.errors import TableType, TableValue
from client.tables.sink import Sink
from client.tables.source import Column, schema_of


class ParquetSink(Sink):
    """A Parquet file; `open_source` reads every type back as it was."""

    def __init__(self, path: Path, columns: Sequence[Column], *, overwrite: bool) -> None:
        for column in columns:
            _demand_storable(column)
        super().__init__(path, columns, overwrite=overwrite)
        self._writer = pq.ParquetWriter(self._file.stream, self._schema)

    def _write(self, batch: pa.RecordBatch) -> None:
        try:
            self._writer.write_batch(batch)
        except pa.ArrowException:
            raise TableValue(
                "a value that Parquet cannot hold (a time too far away, say)",
                hint="write CSV instead",
            ) from None

    def _finish(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        """Remove what was written; without effect after `commit`, or twice."""
        self._writer.close()
        super().abort()


def _demand_storable(column: Column) -> None:
    """Find out before a row is written. Raises: TableType."""
    schema = schema_of([column])
    try:
        pq.ParquetWriter(pa.BufferOutputStream(), schema).close()
    except (pa.ArrowException, OSError):  # OSError: so a decimal of negative scale is refused
        raise TableType(
            f"Parquet has no type for {column.type}", column=column.name, hint="write CSV instead"
        ) from None
