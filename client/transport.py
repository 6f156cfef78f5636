"""The seam between the client and whatever answers it (SPEC section 10).

`Transport` is all that a client ever asks of a server. `HttpTransport` is the one of production;
the tests' malicious server is another. Nothing that comes through here is believed: replaying,
checking and opening are in `client.trust` and beyond.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from nacl.signing import SigningKey
from yarl import URL

from client.errors import InputError, Refused, Unreachable
from client.pinning import as_pin_error, client_ssl_context
from client.refusals import hint_of, quoted, refused
from client.request_signing import sign_request
from protocol import api
from protocol.blocks import join_bundle
from protocol.errors import LimitExceeded, ManifestMismatch, SealroomError
from protocol.limits import KIB, MIB
from protocol.requests import AUTHORITY
from protocol.wire import from_bytes, to_bytes

T = TypeVar("T")

ANSWER_BYTES: Final = 1 * MIB
WAIT_SECONDS: Final = 60
LEAST_RATE: Final = 16 * KIB
"""Bytes a second: who is slower for as long as a whole message takes is taken for a stall."""

ATTEMPTS: Final = 4
PAUSE_SECONDS: Final = 0.2
SLEPT_SECONDS: Final = 10
"""So far apart the clocks are that a machine has slept: connections from before lead nowhere."""
_BASE: Final = re.compile(rf"https://{AUTHORITY}")
_FOR_PEOPLE: Final = frozenset({"storage_full", "storage_damaged"})
"""Failures of a server's that do not pass by waiting."""
_RETRY_CODES: Final = frozenset({"replay", "server_restarted", "busy", "rate_limited"})


@dataclass(frozen=True, slots=True, repr=False)
class Signer:
    """Who signs a request: a key and the id under which the server knows it."""

    key: SigningKey
    keyid: bytes


