"""A home: one folder with the keyring and what is known of each vault (SPEC section 10.5).

    home = Home(Path("~/.sealroom").expanduser(), lambda: getpass("Passphrase: "))
    async with await home.create_vault("https://localhost:8443", title="Project Lark") as vault:
        await vault.upload("customers.csv", collection="customers")

`Home` makes vaults out of what `client.folder` lists.
"""

from __future__ import annotations

import os

from client.crypto.identity import Identity
from client.errors import Refused
from client.joining import Joining
from client.keyring import VaultEntry
from client.people import write_person
from client.rescue import Rescue
from client.transport import Signer
from client.vault import Vault
from protocol import acts
from protocol.acts import DEFAULT_POLICY, NO_VAULT, Act, Policy
from protocol.api import CreateVault, ServerInfo
from protocol.errors import Unsupported
from protocol.labels import Label
from protocol.signing import verify_public_key
from protocol.wire import Envelope, pae, to_bytes


class Home(Joining, Rescue):
    """One person's keyring, and the vaults it opens.

    `passphrase` is called once, when the keyring is first needed; `connect` is the seam at
    which tests put another server.
    """

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
        url, title, name = url.rstrip("/"), title.strip(), name.strip()
        info = await self._server_info(url, pin)
        stored = self._unused_identity(identity)
        owner = Identity(stored.seed)
        signer = Signer(owner.request_key, owner.member_id)
        transport = self.connect(url, pin, signer)
        try:
            genesis = _genesis(owner, info, policy)
            entry = VaultEntry(
                acts.vault_id_of(genesis), url, pin, title, stored.name, None, True, (), False
            )
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
