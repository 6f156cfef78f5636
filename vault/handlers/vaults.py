"""Creating vaults."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.acts import Genesis, parse_envelope
from protocol.api import CreateVault
from protocol.errors import MalformedMessage
from protocol.limits import LIMITS
from vault.handlers.calls import Call, Reply, message, parsed
from vault.service import VaultService


def owner_keys(call: Call) -> Mapping[bytes, bytes]:
    """Return the only key that may sign this request: that of the owner in the genesis.

    Raises:
        MalformedMessage: the body holds no genesis.
    """
    _, act = parse_envelope(parsed(CreateVault, call, LIMITS.genesis_bytes).genesis)
    if not isinstance(act.payload, Genesis):
        raise MalformedMessage("a vault begins with its genesis")
    owner = act.payload.owner.identity
    return {owner.member_id: owner.signing_key}


async def create(service: VaultService, call: Call) -> Reply:
    """Answer `POST /v1/vaults`."""
    asked = parsed(CreateVault, call, LIMITS.genesis_bytes)
    return message(await service.create_vault(call.keyid, asked))
