"""The real server, in a process of its own, over TLS."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from benchmarks.conditions import REPOSITORY
from benchmarks.memory import peak_bytes

_SERVE: Final = "from vault.cli import serve; serve()"
_STOP_SECONDS: Final = 30
_SCHEDULED: Final = 2
"""Of the clocks of a process, that of the time for which it ran."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that is up."""

    url: str
    pin: bytes
    token: str
    pid: int

    def peak_bytes(self) -> int | None:
        """Return the most memory it has needed so far."""
        return peak_bytes(self.pid)

    def processor_seconds(self) -> float | None:
        """Return the processor time that all its threads have taken; None where unknown."""
        return processor_seconds(self.pid)


def processor_seconds(pid: int) -> float | None:
    """Return the processor time of a process, to the nanosecond; None where unknown.

    Linux has a clock for each process, whose number is what `clock_getcpuclockid` would give. In
    /proc it counts in hundredths of a second, as long as some of what is measured.
    """
    if sys.platform != "linux":
        return None
    return time.clock_gettime(~pid << 3 | _SCHEDULED)


@contextmanager
def serving(directory: Path) -> Iterator[Serving]:
    """Run `sealroom serve` on a free port with its data in `directory`, and stop it at the end.

    Raises:
        RuntimeError: it did not start; the message is what it wrote.
    """
    directory.mkdir(parents=True, exist_ok=True)
    log_file = directory / "server.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, "--listen", "127.0.0.1:0", "--data", directory / "data"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        told = _announced(process.stdout)
        if told is None:
            raise RuntimeError(f"the server did not start: {log_file.read_text(errors='replace')}")
        yield Serving(told["url"], bytes.fromhex(told["pin"]), told["token"], process.pid)
    finally:
        _stop(process)


def _announced(output: IO[str]) -> dict[str, str] | None:
    """Read what the server prints until it is ready; None if it ends before."""
    told: dict[str, str] = {}
    for line in output:
        if line.strip() == "ready":
            return told
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    return None


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
