"""SQLite: killed, and refused by the system, at any moment; what was acknowledged is there."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sqlite_stores import REPOSITORY, all_closed, killed
from tests.storage_contract import VAULT, is_shown
from vault.storage.sqlite import SqliteStorage

_all_closed = pytest.fixture(autouse=True)(all_closed)


WRITER = """
import asyncio, hashlib, sys
from pathlib import Path
from vault.storage.base import Effects, Publish, SidePart, StoredLeaf, ToStage
from vault.storage.sqlite import SqliteStorage

VAULT, MEMBER = b"\\x01" * 32, b"\\xaa" * 32

def name(n): return n.to_bytes(16, "big")

async def main(directory):
    storage = await SqliteStorage.open(directory)
    if not await storage.vault_ids():
        await storage.create_vault(VAULT, StoredLeaf(0, b"0"))
    size = await storage.size(VAULT)
    while True:
        content = b"%d" % size * 500
        block = (0, hashlib.sha256(content).digest(), content)
        await asyncio.gather(*(
            storage.stage_batches(VAULT, name(size), MEMBER, [ToStage(name(size * 8 + n),
                                  b"m%d" % size, [block])], 1) for n in range(3)))
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


async def test_kill_9_loses_nothing_acknowledged_and_shows_no_half(tmp_path: Path) -> None:
    """R1 in small: the pipe is the record of what was acknowledged, kept outside the server."""
    random_ = random.Random(1)
    for _ in range(6):
        heard = killed(WRITER, tmp_path, random_.randrange(1, 40))
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
    content = b"%d" % commit * 500
    for number in range(3):
        assert await is_shown(storage, content, 0, name(commit * 8 + number)) is visible


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
