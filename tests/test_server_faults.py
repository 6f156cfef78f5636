"""What the server does when its store fails, falls ahead, or was changed behind its back."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from protocol import acts, api
from protocol.errors import ContextMismatch, IntegrityError, NotFound, SealroomError
from protocol.ledger import act_leaf
from protocol.limits import LIMITS
from protocol.merkle import leaf_hash
from protocol.observations import OBSERVATION_LEAF, ObservationBody
from tests.casts import staged_cast
from tests.hangs import HANGS_SECONDS
from tests.remains import remains, vanish
from tests.servers import Answer, LiveVault, asking, live_vault, running_server
from vault import app
from vault.checkpoints import CheckpointSigner, SignedObservation
from vault.config import Config
from vault.service import HEALTH_SECONDS, VaultService
from vault.storage.base import (
    SidePart,
    SizeMoved,
    StorageFailed,
    StorageFull,
)
from vault.storage.sqlite import SqliteStorage
from vault.storage.sqlite_file import FILE_NAME
from vault.tls import CheckpointKey, load_or_create_checkpoint_key, load_or_create_token
from vault.unbroken import Unbroken
from vault.vaults import VaultShelf, _stored_wraps


def noop(live: LiveVault) -> bytes:
    return act_leaf(live.signed(live.owner, live.draft(live.owner, acts.Noop())))


async def log(live: LiveVault) -> api.LogPage:
    return (await live.get(live.owner, live.at(api.LOG) + "?from=0")).read(api.LogPage)


class Failing:
    """Stands in for one operation of a store, and fails before or after doing it."""

    def __init__(
        self, work: Callable[..., Awaitable[Any]], error: SealroomError, *, after: bool = False
    ) -> None:
        self.work, self.error, self.after = work, error, after
        self.calls = 0

    async def __call__(self, *values: Any, **named: Any) -> Any:
        self.calls += 1
        if self.calls > 1:
            return await self.work(*values, **named)
        if self.after:
            await self.work(*values, **named)
        raise self.error


@pytest.mark.threat("R3")
@pytest.mark.parametrize(
    ("error", "status"),
    [(StorageFull("the disk is full"), 507), (StorageFailed("the database failed"), 503)],
)
async def test_a_failing_store_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: SealroomError, status: int
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        storage, before = server.service._storage, await log(live)
        leaf = noop(live)
        works: tuple[Callable[[], Awaitable[Answer]], ...] = (
            lambda: live.submit(live.owner, leaf),
            lambda: live.fetch(cast["bidder"], cast.collection, (cast.batch.batch_id, (0,))),
        )
        for work in works:
            monkeypatch.setattr(storage, "append", Failing(storage.append, error))
            failed = await work()
            assert (failed.status, failed.code) == (status, error.code)
            assert (await log(live)).leaves == before.leaves
        assert (await live.submit(live.owner, leaf)).status == 200


async def test_an_unhealthy_store_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    async with live_vault(tmp_path, lambda: now) as (server, live):
        storage = server.service._storage
        failing = Failing(storage.stats, StorageFailed("the database failed"))
        monkeypatch.setattr(storage, "stats", failing)
        assert (await live.get(None, api.HEALTH)).status == 503
        for _ in range(5):
            assert (await live.get(None, api.HEALTH)).status == 200
        assert failing.calls == 2  # asked often, it asks the store rarely
        now += HEALTH_SECONDS
        assert (await live.get(None, api.HEALTH)).status == 200
        assert failing.calls == 3


@pytest.mark.threat("R12")
async def test_a_store_that_did_what_it_said_it_did_not_is_caught_up_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        storage, leaf = server.service._storage, noop(live)
        size = live.ledger.size
        error = StorageFailed("the database failed")
        monkeypatch.setattr(storage, "append", Failing(storage.append, error, after=True))
        assert (await live.submit(live.owner, leaf)).status == 503
        # the same act again is found, not appended twice
        again = (await live.submit(live.owner, leaf)).read(api.Submitted)
        assert again.index == size
        wanted = (cast.batch.batch_id, (0,))
        monkeypatch.setattr(storage, "append", Failing(storage.append, error, after=True))
        assert (await live.fetch(cast["bidder"], cast.collection, wanted)).status == 503
        answers = await asyncio.gather(
            *(live.fetch(cast["bidder"], cast.collection, wanted) for _ in range(5))
        )
        assert {answer.status for answer in answers} == {200}
        assert len((await log(live)).leaves) == size + 1 + 6


async def test_a_change_is_finished_even_if_nobody_waits_for_it(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        leaf, service = noop(live), server.service
        sent = api.SubmitAct(leaf[1:], ())
        asked = asyncio.create_task(service.submit(live.vault_id, live.owner.member_id, sent))
        while not service._unbroken._running:
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await service.close()
        assert len((await log(live)).leaves) == 2


@asynccontextmanager
async def nothing_unheard() -> AsyncIterator[None]:
    """Expect that nothing which fails meanwhile is left for asyncio to find and print."""
    loop, found = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: found.append(context))
    yield
    for _ in range(3):  # what is under way ends, then what waits for that
        await asyncio.sleep(0)
    gc.collect()
    assert found == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StorageFailed("the database failed"), ["storage_failed"]),
        (StorageFull("the disk is full"), ["storage_failed"]),
        (KeyError("a bug"), ["internal_error"]),
        (NotFound("a refusal"), []),
    ],
)
async def test_what_fails_and_nobody_waits_for_is_said_in_the_log(
    caplog: pytest.LogCaptureFixture, error: Exception, said: list[str]
) -> None:
    """As when whoever asked for a change hangs up before it fails."""
    unbroken, goes_on = Unbroken(), asyncio.Event()

    async def fails() -> None:
        await goes_on.wait()
        raise error

    async with nothing_unheard():
        asked = asyncio.create_task(unbroken.run(fails()))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        goes_on.set()
        while unbroken._running:
            await asyncio.sleep(0)
        with pytest.raises(type(error)):  # whoever waits is told, and no line is written
            await unbroken.run(fails())
    assert [record.getMessage() for record in caplog.records] == said


async def test_a_vault_that_cannot_be_loaded_is_told_to_whoever_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        shelf, goes_on = server.service._shelf, asyncio.Event()
        shelf.forget(await shelf.open(live.vault_id))

        async def fails(_: bytes) -> None:
            await goes_on.wait()
            raise StorageFailed("the database failed")

        monkeypatch.setattr(shelf, "verify", fails)
        async with nothing_unheard():
            gone, stays = (asyncio.create_task(shelf.open(live.vault_id)) for _ in range(2))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.sleep(0)
            goes_on.set()
            with pytest.raises(StorageFailed):
                await stays
        goes_on.clear()
        async with nothing_unheard():
            gone = asyncio.create_task(shelf.open(live.vault_id))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.sleep(0)
            del gone
            goes_on.set()
        assert shelf._loading == {}


async def test_a_fetch_that_fails_after_its_asker_left_is_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        service = server.service
        vault = await service._shelf.open(live.vault_id)
        wanted = api.FetchBlocks(cast.collection, (api.WantedBatch(cast.batch.batch_id, (0,)),))
        stranger, request = bytes(32), bytes(32)
        async with nothing_unheard():
            async with vault.lock:  # its observation waits for this
                gone = asyncio.create_task(service.fetch(live.vault_id, stranger, request, wanted))
                while not vault.waiting:
                    await asyncio.sleep(0)
                gone.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await gone
            await service._unbroken.finished()
            assert vault.waiting == []


class Stumbling:
    """Stands in for an operation of a store: fails some times, then does what it should."""

    def __init__(self, work: Callable[..., Awaitable[Any]], *errors: Exception) -> None:
        self.work, self.errors = work, list(errors)

    async def __call__(self, *values: Any) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return await self.work(*values)


@pytest.mark.threat("R4")
@pytest.mark.parametrize("which", ["sweep", "scour"])
async def test_what_is_to_be_deleted_is_deleted_whatever_kept_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    """A full disk, too: what is swept is written over, which takes room."""
    monkeypatch.setattr(app, "SWEEP_PAUSE_SECONDS", 0.01)
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        storage = server.service._storage
        full, failed, bug = StorageFull("full"), StorageFailed("failed"), KeyError("a bug")
        stumbling = Stumbling(getattr(storage, which), full, failed, bug)
        monkeypatch.setattr(storage, which, stumbling)
        live.land(live.owner, acts.RetireCollection(cast.collection, acts.Reason.RETENTION))
        await live.push()
        assert await vanish(tmp_path, live.blocks[cast.batch.batch_id])
        assert stumbling.errors == []
        said = [record.getMessage() for record in caplog.records]
        assert said.count("storage_failed") == 2
        assert said.count("internal_error") == 1


async def test_a_service_begins_with_what_was_left_to_delete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: VaultService) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(VaultService, "sweep", never)
        async with live_vault(tmp_path) as (_, live):
            cast = await staged_cast(live)
            live.land(live.owner, acts.RetireCollection(cast.collection, acts.Reason.RETENTION))
            await live.push()
    contents = live.blocks[cast.batch.batch_id]
    assert remains(tmp_path, contents)
    async with running_server(tmp_path):
        assert await vanish(tmp_path, contents)


async def test_a_failing_clean_up_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(app, "EXPIRY_PERIOD_SECONDS", 0.01)
    tried = asyncio.Event()

    async def expire(service: VaultService) -> None:
        if "storage_failed" in [record.getMessage() for record in caplog.records]:
            tried.set()
        raise StorageFailed("the database failed")

    monkeypatch.setattr(VaultService, "expire_staged", expire)
    async with running_server(tmp_path), asyncio.timeout(HANGS_SECONDS):
        await tried.wait()


async def test_what_commits_leave_out_is_deleted_with_what_expires(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        upload, shown, left_out = os.urandom(16), *(live.records(cast.collection) for _ in "ab")
        assert (await live.stage(live.owner, upload, left_out)).status == 200
        live.land(live.owner, acts.Commit(upload, cast.collection, 0, True, (shown,)))
        await live.push()
        assert remains(tmp_path, live.blocks[left_out.batch_id])
        await server.service.expire_staged()
        assert await vanish(tmp_path, live.blocks[left_out.batch_id])
        wanted = (shown.batch_id, (0, 1))
        assert (await live.fetch(live.owner, cast.collection, wanted)).status == 200


@pytest.mark.threat("S10")
async def test_an_answer_under_way_ends_when_its_vault_is_loaded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was loaded into before would hear of no removal."""
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        storage, admin = server.service._storage, cast["admin"]
        wanted = api.FetchBlocks(cast.collection, (api.WantedBatch(cast.batch.batch_id, (0, 1)),))
        _, pieces = await server.service.fetch(live.vault_id, admin.member_id, bytes(32), wanted)
        assert len([await anext(pieces), await anext(pieces)]) == 2
        await live.pull()
        error = StorageFailed("the database failed")
        monkeypatch.setattr(storage, "append", Failing(storage.append, error, after=True))
        leaf = live.leaf(live.owner, acts.Revoke(admin.member_id, acts.Reason.LEFT))
        assert (await live.submit(live.owner, leaf)).status == 503  # though it landed
        assert (await live.submit(live.owner, leaf)).status == 200
        with pytest.raises(StorageFailed, match="loaded anew"):
            await anext(pieces)


