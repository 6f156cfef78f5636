"""Requests whose bodies do not come: whether the server waits for one, or answers its head."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from protocol.api import CONTENT_TYPE
from tests.hangs import HANGS_SECONDS
from tests.servers import LiveVault, head_of, raw
from vault import door as door_module
from vault.app import RunningServer
from vault.bodies import read_body


@contextmanager
def bodies_begun() -> Iterator[asyncio.Event]:
    """Give what is set as soon as a server in this process waits for a request's body."""
    begun = asyncio.Event()

    async def noted(*given: Any) -> tuple[bytes, bytes | None]:
        begun.set()
        return await read_body(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(door_module, "read_body", noted)
        yield begun


async def answered_by_the_head(
    server: RunningServer,
    live: LiveVault,
    who: Any,
    path: str,
    size: int = 9_000,
    *,
    method: str = "POST",
    content_type: str = CONTENT_TYPE,
) -> int | None:
    """Return the status with which a request is answered whose body never comes.

    None where the server waits for the body.
    """
    with bodies_begun() as begun:
        async with raw(server.url, server.pin) as (reader, writer):
            writer.write(head_of(server.url, who, method, path, bytes(size), content_type))
            answer = asyncio.ensure_future(reader.readline())
            waiting = asyncio.ensure_future(begun.wait())
            first, other = await asyncio.wait(
                (answer, waiting), timeout=HANGS_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for each in other:
                each.cancel()
            assert len(first) == 1, "neither, or both"
            return None if waiting in first else int(answer.result().split()[1])
