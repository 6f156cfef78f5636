"""Parquet in, typed as it was written."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from client.tables.cells import encoded
from client.tables.errors import TableUnreadable
from client.tables.source import (
    FileSource,
    checked,
    exact_batches,
    named_columns,
    open_binary,
    schema_of,
)
from protocol.limits import MIB

_BUFFER: Final = 1 * MIB
_PIECE_ROWS: Final = 8_192
# Types that Parquet has none for and stores as another, without losing a value.
_STORED_AS: Final = {
    pa.date64(): pa.date32(),
    pa.time32("s"): pa.time32("ms"),
}


class ParquetSource(FileSource):
    """A Parquet file. `bytes_read` is the file's size times the share of rows read."""

    def __init__(self, path: Path) -> None:
        with open_binary(path) as stream:
            file = _opened(stream, path)
            stored, self._rows = file.schema_arrow, file.metadata.num_rows
        types = _declared(stored)
        columns, notes = named_columns(stored.names, types)
        super().__init__(path, columns, {"kind": "parquet"})
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


def _declared(stored: pa.Schema) -> list[pa.DataType]:
    """Return the types that whoever wrote the file had, where they can be had back exactly."""
    original = _original_types(stored)
    return [
        wanted if wanted is not None and _restorable(kind, wanted) else kind
        for kind, wanted in zip(stored.types, original, strict=True)
    ]


def _original_types(stored: pa.Schema) -> list[pa.DataType | None]:
    none: list[pa.DataType | None] = [None] * len(stored.types)
    noted = (stored.metadata or {}).get(b"ARROW:schema")
    if noted is None:
        return none
    try:
        original = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(noted)))
    except (pa.ArrowException, OSError, binascii.Error):
        return none
    return list(original.types) if original.names == stored.names else none


def _restorable(stored: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_dictionary(wanted):
        held = stored.value_type if pa.types.is_dictionary(stored) else stored
        return _restorable(held, wanted.value_type) or _same_values(held, wanted.value_type)
    if pa.types.is_timestamp(wanted) and wanted.unit == "s":
        return bool(stored == pa.timestamp("ms", wanted.tz))
    return bool(_STORED_AS.get(wanted) == stored)


def _same_values(stored: pa.DataType, wanted: pa.DataType) -> bool:
    wide = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}
    return bool(stored in (wanted, wide.get(wanted)))


def _restored(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if array.type == wanted:
        return array
    if not pa.types.is_dictionary(wanted):
        return array.cast(wanted)
    values = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    return encoded(values.cast(wanted.value_type), wanted)
