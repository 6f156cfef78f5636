"""Servers, writers and neighbours that lie about documents: nobody gets a file that is none."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from client.catalogs import seal_rows
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, reseal_block, seal_batch
from client.documents.chunks import cut
from client.documents.entries import CONTENT, Entry, entry_rows
from client.errors import InputError, Refused
from client.session import saying
from client.tables import TableUnwritable
from client.vault import Vault
from protocol.acts import Commit, Reason, Role
from protocol.api import FetchBlocks
from protocol.blocks import BlockRef
from protocol.encoding import Value
from protocol.errors import IntegrityError, ManifestMismatch
from tests.answer_lies import flipped
from tests.deals import Deal, Tampering, a_deal, honest, joined, through
from tests.documents import (
    SENSITIVE,
    a_file,
    all_short,
    collection_of,
    content_of,
    document,
    got,
    listed,
    only,
    short_chunks,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZE = 20_000
CONTENT_OF_IT = content_of(SIZE)
ENTRY = Entry("lie.pdf", SIZE, "application/pdf", hashlib.sha256(CONTENT_OF_IT).digest())


_short = pytest.fixture(autouse=True)(all_short)


@dataclass
class Sale:
    """A deal with an honest document, and an admin who has all keys and bad intentions."""

    deal: Deal
    eve: Vault

    @property
    def seller(self) -> Vault:
        return self.deal.seller


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sale]:
    folder = tmp_path_factory.mktemp("sale")
    with short_chunks():
        async with (
            a_deal(folder) as deal,
            joined(deal.lab, deal.seller, "Eve", Role.ADMIN) as eve,
        ):
            await deal.seller.grant("Bo", classes=[SENSITIVE])
            await deal.seller.attach(a_file(folder / "in"))
            yield Sale(deal, eve)


@pytest_asyncio.fixture(loop_scope="module")
async def sale(opened: Sale) -> AsyncIterator[Sale]:
    """The sale, from test to test; whatever was added to it is removed."""
    yield opened
    await opened.seller.session.sync()
    for each in await opened.seller.documents():
        if each.name != "contract.pdf" or each.author_name != "Sue":
            await opened.seller.remove_document(each.document_id)


# --- servers


async def blocks_of(vault: Vault, name: str) -> list[bytes]:
    """Return the sealed blocks of a document's content as the server sends them."""
    seen: list[bytes] = []

    def tamper(_: FetchBlocks, blocks: list[bytes]) -> list[bytes]:
        seen.extend(blocks)
        return blocks

    place = vault.session.store._path
    assert place is not None
    with through(vault, Tampering(honest(vault), tamper)):
        await vault.get_document(name, path=place.with_name(secrets.token_hex(8)))
    return seen


SERVERS: dict[str, Callable[[list[bytes], list[bytes]], list[bytes]]] = {
    "the end left out": lambda mine, _: mine[:-1],
    "the beginning left out": lambda mine, _: mine[1:],
    "nothing at all": lambda mine, _: [],
    "one too many": lambda mine, _: [*mine, mine[-1]],
    "one twice": lambda mine, _: [mine[0], mine[0], mine[2]],
    "two exchanged": lambda mine, _: [mine[1], mine[0], mine[2]],
    "one of another document": lambda mine, other: [mine[0], other[1], mine[2]],
    "another document": lambda mine, other: other,
    "one cut short": lambda mine, _: [mine[0], mine[1][:-1], mine[2]],
    "one byte changed": lambda mine, _: [mine[0], mine[1], flipped(mine[2])],
}


