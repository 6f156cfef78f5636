"""How much a member may add to a vault's log in a day."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from protocol import acts, api
from protocol.errors import RateLimited
from protocol.limits import DAY
from tests.casts import staged_cast
from tests.servers import live_vault
from tests.test_server_attacks import noop
from vault.allowance import FETCHES_PER_ACT, OTHERS_PER_COMMITTER, Allowance, Standing


@pytest.mark.threat("D4")
async def test_a_day_has_so_many_leaves_for_each_member(tmp_path: Path) -> None:
    async with live_vault(tmp_path, acts_per_day=60) as (_, live):
        cast = await staged_cast(live)
        wanted = (cast.batch.batch_id, (0,))
        # whoever commits nothing has a tenth: six acts, here
        bidder = cast["bidder"]
        acted = [await live.submit(bidder, noop(live, bidder, step)) for step in range(8)]
        assert [answer.status for answer in acted] == [200] * 6 + [429] * 2
        assert "in one day" in acted[-1].error.message
        # a tenth of sixty acts are earned again in a day, so one takes four hours
        assert 13_000 < int(acted[-1].headers["Retry-After"]) <= 4 * 3_600
        # reading counts too, less, and is paid from the same
        assert (await live.fetch(bidder, cast.collection, wanted)).status == 429
        assert (await live.get(bidder, live.at(api.LOG) + "?from=0")).status == 200
        # the others have their own, and whoever commits has more
        admin = cast["admin"]
        more = [await live.submit(admin, noop(live, admin, step)) for step in range(10)]
        assert {answer.status for answer in more} == {200}
        assert (await live.fetch(admin, cast.collection, wanted)).status == 200


@pytest.mark.threat("D4")
async def test_a_new_identity_has_no_new_day(tmp_path: Path) -> None:
    async with live_vault(tmp_path, acts_per_day=60) as (_, live):
        cast = await staged_cast(live)
        bidder = cast["bidder"]
        for step in range(5):
            assert (await live.submit(bidder, noop(live, bidder, step))).status == 200
        await live.pull()
        renewed = live.rotate(bidder)
        live.land(live.owner, acts.Confirm(renewed.member_id))
        await live.push()
        assert (await live.submit(renewed, noop(live, renewed))).status == 429


@pytest.mark.threat("D4")
async def test_invites_are_no_allowances(tmp_path: Path) -> None:
    """Each puppet has a day of six acts; all of one admin's together have one of sixty."""
    async with live_vault(tmp_path, acts_per_day=60, request_burst=10_000) as (_, live):
        cast = await staged_cast(live)
        puppets = [live.member(inviter=cast["admin"]) for _ in range(12)]
        await live.push()
        taken = []
        for puppet in puppets:
            for step in range(7):
                taken.append((await live.submit(puppet, noop(live, puppet, step))).status)
        assert taken.count(200) == 60 - len(puppets)  # who joined spent one by that
        # Whoever brought them in, whoever somebody else did, and the owner have theirs.
        for who in (cast["admin"], cast["bidder"], live.owner):
            assert (await live.submit(who, noop(live, who))).status == 200


def test_a_day_costs_what_it_should() -> None:
    allowance = Allowance(100)
    reader, writer = Standing(b"r", commits=False), Standing(b"w", commits=True)

    def left(whose: Standing, template: str, now: float) -> int:
        count = 0
        with suppress(RateLimited):
            while True:
                allowance.spend(template, b"v", whose, now)
                count += 1
        return count

    assert left(reader, api.BLOCKS, 0.0) == 100 * FETCHES_PER_ACT // OTHERS_PER_COMMITTER
    assert left(reader, api.ACTS, 0.0) == 0
    assert left(writer, api.ACTS, 0.0) == 100
    assert left(reader, api.ACTS, DAY / 2) == 100 // OTHERS_PER_COMMITTER // 2
    assert left(writer, api.ACTS, DAY / 2) == 50
    assert left(writer, api.ACTS, 10 * DAY) == 100
    assert left(Standing(b"w", commits=False), api.ACTS, 10 * DAY) == 0
    # those whom one brought in have a day together, and take nothing from that one
    brought = [Standing(b"%d" % n, commits=False, by=b"w") for n in range(12)]
    assert sum(left(each, api.ACTS, 20 * DAY) for each in brought) == 100
    assert left(writer, api.ACTS, 20 * DAY) == 100
    assert left(Standing(b"a", commits=True, by=b"w"), api.ACTS, 20 * DAY) == 100
    # what costs more than there ever is costs all of it
    Allowance(1).spend(api.ACTS, b"v", reader, 0.0)
