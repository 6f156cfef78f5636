"""Admins with keys against the store: the log must never list a block that nobody has."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from protocol import acts
from protocol.acts import MovedBlock
from protocol.blocks import BlockRef
from tests.casts import Cast, staged_cast
from tests.servers import Answer, LiveVault, blocks_in, live_vault, made_anew, sealed

UPLOAD, OTHER = b"\x42" * 16, b"\x43" * 16


async def fetched(live: LiveVault, cast: Cast, *batches: bytes) -> list[bytes]:
    answer = await live.fetch(live.owner, cast.collection, *((each, (0,)) for each in batches))
    assert answer.status == 200, answer
    await live.pull()
    return blocks_in(answer.body)


async def two_batches(live: LiveVault) -> tuple[Cast, tuple[bytes, bytes]]:
    cast = await staged_cast(live)
    more = live.records(cast.collection)
    live.commit(live.owner, cast.collection, more)
    live.epochs(live.owner, (cast.collection, 0))
    await live.push()
    return cast, (cast.batch.batch_id, more.batch_id)


@pytest.mark.threat("K14")
@pytest.mark.parametrize("staged", ["others", "its own"])
async def test_no_re_encryption_takes_away_what_somebody_else_has_staged(
    tmp_path: Path, staged: str
) -> None:
    """A part that has landed tells its blocks' hashes; a move may say that it was made from one."""
    async with live_vault(tmp_path) as (_, live):
        cast, (first, second) = await two_batches(live)
        admin = cast["admin"]
        parts = [live.moves(cast.collection, 0, batches={each}) for each in (first, second)]
        live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 0, False, parts[0]))
        (named,) = (move.block.sha256 for move in parts[0])
        (move,) = live.moves(cast.collection, 0, batches={first})
        if staged == "its own":  # the very bytes, which it may have had a hand in making
            move = replace(move, block=replace(move.block, sha256=named, salt=os.urandom(16)))
            move = replace(move, before=bytes(32))
        else:
            move = replace(move, before=named)
        live.land(admin, acts.Reencrypt(OTHER, cast.collection, 0, True, (move,)))
        live.land(live.owner, acts.Reencrypt(UPLOAD, cast.collection, 1, True, parts[1]))
        await live.push()
        wanted = [live.contents[each[0].block.sha256] for each in parts]
        assert await fetched(live, cast, first, second) == wanted


@pytest.mark.threat("V3")
async def test_nothing_moves_to_a_block_that_went_with_an_erasure(tmp_path: Path) -> None:
    """It was staged before, and made, by what it says, of what the erasure would leave."""
    async with live_vault(tmp_path) as (_, live):
        cast, (first, second) = await two_batches(live)
        admin = cast["admin"]
        erasure = live.erasure(cast.collection, first, {0})
        (left,) = (each for each in erasure.blocks if each.field == 0)
        newest = live.state.newest(cast.collection, 0)
        assert newest is not None
        new = sealed((0, 32, 32))
        (ref,) = (r for r in cast.batch.blocks if r.field == 0)
        block = BlockRef(
            0, newest.address.epoch, os.urandom(16), len(new), live.keep(new), ref.padding
        )
        early = MovedBlock(first, left.after, block)
        live.land(admin, acts.Reencrypt(OTHER, cast.collection, 0, False, (early,)))
        live.land(admin, acts.Erase(cast.collection, acts.Reason.REQUEST, (erasure,)))
        await live.push()
        rest = live.moves(cast.collection, 0, batches={second})
        last = live.leaf(admin, acts.Reencrypt(OTHER, cast.collection, 1, True, rest))
        assert await staged_for(live, admin, cast, rest) == 200
        refused = await live.submit(admin, last)
        assert (refused.status, refused.code) == (409, "not_staged")
        assert await fetched(live, cast, first) == [live.contents[left.after]]
        # and all of it can still be erased
        live.erase(live.owner, cast.collection, {first: {1, 2}})
        await live.push()


async def staged_for(
    live: LiveVault, who: object, cast: Cast, moves: tuple[MovedBlock, ...]
) -> int:
    known = live.state.collections[cast.collection].by_id()
    (manifest,) = made_anew(known, moves)
    answer: Answer = await live.stage(who, OTHER, manifest)
    return answer.status
