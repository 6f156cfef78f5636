"""Reading a request's body: only of the declared type and length, and not at any pace (D3, D5)."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from protocol.errors import LimitExceeded, MalformedMessage
from vault.config import Config
from vault.routes import Body
from vault.statuses import NoLength, TooSlow, WrongContentType

_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,15}")


class Incoming(Protocol):
    """What bytes arrive through: some of them, or none at the end."""

    async def readany(self) -> bytes:
        """Wait for bytes."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How slowly bytes may travel, either way."""

    deadline_seconds: float
    grace_seconds: float
    bytes_per_second: int

    @classmethod
    def of(cls, config: Config) -> Pace:
        """Return what the operator allows."""
        return cls(
            config.body_deadline_seconds,
            config.body_grace_seconds,
            config.body_bytes_per_second,
        )

    def seconds_for(self, size: int) -> float:
        """Return how long so many bytes may take."""
        return self.grace_seconds + size / self.bytes_per_second

    def next_by(self, started: float, received: int) -> float:
        """Return until when a next byte must have come, having received so many."""
        return started + min(self.deadline_seconds, self.seconds_for(received))


def declared_length(headers: Mapping[str, str], takes: Body | None) -> int:
    """Return how many bytes of body a request declares, as its route allows; 0 for none.

    Decided by the head alone, so that nothing of a body is read that will not be used.

    Raises:
        WrongContentType: compressed, or another type than the route takes.
        NoLength: a body that comes in chunks, or of a length that is no number.
        LimitExceeded: longer than the route takes.
        MalformedMessage: a body where none is taken, or none where one is.
    """
    if "Content-Encoding" in headers:
        raise WrongContentType("a body is sent as it is, without a content encoding")
    text = headers.get("Content-Length", "0")
    if "Transfer-Encoding" in headers or not _LENGTH.fullmatch(text):
        raise NoLength("a body's length is declared in Content-Length before it begins")
    length = int(text)
    if takes is None:
        if length:
            raise MalformedMessage("this path takes no body")
        return 0
    if "Content-Length" not in headers:
        raise NoLength("this path takes a body, and its length comes first")
    if headers.get("Content-Type") != takes.content_type:
        raise WrongContentType(f"this path takes {takes.content_type}")
    if not length:
        raise MalformedMessage("this path takes a body")
    if length > takes.most:
        raise LimitExceeded(f"a body of {length} bytes, this path takes at most {takes.most}")
    return length


async def read_body(incoming: Incoming, length: int, pace: Pace) -> tuple[bytes, bytes | None]:
    """Read a body of exactly the declared length, and return it with its SHA-256.

    Raises:
        TooSlow: not all there by the deadline, or slower than the least rate after the grace.
        MalformedMessage: it ended early.
    """
    loop = asyncio.get_running_loop()
    started, received = loop.time(), 0
    chunks: list[bytes] = []
    digest = hashlib.sha256()
    while received < length:
        try:
            async with asyncio.timeout_at(pace.next_by(started, received)):
                chunk = await incoming.readany()
        except TimeoutError:
            raise TooSlow("the body came too slowly", hint="Send it again.") from None
        if not chunk:
            raise MalformedMessage("the body ended early")
        received += len(chunk)
        digest.update(chunk)
        chunks.append(chunk)
    return b"".join(chunks), digest.digest() if received else None
