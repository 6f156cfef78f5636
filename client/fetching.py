"""Fetching sealed blocks, in bounded requests (SPEC section 10.4)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Final

from client.session import Session
from protocol.api import FetchBlocks, WantedBatch
from protocol.blocks import BlockRef, Manifest
from protocol.limits import LIMITS, MIB

REQUEST_BYTES: Final = min(LIMITS.fetch_bytes, 32 * MIB)

Listed = tuple[Manifest, BlockRef]


async def fetch_blocks(
    session: Session, collection: bytes, listed: Sequence[Listed]
) -> AsyncGenerator[tuple[Manifest, BlockRef, bytes], None]:
    """Yield the blocks of these manifest entries, in order.

    Each has the length its manifest lists; its hash is checked by whoever opens it. One
    request asks for up to 32 MiB, so that the server writes few observations; blocks are
    handed on as they come, so memory holds one.

    Raises:
        Refused, Unreachable, MalformedMessage, LimitExceeded: as `Transport.fetch`.
    """
    for request in _requests(listed):
        wanted: dict[bytes, list[int]] = {}
        for manifest, ref in request:
            wanted.setdefault(manifest.batch_id, []).append(ref.field)
        message = FetchBlocks(
            collection, tuple(WantedBatch(batch, tuple(f)) for batch, f in wanted.items())
        )
        sizes = tuple(ref.length for _, ref in request)
        stream = session.transport.fetch(session.vault_id, message, sizes)
        for manifest, ref in request:
            yield manifest, ref, await anext(stream)
        async for _ in stream:
            raise AssertionError("a transport yields as many blocks as it was asked for")


def _requests(listed: Sequence[Listed]) -> Iterator[list[Listed]]:
    """Cut into requests of bounded bytes and blocks, at least one block each."""
    request: list[Listed] = []
    size = 0
    for manifest, ref in listed:
        if request and (
            size + ref.length > REQUEST_BYTES or len(request) >= LIMITS.fetch_blocks
        ):
            yield request
            request, size = [], 0
        request.append((manifest, ref))
        size += ref.length
    if request:
        yield request
