"""Members who cheat, alone or with the server's help: what the others' clients make of it.

A seller, a bidder, an admin, somebody who was removed, an auditor. All clients and the server are
the real ones; where the server has to be in it, it serves a log that it should have refused.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from client.columns import Cells
from client.crypto import wraps
from client.crypto.cells import ColumnToSeal, seal_batch
from client.crypto.identity import seal_box
from client.crypto.secrets import Share
from client.crypto.wraps import create_epoch
from client.errors import InputError, Refused
from client.session import saying
from client.transport import Transport
from client.vault import Vault
from protocol import acts, api
from protocol.acts import CollectionRoot, MovedBlock, Reason
from protocol.api import FetchBlocks, WantedBatch
from protocol.blocks import PEOPLE_COLLECTION, Address, is_catalog
from protocol.errors import (
    CommitmentMismatch,
    IntegrityError,
    ManifestMismatch,
    NotAuthorised,
)
from protocol.identity import PublicIdentity
from protocol.ledger.sides import Entry, Part, WrapsPart
from tests.company import CLASSES, company, customers
from tests.forging import CORE, GENERAL, GHOST, SENSITIVE, bidder, following, forged, newest
from tests.liars import Forger, Lie
from tests.retelling import retold
from tests.thieves import Disk, keys_of
from tests.world import of_class

NAME, PHONE, IBAN = 0, 1, 2
OTHER = pa.table({"name": ["Al", "Cy", "Di"], "phone": ["4", "55", "666"], "iban": ["X", "Y", "Z"]})


# --- the seller


@pytest.mark.threat("C8")
async def test_a_seller_hands_over_no_other_keys_though_the_server_helps(tmp_path: Path) -> None:
    """Another share in the buyer's box: of the people's names, of a table's names, of records."""
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        log, now = await forged(cast), time.time()
        log.clock = lambda: now
        expiry = log.checkpoint().time + 3600
        payload = acts.Offer(bidder(log, confirmed=True), expiry, log.state.roots())
        act = log.draft(olga.identity, payload)
        honest = olga.session.key
        for wrong in one_of_each(log.state.live_addresses()):

            def shares(address: Address, wrong: Address = wrong) -> Share:
                return Share(bytes(32)) if address == wrong else honest(address).share

            own = log.branch()
            own.take(log.signed(olga.identity, act, log.sides(olga.session, act, shares=shares)))
            bo = await cast.actor("bo", Forger(own), fresh=True)
            await bo.session.sync()
            bo.session.store.mark_compared(olga.identity.member_id)
            with bo.catches(CommitmentMismatch, match=f"the share of {wrong} is not"):
                await bo.vault.accept()
        await olga.offer("Bo", yes=True)
        bo = await cast.actor("bo", fresh=True)
        assert (await bo.vault.accept(yes=True)).records == 3


def one_of_each(addresses: Iterable[Address]) -> list[Address]:
    """Return a key of the people catalog, of another catalog, and of data."""
    kinds = {(a.collection == PEOPLE_COLLECTION, is_catalog(a.field)): a for a in addresses}
    assert len(kinds) == 3
    return list(kinds.values())


def other_root(roots: tuple[CollectionRoot, ...]) -> tuple[CollectionRoot, ...]:
    return tuple(replace(each, root=bytes(32)) for each in roots)


@pytest.mark.threat("C9")
@pytest.mark.parametrize("change", [other_root, lambda roots: roots[:-1]], ids=["other", "fewer"])
async def test_a_seller_offers_no_other_data_than_is_committed(
    tmp_path: Path, change: Callable[[Any], Any]
) -> None:
    """Roots of other records, or of fewer collections, in an offer that the server lets through."""
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        log = await forged(cast)
        payload = acts.Offer(
            bidder(log, confirmed=True), log.checkpoint().time + 3600, change(log.state.roots())
        )
        act = log.draft(olga.identity, replace(payload, roots=log.state.roots()))
        sides = log.sides(olga.session, act)
        log.force(log.signed(olga.identity, replace(act, payload=payload), sides))
        bo = await cast.actor("bo", Forger(log))
        with bo.catches(ManifestMismatch, match=f"leaf {log.size - 1} of the log"):
            await bo.vault.accept(yes=True)


