"""Arrow IPC out, files and streams: every type that a vault holds is one of Arrow's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from client.tables.sink import Sink
from client.tables.source import Column


class IpcSink(Sink):
    """An Arrow IPC file, or a stream."""

    def __init__(
        self, path: Path, columns: Sequence[Column], *, streamed: bool, overwrite: bool
    ) -> None:
        super().__init__(path, columns, overwrite=overwrite)
        # Dictionaries that differ from batch to batch are replaced whole, or unified in a file.
        options = pa.ipc.IpcWriteOptions(unify_dictionaries=not streamed)
        make = pa.ipc.new_stream if streamed else pa.ipc.new_file
        self._writer = make(self._file.stream, self._schema, options=options)

    def abort(self) -> None:
        """Remove what was written; without effect after `commit`, or twice."""
        if self._open:
            with suppress(OSError, pa.ArrowException, ValueError):
                self._writer.close()
        super().abort()

    def _write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def _finish(self) -> None:
        self._writer.close()
