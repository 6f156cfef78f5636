"""Changes that are run to their end, whether or not somebody waits (SPEC section 10.4)."""

from __future__ import annotations

import asyncio
import gc

import pytest

from vault.unbroken import Unbroken


async def left_alone(unbroken: Unbroken, until: asyncio.Event, done: list[int]) -> None:
    """Ask for a change, which ends once it may, and go away before it does."""

    async def change() -> None:
        await until.wait()
        done.append(1)

    asked = asyncio.create_task(unbroken.run(change()))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_what_nobody_waits_for_is_finished_and_is_waited_for_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unbroken, may_end, done = Unbroken(), asyncio.Event(), list[int]()
    await left_alone(unbroken, may_end, done)
    gc.collect()
    ends = asyncio.create_task(unbroken.finished())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not ends.done()
    may_end.set()
    await ends
    assert done == [1]
    await asyncio.sleep(0)
    assert caplog.records == [], "nothing failed"


async def test_what_is_over_is_kept_no_longer() -> None:
    unbroken = Unbroken()
    for value in range(3):
        assert await unbroken.run(asyncio.sleep(0, value)) == value
    await asyncio.sleep(0)
    assert unbroken._running == set()


async def test_a_change_that_is_cancelled_itself_did_not_fail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As when the server's loop ends under it."""
    unbroken = Unbroken()
    await left_alone(unbroken, asyncio.Event(), [])
    (change,) = unbroken._running
    change.cancel()
    await unbroken.finished()
    await asyncio.sleep(0)
    assert change.cancelled()
    assert caplog.records == []