@pytest.mark.threat("C14")
@pytest.mark.threat("C5")
@pytest.mark.parametrize("lie", SERVERS.values(), ids=SERVERS.keys())
async def test_a_server_that_sends_other_chunks_leaves_no_file(
    sale: Sale, tmp_path: Path, lie: Callable[[list[bytes], list[bytes]], list[bytes]]
) -> None:
    await sale.seller.attach(a_file(tmp_path / "in", "other.pdf", seed=2))
    other = await blocks_of(sale.seller, "other.pdf")
    out = tmp_path / "out"
    out.mkdir()
    liar = Tampering(honest(sale.deal.buyer), lambda _, mine: lie(mine, other))
    await sale.deal.buyer.documents()
    with through(sale.deal.buyer, liar), pytest.raises(ManifestMismatch):
        await sale.deal.buyer.get_document("contract.pdf", folder=out)
    assert liar.lies
    assert list(out.iterdir()) == []
    assert await got(sale.deal.buyer, "contract.pdf", out) == CONTENT_OF_IT


@pytest.mark.threat("C3")
async def test_a_server_that_forges_an_entry_is_caught(sale: Sale, tmp_path: Path) -> None:
    await sale.seller.attach(a_file(tmp_path, "new.pdf", seed=3))
    liar = Tampering(honest(sale.deal.buyer), lambda _, mine: [b"\0" * len(b) for b in mine])
    with through(sale.deal.buyer, liar), pytest.raises(ManifestMismatch):
        await sale.deal.buyer.documents()
    assert liar.lies
    assert set(await listed(sale.deal.buyer)) == {"contract.pdf", "new.pdf"}


# --- writers


async def commit_document(
    vault: Vault, rows: Sequence[dict[str, Value]], batches: Sequence[Sequence[bytes]] | None = None
) -> bytes:
    """Commit what is to pass for a document; without batches, its upload has no content."""
    session = vault.session
    await session.sync()
    where = collection_of(vault)
    await session.ensure_writable([(where.id, number) for number in where.fields])
    content, catalog = (session.writable(where.id, number) for number in where.fields)
    upload = secrets.token_bytes(16)
    key = session.key(content).key.expose()
    sealed = [seal_rows(session, catalog, rows)] if rows else []
    for cells in batches or ():
        own = [upload + cell[16:] if cell[:16] == bytes(16) else cell for cell in cells]
        column = Cells.from_list(own, string_like=True)
        sealed.append(seal_batch([ColumnToSeal(CONTENT, content.epoch, SENSITIVE, key, column)]))
    for each in sealed:
        batch = each.manifest.batch_id
        await session.transport.stage(session.vault_id, upload, batch, each.body())
    manifests = tuple(each.manifest for each in sealed)
    await session.act(saying(Commit(upload, where.id, 0, True, manifests)))
    return upload


def rows_of(entry: Entry) -> list[dict[str, Value]]:
    return entry_rows("Project Lark", SENSITIVE, entry)


def true_chunks(document_id: bytes = bytes(16), content: bytes = CONTENT_OF_IT) -> list[bytes]:
    """Return all chunks of some content; an id of zeros stands for that of the upload."""
    return list(cut(document_id, len(content), 0, content))


Rows = list[dict[str, Value]]
Lie = Callable[[list[bytes]], tuple[Rows, list[bytes]]]

ALL = rows_of(ENTRY)
WRITERS: dict[str, Lie] = {
    "no entry": lambda true: (ALL[:1], true),
    "a size too small": lambda true: (rows_of(replace(ENTRY, size=SIZE - 1_000)), true),
    "a size too large": lambda true: (rows_of(replace(ENTRY, size=SIZE + 1)), true),
    "a size a byte too small": lambda true: (rows_of(replace(ENTRY, size=SIZE - 1)), true),
    "another hash": lambda true: (rows_of(replace(ENTRY, sha256=bytes(32))), true),
    "other content": lambda _: (ALL, true_chunks(content=content_of(SIZE, 9))),
    "the end left out": lambda true: (ALL, true[:-1]),
    "the beginning left out": lambda true: (ALL, true[1:]),
    "two exchanged": lambda true: (ALL, [true[1], true[0], *true[2:]]),
    "one twice": lambda true: (ALL, [true[0], true[0], *true[2:]]),
    "all of another document": lambda _: (ALL, true_chunks(b"d" * 16)),
    "one of another document": lambda true: (ALL, [true[0], true_chunks(b"d" * 16)[1], *true[2:]]),
    "an end in the middle": lambda true: (ALL, [ended(true[0], 1), *true[1:]]),
    "no end": lambda true: (ALL, [*true[:-1], ended(true[-1], 0)]),
    "no chunks at all": lambda _: (ALL, [b"x" * 1_025] * 20),
    "empty chunks": lambda _: (ALL, [b""] * 20),
}


