r"""A keyring's file: bytes sealed under a passphrase, and put in place whole (SPEC section 4.4).

The file is a 64-byte header, a ciphertext, and a 32-byte HMAC:

    "sealroom keyring v1\n" | memory KiB, passes, lanes (u32 each, big-endian) | salt (16)
    | nonce (12) | ciphertext length (u32) | AES-256-GCM ciphertext | HMAC-SHA256

Both keys come from Argon2id over the passphrase. GCM alone opens one file under several keys,
which lets whoever can swap the file test many passphrases with one try; the HMAC over header
and ciphertext commits the file to one key. Its parameters are judged before the passphrase is
asked for, so a weakened file gets none and an oversized one costs nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
import struct
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nacl.pwhash.argon2id
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from client.crypto.derivation import hkdf
from client.crypto.secrets import Secret
from client.exposure import expect_own
from protocol.errors import (
    Conflict,
    Downgrade,
    ExposedFile,
    LimitExceeded,
    MalformedMessage,
    NoKeyring,
    Unsupported,
    WrongPassphrase,
)
from protocol.labels import Label, framed
from protocol.limits import KIB, MIB

MAX_FILE_BYTES: Final = 4 * MIB

_MAGIC: Final = b"sealroom keyring v1\n"
_ANY_VERSION: Final = re.compile(rb"sealroom keyring v[0-9]+\n")
_FIELDS: Final = struct.Struct(">III16s12sI")
_HEADER_BYTES: Final = len(_MAGIC) + _FIELDS.size
_TAG_BYTES: Final = 16
_MAC_BYTES: Final = 32
_FROM_BACKUP: Final = "take the file from a backup"


@dataclass(frozen=True, slots=True)
class Cost:
    """Argon2id's parameters: memory in KiB, passes over it, and lanes (libsodium has one)."""

    memory_kib: int
    passes: int
    lanes: int = 1


FLOOR: Final = Cost(64 * KIB, 3)
CEILING: Final = Cost(1024 * KIB, 16)


class _EncryptionKey(Secret):
    """The AES-256-GCM key of one saved file."""


class _MacKey(Secret):
    """The HMAC-SHA256 key of one saved file."""


@dataclass(frozen=True, slots=True)
class _Header:
    cost: Cost
    salt: bytes
    nonce: bytes
    ciphertext_bytes: int

    def encode(self) -> bytes:
        cost = (self.cost.memory_kib, self.cost.passes, self.cost.lanes)
        return _MAGIC + _FIELDS.pack(*cost, self.salt, self.nonce, self.ciphertext_bytes)


@dataclass(frozen=True, slots=True)
class KeyringFile:
    """A keyring file whose header is acceptable; nothing in it is authentic yet."""

    header: _Header
    ciphertext: bytes
    mac: bytes

    @classmethod
    def parse(cls, content: bytes) -> KeyringFile:
        """Take a file apart.

        Raises:
            Unsupported, MalformedMessage: another version, or not a whole keyring file.
            Downgrade, LimitExceeded: as `acceptable`.
        """
        if not content.startswith(_MAGIC):
            if _ANY_VERSION.match(content):
                raise Unsupported("a keyring file of another version")
            raise MalformedMessage("not a keyring file", hint=_FROM_BACKUP)
        if len(content) < _HEADER_BYTES:
            raise MalformedMessage("a keyring file that is cut short", hint=_FROM_BACKUP)
        memory, passes, lanes, salt, nonce, length = _FIELDS.unpack_from(content, len(_MAGIC))
        header = _Header(acceptable(Cost(memory, passes, lanes)), salt, nonce, length)
        if len(content) != _HEADER_BYTES + length + _MAC_BYTES or length < _TAG_BYTES:
            raise MalformedMessage(
                "a keyring file that is cut short or has more at its end", hint=_FROM_BACKUP
            )
        end = _HEADER_BYTES + length
        return cls(header, content[_HEADER_BYTES:end], content[end:])

    def opened(self, phrase: str) -> bytes:
        """Return what is sealed in it.

        Raises:
            WrongPassphrase: the passphrase is wrong, or the file was changed.
        """
        encryption, mac = _keys(phrase, self.header)
        if not hmac.compare_digest(_mac(mac, self.header, self.ciphertext), self.mac):
            raise _wrong_passphrase()
        associated = framed(Label.KEYRING_FILE, self.header.encode())
        cipher = AESGCM(encryption.expose())
        try:
            return cipher.decrypt(self.header.nonce, self.ciphertext, associated)
        except InvalidTag:
            raise _wrong_passphrase() from None


