"""Opening the vaults that a home lists: each as the identity that serves in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from client.crypto.identity import Identity
from client.errors import InputError
from client.folder import Folder
from client.keyring import Keyring, StoredIdentity, VaultEntry
from client.patience import Patient, Tell
from client.session import Session, Successor
from client.store import VaultStore
from client.transport import HttpTransport, Signer, Transport
from client.trust import Believed
from client.vault import Vault

VAULTS_FOLDER: Final = "vaults"

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
    which tests put another server.
    """

    def __init__(
        self,
        directory: Path,
        passphrase: Callable[[], str],
        *,
        connect: Connect = https,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(directory, passphrase, clock=clock)
        self.connect = connect

    def vault(self, reference: str | None = None) -> Vault:
        """Open a vault by title, id or prefix of its id; the only one there is without a name.

        Raises:
            InputError: none, or several.
        """
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
                raise InputError(
                    "no such vault in this home" if reference else "this home has no vault yet",
                    hint="'sealroom vault list' shows them; 'vault create' or 'join' adds one.",
                )
            raise InputError("several vaults fit", hint="Name one with --vault ID.")
        return self._opened(entries[0])

    def _opened(self, entry: VaultEntry) -> Vault:
        identity = Identity(self._stored(entry.identity).seed)
        store = VaultStore(self._store_path(entry.vault_id))
        signer = Signer(identity.request_key, identity.member_id)
        transport = self.connect(entry.server, entry.tls_pin, signer)
        # It may have taken the other's place just before this home was cut off.
        successor = entry.successor and Identity(self._stored(entry.successor).seed)
        others = (successor,) if successor else ()
        # Whose boxes are its own, it learns from the log itself.
        newcomer = entry.invite is not None or entry.rescuing
        believed = Believed(entry.vault_id, store, identity, *others, newcomer=newcomer)
        session = Session(identity, believed, store, transport, self.clock)
        if successor:
            session.successor = self._successor(entry, successor)
        return Vault(session, server=entry.server, pin=entry.tls_pin, title=entry.title)

    def _successor(self, entry: VaultEntry, identity: Identity) -> Successor:
        """Return what a session needs to go on as the identity that an entry's successor names."""

        def follow() -> Transport:
            self._edit(lambda keyring: _succeeded(keyring, entry.vault_id))
            signer = Signer(identity.request_key, identity.member_id)
            return self.connect(entry.server, entry.tls_pin, signer)

        return Successor(identity, follow)

    def _stored(self, name: str) -> StoredIdentity:
        stored = self.keyring.identity(name)
        assert stored is not None  # a keyring's vaults name identities that are in it
        return stored

    def _store_path(self, vault_id: bytes) -> Path:
        return self.directory / VAULTS_FOLDER / f"{vault_id.hex()}.db"


def _succeeded(keyring: Keyring, vault_id: bytes) -> Keyring:
    """Put an entry's successor in its identity's place; the old seed goes."""
    entry = keyring.vault(vault_id)
    if entry is None or entry.successor is None:
        return keyring  # another process of this home did it
    followed = replace(entry, identity=entry.successor, successor=None, rescuing=False)
    return keyring.with_vault(followed).without_identity(entry.identity)
