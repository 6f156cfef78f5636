"""How fast the engines of this machine are, measured in about a second."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from client.columns import Cells
from client.crypto.cells import ColumnToSeal, open_block, seal_batch
from client.crypto.engines import BareLoop, Engine, Surveyed, default_engine, survey
from client.errors import InputError
from protocol.blocks import CELL_STEP, TAG_BYTES, FieldClass
from protocol.limits import LIMITS

CELLS: Final = LIMITS.batch_records_default
VALUE_BYTES: Final = 20
"""What is measured: one block of text of many values, so many bytes each."""
SECONDS: Final = 1.0

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Rate:
    """What one thread reaches: whole blocks, padding, keys and hashes included.

    `megabytes_per_second` counts the values' bytes in millions. `of_bare_loop` is the share of the
    speed of libsodium's function in the barest loop in C; None where there is no such loop.
    """

    cells_per_second: int
    megabytes_per_second: float
    of_bare_loop: float | None


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """One kind of engine: whether it is here, whether it is the one that runs, what it reaches."""

    name: str
    present: bool
    in_use: bool
    why_absent: str | None
    seal: Rate | None = None
    open: Rate | None = None


def engine_speeds(
    seconds: float = SECONDS, clock: Clock = time.perf_counter
) -> tuple[EngineSpeed, ...]:
    """Measure every engine of this machine, fastest kind first, in so many seconds together."""
    surveyed = survey()
    share = seconds / (2 * (len(surveyed) + 1))
    bare = _bare_rates(share, clock)
    try:
        in_use = default_engine().name
    except InputError:  # SEALROOM_ENGINE names one that is not here; that is told elsewhere
        in_use = ""
    return tuple(_measured(each, each.name == in_use, share, bare, clock) for each in surveyed)


_Bare = tuple[float, float] | None


def _measured(
    found: Surveyed, in_use: bool, seconds: float, bare: _Bare, clock: Clock
) -> EngineSpeed:
    if found.engine is None:
        return EngineSpeed(found.name, False, False, found.why_absent)
    seal, opening = _block_work(found.engine)
    rates = (_best_rate(work, seconds, clock) for work in (seal, opening))
    sealing, opened = (
        Rate(int(rate), round(rate * VALUE_BYTES / 1e6, 1), share and round(rate / share, 2))
        for rate, share in zip(rates, bare or (None, None), strict=True)
    )
    return EngineSpeed(found.name, True, in_use, None, sealing, opened)


def _block_work(engine: Engine) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return two steps: seal a block of values that nobody knows, and open one."""
    key, values = secrets.token_bytes(32), secrets.token_bytes(CELLS * VALUE_BYTES)
    offsets = np.arange(0, len(values) + 1, VALUE_BYTES, dtype=np.int64)
    cells = Cells(values, offsets, np.ones(CELLS, np.bool_), string_like=True)
    column = ColumnToSeal(0, 0, FieldClass.GENERAL, key, cells)
    batch = seal_batch([column], engine)
    (ref,), (block,), batch_id = batch.manifest.blocks, batch.blocks, batch.manifest.batch_id

    def opening() -> object:
        return open_block(key, FieldClass.GENERAL, ref, batch_id, CELLS, block, True, engine=engine)

    return lambda: seal_batch([column], engine), opening


def _bare_rates(seconds: float, clock: Clock) -> _Bare:
    try:
        bare = BareLoop()
    except LookupError:
        return None
    padded = (VALUE_BYTES + CELL_STEP) // CELL_STEP * CELL_STEP
    keys, cells = (
        np.frombuffer(secrets.token_bytes(CELLS * each), np.uint8) for each in (32, padded)
    )
    sealed, opened = np.empty(CELLS * (padded + TAG_BYTES), np.uint8), np.empty_like(cells)
    return (
        _best_rate(lambda: bare.seal(keys, cells, sealed), seconds, clock),
        _best_rate(lambda: bare.open(keys, sealed, opened), seconds, clock),
    )


def _best_rate(work: Callable[[], object], seconds: float, clock: Clock) -> float:
    """Return cells a second of the best of as many runs as the time allows, at least one."""
    begun = clock()
    best = float("inf")
    while best == float("inf") or clock() - begun < seconds:
        started = clock()
        work()
        best = min(best, clock() - started)
    return CELLS / max(best, 1e-9)
