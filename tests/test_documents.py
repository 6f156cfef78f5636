"""Documents through the real client and server: what goes in comes out, to whom it was granted."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client import sending
from client.documents import attaching, chunks
from client.documents.chunks import CHUNK_BYTES, CHUNKS_A_BATCH
from client.documents.entries import plain_file_name
from client.errors import InputError, Refused
from client.overlap import Flights
from client.results.progress import Progress
from client.tables import TableExists, TableUnwritable
from client.vault import Vault
from protocol.acts import Reason, Role
from protocol.errors import Frozen
from tests.deals import a_vault, acts_since, joined, journal_of, rows, through
from tests.documents import (
    CHUNK,
    CORE,
    GENERAL,
    PIECE,
    SENSITIVE,
    a_file,
    all_short,
    content_of,
    document,
    got,
    listed,
    only,
    sha256,
)
from tests.in_process import Lab
from tests.uploading import Counting

pytestmark = pytest.mark.asyncio(loop_scope="module")


_short = pytest.fixture(autouse=True)(all_short)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Lab, Vault]]:
    async with a_vault(tmp_path_factory.mktemp("vault")) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def mine(made: tuple[Lab, Vault]) -> AsyncIterator[Vault]:
    """A vault that goes from test to test, without documents."""
    _, vault = made
    yield vault
    for each in await vault.documents():
        await vault.remove_document(each.document_id)


# --- in and out


async def test_a_document_comes_out_as_it_went_in(mine: Vault, tmp_path: Path) -> None:
    file = a_file(tmp_path)
    done = await mine.attach(file, field_class=CORE)
    info = done.document
    assert (done.already, done.resumed_batches) == (False, 0)
    assert (info.name, info.size, info.media_type) == ("contract.pdf", 20_000, "application/pdf")
    assert info.sha256 == sha256(file.read_bytes())
    assert (info.field_class, info.state, info.readable) == ("core", "whole", True)
    assert info.author_name == "Sue"
    assert info.stored_bytes > 20_000
    assert await only(mine) == info

    copy = await mine.get_document("contract.pdf", folder=tmp_path, path=tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert (copy.name, copy.size, copy.sha256) == (info.name, info.size, info.sha256)
    assert (copy.document_id, copy.resumed_bytes) == (info.document_id, 0)
    assert journal_of(mine) == (0, 0)


BORDERS = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 7)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(size=st.one_of(st.sampled_from(BORDERS), st.integers(0, 4 * PIECE)), seed=st.integers(0, 9))
async def test_every_size_comes_back(mine: Vault, tmp_path: Path, size: int, seed: int) -> None:
    file = a_file(tmp_path / "in", "any.bin", size, seed)
    done = await mine.attach(file)
    found = await document(mine)
    assert sum(batch.records for batch in found.batches) == chunks.chunks_of(size)
    assert done.document.size == size
    assert await got(mine, "any.bin", tmp_path / "out") == content_of(size, seed)
    await mine.remove_document("any.bin")


async def test_real_chunks_fill_a_mebibyte_each(
    mine: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", CHUNK_BYTES)
    monkeypatch.setattr(chunks, "CHUNKS_A_BATCH", CHUNKS_A_BATCH)
    size = CHUNKS_A_BATCH * CHUNK_BYTES + 5_000
    file = a_file(tmp_path, size=size)
    await mine.attach(file)
    first, second = (await document(mine)).batches
    full, tag, length = 1 << 20, 16, 4
    assert first.manifest.blocks[0].length == CHUNKS_A_BATCH * (full + tag + length)
    # What is left is padded to a power of two, as a long cell is.
    assert second.manifest.blocks[0].length == 8_192 + tag + length
    assert await got(mine, "contract.pdf", tmp_path / "out") == file.read_bytes()


async def test_an_attachment_reads_nothing_back(mine: Vault, tmp_path: Path) -> None:
    await mine.documents()  # what was there before
    counting = Counting(mine)
    with through(mine, counting):
        await mine.attach(a_file(tmp_path))
        assert len(await mine.documents()) == 1
    assert counting.fetched == 0


async def test_progress_is_told_in_bytes(
    mine: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One after the other, so that each is told after the one before it.
    monkeypatch.setattr(sending, "Flights", lambda: Flights(1))
    seen: list[Progress] = []
    await mine.attach(a_file(tmp_path), on_progress=seen.append)
    await mine.get_document("contract.pdf", path=tmp_path / "out", on_progress=seen.append)
    tasks = {task: [p.done for p in seen if p.task == task] for task in (p.task for p in seen)}
    assert tasks == {
        "reading": [PIECE, 2 * PIECE, 20_000],
        "sealing and sending": [PIECE, 2 * PIECE, 20_000],
        "fetching and opening": [PIECE, 2 * PIECE, 20_000],
    }
    assert {(p.total, p.unit) for p in seen} == {(20_000, "bytes")}


async def test_a_document_lies_with_the_others_of_its_class(mine: Vault, tmp_path: Path) -> None:
    for name, field_class in (("a.pdf", CORE), ("b.pdf", CORE), ("c.pdf", GENERAL)):
        await mine.attach(a_file(tmp_path, name), field_class=field_class)
    assert [(d.name, d.field_class) for d in await mine.documents()] == [
        ("a.pdf", "core"), ("b.pdf", "core"), ("c.pdf", "general"),
    ]  # fmt: skip
    names = {each.name for each in await mine.collections()}
    assert names >= {"documents-core", "documents-general"}
    assert (await document(mine, "a.pdf")).where == (await document(mine, "b.pdf")).where


# --- what is already there


async def test_the_same_again_does_nothing(mine: Vault, tmp_path: Path) -> None:
    file = a_file(tmp_path)
    first = await mine.attach(file)
    size = mine.session.believed.ledger.size
    again = await mine.attach(file)
    assert (again.already, again.document) == (True, first.document)
    assert await acts_since(mine, size) == []


@pytest.mark.parametrize(("seed", "field_class"), [(2, SENSITIVE), (1, CORE)])
async def test_another_file_of_its_name_or_another_class_for_it_is_refused(
    mine: Vault, tmp_path: Path, seed: int, field_class: int
) -> None:
    await mine.attach(a_file(tmp_path))
    size = mine.session.believed.ledger.size
    with pytest.raises(Refused, match=r"another document 'contract.pdf' already") as caught:
        await mine.attach(
            a_file(tmp_path, seed=seed), field_class=CORE if field_class == CORE else SENSITIVE
        )
    assert caught.value.refusal == "conflict"
    assert await acts_since(mine, size) == []
    assert journal_of(mine) == (0, 0)
    await mine.attach(a_file(tmp_path, seed=2), name="contract 2.pdf")
    assert await got(mine, "contract 2.pdf", tmp_path / "out") == content_of(20_000, 2)


# --- what is no document


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".bashrc", "a/b", "../a", "/etc/passwd", "a\\b", "a\nb", "\u202egpj.exe",
     "a\x00b", "\udcff", " ", "\u3000", "lease\u3164.pdf", "lease\ufe0f.pdf", "\u2800",
     "n" * 256, "ü" * 128],
)  # fmt: skip
async def test_a_name_that_no_file_should_have_is_given_to_no_document(
    mine: Vault, tmp_path: Path, name: str
) -> None:
    assert not plain_file_name(name)
    with pytest.raises(InputError, match="a document cannot be called") as caught:
        await mine.attach(a_file(tmp_path), name=name)
    assert "--name" in str(caught.value.hint)
    assert await mine.documents() == ()


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "Akte 1.pdf",
        "合同　二.docx",
        "葛\U000e0100.pdf",
        "❤\ufe0f.png",
        "नमस्ते",
        "a..b",
        255 * "n",
        "-rf",
    ],
)
async def test_names_of_all_languages_are_names(mine: Vault, tmp_path: Path, name: str) -> None:
    assert plain_file_name(name)
    await mine.attach(a_file(tmp_path, size=3), name=name)
    done = await mine.get_document(name, folder=tmp_path)
    assert Path(done.path) == tmp_path / name
    assert (tmp_path / name).read_bytes() == content_of(3)


async def test_what_is_no_file_is_not_attached(mine: Vault, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone.pdf cannot be read: No such file"):
        await mine.attach(tmp_path / "gone.pdf")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder is no file") as caught:
        await mine.attach(tmp_path / "folder")
    assert "file by file" in str(caught.value.hint)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is no file"):
        await mine.attach(tmp_path / "pipe")


async def test_a_document_is_found_by_name_by_id_or_by_how_that_begins(
    mine: Vault, tmp_path: Path
) -> None:
    one = (await mine.attach(a_file(tmp_path, "one.pdf"))).document
    two = (await mine.attach(a_file(tmp_path, "two.pdf"), name=one.document_id)).document
    # A name that is another's id finds nothing that it should not.
    for text in ("one.pdf", one.document_id, one.document_id[:8]):
        got = await mine.get_document(text, path=tmp_path / "out", overwrite=True)
        assert got.document_id == one.document_id
    for text in ("three.pdf", one.document_id[:5], ""):
        with pytest.raises(InputError, match="no document"):
            await mine.get_document(text, path=tmp_path / "out", overwrite=True)
    assert two.name == one.document_id


async def test_two_of_one_name_are_told_apart_by_their_ids(
    mine: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mine.attach(a_file(tmp_path))

    async def unseen(*_: object) -> None:
        """Two people attach at once, and neither sees the other's."""

    monkeypatch.setattr(attaching, "_same", unseen)
    await mine.attach(a_file(tmp_path, seed=2))
    with pytest.raises(InputError, match="several documents fit"):
        await mine.get_document("contract.pdf", folder=tmp_path / "out")
    for each, seed in zip(await mine.documents(), (1, 2), strict=True):
        assert await got(mine, each.document_id, tmp_path / "out") == content_of(20_000, seed)


