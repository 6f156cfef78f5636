"""Sending answers: refusals whole, replies piece by piece and not at any pace."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

from aiohttp import web

from protocol.api import CONTENT_TYPE
from protocol.limits import KIB
from vault.bodies import Pace
from vault.handlers.calls import Reply
from vault.statuses import Refusal

PIECE_BYTES: Final = 256 * KIB
_HEADERS: Final = {
    # What the server runs on is nobody's business; what it answers is nobody's to keep.
    "Server": "sealroom",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


def refused(refusal: Refusal) -> web.Response:
    """Return the answer to what is refused. The connection goes on unless a body is left unread."""
    return web.Response(
        status=refusal.status,
        body=refusal.body,
        content_type=CONTENT_TYPE,
        headers=_HEADERS | dict(refusal.headers),
    )


async def send(request: web.BaseRequest, reply: Reply, pace: Pace) -> web.StreamResponse:
    """Send a reply of its exact length; memory holds one piece of it at a time.

    What fails before the first byte was sent is raised, to be answered as a refusal. After
    that the connection is cut: the reader sees that the answer is not whole.

    Raises:
        Exception: whatever the first piece raises.
    """
    response = web.StreamResponse(headers=_HEADERS)
    response.content_type = reply.content_type
    response.content_length = reply.length
    async with aclosing(reply.pieces) as pieces:
        piece = await anext(pieces, b"")
        try:
            await response.prepare(request)
            while piece:
                await _written(response, piece, pace)
                piece = await anext(pieces, b"")
        except ConnectionError:
            raise
        except Exception as error:
            _cut(request)
            raise ConnectionAbortedError("an answer could not be finished") from error
    return response


async def _written(response: web.StreamResponse, piece: bytes, pace: Pace) -> None:
    view = memoryview(piece)
    for start in range(0, len(view), PIECE_BYTES):
        part = view[start : start + PIECE_BYTES]
        async with asyncio.timeout(pace.seconds_for(len(part))):
            await response.write(part)


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
