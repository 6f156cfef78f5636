"""After the handover: what the seller's keys still open (SPEC sections 9.4 and 9.6).

The seller keeps a copy of its whole home, from before it sold, and gets a copy of the server's
disk from after the buyer took over: every file, and everything that the files list.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from client.crypto.keys import confirmed_field_key
from client.crypto.wraps import unwrap
from client.errors import InputError, Refused
from client.vault import Vault
from protocol.blocks import Address
from protocol.errors import CommitmentMismatch, WeakKey
from tests.company import TABLE, Company, company
from tests.remains import remains
from tests.thieves import keys_of
from vault.storage.base import BlockKey


async def blocks_of(cast: Company, vault: Vault) -> list[bytes]:
    """Return every block that the server has, of data and of names, as it is stored."""
    found = []
    for where in vault.session.state.collections.values():
        for batch in where.batches:
            for ref in batch.manifest.blocks:
                place = BlockKey(batch.id, ref.field, ref.sha256)
                block = await cast.lab.service._storage.read_block(vault.session.vault_id, place)
                assert block is not None
                found.append(block)
    return found


@pytest.mark.threat("S11")
async def test_the_sellers_keys_open_nothing_that_the_server_has(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        seller, buyer = await cast("olga"), await cast("bo")
        old_keys, old_blocks = keys_of(seller), await blocks_of(cast, seller)
        old_wraps = dict(seller.session.believed.wraps)
        assert len(old_keys) == 9  # two of them of fields that Rex, who was removed, had read
        assert len(old_blocks) > 10
        await seller.offer("Bo", yes=True)
        await buyer.accept(yes=True)
        await cast.lab.service.sweep()
        data = cast.lab.directory / "server"
        masked = [bytes(wrap.masked) for wrap in old_wraps.values()]
        for there in (old_blocks, masked):
            assert remains(data, there) == there, "an acceptance deletes nothing"

        done = await buyer.takeover()
        await cast.lab.service.sweep()
        assert done.reencrypted is not None
        assert done.reencrypted.retired >= len(old_keys)
        # Not one block, and not one wrap, of those that were there is on the disk any more.
        assert remains(data, old_blocks) == []
        assert remains(data, masked) == []
        # What is there lies under keys that the seller never had, nor can have from any wrap.
        state, identity = buyer.session.state, seller.identity
        lying = {
            Address(where.id, ref.field, ref.epoch)
            for where in state.collections.values()
            for batch in where.batches
            if batch.records
            for ref in batch.manifest.blocks
        }
        assert lying
        assert not lying & old_keys.keys()
        for (address, _), wrap in buyer.session.believed.wraps.items():
            published, share = state.published(address), buyer.session.key(address).share
            with pytest.raises((CommitmentMismatch, WeakKey)):
                confirmed_field_key(
                    state.vault_id,
                    address,
                    unwrap(identity, wrap),
                    share,
                    published_share_hash=published.share_hash,
                    published_confirmation=published.confirmation,
                )
        assert (await buyer.read("customers")).equals(TABLE)


async def test_whoever_sold_gets_nothing_from_the_server_and_may_destroy_its_keys(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        seller, buyer = await cast("olga"), await cast("bo")
        await seller.offer("Bo", yes=True)
        await buyer.accept(yes=True)
        home = cast.open["olga"].home
        kept = tmp_path / "kept"
        shutil.copytree(home.directory, kept)
        with pytest.raises((InputError, Refused)):
            await seller.read("customers")
        done = await home.attest_destroyed(seller)
        assert done.statement == "keys-destroyed"
        said = [e for e in (await buyer.log()).entries if e.kind == "attest"]
        assert [each.index for each in said] == [done.index]
        # Nothing can prove that there was no copy; and the server still serves it nothing.
        async with cast.lab.home("../kept").vault() as copied:
            with pytest.raises((InputError, Refused)):
                await copied.read("customers")


async def test_only_the_owner_takes_over_and_again_changes_nothing_that_reads(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        seller, buyer, ada = await cast("olga"), await cast("bo"), await cast("ada")
        for early in (ada, buyer):
            with pytest.raises(Refused):
                await early.takeover()
        await seller.offer("Bo", yes=True)
        with pytest.raises(Refused):
            await buyer.takeover()
        await buyer.accept(yes=True)
        assert (await buyer.takeover()).reencrypted is not None
        size = buyer.session.state.size
        again = await buyer.takeover()
        assert (again.index, again.fields, again.reencrypted) == (None, (), None)
        assert buyer.session.state.size == size
        assert (await buyer.read("customers")).equals(TABLE)
