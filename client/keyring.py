"""The encrypted keyring file: seeds, and the vaults they belong to (SPEC section 4.4).

    with Keyring.edit(path, ask_passphrase) as draft:
        draft.keyring = draft.keyring.with_identity(identity)

`Keyring.load` reads, `Keyring.create` makes a new file, `Keyring.edit` changes one: two
processes that edit the same file take turns. The contents never touch the disk in clear:
`client.keyring_file` seals them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

from client.crypto.secrets import InviteSecret, Seed
from client.exposure import expect_own
from client.keyring_file import (
    FLOOR,
    MAX_FILE_BYTES,
    Cost,
    KeyringFile,
    acceptable,
    checked_file,
    refuse_existing,
    replace_file,
    sealed,
    write_lock,
)
from protocol.errors import MalformedMessage, WrongPassphrase
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

MAX_IDENTITIES: Final = 1_024
MAX_VAULTS: Final = 4_096
MAX_SUCCESSORS: Final = 32

_UNIX_SECONDS: Final = Uint(2**40)
_NAME: Final = Text(200, 1)


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
            ExposedFile: other users of this machine may read or write it, or write into its folder.
            Downgrade, LimitExceeded: Argon2id parameters below the floor or above the ceiling.
            Unsupported, MalformedMessage: another version, or not a whole keyring file.
            WrongPassphrase: the passphrase is wrong, or the file was changed.
        """
        return _read(checked_file(path), passphrase())

    @staticmethod
    def create(path: Path, passphrase: Passphrase, cost: Cost = FLOOR) -> Keyring:
        """Make an empty keyring file of mode 0600, and its folder of mode 0700 if there is none.

        `cost` is kept by every later save.

        Raises:
            Conflict: there is a file already; it is left as it is.
            ExposedFile: other users of this machine may write into its folder.
            WrongPassphrase: the passphrase is empty, or has no UTF-8 form.
            Downgrade, LimitExceeded: a cost below the floor or above the ceiling.
        """
        acceptable(cost)
        refuse_existing(path)  # before anyone is asked for a passphrase
        if path.parent.exists():
            expect_own(path.parent)
        phrase = passphrase()
        if not phrase:
            raise WrongPassphrase("an empty passphrase protects nothing")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with write_lock(path):
            refuse_existing(path)
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
        checked_file(path)  # before anyone is asked for a passphrase
        phrase = passphrase()
        with write_lock(path):
            file = checked_file(path)
            before = _read(file, phrase)
            draft = Draft(before)
            yield draft
            if draft.keyring != before:
                changed = replace(draft.keyring, counter=before.counter)
                draft.keyring = _saved(path, changed, phrase, file.header.cost)


@dataclass(slots=True)
class Draft:
    """A keyring under edit: assign `keyring` to change what will be saved."""

    keyring: Keyring


def _read(file: KeyringFile, phrase: str) -> Keyring:
    return from_bytes(Keyring, file.opened(phrase), max_bytes=MAX_FILE_BYTES)


def _saved(path: Path, keyring: Keyring, phrase: str, cost: Cost) -> Keyring:
    """Put the keyring in place; the caller holds the write lock."""
    saved = replace(keyring, counter=keyring.counter + 1)
    replace_file(path, sealed(to_bytes(saved), phrase, cost))
    return saved
