"""Arrow IPC out, files and streams: every type that a vault holds is one of Arrow's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from client.tables.cells import contiguous, decoded, encoded
from client.tables.errors import TableValue
from client.tables.sink import Sink
from client.tables.source import Column


class IpcSink(Sink):
    """An Arrow IPC file, or a stream.

    In a stream each batch brings its own dictionaries. A file has one for each column, to which
    batches only add: so values are encoded anew, those known before first.
    """

    def __init__(
        self, path: Path, columns: Sequence[Column], *, streamed: bool, overwrite: bool
    ) -> None:
        super().__init__(path, columns, overwrite=overwrite)
        self._streamed = streamed
        self._known: dict[int, pa.Array] = {}
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=not streamed)
        make = pa.ipc.new_stream if streamed else pa.ipc.new_file
        self._writer = make(self._file.stream, self._schema, options=options)

    def abort(self) -> None:
        """Remove what was written; without effect after `commit`, or twice."""
        if self._open:
            with suppress(OSError, pa.ArrowException, ValueError):
                self._writer.close()
        super().abort()

    def _write(self, batch: pa.RecordBatch) -> None:
        if not self._streamed:
            arrays = [self._extended(at, array) for at, array in enumerate(batch.columns)]
            batch = pa.record_batch(arrays, schema=self._schema)
        self._writer.write_batch(batch)

    def _finish(self) -> None:
        self._writer.close()

    def _extended(self, at: int, array: pa.Array) -> pa.Array:
        if not pa.types.is_dictionary(array.type):
            return array
        values = decoded(array)
        known = self._known.get(at, values[:0])
        try:
            whole = encoded(pa.concat_arrays([known, values]), array.type)
        except pa.ArrowInvalid:
            raise TableValue(
                f"more distinct values than {array.type.index_type} can count",
                column=self.columns[at].name,
                hint="write a stream (.arrows) or Parquet instead",
            ) from None
        self._known[at] = contiguous(whole.dictionary)
        indices = whole.indices[len(known) :]
        return pa.DictionaryArray.from_arrays(indices, whole.dictionary, ordered=array.type.ordered)
