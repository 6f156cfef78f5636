"""What an upload commits: this table once, under keys that only its readers have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from client import lookout, uploads
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, SealedBatch, seal_batch
from client.errors import Refused, Unreachable
from client.session import ATTEMPTS
from client.tables import TableRagged
from client.vault import Vault
from protocol import api
from protocol.acts import Commit, Reason, Role, parse_envelope
from protocol.blocks import Manifest
from protocol.errors import Stale
from protocol.ledger.contents import PendingUpload
from protocol.limits import DAY, LIMITS
from tests.company import company
from tests.deals import (
    Breaking,
    a_deal,
    honest,
    in_batches_of,
    joined,
    journal_of,
    rows,
    through,
)
from tests.uploading import (
    GENERAL,
    SENSITIVE,
    TABLE,
    CommitsUpTo,
    Counting,
    Ending,
    Meanwhile,
    Restless,
    Watched,
    as_parquet,
    exact,
    one_vault,
    uploaded,
    with_ada,
    with_empty_journal,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


opened = pytest_asyncio.fixture(scope="module", loop_scope="module")(one_vault)
mine = pytest.fixture(with_empty_journal)
file = pytest.fixture(as_parquet)
# --- V9: the journal says what is committed, never the server


class Listing(Watched):
    """The honest server, but for what it says is staged."""

    def __init__(self, vault: Vault, listed: Callable[[set[bytes]], set[bytes]]) -> None:
        super().__init__(vault)
        self.listed = listed
        self.lies = 0

    async def staged(self, vault_id: bytes, upload: bytes) -> api.Staged:
        true = set((await super().staged(vault_id, upload)).batches)
        told = self.listed(true)
        self.lies += told != true
        return api.Staged(tuple(sorted(told)))


def committed_by(vault: Vault) -> set[bytes]:
    return {
        manifest.batch_id
        for act in vault.session.believed.acts
        if act is not None and isinstance(act.payload, Commit)
        for manifest in act.payload.manifests
    }


@pytest.mark.threat("V9")
async def test_batches_that_a_server_lists_are_never_committed(tmp_path: Path, file: Path) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):
        seller = deal.seller
        with through(seller, Ending(seller, 4)), pytest.raises(Unreachable):
            await uploaded(seller, file)
        (begun,) = seller.session.store.uploads.unfinished()
        # Another holder of the keys made a batch of its own, which the server puts there.
        foreign = await forged(ada, begun.collection)
        alien = foreign.manifest.batch_id
        vault_id = seller.session.vault_id
        await honest(seller).stage(vault_id, begun.upload, alien, foreign.body())

        poisoning = Listing(seller, lambda true: {*true, bytes(16), b"f" * 16})
        with through(seller, poisoning):
            assert (await uploaded(seller, file)).resumed_batches == 4

        assert poisoning.lies
        assert len(poisoning.stages) == 2
        assert committed_by(seller).isdisjoint({alien, bytes(16), b"f" * 16})
        await exact(seller)


@pytest.mark.threat("V9")
async def test_batches_that_a_server_has_lost_are_sealed_anew(mine: Vault, file: Path) -> None:
    first = Ending(mine, 4)
    with through(mine, first), pytest.raises(Unreachable):
        await uploaded(mine, file, "lost")
    sent = {batch for _, batch in first.stages}
    lost = min(sent)
    forgetful = Listing(mine, lambda true: true - {lost})
    with through(mine, forgetful):
        assert (await uploaded(mine, file, "lost")).resumed_batches == 3
    assert forgetful.lies
    # The one that is lost, and the two that were never sent; the others are as good as before.
    assert len(forgetful.stages) == 3
    assert committed_by(mine) & sent == sent - {lost}
    await exact(mine, "lost")


@pytest.mark.threat("V9")
async def test_batches_that_a_server_loses_before_the_commit_are_sealed_anew_at_once(
    mine: Vault, file: Path
) -> None:
    class Losing(Listing):
        """Has lost a batch by the time it is to be committed, and says so."""

        lost: bytes | None = None

        async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
            payload = parse_envelope(act.envelope)[1].payload
            if isinstance(payload, Commit) and self.lost is None:
                self.lost = payload.manifests[-1].batch_id
                raise Refused("a batch is not staged", code="out_of_order")
            return await super().submit(vault_id, act)

    losing = Losing(mine, lambda true: true - {losing.lost or b""})
    with through(mine, losing):
        await uploaded(mine, file, "lost late")
    assert len(losing.stages) == 6 + 1
    assert losing.lost not in committed_by(mine)
    await exact(mine, "lost late")


async def forged(member: Vault, collection: bytes) -> SealedBatch:
    """Seal one batch of other records, as somebody who holds the keys can."""
    session = member.session
    await session.sync()
    columns = []
    for number in range(3):
        address = session.writable(collection, number)
        where = session.state.collections[collection]
        cells = Cells.from_list([b"evil"], string_like=True)
        key = session.key(address).key.expose()
        columns.append(ColumnToSeal(number, address.epoch, where.class_of(number), key, cells))
    return seal_batch(columns)


# --- V5: the age of the head


@pytest.mark.threat("V5")
async def test_nothing_is_sealed_under_a_head_that_nobody_signed_for_too_long(
    tmp_path: Path, file: Path
) -> None:
    now = [time.time()]
    async with company(tmp_path, lambda: now[0]) as cast:
        olga = await cast.actor("olga", clock=lambda: now[0])
        ada = await cast.actor("ada", clock=lambda: now[0])
        now[0] += 7 * DAY + 60
        why = "the owner last signed the head of this log 7 days ago"
        with ada.catches(Stale, match=why, but="learned"):
            await uploaded(ada.vault, file, "more")
        assert journal_of(ada.vault) == (0, 0)
        assert len(await ada.vault.collections()) == 1
        await olga.vault.heartbeat()
        await uploaded(ada.vault, file, "more")
        await exact(ada.vault, "more")


@pytest.mark.threat("V5")
async def test_a_head_that_grows_too_old_during_an_upload_stops_it(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0)
    now = [time.time()]

    class Slow(Watched):
        async def stage(self, *given: Any) -> None:
            await super().stage(*given)
            # At the last look all but those on their way are staged: two at least.
            now[0] += 4 * DAY

    async with company(tmp_path, lambda: now[0]) as cast:
        olga = await cast.actor("olga", clock=lambda: now[0])
        async with cast.lab.home("ada", clock=lambda: now[0]).vault() as ada:
            slow = Slow(ada)
            with through(ada, slow), pytest.raises(Stale, match="last signed the head"):
                await uploaded(ada, file, "more")
            assert journal_of(ada) == (1, len(slow.stages))
            assert len(slow.stages) >= 2
            await olga.vault.heartbeat()
            assert (await uploaded(ada, file, "more")).resumed_batches == len(slow.stages)
            await exact(ada, "more")


# --- R11: a removal while an upload is on its way


def kept_manifests(vault: Vault) -> list[Manifest]:
    """Return the manifests of all batches that the journal lists as acknowledged."""
    store = vault.session.store
    return [
        manifest
        for begun in store.uploads.unfinished()
        for manifest in store.uploads.batches(begun.upload).values()
    ]


@pytest.mark.threat("R11")
@pytest.mark.threat("S11")
@pytest.mark.parametrize("cut", [7, 8, 9, 10, 11])
async def test_a_removal_during_an_upload_has_it_sealed_anew(
    tmp_path: Path, file: Path, cut: int
) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):
        await deal.seller.grant("Bo", classes=[SENSITIVE])
        breaking = Breaking(honest(deal.seller), cut)
        with through(deal.seller, breaking), pytest.raises(Unreachable):
            await uploaded(deal.seller, file)
        # How many batches were acknowledged before the cut is a matter of timing.
        kept = kept_manifests(deal.seller)
        await ada.revoke("Bo", Reason.OTHER)
        tainted = {
            field for (_, field), known in ada.session.state.epochs.items() if len(known) > 1
        }

        result = await uploaded(deal.seller, file)

        stale = [any(ref.field in tainted for ref in manifest.blocks) for manifest in kept]
        assert result.resumed_batches == stale.count(False)
        await exact(deal.seller)
        where = await deal.seller.collection("customers")
        named = {field.name: field.epochs for field in where.fields}
        assert named == {"name": 2, "orders": 1, "note": 1}
        (stored,) = (c for c in deal.seller.session.state.collections.values() if c.classes)
        assert {ref.epoch for _, ref in stored.blocks(0)} == {2}


@pytest.mark.threat("V5")
async def test_what_a_server_still_lists_under_a_closed_key_is_sealed_anew(
    tmp_path: Path, file: Path
) -> None:
    """The honest server deletes it with the key; this one says that it is all there."""
    async with with_ada(tmp_path / "deal") as (deal, ada):
        await deal.seller.grant("Bo", classes=[SENSITIVE])
        first = Ending(deal.seller, 5)
        with through(deal.seller, first), pytest.raises(Unreachable):
            await uploaded(deal.seller, file)
        kept = kept_manifests(deal.seller)
        sent = {batch for _, batch in first.stages}
        await ada.revoke("Bo", Reason.OTHER)
        state = ada.session.state
        tainted = {field for (_, field), known in state.epochs.items() if len(known) > 1}
        stale = [any(ref.field in tainted for ref in manifest.blocks) for manifest in kept]
        assert any(stale)
        lying = Listing(deal.seller, lambda _: set(sent))
        with through(deal.seller, lying):
            assert (await uploaded(deal.seller, file)).resumed_batches == stale.count(False)
        assert lying.lies
        await exact(deal.seller)


@pytest.mark.threat("R11")
async def test_a_removal_between_the_last_batch_and_the_commit_is_in_time(
    tmp_path: Path, file: Path
) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):
        await deal.seller.grant("Bo", classes=[SENSITIVE])
        late = Meanwhile(deal.seller, 6, lambda: ada.revoke("Bo", Reason.OTHER))
        # The same command goes on by itself.
        with through(deal.seller, late):
            await uploaded(deal.seller, file)
        await exact(deal.seller)
        # All but the one catalog that the bidder could not open was sealed anew.
        staged = [batch for _, batch in late.stages]
        assert len(staged) == 6 + 5
        assert len(committed_by(deal.seller) & set(staged[:6])) == 1


@pytest.mark.threat("R11")
async def test_a_removal_is_noticed_while_there_is_still_much_to_seal(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing was acknowledged yet that would have to be given up."""
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0)
    async with with_ada(tmp_path / "deal") as (deal, ada):
        await deal.seller.grant("Bo", classes=[SENSITIVE])
        revoked: list[bytes] = []
        turn = asyncio.Lock()

        class Early(Watched):
            async def stage(self, *given: Any) -> None:
                async with turn:  # nothing is staged before somebody was removed
                    first = not revoked
                    if first:
                        revoked.append(given[2])
                        await ada.revoke("Bo", Reason.OTHER)
                if first:
                    await asyncio.Event().wait()  # until this very flight is called off
                await super().stage(*given)

        with through(deal.seller, Early(deal.seller)):
            await uploaded(deal.seller, file)
        await exact(deal.seller)
        assert committed_by(deal.seller).isdisjoint(revoked)