def ended(chunk: bytes, last: int) -> bytes:
    return chunk[:24] + bytes([last]) + chunk[25:]


@pytest.mark.threat("C14")
@pytest.mark.parametrize("lie", WRITERS.values(), ids=WRITERS.keys())
async def test_a_writer_s_document_that_is_none_is_not_written(
    sale: Sale, tmp_path: Path, lie: Lie
) -> None:
    rows, cells = lie(true_chunks())
    upload = (await commit_document(sale.eve, rows, [cells[:8], cells[8:]])).hex()
    shown = {each.document_id: each for each in await sale.deal.buyer.documents()}
    assert shown[upload].author == sale.eve.identity.member_id.hex()
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(IntegrityError):
        await sale.deal.buyer.get_document(upload, path=out / "lie.pdf")
    assert list(out.iterdir()) == []
    assert await got(sale.deal.buyer, "contract.pdf", out) == CONTENT_OF_IT


async def test_the_same_writer_s_honest_document_is(sale: Sale, tmp_path: Path) -> None:
    """Or else all of the lies above could be refused for something else."""
    true = true_chunks()
    await commit_document(sale.eve, rows_of(ENTRY), [true[:3], true[3:4], true[4:]])
    assert (await listed(sale.deal.buyer))["lie.pdf"].state == "whole"
    assert await got(sale.deal.buyer, "lie.pdf", tmp_path / "out") == CONTENT_OF_IT


@pytest.mark.threat("C14")
@pytest.mark.threat("C10")
@pytest.mark.parametrize(
    "lie",
    [WRITERS[name] for name in ("no entry", "another hash", "two exchanged", "the end left out")],
    ids=["no entry", "another hash", "two exchanged", "the end left out"],
)
async def test_a_buyer_accepts_no_document_that_is_none(tmp_path: Path, lie: Lie) -> None:
    rows, cells = lie(true_chunks())
    async with (
        a_deal(tmp_path / "sale") as deal,
        joined(deal.lab, deal.seller, "Eve", Role.ADMIN) as eve,
    ):
        await deal.seller.attach(a_file(tmp_path))
        upload = await commit_document(eve, rows, [cells[:8], cells[8:]])
        await deal.offer()
        with pytest.raises(IntegrityError):
            await deal.accept()
        assert (await deal.buyer.status()).role == "bidder"
        await deal.buyer.reject(Reason.VERIFICATION)
        await deal.seller.remove_document(upload.hex())
        await deal.offer()
        await deal.accept()
        assert await got(deal.buyer, "contract.pdf", tmp_path / "out") == CONTENT_OF_IT


@pytest.mark.threat("D9")
@pytest.mark.threat("C14")
async def test_nobody_describes_another_s_document(sale: Sale, tmp_path: Path) -> None:
    before = await document(sale.seller, "contract.pdf")
    false = Entry("contract.pdf", SIZE, "application/pdf", bytes(32))
    alien = (await commit_document(sale.eve, rows_of(false))).hex()
    true = true_chunks()
    both = [*rows_of(ENTRY), *rows_of(replace(ENTRY, name="second.pdf"))]
    await commit_document(sale.eve, both, [true[:8], true[8:]])

    seen = {each.document_id: each for each in await sale.deal.buyer.documents()}
    assert seen[before.id.hex()].sha256 == hashlib.sha256(CONTENT_OF_IT).hexdigest()
    assert seen[alien].state == "damaged"
    with pytest.raises(IntegrityError, match="other chunks than its entry counts"):
        await sale.deal.buyer.get_document(alien, folder=tmp_path)
    # Of two entries the first counts.
    assert {each.name for each in seen.values()} == {"contract.pdf", "lie.pdf"}
    assert await got(sale.deal.buyer, before.id.hex(), tmp_path / "out") == CONTENT_OF_IT