async def test_tables_and_documents_are_not_taken_for_each_other(
    mine: Vault, tmp_path: Path
) -> None:
    await mine.upload(rows(3).select(["name"]), collection="one column", default=CORE)
    await mine.attach(a_file(tmp_path), field_class=CORE)
    name = "documents-core"
    for asked in (
        mine.read(name),
        mine.export(name, path=tmp_path / "out.csv"),
        anext(mine.stream(name)),
        mine.erase(name, [1]),
    ):
        with pytest.raises(InputError, match="holds documents, and no table") as caught:
            await asked
        assert "sealroom documents list" in str(caught.value.hint)
    assert (await mine.read("one column")).num_rows == 3
    assert len(await mine.documents()) == 1
    await mine.retire_collection("one column")


# --- a file that is in the way


async def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(
    mine: Vault, tmp_path: Path
) -> None:
    await mine.attach(a_file(tmp_path / "in"))
    out = tmp_path / "contract.pdf"
    out.write_text("mine")
    await mine.documents()
    counting = Counting(mine)
    with through(mine, counting):
        with pytest.raises(TableExists):
            await mine.get_document("contract.pdf", folder=tmp_path)
        with pytest.raises(TableUnwritable, match="Is a directory"):
            await mine.get_document("contract.pdf", path=tmp_path / "in", overwrite=True)
    # Told before any of it was fetched.
    assert counting.fetched == 0
    assert out.read_text() == "mine"
    await mine.get_document("contract.pdf", folder=tmp_path, overwrite=True)
    assert out.read_bytes() == content_of(20_000)
    assert set(tmp_path.iterdir()) == {out, tmp_path / "in"}


