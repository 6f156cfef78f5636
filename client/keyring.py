r"""The encrypted keyring file: seeds, and the vaults they belong to (SPEC section 4.4).

    with Keyring.edit(path, ask_passphrase) as draft:
        draft.keyring = draft.keyring.with_identity(identity)

`Keyring.load` reads, `Keyring.create` makes a new file, `Keyring.edit` changes one: two
processes that edit the same file take turns. The contents never touch the disk in clear.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import nacl.pwhash.argon2id
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from client.crypto.derivation import hkdf
from client.crypto.secrets import InviteSecret, Secret, Seed
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
from protocol.wire import (
    Fixed,
    Flag,
    ListOf,
    Maybe,
    Parsed,
    Text,
    Uint,
    from_bytes,
    record,
    to_bytes,
)

Passphrase = Callable[[], str]
"""Asks for the passphrase; called once, and only for a file whose header is acceptable."""

MAX_FILE_BYTES: Final = 4 * MIB
MAX_IDENTITIES: Final = 1_024
MAX_VAULTS: Final = 4_096
MAX_SUCCESSORS: Final = 32

_UNIX_SECONDS: Final = Uint(2**40)
_NAME: Final = Text(200, 1)


@dataclass(frozen=True, slots=True)
class Cost:
    """Argon2id's parameters: memory in KiB, passes over it, and lanes (libsodium has one)."""

    memory_kib: int
    passes: int
    lanes: int = 1


FLOOR: Final = Cost(64 * KIB, 3)
CEILING: Final = Cost(1024 * KIB, 16)


@record
class StoredIdentity:
    """One identity: the name its owner gave it, its seed, and when it was made (unix seconds)."""

    name: Annotated[str, _NAME]
    seed: Annotated[Seed, Parsed(Seed.expose, Seed, Seed.size)]
    created: Annotated[int, _UNIX_SECONDS]


@record
class VaultEntry:
    """One vault: where it is, the pin of its server's TLS key, and which identity is used there.

    `invite` is kept until the join succeeded; `owned` says that this machine created the vault
    or accepted it, nothing about what the ledger says now. `successors` are the identities of
    each try to take the place of the one there is, from before its act is sent until the act of
    one is found. `rescuing` says that the identity is not a member, but waits for custodians'
    shares.
    """

    vault_id: Annotated[bytes, Fixed(32)]
    server: Annotated[str, Text(2_048, 1)]
    tls_pin: Annotated[bytes | None, Maybe(Fixed(32))]
    title: Annotated[str, Text()]
    identity: Annotated[str, _NAME]
    invite: Annotated[
        InviteSecret | None, Maybe(Parsed(InviteSecret.expose, InviteSecret, InviteSecret.size))
    ]
    owned: Annotated[bool, Flag]
    successors: Annotated[tuple[str, ...], ListOf(_NAME, MAX_SUCCESSORS, unique=True)]
    rescuing: Annotated[bool, Flag]

    @property
    def identities(self) -> tuple[str, ...]:
        """The names of the identities that serve here, or may be found to."""
        return (self.identity, *self.successors)


