"""Creating vaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from protocol.acts import Genesis, parse_envelope
from protocol.api import CreateVault
from protocol.errors import MalformedMessage
from protocol.limits import KIB
from vault.handlers.calls import Call, Reply, message, parsed
from vault.service import VaultService

GENESIS_BODY_BYTES: Final = 64 * KIB
"""Read from anybody, since the key that signs the request is inside; a genesis has about 2 KiB."""


def owner_keys(call: Call) -> Mapping[bytes, bytes]:
    """Return the only key that may sign this request: that of the owner in the genesis.

    Raises:
        MalformedMessage: the body holds no genesis.
    """
    _, act = parse_envelope(parsed(CreateVault, call, GENESIS_BODY_BYTES).genesis)
    if not isinstance(act.payload, Genesis):
        raise MalformedMessage("a vault begins with its genesis")
    owner = act.payload.owner.identity
    return {owner.member_id: owner.signing_key}


async def create(service: VaultService, call: Call) -> Reply:
    """Answer `POST /v1/vaults`."""
    asked = parsed(CreateVault, call, GENESIS_BODY_BYTES)
    return message(await service.create_vault(call.keyid, asked))
