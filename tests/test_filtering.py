"""Reading with conditions and formats through a vault: evaluated here, on verified values."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.catalogs import read_names
from client.errors import InputError, Refused
from client.results.progress import Progress
from client.tables import ReadOptions, TableFormat, WriteOptions, open_source
from client.vault import UploadOptions
from protocol.blocks import FieldClass
from protocol.errors import ManifestMismatch
from tests.answer_lies import flipped
from tests.deals import Deal, Tampering, a_deal, honest, in_batches_of, rows, through

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
TITLED = "Customers of Lark\n\nname,phone,,name\nAda,1,x,DE1\nAlan,22,y,DE2\nTotal,2,,\n"


@pytest.fixture
async def deal(tmp_path: Path) -> AsyncIterator[Deal]:
    async with a_deal(tmp_path / "deal") as made:
        yield made


async def uploaded(deal: Deal, **classes: FieldClass) -> None:
    await deal.seller.upload(
        rows(100),
        collection="customers",
        classes=classes,
        default=GENERAL,
        options=in_batches_of(16),
    )


# --- conditions


async def test_only_records_that_meet_every_condition_are_given(deal: Deal) -> None:
    await uploaded(deal)
    table = await deal.seller.read("customers", where=["orders>=90", "name~00009"])
    assert table["orders"].to_pylist() == list(range(90, 100))
    assert table.column_names == ["name", "orders", "note"]
    few = await deal.seller.read("customers", where=["note=n7"])
    assert few["orders"].to_pylist() == [7]


async def test_a_condition_may_look_at_a_field_that_is_not_given(deal: Deal) -> None:
    await uploaded(deal)
    table = await deal.seller.read("customers", fields=["name"], where=["orders<2"], limit=9)
    assert table.to_pylist() == [{"name": "customer 000000"}, {"name": "customer 000001"}]


async def test_a_limit_counts_the_records_that_are_given(deal: Deal, tmp_path: Path) -> None:
    await uploaded(deal)
    seen: list[Progress] = []
    done = await deal.seller.export(
        "customers", where=["orders>=20"], limit=5, path=tmp_path / "o.csv", on_progress=seen.append
    )
    whole = await deal.seller.export("customers", path=tmp_path / "w.csv")
    assert done.records == 5
    assert 0 < done.fetched_bytes < whole.fetched_bytes
    with (tmp_path / "o.csv").open(newline="") as stream:
        assert [row[1] for row in csv.reader(stream)][1:] == ["20", "21", "22", "23", "24"]
    assert seen[-1].total == 100
    none = await deal.seller.export("customers", where=["orders>=20"], limit=0)
    assert none.records == 0


async def test_a_field_that_was_not_granted_cannot_be_asked_about(deal: Deal) -> None:
    await uploaded(deal, orders=CORE)
    await deal.seller.grant("Bo", classes=[GENERAL])
    with pytest.raises(Refused):
        await deal.buyer.read("customers", where=["orders>5"])
    assert (await deal.buyer.read("customers", where=["name~5"])).num_rows == 19


@pytest.mark.parametrize(
    ("condition", "error"),
    [("orders", TableFormat), ("orders=many", TableFormat), ("nope=1", InputError)],
)
async def test_what_is_no_condition_on_a_field_is_refused(
    deal: Deal, condition: str, error: type[Exception]
) -> None:
    await uploaded(deal)
    with pytest.raises(error):
        await deal.seller.read("customers", where=[condition])


async def test_conditions_see_verified_values_only(deal: Deal) -> None:
    await uploaded(deal)
    liar = Tampering(honest(deal.seller), lambda _, blocks: [flipped(blocks[0]), *blocks[1:]])
    with through(deal.seller, liar), pytest.raises(ManifestMismatch):
        await deal.seller.read("customers", where=["orders=99"])


# --- formats


async def test_a_title_a_total_and_the_header_come_back_with_all_of_the_table(
    deal: Deal, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(TITLED)
    said = UploadOptions(ReadOptions(header_row=3, footer=1))
    done = await deal.seller.upload(path, collection="c", options=said)
    assert "above the header: 2 lines, kept beside the rows" in done.notes
    await deal.seller.export("c", path=tmp_path / "whole.csv")
    assert (tmp_path / "whole.csv").read_text() == TITLED
    for part in ({"limit": 9}, {"where": ["name~A"]}, {"fields": ["name", "phone"]}):
        got = await deal.seller.export("c", path=tmp_path / "part.csv", overwrite=True, **part)
        assert (tmp_path / "part.csv").read_text().startswith("name,phone")
        assert got.records == 2
    backwards = ["name_2", "column_3", "phone", "name"]
    await deal.seller.export("c", fields=backwards, path=tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text().startswith("name,,phone,name\nDE1,x,1,Ada\n")


async def test_the_buyer_gets_the_file_that_the_seller_had(deal: Deal, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(TITLED.replace("\n", "\r\n").encode("utf-16"))
    await deal.seller.upload(
        path,
        collection="c",
        classes={"name": GENERAL, "phone": SENSITIVE, "column_3": GENERAL, "name_2": CORE},
        options=UploadOptions(ReadOptions(header_row=3, footer=1)),
    )
    await deal.offer()
    await deal.accept()
    await deal.buyer.export("c", path=tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == path.read_bytes()


async def test_lines_around_a_table_and_names_of_other_classes_stay_closed(
    deal: Deal, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(TITLED)
    await deal.seller.upload(
        path,
        collection="c",
        classes={"name": GENERAL, "phone": SENSITIVE, "column_3": GENERAL, "name_2": CORE},
        options=UploadOptions(ReadOptions(header_row=3, footer=1)),
    )

    async def shown() -> dict[str, Any]:
        await deal.buyer.session.sync()
        (where,) = [
            c for c in deal.buyer.session.state.collections.values() if c.batches if any(c.id)
        ]
        return dict((await read_names(deal.buyer.session, where.id)).format or {})

    await deal.seller.grant("Bo", classes=[GENERAL])
    general = await shown()
    assert (general["before"], general["after"]) == ("", "")
    assert general["renamed"] == {"column_3": ""}
    await deal.buyer.export("c", path=tmp_path / "general.csv")
    assert (tmp_path / "general.csv").read_text() == "name,\nAda,x\nAlan,y\n"
    await deal.seller.grant("Bo", classes=[CORE])
    core = await shown()
    assert core["before"] == "Customers of Lark\n\n"
    assert core["renamed"] == {"column_3": "", "name_2": "name"}


async def test_a_file_is_written_as_somebody_wants_it(deal: Deal, tmp_path: Path) -> None:
    await uploaded(deal)
    options = WriteOptions(encoding="utf-16", delimiter=";", quoting="all", newline="\n")
    await deal.seller.export("customers", path=tmp_path / "t.csv", limit=1, options=options)
    assert (tmp_path / "t.csv").read_bytes().decode("utf-16").startswith('"name";"orders";"note"\n')


@pytest.mark.parametrize("suffix", [".xlsx", ".sqlite", ".arrow", ".arrows", ".jsonl", ".parquet"])
async def test_every_kind_of_file_holds_what_the_vault_does(
    deal: Deal, tmp_path: Path, suffix: str
) -> None:
    await uploaded(deal)
    done = await deal.seller.export("customers", path=tmp_path / f"t{suffix}")
    assert done.notes == ()
    source = open_source(tmp_path / f"t{suffix}")
    table = pa.Table.from_batches(source.batches(1_000))
    assert table.to_pylist() == rows(100).to_pylist()


async def test_a_database_file_goes_in_and_out_with_its_types(deal: Deal, tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE people (name NVARCHAR(40), pay NUMERIC(9, 2), photo BLOB)")
        made.execute("INSERT INTO people VALUES ('Ada', 1.5, x'00ff'), ('007', 2, NULL)")
        made.commit()
    await deal.seller.upload(path, collection="people")
    await deal.seller.export("people", path=tmp_path / "out.db")
    for each in (path, tmp_path / "out.db"):
        with closing(sqlite3.connect(each)) as made:
            assert made.execute("SELECT * FROM people").fetchall() == [
                ("Ada", 1.5, b"\x00\xff"), ("007", 2, None)
            ]  # fmt: skip
            types = [row[2] for row in made.execute("PRAGMA table_info(people)")]
            assert types == ["NVARCHAR(40)", "NUMERIC(9, 2)", "BLOB"]


async def test_notes_of_a_file_are_in_the_result(deal: Deal, tmp_path: Path) -> None:
    await deal.seller.upload(pa.table({"a": ["=1", "x"], "t": [2**60, 1]}), collection="c")
    defused = await deal.seller.export(
        "c", path=tmp_path / "t.csv", options=WriteOptions(defuse=True)
    )
    assert defused.notes == (
        "1 cell that begins like a formula, or where cut, got an apostrophe before it",
    )
    excel = await deal.seller.export("c", path=tmp_path / "t.xlsx")
    assert excel.notes == ("column 't': cells that Excel cannot hold exactly are text",)


async def test_what_goes_wrong_where_batches_go_is_passed_on(deal: Deal) -> None:
    await uploaded(deal)

    def full(_: pa.RecordBatch) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await deal.seller.export("customers", on_batch=full)


async def test_a_source_that_was_opened_before_is_uploaded(deal: Deal, tmp_path: Path) -> None:
    pq.write_table(rows(10), tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet")
    assert open_source(source) is source
    done = await deal.seller.upload(source, collection="c")
    assert done.records == 10