async def test_a_damaged_block_is_not_served_as_if_whole(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        storage = server.service._storage
        assert isinstance(storage, SqliteStorage)
        both, first = (cast.batch.batch_id, (0, 1)), (cast.batch.batch_id, (0,))
        of_field = "id IN (SELECT content FROM blocks WHERE field = ?)"
        await storage._queue.sql(f"UPDATE contents SET content = x'00' WHERE {of_field}", 1)
        with pytest.raises(aiohttp.ClientError):  # cut off after the first
            await live.fetch(live.owner, cast.collection, both)
        wanted = api.FetchBlocks(cast.collection, (api.WantedBatch(cast.batch.batch_id, (0, 1)),))
        owner = live.owner.member_id
        _, pieces = await server.service.fetch(live.vault_id, owner, bytes(32), wanted)
        assert len([await anext(pieces), await anext(pieces)]) == 2
        with pytest.raises(StorageFailed, match="not as its manifest lists it"):
            await anext(pieces)
        await storage._queue.sql(f"DELETE FROM contents WHERE {of_field}", 0)
        gone = await live.fetch(live.owner, cast.collection, first)
        assert (gone.status, gone.code) == (503, "storage_damaged")


# --- changed behind its back


MADE: list[tuple[Path, LiveVault]] = []


async def stopped_vault(data_dir: Path, factory: pytest.TempPathFactory) -> LiveVault:
    """Put a vault with acts, sides and an observation there; its server was stopped."""
    if not MADE:
        made_in = factory.mktemp("stopped")
        async with live_vault(made_in) as (_, live):
            cast = await staged_cast(live)
            wanted = (cast.batch.batch_id, (0,))
            assert (await live.fetch(cast["bidder"], cast.collection, wanted)).status == 200
            await live.pull()
        MADE.append((made_in, live))
    made_in, live = MADE[0]
    shutil.copytree(made_in, data_dir, dirs_exist_ok=True)
    return live


def edit(data_dir: Path, statements: str, *values: object) -> None:
    with sqlite3.connect(data_dir / FILE_NAME) as database:
        for statement in statements.split(";"):
            database.execute(statement, values)
    database.close()


def flipped(data_dir: Path, table: str, column: str, where: str) -> None:
    """Change one bit of one value."""
    with sqlite3.connect(data_dir / FILE_NAME) as database:
        ((value,),) = database.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchall()
        changed = bytearray(value)
        changed[len(changed) // 2] ^= 1
        database.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (bytes(changed),))
    database.close()


async def asked_again(data_dir: Path, live: LiveVault) -> tuple[int, int]:
    """Start the server again; return the status of reading the log, and of an act."""
    async with (
        running_server(data_dir) as server,
        asking(server.url, server.pin) as asker,
    ):
        live.asker = asker
        read = await live.get(live.owner, live.at(api.LOG) + "?from=0")
        if read.status == 200:
            page = read.read(api.LogPage)
            assert live.checkpoint(page.checkpoint).root == live.ledger.tree.root()
        return read.status, (await live.submit(live.owner, noop(live))).status


BITS = {
    "an act": ("leaves", "leaf", "leaf_index = 3"),
    "an observation's leaf": ("leaves", "leaf", "observation IS NOT NULL"),
    "an observation": ("leaves", "observation", "observation IS NOT NULL"),
    "a wrap": (
        "contents",
        "content",
        "id = (SELECT content FROM sides WHERE leaf_index = 1 AND part = 0)",
    ),
    "a wrap's digest": ("sides", "digest", "leaf_index = 1 AND part = 0"),
}
EDITS = {
    "a longer log": "UPDATE vaults SET size = size + 1",
    "a last leaf that is told twice": "UPDATE vaults SET size = size + 1;"
    " UPDATE leaves SET leaf_index = leaf_index + 1 WHERE observation IS NOT NULL",
    "a shorter log": "UPDATE vaults SET size = size - 1",
    "a lost act": "DELETE FROM leaves WHERE leaf_index = 9",
    "a lost side": "DELETE FROM sides WHERE leaf_index = 1 AND part = 0",
    "a part that is not there": "UPDATE sides SET content = 0 WHERE leaf_index = 1 AND part = 0",
}


@pytest.mark.threat("S13")
@pytest.mark.parametrize("what", [*BITS, *EDITS, "nothing"])
async def test_no_checkpoint_is_signed_over_what_changed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, what: str
) -> None:
    live = await stopped_vault(tmp_path, tmp_path_factory)
    if what in BITS:
        flipped(tmp_path, *BITS[what])
    elif what in EDITS:
        edit(tmp_path, EDITS[what])
    expected = (200, 200) if what == "nothing" else (503, 503)
    assert await asked_again(tmp_path, live) == expected


