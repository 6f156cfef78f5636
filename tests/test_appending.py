"""Further tables into a collection that is there: all of them fit, or nothing is sent."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from client import appending, sending
from client.catalogs import NamedField, Names, read_names
from client.errors import InputError, Refused, Unreachable
from client.results.data import PlannedField, UploadPlan
from client.session import Session
from client.tables import TableRagged, open_source
from client.vault import Vault
from protocol.acts import Role
from protocol.blocks import FieldClass
from protocol.errors import IntegrityError
from tests.deals import (
    Breaking,
    a_deal,
    a_vault,
    acts_since,
    as_killed,
    commit_names,
    honest,
    in_batches_of,
    joined,
    journal_of,
    rows,
    through,
)
from tests.uploading import Watched, called_like_its_test, one_vault, with_empty_journal

pytestmark = pytest.mark.asyncio(loop_scope="module")

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
OPTIONS = in_batches_of(5)
FIRST, MORE = rows(12), rows(20).slice(12)
BOTH = rows(20)
CLASSES = {"name": CORE, "note": GENERAL}


opened = pytest_asyncio.fixture(scope="module", loop_scope="module")(one_vault)
mine = pytest.fixture(with_empty_journal)
name = pytest.fixture(called_like_its_test)


@pytest.fixture
def more(tmp_path: Path) -> Path:
    path = tmp_path / "more.parquet"
    pq.write_table(MORE, path)
    return path


async def begun(vault: Vault, name: str, table: pa.Table = FIRST) -> None:
    await vault.upload(table, collection=name, classes=CLASSES, options=OPTIONS)


# --- what fits


async def test_records_are_added_after_those_that_are_there(
    mine: Vault, more: Path, name: str
) -> None:
    await begun(mine, name)
    size = mine.session.believed.ledger.size
    added = await mine.upload(more, collection=name, options=OPTIONS)
    assert (added.appended, added.records, added.batches, added.cells) == (True, 8, 2, 24)
    assert await acts_since(mine, size) == ["commit"]
    assert (await mine.read(name)).equals(BOTH)
    assert (await mine.collection(name)).records == 20
    assert [each.name for each in await mine.collections()].count(name) == 1
    assert journal_of(mine) == (0, 0)


async def test_fields_keep_the_classes_and_names_that_they_have(
    mine: Vault, more: Path, name: str
) -> None:
    await begun(mine, name)
    before = await mine.collection(name)
    watched = Watched(mine)
    with through(mine, watched):
        await mine.upload(more, collection=name, classes={"name": CORE}, options=OPTIONS)
    assert len(watched.stages) == 2  # no names once more
    after = await mine.collection(name)
    assert (after.fields, after.file) == (before.fields, before.file)
    assert [field.field_class for field in after.fields] == ["core", "sensitive", "general"]


async def test_columns_in_another_order_are_put_in_theirs_by_name(mine: Vault, name: str) -> None:
    await begun(mine, name)
    added = await mine.upload(MORE.select(["note", "name", "orders"]), collection=name)
    assert added.notes == (
        "its columns are in another order than there, and were put in that one by name",
    )
    assert (await mine.read(name)).equals(BOTH)


# --- what does not


OTHERS: list[tuple[Any, dict[str, Any], tuple[str, ...], str]] = [
    (MORE.drop_columns(["note"]), {}, ("'note' is missing",), "Add the column"),
    (MORE.append_column("x", [["y"] * 8]), {}, ("'x' is no field there",), "Leave the column out"),
    (MORE.cast(pa.schema([("name", "string"), ("orders", "int64"), ("note", "string")])), {},
     ("'orders' is int64, and int32 there",), "--types infer"),
    (MORE, {"classes": {"note": CORE}}, ("'note' is to be core, and general there",),
     "Leave --class out"),
    (MORE, {"default": GENERAL}, ("'name' is to be general, and core there",
     "'orders' is to be general, and sensitive there"), "Leave --class out"),
    (MORE.rename_columns(["Name", "orders", "note"]), {}, (
     "'name' is missing, and 'Name' is like it but for upper and lower case",),
     "Call the column what the field is called there"),
    (MORE.rename_columns(["name", "orders", "remark"]), {}, ("'note' is missing",
     "'remark' is no field there"), "Add the column, empty where nothing is known. Leave"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "said", "told", "way"), OTHERS)
async def test_what_does_not_fit_is_told_field_by_field_and_nothing_is_sent(
    mine: Vault, name: str, table: pa.Table, said: dict[str, Any], told: tuple[str, ...], way: str
) -> None:
    await begun(mine, name)
    size = mine.session.believed.ledger.size
    watched = Watched(mine)
    for asked in (mine.upload, mine.plan_upload):
        with through(mine, watched), pytest.raises(InputError, match="does not fit") as caught:
            await asked(table, collection=name, **said)
        assert all(each in str(caught.value) for each in told)
        hint = caught.value.hint or ""
        assert hint.startswith("Nothing was sent. ")
        assert way in hint
    assert watched.stages == []
    assert await acts_since(mine, size) == []
    assert (await mine.read(name)).equals(FIRST)


async def test_of_very_many_differences_the_first_are_told(mine: Vault, name: str) -> None:
    await begun(mine, name)
    wide = pa.table({**{f"x{n}": ["y"] for n in range(40)}})
    with pytest.raises(InputError, match=r"'x8' is no field there; and 31 more$"):
        await mine.upload(wide, collection=name)


async def test_fields_without_names_take_nothing(mine: Vault, name: str) -> None:
    done = await mine.upload(FIRST, collection=name)
    where = bytes.fromhex(done.collection_id)
    (catalog,) = mine.session.state.collections[where].catalogs
    await commit_names(mine, where, catalog, {"fields": [[1, "name", "string"]]})
    mine.session.store._db.execute("DELETE FROM blocks")
    renamed = await mine.collection(name)
    assert [field.name for field in renamed.fields] == ["name", "name", "note"]
    with pytest.raises(InputError, match="'orders' is no field there"):
        await mine.upload(MORE, collection=name)


async def test_a_name_that_two_collections_have_is_no_place_to_add_to(
    mine: Vault, name: str
) -> None:
    await begun(mine, name)
    other = await mine.upload(FIRST, collection=f"not {name}")
    where = mine.session.state.collections[bytes.fromhex(other.collection_id)]
    await commit_names(mine, where.id, where.catalogs[0], {"collection": name})
    with pytest.raises(InputError, match="several collections are called"):
        await mine.upload(MORE, collection=name)


async def test_who_may_not_know_every_field_adds_nothing(tmp_path: Path) -> None:
    async with (
        a_deal(tmp_path) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN, [GENERAL]) as ada,
    ):
        await deal.seller.upload(FIRST, collection="customers", default=GENERAL)
        await ada.upload(MORE, collection="customers")
        assert (await deal.seller.read("customers")).equals(BOTH)
        await begun(deal.seller, "others")
        for key in (None, "name"):
            with pytest.raises(
                Refused, match="2 fields of the collection are closed to you"
            ) as caught:
                await ada.upload(MORE, collection="others", replace_by=key)
            assert caught.value.refusal == "not_granted"


# --- the same file again


async def test_a_file_that_went_there_before_goes_again_only_if_told(
    mine: Vault, more: Path, name: str
) -> None:
    await begun(mine, name)
    await mine.upload(more, collection=name, options=OPTIONS)
    act = mine.session.state.collections[
        bytes.fromhex((await mine.collection(name)).collection_id)
    ].batches[-1].committed_at  # fmt: skip
    for asked in (mine.upload, mine.plan_upload):
        with pytest.raises(Refused) as caught:
            await asked(more, collection=name, options=OPTIONS)
        assert str(caught.value) == (
            f"more.parquet was uploaded to {name!r} before (act {act:,} of the log)"
        )
        assert "--again" in (caught.value.hint or "")
    assert (await mine.upload(more, collection=name, options=OPTIONS, again=True)).records == 8
    assert (await mine.read(name)).num_rows == 28
    # Elsewhere it is another matter.
    await mine.upload(more, collection=f"not {name}", options=OPTIONS)


async def test_after_the_collection_is_retired_the_file_is_none_that_is_there(
    mine: Vault, more: Path, name: str
) -> None:
    await mine.upload(more, collection=name, options=OPTIONS)
    await mine.retire_collection(name)
    assert not (await mine.upload(more, collection=name, options=OPTIONS)).appended
    assert (await mine.read(name)).equals(MORE)


@pytest.mark.threat("R2")
async def test_an_addition_cut_at_any_request_is_there_once(
    mine: Vault, more: Path, name: str
) -> None:
    await begun(mine, name)
    for cut in itertools.count():
        held = (await mine.collection(name)).records
        with through(mine, Breaking(honest(mine), cut, after=cut % 2 == 0)):
            try:
                await mine.upload(more, collection=name, options=OPTIONS, again=True)
                break
            except Unreachable:
                pass
        await mine.upload(more, collection=name, options=OPTIONS, again=True)
        assert (await mine.collection(name)).records == held + 8
        assert journal_of(mine) == (0, 0)
    assert cut > 5


@pytest.mark.threat("R2")
async def test_an_addition_killed_at_any_request_is_there_once(tmp_path: Path, more: Path) -> None:
    async with a_vault(tmp_path / "v") as (lab, mine):
        await begun(mine, "customers")
        home = lab.home("seller")
        for cut in itertools.count():
            home = as_killed(home, lab, f"killed {cut}")
            mine, held = home.vault(), 0
            held = (await mine.collection("customers")).records
            killed = home
            with through(mine, Breaking(honest(mine), cut, after=cut % 2 == 1)):
                try:
                    await mine.upload(more, collection="customers", options=OPTIONS, again=True)
                    break
                except Unreachable:
                    # What the disk has then is all that the next one knows.
                    killed = as_killed(home, lab, f"killed at {cut}")
            await mine.close()
            mine = killed.vault()
            await mine.upload(more, collection="customers", options=OPTIONS, again=True)
            assert (await mine.collection("customers")).records == held + 8
            await mine.close()
            home = killed
        await mine.close()
    assert cut > 5


# --- several files


async def test_several_files_go_in_as_one(mine: Vault, tmp_path: Path, name: str) -> None:
    paths = [tmp_path / f"{at}.parquet" for at in range(3)]
    for at, path in enumerate(paths):
        pq.write_table(BOTH.slice(at * 7, 7), path)
    pq.write_table(BOTH.slice(14).select(["note", "orders", "name"]), paths[2])
    size = mine.session.believed.ledger.size
    done = await mine.upload(paths, collection=name, classes=CLASSES, options=OPTIONS)
    assert (done.records, done.batches) == (20, 4)
    assert done.notes == (
        "2.parquet: its columns are in another order than there, and were put in that one by name",
    )
    assert (await acts_since(mine, size)).count("commit") == 1
    assert (await mine.read(name)).equals(BOTH)
    with pytest.raises(Refused, match="this table was uploaded to"):
        await mine.upload(paths, collection=name, options=OPTIONS)


async def test_one_file_that_does_not_fit_keeps_all_of_them(
    mine: Vault, tmp_path: Path, name: str
) -> None:
    good, other, broken = (tmp_path / each for each in ("good.csv", "other.csv", "broken.csv"))
    good.write_text("a,b\n1,2\n")
    other.write_text("a,c\n1,2\n")
    broken.write_text("a,b\n1,2\n3\n")
    size = mine.session.believed.ledger.size
    with pytest.raises(
        InputError, match=r"other\.csv does not fit good\.csv: 'b' is missing; 'c' is"
    ):
        await mine.upload([good, other], collection=name)
    with pytest.raises(TableRagged, match=r"row 3, .*in broken\.csv"):
        await mine.upload([good, broken], collection=name)
    assert await acts_since(mine, size) == []


async def test_several_files_that_were_cut_off_go_on(
    mine: Vault, tmp_path: Path, name: str
) -> None:
    paths = [tmp_path / f"{at}.csv" for at in range(2)]
    for at, path in enumerate(paths):
        path.write_text("a\n" + "".join(f"{at}{n}\n" for n in range(11)))
    with through(mine, Breaking(honest(mine), 14)), pytest.raises(Unreachable):
        await mine.upload(paths, collection=name, options=OPTIONS)
    done = await mine.upload(paths, collection=name, options=OPTIONS)
    assert done.resumed_batches > 0
    cells = (await mine.read(name))["a"].to_pylist()
    assert cells == [f"{at}{n}" for at in range(2) for n in range(11)]


# --- rehearsals


async def test_a_rehearsal_says_what_the_upload_comes_to_and_sends_nothing(
    mine: Vault, more: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "RATE_BYTES", 1)
    await begun(mine, name)
    size = mine.session.believed.ledger.size
    watched = Watched(mine)
    with through(mine, watched):
        plan = await mine.plan_upload(more, collection=name, options=OPTIONS)
        looked = await mine.plan_upload(more, collection=name, options=OPTIONS, rehearse=False)
        fresh = await mine.plan_upload(more, collection="fresh", classes=CLASSES, options=OPTIONS)
    assert watched.stages == []
    assert await acts_since(mine, size) == []
    assert journal_of(mine) == (0, 0)
    done = await mine.upload(more, collection=name, options=OPTIONS)
    assert (plan.records, plan.batches, plan.sealed_bytes, plan.there) == (
        done.records, done.batches, done.sealed_bytes, 12,
    )  # fmt: skip
    assert plan.fields == (
        PlannedField("name", "string", "core"), PlannedField("orders", "int32", "sensitive"),
        PlannedField("note", "string", "general"),
    )  # fmt: skip
    assert (plan.sealing_seconds or 0) > 0
    assert (plan.seconds or 0) > 0  # at the rate of the upload before
    assert looked == replace(
        plan, records=None, batches=None, sealed_bytes=None, sealing_seconds=None, seconds=None
    )
    assert (fresh.there, fresh.records, fresh.fields) == (None, 8, plan.fields)


async def test_before_anything_was_sent_nobody_knows_how_long_it_takes(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal:
        plan = await deal.seller.plan_upload(MORE, collection="customers")
        assert isinstance(plan, UploadPlan)
        assert plan.seconds is None
        with pytest.raises(Refused):
            await deal.buyer.plan_upload(MORE, collection="customers")
        with pytest.raises(Refused):
            await deal.buyer.upload(MORE, collection="customers")


async def test_an_upload_of_a_few_rows_says_nothing_of_how_long_others_take(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (_, vault):
        await vault.upload(FIRST, collection="few")
        assert (await vault.plan_upload(MORE, collection="few")).seconds is None
        long = pa.table({"a": ["x" * 250_000] * 5})
        await vault.upload(long, collection="many")
        seconds = (await vault.plan_upload(MORE, collection="few")).seconds
        assert seconds is not None
        # What is small since leaves it as it is.
        await vault.upload(MORE, collection="few")
        assert (await vault.plan_upload(MORE, collection="few", again=True)).seconds == seconds


async def test_rows_too_large_for_one_batch_are_rehearsed_as_they_are_sent(
    mine: Vault, name: str
) -> None:
    table = pa.table({"big": ["x" * 900_000] * 20})
    plan = await mine.plan_upload(table, collection=name)
    done = await mine.upload(table, collection=name)
    assert done.batches > 1
    assert (plan.batches, plan.records) == (done.batches, 20)
    assert plan.sealed_bytes == done.sealed_bytes - _names_bytes(mine, done.collection_id)


def _names_bytes(vault: Vault, collection: str) -> int:
    where = vault.session.state.collections[bytes.fromhex(collection)]
    names = [each.manifest for each in where.batches if each.manifest.is_catalog]
    return sum(ref.length for manifest in names for ref in manifest.blocks)


async def test_a_source_that_is_open_is_taken_as_it_is(mine: Vault, more: Path, name: str) -> None:
    source = open_source(more)
    assert (await mine.upload([source], collection=name)).records == 8


async def test_a_collection_whose_catalog_leaves_a_field_out_takes_nothing(
    mine: Vault, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begun(mine, name)

    async def nameless(session: Session, collection: bytes) -> Names:
        return replace(await read_names(session, collection), fields={0: NamedField("a", "string")})

    monkeypatch.setattr(appending, "read_names", nameless)
    with pytest.raises(IntegrityError, match="the catalog does not name field 1"):
        await mine.upload(MORE, collection=name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("custmers", "'custmers' is a new collection; there is one called 'customers'"),
        ("customers", None),
        ("something else", None),
        ("Orders 2026", None),
    ],
)
async def test_a_name_much_like_one_that_is_there_is_said_to_be_new(
    tmp_path: Path, name: str, said: str | None
) -> None:
    async with a_vault(tmp_path) as (_, vault):
        for known in ("customers", "orders 2025"):
            await vault.upload(rows(2), collection=known)
        planned = await vault.plan_upload(rows(3), collection=name, rehearse=False)
        done = await vault.upload(rows(3), collection=name)
    assert planned.notes == done.notes == (() if said is None else (said,))
