"""Updates by a key: every key is there exactly once, with its newest row, wherever one is cut."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from client import replacing, surveying
from client.errors import InputError, Refused, Unreachable
from client.results.progress import Progress
from client.tables import Source, TableChanged, open_source
from client.tables.combining import Derived
from client.vault import Vault
from protocol.acts import Reason
from protocol.blocks import FieldClass
from protocol.errors import OutOfOrder
from tests.deals import (
    Breaking,
    Tampering,
    a_deal,
    a_vault,
    acts_since,
    as_killed,
    honest,
    in_batches_of,
    journal_of,
    rows,
    through,
)
from tests.uploading import (
    Counting,
    Watched,
    called_like_its_test,
    one_vault,
    tasks_of_clients,
    with_ada,
    with_empty_journal,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE
OPTIONS = in_batches_of(5)
OLD = rows(20)


def changed(*numbers: int) -> pa.Table:
    """Return rows as they are to be, for customers that are there or not."""
    return pa.table({
        "name": [f"customer {n:06}" for n in numbers],
        "orders": pa.array([1_000 + n for n in numbers], pa.int32()),
        "note": pa.array(["new" if n % 2 else None for n in numbers], pa.string()),
    })  # fmt: skip


def updated(old: pa.Table, new: pa.Table, key: str = "name") -> dict[Any, dict[str, Any]]:
    """Return what an update makes of a table, by key."""
    return {row[key]: row for row in [*old.to_pylist(), *new.to_pylist()]}


async def by_key(vault: Vault, name: str, key: str = "name") -> dict[Any, dict[str, Any]]:
    """Return a collection's records by key; each key is there once."""
    records = (await vault.read(name)).to_pylist()
    found = {record[key]: record for record in records}
    assert len(found) == len(records)
    return found


opened = pytest_asyncio.fixture(scope="module", loop_scope="module")(one_vault)
mine = pytest.fixture(with_empty_journal)
name = pytest.fixture(called_like_its_test)


async def begun(vault: Vault, name: str, table: pa.Table = OLD) -> None:
    await vault.upload(
        table, collection=name, classes={"orders": CORE}, default=GENERAL, options=OPTIONS
    )


async def update(vault: Vault, name: str, table: Any, key: str = "name", **more: Any) -> Any:
    return await vault.upload(table, collection=name, replace_by=key, options=OPTIONS, **more)


# --- what an update does


async def test_rows_replace_what_has_their_key_and_others_are_added(mine: Vault, name: str) -> None:
    await begun(mine, name)
    size = mine.session.believed.ledger.size
    new = changed(3, 17, 20, 4, 21)
    seen: list[Progress] = []
    done = await update(mine, name, new, on_progress=seen.append)
    assert (done.records, done.replaced, done.unchanged, done.appended) == (5, 3, 0, True)
    assert done.left == 17
    assert await acts_since(mine, size) == ["replace"]
    assert await by_key(mine, name) == updated(OLD, new)
    assert (await mine.collection(name)).records == 22
    assert journal_of(mine) == (0, 0)
    assert [each.task for each in seen if each.done == each.total] == [
        "looking at the keys", "opening the keys", "comparing", "sealing and sending",
    ]  # fmt: skip


async def test_rows_that_are_there_as_they_are_stay_untouched(mine: Vault, name: str) -> None:
    await begun(mine, name)
    before = mine.session.state.collections
    new = pa.concat_tables([OLD.slice(0, 5), changed(6), OLD.slice(10)])
    done = await update(mine, name, new)
    assert (done.records, done.replaced, done.unchanged) == (1, 1, 15)
    assert await by_key(mine, name) == updated(OLD, new)
    where = next(each for key, each in mine.session.state.collections.items() if key not in before
                 or each != before[key])  # fmt: skip
    assert [sorted(batch.erased) for batch in where.batches if not batch.manifest.is_catalog] == [
        [], [1], [], [], [],
    ]  # fmt: skip


