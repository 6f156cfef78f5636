"""The server itself: who it is, and whether it is well."""

from __future__ import annotations

from vault.handlers.calls import Call, Reply, message, whole
from vault.service import VaultService


async def info(service: VaultService, call: Call) -> Reply:
    """Answer `GET /v1/server`."""
    return message(service.info())


async def health(service: VaultService, call: Call) -> Reply:
    """Answer `GET /healthz`: 200 while the store answers, is sound, and has room."""
    await service.check_health()
    return whole("application/json", b'{"status":"ok"}')
