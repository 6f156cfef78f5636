"""Sending acts."""

from __future__ import annotations

import asyncio

from protocol.api import ACT_BODY_BYTES, SubmitAct
from vault.handlers.calls import Call, Reply, message, parsed
from vault.service import VaultService


async def admit(service: VaultService, call: Call) -> None:
    """Refuse whoever has no act to send before the body is read."""
    await service.expect_author(call.vault, call.keyid, call.length)


async def submit(service: VaultService, call: Call) -> Reply:
    """Answer `POST .../acts`."""
    sent = await asyncio.to_thread(parsed, SubmitAct, call, ACT_BODY_BYTES)
    return message(await service.submit(call.vault, call.keyid, sent))
