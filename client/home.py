"""A home: one folder with the keyring and what is known of each vault (SPEC section 10.5).

    home = Home(Path("~/.sealroom").expanduser(), lambda: getpass("Passphrase: "))
    async with await home.create_vault("https://localhost:8443", title="Project Lark") as vault:
        await vault.upload("customers.csv", collection="customers")

`Home` makes vaults out of what `client.folder` lists.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from client.crypto.identity import Identity
from client.crypto.invites import invite_access_key
from client.crypto.secrets import InviteSecret
from client.errors import InputError, Refused
from client.folder import Folder
from client.keyring import VaultEntry
from client.links import Link, parse_link
from client.membership import invite_behind, join, remember_words, words_with, write_person
from client.results import JoinResult
from client.session import Session
from client.store import VaultStore
from client.transport import HttpTransport, Signer, Transport
from client.trust import Believed
from client.vault import Vault
from protocol import acts
from protocol.acts import DEFAULT_POLICY, NO_VAULT, Act, Policy
from protocol.api import CreateVault, ServerInfo
from protocol.errors import NotFound, PinMismatch, Unsupported
from protocol.identity import access_key_id
from protocol.labels import Label
from protocol.ledger import State
from protocol.signing import verify_public_key
from protocol.wire import Envelope, pae, to_bytes

VAULTS_FOLDER: Final = "vaults"

T = TypeVar("T")

Connect = Callable[[str, bytes | None, Signer], Transport]
"""Makes the transport to a server: its address, its pin, and who signs."""


def https(url: str, pin: bytes | None, signer: Signer) -> Transport:
    """Connect over HTTPS."""
    return HttpTransport(url, pin=pin, signer=signer)


class Home(Folder):
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

    # --- vaults

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
        stored = self.keyring.identity(entry.identity)
        assert stored is not None  # a keyring's vaults name identities that are in it
        identity = Identity(stored.seed)
        store = VaultStore(self.directory / VAULTS_FOLDER / f"{entry.vault_id.hex()}.db")
        signer = Signer(identity.request_key, identity.member_id)
        transport = self.connect(entry.server, entry.tls_pin, signer)
        believed = Believed(entry.vault_id, store, identity, newcomer=entry.invite is not None)
        session = Session(identity, believed, store, transport, self.clock)
        return Vault(session, server=entry.server, pin=entry.tls_pin, title=entry.title)

    # --- creating

    async def create_vault(
        self,
        url: str,
        *,
        title: str,
        name: str = "owner",
        pin: bytes | None = None,
        token: str = "",
        identity: str | None = None,
        policy: Policy = DEFAULT_POLICY,
    ) -> Vault:
        """Create a vault on a server and become its owner.

        Raises:
            Refused: the server wants another token.
            PinMismatch, Unreachable, Unsupported: the server is not the pinned one, not there,
                or speaks another version.
            WeakKey: the key that the server would sign with is none.
        """
        url = url.rstrip("/")
        info = await self._server_info(url, pin)
        stored = self._unused_identity(identity)
        owner = Identity(stored.seed)
        signer = Signer(owner.request_key, owner.member_id)
        transport = self.connect(url, pin, signer)
        try:
            genesis = _genesis(owner, info, policy)
            entry = VaultEntry(acts.vault_id_of(genesis), url, pin, title, stored.name, None, True)
            # Before the server has it: a vault whose keys were lost in a crash helps nobody.
            self._edit(lambda keyring: keyring.with_vault(entry))
            try:
                await transport.create_vault(CreateVault(token, genesis))
            except Refused:
                self._edit(lambda keyring: keyring.without_vault(entry.vault_id))
                raise
        finally:
            await transport.close()
        vault = self._opened(entry)
        try:
            await vault.session.sync()
            await write_person(vault.session, owner.member_id, name, title=title)
        except BaseException:
            await vault.close()
            raise
        return vault

    async def _server_info(self, url: str, pin: bytes | None) -> ServerInfo:
        """Ask whom the server signs as, before a mistyped address or pin leaves anything behind."""
        nobody = Identity.generate()
        transport = self.connect(url, pin, Signer(nobody.request_key, nobody.member_id))
        try:
            return await transport.server_info()
        finally:
            await transport.close()

    # --- joining

    async def join(
        self,
        link: str,
        *,
        words: str | None = None,
        yes: bool = False,
        identity: str | None = None,
    ) -> tuple[Vault, JoinResult]:
        """Join a vault with an invite link, or compare words with its inviter afterwards.

        Safe to repeat: whoever has joined with this link is told so, and nothing is done twice.
        Whoever was removed comes back with a new link as somebody new.

        Raises:
            InputError: this home is in that vault already, by another link.
            Refused: the invite was used by somebody else, withdrawn, or has expired.
            NotAuthorised, PinMismatch: the server, or the invite, is not the one of the link.
        """
        parsed = parse_link(link)
        entry = self.keyring.vault(parsed.vault_id) if self.keyring_path.exists() else None
        if entry is None:
            entry = await self._begin_join(parsed, identity)
        elif entry.invite is not None and not _is_behind(entry, parsed):
            entry = await self._begin_join(parsed, entry.identity, begun=True)
        elif entry.invite is None and not await self._joined_by(entry, parsed):
            entry = await self._begin_join(parsed, identity)
        vault = self._opened(entry)
        try:
            if entry.invite is not None:
                await self._finish_join(vault, entry, parsed.secret)
            await vault.session.sync_as_member()
            result = await _join_result(vault, words, yes)
        except BaseException:
            await vault.close()
            raise
        if result.title != entry.title:
            titled = replace(entry, invite=None, title=result.title)
            self._edit(lambda keyring: keyring.with_vault(titled))
        return vault, result

    async def _joined_by(self, entry: VaultEntry, link: Link) -> bool:
        """Say whether this home is in the vault by this very link; False if it was removed.

        Raises:
            InputError: it is in the vault, but not by this link.
        """
        vault = self._opened(entry)
        try:
            await vault.session.sync()
            state = vault.session.state
        finally:
            await vault.close()
        me = state.members[vault.identity.member_id]
        access = bytes(invite_access_key(link.secret).verify_key)
        if me.invite is not None and state.invites[me.invite].access_key == access:
            return True
        if me.live:
            raise InputError(
                "this home is in that vault already, and not by this link",
                hint="If it is for somebody else, send it to them.",
            )
        return False

    async def _begin_join(
        self, link: Link, identity: str | None, *, begun: bool = False
    ) -> VaultEntry:
        """Check the invite before anything of it is kept, then keep what a crash must not lose.

        A join that was begun with another link goes on with this one, as the same identity.
        """
        await self._invite_session_check(link)
        name = identity if begun and identity else self._unused_identity(identity).name
        entry = VaultEntry(link.vault_id, link.url, link.pin, "", name, link.secret, False)
        self._edit(lambda keyring: keyring.with_vault(entry))
        return entry

    async def _invite_session_check(self, link: Link) -> None:
        signer = _access_signer(link.secret)
        transport = self.connect(link.url, link.pin, signer)
        store = VaultStore(None)
        try:
            believed = Believed(link.vault_id, store)
            session = Session(Identity.generate(), believed, store, transport, self.clock)
            await _as_newcomer(session.sync())
            invite_behind(session, link.secret)
        finally:
            await transport.close()
            store.close()

    async def _finish_join(self, vault: Vault, entry: VaultEntry, secret: InviteSecret) -> None:
        """Join, unless an earlier try that was cut off did."""
        session = vault.session
        try:
            await session.sync()
        except Refused:
            await self._join_now(vault, entry, secret)
        if session.identity.member_id not in session.state.members:
            raise PinMismatch("the server knows this identity, but the log does not")
        done = replace(entry, invite=None)
        self._edit(lambda keyring: keyring.with_vault(done))

    async def _join_now(self, vault: Vault, entry: VaultEntry, secret: InviteSecret) -> None:
        """Read with the link's access key, join with the invite's, go on with one's own."""

        def connect(signer: Signer) -> Transport:
            return self.connect(entry.server, entry.tls_pin, signer)

        session = vault.session
        own = session.transport
        session.transport = connect(_access_signer(secret))
        try:
            await _as_newcomer(session.sync())
            through, _ = invite_behind(session, secret)
            session.believed.read_as(through)
            await session.transport.close()
            session.transport = connect(Signer(through.request_key, through.member_id))
            await _as_newcomer(join(session, through, own))
        except BaseException:
            await session.transport.close()
            session.transport = own
            raise