@pytest.mark.threat("R11")
async def test_an_upload_whose_keys_are_replaced_again_and_again_is_given_up_for_now(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0)
    async with with_ada(tmp_path / "deal") as (deal, ada):
        with (
            through(deal.seller, Restless(deal.seller, ada)),
            pytest.raises(Refused, match="were replaced meanwhile") as caught,
        ):
            await uploaded(deal.seller, file)
        assert caught.value.refusal == "tainted"
        where = await deal.seller.collections()
        assert [each.records for each in where] == [0]
        assert max(field.epochs for field in where[0].fields) == ATTEMPTS
        await uploaded(deal.seller, file)
        await exact(deal.seller)


def landed_parts(vault: Vault) -> set[bytes]:
    """Return the batches of the one commit of which some parts have landed."""
    (pending,) = vault.session.state.pending.values()
    assert isinstance(pending, PendingUpload)
    return {batch.id for batch in pending.batches}


@pytest.mark.threat("R11")
async def test_parts_that_have_landed_before_a_removal_stand(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 600)
    async with with_ada(tmp_path / "deal") as (deal, ada):
        await deal.seller.grant("Bo", classes=[SENSITIVE])
        with through(deal.seller, CommitsUpTo(deal.seller, 2)), pytest.raises(Unreachable):
            await uploaded(deal.seller, file)
        landed = landed_parts(deal.seller)
        assert 0 < len(landed) < 6
        await ada.revoke("Bo", Reason.OTHER)

        watched = Watched(deal.seller)
        with through(deal.seller, watched):
            result = await uploaded(deal.seller, file)

        assert result.resumed_batches == len(landed)
        assert len(watched.stages) == 6 - len(landed)
        (stored,) = (c for c in deal.seller.session.state.collections.values() if c.classes)
        assert {batch.id for batch in stored.batches} > landed
        under = {batch.id in landed: ref.epoch for batch, ref in stored.blocks(0)}
        assert under == {True: 1, False: 2}
        await exact(deal.seller)


