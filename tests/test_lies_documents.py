"""Every lie of a server, told to the commands that bring, list and get documents (THREATS: C14).

As `test_lies` for tables: each ends with the error that names the lie, and leaves no trace.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from client.transport import Transport
from protocol import api
from protocol.blocks import is_catalog
from protocol.errors import ManifestMismatch
from tests.answer_lies import ACT_LIES, Blocks, Tamper, at, flipped, swapped
from tests.company import Company
from tests.documents import CHUNK, PIECE, SENSITIVE, content_of, short_chunks
from tests.liars import Lie
from tests.lied_to import BARE, BEHIND, CURRENT, Command, Stage, a_stage
from tests.log_lies import LIES
from tests.readers import swap_cells
from tests.test_lies import READ_BY_ALL, SECURITY, expect_done, expect_refused
from vault.storage.base import BlockKey

pytestmark = [
    pytest.mark.threat(each) for each in ("C3", "C5", "C14", "S1", "S2", "S3", "S4", "H7", "V4")
]

SIZE: Final = 2 * PIECE + 4 * CHUNK
BATCHES: Final = 3
CHUNKS: Final = PIECE // CHUNK
COMMANDS: Final = {
    "documents list": Command("bo", "documents list"),
    "documents get": Command("bo", "documents get one.pdf --out {out}/one.pdf"),
    "documents get --all": Command("bo", "documents get --all --into {out}/all"),
    "attach": Command("ada", "attach {here}/three.pdf --class core"),
    "documents remove": Command("olga", "documents remove two.pdf --reason request --yes"),
}
GETTING: Final = ("documents get", "documents get --all")


async def attached(cast: Company, directory: Path) -> None:
    """Attach two documents of one size, whose names are as long as each other."""
    ada = await cast("ada")
    for seed, name in enumerate(("one.pdf", "two.pdf", "three.pdf"), 1):
        (directory / name).write_bytes(content_of(SIZE, seed))
    for name in ("one.pdf", "two.pdf"):
        await ada.attach(directory / name, field_class=SENSITIVE)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with short_chunks(), a_stage(tmp_path_factory.mktemp("documents"), more=attached) as made:
        yield made


# --- the log: a document that is hidden, older, or from another history


@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_the_log_is_named_and_leaves_no_trace(stage: Stage, name: str) -> None:
    lie, error = stage.call(LIES[name].make(stage)), LIES[name].error
    for command in met(name):
        told = stage.run(COMMANDS[command], lie, BEHIND)
        expect_refused(told, error)
        assert told.sent == ()


def met(name: str) -> list[str]:
    return [*COMMANDS] if name in READ_BY_ALL else ["documents get", "attach"]


# --- what is in them


class OtherChunks(Lie):
    """Sends other blocks than a document has, from what it and its neighbour have."""

    def __init__(self, tamper: Callable[[Blocks, Blocks], Blocks], other: Blocks) -> None:
        super().__init__()
        self.tamper, self.other = tamper, other
        self.lies = 0

    async def fetch(
        self, honest: Transport, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        blocks = [each async for each in honest.fetch(vault_id, request, sizes)]
        is_content = not any(is_catalog(n) for batch in request.batches for n in batch.fields)
        told = self.tamper(blocks, self.other) if is_content else blocks
        self.lies += told != blocks
        for block in told:
            yield block


CHUNK_LIES: Final[dict[str, Callable[[Blocks, Blocks], Blocks]]] = {
    "two chunks exchanged": lambda all, _: at(0, lambda b: swap_cells(b, CHUNKS, 0, 2))(all),
    "two batches exchanged": lambda all, _: swapped(0, 1)(all),
    "batches in reverse": lambda all, _: all[::-1],
    "the end dropped": lambda all, _: all[:-1],
    "the beginning dropped": lambda all, _: all[1:],
    "everything dropped": lambda *_: [],
    "a batch sent twice": lambda all, _: [all[0], *all],
    "a batch more": lambda all, _: [*all, all[-1]],
    "a batch cut short": lambda all, _: at(1, lambda block: block[:-CHUNK])(all),
    "a batch of nothing": lambda all, _: at(1, lambda _: b"")(all),
    "one bit of the first chunk": lambda all, _: at(0, flipped)(all),
    "one bit of the last chunk": lambda all, _: at(-1, flipped)(all),
    "another document whole": lambda _, other: other,
    "a batch of another document": lambda all, other: [all[0], other[1], *all[2:]],
}


async def content_blocks(stage: Stage, number: int) -> Blocks:
    """Return the blocks of a document's content, as the server has them; nobody reads them."""
    state = (await stage.cast("ada")).session.state
    (where,) = (each for each in state.collections.values() if each.classes == (SENSITIVE,))
    found = where.blocks(0)[number * BATCHES :][:BATCHES]
    storage = stage.cast.lab.service._storage
    keys = [BlockKey(batch.id, 0, ref.sha256) for batch, ref in found]
    return [await storage.read_block(state.vault_id, key) or b"" for key in keys]


