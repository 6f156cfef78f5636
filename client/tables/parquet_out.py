"""Parquet out, typed as the columns are."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from client.tables.cells import VIEWS, contiguous
from client.tables.errors import TableType, TableValue
from client.tables.sink import Sink
from client.tables.source import Column, schema_of


class ParquetSink(Sink):
    """A Parquet file; `open_source` reads every type back as it was."""

    def __init__(self, path: Path, columns: Sequence[Column], *, overwrite: bool) -> None:
        for column in columns:
            _demand_storable(column)
        super().__init__(path, columns, overwrite=overwrite)
        self._stored = _stored_schema(columns)
        self._writer = pq.ParquetWriter(self._file.stream, self._stored, store_schema=False)

    def abort(self) -> None:
        """Remove what was written; without effect after `commit`, or twice."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        super().abort()

    def _write(self, batch: pa.RecordBatch) -> None:
        arrays = [_stored(array) for array in batch.columns]
        try:
            self._writer.write_batch(pa.record_batch(arrays, schema=self._stored))
        except pa.ArrowException:
            raise TableValue(
                "a value that Parquet cannot hold (a time too far away, say)",
                hint="write CSV instead",
            ) from None

    def _finish(self) -> None:
        # The note by which Arrow's own readers, and ours, know the types; the writer would
        # note those that are stored.
        noted = base64.b64encode(self._schema.serialize().to_pybytes())
        self._writer.add_key_value_metadata({"ARROW:schema": noted})
        self._writer.close()


def _stored(array: pa.Array) -> pa.Array:
    """Replace views in a dictionary, which Arrow's Parquet writer does not know."""
    if not pa.types.is_dictionary(array.type):
        return array
    values = contiguous(array.dictionary)
    return pa.DictionaryArray.from_arrays(array.indices, values, ordered=array.type.ordered)


def _stored_schema(columns: Sequence[Column]) -> pa.Schema:
    schema = schema_of(columns)
    types = map(_stored_type, schema.types)
    return pa.schema(list(zip(schema.names, types, strict=True)))


def _stored_type(kind: pa.DataType) -> pa.DataType:
    if not pa.types.is_dictionary(kind):
        return kind
    values = VIEWS.get(kind.value_type, kind.value_type)
    return pa.dictionary(kind.index_type, values, kind.ordered)


def _demand_storable(column: Column) -> None:
    """Find out before a row is written. Raises: TableType."""
    try:
        pq.ParquetWriter(pa.BufferOutputStream(), _stored_schema([column])).close()
    except (pa.ArrowException, OSError):  # OSError: so a decimal of negative scale is refused
        raise TableType(
            f"Parquet has no type for {column.type}", column=column.name, hint="write CSV instead"
        ) from None
