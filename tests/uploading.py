"""A table to upload, and servers that watch an upload or cut it off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.errors import Unreachable
from client.results.data import UploadResult
from client.vault import Vault
from protocol import api
from protocol.acts import Commit, Role, parse_envelope
from protocol.blocks import FieldClass
from tests.deals import Deal, a_deal, a_vault, honest, in_batches_of, joined, journal_of, rows
from tests.hangs import HANGS_SECONDS
from tests.in_process import ServiceTransport

GENERAL, SENSITIVE = FieldClass.GENERAL, FieldClass.SENSITIVE
# Two catalogs and four batches, so six requests that stage, and three acts.
TABLE = rows(20)
CLASSES = {"name": SENSITIVE}
OPTIONS = in_batches_of(5)


# --- fixtures, for modules whose tests share a vault


async def one_vault(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Vault]:
    """Give a vault that goes from test to test."""
    async with a_vault(tmp_path_factory.mktemp("vault")) as (_, vault):
        yield vault


def with_empty_journal(opened: Vault) -> Iterator[Vault]:
    """Give the shared vault, and leave nothing begun in its home."""
    yield opened
    opened.session.store._db.execute("DELETE FROM uploads")


def as_parquet(tmp_path: Path) -> Path:
    """Give the table as a file."""
    path = tmp_path / "customers.parquet"
    pq.write_table(TABLE, path)
    return path


def called_like_its_test(request: pytest.FixtureRequest) -> str:
    """Give a collection a name that no other test's has."""
    return str(request.node.name)


# --- uploads, and servers that watch


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


class Counting(Watched):
    """The honest server, which notes how many blocks it was asked for."""

    def __init__(self, vault: Vault) -> None:
        super().__init__(vault)
        self.fetched = 0

    async def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        async for block in super().fetch(vault_id, request, sizes):
            self.fetched += 1
            yield block


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


class Meanwhile(Watched):
    """The honest server; as soon as so many batches are staged, something else happens."""

    def __init__(self, vault: Vault, count: int, happens: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(vault)
        self.count = count
        self.happens = happens

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        await super().stage(vault_id, upload, batch, body)
        if len(self.stages) == self.count:
            await self.happens()


class Crowded(Watched):
    """The honest server, but slow; it notes how many batches were on their way at once.

    The first ones it takes when so many are there.
    """

    def __init__(self, vault: Vault, together: int) -> None:
        super().__init__(vault)
        self.on_the_way = self.most = 0
        self.together, self.there = together, asyncio.Event()

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        self.on_the_way += 1
        self.most = max(self.most, self.on_the_way)
        if self.most == self.together:
            self.there.set()
        async with asyncio.timeout(HANGS_SECONDS):
            await self.there.wait()
        await asyncio.sleep(0.002)
        await super().stage(vault_id, upload, batch, body)
        self.on_the_way -= 1


class Restless(Watched):
    """Before anything is staged, or anything after the first so many, keys are spoilt.

    Somebody gets to know the newest, and loses it, again and again.
    """

    def __init__(self, vault: Vault, admin: Vault, first: int = 0) -> None:
        super().__init__(vault)
        self.admin = admin
        self.first = first
        self.turn = asyncio.Lock()

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        async with self.turn:
            await self.admin.session.sync()
            known = self.admin.session.state.epochs.values()
            fresh = not any(each[-1].tainted for each in known) and len(self.stages) >= self.first
            if fresh:
                await self.admin.grant("Bo", classes=[SENSITIVE])
                await self.admin.withdraw_grant("Bo", classes=[SENSITIVE])
        if fresh:
            await asyncio.Event().wait()  # until this very flight is called off
        await super().stage(vault_id, upload, batch, body)


@asynccontextmanager
async def with_ada(directory: Path) -> AsyncIterator[tuple[Deal, Vault]]:
    """A deal that an admin who holds every key helps with."""
    async with (
        a_deal(directory) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN) as ada,
    ):
        yield deal, ada


def tasks_of_clients() -> set[asyncio.Task[Any]]:
    """Return what runs here, but for what a service in this process ends by itself."""
    theirs = ("Staging.", "Landing.")
    return {
        task
        for task in asyncio.all_tasks()
        if not getattr(task.get_coro(), "__qualname__", "").startswith(theirs)
    }
