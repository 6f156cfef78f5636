"""Re-encryption on the server: what is staged for a batch that is there, moved at once, and cut."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.crypto.identity import Identity
from protocol import acts, api
from protocol.acts import MovedBlock, Reason, Role
from protocol.blocks import FieldClass, Manifest, catalog_field, cell_lengths
from protocol.errors import Moved
from protocol.ledger.contents import Batch
from protocol.limits import LIMITS
from tests.casts import Cast, staged_cast
from tests.remains import remains, vanish
from tests.servers import Answer, LiveVault, blocks_in, live_vault, made_anew
from tests.world import of_class
from vault.app import RunningServer
from vault.storage.base import StorageDamaged, StorageFailed

UPLOAD, OTHER = b"\x42" * 16, b"\x43" * 16
RECORDS = 3
MOVED = "a block was replaced while it was being sent"


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.code


def batches(live: LiveVault, cast: Cast) -> dict[bytes, Batch]:
    return live.state.collections[cast.collection].by_id()


def anew(live: LiveVault, cast: Cast, moves: Sequence[MovedBlock]) -> Manifest:
    """Return the manifest under which new blocks of the one batch are staged."""
    (manifest,) = made_anew(batches(live, cast), moves)
    return manifest


def moving(
    live: LiveVault,
    who: Identity,
    cast: Cast,
    moves: Sequence[MovedBlock],
    *,
    upload: bytes = UPLOAD,
    part: int = 0,
    last: bool = True,
) -> bytes:
    return live.leaf(who, acts.Reencrypt(upload, cast.collection, part, last, tuple(moves)))


def bytes_of(live: LiveVault, moves: Sequence[MovedBlock]) -> list[bytes]:
    return [live.contents[move.block.sha256] for move in moves]


async def fetched(live: LiveVault, who: Identity, cast: Cast, *batches: bytes) -> list[bytes]:
    wanted = [(batch, (0, 1)) for batch in batches or (cast.batch.batch_id,)]
    answer = await live.fetch(who, cast.collection, *wanted)
    assert answer.status == 200, answer
    await live.pull()
    return blocks_in(answer.body)


# --- the whole way


async def test_blocks_move_at_once_and_the_old_ones_are_gone(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        old = live.blocks[cast.batch.batch_id]
        moves = live.moves(cast.collection, 0, 1)
        assert (await live.stage(live.owner, UPLOAD, anew(live, cast, moves))).status == 200
        assert await fetched(live, cast["admin"], cast) == list(old)
        assert remains(tmp_path, [*old, *bytes_of(live, moves)])
        live.land_leaf(moving(live, live.owner, cast, moves), (), (live.owner,))
        await live.push()
        assert await fetched(live, cast["admin"], cast) == bytes_of(live, moves)
        assert await vanish(tmp_path, old)
        assert remains(tmp_path, bytes_of(live, moves)) == bytes_of(live, moves)
        # the upload is closed for ever
        again = await live.stage(live.owner, UPLOAD, live.records(cast.collection))
        assert told(again) == (409, "conflict")


async def test_one_field_moves_alone(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        general, core = live.blocks[cast.batch.batch_id]
        live.reencrypt(cast["admin"], cast.collection, 1)
        await live.push()
        found = await fetched(live, live.owner, cast)
        assert found[0] == general
        assert found[1] != core
        assert found == list(live.current(cast.collection, cast.batch.batch_id))
        assert await vanish(tmp_path, [core])
        assert remains(tmp_path, [general])


async def test_nothing_moves_before_the_last_part(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        more = live.records(cast.collection)
        live.commit(live.owner, cast.collection, more)
        live.epochs(live.owner, (cast.collection, 0), (cast.collection, 1))
        await live.push()
        both = (cast.batch.batch_id, more.batch_id)
        old = [*live.blocks[both[0]], *live.blocks[both[1]]]
        parts = [live.moves(cast.collection, 0, 1, batches={batch}) for batch in both]
        live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 0, False, parts[0]))
        await live.push()
        assert await fetched(live, live.owner, cast, *both) == old
        # what a part has named does not expire
        clock = server.service._clock
        server.service._clock = lambda: clock() + LIMITS.staged_seconds + 2
        await server.service.expire_staged()
        server.service._clock = clock
        live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 1, True, parts[1]))
        await live.push()
        new = [block for part in parts for block in bytes_of(live, part)]
        assert sorted(await fetched(live, live.owner, cast, *both)) == sorted(new)
        assert await vanish(tmp_path, old)


async def test_whoever_is_reading_is_told_and_finds_the_new_block(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        moves = live.moves(cast.collection, 1)
        wanted = api.FetchBlocks(cast.collection, (api.WantedBatch(cast.batch.batch_id, (0, 1)),))
        reader = cast["admin"].member_id
        general, core = live.blocks[cast.batch.batch_id]
        _, early = await server.service.fetch(live.vault_id, reader, bytes(32), wanted)
        _, late = await server.service.fetch(live.vault_id, reader, bytes(32), wanted)
        got = [await anext(early), await anext(early)]
        await live.pull()
        live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 0, True, moves))
        await live.push()
        assert b"".join(got).endswith(general)
        with pytest.raises(Moved, match="replaced"):
            await anext(early)
        got = [await anext(late), await anext(late)]
        assert got[1] == general
        with pytest.raises(Moved) as moved:
            await anext(late)
        assert moved.value.hint
        assert await fetched(live, cast["admin"], cast) == [general, *bytes_of(live, moves)]
        assert core not in await fetched(live, cast["admin"], cast)


@pytest.mark.parametrize("what", ["re-encrypted", "retired", "nothing"])
async def test_what_goes_while_it_is_looked_for_moved_and_else_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        moves = live.moves(cast.collection, 0)
        wanted = api.FetchBlocks(cast.collection, (api.WantedBatch(cast.batch.batch_id, (0,)),))
        reader = cast["admin"].member_id
        _, pieces = await server.service.fetch(live.vault_id, reader, bytes(32), wanted)
        await live.pull()

        async def gone(*_: object) -> None:
            if what == "re-encrypted":
                live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 0, True, moves))
            elif what == "retired":
                live.land(live.owner, acts.RetireCollection(cast.collection, Reason.OTHER))
            await live.push()

        monkeypatch.setattr(server.service._storage, "read_block", gone)
        with pytest.raises(StorageDamaged if what == "nothing" else Moved) as told:
            await anext(pieces)
        lost = "a block is not as its manifest lists it"
        assert str(told.value) == (lost if what == "nothing" else MOVED)


async def test_what_was_replaced_and_is_not_taken_yet_is_not_called_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        moves = live.moves(cast.collection, 0)
        wanted = api.FetchBlocks(cast.collection, (api.WantedBatch(cast.batch.batch_id, (0,)),))
        reader = cast["admin"].member_id
        _, pieces = await server.service.fetch(live.vault_id, reader, bytes(32), wanted)
        storage = server.service._storage
        append = storage.append
        stored, looked = asyncio.Event(), asyncio.Event()

        async def stored_first(*values: object) -> None:
            await append(*values)  # type: ignore[arg-type]
            stored.set()
            await looked.wait()

        async def gone(*_: object) -> None:
            looked.set()

        monkeypatch.setattr(storage, "append", stored_first)
        monkeypatch.setattr(storage, "read_block", gone)
        await live.pull()
        live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 0, True, moves))
        landing = asyncio.create_task(live.push())
        await stored.wait()
        with pytest.raises(Moved):
            await anext(pieces)
        await landing


async def test_a_vault_that_was_loaded_anew_meanwhile_says_nothing_of_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        wanted = api.FetchBlocks(cast.collection, (api.WantedBatch(cast.batch.batch_id, (0,)),))
        reader = cast["admin"].member_id
        _, pieces = await server.service.fetch(live.vault_id, reader, bytes(32), wanted)
        vault = await server.service._open(live.vault_id)

        async def forgotten(*_: object) -> None:
            server.service._shelf.forget(vault)

        monkeypatch.setattr(server.service._storage, "read_block", forgotten)
        with pytest.raises(StorageFailed, match="was loaded anew") as told:
            await anext(pieces)
        assert type(told.value) is StorageFailed


async def test_over_http_an_answer_that_moved_before_it_began_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        moves = live.moves(cast.collection, 0)
        storage, read = server.service._storage, server.service._storage.read_block
        landed = False

        async def moved_meanwhile(*values: object) -> bytes | None:
            nonlocal landed
            if not landed:
                landed = True
                await live.pull()
                live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 0, True, moves))
                await live.push()
            return await read(*values)  # type: ignore[arg-type]

        monkeypatch.setattr(storage, "read_block", moved_meanwhile)
        wanted = (cast.batch.batch_id, (0,))
        assert told(await live.fetch(cast["bidder"], cast.collection, wanted)) == (409, "moved")
        again = await live.fetch(cast["bidder"], cast.collection, wanted)
        assert blocks_in(again.body) == bytes_of(live, moves)


# --- what may be staged, and by whom


async def test_who_could_re_encrypt_a_block_stages_it(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        some = live.member(Role.ADMIN, (of_class(FieldClass.GENERAL),))
        await live.push()
        general, both = live.moves(cast.collection, 0), live.moves(cast.collection, 0, 1)
        # of names, which an admin without keys holds, it makes nothing anew either
        catalog = live.moves(cast.collection, catalog_field(FieldClass.CORE))
        for who, moves, status in (
            (some, general, 200),
            (some, catalog, 200),
            (cast["keyless"], catalog, 403),
            (some, both, 403),
            (cast["keyless"], general, 403),
            (cast["auditor"], general, 403),
            (cast["bidder"], general, 403),
            (cast["unconfirmed admin"], general, 403),
            (cast["revoked"], general, 403),
            (cast["stranger"], general, 404),
            (cast["admin"], both, 200),
            (live.owner, both, 200),
        ):
            answer = await live.stage(who, os.urandom(16), anew(live, cast, moves))
            assert answer.status == status, (who, status)


async def test_what_is_made_anew_is_of_the_batch_that_is_there(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        manifest = anew(live, cast, live.moves(cast.collection, 0, 1))
        (first, second), owner = manifest.blocks, live.owner
        names = next(
            b for b in live.state.collections[cast.collection].batches if b.manifest.is_catalog
        )
        for other, status, code in (
            (replace(manifest, records=RECORDS - 1), 403, "not_authorised"),
            (replace(manifest, records=RECORDS + 1), 403, "not_authorised"),
            (replace(manifest, batch_id=names.id), 403, "not_authorised"),
            (replace(manifest, blocks=(replace(first, field=7),)), 403, "not_authorised"),
            (replace(manifest, batch_id=os.urandom(16), blocks=(first,)), 403, "not_authorised"),
            (cast.batch, 409, "conflict"),  # just as it is
            (replace(manifest, blocks=(first, cast.batch.blocks[1])), 409, "conflict"),
        ):
            assert told(await live.stage(owner, os.urandom(16), other)) == (status, code)
        for _ in range(2):
            assert (await live.stage(owner, UPLOAD, manifest)).status == 200
        changed = replace(manifest, blocks=(replace(first, salt=bytes(16)), second))
        # What it was made from may have changed since: it gives way to what is made later.
        assert (await live.stage(owner, UPLOAD, changed)).status == 200
        assert (await live.stage(owner, UPLOAD, manifest)).status == 200
        assert told(await live.stage(cast["admin"], UPLOAD, manifest)) == (409, "conflict")
        listed = await live.get(owner, live.at(api.UPLOAD, upload=UPLOAD))
        assert listed.read(api.Staged).batches == (cast.batch.batch_id,)


async def test_an_act_moves_what_is_staged_by_its_author(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        owner, moves = live.owner, live.moves(cast.collection, 0, 1)
        await live.stage(owner, UPLOAD, anew(live, cast, moves))
        other = live.moves(cast.collection, 0, 1)
        elsewhere = tuple(replace(move, batch=os.urandom(16)) for move in moves)
        for who, upload, listed in (
            (owner, OTHER, moves),
            (cast["admin"], UPLOAD, moves),
            (owner, UPLOAD, other),
            (owner, UPLOAD, moves[:1]),  # all of a batch's blocks in one part
            (owner, UPLOAD, elsewhere),
        ):
            leaf = moving(live, who, cast, listed, upload=upload)
            assert told(await live.submit(who, leaf)) == (409, "out_of_order")
        assert await fetched(live, owner, cast) == list(live.blocks[cast.batch.batch_id])
        assert (await live.submit(owner, moving(live, owner, cast, moves))).status == 200


async def test_a_member_cannot_fill_the_disk_with_what_is_made_anew(tmp_path: Path) -> None:
    async with live_vault(tmp_path, staged_bytes_per_member=3_000) as (_, live):
        cast = await staged_cast(live)
        codes: list[str] = []
        while len(codes) < 30 and "limit_exceeded" not in codes:
            manifest = anew(live, cast, live.moves(cast.collection, 0, 1))
            answer = await live.stage(live.owner, os.urandom(16), manifest)
            codes.append("ok" if answer.status == 200 else answer.code)
        assert codes[-1] == "limit_exceeded"
        assert len(codes) > 3


# --- what did not move


async def test_of_two_that_move_the_same_the_second_leaves_nothing(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        mine, theirs = (live.moves(cast.collection, 0, 1) for _ in range(2))
        manifest = anew(live, cast, theirs)
        await live.stage(live.owner, UPLOAD, anew(live, cast, mine))
        await live.stage(cast["admin"], OTHER, manifest)
        live.land_leaf(moving(live, live.owner, cast, mine), (), (live.owner,))
        admin = cast["admin"]
        live.land_leaf(moving(live, admin, cast, theirs, upload=OTHER), (), (admin,))
        live.uploads[-2:] = [(b"", ()), (b"", ())]  # both are staged
        await live.push()
        assert await fetched(live, admin, cast) == bytes_of(live, mine)
        old = live.blocks[cast.batch.batch_id]
        assert await vanish(tmp_path, [*old, *bytes_of(live, theirs)])
        assert remains(tmp_path, bytes_of(live, mine)) == bytes_of(live, mine)


@pytest.mark.threat("S10")
async def test_a_taint_drops_what_moves_to_that_epoch(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        more = live.records(cast.collection)
        live.commit(live.owner, cast.collection, more)
        live.epochs(live.owner, (cast.collection, 0))
        moves = live.moves(cast.collection, 0, batches={cast.batch.batch_id})
        live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 0, False, moves))
        await live.push()
        live.remove(cast["bidder"])  # who holds that epoch
        assert live.state.pending == {}
        await live.push()
        rest = live.moves(cast.collection, 0, batches={more.batch_id})
        await live.stage(live.owner, UPLOAD, anew(live, cast, rest))
        leaf = moving(live, live.owner, cast, rest, part=1)
        assert told(await live.submit(live.owner, leaf)) == (409, "out_of_order")
        assert await fetched(live, live.owner, cast) == list(live.blocks[cast.batch.batch_id])
        # and what was staged for it expires
        clock = server.service._clock
        server.service._clock = lambda: clock() + LIMITS.staged_seconds + 2
        await server.service.expire_staged()
        server.service._clock = clock
        assert await vanish(tmp_path, bytes_of(live, moves))


async def test_records_that_are_all_erased_can_be_put_under_a_new_key(tmp_path: Path) -> None:
    """What is left of them is the same bytes under every key; they must not be taken for old."""
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        live.erase(live.owner, cast.collection, {cast.batch.batch_id: range(RECORDS)})
        for _ in range(2):
            live.epochs(live.owner, (cast.collection, 0), (cast.collection, 1))
            live.reencrypt(live.owner, cast.collection, 0, 1)
        await live.push()
        await swept(server)
        assert await fetched(live, live.owner, cast) == [bytes(4 * RECORDS)] * 2
        assert {ref.epoch for ref in batches(live, cast)[cast.batch.batch_id].manifest.blocks} == {
            4
        }


async def swept(server: RunningServer) -> None:
    """Delete what is to be deleted."""
    while await server.service._storage.sweep(1 << 30):
        pass


# --- positions stay erased


@pytest.mark.threat("V3")
async def test_what_was_erased_stays_so_through_a_re_encryption(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        live.erase(live.owner, cast.collection, {cast.batch.batch_id: {1}})
        live.reencrypt(live.owner, cast.collection, 0, 1)
        live.erase(cast["keyless"], cast.collection, {cast.batch.batch_id: {0}})
        await live.push()
        found = await fetched(live, live.owner, cast)
        assert [cell_lengths(block, RECORDS) for block in found] == [(0, 0, 32)] * 2
        assert found == list(live.current(cast.collection, cast.batch.batch_id))


async def test_a_re_encryption_is_no_upload_and_an_upload_none(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        more = live.records(cast.collection)
        live.commit(live.owner, cast.collection, more)
        live.epochs(live.owner, (cast.collection, 0))
        moves = live.moves(cast.collection, 0, batches={more.batch_id})
        live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 0, False, moves))
        await live.push()
        new = live.records(cast.collection)
        await live.stage(live.owner, UPLOAD, new)
        erasures = (live.erasure(cast.collection, cast.batch.batch_id, {0}),)
        for payload in (
            acts.Commit(UPLOAD, cast.collection, 1, True, (new,)),
            acts.Replace(UPLOAD, cast.collection, 1, (new,), Reason.OTHER, erasures),
        ):
            refused = await live.submit(live.owner, live.leaf(live.owner, payload))
            assert told(refused) == (409, "conflict")


@pytest.mark.threat("V3")
async def test_what_was_erased_does_not_come_back_sealed_anew(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        moves = live.moves(cast.collection, 0, 1)  # made from what is still there
        manifest = anew(live, cast, moves)
        live.erase(cast["keyless"], cast.collection, {cast.batch.batch_id: {1}})
        await live.push()
        refused = await live.stage(live.owner, UPLOAD, manifest)
        assert told(refused) == (409, "moved")
        assert remains(tmp_path, bytes_of(live, moves)) == []
        again = live.moves(cast.collection, 0, 1)
        assert (await live.stage(live.owner, UPLOAD, anew(live, cast, again))).status == 200
        # nor in what is no block at all
        content = b"\xff" * 99
        (first, second) = manifest.blocks
        first = replace(first, length=len(content), sha256=live.keep(content))
        rubbish = replace(manifest, blocks=(first, second))
        assert told(await live.stage(live.owner, OTHER, rubbish)) == (400, "malformed")


@pytest.mark.threat("V3")
async def test_what_was_erased_while_it_was_stored_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        moves = live.moves(cast.collection, 0, 1)
        manifest = anew(live, cast, moves)
        storage = server.service._storage
        store = storage.stage_batches

        async def erased_meanwhile(*values: Any, **named: Any) -> tuple[bool, ...]:
            with monkeypatch.context() as patch:
                patch.setattr(storage, "stage_batches", store)
                live.erase(live.owner, cast.collection, {cast.batch.batch_id: {1}})
                await live.push()
            return await store(*values, **named)

        monkeypatch.setattr(storage, "stage_batches", erased_meanwhile)
        assert told(await live.stage(live.owner, UPLOAD, manifest)) == (409, "moved")
        listed = await live.get(live.owner, live.at(api.UPLOAD, upload=UPLOAD))
        assert listed.read(api.Staged).batches == ()
        await server.service.expire_staged()  # which sweeps
        assert await vanish(tmp_path, bytes_of(live, moves))


async def test_an_act_lands_with_what_it_lists_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its author may make blocks anew once more, while the act that lists them is being stored."""
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        owner, moves = live.owner, live.moves(cast.collection, 0, 1)
        others = anew(live, cast, live.moves(cast.collection, 0, 1))
        assert (await live.stage(owner, UPLOAD, anew(live, cast, moves))).status == 200
        storage, found = server.service._storage, server.service._storage.staged
        store, stored, staging = storage.stage_batches, asyncio.Event(), []

        async def storing(*values: Any, **named: Any) -> tuple[bool, ...]:
            is_new = await store(*values, **named)
            stored.set()
            return is_new

        async def and_then_others(*values: Any) -> Any:
            there = await found(*values)
            staging.append(asyncio.create_task(live.stage(owner, UPLOAD, others)))
            await stored.wait()
            return there

        leaf = moving(live, owner, cast, moves)
        with monkeypatch.context() as patch:
            patch.setattr(storage, "stage_batches", storing)
            patch.setattr(storage, "staged", and_then_others)
            assert told(await live.submit(owner, leaf)) == (409, "not_staged")
            assert (await staging[0]).status == 200
        assert await fetched(live, owner, cast) == list(live.blocks[cast.batch.batch_id])
        assert (await live.stage(owner, UPLOAD, anew(live, cast, moves))).status == 200
        again = moving(live, owner, cast, moves)
        assert (await live.submit(owner, again)).status == 200
