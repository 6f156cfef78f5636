"""A proxy that passes bytes on, and cuts the connection after so many of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum


class Way(Enum):
    """Which way bytes go."""

    UP = "to the server"
    DOWN = "to the client"


@dataclass
class Proxy:
    """Counts the bytes of all connections, either way; where they come in pieces is noted.

    `cut` is the way and the byte after which the connection that brings it is cut, once: what has
    come up to there is passed on, and nothing after it. With `stays`, nobody gets through any more
    from then on.
    """

    target: int
    cut: tuple[Way, int] | None = None
    passed: dict[Way, int] = field(default_factory=lambda: dict.fromkeys(Way, 0))
    edges: dict[Way, list[int]] = field(default_factory=lambda: {way: [] for way in Way})
    cuts: int = 0
    stays: bool = False
    down: bool = False

    def begin(self, cut: tuple[Way, int] | None, *, stays: bool = False) -> None:
        """Count from nothing again, and let everybody through."""
        self.cut, self.stays, self.down = cut, stays, False
        self.passed = dict.fromkeys(Way, 0)
        self.edges = {way: [] for way in Way}

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        if self.down:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ways = (
            asyncio.create_task(self._pass(Way.UP, reader, up_writer)),
            asyncio.create_task(self._pass(Way.DOWN, up_reader, writer)),
        )
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for task in ways:
            task.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for each in (writer, up_writer):
            each.transport.abort()

    async def _pass(
        self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 16):
                before = self.passed[way]
                self.passed[way] += len(piece)
                self.edges[way].append(self.passed[way])
                if self.cut is not None and self.cut[0] is way and self.passed[way] >= self.cut[1]:
                    writer.write(piece[: self.cut[1] - before])
                    await writer.drain()
                    self.cut = None
                    self.cuts += 1
                    self.down = self.stays
                    return
                writer.write(piece)
                await writer.drain()


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[tuple[Proxy, int]]:
    """Run a proxy to a port of the loopback, and give its own port."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    try:
        yield proxy, server.sockets[0].getsockname()[1]
    finally:
        server.close()
