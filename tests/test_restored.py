"""An operator puts an older copy of the database back: everybody who saw more says so.

The copy was taken while the server worked, as `sealroom store backup` takes it. What was
done since, a removal, an erasure and a sale among it, is done for whoever saw it: no client of
theirs goes on under what was before. With the newer copy everybody goes on as if nothing had been.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from client.vault import Vault
from protocol.acts import Reason, Role
from protocol.checkpoint import Checkpoint
from protocol.errors import Rollback
from protocol.ledger import Ledger
from tests.company import kept_in
from tests.deals import Deal, a_deal, cheap_keyrings, in_batches_of, joined, rows
from tests.documents import SENSITIVE
from tests.in_process import Lab, lab
from vault.storage import sqlite_copy
from vault.storage.sqlite_file import FILE_NAME

TABLE = rows(12)
MORE = rows(60)
EVERYBODY = ("seller", "Bo", "Ada", "Rex", "Aud")


@dataclass
class Past:
    """A stopped server with everybody's homes, and an older copy of its database."""

    folder: Path
    backup: Path
    size: int
    truth: tuple[bytes, ...]


async def backed_up(server: Path, copy: Path, meanwhile: Awaitable[Any]) -> None:
    """Copy a database a few pages at a time, while something is written to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_copy, "PAGES_AT_ONCE", 3)
        copying = asyncio.to_thread(
            sqlite_copy.copy_database, server / FILE_NAME, copy, lambda *_: time.sleep(0.001)
        )
        await asyncio.gather(meanwhile, copying)


async def before(deal: Deal) -> None:
    classes = dict.fromkeys(TABLE.column_names, SENSITIVE)
    await deal.seller.upload(
        TABLE, collection="customers", classes=classes, options=in_batches_of(4)
    )
    await deal.seller.grant("Bo", classes=[SENSITIVE])
    await deal.seller.grant("Rex", classes=[SENSITIVE])


async def since(deal: Deal, *others: Vault) -> None:
    """Do what nobody would want undone."""
    await deal.seller.revoke("Rex", Reason.LEFT)
    await deal.seller.rotate(collection="customers", reencrypt=True)
    await deal.seller.erase("customers", records=[2], reason=Reason.REQUEST)
    await deal.offer()
    await deal.accept()
    for vault in (deal.seller, deal.buyer, *others):
        await vault.session.sync()


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return asyncio.run(_past(tmp_path_factory.mktemp("past")))


async def _past(directory: Path) -> Past:
    folder, backup = directory / "made", directory / "backup"
    async with (
        a_deal(folder) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN) as ada,
        joined(deal.lab, deal.seller, "Rex") as rex,
        joined(deal.lab, deal.seller, "Aud", Role.AUDITOR) as aud,
    ):
        await before(deal)
        more = ada.upload(MORE, collection="more", options=in_batches_of(1))
        await backed_up(folder / "server", backup, more)
        await since(deal, ada, rex, aud)
        return Past(
            folder, backup, deal.seller.session.state.size, tuple(ada.session.store.leaves())
        )


@asynccontextmanager
async def restored(past: Past, folder: Path) -> AsyncIterator[Lab]:
    """Run the server on the older copy, put in the place of its database."""
    shutil.copytree(past.folder, folder, dirs_exist_ok=True)
    for each in (folder / "server").glob(f"{FILE_NAME}*"):
        each.unlink()
    shutil.copy(past.backup, folder / "server" / FILE_NAME)
    with cheap_keyrings():
        async with lab(folder) as opened:
            yield opened


@pytest.mark.threat("R23")
async def test_a_backup_taken_while_it_is_written_is_a_past_of_the_log(
    past: Past, tmp_path: Path
) -> None:
    async with restored(past, tmp_path) as opened:
        storage = opened.service._storage
        await opened.service.read_through()
        (vault_id,) = await storage.vault_ids()
        size = await storage.size(vault_id)
        assert 20 < size < past.size
        ledger = Ledger()
        for leaf in past.truth[:size]:
            ledger.append(ledger.check(leaf))
        # Whoever knows nothing yet is shown a true past, and cannot tell it from today.
        shutil.rmtree(tmp_path / "Ada" / "vaults")
        async with opened.home("Ada").vault() as fresh:
            await fresh.session.sync()
            pin = fresh.session.believed.pin
            assert isinstance(pin, Checkpoint)
            assert (pin.size, pin.root) == (size, ledger.tree.root())
    print(f"\na copy of {size} of {past.size} leaves, taken during an upload")


READING: dict[str, Callable[[Vault], Awaitable[object]]] = {
    "sync": lambda vault: vault.session.sync(),
    "read": lambda vault: vault.read("customers"),
    "members": lambda vault: vault.members(),
    "upload": lambda vault: vault.upload(TABLE, collection="new"),
    "heartbeat": lambda vault: vault.heartbeat(),
    "revoke": lambda vault: vault.revoke("Aud", Reason.LEFT),
}


@contextmanager
def unchanged(home: Path) -> Iterator[None]:
    kept = kept_in(home)
    yield
    assert kept_in(home) == kept


@pytest.mark.threat("S12")
@pytest.mark.threat("R23")
async def test_everybody_who_saw_more_refuses_what_was_put_back(past: Past, tmp_path: Path) -> None:
    async with restored(past, tmp_path) as opened:
        (vault_id,) = await opened.service._storage.vault_ids()
        size = await opened.service._storage.size(vault_id)
        for who in EVERYBODY:
            for work in READING.values():
                with unchanged(opened.directory / who):
                    async with opened.home(who).vault() as vault:
                        with pytest.raises(Rollback, match="leaves where there have been"):
                            await work(vault)
        assert await opened.service._storage.size(vault_id) == size  # nobody wrote either


@pytest.mark.threat("W9")
async def test_what_was_removed_erased_and_sold_stays_so_for_whoever_saw_it(
    past: Past, tmp_path: Path
) -> None:
    """The server is as it was before; a removed member and the seller would be what they were."""
    async with restored(past, tmp_path) as opened:
        (vault_id,) = await opened.service._storage.vault_ids()
        state = (await opened.service._open(vault_id)).state
        async with (
            opened.home("Bo").vault() as buyer,
            opened.home("seller").vault() as seller,
            opened.home("Rex").vault() as rex,
        ):
            # on the server's own word:
            assert state.owner == seller.identity.member_id
            assert state.members[rex.identity.member_id].live
            # and on the word of whoever was there:
            for vault in (buyer, seller):
                known = vault.session.believed.state
                assert known.owner == buyer.identity.member_id
                assert not known.members[rex.identity.member_id].live
            for vault in (buyer, seller, rex):
                with pytest.raises(Rollback):
                    await vault.read("customers")


@pytest.mark.threat("S12")
async def test_with_the_newer_copy_everybody_goes_on(past: Past, tmp_path: Path) -> None:
    folder = tmp_path / "tried"
    async with restored(past, folder) as opened:
        for who in EVERYBODY:
            async with opened.home(who).vault() as vault:
                with pytest.raises(Rollback):
                    await vault.session.sync()
    for each in (folder / "server").glob(f"{FILE_NAME}*"):
        each.unlink()
    shutil.copy(past.folder / "server" / FILE_NAME, folder / "server" / FILE_NAME)
    with cheap_keyrings():
        async with lab(folder) as opened:
            await opened.service.read_through()
            async with opened.home("Bo").vault() as owner:
                assert (await owner.status()).role == "owner"
                assert (await owner.read("customers")).num_rows == 11
                await owner.heartbeat()
                assert owner.session.state.size > past.size
            for who in EVERYBODY:
                async with opened.home(who).vault() as vault:
                    await vault.session.sync()
