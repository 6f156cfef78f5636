"""Fetching sealed blocks, in bounded requests (SPEC section 10.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import Final, NamedTuple

from client.columns import Cells
from client.crypto.cells import open_block
from client.errors import Refused, Unreachable
from client.session import Session
from protocol.api import FetchBlocks, WantedBatch
from protocol.blocks import BlockRef, verify_block
from protocol.errors import IntegrityError, ManifestMismatch, Moved
from protocol.ledger.contents import Batch, Collection
from protocol.limits import LIMITS, MIB

ATTEMPTS: Final = 4
PAUSE_SECONDS: Final = 0.5
REQUEST_BYTES: Final = min(LIMITS.fetch_bytes, 32 * MIB)

Listed = tuple[Batch, BlockRef]


async def fetch_blocks(
    session: Session, collection: bytes, listed: Sequence[Listed]
) -> AsyncGenerator[tuple[Batch, BlockRef, bytes], None]:
    """Yield the blocks of these manifest entries, in order.

    Each has the length its manifest lists; its hash is checked by whoever opens it. One
    request asks for up to 32 MiB, so that the server writes few observations; blocks are
    handed on as they come, so memory holds one. A connection that breaks is made anew a few
    times, from the block where it broke.

    An erasure or a re-encryption that landed since the entries were listed makes the server send
    other blocks; whether that is so, `refreshed` tells.

    Raises:
        ManifestMismatch: fewer, more or longer blocks came than were asked for, or the server
            says that it has others by now.
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
                        batch, ref = request[at]
                        at += 1
                        yield batch, ref, block
                if at < len(request):
                    raise ManifestMismatch("the server sent less than the commit lists")
                break
            except Refused as refused:
                if refused.refusal != Moved.code:
                    raise
                raise ManifestMismatch("a block was replaced while it was asked for") from refused
            except Unreachable as error:
                if error.waited or attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(PAUSE_SECONDS * 2**attempt)


class Arrived(NamedTuple):
    """The blocks of one batch that were asked for, each beside the manifest's entry."""

    batch: Batch
    blocks: tuple[tuple[BlockRef, bytes], ...]


async def fetch_batches(
    session: Session, collection: bytes, listed: Sequence[Listed]
) -> AsyncGenerator[Arrived, None]:
    """Yield what was listed one batch after the other; memory holds the blocks of one.

    It ends only once the server's answers have, where it may have sent more than it was asked
    for. Raises as `fetch_blocks`.
    """
    async with aclosing(fetch_blocks(session, collection, listed)) as stream:
        for _, its_blocks in groupby(listed, key=lambda each: each[0].id):
            arrived = [await anext(stream) for _ in its_blocks]
            yield Arrived(arrived[0][0], tuple((ref, block) for _, ref, block in arrived))
        await anext(stream, None)


async def refreshed(
    session: Session, collection: bytes, batches: Sequence[Batch], error: ManifestMismatch
) -> list[Batch]:
    """Return the batches as they are now, once other blocks came than they list.

    Raises:
        ManifestMismatch: the one given: nothing of them changed, or the log cannot be right, so
            the server sent false ones.
        Refused: records of them were erased, or the collection is gone: what was read is no
            longer what is there.
    """
    try:
        await session.sync_as_member()
    except IntegrityError as false_log:
        # Both are the server's doing, and an `IntegrityError` of what is read is its writer's.
        raise error from false_log
    now = as_known_now(session, collection, batches)
    if now == list(batches):
        raise error
    return now


def as_known_now(session: Session, collection: bytes, batches: Sequence[Batch]) -> list[Batch]:
    """Return the batches as the newest verified state has them.

    Raises:
        Refused: as `refreshed`.
    """
    where = session.state.collections.get(collection)
    known = {} if where is None else where.by_id()
    found = [known[batch.id] for batch in batches if batch.id in known]
    if [batch.erased for batch in found] != [batch.erased for batch in batches]:
        raise Refused(
            "records were erased while they were being read",
            code="changed",
            hint="Read them again.",
        )
    return found


def open_committed(
    key: bytes, where: Collection, batch: Batch, ref: BlockRef, block: bytes, varies: bool
) -> Cells:
    """Open one committed block; says whose doing it is where that fails (SPEC section 7).

    Cells that were erased come as nulls. `varies` says whether values have no fixed width.

    Raises:
        ManifestMismatch: it is not the block that was committed: the server's doing.
        IntegrityError: it is, and does not open: its writer's doing.
    """
    try:
        return open_block(
            key,
            where.class_of(ref.field),
            ref,
            batch.id,
            batch.manifest.records,
            block,
            varies,
            batch.erased,
        ).cells
    except IntegrityError:
        verify_block(ref, block)
        raise


def _stream(
    session: Session, collection: bytes, request: Sequence[Listed]
) -> AsyncGenerator[bytes, None]:
    wanted: dict[bytes, list[int]] = {}
    for each, ref in request:
        wanted.setdefault(each.id, []).append(ref.field)
    batches = tuple(WantedBatch(batch, tuple(fields)) for batch, fields in wanted.items())
    sizes = tuple(ref.length for _, ref in request)
    return session.transport.fetch(session.vault_id, FetchBlocks(collection, batches), sizes)


def _requests(listed: Sequence[Listed]) -> Iterator[list[Listed]]:
    """Cut into requests of bounded bytes and blocks, at least one block each."""
    request: list[Listed] = []
    size = 0
    for batch, ref in listed:
        if request and (size + ref.length > REQUEST_BYTES or len(request) >= LIMITS.fetch_blocks):
            yield request
            request, size = [], 0
        request.append((batch, ref))
        size += ref.length
    if request:
        yield request