@pytest.fixture(scope="module")
def other(stage: Stage) -> Blocks:
    return stage.call(content_blocks(stage, 1))


@pytest.mark.parametrize("name", CHUNK_LIES)
def test_a_lie_about_chunks_is_named_and_leaves_no_file(
    stage: Stage, other: Blocks, name: str
) -> None:
    for command in GETTING:
        lie = OtherChunks(CHUNK_LIES[name], other)
        told = stage.run(COMMANDS[command], lie, CURRENT)
        expect_refused(told, ManifestMismatch)
        assert (lie.lies, told.sent) == (1, ())


# --- what they are called


class OtherEntries(Lie):
    """Sends other catalog blocks than were asked for."""

    def __init__(self, tamper: Tamper) -> None:
        super().__init__()
        self.tamper = tamper
        self.lies = 0

    async def fetch(
        self, honest: Transport, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        blocks = [each async for each in honest.fetch(vault_id, request, sizes)]
        entries = all(is_catalog(n) for batch in request.batches for n in batch.fields)
        told = self.tamper(blocks) if entries and len(blocks) == 2 and not self.lies else blocks
        self.lies += told != blocks
        for block in told:
            yield block


DROPPED: Final = "an entry dropped"
ENTRY_LIES: Final[dict[str, Tamper]] = {
    "the entries of two documents exchanged": swapped(0, 1),
    "the entry of another document": lambda all: [all[1], all[1]],
    DROPPED: lambda all: all[:1],
    "every entry dropped": lambda _: [],
    "one bit of an entry": at(0, flipped),
    "an entry of nothing": at(0, lambda block: bytes(len(block))),
}


@pytest.mark.parametrize("name", ENTRY_LIES)
def test_a_lie_about_entries_is_named_and_leaves_no_trace(stage: Stage, name: str) -> None:
    for who, command in COMMANDS.items():
        lie = OtherEntries(ENTRY_LIES[name])
        told = stage.run(command, lie, BARE, copied=True)
        assert lie.lies == 1, who
        # What came before what was dropped was verified, and is kept sealed.
        expect_refused(told, ManifestMismatch, keeps="blocks" if name == DROPPED else "")
        assert told.sent == ()


# --- what became of them


@pytest.mark.parametrize("name", ACT_LIES)
def test_a_lie_about_an_act_is_named_and_leaves_no_trace(stage: Stage, name: str) -> None:
    for command, keeps in (("attach", "uploads"), ("documents remove", "")):
        told = stage.run(COMMANDS[command], ACT_LIES[name].make(), CURRENT, copied=True)
        expect_refused(told, ACT_LIES[name].error, keeps=keeps)
        assert "submit" in told.sent


def test_the_same_commands_succeed_where_nobody_lies(tmp_path: Path) -> None:
    with short_chunks(), a_stage(tmp_path, more=attached) as made:
        for name, command in COMMANDS.items():
            told = made.run(command, Lie(), BEHIND, honest=True)
            expect_done(told, name)
        assert (tmp_path / "out" / "one.pdf").read_bytes() == content_of(SIZE, 1)
        assert (tmp_path / "out" / "all" / "two.pdf").read_bytes() == content_of(SIZE, 2)


def test_security_md_says_how_many_lies_are_told_in_how_many_runs() -> None:
    lies = len(LIES) + len(ENTRY_LIES) + len(CHUNK_LIES) + len(ACT_LIES)
    runs = sum(len(met(name)) for name in LIES) + len(ENTRY_LIES) * len(COMMANDS)
    runs += 2 * (len(CHUNK_LIES) + len(ACT_LIES))
    said = " ".join(SECURITY.read_text(encoding="utf-8").split())
    assert f"{lies} lies in {runs} runs (`tests/test_lies_documents.py`)" in said
