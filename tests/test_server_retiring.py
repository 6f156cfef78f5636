"""Freezing, retiring and destroying: what is served no more, and what is left in the files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from protocol import acts, api
from protocol.acts import Reason, Statement
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD, Address, FieldClass, catalog_field
from protocol.errors import Frozen, NotFound
from protocol.ledger.sides import WrapsPart, parse_part
from protocol.merkle import leaf_hash
from tests.casts import Cast, staged_cast
from tests.remains import remains, vanish
from tests.servers import Answer, LiveVault, blocks_in, live_vault
from tests.test_server_attacks import Spy
from tests.world import of_class
from vault import vaults
from vault.vaults import OpenVault

UPLOAD = b"\x42" * 16
GENERAL = catalog_field(FieldClass.GENERAL)


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.code


async def whole_log(live: LiveVault, who: Any) -> list[api.LogLeaf]:
    found: list[api.LogLeaf] = []
    while True:
        page = await live.get(who, live.at(api.LOG) + f"?from={len(found)}")
        leaves = page.read(api.LogPage).leaves
        if not leaves:
            return found
        found += leaves


def epochs_in(sides: Sequence[bytes]) -> list[set[Address]]:
    """Return of which epochs each part beside one act is, as the parts themselves say."""
    parts = [parse_part(part) for part in sides]
    wraps = [part for part in parts if isinstance(part, WrapsPart)]

    def boxed_for(recipient: bytes) -> set[Address]:
        return {p.address for p in wraps if recipient in {each.recipient for each in p.entries}}

    return [
        {part.address} if isinstance(part, WrapsPart) else boxed_for(part.recipient)
        for part in parts
    ]


def parts_of(live: LiveVault, *gone: Address) -> tuple[list[bytes], list[bytes]]:
    """Return the parts that are of nothing but these epochs, and the others."""
    theirs: list[bytes] = []
    others: list[bytes] = []
    for _, sides in live.leaves:
        for part, epochs in zip(sides, epochs_in(sides), strict=True):
            (theirs if epochs <= set(gone) else others).append(part)
    return theirs, others


def there(leaves: Iterable[api.LogLeaf]) -> tuple[list[bytes], list[bytes]]:
    """Return the contents, and the hashes, that stand beside leaves."""
    parts = [part for leaf in leaves for part in leaf.sides]
    return (
        [part.content for part in parts if part.content is not None],
        [part.digest for part in parts if part.digest is not None],
    )


# --- freezing


async def test_a_freeze_cuts_off_what_is_being_sent(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        wanted = api.FetchBlocks(cast.collection, (api.WantedBatch(cast.batch.batch_id, (0, 1)),))
        reader = cast["admin"].member_id
        length, pieces = await server.service.fetch(live.vault_id, reader, bytes(32), wanted)
        got = [await anext(pieces), await anext(pieces)]
        await live.pull()
        live.land(cast["keyless"], acts.Freeze(Reason.BREACH))
        await live.push()
        with pytest.raises(Frozen):
            await anext(pieces)
        assert 0 < sum(map(len, got)) < length


async def test_while_frozen_the_log_is_read_and_removals_land(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        bidder = cast["bidder"]
        live.land(live.owner, acts.Freeze(Reason.BREACH))
        await live.push()
        for who in ("owner", "admin", "bidder", "auditor", "invite", "access"):
            assert len(await whole_log(live, cast[who])) == live.ledger.size
        grant = acts.Grant(bidder.member_id, (of_class(FieldClass.CORE),))
        for payload in (
            grant,
            acts.Freeze(Reason.OTHER),
            acts.DefineCollection(os.urandom(16), (FieldClass.CORE,)),
        ):
            refused = await live.submit(live.owner, live.leaf(live.owner, payload))
            assert told(refused) == (409, "out_of_order")
        live.land(live.owner, acts.Revoke(bidder.member_id, Reason.BREACH))
        await live.push()
        assert (
            await live.submit(live.owner, live.leaf(cast["admin"], acts.Unfreeze()))
        ).status == 403
        live.land(live.owner, acts.Unfreeze())
        await live.push()
        wanted = (cast.batch.batch_id, (0, 1))
        answer = await live.fetch(live.owner, cast.collection, wanted)
        assert tuple(blocks_in(answer.body)) == live.blocks[cast.batch.batch_id]


async def test_an_upload_that_a_freeze_found_goes_on_after_it(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        first, second = live.records(cast.collection), live.records(cast.collection)
        live.land(live.owner, acts.Commit(UPLOAD, cast.collection, 0, False, (first,)))
        live.land(live.owner, acts.Freeze(Reason.BREACH))
        await live.push()
        assert told(await live.stage(live.owner, UPLOAD, second)) == (409, "frozen")
        listed = await live.get(live.owner, live.at(api.UPLOAD, upload=UPLOAD))
        assert listed.read(api.Staged).batches == (first.batch_id,)
        live.land(live.owner, acts.Unfreeze())
        live.land(live.owner, acts.Commit(UPLOAD, cast.collection, 1, True, (second,)))
        await live.push()
        wanted = [(each.batch_id, (0,)) for each in (first, second)]
        assert (await live.fetch(live.owner, cast.collection, *wanted)).status == 200


# --- retiring epochs


async def rotated(live: LiveVault, cast: Cast) -> tuple[Address, ...]:
    """Re-encrypt both fields, and return the epochs under which nothing is left."""
    live.reencrypt(live.owner, cast.collection, 0, 1)
    return Address(cast.collection, 0, 1), Address(cast.collection, 1, 1)


@pytest.mark.threat("M2")
async def test_of_retired_epochs_the_log_keeps_hashes_and_the_files_nothing(
    tmp_path: Path,
) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        gone = await rotated(live, cast)
        await live.push()
        theirs, others = parts_of(live, *gone)
        assert len(theirs) > 4
        assert remains(tmp_path, theirs) == theirs
        assert there(await whole_log(live, live.owner))[1] == []
        live.retire(live.owner, *gone)
        await live.push()
        leaves = await whole_log(live, cast["bidder"])
        contents, digests = there(leaves)
        # what has shares of other epochs too, stays
        assert contents == others
        assert digests == [leaf_hash(part) for part in theirs]
        for (_, sides), leaf in zip(live.leaves, leaves, strict=True):
            hashes = [part.digest or leaf_hash(part.content or b"") for part in leaf.sides]
            assert hashes == [leaf_hash(part) for part in sides]
        assert await vanish(tmp_path, [*theirs, *live.blocks[cast.batch.batch_id]])
        assert remains(tmp_path, others) == others


async def test_a_box_goes_with_the_last_of_its_epochs(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        fields = ((cast.collection, 0), (cast.collection, 1))
        live.epochs(live.owner, *fields)
        index = live.ledger.size - 1
        live.epochs(live.owner, *fields)
        await live.push()
        both = {Address(*each, 3) for each in fields}
        sides = live.leaves[index][1]
        boxes = [p for p, epochs in zip(sides, epochs_in(sides), strict=True) if epochs == both]
        assert len(boxes) == 2  # the owner's and the admin's hold a share of each
        for number, left in ((0, boxes), (1, [])):
            live.retire(live.owner, Address(cast.collection, number, 3))
            await live.push()
            leaf = (await whole_log(live, live.owner))[index]
            found = [part.content for part in leaf.sides if part.content is not None]
            assert [part for part in found if part in boxes] == left
        leaf = (await whole_log(live, live.owner))[index]
        assert leaf.sides == tuple(api.LogPart(None, leaf_hash(part)) for part in sides)
        assert await vanish(tmp_path, sides)


async def test_keys_of_retired_epochs_are_passed_on_to_nobody(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        gone = await rotated(live, cast)
        live.retire(live.owner, *gone)
        rules = (of_class(FieldClass.CORE),)
        live.land(
            live.owner, acts.Grant(cast["bidder"].member_id, rules), readers=(cast["bidder"],)
        )
        await live.push()
        wanted = (cast.batch.batch_id, (0, 1))
        answer = await live.fetch(cast["bidder"], cast.collection, wanted)
        assert tuple(blocks_in(answer.body)) == live.current(cast.collection, cast.batch.batch_id)
        vault = await server.service._shelf.open(live.vault_id)
        assert not [key for key in vault._wraps if key[0] in gone]
        listed = [each for parts in vault._parts.values() for each in parts.values()]
        assert not [each for each in listed if set(each) <= set(gone)]


async def test_what_is_retired_is_looked_for_where_the_loop_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        gone = await rotated(live, cast)
        await live.push()
        looking, required = Spy(OpenVault._retired), Spy(vaults._parts_of)

        def retired(vault: OpenVault, landed: Any) -> Any:
            return looking(vault, landed)

        monkeypatch.setattr(OpenVault, "_retired", retired)
        monkeypatch.setattr(vaults, "_parts_of", required)
        live.retire(live.owner, *gone)
        await live.push()
        assert looking.only_elsewhere
        assert required.only_elsewhere


# --- retiring collections


@pytest.mark.threat("M2")
async def test_a_retired_collection_leaves_nothing_and_harms_no_other(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        kept = live.collection(FieldClass.GENERAL)
        stays = live.records(kept)
        live.commit(live.owner, kept, stays)
        half = live.records(cast.collection)
        live.land(live.owner, acts.Commit(UPLOAD, cast.collection, 0, False, (half,)))
        await live.push()
        batches = live.state.collections[cast.collection].batches
        blocks = [block for b in batches for block in live.current(cast.collection, b.id)]
        addresses = [a for a in live.state.live_addresses() if a.collection == cast.collection]
        theirs, _ = parts_of(live, *addresses)
        assert len(blocks) == 4
        assert remains(tmp_path, [*blocks, *theirs]) == [*blocks, *theirs]
        live.land(live.owner, acts.RetireCollection(cast.collection, Reason.RETENTION))
        await live.push()
        wanted = (cast.batch.batch_id, (0, 1))
        for who in (live.owner, cast["admin"], cast["bidder"]):
            assert told(await live.fetch(who, cast.collection, wanted)) == (404, "not_found")
        assert await vanish(tmp_path, [*blocks, *theirs])
        answer = await live.fetch(live.owner, kept, (stays.batch_id, (0,)))
        assert tuple(blocks_in(answer.body)) == live.blocks[stays.batch_id]
        # nothing of it can be committed, staged anew, or read by its ids
        await live.pull()
        again = live.leaf(live.owner, acts.DefineCollection(cast.collection, (FieldClass.CORE,)))
        assert told(await live.submit(live.owner, again)) == (409, "conflict")
        assert (await live.stage(live.owner, os.urandom(16), cast.batch)).status == 403


async def test_whoever_reads_a_collection_that_is_retired_is_cut_off(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        wanted = api.FetchBlocks(cast.collection, (api.WantedBatch(cast.batch.batch_id, (0, 1)),))
        reader = cast["admin"].member_id
        _, pieces = await server.service.fetch(live.vault_id, reader, bytes(32), wanted)
        await anext(pieces)
        await live.pull()
        live.land(live.owner, acts.RetireCollection(cast.collection, Reason.RETENTION))
        await live.push()
        with pytest.raises(NotFound):
            async for _ in pieces:
                pass


# --- destroying


@pytest.mark.threat("M2")
async def test_of_a_destroyed_vault_the_log_is_left_and_nothing_else(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (server, live):
        cast = await staged_cast(live)
        other = LiveVault(server=live.server, asker=live.asker, token=live.token)
        await staged_cast(other)
        await live.stage(live.owner, UPLOAD, live.records(cast.collection))
        contents = [*live.contents.values()]
        parts = [part for _, sides in live.leaves for part in sides]
        assert len(contents) > 5
        wanted = api.FetchBlocks(cast.collection, (api.WantedBatch(cast.batch.batch_id, (0, 1)),))
        reader = live.owner.member_id
        _, pieces = await server.service.fetch(live.vault_id, reader, bytes(32), wanted)
        assert len([await anext(pieces), await anext(pieces)]) == 2
        await live.pull()
        live.land(live.owner, acts.Destroy(Reason.REQUEST))
        await live.push()
        with pytest.raises(Frozen, match="destroyed"):
            await anext(pieces)
        assert await vanish(tmp_path, [*contents, *parts])
        for who in ("owner", "bidder", "auditor", "access"):
            leaves = await whole_log(live, cast[who])
            assert [each.leaf for each in leaves] == [leaf for leaf, _ in live.leaves]
            assert there(leaves) == ([], [leaf_hash(part) for part in parts])
        removed_at = live.state.members[cast["revoked"].member_id].removed_at
        assert len(await whole_log(live, cast["revoked"])) == (removed_at or 0) + 1
        fetch = (cast.batch.batch_id, (0,))
        assert told(await live.fetch(live.owner, cast.collection, fetch)) == (409, "frozen")
        new = live.manifest(PEOPLE_COLLECTION, (PEOPLE_FIELD,))
        assert told(await live.stage(live.owner, UPLOAD, new)) == (409, "frozen")
        noop = live.leaf(live.owner, acts.Noop())
        assert told(await live.submit(live.owner, noop)) == (409, "out_of_order")
        live.land(cast["bidder"], acts.Attest(Statement.KEYS_DESTROYED))
        await live.push()
        # a vault beside it has all that it had
        assert remains(tmp_path, other.contents.values()) == [*other.contents.values()]
        assert there(await whole_log(other, other.owner))[1] == []


async def test_the_server_waits_for_no_sweeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        storage, sweep, go_on = (
            server.service._storage,
            server.service._storage.sweep,
            asyncio.Event(),
        )

        async def slowly(max_bytes: int) -> int:
            await go_on.wait()
            return await sweep(1)

        monkeypatch.setattr(storage, "sweep", slowly)
        live.land(live.owner, acts.RetireCollection(cast.collection, Reason.RETENTION))
        live.land(live.owner, acts.Noop())
        await live.push()
        blocks = live.blocks[cast.batch.batch_id]
        assert remains(tmp_path, blocks) == [*blocks]
        go_on.set()
        assert await vanish(tmp_path, blocks)