def acceptable(cost: Cost) -> Cost:
    """Return Argon2id's parameters, if they are neither cheap nor ruinous.

    Raises:
        Downgrade, LimitExceeded: below the floor, or above the ceiling.
    """
    pairs = (
        ("memory", cost.memory_kib, FLOOR.memory_kib, CEILING.memory_kib),
        ("passes", cost.passes, FLOOR.passes, CEILING.passes),
        ("lanes", cost.lanes, FLOOR.lanes, CEILING.lanes),
    )
    for what, value, floor, ceiling in pairs:
        if value < floor:
            raise Downgrade(f"Argon2id {what} of {value} is below the floor of {floor}")
        if value > ceiling:
            raise LimitExceeded(f"Argon2id {what} of {value} is above the ceiling of {ceiling}")
    return cost


# --- sealing and opening


def _keys(phrase: str, header: _Header) -> tuple[_EncryptionKey, _MacKey]:
    master = nacl.pwhash.argon2id.kdf(
        32,
        _normalised(phrase),
        header.salt,
        opslimit=header.cost.passes,
        memlimit=header.cost.memory_kib * KIB,
    )
    return (
        _EncryptionKey(hkdf(master, framed(Label.KEYRING_ENCRYPTION))),
        _MacKey(hkdf(master, framed(Label.KEYRING_MAC))),
    )


def _normalised(phrase: str) -> bytes:
    """Return the same bytes for what looks the same, however the keyboard composes it."""
    with suppress(UnicodeEncodeError):
        return unicodedata.normalize("NFC", phrase).encode()
    # Outside the handler, so that the error carries no context that holds the passphrase.
    raise WrongPassphrase("the passphrase has characters without a UTF-8 form")


def _mac(key: _MacKey, header: _Header, ciphertext: bytes) -> bytes:
    message = framed(Label.KEYRING_FILE, header.encode(), ciphertext)
    return hmac.new(key.expose(), message, hashlib.sha256).digest()


def sealed(contents: bytes, phrase: str, cost: Cost) -> bytes:
    """Return the file that holds some bytes, sealed under fresh keys.

    Raises:
        WrongPassphrase: the passphrase has no UTF-8 form.
    """
    # A fresh salt gives fresh keys, so no nonce ever meets a key twice.
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header = _Header(cost, salt, nonce, len(contents) + _TAG_BYTES)
    encryption, mac = _keys(phrase, header)
    associated = framed(Label.KEYRING_FILE, header.encode())
    ciphertext = AESGCM(encryption.expose()).encrypt(header.nonce, contents, associated)
    return header.encode() + ciphertext + _mac(mac, header, ciphertext)


def _wrong_passphrase() -> WrongPassphrase:
    return WrongPassphrase(
        "the passphrase is wrong, or the file was changed",
        hint="try again; if it stays so, take the file from a backup",
    )


# --- the disk


def checked_file(path: Path) -> KeyringFile:
    """Read a file that nobody else on this machine may.

    Raises:
        NoKeyring, ExposedFile: there is none, or others may read or write it, or write into its
            folder, or it or its folder is theirs.
        SealroomError: as `KeyringFile.parse`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoKeyring(
            f"there is no keyring at {path}", hint="create one, or name the right file"
        ) from None
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoKeyring(
            f"{path} is a folder, and a keyring is a file",
            hint="name the folder around the keyring as the home, or move that folder away",
        )
    with os.fdopen(descriptor, "rb") as file:
        # Of the open file, not of the path: what was checked is what is read.
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise ExposedFile(
                f"others on this machine may read or change {path}", hint=f"chmod 600 {path}"
            )
        expect_own(path, file.fileno())
        expect_own(path.parent)
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise LimitExceeded(f"the keyring file is larger than {MAX_FILE_BYTES} bytes")
    return KeyringFile.parse(content)


def refuse_existing(path: Path) -> None:
    """Raise `Conflict` where there is a file."""
    if path.exists():
        raise Conflict(f"there is a keyring at {path}", hint="use it, or name another file")


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in place whole or not at all; the caller holds the write lock.

    Raises:
        LimitExceeded: it is too large to be read again.
    """
    if len(content) > MAX_FILE_BYTES:
        raise LimitExceeded(f"the keyring would be larger than {MAX_FILE_BYTES} bytes")
    temporary = path.with_name(f".{path.name}.new")
    # The lock is ours, so one that is there was left by a process that died.
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have the disk keep which files are in a folder, under which names."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Wait for the turn to write. A file of its own, because saving replaces the keyring's."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path.with_name(f"{path.name}.lock"), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # gives the lock up, also where the process dies
