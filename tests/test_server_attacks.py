"""What was once tried against the server and now fails: each attack with an honest control."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.crypto.identity import Identity
from protocol import acts, api
from protocol.blocks import BlockRef, Manifest, Padding
from protocol.encoding import encode
from protocol.errors import MalformedMessage, NotAuthorised, NotFound, RateLimited
from protocol.ledger import act_leaf
from protocol.limits import KIB, LIMITS
from protocol.wire import from_bytes, to_bytes
from tests.casts import staged_cast
from tests.hangs import HANGS_SECONDS
from tests.heads import answered_by_the_head
from tests.rates import Standing
from tests.remains import remains, vanish
from tests.servers import Answer, LiveVault, asking, head_of, live_vault, raw, running_server
from vault import door as door_module
from vault import fetches, serving
from vault.app import RunningServer
from vault.fetches import _refs
from vault.handlers import blocks, calls, vaults
from vault.horizon import HORIZON_FILE
from vault.listener import Crowd, origin_of
from vault.rates import RateLimit
from vault.tls import load_or_create_checkpoint_key

UPLOAD = b"\x42" * 16
AHEAD_SECONDS = 50
NESTED = b"\xdd" + (8_000).to_bytes(4, "big") + b"\x90" * 8_000


class Spy:
    """Wraps a function, and notes in which thread it ran, each time."""

    def __init__(self, wrapped: Callable[..., Any]) -> None:
        self.wrapped = wrapped
        self.threads: list[int] = []

    def __call__(self, *values: Any) -> Any:
        self.threads.append(threading.get_ident())
        return self.wrapped(*values)

    @property
    def only_elsewhere(self) -> bool:
        """Whether it ran, and never in the thread of the caller: the loop's."""
        return bool(self.threads) and threading.get_ident() not in self.threads


def vault_for(server: RunningServer, data_dir: Path, asker: Any) -> LiveVault:
    key = load_or_create_checkpoint_key(data_dir)
    return LiveVault(server=key, asker=asker, token=server.token.reveal())


def noop(live: LiveVault, author: Identity, step: int = 0) -> bytes:
    act = live.draft(author, acts.Noop())
    numbered = acts.Act(
        act.vault_id, act.author, act.number + step, act.cited, act.payload, act.sides_root
    )
    return act_leaf(live.signed(author, numbered))


# --- strangers who create vaults


@pytest.mark.threat("D1")
async def test_a_genesis_is_short_or_not_read_at_all(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path) as server,
        asking(server.url, server.pin) as asker,
    ):
        live = vault_for(server, tmp_path, asker)
        genesis = live.leaves[0][0][1:]
        honest = to_bytes(api.CreateVault("t" * 128, genesis))
        assert len(honest) * 4 < LIMITS.genesis_bytes
        for size in (LIMITS.genesis_bytes + 1, 63 * KIB):
            start = head_of(server.url, live.owner, "POST", api.VAULTS, b"\x90" * size)
            async with raw(server.url, server.pin) as (reader, writer):
                writer.write(start)  # and nothing of the body
                line = await asyncio.wait_for(reader.readline(), HANGS_SECONDS)
            assert line.startswith(b"HTTP/1.1 413 ")
        assert LIMITS.genesis_bytes == 8 * KIB
        assert (await live.create()).status == 200


@pytest.mark.threat("D1")
async def test_nothing_is_parsed_for_whoever_lacks_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(vaults.owner_keys)
    monkeypatch.setattr(door_module, "owner_keys", spy)
    async with (
        running_server(tmp_path, create_burst=1, creates_per_second=1) as server,
        asking(server.url, server.pin) as asker,
    ):
        live = vault_for(server, tmp_path, asker)
        token, genesis = encode(live.token), encode(live.leaves[0][0][1:])
        other = encode(live.token[:-1] + ("a" if live.token[-1] != "a" else "b"))
        for body in (
            NESTED,
            b"\x92" + encode("") + encode(NESTED),
            b"\x92" + other + genesis,
            b"\x92" + encode(live.token[:-1]) + genesis,
            b"\x92" + token[:-1],
            b"\x93" + token + genesis + b"\xc0",
            b"\x92",
        ) * 5:
            refused = await live.ask(live.owner, "POST", api.VAULTS, body)
            assert (refused.status, refused.code) == (403, "not_authorised")
        assert spy.threads == []
        # nor did they use up what those with the token may
        assert (await live.create()).status == 200
        assert spy.only_elsewhere


