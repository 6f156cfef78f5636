"""SQLite files of this home: private to their owner, each change whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from client.exposure import expect_own
from protocol.blocks import Address

BESIDE: Final = ("-wal", "-shm", "-journal")


def open_database(path: Path | None) -> sqlite3.Connection:
    """Open a file, made private to its owner; None is one in memory, for one look.

    Raises:
        ExposedFile: others may write it, what SQLite keeps beside it, or their folder.
        sqlite3.DatabaseError: it is no such file.
    """
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        expect_own(path.parent)
        opened = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            expect_own(path, opened)
        finally:
            os.close(opened)
        for suffix in BESIDE:
            with contextlib.suppress(FileNotFoundError):
                expect_own(path.with_name(path.name + suffix))
    database = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=30)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        # A name that was erased is not to be had back from this file either.
        database.execute("PRAGMA secure_delete = ON")
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Make what is written in the block one change, or none."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # a full disk ends some by itself
            database.execute("ROLLBACK")
        raise


def packed(addresses: Iterable[Address]) -> bytes:
    """Return addresses as they lie in a column: 22 bytes each."""
    return b"".join(address.encode() for address in addresses)


def unpacked(column: bytes) -> tuple[Address, ...]:
    """Return what `packed` packed."""
    cut = (column[at : at + 22] for at in range(0, len(column), 22))
    return tuple(
        Address(each[:16], int.from_bytes(each[16:18], "big"), int.from_bytes(each[18:], "big"))
        for each in cut
    )
