"""Damaged and hostile files give a table or a clear error, in bounded memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import damage

SEEDS = 250
MOST_MIB = 100
MOST_BOMB_MIB = 512
"""Of them all, one after the other, in one process; runs took 315 to 426."""
MOST_BOMB_SECONDS = 100
"""Of processor time, for the worst of them."""
REPOSITORY = Path(__file__).resolve().parent.parent

BOMBS = {
    "table": 1,
    "table_encoding": 1,
    "table_syntax": 1,
    "table_unreadable": 2,
    "table_too_large": 10,
}


def report(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.damage", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, f"the process ended with {done.returncode}: {done.stderr[-2_000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("kind", damage.KINDS)
def test_a_damaged_file_is_a_table_or_an_error_of_ours(kind: str) -> None:
    found = report(kind, "0", str(SEEDS))
    assert found["unknown"] == []
    assert sum(found["outcomes"].values()) == SEEDS
    assert 0 < found["outcomes"]["table"] < SEEDS
    assert found["grown_mib"] <= MOST_MIB


def test_a_bomb_is_stopped_or_read_in_bounded_memory() -> None:
    found = report("bombs", "0", "0")
    assert found["unknown"] == []
    assert found["outcomes"] == BOMBS
    assert found["grown_mib"] <= MOST_BOMB_MIB
    assert found["slowest"] <= MOST_BOMB_SECONDS


def test_the_same_seed_makes_the_same_damage() -> None:
    content = bytes(range(200))
    for seed in range(50):
        assert damage.damaged(content, seed) == damage.damaged(content, seed)
    assert len({damage.damaged(content, seed) for seed in range(50)}) > 40
