"""Several documents got by one command, some of them attached by somebody who means harm."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from client.documents import attaching, getting, together
from client.documents.entries import Document
from client.documents.getting import place_of
from client.errors import InputError, Unreachable
from client.results.documents import DocumentInfo, GetAllResult
from client.transport import Transport
from client.vault import Vault
from client.vault import documents as face
from protocol.api import FetchBlocks, LogPage
from protocol.errors import IntegrityError, ManifestMismatch
from tests.deals import Tampering, a_vault, honest, through
from tests.documents import a_file, all_short, content_of, with_no_document
from tests.in_process import Lab
from tests.liars import Liar, Lie

pytestmark = pytest.mark.asyncio(loop_scope="module")


_short = pytest.fixture(autouse=True)(all_short)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Lab, Vault]]:
    async with a_vault(tmp_path_factory.mktemp("vault")) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def mine(made: tuple[Lab, Vault]) -> AsyncIterator[Vault]:
    async for vault in with_no_document(made[1]):
        yield vault


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attach as a client does that was made to do harm."""

    async def nothing(*_: object) -> None:
        """Look for no document of that name."""

    monkeypatch.setattr(attaching, "_checked_name", lambda name: name)
    monkeypatch.setattr(attaching, "_same", nothing)


async def attached(vault: Vault, folder: Path, name: str, seed: int = 1) -> DocumentInfo:
    file = a_file(folder, f"in {seed}", seed=seed)
    return (await vault.attach(file, name=name)).document