async def test_a_folder_is_made_for_their_own_names_and_for_no_other(
    mine: Vault, tmp_path: Path
) -> None:
    await mine.attach(a_file(tmp_path))
    with pytest.raises(TableUnwritable, match=r"lease.pdf cannot be written: No such file"):
        await mine.get_document("contract.pdf", path=tmp_path / "nowhere" / "lease.pdf")
    assert not (tmp_path / "nowhere").exists()
    await mine.get_document("contract.pdf", folder=tmp_path / "new" / "one")
    assert (tmp_path / "new" / "one" / "contract.pdf").read_bytes() == content_of(20_000)


# --- who may


async def test_a_class_that_is_granted_has_its_documents(
    made: tuple[Lab, Vault], mine: Vault, tmp_path: Path
) -> None:
    lab, _ = made
    await mine.attach(a_file(tmp_path, "open.pdf"), field_class=GENERAL)
    await mine.attach(a_file(tmp_path, "secret.pdf", seed=2), field_class=CORE)
    async with joined(lab, mine, "Bo", classes=[GENERAL]) as bo:
        assert list(await listed(bo)) == ["open.pdf"]
        assert await got(bo, "open.pdf", tmp_path / "out") == content_of(20_000)
        with pytest.raises(InputError, match=r"no document 'secret.pdf'"):
            await bo.get_document("secret.pdf", folder=tmp_path / "out")
        with pytest.raises(Refused, match="the role bidder may not"):
            await bo.attach(a_file(tmp_path, "mine.pdf"))
        with pytest.raises(Refused, match="the role bidder may not"):
            await bo.remove_document("open.pdf")

        await mine.grant("Bo", classes=[CORE])
        assert await got(bo, "secret.pdf", tmp_path / "out") == content_of(20_000, 2)
        # What comes later is of the class, too.
        await mine.attach(a_file(tmp_path, "later.pdf", seed=3), field_class=CORE)
        assert await got(bo, "later.pdf", tmp_path / "out") == content_of(20_000, 3)

        await mine.withdraw_grant("Bo", classes=[CORE])
        assert list(await listed(bo)) == ["open.pdf"]
        with pytest.raises(InputError, match="no document"):
            await bo.get_document("secret.pdf", folder=tmp_path)
        await mine.revoke("Bo", Reason.LOST_BID)
        with pytest.raises(Refused, match="no longer a member"):
            await bo.documents()


