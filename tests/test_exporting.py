"""Files of verified records: whole or not at all, over connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from client import reading
from client.errors import Unreachable
from client.results.progress import Progress
from client.tables import TableExists, TableUnwritable
from client.tables.parquet_out import ParquetSink
from client.vault import Vault
from protocol import api
from protocol.errors import IntegrityError, ManifestMismatch
from protocol.limits import LIMITS
from tests.deals import Deal, Tampering, honest, through
from tests.in_process import ServiceTransport
from tests.readers import BATCHES, FIELDS, TABLE, for_exports, one_deal

pytestmark = pytest.mark.asyncio(loop_scope="module")


deal = pytest_asyncio.fixture(scope="module", loop_scope="module")(one_deal)
folder = pytest.fixture(for_exports)


# --- files


async def test_an_export_says_what_it_did(deal: Deal, folder: Path) -> None:
    seen: list[Progress] = []
    batches: list[pa.RecordBatch] = []
    wrote = await deal.seller.export("customers", path=folder / "out.csv", on_progress=seen.append)
    passed = await deal.seller.export("customers", on_batch=batches.append)

    assert wrote.path == str(folder / "out.csv")
    assert (wrote.collection, wrote.records, wrote.cells) == ("customers", 100, 100 * FIELDS)
    assert wrote.fields == tuple(TABLE.schema.names)
    assert [each.done for each in seen] == list(range(5, 101, 5))
    assert {each.total for each in seen} == {100}
    assert passed.path is None
    assert passed.fetched_bytes == wrote.fetched_bytes > 0
    assert pa.Table.from_batches(batches).equals(TABLE)


async def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(
    deal: Deal, folder: Path
) -> None:
    out = folder / "out.csv"
    out.write_text("mine")
    with pytest.raises(TableExists):
        await deal.seller.export("customers", path=out)
    liar = Tampering(honest(deal.seller), lambda _, blocks: blocks[:-1])
    with through(deal.seller, liar), pytest.raises(ManifestMismatch):
        await deal.seller.export("customers", path=out, overwrite=True)
    assert out.read_text() == "mine"
    await deal.seller.export("customers", path=out, overwrite=True)
    assert out.read_text().startswith("iban,notes,orders")
    assert list(folder.iterdir()) == [out]


@pytest.mark.threat("C5")
async def test_fewer_records_than_were_committed_are_no_export(
    deal: Deal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing gets this far that the blocks' hashes let through; it stands guard over ourselves.
    monkeypatch.setattr(reading, "batches_of", lambda *_: [])
    with pytest.raises(IntegrityError, match="0 records opened where 100"):
        await deal.seller.export("customers", path=folder / "out.csv")
    assert list(folder.iterdir()) == []


async def test_a_full_disk_leaves_no_file_and_no_task(
    deal: Deal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ParquetSink, "_write", full)
    before = asyncio.all_tasks()
    with pytest.raises(TableUnwritable, match="No space"):
        await deal.seller.export("customers", path=folder / "out.parquet")
    assert list(folder.iterdir()) == []
    assert asyncio.all_tasks() == before


# --- breaking off


class Flaky(ServiceTransport):
    """Breaks off each fetch after a few blocks, so many times."""

    def __init__(self, vault: Vault, times: int, after: int) -> None:
        like = honest(vault)
        assert isinstance(like, ServiceTransport)
        self.service, self.keyid = like.service, like.keyid
        self.times, self.after, self.closed = times, after, 0

    async def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        sent = 0
        try:
            async for block in super().fetch(vault_id, request, sizes):
                if self.times and sent == self.after:
                    self.times -= 1
                    raise Unreachable("the cable was cut")
                sent += 1
                yield block
        finally:
            self.closed += 1


@pytest.mark.parametrize("after", [0, 1, 3, 7])
async def test_a_fetch_that_breaks_off_goes_on_from_its_block(deal: Deal, after: int) -> None:
    flaky = Flaky(deal.seller, 3, after)
    with through(deal.seller, flaky):
        assert (await deal.seller.read("customers")).equals(TABLE)
    assert flaky.times == 0
    assert flaky.closed == 4


async def test_a_fetch_that_never_gets_on_is_given_up(deal: Deal, folder: Path) -> None:
    with through(deal.seller, Flaky(deal.seller, 4, 2)), pytest.raises(Unreachable):
        await deal.seller.export("customers", path=folder / "out.csv")
    assert list(folder.iterdir()) == []


async def test_more_than_one_request_asks_for_is_asked_for_in_several(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.fetching.REQUEST_BYTES", 1_000)
    flaky = Flaky(deal.seller, 0, 0)
    with through(deal.seller, flaky):
        assert (await deal.seller.read("customers")).equals(TABLE)
    many = flaky.closed
    assert many > 5
    monkeypatch.setattr("client.fetching.LIMITS", replace(LIMITS, fetch_blocks=1))
    with through(deal.seller, flaky):
        assert (await deal.seller.read("customers")).equals(TABLE)
    assert flaky.closed == many + BATCHES * FIELDS


async def test_a_reader_that_stops_early_lets_go_of_the_connection(deal: Deal) -> None:
    flaky = Flaky(deal.seller, 0, 0)
    before = asyncio.all_tasks()
    with through(deal.seller, flaky):
        stream = deal.seller.stream("customers")
        assert (await anext(stream)).num_rows == 5
        await stream.aclose()
    assert flaky.closed == 1
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("moment", ["_write", "_finish"])
async def test_ctrl_c_while_writing_leaves_a_whole_file_or_none(
    deal: Deal, folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    begun, going_on = asyncio.Event(), []
    loop = asyncio.get_running_loop()
    real = getattr(ParquetSink, moment)

    def slow(*args: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run(asyncio.sleep(0.1))
        real(*args)
        going_on.append(moment)

    monkeypatch.setattr(ParquetSink, moment, slow)
    before = asyncio.all_tasks()
    out = folder / "out.parquet"
    exporting = asyncio.create_task(deal.seller.export("customers", path=out))
    await begun.wait()
    exporting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exporting

    # The thread was waited for: nothing writes on behind our back.
    assert going_on == [moment]
    assert asyncio.all_tasks() == before
    if moment == "_write":
        assert list(folder.iterdir()) == []
    else:
        assert pq.read_table(out).equals(TABLE)
