"""One bit of the server's database changes: somebody notices, and nothing false comes of it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from client import reencryption
from client.errors import Refused, Unreachable
from client.transport import Transport
from protocol import api
from protocol.ledger.contents import PendingMoves
from protocol.limits import LIMITS
from tests import rotting
from tests.deals import cheap_keyrings, honest, through
from tests.documents import short_chunks
from tests.hangs import HANGS_SECONDS
from tests.in_process import Lab, lab
from tests.liars import Liar, Lie
from tests.rotting import AWAITED, MISSED, Made, fate_of, stored, told
from tests.servers import running_server
from vault import app
from vault.logs import Event
from vault.service import VaultService
from vault.storage.base import NotStaged, StorageDamaged, StorageFailed
from vault.storage.sqlite_file import FILE_NAME

pytestmark = pytest.mark.asyncio(loop_scope="module")

FLIPS = int(os.environ.get("SEALROOM_FLIPS", "16"))
EVERYTHING = ["the log", "the table", "the document"] * 2 + ["what was uploaded after it"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Made]:
    with cheap_keyrings():
        yield await rotting.made(tmp_path_factory.mktemp("rot"))


# --- numbers that say what may be deleted


def edit(server: Path, statement: str) -> None:
    with closing(sqlite3.connect(server / FILE_NAME)) as database, database:
        assert database.execute(statement).rowcount == 1


def everything(server: Path) -> dict[str, list[object]]:
    """Return what is stored, and what is to go."""
    more = {"to go": "SELECT content FROM doomed", "contents": "SELECT id FROM contents"}
    return stored(server, MISSED | AWAITED | more)


def uploads(change: str, which: str) -> str:
    """Return what changes the first upload of a kind."""
    first = f"SELECT upload FROM uploads WHERE {which} ORDER BY upload LIMIT 1"
    return f"UPDATE uploads SET {change} WHERE upload = ({first})"


def of_uploads(columns: str, table: str, which: str) -> str:
    """Return what finds the first row of a table that is of an upload of a kind."""
    return f"SELECT {columns} FROM {table} JOIN uploads USING (upload) WHERE {which} LIMIT 1"


SHOWN, HELD, WAITING = "published = 1", "held = 1 AND published = 0", "held = 0 AND published = 0"
CONTENT = of_uploads("content", "blocks", SHOWN)
WRONG = {
    "what was committed waits to be": uploads("published = 0", SHOWN),
    "what waits was committed": uploads("published = 1", WAITING),
    "a part of a commit was never made": uploads("held = 0", HELD),
    "what waits is a part of a commit": uploads("held = 1", WAITING),
    "a part of a commit is another's": uploads("member = zeroblob(32)", HELD),
    "what waits is nobody's": uploads("member = zeroblob(32)", WAITING),
    "a batch of a commit is not relied on": "UPDATE batches SET relied = 0"
    f" WHERE batch = ({of_uploads('batch', 'batches', f'{HELD} AND relied = 1')})",
    "what is there is to go": f"INSERT INTO doomed {CONTENT}",
    "a block is another's": "UPDATE blocks SET digest = zeroblob(32)"
    f" WHERE (batch, field) = ({of_uploads('batch, field', 'blocks', SHOWN)})",
    "a block is cut off": f"UPDATE contents SET content = x'00' WHERE id = ({CONTENT})",
}


@pytest.mark.threat("R8")
@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_number_makes_the_server_delete_nothing(
    made: Made, tmp_path: Path, what: str
) -> None:
    server = tmp_path / "server"
    shutil.copytree(made.folder / "server", server)
    edit(server, WRONG[what])
    before = everything(server)
    async with lab(tmp_path, rotting.later) as opened:
        for work in (opened.service.expire_staged, opened.service.sweep):
            with pytest.raises(StorageFailed):
                await work()
    assert everything(server) == before


async def test_a_sound_store_has_deleted_what_it_should(made: Made, tmp_path: Path) -> None:
    server = tmp_path / "server"
    shutil.copytree(made.folder / "server", server)
    edit(server, uploads("last_active = 0", WAITING))
    before = everything(server)
    async with lab(tmp_path) as opened:
        await opened.service.expire_staged()
        await opened.service.sweep()
    after = everything(server)
    assert len(before["a batch that waits"]) == 3
    assert after["a batch that waits"] == after["to go"] == []
    assert len(after["contents"]) < len(before["contents"])
    assert all(after[each] == before[each] for each in MISSED)


# --- what a server does that found damage


def damaged(made: Made, tmp_path: Path) -> None:
    """Damage what nobody meets who reads."""
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    edit(tmp_path / "server", WRONG["a part of a commit is another's"])


async def test_a_damaged_vault_takes_nothing_more_and_gives_what_it_has(
    made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged(made, tmp_path)
    with cheap_keyrings(), short_chunks():
        async with lab(tmp_path) as opened:
            with pytest.raises(StorageDamaged):
                await opened.service.look_through()
            async with opened.home("seller").vault() as vault:
                await vault.session.sync()
                for work in (vault.heartbeat, lambda: rotting.upload(vault, tmp_path)):
                    with pytest.raises(Refused) as refused:
                        await work()
                    assert refused.value.refusal == StorageDamaged.code
                assert await vault.documents()
            await another_vault(opened)
    said = [
        record for record in caplog.records if record.getMessage() == Event.STORAGE_DAMAGED.word
    ]
    assert len(said) == 1


async def test_a_server_looks_before_it_takes_an_erasure(made: Made, tmp_path: Path) -> None:
    """It has found nothing yet when the first one comes."""
    damaged(made, tmp_path)
    before = everything(tmp_path / "server")
    with cheap_keyrings(), short_chunks():
        async with lab(tmp_path) as opened, opened.home("seller").vault() as vault:
            with pytest.raises(Refused) as refused:
                await vault.erase("customers", [12])
            assert refused.value.refusal == StorageDamaged.code
    after = everything(tmp_path / "server")
    kinds = set(before) - {"a leaf", "a vault"}  # a read was observed
    assert {each: after[each] for each in kinds} == {each: before[each] for each in kinds}


async def test_who_asks_for_a_block_that_is_not_there_is_told_of_damage(
    made: Made, tmp_path: Path
) -> None:
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    with closing(sqlite3.connect(tmp_path / "server" / FILE_NAME)) as database, database:
        assert database.execute("UPDATE blocks SET digest = zeroblob(32)").rowcount > 3
    with cheap_keyrings(), short_chunks():
        async with lab(tmp_path) as opened, opened.home("seller").vault() as vault:
            for work in (
                lambda: vault.read("customers"),
                lambda: vault.erase("customers", [12]),
            ):
                with pytest.raises(Refused, match="a block is not as its manifest lists it") as it:
                    await work()
                assert it.value.refusal == StorageDamaged.code


async def another_vault(opened: Lab) -> None:
    """Make a vault beside a damaged one."""
    made = await opened.home("other").create_vault(
        "https://localhost:8443", title="Other", name="Otto", token=opened.token
    )
    async with made:
        await made.heartbeat()


async def test_a_damaged_database_takes_no_vault_either(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    edit(tmp_path / "server", WRONG["what is there is to go"])
    with cheap_keyrings():
        async with lab(tmp_path) as opened:
            with pytest.raises(StorageDamaged):
                await opened.service.look_through()
            with pytest.raises(Refused) as refused:
                await another_vault(opened)
            assert len(await opened.service._storage.vault_ids()) == 1
    assert refused.value.refusal == StorageDamaged.code


async def test_nothing_is_committed_that_is_not_there_any_more(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    edit(
        tmp_path / "server",
        "UPDATE blocks SET digest = zeroblob(32) WHERE (batch, field) ="
        f" ({of_uploads('batch, field', 'blocks', WAITING)})",
    )
    with cheap_keyrings():
        async with lab(tmp_path) as opened, opened.home("seller").vault() as vault:
            with pytest.raises(Refused) as refused:
                await rotting.upload(vault, tmp_path)
            assert refused.value.refusal == NotStaged.code
            await vault.session.sync()
            assert vault.session.store.uploads.unfinished()
            assert "begun" not in [each.name for each in await vault.collections()]


EMPTIED = "UPDATE contents SET content = zeroblob(length(content)) WHERE id = ({})"
ROTTEN = {
    "a block": EMPTIED.format(CONTENT),
    "a part": EMPTIED.format("SELECT content FROM sides WHERE content IS NOT NULL LIMIT 1"),
    "a leaf": "UPDATE leaves SET leaf = zeroblob(length(leaf)) WHERE leaf_index = 4",
}


@pytest.mark.threat("R8")
@pytest.mark.parametrize("what", ROTTEN)
async def test_what_rots_while_the_server_runs_is_found_though_nobody_asks(
    made: Made, tmp_path: Path, what: str
) -> None:
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    async with lab(tmp_path) as opened:
        await opened.service.read_through()
        edit(tmp_path / "server", ROTTEN[what])
        await opened.service.look_through()  # by its structure nothing is missing
        with pytest.raises(StorageDamaged):
            await opened.service.read_through()
        with pytest.raises(StorageDamaged):
            await opened.service.sweep()


async def test_a_part_of_a_re_encryption_is_missed_as_a_part_of_a_commit_is(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(reencryption, "LIMITS", replace(LIMITS, act_moves=4))
    with cheap_keyrings():
        async with lab(tmp_path) as opened, opened.home("seller").vault() as vault:
            await vault.session.sync()
            pending = vault.session.state.pending.keys()

            class Once(Lie):
                async def submit(
                    self, honest: Transport, vault_id: bytes, act: api.SubmitAct
                ) -> api.Submitted:
                    if vault.session.believed.state.pending.keys() - pending:
                        raise Unreachable("the cable was cut")
                    return await honest.submit(vault_id, act)

            with through(vault, Liar(honest(vault), Once())), pytest.raises(Unreachable):
                await vault.rotate(collection="customers", reencrypt=True)
            await vault.session.sync()
            assert PendingMoves in map(type, vault.session.state.pending.values())
            await opened.service.read_through()
    edit(
        tmp_path / "server",
        "UPDATE made_anew SET relied = 0 WHERE (upload, batch) ="
        f" ({of_uploads('upload, batch', 'made_anew', f'{HELD} AND relied = 1')})",
    )
    async with lab(tmp_path) as opened:
        with pytest.raises(StorageFailed, match="not there"):
            await opened.service.sweep()


async def test_a_vault_that_is_loaded_anew_meanwhile_is_looked_at_as_it_is_now(
    made: Made, tmp_path: Path
) -> None:
    """Of one that fell behind its store nothing can be said."""
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    async with lab(tmp_path) as opened:
        shelf = opened.service._shelf
        (vault_id,) = shelf.ids()
        behind = await shelf.open(vault_id)
        async with behind.lock:
            looking = asyncio.create_task(opened.service.look_through())
            async with asyncio.timeout(HANGS_SECONDS):
                while not behind.lock._waiters:
                    await asyncio.sleep(0.01)
            behind._batches[bytes(16)] = next(iter(behind._batches.values()))  # never stored
            shelf.forget(behind)
        await looking
        assert await shelf.open(vault_id) is not behind


async def test_a_server_reads_through_its_store_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sealroom")
    monkeypatch.setattr(app, "READ_DELAY_SECONDS", 0)
    monkeypatch.setattr(app, "READ_PERIOD_SECONDS", 0)
    honest, again = VaultService.read_through, asyncio.Event()
    calls = 0

    async def counted(service: VaultService) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StorageFailed("the database failed")
        await honest(service)
        if calls == 3:
            again.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(VaultService, "read_through", counted)
    async with running_server(tmp_path), asyncio.timeout(HANGS_SECONDS):
        await again.wait()
    said = [record.getMessage() for record in caplog.records]
    assert said.count(Event.READ_THROUGH.word) == 2
    assert said.count(Event.STORAGE_FAILED.word) == 1


# --- any bit


async def test_where_nothing_changed_everything_is_there(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotting, "flip", lambda *_: None)
    for seed in (0, 2):  # on the day, and when what was staged has expired
        fate = await fate_of(made, seed)
        assert (fate.noticed, fate.wrong) == ({}, [])
        assert [each for each in fate.compared if each != "what was resumed"] == EVERYTHING


@pytest.mark.threat("R8")
async def test_of_a_changed_bit_nothing_false_comes_and_nothing_is_lost_in_silence(
    made: Made,
) -> None:
    fates = [await fate_of(made, seed) for seed in range(FLIPS)]
    print("\n" + told(fates))
    assert [each for each in fates if each.wrong] == []
    assert sum(bool(each.noticed) for each in fates) > FLIPS // 10