async def test_the_service_asks_for_the_token_itself(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path) as server,
        asking(server.url, server.pin) as asker,
    ):
        live = vault_for(server, tmp_path, asker)
        owner, genesis = live.owner.member_id, live.leaves[0][0][1:]
        with pytest.raises(NotAuthorised, match="token"):
            await server.service.create_vault(owner, api.CreateVault("", genesis))
        asked = api.CreateVault(live.token, genesis)
        assert (await server.service.create_vault(owner, asked)).index == 0


@pytest.mark.threat("D4")
async def test_strangers_together_create_few_vaults_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy, clock = Spy(vaults.owner_keys), Standing(monkeypatch)
    monkeypatch.setattr(door_module, "owner_keys", spy)
    async with (
        running_server(tmp_path, open=True, create_burst=3, creates_per_second=1) as server,
        asking(server.url, server.pin) as asker,
    ):
        live = vault_for(server, tmp_path, asker)
        body = b"\x92" + encode("") + encode(NESTED)
        answers = await asyncio.gather(
            *(asker.ask(Identity.generate(), "POST", api.VAULTS, body) for _ in range(20))
        )
        assert {answer.status for answer in answers} == {400, 429}
        assert len(spy.threads) == 3
        assert spy.only_elsewhere
        limited = next(answer for answer in answers if answer.status == 429)
        assert limited.code == "rate_limited"
        assert (await asker.ask(None, "GET", api.SERVER)).status == 200
        assert (await live.create()).status == 429
        clock.now += int(limited.headers["Retry-After"])
        assert (await live.create()).status == 200


async def create_ahead(live: LiveVault) -> Answer:
    """Ask for a vault by a clock that runs ahead of the server's."""
    assert live.asker is not None
    body = to_bytes(api.CreateVault("", live.leaves[0][0][1:]))
    ahead = time.time() + AHEAD_SECONDS
    return await live.asker.ask(live.owner, "POST", api.VAULTS, body, now=ahead)


@pytest.mark.threat("H1")
async def test_creating_a_vault_moves_no_time_that_outlives_the_server(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, open=True) as server,
        asking(server.url, server.pin) as asker,
    ):
        live = vault_for(server, tmp_path, asker)
        stranger = LiveVault(asker=asker)  # whose genesis names another server's key
        for who, status in ((stranger, 422), (live, 200)):
            answer = await create_ahead(who)
            assert answer.status == status
        assert not (tmp_path / HORIZON_FILE).exists()
        live.pushed = 1
        path = live.at(api.LOG) + "?from=0"
        assert (await live.get(live.owner, path)).status == 200
    # so the next server takes its members' requests at once, and its strangers', again
    async with (
        running_server(tmp_path, open=True) as server,
        asking(server.url, server.pin) as asker,
    ):
        assert (await asker.get(live.owner, path)).status == 200
        live.asker = asker
        assert (await create_ahead(live)).read(api.Submitted).index == 0
        assert len(await server.service._storage.vault_ids()) == 1
        # a member's request, once accepted, is remembered for the server after this one
        ahead = time.time() + AHEAD_SECONDS
        assert (await asker.ask(live.owner, "GET", path, now=ahead)).status == 200
        assert (tmp_path / HORIZON_FILE).exists()


# --- members who send too much


def test_a_request_spends_what_it_costs() -> None:
    limit = RateLimit(2, 10)
    limit.spend(b"a", 0.0, 5)
    limit.spend(b"a", 0.0, 4)
    with pytest.raises(RateLimited) as refused:
        limit.spend(b"a", 0.0, 5)
    assert refused.value.retry_after == 2
    limit.spend(b"a", 0.0)  # what was refused cost nothing
    limit.spend(b"a", 2.5, 5)
    limit.spend(b"b", 2.5, 10)


@pytest.mark.threat("D4")
async def test_a_member_cannot_flood_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Standing(monkeypatch)
    settings: dict[str, Any] = {"requests_per_second": 1, "request_burst": 18}
    async with live_vault(tmp_path, **settings) as (_, live):
        other = live.member()
        await live.push()
        mine = [await live.submit(live.owner, noop(live, live.owner, step)) for step in range(6)]
        # inviting and confirming, too, were acts
        assert [answer.status for answer in mine] == [200, *(429,) * 5]
        limited = mine[-1]
        assert limited.code == "rate_limited"
        page = (await live.get(live.owner, live.at(api.LOG) + "?from=0")).read(api.LogPage)
        assert len(page.leaves) == live.ledger.size + 1
        # the others' acts land
        assert (await live.submit(other, noop(live, other))).status == 200
        clock.now += int(limited.headers["Retry-After"]) + 1  # for the page besides
        assert (await live.submit(live.owner, noop(live, live.owner, 1))).status == 200


