"""A server that is stopped, or killed, in every state that a vault can be in, and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.crypto.identity import Identity
from protocol import acts, api
from protocol.acts import EpochName, Reason, Statement
from tests.casts import Cast, staged_cast
from tests.remains import remains, vanish
from tests.servers import (
    LiveVault,
    asking,
    blocks_in,
    live_vault,
    running_server,
    subprocess_server,
)
from vault import app
from vault.app import RunningServer
from vault.service import VaultService
from vault.tls import load_or_create_checkpoint_key
from vault.vaults import OpenVault

UPLOAD = b"\x42" * 16

Course = Callable[[LiveVault, Cast], None]
"""What happens to a vault with everybody in it."""


def frozen(live: LiveVault, cast: Cast) -> None:
    live.land(live.owner, acts.Freeze(Reason.BREACH))


def frozen_and_offered(live: LiveVault, cast: Cast) -> None:
    live.offer(cast["bidder"])
    frozen(live, cast)


def sold(live: LiveVault, cast: Cast) -> None:
    seller, buyer = live.owner, cast["bidder"]
    live.offer(buyer)
    live.accept(buyer)
    live.owner = buyer
    live.land(seller, acts.Attest(Statement.KEYS_DESTROYED))


def half_committed(live: LiveVault, cast: Cast) -> None:
    batch = live.records(cast.collection)
    live.land(live.owner, acts.Commit(UPLOAD, cast.collection, 0, False, (batch,)))


def half_moved(live: LiveVault, cast: Cast) -> None:
    live.commit(live.owner, cast.collection, live.records(cast.collection))
    live.epochs(live.owner, (cast.collection, 0))
    moves = live.moves(cast.collection, 0, batches={cast.batch.batch_id})
    live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 0, False, moves))


def moved(live: LiveVault, cast: Cast) -> None:
    live.reencrypt(live.owner, cast.collection, 0, 1)


def retired(live: LiveVault, cast: Cast) -> None:
    moved(live, cast)
    named = tuple(EpochName(cast.collection, number, 1) for number in (0, 1))
    live.land(live.owner, acts.RetireEpoch(named))


def collection_retired(live: LiveVault, cast: Cast) -> None:
    live.land(live.owner, acts.RetireCollection(cast.collection, Reason.RETENTION))


def erased(live: LiveVault, cast: Cast) -> None:
    live.erase(cast["keyless"], cast.collection, {cast.batch.batch_id: {0, 2}})


def replaced(live: LiveVault, cast: Cast) -> None:
    new = (live.records(cast.collection),)
    erasures = (live.erasure(cast.collection, cast.batch.batch_id, range(3)),)
    live.land(live.owner, acts.Replace(UPLOAD, cast.collection, 0, new, Reason.MISTAKE, erasures))


def keys_rotated(live: LiveVault, cast: Cast) -> None:
    live.rotate(cast["bidder"])
    live.rotate(live.owner)


def recovering(live: LiveVault, cast: Cast) -> None:
    live.deal(cast["admin"], cast["auditor"])
    for custodian in (cast["admin"], cast["auditor"]):
        live.land(custodian, live.release(cast["stranger"]))


def destroyed(live: LiveVault, cast: Cast) -> None:
    live.land(live.owner, acts.Destroy(Reason.REQUEST))
    live.land(cast["bidder"], acts.Attest(Statement.KEYS_DESTROYED))


COURSES: tuple[Course, ...] = (
    *(frozen, frozen_and_offered, sold, half_committed, half_moved, moved, retired),
    *(collection_retired, erased, replaced, keys_rotated, recovering, destroyed),
)
DELETING: tuple[Course, ...] = (moved, retired, collection_retired, erased, replaced, destroyed)


def contents_now(live: LiveVault) -> set[bytes]:
    """Return every block that a current manifest lists."""
    return {
        live.contents[ref.sha256]
        for where in live.state.collections.values()
        for batch in where.batches
        for ref in batch.manifest.blocks
    }


def known_of(vault: OpenVault) -> dict[str, Any]:
    """Return all that a server knows of a vault, by heart."""
    return {
        "state": vault.state,
        "keys": vault.keys,
        "wraps": vault._wraps,
        "parts": vault._parts,
        "batches": vault._batches,
        "access": vault._access,
        "placed": vault._placed,
        "observed": list(vault._observed),
    }


async def opened(server: RunningServer, live: LiveVault) -> OpenVault:
    return await server.service._shelf.open(live.vault_id)


@pytest.mark.parametrize("course", COURSES, ids=lambda each: each.__name__)
async def test_a_started_server_knows_what_the_stopped_one_knew(
    tmp_path: Path, course: Course
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        wanted = (cast.batch.batch_id, (0,))
        assert (await live.fetch(live.owner, cast.collection, wanted)).status == 200
        await live.pull()
        course(live, cast)
        await live.push()
        before = known_of(await opened(server, live))
        assert before["state"] == live.state
    async with running_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        live.asker = asker
        after = known_of(await opened(server, live))
        assert after.keys() == before.keys()
        for name in after:
            assert after[name] == before[name], name
        page = (await live.get(live.owner, live.at(api.LOG) + "?from=0")).read(api.LogPage)
        assert live.checkpoint(page.checkpoint).root == live.ledger.tree.root()
        await goes_on(live, cast)


async def goes_on(live: LiveVault, cast: Cast) -> None:
    """Look whether what is there is served, and the next act lands."""
    if live.state.frozen or live.state.ended:
        attest = acts.Attest(Statement.KEYS_DESTROYED)
        leaf = live.leaf(cast["auditor"], attest)
        assert (await live.submit(cast["auditor"], leaf)).status == 200
        return
    for where in live.state.collections.values():
        for batch in where.batches:
            fields = tuple(ref.field for ref in batch.manifest.blocks)
            answer = await live.fetch(live.owner, where.id, (batch.id, fields))
            assert tuple(blocks_in(answer.body)) == live.current(where.id, batch.id)
    await live.pull()
    live.land(live.owner, acts.Heartbeat())
    await live.push()


@pytest.mark.parametrize("course", DELETING, ids=lambda each: each.__name__)
async def test_what_was_not_deleted_when_the_server_stopped_is_deleted_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, course: Course
) -> None:
    async def never(service: VaultService) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(app, "_sweep_for_ever", never)
        async with live_vault(tmp_path) as (_, live):
            cast = await staged_cast(live)
            before = contents_now(live)
            course(live, cast)
            await live.push()
            gone = before - contents_now(live)
            assert gone
            assert remains(tmp_path, gone)
    async with running_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        live.asker = asker
        assert await vanish(tmp_path, gone)
        kept = contents_now(live)
        assert set(remains(tmp_path, kept)) == kept
        await goes_on(live, cast)


@pytest.mark.threat("R1")
@pytest.mark.parametrize("course", DELETING, ids=lambda each: each.__name__)
async def test_a_server_killed_before_it_deleted_goes_on_where_it_was(
    tmp_path: Path, course: Course
) -> None:
    """Killed as soon as the act is answered, wherever the deleting is then."""
    async with subprocess_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        key = load_or_create_checkpoint_key(tmp_path)
        live = LiveVault(server=key, asker=asker, token=server.announced["token"])
        cast = await staged_cast(live)
        before = contents_now(live)
        course(live, cast)
        await live.push()
        await server.kill()
    gone, kept = before - contents_now(live), contents_now(live)
    async with subprocess_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        live.asker = asker
        page = (await live.get(live.owner, live.at(api.LOG) + "?from=0")).read(api.LogPage)
        assert live.checkpoint(page.checkpoint).root == live.ledger.tree.root()
        assert await vanish(tmp_path, gone)
        assert set(remains(tmp_path, kept)) == kept
        await goes_on(live, cast)


async def test_whoever_was_nobody_is_nobody_after_a_restart(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        rebuilder, old = Identity.generate(), live.owner
        dealing = live.deal(cast["admin"], cast["auditor"])
        for custodian in (cast["admin"], cast["auditor"]):
            live.land(custodian, live.release(rebuilder))
        await live.push()
        path = live.at(api.LOG) + "?from=0"
        assert (await live.get(rebuilder, path)).status == 200
        live.rotate(old, dealing)
        await live.push()
    async with running_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        for who, status in ((rebuilder, 404), (live.owner, 200), (old, 200), (cast["access"], 404)):
            assert (await asker.ask(who, "GET", path)).status == status