async def test_the_same_update_again_does_nothing(mine: Vault, name: str) -> None:
    await begun(mine, name)
    new = changed(1, 2, 30)
    await update(mine, name, new)
    size = mine.session.believed.ledger.size
    again = await update(mine, name, new)
    assert (again.records, again.replaced, again.unchanged, again.left) == (0, 0, 3, 18)
    assert await acts_since(mine, size) == []


@pytest.mark.parametrize("there", [False, True])
async def test_a_file_that_went_in_as_an_update_is_not_added_unasked(
    mine: Vault, name: str, tmp_path: Path, there: bool
) -> None:
    new, file = changed(3, 21), tmp_path / "upd.parquet"
    await begun(mine, name, pa.concat_tables([OLD, new.slice(1)]))
    if there:
        await update(mine, name, new)
    pq.write_table(new, file)
    done = await update(mine, name, file)
    assert (done.records, done.unchanged) == ((0, 2) if there else (1, 1))
    for asked in (mine.upload, mine.plan_upload):
        with pytest.raises(Refused, match=r"upd\.parquet was uploaded to") as told:
            await asked(file, collection=name, options=OPTIONS)
        assert ("(act " in str(told.value)) is not there
    # The same update, and an addition that is asked for, are another matter.
    assert (await update(mine, name, file)).unchanged == 2
    assert (await mine.upload(file, collection=name, options=OPTIONS, again=True)).records == 2


async def test_an_update_of_nothing_there_is_an_upload(mine: Vault, name: str) -> None:
    size = mine.session.believed.ledger.size
    done = await update(mine, name, OLD)
    assert (done.records, done.replaced, done.appended) == (20, 0, False)
    assert (await mine.read(name)).equals(OLD)
    assert "commit" in await acts_since(mine, size)
    plan = await mine.plan_upload(OLD, collection="nowhere", replace_by="name", options=OPTIONS)
    assert (plan.there, plan.records, plan.replaced) == (None, 20, 0)


async def test_new_rows_alone_are_a_commit(mine: Vault, name: str) -> None:
    await begun(mine, name)
    size = mine.session.believed.ledger.size
    await update(mine, name, pa.concat_tables([OLD, changed(40, 41)]))
    assert await acts_since(mine, size) == ["commit"]


async def test_records_that_were_erased_are_not_there(mine: Vault, name: str) -> None:
    await begun(mine, name)
    await mine.erase(name, [1, 3, 8])
    left = OLD.take([1, 3, 4, 5, 6, *range(8, 20)])
    new = changed(0, 1, 2, 9)
    done = await update(mine, name, new)
    assert (done.records, done.replaced) == (4, 2)
    assert await by_key(mine, name) == updated(left, new)


async def test_a_rehearsal_counts_what_an_update_does(mine: Vault, name: str) -> None:
    await begun(mine, name)
    new = pa.concat_tables([changed(3, 17, 20, 4), OLD.slice(10, 5)])
    size = mine.session.believed.ledger.size
    plan = await mine.plan_upload(new, collection=name, replace_by="name", options=OPTIONS)
    assert await acts_since(mine, size) == []
    done = await update(mine, name, new)
    assert (plan.records, plan.replaced, plan.unchanged, plan.batches, plan.sealed_bytes) == (
        done.records, done.replaced, done.unchanged, done.batches, done.sealed_bytes,
    ) == (4, 3, 5, 1, done.sealed_bytes)  # fmt: skip
    assert plan.left == done.left == 12


async def test_a_null_is_not_an_empty_text_nor_a_neighbour_s_end(mine: Vault, name: str) -> None:
    kinds = [("id", pa.int32()), ("a", pa.string()), ("b", pa.string())]
    old = pa.table([[1, 2, 3], ["", "xy", None], [None, "z", ""]], schema=pa.schema(kinds))
    new = pa.table([[1, 2, 3], [None, "x", None], ["", "yz", ""]], schema=pa.schema(kinds))
    await mine.upload(old, collection=name)
    done = await update(mine, name, new, "id")
    assert (done.replaced, done.unchanged) == (2, 1)
    assert await by_key(mine, name, "id") == updated(old, new, "id")


