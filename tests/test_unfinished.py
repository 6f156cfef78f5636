"""What an upload that was cut off is called, how much of it there is, and how it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pyarrow.csv
import pytest

from client.errors import Unreachable
from client.results.data import UnfinishedUpload
from client.transport import Transport
from client.vault import Vault
from protocol.acts import Reason, Role
from tests.company import ALL
from tests.deals import a_vault, honest, in_batches_of, joined, rows, through
from tests.in_process import ServiceTransport


class FewStages(ServiceTransport):
    """The honest server, until so many batches were staged."""

    def __init__(self, honest: Transport, left: int) -> None:
        like = cast(ServiceTransport, honest)
        self.service, self.keyid = like.service, like.keyid
        self.left = left
        self.under_way = left
        self.done = asyncio.Event()

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        if not self.left:
            await self.done.wait()
            raise Unreachable("the cable was cut")
        self.left -= 1
        await super().stage(vault_id, upload, batch, body)
        self.under_way -= 1
        if not self.under_way:  # all that came before was answered, and is written down
            asyncio.get_running_loop().call_soon(self.done.set)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("client.sending.threads", lambda: 1)  # so that the names go first
    path = tmp_path / "customers.csv"
    pyarrow.csv.write_csv(rows(20), path)
    return path


async def cut_off(vault: Vault, file: Path, stages: int) -> None:
    with through(vault, FewStages(honest(vault), stages)), pytest.raises(Unreachable):
        await vault.upload(file, collection="customers", options=in_batches_of(5))


async def test_an_upload_that_was_cut_off_is_told_by_its_name_and_how_much_there_is(
    tmp_path: Path, file: Path
) -> None:
    async with a_vault(tmp_path / "v") as (lab, vault):
        await cut_off(vault, file, 3)
        (found,) = await vault.collections()
        assert (found.name, found.batches) == (None, 0)
        assert found.unfinished == (UnfinishedUpload("customers", "customers.csv", 10, 2),)
        async with joined(lab, vault, "Ada", Role.ADMIN, ALL) as ada:
            # Nobody else knows what it will be.
            assert [each.unfinished for each in await ada.collections()] == [()]
        await vault.upload(file, collection="customers", options=in_batches_of(5))
        (found,) = await vault.collections()
        assert (found.name, found.records, found.unfinished) == ("customers", 20, ())


async def test_further_records_that_were_cut_off_are_told_with_their_collection(
    tmp_path: Path, file: Path
) -> None:
    async with a_vault(tmp_path / "v") as (_, vault):
        first = tmp_path / "first.csv"
        pyarrow.csv.write_csv(rows(3), first)
        await vault.upload(first, collection="customers")
        await cut_off(vault, file, 1)
        (found,) = await vault.collections()
        assert found.records == 3
        assert found.unfinished == (UnfinishedUpload("customers", None, 5, 1),)


async def test_one_that_is_given_up_is_begun_no_more(tmp_path: Path, file: Path) -> None:
    async with a_vault(tmp_path / "v") as (_, vault):
        await cut_off(vault, file, 2)
        (found,) = await vault.collections()
        await vault.retire_collection(found.collection_id[:16], Reason.MISTAKE)
        assert await vault.collections() == ()
        assert vault.session.store.uploads.unfinished() == ()


async def test_names_that_do_not_open_name_nothing_and_stop_nobody(
    tmp_path: Path, file: Path
) -> None:
    async with a_vault(tmp_path / "v") as (_, vault):
        await cut_off(vault, file, 2)
        vault.session.store._db.execute("UPDATE blocks SET block = zeroblob(length(block))")
        (found,) = await vault.collections()
        assert found.unfinished == (UnfinishedUpload(None, None, 5, 1),)
        vault.session.store._db.execute("DELETE FROM blocks")  # begun by an older version
        (found,) = await vault.collections()
        assert found.unfinished == (UnfinishedUpload(None, None, 5, 1),)


async def test_no_name_lies_in_the_journal_unsealed(tmp_path: Path, file: Path) -> None:
    async with a_vault(tmp_path / "v") as (lab, vault):
        await cut_off(vault, file, 2)
        kept = b"".join(
            each.read_bytes() for each in (lab.directory / "seller").rglob("*") if each.is_file()
        )
        assert b"customers" not in kept
