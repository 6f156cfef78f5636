"""An owner who lost its keys, and custodians' shares that give them back (SPEC section 9.9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from client.crypto.identity import Identity
from client.crypto.sharing import CustodianShare, open_released, rebuild
from client.errors import InputError, Refused
from client.keyring import VaultEntry
from client.recovery import Request
from client.renewal import Renewal
from client.results import RescueRequest, RescueResult
from client.session import Session, saying
from client.transport import Signer
from client.vault import Vault
from client.words import pair_words
from protocol import acts
from protocol.errors import CommitmentMismatch, IntegrityError
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
            made = VaultEntry(vault_id, url, pin, "", name, None, False, None, True)
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

        The rebuilt seed signs that one act, and is kept nowhere. Safe to repeat.

        Raises:
            Refused: too few shares were released to this home yet.
            CommitmentMismatch: what was dealt was not the owner's seed.
        """
        vault = self.vault(reference)
        session = vault.session
        try:
            entry = self._entry(vault)
            if not entry.rescuing:
                raise InputError("no rescue was begun in this home for that vault")
            await session.sync()
            recovery = _dealing(session)
            shares, wrong = _shares(session, recovery)
            owner = rebuild(session.vault_id, recovery.owner, recovery.dealing, shares)
            index, new = await self._rotate_rebuilt(vault, owner, recovery)
            self._edit(
                lambda keyring: keyring.with_vault(
                    replace(keyring.vault(entry.vault_id) or entry, rescuing=False)
                )
            )
            return vault, RescueResult(
                index=index,
                old_id=owner.member_id.hex(),
                new_id=new.hex(),
                custodians=tuple(each.hex() for each in shares),
                wrong=wrong,
            )
        except BaseException:
            await vault.close()
            raise

    async def _rotate_rebuilt(
        self, vault: Vault, owner: Identity, recovery: Recovery
    ) -> tuple[int, bytes]:
        """Sign as the owner that was, once: the new identity takes its place."""
        session = vault.session
        new = self._begin_succession(vault)
        session.believed.read_as(owner)
        card = new.card(rotation_context(session.vault_id, owner.member_id))
        entry = self._entry(vault)
        signer = Signer(owner.request_key, owner.member_id)
        own, session.transport = (
            session.transport,
            self.connect(entry.server, entry.tls_pin, signer),
        )
        await own.close()
        payload = acts.RotateIdentity(card, recovery.at)
        return await session.act(saying(payload), author=owner), new.member_id


def _dealing(session: Session) -> Recovery:
    recovery = session.state.recovery
    if recovery is None or session.identity.member_id not in recovery.rebuilders:
        raise Refused(
            "no custodian has released a share to this home",
            code="too_few_shares",
            hint="Send them the text of 'sealroom recovery request', and compare words.",
        )
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
