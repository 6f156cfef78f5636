"""What is staged and can land no more: not taken, not kept, and in no file (SPEC section 10.2)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from protocol import acts, api
from protocol.acts import Role
from protocol.blocks import Address, FieldClass, Manifest
from protocol.errors import OutOfOrder
from tests.casts import Cast, staged_cast
from tests.remains import remains, vanish
from tests.servers import LiveVault, live_vault, made_anew
from tests.world import World, of_class
from vault.under import closes, expect_may_land, may_land, sealed_under

UPLOAD, OTHER = b"\x42" * 16, b"\x43" * 16
GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE


async def staged(live: LiveVault, who: Any, upload: bytes = UPLOAD) -> Sequence[bytes]:
    path = live.at(api.UPLOAD, upload=upload)
    return (await live.get(who, path)).read(api.Staged).batches


def blocks_of(live: LiveVault, manifest: Manifest) -> list[bytes]:
    return [live.contents[ref.sha256] for ref in manifest.blocks]


def anew(live: LiveVault, cast: Cast) -> Manifest:
    """Return the batch's blocks sealed anew under the newest epochs."""
    moves = live.moves(cast.collection, 0, 1)
    (manifest,) = made_anew(live.state.collections[cast.collection].by_id(), moves)
    return manifest


@pytest.mark.threat("M2")
async def test_what_waits_under_the_key_of_somebody_removed_goes(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        new, moved = live.records(cast.collection), anew(live, cast)
        assert (await live.stage(live.owner, UPLOAD, new)).status == 200
        assert (await live.stage(cast["admin"], OTHER, moved)).status == 200
        blocks = [*blocks_of(live, new), *blocks_of(live, moved)]
        assert remains(tmp_path, blocks) == blocks
        live.remove(cast["bidder"])  # who has the key of one field of each
        await live.push()
        assert await staged(live, live.owner) == ()
        assert await staged(live, cast["admin"], OTHER) == ()
        assert await vanish(tmp_path, blocks)
        # What was committed under those keys stands.
        wanted = (cast.batch.batch_id, (0, 1))
        assert (await live.fetch(live.owner, cast.collection, wanted)).status == 200


@pytest.mark.threat("M2")
async def test_what_waits_under_a_key_that_is_retired_goes(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        new = live.records(cast.collection)
        assert (await live.stage(live.owner, UPLOAD, new)).status == 200
        fields = ((cast.collection, 0), (cast.collection, 1))
        live.epochs(live.owner, *fields, readers=(cast["admin"], cast["bidder"]))
        await live.push()
        assert await staged(live, live.owner) == (new.batch_id,)  # a newer one closes no other
        live.retire(live.owner, Address(cast.collection, 1, 2))
        await live.push()
        assert await staged(live, live.owner) == ()
        assert await vanish(tmp_path, blocks_of(live, new))


async def test_what_the_log_names_stays_for_the_last_part(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        named, waiting = live.records(cast.collection), live.records(cast.collection)
        live.land(live.owner, acts.Commit(UPLOAD, cast.collection, 0, False, (named,)))
        await live.push()
        assert (await live.stage(live.owner, UPLOAD, waiting)).status == 200
        live.remove(cast["bidder"])
        await live.push()
        assert await staged(live, live.owner) == (named.batch_id,)
        assert await vanish(tmp_path, blocks_of(live, waiting))
        live.epochs(
            live.owner, (cast.collection, 0), (cast.collection, 1), readers=(cast["admin"],)
        )
        last = live.records(cast.collection)
        live.land(live.owner, acts.Commit(UPLOAD, cast.collection, 1, True, (last,)))
        await live.push()
        wanted = [(each.batch_id, (0, 1)) for each in (named, last)]
        assert (await live.fetch(live.owner, cast.collection, *wanted)).status == 200


@pytest.mark.threat("M2")
async def test_a_reencryption_that_the_ledger_drops_goes_whole(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        moves = live.moves(cast.collection, 0, 1)
        live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 0, False, moves))
        await live.push()
        blocks = [live.contents[move.block.sha256] for move in moves]
        assert remains(tmp_path, blocks) == blocks
        live.remove(cast["bidder"])
        assert live.state.pending == {}
        await live.push()
        assert await staged(live, live.owner) == ()
        assert await vanish(tmp_path, blocks)


async def test_nothing_is_staged_that_could_not_land(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        new, moved = live.records(cast.collection), anew(live, cast)
        live.remove(cast["bidder"])
        await live.push()

        def untouched(*_: object) -> None:
            pytest.fail("it was written to the disk first")

        with monkeypatch.context() as patch:
            patch.setattr(server.service._storage, "stage_batches", untouched)
            for upload, manifest in ((UPLOAD, new), (OTHER, moved)):
                refused = await live.stage(live.owner, upload, manifest)
                assert (refused.status, refused.code) == (409, "out_of_order")
                assert await staged(live, live.owner, upload) == ()
        live.epochs(
            live.owner, (cast.collection, 0), (cast.collection, 1), readers=(cast["admin"],)
        )
        await live.push()
        assert (await live.stage(live.owner, UPLOAD, live.records(cast.collection))).status == 200


async def test_what_a_removal_overtook_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is stored after the server looked what is staged, and before the act is."""
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        new, storage = live.records(cast.collection), server.service._storage
        looked, stored = asyncio.Event(), asyncio.Event()
        append, store = storage.append, storage.stage_batches

        async def late(*values: Any, **named: Any) -> None:
            looked.set()
            await stored.wait()
            await append(*values, **named)

        async def storing(*values: Any, **named: Any) -> tuple[bool, ...]:
            is_new = await store(*values, **named)
            stored.set()
            return is_new

        monkeypatch.setattr(storage, "append", late)
        monkeypatch.setattr(storage, "stage_batches", storing)
        live.remove(cast["bidder"])
        removing = asyncio.create_task(live.push())
        await looked.wait()
        refused = await live.stage(live.owner, UPLOAD, new)
        await removing
        assert (refused.status, refused.code) == (409, "out_of_order")
        assert await staged(live, live.owner) == ()
        assert await storage.staged_bytes(live.vault_id) == 0


# --- what may land


def test_an_upload_may_be_for_any_collection_and_one_made_anew_is_for_its_own() -> None:
    world = World()
    world.people()
    one, two = (world.collection(GENERAL, CORE) for _ in range(2))
    bidder = world.member(Role.BIDDER, (of_class(CORE, one),))
    manifest = world.records(one)
    new, mine, other = (sealed_under(manifest, each) for each in (None, one, two))
    before = world.state
    assert all(may_land(before, each) for each in (new, mine, other))
    world.remove(bidder)
    assert closes(before, world.state)
    assert [may_land(world.state, each) for each in (new, mine, other)] == [True, False, True]
    world.land(world.owner, acts.RetireCollection(two, acts.Reason.RETENTION))
    assert not any(may_land(world.state, each) for each in (new, mine, other))
    with pytest.raises(OutOfOrder, match="take no more"):
        expect_may_land(world.state, new)
    expect_may_land(before, new)
    rotten = bytes([new[0] ^ 1]) + new[1:]
    assert not may_land(before, rotten)
    with pytest.raises(OutOfOrder, match="take no more"):
        expect_may_land(before, rotten)


def test_only_what_ends_an_epoch_closes_something() -> None:
    world = World()
    world.people()
    collection = world.collection(GENERAL)
    before = world.state
    world.land(world.owner, acts.Heartbeat())
    assert not closes(before, world.state)
    world.epochs(world.owner, (collection, 0))
    assert not closes(before, world.state)
    world.retire(world.owner, Address(collection, 0, 1))
    assert closes(before, world.state)


def test_an_epoch_that_is_not_there_yet_takes_nothing() -> None:
    world = World()
    world.people()
    collection = world.collection(GENERAL)
    before = world.state
    world.epochs(world.owner, (collection, 0))
    later = world.records(collection)
    assert {ref.epoch for ref in later.blocks} == {2}
    for each in (None, collection):
        assert may_land(world.state, sealed_under(later, each))
        assert not may_land(before, sealed_under(later, each))
    assert not may_land(world.state, sealed_under(later, os.urandom(16)))
