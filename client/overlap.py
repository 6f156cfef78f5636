"""Work that overlaps, in bounded memory: so much under way at once, so much done ahead.

Sealing and opening run in threads, beside the event loop that sends and receives. An engine that
lets go of the interpreter's lock gets every processor; with one that does not, threads would only
hand that lock to and fro, so it gets one.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar

from client.crypto.engines import default_engine

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

IN_FLIGHT: Final = 4
"""Batches being sealed or sent at once: enough to hide the round trips, few enough for memory."""

MOST_THREADS: Final = 4
"""More threads seal faster than one connection takes it; and each holds a batch in memory."""


def threads() -> int:
    """Return how many threads should seal or open at once: 1 to 4."""
    if not default_engine().parallel:
        return 1
    return min(os.cpu_count() or 1, MOST_THREADS)


class Flights:
    """Tasks under way, at most so many at once; the first that fails ends all others.

    Leaving the block waits for all of them; leaving it by an exception cancels them first.
    """

    def __init__(self, most: int = IN_FLIGHT) -> None:
        self._most = most
        self._under_way: set[asyncio.Task[None]] = set()

    async def launch(
        self, work: Callable[P, Coroutine[Any, Any, None]], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Begin some work, once fewer than so many are under way; raises what one of those did."""
        while len(self._under_way) >= self._most:
            done, self._under_way = await asyncio.wait(
                self._under_way, return_when=asyncio.FIRST_COMPLETED
            )
            await asyncio.gather(*done)
        self._under_way.add(asyncio.create_task(work(*args, **kwargs)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await asyncio.gather(*self._under_way)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)


async def in_order(
    items: AsyncGenerator[S, None], work: Callable[[S], T]
) -> AsyncGenerator[T, None]:
    """Yield `work(item)` of each item in order, done in threads while further items come.

    As many at once as `threads` says. Where no more items come because of an error, what is done
    with those that came is handed on before it is raised. However this ends, no thread is left at
    work, and `items` is closed.
    """
    doing: deque[asyncio.Task[T]] = deque()
    most, broken = threads(), None
    try:
        async with aclosing(items):
            while True:
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    break
                except Exception as error:
                    broken = error
                    break
                doing.append(asyncio.create_task(asyncio.to_thread(work, item)))
                if len(doing) > most:
                    yield await _first(doing)
        while doing:
            yield await _first(doing)
        if broken is not None:
            raise broken
    finally:
        await asyncio.gather(*doing, return_exceptions=True)


async def _first(doing: deque[asyncio.Task[T]]) -> T:
    """Wait for the first of these, which stays among them until it has ended."""
    done = await asyncio.shield(doing[0])
    doing.popleft()
    return done
