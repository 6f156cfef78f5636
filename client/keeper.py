"""Opening the vaults that a home lists: each as the identity that serves in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from client.crypto.identity import Identity
from client.crypto.secrets import Seed
from client.errors import InputError
from client.folder import Folder
from client.keyring import Keyring, StoredIdentity, VaultEntry
from client.likely import likely
from client.patience import Patient, Tell
from client.places import restored_path, store_path
from client.results.vaults import VaultInfo
from client.session import Session, Successor
from client.store import VaultStore
from client.store_files import put_in_place
from client.transport import HttpTransport, Signer, Transport
from client.trust import MOST_LEAVES, Believed
from client.vault import Vault

MOST_TOLD: Final = 8
SHOWN_ID: Final = 16

Connect = Callable[[str, bytes | None, Signer], Transport]
"""Makes the transport to a server: its address, its pin, and who signs."""


def https(url: str, pin: bytes | None, signer: Signer) -> Transport:
    """Connect over HTTPS; a server that stops answering is waited for, up to ten minutes."""
    return Patient(HttpTransport(url, pin=pin, signer=signer))


def https_waiting(most: float, tell: Tell) -> Connect:
    """Return how to connect over HTTPS, to wait so many seconds, and to tell somebody of it."""

    def connect(url: str, pin: bytes | None, signer: Signer) -> Transport:
        return Patient(HttpTransport(url, pin=pin, signer=signer), most=most, tell=tell)

    return connect


class Keeper(Folder):
    """One person's keyring, and the vaults it opens.

    `passphrase` is called once, when the keyring is first needed; `connect` is the seam at
    which tests put another server. Of a log, `most_leaves` new ones are read at once.
    """

    def __init__(
        self,
        directory: Path,
        passphrase: Callable[[], str],
        *,
        connect: Connect = https,
        clock: Callable[[], float] = time.time,
        most_leaves: int = MOST_LEAVES,
    ) -> None:
        super().__init__(directory, passphrase, clock=clock)
        self.connect = connect
        self.most_leaves = most_leaves

    def vault(self, reference: str | None = None) -> Vault:
        """Open a vault by title, id or prefix of its id; the only one there is without a name.

        Raises:
            InputError: none, or several.
        """
        return self._opened(self._named_entry(reference))

    async def move_vault(
        self, url: str, *, pin: bytes | None = None, vault: str | None = None
    ) -> VaultInfo:
        """Go to another address for a vault from now on, or to a server with another TLS key.

        Whoever answers there must have the log that this home knows, at least as long, signed by
        the vault's server: address and TLS key are how it is reached, and no part of the vault
        (SPEC section 13.3). Until that is verified this home goes to the old ones.

        Raises:
            InputError: no such vault, several, or one that this home has not joined yet.
            Rollback, Fork, VerificationFailed: the log there is older, another, or not the
                server's.
            Refused: no such vault there.
            PinMismatch, Unreachable: the server is not the pinned one, or not there.
        """
        entry = self._named_entry(vault)
        if entry.invite is not None:
            raise InputError(
                "this home has not joined that vault yet",
                hint="Join again, with a link from where the vault is now.",
            )
        url = url.rstrip("/")
        async with self._opened(replace(entry, server=url, tls_pin=pin)) as moved:
            await moved.session.sync()
        self._revise(entry.vault_id, lambda known: replace(known, server=url, tls_pin=pin))
        vault_id = entry.vault_id.hex()
        return next(each for each in self.vaults() if each.vault_id == vault_id)

    def _named_entry(self, reference: str | None) -> VaultEntry:
        entries = self.keyring.vaults
        if reference is not None:
            # A title is what a vault's owner says: one that is another's id must not win.
            entries = tuple(e for e in entries if e.vault_id.hex() == reference) or tuple(
                e
                for e in entries
                if e.title == reference
                or (len(reference) >= 6 and e.vault_id.hex().startswith(reference))
            )
        if len(entries) != 1:
            if not entries:
                titles = (each.title for each in self.keyring.vaults if reference)
                hint = "'sealroom vault list' shows them; 'vault create' or 'join' adds one."
                raise InputError(
                    "no such vault in this home" if reference else "this home has no vault yet",
                    hint=likely(reference or "", titles, hint),
                )
            raise self._several(entries)
        return entries[0]

    def _several(self, entries: Sequence[VaultEntry]) -> InputError:
        """Tell vaults apart that fit alike, by what nobody else chose: id, server and day."""
        told = [
            f"{entry.title or 'untitled'!r} {entry.vault_id.hex()[:SHOWN_ID]} on "
            f"{entry.server.removeprefix('https://')}, since {_day(self._stored(entry.identity))}"
            + (", join not finished" if entry.invite is not None else "")
            for entry in entries[:MOST_TOLD]
        ]
        more = f"; and {len(entries) - MOST_TOLD} more" if len(entries) > MOST_TOLD else ""
        return InputError(
            f"several vaults fit: {'; '.join(told)}{more}",
            hint="Name one by its id, or the beginning of it: --vault ID.",
        )

    def _opened(self, entry: VaultEntry) -> Vault:
        identity = Identity(self._stored(entry.identity).seed)
        path = self._store_path(entry.vault_id)
        whole = restored_path(self.directory, entry.vault_id, identity.member_id)
        put_in_place(whole, path, self.keyring_path)
        return self._opened_as(entry, identity, path)

    def _opened_as(self, entry: VaultEntry, identity: Identity, path: Path) -> Vault:
        """Open a vault as an identity that need not be in the keyring, with the store at `path`."""
        store = VaultStore(path)
        signer = Signer(identity.request_key, identity.member_id)
        transport = self.connect(entry.server, entry.tls_pin, signer)
        # One may have taken the other's place just before this home was cut off.
        others = [Identity(self._stored(name).seed) for name in entry.successors]
        # Whose boxes are its own, it learns from the log itself.
        newcomer = entry.invite is not None or entry.rescuing
        mine, most = (identity, *others), self.most_leaves
        believed = Believed(entry.vault_id, store, *mine, newcomer=newcomer, most_leaves=most)
        session = Session(identity, believed, store, transport, self.clock)
        session.successors = tuple(self._successor(entry, each) for each in others)
        return Vault(session, server=entry.server, pin=entry.tls_pin, title=entry.title)

    def _successor(self, entry: VaultEntry, identity: Identity) -> Successor:
        """Return what a session needs to go on as one of an entry's successors."""

        def follow() -> Transport:
            self._edit(lambda keyring: _succeeded(keyring, entry.vault_id, identity.seed))
            signer = Signer(identity.request_key, identity.member_id)
            return self.connect(entry.server, entry.tls_pin, signer)

        return Successor(identity, follow)

    def _entry(self, vault: Vault) -> VaultEntry:
        entry = self.keyring.vault(vault.session.vault_id)
        assert entry is not None  # the vault was opened from it
        return entry

    def _revise(self, vault_id: bytes, change: Callable[[VaultEntry], VaultEntry]) -> None:
        """Change what a vault's entry is by now, whatever another process made of it meanwhile."""
        self._edit(lambda keyring: keyring.with_vault(change(entry_of(keyring, vault_id))))

    def _stored(self, name: str) -> StoredIdentity:
        stored = self.keyring.identity(name)
        assert stored is not None  # a keyring's vaults name identities that are in it
        return stored

    def _store_path(self, vault_id: bytes) -> Path:
        return store_path(self.directory, vault_id)


def _day(identity: StoredIdentity) -> str:
    return datetime.fromtimestamp(identity.created).date().isoformat()


def entry_of(keyring: Keyring, vault_id: bytes) -> VaultEntry:
    """Return a vault's entry in a keyring under edit.

    Raises:
        InputError: another process of this home took it out.
    """
    entry = keyring.vault(vault_id)
    if entry is None:
        raise InputError(
            "another command took this vault out of this home",
            hint="'sealroom vault list' shows what is there.",
        )
    return entry


def _succeeded(keyring: Keyring, vault_id: bytes, seed: Seed) -> Keyring:
    """Put the successor of this seed in its identity's place; the old seed goes, and the others."""
    entry = keyring.vault(vault_id)
    names = () if entry is None else entry.successors
    stored = next((one for one in keyring.identities if one.seed == seed), None)
    if entry is None or stored is None or stored.name not in names:
        return keyring  # another process of this home did it
    followed = replace(entry, identity=stored.name, successors=(), rescuing=False)
    return keyring.with_vault(followed)
