"""The default engine: one SQLite file in the server's data directory.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when two connections write or checkpoint it
at once. Here one connection writes and checkpoints, whatever the version: an exclusive lock
keeps other servers out, and readers are opened read-only.

Writes go through a queue. Its task runs each write in a savepoint, commits all that waited
as one transaction, and only then answers them: writes that arrive together share one fsync.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import aiosqlite

from protocol.errors import ApiMisuse, Conflict, SealroomError, Unsupported
from vault.logs import Event, log_event
from vault.storage.base import (
    NO_EFFECTS,
    AlreadyExists,
    Block,
    DirectoryInUse,
    Effects,
    NotStaged,
    Publish,
    SidePart,
    SizeMoved,
    StagedBatch,
    Storage,
    StorageFailed,
    StorageFull,
    StorageStats,
    StoredLeaf,
    UnknownVault,
    check_run,
)

FILE_NAME: Final = "sealroom.sqlite3"
LOCK_NAME: Final = "lock"
SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = int.from_bytes(b"Slrm", "big")
OLDEST_SQLITE: Final = (3, 37, 0)
"""The first version with strict tables; RETURNING and window functions are older."""
WAL_RESET_FIXED: Final = (3, 51, 3)
READERS: Final = 2
GROUP: Final = 64
"""How many waiting writes may share one transaction."""

SCHEMA: Final = (
    """CREATE TABLE vaults (
        vault BLOB NOT NULL PRIMARY KEY CHECK (length(vault) = 32),
        size INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE leaves (
        vault BLOB NOT NULL REFERENCES vaults (vault),
        leaf_index INTEGER NOT NULL,
        leaf BLOB NOT NULL,
        observation BLOB,
        parts_size INTEGER NOT NULL,
        PRIMARY KEY (vault, leaf_index)
    ) STRICT""",
    """CREATE TABLE sides (
        vault BLOB NOT NULL,
        leaf_index INTEGER NOT NULL,
        part INTEGER NOT NULL,
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        content BLOB,
        PRIMARY KEY (vault, leaf_index, part),
        FOREIGN KEY (vault, leaf_index) REFERENCES leaves (vault, leaf_index)
    ) STRICT""",
    """CREATE TABLE uploads (
        vault BLOB NOT NULL REFERENCES vaults (vault),
        upload BLOB NOT NULL CHECK (length(upload) = 16),
        member BLOB NOT NULL CHECK (length(member) = 32),
        last_active INTEGER NOT NULL,
        published INTEGER NOT NULL DEFAULT 0,
        held INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (vault, upload)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX uploads_open ON uploads (vault, member) WHERE published = 0",
    """CREATE TABLE batches (
        vault BLOB NOT NULL,
        batch BLOB NOT NULL CHECK (length(batch) = 16),
        upload BLOB NOT NULL,
        digest BLOB NOT NULL,
        size INTEGER NOT NULL,
        manifest BLOB NOT NULL,
        PRIMARY KEY (vault, batch),
        FOREIGN KEY (vault, upload) REFERENCES uploads (vault, upload) ON DELETE CASCADE
    ) STRICT""",
    "CREATE INDEX batches_of_upload ON batches (vault, upload)",
    """CREATE TABLE blocks (
        vault BLOB NOT NULL,
        batch BLOB NOT NULL,
        field INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (vault, batch, field, epoch),
        FOREIGN KEY (vault, batch) REFERENCES batches (vault, batch) ON DELETE CASCADE
    ) STRICT""",
)

T = TypeVar("T")
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Write:
    """A change that waits its turn, and where its answer goes."""

    run: Callable[[], Awaitable[Any]]
    answer: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a change came to; told only once it is on the disk."""

    value: Any = None
    error: Exception | None = None

    def tell(self, answer: asyncio.Future[Any]) -> None:
        if answer.done():  # whoever asked has gone away
            return
        if self.error is None:
            answer.set_result(self.value)
        else:
            answer.set_exception(self.error)


class SqliteStorage(Storage):
    """The storage contract on one SQLite file; open it with `SqliteStorage.open`."""

    engine: ClassVar[str] = "sqlite"

    def __init__(
        self,
        file: Path,
        writer: aiosqlite.Connection,
        readers: Sequence[aiosqlite.Connection],
        resources: AsyncExitStack,
    ) -> None:
        self._file = file
        self._writer = writer
        self._readers = cycle(readers)
        self._resources = resources
        self._open = True
        self._queue: asyncio.Queue[_Write | None] = asyncio.Queue()
        self._writing = asyncio.create_task(self._serve_writes())

    @classmethod
    async def open(cls, data_dir: Path) -> SqliteStorage:
        """Open the store in a data directory, and create both where they are missing.

        The directory belongs to this process until `close`. New directories have mode 0700,
        files 0600.

        Raises:
            DirectoryInUse: Another server has it open.
            Unsupported: The file is of another version, or SQLite is too old.
            StorageFailed: The file is not a store of this server, or cannot be opened.
        """
        _check_library()
        file = data_dir.resolve() / FILE_NAME
        resources = AsyncExitStack()
        try:
            _own_directory(resources, data_dir)
            writer = await _connect_writer(resources, file)
            readers = [await _connect_reader(resources, file) for _ in range(READERS)]
        except BaseException as error:
            await resources.aclose()
            if isinstance(error, sqlite3.Error | OSError):
                raise _typed(error) from error
            raise
        _log_opened()
        return cls(file, writer, readers, resources)

    # --- vaults and their logs

    async def create_vault(self, vault_id: bytes, leaf: StoredLeaf) -> None:
        """Create a vault with its first leaf (see `Storage`)."""
        check_run(0, [leaf])
        await self._write(partial(self._create, vault_id, leaf))

    async def vault_ids(self) -> list[bytes]:
        """Return the ids of all vaults, ascending."""
        rows = await self._read("SELECT vault FROM vaults ORDER BY vault")
        return [vault for (vault,) in rows]

    async def size(self, vault_id: bytes) -> int:
        """Return how many leaves the vault's log has (see `Storage`)."""
        return _size_in(await self._read("SELECT size FROM vaults WHERE vault = ?", vault_id))

    async def append(
        self,
        vault_id: bytes,
        size: int,
        leaves: Sequence[StoredLeaf],
        effects: Effects = NO_EFFECTS,
    ) -> None:
        """Append to a log of exactly `size` leaves, with the effects (see `Storage`)."""
        check_run(size, leaves)
        await self._write(partial(self._append, vault_id, size, tuple(leaves), effects))

    async def read_leaves(
        self,
        vault_id: bytes,
        start: int,
        limit: int,
        max_bytes: int,
        *,
        with_parts: bool = True,
    ) -> list[StoredLeaf]:
        """Return a run of leaves (see `Storage`)."""
        # Leaves never change and parts only vanish, so the three reads need no transaction.
        stop = await self._page_end(vault_id, start, limit, max_bytes, with_parts)
        content = "content" if with_parts else "NULL"
        parts: dict[int, list[SidePart]] = {}
        for index, digest, part in await self._read(
            f"SELECT leaf_index, digest, {content} FROM sides"
            " WHERE vault = ? AND leaf_index >= ? AND leaf_index < ? ORDER BY leaf_index, part",
            *(vault_id, start, stop),
        ):
            parts.setdefault(index, []).append(SidePart(digest, part))
        rows = await self._read(
            "SELECT leaf_index, leaf, observation FROM leaves"
            " WHERE vault = ? AND leaf_index >= ? AND leaf_index < ? ORDER BY leaf_index",
            *(vault_id, start, stop),
        )
        return [
            StoredLeaf(index, leaf, tuple(parts.get(index, ())), observation)
            for index, leaf, observation in rows
        ]

    # --- staging

    async def stage_batch(
        self,
        vault_id: bytes,
        upload_id: bytes,
        batch_id: bytes,
        member_id: bytes,
        manifest: bytes,
        blocks: Sequence[Block],
        now: int,
    ) -> bool:
        """Store a batch of an upload, invisible until it is published (see `Storage`)."""
        if len({(field, epoch) for field, epoch, _ in blocks}) != len(blocks):
            raise ApiMisuse("a batch has one block for each field and epoch")
        size = len(manifest) + sum(len(content) for _, _, content in blocks)
        batch = StagedBatch(batch_id, hashlib.sha256(manifest).digest(), size)
        upload = (vault_id, upload_id, member_id, now)
        run = partial(self._stage, upload, batch, manifest, tuple(blocks))
        return await self._write(run)

    async def staged(
        self, vault_id: bytes, upload_id: bytes, member_id: bytes | None = None
    ) -> list[StagedBatch]:
        """Return an unpublished upload's batches, by ascending batch id (see `Storage`)."""
        rows = await self._read(
            "SELECT batch, digest, batches.size FROM batches JOIN uploads USING (vault, upload)"
            " WHERE vault = ? AND upload = ? AND published = 0"
            " AND (? IS NULL OR member = ?) ORDER BY batch",
            *(vault_id, upload_id, member_id, member_id),
        )
        return [StagedBatch(*row) for row in rows]

    async def staged_bytes(self, vault_id: bytes, member_id: bytes | None = None) -> int:
        """Return the bytes that one member (or everybody) has staged and not published."""
        ((total,),) = await self._read(
            "SELECT COALESCE(SUM(batches.size), 0)"
            " FROM uploads JOIN batches USING (vault, upload)"
            " WHERE vault = ? AND published = 0 AND (? IS NULL OR member = ?)",
            *(vault_id, member_id, member_id),
        )
        return int(total)

    async def expire_staged(self, before: int) -> int:
        """Delete uploads last active before a time (see `Storage`); return how many went."""
        # One transaction an upload, so that a large clean-up keeps nobody waiting.
        stale = await self._read(
            "SELECT vault, upload FROM uploads"
            " WHERE published = 0 AND held = 0 AND last_active < ?",
            before,
        )
        return sum(
            [
                await self._write(partial(self._expire, vault, upload, before))
                for vault, upload in stale
            ]
        )

    # --- what is visible

    async def read_block(self, vault_id: bytes, batch_id: bytes, field: int) -> bytes | None:
        """Return a published block, that of its latest epoch; None if there is none."""
        rows = await self._read(
            "SELECT content FROM blocks JOIN batches USING (vault, batch)"
            " JOIN uploads USING (vault, upload)"
            " WHERE vault = ? AND batch = ? AND field = ? AND published = 1"
            " ORDER BY epoch DESC LIMIT 1",
            *(vault_id, batch_id, field),
        )
        return rows[0][0] if rows else None

    async def published_manifest(self, vault_id: bytes, batch_id: bytes) -> bytes | None:
        """Return a published batch's manifest; None if it is unknown or only staged."""
        rows = await self._read(
            "SELECT manifest FROM batches JOIN uploads USING (vault, upload)"
            " WHERE vault = ? AND batch = ? AND published = 1",
            *(vault_id, batch_id),
        )
        return rows[0][0] if rows else None

    # --- the engine itself

    async def check(self) -> None:
        """Check that the file is sound and every log without gaps (see `Storage`)."""
        if await self._read("PRAGMA quick_check(1)") != [("ok",)]:
            raise StorageFailed("the database is damaged", hint="restore a backup")
        gaps = await self._read(
            "SELECT 1 FROM vaults WHERE size <> (SELECT COUNT(*) FROM leaves"
            " WHERE leaves.vault = vaults.vault AND leaf_index >= 0 AND leaf_index < size)"
        )
        if gaps:
            raise StorageFailed("a log has gaps", hint="restore a backup")

    async def stats(self) -> StorageStats:
        """Return the size of the database's files, and how many vaults and leaves it holds."""
        rows = await self._read("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM vaults")
        vaults, leaves = rows[0]
        files = (self._file.with_name(FILE_NAME + end) for end in ("", "-wal", "-shm"))
        on_disk = sum(file.stat().st_size for file in files if file.exists())
        return StorageStats(on_disk, vaults, leaves)

    async def close(self) -> None:
        """Finish the waiting writes and let go of the directory; safe to call twice."""
        if self._open:
            self._open = False
            self._queue.put_nowait(None)
        try:
            await self._writing
        finally:
            await self._resources.aclose()

    # --- each change, inside a transaction that is not its business

    async def _create(self, vault: bytes, leaf: StoredLeaf) -> None:
        created = await self._sql(
            "INSERT INTO vaults (vault, size) VALUES (?, 1) ON CONFLICT DO NOTHING RETURNING 1",
            vault,
        )
        if not created:
            raise AlreadyExists("a vault of this id was created before")
        await self._insert(vault, [leaf])

    async def _append(
        self, vault: bytes, size: int, leaves: Sequence[StoredLeaf], effects: Effects
    ) -> None:
        moved = await self._sql(
            "UPDATE vaults SET size = ? WHERE vault = ? AND size = ? RETURNING 1",
            *(size + len(leaves), vault, size),
        )
        if not moved:
            raise SizeMoved(
                _size_in(await self._sql("SELECT size FROM vaults WHERE vault = ?", vault))
            )
        await self._insert(vault, leaves)
        for publish in effects.publish:
            await self._publish(vault, publish)
        for upload in effects.hold_uploads:
            await self._hold(vault, upload)
        await self._sql_each(
            "UPDATE uploads SET held = 0 WHERE vault = ? AND upload = ?",
            [(vault, upload) for upload in effects.release_uploads],
        )
        await self._sql_each(
            "DELETE FROM uploads WHERE vault = ? AND upload = ? AND published = 0",
            [(vault, upload) for upload in effects.drop_uploads],
        )
        await self._sql_each(
            "DELETE FROM uploads WHERE vault = ? AND member = ? AND published = 0",
            [(vault, member) for member in effects.drop_members],
        )
        await self._delete_parts(vault, effects.delete_parts)

    async def _insert(self, vault: bytes, leaves: Sequence[StoredLeaf]) -> None:
        await self._sql_each(
            "INSERT INTO leaves (vault, leaf_index, leaf, observation, parts_size)"
            " VALUES (?, ?, ?, ?, ?)",
            [
                (
                    *(vault, leaf.index, leaf.leaf, leaf.observation),
                    sum(len(part.content or b"") for part in leaf.sides),
                )
                for leaf in leaves
            ],
        )
        await self._sql_each(
            "INSERT INTO sides (vault, leaf_index, part, digest, content) VALUES (?, ?, ?, ?, ?)",
            [
                (vault, leaf.index, number, part.digest, part.content)
                for leaf in leaves
                for number, part in enumerate(leaf.sides)
            ],
        )

    async def _publish(self, vault: bytes, publish: Publish) -> None:
        rows = await self._sql(
            "SELECT batch FROM batches JOIN uploads USING (vault, upload)"
            " WHERE vault = ? AND upload = ? AND published = 0",
            *(vault, publish.upload_id),
        )
        there = {batch for (batch,) in rows}
        named = set(publish.batch_ids)
        if not named or not named <= there:
            raise _not_staged()
        await self._sql_each(
            "DELETE FROM batches WHERE vault = ? AND batch = ?",
            [(vault, batch) for batch in there - named],
        )
        await self._sql(
            "UPDATE uploads SET published = 1 WHERE vault = ? AND upload = ?",
            *(vault, publish.upload_id),
        )

    async def _hold(self, vault: bytes, upload: bytes) -> None:
        # It may have expired since somebody looked; then its batches must not be relied upon.
        held = await self._sql(
            "UPDATE uploads SET held = 1"
            " WHERE vault = ? AND upload = ? AND published = 0 RETURNING 1",
            *(vault, upload),
        )
        if not held:
            raise _not_staged()

    async def _delete_parts(self, vault: bytes, parts: Sequence[tuple[int, int]]) -> None:
        await self._sql_each(
            "UPDATE sides SET content = NULL WHERE vault = ? AND leaf_index = ? AND part = ?",
            [(vault, index, part) for index, part in parts],
        )
        await self._sql_each(
            "UPDATE leaves SET parts_size = (SELECT COALESCE(SUM(length(content)), 0) FROM sides"
            " WHERE sides.vault = leaves.vault AND sides.leaf_index = leaves.leaf_index)"
            " WHERE vault = ? AND leaf_index = ?",
            [(vault, index) for index in {index for index, _ in parts}],
        )

    async def _stage(
        self, upload: Row, batch: StagedBatch, manifest: bytes, blocks: Sequence[Block]
    ) -> bool:
        vault, upload_id, *_ = upload
        _size_in(await self._sql("SELECT size FROM vaults WHERE vault = ?", vault))
        await self._touch(upload)
        known = await self._sql(
            "SELECT upload, digest FROM batches WHERE vault = ? AND batch = ?",
            *(vault, batch.batch_id),
        )
        if known:
            if known[0] != (upload_id, batch.manifest_digest):
                raise Conflict("the batch id was used before, for something else")
            return False
        await self._sql(
            "INSERT INTO batches (vault, batch, upload, digest, size, manifest)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *(vault, batch.batch_id, upload_id, batch.manifest_digest, batch.size, manifest),
        )
        await self._sql_each(
            "INSERT INTO blocks (vault, batch, field, epoch, content) VALUES (?, ?, ?, ?, ?)",
            [(vault, batch.batch_id, *block) for block in blocks],
        )
        return True

    async def _touch(self, upload: Row) -> None:
        usable = await self._sql(
            "INSERT INTO uploads (vault, upload, member, last_active) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (vault, upload)"
            " DO UPDATE SET last_active = MAX(last_active, excluded.last_active)"
            " WHERE published = 0 AND member = excluded.member RETURNING 1",
            *upload,
        )
        if not usable:
            raise Conflict("the upload was committed before, or is another member's")

    async def _expire(self, vault: bytes, upload: bytes, before: int) -> int:
        rows = await self._sql(
            "DELETE FROM uploads"
            " WHERE vault = ? AND upload = ? AND published = 0 AND held = 0 AND last_active < ?"
            " RETURNING 1",
            *(vault, upload, before),
        )
        return len(rows)

    # --- the two ways to the file

    async def _read(self, statement: str, *values: object) -> list[Row]:
        # A statement is one call into the reader's thread, which a cancelled caller cannot
        # interrupt: no cursor stays open to hold back a checkpoint.
        if not self._open:
            raise ApiMisuse("the storage is closed")
        try:
            rows = await next(self._readers).execute_fetchall(statement, values)
        except sqlite3.Error as error:
            raise _typed(error) from error
        return [tuple(row) for row in rows]

    async def _write(self, run: Callable[[], Awaitable[T]]) -> T:
        if not self._open:
            raise ApiMisuse("the storage is closed")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Write(run, answer))
        return await answer

    async def _serve_writes(self) -> None:
        while (first := await self._queue.get()) is not None:
            group = [first]
            while len(group) < GROUP and not self._queue.empty():
                following = self._queue.get_nowait()
                if following is None:
                    self._queue.put_nowait(None)
                    break
                group.append(following)
            await self._commit(group)

    async def _commit(self, group: list[_Write]) -> None:
        try:
            await self._sql("BEGIN IMMEDIATE")
            outcomes = [await self._attempt(write) for write in group]
            await self._sql("COMMIT")
        except Exception as error:
            await self._roll_back()
            if len(group) > 1:  # one that does not fit must not fail the others
                for write in group:
                    await self._commit([write])
                return
            outcomes = [_Outcome(error=_typed(error))]
        for write, outcome in zip(group, outcomes, strict=True):
            outcome.tell(write.answer)

    async def _attempt(self, write: _Write) -> _Outcome:
        """Run one write in a savepoint; only what the whole transaction must end for goes out."""
        await self._sql("SAVEPOINT attempt")
        try:
            outcome = _Outcome(value=await write.run())
        except sqlite3.IntegrityError:
            outcome = _Outcome(error=ApiMisuse("a value that the schema does not allow"))
        except sqlite3.Error:
            raise
        except Exception as error:
            outcome = _Outcome(error=error)
        if outcome.error is not None:
            await self._sql("ROLLBACK TO attempt")
        await self._sql("RELEASE attempt")
        return outcome

    async def _roll_back(self) -> None:
        # SQLite ends the transaction by itself after some errors.
        if self._writer.in_transaction:
            with suppress(sqlite3.Error):
                await self._sql("ROLLBACK")

    async def _sql(self, statement: str, *values: object) -> list[Row]:
        return [tuple(row) for row in await self._writer.execute_fetchall(statement, values)]

    async def _sql_each(self, statement: str, rows: Sequence[Row]) -> None:
        if rows:
            async with self._writer.executemany(statement, rows):
                pass

    async def _page_end(
        self, vault: bytes, start: int, limit: int, max_bytes: int, with_parts: bool
    ) -> int:
        rows = await self._read(
            "SELECT length(leaf) + COALESCE(length(observation), 0) + ? * parts_size FROM leaves"
            " WHERE vault = ? AND leaf_index >= ? ORDER BY leaf_index LIMIT ?",
            *(int(with_parts), vault, start, max(1, limit)),
        )
        total, count = 0, 0
        for (size,) in rows:
            total += size
            if count and total > max_bytes:
                break
            count += 1
        return start + count