async def test_an_admin_sees_names_and_opens_what_it_was_granted(
    made: tuple[Lab, Vault], mine: Vault, tmp_path: Path
) -> None:
    lab, _ = made
    await mine.attach(a_file(tmp_path, "secret.pdf"), field_class=CORE)
    async with joined(lab, mine, "Ada", Role.ADMIN, [GENERAL]) as ada:
        seen = (await listed(ada))["secret.pdf"]
        assert (seen.readable, seen.state, seen.size) == (False, "whole", 20_000)
        out = tmp_path / "out"
        with pytest.raises(Refused, match=r"you were not granted 'secret.pdf'"):
            await ada.get_document("secret.pdf", path=out)
        assert not out.exists()
        size = ada.session.believed.ledger.size
        for field_class in (CORE, SENSITIVE):
            # Of one there is a collection, of the other perhaps none yet.
            with pytest.raises(Refused, match="you were not granted the class") as caught:
                await ada.attach(a_file(tmp_path, "no.pdf"), field_class=field_class)
            assert caught.value.refusal == "not_granted"
        assert await acts_since(ada, size) == []
        assert journal_of(ada) == (0, 0)
        await ada.attach(a_file(tmp_path, "hers.pdf", seed=4), field_class=GENERAL)
        assert (await listed(mine))["hers.pdf"].author_name == "Ada"
        assert await got(mine, "hers.pdf", tmp_path / "out 2") == content_of(20_000, 4)


async def test_a_frozen_vault_gives_no_document_and_takes_none(mine: Vault, tmp_path: Path) -> None:
    await mine.attach(a_file(tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    await mine.freeze(Reason.BREACH)
    try:
        with pytest.raises(Refused) as caught:
            await mine.get_document("contract.pdf", folder=out)
        assert caught.value.refusal == Frozen.code
        with pytest.raises(Refused, match="not while the vault is frozen"):
            await mine.attach(a_file(tmp_path, "more.pdf"))
        assert list(out.iterdir()) == []
        assert journal_of(mine) == (0, 0)
    finally:
        await mine.unfreeze()
    assert await got(mine, "contract.pdf", out) == content_of(20_000)


# --- for ever


async def test_a_removed_document_is_gone_with_its_name(mine: Vault, tmp_path: Path) -> None:
    await mine.attach(a_file(tmp_path, "a.pdf"))
    await mine.attach(a_file(tmp_path, "b.pdf", seed=2))
    done = await mine.remove_document("a.pdf", reason=Reason.RETENTION)
    assert (done.name, len(done.acts)) == ("a.pdf", 2)
    assert list(await listed(mine)) == ["b.pdf"]
    assert await got(mine, "b.pdf", tmp_path / "out") == content_of(20_000, 2)
    # The name is free, also for the very same file.
    again = await mine.attach(a_file(tmp_path, "a.pdf"))
    assert not again.already
    assert again.document.document_id != done.document_id


async def test_the_last_one_leaves_its_collection_for_the_next(mine: Vault, tmp_path: Path) -> None:
    await mine.attach(a_file(tmp_path, "a.pdf"), field_class=CORE)
    before = (await document(mine)).where.id
    await mine.remove_document("a.pdf")
    assert await mine.documents() == ()
    await mine.attach(a_file(tmp_path, "b.pdf"), field_class=CORE)
    assert (await document(mine)).where.id == before


async def test_an_admin_without_keys_removes_what_it_cannot_open(
    made: tuple[Lab, Vault], mine: Vault, tmp_path: Path
) -> None:
    lab, _ = made
    await mine.attach(a_file(tmp_path), field_class=CORE)
    async with joined(lab, mine, "Kay", Role.KEYLESS_ADMIN) as kay:
        done = await kay.remove_document("contract.pdf")
        assert done.name == "contract.pdf"
    assert await mine.documents() == ()


async def test_what_is_removed_is_not_fetched_first(mine: Vault, tmp_path: Path) -> None:
    await mine.attach(a_file(tmp_path))
    await mine.documents()
    counting = Counting(mine)
    with through(mine, counting):
        await mine.remove_document("contract.pdf")
    # The one block of its names, in which its neighbour stays.
    assert counting.fetched == 1
    assert await mine.documents() == ()