async def test_another_vaults_log_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    async with live_vault(tmp_path / "one") as (_, _), live_vault(tmp_path / "two") as (_, two):
        pass
    for table in ("vaults", "leaves"):
        edit(tmp_path / "one", f"UPDATE {table} SET vault = ?", two.vault_id)
    async with (
        running_server(tmp_path / "one") as server,
        asking(server.url, server.pin) as asker,
    ):
        two.asker = asker
        answer = await two.get(two.owner, two.at(api.LOG) + "?from=0")
        assert (answer.status, answer.code) == (503, "storage_damaged")


def test_an_observation_is_the_one_that_was_signed() -> None:
    key = CheckpointKey(os.urandom(32))
    public = bytes(key.verify_key)
    vault, other = os.urandom(32), os.urandom(32)
    body = ObservationBody(vault, other, other, 1, bytes(16), (0,), (bytes(16),))
    made = SignedObservation.of(body, key)
    made.verify(made.leaf, vault, public)
    assert made.leaf[0] == OBSERVATION_LEAF
    assert SignedObservation.from_stored(made.stored) == made
    again = SignedObservation.of(body, key)
    assert again.leaf != made.leaf
    for leaf, of, by, error in (
        (again.leaf, vault, public, IntegrityError),
        (made.leaf, other, public, ContextMismatch),
        (made.leaf, vault, bytes(CheckpointKey(os.urandom(32)).verify_key), IntegrityError),
    ):
        with pytest.raises(error):
            made.verify(leaf, of, by)


