"""How far work has come, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far long work has come: `done` of `total` units (None where nobody knows).

    A total that is `estimated` may still change; `done` reaches it all the same.
    """

    task: str
    done: int
    total: int | None
    unit: str
    estimated: bool = False


OnProgress = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """Ignore progress."""
