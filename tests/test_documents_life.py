"""Whatever happens to a vault's tables happens to its documents, by the same acts (SPEC 7.6, 9)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from client.erasing import erase
from client.errors import InputError, Refused, Unreachable
from client.observing import observations
from client.results.progress import no_progress
from client.vault import Vault
from protocol.acts import Reason, Role
from tests.company import Company, company, named
from tests.deals import a_deal, a_vault, acts_since, joined, through
from tests.documents import (
    CORE,
    GENERAL,
    SENSITIVE,
    a_file,
    all_short,
    content_of,
    document,
    got,
    listed,
)
from tests.remains import remains
from tests.uploading import Ending
from vault.storage.base import BlockKey

_short = pytest.fixture(autouse=True)(all_short)


async def sealed_blocks(cast: Company, vault: Vault, name: str) -> list[bytes]:
    """Return the blocks of a document's content as the server stores them."""
    found = []
    for batch in (await document(vault, name)).batches:
        for ref in batch.manifest.blocks:
            place = BlockKey(batch.id, ref.field, ref.sha256)
            block = await cast.lab.service._storage.read_block(vault.session.vault_id, place)
            assert block is not None
            found.append(block)
    return found


async def epochs_of(vault: Vault, name: str) -> set[int]:
    """Return the epochs under which a document lies."""
    found = await document(vault, name)
    return {ref.epoch for batch in found.batches for ref in batch.manifest.blocks}


async def gone(cast: Company, blocks: list[bytes]) -> bool:
    """Let the server delete what it has to, and say whether it has nothing of these any more."""
    await cast.lab.service.sweep()
    return left(cast, blocks) == []


def left(cast: Company, blocks: list[bytes]) -> list[bytes]:
    """Return the blocks of which something is in a file of the server's."""
    return remains(cast.lab.directory / "server", blocks)


# --- rotation and removal of people


async def test_a_rotation_seals_documents_anew(tmp_path: Path) -> None:
    async with company(tmp_path / "c") as cast:
        olga, bo = await cast("olga"), await cast("bo")
        await olga.attach(a_file(tmp_path), field_class=GENERAL)
        await olga.attach(a_file(tmp_path, "empty.txt", size=0), field_class=GENERAL)
        before = await sealed_blocks(cast, olga, "contract.pdf")
        done = await olga.rotate(reencrypt=True)
        assert done.reencrypted is not None
        assert await epochs_of(olga, "contract.pdf") == {2}
        for vault in (olga, bo):
            assert await got(vault, "contract.pdf", tmp_path / "out") == content_of(20_000)
            assert await got(vault, "empty.txt", tmp_path / "out") == b""
        after = await sealed_blocks(cast, olga, "contract.pdf")
        assert list(map(len, after)) == list(map(len, before))
        assert await gone(cast, before)
        assert left(cast, after) == after


async def test_a_rotation_while_a_document_is_fetched_disturbs_nobody(tmp_path: Path) -> None:
    async with company(tmp_path / "c") as cast:
        olga, bo = await cast("olga"), await cast("bo")
        await olga.attach(a_file(tmp_path), field_class=GENERAL)
        await bo.documents()
        await olga.rotate(reencrypt=True)
        # Bo's client asks for the blocks that it knows, and learns on the way that they moved.
        assert await got(bo, "contract.pdf", tmp_path / "out") == content_of(20_000)


async def test_whoever_is_revoked_reads_no_document_that_comes_later(tmp_path: Path) -> None:
    async with company(tmp_path / "c") as cast:
        olga, bo = await cast("olga"), await cast("bo")
        await olga.attach(a_file(tmp_path, "before.pdf"), field_class=GENERAL)
        assert await got(bo, "before.pdf", tmp_path / "out") == content_of(20_000)
        plan = await olga.plan_revocation("Bo")
        assert "documents-general: documents" in named(plan.could_read)
        assert plan.admitted_reads >= 1
        await olga.revoke("Bo", Reason.LOST_BID, reencrypt=True)
        await olga.attach(a_file(tmp_path, "after.pdf", seed=2), field_class=GENERAL)
        for name in ("before.pdf", "after.pdf"):
            with pytest.raises(Refused, match="no longer a member"):
                await bo.get_document(name, folder=tmp_path)
            assert await epochs_of(olga, name) == {2}
        assert await got(olga, "before.pdf", tmp_path / "out 2") == content_of(20_000)


