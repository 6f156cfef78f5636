"""A long table up and down by the real command, killed on the way, in little memory.

`make million` does it with a million rows; otherwise it is a slice of forty-five thousand.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from client.overlap import IN_FLIGHT
from tests.gate import Gate, gate
from tests.real_commands import command, environment, heeding_ctrl_c, peak_bytes, running

MILLION = os.environ.get("SEALROOM_MILLION") == "1"
ROWS = 1_000_000 if MILLION else 45_000
MOST_KIB = 400_000_000 // 1024
MOST_GROWTH_KIB = 215 * 1024 if MILLION else 80 * 1024
"""Beyond what the same command takes for a table of one row.

Of eleven batches about as much is in hand as of many, and what threads leave in their heaps goes
by their timing (12 to 53 MiB): the slice finds a table that is held several times over, and a
million rows whatever grows with them.
"""


def write_long(path: Path, rows: int, first: int = 0, town: str = "Berlin", step: int = 1) -> bytes:
    """Write a table of customers, row by row, every `step`th in another town; return its hash."""
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for n in range(first - 1, first + rows):
            there = town if n % step == 0 else "Berlin"
            line = (
                f"{1_000_000 + n},John Smith {n % 997},john.smith{n}@example.com,+49 170 {n:07},"
                f'"Main Street {n % 300}, {there}",20{n % 25:02}-0{n % 9 + 1}-1{n % 10},'
                f"{'active' if n % 3 else ''},{n % 10_000 / 100:.2f}\n"
                if n >= first
                else "id,name,email,phone,address,since,state,spent\n"
            ).encode()
            digest.update(line)
            stream.write(line)
    return digest.digest()


@dataclass(frozen=True)
class Ran:
    """How a command ended, what it printed, and the most memory that it had at once."""

    code: int
    out: str
    err: str
    peak_kib: int

    def ok(self) -> Any:
        assert self.code == 0, self
        return json.loads(self.out)


class Running:
    """The real command in a process of its own, whose memory is measured by the system."""

    def __init__(self, folder: Path, arguments: Sequence[str | Path]) -> None:
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [command(), *map(str, arguments)], env=environment(), stdin=subprocess.DEVNULL,
                stdout=out, stderr=err, start_new_session=True, preexec_fn=heeding_ctrl_c,
            )  # fmt: skip

    def ended(self, most: int = 0) -> Ran:
        """Wait for its end; `most` is what it was seen to hold before."""
        # Not by wait4: that counts the process of which it was forked, too.
        pid = status = 0
        while not pid:
            most = max(most, peak_bytes(self.process.pid))
            pid, status = os.waitpid(self.process.pid, os.WNOHANG)
            time.sleep(0.01)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return Ran(
            self.process.returncode, self._out.read_text(), self._err.read_text(), most // 1_024
        )


@dataclass
class World:
    """A home whose way to the server goes through a gate."""

    folder: Path
    way: Gate

    def run(self, *arguments: str | Path) -> Running:
        return Running(self.folder, ("--json", "--home", self.folder / "home", *arguments))

    def stopped(self, way: str, count: int, how: signal.Signals, *arguments: str | Path) -> Ran:
        """Run a command until so many bytes went through, and stop it there."""
        self.way.hold_after(way, count)
        running = self.run(*arguments)
        assert self.way.closed.wait(600), "it ended before it was stopped"
        held = peak_bytes(running.process.pid)
        running.process.send_signal(how)
        ended = running.ended(held)
        self.way.open()
        return ended


@pytest.mark.threat("R2")
@pytest.mark.threat("R25")
def test_a_long_table_goes_up_and_down_over_interruptions_in_little_memory(tmp_path: Path) -> None:
    file, small, copy = (tmp_path / each for each in ("long.csv", "small.csv", "copy.csv"))
    digest = write_long(file, ROWS)
    write_long(small, 1)
    upload = ("upload", file, "--collection", "long")
    with running(tmp_path) as server, gate(int(server.address.rpartition(":")[2])) as way:
        world = World(tmp_path, way)
        through = (f"127.0.0.1:{way.port}", *server.create[1:])
        world.run("vault", "create", *through).ended().ok()
        least = world.run("upload", small, "--collection", "small").ended()
        least.ok()
        planned = world.run(*upload, "--dry-run").ended()
        sealed = planned.ok()["sealed_bytes"]

        first = world.stopped("up", sealed // 4, signal.SIGINT, *upload)
        assert first.code == 130, first
        assert "The same command goes on where it stopped." in first.err
        second = world.stopped("up", sealed // 2, signal.SIGKILL, *upload)
        assert second.code == -signal.SIGKILL
        third = world.run(*upload).ended()
        done = third.ok()
        assert (done["records"], done["sealed_bytes"] >= sealed) == (ROWS, True)
        # Of half of the bytes, all but what was on its way at once had been acknowledged.
        assert done["resumed_batches"] >= ROWS // 4_096 // 2 - IN_FLIGHT >= 0

        read = ("read", "long", "--out", copy)
        before = set(tmp_path.iterdir())
        fourth = world.stopped("down", sealed // 2, signal.SIGINT, *read)
        assert (fourth.code, copy.exists()) == (130, False)
        assert set(tmp_path.iterdir()) == before
        fifth = world.run(*read).ended()
        assert fifth.ok()["records"] == ROWS
        assert hashlib.sha256(copy.read_bytes()).digest() == digest

        # The next night's table: some rows moved, the first are gone, and there are new ones.
        file.unlink()
        write_long(file, ROWS, first=ROWS // 100, town="Bonn", step=97)
        update = ("upload", file, "--collection", "long", "--replace-by", "id")
        planned_update = world.run(*update, "--dry-run").ended()
        moved = len([n for n in range(ROWS // 100, ROWS) if n % 97 == 0])
        plan = planned_update.ok()
        assert (plan["replaced"], plan["records"]) == (moved, moved + ROWS // 100)
        sixth = world.stopped("up", plan["sealed_bytes"] // 2, signal.SIGKILL, *update)
        assert sixth.code == -signal.SIGKILL
        seventh = world.run(*update).ended()
        assert seventh.ok()["replaced"] <= moved
        copy.unlink()
        eighth = world.run(*read).ended()
        assert eighth.ok()["records"] == ROWS + ROWS // 100
        updated = file.read_text().splitlines()
        kept = copy.read_text().splitlines()
        write_long(small, ROWS // 100)
        assert sorted(kept) == sorted(updated + small.read_text().splitlines()[1:])

    ran = (planned, first, second, third, fourth, fifth, planned_update, sixth, seventh, eighth)
    peaks = [each.peak_kib for each in ran]
    assert min(peaks) > 0
    print(f"\n{ROWS:,} rows, peaks in KiB: {peaks}; of one row {least.peak_kib}")
    assert max(peaks) - least.peak_kib <= MOST_GROWTH_KIB
    assert max(peaks) <= MOST_KIB or not MILLION
