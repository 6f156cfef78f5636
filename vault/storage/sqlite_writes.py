"""One connection's writes, in turn: those that arrive together share one fsync.

A task takes what waits, runs each write in a savepoint, commits them all as one transaction,
and only then answers. One that fails fails alone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiosqlite

from protocol.errors import ApiMisuse
from vault.storage.sqlite_file import typed

GROUP: Final = 64
"""How many waiting writes may share one transaction."""

T = TypeVar("T")
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Write:
    """A change that waits its turn, and where its answer goes.

    One that is `alone` shares no transaction, because it cannot run inside any.
    """

    run: Callable[[], Awaitable[Any]]
    answer: asyncio.Future[Any]
    alone: bool


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a change came to; told only once it is on the disk."""

    value: Any = None
    error: Exception | None = None

    def tell(self, answer: asyncio.Future[Any]) -> None:
        if answer.done():  # whoever asked has gone away
            return
        if self.error is None:
            answer.set_result(self.value)
        else:
            answer.set_exception(self.error)


class WriteQueue:
    """The writing connection, and the task that alone uses it."""

    def __init__(self, writer: aiosqlite.Connection) -> None:
        self._writer = writer
        self._open = True
        self._queue: asyncio.Queue[_Write | None] = asyncio.Queue()
        self._writing = asyncio.create_task(self._serve())

    async def write(self, run: Callable[[], Awaitable[T]], *, alone: bool = False) -> T:
        """Run a change in its turn; return what it returned once that is on the disk.

        Raises:
            ApiMisuse: the queue is closed, or a value that the schema does not allow.
            StorageFailed, StorageFull: the transaction could not be committed.
            SealroomError: what the change itself raises; nothing of it was changed.
        """
        if not self._open:
            raise ApiMisuse("the storage is closed")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Write(run, answer, alone))
        return await answer

    async def close(self) -> None:
        """Finish what waits; safe to call twice."""
        if self._open:
            self._open = False
            self._queue.put_nowait(None)
        await self._writing

    # --- for changes, inside their transaction

    async def sql(self, statement: str, *values: object) -> list[Row]:
        """Run one statement and return its rows."""
        return [tuple(row) for row in await self._writer.execute_fetchall(statement, values)]

    async def run_through(self, statement: str) -> None:
        """Run a statement to its end that `sql` would stop at its first row, which has no columns.

        Ends a transaction: for writes that run alone.
        """
        async with self._writer.executescript(statement):
            pass

    async def sql_each(self, statement: str, rows: Sequence[Row]) -> None:
        """Run one statement for each row of values."""
        if rows:
            async with self._writer.executemany(statement, rows):
                pass

    # --- the task

    async def _serve(self) -> None:
        while await self._serve_group():
            pass

    async def _serve_group(self) -> bool:
        """Run what waits; False once the queue is closed. Keeps nothing of it while it waits."""
        first = await self._queue.get()
        if first is None:
            return False
        group = [first]
        while len(group) < GROUP and not self._queue.empty() and not group[-1].alone:
            following = self._queue.get_nowait()
            if following is None:
                self._queue.put_nowait(None)
                break
            group.append(following)
        last = group.pop() if group[-1].alone else None
        await self._commit(group)
        if last is not None:
            await self._run_alone(last)
        return True

    async def _run_alone(self, write: _Write) -> None:
        try:
            outcome = _Outcome(value=await write.run())
        except sqlite3.Error as error:
            outcome = _Outcome(error=typed(error))
        except Exception as error:
            outcome = _Outcome(error=error)
        outcome.tell(write.answer)

    async def _commit(self, group: list[_Write]) -> None:
        if not group:
            return
        try:
            await self.sql("BEGIN IMMEDIATE")
            outcomes = [await self._attempt(write) for write in group]
            await self.sql("COMMIT")
        except Exception as error:
            await self._roll_back()
            if len(group) > 1:  # one that does not fit must not fail the others
                for write in group:
                    await self._commit([write])
                return
            outcomes = [_Outcome(error=typed(error))]
        for write, outcome in zip(group, outcomes, strict=True):
            outcome.tell(write.answer)

    async def _attempt(self, write: _Write) -> _Outcome:
        """Run one write in a savepoint; only what the whole transaction must end for goes out."""
        await self.sql("SAVEPOINT attempt")
        try:
            outcome = _Outcome(value=await write.run())
        except sqlite3.IntegrityError:
            outcome = _Outcome(error=ApiMisuse("a value that the schema does not allow"))
        except sqlite3.Error:
            raise
        except Exception as error:
            outcome = _Outcome(error=error)
        if outcome.error is not None:
            await self.sql("ROLLBACK TO attempt")
        await self.sql("RELEASE attempt")
        return outcome

    async def _roll_back(self) -> None:
        # SQLite ends the transaction by itself after some errors.
        if self._writer.in_transaction:
            with suppress(sqlite3.Error):
                await self.sql("ROLLBACK")
