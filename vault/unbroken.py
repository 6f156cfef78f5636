"""Changes that are run to their end, even if whoever asked for one goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Unbroken:
    """Runs changes in tasks of their own, and knows which are under way."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, change: Coroutine[Any, Any, T]) -> T:
        """Run a change to its end; a caller that is cancelled leaves it running."""
        task = asyncio.create_task(change)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def finished(self) -> None:
        """Wait for all that is under way, whatever becomes of it."""
        await asyncio.gather(*self._running, return_exceptions=True)
