"""Documents that are being fetched or removed, cut off anywhere, go on where they stopped."""

from __future__ import annotations

import asyncio
import errno
import itertools
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from client.documents.local import PartFile
from client.errors import InputError, Refused, Unreachable
from client.results.progress import Progress
from client.tables import TableExists, TableUnwritable
from client.tables.faults import writing
from client.vault import Vault
from protocol import api
from tests.deals import (
    Breaking,
    honest,
    through,
)
from tests.documents import PIECE, a_contract, a_file, all_short, content_of, only, with_no_document
from tests.in_process import ServiceTransport
from tests.uploading import Watched, one_vault

pytestmark = pytest.mark.asyncio(loop_scope="module")


_short = pytest.fixture(autouse=True)(all_short)
opened = pytest_asyncio.fixture(scope="module", loop_scope="module")(one_vault)
mine = pytest_asyncio.fixture(loop_scope="module")(with_no_document)
file = pytest.fixture(a_contract)


class Flaky(ServiceTransport):
    """Sends so many blocks, and breaks off for good."""

    def __init__(self, vault: Vault, most: int) -> None:
        like = cast(ServiceTransport, honest(vault))
        self.service, self.keyid = like.service, like.keyid
        self.left = most
        self.sent = 0

    async def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        async for block in super().fetch(vault_id, request, sizes):
            if self.left == 0:
                raise Unreachable("the cable was cut")
            self.left -= 1
            self.sent += 1
            yield block


@pytest.mark.threat("R2")
@pytest.mark.parametrize("sent", [0, 1, 2])
async def test_a_document_that_broke_off_goes_on_after_what_was_verified(
    mine: Vault, file: Path, tmp_path: Path, sent: int
) -> None:
    await mine.attach(file)
    out = tmp_path / "out"
    out.mkdir()
    with through(mine, Flaky(mine, sent)), pytest.raises(Unreachable):
        await mine.get_document("contract.pdf", folder=out)
    (part,) = out.iterdir()
    kept = part.stat().st_size // PIECE
    assert part.name.endswith(".part")
    assert part.stat().st_mode & 0o777 == 0o600
    # One block is opened while the next arrives, so the last one may not be written yet.
    assert kept in (sent, max(0, sent - 1))

    whole = Flaky(mine, 100)
    with through(mine, whole):
        done = await mine.get_document("contract.pdf", folder=out)
    assert (done.resumed_bytes, whole.sent) == (kept * PIECE, 3 - kept)
    assert [path.name for path in out.iterdir()] == ["contract.pdf"]
    assert (out / "contract.pdf").read_bytes() == content_of(20_000)


