"""What a measurement was made with and on, to stand beside its numbers."""

from __future__ import annotations

import os
import platform
import sqlite3
import ssl
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from client.crypto.engines import default_engine

REPOSITORY: Final = Path(__file__).resolve().parent.parent
_LIBRARIES: Final = ("cryptography", "PyNaCl", "numpy", "pyarrow", "aiohttp", "msgpack")


@dataclass(frozen=True, slots=True)
class Conditions:
    """Source, machine and libraries. `load` is how many processes wanted to run at the start.

    `commit` is None outside a repository; `modified` says whether files differ from it.
    """

    commit: str | None
    modified: bool
    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    libraries: dict[str, str]
    engine: str
    load: float

    @classmethod
    def now(cls) -> Conditions:
        """Look them up."""
        return cls(
            commit=_git("rev-parse", "HEAD"),
            modified=bool(_git("status", "--porcelain")),
            processor=_processor(),
            cores=os.cpu_count() or 1,
            memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            python=f"{platform.python_implementation()} {platform.python_version()}",
            libraries={name: version(name) for name in _LIBRARIES}
            | {"TLS by OpenSSL": ssl.OPENSSL_VERSION.split()[1], "SQLite": sqlite3.sqlite_version},
            engine=default_engine().name,
            load=round(os.getloadavg()[0], 2),
        )

    def lines(self) -> list[str]:
        """Return them as text."""
        libraries = ", ".join(f"{name} {number}" for name, number in self.libraries.items())
        source = (self.commit or "no commit")[:12] + (" with changes" if self.modified else "")
        return [
            f"commit {source}; load {self.load} at the start",
            f"{self.processor}, {self.cores} cores, {self.memory_gib} GiB, {self.system}",
            f"{self.python}, {libraries}; cells by {self.engine}",
        ]


class Neighbours:
    """How much of the machine other processes took from now on: they falsify what is measured."""

    def __init__(self) -> None:
        self._began = _ticks()

    def share(self) -> float | None:
        """Return it as a share of all processor time since; None where the system does not tell.

        Processes that this one started count as its own once they have ended.
        """
        now = _ticks()
        if now is None or self._began is None:
            return None
        whole, busy, own = (new - old for new, old in zip(now, self._began, strict=True))
        return max(0.0, (busy - own) / whole) if whole else 0.0


def _ticks() -> tuple[float, float, float] | None:
    """Return the seconds of all processors, those not idle, and those of this process."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return None
    hertz = os.sysconf("SC_CLK_TCK")
    # user, nice, system, idle, iowait, irq, softirq, steal
    each = [int(ticks) / hertz for ticks in first.split()[1:9]]
    own = sum(os.times()[:4])
    return sum(each), sum(each) - each[3] - each[4], own


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(REPOSITORY), *arguments],
            capture_output=True,
            check=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
