"""A table to upload, and servers that watch an upload or cut it off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from client.errors import Unreachable
from client.results import UploadResult
from client.vault import Vault
from protocol import api
from protocol.acts import Commit, Role, parse_envelope
from protocol.blocks import FieldClass
from tests.deals import Deal, a_deal, honest, in_batches_of, joined, journal_of, rows
from tests.in_process import ServiceTransport

GENERAL, SENSITIVE = FieldClass.GENERAL, FieldClass.SENSITIVE
# Two catalogs and four batches, so six requests that stage, and three acts.
TABLE = rows(20)
CLASSES = {"name": SENSITIVE}
OPTIONS = in_batches_of(5)


async def uploaded(vault: Vault, table: Any, name: str = "customers") -> UploadResult:
    return await vault.upload(
        table, collection=name, classes=CLASSES, default=GENERAL, options=OPTIONS
    )


async def exact(vault: Vault, name: str = "customers", table: pa.Table = TABLE) -> None:
    """Demand that a collection is the table, once, and that no journal is left."""
    assert (await vault.read(name)).equals(table)
    where = await vault.collection(name)
    assert where.records == table.num_rows
    assert journal_of(vault) == (0, 0)
    named = [each.name for each in await vault.collections()]
    assert named.count(name) == 1


class Watched(ServiceTransport):
    """The honest server, which notes what was staged."""

    def __init__(self, vault: Vault) -> None:
        like = cast(ServiceTransport, honest(vault))
        self.service, self.keyid = like.service, like.keyid
        self.stages: list[tuple[bytes, bytes]] = []

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        await super().stage(vault_id, upload, batch, body)
        self.stages.append((upload, batch))


class Ending(Watched):
    """The honest server, one batch after the other, until so many are staged."""

    def __init__(self, vault: Vault, most: int) -> None:
        super().__init__(vault)
        self.most = most
        self.turn = asyncio.Lock()

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        async with self.turn:
            if len(self.stages) == self.most:
                raise Unreachable("the cable was cut")
            await super().stage(vault_id, upload, batch, body)


class CommitsUpTo(Watched):
    """The honest server until so many commits landed."""

    def __init__(self, vault: Vault, most: int) -> None:
        super().__init__(vault)
        self.most = most

    async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        if isinstance(parse_envelope(act.envelope)[1].payload, Commit):
            self.most -= 1
            if self.most < 0:
                raise Unreachable("the cable was cut")
        return await super().submit(vault_id, act)


@asynccontextmanager
async def with_ada(directory: Path) -> AsyncIterator[tuple[Deal, Vault]]:
    """A deal that an admin who holds every key helps with."""
    async with (
        a_deal(directory) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN) as ada,
    ):
        yield deal, ada
