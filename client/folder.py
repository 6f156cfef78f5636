"""A home's folder: its keyring, the identities in it, and the list of its vaults.

Nothing here talks to a server or reads a table, so it is quick to import; `client.home` adds
what does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from itertools import count
from pathlib import Path

from client.crypto.identity import Identity
from client.crypto.secrets import Seed
from client.errors import InputError
from client.keyring import Keyring, StoredIdentity
from client.places import KEYRING_FILE
from client.results.vaults import IdentityInfo, VaultInfo


class Folder:
    """What one person keeps of one's own: the keyring, opened when it is first needed.

    `passphrase` is called once, by then.
    """

    def __init__(
        self,
        directory: Path,
        passphrase: Callable[[], str],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self.clock = clock
        self._ask = passphrase

    @property
    def keyring_path(self) -> Path:
        """Where the keyring file is."""
        return self.directory / KEYRING_FILE

    @cached_property
    def _passphrase(self) -> str:
        return self._ask()

    @cached_property
    def _keyring(self) -> Keyring:
        return Keyring.load(self.keyring_path, lambda: self._passphrase)

    @property
    def keyring(self) -> Keyring:
        """The keyring, opened on first use; raises as `Keyring.load`."""
        return self._keyring

    def create_keyring(self) -> None:
        """Make an empty keyring; raises as `Keyring.create`."""
        self._keyring = Keyring.create(self.keyring_path, lambda: self._passphrase)

    def _edit(self, change: Callable[[Keyring], Keyring]) -> None:
        with Keyring.edit(self.keyring_path, lambda: self._passphrase) as draft:
            draft.keyring = change(draft.keyring)
        self._keyring = draft.keyring

    # --- identities

    def identities(self) -> tuple[IdentityInfo, ...]:
        """List the identities of this home, each with the vault that it serves in."""
        serving = {
            name: entry.vault_id.hex() for entry in self.keyring.vaults for name in entry.identities
        }
        return tuple(
            IdentityInfo(
                name=stored.name,
                member_id=Identity(stored.seed).member_id.hex(),
                created=stored.created,
                vault_id=serving.get(stored.name),
            )
            for stored in self.keyring.identities
        )

    def new_identity(self, name: str | None = None) -> StoredIdentity:
        """Make an identity in this home, and the keyring first if there is none.

        Raises:
            InputError: the name is taken.
            SealroomError: as `Keyring.load` and `Keyring.create`.
        """
        if not self.keyring_path.exists():
            self.create_keyring()
        seed = Identity.generate().seed

        def made(keyring: Keyring) -> StoredIdentity:
            if name is None:
                return self._named(keyring, seed)
            if keyring.identity(name) is not None:
                raise InputError(
                    f"there is an identity {name!r} already", hint="Choose another name."
                )
            return StoredIdentity(name, seed, int(self.clock()))

        return self._keep(made)

    def _keep(self, make: Callable[[Keyring], StoredIdentity]) -> StoredIdentity:
        """Keep what is made for the keyring as it is by then."""
        made: list[StoredIdentity] = []

        def kept(keyring: Keyring) -> Keyring:
            made.append(make(keyring))
            return keyring.with_identity(made[0])

        self._edit(kept)
        return made[0]

    def _named(self, keyring: Keyring, seed: Seed, like: str = "identity") -> StoredIdentity:
        """Return an identity under a name that is free; nothing is kept yet."""
        name = next(n for i in count(1) if keyring.identity(n := f"{like}-{i}") is None)
        return StoredIdentity(name, seed, int(self.clock()))

    def _unused_identity(self, name: str | None) -> StoredIdentity:
        """Return an identity for a new membership: each serves in one vault, so none links two.

        One of the name is made where there is none.

        Raises:
            InputError: the named one serves in a vault already.
        """
        if not self.keyring_path.exists():
            return self.new_identity(name)
        used = {each for entry in self.keyring.vaults for each in entry.identities}
        if name is not None:
            if name in used:
                raise InputError(
                    f"the identity {name!r} serves in a vault already",
                    hint="Each serves in one vault, so that none links two: choose another name.",
                )
            return self.keyring.identity(name) or self.new_identity(name)
        free = [each for each in self.keyring.identities if each.name not in used]
        return free[0] if free else self.new_identity()

    # --- vaults

    def vaults(self) -> tuple[VaultInfo, ...]:
        """List the vaults of this home; nothing is asked of any server."""
        made = {stored.name: stored.created for stored in self.keyring.identities}
        return tuple(
            VaultInfo(
                vault_id=entry.vault_id.hex(),
                title=entry.title,
                server=entry.server,
                pin=entry.tls_pin.hex() if entry.tls_pin else None,
                identity=entry.identity,
                joined=entry.invite is None,
                since=made[entry.identity],
            )
            for entry in self.keyring.vaults
        )
