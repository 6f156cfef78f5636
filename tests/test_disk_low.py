"""A disk that fills up: uploads leave room for what stops, removes and erases (SPEC 10.2, R3)."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from protocol import acts, api
from protocol.acts import Reason
from protocol.wire import from_bytes
from tests.casts import staged_cast
from tests.hangs import HANGS_SECONDS
from tests.heads import answered_by_the_head
from tests.servers import LiveVault, live_vault, running_server
from vault import app
from vault.logs import LOGGER_NAME, Event
from vault.storage.base import StorageDamaged, StorageFull
from vault.storage.sqlite_file import FILE_NAME

MIB = 1 << 20
UPLOAD = b"\x42" * 16
RESERVE = 256 * MIB


def said(caplog: pytest.LogCaptureFixture, event: Event) -> int:
    return [record.getMessage() for record in caplog.records].count(event.word)


async def healthy(live: LiveVault) -> tuple[int, str | None]:
    answer = await live.get(None, api.HEALTH)
    return answer.status, None if answer.status == 200 else answer.code


@pytest.mark.threat("R3")
async def test_uploads_leave_room_for_acts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        records = live.records(cast.collection)
        storage, room = server.service._storage, [RESERVE]
        monkeypatch.setattr(storage, "room", lambda: room[0])
        for stage in (live.stage, live.stage_several):
            refused = await stage(live.owner, UPLOAD, records)
            assert (refused.status, refused.code) == (507, StorageFull.code)
        assert said(caplog, Event.DISK_LOW) == 2
        # What frees space, and what stops somebody, goes on.
        wanted = (cast.batch.batch_id, (0,))
        assert (await live.fetch(cast["bidder"], cast.collection, wanted)).status == 200
        await live.pull()
        live.erase(live.owner, cast.collection, {cast.batch.batch_id: {1}})
        live.land(live.owner, acts.Freeze(Reason.BREACH))
        live.land(live.owner, acts.Unfreeze())
        await live.push()
        assert await healthy(live) == (200, None)
        room[0] -= 1
        server.service._healthy_at = 0  # which is asked for once a second
        assert await healthy(live) == (507, StorageFull.code)
        room[0] = RESERVE + 64 * MIB
        assert (await live.stage(live.owner, UPLOAD, records)).status == 200
        assert await healthy(live) == (200, None)


async def test_who_cannot_know_its_disk_takes_what_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        monkeypatch.setattr(server.service._storage, "room", lambda: None)
        assert (await live.stage(live.owner, UPLOAD, live.records(cast.collection))).status == 200


async def test_the_room_is_that_of_the_databases_disk(tmp_path: Path) -> None:
    async with live_vault(tmp_path, reserve_bytes=1 << 50) as (server, live):
        room = server.service._storage.room()
        assert room is not None
        assert 0 < room < 1 << 50
        answer = await live.get(None, api.HEALTH)
        assert (answer.status, answer.code) == (507, StorageFull.code)


# --- damage


def damage(data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as database, database:
        assert database.execute("DELETE FROM blocks WHERE field = 0").rowcount > 0


async def test_damage_is_unhealthy_until_it_is_gone(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        await staged_cast(live)
        assert await healthy(live) == (200, None)
        server.service._soundness._damaged = {live.vault_id: "a block is not there"}
        answer = await live.get(None, api.HEALTH)
        assert (answer.status, answer.code) == (503, StorageDamaged.code)
        told = from_bytes(api.ErrorBody, answer.body)
        # Anybody may ask, so nobody is told of whose vault.
        assert told.message == "something that is stored is damaged"
        await server.service.read_through()
        assert await healthy(live) == (200, None)


async def test_damage_is_told_to_whoever_sends_before_it_sends(tmp_path: Path) -> None:
    """A body that will be refused is megabytes that nobody needs, and a place of somebody's."""
    async with live_vault(tmp_path) as (server, live):
        put: dict[str, Any] = {"method": "PUT", "content_type": api.BATCHES_CONTENT_TYPE}
        asked: list[tuple[str, dict[str, Any]]] = [
            (live.at(api.ACTS), {}),
            (live.at(api.BATCHES, upload=UPLOAD), put),
        ]
        missing: dict[bytes | None, str] = {live.vault_id: "a block is not there"}
        for damaged, status in (({}, None), (missing, 503)):
            server.service._soundness._damaged = damaged
            for path, how in asked:
                assert await answered_by_the_head(server, live, live.owner, path, **how) == status
            # What is there is served on.
            log = live.at(api.LOG) + "?from=0"
            assert (await live.get(live.owner, log)).status == 200


async def test_what_was_sent_before_damage_was_found_is_not_taken_after_it(tmp_path: Path) -> None:
    """A body may be minutes on its way."""
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        sent = (live.owner.member_id, UPLOAD, [live.batch_body(live.records(cast.collection))])
        server.service._soundness._damaged = {live.vault_id: "a block is not there"}
        with pytest.raises(StorageDamaged, match="a block is not there"):
            await server.service.stage_several(live.vault_id, *sent)
        assert (await server.service.staged(live.vault_id, *sent[:2])).batches == ()
        server.service._soundness._damaged = {}
        assert len((await server.service.stage_several(live.vault_id, *sent)).batches) == 1


async def test_damage_is_not_told_again_every_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    async with live_vault(tmp_path) as (_, live):
        await staged_cast(live)
    damage(tmp_path)
    monkeypatch.setattr(app, "SWEEP_PAUSE_SECONDS", 0.01)
    caplog.set_level(logging.INFO, LOGGER_NAME)
    caplog.clear()
    async with running_server(tmp_path):
        async with asyncio.timeout(HANGS_SECONDS):
            while said(caplog, Event.STORAGE_FAILED) < 2:  # expiring, and sweeping
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert said(caplog, Event.STORAGE_FAILED) == 2
