"""An owner who lost its keys, and custodians' shares that give them back (SPEC section 9.9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from client.crypto.identity import Identity
from client.crypto.sharing import CustodianShare, open_released, rebuild
from client.errors import InputError, Refused
from client.keyring import MAX_SUCCESSORS, VaultEntry
from client.recovery import Request
from client.renewal import Renewal
from client.results.recovery import RescueRequest, RescueResult
from client.session import Draft, Session
from client.transport import Signer
from client.vault import Vault
from client.words import pair_words
from protocol import acts
from protocol.errors import CommitmentMismatch, IntegrityError, NotFound
from protocol.identity import recovery_context, rotation_context
from protocol.ledger.state import Recovery


class Rescue(Renewal):
    """A home in which an owner's keys are put together again."""

    def rescue_request(self, url: str, vault_id: bytes, pin: bytes | None) -> RescueRequest:
        """Make the request that custodians answer; the same one again, if it was made before.

        Raises:
            InputError: this home is in that vault already.
        """
        entry = self.keyring.vault(vault_id) if self.keyring_path.exists() else None
        if entry is not None and not entry.rescuing:
            raise InputError(
                "this home is in that vault, and needs nobody's help",
                hint="Make the request in a new home, with --home.",
            )
        if entry is None:
            name = self._unused_identity(None).name
            made = VaultEntry(vault_id, url, pin, "", name, None, False, (), True)
            self._edit(lambda keyring: keyring.with_vault(made))
            entry = made
        rebuilder = Identity(self._stored(entry.identity).seed)
        request = Request(vault_id, rebuilder.card(recovery_context(vault_id)))
        return RescueRequest(request.text(), vault_id.hex(), rebuilder.member_id.hex())

    def rescue_words(self, vault_id: bytes, custodian: bytes) -> str:
        """Return the words to read to a custodian, whose id it tells."""
        entry = self.keyring.vault(vault_id)
        if entry is None or not entry.rescuing:
            raise InputError("no rescue was begun in this home for that vault")
        mine = Identity(self._stored(entry.identity).seed).member_id
        return pair_words(vault_id, mine, custodian)

    async def rebuild(self, reference: str | None = None) -> tuple[Vault, RescueResult]:
        """Put the released shares together, and move the owner to new keys in the same command.

        The rebuilt seed signs that one act, and is kept nowhere. Safe to repeat: whoever is the
        owner again by this home's rescue is told so, and nothing is done twice.

        Raises:
            Refused: too few shares were released to this home yet.
            CommitmentMismatch: what was dealt was not the owner's seed.
        """
        vault = self.vault(reference)
        session = vault.session
        try:
            await self._sync_as_either(vault)
            done = _landed(session)
            if done is not None:
                return vault, done
            if not self._entry(vault).rescuing:
                raise InputError("no rescue was begun in this home for that vault")
            recovery = _dealing(session)
            shares, wrong = _shares(session, recovery)
            owner = rebuild(session.vault_id, recovery.owner, recovery.dealing, shares)
            left = await self._rotate_rebuilt(vault, owner, recovery)
            done = _landed(session)
            assert done is not None  # it was found in the verified log
            used = tuple(each.hex() for each in shares)
            return vault, replace(done, custodians=used, wrong=wrong, left=left)
        except BaseException:
            await vault.close()
            raise

    async def _sync_as_either(self, vault: Vault) -> None:
        """Sync as the rebuilder, or as the owner that it has become where the answer was lost."""
        session, entry = vault.session, self._entry(vault)
        try:
            await session.sync()
        except Refused as refused:
            if refused.refusal != NotFound.code or not entry.rescuing:
                raise
            for each in session.successors:
                if await self._syncs_as(session, entry, each.identity):
                    return
            raise _too_few("the server has nothing for this home") from refused

    async def _syncs_as(self, session: Session, entry: VaultEntry, identity: Identity) -> bool:
        """Sync as an identity that may have landed; False where the server does not know it."""
        await session.transport.close()
        signer = Signer(identity.request_key, identity.member_id)
        session.transport = self.connect(entry.server, entry.tls_pin, signer)
        try:
            await session.sync()
        except Refused as refused:
            if refused.refusal != NotFound.code:
                raise
            return False
        return True

    async def _rotate_rebuilt(
        self, vault: Vault, owner: Identity, recovery: Recovery
    ) -> tuple[str, ...]:
        """Sign as the owner that was, once: the new identity takes its place.

        Nobody could ask that owner about keys that were given to it false: they are left behind,
        and returned.
        """
        session, entry = vault.session, self._entry(vault)
        if len(entry.successors) == MAX_SUCCESSORS:
            raise Refused(
                f"this rescue was tried {MAX_SUCCESSORS} times, and may have ended by any of them",
                code="limit_exceeded",
                hint="Begin it in a new home, with 'sealroom recovery request'; custodians "
                "release their shares to that.",
            )
        new = Identity.generate()
        self._begin_succession(vault, new)
        session.believed.read_as(owner)
        card = new.card(rotation_context(session.vault_id, owner.member_id))
        signer = Signer(owner.request_key, owner.member_id)
        own, session.transport = (
            session.transport,
            self.connect(entry.server, entry.tls_pin, signer),
        )
        await own.close()
        left = tuple(map(str, session.false_keys(owner)))
        rotation = acts.RotateIdentity(card, recovery.at)
        await session.act(lambda _: Draft(rotation, without_false=True), author=owner)
        return left


def _landed(session: Session) -> RescueResult | None:
    """Return the rescue by which this member owns the vault; None without one."""
    me = session.state.members.get(session.identity.member_id)
    if me is None or me.predecessor is None:
        return None
    act = session.believed.acts[me.joined_at]
    assert act is not None
    if not isinstance(act.payload, acts.RotateIdentity) or act.payload.dealing is None:
        return None
    before = session.believed.state_at(me.joined_at).recovery
    assert before is not None  # the rules let nobody rotate by a dealing that is not in force
    released = sorted({each.custodian.hex() for each in before.released})
    return RescueResult(me.joined_at, me.predecessor.hex(), me.id.hex(), tuple(released), (), ())


def _too_few(what: str) -> Refused:
    return Refused(
        f"{what}: no custodian has released a share to it",
        code="too_few_shares",
        hint="Send them the text of 'sealroom recovery request', and compare words.",
    )


def _dealing(session: Session) -> Recovery:
    recovery = session.state.recovery
    if recovery is None or session.identity.member_id not in recovery.rebuilders:
        raise _too_few("nothing is dealt any more that helps this home")
    return recovery


def _shares(
    session: Session, recovery: Recovery
) -> tuple[Mapping[bytes, CustodianShare], tuple[str, ...]]:
    """Open and check what was released to this home; name the custodians whose share is wrong."""
    shares: dict[bytes, CustodianShare] = {}
    wrong = []
    for released in recovery.released:
        if released.rebuilder != session.identity.member_id:
            continue
        act = session.believed.acts[released.at]
        assert act is not None
        assert isinstance(act.payload, acts.Release)
        where = (session.vault_id, recovery.at, recovery.dealing, released.custodian)
        try:
            shares[released.custodian] = open_released(session.identity, *where, act.payload.box)
        except (IntegrityError, CommitmentMismatch) as error:
            wrong.append(str(error))
    if len(shares) < recovery.dealing.threshold:
        raise Refused(
            f"{len(shares)} of {recovery.dealing.threshold} shares are here"
            + "".join(f"; {each}" for each in wrong),
            code="too_few_shares",
            hint="Ask another custodian to release its share.",
        )
    return shares, tuple(wrong)
