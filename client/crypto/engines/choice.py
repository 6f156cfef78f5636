"""Which engine runs: the fastest that this machine has, unless SEALROOM_ENGINE names one.

The variable is the one thing that `client.crypto` reads from outside. It chooses how fast blocks
are sealed and never what they hold: engines of other bytes are not chosen, whoever asks for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from client.columns import Cells
from client.crypto.block_keys import KEY_BYTES
from client.crypto.engines.compiled import CompiledEngine
from client.crypto.engines.contract import Engine, Rules
from client.crypto.engines.plain import CryptographyEngine
from client.crypto.engines.sodium import SodiumEngine
from client.crypto.padding import shape_of
from client.errors import InputError
from protocol.blocks import FieldClass, Padding

VARIABLE: Final = "SEALROOM_ENGINE"
MAKERS: Final[dict[str, Callable[[], Engine]]] = {
    CompiledEngine.name: CompiledEngine,
    SodiumEngine.name: SodiumEngine,
    CryptographyEngine.name: CryptographyEngine,
}
"""All engines there are, fastest first."""

_PROBE_KEY: Final = bytes(range(KEY_BYTES))
_PROBE: Final = (b"probe", None, b"", bytes(40))


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One kind of engine: the engine, or why this machine has none."""

    name: str
    engine: Engine | None
    why_absent: str | None = None


@cache
def default_engine() -> Engine:
    """Return the engine that runs where none is passed.

    Raises:
        InputError: SEALROOM_ENGINE names one that does not exist or is not here.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted:
        return _named(wanted)
    return fastest_engine()


def fastest_engine() -> Engine:
    """Return the fastest engine of this machine that seals as `cryptography` does."""
    return next(each.engine for each in map(_look_for, MAKERS) if each.engine is not None)


def survey() -> tuple[Surveyed, ...]:
    """Return what there is of every kind of engine, fastest first."""
    return tuple(map(_look_for, MAKERS))


def _named(name: str) -> Engine:
    if name not in MAKERS:
        raise InputError(
            f"{VARIABLE} names an engine that does not exist",
            hint=f"Known are {', '.join(MAKERS)}; without it the fastest one is taken.",
        )
    found = _look_for(name)
    if found.engine is None:
        raise InputError(
            f"the engine {name} that {VARIABLE} names is not here: {found.why_absent}",
            hint="Without the variable the fastest engine of this machine is taken.",
        )
    return found.engine


def _look_for(name: str) -> Surveyed:
    """Make an engine, and have it seal and open a block as the plain one does.

    What a private library or a compiled loop does is checked, not believed.
    """
    try:
        engine = MAKERS[name]()
    except LookupError as absent:
        return Surveyed(name, None, str(absent))
    if not _same_bytes(engine, CryptographyEngine()):
        return Surveyed(name, None, "it seals other bytes than cryptography does")
    return Surveyed(name, engine)


def _same_bytes(engine: Engine, plain: Engine) -> bool:
    cells = Cells.from_list(_PROBE, string_like=True)
    block = _sealed(plain, cells)
    if _sealed(engine, cells) != block:
        return False
    rules = Rules(FieldClass.GENERAL, Padding.MULTIPLE_16, True)
    opened = engine.open(_PROBE_KEY, block, None, cells.count, rules)
    return np.array_equal(opened.offsets, cells.offsets) and bytes(opened.values) == cells.values


def _sealed(engine: Engine, cells: Cells) -> bytes:
    unit = FieldClass.GENERAL.unit
    needs = engine.measure(cells, unit)
    shape = shape_of(needs, cells.count, Padding.MULTIPLE_16, FieldClass.GENERAL)
    with engine.draft(cells, shape) as draft:
        return draft.seal(_PROBE_KEY)
