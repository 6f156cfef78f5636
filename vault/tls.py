"""The server's own keys: its TLS key, the key that signs checkpoints, the create token.

They are files in the data directory with mode 0600, made at the first start and read at
every later one. None of them opens anything that a vault holds. A file appears whole under
its name or not at all, and is never replaced: losing the checkpoint key would cut off every
client that pinned it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from nacl.signing import SigningKey

from protocol.errors import ApiMisuse
from vault.config import InvalidConfig
from vault.durably import sync

TLS_FILE: Final = "tls.pem"
CHECKPOINT_KEY_FILE: Final = "checkpoint.key"
TOKEN_FILE: Final = "create.token"
CERTIFICATE_DAYS: Final = 3_650

_SEED: Final = re.compile(rb"[0-9a-f]{64}\n")
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]{43}\n")


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What the server listens with, and the pin (32 bytes) by which clients know it."""

    ssl_context: ssl.SSLContext
    pin: bytes


class CheckpointKey(SigningKey):
    """The Ed25519 key that signs checkpoints and observations; it does not print or pickle."""

    def __repr__(self) -> str:
        return "<CheckpointKey>"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise ApiMisuse("a checkpoint key is not pickled")


class CreateToken:
    """Whoever shows this token may create vaults; `created` says that it is new (print it)."""

    __slots__ = ("_text", "created")

    def __init__(self, text: str, *, created: bool) -> None:
        self._text = text
        self.created = created

    def __repr__(self) -> str:
        return "<CreateToken>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise ApiMisuse("a create token is not pickled")

    def reveal(self) -> str:
        """Return the token's text, 43 characters, for the operator's eyes."""
        return self._text

    def matches(self, candidate: str) -> bool:
        """Compare what a stranger shows, in a time that tells nothing of the token."""
        return hmac.compare_digest(self._text.encode(), candidate.encode("utf-8", "replace"))


def load_or_create(
    data_dir: Path,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    hosts: Sequence[str] = ("localhost", "127.0.0.1"),
    *,
    needed: bool = False,
) -> ServerTls:
    """Return the server's TLS context and pin (SPEC section 13): TLS 1.3 and nothing older.

    Without files of the operator's, a self-signed P-256 certificate is made once, valid for
    ten years; clients know it by its pin. `hosts` matter only when it is made, and with `needed`
    none is: members know the one that there was.

    Raises:
        InvalidConfig: A file is missing, unreadable, locked by a passphrase, not PEM, open to
            other users (only files made here), or the key is not the certificate's.
    """
    if (cert_file is None) != (key_file is None):
        raise InvalidConfig("a certificate needs its key", hint="give both files, or neither")
    if cert_file is not None and key_file is not None:
        return _server_tls(cert_file, key_file)
    own = data_dir / TLS_FILE
    if needed and not own.exists():
        raise InvalidConfig(
            f"{own} is missing, and members know this server by it",
            hint="Put it back from a copy. Or start once with --new-tls-key, and have each member "
            "go to the new pin with 'sealroom vault move'.",
        )
    _load_or_create_file(own, lambda: _self_signed(hosts))
    return _server_tls(own, own)


def load_or_create_checkpoint_key(data_dir: Path, *, needed: bool = False) -> CheckpointKey:
    """Return the key that signs this server's checkpoints, made at the first start.

    Genesis pins its public half, so that no other key will do where vaults are: with `needed`
    none is made (SPEC section 10.4).

    Raises:
        InvalidConfig: The file is damaged, open to other users, or missing where it is needed.
    """
    path = data_dir / CHECKPOINT_KEY_FILE
    if needed and not path.exists():
        raise InvalidConfig(
            f"{path} is missing, and no other key can serve the vaults that are here",
            hint="Put back the one that belongs to them: a backup has it beside the database.",
        )
    text, _ = _load_or_create_file(path, lambda: secrets.token_hex(32).encode() + b"\n")
    if not _SEED.fullmatch(text):
        raise InvalidConfig(f"{path} is damaged", hint="restore it from a backup")
    return CheckpointKey(bytes.fromhex(text.decode()))


def load_or_create_token(data_dir: Path) -> CreateToken:
    """Return the token without which nobody creates a vault, made at the first start.

    Raises:
        InvalidConfig: The file is damaged, or open to other users.
    """
    path = data_dir / TOKEN_FILE
    text, created = _load_or_create_file(path, lambda: secrets.token_urlsafe(32).encode() + b"\n")
    if not _TOKEN.fullmatch(text):
        raise InvalidConfig(f"{path} is damaged", hint="delete it, and a new one is made")
    return CreateToken(text.decode().strip(), created=created)


def spki_pin(cert_der: bytes) -> bytes:
    """Return the pin of a certificate: SHA-256 of its SubjectPublicKeyInfo in DER, 32 bytes.

    Raises:
        ValueError: The bytes are not a certificate.
    """
    key = x509.load_der_x509_certificate(cert_der).public_key()
    return hashlib.sha256(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()


def _server_tls(cert_file: Path, key_file: Path) -> ServerTls:
    # Not create_default_context, which would write session keys where SSLKEYLOGFILE says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
        certificate = x509.load_pem_x509_certificates(cert_file.read_bytes())[0]
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise InvalidConfig(
            f"the TLS certificate {cert_file} cannot be used with the key {key_file}",
            hint="both must be readable PEM files without a passphrase, made for each other",
        ) from error
    return ServerTls(context, spki_pin(certificate.public_bytes(Encoding.DER)))


def _no_passphrase() -> NoReturn:
    # Without this OpenSSL would ask on the terminal, and a service would hang.
    raise ValueError("the key needs a passphrase")


def _self_signed(hosts: Sequence[str]) -> bytes:
    """Make a P-256 key and a certificate for it; return both as one PEM text."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sealroom")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_alternative(h) for h in hosts]), critical=False
        )
        .sign(key, SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret + certificate.public_bytes(Encoding.PEM)


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _load_or_create_file(path: Path, make: Callable[[], bytes]) -> tuple[bytes, bool]:
    """Return a secret file's bytes, and whether it was made just now."""
    created = not path.exists() and _create_file(path, make())
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise InvalidConfig(f"other users can reach {path}", hint=f"chmod 600 {path}")
        return file.read(), created


def _create_file(path: Path, content: bytes) -> bool:
    """Put a new file in place, whole and durable; return False if another process was first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename, it never replaces
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)
    return True
