"""The default engine: one SQLite file in the server's data directory.

How the file is laid out and opened is in `sqlite_file`, how writes wait their turn in
`sqlite_writes`, and what each does to the tables in `sqlite_changes`.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import astuple
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import ClassVar, Final

import aiosqlite

from protocol.errors import ApiMisuse
from vault.storage.base import (
    NO_EFFECTS,
    BlockKey,
    BlockPlace,
    Effects,
    SidePart,
    StagedBatch,
    StillRead,
    Storage,
    StorageStats,
    StoredLeaf,
    StoredUpload,
    ToStage,
    check_run,
)
from vault.storage.sqlite_changes import Changes, size_in
from vault.storage.sqlite_check import check_database
from vault.storage.sqlite_file import (
    FILE_NAME,
    check_library,
    connect_reader,
    connect_writer,
    log_opened,
    own_directory,
    typed,
)
from vault.storage.sqlite_writes import Row, WriteQueue

READERS: Final = 2
CHECKPOINT_ATTEMPTS: Final = 10
CHECKPOINT_PAUSE_SECONDS: Final = 0.1
SHOWN: Final = (
    "published = 1 AND EXISTS"
    " (SELECT 1 FROM batches AS its JOIN uploads AS bringing USING (vault, upload)"
    " WHERE its.vault = blocks.vault AND its.batch = blocks.batch AND bringing.published = 1)"
)
"""Blocks that are published, of a batch that is."""
RELIED: Final = (
    "published = 0 AND held = 1 AND upload = ? AND EXISTS"
    " (SELECT 1 FROM (SELECT vault, upload, batch, relied FROM batches"
    " UNION ALL SELECT vault, upload, batch, relied FROM made_anew) AS listed"
    " WHERE listed.vault = blocks.vault AND listed.upload = blocks.upload"
    " AND listed.batch = blocks.batch AND relied = 1)"
)
"""Blocks of an upload that is not published, and of a batch that an append relied on."""


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
        self._queue = WriteQueue(writer)
        self._changes = Changes(self._queue)
        self._readers = cycle(readers)
        self._resources = resources
        self._open = True

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
        check_library()
        file = data_dir.resolve() / FILE_NAME
        resources = AsyncExitStack()
        try:
            own_directory(resources, data_dir)
            writer = await connect_writer(resources, file)
            readers = [await connect_reader(resources, file) for _ in range(READERS)]
        except BaseException as error:
            await resources.aclose()
            # Python cannot say an error that quotes what is no text any more.
            if isinstance(error, sqlite3.Error | OSError | UnicodeDecodeError):
                raise typed(error) from error
            raise
        log_opened()
        return cls(file, writer, readers, resources)

    # --- vaults and their logs

    async def create_vault(self, vault_id: bytes, leaf: StoredLeaf) -> None:
        """Create a vault with its first leaf (see `Storage`)."""
        check_run(0, [leaf])
        await self._queue.write(partial(self._changes.create, vault_id, leaf))

    async def vault_ids(self) -> list[bytes]:
        """Return the ids of all vaults, ascending."""
        rows = await self._read("SELECT vault FROM vaults ORDER BY vault")
        return [vault for (vault,) in rows]

    async def size(self, vault_id: bytes) -> int:
        """Return how many leaves the vault's log has (see `Storage`)."""
        return size_in(await self._read("SELECT size FROM vaults WHERE vault = ?", vault_id))

    async def append(
        self,
        vault_id: bytes,
        size: int,
        leaves: Sequence[StoredLeaf],
        effects: Effects = NO_EFFECTS,
    ) -> None:
        """Append to a log of exactly `size` leaves, with the effects (see `Storage`)."""
        check_run(size, leaves)
        await self._queue.write(
            partial(self._changes.append, vault_id, size, tuple(leaves), effects)
        )

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
        joined = "LEFT JOIN contents ON contents.id = sides.content" if with_parts else ""
        parts: dict[int, list[SidePart]] = {}
        for index, digest, part in await self._read(
            f"SELECT leaf_index, digest, {'contents.content' if with_parts else 'NULL'}"
            f" FROM sides {joined}"
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

    async def stage_batches(
        self,
        vault_id: bytes,
        upload_id: bytes,
        member_id: bytes,
        batches: Sequence[ToStage],
        now: int,
    ) -> tuple[bool, ...]:
        """Store batches of an upload, invisible until they are published (see `Storage`)."""
        for batch in batches:
            if len({field for field, _, _ in batch.blocks}) != len(batch.blocks):
                raise ApiMisuse("a batch has one block for each field")
        upload = (vault_id, upload_id, member_id, now)
        return await self._queue.write(partial(self._changes.stage, upload, tuple(batches)))

    async def unstage(self, vault_id: bytes, upload_id: bytes, batch_ids: Sequence[bytes]) -> None:
        """Take batches back out of an upload (see `Storage`)."""
        places = [(vault_id, upload_id, batch_id) for batch_id in batch_ids]
        await self._queue.write(partial(self._changes.unstage, places))

    async def staged(
        self, vault_id: bytes, upload_id: bytes, member_id: bytes | None = None
    ) -> list[StagedBatch]:
        """Return an unpublished upload's batches, by ascending batch id (see `Storage`)."""
        rows = await self._read(
            "SELECT batch, digest, size FROM"
            " (SELECT vault, upload, batch, digest, size FROM batches"
            "  UNION ALL SELECT vault, upload, batch, digest, size FROM made_anew)"
            " JOIN uploads USING (vault, upload)"
            " WHERE vault = ? AND upload = ? AND published = 0"
            " AND (? IS NULL OR member = ?) ORDER BY batch",
            *(vault_id, upload_id, member_id, member_id),
        )
        return [StagedBatch(*row) for row in rows]

    async def staged_under(self, vault_id: bytes) -> list[tuple[bytes, bytes]]:
        """Return what all that is staged is sealed under, by upload (see `Storage`)."""
        rows = await self._read(
            " UNION ".join(
                f"SELECT upload, under FROM {table} WHERE vault = ? AND relied = 0 AND upload IN"
                " (SELECT upload FROM uploads WHERE vault = ? AND published = 0)"
                for table in ("batches", "made_anew")
            )
            + " ORDER BY upload, under",
            *(vault_id,) * 4,
        )
        return [(upload, under) for upload, under in rows]

    async def staged_bytes(self, vault_id: bytes, member_id: bytes | None = None) -> int:
        """Return the bytes that one member (or everybody) has staged and not published."""
        ((total,),) = await self._read(
            "SELECT COALESCE(SUM(size), 0) FROM uploads JOIN"
            " (SELECT vault, upload, size FROM batches"
            "  UNION ALL SELECT vault, upload, size FROM made_anew) USING (vault, upload)"
            " WHERE vault = ? AND published = 0 AND (? IS NULL OR member = ?)",
            *(vault_id, member_id, member_id),
        )
        return int(total)

    async def expire_staged(self, before: int) -> int:
        """End uploads last active before a time (see `Storage`); return how many went."""
        # One transaction an upload, so that a large clean-up keeps nobody waiting.
        stale = await self._read(
            "SELECT vault, upload FROM uploads"
            " WHERE published = 0 AND held = 0 AND last_active < ?",
            before,
        )
        return sum(
            [
                await self._queue.write(partial(self._changes.expire, vault, upload, before))
                for vault, upload in stale
            ]
        )

    # --- what is visible

    async def read_block(self, vault_id: bytes, key: BlockKey) -> bytes | None:
        """Return a published block; None if there is none, or it went."""
        rows = await self._read(
            "SELECT contents.content FROM blocks JOIN uploads USING (vault, upload)"
            " JOIN contents ON contents.id = blocks.content"
            " WHERE vault = ? AND batch = ? AND field = ? AND digest = ? AND published = 1",
            *(vault_id, key.batch_id, key.field, key.digest),
        )
        return rows[0][0] if rows else None

    async def block_sizes(
        self, vault_id: bytes, batch_id: bytes, *, held: bytes | None = None
    ) -> dict[tuple[int, bytes], int]:
        """Return how long a batch's blocks are (see `Storage`)."""
        which, upload = (SHOWN, ()) if held is None else (RELIED, (held,))
        rows = await self._read(
            "SELECT field, digest, length(contents.content)"
            " FROM blocks JOIN uploads USING (vault, upload)"
            " JOIN contents ON contents.id = blocks.content"
            f" WHERE vault = ? AND batch = ? AND {which}",
            *(vault_id, batch_id, *upload),
        )
        return {(field, digest): size for field, digest, size in rows}

    async def next_block(
        self, vault_id: bytes, after: BlockPlace | None
    ) -> tuple[BlockPlace, bytes] | None:
        """Return the block in the next place (see `Storage`)."""
        # No place comes before that of nothing in field -1.
        start = (b"", -1, b"", b"") if after is None else astuple(after)
        rows = await self._read(
            "SELECT batch, field, digest, upload, contents.content"
            " FROM blocks JOIN contents ON contents.id = blocks.content"
            " WHERE vault = ? AND (batch, field, digest, upload) > (?, ?, ?, ?)"
            " ORDER BY batch, field, digest, upload LIMIT 1",
            *(vault_id, *start),
        )
        return (BlockPlace(*rows[0][:4]), rows[0][4]) if rows else None

    async def uploads(self, vault_id: bytes) -> list[StoredUpload]:
        """Return every upload of a vault (see `Storage`)."""
        rows = await self._read(
            "SELECT upload, member, published, held FROM uploads WHERE vault = ? ORDER BY upload",
            vault_id,
        )
        return [
            StoredUpload(upload, member, bool(published), bool(held))
            for upload, member, published, held in rows
        ]

    # --- what is to go

    async def sweep(self, max_bytes: int) -> int:
        """Delete some of what went; return how much is left (see `Storage`)."""
        return await self._queue.write(partial(self._changes.sweep, max_bytes))

    async def scour(self) -> None:
        """Leave nothing of what was deleted in the database's files (see `Storage`)."""
        # In steps, between which others' writes come.
        while await self._queue.write(self._changes.give_back, alone=True):
            pass
        for _ in range(CHECKPOINT_ATTEMPTS):
            if await self._queue.write(self._changes.empty_log, alone=True):
                return
            await asyncio.sleep(CHECKPOINT_PAUSE_SECONDS)
        raise StillRead("the write-ahead log cannot be emptied while somebody reads")

    # --- the engine itself

    async def check(self) -> None:
        """Check that the file is sound and every log without gaps (see `Storage`)."""
        # By a connection of its own, as it may take long, and at one moment of the database.
        async with AsyncExitStack() as resources:
            try:
                reader = await connect_reader(resources, self._file)
                await reader.execute_fetchall("BEGIN")
                try:
                    await check_database(reader)
                except asyncio.CancelledError:
                    # Nobody who stops the server waits for it to be read to its end.
                    await reader.interrupt()
                    raise
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise typed(error) from error

    def room(self) -> int | None:
        """Return how many bytes the file's disk has left for whoever runs this."""
        return shutil.disk_usage(self._file.parent).free

    async def stats(self) -> StorageStats:
        """Return the size of the database's files, and how many vaults and leaves it holds."""
        rows = await self._read("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM vaults")
        vaults, leaves = rows[0]
        files = (self._file.with_name(FILE_NAME + end) for end in ("", "-wal", "-shm"))
        on_disk = sum(file.stat().st_size for file in files if file.exists())
        return StorageStats(on_disk, vaults, leaves)

    async def close(self) -> None:
        """Finish the waiting writes and let go of the directory; safe to call twice."""
        self._open = False
        try:
            await self._queue.close()
        finally:
            await self._resources.aclose()

    # --- reading

    async def _read(self, statement: str, *values: object) -> list[Row]:
        # A statement is one call into the reader's thread, which a cancelled caller cannot
        # interrupt: no cursor stays open to hold back a checkpoint.
        if not self._open:
            raise ApiMisuse("the storage is closed")
        try:
            rows = await next(self._readers).execute_fetchall(statement, values)
        except sqlite3.Error as error:
            raise typed(error) from error
        return [tuple(row) for row in rows]

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
