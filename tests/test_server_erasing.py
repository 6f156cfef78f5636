"""Erasing and replacing: what the server makes of it, who can, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from client.crypto.identity import Identity
from protocol import acts, api
from protocol.acts import EmptiedBlock, Erasure, Reason, Role
from protocol.blocks import FieldClass, cell_lengths, empty_cells
from protocol.ledger import data
from protocol.limits import LIMITS
from tests.casts import Cast, staged_cast
from tests.hangs import HANGS_SECONDS
from tests.remains import remains, vanish
from tests.servers import Answer, LiveVault, blocks_in, live_vault
from tests.test_server_attacks import Spy
from vault import effects, landing
from vault.effects import effects_of
from vault.storage.base import BlockKey

UPLOAD = b"\x42" * 16
RECORDS = 3


def cells_of(block: bytes, records: int = RECORDS) -> list[bytes]:
    """Take a block apart: its cells, those that are erased being empty."""
    found, start = [], 4 * records
    for length in cell_lengths(block, records):
        found.append(block[start : start + length])
        start += length
    return found


def erasing(live: LiveVault, who: Identity, cast: Cast, *erasures: Erasure, step: int = 0) -> bytes:
    payload = acts.Erase(cast.collection, Reason.REQUEST, erasures)
    return live.leaf(who, payload, step=step)


async def served(
    live: LiveVault, who: Identity, cast: Cast, fields: tuple[int, ...] = (0, 1)
) -> tuple[bytes, ...]:
    answer = await live.fetch(who, cast.collection, (cast.batch.batch_id, fields))
    assert answer.status == 200, answer
    return tuple(blocks_in(answer.body))


async def log_is_unchanged(live: LiveVault) -> bool:
    path = live.at(api.LOG) + f"?from={live.pushed}"
    return (await live.get(live.owner, path)).read(api.LogPage).leaves == ()


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.code


# --- what is left


@pytest.mark.threat("V3")
@pytest.mark.threat("Z7")
async def test_what_is_left_is_what_the_server_makes_of_it(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        rightly = live.erasure(cast.collection, cast.batch.batch_id, {1})
        other = live.erasure(cast.collection, cast.batch.batch_id, {2})
        first, second = rightly.blocks
        whole = live.current(cast.collection, cast.batch.batch_id)[0]
        wrong: list[EmptiedBlock] = [
            replace(first, after=os.urandom(32)),
            replace(first, length=first.length - 1),
            replace(first, length=len(whole)),
            replace(first, after=first.before, length=len(whole)),  # nothing goes
            replace(first, after=other.blocks[0].after),  # another record goes
            # the cell is gone, and its place too
            replace(first, after=hashlib.sha256(whole[: first.length]).digest()),
        ]
        for block in wrong:
            erasure = Erasure(rightly.batch, rightly.positions, (block, second))
            refused = await live.submit(live.owner, erasing(live, live.owner, cast, erasure))
            assert told(refused) == (422, "manifest_mismatch"), block
        # of several blocks and batches, one that is wrong is enough
        last = Erasure(rightly.batch, rightly.positions, (first, replace(second, after=bytes(32))))
        refused = await live.submit(live.owner, erasing(live, live.owner, cast, last))
        assert told(refused) == (422, "manifest_mismatch")
        assert await log_is_unchanged(live)
        assert await served(live, live.owner, cast) == live.blocks[cast.batch.batch_id]
        await live.pull()
        live.erase(live.owner, cast.collection, {cast.batch.batch_id: {1}})
        await live.push()
        for old, new in zip(
            live.blocks[cast.batch.batch_id], await served(live, live.owner, cast), strict=True
        ):
            one, _, three = cells_of(old)
            assert cells_of(new) == [one, b"", three]


async def test_records_are_erased_one_after_the_other(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        for positions in ({2}, {0}, {1}):
            live.erase(live.owner, cast.collection, {cast.batch.batch_id: positions})
            await live.push()
            found = await served(live, live.owner, cast)
            assert found == live.current(cast.collection, cast.batch.batch_id)
            await live.pull()
        assert await served(live, live.owner, cast) == (bytes(4 * RECORDS),) * 2
        (batch,) = (b for b in live.state.collections[cast.collection].batches if b.erased)
        assert batch.records == 0


@pytest.mark.threat("M2")
async def test_nothing_of_what_was_erased_is_in_any_file(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        blocks = live.blocks[cast.batch.batch_id]
        erased = [cells_of(block)[position] for block in blocks for position in (0, 2)]
        kept = [cells_of(block)[1] for block in blocks]
        assert remains(tmp_path, erased) == erased
        live.erase(live.owner, cast.collection, {cast.batch.batch_id: {0, 2}})
        await live.push()
        assert await vanish(tmp_path, erased)
        assert remains(tmp_path, kept) == kept
    assert remains(tmp_path, erased) == []
    assert remains(tmp_path, kept) == kept


async def test_what_is_no_block_can_only_be_erased_whole(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        rubbish = live.records(cast.collection)
        content = b"\xff" * 99
        (first, second) = rubbish.blocks
        first = replace(first, length=len(content), sha256=live.keep(content))
        rubbish = replace(rubbish, blocks=(first, second))
        live.commit(live.owner, cast.collection, rubbish)
        await live.push()
        sound = live.contents[second.sha256]
        some = tuple(
            EmptiedBlock(ref.field, ref.sha256, len(left), hashlib.sha256(left).digest())
            for ref, left in ((first, content), (second, empty_cells(sound, RECORDS, {0})))
        )
        erasure = Erasure(rubbish.batch_id, (0,), some)
        refused = await live.submit(live.owner, erasing(live, live.owner, cast, erasure))
        assert told(refused) == (422, "manifest_mismatch")
        assert "all records" in (refused.error.hint or "")
        assert await log_is_unchanged(live)
        live.erase(live.owner, cast.collection, {rubbish.batch_id: {0, 1, 2}})
        await live.push()
        answer = await live.fetch(live.owner, cast.collection, (rubbish.batch_id, (0, 1)))
        assert blocks_in(answer.body) == [bytes(4 * RECORDS)] * 2
        assert await vanish(tmp_path, [content])


# --- replacing


async def test_records_are_replaced_at_once_or_not_at_all(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        old, new = cast.batch.batch_id, live.records(cast.collection, records=1)
        erasure = live.erasure(cast.collection, old, {0})
        false = replace(erasure, blocks=(replace(erasure.blocks[0], length=12), erasure.blocks[1]))

        def replacing(*erasures: Erasure) -> bytes:
            payload = acts.Replace(
                UPLOAD, cast.collection, 0, (new,), Reason.MISTAKE, tuple(erasures)
            )
            return live.leaf(live.owner, payload)

        refused = await live.submit(live.owner, replacing(erasure))
        assert told(refused) == (409, "out_of_order")  # not staged
        assert (await live.stage(live.owner, UPLOAD, new)).status == 200
        refused = await live.submit(live.owner, replacing(false))
        assert told(refused) == (422, "manifest_mismatch")
        wanted = (new.batch_id, (0, 1))
        assert (await live.fetch(live.owner, cast.collection, wanted)).status == 404
        assert await served(live, live.owner, cast) == live.blocks[old]
        await live.pull()
        live.land_leaf(replacing(erasure), (), (live.owner,))
        await live.push()
        answer = await live.fetch(live.owner, cast.collection, wanted)
        assert tuple(blocks_in(answer.body)) == live.blocks[new.batch_id]
        assert await served(live, live.owner, cast) == live.current(cast.collection, old)
        assert await vanish(tmp_path, [cells_of(block)[0] for block in live.blocks[old]])


async def test_the_last_part_of_an_upload_may_replace(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        parts = [live.records(cast.collection) for _ in range(2)]
        live.land(live.owner, acts.Commit(UPLOAD, cast.collection, 0, False, (parts[0],)))
        await live.push()
        erasures = (live.erasure(cast.collection, cast.batch.batch_id, {2}),)
        last = acts.Replace(UPLOAD, cast.collection, 1, (parts[1],), Reason.MISTAKE, erasures)
        live.land(live.owner, last)
        await live.push()
        wanted = [(part.batch_id, (0,)) for part in parts]
        answer = await live.fetch(live.owner, cast.collection, *wanted)
        assert blocks_in(answer.body) == [live.blocks[part.batch_id][0] for part in parts]
        assert [cells_of(block)[2] for block in await served(live, live.owner, cast)] == [b"", b""]


# --- who can


async def test_it_takes_no_key_to_erase_but_the_blocks(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        keyless = cast["keyless"]
        assert not [
            a for a in live.held(keyless) if a.collection == cast.collection and a.field < 2
        ]
        assert await served(live, keyless, cast) == live.blocks[cast.batch.batch_id]
        await live.pull()
        live.erase(keyless, cast.collection, {cast.batch.batch_id: {0}})
        await live.push()
        assert [cells_of(block)[0] for block in await served(live, keyless, cast)] == [b"", b""]


@pytest.mark.threat("S10")
async def test_who_had_the_key_and_lost_it_is_not_served_what_it_opens(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        admin = cast["admin"]
        assert await served(live, admin, cast) == live.blocks[cast.batch.batch_id]
        await live.pull()
        live.land(live.owner, acts.ChangeRole(admin.member_id, Role.KEYLESS_ADMIN))
        live.epochs(live.owner, (cast.collection, 0), (cast.collection, 1))
        later = live.records(cast.collection)
        live.commit(live.owner, cast.collection, later)
        await live.push()
        refused = await live.fetch(admin, cast.collection, (cast.batch.batch_id, (0,)))
        assert told(refused) == (404, "not_found")
        # what is sealed since, it has no key of, and may need to erase
        answer = await live.fetch(admin, cast.collection, (later.batch_id, (0, 1)))
        assert tuple(blocks_in(answer.body)) == live.blocks[later.batch_id]


async def test_bidders_and_auditors_erase_nothing(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        erasure = live.erasure(cast.collection, cast.batch.batch_id, {0})
        for name in ("bidder", "auditor", "unconfirmed", "unconfirmed admin", "revoked"):
            leaf = erasing(live, cast[name], cast, erasure)
            assert (await live.submit(cast[name], leaf)).status == 403, name
        assert await log_is_unchanged(live)


# --- what is there, and how much


async def test_an_erasure_names_what_is_there(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        rightly = live.erasure(cast.collection, cast.batch.batch_id, {0})
        first, second = rightly.blocks
        for erasure in (
            replace(rightly, batch=os.urandom(16)),
            replace(rightly, positions=(RECORDS,)),
            replace(rightly, blocks=rightly.blocks[:1]),
            replace(rightly, blocks=(replace(first, before=bytes(32)), second)),
        ):
            refused = await live.submit(live.owner, erasing(live, live.owner, cast, erasure))
            assert told(refused) == (409, "out_of_order")
        live.land_leaf(erasing(live, live.owner, cast, rightly), (), (live.owner,))
        await live.push()
        refused = await live.submit(live.owner, erasing(live, live.owner, cast, rightly))
        assert told(refused) == (409, "out_of_order")
        # the act itself is answered again
        again = await live.submit(live.owner, live.leaves[-1][0])
        assert again.read(api.Submitted).index == live.ledger.size - 1


async def test_no_block_is_read_for_an_erasure_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        reading = Spy(server.service._storage.read_block)
        monkeypatch.setattr(server.service._storage, "read_block", reading)
        size = sum(map(len, live.blocks[cast.batch.batch_id]))
        rightly = live.erasure(cast.collection, cast.batch.batch_id, {0})
        leaf = erasing(live, live.owner, cast, rightly)
        for room, status in ((size - 1, 413), (size, 200)):
            monkeypatch.setattr(data, "LIMITS", replace(LIMITS, erase_bytes=room))
            assert (await live.submit(live.owner, leaf)).status == status
            assert len(reading.threads) == (0 if status == 413 else 2)


async def test_a_block_that_the_store_has_lost_is_not_erased_as_if_it_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        erasure = live.erasure(cast.collection, cast.batch.batch_id, {0})
        leaf = erasing(live, live.owner, cast, erasure)

        async def lost(vault: bytes, key: BlockKey) -> None:
            return None

        with monkeypatch.context() as patch:
            patch.setattr(server.service._storage, "read_block", lost)
            assert told(await live.submit(live.owner, leaf)) == (503, "storage_damaged")
        assert await log_is_unchanged(live)
        assert (await live.submit(live.owner, leaf)).status == 200


@pytest.mark.threat("D1")
async def test_few_erasures_are_in_memory_at_once_and_none_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all vaults together: each holds the blocks that it reads, and those that it makes."""
    async with live_vault(tmp_path, create_burst=100) as (server, first):
        vaults = [first]
        for _ in range(4):
            vaults.append(LiveVault(server=first.server, asker=first.asker, token=first.token))
        prepared = []
        for live in vaults:
            live.people()
            where = live.collection(FieldClass.GENERAL)
            batch = live.records(where)
            live.commit(live.owner, where, batch)
            await live.push()
            erasure = live.erasure(where, batch.batch_id, {0})
            prepared.append(live.leaf(live.owner, acts.Erase(where, Reason.REQUEST, (erasure,))))
        storage = server.service._storage
        inside, most, go_on, read = 0, 0, asyncio.Event(), storage.read_block

        async def counted(vault: bytes, key: BlockKey) -> bytes | None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await go_on.wait()
            inside -= 1
            return await read(vault, key)

        emptying, finding = Spy(empty_cells), Spy(effects_of)
        monkeypatch.setattr(effects, "empty_cells", emptying)
        monkeypatch.setattr(landing, "effects_of", finding)
        monkeypatch.setattr(storage, "read_block", counted)
        under_way = [
            asyncio.create_task(live.submit(live.owner, leaf))
            for live, leaf in zip(vaults, prepared, strict=True)
        ]
        try:
            async with asyncio.timeout(HANGS_SECONDS):
                while inside < 2:
                    await asyncio.sleep(0.01)
            # whatever else is asked meanwhile is answered
            other = LiveVault(server=first.server, asker=first.asker, token=first.token)
            await other.push()
            noop = other.leaf(other.owner, acts.Noop())
            assert (await other.submit(other.owner, noop)).status == 200
            assert inside == 2
        finally:
            go_on.set()
        assert {answer.status for answer in await asyncio.gather(*under_way)} == {200}
        assert most == landing.ERASURES_AT_ONCE == 2
        # and the loop waits for none of the work on blocks
        assert emptying.only_elsewhere
        assert finding.only_elsewhere


# --- beside a re-encryption


@pytest.mark.threat("V3")
async def test_what_was_sealed_anew_is_gone_too(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        moves = live.moves(cast.collection, 0, 1)
        anew = [live.contents[move.block.sha256] for move in moves]
        payload = acts.Reencrypt(UPLOAD, cast.collection, 0, False, moves)
        live.land(live.owner, payload)
        await live.push()
        assert remains(tmp_path, anew) == anew
        live.erase(cast["keyless"], cast.collection, {cast.batch.batch_id: {1}})
        await live.push()
        assert await vanish(tmp_path, anew)
        # its last part lands, and moves nothing of what changed
        other = live.records(cast.collection)
        live.commit(live.owner, cast.collection, other)
        live.epochs(live.owner, (cast.collection, 0))
        rest = live.moves(cast.collection, 0, batches={other.batch_id})
        live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 1, True, rest))
        await live.push()
        found = await served(live, live.owner, cast)
        assert found == live.current(cast.collection, cast.batch.batch_id)
        assert [cells_of(block)[1] for block in found] == [b"", b""]
