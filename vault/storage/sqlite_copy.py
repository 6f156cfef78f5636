"""A copy of a database that is in use: one past commit of it (SPEC section 10.4, R23)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from vault.durably import sync
from vault.storage.sqlite_file import typed

PAGES_AT_ONCE: Final = 1_024

Told = Callable[[int, int], None]
"""Is told how many bytes of how many are done."""


def copy_database(source: Path, target: Path, told: Told) -> None:
    """Copy a database as it is at this moment into a new file, durably.

    Others go on writing. What they write meanwhile is not in the copy, and their log of writes
    cannot shrink until it is done: SQLite keeps what this reads.

    Raises:
        StorageDamaged, StorageFull, StorageFailed: as `typed`; there may be part of a copy.
    """
    # SQLite would create it readable by all.
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            closing(_connected(source, "ro")) as reader,
            closing(_connected(target, "rw")) as writer,
        ):
            # A transaction of its own: without it each step is of whatever is newest by then,
            # and the copy begins again whenever somebody wrote.
            reader.execute("BEGIN")
            ((page_bytes,),) = reader.execute("PRAGMA page_size")
            reader.execute("SELECT COUNT(*) FROM sqlite_schema").fetchall()

            def copied(_: int, remaining: int, total: int) -> None:
                told((total - remaining) * page_bytes, total * page_bytes)

            reader.backup(writer, pages=PAGES_AT_ONCE, progress=copied, sleep=0)
    except sqlite3.Error as error:
        raise typed(error) from error
    sync(target)


def _connected(file: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{file.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=5
    )