@record
class Keyring:
    """What a keyring file holds; `counter` grows by one with each save.

    Names and vault ids are unique and each vault's identity is there, by construction.
    """

    counter: Annotated[int, Uint(2**63 - 1)]
    identities: Annotated[tuple[StoredIdentity, ...], ListOf(StoredIdentity, MAX_IDENTITIES)]
    vaults: Annotated[tuple[VaultEntry, ...], ListOf(VaultEntry, MAX_VAULTS)]

    def __post_init__(self) -> None:
        names = {identity.name for identity in self.identities}
        if len(names) != len(self.identities):
            raise MalformedMessage("two identities have one name")
        if len({entry.vault_id for entry in self.vaults}) != len(self.vaults):
            raise MalformedMessage("a vault is listed twice")
        if not {name for entry in self.vaults for name in entry.identities} <= names:
            raise MalformedMessage("a vault names an identity that is not there")
        if any(entry.identity in entry.successors for entry in self.vaults):
            raise MalformedMessage("an identity is to be replaced by itself")

    def identity(self, name: str) -> StoredIdentity | None:
        """Return the identity of this name, or None."""
        return next((one for one in self.identities if one.name == name), None)

    def vault(self, vault_id: bytes) -> VaultEntry | None:
        """Return the entry of this vault (32-byte id), or None."""
        return next((one for one in self.vaults if one.vault_id == vault_id), None)

    def with_identity(self, identity: StoredIdentity) -> Keyring:
        """Return a keyring that holds this identity too, in place of one of the same name."""
        others = tuple(one for one in self.identities if one.name != identity.name)
        return replace(self, identities=(*others, identity))

    def with_vault(self, entry: VaultEntry) -> Keyring:
        """Return a keyring that holds this entry too, in place of one of the same vault.

        An identity that served there, and does so no more, goes: its seed may be somebody
        else's too by then, and must not be taken for the next vault.

        Raises:
            MalformedMessage: the entry's identity is not in the keyring.
        """
        before = self.vault(entry.vault_id)
        gone = set(before.identities) - set(entry.identities) if before else set()
        kept = tuple(one for one in self.identities if one.name not in gone)
        others = self.without_vault(entry.vault_id).vaults
        return replace(self, identities=kept, vaults=(*others, entry))

    def without_vault(self, vault_id: bytes) -> Keyring:
        """Return a keyring without the entry of this vault (32-byte id)."""
        kept = tuple(one for one in self.vaults if one.vault_id != vault_id)
        return replace(self, vaults=kept)

    def without_identity(self, name: str) -> Keyring:
        """Return a keyring without an identity.

        Raises:
            MalformedMessage: a vault names it.
        """
        return replace(self, identities=tuple(one for one in self.identities if one.name != name))

    @staticmethod
    def load(path: Path, passphrase: Passphrase) -> Keyring:
        """Read a keyring file (SPEC section 4.4).

        The counter is the caller's to compare with what the vaults' logs have seen: the file
        itself cannot tell that it is an old copy.

        Raises:
            NoKeyring: there is no such file.
            ExposedFile: other users of this machine may read or write it.
            Downgrade, LimitExceeded: Argon2id parameters below the floor or above the ceiling.
            Unsupported, MalformedMessage: another version, or not a whole keyring file.
            WrongPassphrase: the passphrase is wrong, or the file was changed.
        """
        file = _checked_file(path)
        return _opened(file, passphrase())

    @staticmethod
    def create(path: Path, passphrase: Passphrase, cost: Cost = FLOOR) -> Keyring:
        """Make an empty keyring file of mode 0600, and its folder of mode 0700 if there is none.

        `cost` is kept by every later save.

        Raises:
            Conflict: there is a file already; it is left as it is.
            WrongPassphrase: the passphrase is empty, or has no UTF-8 form.
            Downgrade, LimitExceeded: a cost below the floor or above the ceiling.
        """
        _acceptable(cost)
        _refuse_existing(path)  # before anyone is asked for a passphrase
        phrase = passphrase()
        if not phrase:
            raise WrongPassphrase("an empty passphrase protects nothing")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _write_lock(path):
            _refuse_existing(path)
            return _saved(path, Keyring(0, (), ()), phrase, cost)

    @staticmethod
    @contextmanager
    def edit(path: Path, passphrase: Passphrase) -> Iterator[Draft]:
        """Give a draft of the keyring, and save what it holds when the block ends well.

        Other editors of the file wait from here to there, so the block should not wait for
        people or networks, nor edit the same file again. A block that raises leaves the file
        as it was, to the byte.

        Raises:
            SealroomError: as `load` raises.
        """
        _checked_file(path)  # before anyone is asked for a passphrase
        phrase = passphrase()
        with _write_lock(path):
            file = _checked_file(path)
            before = _opened(file, phrase)
            draft = Draft(before)
            yield draft
            if draft.keyring != before:
                changed = replace(draft.keyring, counter=before.counter)
                draft.keyring = _saved(path, changed, phrase, file.header.cost)


@dataclass(slots=True)
class Draft:
    """A keyring under edit: assign `keyring` to change what will be saved."""

    keyring: Keyring


# --- the file's layout


