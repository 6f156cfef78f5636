"""SQLite: what this engine owes beyond the contract: who opens it, how it is set up, its faults."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sqlite3
import stat
import threading
from contextlib import closing
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from protocol.errors import ApiMisuse, Unsupported
from tests.hangs import HANGS_SECONDS
from tests.sqlite_stores import all_closed, opened
from tests.storage_contract import PAGE, UPLOAD, VAULT, block, is_shown, leaf, publish, stage
from vault.logs import LOGGER_NAME, JsonLineHandler, RepeatLimit
from vault.storage import sqlite as engine_module
from vault.storage import sqlite_file
from vault.storage.base import (
    DirectoryInUse,
    Effects,
    SidePart,
    StorageFailed,
    StorageFull,
    StoredLeaf,
)
from vault.storage.sqlite import SqliteStorage
from vault.storage.sqlite_file import FILE_NAME, LOCK_NAME, SCHEMA_VERSION

_all_closed = pytest.fixture(autouse=True)(all_closed)


async def filled(directory: Path, leaves: int) -> None:
    async with await opened(directory) as storage:
        for index in range(1, leaves):
            await storage.append(VAULT, index, [leaf(index, b"leaf %d" % index, b"s" * 3000)])


# --- who may open what


async def test_two_servers_cannot_share_a_directory(tmp_path: Path) -> None:
    storage = await SqliteStorage.open(tmp_path)
    with pytest.raises(DirectoryInUse):
        await SqliteStorage.open(tmp_path)
    await storage.close()
    again = await SqliteStorage.open(tmp_path)
    await again.close()


async def test_nobody_else_reads_the_files(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        storage = await opened(tmp_path / "new" / "data")
    finally:
        os.umask(old)
    directory = tmp_path / "new" / "data"
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()}
    assert modes == dict.fromkeys(
        [FILE_NAME, FILE_NAME + "-wal", FILE_NAME + "-shm", LOCK_NAME], 0o600
    )
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    await storage.close()


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION - 1, SCHEMA_VERSION + 1, 99])
async def test_another_schema_version_is_refused_and_left_alone(
    tmp_path: Path, version: int
) -> None:
    await (await opened(tmp_path)).close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = (tmp_path / FILE_NAME).read_bytes()
    known = f"schema version {version}, this build knows {SCHEMA_VERSION}"
    with pytest.raises(Unsupported, match=known):
        await SqliteStorage.open(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.threat("R8")
async def test_tables_of_another_shape_are_refused_and_left_alone(tmp_path: Path) -> None:
    """A bit that changed there could show every upload that begins, or leave an index out."""
    await (await opened(tmp_path)).close()
    file = tmp_path / FILE_NAME
    whole = file.read_bytes()
    for said, bit in (
        (b"published INTEGER NOT NULL DEFAULT 0", 1),
        (b"WHERE published = 0", 1),
        (b"length(batch)", 1),
        (b"CREATE TABLE contents", 0x80),  # the error quotes it, and is no text
    ):
        changed = bytearray(whole)
        changed[whole.index(said) + len(said) - 1] ^= bit
        file.write_bytes(changed)
        with pytest.raises(StorageFailed, match=r"not those of schema version|SQLITE_CORRUPT"):
            await SqliteStorage.open(tmp_path)
        assert file.read_bytes() == changed
    file.write_bytes(whole)
    await (await SqliteStorage.open(tmp_path)).close()


async def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(StorageFailed, match="not made by this program"):
        await SqliteStorage.open(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"a letter to a friend" * 100)
    with pytest.raises(StorageFailed, match="SQLITE_NOTADB"):
        await SqliteStorage.open(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == b"a letter to a friend" * 100


async def test_a_place_that_cannot_be_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed):
        await SqliteStorage.open(tmp_path / "file")


async def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(Unsupported, match="too old"):
        await SqliteStorage.open(tmp_path)


async def test_a_stop_during_creation_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_file, "SCHEMA", (*sqlite_file.SCHEMA[:2], "CREATE TABLE ("))
        with pytest.raises(StorageFailed):
            await SqliteStorage.open(tmp_path)
    storage = await opened(tmp_path)
    assert await storage.size(VAULT) == 1
    await storage.close()


# --- how it is set up


@pytest.mark.threat("R7")
async def test_one_connection_writes_and_the_settings_are_in_force(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "auto_vacuum": 2,
        "page_size": sqlite_file.PAGE_BYTES,
    }
    for name, value in wanted.items():
        assert await storage._queue.sql(f"PRAGMA {name}") == [(value,)]
    assert (await storage._queue.sql("PRAGMA busy_timeout"))[0][0] > 0
    for reader in [next(storage._readers) for _ in range(engine_module.READERS)]:
        assert [*await reader.execute_fetchall("PRAGMA query_only")] == [(1,)]
        await reader.execute_fetchall("PRAGMA query_only = OFF")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await reader.execute_fetchall("DELETE FROM leaves")
    with pytest.raises(StorageFailed, match="READONLY"):
        await storage._read("DELETE FROM leaves")
    assert len(await storage.read_leaves(VAULT, 0, 9, PAGE)) == 1
    await storage.close()


async def test_an_upload_that_wakes_up_does_not_expire(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    await stage(storage, now=100)
    # What `expire_staged` asks of the writer after an upload's hour was read, and moved since.
    assert await storage._queue.write(partial(storage._changes.expire, VAULT, UPLOAD, 100)) == 0
    # Or after a part was committed meanwhile.
    await storage.append(VAULT, 1, [leaf(1)], Effects(hold_uploads=(UPLOAD,)))
    assert await storage._queue.write(partial(storage._changes.expire, VAULT, UPLOAD, 101)) == 0
    assert len(await storage.staged(VAULT, UPLOAD)) == 1
    await storage.close()


@pytest.mark.parametrize(("version", "safe"), [((3, 51, 2), 0), ((3, 51, 3), 1)])
async def test_the_version_is_logged_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], safe: int
) -> None:
    stream = StringIO()
    handler = JsonLineHandler(stream, RepeatLimit(9, 9.0))
    logger = logging.getLogger(LOGGER_NAME)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    try:
        async with await SqliteStorage.open(tmp_path):
            pass
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    line = json.loads(stream.getvalue())
    assert line["event"] == "storage_opened"
    assert (line["sqlite"], line["wal_reset_safe"]) == (3_051_000 + version[2], safe)


# --- faults


@pytest.mark.threat("R4")
async def test_a_full_disk_is_said_and_nothing_is_half_done(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    await stage(storage)
    pages = (await storage._queue.sql("PRAGMA page_count"))[0][0]
    await storage._queue.sql(f"PRAGMA max_page_count = {pages + 4}")
    big = StoredLeaf(1, b"big", (SidePart.of(b"s" * 500_000),))
    with pytest.raises(StorageFull):
        await storage.append(VAULT, 1, [big], publish())
    assert await storage.size(VAULT) == 1
    assert not await is_shown(storage)
    assert len(await storage.staged(VAULT, UPLOAD)) == 1
    await storage._queue.sql("PRAGMA max_page_count = 1000000")
    await storage.append(VAULT, 1, [big], publish())
    assert await storage.read_leaves(VAULT, 1, 9, PAGE) == [big]
    await storage.close()


async def test_what_does_not_fit_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    pages = (await storage._queue.sql("PRAGMA page_count"))[0][0]
    await storage._queue.sql(f"PRAGMA max_page_count = {pages + 10}")
    answers = await asyncio.gather(
        stage(storage, b"\x01" * 16),
        stage(storage, b"\x02" * 16, blocks=(block(b"x" * 500_000),)),
        stage(storage, b"\x03" * 16),
        storage.append(VAULT, 1, [leaf(1)]),
        return_exceptions=True,
    )
    assert isinstance(answers[1], StorageFull)
    assert [answers[0], answers[2], answers[3]] == [True, True, None]
    assert [each.batch_id[0] for each in await storage.staged(VAULT, UPLOAD)] == [1, 3]
    await storage.close()


async def test_a_disk_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    await storage._queue.sql("PRAGMA query_only = ON")
    with pytest.raises(StorageFailed, match="READONLY"):
        await storage.append(VAULT, 1, [leaf(1)])
    assert await storage.size(VAULT) == 1
    await storage._queue.sql("PRAGMA query_only = OFF")
    await storage.append(VAULT, 1, [leaf(1)])
    await storage.close()


async def test_a_commit_that_fails_leaves_the_writer_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await opened(tmp_path)
    honest = storage._queue.sql

    async def fails_to_commit(statement: str, *values: object) -> list[tuple[object, ...]]:
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return await honest(statement, *values)

    with monkeypatch.context() as patch:
        patch.setattr(storage._queue, "sql", fails_to_commit)
        answers = await asyncio.gather(
            stage(storage), storage.append(VAULT, 1, [leaf(1)]), return_exceptions=True
        )
    assert [type(answer) for answer in answers] == [StorageFailed, StorageFailed]
    assert await storage.size(VAULT) == 1
    await storage.append(VAULT, 1, [leaf(1)])
    assert await storage.staged(VAULT, UPLOAD) == []
    await storage.close()


async def test_a_bug_in_a_write_reaches_its_caller_only(tmp_path: Path) -> None:
    storage = await opened(tmp_path)

    async def bug() -> None:
        await storage._queue.sql("DELETE FROM sides")
        raise KeyError("bug")

    answers = await asyncio.gather(
        storage._queue.write(bug), storage.append(VAULT, 1, [leaf(1)]), return_exceptions=True
    )
    assert isinstance(answers[0], KeyError)
    assert answers[1] is None
    await storage.close()


async def test_a_bare_short_id_is_our_bug(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    with pytest.raises(ApiMisuse):
        await storage.create_vault(b"short", leaf(0))
    with pytest.raises(ApiMisuse):
        SidePart(b"short", b"")
    await storage.close()


async def test_check_finds_a_damaged_page_of_whatever_table(tmp_path: Path) -> None:
    """Of those too that no other part of the check reads."""
    await filled(tmp_path, 40)
    file = tmp_path / FILE_NAME
    whole = file.read_bytes()
    with closing(sqlite3.connect(file)) as connection:
        roots = connection.execute(
            "SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 1"
        ).fetchall()
    assert {"sides", "blocks", "batches", "uploads"} <= {name for name, _ in roots}
    for name, root in roots:
        page = (root - 1) * 4096
        file.write_bytes(whole[:page] + b"\xa5" * 64 + whole[page + 64 :])
        storage = await SqliteStorage.open(tmp_path)
        print("damaged:", name)
        with pytest.raises(StorageFailed):
            await storage.check()
        await storage.close()


async def test_check_finds_what_stands_below_nothing(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    await stage(storage)
    await storage.check()
    await storage.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("DELETE FROM uploads")
        connection.commit()
    storage = await SqliteStorage.open(tmp_path)
    with pytest.raises(StorageFailed, match="stands below what is not there"):
        await storage.check()
    await storage.close()


@pytest.mark.parametrize("lost", ["block", "part"])
async def test_check_finds_what_is_not_there(tmp_path: Path, lost: str) -> None:
    storage = await opened(tmp_path)
    await storage.append(VAULT, 1, [leaf(1, b"x", b"part")])
    await stage(storage)
    await storage.check()
    await storage._queue.sql("DELETE FROM contents WHERE content = ?", lost.encode())
    with pytest.raises(StorageFailed, match="not there"):
        await storage.check()
    await storage.close()


@pytest.mark.parametrize(
    "strayed",
    [
        "INSERT INTO contents (id, filler, content) VALUES (99, x'', x'')",
        "INSERT INTO doomed (content) SELECT content FROM blocks",
    ],
)
async def test_check_finds_what_stands_nowhere_or_twice(tmp_path: Path, strayed: str) -> None:
    storage = await opened(tmp_path)
    await stage(storage)
    await storage.check()
    await storage._queue.sql(strayed)
    with pytest.raises(StorageFailed, match="no place, or in several"):
        await storage.check()
    await storage.close()


async def test_check_finds_a_gap(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    await storage.append(VAULT, 1, [leaf(1), leaf(2)])
    await storage.check()
    await storage._queue.sql("DELETE FROM leaves WHERE leaf_index = 1")
    with pytest.raises(StorageFailed, match="gaps"):
        await storage.check()
    await storage.close()


@pytest.mark.threat("R5")
async def test_a_torn_wal_opens_at_a_commit(tmp_path: Path) -> None:
    """R5 in small: cut and flipped WAL files never give half an append, nor a changed one."""
    live = tmp_path / "live"
    storage = await opened(live)
    honest = [leaf(0, b"genesis")]
    for index in range(1, 12):
        honest.append(leaf(index, b"%d" % index, random.Random(index).randbytes(9000)))
        await storage.append(VAULT, index, [honest[-1]])
    main, wal = (live / FILE_NAME).read_bytes(), (live / f"{FILE_NAME}-wal").read_bytes()
    await storage.close()
    random_ = random.Random(5)
    sizes = set()
    for number in range(24):
        damaged = bytearray(wal)
        at = random_.randrange(len(wal) // 3, len(wal))
        if number % 2:
            del damaged[at:]
        else:
            damaged[at] ^= 1 << random_.randrange(8)
        copy = tmp_path / str(number)
        copy.mkdir()
        (copy / FILE_NAME).write_bytes(main)
        (copy / f"{FILE_NAME}-wal").write_bytes(damaged)
        torn = await SqliteStorage.open(copy)
        await torn.check()
        found = await torn.read_leaves(VAULT, 0, 99, PAGE)
        await torn.close()
        assert found == honest[: len(found)]
        sizes.add(len(found))
    assert len(sizes) > 2  # the damage was real, and of different depth


async def test_what_an_operator_had_sqlite_measure_is_no_damage(tmp_path: Path) -> None:
    async with await SqliteStorage.open(tmp_path) as storage:
        await storage.create_vault(bytes(32), StoredLeaf(0, b"leaf"))
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        database.execute("ANALYZE")
    async with await SqliteStorage.open(tmp_path) as storage:
        await storage.check()
        assert await storage.size(bytes(32)) == 1


# --- a look that is cut off, as when the server is stopped

ENDLESS = (
    "WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted)"
    " SELECT COUNT(*) FROM counted"
)


@pytest.mark.parametrize("where", ["connecting", "looking"])
def test_a_look_that_is_cut_off_ends_at_once_and_leaves_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    reached, going_on = threading.Event(), threading.Event()
    before = set(threading.enumerate())
    connect = sqlite3.connect

    def slowly(*arguments: Any, **settings: Any) -> sqlite3.Connection:
        reached.set()
        going_on.wait(HANGS_SECONDS)
        made: sqlite3.Connection = connect(*arguments, **settings)
        return made

    async def endlessly(reader: aiosqlite.Connection) -> None:
        reached.set()
        await reader.execute_fetchall(ENDLESS)

    async def cut_off() -> None:
        async with await SqliteStorage.open(tmp_path) as storage:
            if where == "connecting":
                monkeypatch.setattr(sqlite3, "connect", slowly)
            else:
                monkeypatch.setattr(engine_module, "check_database", endlessly)
            looking = asyncio.create_task(storage.check())
            await asyncio.to_thread(reached.wait)
            await asyncio.sleep(0.05)
            looking.cancel()
            going_on.set()
            with pytest.raises(asyncio.CancelledError):
                await looking

    asyncio.run(cut_off())
    # A connection says that it is closed, and then its thread ends.
    for thread in set(threading.enumerate()) - before:
        thread.join(HANGS_SECONDS)
        assert not thread.is_alive()