async def test_an_act_never_costs_more_than_a_burst(tmp_path: Path) -> None:
    async with live_vault(tmp_path, act_cost=1_000, request_burst=3) as (_, live):
        assert (await live.submit(live.owner, noop(live, live.owner))).status == 200


@pytest.mark.threat("D4")
async def test_a_reader_cannot_flood_the_log_with_what_it_read(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"requests_per_second": 1, "request_burst": 400, "fetch_cost": 130}
    async with live_vault(tmp_path, **settings) as (_, live):
        cast = await staged_cast(live)
        size = live.ledger.size
        wanted = (cast.batch.batch_id, (0,))
        answers = [await live.fetch(cast["bidder"], cast.collection, wanted) for _ in range(6)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429, 429]
        assert answers[-1].code == "rate_limited"
        page = (await live.get(live.owner, live.at(api.LOG) + "?from=0")).read(api.LogPage)
        assert len(page.leaves) == size + 3
        # the others read on
        assert (await live.fetch(live.owner, cast.collection, wanted)).status == 200


@pytest.mark.threat("S10")
async def test_nothing_is_read_from_whoever_is_no_member_any_more(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        gone = live.invite(live.owner)[1]
        live.remove(live.join(gone))
        await live.push()
        # fmt: off
        expected = {
            #                 act   fetch
            "owner":         (None, None),
            "bidder":        (None, None),
            "unconfirmed":   (None, None),
            "invite":        (None, 404),
            "used invite":   (None, 404),
            "revoked":       (403,  404),
            "closed invite": (404,  404),
        }
        # fmt: on
        paths = (live.at(api.ACTS), live.at(api.BLOCKS))
        found = {
            name: tuple(
                [await answered_by_the_head(server, live, cast[name], path) for path in paths]
            )
            for name in expected
        }
        assert found == expected
        # whoever joined and was removed has its invite's key for nothing, too
        assert await answered_by_the_head(server, live, gone, paths[0]) == 404
        for name, status in (("access", 403), ("closed access", 404)):
            assert (await live.submit(cast[name], noop(live, live.owner))).status == status
        # a former member still reads the log up to its end
        log = live.at(api.LOG) + "?from=0"
        assert (await live.get(cast["revoked"], log)).status == 200


# --- a fetch that is small and costs much


def test_a_fetch_names_each_batch_once() -> None:
    one, other = api.WantedBatch(b"a" * 16, (0,)), api.WantedBatch(b"b" * 16, (0,))
    again = api.WantedBatch(b"a" * 16, (1,))
    for named in ((one, one), (one, other, again)):
        with pytest.raises(MalformedMessage, match="once"):
            api.FetchBlocks(bytes(16), named)
    packed = encode((bytes(16), ((one.batch, (0,)), (one.batch, (1,)))))
    with pytest.raises(MalformedMessage, match="once"):
        from_bytes(api.FetchBlocks, packed)
    both = api.FetchBlocks(bytes(16), (other, one))
    assert from_bytes(api.FetchBlocks, to_bytes(both)) == both


def test_the_entries_of_a_wide_manifest_are_found() -> None:
    blocks = tuple(
        BlockRef(number, 1, bytes(16), 4, bytes(32), Padding.UNIFORM) for number in (0, 2, 3, 9)
    )
    manifest = Manifest(bytes(16), 1, blocks)
    assert tuple(_refs(manifest, (0, 2, 3, 9))) == blocks
    assert tuple(_refs(manifest, (3,))) == (blocks[2],)
    for absent in (1, 4, 10):
        with pytest.raises(NotFound):
            tuple(_refs(manifest, (2, absent)))


@pytest.mark.threat("D1")
async def test_a_fetch_that_repeats_a_batch_is_refused_before_it_costs_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planning, parsing = Spy(fetches.plan_fetch), Spy(calls.parsed)
    monkeypatch.setattr(serving, "plan_fetch", planning)
    monkeypatch.setattr(blocks, "parsed", parsing)
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        size, batch = live.ledger.size, cast.batch.batch_id
        body = encode((cast.collection, ((batch, (0,)),) * LIMITS.fetch_blocks))
        refused = await live.ask(cast["bidder"], "POST", live.at(api.BLOCKS), body)
        assert (refused.status, refused.code) == (400, "malformed")
        assert planning.threads == []
        assert parsing.only_elsewhere
        page = (await live.get(live.owner, live.at(api.LOG) + f"?from={size}")).read(api.LogPage)
        assert page.leaves == ()
        assert (await live.fetch(cast["bidder"], cast.collection, (batch, (0,)))).status == 200


# --- connections


def test_an_origin_is_an_address_or_a_network_that_one_host_owns() -> None:
    assert origin_of("192.0.2.7") == origin_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert origin_of("192.0.2.8") != origin_of("192.0.2.7")
    assert origin_of("2001:db8:0:1::1") == origin_of("2001:db8:0:1:ffff::2")
    assert origin_of("2001:db8:0:1::1") != origin_of("2001:db8:0:2::1")
    assert origin_of("fe80::1%eth0") == origin_of("fe80::2")


def test_a_crowd_forgets_who_left() -> None:
    crowd = Crowd(2)
    assert [crowd.enter("a") for _ in range(3)] == [True, True, False]
    assert crowd.enter("b")
    crowd.leave("a")
    assert crowd.enter("a")
    for origin in ("a", "a", "b"):
        crowd.leave(origin)
    assert not crowd._here


@pytest.mark.threat("R16")
async def test_one_address_cannot_keep_the_others_out(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_connections_per_address=2) as server:
        async with raw(server.url, server.pin), raw(server.url, server.pin):
            assert await served(server, "127.0.0.1") is False
            assert await served(server, "127.0.0.2") is True
        # those that were turned away were not counted, and those that ended soon no longer are
        async with asyncio.timeout(HANGS_SECONDS):
            while not await served(server, "127.0.0.1"):
                await asyncio.sleep(0.01)


async def served(server: RunningServer, address: str) -> bool:
    """Say whether a new connection from an address of the loopback gets an answer."""
    async with raw(server.url, server.pin, (address, 0)) as (reader, writer):
        writer.write(b"GET /v1/server HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            line = await asyncio.wait_for(reader.readline(), HANGS_SECONDS)
        except OSError:
            return False
    return line.startswith(b"HTTP/1.1 200 ")


# --- an upload that is half committed


async def in_a_week(server: RunningServer) -> None:
    """Let the server clean up as if what is staged now were staged long ago."""
    service = server.service
    clock = service._clock
    service._clock = lambda: clock() + LIMITS.staged_seconds + 2
    await service.expire_staged()
    service._clock = clock


async def half_committed(live: LiveVault, collection: bytes) -> tuple[Manifest, Manifest]:
    """Commit the first of two parts, with the batch of the second staged."""
    first, second = live.records(collection), live.records(collection)
    live.land(live.owner, acts.Commit(UPLOAD, collection, 0, False, (first,)))
    await live.push()
    assert (await live.stage(live.owner, UPLOAD, second)).status == 200
    return first, second


async def test_what_a_part_has_named_is_there_for_the_last(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        first, second = await half_committed(live, cast.collection)
        idle = os.urandom(16)
        await live.stage(live.owner, idle, live.records(cast.collection))
        await in_a_week(server)
        path = live.at(api.UPLOAD, upload=idle)
        assert (await live.get(live.owner, path)).read(api.Staged).batches == ()
        live.land(live.owner, acts.Commit(UPLOAD, cast.collection, 1, True, (second,)))
        await live.push()
        wanted = [(each.batch_id, (0, 1)) for each in (first, second)]
        assert (await live.fetch(live.owner, cast.collection, *wanted)).status == 200


async def test_what_the_ledger_drops_goes_at_once(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        both = await half_committed(live, cast.collection)
        blocks = [live.contents[ref.sha256] for each in both for ref in each.blocks]
        path = live.at(api.UPLOAD, upload=UPLOAD)
        assert len((await live.get(live.owner, path)).read(api.Staged).batches) == 2
        assert remains(tmp_path, blocks) == blocks
        live.offer(cast["bidder"])  # which drops what is half committed
        assert live.state.pending == {}
        await live.push()
        assert (await live.get(live.owner, path)).read(api.Staged).batches == ()
        assert await vanish(tmp_path, blocks)
