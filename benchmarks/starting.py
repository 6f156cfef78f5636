"""How long a command takes until it begins to work: its cold start.

Each command is a process of its own, started as the installed `sealroom` is, and all of them take
turns. What is paid before any of our code runs is measured beside it: an interpreter that does
nothing, one that imports PyNaCl, and one derivation by Argon2id with the keyring's cost, which is
slow on purpose and is subtracted. Bytecode is there, as after an installation, and the files are
in the system's memory: each command ran once before.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from benchmarks.conditions import REPOSITORY
from benchmarks.figures import Spread
from benchmarks.serving import serving
from benchmarks.steps import PASSPHRASE
from benchmarks.transfer import create_vault
from client.keyring_file import FLOOR
from protocol.limits import KIB

ROUNDS: Final = 11
BARE: Final = "python -c pass"
NACL: Final = "python -c 'import nacl.bindings'"
ARGON2: Final = "Argon2id alone"
VERSION: Final = "sealroom --version"
STATUS: Final = "sealroom vault status"

_COMMAND: Final = ("-c", "from client.cli.main import main; main()")
_DERIVE: Final = """
import sys, time
import nacl.pwhash
started, used = time.perf_counter(), time.process_time()
nacl.pwhash.argon2id.kdf(32, b"", bytes(16), opslimit=int(sys.argv[1]), memlimit=int(sys.argv[2]))
print(time.perf_counter() - started, time.process_time() - used)
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds by the clock, and of the processor, that one process needed."""

    seconds: float
    processor: float


@dataclass(frozen=True, slots=True)
class Start:
    """One command: seconds from its start to its end, and of the processor.

    Without Argon2id's own, where it has any. `times_bare` compares the processor time with that of
    an interpreter that does nothing, started in the same round.
    """

    name: str
    seconds: Spread
    processor: Spread
    times_bare: Spread

    @classmethod
    def of(cls, name: str, taken: Sequence[Taken], bare: Sequence[Taken]) -> Self:
        """Summarise rounds."""
        return cls(
            name,
            Spread.of([each.seconds for each in taken]),
            Spread.of([each.processor for each in taken]),
            Spread.of(
                [each.processor / base.processor for each, base in zip(taken, bare, strict=True)]
            ),
        )


def measure(rounds: int, say: Callable[[str], None]) -> list[Start]:
    """Start each command so many times.

    Raises:
        RuntimeError: one of them failed; the message is what it wrote.
    """
    with _vault() as (home, environment):
        status = ["--home", str(home), "vault", "status"]
        ways: dict[str, Callable[[], Taken]] = {
            BARE: lambda: started(environment, "-c", "pass"),
            NACL: lambda: started(environment, "-c", "import nacl.bindings"),
            ARGON2: derived,
            VERSION: lambda: started(environment, *_COMMAND, "--version"),
            STATUS: lambda: started(environment, *_COMMAND, *status),
        }
        for way in ways.values():
            way()
        taken: dict[str, list[Taken]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                taken[name].append(way())
    say(f"starting: {rounds} rounds")
    taken[STATUS] = [
        Taken(whole.seconds - argon2.seconds, whole.processor - argon2.processor)
        for whole, argon2 in zip(taken[STATUS], taken[ARGON2], strict=True)
    ]
    return [Start.of(name, each, taken[BARE]) for name, each in taken.items()]


def report(starts: Sequence[Start]) -> str:
    """Return them as text."""
    lines = [
        "Cold start, ms, median (least to greatest); vault status without Argon2id's own time, and",
        "with a server on this machine. x is the processor time, to that of a bare interpreter.",
        f"  {'':<34}{'by the clock':>20}{'of the processor':>22}{'x':>7}",
    ]
    for each in starts:
        lines.append(
            f"  {each.name:<34}{_milliseconds(each.seconds):>20}"
            f"{_milliseconds(each.processor):>22}{each.times_bare.median:>7.1f}"
        )
    return "\n".join(lines)


def _milliseconds(spread: Spread) -> str:
    middle, least, most = (1e3 * each for each in (spread.median, spread.least, spread.greatest))
    return f"{middle:,.0f} ({least:,.0f} to {most:,.0f})"


def started(environment: Mapping[str, str], *arguments: str) -> Taken:
    """Run Python so, with this added to the environment, and return what it took.

    Raises:
        RuntimeError: it failed; the message is what it wrote.
    """
    began, before = time.perf_counter(), _children()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    taken = Taken(time.perf_counter() - began, _children() - before)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[-2:])} failed:\n{done.stderr}")
    return taken


def derived() -> Taken:
    """Return what one derivation takes in a process that has done nothing else."""
    cost = (str(FLOOR.passes), str(FLOOR.memory_kib * KIB))
    done = subprocess.run(
        [sys.executable, "-c", _DERIVE, *cost], capture_output=True, check=True, text=True
    )
    return Taken(*map(float, done.stdout.split()))


def _children() -> float:
    """Return the processor time of all children that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _vault() -> Iterator[tuple[Path, dict[str, str]]]:
    """Give a home with a vault on a server that is up, and the environment to use it in.

    Bytecode goes to a folder of its own, whatever Python was told about where to keep it.
    """
    with tempfile.TemporaryDirectory(prefix="sealroom-start-") as name:
        folder = Path(name)
        with serving(folder / "server") as server:
            asyncio.run(create_vault(server, folder / "home"))
            yield (
                folder / "home",
                {
                    "SEALROOM_PASSPHRASE": PASSPHRASE,
                    "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
                    "PYTHONDONTWRITEBYTECODE": "",
                },
            )
