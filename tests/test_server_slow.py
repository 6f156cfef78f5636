"""Large bodies that come slowly: who may send one at all, and whom they keep waiting."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest

from protocol import acts, api
from protocol.acts import Role
from protocol.blocks import FieldClass
from protocol.errors import NotAuthorised
from protocol.ledger.holders import held
from protocol.limits import LIMITS, MIB
from protocol.wire import to_bytes
from tests.casts import staged_cast
from tests.heads import answered_by_the_head
from tests.servers import LiveVault, head_of, live_vault, raw
from tests.test_server_door import signed
from tests.world import World, of_class
from vault import door as door_module
from vault.bodies import read_body
from vault.callers import ACT_BYTES, SHARE_BYTES, Caller, brought

LARGE: Final = MIB + 200_000
ANSWERED_SECONDS: Final = 20
"""Long enough for a busy machine, and less than a slow body may take: it has 30 s to begin."""
ROUTES: Final = {
    "acts": ("POST", api.ACTS, api.CONTENT_TYPE),
    "batch": ("PUT", api.BATCH, api.BATCH_CONTENT_TYPE),
    "batches": ("PUT", api.BATCHES, api.BATCHES_CONTENT_TYPE),
}


async def neighbour(live: LiveVault) -> LiveVault:
    """Return another vault on the same server."""
    other = LiveVault(server=live.server, asker=live.asker, token=live.token)
    await other.push()
    return other


class Reading:
    """Counts the large bodies that the server has begun to read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self._more = asyncio.Event()
        monkeypatch.setattr(door_module, "read_body", self._read)

    async def _read(self, incoming: Any, length: int, pace: Any) -> tuple[bytes, bytes | None]:
        if length > door_module.LARGE_BODY:
            self.begun += 1
            self._more.set()
        return await read_body(incoming, length, pace)

    async def until(self, count: int) -> None:
        while self.begun < count:
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), ANSWERED_SECONDS)


@pytest.mark.threat("D5")
@pytest.mark.parametrize("route", ROUTES)
async def test_slow_bodies_of_one_vault_keep_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    method, template, kind = ROUTES[route]
    ids = {"upload": bytes(16), "batch": bytes(16)}
    async with (
        live_vault(tmp_path, body_grace_seconds=30) as (server, live),
        AsyncExitStack() as stack,
    ):
        cast, other = await staged_cast(live), await neighbour(live)
        reading = Reading(monkeypatch)
        for who in (live.owner, cast["admin"]) * 6:
            start = head_of(server.url, who, method, live.at(template, **ids), bytes(LARGE), kind)
            _, writer = await stack.enter_async_context(raw(server.url, server.pin))
            writer.write(start + b"slow")
        await reading.until(4)
        for _ in range(3):
            path = other.at(template, **ids)
            headers = signed(other, other.owner, method, path, bytes(LARGE), kind)
            assert other.asker is not None
            asked = other.asker.send(method, path, headers, BytesIO(bytes(LARGE)))
            answer = await asyncio.wait_for(asked, ANSWERED_SECONDS)
            assert answer.code in {"malformed", "limit_exceeded"}  # it was read
        assert reading.begun == 4 + 3


@pytest.mark.threat("D5")
async def test_no_large_act_is_read_of_those_who_have_none_to_send(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast, path = await staged_cast(live), live.at(api.ACTS)
        asked = partial(answered_by_the_head, server, live)
        commits = ("owner", "admin", "keyless")
        others = ("bidder", "auditor", "unconfirmed", "unconfirmed admin", "invite", "used invite")
        for size in (LARGE, api.ACT_BODY_BYTES):
            for name in commits:
                assert await asked(cast[name], path, size) is None, name
            for name in others:
                assert await asked(cast[name], path, size) == 413, name
        # each epoch that somebody holds may come along
        shares = len(held(live.state, cast["bidder"].member_id))
        most = ACT_BYTES + SHARE_BYTES * shares
        assert shares
        assert await asked(cast["bidder"], path, most) is None
        assert await asked(cast["bidder"], path, most + 1) == 413


def test_what_a_new_identity_takes_along_is_no_more_than_is_read() -> None:
    world = World()
    world.people()
    for _ in range(3):
        world.collection(*(FieldClass.GENERAL,) * 40)
    bidder = world.member(Role.BIDDER, (of_class(FieldClass.GENERAL),))
    shares = len(world.held(bidder))
    world.rotate(bidder)
    leaf, sides = world.leaves[-1]
    assert shares >= 120
    assert len(to_bytes(api.SubmitAct(leaf[1:], sides))) < 8_000 + SHARE_BYTES * shares
    # and what comes along for each at the largest numbers there are still fits
    assert max(map(len, sides[:-1])) + 3 + 32 + 8 < SHARE_BYTES


def test_the_longest_acceptance_is_no_more_than_is_read() -> None:
    most = 2**53
    receipts = tuple(
        acts.CollectionReceipt(number.to_bytes(16, "big"), b"r" * 32, most, most)
        for number in range(LIMITS.collections + 1)
    )
    encoded = to_bytes(acts.Accept(most, most, receipts))
    assert 256_000 < len(encoded) < ACT_BYTES - 8_000


def test_an_access_key_has_no_act_to_send_however_short() -> None:
    world = World()
    world.people()
    world.invite(world.owner, Role.BIDDER)
    (invite,) = (each for each in world.state.invites.values() if each.live)
    Caller(invite.id, invite=invite).expect_author(1)
    for nobody in (Caller(bytes(32), invite=invite), Caller(bytes(32), rebuilds=True)):
        assert nobody.visible(7) == 7
        with pytest.raises(NotAuthorised, match="reads the log, and nothing else"):
            nobody.expect_author(1)


def test_an_invite_brought_somebody_as_long_as_that_member_is_there() -> None:
    world = World()
    world.people()
    newcomer = world.member(Role.BIDDER)
    invite = world.state.members[newcomer.member_id].invite
    assert invite is not None
    assert brought(world.state, invite) == newcomer.member_id
    assert brought(world.state, bytes(32)) is None
    world.remove(newcomer)
    assert brought(world.state, invite) is None
