"""Uploading batches ahead of the commit that shows them."""

from __future__ import annotations

from protocol.blocks import split_bundle
from vault.handlers.calls import Call, Reply, message
from vault.service import VaultService


async def admit(service: VaultService, call: Call) -> None:
    """Refuse an upload before its body is read."""
    await service.expect_uploader(call.vault, call.keyid, call.ids["upload"])


async def stage(service: VaultService, call: Call) -> Reply:
    """Answer `PUT .../uploads/ID/batches/ID`: the batch that is stored now, or was already."""
    ids = (call.ids["upload"], call.ids["batch"])
    return message(await service.stage(call.vault, call.keyid, *ids, call.body))


async def stage_several(service: VaultService, call: Call) -> Reply:
    """Answer `PUT .../uploads/ID/batches`: the batches that are stored now, all of them."""
    bodies = split_bundle(call.body)
    return message(await service.stage_several(call.vault, call.keyid, call.ids["upload"], bodies))


async def staged(service: VaultService, call: Call) -> Reply:
    """Answer `GET .../uploads/ID`: every batch of the upload that is stored."""
    return message(await service.staged(call.vault, call.keyid, call.ids["upload"]))
