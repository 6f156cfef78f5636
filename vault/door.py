"""The server's door: from a request's bytes to a call, and from what became of it to an answer.

What is refused is refused as early as it can be told, and what strangers learn is the same
whatever they ask for:

(1) the path and method are of this interface, the query is the route's, the body's type and
    length are the route's, by the head alone;
(2) the request is signed by a key that the vault knows, and was not used before; whoever is
    not known gets the answer of a vault that is not there;
(3) the key has not asked too often, where an act or a fetch counts as several requests;
(4) what the head shows to be no use is refused before the body is read, and so is what would
    make the log longer than one member may in a day;
(5) the body came in time, and is the one that was signed.

Only then the handler is called. Every answer but a success is an `ErrorBody`.

Creating a vault is the one request whose key is in its body. That body is short, whoever does
not show the server's token has nothing of it parsed, and all others together have few parsed a
second, in another thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from http import HTTPMethod
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from protocol import api
from protocol.errors import (
    IntegrityError,
    LimitExceeded,
    RateLimited,
    Unauthenticated,
)
from protocol.limits import LIMITS, MIB
from protocol.requests import VerifiedHead
from vault.allowance import LEAVES, Allowance
from vault.answers import refused, send
from vault.auth import ReplayGuard, RequestParts, Stranger, authenticate, authenticate_head
from vault.bodies import Pace, declared_length, read_body
from vault.callers import not_found
from vault.config import Config
from vault.handlers.calls import Call, Reply
from vault.handlers.vaults import owner_keys
from vault.logs import Event, IdPrefix, Loggable, PathTemplate, RequestId, log_event
from vault.places import Places
from vault.rates import RateLimit
from vault.routes import ROUTES, Route, SignedBy, route_of
from vault.service import VaultService
from vault.statuses import refusal_of

LARGE_BODY: Final = MIB
"""Bodies above this wait for one of a few places, so that memory is bounded."""
ALL_STRANGERS: Final = b""
"""The one bucket from which creating vaults is paid, whoever asks."""
_OTHER_PATH: Final = PathTemplate("/{other}")


@dataclass(slots=True)
class _Trace:
    """What the log may know of a request."""

    id: RequestId = field(default_factory=RequestId)
    started: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    path: PathTemplate = _OTHER_PATH
    vault: bytes | None = None
    member: bytes | None = None

    def log(self, method: str, error: BaseException | None, status: int, size: int) -> None:
        """Write the one line about this request."""
        known: dict[str, Loggable] = {"request": self.id, "path": self.path}
        if method in HTTPMethod.__members__:
            known["method"] = HTTPMethod[method]
        if self.vault is not None:
            known["vault"] = IdPrefix.of(self.vault)
        if self.member is not None:
            known["member"] = IdPrefix.of(self.member)
        if error is not None:
            known["error"] = type(error)
        event = Event.REQUEST if error is None else Event.REQUEST_REFUSED
        if status == 500:
            event = Event.INTERNAL_ERROR
        ms = int((asyncio.get_running_loop().time() - self.started) * 1_000)
        log_event(event, status=status, bytes=size, ms=ms, **known)


class Door:
    """Answers every request of one server; `clock` gives unix seconds."""

    def __init__(
        self,
        service: VaultService,
        config: Config,
        guard: ReplayGuard,
        clock: Callable[[], float],
    ) -> None:
        self._service = service
        self._guard = guard
        self._clock = clock
        self._pace = Pace.of(config)
        self._authorities = frozenset(config.authorities) or None
        self._rates = RateLimit(config.requests_per_second, config.request_burst)
        self._costs = {
            path: min(cost, config.request_burst)
            for path, cost in ((api.ACTS, config.act_cost), (api.BLOCKS, config.fetch_cost))
        }
        self._allowance = Allowance(config.acts_per_day)
        self._creates = RateLimit(config.creates_per_second, config.create_burst)
        # Strangers' requests get a guard of their own: they must not fill the members', nor
        # move the time that it keeps across restarts. This one forgets everything at a restart,
        # and may: creating a vault again creates nothing, and is answered as the first time.
        self._creation_guard = ReplayGuard(LIMITS.request_skew_seconds, 0)
        self._under_way: set[RequestHandler] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        # Each route has places of its own, so that uploads cannot keep acts waiting.
        self._places = {route.template: Places(config.concurrent_uploads) for route in ROUTES}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; whatever happens, one line is logged and no detail of a bug told."""
        self._under_way.add(request.protocol)
        self._idle.clear()
        try:
            response = await self._answered(request)
        finally:
            self._under_way.discard(request.protocol)
            if not self._under_way:
                self._idle.set()
        if self._draining:
            response.force_close()
        return response

    def answers(self, connection: RequestHandler) -> bool:
        """Say whether a connection's request is being answered."""
        return connection in self._under_way

    async def drain(self, seconds: float) -> None:
        """Wait for the requests under way, bodies that are still coming included.

        From now on each connection ends with the answer that it waits for.
        """
        self._draining = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        trace = _Trace()
        try:
            reply = await self._reply(request, trace)
            response = await send(request, reply, self._pace)
        except ConnectionError as error:
            trace.log(request.method, error.__cause__ or error, 0, 0)
            raise
        except Exception as error:
            refusal = refusal_of(error, self._service.now())
            trace.log(request.method, error, refusal.status, len(refusal.body))
            return refused(refusal)
        trace.log(request.method, None, 200, reply.length)
        return response

    async def _reply(self, request: web.BaseRequest, trace: _Trace) -> Reply:
        # (1)
        path, asked, query = request.raw_path.partition("?")
        route, ids = route_of(request.method, path)
        trace.path, trace.vault = route.path, ids.get("vault")
        numbers = route.numbers(query if asked else None)
        length = declared_length(request.headers, route.body)
        call = Call(ids, numbers, length)
        if route.signed_by is SignedBy.NOBODY:
            return await route.handler(self._service, call)
        if route.signed_by is SignedBy.OWNER:
            call = await self._from_owner(request, call, length)
            trace.member = call.keyid
            return await route.handler(self._service, call)
        # (2)
        head = self._head(request, await self._service.keys(call.vault))
        call = replace(call, keyid=head.signature.keyid)
        trace.member = call.keyid
        # (3)
        cost = self._costs.get(route.template, 1)
        self._rates.spend(call.vault + call.keyid, asyncio.get_running_loop().time(), cost)
        # (4)
        if route.admit is not None:
            await route.admit(self._service, call)
        if route.template in LEAVES:
            whose = await self._service.standing(call.vault, call.keyid)
            now = asyncio.get_running_loop().time()
            self._allowance.spend(route.template, call.vault, whose, now)
        # (5)
        async with self._place(route, call):
            call = await self._with_body(request, call, head, length)
            return await route.handler(self._service, call)

    def _place(self, route: Route, call: Call) -> AbstractAsyncContextManager[None]:
        if call.length <= LARGE_BODY:
            return nullcontext()
        return self._places[route.template].one(call.vault, call.keyid)

    async def _with_body(
        self, request: web.BaseRequest, call: Call, head: VerifiedHead, length: int
    ) -> Call:
        body, sha256 = await read_body(request.content, length, self._pace)
        try:
            verified = head.with_body(sha256)
        except IntegrityError:
            raise Unauthenticated("the request is not authenticated") from None
        return replace(call, body=body, request=verified.request_hash)

    def _head(self, request: web.BaseRequest, keys: Mapping[bytes, bytes]) -> VerifiedHead:
        try:
            return authenticate_head(
                _parts(request),
                keys.get,
                self._guard,
                self._clock(),
                authorities=self._authorities,
            )
        except Stranger:
            raise not_found() from None
        except LimitExceeded as error:
            raise _later(error) from None

    async def _from_owner(self, request: web.BaseRequest, call: Call, length: int) -> Call:
        """Authenticate a request whose key is in its body, which is short for that reason."""
        body, sha256 = await read_body(request.content, length, self._pace)
        self._service.expect_token(body)
        self._creates.spend(ALL_STRANGERS, asyncio.get_running_loop().time())
        call = replace(call, body=body)
        keys = await asyncio.to_thread(owner_keys, call)
        try:
            verified = authenticate(
                _parts(request),
                sha256,
                keys.get,
                self._creation_guard,
                self._clock(),
                authorities=self._authorities,
            )
        except LimitExceeded as error:
            raise _later(error) from None
        return replace(call, keyid=verified.signature.keyid, request=verified.request_hash)


def _parts(request: web.BaseRequest) -> RequestParts:
    return RequestParts(request.method, request.raw_path, tuple(request.headers.items()))


def _later(error: LimitExceeded) -> RateLimited:
    window = LIMITS.request_skew_seconds
    return RateLimited(str(error), retry_after=window, hint=f"Wait {window} s.")