def _genesis(owner: Identity, info: ServerInfo, policy: Policy) -> bytes:
    if acts.VERSION not in info.versions:
        raise Unsupported(
            "the server speaks another version of the protocol", hint="Update sealroom."
        )
    verify_public_key(info.checkpoint_key)
    payload = acts.Genesis(
        acts.SUITE, os.urandom(32), owner.card(NO_VAULT), info.checkpoint_key, policy
    )
    body = Act(NO_VAULT, owner.member_id, 0, None, payload, None).body()
    return to_bytes(Envelope(Label.ACT, body, owner.sign(pae(Label.ACT, body))))


def _access_signer(secret: InviteSecret) -> Signer:
    key = invite_access_key(secret)
    return Signer(key, access_key_id(bytes(key.verify_key)))


async def _as_newcomer(work: Awaitable[T]) -> T:
    """Do what only an open invite may; to the server a closed one is nobody."""
    try:
        return await work
    except Refused as refused:
        if refused.refusal != NotFound.code:
            raise
        raise Refused(
            "the link opens nothing: its invite was used, withdrawn, has expired, "
            "or was copied wrong",
            code=refused.refusal,
            hint="Copy the link anew, whole; or ask for a new one.",
        ) from refused


def _is_behind(entry: VaultEntry, link: Link) -> bool:
    """Say whether an unfinished join was begun with this link."""
    return (entry.server, entry.tls_pin, entry.invite) == (link.url, link.pin, link.secret)


async def _join_result(vault: Vault, words: str | None, yes: bool) -> JoinResult:
    session = vault.session
    state: State = session.state
    me = state.members[session.identity.member_id]
    assert me.invite is not None  # an owner from the genesis has joined by no link
    inviter = state.invites[me.invite].inviter
    compared = remember_words(session, inviter, words, yes)
    return JoinResult(
        vault_id=state.vault_id.hex(),
        title=await vault.title(),
        member_id=me.id.hex(),
        inviter_id=inviter.hex(),
        role=me.role.value,
        status=me.status.value,
        words=words_with(session, inviter),
        compared=compared,
        head_age=max(0, int(session.clock()) - session.believed.pin.time),
    )
