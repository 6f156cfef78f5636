"""TLS as the client makes it: with a pin and without, against real servers."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from nacl.signing import SigningKey
from yarl import URL

from client.pinning import _shown_pin, as_pin_error, client_ssl_context, spki_pin
from client.request_signing import sign_request
from protocol.errors import ApiMisuse, MalformedMessage, PinMismatch
from protocol.requests import body_sha256
from vault.auth import ReplayGuard, RequestParts, authenticate

KEY = SigningKey(bytes(range(32)))
KEYID = bytes(32)
SPKI_OF_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
# positions in it, and just after it, of what says which curve, which kind of key, which point
CURVE_IDENTIFIER, KIND_IDENTIFIER, POINT_FORMAT = 22, 12, 26


@dataclass(frozen=True)
class Certified:
    """A self-signed certificate (DER) and its key."""

    certificate: bytes
    key: ec.EllipticCurvePrivateKey

    def server_context(self, folder: Path) -> ssl.SSLContext:
        pem = x509.load_der_x509_certificate(self.certificate).public_bytes(Encoding.PEM)
        pem += self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = folder / f"{hashlib.sha256(self.certificate).hexdigest()}.pem"
        path.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def self_signed(
    name: str = "localhost",
    key: ec.EllipticCurvePrivateKey | None = None,
    expires: timedelta = timedelta(days=1),
) -> Certified:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + expires)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Certified(certificate.public_bytes(Encoding.DER), key)


CERTIFIED = self_signed()
PIN = spki_pin(CERTIFIED.certificate)


def with_key_header(position: int, byte: bytes) -> bytes:
    """Change one byte of the certificate to something that nobody knows."""
    at = CERTIFIED.certificate.index(SPKI_OF_P256) + position
    return CERTIFIED.certificate[:at] + byte + CERTIFIED.certificate[at + 1 :]


class Server:
    """A TLS server that counts what reaches it beyond the handshake."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.handshakes = 0
        self.received = bytearray()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handshakes += 1
        self.received += await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[Server]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(listening.getsockname()[1])
    async with await asyncio.start_server(server.answer, sock=listening, ssl=context):
        yield server


async def get(server: Server, context: ssl.SSLContext, host: str = "127.0.0.1") -> int:
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"https://{host}:{server.port}/") as response,
    ):
        return response.status


# --- with a pin


async def test_the_pinned_key_is_accepted_whatever_the_name(tmp_path: Path) -> None:
    async with serving(CERTIFIED.server_context(tmp_path)) as server:
        assert await get(server, client_ssl_context(PIN)) == 204
        assert server.handshakes == 1
        assert server.received.startswith(b"GET /")


async def test_another_key_is_refused_within_the_handshake(tmp_path: Path) -> None:
    async with serving(self_signed().server_context(tmp_path)) as server:
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await get(server, client_ssl_context(PIN))
        mismatch = as_pin_error(caught.value)
        assert isinstance(mismatch, PinMismatch)
        assert mismatch.hint is not None
        await asyncio.sleep(0.05)
        # not even the handshake was finished
        assert (server.handshakes, bytes(server.received)) == (0, b"")


async def test_no_byte_of_a_pin_can_be_wrong(tmp_path: Path) -> None:
    async with serving(CERTIFIED.server_context(tmp_path)) as server:
        for position in range(0, 32, 7):
            wrong = bytearray(PIN)
            wrong[position] ^= 1
            with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
                await get(server, client_ssl_context(bytes(wrong)))
            assert as_pin_error(caught.value) is not None
        assert server.handshakes == 0


async def test_a_certificate_may_be_renewed_or_expired_under_its_key(tmp_path: Path) -> None:
    renewed = self_signed("another.example", CERTIFIED.key, expires=timedelta(days=-1))
    assert renewed.certificate != CERTIFIED.certificate
    async with serving(renewed.server_context(tmp_path)) as server:
        assert await get(server, client_ssl_context(PIN)) == 204


async def test_the_certificate_that_the_system_trusts_does_not_replace_the_pin(
    tmp_path: Path,
) -> None:
    other = self_signed()
    context = client_ssl_context(PIN)
    context.load_verify_locations(cadata=other.certificate)
    async with serving(other.server_context(tmp_path)) as server:
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await get(server, context, "localhost")
        assert as_pin_error(caught.value) is not None


def test_a_pin_is_the_hash_of_the_public_keys_own_encoding() -> None:
    point = CERTIFIED.key.public_key().public_numbers()
    encoded = b"\x04" + point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")
    assert hashlib.sha256(SPKI_OF_P256 + encoded).digest() == PIN
    assert SPKI_OF_P256 + encoded in CERTIFIED.certificate


@pytest.mark.parametrize("pin", [b"", PIN[:31], PIN + b"\0"], ids=["none", "short", "long"])
def test_a_pin_is_32_bytes(pin: bytes) -> None:
    with pytest.raises(MalformedMessage):
        client_ssl_context(pin)


