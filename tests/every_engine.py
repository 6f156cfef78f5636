"""All engines of this machine, and a way to ask all of them the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import numpy as np

from client.crypto.cells import OpenedBlock
from client.crypto.engines import BlockRefused, Engine, compiled, survey
from protocol.errors import IntegrityError

SANITIZED: Final = "libasan" in os.environ.get("LD_PRELOAD", "")
"""Whether `make sanitize` runs; each buffer is then as long as was asked for, and used once."""

if SANITIZED:
    compiled.KEPT_BYTES = 0
    compiled._LEAST_BYTES = 1

ENGINES: Final[list[Engine]] = [each.engine for each in survey() if each.engine is not None]


def agreed(opening: Callable[[Engine], OpenedBlock]) -> OpenedBlock:
    """Open with every engine and return what came out, which must be the same from all.

    Raises: what all of them raised, which must name the same fault and the same record.
    """
    answers = [_answer(opening, engine) for engine in ENGINES]
    first = answers[0]
    for other in answers[1:]:
        if isinstance(first, IntegrityError):
            assert isinstance(other, IntegrityError)
            assert _told(other) == _told(first)
        else:
            assert isinstance(other, OpenedBlock)
            assert _parts(other) == _parts(first)
    if isinstance(first, IntegrityError):
        raise first
    return first


def _answer(
    opening: Callable[[Engine], OpenedBlock], engine: Engine
) -> OpenedBlock | IntegrityError:
    try:
        return opening(engine)
    except IntegrityError as error:
        return error


def _told(error: IntegrityError) -> tuple[object, ...]:
    assert isinstance(error.__cause__, BlockRefused)
    return str(error), error.__cause__.fault, error.__cause__.record


def _parts(opened: OpenedBlock) -> tuple[bytes, ...]:
    cells = opened.cells
    values = np.frombuffer(cells.values, np.uint8)
    return values.tobytes(), cells.offsets.tobytes(), cells.valid.tobytes(), opened.erased.tobytes()
