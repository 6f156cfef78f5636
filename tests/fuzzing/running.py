"""Running a parser on inputs without end, in a process whose memory and patience are bounded."""

from __future__ import annotations

import mmap
import multiprocessing
import random
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from protocol.limits import MIB
from tests.fuzzing.changing import MOST_BYTES, changed
from tests.fuzzing.parsers import REFUSES, Parser

CORPUS: Final = Path(__file__).resolve().parent / "corpus"
REPO: Final = CORPUS.parent.parent.parent
MORE_MEMORY: Final = 512 * MIB
"""What an input may make a parser take beyond what it has: an input has 64 KiB at most."""
INPUT_SECONDS: Final = 10
"""How long one may take; some hundred times the slowest, for machines that are busy."""
FRESH: Final = 8
"""Half of the inputs are grown of so many that were refused where none was before, lately."""


@dataclass
class Report:
    """What became of a parser's inputs; `wrong` tells what no parser may do, and on what input."""

    inputs: int = 0
    values: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    places: int = 0
    slowest_ms: float = 0.0
    grown_mib: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)
    found: list[str] = field(default_factory=list)


class TooSlow(Exception):
    """An input took longer than any may."""


def corpus_file(name: str) -> Path:
    """Return where a parser's inputs are in the tree: one a line, in hex."""
    return CORPUS / f"{name.replace(' ', '-')}.txt"


def corpus_of(name: str) -> list[bytes]:
    """Return a parser's inputs in the tree, in their order there."""
    lines = corpus_file(name).read_text(encoding="ascii").splitlines()
    return [bytes.fromhex(line) for line in lines]


def fuzzed(
    parser: Parser, pool: Sequence[bytes], seed: int, *, inputs: int, seconds: float
) -> Report:
    """Run a parser on the pool, then on so many inputs grown of it, or until the time is over.

    What ends the process, a fault of the interpreter's own for example, is told like any other
    wrong: the input that did it is known to this process.
    """
    shared = mmap.mmap(-1, MOST_BYTES + 4)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    values = (parser, tuple(pool), seed, inputs, seconds, shared, theirs)
    process = context.Process(target=_child, args=values)
    process.start()
    theirs.close()
    try:
        report: Report = ours.recv()
    except EOFError:
        process.join()
        size = int.from_bytes(shared[:4], "big")
        what = f"the process ended with {process.exitcode}"
        report = Report(wrong=[(what, shared[4 : 4 + size].hex())])
    process.join()
    return report


def _child(
    parser: Parser,
    pool: tuple[bytes, ...],
    seed: int,
    inputs: int,
    seconds: float,
    shared: mmap.mmap,
    answers: Connection,
) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        addresses = int(file.read().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (addresses + MORE_MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, _too_slow)
    answers.send(_run(parser, list(pool), seed, inputs, seconds, shared))


def _too_slow(*_: object) -> None:
    raise TooSlow


def _run(
    parser: Parser, pool: list[bytes], seed: int, inputs: int, seconds: float, shared: mmap.mmap
) -> Report:
    report, places, ends = Report(), set[tuple[str, ...]](), set[tuple[str, ...]]()
    draw = random.Random(seed)
    memory, until = _memory(), time.monotonic() + seconds
    given, fresh = list(pool), list[bytes]()
    most = inputs + len(pool)
    while given or (report.inputs < most and time.monotonic() < until):
        whole = not given
        data = given.pop() if given else changed(_some(pool, fresh, draw), draw)
        shared[: 4 + len(data)] = len(data).to_bytes(4, "big") + data
        place = tried(parser, data, report)
        if place not in places:
            places.add(place)
            pool.append(data)
            if whole:
                fresh.append(data)
        # Of those that came by other ways to the same end, the tree needs one alone.
        if place[:2] not in ends:
            ends.add(place[:2])
            if whole:
                report.found.append(data.hex())
    report.places, report.grown_mib = len(places), (_memory() - memory) // 1024
    return report


def _some(pool: list[bytes], fresh: list[bytes], draw: random.Random) -> list[bytes]:
    return fresh[-FRESH:] if fresh and draw.randrange(2) else pool


def tried(parser: Parser, data: bytes, report: Report) -> tuple[str, ...]:
    """Give a parser one input, write down what it did, and return where it ended."""
    report.inputs += 1
    started = time.process_time()
    signal.setitimer(signal.ITIMER_REAL, INPUT_SECONDS)
    try:
        again = parser(data)
        if again is not None and again != data:
            report.wrong.append(("it encodes to other bytes", data.hex()))
        report.values += 1
        return ("a value",)
    except REFUSES as error:
        report.refused[getattr(error, "code", type(error).__name__)] += 1
        return _place(error)
    except (Exception, RecursionError) as error:
        report.wrong.append((f"{type(error).__name__}: {error}"[:200], data.hex()))
        return _place(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        report.slowest_ms = max(report.slowest_ms, (time.process_time() - started) * 1_000)


def _place(error: BaseException) -> tuple[str, ...]:
    """Return an error's class, the line of ours that raised it, and those that it came through.

    Each once, however deep it came from.
    """
    lines = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename.startswith(str(REPO))
    ]
    return type(error).__name__, lines[-1] if lines else "", *sorted(set(lines))


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