def there(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def whys(done: GetAllResult) -> dict[str, str]:
    return {each.document_id: each.message for each in done.failed}


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("contract.pdf", "contract.pdf"),
        ("contract.pdf", "Contract.PDF"),
        ("Größe.pdf", "GRÖSSE.pdf"),
        ("é.pdf", "e\u0301.pdf"),
        ("が.pdf", "か\u3099.pdf"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
async def test_of_two_that_one_file_would_hold_neither_is_written_and_the_rest_is(
    mine: Vault, tmp_path: Path, unchecked: None, true: str, false: str, overwrite: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / true).write_bytes(b"of an earlier day")
    first = await attached(mine, tmp_path, true, 1)
    second = await attached(mine, tmp_path, false, 2)
    await attached(mine, tmp_path, "annex.pdf", 3)
    done = await mine.get_documents(folder=out, overwrite=overwrite)
    assert there(out) == {true: b"of an earlier day", "annex.pdf": content_of(20_000, 3)}
    assert [each.name for each in done.documents] == ["annex.pdf"]
    assert list(whys(done)) == [first.document_id, second.document_id]
    assert all("several documents are called" in why for why in whys(done).values())
    assert all("--out" in str(each.hint) for each in done.failed)
    assert {(each.name, each.code, each.untrue) for each in done.failed} == {
        (true, "input", False),
        (false, "input", False),
    }


async def test_a_name_that_is_none_stops_nothing_but_its_own_document(
    mine: Vault, tmp_path: Path, unchecked: None
) -> None:
    evil = await attached(mine, tmp_path, "../x", 1)
    await attached(mine, tmp_path, "annex.pdf", 2)
    done = await mine.get_documents(folder=tmp_path / "out")
    assert there(tmp_path / "out") == {"annex.pdf": content_of(20_000, 2)}
    assert not (tmp_path / "x").exists()
    assert "no name that a file should have" in whys(done)[evil.document_id]
    assert done.failed[0].author == mine.identity.member_id.hex()


async def test_a_file_of_this_run_is_not_replaced_in_a_folder_that_tells_fewer_names_apart(
    mine: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some drop a dot at the end, and the names that one of them takes for one are not known."""

    def without_dots(document: Document, folder: Path) -> Path:
        place = place_of(document, folder)
        return place.with_name(place.name.rstrip("."))

    await attached(mine, tmp_path, "a.pdf", 1)
    second = await attached(mine, tmp_path, "a.pdf.", 2)
    monkeypatch.setattr(together, "place_of", without_dots)
    done = await mine.get_documents(folder=tmp_path / "out", overwrite=True)
    assert there(tmp_path / "out") == {"a.pdf": content_of(20_000, 1)}
    assert "just written" in whys(done)[second.document_id]


async def test_what_was_there_before_is_kept_or_replaced_as_asked(
    mine: Vault, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name, seed in (("a.pdf", 1), ("b.pdf", 2)):
        await attached(mine, tmp_path, name, seed)
    out.mkdir()
    (out / "a.pdf").write_bytes(b"mine")
    done = await mine.get_documents(folder=out)
    assert [each.code for each in done.failed] == ["table_exists"]
    assert there(out) == {"a.pdf": b"mine", "b.pdf": content_of(20_000, 2)}
    done = await mine.get_documents(folder=out, overwrite=True)
    assert not done.failed
    assert there(out) == {"a.pdf": content_of(20_000, 1), "b.pdf": content_of(20_000, 2)}


async def test_those_that_are_named_are_got_once_each_or_none_is(
    mine: Vault, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    infos = [
        await attached(mine, tmp_path, n, s) for n, s in (("a.pdf", 1), ("b.pdf", 2), ("c.pdf", 3))
    ]
    with pytest.raises(InputError, match=r"no document 'd.pdf'"):
        await mine.get_documents(["a.pdf", "d.pdf"], folder=out)
    assert not out.exists()
    done = await mine.get_documents(["b.pdf", "a.pdf", infos[1].document_id], folder=out)
    assert [each.name for each in done.documents] == ["b.pdf", "a.pdf"]
    assert set(there(out)) == {"a.pdf", "b.pdf"}


async def test_what_its_writer_made_false_is_told_apart_and_stops_nothing(
    mine: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = getting._Getting.run

    async def of_another_hash(work: getting._Getting) -> int:
        if work._entry.name == "a.pdf":
            work._entry = replace(work._entry, sha256=bytes(32))
        return await true(work)

    monkeypatch.setattr(getting._Getting, "run", of_another_hash)
    await attached(mine, tmp_path, "a.pdf", 1)
    await attached(mine, tmp_path, "b.pdf", 2)
    done = await mine.get_documents(folder=tmp_path / "out")
    assert [(each.name, each.code, each.untrue) for each in done.failed] == [
        ("a.pdf", "integrity", True)
    ]
    assert there(tmp_path / "out") == {"b.pdf": content_of(20_000, 2)}


async def test_a_server_that_lies_is_asked_for_nothing_more(mine: Vault, tmp_path: Path) -> None:
    await attached(mine, tmp_path, "a.pdf", 1)
    await attached(mine, tmp_path, "b.pdf", 2)
    await mine.documents()
    lie = Tampering(honest(mine), lambda _, blocks: [b"\0" * len(each) for each in blocks])
    with through(mine, lie), pytest.raises(ManifestMismatch):
        await mine.get_documents(folder=tmp_path / "out")
    assert lie.lies == 1
    assert there(tmp_path / "out") == {}


class Unsigned(Lie):
    """Tells the truth for so many pages of the log; from then on nothing that it signed."""

    def __init__(self, pages: int) -> None:
        super().__init__()
        self.left = pages
        self.asked = 0
        self.blocks = False

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        page = await honest.log_page(vault_id, start)
        self.left -= 1
        if self.left >= 0:
            return page
        self.asked += 1
        text, _, signature = page.checkpoint.rpartition(b" ")
        raw = bytearray(base64.b64decode(signature))
        raw[-1] ^= 1
        return replace(page, checkpoint=text + b" " + base64.b64encode(bytes(raw)) + b"\n")

    async def fetch(
        self, honest: Transport, vault_id: bytes, request: FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        async for block in super().fetch(honest, vault_id, request, sizes):
            yield bytes(len(block)) if self.blocks else block


@pytest.mark.parametrize(
    ("pages", "blocks", "error"), [(1, False, IntegrityError), (2, True, ManifestMismatch)]
)
async def test_a_log_that_cannot_be_right_is_blamed_on_no_document_and_asked_for_no_more(
    mine: Vault, tmp_path: Path, pages: int, blocks: bool, error: type[Exception]
) -> None:
    """Also where it comes in the middle of one, as a reason why its blocks are others."""
    await attached(mine, tmp_path, "a.pdf", 1)
    await attached(mine, tmp_path, "b.pdf", 2)
    await mine.documents()
    lie = Unsigned(pages)
    lie.blocks = blocks
    with through(mine, Liar(mine.session.transport, lie)), pytest.raises(error):
        await mine.get_documents(folder=tmp_path / "out")
    assert lie.asked == 1
    assert not (tmp_path / "out").exists() or there(tmp_path / "out") == {}


async def test_what_is_wrong_with_the_vault_stops_it_all(
    mine: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> None:
        raise Unreachable("the server is gone")

    await attached(mine, tmp_path, "a.pdf", 1)
    monkeypatch.setattr(face.Documents, "_got", gone)
    with pytest.raises(Unreachable):
        await mine.get_documents(folder=tmp_path / "out")
