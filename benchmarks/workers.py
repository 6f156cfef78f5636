"""Sealing whole batches on all processors, and how: `python -m benchmarks.workers`.

Threads; processes that are sent columns and send back bodies; processes that share memory with
whoever asks. Every way ends with the body of each batch as bytes that can be sent. Speed is told
as a multiple of one thread's, the median of rounds in which the ways take turns. The engine is the
one of this machine, or what SEALROOM_ENGINE names.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from typing import Final, NamedTuple

import numpy as np

from benchmarks.cells import Batches, batches_of, table_of
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, seal_batch
from client.crypto.engines import default_engine
from protocol.blocks import FieldClass
from protocol.limits import MIB

WORKERS: Final = 2
ONE: Final = "one thread"
RECORDS: Final = 16 * 4_096
FIELDS: Final = 10
ROUNDS: Final = 9
SHARED_BYTES: Final = 8 * MIB

Way = Callable[[], int]
"""Seals all batches; returns how many bytes there are to send."""


class Sent(NamedTuple):
    """A column as it can be pickled: a benchmark's key is no secret."""

    field: int
    key: bytes
    values: bytes
    offsets: bytes
    valid: bytes

    @classmethod
    def of(cls, column: ColumnToSeal) -> Sent:
        """Copy a column."""
        cells = column.cells
        return cls(
            column.field,
            column.field_key,
            bytes(cells.values),
            cells.offsets.tobytes(),
            cells.valid.tobytes(),
        )

    def column(self) -> ColumnToSeal:
        """Return the column as sealing takes it."""
        cells = Cells.trusted(
            np.frombuffer(self.values, np.uint8),
            np.frombuffer(self.offsets, np.int64),
            np.frombuffer(self.valid, np.bool_),
            True,
        )
        return ColumnToSeal(self.field, 1, FieldClass.GENERAL, self.key, cells)


def _body(columns: Sequence[ColumnToSeal]) -> bytes:
    return seal_batch(columns).body()


def _body_of_sent(columns: list[Sent]) -> bytes:
    return _body([each.column() for each in columns])


class Shared(NamedTuple):
    """Where the parts of a column lie in a piece of shared memory."""

    field: int
    key: bytes
    at: int
    sizes: tuple[int, int, int]


_MAPPED: Final[dict[str, SharedMemory]] = {}


def _memory(piece: SharedMemory) -> memoryview:
    assert piece.buf is not None  # it is open
    return piece.buf


def _mapped(name: str) -> SharedMemory:
    if name not in _MAPPED:
        _MAPPED[name] = SharedMemory(name)
    return _MAPPED[name]


def _body_in_place(name: str, columns: list[Shared]) -> int:
    """Seal columns that lie in shared memory, put the body in their place; return its length."""
    memory = _memory(_mapped(name))
    given = []
    for field, key, at, sizes in columns:
        parts = []
        for size in sizes:
            parts.append(bytes(memory[at : at + size]))
            at += size
        given.append(Sent(field, key, parts[0], parts[1], parts[2]).column())
    body = _body(given)
    memory[: len(body)] = body
    return len(body)


class _Sharing:
    """Hands batches to processes through pieces of memory that are used again."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._pieces = [SharedMemory(create=True, size=SHARED_BYTES) for _ in range(WORKERS)]

    def close(self) -> None:
        """Give the memory back."""
        for piece in self._pieces:
            piece.close()
            piece.unlink()

    def seal(self, batches: Batches) -> int:
        """Seal all batches, as many at once as there are pieces; return the bytes of the bodies."""
        total = 0
        waiting: list[tuple[SharedMemory, Future[int]]] = []
        for number, batch in enumerate(batches):
            if len(waiting) == len(self._pieces):
                total += self._collected(*waiting.pop(0))
            piece = self._pieces[number % len(self._pieces)]
            waiting.append((piece, self._pool.submit(_body_in_place, *self._placed(piece, batch))))
        return total + sum(self._collected(*each) for each in waiting)

    @staticmethod
    def _placed(piece: SharedMemory, batch: Sequence[ColumnToSeal]) -> tuple[str, list[Shared]]:
        at, placed, memory = 0, [], _memory(piece)
        for column in batch:
            sent, began = Sent.of(column), at
            parts = (sent.values, sent.offsets, sent.valid)
            for part in parts:
                memory[at : at + len(part)] = part
                at += len(part)
            sizes = (len(parts[0]), len(parts[1]), len(parts[2]))
            placed.append(Shared(sent.field, sent.key, began, sizes))
        return piece.name, placed

    @staticmethod
    def _collected(piece: SharedMemory, sealing: Future[int]) -> int:
        return len(bytes(_memory(piece)[: sealing.result()]))


def _ways(batches: Batches, stack: ExitStack) -> dict[str, Way]:
    threads = stack.enter_context(ThreadPoolExecutor(WORKERS))
    processes = stack.enter_context(ProcessPoolExecutor(WORKERS, get_context("spawn")))
    sharing = _Sharing(processes)
    stack.callback(sharing.close)

    def pickled() -> int:
        sent = ([Sent.of(column) for column in batch] for batch in batches)
        return sum(map(len, processes.map(_body_of_sent, sent)))

    return {
        ONE: lambda: sum(map(len, map(_body, batches))),
        f"{WORKERS} threads": lambda: sum(map(len, threads.map(_body, batches))),
        f"{WORKERS} processes, columns pickled": pickled,
        f"{WORKERS} processes, memory shared": lambda: sharing.seal(batches),
    }


def measure(batches: Batches, rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each way took in each round; they take turns.

    Raises:
        RuntimeError: one of them would send something else.
    """
    with ExitStack() as stack:
        ways = _ways(batches, stack)
        if len({way() for way in ways.values()}) != 1:  # also warms them up
            raise RuntimeError("the ways do not send as many bytes")
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                taken[name].append(time.perf_counter() - start)
    return taken


def report(taken: dict[str, list[float]], cells: int) -> str:
    """Return a table of speeds, one thread's being 1, with least and greatest."""
    base = taken[ONE]
    lines = [f"engine {default_engine().name}; speed, one thread = 1"]
    for name, times in taken.items():
        ratios = sorted(one / other for one, other in zip(base, times, strict=True))
        speed = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        each_cell = statistics.median(times) / cells * 1e9
        lines.append(f"{name:<34}{speed:<24}{each_cell:,.0f} ns a cell")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    table = table_of(20, RECORDS, FIELDS)
    sys.stdout.write(report(measure(batches_of(table), ROUNDS), RECORDS * FIELDS))
