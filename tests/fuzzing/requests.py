"""Hostile requests to a running server, made from its own table of routes.

There is no OpenAPI description to generate them from, on purpose. What reads such a one makes JSON;
here each body is one strict msgpack record, or framed blocks, and each request is signed over its
target and its body: all of it would be turned away by the first line of the door. So the routes
themselves are read, every request that needs it is signed by somebody who may sign, and bodies grow
from the corpus of the parser that will read them.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from protocol import api
from protocol.errors import SealroomError
from protocol.wire import from_bytes
from tests.fuzzing.changing import changed
from tests.fuzzing.running import corpus_of
from tests.servers import Answer, LiveVault, raw
from vault.routes import ROUTES, Route

BODIES: Final = {
    api.VAULTS: "create vault",
    api.ACTS: "submit act",
    api.BATCH: "batch",
    api.BATCHES: "bundle",
    api.BLOCKS: "fetch blocks",
}
DEADLINE_SECONDS: Final = 20
"""How long an answer may take: the server's patience with a body that does not come, and more."""
SILENCE_SECONDS: Final = 0.15
NUMBERS: Final = ("0", "1", "2", "7", "00", "-1", "+1", "", "a", "1e3", "9" * 16, "9" * 17, "%30")

Signer = Any


@dataclass
class Told:
    """What a server answered to hostile requests; `wrong` is what no server may do."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    dropped: int = 0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Told) -> None:
        """Count another round in."""
        self.requests += other.requests
        self.statuses += other.statuses
        self.dropped += other.dropped
        self.slowest = max(self.slowest, other.slowest)
        self.wrong += other.wrong

    def take(self, what: str, answer: Answer, seconds: float) -> None:
        """Write an answer down."""
        self.requests += 1
        self.statuses[answer.status] += 1
        self.slowest = max(self.slowest, seconds)
        if answer.status >= 500:
            self.wrong.append(f"{what}: {answer.status}")
        elif answer.status != 200:
            try:
                if not from_bytes(api.ErrorBody, answer.body).code:
                    self.wrong.append(f"{what}: no code")
            except SealroomError:
                self.wrong.append(f"{what}: {answer.status} with a body that says nothing")


@dataclass(frozen=True)
class Target:
    """A vault, one that the signers know nothing of, and who signs."""

    live: LiveVault
    other: bytes
    signers: tuple[Signer, ...]


async def ask_hostile(target: Target, draw: random.Random, told: Told) -> None:
    """Send one request that is signed, whatever is wrong with it otherwise."""
    route = draw.choice(ROUTES)
    path = _path(route, target, draw)
    body, kind = _body(route, draw)
    method = (
        draw.choice(("GET", "POST", "PUT", "DELETE")) if not draw.randrange(12) else route.method
    )
    signer = draw.choice(target.signers)
    asker = target.live.asker
    assert asker is not None
    started = time.monotonic()
    asked = asker.ask(signer, method, path, body, kind)
    try:
        answer = await asyncio.wait_for(asked, DEADLINE_SECONDS)
    except TimeoutError:
        told.wrong.append(f"{method} {path}: no answer in {DEADLINE_SECONDS} s")
        return
    except SealroomError:
        return  # what the client itself refuses to sign never leaves it
    told.take(f"{method} {path}", answer, time.monotonic() - started)


def _path(route: Route, target: Target, draw: random.Random) -> str:
    live = target.live
    batches = list(live.blocks) or [bytes(16)]
    ids = {
        "vault": draw.choice(
            (live.vault_id, live.vault_id, live.vault_id, target.other, bytes(32))
        ),
        "upload": draw.choice((bytes(16), b"\x42" * 16, draw.choice(batches))),
        "batch": draw.choice((bytes(16), draw.choice(batches))),
    }
    path = route.template.format(**{name: value.hex() for name, value in ids.items()})
    names = sorted(route.query)
    if names and draw.randrange(12):
        valid = draw.randrange(2)
        values = ((name, draw.choice(NUMBERS[:4] if valid else NUMBERS)) for name in names)
        path += "?" + "&".join(f"{name}={value}" for name, value in values)
    if not draw.randrange(10):
        path = _bent(path, draw)
    return path


def _bent(path: str, draw: random.Random) -> str:
    at = draw.randrange(1, len(path) + 1)
    put = draw.choice(
        ("/", "//", "/../", "%2f", "%00", "?", "&from=1", "A", "0", ";", "/.", "%C0%AF")
    )
    return path[:at] + put + path[at + draw.randrange(3) :]


def _body(route: Route, draw: random.Random) -> tuple[bytes | None, str]:
    if route.body is None:
        return (None, api.CONTENT_TYPE) if draw.randrange(20) else (b"x", api.CONTENT_TYPE)
    pool = corpus_of(BODIES[route.template])
    body = draw.choice(pool) if not draw.randrange(10) else changed(pool, draw)
    kind = route.body.content_type if draw.randrange(20) else "application/json"
    return body or b"\xc0", kind


# --- what is no request at all, or two at once

_SECOND: Final = b"GET /v1/server HTTP/1.1\r\nHost: x\r\n\r\n"
_HEADS: Final = (
    b"GET /v1/server HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /v1/vaults HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.sealroom.v1+msgpack\r\n"
    b"Content-Length: 5\r\n\r\n12345",
    b"PUT /v1/vaults/%b/uploads/%b/batches/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    % (b"0" * 64, b"0" * 32, b"0" * 32),
)
_PIECES: Final = (
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"transfer-encoding: CHUNKED\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 0x5\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length:\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, close\r\n",
    b"Host: y\r\n",
    b"Trailer: a\r\n",
    b"Content-Encoding: gzip\r\n",
    b" folded\r\n",
    b"\tfolded\r\n",
    b"A\x00: b\r\n",
    b"A: \x00\r\n",
    b"A: \xff\r\n",
    b"A:b\n",
    b"\n",
    b"\r",
    b"A\r\n",
    b": b\r\n",
    b"A: " + b"a" * 8_300 + b"\r\n",
    b"A: a\r\n" * 70,
    b"Cookie: " + b"a=b; " * 900 + b"\r\n",
    b"Signature: sig=::\r\n",
    b"Signature-Input: sig=()\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"1;" + b"a" * 900 + b"\r\n",
    b"HTTP/0.9",
    b" HTTP/1.1 HTTP/1.1",
    b"\x16\x03\x01",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


def hostile_bytes(draw: random.Random) -> bytes:
    """Return what a proxy and a server could read as two things, or nobody as anything."""
    made = bytearray(draw.choice(_HEADS))
    for _ in range(draw.choice((1, 1, 2, 3))):
        lines = [found.end() for found in re.finditer(rb"\r\n", bytes(made))] or [0]
        anywhere = draw.randrange(len(made) + 1)
        at = anywhere if not draw.randrange(4) else draw.choice(lines)
        made[at : at + draw.choice((0, 0, 0, 1, 2))] = draw.choice(_PIECES)
    return bytes(made) + draw.choice((b"", _SECOND, b"0\r\n\r\n" + _SECOND))


async def say_hostile(url: str, pin: bytes, draw: random.Random, told: Told) -> None:
    """Send one connection's worth of bytes; whatever comes back is a refusal, or an honest answer.

    A server whose answers are more than the requests that everybody would read there has taken
    a second request out of the first.
    """
    said = hostile_bytes(draw)
    got = b""
    async with raw(url, pin) as (reader, writer):
        writer.write(said)
        while True:
            try:
                piece = await asyncio.wait_for(reader.read(65_536), SILENCE_SECONDS)
            except (TimeoutError, OSError):
                break
            if not piece:
                break
            got += piece
    statuses = [int(found[1]) for found in _STATUS.finditer(got)]
    told.requests += 1
    told.dropped += not statuses
    told.statuses.update(statuses)
    most = said.count(b" HTTP/1.1\r\n") + said.count(b" HTTP/1.1\n")
    if any(status >= 500 for status in statuses):
        told.wrong.append(f"{said!r}: {statuses}")
    if statuses.count(200) > most or len(statuses) > most + 1:
        told.wrong.append(f"{said!r}: {len(statuses)} answers")
