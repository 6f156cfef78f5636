"""The socket and its connections: TLS 1.3, bounded in number, in size and in patience.

Connections are counted once their TLS handshake is done, since asyncio names the peer only then.
Before that each has `HANDSHAKE_SECONDS`, and what bounds their number is the open files that
the system allows the process.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections import Counter
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from protocol.errors import MalformedMessage, SealroomError
from protocol.limits import KIB
from vault.answers import refused
from vault.config import Config
from vault.door import Door
from vault.logs import Event, log_event
from vault.statuses import refusal_of
from vault.tls import ServerTls

IDLE_SECONDS: Final = 25
"""How long a connection may be silent, or take over a request's head."""
HANDSHAKE_SECONDS: Final = 10
LINGER_SECONDS: Final = 2
CUT_OFF_SECONDS: Final = 1
LINE_BYTES: Final = 8 * KIB
HEADER_LINES: Final = 64
BACKLOG: Final = 512


class ListenFailed(SealroomError):
    """The address that the server should listen on cannot be had."""

    code = "listen_failed"


class Listener:
    """Accepts connections for a door, no more at once than the configuration says.

    Nor more from one remote address, so that no single machine keeps all others out.
    """

    def __init__(self, door: Door, config: Config) -> None:
        self._door = door
        self._config = config
        self._web = web.Server(door)
        self._crowd = Crowd(config.max_connections_per_address)
        self._listening: asyncio.Server | None = None

    async def start(self, tls: ServerTls) -> int:
        """Listen, over TLS 1.3 alone, and return the port.

        Raises:
            ListenFailed: the address cannot be had.
        """
        host, port = self._config.host, self._config.port
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                self._connection,
                host,
                port,
                ssl=tls.ssl_context,
                backlog=BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=LINGER_SECONDS,
            )
        except OSError as error:
            what = "Stop what listens there, or choose" if _is_taken(error) else "Choose"
            raise ListenFailed(
                f"cannot listen on {host} port {port}: {error.strerror or 'no such address'}",
                hint=f"{what} another address of this machine with --listen.",
            ) from error
        bound: int = self._listening.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Accept nothing more, let requests under way finish within the time, then cut them off."""
        assert self._listening is not None
        self._listening.close()
        await asyncio.sleep(0)  # what was accepted just now gets its handler
        for connection in self._web.connections:
            if not self._door.answers(connection):
                connection.force_close()
        # Not aiohttp's own way to shut down, which drops the rest of bodies under way.
        await self._door.drain(self._config.drain_seconds)
        await self._web.shutdown(CUT_OFF_SECONDS)

    def _connection(self) -> asyncio.Protocol:
        if len(self._web.connections) >= self._config.max_connections:
            return _TurnedAway()
        return _Connection(
            self._crowd,
            self._web,
            loop=asyncio.get_running_loop(),
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=LINGER_SECONDS,
            max_line_size=LINE_BYTES,
            max_field_size=LINE_BYTES,
            max_headers=HEADER_LINES,
        )


class Crowd:
    """How many connections each origin has, and whether it may have another."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._here: Counter[str] = Counter()

    def enter(self, origin: str) -> bool:
        """Count a connection, or say that there are too many from there already."""
        if self._here[origin] >= self._most:
            return False
        self._here[origin] += 1
        return True

    def leave(self, origin: str) -> None:
        """Count a connection that entered no longer."""
        self._here[origin] -= 1
        if not self._here[origin]:
            del self._here[origin]


def origin_of(address: str) -> str:
    """Return what counts as one place: an IPv4 address, or an IPv6 /64, which one host may own."""
    found = ip_address(address)
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found), 64), strict=False))


class _Connection(RequestHandler):
    """One connection; it answers what is not HTTP as everything else is refused (H8)."""

    __slots__ = ("_crowd", "_origin")

    def __init__(self, crowd: Crowd, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._crowd = crowd
        self._origin: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve it, unless its origin has too many: then it ends without a word."""
        origin = origin_of(transport.get_extra_info("peername")[0])
        if not self._crowd.enter(origin):
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
            return
        self._origin = origin
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End it; one that was turned away has nothing to end."""
        if self._origin is not None:
            self._crowd.leave(self._origin)
            self._origin = None
            super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the HTTP parser refused, without its words, and close."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun")
        error = MalformedMessage("this is not HTTP as this server reads it")
        refusal = refusal_of(error, int(time.time()))
        log_event(Event.REQUEST_REFUSED, status=refusal.status, error=type(exc or error))
        response = refused(refusal)
        response.force_close()
        return response


def _is_taken(error: OSError) -> bool:
    # What the loop raises has the number, and a text of the loop's.
    return error.errno == errno.EADDRINUSE


class _TurnedAway(asyncio.Protocol):
    """A connection above the limit: closed without a word."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