@pytest.mark.parametrize("room", [0, 1, 2])
async def test_a_disk_that_is_full_is_told_with_what_waits_there(
    mine: Vault, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    await mine.attach(file)
    out, write = tmp_path / "out", PartFile.write

    def filling(part: PartFile, content: memoryview) -> None:
        with writing(out / "contract.pdf"):
            left = room * PIECE + 10 - part.length()
            if len(content) > left:
                write(part, content[:left])
                raise OSError(errno.ENOSPC, "No space left on device")
        write(part, content)

    with monkeypatch.context() as patch:
        patch.setattr(PartFile, "write", filling)
        with pytest.raises(TableUnwritable, match="No space") as caught:
            await mine.get_document("contract.pdf", folder=out)
    hint = caught.value.hint or ""
    assert hint.startswith("make room there, or write to another disk. ")
    parts = list(out.iterdir())
    if room:
        assert f"{room * PIECE:,} bytes of it were verified and wait in {parts[0]}: " in hint
    else:
        assert (hint.endswith("Nothing of it was left there."), parts) == (True, [])
    done = await mine.get_document("contract.pdf", folder=out)
    assert done.resumed_bytes == room * PIECE
    assert [path.name for path in out.iterdir()] == ["contract.pdf"]


async def test_what_was_all_there_but_its_name_is_not_fetched_again(
    mine: Vault, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mine.attach(file)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("client.documents.local.bring_into_place", full)
        with pytest.raises(TableUnwritable, match="No space"):
            await mine.get_document("contract.pdf", folder=tmp_path)
    nothing = Flaky(mine, 0)
    with through(mine, nothing):
        done = await mine.get_document("contract.pdf", folder=tmp_path)
    assert done.resumed_bytes == 20_000
    assert (tmp_path / "contract.pdf").read_bytes() == content_of(20_000)


async def test_an_unfinished_file_of_another_document_is_another_file(
    mine: Vault, file: Path, tmp_path: Path
) -> None:
    await mine.attach(file)
    await mine.attach(a_file(tmp_path / "in", "other.pdf", seed=2))
    out = tmp_path / "out"
    out.mkdir()
    with through(mine, Flaky(mine, 2)), pytest.raises(Unreachable):
        await mine.get_document("contract.pdf", path=out / "x")
    done = await mine.get_document("other.pdf", path=out / "x")
    assert done.resumed_bytes == 0
    assert (out / "x").read_bytes() == content_of(20_000, 2)


async def test_two_commands_do_not_write_one_file(mine: Vault, file: Path, tmp_path: Path) -> None:
    await mine.attach(file)
    out = tmp_path / "out"
    out.mkdir()
    refused: list[str] = []

    async def second() -> None:
        with pytest.raises(InputError, match="another command is writing") as caught:
            await mine.get_document("contract.pdf", folder=out)
        refused.append(str(caught.value))

    class Meanwhile(Flaky):
        async def fetch(self, *given: Any) -> AsyncGenerator[bytes, None]:
            if not refused:
                await second()
            async for block in super().fetch(*given):
                yield block

    with through(mine, Meanwhile(mine, 100)):
        await mine.get_document("contract.pdf", folder=out)
    assert len(refused) == 1
    assert (out / "contract.pdf").read_bytes() == content_of(20_000)


async def test_a_file_that_came_meanwhile_is_not_replaced(
    mine: Vault, file: Path, tmp_path: Path
) -> None:
    await mine.attach(file)
    out = tmp_path / "contract.pdf"

    def on_progress(_: Progress) -> None:
        out.write_text("mine")

    with pytest.raises(TableExists):
        await mine.get_document("contract.pdf", folder=tmp_path, on_progress=on_progress)
    assert out.read_text() == "mine"
    # What was verified is there for whoever says that the other one may go.
    done = await mine.get_document("contract.pdf", folder=tmp_path, overwrite=True)
    assert done.resumed_bytes == 20_000
    assert out.read_bytes() == content_of(20_000)


@pytest.mark.parametrize("moment", ["write", "commit"])
async def test_ctrl_c_while_writing_waits_for_the_thread_and_keeps_what_was_verified(
    mine: Vault, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    await mine.attach(file)
    begun, going_on = asyncio.Event(), []
    loop = asyncio.get_running_loop()
    real = getattr(PartFile, moment)

    def slow(*given: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        time.sleep(0.05)
        real(*given)
        going_on.append(moment)

    out = tmp_path / "out"
    out.mkdir()
    before = asyncio.all_tasks()
    with monkeypatch.context() as patch:
        patch.setattr(PartFile, moment, slow)
        getting = asyncio.create_task(mine.get_document("contract.pdf", folder=out))
        await begun.wait()
        getting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await getting
    assert going_on
    assert asyncio.all_tasks() == before
    names = [path.name for path in out.iterdir()]
    assert (names == ["contract.pdf"]) is (moment == "commit")
    await mine.get_document("contract.pdf", folder=out, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["contract.pdf"]
    assert (out / "contract.pdf").read_bytes() == content_of(20_000)


# --- removals that are cut off


@pytest.mark.threat("R2")
async def test_a_removal_cut_at_any_request_goes_on(
    mine: Vault, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cut in itertools.count():
        await mine.attach(file)
        breaking = Breaking(honest(mine), cut, after=cut % 2 == 0)
        with through(mine, breaking):
            try:
                await mine.remove_document("contract.pdf")
            except Unreachable:
                pass
            else:
                break
        left = await mine.documents()
        if left:
            await mine.remove_document("contract.pdf")
        assert await mine.documents() == ()
    assert cut > 4


async def test_a_document_that_is_removed_in_part_is_told_so_and_removed_by_its_name(
    mine: Vault, file: Path, tmp_path: Path
) -> None:
    await mine.attach(file)

    class Once(Watched):
        acts = 0

        async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
            self.acts += 1
            if self.acts > 1:
                raise Unreachable("the cable was cut")
            return await super().submit(vault_id, act)

    with through(mine, Once(mine)), pytest.raises(Unreachable):
        await mine.remove_document("contract.pdf")
    found = await only(mine)
    assert (found.state, found.stored_bytes) == ("removed in part", 0)
    with pytest.raises(Refused, match=r"parts of 'contract.pdf' were removed") as caught:
        await mine.get_document("contract.pdf", folder=tmp_path)
    assert "documents remove" in str(caught.value.hint)
    with pytest.raises(Refused, match=r"another document 'contract.pdf' already"):
        await mine.attach(file)
    done = await mine.remove_document("contract.pdf")
    assert len(done.acts) == 1
    assert await mine.documents() == ()
