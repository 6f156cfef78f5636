"""SQLite: what was deleted is in none of its files, and their room is given back."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.remains import on_disk
from tests.sqlite_stores import all_closed, killed, opened
from tests.storage_contract import UPLOAD, VAULT, block, is_shown, leaf, publish, stage
from vault.storage import sqlite as engine_module
from vault.storage import sqlite_changes, sqlite_file
from vault.storage.base import Effects, StillRead
from vault.storage.sqlite import SqliteStorage
from vault.storage.sqlite_file import FILE_NAME

_all_closed = pytest.fixture(autouse=True)(all_closed)


async def test_what_was_swept_is_in_no_file_once_the_store_is_closed(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    part, sealed, kept = b"CANARY-PART" * 400, b"CANARY-BLOCK" * 2000, b"CANARY-KEPT" * 400
    await storage.append(VAULT, 1, [leaf(1, b"x", part, kept)])
    await stage(storage, blocks=(block(sealed),))
    effects = Effects(drop_uploads=(UPLOAD,), delete_parts=((1, 0),))
    await storage.append(VAULT, 2, [leaf(2)], effects)
    assert await storage.sweep(1 << 30) == 0
    await storage.close()
    left = on_disk(tmp_path)
    assert b"CANARY-KEPT" in left
    assert b"CANARY-PART" not in left
    assert b"CANARY-BLOCK" not in left


async def shown_and_doomed(storage: SqliteStorage, content: bytes, times: int = 1) -> None:
    """Publish a batch of blocks of this content, and let it go."""
    blocks = tuple(block(content, number) for number in range(times))
    await stage(storage, blocks=blocks)
    await storage.append(VAULT, 1, [leaf(1)], publish())
    await storage.append(VAULT, 2, [leaf(2)], Effects(doom_all=True))


async def test_pages_that_were_freed_are_given_back_many_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await opened(tmp_path)
    await storage.scour()
    before = (await storage.stats()).bytes_on_disk
    await shown_and_doomed(storage, b"x" * (1 << 20), 20)
    while await storage.sweep(1 << 22):
        pass
    assert (await storage.stats()).bytes_on_disk > before + (20 << 20)
    steps, give_back = 0, storage._changes.give_back

    async def counted() -> bool:
        nonlocal steps
        steps += 1
        return await give_back()

    monkeypatch.setattr(storage._changes, "give_back", counted)
    await storage.scour()
    assert (await storage.stats()).bytes_on_disk < before + (1 << 16)
    pages = 20 * (1 << 20) // sqlite_file.PAGE_BYTES
    assert pages // sqlite_changes.VACUUM_PAGES <= steps < 10
    assert await storage._queue.sql("PRAGMA freelist_count") == [(0,)]
    await storage.close()


async def test_whoever_reads_for_long_delays_a_scouring_and_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup may read for long; the log of writes cannot be emptied under it."""
    monkeypatch.setattr(engine_module, "CHECKPOINT_PAUSE_SECONDS", 0.01)
    storage = await opened(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as backup:
        backup.execute("BEGIN")
        assert backup.execute("SELECT COUNT(*) FROM leaves").fetchone() == (1,)
        await shown_and_doomed(storage, b"CANARY-BLOCK" * 2_000)
        assert await storage.sweep(1 << 30) == 0
        scouring = asyncio.create_task(storage.scour())
        for index in range(3, 9):
            await storage.append(VAULT, index, [leaf(index)])
        with pytest.raises(StillRead, match="somebody reads"):
            await scouring
        assert b"CANARY-BLOCK" in on_disk(tmp_path)
        backup.execute("COMMIT")
        await storage.scour()
        assert b"CANARY-BLOCK" not in on_disk(tmp_path)
        assert await storage._queue.sql("PRAGMA busy_timeout") == [(5_000,)]
    await storage.close()


async def test_a_file_that_cannot_give_pages_back_is_scoured_all_the_same(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE x (a)")
        connection.execute("DROP TABLE x")
    storage = await opened(tmp_path)
    await shown_and_doomed(storage, b"CANARY-BLOCK" * 2_000)
    assert await storage.sweep(1 << 30) == 0
    await storage.scour()
    assert (await storage._queue.sql("PRAGMA freelist_count"))[0][0] > 0
    assert b"CANARY-BLOCK" not in on_disk(tmp_path)
    await storage.close()


async def test_stats_count_the_bytes_on_disk(tmp_path: Path) -> None:
    storage = await opened(tmp_path)
    before = (await storage.stats()).bytes_on_disk
    await stage(storage, blocks=(block(os.urandom(1 << 20)),))
    after = (await storage.stats()).bytes_on_disk
    assert 1 << 20 <= after - before < 3 << 20
    await storage.close()
    listed = sum(f.stat().st_size for f in tmp_path.iterdir())
    assert 1 << 20 < listed < after


SWEEPER = """
import asyncio, hashlib, sys
from pathlib import Path
from vault.storage.base import Effects, Publish, StoredLeaf, ToStage
from vault.storage.sqlite import SqliteStorage

VAULT, MEMBER = b"\\x01" * 32, b"\\xaa" * 32
said = 0

async def say(*words):
    global said
    print(*words, flush=True)
    said += 1
    if said == MOST:
        await asyncio.Event().wait()

async def main(directory):
    storage = await SqliteStorage.open(directory)
    await storage.create_vault(VAULT, StoredLeaf(0, b"0"))
    contents = [b"CANARY-%03d" % n * 900 for n in range(60)]
    blocks = [(n, hashlib.sha256(each).digest(), each) for n, each in enumerate(contents)]
    await storage.stage_batches(
        VAULT, b"u" * 16, MEMBER, [ToStage(b"b" * 16, b"m", blocks)], 1)
    publish = Effects((Publish(b"u" * 16, (b"b" * 16,)),))
    await storage.append(VAULT, 1, [StoredLeaf(1, b"1")], publish)
    await storage.append(VAULT, 2, [StoredLeaf(2, b"2")], Effects(doom_all=True))
    await say("doomed")
    while left := await storage.sweep(20_000):
        await say("left", left)
    await storage.scour()
    await say("scoured")
    await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("lines", [1, 5, 31])
async def test_kill_9_between_what_went_and_its_deletion(tmp_path: Path, lines: int) -> None:
    # Whoever kills it may be late: it goes one step further than was heard of it, and no more.
    heard = killed(SWEEPER.replace("MOST", str(lines + 1)), tmp_path, lines)
    assert heard[0] == ["doomed"]
    if lines < 31:
        assert b"CANARY-059" in on_disk(tmp_path)
    storage = await SqliteStorage.open(tmp_path)
    await storage.check()
    for number in range(60):
        content = b"CANARY-%03d" % number * 900
        assert not await is_shown(storage, content, number, b"b" * 16)
    while await storage.sweep(1 << 30):
        pass
    await storage.scour()
    assert b"CANARY" not in on_disk(tmp_path)
    await storage.close()
