"""Fetching blocks."""

from __future__ import annotations

import asyncio
from typing import Final

from protocol.api import BLOCKS_CONTENT_TYPE, FetchBlocks
from protocol.limits import KIB
from vault.handlers.calls import Call, Reply, parsed
from vault.service import VaultService

FETCH_BODY_BYTES: Final = 256 * KIB


async def admit(service: VaultService, call: Call) -> None:
    """Refuse whoever reads no blocks before the body is read."""
    await service.expect_reader(call.vault, call.keyid)


async def fetch(service: VaultService, call: Call) -> Reply:
    """Answer `POST .../blocks`."""
    wanted = await asyncio.to_thread(parsed, FetchBlocks, call, FETCH_BODY_BYTES)
    length, pieces = await service.fetch(call.vault, call.keyid, call.request, wanted)
    return Reply(BLOCKS_CONTENT_TYPE, length, pieces)