def test_sides_whose_part_was_deleted_give_no_wraps_and_those_of_another_act_none() -> None:
    live = LiveVault()
    live.people()
    _, sides = live.leaves[-1]
    act = acts.parse_envelope(live.leaves[-1][0][1:])[1]
    kept = [SidePart(leaf_hash(part), part) for part in sides]
    assert len(_stored_wraps(act, kept)) == 1
    assert _stored_wraps(act, [SidePart(part.digest, None) for part in kept]) == {}
    with pytest.raises(ContextMismatch):
        _stored_wraps(act, kept[:1])
    # A part that reads well, and is another than its digest says.
    with pytest.raises(IntegrityError, match="not what its act's author signed"):
        _stored_wraps(act, [SidePart(part.digest, sides[1 - at]) for at, part in enumerate(kept)])


# --- the vaults in memory


async def test_vaults_are_let_go_of_and_loaded_again(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, loaded_vaults=1) as server,
        asking(server.url, server.pin) as asker,
    ):
        key = load_or_create_checkpoint_key(tmp_path)
        vaults = [LiveVault(server=key, asker=asker, token=server.token.reveal()) for _ in range(3)]
        for _ in range(2):
            for live in vaults:
                live.land(live.owner, acts.Noop())
                await live.push()
        for live in vaults:
            assert len((await log(live)).leaves) == 3
        shelf: VaultShelf = server.service._shelf
        assert len(shelf._recent) == 1


