"""The store on a disk that loses power, or is full: what was acknowledged is there, nothing halves.

`make power` draws a thousand cuts; the everyday run some of them.
"""

from __future__ import annotations

import hashlib
import os
import random
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from protocol.errors import SealroomError
from tests.power import Disk, powered
from tests.storage_contract import VAULT, is_shown
from vault.storage.base import (
    Effects,
    Publish,
    SidePart,
    StorageFailed,
    StorageFull,
    StoredLeaf,
    ToStage,
)
from vault.storage.sqlite import SqliteStorage

MEMBER = b"\xaa" * 32
COMMITS = 8
CUTS = int(os.environ.get("SEALROOM_CUTS", "40"))


def name(number: int) -> bytes:
    return number.to_bytes(16, "big")


def content_of(commit: int) -> bytes:
    return b"%d" % commit * 900


@dataclass
class Acknowledged:
    """What a store said that it had done."""

    leaves: int = 0
    staged: list[int] = field(default_factory=list)


async def worked(storage: SqliteStorage, done: Acknowledged) -> None:
    """Stage and publish, one commit after the other, and sweep what each replaces."""
    await storage.create_vault(VAULT, StoredLeaf(0, b"0"))
    done.leaves = 1
    for commit in range(1, COMMITS + 1):
        content = content_of(commit)
        block = (0, hashlib.sha256(content).digest(), content)
        one = ToStage(name(commit), b"m", [block])
        await storage.stage_batches(VAULT, name(commit), MEMBER, [one], 1)
        done.staged.append(commit)
        leaf = StoredLeaf(commit, b"%d" % commit, (SidePart.of(b"s" * 3_000),))
        effects = Effects((Publish(name(commit), (name(commit),)),), delete_parts=_older(commit))
        await storage.append(VAULT, commit, [leaf], effects)
        done.leaves = commit + 1
        if commit % 3 == 0:
            await storage.sweep(1 << 20)


def _older(commit: int) -> tuple[tuple[int, int], ...]:
    return ((commit - 2, 0),) if commit > 2 else ()


async def expect_sound(folder: Path, done: Acknowledged) -> int:
    """Check a folder as a server finds it; return how many leaves it has."""
    async with await SqliteStorage.open(folder) as storage:
        await storage.check()
        if not await storage.vault_ids():
            assert done.leaves == 0
            return 0
        size = await storage.size(VAULT)
        assert size >= done.leaves, f"{done.leaves - size} acknowledged leaves are gone"
        leaves = await storage.read_leaves(VAULT, 0, 999, 1 << 20)
        assert [each.leaf for each in leaves] == [b"%d" % index for index in range(size)]
        for commit in range(1, COMMITS + 1):
            shown = await is_shown(storage, content_of(commit), 0, name(commit))
            assert shown is (commit < min(size, COMMITS + 1))
            if commit in done.staged and commit >= size:
                assert len(await storage.staged(VAULT, name(commit))) == 1
        return size


async def cut(directory: Path, at: int, seed: int, synchronous: str = "FULL") -> int:
    """Cut the power before an operation, and look at what is found then."""
    disk, done = Disk(dies_at=at), Acknowledged()
    with powered(disk, synchronous=synchronous), suppress(SealroomError):
        storage = await SqliteStorage.open(directory / "before")
        try:
            await worked(storage, done)
        finally:
            with suppress(Exception):
                await storage.close()
    disk.after(directory / "after", random.Random(seed))
    return await expect_sound(directory / "after", done)


async def operations_of_all(directory: Path) -> int:
    disk = Disk()
    with powered(disk):
        async with await SqliteStorage.open(directory) as storage:
            await worked(storage, Acknowledged())
    return disk.operations


async def operations_to_open(directory: Path) -> int:
    disk = Disk()
    with powered(disk):
        storage = await SqliteStorage.open(directory)
        opened = disk.operations
        await storage.close()
    return opened


@pytest.mark.threat("R6")
async def test_whenever_the_power_goes_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    total = await operations_of_all(tmp_path / "whole")
    assert total > 100
    draw, sizes = random.Random(6), []
    for seed in range(CUTS):
        at = 1 + seed * total // CUTS if seed < CUTS // 2 else draw.randrange(1, total)
        sizes.append(await cut(tmp_path / str(seed), at, seed))
    assert len(set(sizes)) > COMMITS // 2
    print(f"\nthe power went {CUTS} times within {total} operations of the disk: 0 lost")


@pytest.mark.threat("R6")
async def test_a_store_that_did_not_sync_each_write_would_lose_some(tmp_path: Path) -> None:
    """The control: without it, the test above might never have taken anything away."""
    total = await operations_of_all(tmp_path / "whole")
    lost = 0
    for seed in range(30):
        try:
            await cut(tmp_path / str(seed), total * 2 // 3, seed, synchronous="OFF")
        except (AssertionError, SealroomError):
            lost += 1
    assert lost > 0


@pytest.mark.threat("R4")
async def test_wherever_the_disk_is_full_a_write_is_refused_and_the_next_lands(
    tmp_path: Path,
) -> None:
    opening, total = await operations_to_open(tmp_path / "o"), await operations_of_all(tmp_path)
    refused = 0
    for at in range(opening + 1, total, max(1, total // 25)):
        disk, folder, done = Disk(full_at=at), tmp_path / str(at), Acknowledged()
        with powered(disk):
            async with await SqliteStorage.open(folder) as storage:
                with suppress(StorageFull):
                    await worked(storage, done)
                    continue  # it was full while the log was put away, which is tried again
                refused += 1
                size = done.leaves
                if size == 0:
                    assert await storage.vault_ids() == []
                    continue
                assert await storage.size(VAULT) == size
                disk.full_at = None  # somebody made room
                await storage.append(VAULT, size, [StoredLeaf(size, b"%d" % size)])
        async with await SqliteStorage.open(folder) as again:
            await again.check()
            assert await again.size(VAULT) == size + 1
    assert refused > 5


@pytest.mark.threat("R4")
async def test_a_disk_that_was_made_read_only_is_read_and_written_once_it_is_not(
    tmp_path: Path,
) -> None:
    disk, done = Disk(), Acknowledged()
    with powered(disk):
        async with await SqliteStorage.open(tmp_path) as storage:
            await worked(storage, done)
            size = await storage.size(VAULT)
            disk.read_only = True
            for _ in range(2):
                with pytest.raises(StorageFailed, match="ReadOnly"):
                    await storage.append(VAULT, size, [StoredLeaf(size, b"%d" % size)])
                assert await is_shown(storage, content_of(COMMITS), 0, name(COMMITS))
                assert await storage.size(VAULT) == size
            disk.read_only = False
            await storage.append(VAULT, size, [StoredLeaf(size, b"%d" % size)])
    assert await expect_sound(tmp_path, done) == size + 1
