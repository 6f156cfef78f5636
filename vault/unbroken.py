"""Changes that are run to their end, even if whoever asked for one goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from protocol.errors import SealroomError
from vault.logs import log_failure
from vault.storage.base import StorageFailed, StorageFull

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
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_end_unheard)
            raise

    async def finished(self) -> None:
        """Wait for all that is under way, whatever becomes of it."""
        await asyncio.gather(*self._running, return_exceptions=True)


def _end_unheard(task: asyncio.Task[Any]) -> None:
    """Say in the log what nobody waits to hear, but a refusal: that concerned only who asked."""
    error = None if task.cancelled() else task.exception()
    if error is not None and (
        isinstance(error, StorageFailed | StorageFull) or not isinstance(error, SealroomError)
    ):
        log_failure(error)
