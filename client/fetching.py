"""Fetching sealed blocks, in bounded requests (SPEC section 10.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from client.columns import Cells
from client.crypto.cells import open_block
from client.errors import Unreachable
from client.session import Session
from protocol.api import FetchBlocks, WantedBatch
from protocol.blocks import BlockRef, Manifest, verify_block
from protocol.errors import IntegrityError, ManifestMismatch
from protocol.ledger.state import Collection
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
        ManifestMismatch: fewer or more blocks came than were asked for.
        Refused, Unreachable, MalformedMessage, LimitExceeded: as `Transport.fetch`.
    """
    for request in _requests(listed):
        at = 0
        for attempt in range(ATTEMPTS):
            try:
                async with aclosing(_stream(session, collection, request[at:])) as blocks:
                    async for block in blocks:
                        if at == len(request):
                            raise ManifestMismatch("the server sent more than the commit lists")
                        manifest, ref = request[at]
                        at += 1
                        yield manifest, ref, block
                if at < len(request):
                    raise ManifestMismatch("the server sent less than the commit lists")
                break
            except Unreachable:
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(PAUSE_SECONDS * 2**attempt)


def open_committed(
    key: bytes, where: Collection, manifest: Manifest, ref: BlockRef, block: bytes, varies: bool
) -> Cells:
    """Open one committed block; says whose doing it is where that fails (SPEC section 7).

    `varies` says whether its values have no fixed width.

    Raises:
        ManifestMismatch: it is not the block that was committed: the server's doing.
        IntegrityError: it is, and does not open: its writer's doing.
    """
    try:
        return open_block(
            key, where.class_of(ref.field), ref, manifest.batch_id, manifest.records, block, varies
        ).cells
    except IntegrityError:
        verify_block(ref, block)
        raise


def _stream(
    session: Session, collection: bytes, request: Sequence[Listed]
) -> AsyncGenerator[bytes, None]:
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
        if request and (size + ref.length > REQUEST_BYTES or len(request) >= LIMITS.fetch_blocks):
            yield request
            request, size = [], 0
        request.append((manifest, ref))
        size += ref.length
    if request:
        yield request