def test_a_blocking_socket_cannot_get_past_the_pin() -> None:
    with socket.socket() as plain, pytest.raises(ApiMisuse):
        client_ssl_context(PIN).wrap_socket(plain)


@pytest.mark.parametrize(
    "certificate",
    [
        b"",
        b"no certificate",
        CERTIFIED.certificate[:-1],
        with_key_header(CURVE_IDENTIFIER, b"\x77"),
        with_key_header(KIND_IDENTIFIER, b"\x77"),
        with_key_header(POINT_FORMAT, b"\x05"),
    ],
)
def test_a_certificate_that_cannot_be_read_has_no_pin(certificate: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the library's own, of several wordings
        spki_pin(certificate)
    assert _shown_pin(certificate) is None


def test_no_certificate_has_no_pin() -> None:
    assert _shown_pin(None) is None
    assert _shown_pin(CERTIFIED.certificate) == PIN


# --- without a pin


async def test_without_a_pin_a_stranger_certificate_is_refused(tmp_path: Path) -> None:
    async with serving(CERTIFIED.server_context(tmp_path)) as server:
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await get(server, client_ssl_context(None), "localhost")
        assert as_pin_error(caught.value) is None
        assert server.received == b""


async def test_without_a_pin_a_trusted_certificate_must_have_the_name(tmp_path: Path) -> None:
    context = client_ssl_context(None)
    context.load_verify_locations(cadata=CERTIFIED.certificate)
    async with serving(CERTIFIED.server_context(tmp_path)) as server:
        assert await get(server, context, "localhost") == 204
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(server, context, "127.0.0.1")


# --- either way


@pytest.mark.parametrize("pinned", [True, False])
async def test_tls_1_2_is_not_spoken(tmp_path: Path, pinned: bool) -> None:
    def context(pin: bytes | None) -> ssl.SSLContext:
        made = client_ssl_context(pin)
        if pin is None:
            made.load_verify_locations(cadata=CERTIFIED.certificate)
        return made

    chosen = context(PIN if pinned else None)
    old = CERTIFIED.server_context(tmp_path)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(old) as server:
        # asyncio's server hangs up without an alert, so no more than this is told
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await get(server, chosen, "localhost")
        assert as_pin_error(caught.value) is None
        assert server.handshakes == 0
        # the control: the server is well, it is the version that was refused
        chosen.minimum_version = ssl.TLSVersion.TLSv1_2
        assert await get(server, chosen, "localhost") == 204


@pytest.mark.parametrize("pin", [PIN, None], ids=["pinned", "trusted"])
async def test_session_keys_are_not_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pin: bytes | None
) -> None:
    log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    context = client_ssl_context(pin)
    if pin is None:
        context.load_verify_locations(cadata=CERTIFIED.certificate)
    async with serving(CERTIFIED.server_context(tmp_path)) as server:
        assert await get(server, context, "localhost") == 204
    assert not log.exists()
    assert ssl.create_default_context().keylog_filename == str(log)  # the control


def test_other_errors_are_no_pin_errors() -> None:
    assert as_pin_error(ValueError("x")) is None
    mismatch = PinMismatch("x")
    assert as_pin_error(mismatch) is mismatch


# --- the whole way: a signed request, over pinned TLS, to a real server


@pytest.mark.parametrize("target", ["/v1/x?a=%2Fb+c&d=~'", "/v1/x", "/"])
@pytest.mark.parametrize(("method", "body"), [("POST", b"an act" * 100_000), ("GET", None)])
async def test_a_signed_request_arrives_as_it_was_signed(
    tmp_path: Path, target: str, method: str, body: bytes | None
) -> None:
    now = 1_700_000_000.0
    guard = ReplayGuard(60, 0)
    seen: list[bytes] = []

    async def handle(request: web.Request) -> web.Response:
        parts = RequestParts(request.method, request.raw_path, tuple(request.headers.items()))
        verified = authenticate(
            parts,
            body_sha256(await request.read()),
            {KEYID: bytes(KEY.verify_key)}.get,
            guard,
            now,
            authorities=None,
        )
        seen.append(verified.request_hash)
        return web.Response()

    app = web.Application(client_max_size=2**20)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=CERTIFIED.server_context(tmp_path))
        await site.start()
        host, port = runner.addresses[0][:2]
        url = f"https://{host}:{port}{target}"
        headers = sign_request(method, url, body, "application/msgpack", KEY, KEYID, now)
        connector = aiohttp.TCPConnector(ssl=client_ssl_context(PIN))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(
                method,
                URL(url, encoded=True),
                data=body,
                headers=headers,
                allow_redirects=False,
            ) as response,
        ):
            assert response.status == 200
        assert len(seen) == 1
    finally:
        await runner.cleanup()
