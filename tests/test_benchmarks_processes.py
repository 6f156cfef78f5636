"""What is measured of processes: their time, their memory, the disk and the line between them."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from benchmarks import bare, transfer
from benchmarks import serving as serving_module
from benchmarks.bare import MOST_BYTES, PIECE_BYTES, Bare
from benchmarks.conditions import REPOSITORY
from benchmarks.memory import peak_bytes
from benchmarks.serving import Serving, processor_seconds, serving
from benchmarks.steps import Step, run_step
from benchmarks.transfer import run_transfer

MIB = 1024 * 1024
on_linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells it of other processes"
)


# --- the disk and the loopback


def test_the_bare_disk_and_loopback_take_time_for_each_byte(tmp_path: Path) -> None:
    found = Bare.of(tmp_path, 3 * PIECE_BYTES + 5)
    assert min(found.disk, found.loopback) > 0
    assert not list(tmp_path.iterdir())


def test_beyond_some_bytes_the_bare_costs_are_scaled_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[int] = []

    def taking(*arguments: object) -> float:
        moved.append(int(str(arguments[-1])))
        return 2.0

    monkeypatch.setattr(bare, "disk_seconds", taking)
    monkeypatch.setattr(bare, "loopback_seconds", taking)
    assert Bare.of(tmp_path, 3 * MOST_BYTES) == Bare(6.0, 6.0)
    assert moved == [MOST_BYTES, MOST_BYTES]


def test_a_sender_that_ends_early_is_no_figure() -> None:
    here, there = socket.socketpair()
    with here:
        there.sendall(b"some")
        there.close()
        with pytest.raises(RuntimeError, match="4 of 1,000 bytes"):
            bare._received_in(here, 1_000)


# --- processes


@on_linux
def test_the_processor_time_of_a_process_counts_when_it_computes_and_not_when_it_sleeps() -> None:
    computing = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(computing) as busy, subprocess.Popen(["sleep", "60"]) as idle:
        before = processor_seconds(idle.pid)
        while (processor_seconds(busy.pid) or 1.0) < 0.3:
            time.sleep(0.01)
        after = processor_seconds(idle.pid)
        busy.kill()
        idle.kill()
    assert before is not None
    assert after is not None
    assert after - before < 0.1


def test_elsewhere_than_on_linux_a_server_s_time_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Serving("https://localhost:1", bytes(32), "", 1).processor_seconds() is None


def test_what_the_server_does_after_its_answer_is_the_step_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is at rest for a moment only, and computes once more; then it is at rest for good.
    clock = iter([1.0, 2.0, 2.5, 2.5, 3.0, *[3.0001] * 9, 99.0])
    monkeypatch.setattr("benchmarks.transfer.time.sleep", lambda _: None)
    monkeypatch.setattr(serving_module, "processor_seconds", lambda _: next(clock))
    monkeypatch.setattr(transfer, "run_step", lambda *_: Step(1, 1, None, None))
    server = Serving("https://localhost:1", bytes(32), "", 1)
    done = transfer.stepped(server, "upload", tmp_path, "")
    assert done.server_seconds == pytest.approx(2.0001)


def test_a_server_that_never_rests_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count()
    monkeypatch.setattr("benchmarks.transfer.time.sleep", lambda _: None)
    monkeypatch.setattr(serving_module, "processor_seconds", lambda _: float(next(clock)))
    monkeypatch.setattr(transfer, "run_step", lambda *_: Step(1, 1, None, None))
    server = Serving("https://localhost:1", bytes(32), "", 1)
    assert (transfer.stepped(server, "upload", tmp_path, "").server_seconds or 0) > 1_000


@on_linux
def test_the_peak_of_a_process_is_its_own_and_stays_after_memory_is_given_back() -> None:
    child = (
        "from benchmarks.memory import peak_bytes\n"
        "before = peak_bytes(); held = b'x' * (200 << 20); del held; print(before, peak_bytes())"
    )
    ballast = b"x" * (300 * MIB)  # a parent's size must not count as its child's
    command = [sys.executable, "-c", child]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before < 100 * MIB < 200 * MIB < after < len(ballast)


@on_linux
def test_a_peak_of_another_process_can_be_asked_for() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        asleep, own = peak_bytes(process.pid), peak_bytes()
        process.terminate()
    assert asleep is not None
    assert own is not None
    assert 0 < asleep < own


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"a file where the directory should be")
    with pytest.raises(RuntimeError, match=r"did not start: (.|\n)*data"), serving(tmp_path):
        pytest.fail("it is not up")


def test_a_step_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"upload failed(.|\n)*there is no keyring"):
        run_step("upload", tmp_path / "home", "table.csv")


@pytest.mark.parametrize("change", [b"", b"one row more\n"])
def test_a_transfer_counts_only_if_the_table_came_back(
    change: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def nobody(_: Path) -> Iterator[Serving]:
        yield Serving("https://localhost:1", bytes(32), "", 1)

    async def nothing(*_: object) -> str:
        return "words"

    def step(name: str, home: Path, argument: str, _: object) -> Step:
        if name == "export":
            content = (tmp_path / "table.csv").read_bytes() + change
            Path(argument).write_bytes(content)
        return Step(1, 1, None, None)

    monkeypatch.setattr(transfer, "serving", nobody)
    monkeypatch.setattr(transfer, "create_vault", nothing)
    monkeypatch.setattr(transfer, "enrol", nothing)
    monkeypatch.setattr(transfer, "run_step", step)
    monkeypatch.setattr(serving_module, "processor_seconds", lambda _: None)
    if change:
        with pytest.raises(RuntimeError, match="not what was uploaded"):
            run_transfer(tmp_path, 5)
    else:
        assert run_transfer(tmp_path, 5).upload == Step(1, 1, None, None)
