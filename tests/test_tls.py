"""The server's own keys and certificate: made once, kept whole, shown to nobody."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import os
import pickle
import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from nacl.signing import SigningKey

from protocol.errors import ApiMisuse
from vault.config import InvalidConfig
from vault.tls import (
    CHECKPOINT_KEY_FILE,
    TLS_FILE,
    TOKEN_FILE,
    ServerTls,
    load_or_create,
    load_or_create_checkpoint_key,
    load_or_create_token,
    spki_pin,
)


def certificate_in(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(file.read_bytes())[0]


def own_certificate(
    directory: Path, encryption: KeySerializationEncryption | None = None
) -> tuple[Path, Path]:
    """Make an operator's certificate, Ed25519 and signed by a CA, in two files."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    now = datetime.now(UTC)
    chain = b""
    for public, common in ((key.public_key(), "vault.example"), (authority.public_key(), "CA")):
        built = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=1))
            .sign(authority, SHA256())
        )
        chain += built.public_bytes(Encoding.PEM)
    cert_file, key_file = directory / "own.crt", directory / "own.key"
    cert_file.write_bytes(chain)
    key_file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    )
    return cert_file, key_file


# --- the TLS key


def test_a_certificate_is_made_once_and_kept(tmp_path: Path) -> None:
    first = load_or_create(tmp_path / "data")
    content = (tmp_path / "data" / TLS_FILE).read_bytes()
    assert load_or_create(tmp_path / "data", hosts=("elsewhere",)).pin == first.pin
    assert (tmp_path / "data" / TLS_FILE).read_bytes() == content
    assert load_or_create(tmp_path / "other").pin != first.pin


def test_the_certificate_says_what_it_should(tmp_path: Path) -> None:
    load_or_create(tmp_path, hosts=("vault.example", "10.0.0.7", "::1"))
    certificate = certificate_in(tmp_path / TLS_FILE)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["vault.example"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("10.0.0.7"), ip_address("::1")]
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert basic.ca is False
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [*usage] == [ExtendedKeyUsageOID.SERVER_AUTH]
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=3_649) < left <= timedelta(days=3_650)
    assert certificate.not_valid_before_utc < datetime.now(UTC)


def test_the_pin_is_the_hash_of_the_public_key(tmp_path: Path) -> None:
    made = load_or_create(tmp_path)
    certificate = certificate_in(tmp_path / TLS_FILE)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert made.pin == hashlib.sha256(spki).digest()
    assert spki_pin(certificate.public_bytes(Encoding.DER)) == made.pin
    with pytest.raises(ValueError, match=r"."):
        spki_pin(b"not a certificate")


