"""SQLite: the storage contract, and what this engine owes beyond it (faults, files, modes)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import ApiMisuse, Unsupported
from vault.logs import LOGGER_NAME, JsonLineHandler, RepeatLimit
from vault.storage import sqlite as engine_module
from vault.storage.base import (
    DirectoryInUse,
    Effects,
    SidePart,
    StorageFailed,
    StorageFull,
    StoredLeaf,
)
from vault.storage.sqlite import FILE_NAME, LOCK_NAME, SCHEMA_VERSION, SqliteStorage

pytest.register_assert_rewrite("tests.storage_contract")

from tests.storage_contract import (  # noqa: E402
    PAGE,
    UPLOAD,
    VAULT,
    StorageContract,
    leaf,
    publish,
    stage,
)

REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class SqliteEngine:
    directory: Path

    async def open(self) -> SqliteStorage:
        return await SqliteStorage.open(self.directory)


class TestSqliteKeepsTheContract(StorageContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> SqliteEngine:
        return SqliteEngine(tmp_path / "data")


@pytest.fixture(autouse=True)
async def _all_closed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Close what a failing test left open: its threads would keep the test run alive."""
    stores: list[SqliteStorage] = []
    honest = SqliteStorage.__init__

    def remembered(self: SqliteStorage, *arguments: Any) -> None:
        honest(self, *arguments)
        stores.append(self)

    monkeypatch.setattr(SqliteStorage, "__init__", remembered)
    yield
    for storage in stores:
        await storage.close()


async def opened(directory: Path) -> SqliteStorage:
    storage = await SqliteStorage.open(directory)
    await storage.create_vault(VAULT, leaf(0, b"genesis"))
    return storage


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
        patch.setattr(engine_module, "SCHEMA", (*engine_module.SCHEMA[:2], "CREATE TABLE ("))
        with pytest.raises(StorageFailed):
            await SqliteStorage.open(tmp_path)
    storage = await opened(tmp_path)
    assert await storage.size(VAULT) == 1
    await storage.close()


# --- how it is set up


