"""An identity brought back from its kit, into a home that may have served as another (SPEC 4.5).

Anybody can write a kit, and a server can say of any key that it does not know it. So the vault is
learned anew beside what is there, and takes its place once all of it was verified: by one save of
the keyring. Whatever happens before, the home is as it was; whatever happens after, the next
command that opens the vault puts the new log in place.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from client.crypto.identity import Identity
from client.errors import InputError
from client.keeper import Keeper
from client.keyring import Keyring, VaultEntry
from client.kits import Kit
from client.places import restored_path
from client.session import Session
from client.store_files import name_whole, put_in_place, remove_store
from client.trust import Believed
from client.vault import Vault
from protocol.errors import Fork, Rollback, SealroomError

LIKE: Final = "restored"
"""What a restored identity is called, with a number after it."""
_MAKING: Final = ".making"


class Restoring(Keeper):
    """A home into which an identity comes from paper."""

    async def restore(
        self, kit: Kit, *, server: str | None = None, pin: bytes | None = None
    ) -> Vault:
        """Bring an identity back from its kit, and the vault with it.

        `server` and `pin` win over the kit's, and over this home's own where it is in the vault
        as this identity already. What this home had of the vault's log is fetched anew, for it
        may lack what was sent to this identity, and must be continued by it. Without an error in
        between all is in place; with one, all is as it was.

        Raises:
            InputError: this home is in that vault as somebody else who is still there; or the kit
                is of nobody there.
            Refused: the server knows nobody with these keys.
            Fork, Rollback: what the server shows to this identity is not what this home has seen.
        """
        known = self._known(kit.vault_id)
        if known is not None and self._stored(known.identity).seed == kit.seed:
            there, key = server or known.server, pin or known.tls_pin
            return await self._restored(replace(known, server=there, tls_pin=key))
        kit = replace(kit, server=server or kit.server, tls_pin=pin or kit.tls_pin)
        before = None
        if known is not None:
            before = await self._expect_gone(known)
            known = self._known(kit.vault_id)
        identity = Identity(kit.seed)
        whole = restored_path(self.directory, kit.vault_id, identity.member_id)
        made = [each for each in (whole.parent, self.directory) if not each.exists()]
        try:
            title = await self._learned(kit, identity, before, whole)
            try:
                if not self.keyring_path.exists():
                    self.create_keyring()
                entry = self._put_in_keyring(kit, title, known)
            except (SealroomError, OSError):
                if not self._serves(identity, kit.vault_id):
                    remove_store(whole)
                raise
        except BaseException:
            for folder in made:
                with suppress(OSError):  # something is in it
                    folder.rmdir()
            raise
        put_in_place(whole, self._store_path(kit.vault_id), self.keyring_path)
        return self._opened(entry)

    def _serves(self, identity: Identity, vault_id: bytes) -> bool:
        """Say whether an identity serves in a vault, by what is on the disk."""
        if not self.keyring_path.exists():
            return False
        keyring = Keyring.load(self.keyring_path, lambda: self._passphrase)
        entry = keyring.vault(vault_id)
        stored = None if entry is None else keyring.identity(entry.identity)
        return stored is not None and stored.seed == identity.seed

    def _known(self, vault_id: bytes) -> VaultEntry | None:
        return self.keyring.vault(vault_id) if self.keyring_path.exists() else None

    async def _restored(self, entry: VaultEntry) -> Vault:
        """Open a vault in which this home is already, and keep the place where it was found."""
        vault = self._opened(entry)
        try:
            await vault.session.sync()
            title, place = await vault.title(), (entry.server, entry.tls_pin)
            self._revise(
                entry.vault_id,
                lambda entry: replace(entry, title=title, server=place[0], tls_pin=place[1]),
            )
        except BaseException:
            await vault.close()
            raise
        return vault

    async def _expect_gone(self, known: VaultEntry) -> Believed:
        """Return what this home believes, if whom it was in the vault is no member any more."""
        vault = self._opened(known)
        try:
            await vault.session.sync()
            me = vault.session.state.members.get(vault.identity.member_id)
        finally:
            await vault.close()
        if me is not None and me.live:
            raise InputError(
                "this home is in that vault already, as somebody else",
                hint="Restore the kit in a home of its own, with --home.",
            )
        return vault.session.believed

    async def _learned(
        self, kit: Kit, identity: Identity, before: Believed | None, whole: Path
    ) -> str:
        """Learn the vault's log as an identity, into a store of its own; return the title."""
        making = whole.with_name(whole.name + _MAKING)
        for each in (making, whole):
            remove_store(each)  # of a try that was killed
        try:
            async with self._opened_as(_entry(kit, "", LIKE), identity, making) as vault:
                await vault.session.sync()
                _expect_continued(vault.session, before)
                title = await vault.title()
            name_whole(making, whole)
        except BaseException:
            remove_store(making)
            raise
        return title

    def _put_in_keyring(self, kit: Kit, title: str, known: VaultEntry | None) -> VaultEntry:
        """Let the kit's identity serve in the vault, in the place of whoever did here before."""
        placed: list[VaultEntry] = []

        def changed(keyring: Keyring) -> Keyring:
            if keyring.vault(kit.vault_id) != known:
                raise InputError(
                    "another command changed this vault in this home meanwhile",
                    hint="See 'sealroom vault list', then repeat the command.",
                )
            same = next((each for each in keyring.identities if each.seed == kit.seed), None)
            stored = same or self._named(keyring, kit.seed, LIKE)
            placed.append(_entry(kit, title, stored.name))
            return keyring.with_identity(stored).with_vault(placed[-1])

        self._edit(changed)
        return placed[-1]


def _entry(kit: Kit, title: str, identity: str) -> VaultEntry:
    return VaultEntry(
        kit.vault_id, kit.server, kit.tls_pin, title, identity, None, False, (), False
    )


def _expect_continued(session: Session, before: Believed | None) -> None:
    """Check that an identity belongs to the log that it is shown, and that this home has seen it.

    A pin is not to be had off a home by a kit. Who was removed is shown a part of the log only.
    """
    me = session.state.members.get(session.identity.member_id)
    if me is None:
        raise InputError(
            "the kit's identity is nobody in that vault",
            hint="Compare the kit with the vault's id.",
        )
    if before is None:
        return
    mine, shown = before.ledger, session.believed.ledger
    size = min(mine.size, shown.size)
    if mine.tree.root(size) != shown.tree.root(size):
        raise Fork(
            "the server shows the kit's identity another history than this home has seen",
            pinned=before.pin.note(),
            shown=session.believed.pin.note(),
            hint="Keep both checkpoints, which the server signed. Compare with other members.",
        )
    if me.live and shown.size < mine.size:
        raise Rollback(
            f"the server shows {shown.size} leaves where there have been {mine.size} before",
            hint="It may have been put back from a backup. Ask who runs it.",
        )
