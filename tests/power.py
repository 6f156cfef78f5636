"""A disk that loses power: SQLite's own file layer, with what was not synced kept apart.

SQLite reaches its files through a VFS. This one passes everything on to the real one, and keeps a
second account: what each file is for certain, which is what it was when it was last synced, and
what was written since. When the power goes, any of that may be on the disk or not, in any order,
and of a write any of its sectors. What a server finds then is a folder that `after` writes.

A VFS can be written in Python for apsw's SQLite, which is not the one that Python's own `sqlite3`
is linked with. So `powered` puts apsw's in the place of the connections of `vault.storage`. It has
no shared memory, without which a log of writes has one user: all of them share one connection.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

import apsw
import pytest

from vault.storage import sqlite_file

SECTOR: Final = 512
_NAME: Final = "losing power"
_CODES: Final[dict[type[Exception], int]] = {
    apsw.FullError: sqlite3.SQLITE_FULL,
    apsw.ReadOnlyError: sqlite3.SQLITE_READONLY,
}
_ONLY_FOR_READERS: Final = ("PRAGMA query_only", "PRAGMA wal_autocheckpoint = 0")


@dataclass
class _File:
    """One file: what it surely is, and what was done to it since that was so."""

    certain: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for at, data in self.since:
            _do(self.certain, at, data)
        self.since.clear()


def _do(content: bytearray, at: int, data: bytes | None) -> None:
    """Write bytes at a place; or cut there, where there are none."""
    if data is None:
        del content[at:]
        return
    if at > len(content):
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


class PowerGone(apsw.IOError):
    """Nothing answers any more."""


@dataclass
class Disk:
    """What lies on the disk, and at which operation its power goes, or it is full."""

    dies_at: int | None = None
    full_at: int | None = None
    read_only: bool = False
    files: dict[str, _File] = field(default_factory=dict)
    operations: int = 0

    def step(self) -> None:
        """Count something that changes the disk.

        Raises:
            PowerGone: the power went.
        """
        self.operations += 1
        if self.dies_at is not None and self.operations >= self.dies_at:
            raise PowerGone("the power is gone")

    def write(self, name: str, at: int, data: bytes | None) -> None:
        """Note a write, or a cut.

        Raises:
            FullError: there is no room.
            ReadOnlyError: the system has taken to refusing writes, as it does after some faults.
        """
        self.step()
        if self.full_at is not None and self.operations >= self.full_at:
            raise apsw.FullError("no room")
        if self.read_only:
            raise apsw.ReadOnlyError("mounted read-only")
        self.files.setdefault(name, _File()).since.append((at, data))

    def sync(self, name: str) -> None:
        """Note that a file is now for certain what it is."""
        self.step()
        self.files.setdefault(name, _File()).sync()

    def delete(self, name: str) -> None:
        """Note that a file is gone."""
        self.step()
        self.files.pop(name, None)

    def after(self, folder: Path, draw: random.Random) -> None:
        """Write what may be found after the power came back."""
        folder.mkdir()
        for name, file in self.files.items():
            content = bytearray(file.certain)
            survived = [change for change in file.since if draw.randrange(2)]
            for at, data in survived:
                for place, piece in _torn(at, data, draw):
                    _do(content, place, piece)
            (folder / Path(name).name).write_bytes(content)


def _torn(at: int, data: bytes | None, draw: random.Random) -> Iterator[tuple[int, bytes | None]]:
    """Yield those sectors of a write that reached the disk: all, more often than not."""
    if data is None or draw.randrange(4):
        yield at, data
        return
    start = 0
    while start < len(data):
        end = min(len(data), start + SECTOR - (at + start) % SECTOR)
        if draw.randrange(2):
            yield at + start, data[start:end]
        start = end


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        super().__init__(_NAME, "")

    def xOpen(self, name: Any, flags: list[int]) -> _VfsFile:  # noqa: N802
        return _VfsFile(self.disk, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        self.disk.delete(name)
        super().xDelete(name, syncdir)


class _VfsFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self.disk = disk
        self.name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.disk.write(self.name, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self.disk.write(self.name, size, None)
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self.disk.sync(self.name)
        super().xSync(flags)


# --- apsw, as `vault.storage` asks a connection


class _Connection:
    """What the storage uses of an `aiosqlite.Connection`, on one of apsw."""

    def __init__(self, shared: apsw.Connection, *, reads: bool, replaced: dict[str, str]) -> None:
        self._shared = shared
        self._reads = reads
        self._replaced = replaced

    @property
    def in_transaction(self) -> bool:
        return self._shared.in_transaction

    async def execute_fetchall(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        if self._reads and statement.startswith(_ONLY_FOR_READERS):
            return []
        with _as_python_has_them():
            return list(self._shared.execute(self._replaced.get(statement, statement), values))

    @asynccontextmanager
    async def executemany(self, statement: str, rows: Sequence[Any]) -> Any:
        with _as_python_has_them():
            self._shared.executemany(statement, rows)
        yield None

    @asynccontextmanager
    async def executescript(self, statement: str) -> Any:
        with _as_python_has_them():
            list(self._shared.execute(statement))
        yield None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._reads:
            # What fails while SQLite puts its log away when it closes, it tells nobody either.
            with suppress(apsw.Error):
                self._shared.close(force=True)


@contextmanager
def _as_python_has_them() -> Iterator[None]:
    """Raise apsw's errors as those of `sqlite3`, with the same code."""
    try:
        yield
    except apsw.ConstraintError as error:
        raise sqlite3.IntegrityError(str(error)) from error
    except apsw.Error as error:
        raised = sqlite3.OperationalError(str(error))
        raised.sqlite_errorcode = _CODES.get(type(error), sqlite3.SQLITE_IOERR)
        raised.sqlite_errorname = type(error).__name__
        raise raised from error


@contextmanager
def powered(disk: Disk, *, synchronous: str = "FULL") -> Iterator[None]:
    """Have stores that are opened meanwhile write to this disk; `synchronous` for a control."""
    vfs = _Vfs(disk)
    opened: list[apsw.Connection] = []
    replaced = {"PRAGMA synchronous = FULL": f"PRAGMA synchronous = {synchronous}"}

    def connect(address: str, **_: Any) -> _Connection:
        parts = urlsplit(address)
        reads = parts.query == "mode=ro"
        if not reads:
            opened.append(apsw.Connection(unquote(parts.path), vfs=_NAME))
            opened[-1].execute("PRAGMA locking_mode = EXCLUSIVE")
        return _Connection(opened[-1], reads=reads, replaced=replaced)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_file, "aiosqlite", SimpleNamespace(connect=connect))
        try:
            yield
        finally:
            for connection in opened:
                with suppress(apsw.Error):
                    connection.close(force=True)
            vfs.unregister()
