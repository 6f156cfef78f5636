"""The queue of SQLite's writes: in turn, together where they can be, each answered by itself."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiosqlite
import pytest

from protocol.errors import ApiMisuse, Conflict
from vault.storage.base import StorageFailed
from vault.storage.sqlite_writes import GROUP, WriteQueue


class Numbers:
    """A table of numbers, written through a queue that notes what it ran."""

    def __init__(self, queue: WriteQueue, ran: list[str]) -> None:
        self.queue, self.ran = queue, ran

    async def add(self, number: int) -> int:
        await self.queue.sql("INSERT INTO numbers VALUES (?)", number)
        return number

    def write(self, number: int) -> asyncio.Task[int]:
        return asyncio.create_task(self.queue.write(partial(self.add, number)))

    async def kept(self) -> list[int]:
        return [number for (number,) in await self.queue.sql("SELECT n FROM numbers ORDER BY n")]

    def begun(self) -> int:
        return self.ran.count("BEGIN IMMEDIATE")


@asynccontextmanager
async def numbers(tmp_path: Path) -> AsyncIterator[Numbers]:
    async with aiosqlite.connect(tmp_path / "numbers", isolation_level=None) as writer:
        ran: list[str] = []
        await writer.execute_fetchall("CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT")
        await writer.set_trace_callback(ran.append)
        queue = WriteQueue(writer)
        try:
            yield Numbers(queue, ran)
        finally:
            await queue.close()


async def test_writes_that_wait_together_share_a_transaction(tmp_path: Path) -> None:
    async with numbers(tmp_path) as found:
        tasks = [found.write(number) for number in range(GROUP + 5)]
        assert await asyncio.gather(*tasks) == list(range(GROUP + 5))
        assert await found.kept() == list(range(GROUP + 5))
        assert found.begun() == 2


async def test_a_write_that_runs_alone_is_in_no_transaction_and_keeps_its_turn(
    tmp_path: Path,
) -> None:
    async with numbers(tmp_path) as found:
        seen: list[list[int]] = []

        async def alone() -> bool:
            seen.append(await found.kept())
            (connection,) = (found.queue._writer,)
            return connection.in_transaction

        before = [found.write(number) for number in range(3)]
        twice = [asyncio.create_task(found.queue.write(alone, alone=True)) for _ in range(2)]
        after = [found.write(number) for number in range(3, 6)]
        assert await asyncio.gather(*twice) == [False, False]
        await asyncio.gather(*before, *after)
        assert seen == [[0, 1, 2], [0, 1, 2]]
        assert await found.kept() == list(range(6))
        assert found.begun() == 2


async def test_what_fails_alone_is_told_and_harms_nobody(tmp_path: Path) -> None:
    async with numbers(tmp_path) as found:

        async def breaks() -> None:
            await found.queue.sql("SELECT * FROM nowhere")

        async def refuses() -> None:
            raise Conflict("no")

        first = found.write(1)
        answers = await asyncio.gather(
            found.queue.write(breaks, alone=True),
            found.queue.write(refuses, alone=True),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [StorageFailed, Conflict]
        assert await first == 1
        assert await found.write(2) == 2


async def test_what_is_refused_takes_back_its_own_and_no_others(tmp_path: Path) -> None:
    async with numbers(tmp_path) as found:

        async def half() -> None:
            await found.add(100)
            raise Conflict("no")

        answers = await asyncio.gather(
            found.write(1),
            found.queue.write(half),
            found.queue.write(partial(found.add, 1)),  # there already
            found.write(2),
            return_exceptions=True,
        )
        assert answers[0] == 1
        assert isinstance(answers[1], Conflict)
        assert isinstance(answers[2], ApiMisuse)
        assert answers[3] == 2
        assert await found.kept() == [1, 2]
        assert found.begun() == 1


async def test_what_ends_the_transaction_fails_alone(tmp_path: Path) -> None:
    async with numbers(tmp_path) as found:

        async def breaks() -> None:
            await found.add(100)
            raise sqlite3.OperationalError("disk I/O error")

        answers = await asyncio.gather(
            found.write(1), found.queue.write(breaks), found.write(2), return_exceptions=True
        )
        assert answers[0] == 1
        assert isinstance(answers[1], StorageFailed)
        assert answers[2] == 2
        assert await found.kept() == [1, 2]


async def test_whoever_goes_away_leaves_its_write_behind(tmp_path: Path) -> None:
    async with numbers(tmp_path) as found:
        tasks = [found.write(number) for number in range(6)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert answers[1::2] == [1, 3, 5]
        assert await found.kept() == list(range(6))


async def test_closing_runs_what_waits_and_takes_no_more(tmp_path: Path) -> None:
    async with numbers(tmp_path) as found:
        tasks = [found.write(number) for number in range(3)]
        await asyncio.sleep(0)
        alone = asyncio.create_task(found.queue.write(found.kept, alone=True))
        await asyncio.sleep(0)
        await asyncio.gather(found.queue.close(), found.queue.close())
        assert await asyncio.gather(*tasks) == [0, 1, 2]
        assert await alone == [0, 1, 2]
        with pytest.raises(ApiMisuse, match="closed"):
            await found.queue.write(found.kept)


class Large:
    """Stands for the blocks of an upload: an object that can be seen to be let go of."""


async def test_nothing_of_a_write_is_kept_once_it_is_answered(tmp_path: Path) -> None:
    async with numbers(tmp_path) as found:

        async def change(large: Large) -> None:
            assert isinstance(large, Large)

        for alone in (False, True):
            larges = [Large() for _ in range(3)]
            seen = [weakref.ref(large) for large in larges]
            await asyncio.gather(
                *(found.queue.write(partial(change, large), alone=alone) for large in larges)
            )
            larges.clear()
            await asyncio.sleep(0)
            gc.collect()
            assert [ref() for ref in seen] == [None] * 3
