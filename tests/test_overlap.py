"""What overlaps stays in order, in bounds, and leaves nothing at work."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from client import overlap
from client.crypto.engines import CryptographyEngine
from client.overlap import Flights, in_order, threads
from tests.hangs import HANGS_SECONDS


class _Gates:
    """Work in threads that ends when it is told to; counts how much of it is under way."""

    def __init__(self, count: int) -> None:
        self.gates = [threading.Event() for _ in range(count)]
        self.begun = [threading.Event() for _ in range(count)]
        self.lock = threading.Lock()
        self.under_way = self.most = 0

    def work(self, number: int) -> int:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.begun[number].set()
        assert self.gates[number].wait(HANGS_SECONDS)
        with self.lock:
            self.under_way -= 1
        return number * 10


async def counted(upto: int, seen: list[int] | None = None) -> AsyncGenerator[int, None]:
    try:
        for number in range(upto):
            yield number
    finally:
        if seen is not None:
            seen.append(upto)


@pytest.fixture(params=[1, 2, 3])
def so_many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(overlap, "threads", lambda: request.param)
    return request.param  # type: ignore[no-any-return]


async def test_results_come_in_order_whichever_ends_first(so_many: int) -> None:
    gates = _Gates(8)
    found: list[int] = []

    async def reading() -> None:
        found.extend([each async for each in in_order(counted(8), gates.work)])

    task = asyncio.create_task(reading())
    for first in range(0, 8, so_many):
        group = range(first, min(8, first + so_many))
        for number in reversed(group):  # the last of them ends first
            assert await asyncio.to_thread(gates.begun[number].wait, HANGS_SECONDS)
            gates.gates[number].set()
    await task
    assert found == [0, 10, 20, 30, 40, 50, 60, 70]
    # one more may begin before the first of them is fetched
    assert so_many <= gates.most <= so_many + 1


async def test_what_fails_is_raised_in_its_turn_and_nothing_is_left_at_work(so_many: int) -> None:
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("the third")
        return number

    found, closed = [], list[int]()
    before = asyncio.all_tasks()

    async def reading() -> None:
        async for each in in_order(counted(9, closed), work):
            found.append(each)

    with pytest.raises(ValueError, match="the third"):
        await reading()
    assert found == [0, 1]
    assert closed == [9]
    assert asyncio.all_tasks() == before


async def test_what_came_before_the_source_broke_is_handed_on_first(so_many: int) -> None:
    async def breaking() -> AsyncGenerator[int, None]:
        for number in range(4):
            yield number
        raise ValueError("the cable was cut")

    found = []

    async def reading() -> None:
        async for each in in_order(breaking(), lambda number: number):
            found.append(each)

    with pytest.raises(ValueError, match="cable"):
        await reading()
    assert found == [0, 1, 2, 3]


async def test_who_stops_reading_waits_for_the_threads(so_many: int) -> None:
    gates = _Gates(so_many + 1)
    gates.gates[0].set()
    closed: list[int] = []
    async with aclosing(in_order(counted(so_many + 1, closed), gates.work)) as results:
        assert await anext(results) == 0
        for gate in gates.gates:
            gate.set()
    assert gates.under_way == 0
    assert closed == [so_many + 1]


async def test_a_reader_that_is_cancelled_leaves_no_thread_at_work() -> None:
    gates = _Gates(9)

    async def reading() -> None:
        async for _ in in_order(counted(9), gates.work):
            pytest.fail("none of it ended")

    task = asyncio.create_task(reading())
    assert await asyncio.to_thread(gates.begun[0].wait, HANGS_SECONDS)
    task.cancel()
    for gate in gates.gates:
        gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gates.under_way == 0


async def test_no_more_fly_at_once_than_may() -> None:
    flying = most = landed = 0

    async def flight(turns: int) -> None:
        nonlocal flying, most, landed
        flying += 1
        most = max(most, flying)
        for _ in range(turns):
            await asyncio.sleep(0)
        flying -= 1
        landed += 1

    async with Flights(3) as flights:
        for turns in (5, 1, 9, 2, 2, 7, 1):
            await flights.launch(flight, turns)
    assert (landed, flying, most) == (7, 0, 3)


async def test_a_flight_that_fails_ends_the_others() -> None:
    ended: list[str] = []

    async def lasting() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("lost")

    async def launching(*works: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with Flights(2) as flights:
            for work in works:
                await flights.launch(work)
            if len(works) == 1:
                await asyncio.sleep(0)
                raise KeyError

    before = asyncio.all_tasks()
    # found at the end, or when the next one would begin
    for works in ((lasting, failing), (lasting, failing, lasting)):
        ended.clear()
        with pytest.raises(ValueError, match="lost"):
            await launching(*works)
        assert ended == ["cancelled"]
    with pytest.raises(KeyError):
        await launching(lasting)
    assert ended == ["cancelled", "cancelled"]
    assert asyncio.all_tasks() == before


def test_threads_are_as_many_as_help(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = CryptographyEngine()
    monkeypatch.setattr(overlap, "default_engine", lambda: engine)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert threads() == 1
    monkeypatch.setattr(CryptographyEngine, "parallel", True)
    assert threads() == overlap.MOST_THREADS
    for count, expected in ((2, 2), (1, 1), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda given=count: given)
        assert threads() == expected