async def test_parts_that_an_offer_dropped_are_sealed_anew_once_it_is_over(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 600)
    async with with_ada(tmp_path / "deal") as (deal, _):
        seller = deal.seller
        with through(seller, CommitsUpTo(seller, 2)), pytest.raises(Unreachable):
            await uploaded(seller, file)
        landed = landed_parts(seller)
        await deal.offer()
        watched = Watched(seller)
        for _ in range(2):
            with through(seller, watched), pytest.raises(Refused) as caught:
                await uploaded(seller, file)
            assert caught.value.refusal == "out_of_order"
        # While the offer is open nothing could land, so nothing is sealed for it.
        assert watched.stages == []
        await deal.buyer.reject(Reason.OTHER)

        await uploaded(seller, file)

        assert committed_by(seller) > landed
        (stored,) = (c for c in seller.session.state.collections.values() if c.classes)
        assert landed.isdisjoint(batch.id for batch in stored.batches)
        await exact(seller)


async def test_a_freeze_stops_an_upload_and_the_same_command_goes_on_after_it(
    tmp_path: Path, file: Path
) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):
        freezing = Meanwhile(deal.seller, 6, lambda: ada.freeze(Reason.BREACH))
        with through(deal.seller, freezing), pytest.raises(Refused, match="frozen"):
            await uploaded(deal.seller, file)
        assert len(freezing.stages) == 6
        await deal.seller.unfreeze()

        assert (await uploaded(deal.seller, file)).resumed_batches == 6
        await exact(deal.seller)


