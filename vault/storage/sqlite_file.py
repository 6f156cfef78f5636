"""The SQLite file itself: its schema, its settings, and who may open it.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when two connections write or checkpoint it
at once. Here one connection writes and checkpoints, whatever the version: an exclusive lock
keeps other servers out, and readers are opened read-only.

What may have to be deleted lies in one table, `contents`, and is overwritten when it goes. For
that, `secure_delete` alone will not do: it clears what is deleted where that lies, but SQLite
moves rows between the pages of its trees, and leaves copies in the unused parts of those that
they came from. It never moves the pages that a long row goes on in. So each content is put
behind a filler that takes up whatever room a row has within the tree. Free pages can be given
back in pieces (`auto_vacuum = INCREMENTAL`, which only an empty file can be told).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aiosqlite

from protocol.errors import SealroomError, Unsupported
from vault.logs import Event, log_event
from vault.storage.base import DirectoryInUse, StorageDamaged, StorageFailed, StorageFull

FILE_NAME: Final = "sealroom.sqlite3"
LOCK_NAME: Final = "lock"
SCHEMA_VERSION: Final = 3
APPLICATION_ID: Final = int.from_bytes(b"Slrm", "big")
OLDEST_SQLITE: Final = (3, 37, 0)
"""The first version with strict tables; RETURNING and window functions are older."""
WAL_RESET_FIXED: Final = (3, 51, 3)
SEE_DISK: Final = "see the server's disk and log"
PAGE_BYTES: Final = 4_096
FILLER_BYTES: Final = PAGE_BYTES - 35
"""The most of a row that lies within the tree (sqlite.org/fileformat.html, section 1.6)."""

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
    # Blocks and parts of sides, wherever they stand. Kept apart also so that no blob has to be
    # written again, or overwritten at once, when something is decided about it.
    """CREATE TABLE contents (
        id INTEGER PRIMARY KEY,
        filler BLOB NOT NULL,
        content BLOB NOT NULL
    ) STRICT""",
    # Those that stand nowhere any more: nobody reads them, and `sweep` deletes them.
    """CREATE TABLE doomed (
        content INTEGER PRIMARY KEY REFERENCES contents (id) ON DELETE CASCADE
    ) STRICT""",
    """CREATE TABLE sides (
        vault BLOB NOT NULL,
        leaf_index INTEGER NOT NULL,
        part INTEGER NOT NULL,
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        content INTEGER,
        PRIMARY KEY (vault, leaf_index, part),
        FOREIGN KEY (vault, leaf_index) REFERENCES leaves (vault, leaf_index)
    ) STRICT, WITHOUT ROWID""",
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
    # A batch belongs to the upload that brought it.
    """CREATE TABLE batches (
        vault BLOB NOT NULL,
        batch BLOB NOT NULL CHECK (length(batch) = 16),
        upload BLOB NOT NULL,
        digest BLOB NOT NULL,
        size INTEGER NOT NULL,
        under BLOB NOT NULL,
        relied INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (vault, batch),
        FOREIGN KEY (vault, upload) REFERENCES uploads (vault, upload) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX batches_of_upload ON batches (vault, upload)",
    # Later uploads bring blocks of it that were made anew.
    """CREATE TABLE made_anew (
        vault BLOB NOT NULL,
        upload BLOB NOT NULL,
        batch BLOB NOT NULL,
        digest BLOB NOT NULL,
        size INTEGER NOT NULL,
        under BLOB NOT NULL,
        relied INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (vault, upload, batch),
        FOREIGN KEY (vault, upload) REFERENCES uploads (vault, upload) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID""",
    # Several may stand in one place, and even be the same bytes: each upload brought its own.
    """CREATE TABLE blocks (
        vault BLOB NOT NULL,
        batch BLOB NOT NULL,
        field INTEGER NOT NULL,
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        upload BLOB NOT NULL,
        content INTEGER NOT NULL,
        PRIMARY KEY (vault, batch, field, digest, upload),
        FOREIGN KEY (vault, upload) REFERENCES uploads (vault, upload)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX blocks_of_upload ON blocks (vault, upload, batch)",
)


def check_library() -> None:
    """Refuse a SQLite that is too old.

    Raises:
        Unsupported: it is.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise Unsupported(
            f"SQLite {sqlite3.sqlite_version} is too old",
            hint=f"use a Python that links SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer",
        )


def own_directory(resources: AsyncExitStack, data_dir: Path) -> None:
    """Create the directory where missing, and keep every other server out of it.

    Raises:
        DirectoryInUse: another server works on it.
    """
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


async def connect_writer(resources: AsyncExitStack, file: Path) -> aiosqlite.Connection:
    """Open the one connection that writes, and make the file where it is missing.

    Raises:
        Unsupported, StorageFailed: the file is of another version or another program.
    """
    # SQLite would create the file readable by all; its -wal and -shm take the file's mode.
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    writer = await _connect(resources, file, "rw")
    await _claim(writer)
    for setting in (
        f"page_size = {PAGE_BYTES}",
        "auto_vacuum = INCREMENTAL",
        "journal_mode = WAL",
        "synchronous = FULL",
        "fullfsync = ON",
        "checkpoint_fullfsync = ON",
        "foreign_keys = ON",
        "secure_delete = ON",
        "wal_autocheckpoint = 1000",
        "journal_size_limit = 67108864",
    ):
        await writer.execute_fetchall(f"PRAGMA {setting}")
    await _create_schema(writer)
    return writer


async def connect_reader(resources: AsyncExitStack, file: Path) -> aiosqlite.Connection:
    """Open a connection that cannot write, and never checkpoints."""
    reader = await _connect(resources, file, "ro")
    await reader.execute_fetchall("PRAGMA query_only = ON")
    await reader.execute_fetchall("PRAGMA wal_autocheckpoint = 0")
    return reader


async def _connect(resources: AsyncExitStack, file: Path, mode: str) -> aiosqlite.Connection:
    connecting = aiosqlite.connect(f"{file.as_uri()}?mode={mode}", uri=True, isolation_level=None)
    opening = asyncio.ensure_future(_opened(connecting))
    try:
        connection = await asyncio.shield(opening)
    except asyncio.CancelledError:
        # Its thread would answer a loop that may be closed by then.
        await (await opening).__aexit__(None, None, None)
        raise
    resources.push_async_exit(connection)
    for setting in (
        "busy_timeout = 5000",
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "temp_store = MEMORY",
    ):
        await connection.execute_fetchall(f"PRAGMA {setting}")
    return connection


async def _opened(connecting: aiosqlite.Connection) -> aiosqlite.Connection:
    return await connecting.__aenter__()


async def pragma(connection: aiosqlite.Connection, name: str) -> int:
    """Return the value of a setting, or of a figure."""
    ((value,),) = await connection.execute_fetchall(f"PRAGMA {name}")
    return int(value)


async def _claim(writer: aiosqlite.Connection) -> None:
    """Refuse a file of another program or version before anything is written to it."""
    application = await pragma(writer, "application_id")
    version = await pragma(writer, "user_version")
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
    # A changed word in it would change what is written from now on, and what is found. Tables of
    # SQLite's own are no part of it: an operator's ANALYZE makes one.
    tables = await writer.execute_fetchall(
        "SELECT sql FROM sqlite_schema"
        " WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    )
    if sorted(text for (text,) in tables) != sorted(SCHEMA):
        raise StorageFailed(
            f"the tables of {FILE_NAME} are not those of schema version {SCHEMA_VERSION}",
            hint="restore a backup, or use the release that wrote it",
        )


async def _create_schema(writer: aiosqlite.Connection) -> None:
    if await pragma(writer, "user_version") == SCHEMA_VERSION:
        return
    await writer.execute_fetchall("BEGIN IMMEDIATE")
    for statement in SCHEMA:
        await writer.execute_fetchall(statement)
    await writer.execute_fetchall(f"PRAGMA application_id = {APPLICATION_ID}")
    await writer.execute_fetchall(f"PRAGMA user_version = {SCHEMA_VERSION}")
    await writer.execute_fetchall("COMMIT")


def log_opened() -> None:
    """Say in the log which SQLite it is."""
    major, minor, patch = sqlite3.sqlite_version_info
    log_event(
        Event.STORAGE_OPENED,
        sqlite=major * 1_000_000 + minor * 1_000 + patch,
        wal_reset_safe=int(sqlite3.sqlite_version_info >= WAL_RESET_FIXED),
        schema=SCHEMA_VERSION,
    )


def typed(error: Exception) -> SealroomError:
    """Turn what the library or the system raised into the contract's errors."""
    # The low byte is the kind; a full disk is one kind wherever SQLite meets it.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if kind == sqlite3.SQLITE_FULL:
        return StorageFull(
            "the server's disk is full",
            hint="Have whoever runs it free some space, then repeat the command.",
        )
    if isinstance(error, OSError) and error.filename is not None:
        return StorageFailed(f"{error.filename}: {error.strerror}", hint=SEE_DISK)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StorageDamaged(f"the database is damaged ({name})")
    return StorageFailed(f"the database failed ({name})", hint=SEE_DISK)
