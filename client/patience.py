"""Waiting for a server that stopped answering, so that long work does not end with it (SPEC 10.5).

A server that never answered is not waited for: its address may be wrong. One that did is asked
again, at growing intervals, for as long as was said, and somebody is told. What is counted is the
waiting itself and no clock, since clocks jump where a machine sleeps: after a night in a bag there
is as much patience as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeVar

from client.errors import Refused, Unreachable
from client.transport import Transport
from protocol import api

T = TypeVar("T")

MOST_SECONDS: Final = 600.0
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
PASSING: Final = frozenset({"busy", "rate_limited", "replay", "server_restarted", "clock_skew"})
"""Refusals that are over when the same is asked later: a request is signed anew each time."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is told: why it waits, for how long at most; or that it is `over`, after how long."""

    why: str
    seconds: float
    over: bool = False


Tell = Callable[[Waiting], None]


def nobody(_: Waiting) -> None:
    """Tell nobody."""


class Patient:
    """A transport that waits for the one that it is made of; see the module."""

    def __init__(
        self,
        inner: Transport,
        *,
        most: float = MOST_SECONDS,
        tell: Tell = nobody,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.inner = inner
        self._most = most
        self._tell = tell
        self._sleep = sleep
        self._answered = False
        self._told = False

    async def server_info(self) -> api.ServerInfo:
        """See `Transport`."""
        return await self._asked(self.inner.server_info)

    async def create_vault(self, request: api.CreateVault) -> api.Submitted:
        """See `Transport`."""
        return await self._asked(lambda: self.inner.create_vault(request))

    async def log_page(self, vault_id: bytes, start: int) -> api.LogPage:
        """See `Transport`."""
        return await self._asked(lambda: self.inner.log_page(vault_id, start))

    async def consistency(self, vault_id: bytes, old: int, new: int) -> tuple[bytes, ...]:
        """See `Transport`."""
        return await self._asked(lambda: self.inner.consistency(vault_id, old, new))

    async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        """See `Transport`."""
        return await self._asked(lambda: self.inner.submit(vault_id, act))

    async def observations(self, vault_id: bytes, start: int) -> api.ObservationsPage:
        """See `Transport`."""
        return await self._asked(lambda: self.inner.observations(vault_id, start))

    async def staged(self, vault_id: bytes, upload: bytes) -> api.Staged:
        """See `Transport`."""
        return await self._asked(lambda: self.inner.staged(vault_id, upload))

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        """See `Transport`."""
        await self._asked(lambda: self.inner.stage(vault_id, upload, batch, body))

    async def stage_several(self, vault_id: bytes, upload: bytes, bodies: Sequence[bytes]) -> None:
        """See `Transport`."""
        await self._asked(lambda: self.inner.stage_several(vault_id, upload, bodies))

    async def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        """See `Transport`; goes on from the block at which the connection broke."""
        outage, done = _Outage(self), 0
        while done < len(sizes):
            try:
                left = self.inner.fetch(vault_id, _after(request, done), sizes[done:])
                async with aclosing(left) as blocks:
                    async for block in blocks:
                        outage.end()
                        done += 1
                        yield block
                return
            except (Unreachable, Refused) as error:
                await outage.wait(error)

    async def close(self) -> None:
        """Let go of connections."""
        await self.inner.close()

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        outage = _Outage(self)
        while True:
            try:
                answer = await ask()
            except (Unreachable, Refused) as error:
                await outage.wait(error)
            else:
                outage.end()
                return answer


class _Outage:
    """One request that gets no answer, until it does; several may wait at once, and one tells."""

    def __init__(self, patient: Patient) -> None:
        self._patient = patient
        self._waited, self._pause = 0.0, FIRST_PAUSE

    async def wait(self, error: Unreachable | Refused) -> None:
        """Wait a while, longer each time; raise the error where waiting is no use, or was enough.

        Raises:
            Unreachable, Refused: as given; one that was waited for says so.
        """
        patient = self._patient
        if isinstance(error, Refused) and error.refusal not in PASSING:
            self.end()
            raise error
        if not patient._answered or not patient._most:
            raise error
        if self._waited >= patient._most:
            raise _given_up(error, self._waited) from error
        if not patient._told:
            patient._told = True
            patient._tell(Waiting(str(error), patient._most))
        pause = min(self._pause, patient._most - self._waited)
        await patient._sleep(pause)
        self._waited, self._pause = self._waited + pause, min(2 * self._pause, LONGEST_PAUSE)

    def end(self) -> None:
        """Note that the server answered, and tell so if it was told that it did not."""
        patient = self._patient
        patient._answered = True
        if patient._told:
            patient._told = False
            patient._tell(Waiting("", self._waited, over=True))
        self._waited, self._pause = 0.0, FIRST_PAUSE


def _given_up(error: Unreachable | Refused, waited: float) -> Unreachable:
    given_up = Unreachable(
        f"{error}, and {in_words(waited)} of waiting did not help",
        hint="Give the same command when the server is back: it goes on, or begins again safely.",
    )
    given_up.waited = True
    return given_up


def in_words(seconds: float) -> str:
    """Return a span of waiting in minutes, or in seconds where it is less than two minutes."""
    return f"{seconds / 60:,.0f} minutes" if seconds >= 120 else f"{seconds:,.0f} seconds"


def _after(request: api.FetchBlocks, done: int) -> api.FetchBlocks:
    """Return the request without the first blocks, which have come."""
    batches = []
    for wanted in request.batches:
        left = wanted.fields[done:]
        done = max(0, done - len(wanted.fields))
        if left:
            batches.append(api.WantedBatch(wanted.batch, left))
    return api.FetchBlocks(request.collection, tuple(batches))