async def test_documents_are_counted_apart_from_tables(tmp_path: Path) -> None:
    async with company(tmp_path / "c") as cast:
        olga, bo = await cast("olga"), await cast("bo")
        before = await olga.status()
        for name, field_class in (("a.pdf", GENERAL), ("b.pdf", CORE), ("c.pdf", CORE)):
            await olga.attach(a_file(tmp_path, name), field_class=field_class)
        after = await olga.status()
        assert (before.documents, after.documents) == (0, 3)
        assert (after.collections, after.records) == (before.collections, before.records)
        holding = {each.name: each.documents for each in await olga.collections()}
        assert holding == {"customers": None, "documents-general": 1, "documents-core": 2}
        assert (await olga.collection("documents-core")).documents == 2
        # Whoever may not know a collection's names cannot know either that it is no table.
        seen = await bo.status()
        assert (seen.documents, seen.collections) == (1, before.collections + 1)
        with pytest.raises(InputError, match="no collection 'documents-core'") as refused:
            await bo.collection("documents-core")
        assert (refused.value.hint or "").endswith(
            "The names of 1 are closed to you, as what you were not granted is. "
            "'sealroom collection list' shows their ids."
        )
        await olga.offer("Bo", yes=True)
        done = await bo.accept(yes=True)
        assert (done.collections, done.records, done.documents) == (1, 3, 3)
        assert replace(await bo.accept(), seconds=0) == replace(done, seconds=0)


async def test_an_identity_that_is_rotated_keeps_its_documents(tmp_path: Path) -> None:
    async with company(tmp_path / "c") as cast:
        actor = await cast.actor("ada")
        await actor.vault.attach(a_file(tmp_path), field_class=CORE)
        await actor.home.rotate_identity(actor.vault)
        olga = await cast("olga")
        assert (await listed(olga))["contract.pdf"].author_name == "Ada"
        assert await got(actor.vault, "contract.pdf", tmp_path / "out") == content_of(20_000)


# --- the sale


@pytest.mark.threat("S11")
async def test_a_handover_carries_documents_and_a_takeover_leaves_the_seller_none(
    tmp_path: Path,
) -> None:
    async with company(tmp_path / "c") as cast:
        olga, bo = await cast("olga"), await cast("bo")
        await olga.attach(a_file(tmp_path, "lease.pdf"), field_class=CORE)
        await olga.attach(a_file(tmp_path, "menu.pdf", seed=2), field_class=GENERAL)
        assert list(await listed(bo)) == ["menu.pdf"]
        await olga.offer("Bo", yes=True)
        # An offer is a disclosure: the buyer may look at all of it before it decides.
        assert await got(bo, "lease.pdf", tmp_path / "out") == content_of(20_000)
        taken = await bo.accept(yes=True)
        assert taken.cells == 9 + 40
        with pytest.raises(Refused, match="no longer a member"):
            await olga.documents()

        before = await sealed_blocks(cast, bo, "lease.pdf")
        await bo.takeover()
        assert await gone(cast, before)
        for name, seed in (("lease.pdf", 1), ("menu.pdf", 2)):
            assert await got(bo, name, tmp_path / "out") == content_of(20_000, seed)
        await bo.attach(a_file(tmp_path, "mine.pdf", seed=3), field_class=CORE)
        assert len(await listed(bo)) == 3


async def test_a_buyer_is_handed_what_is_left_of_what_was_removed(tmp_path: Path) -> None:
    async with a_deal(tmp_path / "sale") as deal:
        await deal.seller.attach(a_file(tmp_path, "gone.pdf"))
        await deal.seller.attach(a_file(tmp_path, "half.pdf", seed=2))
        await deal.seller.attach(a_file(tmp_path, "kept.pdf", seed=3))
        await deal.seller.remove_document("gone.pdf")
        half = await document(deal.seller, "half.pdf")
        # Somebody erased a single chunk by hand.
        chunk = {half.batches[1].id: frozenset({3})}
        await erase(deal.seller.session, half.where.id, chunk, Reason.OTHER, no_progress)
        await deal.offer()
        await deal.accept()
        seen = await listed(deal.buyer)
        assert {name: each.state for name, each in seen.items()} == {
            "half.pdf": "removed in part",
            "kept.pdf": "whole",
        }
        assert await got(deal.buyer, "kept.pdf", tmp_path / "out") == content_of(20_000, 3)


async def test_nothing_is_attached_while_an_offer_is_open(tmp_path: Path) -> None:
    async with a_deal(tmp_path / "sale") as deal:
        await deal.offer()
        size = deal.seller.session.believed.ledger.size
        with pytest.raises(Refused, match="while a handover offer is open"):
            await deal.seller.attach(a_file(tmp_path))
        assert await acts_since(deal.seller, size) == []
        await deal.accept()
        assert await deal.buyer.documents() == ()


# --- the end


async def test_a_removed_document_is_on_no_disk_of_the_server_s(tmp_path: Path) -> None:
    async with company(tmp_path / "c") as cast:
        olga = await cast("olga")
        await olga.attach(a_file(tmp_path), field_class=CORE)
        blocks = await sealed_blocks(cast, olga, "contract.pdf")
        assert left(cast, blocks) == blocks
        await olga.remove_document("contract.pdf")
        assert await gone(cast, blocks)