async def test_many_who_ask_at_once_cause_one_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (_, live):
        pass
    async with await SqliteStorage.open(tmp_path) as storage:
        key = load_or_create_checkpoint_key(tmp_path)
        token = load_or_create_token(tmp_path)
        config = Config(data_dir=tmp_path)
        service = VaultService(storage, key, token, config, time.time)
        await service.start()
        loads = 0
        size = storage.size

        async def counted(vault_id: bytes) -> int:
            nonlocal loads
            loads += 1
            return await size(vault_id)

        monkeypatch.setattr(storage, "size", counted)
        owner = live.owner.member_id
        pages = [service.log_page(live.vault_id, owner, 0) for _ in range(20)]
        assert len(await asyncio.gather(*pages)) == 20
        await service.warm()
        assert loads == 1
        assert await service.keys(os.urandom(32)) == {}
        for vault_id, keyid in ((os.urandom(32), owner), (live.vault_id, os.urandom(32))):
            with pytest.raises(NotFound):
                await service.log_page(vault_id, keyid, 0)
        # Of a vault that is not there the store was not asked.
        assert loads == 1


async def test_a_damaged_vault_does_not_keep_a_server_from_starting(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    live = await stopped_vault(tmp_path, tmp_path_factory)
    flipped(tmp_path, *BITS["an act"])
    async with running_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        other = LiveVault(server=live.server, asker=asker, token=server.token.reveal())
        await server.service.warm()
        await other.push()
        assert len((await log(other)).leaves) == 1


async def test_a_store_that_keeps_moving_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):

        async def outrun(*_: Any) -> None:
            raise SizeMoved(99)

        monkeypatch.setattr(server.service._storage, "append", outrun)
        refused = await live.submit(live.owner, noop(live))
        assert (refused.status, refused.code) == (409, "size_moved")
        assert len((await log(live)).leaves) == 1


def test_a_checkpoint_signer_signs_for_its_vault() -> None:
    live = LiveVault()
    key = CheckpointKey(bytes(live.server))
    signer = CheckpointSigner(key, live.vault_id)
    note = signer.note(live.ledger.tree, 1, live.now)
    assert signer.note(live.ledger.tree, 1, live.now) == note
    assert live.checkpoint(note).root == live.ledger.tree.root()


@pytest.mark.threat("R20")
def test_a_signer_goes_back_in_time_only_where_it_was_too_far_ahead() -> None:
    live = LiveVault()
    signer = CheckpointSigner(CheckpointKey(bytes(live.server)), live.vault_id)

    def signed(now: int) -> int:
        return live.checkpoint(signer.note(live.ledger.tree, 1, now)).time

    right, age = live.now, LIMITS.checkpoint_age_seconds
    assert [signed(right + lead) for lead in (0, 60, 0)] == [right, right + 60, right + 60]
    assert [signed(right + lead) for lead in (age, 0)] == [right + age, right + age]
    assert [signed(right + lead) for lead in (age + 1, 0)] == [right + age + 1, right]
