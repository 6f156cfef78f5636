"""Fetching sealed blocks, in bounded requests (SPEC section 10.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Final

from client.errors import Unreachable
from client.session import Session
from protocol.api import FetchBlocks, WantedBatch
from protocol.blocks import BlockRef, Manifest
from protocol.limits import LIMITS, MIB

ATTEMPTS: Final = 4
PAUSE_SECONDS: Final = 0.5
REQUEST_BYTES: Final = min(LIMITS.fetch_bytes, 32 * MIB)

Listed = tuple[Manifest, BlockRef]


async def fetch_blocks(
    session: Session, collection: bytes, listed: Sequence[Listed]
) -> AsyncGenerator[tuple[Manifest, BlockRef, bytes], None]:
    """Yield the blocks of these manifest entries, in order.

    Each has the length its manifest lists; its hash is checked by whoever opens it. One
    request asks for up to 32 MiB, so that the server writes few observations; blocks are
    handed on as they come, so memory holds one. A connection that breaks is made anew a few
    times, from the block where it broke.

    Raises:
        Refused, Unreachable, MalformedMessage, LimitExceeded: as `Transport.fetch`.
    """
    for request in _requests(listed):
        at = 0
        for attempt in range(ATTEMPTS):
            try:
                async for block in _stream(session, collection, request[at:]):
                    manifest, ref = request[at]
                    at += 1
                    yield manifest, ref, block
                break
            except Unreachable:
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(PAUSE_SECONDS * 2**attempt)


def _stream(
    session: Session, collection: bytes, request: Sequence[Listed]
) -> AsyncIterator[bytes]:
    wanted: dict[bytes, list[int]] = {}
    for manifest, ref in request:
        wanted.setdefault(manifest.batch_id, []).append(ref.field)
    batches = tuple(WantedBatch(batch, tuple(fields)) for batch, fields in wanted.items())
    sizes = tuple(ref.length for _, ref in request)
    return session.transport.fetch(session.vault_id, FetchBlocks(collection, batches), sizes)


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