async def test_content_whose_name_was_lost_is_still_there_to_be_removed(
    sale: Sale, tmp_path: Path
) -> None:
    upload = (await commit_document(sale.eve, rows_of(ENTRY)[:1], [true_chunks()[:8]])).hex()
    shown = {each.document_id: each for each in await sale.seller.documents()}[upload]
    assert (shown.name, shown.size, shown.state) == (None, None, "damaged")
    with pytest.raises(IntegrityError, match=f"nothing says what document {upload[:16]} is"):
        await sale.seller.get_document(upload, path=tmp_path / "lie.pdf")
    assert not (tmp_path / "lie.pdf").exists()
    done = await sale.seller.remove_document(upload)
    assert done.name is None
    assert (await only(sale.seller)).name == "contract.pdf"


@pytest.mark.threat("C14")
async def test_a_re_encryption_that_puts_another_document_there_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may re-encrypt the content, and not the names, passes no other file off as a document."""
    async with (
        a_deal(tmp_path / "sale") as deal,
        joined(deal.lab, deal.seller, "Eve", Role.ADMIN) as eve,
    ):
        await deal.seller.grant("Bo", classes=[SENSITIVE])
        await deal.seller.attach(a_file(tmp_path, "one.pdf"))
        await deal.seller.attach(a_file(tmp_path, "two.pdf", seed=2))
        one, two = await document(eve, "one.pdf"), await document(eve, "two.pdf")
        false = dict(zip((b.id for b in one.batches), cells_of(two.id), strict=True))

        def lying(old: bytes, new: bytes, *given: Any) -> tuple[BlockRef, bytes]:
            """Seal the cells of the other document under the key and the place of this one's."""
            field_class, ref, epoch, batch, records = given[:5]
            cells = false.get(batch)
            if cells is None or ref.field != CONTENT:
                return reseal_block(old, new, *given)
            column = Cells.from_list(cells, string_like=True)
            with monkeypatch.context() as patch:
                patch.setattr("client.crypto.cells.secrets.token_bytes", lambda _: batch)
                sealed = seal_batch([ColumnToSeal(CONTENT, epoch, field_class, new, column)])
            assert sealed.manifest.records == records
            return sealed.manifest.blocks[0], sealed.blocks[0]

        monkeypatch.setattr("client.resealing.reseal_block", lying)
        monkeypatch.setattr("client.resealing.threads", lambda: 1)
        await eve.rotate(reencrypt=True)
        monkeypatch.undo()
        out = tmp_path / "out"
        out.mkdir()
        with pytest.raises(IntegrityError, match="in the place of chunk 1"):
            await deal.buyer.get_document("one.pdf", folder=out)
        assert list(out.iterdir()) == []
        assert await got(deal.buyer, "two.pdf", out) == content_of(SIZE, 2)


def cells_of(document_id: bytes) -> list[list[bytes]]:
    """Return the chunks of the second document, as its batches have them."""
    cells = list(cut(document_id, SIZE, 0, content_of(SIZE, 2)))
    return [cells[:8], cells[8:16], cells[16:]]


# --- names that lead elsewhere


@pytest.mark.threat("L6")
@pytest.mark.parametrize(
    "name", ["../evil", "/evil", ".bashrc", "a/b", "x\u202egpj.exe", "a\nb", "a\\b", "n" * 256]
)
async def test_a_name_leads_nowhere_but_into_the_folder(
    sale: Sale, tmp_path: Path, name: str
) -> None:
    entry, true = replace(ENTRY, name=name), true_chunks()
    upload = (await commit_document(sale.eve, rows_of(entry), [true[:8], true[8:]])).hex()
    out = tmp_path / "out"
    out.mkdir()
    for asked in (name, upload):
        with pytest.raises(InputError, match="no name that a file should have") as caught:
            await sale.deal.buyer.get_document(asked, folder=out)
        assert "--out" in str(caught.value.hint)
    assert list(tmp_path.rglob("*")) == [out]
    await sale.deal.buyer.get_document(upload, path=out / "mine")
    assert (out / "mine").read_bytes() == CONTENT_OF_IT


