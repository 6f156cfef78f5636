"""A server that is killed while a table is sent to it; `make crash` does it 200 times over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crashing import Oracle, crashed, expect_stored, summary
from vault.storage.base import StoredLeaf
from vault.storage.sqlite import SqliteStorage


@pytest.mark.threat("R1")
async def test_nothing_acknowledged_is_lost_however_often_the_server_is_killed(
    tmp_path: Path,
) -> None:
    told = await crashed(tmp_path, points=2, records=600, batch=50, seed=2)
    assert told.kills == 2
    assert told.uploads >= 1
    assert told.acknowledged_batches >= 12
    assert told.progress == sorted(told.progress)
    print("\n" + summary(told, 600))


async def test_an_act_that_was_acknowledged_and_is_another_is_missed(tmp_path: Path) -> None:
    async with await SqliteStorage.open(tmp_path) as storage:
        await storage.create_vault(bytes(32), StoredLeaf(0, b"\x01genesis"))
    await expect_stored(tmp_path, Oracle(acts={0: b"genesis"}))
    with pytest.raises(AssertionError, match="another"):
        await expect_stored(tmp_path, Oracle(acts={0: b"other"}))
