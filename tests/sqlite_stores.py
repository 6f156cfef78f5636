"""SQLite stores for tests: opened, closed whatever happens, looked into, and killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.remains import on_disk
from tests.storage_contract import VAULT, leaf
from vault.storage.sqlite import SqliteStorage

REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class SqliteEngine:
    directory: Path

    async def open(self) -> SqliteStorage:
        return await SqliteStorage.open(self.directory)

    def on_disk(self) -> bytes:
        return on_disk(self.directory)


async def opened(directory: Path) -> SqliteStorage:
    storage = await SqliteStorage.open(directory)
    await storage.create_vault(VAULT, leaf(0, b"genesis"))
    return storage


async def all_closed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
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


def killed(program: str, directory: Path, lines: int) -> list[list[str]]:
    """Run a program, kill it after some answers, and return every answer that it gave."""
    command = [sys.executable, "-c", program, str(directory)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        heard = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        heard += writer.stdout.readlines()
    assert writer.returncode == -signal.SIGKILL
    return [line.split() for line in heard if line.endswith("\n")]