async def test_a_collection_that_is_retired_during_its_upload_is_begun_anew_when_told_so(
    tmp_path: Path, file: Path
) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):

        async def retire() -> None:
            await ada.session.sync()
            (where,) = (c.id for c in ada.session.state.collections.values() if c.classes)
            await ada.retire_collection(where.hex())

        with (
            through(deal.seller, Meanwhile(deal.seller, 6, retire)),
            pytest.raises(Refused, match="the collection was retired while it was being uploaded"),
        ):
            await uploaded(deal.seller, file)
        assert await deal.seller.collections() == ()

        assert (await uploaded(deal.seller, file)).resumed_batches == 0
        await exact(deal.seller)


async def test_a_retired_collection_is_not_taken_for_one_that_was_left_empty(
    mine: Vault, file: Path
) -> None:
    with through(mine, Ending(mine, 4)), pytest.raises(Unreachable):
        await uploaded(mine, file, "ended")
    (begun,) = mine.session.store.uploads.unfinished()
    await mine.retire_collection(begun.collection.hex())
    pq.write_table(TABLE.slice(0, 13), file)

    assert (await uploaded(mine, file, "ended")).resumed_batches == 0

    await exact(mine, "ended", TABLE.slice(0, 13))


async def test_an_admin_who_was_removed_uploads_no_more(tmp_path: Path, file: Path) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):
        with through(ada, Breaking(honest(ada), 9)), pytest.raises(Unreachable):
            await uploaded(ada, file)
        await deal.seller.revoke("Ada", Reason.OTHER)
        with pytest.raises(Refused, match="no longer a member"):
            await uploaded(ada, file)
        assert [each.records for each in await deal.seller.collections()] == [0]


async def test_who_holds_not_every_field_cannot_begin(tmp_path: Path, file: Path) -> None:
    async with a_deal(tmp_path / "d") as deal:
        with pytest.raises(Refused):
            await uploaded(deal.buyer, file)
        async with joined(deal.lab, deal.seller, "Ann", Role.ADMIN, classes=[GENERAL]) as part:
            with pytest.raises(Refused):
                await uploaded(part, file)
        assert await deal.seller.session.ensure_writable([]) is None


async def test_an_upload_reads_nothing_back(mine: Vault) -> None:
    await mine.title()  # what was there before
    counting = Counting(mine)
    with through(mine, counting):
        await uploaded(mine, TABLE, "its own names")
        assert "its own names" in {each.name for each in await mine.collections()}
    assert counting.fetched == 0


# --- limits


async def test_a_part_has_no_more_batches_than_an_act_may_list(
    mine: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "LIMITS", LIMITS.__class__(act_batches=4))
    size = mine.session.believed.ledger.size
    await mine.upload(rows(9), collection="parts", options=in_batches_of(1))
    parts = [
        len(act.payload.manifests)
        for act in mine.session.believed.acts[size:]
        if act is not None and isinstance(act.payload, Commit)
    ]
    assert parts == [4, 4, 2]
    assert (await mine.read("parts")).equals(rows(9))


async def test_a_home_uploads_to_a_vault_once_at_a_time(mine: Vault, file: Path) -> None:
    with mine.session.store.uploading(), pytest.raises(Refused, match="another upload"):
        await uploaded(mine, file, "twice at once")
    assert (await uploaded(mine, file, "twice at once")).records == TABLE.num_rows


async def test_a_file_that_cannot_be_read_defines_no_collection(
    mine: Vault, tmp_path: Path
) -> None:
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("a,b\n1,2\n3\n")
    before = len(await mine.collections())
    with pytest.raises(TableRagged):
        await mine.upload(ragged, collection="ragged")
    assert len(await mine.collections()) == before
