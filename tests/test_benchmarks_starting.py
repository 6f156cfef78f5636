"""What a cold start is compared with, and that what is slow on purpose is left out of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import starting
from benchmarks.starting import ARGON2, BARE, NACL, STATUS, VERSION, Taken, measure, report
from client.keyring_file import FLOOR
from protocol.limits import KIB


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands whose times are given: in the second round all take twice as long.

    And in the very first, which nothing counts, half of it.
    """

    @contextmanager
    def nowhere() -> Iterator[tuple[Path, dict[str, str]]]:
        yield Path("home"), {"SEALROOM_PASSPHRASE": "words"}

    costs = {"pass": 0.02, "import nacl.bindings": 0.04, "--version": 0.1, "status": 0.5}
    rounds: dict[str, int] = {}

    def taken(name: str, cost: float) -> Taken:
        rounds[name] = rounds.get(name, 0) + 1
        slower = (0.5, 1, 2)[rounds[name] - 1]
        return Taken(cost * slower, cost * slower / 2)

    def started(environment: dict[str, str], *arguments: str) -> Taken:
        assert environment == {"SEALROOM_PASSPHRASE": "words"}
        return taken(arguments[-1], costs[arguments[-1]])

    monkeypatch.setattr(starting, "_vault", nowhere)
    monkeypatch.setattr(starting, "started", started)
    monkeypatch.setattr(starting, "derived", lambda: taken("argon2", 0.2))


@pytest.mark.usefixtures("scripted")
def test_argon2_is_subtracted_and_ratios_are_those_of_one_round() -> None:
    starts = {each.name: each for each in measure(2, lambda _: None)}
    assert list(starts) == [BARE, NACL, ARGON2, VERSION, STATUS]
    status = starts[STATUS]
    assert status.seconds.least == pytest.approx(0.3)
    assert status.processor.least == pytest.approx(0.15)
    # 0.15 s to 0.01 s, and 0.3 s to 0.02 s.
    assert (status.times_bare.least, status.times_bare.greatest) == pytest.approx((15, 15))
    assert starts[BARE].times_bare.median == 1
    assert starts[VERSION].times_bare.median == pytest.approx(5)


@pytest.mark.usefixtures("scripted")
def test_the_report_has_a_line_for_each() -> None:
    text = report(measure(1, lambda _: None))
    (line,) = [line for line in text.splitlines() if VERSION in line]
    shown = " ".join(line.split(VERSION)[1].split())
    assert shown == "100 (100 to 100) 50 (50 to 50) 5.0"
    assert text.count("\n") == 2 + 5


def test_a_command_takes_time_of_its_own() -> None:
    computing = "import time\nwhile time.process_time() < 2: pass"
    bare, busy = (starting.started({}, "-c", what) for what in ("pass", computing))
    assert 0 < bare.processor < 1.9 < busy.processor
    assert bare.seconds > 0


def test_a_command_runs_with_what_is_added_to_the_environment() -> None:
    checks = "import os, sys; sys.exit(os.environ['NAME'] != 'x' or 'PATH' not in os.environ)"
    assert starting.started({"NAME": "x"}, "-c", checks).seconds > 0


def test_bytecode_is_kept_whatever_python_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def serving(_: Path) -> Iterator[None]:
        yield

    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(starting, "serving", serving)
    monkeypatch.setattr(starting, "create_vault", nothing)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    with starting._vault() as (home, environment):
        starting.started(environment, "-c", "import benchmarks.bare")
        written = list(home.parent.rglob("bare*.pyc"))
    assert len(written) == 1


def test_a_command_that_fails_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match=r"SystemExit(.|\n)*failed:\nno") as caught:
        starting.started({"NAME": "x"}, "-c", "raise SystemExit('no')")
    assert "failed" in str(caught.value)


def test_the_derivation_is_that_of_a_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(stdout="0.25 0.2\n")

    monkeypatch.setattr("benchmarks.starting.subprocess.run", run)
    assert starting.derived() == Taken(0.25, 0.2)
    assert commands == [
        [sys.executable, "-c", starting._DERIVE, str(FLOOR.passes), str(FLOOR.memory_kib * KIB)]
    ]
