"""Joining a vault with a link (SPEC section 4.3)."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

from client.crypto.identity import Identity
from client.crypto.invites import invite_access_key
from client.crypto.secrets import InviteSecret
from client.errors import InputError, Refused
from client.inviting import invite_behind, join
from client.keeper import Keeper
from client.keyring import VaultEntry
from client.links import Link, parse_link
from client.people import remember_words, words_with
from client.results.people import JoinResult
from client.session import Session
from client.store import VaultStore
from client.transport import Signer, Transport
from client.trust import Believed
from client.vault import Vault
from protocol.errors import NotFound, PinMismatch
from protocol.identity import access_key_id
from protocol.ledger import State

T = TypeVar("T")


class Joining(Keeper):
    """A home that becomes a member."""

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
            entry = await self._begin_join(parsed, identity, anew=True)
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
            self._revise(entry.vault_id, lambda entry: replace(entry, title=result.title))
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
        self, link: Link, identity: str | None, *, begun: bool = False, anew: bool = False
    ) -> VaultEntry:
        """Check the invite before anything of it is kept, then keep what a crash must not lose.

        A join that was begun with another link goes on with this one, as the same identity.
        Whoever comes back `anew` is a fresh one: it may have been removed because somebody took
        a copy of this keyring, and with it what lay there unused.
        """
        await self._invite_session_check(link)
        if begun and identity:
            name = identity
        elif anew and identity is None:
            name = self.new_identity().name
        else:
            name = self._unused_identity(identity).name
        entry = VaultEntry(
            link.vault_id, link.url, link.pin, "", name, link.secret, False, (), False
        )
        self._edit(lambda keyring: keyring.with_vault(entry))
        return entry

    async def _invite_session_check(self, link: Link) -> None:
        signer = _access_signer(link.secret)
        transport = self.connect(link.url, link.pin, signer)
        store = VaultStore(None)
        try:
            believed = Believed(link.vault_id, store, most_leaves=self.most_leaves)
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
        self._revise(entry.vault_id, lambda entry: replace(entry, invite=None))

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
    compared = await remember_words(session, inviter, words, yes)
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
        title_sealed=await vault.title_sealed(),
    )
