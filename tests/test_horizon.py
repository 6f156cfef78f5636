"""The time that a replay guard keeps across restarts, as a file (SPEC section 13.2)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vault import horizon
from vault.config import InvalidConfig
from vault.horizon import HORIZON_FILE, read_horizon, write_horizon


def test_the_horizon_is_kept_whole(tmp_path: Path) -> None:
    assert read_horizon(tmp_path) == 0
    for created in (1_800_000_000, 1_800_000_007):
        write_horizon(tmp_path, created)
        assert read_horizon(tmp_path) == created
    assert stat.S_IMODE((tmp_path / HORIZON_FILE).stat().st_mode) == 0o600
    for damaged in (b"", b"1", b"-1\n", b"1e9\n", b"1\n\n", b"\xff\xfe1\n", b"\0" * 4_096):
        (tmp_path / HORIZON_FILE).write_bytes(damaged)
        with pytest.raises(InvalidConfig, match="damaged"):
            read_horizon(tmp_path)


def test_the_horizon_is_on_the_disk_before_its_name_and_its_name_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the power could leave an empty file, or the one before, and a request twice."""
    synced = []
    true = os.fsync

    def fsync(file: int) -> None:
        """Note what a loss of power just after would leave: of the file, and under its name."""
        true(file)
        synced.append((os.fstat(file).st_size, read_horizon(tmp_path)))

    def sync(folder: Path) -> None:
        assert folder == tmp_path
        synced.append((0, read_horizon(tmp_path)))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(horizon, "sync", sync)
    write_horizon(tmp_path, 1_800_000_000)
    assert synced == [(11, 0), (0, 1_800_000_000)]