class Fewer(Lie):
    """Sends the blocks of what is offered without the last ones."""

    async def fetch(
        self,
        honest: Transport,
        vault_id: bytes,
        request: api.FetchBlocks,
        sizes: tuple[int, ...],
    ) -> AsyncGenerator[bytes, None]:
        blocks = [each async for each in honest.fetch(vault_id, request, sizes)]
        for block in blocks if request.collection == PEOPLE_COLLECTION else blocks[:-1]:
            yield block


@pytest.mark.threat("C5")
async def test_fewer_records_than_were_committed_are_not_accepted(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        await olga.offer("Bo", yes=True)
        bo = await cast.actor("bo", Fewer())
        with bo.catches(ManifestMismatch, match="less than the commit lists", but="learned"):
            await bo.vault.accept(yes=True)
        await olga.session.sync()
        assert olga.session.state.owner == olga.identity.member_id


Change = Callable[[Vault], Any]


async def erases(seller: Vault) -> None:
    await seller.erase("customers", [2], reason=Reason.OTHER)


async def starts_anew(seller: Vault) -> None:
    await seller.retire_collection("customers")
    await seller.upload(OTHER, collection="customers", classes=CLASSES)


async def seals_others(seller: Vault) -> None:
    """Re-encrypt the names, and put others in the place of those that there were."""
    await seller.rotate(collection="customers", fields=["name"])
    session, where = seller.session, customers(seller)
    collection = session.state.collections[where]
    ((batch, ref),) = collection.blocks(NAME)
    newest = session.writable(where, NAME)
    cells = Cells.from_list([b"Al", b"Cy", b"Di"], string_like=True)
    key = session.key(newest).key.expose()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "token_bytes", lambda _: batch.id)
        sealed = seal_batch(
            [ColumnToSeal(NAME, newest.epoch, collection.class_of(NAME), key, cells)]
        )
    upload = os.urandom(16)
    await session.transport.stage(session.vault_id, upload, batch.id, sealed.body())
    move = MovedBlock(batch.id, ref.sha256, sealed.manifest.blocks[0])
    await session.act(saying(acts.Reencrypt(upload, where, 0, True, (move,))))


CHANGES: list[Change] = [erases, starts_anew, seals_others]


@pytest.mark.threat("C9")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_other_records_than_a_bidder_was_shown_have_another_root(
    tmp_path: Path, change: Change
) -> None:
    """What it was granted are the samples. The same root is the same records, cell by cell."""
    async with company(tmp_path) as cast:
        olga, bo = await cast("olga"), await cast("bo")
        shown, root = await bo.read("customers"), (await bo.collection("customers")).root
        size = bo.session.state.size
        assert shown.column_names == ["name"]

        await change(olga)
        await olga.offer("Bo", yes=True)
        await bo.session.sync()
        assert (await bo.collection("customers")).root != root
        since = [act.kind for act in bo.session.believed.acts[size:] if act is not None]
        assert {"erase", "retire-collection", "re-encrypt"} & set(since)
        assert await bo.read("customers", fields=["name"]) != shown


