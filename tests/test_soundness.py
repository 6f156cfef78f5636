"""Looking through a store: what is no damage, and what damage is not to cost (SPEC 10.4)."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from protocol import acts
from tests.casts import staged_cast
from tests.servers import asking, live_vault, running_server
from vault import door
from vault.storage.base import StorageDamaged, StorageFailed
from vault.storage.sqlite import SqliteStorage
from vault.storage.sqlite_file import FILE_NAME

UPLOAD = b"\x42" * 16


def edit(server: Path, statement: str) -> None:
    with closing(sqlite3.connect(server / FILE_NAME)) as database, database:
        assert database.execute(statement).rowcount > 0


async def test_an_erasure_takes_what_a_pending_re_encryption_made_of_the_block(
    tmp_path: Path,
) -> None:
    """The block that was made anew goes with the old one, and the part that names it stays."""
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        more = live.records(cast.collection)
        live.commit(live.owner, cast.collection, more)
        live.epochs(live.owner, (cast.collection, 0), (cast.collection, 1))
        await live.push()
        of_both = [
            live.moves(cast.collection, 0, 1, batches={each})
            for each in (cast.batch.batch_id, more.batch_id)
        ]
        for part, moves in enumerate(of_both):
            payload = acts.Reencrypt(UPLOAD, cast.collection, part, False, moves)
            live.land(live.owner, payload)
        await live.push()
        live.erase(live.owner, cast.collection, {cast.batch.batch_id: {1}})
        await live.push()
        await server.service.read_through()
        # What is still to be moved has to be there, as before.
        edit(tmp_path, f"DELETE FROM blocks WHERE batch = x'{more.batch_id.hex()}' AND field = 0")
        with pytest.raises(StorageDamaged):
            await server.service.read_through()


async def test_a_damaged_vault_refuses_whatever_is_sent_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        more = live.records(cast.collection)
        live.land(live.owner, acts.Noop())
        edit(tmp_path, "DELETE FROM blocks WHERE field = 0")
        with pytest.raises(StorageDamaged):
            await server.service.read_through()

        async def read(*_: Any) -> None:
            raise AssertionError("a body was read")

        monkeypatch.setattr(door, "read_body", read)
        for refused in (
            await live.stage(live.owner, UPLOAD, more),
            await live.stage_several(live.owner, UPLOAD, more),
            await live.submit(live.owner, *live.leaves[live.pushed]),
        ):
            assert (refused.status, refused.code) == (503, StorageDamaged.code)
        # One that was admitted just before is refused as well, each time by an error of its own.
        told = []
        for _ in range(2):
            with pytest.raises(StorageDamaged) as caught:
                await server.service.stage_several(live.vault_id, live.owner.member_id, UPLOAD, [])
            told.append(caught.value)
        assert told[0] is not told[1]


async def test_what_could_not_be_looked_at_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        service, storage = server.service, server.service._storage

        async def failing(*_: Any) -> None:
            raise StorageFailed("the database failed (SQLITE_CANTOPEN)")

        for name in ("check", "next_block", "uploads"):
            with monkeypatch.context() as patch:
                patch.setattr(storage, name, failing)
                with pytest.raises(StorageFailed, match="CANTOPEN"):
                    await service.read_through()
        assert (await live.stage(live.owner, UPLOAD, live.records(cast.collection))).status == 200
        await service.read_through()


async def test_damage_that_is_not_found_again_is_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that gave false bytes once, or a file that was put right beneath the server."""
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        records = live.records(cast.collection)
        edit(tmp_path, "UPDATE blocks SET field = field + 100")
        with pytest.raises(StorageDamaged):
            await server.service.read_through()
        assert (await live.stage(live.owner, UPLOAD, records)).status == 503
        edit(tmp_path, "UPDATE blocks SET field = field - 100")
        await server.service.read_through()
        assert (await live.stage(live.owner, UPLOAD, records)).status == 200


async def test_nothing_is_erased_before_the_store_was_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
    looking, going_on = asyncio.Event(), asyncio.Event()
    check = SqliteStorage.check

    async def slowly(storage: SqliteStorage) -> None:
        looking.set()
        await going_on.wait()
        await check(storage)

    monkeypatch.setattr(SqliteStorage, "check", slowly)
    async with (
        running_server(tmp_path) as server,
        asking(server.url, server.pin) as asker,
    ):
        live.asker = asker
        await looking.wait()
        live.erase(live.owner, cast.collection, {cast.batch.batch_id: {1}})
        erasing = asyncio.create_task(live.submit(live.owner, *live.leaves[live.pushed]))
        live.land(live.owner, acts.Noop())
        await asyncio.sleep(0.2)
        assert not erasing.done()
        going_on.set()
        assert (await erasing).status == 200