class Transport(Protocol):
    """What a client asks of a server. Every call may raise `Refused` and `Unreachable`."""

    async def server_info(self) -> api.ServerInfo:
        """Return whom the server signs as, and its limits."""

    async def create_vault(self, request: api.CreateVault) -> api.Submitted:
        """Begin a vault."""

    async def log_page(self, vault_id: bytes, start: int) -> api.LogPage:
        """Return leaves from `start`, and a checkpoint."""

    async def consistency(self, vault_id: bytes, old: int, new: int) -> tuple[bytes, ...]:
        """Return the proof that the tree of size `old` is a prefix of the one of size `new`."""

    async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        """Append an act; the same bytes again give the same answer."""

    async def observations(self, vault_id: bytes, start: int) -> api.ObservationsPage:
        """Return what the server says it served, from leaf index `start`."""

    async def staged(self, vault_id: bytes, upload: bytes) -> api.Staged:
        """Return which batches of an upload are stored."""

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        """Store one batch; the same bytes again are no second one."""

    async def stage_several(self, vault_id: bytes, upload: bytes, bodies: Sequence[bytes]) -> None:
        """Store several batches, all or none, in one request; else as `stage`."""

    def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the blocks asked for, in order; `sizes` are the lengths that they must have."""

    async def close(self) -> None:
        """Let go of connections."""


class HttpTransport:
    """HTTP over TLS 1.3 with signed requests; retries what is safe to repeat.

    With a pin, the server is whoever has that TLS key, checked before a byte of a request is
    sent. Every answer has a size cap, and every wait an end.
    """

    def __init__(
        self,
        url: str,
        *,
        pin: bytes | None,
        signer: Signer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if _BASE.fullmatch(url) is None:
            raise InputError(
                "a server's address is https://HOST or https://HOST:PORT, in small letters"
            )
        self._base = url
        self._pin = pin
        self._signer = signer
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._ahead = self._clocks()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def signed_by(self, signer: Signer) -> None:
        """Sign requests as somebody else from now on."""
        self._signer = signer

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _renew(self) -> None:
        """Connect anew after the machine has slept, as its clocks show: one of them stood still."""
        ahead, before = self._clocks(), self._ahead
        self._ahead = ahead
        if abs(ahead - before) > SLEPT_SECONDS:
            await self.close()

    def _clocks(self) -> float:
        return self._clock() - time.monotonic()

    async def server_info(self) -> api.ServerInfo:
        """See `Transport`."""
        return await self._call("GET", api.SERVER, api.ServerInfo)

    async def create_vault(self, request: api.CreateVault) -> api.Submitted:
        """See `Transport`."""
        return await self._call("POST", api.VAULTS, api.Submitted, to_bytes(request))

    async def log_page(self, vault_id: bytes, start: int) -> api.LogPage:
        """See `Transport`."""
        path = api.LOG.format(vault=vault_id.hex()) + f"?from={start}"
        return await self._call("GET", path, api.LogPage, cap=api.LOG_PAGE_BYTES)

    async def consistency(self, vault_id: bytes, old: int, new: int) -> tuple[bytes, ...]:
        """See `Transport`."""
        path = api.CONSISTENCY.format(vault=vault_id.hex()) + f"?from={old}&to={new}"
        return (await self._call("GET", path, api.ConsistencyProof)).hashes

    async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        """See `Transport`."""
        path = api.ACTS.format(vault=vault_id.hex())
        return await self._call("POST", path, api.Submitted, to_bytes(act))

    async def observations(self, vault_id: bytes, start: int) -> api.ObservationsPage:
        """See `Transport`."""
        path = api.OBSERVATIONS.format(vault=vault_id.hex()) + f"?from={start}"
        return await self._call("GET", path, api.ObservationsPage, cap=api.LOG_PAGE_BYTES)

    async def staged(self, vault_id: bytes, upload: bytes) -> api.Staged:
        """See `Transport`."""
        path = api.UPLOAD.format(vault=vault_id.hex(), upload=upload.hex())
        return await self._call("GET", path, api.Staged, cap=4 * MIB)

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        """See `Transport`."""
        path = api.BATCH.format(vault=vault_id.hex(), upload=upload.hex(), batch=batch.hex())
        await self._call("PUT", path, api.Staged, body, content_type=api.BATCH_CONTENT_TYPE)

    async def stage_several(self, vault_id: bytes, upload: bytes, bodies: Sequence[bytes]) -> None:
        """See `Transport`."""
        path = api.BATCHES.format(vault=vault_id.hex(), upload=upload.hex())
        body, content_type = join_bundle(bodies), api.BATCHES_CONTENT_TYPE
        await self._call("PUT", path, api.Staged, body, content_type=content_type)

    async def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        """See `Transport`; an answer that ends early or runs over raises, never pads."""
        path = api.BLOCKS.format(vault=vault_id.hex())
        async with _in_time(ANSWER_BYTES):
            response = await self._open("POST", path, to_bytes(request), api.CONTENT_TYPE)
        try:
            _expect_type(response, api.BLOCKS_CONTENT_TYPE)
            for size in sizes:
                async with _in_time(size):
                    head = await _exactly(response, api.LENGTH_BYTES)
                    if int.from_bytes(head, "big") != size:
                        raise ManifestMismatch(
                            "the server sent a block of another length than listed"
                        )
                    block = await _exactly(response, size)
                yield block
            async with _in_time(1):
                if await _read(response, 1):
                    raise LimitExceeded("the server sent more than it was asked for")
        finally:
            response.close()

    async def _call(
        self,
        method: str,
        path: str,
        answer: type[T],
        body: bytes | None = None,
        *,
        content_type: str = api.CONTENT_TYPE,
        cap: int = ANSWER_BYTES,
    ) -> T:
        for attempt in range(ATTEMPTS):
            try:
                async with _in_time(cap + len(body or b"")):
                    response = await self._open(method, path, body, content_type)
                    try:
                        _expect_type(response, api.CONTENT_TYPE)
                        encoded = await _all(response, cap)
                    finally:
                        response.release()
                return from_bytes(answer, encoded, max_bytes=cap)
            except Unreachable:
                if attempt == ATTEMPTS - 1:
                    raise
            except Refused as refused:
                if refused.refusal not in _RETRY_CODES or attempt == ATTEMPTS - 1:
                    raise
            await asyncio.sleep(PAUSE_SECONDS * 2**attempt)
        raise AssertionError("unreachable")

    async def _open(
        self, method: str, path: str, body: bytes | None, content_type: str
    ) -> aiohttp.ClientResponse:
        """Send one request, signed anew; return a success whose body is still unread."""
        await self._renew()
        url = self._base + path
        headers = {"Content-Type": content_type} if body else {}
        if self._signer is not None:
            headers = sign_request(
                method, url, body, content_type, self._signer.key, self._signer.keyid, self._clock()
            )
        try:
            response = await self._http().request(
                method,
                URL(url, encoded=True),
                data=None if body is None else io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
            )
            if response.status == 200:
                return response
            try:
                told = await _all(response, ANSWER_BYTES)
                raise _refusal(response.status, told, self._clock())
            finally:
                response.release()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=client_ssl_context(self._pin), limit=8),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers={"User-Agent"},
            )
            # aiohttp would send some requests again as they are; here a retry is signed anew.
            self._session._retry_connection = False
        return self._session

    def _unreachable(self, error: BaseException) -> SealroomError:
        pin_error = as_pin_error(error)
        if pin_error is not None:
            return pin_error
        host = urlsplit(self._base).netloc
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return Unreachable(
                f"the certificate of {host} is not one that this machine trusts",
                hint="Give the server's pin with --pin; 'sealroom serve' prints it.",
            )
        port = "" if urlsplit(self._base).port else " Without a port it is 443."
        return Unreachable(
            f"could not reach {host}", hint=f"Is the server running, and the address right?{port}"
        )


def _refusal(status: int, body: bytes, now: float) -> SealroomError:
    try:
        told = from_bytes(api.ErrorBody, body, max_bytes=ANSWER_BYTES)
    except SealroomError:
        return _no_server_of_ours(status)
    if status >= 500 and told.code not in _FOR_PEOPLE:
        return Unreachable(f"the server failed: {quoted(told)}", hint=hint_of(told))
    return refused(told, now)


def _no_server_of_ours(status: int) -> Unreachable:
    return Unreachable(
        f"the answer was no sealroom server's (HTTP {status})",
        hint="Is the address right? A proxy in between may have answered.",
    )


def _expect_type(response: aiohttp.ClientResponse, content_type: str) -> None:
    if response.content_type != content_type:
        raise _no_server_of_ours(response.status)


@contextlib.asynccontextmanager
async def _in_time(size: int) -> AsyncGenerator[None, None]:
    """Bound how long a message of so many bytes may take; a drip that never pauses ends too."""
    try:
        async with asyncio.timeout(WAIT_SECONDS + size / LEAST_RATE):
            yield
    except TimeoutError as error:
        raise Unreachable("the server took too long", hint="Try again later.") from error


async def _read(response: aiohttp.ClientResponse, size: int) -> bytes:
    try:
        return await response.content.read(size)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unreachable("the connection broke in the middle of an answer") from error


async def _exactly(response: aiohttp.ClientResponse, size: int) -> bytes:
    try:
        return await response.content.readexactly(size)
    except (asyncio.IncompleteReadError, aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unreachable("the connection broke in the middle of an answer") from error


async def _all(response: aiohttp.ClientResponse, cap: int) -> bytes:
    pieces: list[bytes] = []
    total = 0
    while piece := await _read(response, 1 << 16):
        total += len(piece)
        if total > cap:
            raise LimitExceeded("the server's answer is larger than any should be")
        pieces.append(piece)
    if response.content_length is not None and response.content_length != total:
        raise Unreachable("the connection broke in the middle of an answer")
    return b"".join(pieces)
