"""Time that passes only while everybody waits: what takes long is asked of no clock."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Leaping(selectors.DefaultSelector):
    """Never waits: as long as it should have waited is what has passed."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready and timeout:
            self.passed += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Leaping()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.passed


def in_no_time(work: Coroutine[Any, Any, T]) -> T:
    """Run what only sleeps and computes, without threads or sockets; its sleeps take no time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)
