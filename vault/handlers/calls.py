"""What a handler is given and what it returns: no transport is named in either."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from protocol.api import CONTENT_TYPE
from protocol.wire import from_bytes, to_bytes
from vault.service import VaultService

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, authenticated unless its route needs no key.

    `ids` and `numbers` are what the path and the query name, exactly those of the route;
    `length` is what its head says of its body; `keyid` is who signed it, `request` the hash of
    what was signed (both empty without a key).
    """

    ids: Mapping[str, bytes]
    numbers: Mapping[str, int]
    length: int = 0
    keyid: bytes = b""
    request: bytes = b""
    body: bytes = field(default=b"", repr=False)

    @property
    def vault(self) -> bytes:
        """The id of the vault in the path."""
        return self.ids["vault"]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of status 200: its type, its exact length, and its pieces in order."""

    content_type: str
    length: int
    pieces: AsyncGenerator[bytes, None]


Handler = Callable[[VaultService, Call], Awaitable[Reply]]


def message(answer: object) -> Reply:
    """Return the reply that carries one encoded message."""
    return whole(CONTENT_TYPE, to_bytes(answer))


def whole(content_type: str, body: bytes) -> Reply:
    """Return the reply of these bytes."""
    return Reply(content_type, len(body), _once(body))


def parsed(cls: type[T], call: Call, most: int) -> T:
    """Read the message in a call's body; raises as `from_bytes` does."""
    return from_bytes(cls, call.body, max_bytes=most)


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
