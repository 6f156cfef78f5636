"""Arrow IPC in, files and streams, typed as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from client.tables.errors import TableUnreadable
from client.tables.options import NOTHING_SAID, ReadOptions
from client.tables.source import (
    FileSource,
    checked_batches,
    named_columns,
    open_binary,
    schema_of,
    stamp_of,
)

_FILE: Final = b"ARROW1"
# A length that nobody has memory for is a damaged one.
_FAULTS: Final = (pa.ArrowException, OSError, ValueError, MemoryError)


class IpcSource(FileSource):
    """An Arrow IPC file or stream."""

    def __init__(self, path: Path, options: ReadOptions = NOTHING_SAID) -> None:
        options.demand_only("an Arrow file")
        with open_binary(path) as stream:
            stamp = stamp_of(stream)
            self._streamed = stream.read(len(_FILE)) != _FILE
            stream.seek(0)
            names, types = self._declared(stream, path)
        columns, notes = named_columns(names, types)
        super().__init__(path, stamp, columns, {"kind": "arrow"})
        self.note(*notes)

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of exactly `max_rows` but for the last."""
        return checked_batches(self._pieces(), max_rows)

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        schema = schema_of(self.columns)
        with open_binary(self.path) as stream:
            try:
                for piece in self._read(self._opened(stream, self.path)):
                    self._demand_unchanged(stream)
                    self.bytes_read = min(stream.tell(), self.bytes_total or 0)
                    # A batch is checked whole before it is cut: offsets may point anywhere.
                    piece.validate(full=True)
                    yield pa.record_batch(piece.columns, schema=schema)
            except _FAULTS:
                raise _damaged(self.path) from None
            self._demand_unchanged(stream)

    def _read(self, reader: Any) -> Iterator[pa.RecordBatch]:
        if self._streamed:
            yield from reader
        else:
            yield from (reader.get_batch(at) for at in range(reader.num_record_batches))

    def _declared(self, stream: object, path: Path) -> tuple[list[str], list[pa.DataType]]:
        try:
            schema = self._opened(stream, path).schema
            return list(schema.names), list(schema.types)
        except UnicodeDecodeError:
            raise _damaged(path) from None

    def _opened(self, stream: object, path: Path) -> Any:
        try:
            return pa.ipc.open_stream(stream) if self._streamed else pa.ipc.open_file(stream)
        except _FAULTS:
            raise _damaged(path) from None


def _damaged(path: Path) -> TableUnreadable:
    return TableUnreadable(f"{path.name} is not a whole Arrow file", hint="fetch it again")
