"""Uploads from a database that are cut off: what is committed is what was read last, once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
import pytest_asyncio

from client import uploads
from client.errors import Refused, Unreachable
from client.tables import Column, ReadOptions, Source
from client.vault import UploadOptions, Vault
from protocol import api
from protocol.acts import Reason
from tests.deals import acts_since, in_batches_of, journal_of, rows, through
from tests.postgres import a_postgres
from tests.uploading import (
    SENSITIVE,
    CommitsUpTo,
    Ending,
    Watched,
    one_vault,
    with_ada,
    with_empty_journal,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPTIONS = in_batches_of(5)
ALL = 6


class Database(Source):
    """A table somewhere else, whose rows are what they are when they are asked for."""

    def __init__(self, table: pa.Table, place: bytes = b"there") -> None:
        columns = tuple(Column(each.name, str(each.type)) for each in table.schema)
        super().__init__(columns, {"kind": "database"})
        self.table, self._place = table, place

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        for at in range(0, self.table.num_rows, max_rows):
            whole = self.table.slice(at, max_rows).combine_chunks()
            yield whole.to_batches()[0]

    def fingerprint(self) -> None:
        return None

    def origin(self) -> bytes:
        return self._place


opened = pytest_asyncio.fixture(scope="module", loop_scope="module")(one_vault)
mine = pytest.fixture(with_empty_journal)


async def cut(vault: Vault, table: pa.Table, name: str, staged: int) -> None:
    """Begin an upload that ends when so many batches are staged, one of them of names."""
    ending = CommitsUpTo(vault, 0) if staged == ALL else Ending(vault, staged)
    with through(vault, ending), pytest.raises(Unreachable):
        await vault.upload(Database(table), collection=name, options=OPTIONS)
    assert journal_of(vault) == (1, staged)


async def went_on(vault: Vault, table: pa.Table, name: str) -> int:
    """Upload to the end; return how many batches were staged for it."""
    watched = Watched(vault)
    with through(vault, watched):
        await vault.upload(Database(table), collection=name, options=OPTIONS)
    assert (await vault.read(name)).equals(table)
    assert (await vault.collection(name)).records == table.num_rows
    assert journal_of(vault) == (0, 0)
    return len(watched.stages)


OLD = rows(23)
BY = pa.array([*range(12), 13, 12, *range(14, 23)])


@pytest.mark.parametrize("staged", range(ALL + 1))
async def test_what_is_the_same_is_not_sealed_again(mine: Vault, staged: int) -> None:
    await cut(mine, OLD, f"same {staged}", staged)
    assert await went_on(mine, OLD, f"same {staged}") == ALL - staged


@pytest.mark.parametrize(
    ("name", "new", "sealed"),
    [
        ("two rows changed places", OLD.take(BY), 1),
        ("a row came first", pa.concat_tables([rows(50).slice(40, 1), OLD]), 5),
        ("rows came last", rows(31), 3),
        ("rows are gone at the end", OLD.slice(0, 11), 1),
        ("all are gone but five", OLD.slice(0, 5), 0),
        ("others", rows(60).slice(30), 6),
    ],
)
async def test_what_differs_is_sealed_anew_and_what_is_gone_is_not_committed(
    mine: Vault, name: str, new: pa.Table, sealed: int
) -> None:
    await cut(mine, OLD, name, ALL)
    assert await went_on(mine, new, name) == sealed


async def test_a_table_that_is_elsewhere_is_another_upload(mine: Vault) -> None:
    await cut(mine, OLD, "elsewhere", 4)
    done = await mine.upload(Database(OLD, b"here"), collection="elsewhere", options=OPTIONS)
    assert done.resumed_batches == 0


async def test_a_database_can_be_added_again_since_it_may_have_changed(mine: Vault) -> None:
    for _ in range(2):
        await mine.upload(Database(OLD), collection="again", options=OPTIONS)
    assert (await mine.collection("again")).records == 46


async def test_parts_that_have_landed_are_completed_by_what_was_read_with_them(
    mine: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 600)
    with through(mine, CommitsUpTo(mine, 1)), pytest.raises(Unreachable):
        await mine.upload(Database(OLD), collection="parts", options=OPTIONS)
    size = mine.session.believed.ledger.size
    await mine.upload(Database(rows(9)), collection="parts", options=OPTIONS)
    assert (await mine.read("parts")).equals(OLD)
    assert set(await acts_since(mine, size)) == {"commit"}


class Forgetful(Watched):
    """A server that has lost everything that was staged."""

    async def staged(self, vault_id: bytes, upload: bytes) -> api.Staged:
        return api.Staged(())


async def test_where_the_rest_of_such_parts_is_lost_all_of_it_begins_anew(
    mine: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 600)
    with through(mine, CommitsUpTo(mine, 1)), pytest.raises(Unreachable):
        await mine.upload(Database(OLD), collection="lost", options=OPTIONS)
    new = rows(14)
    with through(mine, Forgetful(mine)):
        done = await mine.upload(Database(new), collection="lost", options=OPTIONS)
    assert done.resumed_batches == 0
    assert (await mine.read("lost")).equals(new)


async def test_a_removal_between_parts_is_told_and_the_next_time_all_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 600)
    async with with_ada(tmp_path) as (deal, ada):
        await deal.seller.grant("Bo", classes=[SENSITIVE])

        class Removing(CommitsUpTo):
            async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
                if self.most == 2:
                    self.most = 100
                    await ada.revoke("Bo", Reason.LEFT)
                return await super().submit(vault_id, act)

        with through(deal.seller, Removing(deal.seller, 3)), pytest.raises(Refused) as caught:
            await deal.seller.upload(Database(OLD), collection="c", options=OPTIONS)
        assert caught.value.refusal in ("tainted", "out_of_order")
        assert journal_of(deal.seller) == (0, 0)
        await deal.seller.upload(Database(rows(7)), collection="c", options=OPTIONS)
        assert (await deal.seller.read("c")).equals(rows(7))


async def test_a_database_that_changes_while_its_upload_is_cut_off(
    mine: Vault, tmp_path: Path
) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE t (id INTEGER, name TEXT)")
        made.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"name {n}") for n in range(23)])
    url, said = f"sqlite+pysqlite:///{path}", ReadOptions(query="SELECT * FROM t ORDER BY id")
    options = UploadOptions(said, 5)
    with through(mine, Ending(mine, 5)), pytest.raises(Unreachable):
        await mine.upload(url, collection="live", options=options)
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("UPDATE t SET name = 'other' WHERE id = 7")
    watched = Watched(mine)
    with through(mine, watched):
        await mine.upload(url, collection="live", options=options)
    assert len(watched.stages) == 2  # the batch that differs, and the last one
    names = (await mine.read("live"))["name"].to_pylist()
    assert names == [f"name {n}" if n != 7 else "other" for n in range(23)]
    assert journal_of(mine) == (0, 0)


async def test_an_upload_from_postgresql_goes_on_with_what_is_there_by_then(mine: Vault) -> None:
    """A row that is written again moves to the end of its table: what follows it has moved up."""
    options = UploadOptions(ReadOptions(table="people"), batch_rows=5)
    with a_postgres() as address, psycopg.connect(address, autocommit=True) as made:
        made.execute("CREATE TABLE people AS SELECT n, 'name ' || n AS name "
                     "FROM generate_series(1, 23) n")  # fmt: skip
        with through(mine, Ending(mine, 4)), pytest.raises(Unreachable):
            await mine.upload(address, collection="people", options=options)
        made.execute("UPDATE people SET name = 'somebody else' WHERE n = 12")
        watched = Watched(mine)
        with through(mine, watched):
            done = await mine.upload(address, collection="people", options=options)
    # the last of the four has other rows by now: it is sealed anew, and two more with it
    assert (done.resumed_batches, len(watched.stages)) == (4, 3)
    found = (await mine.read("people")).to_pydict()
    order = [*(n for n in range(1, 24) if n != 12), 12]
    assert found["n"] == order
    assert found["name"] == ["somebody else" if n == 12 else f"name {n}" for n in order]