async def test_one_connection_writes_and_the_settings_are_in_force(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    for name, value in wanted.items():
        assert await storage._sql(f"PRAGMA {name}") == [(value,)]
    assert (await storage._sql("PRAGMA busy_timeout"))[0][0] > 0
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
    assert await storage._write(partial(storage._expire, VAULT, UPLOAD, 100)) == 0
    # Or after a part was committed meanwhile.
    await storage.append(VAULT, 1, [leaf(1)], Effects(hold_uploads=(UPLOAD,)))
    assert await storage._write(partial(storage._expire, VAULT, UPLOAD, 101)) == 0
    assert len(await storage.staged(VAULT, UPLOAD)) == 1
    await storage.append(VAULT, 2, [leaf(2)], Effects(release_uploads=(UPLOAD,)))
    assert await storage._write(partial(storage._expire, VAULT, UPLOAD, 101)) == 1
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


async def test_deleted_content_is_wiped_from_the_files(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    part, block, kept = b"CANARY-PART" * 400, b"CANARY-BLOCK" * 2000, b"CANARY-KEPT" * 400
    await storage.append(VAULT, 1, [leaf(1, b"x", part, kept)])
    await stage(storage, blocks=((0, 0, block),))
    effects = Effects(drop_uploads=(UPLOAD,), delete_parts=((1, 0),))
    await storage.append(VAULT, 2, [leaf(2)], effects)
    await storage.close()
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"CANARY-KEPT" in left
    assert b"CANARY-PART" not in left
    assert b"CANARY-BLOCK" not in left


async def test_stats_count_the_bytes_on_disk(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    before = (await storage.stats()).bytes_on_disk
    await stage(storage, blocks=((0, 0, os.urandom(1 << 20)),))
    after = (await storage.stats()).bytes_on_disk
    assert 1 << 20 <= after - before < 3 << 20
    await storage.close()
    listed = sum(f.stat().st_size for f in tmp_path.iterdir())
    assert 1 << 20 < listed < after


# --- faults


async def test_a_full_disk_is_said_and_nothing_is_half_done(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    await stage(storage)
    pages = (await storage._sql("PRAGMA page_count"))[0][0]
    await storage._sql(f"PRAGMA max_page_count = {pages + 4}")
    big = StoredLeaf(1, b"big", (SidePart.of(b"s" * 500_000),))
    with pytest.raises(StorageFull):
        await storage.append(VAULT, 1, [big], publish())
    assert await storage.size(VAULT) == 1
    assert await storage.read_block(VAULT, b"\x77" * 16, 0) is None
    assert len(await storage.staged(VAULT, UPLOAD)) == 1
    await storage._sql("PRAGMA max_page_count = 1000000")
    await storage.append(VAULT, 1, [big], publish())
    assert await storage.read_leaves(VAULT, 1, 9, PAGE) == [big]
    await storage.close()


async def test_what_does_not_fit_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    pages = (await storage._sql("PRAGMA page_count"))[0][0]
    await storage._sql(f"PRAGMA max_page_count = {pages + 10}")
    answers = await asyncio.gather(
        stage(storage, b"\x01" * 16),
        stage(storage, b"\x02" * 16, blocks=((0, 0, b"x" * 500_000),)),
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
    await storage._sql("PRAGMA query_only = ON")
    with pytest.raises(StorageFailed, match="READONLY"):
        await storage.append(VAULT, 1, [leaf(1)])
    assert await storage.size(VAULT) == 1
    await storage._sql("PRAGMA query_only = OFF")
    await storage.append(VAULT, 1, [leaf(1)])
    await storage.close()


async def test_a_commit_that_fails_leaves_the_writer_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await opened(tmp_path)
    honest = storage._sql

    async def fails_to_commit(statement: str, *values: object) -> list[tuple[object, ...]]:
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return await honest(statement, *values)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_sql", fails_to_commit)
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
        await storage._sql("DELETE FROM sides")
        raise KeyError("bug")

    answers = await asyncio.gather(
        storage._write(bug), storage.append(VAULT, 1, [leaf(1)]), return_exceptions=True
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


async def test_check_finds_a_damaged_page(tmp_path: Path) -> None:
    await filled(tmp_path, 40)
    file = tmp_path / FILE_NAME
    content = bytearray(file.read_bytes())
    with closing(sqlite3.connect(file)) as connection:
        ((root,),) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'sides'"
        ).fetchall()
    page = (root - 1) * 4096
    content[page : page + 64] = os.urandom(64)
    file.write_bytes(content)
    storage = await SqliteStorage.open(tmp_path)
    with pytest.raises(StorageFailed):
        await storage.check()
    await storage.close()


async def test_check_finds_a_gap(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    await storage.append(VAULT, 1, [leaf(1), leaf(2)])
    await storage.check()
    await storage._sql("DELETE FROM leaves WHERE leaf_index = 1")
    with pytest.raises(StorageFailed, match="gaps"):
        await storage.check()
    await storage.close()


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


# --- kill -9

WRITER = """
import asyncio, sys
from pathlib import Path
from vault.storage.base import Effects, Publish, SidePart, StoredLeaf
from vault.storage.sqlite import SqliteStorage

VAULT, MEMBER = b"\\x01" * 32, b"\\xaa" * 32

def name(n): return n.to_bytes(16, "big")

async def main(directory):
    storage = await SqliteStorage.open(directory)
    if not await storage.vault_ids():
        await storage.create_vault(VAULT, StoredLeaf(0, b"0"))
    size = await storage.size(VAULT)
    while True:
        await asyncio.gather(*(
            storage.stage_batch(VAULT, name(size), name(size * 8 + n), MEMBER, b"m%d" % size,
                                [(0, 0, b"%d" % size * 500)], 1) for n in range(3)))
        print("staged", size, flush=True)
        batches = tuple(name(size * 8 + n) for n in range(3))
        leaf = StoredLeaf(size, b"%d" % size, (SidePart.of(b"s" * 2000),))
        await storage.append(VAULT, size, [leaf], Effects((Publish(name(size), batches),)))
        print("landed", size, flush=True)
        size += 1

asyncio.run(main(Path(sys.argv[1])))
"""


def name(number: int) -> bytes:
    return number.to_bytes(16, "big")


def killed_writer(directory: Path, lines: int) -> list[list[str]]:
    """Run the writer, kill it after some answers, and return every answer that it gave."""
    command = [sys.executable, "-c", WRITER, str(directory)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        heard = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        heard += writer.stdout.readlines()
    assert writer.returncode == -signal.SIGKILL
    return [line.split() for line in heard if line.endswith("\n")]


async def test_kill_9_loses_nothing_acknowledged_and_shows_no_half(tmp_path: Path) -> None:
    """R1 in small: the pipe is the record of what was acknowledged, kept outside the server."""
    random_ = random.Random(1)
    for _ in range(6):
        heard = killed_writer(tmp_path, random_.randrange(1, 40))
        landed = [int(size) for word, size in heard if word == "landed"]
        staged = [int(size) for word, size in heard if word == "staged"]
        storage = await SqliteStorage.open(tmp_path)
        await storage.check()
        size = await storage.size(VAULT)
        assert size >= max(landed, default=0) + 1
        leaves = await storage.read_leaves(VAULT, 0, 9999, 1 << 30)
        assert [each.leaf for each in leaves] == [b"%d" % n for n in range(size)]
        for commit in range(size + 1):
            await assert_whole(storage, commit, visible=0 < commit < size)
        if staged[-1] == size:
            assert len(await storage.staged(VAULT, name(size))) == 3
        await storage.close()


async def assert_whole(storage: SqliteStorage, commit: int, *, visible: bool) -> None:
    content = b"%d" % commit * 500 if visible else None
    for number in range(3):
        assert await storage.read_block(VAULT, name(commit * 8 + number), 0) == content


SMALL_FILES = """
import asyncio, resource, sys
from pathlib import Path
from protocol.errors import SealroomError
from vault.storage.base import StoredLeaf
from vault.storage.sqlite import SqliteStorage

async def main(directory):
    storage = await SqliteStorage.open(directory)
    await storage.create_vault(b"\\x01" * 32, StoredLeaf(0, b"0"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    size, refused = 1, 0
    for _ in range(60):
        try:
            await storage.append(b"\\x01" * 32, size, [StoredLeaf(size, b"%d" % size * 15_000)])
            size += 1
        except SealroomError as error:
            refused += 1
            code = error.code
    assert await storage.size(b"\\x01" * 32) == size
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    await storage.append(b"\\x01" * 32, size, [StoredLeaf(size, b"%d" % size * 15_000)])
    await storage.close()
    print(size + 1, refused, code)

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_writes_that_the_system_refuses_are_typed_and_whole(tmp_path: Path) -> None:
    """R3 and R4 in small: the kernel refuses writes past a size, then allows them again."""
    command = [sys.executable, "-c", SMALL_FILES, str(tmp_path)]
    out = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    size, refused, code = out.stdout.split()
    assert int(refused) > 0
    assert code in ("storage_failed", "storage_full")
    storage = await SqliteStorage.open(tmp_path)
    await storage.check()
    leaves = await storage.read_leaves(VAULT, 0, 9999, 1 << 30)
    assert [each.leaf for each in leaves[1:]] == [b"%d" % n * 15_000 for n in range(1, int(size))]
    await storage.close()
