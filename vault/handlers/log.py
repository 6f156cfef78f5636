"""Reading a vault's log, and what the server observed."""

from __future__ import annotations

import asyncio

from vault.handlers.calls import Call, Reply, message
from vault.service import VaultService


async def page(service: VaultService, call: Call) -> Reply:
    """Answer `GET .../log?from=N`."""
    found = await service.log_page(call.vault, call.keyid, call.numbers["from"])
    return await asyncio.to_thread(message, found)


async def consistency(service: VaultService, call: Call) -> Reply:
    """Answer `GET .../consistency?from=M&to=N`."""
    sizes = (call.numbers["from"], call.numbers["to"])
    return message(await service.consistency(call.vault, call.keyid, *sizes))


async def observations(service: VaultService, call: Call) -> Reply:
    """Answer `GET .../observations?from=N`."""
    found = await service.observations(call.vault, call.keyid, call.numbers["from"])
    return await asyncio.to_thread(message, found)