# --- neighbours on this machine


def unfinished(folder: Path) -> Path:
    (found,) = folder.glob(".sealroom-*.part")
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def place(sale: Sale, tmp_path: Path) -> Path:
    """Where the unfinished file of the document goes, left there by an interrupted try."""
    liar = Tampering(honest(sale.seller), lambda _, blocks: blocks)
    stopped = OSError(28, "No space left on device")

    def full(*_: object) -> int:
        raise stopped

    with pytest.MonkeyPatch.context() as patch, through(sale.seller, liar):
        patch.setattr("client.documents.local.PartFile.write", full)
        with pytest.raises(OSError, match="No space"):
            await sale.seller.get_document("contract.pdf", folder=tmp_path)
    return unfinished(tmp_path)


async def refused_at(sale: Sale, folder: Path, why: str) -> None:
    with pytest.raises((InputError, TableUnwritable), match=why):
        await sale.seller.get_document("contract.pdf", folder=folder)
    assert not (folder / "contract.pdf").exists()


@pytest.mark.threat("L6")
async def test_a_link_in_the_way_is_not_followed(sale: Sale, place: Path) -> None:
    target = place.with_name("target")
    target.write_text("precious")
    place.unlink()
    place.symlink_to(target)
    await refused_at(sale, place.parent, "cannot be written: Too many levels of symbolic links")
    assert target.read_text() == "precious"


@pytest.mark.threat("L6")
async def test_a_second_name_for_what_is_in_the_way_is_noticed(sale: Sale, place: Path) -> None:
    os.link(place, place.with_name("elsewhere"))
    await refused_at(sale, place.parent, "is in the way, and is not what sealroom left there")


@pytest.mark.threat("L6")
@pytest.mark.parametrize("mode", [0o644, 0o620, 0o601])
async def test_what_others_could_read_or_write_is_not_gone_on_with(
    sale: Sale, place: Path, mode: int
) -> None:
    place.chmod(mode)
    await refused_at(sale, place.parent, "is in the way")


@pytest.mark.threat("L6")
async def test_what_is_no_file_is_not_gone_on_with(sale: Sale, place: Path) -> None:
    place.unlink()
    os.mkfifo(place, 0o600)
    await refused_at(sale, place.parent, "is in the way")


@pytest.mark.threat("L6")
@pytest.mark.parametrize("size", [1, 8_000, 16_000, 20_000, 50_000])
async def test_other_content_in_an_unfinished_file_ends_in_no_file(
    sale: Sale, place: Path, size: int
) -> None:
    place.write_bytes(content_of(size, 77))
    done = await sale.seller.get_document("contract.pdf", folder=place.parent)
    assert (place.parent / "contract.pdf").read_bytes() == CONTENT_OF_IT
    assert done.resumed_bytes == 0
    assert not place.exists()


async def test_a_removal_while_it_is_read_leaves_nothing_of_it(sale: Sale, tmp_path: Path) -> None:
    await sale.seller.attach(a_file(tmp_path / "in", "soon.pdf", seed=5))
    await sale.deal.buyer.documents()

    def remove(_: FetchBlocks, blocks: list[bytes]) -> list[bytes]:
        return blocks[:1]  # the rest is gone by now

    out = tmp_path / "out"
    out.mkdir()
    await sale.seller.remove_document("soon.pdf")
    with (
        through(sale.deal.buyer, Tampering(honest(sale.deal.buyer), remove)),
        pytest.raises((InputError, Refused)),
    ):
        await sale.deal.buyer.get_document("soon.pdf", folder=out)
    assert list(out.iterdir()) == []