KEYS = [
    pa.array([1, 2**62, -3, 0], pa.int64()),
    pa.array([Decimal("1.10"), Decimal("2.00"), Decimal("-0.01"), Decimal("0.00")]),
    pa.array(["", "\u00e9", "e\u0301", "\0"], pa.string_view()),
    pa.array([b"", b"\0", b"\0\0", b"x"], pa.binary()),
    pa.array([0, 1, 2, 3], pa.date32()),
    pa.array([0, 1, 2, 3], pa.timestamp("us", "UTC")),
    pa.array(["a", "b", "c", "d"]).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string())),
]


@pytest.mark.parametrize("keys", KEYS, ids=lambda keys: str(keys.type))
async def test_keys_of_every_kind(mine: Vault, name: str, keys: pa.Array) -> None:
    old = pa.table({"k": keys[:3], "v": [1, 2, 3]})
    new = pa.table({"k": keys[1:], "v": [2, 30, 40]})
    await mine.upload(old, collection=name)
    done = await update(mine, name, new, "k")
    assert (done.records, done.replaced, done.unchanged) == (2, 1, 1)
    assert await by_key(mine, name, "k") == updated(old, new, "k")


# --- what is no key


async def test_what_is_no_key_is_refused_by_its_places(mine: Vault, name: str) -> None:
    await begun(mine, name)
    size = mine.session.believed.ledger.size
    secret = changed(1, 2, 3, 2, 1, 9)
    nulls = pa.table({**{n: secret[n] for n in secret.column_names},
                      "name": pa.array(["a", None, "b", None, "c", "d"])})  # fmt: skip
    with pytest.raises(InputError) as caught:
        await update(mine, name, nulls)
    assert str(caught.value) == "'name' is null in rows 2, 4 of the table, so it tells no record"
    with pytest.raises(InputError) as caught:
        await update(mine, name, secret)
    assert str(caught.value) == (
        "2 values of 'name' are there more than once in the table: rows 1, 5; rows 2, 4"
    )
    assert "customer" not in str(caught.value)
    with pytest.raises(InputError, match="no column 'iban' to tell records by"):
        await update(mine, name, secret, "iban")
    assert await acts_since(mine, size) == []
    assert (await mine.read(name)).equals(OLD)


async def test_keys_that_are_doubled_in_the_collection_are_named(mine: Vault, name: str) -> None:
    await begun(mine, name)
    await mine.upload(OLD.slice(2, 3), collection=name)
    with pytest.raises(InputError) as caught:
        await update(mine, name, changed(1, 2, 4))
    assert str(caught.value) == (
        "2 values of 'name' are there more than once in the collection: records 3, 21; "
        "records 5, 23"
    )
    assert "sealroom erase" in (caught.value.hint or "")
    # What the table does not name stands in nobody's way.
    assert (await update(mine, name, changed(1, 7))).replaced == 2


@pytest.mark.parametrize("kind", [pa.float64(), pa.float16(), pa.bool_(), pa.null()])
async def test_a_column_that_tells_no_records_apart_is_no_key(
    mine: Vault, name: str, kind: pa.DataType
) -> None:
    table = pa.table({"k": pa.nulls(2, kind), "v": [1, 2]})
    await mine.upload(table, collection=name)
    with pytest.raises(InputError, match="which tells no records apart"):
        await update(mine, name, table, "k")


async def test_very_many_doubles_are_counted_and_a_few_told(mine: Vault, name: str) -> None:
    table = pa.table({"k": [str(n % 9) for n in range(80)]})
    with pytest.raises(InputError, match=r"9 values .* rows 1, 10, 19, 28, 37, \.\.\.; .*; \.\.\."):
        await update(mine, name, table, "k")


