"""Copies of a server's data directory, and what an operator is told of one (SPEC 10.4, R23)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from client.cli import main
from protocol import acts, api
from tests.casts import staged_cast
from tests.hangs import HANGS_SECONDS
from tests.servers import LiveVault, asking, live_vault, running_server
from vault import app, copies
from vault.config import InvalidConfig
from vault.copies import KEPT_BESIDE, UNFINISHED, back_up, examine
from vault.logs import LOGGER_NAME, Event, log_event
from vault.soundness import Found
from vault.storage import sqlite, sqlite_copy
from vault.storage.base import DirectoryInUse, StorageDamaged, StorageFull
from vault.storage.sqlite import SqliteStorage
from vault.storage.sqlite_file import FILE_NAME
from vault.tls import CHECKPOINT_KEY_FILE, load_or_create_checkpoint_key
from vault.vaults import VaultShelf


def unheard(*_: object) -> None:
    """Hear of progress."""


def edit(data_dir: Path, statement: str) -> None:
    with closing(sqlite3.connect(data_dir / FILE_NAME)) as database, database:
        assert database.execute(statement).rowcount > 0


async def a_store(data_dir: Path) -> LiveVault:
    """Make a store with one vault and records in it, and stop its server."""
    async with live_vault(data_dir) as (_, live):
        await staged_cast(live)
        return live


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- copying


async def test_a_copy_taken_while_the_server_works_is_a_server_of_its_own(tmp_path: Path) -> None:
    server, copy = tmp_path / "server", tmp_path / "copy"
    async with live_vault(server) as (first, live):
        cast = await staged_cast(live)
        size = live.ledger.size
        found = await asyncio.to_thread(back_up, server, copy, unheard)
        live.land(live.owner, acts.Noop())
        await live.push()
        held = found.vaults[live.vault_id]
        assert (held.leaves, found.damage) == (size, {})
        assert held.blocks >= 2
        assert held.size > 0
    async with running_server(copy) as again, asking(again.url, again.pin) as asker:
        assert (again.pin, again.token.reveal()) == (first.pin, first.token.reveal())
        live.asker = asker
        page = (await live.get(live.owner, live.at(api.LOG) + "?from=0")).read(api.LogPage)
        assert len(page.leaves) == size
        answer = await live.fetch(cast["bidder"], cast.collection, (cast.batch.batch_id, (0,)))
        assert answer.status == 200


@pytest.mark.threat("R23")
async def test_a_copy_is_the_store_at_one_moment_whatever_is_written_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_store(tmp_path / "server")
    monkeypatch.setattr(sqlite_copy, "PAGES_AT_ONCE", 1)
    steps: list[tuple[int, int]] = []

    def write(done: int, total: int) -> None:
        steps.append((done, total))
        edit(tmp_path / "server", "UPDATE vaults SET size = size + 1")

    sqlite_copy.copy_database(tmp_path / "server" / FILE_NAME, tmp_path / "copy", write)
    done = [at for at, _ in steps]
    assert len(done) > 5
    assert done == sorted(done)
    assert {total for _, total in steps} == {(tmp_path / "copy").stat().st_size} == {done[-1]}
    sizes = []
    for file in (tmp_path / "copy", tmp_path / "server" / FILE_NAME):
        with closing(sqlite3.connect(file)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            sizes += database.execute("SELECT size FROM vaults").fetchall()[0]
    assert sizes[1] - sizes[0] == len(steps)


async def test_only_its_owner_can_reach_a_copy(tmp_path: Path) -> None:
    await a_store(tmp_path / "server")
    old = os.umask(0)
    try:
        await asyncio.to_thread(back_up, tmp_path / "server", tmp_path / "copy", unheard)
    finally:
        os.umask(old)
    assert mode(tmp_path / "copy") == 0o700
    for each in (tmp_path / "copy").iterdir():
        assert mode(each) == 0o600, each
    kept = {each.name for each in (tmp_path / "server").iterdir()} & {*KEPT_BESIDE}
    assert len(kept) >= 3
    for name in kept:
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "server" / name).read_bytes()


@pytest.mark.parametrize("there", ["file", "directory", "link to nothing", "unfinished"])
async def test_a_copy_takes_nothings_place(tmp_path: Path, there: str) -> None:
    await a_store(tmp_path / "server")
    copy = tmp_path / "copy"
    if there == "file":
        copy.write_text("mine")
    elif there == "link to nothing":
        copy.symlink_to(tmp_path / "nothing")
    else:
        copy.with_name("copy" + (UNFINISHED if there == "unfinished" else "")).mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidConfig, match="is there already") as refused:
        await asyncio.to_thread(back_up, tmp_path / "server", copy, unheard)
    assert refused.value.hint
    assert sorted(tmp_path.rglob("*")) == before


async def test_nothing_is_copied_of_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    for data_dir in (tmp_path / "server", tmp_path / "nowhere"):
        with pytest.raises(InvalidConfig, match="not a server's data directory"):
            await asyncio.to_thread(back_up, data_dir, tmp_path / "copy", unheard)
        with pytest.raises(InvalidConfig, match="not a server's data directory"):
            await examine(data_dir, unheard)
    assert [each.name for each in tmp_path.rglob("*")] == ["server"]


def full(*_: object) -> None:
    raise StorageFull("the server's disk is full")


@pytest.mark.parametrize("where", ["copying", "reading", "full"])
async def test_a_copy_that_is_cut_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    await a_store(tmp_path / "server")

    def cut_off(task: str, *_: int) -> None:
        if task == where:
            raise KeyboardInterrupt

    if where == "full":
        monkeypatch.setattr(copies, "copy_database", full)
    with pytest.raises((KeyboardInterrupt, StorageFull)):
        await asyncio.to_thread(back_up, tmp_path / "server", tmp_path / "copy", cut_off)
    assert [each.name for each in tmp_path.iterdir()] == ["server"]


async def test_a_file_that_is_no_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / FILE_NAME).write_bytes(os.urandom(10_000))
    with pytest.raises(StorageDamaged, match="NOTADB"):
        await asyncio.to_thread(back_up, tmp_path / "server", tmp_path / "copy", unheard)
    assert not (tmp_path / "copy").exists()


# --- the key that belongs to the vaults


async def test_no_key_is_made_where_vaults_need_theirs(tmp_path: Path) -> None:
    await a_store(tmp_path)
    (tmp_path / CHECKPOINT_KEY_FILE).unlink()
    with pytest.raises(InvalidConfig, match="no other key can serve the vaults") as refused:
        async with running_server(tmp_path):
            pass
    assert "backup" in str(refused.value.hint)
    with pytest.raises(InvalidConfig, match="no other key can serve the vaults"):
        await examine(tmp_path, unheard)
    assert not (tmp_path / CHECKPOINT_KEY_FILE).exists()


async def test_a_server_of_another_key_does_not_serve_a_vault(tmp_path: Path) -> None:
    live = await a_store(tmp_path)
    key = (tmp_path / CHECKPOINT_KEY_FILE).read_bytes()
    (tmp_path / CHECKPOINT_KEY_FILE).unlink()
    load_or_create_checkpoint_key(tmp_path)
    with pytest.raises(InvalidConfig, match="not the key of the vaults that are here") as refused:
        async with running_server(tmp_path):
            pass
    assert "Put back the one" in str(refused.value.hint)
    found = await examine(tmp_path, unheard)
    assert found.damage == {live.vault_id: "a vault is of another server's key"}
    # What was noticed has done no harm: with its own key all is as it was.
    (tmp_path / CHECKPOINT_KEY_FILE).write_bytes(key)
    assert not (await examine(tmp_path, unheard)).damage


async def test_a_vault_of_another_key_among_a_servers_own_is_not_served(tmp_path: Path) -> None:
    """The start looks at the first; each is looked at when it is loaded."""
    live = await a_store(tmp_path)
    other = load_or_create_checkpoint_key(tmp_path / "other")
    async with await SqliteStorage.open(tmp_path) as storage:
        shelf = VaultShelf(storage, other, 1)
        await shelf.learn_ids()
        with pytest.raises(StorageDamaged, match="another server's key"):
            await shelf.open(live.vault_id)


# --- examining

NOT_THERE = "the block of field 0 in batch ........ is not there, or not all of it"
DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes | None]]] = {
    "DELETE FROM blocks WHERE field = 0": (NOT_THERE, bytes),
    "UPDATE contents SET content = zeroblob(length(content)) WHERE id IN"
    " (SELECT content FROM blocks)": (
        "the block of field [0-9]+ in batch ........ is not what it was",
        bytes,
    ),
    "UPDATE vaults SET size = size + 1": ("a log has gaps", lambda _: None),
}


@pytest.mark.threat("R23")
@pytest.mark.parametrize("statement", DAMAGE)
async def test_damage_is_told_by_vault_and_the_rest_is_read(tmp_path: Path, statement: str) -> None:
    server, copy = tmp_path / "server", tmp_path / "copy"
    async with live_vault(server) as (running, live), asking(running.url, running.pin) as asker:
        await staged_cast(live)
        other = LiveVault(server=live.server, asker=asker, token=live.token)
        await other.push()
    what, whose = DAMAGE[statement]
    only = f" {'AND' if 'WHERE' in statement else 'WHERE'} vault = x'{live.vault_id.hex()}'"
    edit(server, statement if "contents" in statement else statement + only)
    for found in (
        await asyncio.to_thread(back_up, server, copy, unheard),
        await examine(copy, unheard),
        await examine(server, unheard),
    ):
        assert re.fullmatch(what, found.damage[whose(live.vault_id)])
        assert found.vaults[other.vault_id] == Found(1, 0, 0)
        assert live.vault_id not in found.vaults


async def test_what_a_server_works_in_is_not_examined(tmp_path: Path) -> None:
    async with live_vault(tmp_path):
        with pytest.raises(DirectoryInUse, match="a server works in") as refused:
            await examine(tmp_path, unheard)
        assert "Check a copy" in str(refused.value.hint)


async def test_examining_tells_how_far_it_is(tmp_path: Path) -> None:
    await a_store(tmp_path)
    told: list[tuple[str, int, int]] = []
    found = await examine(tmp_path, lambda *so_far: told.append(so_far))
    size = (tmp_path / FILE_NAME).stat().st_size
    (held,) = found.vaults.values()
    assert told[-2:] == [("reading", held.size, size), ("reading", size, size)]
    assert len(told) == held.blocks + 1


# --- the commands


async def run(*arguments: str) -> int:
    """Run a command as a person would: an event loop of its own, in a thread without one."""
    return await asyncio.to_thread(main.run, arguments)


async def test_the_commands_say_what_there_is(tmp_path: Path, capsys: Any) -> None:
    live = await a_store(tmp_path / "server")
    data, out = ("--data", str(tmp_path / "server")), str(tmp_path / "copy")
    assert await run("store", "backup", *data, "--out", out) == 0
    told, err = capsys.readouterr()
    assert err == ""
    head, vault, last = told.splitlines()
    assert head.split() == ["vault", "leaves", "blocks", "MiB"]
    assert vault.split()[:2] == [live.vault_id.hex(), str(live.ledger.size)]
    assert last == f"{out}: 1 vault, all of it sound"
    for each in (out, str(tmp_path / "server")):
        assert await run("--json", "store", "check", "--data", each) == 0
        told, err = capsys.readouterr()
        assert err == ""
        shown = json.loads(told)
        assert (shown["directory"], shown["sound"], shown["damage"]) == (each, True, [])
        (listed,) = shown["vaults"]
        assert (listed["vault_id"], listed["leaves"]) == (live.vault_id.hex(), live.ledger.size)
        assert listed["blocks"] >= 2
        assert listed["bytes"] > 0


async def test_the_commands_fail_where_something_is_damaged(tmp_path: Path, capsys: Any) -> None:
    live = await a_store(tmp_path / "server")
    edit(tmp_path / "server", "DELETE FROM blocks WHERE field = 0")
    data, out = str(tmp_path / "server"), str(tmp_path / "copy")
    assert await run("store", "backup", "--data", data, "--out", out) == 1
    told, err = capsys.readouterr()
    assert re.search(f"^{live.vault_id.hex()}  damaged: {NOT_THERE}$", told, re.MULTILINE)
    assert "the store  damaged: blocks or parts stand in no place, or in several" in told
    assert "sound" not in told
    assert err.startswith("error: not all of it is sound\nhint: ")
    assert Path(out).is_dir()
    assert await run("--json", "store", "check", "--data", out) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["sound"] is False
    what = {each["vault_id"]: each["what"] for each in shown["damage"]}
    assert set(what) == {None, live.vault_id.hex()}
    assert re.fullmatch(NOT_THERE, what[live.vault_id.hex()])


@pytest.mark.parametrize("as_json", [False, True])
async def test_an_error_is_told_as_others_are(tmp_path: Path, capsys: Any, as_json: bool) -> None:
    options = ["--json"] if as_json else []
    absent = str(tmp_path / "absent")
    assert await run(*options, "store", "check", "--data", absent) == 1
    told, err = capsys.readouterr()
    assert err.startswith(f"error: {absent} is not a server's data directory")
    assert "hint: Name the one that" in err
    assert (json.loads(told)["error"]["code"] if as_json else told) == (
        InvalidConfig.code if as_json else ""
    )


async def test_a_bar_shows_how_far_it_is_to_whoever_looks(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_store(tmp_path / "server")
    capsys.readouterr()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sqlite_copy, "PAGES_AT_ONCE", 4)
    data, out = str(tmp_path / "server"), str(tmp_path / "copy")
    assert await run("store", "backup", "--data", data, "--out", out) == 0
    err = capsys.readouterr().err
    assert "copying" in err
    assert err.index("copying") < err.index("reading")
    assert err.count("100%") == 2
    assert err.count("MiB/s") > 2


async def test_the_servers_log_is_as_it_was_afterwards(tmp_path: Path, caplog: Any) -> None:
    await a_store(tmp_path)
    edit(tmp_path, "DELETE FROM blocks WHERE field = 0")
    caplog.clear()
    caplog.set_level(logging.INFO, LOGGER_NAME)
    assert await run("store", "check", "--data", str(tmp_path)) == 1
    assert not caplog.records
    log_event(Event.SWEPT)
    assert len(caplog.records) == 1


async def test_what_was_deleted_waits_for_a_reader_and_the_log_says_so(
    tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECKPOINT_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(app, "SWEEP_PAUSE_SECONDS", 0.05)
    caplog.set_level(logging.INFO, LOGGER_NAME)

    def said(event: Event) -> int:
        return [record.getMessage() for record in caplog.records].count(event.word)

    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        while not server.service._to_sweep._waiters:  # what is swept by now is not what waits
            await asyncio.sleep(0.01)
        with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT COUNT(*) FROM vaults").fetchone() == (1,)
            caplog.clear()
            live.erase(live.owner, cast.collection, {cast.batch.batch_id: {1}})
            await live.push()
            async with asyncio.timeout(HANGS_SECONDS):
                while said(Event.SWEEP_WAITS) < 2:
                    await asyncio.sleep(0.02)
            assert not said(Event.SWEPT)
            reader.execute("COMMIT")
        async with asyncio.timeout(HANGS_SECONDS):
            while not said(Event.SWEPT):
                await asyncio.sleep(0.02)
        assert not said(Event.STORAGE_FAILED)
