"""Identities rotated, put on paper, and destroyed (SPEC sections 4.5, 9.3 and 9.8)."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from client.attesting import attest
from client.catalogs import name_of, read_people
from client.crypto.identity import Identity
from client.errors import Refused
from client.fields import tainted_fields
from client.keeper import entry_of
from client.keyring import MAX_SUCCESSORS, Keyring, VaultEntry
from client.kits import Backup, Kit, write_page
from client.people import words_with
from client.removing import rotate
from client.restoring import Restoring
from client.results.keys import RotateIdentityResult
from client.results.log import AttestResult
from client.session import Draft, Session, saying
from client.store_files import remove_store
from client.vault import Vault
from protocol import acts
from protocol.acts import Statement
from protocol.errors import CommitmentMismatch, SealroomError
from protocol.identity import rotation_context
from protocol.ledger.state import State

ATTESTED_FOLDER: Final = "attested"
MOST_NAMED: Final = 5


class Renewal(Restoring):
    """A home whose identities come and go."""

    # --- new keys

    async def rotate_identity(
        self, vault: Vault, *, leave_false_keys: bool = False
    ) -> RotateIdentityResult:
        """Move this member to new keys, with every key that it holds; the old ones are dead.

        Safe to repeat after any interruption. Everybody but the owner is unconfirmed until its
        words were compared anew; the owner's client replaces what the rotation tainted at once.
        What was given to it false can be left behind: that opens as little afterwards.

        Raises:
            Refused: the rules do not allow it now.
            CommitmentMismatch: keys were given to it false, and are not to be left.
        """
        started = time.monotonic()
        session = vault.session
        old = session.identity
        left: tuple[str, ...] = ()
        await session.sync_as_member()
        if session.identity is old:
            following = Identity.generate()
            card = following.card(rotation_context(session.vault_id, old.member_id))
            rotation = acts.RotateIdentity(card, None)
            session.expect_allowed(rotation)
            left = _false_keys(session, leave_false_keys)
            if len(self._entry(vault).successors) == MAX_SUCCESSORS:
                await self._end_earlier_tries(vault)
            self._begin_succession(vault, following)
            await session.act(lambda _: Draft(rotation, without_false=leave_false_keys))
        # Else an earlier try had landed, and the sync went on as whom it made.
        me = session.state.members[session.identity.member_id]
        replaced = None
        if me.id == session.state.owner and session.state.phase == "open":
            mine = [field for field in tainted_fields(session.state) if session.holds(*field)]
            replaced = await rotate(session, mine)
        return RotateIdentityResult(
            index=me.joined_at,
            old_id=old.member_id.hex(),
            new_id=me.id.hex(),
            status=me.status.value,
            words=None
            if me.id == session.state.owner
            else words_with(session, session.state.owner),
            rotated=replaced,
            left=left,
            seconds=time.monotonic() - started,
            deal_anew=_was_in_recovery(session.believed.state_at(me.joined_at), old.member_id),
        )

    def _begin_succession(self, vault: Vault, identity: Identity) -> None:
        """Keep a new seed, beside those of earlier tries, before anything is sent.

        It was made for this try: whoever has the old seed may have all that lay in this keyring.
        The earlier ones stay, for the server may hold their acts back, and land one yet.
        """
        vault_id = vault.session.vault_id

        def begun(keyring: Keyring) -> Keyring:
            made = self._named(keyring, identity.seed)
            entry = entry_of(keyring, vault_id)
            tried = replace(entry, successors=(*entry.successors, made.name))
            return keyring.with_identity(made).with_vault(tried)

        self._edit(begun)
        vault.session.believed.read_as(identity)
        vault.session.successors += (self._successor(self._entry(vault), identity),)

    async def _end_earlier_tries(self, vault: Vault) -> None:
        """Spend the number that earlier tries bear on another act: none of them can land then."""
        await vault.session.act(saying(acts.Noop()))
        self._revise(vault.session.vault_id, lambda entry: replace(entry, successors=()))
        vault.session.successors = ()

    # --- on paper

    def kit(self, vault: Vault) -> Kit:
        """Return the recovery kit of the identity that serves in a vault: its seed, in clear."""
        entry = self._entry(vault)
        seed = self._stored(entry.identity).seed
        return Kit(entry.vault_id, entry.server, entry.tls_pin, seed)

    async def backup(self, vault: Vault, path: Path) -> Backup:
        """Write the page to print; see `client.kits.write_page`.

        What is on it this home knows by itself. So where the server does not answer, or is not
        believed, the page is written all the same, and the result says what nobody confirmed.

        Raises:
            Refused: this identity no longer serves in the vault.
            SealroomError: no answer, where only that could say which identity of this home serves.
        """
        session = vault.session
        failure = await self._sync_if_possible(vault)
        if session.believed.known:
            session.expect_member()
        kit, me = self.kit(vault), vault.identity.member_id
        title, name = await self._called(vault)
        write_page(path, kit, title=title, name=name, member_id=me.hex())
        return Backup(kit, None if failure is None else str(failure))

    async def _sync_if_possible(self, vault: Vault) -> SealroomError | None:
        """Sync; return why that failed, where this home knows by itself who it is in the vault."""
        try:
            await vault.session.sync()
        except SealroomError as failure:
            entry = self._entry(vault)
            if entry.invite is not None or entry.rescuing or entry.successors:
                raise
            return failure
        return None

    async def _called(self, vault: Vault) -> tuple[str, str]:
        """Return the vault's title and this member's name, as far as they can be had."""
        session, title = vault.session, self._entry(vault).title
        if not session.believed.known:
            return title, ""
        try:
            people = await read_people(session)
            name = name_of(session.state, people, session.identity.member_id)
            return await vault.title(), name or ""
        except SealroomError:  # a page without them is as good
            return title, ""

    # --- destroyed

    async def attest_destroyed(self, vault: Vault) -> AttestResult:
        """Sign that this home's keys of a vault are destroyed, and destroy them.

        For whoever is no longer a member, or of a vault that was destroyed. The statement goes
        first, because it takes the key; what proves it stays in the home, in a file. Safe to
        repeat: after an interruption the same statement is sent again.

        Raises:
            Refused: this member is still one.
        """
        session = vault.session
        await session.sync()
        me = session.state.members.get(session.identity.member_id)
        if me is None or (me.live and not session.state.ended):
            raise Refused(
                "you are a member of this vault, and need your keys",
                code="out_of_order",
                hint="After the handover, or your removal, the same command destroys them.",
            )
        proof = await attest(session, Statement.KEYS_DESTROYED)
        path = self._keep_proof(vault, proof.as_json())
        await vault.close()
        entry = self._entry(vault)
        self._edit(lambda keyring: _without(keyring, entry))
        remove_store(self._store_path(entry.vault_id))
        return AttestResult(
            statement=Statement.KEYS_DESTROYED.value,
            index=proof.index,
            member_id=me.id.hex(),
            proof=str(path),
        )

    def _keep_proof(self, vault: Vault, proof: dict[str, object]) -> Path:
        folder = self.directory / ATTESTED_FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{vault.vault_id}.json"
        temporary = path.with_suffix(".new")
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
        ) as out:
            json.dump(proof, out, indent=2)
            out.flush()
            os.fsync(out.fileno())
        temporary.rename(path)
        return path


def _false_keys(session: Session, leave: bool) -> tuple[str, ...]:
    """Return the epochs whose keys cannot be passed on; raises, unless they are to be left."""
    false = session.false_keys(session.identity)
    if false and not leave:
        reasons = [str(error) for error in false.values()]
        more = f"; and {len(reasons) - MOST_NAMED:,} more" if len(reasons) > MOST_NAMED else ""
        raise CommitmentMismatch(
            "; ".join(reasons[:MOST_NAMED]) + more,
            hint="Have somebody else who holds them replace them, with 'sealroom rotate "
            "--reencrypt'; or move on at once without them: 'sealroom identity rotate "
            "--leave-false-keys'.",
        )
    return tuple(map(str, false))


def _was_in_recovery(before: State, member_id: bytes) -> bool:
    """Say whether shares had been dealt of this member's keys, or one to it."""
    recovery = before.recovery
    if recovery is None:
        return False
    return member_id in (recovery.owner, *recovery.dealing.custodians)


def _without(keyring: Keyring, entry: VaultEntry) -> Keyring:
    keyring = keyring.without_vault(entry.vault_id)
    for name in entry.identities:
        keyring = keyring.without_identity(name)
    return keyring