async def test_a_stream_cannot_be_read_as_often_as_an_update_needs(mine: Vault, name: str) -> None:
    await begun(mine, name)
    stream = pa.RecordBatchReader.from_batches(OLD.schema, OLD.to_batches())
    with pytest.raises(InputError, match="a stream can be read once"):
        await update(mine, name, stream)


async def test_a_file_whose_rows_nobody_has_counted_yet_can_be_read_as_often(
    mine: Vault, name: str, tmp_path: Path
) -> None:
    old = pa.table({"name": ["Ann", "Bea"], "city": ["Aachen", "Bern"]})
    await mine.upload(old, collection=name, default=GENERAL)
    new = pa.table({"name": ["Bea", "Cy"], "city": ["Basel", "Cork"]})
    pacsv.write_csv(new, path := tmp_path / "changed.csv")
    source = open_source(path)
    assert source.total_rows is None
    await update(mine, name, source)
    assert await by_key(mine, name) == updated(old, new)


async def test_who_may_not_update_reads_nothing_for_it(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal:
        await begun(deal.seller, "c")
        await deal.seller.grant("Bo", classes=[GENERAL, CORE])
        await deal.buyer.collections()
        counting = Counting(deal.buyer)
        with through(deal.buyer, counting), pytest.raises(Refused, match="bidder may not"):
            await update(deal.buyer, "c", changed(3))
        assert (counting.fetched, counting.stages) == (0, [])


class Restless(Derived):
    """A database that gives its rows in another order at every reading, or loses or gains some."""

    def __init__(self, source: Source, gone: int = 0) -> None:
        super().__init__(source)
        self.readings, self._gone = 0, gone

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        self.readings += 1
        found = [row for batch in self.read(max_rows) for row in batch.to_pylist()]
        if self.readings > 2:  # the first is but a look
            found = (found * 2)[: len(found) - self._gone] if self._gone else found[::-1]
        yield pa.RecordBatch.from_pylist(found, schema=next(self._source.batches(1)).schema)


@pytest.mark.parametrize("gone", [0, 1, -1])
async def test_a_table_that_is_another_when_it_is_read_again_replaces_nothing(
    mine: Vault, name: str, gone: int
) -> None:
    await begun(mine, name)
    size = mine.session.believed.ledger.size
    restless = Restless(open_source(changed(*range(3, 7))), gone)
    restless.rereadable = True
    with pytest.raises(TableChanged, match="other rows when it was read again"):
        await update(mine, name, restless)
    assert await acts_since(mine, size) == []
    assert (await mine.read(name)).equals(OLD)


# --- more than one act holds


@pytest.fixture
def small_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave room for the erasures from two batches in one act."""
    monkeypatch.setattr(surveying, "ACT_ROOM", 850)


async def test_more_than_an_act_holds_goes_in_several(
    mine: Vault, name: str, small_acts: None
) -> None:
    await begun(mine, name)
    size = mine.session.believed.ledger.size
    new = changed(19, 1, 30, 6, 11, 12, 31, 0)
    done = await update(mine, name, new)
    assert (done.records, done.replaced) == (8, 6)
    assert await acts_since(mine, size) == ["commit", "replace", "replace"]
    assert await by_key(mine, name) == updated(OLD, new)
    size = mine.session.believed.ledger.size
    await update(mine, name, changed(2, 8, 13, 18))
    assert await acts_since(mine, size) == ["replace", "replace"]


# --- cut anywhere


@pytest.mark.threat("R2")
@pytest.mark.parametrize("acts", ["one act", "several acts"])
async def test_an_update_cut_at_any_request_goes_on(
    mine: Vault, tmp_path: Path, name: str, acts: str, request: Any
) -> None:
    if acts == "several acts":
        request.getfixturevalue("small_acts")
    path = tmp_path / "new.parquet"
    for cut in itertools.count():
        where, new = f"{name} {cut}", changed(19, 1, 30, 6, 11, 12, 31, 0)
        pq.write_table(new, path)
        await begun(mine, where)
        ended = False
        with through(mine, Breaking(honest(mine), cut, after=cut % 2 == 0)):
            try:
                await update(mine, where, path)
                ended = True
            except Unreachable:
                pass
        await mine.session.sync()
        half = await by_key(mine, where)
        both = updated(OLD, new)
        for key, row in both.items():
            old = {each["name"]: each for each in OLD.to_pylist()}.get(key)
            assert half.get(key) in (old, row)
        done = await update(mine, where, path)
        assert await by_key(mine, where) == both
        assert done.unchanged == 8 or not ended
        assert journal_of(mine) == (0, 0)
        if ended:
            break
    assert cut > 12


@pytest.mark.threat("R2")
async def test_an_update_killed_at_any_request_goes_on_from_its_disk(
    tmp_path: Path, small_acts: None
) -> None:
    path, new = tmp_path / "new.parquet", changed(19, 1, 30, 6, 11, 12, 31, 0)
    pq.write_table(new, path)
    async with a_vault(tmp_path / "v") as (lab, mine):
        home = lab.home("seller")
        for cut in itertools.count():
            name = f"killed {cut}"
            await begun(mine, name)
            with through(mine, Breaking(honest(mine), cut)):
                try:
                    await update(mine, name, path)
                    break
                except Unreachable:
                    home = as_killed(home, lab, name)
            await mine.close()
            mine = home.vault()
            await update(mine, name, path)
            assert await by_key(mine, name) == updated(OLD, new)
        await mine.close()
    assert cut > 12


@pytest.mark.parametrize("what", ["upload", "plan_upload"])
async def test_ctrl_c_while_keys_are_looked_at_waits_for_one_batch_at_most(
    mine: Vault, name: str, what: str
) -> None:
    await begun(mine, name)
    size = mine.session.believed.ledger.size
    before, read = tasks_of_clients(), []

    class Slow(Derived):
        def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
            for batch in self.read(max_rows):
                read.append(batch.num_rows)
                yield batch

    seen: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        seen.append(progress)
        if progress.task == "looking at the keys":
            working.cancel()

    slow = Slow(open_source(changed(*range(200))))
    asked = getattr(mine, what)(
        slow, collection=name, replace_by="name", options=OPTIONS, on_progress=on_progress
    )
    working = asyncio.create_task(asked)
    with pytest.raises(asyncio.CancelledError):
        await working
    assert len(seen) == 1
    assert len(read) <= 3
    assert tasks_of_clients() == before
    assert await acts_since(mine, size) == []


# --- others at work


async def test_what_others_add_meanwhile_is_looked_at_before_anything_is_added_beside_it(
    tmp_path: Path,
) -> None:
    async with with_ada(tmp_path) as (deal, ada):
        await begun(deal.seller, "c")

        class Overtaking(Watched):
            async def stage(self, *given: Any) -> None:
                await super().stage(*given)
                if len(self.stages) == 1:
                    await ada.upload(changed(30, 31), collection="c", options=OPTIONS)

        with through(deal.seller, Overtaking(deal.seller)):
            done = await update(deal.seller, "c", changed(3, 30, 32))
        assert (done.records, done.replaced, done.unchanged) == (2, 1, 1)
        wanted = updated(OLD, changed(3, 30, 31, 32))
        assert await by_key(deal.seller, "c") == wanted
        assert journal_of(deal.seller) == (0, 0)


@pytest.mark.parametrize("what", ["erase", "rotate"])
async def test_blocks_that_others_change_meanwhile_are_erased_from_as_they_are_then(
    tmp_path: Path, what: str
) -> None:
    async with with_ada(tmp_path) as (deal, ada):
        await begun(deal.seller, "c")

        class Overtaking(Watched):
            async def stage(self, *given: Any) -> None:
                await super().stage(*given)
                if len(self.stages) == 1:
                    await (
                        ada.erase("c", [4, 5])
                        if what == "erase"
                        else ada.rotate(collection="c", reencrypt=True)
                    )

        with through(deal.seller, Overtaking(deal.seller)):
            done = await update(deal.seller, "c", changed(3, 1))
        left = OLD if what == "rotate" else OLD.take([0, 1, 2, *range(5, 20)])
        assert await by_key(deal.seller, "c") == updated(left, changed(3, 1))
        assert done.records == 2


async def test_who_keeps_being_overtaken_is_told_so_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "ATTEMPTS", 3)
    async with with_ada(tmp_path) as (deal, ada):
        await begun(deal.seller, "c")
        count = itertools.count(100)

        class Overtaking(Watched):
            async def stage(self, *given: Any) -> None:
                await super().stage(*given)
                await ada.upload(changed(next(count)), collection="c", options=OPTIONS)

        with (
            through(deal.seller, Overtaking(deal.seller)),
            pytest.raises(Refused, match="somebody else added records meanwhile") as caught,
        ):
            await update(deal.seller, "c", changed(3))
        assert caught.value.refusal == OutOfOrder.code
        assert await by_key(deal.seller, "c") == updated(OLD, changed(100, 101, 102))


async def test_a_refusal_that_trying_again_cannot_help_is_told_at_once(tmp_path: Path) -> None:
    async with with_ada(tmp_path) as (deal, ada):
        await begun(deal.seller, "c")

        class Freezing(Watched):
            async def stage(self, *given: Any) -> None:
                await super().stage(*given)
                await ada.freeze(Reason.BREACH)

        freezing = Freezing(deal.seller)
        with through(deal.seller, freezing), pytest.raises(Refused, match="frozen"):
            await update(deal.seller, "c", changed(3))
        assert len(freezing.stages) == 1
        await deal.seller.unfreeze()
        await update(deal.seller, "c", changed(3))
        assert await by_key(deal.seller, "c") == updated(OLD, changed(3))


async def test_a_server_that_says_it_is_out_of_order_is_asked_once_where_nothing_changed(
    mine: Vault, name: str
) -> None:
    await begun(mine, name)

    class Stubborn(Watched):
        asked = 0

        async def stage(self, *given: Any) -> None:
            self.asked += 1
            raise Refused("somebody was before you", code=OutOfOrder.code)

    stubborn = Stubborn(mine)
    with through(mine, stubborn), pytest.raises(Refused, match="somebody was before you"):
        await update(mine, name, changed(3))
    assert stubborn.asked == 1


async def test_a_refusal_is_told_at_once_though_others_were_at_work_too(tmp_path: Path) -> None:
    async with with_ada(tmp_path) as (deal, ada):
        await begun(deal.seller, "c")

        class Busy(Watched):
            async def stage(self, *given: Any) -> None:
                await super().stage(*given)
                await ada.upload(changed(30), collection="c", options=OPTIONS)
                raise Refused("the server's disk is full", code="storage_full")

        busy = Busy(deal.seller)
        with through(deal.seller, busy), pytest.raises(Refused, match="disk is full"):
            await update(deal.seller, "c", changed(3))
        assert len(busy.stages) == 1


async def test_a_collection_that_is_retired_meanwhile_takes_no_update(tmp_path: Path) -> None:
    async with with_ada(tmp_path) as (deal, ada):
        await begun(deal.seller, "c")

        class Retiring(Watched):
            async def stage(self, *given: Any) -> None:
                await super().stage(*given)
                await ada.retire_collection("c")

        with through(deal.seller, Retiring(deal.seller)), pytest.raises(Refused):
            await update(deal.seller, "c", changed(3))


@pytest.mark.threat("C1")
async def test_blocks_that_a_server_forges_are_compared_with_nothing(
    mine: Vault, name: str
) -> None:
    await begun(mine, name)
    size = mine.session.believed.ledger.size
    liar = Tampering(
        honest(mine), lambda _, blocks: [bytes([each[0]]) + each[1:-1] + b"x" for each in blocks]
    )
    with through(mine, liar), pytest.raises(Exception, match="other than the manifest"):
        await update(mine, name, changed(3))
    assert liar.lies
    assert await acts_since(mine, size) == []
