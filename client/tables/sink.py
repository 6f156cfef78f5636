"""What every table that goes out looks like, and how its file comes into place."""

from __future__ import annotations

import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

import pyarrow as pa

from client.tables.errors import TableExists
from client.tables.faults import expect_no_folder, writing
from client.tables.source import Column, schema_of
from protocol.errors import ApiMisuse


class NewFile:
    """A file that appears whole or not at all, readable by its owner only.

    It is written under a temporary name in the same folder, mode 0600, and takes its own name
    when committed; an abandoned one is removed. What writes by name writes to `temporary`.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        self._overwrite = overwrite
        expect_no_folder(path)
        if not overwrite:
            expect_absent(path)
        self.temporary = path.with_name(f".sealroom-{secrets.token_hex(8)}.part")
        with writing(path):
            opened = os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self.stream: BinaryIO = os.fdopen(opened, "wb")

    def commit(self) -> None:
        """Bring the file into place, on the disk before this returns.

        Raises: TableExists, TableUnwritable; what was written is then removed.
        """
        try:
            with writing(self.path):
                self.stream.flush()
                os.fsync(self.stream.fileno())
                bring_into_place(self.temporary, self.path, overwrite=self._overwrite)
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove what was written under the temporary name."""
        with suppress(OSError):  # a full disk, which is why we are here
            self.stream.close()
        self.temporary.unlink(missing_ok=True)


def bring_into_place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give a file, which is on the disk, its own name, and return once that is on the disk too.

    It may still have its temporary name as well. Raises: TableExists.
    """
    if overwrite:
        temporary.replace(path)
    else:
        _link(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _link(temporary: Path, path: Path) -> None:
    try:  # a link, unlike a rename, never replaces a file that came meanwhile
        os.link(temporary, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:  # a file system without links: the moment between is left open there
        expect_absent(path)
        temporary.rename(path)


def expect_absent(path: Path) -> None:
    """Refuse to go on where something has this name. Raises: TableExists."""
    if os.path.lexists(path):
        raise _exists(path) from None


class Sink(ABC):
    """A table to write, batch by batch; as a context it aborts whatever was not committed."""

    def __init__(self, path: Path, columns: Sequence[Column], *, overwrite: bool) -> None:
        self.columns = tuple(columns)
        self.rows_written = 0
        self.notes: tuple[str, ...] = ()
        self._schema = schema_of(columns)
        self._file = NewFile(path, overwrite=overwrite)
        self._open = True

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch whose columns are the sink's.

        Raises: TableError for a value that the file cannot hold, or a full disk; what was written
        is then of no use, so abort.
        """
        self._demand_open()
        if not batch.schema.equals(self._schema, check_metadata=False):
            raise ApiMisuse("a batch of other columns than the sink's")
        with writing(self._file.path):
            self._write(batch)
        self.rows_written += batch.num_rows

    def note(self, text: str) -> None:
        """Add a line to `notes`, once: what somebody who reads the file has to know."""
        if text not in self.notes:
            self.notes = (*self.notes, text)

    def commit(self) -> None:
        """Finish the file and bring it into place, on the disk before this returns.

        Raises: TableExists if a file came there meanwhile, TableUnwritable for a full disk; what
        was written is then removed.
        """
        self._demand_open()
        with writing(self._file.path):
            self._finish()
        self._open = False
        self._file.commit()

    def abort(self) -> None:
        """Remove what was written; without effect after `commit`, or twice."""
        if self._open:
            self._open = False
            self._file.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    @abstractmethod
    def _write(self, batch: pa.RecordBatch) -> None: ...

    @abstractmethod
    def _finish(self) -> None: ...

    def _demand_open(self) -> None:
        if not self._open:
            raise ApiMisuse("the table was committed or aborted")


def _exists(path: Path) -> TableExists:
    return TableExists(f"{path.name} is already there", hint="choose another name, or --overwrite")