@pytest.mark.parametrize("how", ["retire", "destroy"])
async def test_a_class_or_a_vault_ends_with_its_documents(tmp_path: Path, how: str) -> None:
    async with company(tmp_path / "c") as cast:
        olga = await cast("olga")
        await olga.attach(a_file(tmp_path), field_class=CORE)
        blocks = await sealed_blocks(cast, olga, "contract.pdf")
        if how == "retire":
            await olga.retire_collection("documents-core")
            assert await olga.documents() == ()
            with pytest.raises(InputError, match="no document"):
                await olga.get_document("contract.pdf", folder=tmp_path)
        else:
            await olga.destroy(Reason.TERMS)
        assert await gone(cast, blocks)
        if how == "retire":
            await olga.attach(a_file(tmp_path), field_class=CORE)
            assert await got(olga, "contract.pdf", tmp_path / "out") == content_of(20_000)


async def test_an_unreadable_document_goes_with_whatever_else_is_unreadable(
    tmp_path: Path,
) -> None:
    async with a_vault(tmp_path / "v") as (_, mine):
        await mine.attach(a_file(tmp_path))
        done = await mine.erase("documents-sensitive", unreadable=True)
        assert done.records == 0
        assert await got(mine, "contract.pdf", tmp_path / "out") == content_of(20_000)


# --- who was told what


async def test_the_auditor_sees_who_fetched_which_document_and_when(tmp_path: Path) -> None:
    async with company(tmp_path / "c") as cast:
        olga, bo, aud = await cast("olga"), await cast("bo"), await cast("aud")
        await olga.attach(a_file(tmp_path), field_class=GENERAL)
        await got(bo, "contract.pdf", tmp_path / "out")
        batches = {batch.id for batch in (await document(olga)).batches}
        seen = [
            each.body
            for each in await observations(aud.session)
            if set(each.body.batches) & batches and each.body.member == bo.identity.member_id
        ]
        assert {batch for each in seen for batch in each.batches} == batches
        assert {each.fields for each in seen} == {(0,)}
        entries = {each.kind: each for each in (await aud.log()).entries if each.kind == "commit"}
        assert entries["commit"].detail["records"] == 20
        with pytest.raises(Refused, match="an auditor reads no data"):
            await aud.get_document("contract.pdf", folder=tmp_path)


async def test_the_log_says_in_words_where_documents_went(tmp_path: Path) -> None:
    async with company(tmp_path / "c") as cast:
        olga = await cast("olga")
        await olga.attach(a_file(tmp_path), field_class=CORE)
        await olga.remove_document("contract.pdf")
        said = [
            (each.kind, each.detail)
            for each in (await olga.log()).entries
            if each.kind in ("commit", "erase")
        ][-3:]
        where = "documents-core"
        assert said == [
            ("commit", {"collection": where, "batches": 4, "records": 20}),
            ("erase", {"collection": where, "records": 20, "reason": "request"}),
            ("erase", {"collection": where, "records": 1, "reason": "request"}),
        ]


async def test_the_server_is_told_no_name_and_no_byte(tmp_path: Path) -> None:
    """And neither is whoever finds the home of a client."""
    async with company(tmp_path / "c") as cast:
        olga = await cast("olga")
        secret = b"a sentence that stands in the contract and nowhere else. " * 200
        path = tmp_path / "acquisition-of-lynx.pdf"
        path.write_bytes(secret)
        await olga.attach(path, field_class=CORE)
        await got(olga, "acquisition-of-lynx.pdf", tmp_path / "out")
        for folder in (cast.lab.directory / "server", cast.lab.directory / "olga"):
            kept = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
            for clear in (b"acquisition-of-lynx", secret[:40], b"application/pdf"):
                assert clear not in kept


# --- meetings


async def test_two_people_attach_to_one_class_at_once(tmp_path: Path) -> None:
    async with (
        a_deal(tmp_path / "sale") as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN) as ada,
    ):
        # Her collection is defined and empty, and says to nobody else what it is for.
        with through(ada, Ending(ada, 0)), pytest.raises(Unreachable):
            await ada.attach(a_file(tmp_path, "hers.pdf", seed=2))
        await deal.seller.attach(a_file(tmp_path, "mine.pdf"))
        await ada.attach(tmp_path / "hers.pdf")
        assert len(await ada.collections()) == 2
        for vault in (ada, deal.seller):
            assert set(await listed(vault)) == {"hers.pdf", "mine.pdf"}
            assert await got(vault, "hers.pdf", tmp_path / "out") == content_of(20_000, 2)
            assert await got(vault, "mine.pdf", tmp_path / "out") == content_of(20_000)


async def test_many_documents_of_all_classes_live_together(tmp_path: Path) -> None:
    async with a_vault(tmp_path / "v") as (_, mine):
        classes = itertools.cycle((GENERAL, SENSITIVE, CORE))
        for number, field_class in zip(range(12), classes, strict=False):
            file = a_file(tmp_path, f"{number}.pdf", size=997 * number, seed=number)
            await mine.attach(file, field_class=field_class)
        assert [each.name for each in await mine.documents()] == [f"{i}.pdf" for i in range(12)]
        assert len(await mine.collections()) == 3
        for number in range(12):
            content = content_of(997 * number, number)
            assert await got(mine, f"{number}.pdf", tmp_path / "out") == content