@pytest.mark.threat("C9")
async def test_the_same_root_is_the_same_records_when_they_are_handed_over(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, bo = await cast("olga"), await cast("bo")
        shown, root = await bo.read("customers"), (await bo.collection("customers")).root
        await olga.offer("Bo", yes=True)
        await bo.accept(yes=True)
        assert (await bo.collection("customers")).root == root
        assert (await bo.read("customers", fields=["name"])).equals(shown)


# --- a bidder, and the server


@pytest.mark.threat("S11")
async def test_a_bidder_with_the_servers_disk_opens_what_it_was_granted(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await cast("bo")
        disk = await Disk.of(cast)
        keys = keys_of(bo)
        assert disk.data(keys) == {NAME}
        assert disk.data(keys_of(disk.owner)) == {NAME, PHONE, IBAN}
        # What else there is to open are the wraps and the boxes that are its own.
        assert disk.unwrapped(bo.identity).keys() == keys.keys()
        assert disk.unboxed(bo.identity) == len(boxes_for(disk, bo)) > 0


def boxes_for(disk: Disk, vault: Vault) -> list[bytes]:
    return [box.shares.box for box in disk.boxes if box.party == vault.identity.member_id]


@pytest.mark.threat("K14")
@pytest.mark.parametrize("whom", ["aud", "ghost", "bo"])
async def test_a_bidder_grants_nothing_onwards_though_the_server_helps(
    tmp_path: Path, whom: str
) -> None:
    """What it holds to others, or what it lacks to itself: no client believes it."""
    async with company(tmp_path) as cast:
        bo = await cast("bo")
        log = await forged(cast)
        party = GHOST.member_id if whom == "ghost" else await cast.id_of(whom)
        payload = acts.Grant(party, (of_class(CORE if whom == "bo" else GENERAL),))
        log.force(log.spoken(bo.identity, payload))
        for name in ("olga", "ada", "aud"):
            actor = await cast.actor(name, Forger(log))
            with actor.catches(NotAuthorised, match=f"leaf {log.size - 1} of the log"):
                await actor.session.sync()
        with pytest.raises(Refused):
            await bo.session.act(saying(payload))


@pytest.mark.threat("C6")
async def test_a_bidder_forges_no_cell_though_the_server_helps(tmp_path: Path) -> None:
    """It holds the key of the names, and seals a block that opens; the server serves it."""
    async with company(tmp_path) as cast:
        bo = await cast("bo")
        where = customers(bo)
        collection = bo.session.state.collections[where]
        ((_, ref),) = collection.blocks(NAME)
        key = bo.session.key(Address(where, NAME, ref.epoch)).key.expose()
        cells = Cells.from_list([b"Al", b"Cy", b"Di"], string_like=True)
        sealed = seal_batch([ColumnToSeal(NAME, ref.epoch, collection.class_of(NAME), key, cells)])

        class Forging(Lie):
            async def fetch(
                self, honest: Transport, vault_id: bytes, request: FetchBlocks,
                sizes: tuple[int, ...],
            ) -> AsyncGenerator[bytes, None]:  # fmt: skip
                blocks = [each async for each in honest.fetch(vault_id, request, sizes)]
                if request.collection == where and request.batches[0].fields[0] == NAME:
                    assert len(blocks[0]) == len(sealed.blocks[0])
                    blocks[0] = sealed.blocks[0]
                for block in blocks:
                    yield block

        ada = await cast.actor("ada", Forging())
        with ada.catches(ManifestMismatch, but="learned"):
            await ada.vault.read("customers")
        # Nor does a bidder commit it: not to the honest server, nor to a client by a false log.
        payload = acts.Commit(os.urandom(16), where, 0, True, (sealed.manifest,))
        with pytest.raises(Refused):
            await bo.session.act(saying(payload))
        log = await forged(cast)
        log.force(log.spoken(bo.identity, payload))
        ada = await cast.actor("ada", Forger(log))
        with ada.catches(NotAuthorised, match=f"leaf {log.size - 1} of the log"):
            await ada.session.sync()


# --- an admin


@pytest.mark.threat("Z4")
async def test_an_admin_that_gives_two_members_two_keys_is_found_out(tmp_path: Path) -> None:
    """It can box another share for one of them, and wrap for none another K: that is proved."""
    async with company(tmp_path) as cast:
        ada = await cast("ada")
        log = await forged(cast)
        first = newest(log, NAME)
        new = create_epoch(ada.identity, log.vault_id, following(log, NAME))
        act = log.draft(ada.identity, acts.CreateEpoch((new.definition,)))
        bo = await cast.id_of("bo")

        def another(recipient: PublicIdentity, plaintext: bytes, info: bytes) -> bytes:
            share = b"o" * len(plaintext) if recipient.member_id == bo else plaintext
            return seal_box(recipient, share, info)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wraps, "seal_box", another)
            sides = log.sides(ada.session, act, {new.definition.address: new})
        log.take(log.signed(ada.identity, act, sides))
        at = log.size - 1

        victim = await cast.actor("bo", told := Forger(log))
        await victim.session.sync()
        why = f"in act {at},? by member {ada.identity.member_id.hex()[:16]}"
        with victim.catches(CommitmentMismatch, match=why):
            victim.session.key(new.definition.address)
        reader = await cast.actor("olga", told)
        await reader.session.sync()
        assert len(reader.session.key(new.definition.address).key.expose()) == 32
        # The first key is still there for both, and the honest next one mends it.
        assert len(victim.session.key(first).key.expose()) == 32
        await reader.vault.rotate(collection="customers", fields=["name"])
        await victim.session.sync()
        assert len(victim.session.key(newest(told.log, NAME)).key.expose()) == 32


@pytest.mark.threat("Z1")
async def test_an_admin_wraps_no_two_keys_for_two_members(tmp_path: Path) -> None:
    """Another K for one of them has no proof, and neither the server nor a client takes it."""
    async with company(tmp_path) as cast:
        ada = await cast("ada")
        log = await forged(cast)
        new = create_epoch(ada.identity, log.vault_id, following(log, NAME))
        act = log.draft(ada.identity, acts.CreateEpoch((new.definition,)))
        bo = await cast.id_of("bo")
        other = create_epoch(ada.identity, log.vault_id, following(log, NAME))

        def for_one(parts: list[Part]) -> list[Part]:
            return [
                replace(part, entries=tuple(map(another, part.entries)))
                if isinstance(part, WrapsPart)
                else part
                for part in parts
            ]

        def another(entry: Entry) -> Entry:
            return replace(entry, wrap=other.first_wrap) if entry.recipient == bo else entry

        sides = retold(log.sides(ada.session, act, {new.definition.address: new}), for_one)
        signed = log.signed(ada.identity, act, sides)
        log.force(signed)
        for name in ("bo", "olga", "kim"):
            actor = await cast.actor(name, Forger(log))
            with actor.catches(IntegrityError, match=f"leaf {log.size - 1} of the log"):
                await actor.session.sync()
        submitted = api.SubmitAct(signed.leaf[1:], sides)
        with pytest.raises(Refused) as caught:
            await ada.session.transport.submit(log.vault_id, submitted)
        assert caught.value.refusal == "refused"


# --- somebody who was removed


@pytest.mark.threat("S11")
@pytest.mark.threat("M2")
async def test_who_was_removed_opens_nothing_new_on_a_copy_of_the_disk(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, bo = await cast("olga"), await cast("bo")
        await olga.grant("Bo", classes=[SENSITIVE])
        await bo.session.sync()
        kept, before = keys_of(bo), await Disk.of(cast)
        assert before.data(kept) == {NAME, PHONE}

        await olga.revoke("Bo", Reason.BREACH)
        await olga.upload(OTHER, collection="more", classes=CLASSES)
        # What it could open it still can, from a copy; of what was written since, nothing.
        after = await Disk.of(cast)
        assert after.opened(kept) == before.opened(kept)
        assert after.unwrapped(bo.identity).keys() <= kept.keys()
        assert after.unboxed(bo.identity) <= before.unboxed(bo.identity)

        await olga.revoke("Bo", Reason.BREACH, reencrypt=True)
        closed = await Disk.of(cast)
        assert closed.opened(kept) == set()
        assert closed.data(keys_of(olga)) == {NAME, PHONE, IBAN}
        with pytest.raises(Refused) as caught:
            await bo.read("customers")
        assert caught.value.refusal == "removed"


# --- an auditor


@pytest.mark.threat("K14")
@pytest.mark.threat("H10")
async def test_an_auditor_reads_no_record_by_its_client_its_keys_or_the_disk(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        aud = await cast("aud")
        with pytest.raises((InputError, Refused)):
            await aud.read("customers")
        where = customers(aud)
        with pytest.raises((InputError, Refused)):
            await aud.read(where.hex())
        for number in (NAME, PHONE, IBAN):
            ((batch, ref),) = aud.session.state.collections[where].blocks(number)
            wanted = FetchBlocks(where, (WantedBatch(batch.id, (number,)),))
            with pytest.raises(Refused) as caught:
                async for _ in aud.session.transport.fetch(
                    aud.session.vault_id, wanted, (ref.length,)
                ):
                    pass
            assert caught.value.refusal == "not_found"
            with pytest.raises(NotAuthorised):
                aud.session.key(Address(where, number, ref.epoch))
        disk = await Disk.of(cast)
        assert disk.data(keys_of(aud)) == set()
        assert disk.unwrapped(aud.identity).keys() == keys_of(aud).keys()
        # What an auditor is for it can do: the log and who read what.
        assert (await aud.log(verify=True)).verified > 10