_MAGIC: Final = b"sealroom keyring v1\n"
_ANY_VERSION: Final = re.compile(rb"sealroom keyring v[0-9]+\n")
_FIELDS: Final = struct.Struct(">III16s12sI")
_HEADER_BYTES: Final = len(_MAGIC) + _FIELDS.size
_TAG_BYTES: Final = 16
_MAC_BYTES: Final = 32
_FROM_BACKUP: Final = "take the file from a backup"


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
class _File:
    """A keyring file whose header is acceptable; nothing in it is authentic yet."""

    header: _Header
    ciphertext: bytes
    mac: bytes

    @classmethod
    def parse(cls, content: bytes) -> _File:
        if not content.startswith(_MAGIC):
            if _ANY_VERSION.match(content):
                raise Unsupported("a keyring file of another version")
            raise MalformedMessage("not a keyring file", hint=_FROM_BACKUP)
        if len(content) < _HEADER_BYTES:
            raise MalformedMessage("a keyring file that is cut short", hint=_FROM_BACKUP)
        memory, passes, lanes, salt, nonce, length = _FIELDS.unpack_from(content, len(_MAGIC))
        header = _Header(_acceptable(Cost(memory, passes, lanes)), salt, nonce, length)
        if len(content) != _HEADER_BYTES + length + _MAC_BYTES or length < _TAG_BYTES:
            raise MalformedMessage(
                "a keyring file that is cut short or has more at its end", hint=_FROM_BACKUP
            )
        end = _HEADER_BYTES + length
        return cls(header, content[_HEADER_BYTES:end], content[end:])


def _acceptable(cost: Cost) -> Cost:
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


def _sealed(keyring: Keyring, phrase: str, cost: Cost) -> bytes:
    contents = to_bytes(keyring)
    # A fresh salt gives fresh keys, so no nonce ever meets a key twice.
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header = _Header(cost, salt, nonce, len(contents) + _TAG_BYTES)
    encryption, mac = _keys(phrase, header)
    associated = framed(Label.KEYRING_FILE, header.encode())
    ciphertext = AESGCM(encryption.expose()).encrypt(header.nonce, contents, associated)
    return header.encode() + ciphertext + _mac(mac, header, ciphertext)


def _opened(file: _File, phrase: str) -> Keyring:
    encryption, mac = _keys(phrase, file.header)
    if not hmac.compare_digest(_mac(mac, file.header, file.ciphertext), file.mac):
        raise _wrong_passphrase()
    associated = framed(Label.KEYRING_FILE, file.header.encode())
    try:
        contents = AESGCM(encryption.expose()).decrypt(
            file.header.nonce, file.ciphertext, associated
        )
    except InvalidTag:
        raise _wrong_passphrase() from None
    return from_bytes(Keyring, contents, max_bytes=MAX_FILE_BYTES)


def _wrong_passphrase() -> WrongPassphrase:
    return WrongPassphrase(
        "the passphrase is wrong, or the file was changed",
        hint="try again; if it stays so, take the file from a backup",
    )


# --- the disk


def _checked_file(path: Path) -> _File:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoKeyring(
            f"there is no keyring at {path}", hint="create one, or name the right file"
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        # Of the open file, not of the path: what was checked is what is read.
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise ExposedFile(
                f"others on this machine may read or change {path}", hint=f"chmod 600 {path}"
            )
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise LimitExceeded(f"the keyring file is larger than {MAX_FILE_BYTES} bytes")
    return _File.parse(content)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise Conflict(f"there is a keyring at {path}", hint="use it, or name another file")


def _saved(path: Path, keyring: Keyring, phrase: str, cost: Cost) -> Keyring:
    """Put the keyring in place whole or not at all; the caller holds the write lock."""
    saved = replace(keyring, counter=keyring.counter + 1)
    content = _sealed(saved, phrase, cost)
    if len(content) > MAX_FILE_BYTES:
        raise LimitExceeded(f"the keyring would be larger than {MAX_FILE_BYTES} bytes")
    _replace_file(path, content)
    return saved


def _replace_file(path: Path, content: bytes) -> None:
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
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _write_lock(path: Path) -> Iterator[None]:
    """Wait for the turn to write. A file of its own, because saving replaces the keyring's."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path.with_name(f"{path.name}.lock"), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # gives the lock up, also where the process dies
