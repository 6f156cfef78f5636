"""What somebody can try who has its own keys, and a copy of all that the server has.

Every block with every key that it held; every wrap, its own and others', with its own scalar and
the right share as a gift; every box, its own and others', with its own KEM key.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from client.crypto.identity import Identity
from client.crypto.keys import confirmed_field_key
from client.crypto.wraps import unwrap
from client.fetching import open_committed
from client.store import StoredBox, VaultStore
from client.trust import Believed
from client.vault import Vault
from protocol.blocks import PEOPLE_COLLECTION, Address, BlockRef
from protocol.errors import CommitmentMismatch, IntegrityError, NotAuthorised, WeakKey
from protocol.ledger.contents import Batch, Collection
from protocol.rewrap import Wrap
from tests.company import Company
from vault.storage.base import BlockKey

Keys = dict[Address, bytes]


def keys_of(vault: Vault) -> Keys:
    """Return every key that somebody holds."""
    session, found = vault.session, {}
    for epochs in session.state.epochs.values():
        for address in (each.definition.address for each in epochs):
            try:
                found[address] = session.key(address).key.expose()
            except NotAuthorised:
                continue
    return found


@dataclass
class Disk:
    """All that a server has of a vault: blocks as they lie there, wraps, boxes and the log."""

    owner: Vault
    blocks: dict[tuple[bytes, int, bytes], bytes] = field(default_factory=dict)
    wraps: Mapping[tuple[Address, bytes], Wrap] = field(default_factory=dict)
    boxes: list[StoredBox] = field(default_factory=list)

    @classmethod
    async def of(cls, cast: Company) -> Disk:
        """Copy it now; the owner's client only says where what is, and lends no key."""
        owner = await cast("olga")
        disk = cls(owner)
        vault_id = owner.session.vault_id
        for _, batch, ref in disk.listed():
            place = BlockKey(batch.id, ref.field, ref.sha256)
            block = await cast.lab.service._storage.read_block(vault_id, place)
            assert block is not None
            disk.blocks[batch.id, ref.field, ref.sha256] = block
        with VaultStore(None) as store:
            everybody = Believed(vault_id, store, newcomer=True)
            await everybody.sync(owner.session.transport, time.time(), owner.identity.member_id)
            disk.wraps = dict(everybody.wraps)
            parties = {party for _, party in disk.wraps}
            disk.boxes = [box for party in sorted(parties) for box in store.boxes(party)]
        return disk

    def listed(self) -> list[tuple[Collection, Batch, BlockRef]]:
        return [
            (where, batch, ref)
            for where in self.owner.session.state.collections.values()
            for batch in where.batches
            for ref in batch.manifest.blocks
        ]

    def opened(self, keys: Keys) -> set[tuple[bytes, int]]:
        """Return the fields, by collection and number, of which a block opens with these keys."""
        found = set()
        for where, batch, ref in self.listed():
            block = self.blocks.get((batch.id, ref.field, ref.sha256))
            key = keys.get(Address(where.id, ref.field, ref.epoch))
            if block is None or key is None or not batch.records:
                continue
            open_committed(key, where, batch, ref, block, True)
            found.add((where.id, ref.field))
        return found

    def data(self, keys: Keys) -> set[int]:
        """Return the numbers of the data fields of which a block opens."""
        return {n for where, n in self.opened(keys) if where != PEOPLE_COLLECTION and n < 1 << 15}

    def unwrapped(self, thief: Identity) -> Keys:
        """Return the keys that come out of any wrap with one's own scalar and the right share."""
        state, found = self.owner.session.state, {}
        for (address, _), wrap in self.wraps.items():
            published = state.published(address)
            try:
                found[address] = confirmed_field_key(
                    state.vault_id,
                    address,
                    unwrap(thief, wrap),
                    self.owner.session.key(address).share,
                    published_share_hash=published.share_hash,
                    published_confirmation=published.confirmation,
                ).expose()
            except (CommitmentMismatch, WeakKey, NotAuthorised):
                continue
        return found

    def unboxed(self, thief: Identity) -> int:
        """Return how many boxes open with one's own keys."""
        opened = 0
        for box in self.boxes:
            try:
                thief.open_box(box.shares.box, box.shares.info)
            except IntegrityError:
                continue
            opened += 1
        return opened
