"""Playing a mutant: the tests of its module, in a process that sees it changed.

A fork of this process, which has other people's packages loaded and nothing of this project,
imports the changed text in the place of the file; so no file changes, and several can be played at
once. What tests start as processes of their own is as it is on disk.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import CodeType, ModuleType
from typing import Final

from tests.mutants.finding import Mutant
from tests.mutants.targets import REPO

LIMIT_SECONDS: Final = 300
"""How long the tests of one mutant may take, several times what they take of the honest code."""
PRELOADED: Final = (
    "aiohttp.web", "aiosqlite", "click", "cryptography.hazmat.primitives.asymmetric.ec",
    "msgpack", "nacl.bindings", "numpy", "pyarrow.csv", "pyarrow.parquet", "pytest", "rich",
)  # fmt: skip
LIMIT_BYTES: Final = 8 << 30
"""How much address space it may have."""
_PASSED, _FAILED, _BROKEN = 0, 1, 2
_NOTICED: Final = re.compile(r"^FAILED (\S+::.*?)(?: - |$)", re.MULTILINE)


class Verdict(StrEnum):
    """How it ended; one that takes for ever is noticed, too."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class Played:
    """What became of it; `by` is the test that noticed, `last` the end of what was printed."""

    verdict: Verdict
    seconds: float
    by: str
    last: str


class CannotPlay(RuntimeError):
    """The tests could not be run as they are meant to be."""


class _Changed(importlib.abc.MetaPathFinder):
    """Finds one module with another text than that of its file."""

    def __init__(self, path: str, source: str) -> None:
        self._name = path.removesuffix(".py").replace("/", ".")
        self._file = str(REPO / path)
        self._source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _ChangedLoader(fullname, self._file)
        loader.text = self._source
        return importlib.util.spec_from_file_location(fullname, self._file, loader=loader)


class _ChangedLoader(importlib.machinery.SourceFileLoader):
    text = ""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec", dont_inherit=True)


def preload() -> None:
    """Import what every test needs, once for all forks.

    Raises:
        CannotPlay: something of the project is here already, and could not be changed any more.
    """
    for name in PRELOADED:
        importlib.import_module(name)
    ours = {"protocol", "vault", "client"} & set(sys.modules)
    if ours:
        raise CannotPlay(f"imported too early: {', '.join(sorted(ours))}")


def play(tests: Sequence[str], mutant: Mutant | None) -> Played:
    """Run some tests up to the first that fails, with a mutant in its module's place or without.

    Raises:
        CannotPlay: no test was run, or pytest itself failed.
    """
    with tempfile.TemporaryDirectory() as room:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            _child(tests, mutant, room)
        status = _waited(child, started + LIMIT_SECONDS)
        seconds = time.monotonic() - started
        with open(os.path.join(room, "out"), encoding="utf-8", errors="replace") as out:
            printed = out.read()
    last = "\n".join(printed.splitlines()[-6:])
    failed = _NOTICED.search(printed)
    by = failed[1] if failed else ""
    if status is None:
        return Played(Verdict.TIMED_OUT, seconds, by, last)
    if status not in (_PASSED, _FAILED, _BROKEN):
        raise CannotPlay(f"the tests ended with {status}:\n{last}")
    return Played(Verdict.SURVIVED if status == _PASSED else Verdict.KILLED, seconds, by, last)


def _child(tests: Sequence[str], mutant: Mutant | None, room: str) -> None:
    """Run the tests, and end this process with their exit code, whatever happens."""
    status = 70
    try:
        os.setpgid(0, 0)
        # One that lacks a bound must not take all of the machine's memory.
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
        out = os.open(os.path.join(room, "out"), os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(REPO)
        if mutant is not None:
            sys.meta_path.insert(0, _Changed(mutant.path, mutant.source))
        pytest = importlib.import_module("pytest")
        options = ("-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider")
        status = int(pytest.main([*options, f"--basetemp={room}/tests", *tests]))
        if mutant is not None and mutant.path not in _imported():
            status = 71
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _imported() -> set[str]:
    root = str(REPO) + os.sep
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    return {file.removeprefix(root) for file in files if file.startswith(root)}


def _waited(child: int, until: float) -> int | None:
    """Return how a child ended, or None where its time was over; nothing of it is left."""
    ended = False
    status: int | None = None
    while not ended and time.monotonic() < until:
        found, code = os.waitpid(child, os.WNOHANG)
        if found:
            ended, status = True, os.waitstatus_to_exitcode(code)
        else:
            time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
    return status