async def handshake(
    server_tls: ServerTls, limit: Callable[[ssl.SSLContext], None]
) -> tuple[str | None, bytes]:
    """Connect once; return the protocol's version and the pin of the certificate shown."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_tls.ssl_context)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    limit(context)
    try:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        session: ssl.SSLObject = writer.get_extra_info("ssl_object")
        shown = session.getpeercert(binary_form=True)
        assert shown is not None
        version = session.version()
        writer.close()
        await writer.wait_closed()
        return version, spki_pin(shown)
    finally:
        server.close()
        await server.wait_closed()


async def test_only_tls_1_3_is_spoken_and_the_pin_is_what_clients_see(tmp_path: Path) -> None:
    made = load_or_create(tmp_path)
    assert await handshake(made, lambda context: None) == ("TLSv1.3", made.pin)

    def old(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await handshake(made, old)


def test_session_keys_are_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    assert load_or_create(tmp_path / "data").ssl_context.keylog_filename is None


async def test_an_operators_own_certificate_is_used(tmp_path: Path) -> None:
    cert_file, key_file = own_certificate(tmp_path)
    made = load_or_create(tmp_path / "data", cert_file, key_file)
    assert made.pin == spki_pin(certificate_in(cert_file).public_bytes(Encoding.DER))
    assert await handshake(made, lambda context: None) == ("TLSv1.3", made.pin)
    assert not (tmp_path / "data").exists()


def test_unusable_files_are_named(tmp_path: Path) -> None:
    cert_file, key_file = own_certificate(tmp_path)
    (tmp_path / "b").mkdir()
    _, other_key = own_certificate(tmp_path / "b")
    (tmp_path / "c").mkdir()
    locked_cert, locked_key = own_certificate(tmp_path / "c", BestAvailableEncryption(b"secret"))
    empty = tmp_path / "empty"
    empty.touch()
    for cert, key in (
        (cert_file, other_key),
        (cert_file, tmp_path / "missing"),
        (tmp_path / "missing", key_file),
        (empty, key_file),
        (cert_file, cert_file),
        (locked_cert, locked_key),
    ):
        with pytest.raises(InvalidConfig, match="cannot be used") as refused:
            load_or_create(tmp_path, cert, key)
        assert "PRIVATE" not in str(refused.value)
    for cert_only, key_only in ((cert_file, None), (None, key_file)):
        with pytest.raises(InvalidConfig, match="needs its key"):
            load_or_create(tmp_path, cert_only, key_only)


# --- the checkpoint key and the token


def test_the_checkpoint_key_is_made_once_and_kept(tmp_path: Path) -> None:
    first = load_or_create_checkpoint_key(tmp_path)
    again = load_or_create_checkpoint_key(tmp_path)
    assert isinstance(first, SigningKey)
    assert bytes(first) == bytes(again)
    first.verify_key.verify(b"note", again.sign(b"note").signature)
    assert bytes(load_or_create_checkpoint_key(tmp_path / "other")) != bytes(first)


def test_the_token_is_made_once_and_compared(tmp_path: Path) -> None:
    first, again = load_or_create_token(tmp_path), load_or_create_token(tmp_path)
    assert (first.created, again.created) == (True, False)
    assert len(first.reveal()) == 43
    assert again.matches(first.reveal())
    for wrong in ("", first.reveal()[:-1], first.reveal() + "A", "密" * 43, "\udcff", "A" * 43):
        assert not again.matches(wrong)


@pytest.mark.parametrize("make", [load_or_create_checkpoint_key, load_or_create_token])
def test_secrets_neither_print_nor_pickle(make: Callable[[Path], Any], tmp_path: Path) -> None:
    secret = make(tmp_path)
    (file,) = tmp_path.iterdir()
    text = file.read_text().strip()
    seed = bytes.fromhex(text) if isinstance(secret, SigningKey) else text.encode()
    for shown in (repr(secret), str(secret), f"{secret}", f"{[secret]}"):
        assert shown.strip("[]") in ("<CheckpointKey>", "<CreateToken>")
        assert text not in shown
        assert repr(seed)[2:-1] not in shown
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(ApiMisuse):
            pickle.dumps(secret, protocol)
    with pytest.raises(ApiMisuse):
        copy.deepcopy(secret)


# --- the files

MAKERS: dict[str, Callable[[Path], object]] = {
    TLS_FILE: load_or_create,
    CHECKPOINT_KEY_FILE: load_or_create_checkpoint_key,
    TOKEN_FILE: load_or_create_token,
}


@pytest.mark.parametrize("name", MAKERS)
def test_files_and_directory_are_for_the_server_alone(tmp_path: Path, name: str) -> None:
    old = os.umask(0)
    try:
        MAKERS[name](tmp_path / "data")
    finally:
        os.umask(old)
    assert [file.name for file in (tmp_path / "data").iterdir()] == [name]
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610])
@pytest.mark.parametrize("name", MAKERS)
def test_a_file_that_others_can_reach_is_refused(tmp_path: Path, name: str, mode: int) -> None:
    MAKERS[name](tmp_path)
    (tmp_path / name).chmod(mode)
    with pytest.raises(InvalidConfig) as refused:
        MAKERS[name](tmp_path)
    assert refused.value.hint == f"chmod 600 {tmp_path / name}"
    (tmp_path / name).chmod(0o600)
    MAKERS[name](tmp_path)


@pytest.mark.parametrize("name", [CHECKPOINT_KEY_FILE, TOKEN_FILE])
def test_a_damaged_file_is_refused_and_never_replaced(tmp_path: Path, name: str) -> None:
    MAKERS[name](tmp_path)
    file = tmp_path / name
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole[:-2] + b"\n", whole + b"\n", b"!" + whole[1:]):
        file.write_bytes(damaged)
        with pytest.raises(InvalidConfig, match="is damaged"):
            MAKERS[name](tmp_path)
        assert file.read_bytes() == damaged
    file.write_bytes(whole)
    MAKERS[name](tmp_path)


def test_a_damaged_certificate_is_refused_and_never_replaced(tmp_path: Path) -> None:
    load_or_create(tmp_path)
    file = tmp_path / TLS_FILE
    file.write_bytes(file.read_bytes()[:-100])
    damaged = file.read_bytes()
    with pytest.raises(InvalidConfig):
        load_or_create(tmp_path)
    assert file.read_bytes() == damaged


def test_of_two_servers_starting_at_once_one_makes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[bytes] = []
    honest = os.link

    def second(source: Any, target: Any) -> None:
        monkeypatch.setattr(os, "link", honest)
        others.append(bytes(load_or_create_checkpoint_key(tmp_path)))  # the other is faster
        honest(source, target)

    monkeypatch.setattr(os, "link", second)
    assert [bytes(load_or_create_checkpoint_key(tmp_path))] == others
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT_KEY_FILE]


def test_a_failure_while_writing_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="No space"):
            load_or_create_token(tmp_path)
    assert [*tmp_path.iterdir()] == []
    assert load_or_create_token(tmp_path).created
