"""Parquet in, typed as it was written."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from client.tables.arrow_types import value_type
from client.tables.cells import encoded
from client.tables.errors import TableUnreadable
from client.tables.options import NOTHING_SAID, ReadOptions
from client.tables.source import (
    FileSource,
    checked,
    exact_batches,
    named_columns,
    open_binary,
    schema_of,
    stamp_of,
)
from protocol.limits import MIB

_BUFFER: Final = 1 * MIB
_PIECE_ROWS: Final = 8_192
# Types that Parquet has none for, alone or in a dictionary, and stores as another.
_STORED_AS: Final = {
    pa.date64(): pa.date32(),
    pa.time32("s"): pa.time32("ms"),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
}


class ParquetSource(FileSource):
    """A Parquet file. `bytes_read` is the file's size times the share of rows read."""

    def __init__(self, path: Path, options: ReadOptions = NOTHING_SAID) -> None:
        options.demand_only("a Parquet file")
        with open_binary(path) as stream:
            stamp = stamp_of(stream)
            file = _opened(stream, path)
            types = _declared(file)
            columns, notes = named_columns(file.schema_arrow.names, types)
            self._rows = file.metadata.num_rows
        super().__init__(path, stamp, columns, {"kind": "parquet"})
        self.total_rows = self._rows
        for note in notes:
            self.note(note)

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of exactly `max_rows` but for the last."""
        done = 0
        for batch in exact_batches(self._pieces(max_rows), max_rows):
            yield checked(batch, range(done + 1, done + 1 + batch.num_rows))
            done += batch.num_rows
            self.bytes_read = (self.bytes_total or 0) * done // self._rows

    def _pieces(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        schema = schema_of(self.columns)
        with open_binary(self.path) as stream:
            file = _opened(stream, self.path)
            try:
                for piece in file.iter_batches(min(max(max_rows, 1), _PIECE_ROWS)):
                    self._demand_unchanged(stream)
                    columns = map(_restored, piece.columns, schema.types)
                    yield pa.record_batch(list(columns), schema=schema)
            except (pa.ArrowException, OSError):
                raise _damaged(self.path) from None
            self._demand_unchanged(stream)


def _opened(stream: object, path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False)
    except (pa.ArrowException, OSError):
        raise _damaged(path) from None


def _damaged(path: Path) -> TableUnreadable:
    return TableUnreadable(f"{path.name} is not a whole Parquet file", hint="fetch it again")


def _declared(file: pq.ParquetFile) -> list[pa.DataType]:
    """Return the types that whoever wrote the file had, where they can be had back exactly."""
    stored = file.schema_arrow
    noted = (file.metadata.metadata or {}).get(b"ARROW:schema")
    if noted is None:
        return list(stored.types)
    # Opening the file has parsed the note already, and refused one that is none.
    original = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(noted)))
    if original.names != stored.names:
        return list(stored.types)
    return [
        wanted if _restorable(kind, wanted) else kind
        for kind, wanted in zip(stored.types, original.types, strict=True)
    ]


def _restorable(stored: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_dictionary(wanted):
        return value_type(stored) in _stored_forms(wanted.value_type)
    return stored in _stored_forms(wanted)


def _stored_forms(wanted: pa.DataType) -> tuple[pa.DataType, ...]:
    """Return the types as which Parquet gives back values of a type, none of them lost."""
    if pa.types.is_timestamp(wanted):
        unit = "ms" if wanted.unit == "s" else wanted.unit
        return (pa.timestamp(unit, wanted.tz), pa.timestamp(unit, wanted.tz and "UTC"))
    if pa.types.is_duration(wanted):
        return (wanted, pa.int64())
    if pa.types.is_decimal(wanted):
        return (wanted, pa.decimal128(min(wanted.precision, 38), wanted.scale))
    return (wanted, _STORED_AS.get(wanted, wanted))


def _restored(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if array.type == wanted:
        return array
    if not pa.types.is_dictionary(wanted):
        return array.cast(wanted)
    values = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    return encoded(values.cast(wanted.value_type), wanted)
