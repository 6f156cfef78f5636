"""Parquet in, typed as it was written."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from client.tables.arrow_types import value_type, varies_in_length
from client.tables.cells import contiguous, encoded
from client.tables.errors import TableUnreadable
from client.tables.options import NOTHING_SAID, ReadOptions
from client.tables.source import (
    MOST_HELD,
    FileSource,
    checked_batches,
    named_columns,
    open_binary,
    schema_of,
    stamp_of,
)
from protocol.limits import KIB, MIB

_BUFFER: Final = 1 * MIB
# ValueError: a name that is no UTF-8. A length that nobody has memory for is a damaged one.
_FAULTS: Final = (pa.ArrowException, OSError, ValueError, MemoryError)
_PIECE_ROWS: Final = 8_192
_SMALL_GROUP: Final = 4 * KIB
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
        self.note(*notes)

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of exactly `max_rows` but for the last."""
        done = 0
        for batch in checked_batches(self._pieces(), max_rows):
            yield batch
            done += batch.num_rows
            self.bytes_read = (self.bytes_total or 0) * done // self._rows

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        schema = schema_of(self.columns)
        with open_binary(self.path) as stream:
            file = _opened(stream, self.path)
            try:
                for group in range(file.metadata.num_row_groups):
                    rows = _rows_at_once(stream, file, group)
                    for piece in file.iter_batches(rows, row_groups=[group]):
                        self._demand_unchanged(stream)
                        columns = map(_restored, piece.columns, schema.types)
                        yield pa.record_batch(list(columns), schema=schema)
            except _FAULTS:
                raise _damaged(self.path) from None
            self._demand_unchanged(stream)


def _rows_at_once(stream: object, file: pq.ParquetFile, group: int) -> int:
    """Return how many rows of a group can be in memory at once.

    In a dictionary a large value stands once, however many rows have it, so that a small file
    can hold more text than any memory: the longest value of each dictionary counts for every row.
    What the metadata says of single columns is not asked: damaged, it ends the process.
    """
    told = file.metadata.row_group(group)
    longest = told.total_byte_size // max(told.num_rows, 1)
    texts = [field.name for field in file.schema_arrow if varies_in_length(value_type(field.type))]
    if texts and told.total_byte_size > _SMALL_GROUP:
        probe = pq.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False, read_dictionary=texts)
        for first in probe.iter_batches(1, row_groups=[group], columns=texts):
            for column in first.columns:
                values = column.dictionary if pa.types.is_dictionary(column.type) else column
                longest = max(longest, pc.max(pc.binary_length(contiguous(values))).as_py() or 0)
            break
    return max(1, min(_PIECE_ROWS, MOST_HELD // max(int(longest), 1)))


def _opened(stream: object, path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False)
    except _FAULTS:
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
