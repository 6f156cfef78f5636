"""The door: what is refused before anything is done, over raw connections and signed ones."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
import tracemalloc
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from client.crypto.identity import Identity
from client.request_signing import sign_request
from protocol import acts, api
from protocol.blocks import Manifest
from protocol.ledger import act_leaf
from protocol.limits import MIB
from protocol.wire import to_bytes
from tests.casts import Cast, staged_cast
from tests.hangs import HANGS_SECONDS
from tests.rates import Standing
from tests.servers import (
    Answer,
    LiveVault,
    asking,
    head_of,
    live_vault,
    raw,
    running_server,
)
from vault import app, bodies, listener
from vault import door as door_module
from vault.app import RunningServer
from vault.auth import ReplayGuard
from vault.logs import LOGGER_NAME, Event, configure_logging
from vault.places import Places

BATCH_PATH = api.BATCH.format(vault="0" * 64, upload="0" * 32, batch="0" * 32)


async def said(server: RunningServer, request: bytes, silence: float = HANGS_SECONDS) -> bytes:
    """Send bytes, and return all that comes back until the server closes, or is silent so long."""
    async with raw(server.url, server.pin) as (reader, writer):
        writer.write(request)
        got = b""
        while True:
            try:
                piece = await asyncio.wait_for(reader.read(65_536), silence)
            except TimeoutError:
                return got
            if not piece:
                return got
            got += piece


async def said_or_cut(server: RunningServer, request: bytes) -> bytes:
    """Return what comes back; nothing where the connection is reset."""
    try:
        return await said(server, request)
    except OSError:
        return b""


def head(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *fields, "", ""]).encode()


def signed(
    live: LiveVault,
    who: Identity,
    method: str,
    path: str,
    body: bytes | None = None,
    content_type: str = api.CONTENT_TYPE,
) -> dict[str, str]:
    assert live.asker is not None
    url = live.asker.url + path
    return sign_request(
        method, url, body, content_type, who.request_key, who.member_id, time.time()
    )


# --- paths, queries, heads


@pytest.mark.threat("H9")
async def test_only_the_exact_paths_are_there(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        hexed = live.vault_id.hex()
        paths = [
            f"/v1/vaults/{hexed.upper()}/log?from=0",
            f"/v1/vaults/{hexed[:-1]}/log?from=0",
            f"/v1/vaults/{hexed}0/log?from=0",
            f"/v1/vaults/%{ord(hexed[0]):x}{hexed[1:]}/log?from=0",
            f"/v1/vaults/{hexed}/log/?from=0",
            f"/v1/vaults/{hexed}/../{hexed}/log?from=0",
            f"/v1//vaults/{hexed}/log?from=0",
            f"/v1/vaults/{hexed}%2flog?from=0",
            f"//v1/vaults/{hexed}/log?from=0",
            f"https://x/v1/vaults/{hexed}/log?from=0",
            f"/v1/vaults/{hexed}/log;a=b?from=0",
            f"/v1/vaults/{hexed}/uploads/{'0' * 31}",
            "/V1/server",
            "/v1/server/",
            "/v1/serve%72",
            "/",
            "*",
        ]
        for path in paths:
            got = await said(server, head("GET", path, "Connection: close"))
            assert got.split()[1] in (b"404", b"400"), (path, got)
            assert b"aiohttp" not in got
        control = await said(server, head("GET", "/v1/server", "Connection: close"))
        assert control.startswith(b"HTTP/1.1 200 ")


async def test_a_path_has_its_methods(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        assert live.asker is not None
        for method, path, allowed in (
            ("POST", api.SERVER, "GET"),
            ("DELETE", live.at(api.LOG), "GET"),
            ("GET", live.at(api.ACTS), "POST"),
            ("OPTIONS", api.VAULTS, "POST"),
        ):
            refused = await live.asker.send(method, path, {})
            assert (refused.status, refused.code) == (405, "wrong_method")
            assert refused.headers["Allow"] == allowed


async def test_a_query_is_the_routes_and_in_one_spelling(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        log = live.at(api.LOG)
        for path in (
            log,
            f"{log}?",
            f"{log}?from=",
            f"{log}?from=01",
            f"{log}?from=-1",
            f"{log}?from=+1",
            f"{log}?from=1.0",
            f"{log}?from={10**16}",
            f"{log}?from={10**16 - 1}",  # of few enough digits, and more than a log can have
            f"{log}?from={2**53 + 1}",
            f"{log}?from=0&from=0",
            f"{log}?from=0&to=1",
            f"{log}?From=0",
            f"{log}?from=0&",
            live.at(api.CONSISTENCY) + "?from=1",
        ):
            refused = await live.asker.send("GET", path, {})  # type: ignore[union-attr]
            assert (refused.status, refused.code) == (400, "malformed"), path
        last = (await live.get(live.owner, f"{log}?from={2**53}")).read(api.LogPage)
        assert (last.start, last.leaves) == (2**53, ())
        swapped = live.at(api.CONSISTENCY) + "?to=1&from=1"
        assert (await live.get(live.owner, swapped)).status == 200


@pytest.mark.threat("D3")
@pytest.mark.threat("R17")
async def test_a_body_is_refused_by_its_head_alone(tmp_path: Path) -> None:
    kind = f"Content-Type: {api.BATCH_CONTENT_TYPE}"
    cases = (
        ((kind, "Content-Length: 9", "Content-Encoding: gzip"), b"415", b"wrong_content_type"),
        (("Content-Length: 9", "Content-Type: text/plain"), b"415", b"wrong_content_type"),
        (("Content-Length: 9",), b"415", b"wrong_content_type"),
        ((kind, f"Content-Length: {10 << 30}"), b"413", b"limit_exceeded"),
        ((kind, f"Content-Length: {64 * MIB + 1}"), b"413", b"limit_exceeded"),
        ((kind, "Transfer-Encoding: chunked"), b"411", b"no_length"),
        ((kind,), b"411", b"no_length"),
        ((kind, "Content-Length: 0"), b"400", b"malformed"),
        ((kind, f"Content-Length: {10**17}"), b"411", b"no_length"),
        ((kind, "Content-Length: 1e3"), b"400", b""),
        ((kind, "Content-Length: 9", "Content-Length: 8"), b"400", b""),
        ((kind, "Content-Length: 9", "Transfer-Encoding: chunked"), b"400", b""),
    )
    async with running_server(tmp_path) as server:
        for fields, status, code in cases:
            async with raw(server.url, server.pin) as (reader, writer):
                writer.write(head("PUT", BATCH_PATH, *fields))
                line = await asyncio.wait_for(reader.readline(), HANGS_SECONDS)
                assert line.split()[1] == status, (fields, line)
                assert code in await asyncio.wait_for(reader.read(4_096), HANGS_SECONDS)
        bodied = head("GET", api.SERVER, "Content-Length: 1", "Connection: close") + b"x"
        assert (await said(server, bodied)).startswith(b"HTTP/1.1 400 ")
        huge = head("GET", api.SERVER, "A: " + "a" * 9_000)
        assert (await said(server, huge)).startswith(b"HTTP/1.0 400 ")
        many = head("GET", api.SERVER, *(f"A{i}: a" for i in range(99)))
        assert (await said(server, many)).startswith(b"HTTP/1.0 400 ")


@pytest.mark.threat("H8")
async def test_what_two_servers_could_split_differently_ends_the_connection(
    tmp_path: Path,
) -> None:
    second = head("GET", api.SERVER)
    async with running_server(tmp_path) as server:
        for request in (
            b"GET /v1/server HTTP/1.1\nHost: x\n\n",
            head("POST", api.VAULTS, "Transfer-Encoding: chunked", "Content-Length: 5"),
            head("GET", api.SERVER, "A : b"),
            head("GET", api.SERVER, " folded"),
            b"GET  /v1/server HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /v1/s\xc3\xa9rver HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00" * 9,
        ):
            got = await said(server, request + second, silence=1)
            assert got.count(b"HTTP/1.1 ") <= 2
            if got.count(b"HTTP/1.1 ") == 1:
                assert not got.startswith(b"HTTP/1.1 200 "), request


# --- who


@pytest.mark.threat("H1")
async def test_a_signed_request_is_good_once(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        path = live.at(api.ACTS)
        leaf = act_leaf(live.signed(live.owner, live.draft(live.owner, acts.Noop())))
        body = to_bytes(api.SubmitAct(leaf[1:], ()))
        headers = signed(live, live.owner, "POST", path, body)
        assert live.asker is not None
        assert (await live.asker.send("POST", path, headers, body)).status == 200
        again = await asyncio.gather(
            *(live.asker.send("POST", path, headers, body) for _ in range(50))
        )
        assert {(answer.status, answer.code) for answer in again} == {(401, "replay")}
        url = live.asker.url
    # nor by the server that comes after
    async with running_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        moved = headers | {"Host": url.removeprefix("https://")}
        later = await asker.send("POST", path, moved, body)
        assert (later.status, later.code) == (401, "server_restarted")
        live.asker, live.pushed = asker, 2
        page = (await live.get(live.owner, live.at(api.LOG) + "?from=0")).read(api.LogPage)
        assert len(page.leaves) == 2


@pytest.mark.threat("H6")
async def test_a_wrong_clock_is_told_the_servers_time(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        path = live.at(api.LOG) + "?from=0"
        assert live.asker is not None
        for lead, status in ((-300, 401), (-40, 200), (40, 200), (300, 401)):
            answer = await live.asker.ask(live.owner, "GET", path, now=time.time() + lead)
            assert answer.status == status
            if status == 401:
                assert answer.code == "clock_skew"
                assert abs(answer.error.time - time.time()) < 5
    # whoever signs ahead of the server is remembered across a restart
    async with running_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        held = await asker.ask(live.owner, "GET", path, now=time.time() + 10)
        assert held.code == "server_restarted"
        assert (await asker.ask(live.owner, "GET", path, now=time.time() + 50)).status == 200


@pytest.mark.threat("H2")
async def test_another_body_than_was_signed_is_refused(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        path, body = live.at(api.ACTS), b"\x92\xc4\x01x\x90"
        headers = signed(live, live.owner, "POST", path, body)
        assert live.asker is not None
        for other in (b"\x92\xc4\x01y\x90", body + b"\x00", b"z"):
            refused = await live.asker.send("POST", path, headers, other)
            assert (refused.status, refused.code) == (401, "unauthenticated")
            headers = signed(live, live.owner, "POST", path, body)
        assert (await live.asker.send("POST", path, headers, body)).status == 400
        bare = dict(headers)
        del bare["Content-Digest"]
        refused = await live.asker.send("POST", path, bare, body)
        assert (refused.status, refused.code) == (401, "unauthenticated")


async def test_who_asks_too_often_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Standing(monkeypatch)
    async with live_vault(tmp_path, requests_per_second=1, request_burst=6) as (_, live):
        path = live.at(api.LOG) + "?from=0"
        answers = [await live.get(live.owner, path) for _ in range(8)]
        assert [answer.status for answer in answers] == [*(200,) * 6, 429, 429]
        assert answers[-1].code == "rate_limited"
        assert int(answers[-1].headers["Retry-After"]) == 1
        # a stranger who uses the owner's id spends nothing of the owner's
        forged = (Identity.generate().request_key, live.owner.member_id)
        for _ in range(20):
            assert (await live.get(forged, path)).status == 404
        assert (await live.get(live.owner, path)).status == 429
        clock.now += 1
        assert (await live.get(live.owner, path)).status == 200


async def test_more_than_can_be_remembered_is_told_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (app, door_module):
        monkeypatch.setattr(module, "ReplayGuard", partial(ReplayGuard, capacity_per_key=2))
    async with live_vault(tmp_path) as (_, live):
        path = live.at(api.LOG) + "?from=0"
        assert [(await live.get(live.owner, path)).status for _ in range(3)] == [200, 200, 429]
        # those who create vaults are remembered apart
        created = [await live.create() for _ in range(2)]
        assert [answer.status for answer in created] == [200, 429]
        assert created[-1].headers["Retry-After"] == "60"


# --- how much, how slowly


@pytest.mark.threat("D1")
async def test_a_small_body_never_becomes_a_large_heap(tmp_path: Path) -> None:
    bomb = b"\x92\xc4\x01x\xdd" + (10**6).to_bytes(4, "big") + b"\x80" * 10**6
    nested = b"\x91" * 10**6
    async with live_vault(tmp_path) as (_, live):
        tracemalloc.start()
        try:
            for body in (bomb, nested):
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
                refused = await live.ask(live.owner, "POST", live.at(api.ACTS), body)
                _, peak = tracemalloc.get_traced_memory()
                assert refused.status in (400, 413)
                # the client's half of this process holds the body, too
                assert peak - before < 6 * len(body)
        finally:
            tracemalloc.stop()


DRIPPING_SECONDS = 50


async def dripped(live: LiveVault, server: RunningServer, body: bytes, pause: float) -> bytes:
    """Send a signed upload a byte at a time; return the answer, which does not wait for all."""
    manifest_path = live.at(api.BATCH, upload=bytes(16), batch=bytes(16))
    start = head_of(server.url, live.owner, "PUT", manifest_path, body, api.BATCH_CONTENT_TYPE)
    answer = b""
    async with raw(server.url, server.pin) as (reader, writer):
        writer.write(start)

        async def drip() -> None:
            for byte in body:
                writer.write(bytes([byte]))
                await asyncio.sleep(pause)

        dripping = asyncio.create_task(drip())
        try:
            answer = await asyncio.wait_for(reader.read(65_536), DRIPPING_SECONDS * 0.9)
            while b" 408 " in answer and (piece := await reader.read(65_536)):
                answer += piece
        except OSError:
            pass
        finally:
            dripping.cancel()
    return answer


@pytest.mark.threat("D5")
async def test_a_slow_body_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    too_slow: dict[str, Any] = {"body_grace_seconds": 1, "body_bytes_per_second": 1_000}
    too_long: dict[str, Any] = {
        "body_grace_seconds": 30,
        "body_bytes_per_second": 1,
        "body_deadline_seconds": 1,
    }
    monkeypatch.setattr(listener, "LINGER_SECONDS", 0.2)
    for name, settings in (("rate", too_slow), ("deadline", too_long)):
        async with live_vault(tmp_path / name, **settings) as (server, live):
            answer = await dripped(live, server, bytes(5_000), DRIPPING_SECONDS / 5_000)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"too_slow" in answer
            # a body that keeps the pace is read
            answer = await dripped(live, server, bytes(20), 0)
            assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_body_that_ends_early_does_nothing(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        path = live.at(api.ACTS)
        request = head_of(server.url, live.owner, "POST", path, b"x" * 100)
        async with raw(server.url, server.pin) as (_, writer):
            writer.write(request + b"x" * 50)
            await asyncio.sleep(0.1)
        assert (await live.get(None, api.SERVER)).status == 200


LARGE_RECORDS = 14_000  # 0.5 MB a block


async def large_batches(
    live: LiveVault, cast: Cast
) -> tuple[Manifest, tuple[api.WantedBatch, ...]]:
    """Commit 16 MB; return one of the batches, and what asks for all."""
    large = [live.manifest(cast.collection, (0, 1), records=LARGE_RECORDS) for _ in range(16)]
    live.commit(live.owner, cast.collection, *large)
    await live.push()
    return large[0], tuple(api.WantedBatch(each.batch_id, (0, 1)) for each in large)


@pytest.mark.threat("R16")
async def test_whoever_does_not_read_is_cut_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with live_vault(tmp_path, body_grace_seconds=1, body_bytes_per_second=MIB) as (
        server,
        live,
    ):
        cast = await staged_cast(live)
        big, wanted = await large_batches(live, cast)
        path = live.at(api.BLOCKS)
        body = to_bytes(api.FetchBlocks(cast.collection, wanted))
        request = head_of(server.url, live.owner, "POST", path, body) + body
        caplog.set_level(logging.INFO, LOGGER_NAME)
        async with raw(server.url, server.pin) as (reader, writer):
            writer.write(request)
            async with asyncio.timeout(HANGS_SECONDS):
                while Event.REQUEST_REFUSED.word not in [
                    each.getMessage() for each in caplog.records
                ]:
                    await asyncio.sleep(0.02)
            got = 0
            with suppress(OSError):  # what was on its way, and then the end
                while piece := await reader.read(MIB):
                    got += len(piece)
            assert 0 < got < 16_000_000
        control = await live.fetch(live.owner, cast.collection, (big.batch_id, (0, 1)))
        assert len(control.body) == 2 * (4 + 36 * LARGE_RECORDS)


async def test_a_reader_that_goes_away_takes_nothing_with_it(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        big, wanted = await large_batches(live, cast)
        body = to_bytes(api.FetchBlocks(cast.collection, wanted))
        request = head_of(server.url, live.owner, "POST", live.at(api.BLOCKS), body) + body
        async with raw(server.url, server.pin) as (reader, writer):
            writer.write(request)
            assert await reader.readexactly(1_000)
        await asyncio.sleep(0.2)
        control = await live.fetch(live.owner, cast.collection, (big.batch_id, (0, 1)))
        assert len(control.body) == 2 * (4 + 36 * LARGE_RECORDS)


async def test_connections_above_the_limit_are_turned_away(tmp_path: Path) -> None:
    closing = head("GET", api.SERVER, "Connection: close")
    async with running_server(tmp_path, max_connections=2) as server:
        async with (
            raw(server.url, server.pin) as (one, first),
            raw(server.url, server.pin) as (two, second),
        ):
            for reader, writer in ((one, first), (two, second)):
                writer.write(head("GET", api.SERVER))
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            assert await said_or_cut(server, head("GET", api.SERVER)) == b""
        async with asyncio.timeout(HANGS_SECONDS):  # the server sees that they are gone
            while not (got := await said_or_cut(server, closing)):
                await asyncio.sleep(0.01)
        assert got.startswith(b"HTTP/1.1 200")


@pytest.mark.threat("D5")
async def test_a_silent_connection_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "IDLE_SECONDS", 1)
    async with running_server(tmp_path) as server, raw(server.url, server.pin) as (reader, writer):
        writer.write(b"GET /v1/server HTTP/1.1\r\nHost: x\r\nSlow: ")
        assert await asyncio.wait_for(reader.read(), HANGS_SECONDS) == b""


async def test_large_bodies_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "LARGE_BODY", 100)
    reading, taking = bodies.read_body, Places.one
    at_once, everybody, wanting = [0, 0], asyncio.Event(), 0

    def counting(places: Places, vault: bytes, member: bytes) -> AbstractAsyncContextManager[None]:
        nonlocal wanting
        wanting += 1
        if wanting == 12:
            everybody.set()
        return taking(places, vault, member)

    async def counted(*values: object) -> tuple[bytes, bytes | None]:
        at_once[0] += 1
        at_once[1] = max(at_once)
        try:
            await everybody.wait()
            await asyncio.sleep(0.01)
            return await reading(*values)  # type: ignore[arg-type]
        finally:
            at_once[0] -= 1

    async with live_vault(tmp_path, concurrent_uploads=3) as (_, live):
        cast = await staged_cast(live)
        monkeypatch.setattr(door_module, "read_body", counted)
        monkeypatch.setattr(Places, "one", counting)
        answers = await asyncio.gather(
            *(live.stage(live.owner, bytes(16), live.records(cast.collection)) for _ in range(12))
        )
        assert {answer.status for answer in answers} == {200}
        assert at_once[1] == 2


# --- what it tells


async def test_a_bug_is_told_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with live_vault(tmp_path) as (server, live):

        def broken() -> api.ServerInfo:
            raise RuntimeError("canary-in-an-exception")

        monkeypatch.setattr(server.service, "info", broken)
        refused = await live.get(None, api.SERVER)
        assert (refused.status, refused.code) == (500, "internal")
        assert b"canary" not in refused.body


@pytest.mark.threat("H13")
async def test_the_log_has_a_line_a_request_and_nothing_of_it(tmp_path: Path) -> None:
    stream = StringIO()
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    handler = configure_logging(stream)
    try:
        async with live_vault(tmp_path) as (server, live):
            cast = await staged_cast(live)
            await live.fetch(cast["bidder"], cast.collection, (cast.batch.batch_id, (0,)))
            await live.fetch(cast["bidder"], cast.collection, (cast.batch.batch_id, (1,)))
            await live.get(cast["stranger"], live.at(api.LOG) + "?from=0")
            assert live.asker is not None
            await live.asker.send("GET", "/canary-in-a-path", {"X": "canary-in-a-header"})
            await live.asker.send("PATCH", "/v1/server", {})
            await live.asker.send("PROPFIND", "/v1/server", {})
            await live.asker.send("BREW", "/v1/server", {})
            token = server.token.reveal()
    finally:
        handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    text = stream.getvalue()
    events = [json.loads(line) for line in text.splitlines()]
    refused = {
        (event.get("path"), event["status"])
        for event in events
        if event["event"] == "request_refused"
    }
    assert {("/v1/vaults/{vault}/blocks", 404), ("/v1/vaults/{vault}/log", 404)} <= refused
    assert {("/{other}", 404), ("/{other}", 405), (None, 400)} <= refused
    served = [event for event in events if event["event"] == "request"]
    assert {"member", "vault", "ms", "bytes", "request"} <= served[-1].keys()
    for secret in ("canary", token, live.vault_id.hex(), live.owner.member_id.hex()):
        assert secret not in text


async def test_it_speaks_tls_1_3_only(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(server.url + api.SERVER, ssl=old)
            with pytest.raises(aiohttp.ClientError):
                await session.get(server.url.replace("https", "http") + api.SERVER)
        async with asking(server.url, server.pin) as asker:
            answer: Answer = await asker.ask(None, "GET", api.SERVER)
            assert answer.status == 200
