"""The handover: what is offered is verified to the last cell, or nothing is accepted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from client import handover, plans, sending, uploads, verifying
from client.catalogs import read_names, read_people
from client.crypto import wraps
from client.crypto.cells import SealedBatch, seal_batch
from client.crypto.secrets import Share
from client.errors import Refused
from client.results import as_json
from client.results.progress import Progress
from client.session import Draft, saying
from protocol import api
from protocol.acts import Noop, Reason, Role
from protocol.blocks import FieldClass, catalog_field
from protocol.errors import (
    CommitmentMismatch,
    IntegrityError,
    ManifestMismatch,
    PinMismatch,
    VerificationFailed,
)
from protocol.ledger.state import Phase
from tests.deals import (
    Deal,
    Tamper,
    Tampering,
    a_deal,
    acts_since,
    commit_names,
    honest,
    in_batches_of,
    joined,
    journal_of,
    kept_by,
    rows,
    through,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
CLASSES = {"name": SENSITIVE, "orders": GENERAL, "note": CORE}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def offered(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deal]:
    """An open offer, for tests that must not change it."""
    async with a_deal(tmp_path_factory.mktemp("offered")) as deal:
        await deal.seller.upload(
            rows(40), collection="customers", classes=CLASSES, options=in_batches_of(10)
        )
        await deal.offer()
        await ready_to_accept(deal)
        yield deal


async def ready_to_accept(deal: Deal) -> None:
    """Let the buyer do what leaves traces whether it accepts or not: catalogs, words."""
    session = deal.buyer.session
    await session.sync()
    session.store.mark_compared(session.state.owner)
    for collection in session.state.collections:
        await read_names(session, collection)
    await read_people(session)


async def nothing_accepted(
    deal: Deal, kind: type[Exception] | tuple[type[Exception], ...], **given: Any
) -> Exception:
    """Demand that accepting fails like this and changes nothing, here or on the server."""
    buyer = deal.buyer
    await buyer.session.sync()
    before, size = kept_by(buyer), buyer.session.believed.ledger.size
    with pytest.raises(kind) as caught:
        await buyer.accept(**given)
    assert kept_by(buyer) == before
    assert await acts_since(deal.seller, size) == []
    assert deal.seller.session.state.phase is Phase.OFFERED
    assert deal.seller.session.state.owner == deal.seller.identity.member_id
    return caught.value


# --- a server that lies while the buyer verifies


def of(collection: str, change: Callable[[list[bytes]], list[bytes]]) -> Tamper:
    """Change the answers about the people catalog, or about everything else."""

    def tamper(request: api.FetchBlocks, blocks: list[bytes]) -> list[bytes]:
        people = request.collection == bytes(16)
        return change(blocks) if people == (collection == "people") else blocks

    return tamper


def flipped(blocks: list[bytes]) -> list[bytes]:
    last = blocks[-1]
    return [*blocks[:-1], last[:-1] + bytes([last[-1] ^ 1])]


def swapped(blocks: list[bytes]) -> list[bytes]:
    return blocks[::-1]


LIES = {
    "C11 a bit of the data": of("customers", flipped),
    "C4 blocks in another order": of("customers", swapped),
    "C5 no last block": of("customers", lambda blocks: blocks[:-1]),
    "C5 nothing at all": of("customers", lambda blocks: []),
    "C6 a block more": of("customers", lambda blocks: [*blocks, blocks[0]]),
    "C11 a bit of the names": of("people", flipped),
    "C5 no names": of("people", lambda blocks: blocks[:-1]),
    "C3 old names for new ones": of("people", lambda blocks: [*blocks[:-1], blocks[0]]),
}


@pytest.mark.threat("C3")
@pytest.mark.threat("C4")
@pytest.mark.threat("C5")
@pytest.mark.threat("C6")
@pytest.mark.threat("C11")
@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_about_blocks_ends_before_the_acceptance(offered: Deal, lie: str) -> None:
    liar = Tampering(honest(offered.buyer), LIES[lie])
    with through(offered.buyer, liar):
        failed = await nothing_accepted(offered, VerificationFailed)
    assert type(failed) is ManifestMismatch
    assert liar.lies
    await verifying.verify(offered.buyer.session, words=None, yes=False, on_progress=lambda _: None)


@pytest.mark.threat("C5")
async def test_a_cut_at_any_block_ends_before_the_acceptance(offered: Deal) -> None:
    total = sum(len(w.blocks(n)) for w in offered.buyer.session.state.collections.values()
                for n in w.fields)  # fmt: skip
    for end in range(total):
        left = end

        def cut(_: api.FetchBlocks, blocks: list[bytes]) -> list[bytes]:
            nonlocal left
            sent, left = blocks[:left], max(0, left - len(blocks))
            return sent

        with through(offered.buyer, Tampering(honest(offered.buyer), cut)):
            await nothing_accepted(offered, ManifestMismatch)


# --- words


async def test_words_never_compared_stop_the_acceptance_and_are_shown(offered: Deal) -> None:
    store = offered.buyer.session.store
    store._db.execute("DELETE FROM compared")
    failed = await nothing_accepted(offered, Refused)
    assert isinstance(failed, Refused)
    assert failed.refusal == "not_compared"
    assert offered.words in (failed.hint or "")
    store.mark_compared(offered.buyer.session.state.owner)


@pytest.mark.threat("K2")
async def test_other_words_stop_the_acceptance_and_are_not_remembered(offered: Deal) -> None:
    store = offered.buyer.session.store
    store._db.execute("DELETE FROM compared")
    words = offered.words.split()
    await nothing_accepted(offered, PinMismatch, words=" ".join([*words[1:], words[0]]))
    assert not store.compared()
    store.mark_compared(offered.buyer.session.state.owner)


# --- a seller that lies


async def a_lying_offer(deal: Deal, lie: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        lie(patch)
        await deal.seller.upload(
            rows(20), collection="customers", classes=CLASSES, options=in_batches_of(10)
        )
    await deal.offer()
    await ready_to_accept(deal)


@pytest.mark.threat("C8")
@pytest.mark.threat("Z4")
async def test_each_key_handed_over_wrong_is_found_before_the_acceptance(tmp_path: Path) -> None:
    tried = 0
    while True:
        async with a_deal(tmp_path / str(tried)) as deal:
            table = rows(3).select(["name", "orders"])
            await deal.seller.upload(table, collection="customers", default=GENERAL)
            session = deal.seller.session
            addresses = session.state.live_addresses()
            if tried == len(addresses):
                break
            address, real = addresses[tried], session._shares

            def one_wrong(*given: Any, address: Any = address, real: Any = real) -> Any:
                return {**real(*given), address: Share(b"s" * 32)}

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(session, "_shares", one_wrong)
                await deal.offer()
            deal.buyer.session.store.mark_compared(deal.seller.identity.member_id)
            failed = await nothing_accepted(deal, CommitmentMismatch)
            assert str(address) in str(failed)
            assert "given to you false in act" in str(failed)
        tried += 1
    assert tried == 4  # people, two fields and the names of their class


@pytest.mark.threat("C8")
async def test_a_creator_cannot_use_a_key_other_than_it_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_deal(tmp_path) as deal:
        monkeypatch.setattr(wraps, "key_confirmation", lambda _: b"c" * 32)
        with pytest.raises(CommitmentMismatch):
            await deal.seller.upload(rows(3), collection="customers")
        await deal.seller.session.sync()
        assert not any(c.records for c in deal.seller.session.state.collections.values())


def resealed(change: Callable[[bytes], bytes]) -> Callable[[pytest.MonkeyPatch], None]:
    """Let the seller commit to a block that it spoiled: the hashes are right, the cells are not."""

    def spoiled(columns: Any) -> SealedBatch:
        sealed = seal_batch(columns)
        if len(sealed.blocks) < 2:
            return sealed
        block = change(sealed.blocks[0])
        ref = replace(
            sealed.manifest.blocks[0],
            length=len(block),
            sha256=hashlib.sha256(block).digest(),
        )
        manifest = replace(sealed.manifest, blocks=(ref, *sealed.manifest.blocks[1:]))
        return SealedBatch(manifest, (block, *sealed.blocks[1:]))

    return lambda patch: patch.setattr(sending, "seal_batch", spoiled)


def wrong_type(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plans, "NamedField", lambda name, _: _Field(name, "int64"))


def no_type(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plans, "NamedField", lambda name, _: _Field(name, "no type"))


class _Field:
    def __init__(self, name: str, kind: str) -> None:
        self.name, self.type = name, kind


@pytest.mark.threat("C8")
@pytest.mark.threat("C10")
@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (resealed(lambda block: block[:-1] + bytes([block[-1] ^ 1])), "record 9 did not open"),
        (resealed(lambda block: bytes(len(block))), "did not open"),
        (resealed(lambda block: bytes([0, 0, 0, 0]) + block[4:]), "did not open"),
        (wrong_type, "holds what is no int64|did not open"),
        (no_type, "does not name field 0"),
    ],
    ids=["a bit", "nothing but zeros", "a cell erased", "another type", "no type"],
)
async def test_committed_rubbish_is_found_before_the_acceptance(
    tmp_path: Path, lie: Callable[[pytest.MonkeyPatch], None], said: str
) -> None:
    async with a_deal(tmp_path) as deal:
        await a_lying_offer(deal, lie)
        failed = await nothing_accepted(deal, VerificationFailed)
        assert type(failed) is IntegrityError
        assert any(part in str(failed) for part in said.split("|"))


async def test_rubbish_in_a_catalog_names_nothing_and_keeps_nobody_out(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal:
        await deal.seller.upload(rows(3), collection="customers", classes=CLASSES)
        (where,) = (c for c in deal.seller.session.state.collections.values() if c.classes)
        await commit_names(deal.seller, where.id, catalog_field(CORE), {"fields": [[99, "x", "y"]]})
        await deal.offer()
        await deal.accept()
        assert (await deal.buyer.read("customers")).equals(rows(3))


# --- roots and counts, which the ledger settles before; these stand guard over ourselves


async def test_an_offer_of_other_roots_than_were_replayed(
    offered: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = handover.open_offer

    def other(session: Any) -> Any:
        opened = real(session)
        return replace(opened, roots=tuple(replace(r, root=bytes(32)) for r in opened.roots))

    monkeypatch.setattr(verifying, "open_offer", other)
    failed = await nothing_accepted(offered, ManifestMismatch)
    assert "other data than was committed" in str(failed)


async def test_fewer_cells_than_were_committed(
    offered: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_listed", lambda where: iter([]))
    failed = await nothing_accepted(offered, ManifestMismatch)
    assert "0 cells opened where 120 were committed" in str(failed)


@pytest.mark.threat("V10")
@pytest.mark.parametrize("change", [{"records": 41}, {"cells": 1}, {"root": bytes(32)}])
async def test_a_receipt_of_anything_else_is_refused(offered: Deal, change: dict[str, Any]) -> None:
    session = offered.buyer.session
    verified = await verifying.verify(session, words=None, yes=False, on_progress=lambda _: None)
    receipts = (*verified.receipts[:-1], replace(verified.receipts[-1], **change))
    with pytest.raises(Refused) as caught:
        await handover.accept(session, replace(verified, receipts=receipts))
    assert caught.value.refusal == "manifest_mismatch"
    with pytest.raises(Refused, match="another offer"):
        await handover.accept(session, replace(verified, offer=replace(verified.offer, index=1)))
    assert session.state.phase is Phase.OFFERED


# --- V10: an open offer holds still


MOVES: dict[str, Callable[[Deal], Awaitable[Any]]] = {
    "upload": lambda deal: deal.seller.upload(rows(2), collection="more"),
    "names": lambda deal: commit_names(deal.seller, bytes(16), 0x8003, {"title": "Other"}),
    "rotate": lambda deal: deal.seller.rotate(),
    "invite": lambda deal: deal.seller.invite(Role.BIDDER, name="Eve"),
    "grant": lambda deal: deal.seller.grant("Cy", classes=[GENERAL]),
    "withdraw": lambda deal: deal.seller.withdraw_grant("Cy", classes=[SENSITIVE]),
    "role": lambda deal: deal.seller.change_role("Cy", Role.ADMIN),
    "another offer": lambda deal: deal.seller.offer("Cy"),
    "revoke the buyer": lambda deal: deal.seller.revoke("Bo"),
    "accept by another": lambda deal: deal.seller.accept(yes=True),
    "reject by another": lambda deal: deal.seller.reject(Reason.OTHER),
}


@pytest.mark.threat("V10")
async def test_the_seller_moves_nothing_under_an_open_offer(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal, joined(deal.lab, deal.seller, "Cy") as other:
        await deal.seller.upload(rows(20), collection="customers", classes=CLASSES)
        await deal.seller.grant("Cy", classes=[SENSITIVE])
        await deal.offer()
        session = deal.buyer.session
        verified = await verifying.verify(
            session, words=deal.words, yes=False, on_progress=lambda _: None
        )
        size = session.believed.ledger.size
        for name, move in MOVES.items():
            with pytest.raises(Refused):
                await move(deal)
            assert await acts_since(deal.seller, size) == [], name
        with pytest.raises(Refused, match="no handover is offered to you"):
            await other.accept(yes=True)

        # What may land in between stands in nobody's way, and takes nothing from the buyer.
        await deal.seller.session.act(saying(Noop()))
        await deal.seller.revoke("Cy", Reason.OTHER)
        done = await handover.accept(session, verified)

        assert await acts_since(deal.buyer, size) == ["noop", "revoke", "accept"]
        assert done.receipts == verified.receipts
        assert (await deal.buyer.read("customers")).equals(rows(20))


# --- what it is to have accepted


async def test_an_accepted_vault_is_the_buyers_alone(tmp_path: Path) -> None:
    progress: list[Progress] = []
    async with a_deal(tmp_path) as deal, joined(deal.lab, deal.seller, "Cy") as other:
        await deal.seller.upload(rows(20), collection="customers", classes=CLASSES)
        made = await deal.seller.offer("Bo", days=3)
        assert made.keys == 1 + 3 + 3
        assert (await deal.buyer.status()).offer is not None

        done = await deal.buyer.accept(words=deal.words, on_progress=progress.append)

        assert (done.collections, done.records, done.cells, done.keys) == (1, 20, 60, made.keys)
        assert progress[-1] == Progress("verifying", 60, 60, "cells")
        stored = await deal.buyer.collection("customers")
        assert done.verified_bytes > stored.stored_bytes > 0
        status = await deal.buyer.status()
        assert (status.role, status.members, status.offer) == ("owner", 1, None)
        assert status.tainted_fields == made.keys
        for gone in (deal.seller, other):
            with pytest.raises(Refused, match="no longer a member"):
                await gone.read("customers")
            with pytest.raises(Refused, match="no longer a member"):
                await gone.upload(rows(2), collection="mine")

        # Nothing is written under keys that the seller knows.
        await deal.buyer.rotate()
        assert (await deal.buyer.status()).tainted_fields == 0
        await deal.buyer.upload(rows(2), collection="mine")
        assert (await deal.buyer.read("mine")).equals(rows(2))
        # Repeating it tells the same, whatever came since.
        again = await deal.buyer.accept()
        assert replace(again, seconds=0) == replace(done, seconds=0)


async def test_the_seller_cannot_fetch_a_block_after_the_handover(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal:
        await deal.seller.upload(rows(5), collection="customers", classes=CLASSES)
        await deal.offer()
        await deal.accept()
        session = deal.seller.session
        (where,) = (c for c in session.state.collections.values() if c.classes)
        batch, ref = where.blocks(0)[0]
        wanted = api.FetchBlocks(where.id, (api.WantedBatch(batch.id, (0,)),))
        with pytest.raises(Refused) as caught:
            await anext(session.transport.fetch(session.vault_id, wanted, (ref.length,)))
        assert caught.value.refusal == "not_found"


async def test_yes_stands_for_words_that_were_compared_by_other_means(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal:
        await deal.offer()
        done = await deal.buyer.accept(yes=True)
        assert (done.collections, done.records) == (0, 0)


async def test_nobody_is_told_another_s_rejection_as_its_own(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal, joined(deal.lab, deal.seller, "Cy") as other:
        await deal.seller.upload(rows(5), collection="customers", classes=CLASSES)
        await deal.offer()
        done = await deal.buyer.reject(Reason.TERMS)
        assert (await deal.buyer.reject(Reason.TERMS)).index == done.index
        for vault, reason in ((other, Reason.TERMS), (deal.buyer, Reason.OTHER)):
            with pytest.raises(Refused, match="no handover is offered to you"):
                await vault.reject(reason)
        # A later offer is answered anew.
        await deal.offer()
        assert (await deal.buyer.reject(Reason.TERMS)).index > done.index


async def test_an_offer_to_another_or_for_another_time_is_another(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal, joined(deal.lab, deal.seller, "Cy") as other:
        await deal.seller.upload(rows(5), collection="customers", classes=CLASSES)
        done = await deal.seller.offer("Bo", days=3)
        assert (await deal.seller.offer("Bo", days=3)).index == done.index
        for name, days in (("Bo", 4), ("Cy", 3)):
            with pytest.raises(Refused, match="while a handover offer is open"):
                await deal.seller.offer(name, days=days, yes=True)
        assert (await other.status()).role == "bidder"


async def test_a_rejected_offer_taints_all_that_it_disclosed(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal:
        with pytest.raises(Refused, match="no handover is offered to you"):
            await deal.buyer.reject(Reason.OTHER)
        await deal.seller.upload(rows(5), collection="customers", classes=CLASSES)
        made = await deal.seller.offer("Bo")
        assert (await deal.buyer.reject(Reason.OTHER)).kind == "reject"
        assert (await deal.seller.status()).tainted_fields == made.keys
        with pytest.raises(Refused, match="no handover is offered to you"):
            await deal.buyer.accept(yes=True)
        await deal.seller.upload(rows(5), collection="more")
        await deal.seller.offer("Bo")
        await deal.buyer.accept(yes=True)
        assert (await deal.buyer.read("more")).equals(rows(5))


async def test_whom_and_when_one_may_offer(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal, joined(deal.lab, deal.seller, "Ada", Role.ADMIN) as ada:
        link = (await deal.seller.invite(Role.BIDDER, name="New")).link
        newcomer, _ = await deal.lab.home("new").join(link)
        async with newcomer:
            for whom, days in [("Ada", 1), ("New", 1), ("Bo", 91), ("Bo", 0)]:
                with pytest.raises(Refused):
                    await deal.seller.offer(whom, days=days)
        with pytest.raises(Refused):
            await ada.offer("Bo")
        await deal.seller.upload(rows(9), collection="c", options=in_batches_of(1))


async def test_an_upload_half_committed_neither_stops_an_offer_nor_comes_back_by_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "t.csv"
    file.write_text("n\n1\n2\n")
    async with a_deal(tmp_path / "d") as deal:
        monkeypatch.setattr(uploads, "PART_BYTES", 1)
        real, parts = deal.seller.session.act, 0

        async def only_one(build: Callable[[Any], Draft], **more: Any) -> int:
            nonlocal parts
            parts += type(build(deal.seller.session.state).payload).__name__ == "Commit"
            if parts == 2:
                raise KeyError("killed")
            return await real(build, **more)

        monkeypatch.setattr(deal.seller.session, "act", only_one)
        with pytest.raises(KeyError):
            await deal.seller.upload(file, collection="c")
        monkeypatch.setattr(deal.seller.session, "act", real)
        assert deal.seller.session.state.pending

        await deal.offer()
        assert not deal.seller.session.state.pending
        await deal.buyer.reject(Reason.OTHER)
        await deal.seller.upload(file, collection="c")

        assert (await deal.seller.read("c")).to_pydict() == {"n": ["1", "2"]}
        assert journal_of(deal.seller) == (0, 0)


@pytest.mark.threat("K1")
async def test_the_owner_compares_the_buyers_words_itself_before_it_discloses(
    tmp_path: Path,
) -> None:
    async with (
        a_deal(tmp_path) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN) as ada,
        # Whoever the admin confirmed under that name need not be whom the owner means.
        joined(deal.lab, ada, "Cy") as other,
    ):
        size = deal.seller.session.believed.ledger.size
        with pytest.raises(Refused) as caught:
            await deal.seller.offer("Cy")
        assert caught.value.refusal == "not_compared"
        with pytest.raises(PinMismatch):
            await deal.seller.offer("Cy", words=deal.words)
        assert "offer" not in await acts_since(deal.seller, size)
        words = await other.words(deal.seller.identity.member_id.hex())
        await deal.seller.offer("Cy", words=words)
        await other.accept(words=words)
        assert (await other.status()).role == "owner"


async def test_results_are_ready_for_json(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal:
        await deal.seller.upload(rows(1), collection="c")
        log = as_json(await deal.seller.log())
        assert json.loads(json.dumps(log)) == log
        assert {"genesis", "commit", "join"} <= {entry["kind"] for entry in log["entries"]}
        assert as_json({"role": Role.OWNER, "id": b"\x01", "both": (None, 1)}) == {
            "role": "owner", "id": "01", "both": [None, 1]
        }  # fmt: skip
