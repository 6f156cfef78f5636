"""Kills client and server together, at any step that either of them awaits, and starts them again.

Both run in one process, a fork of one that has everything loaded. It counts how often any task
of it goes on after something it waited for, and kills itself (SIGKILL) before the n-th time: what
was waited for is done by then, a commit of the server's store say, and nobody has learned of it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from client import transport
from tests.company import Company
from tests.deals import cheap_keyrings
from tests.hangs import HANGS_SECONDS
from tests.in_process import lab

Work = Callable[[Company], Awaitable[None]]


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that tells each time before it goes on."""

    def __init__(self, inner: Coroutine[Any, Any, Any], step: Callable[[], None]) -> None:
        self.inner = inner
        self.step = step

    def send(self, value: Any) -> Any:
        self.step()
        return self.inner.send(value)

    def throw(self, *raised: Any) -> Any:
        self.step()
        return self.inner.throw(*raised)

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise AssertionError("a task's own coroutine is driven by its task")


@contextmanager
def _counting(loop: asyncio.AbstractEventLoop, step: Callable[[], None]) -> Iterator[None]:
    """Count the steps of every task that is begun from here on."""

    def counted(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_Counted(coro, step), loop=loop, **more)

    loop.set_task_factory(counted)
    try:
        yield
    finally:
        loop.set_task_factory(None)


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Company]:
    """Give what a folder of `tests.company` holds, as another start of everything finds it."""
    with cheap_keyrings(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "PAUSE_SECONDS", 0)
        async with lab(directory) as made, AsyncExitStack() as stack:
            yield Company(made, stack, "")


async def _until(directory: Path, work: Work, at: int | None) -> int:
    """Do the work, and return its steps; before step `at`, die."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)

    async with opened(directory) as cast:
        with _counting(asyncio.get_running_loop(), step):
            await asyncio.get_running_loop().create_task(_as_coroutine(work(cast)))
    return steps


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work


def _child(directory: Path, work: Work, at: int) -> None:
    asyncio.run(_until(directory, work, at))


def steps_of(source: Path, copy: Path, work: Work) -> int:
    """Return how many steps a work takes, of a copy of a folder."""
    shutil.copytree(source, copy)
    return asyncio.run(_until(copy, work, None))


def killed(directory: Path, work: Work, at: int) -> bool:
    """Begin a work and kill it before a step; False where it was done before that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.killing", "tests.test_killed"])
    process = context.Process(target=_child, args=(directory, work, at))
    process.start()
    process.join(HANGS_SECONDS)
    assert process.exitcode in (0, -signal.SIGKILL), f"it ended with {process.exitcode}"
    return process.exitcode != 0