def _not_staged() -> NotStaged:
    return NotStaged("a batch is not staged", hint="upload it again, then commit")


def _size_in(rows: list[Row]) -> int:
    if not rows:
        raise UnknownVault("no vault has this id")
    return int(rows[0][0])


# --- opening


def _check_library() -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise Unsupported(
            f"SQLite {sqlite3.sqlite_version} is too old",
            hint=f"use a Python that links SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer",
        )


def _own_directory(resources: AsyncExitStack, data_dir: Path) -> None:
    """Create the directory where missing, and keep every other server out of it."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    resources.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DirectoryInUse(
            "another server works on this data directory",
            hint="stop it, or give this one another directory",
        ) from error


async def _connect_writer(resources: AsyncExitStack, file: Path) -> aiosqlite.Connection:
    # SQLite would create the file readable by all; its -wal and -shm take the file's mode.
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    writer = await _connect(resources, file, "rw")
    await _claim(writer)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "fullfsync = ON",
        "checkpoint_fullfsync = ON",
        "foreign_keys = ON",
        "secure_delete = ON",
        "wal_autocheckpoint = 1000",
        "journal_size_limit = 67108864",
    ):
        await writer.execute_fetchall(f"PRAGMA {pragma}")
    await _create_schema(writer)
    return writer


async def _connect_reader(resources: AsyncExitStack, file: Path) -> aiosqlite.Connection:
    reader = await _connect(resources, file, "ro")
    await reader.execute_fetchall("PRAGMA query_only = ON")
    await reader.execute_fetchall("PRAGMA wal_autocheckpoint = 0")
    return reader


async def _connect(resources: AsyncExitStack, file: Path, mode: str) -> aiosqlite.Connection:
    connection = await resources.enter_async_context(
        aiosqlite.connect(f"{file.as_uri()}?mode={mode}", uri=True, isolation_level=None)
    )
    for pragma in (
        "busy_timeout = 5000",
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "temp_store = MEMORY",
    ):
        await connection.execute_fetchall(f"PRAGMA {pragma}")
    return connection


async def _pragma(connection: aiosqlite.Connection, name: str) -> int:
    ((value,),) = await connection.execute_fetchall(f"PRAGMA {name}")
    return int(value)


async def _claim(writer: aiosqlite.Connection) -> None:
    """Refuse a file of another program or version before anything is written to it."""
    application = await _pragma(writer, "application_id")
    version = await _pragma(writer, "user_version")
    ((objects,),) = await writer.execute_fetchall("SELECT COUNT(*) FROM sqlite_schema")
    if application == version == objects == 0:
        return
    if application != APPLICATION_ID:
        raise StorageFailed(
            f"{FILE_NAME} was not made by this program", hint="give the server its own directory"
        )
    if version != SCHEMA_VERSION:
        raise Unsupported(
            f"{FILE_NAME} has schema version {version}, this build knows {SCHEMA_VERSION}",
            hint="use the release that wrote it, or migrate it with one that knows both",
        )


async def _create_schema(writer: aiosqlite.Connection) -> None:
    if await _pragma(writer, "user_version") == SCHEMA_VERSION:
        return
    await writer.execute_fetchall("BEGIN IMMEDIATE")
    for statement in SCHEMA:
        await writer.execute_fetchall(statement)
    await writer.execute_fetchall(f"PRAGMA application_id = {APPLICATION_ID}")
    await writer.execute_fetchall(f"PRAGMA user_version = {SCHEMA_VERSION}")
    await writer.execute_fetchall("COMMIT")


def _log_opened() -> None:
    major, minor, patch = sqlite3.sqlite_version_info
    log_event(
        Event.STORAGE_OPENED,
        sqlite=major * 1_000_000 + minor * 1_000 + patch,
        wal_reset_safe=int(sqlite3.sqlite_version_info >= WAL_RESET_FIXED),
        schema=SCHEMA_VERSION,
    )


def _typed(error: Exception) -> SealroomError:
    """Turn what the library or the system raised into the contract's errors."""
    # The low byte is the kind; a full disk is one kind wherever SQLite meets it.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if kind == sqlite3.SQLITE_FULL:
        return StorageFull("the disk is full", hint="free some space; nothing was changed")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StorageFailed(f"the database failed ({name})", hint="see the server's disk and log")
