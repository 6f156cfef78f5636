"""A table goes the whole way: sealed, committed, offered, verified, accepted, exported."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client import uploads
from client.crypto import cells as sealing
from client.errors import InputError
from client.results.data import UploadResult
from client.tables import ReadOptions, TableTooLarge, open_source, schema_of
from client.vault import UploadOptions, field_class
from examples import customers
from protocol.blocks import FieldClass
from protocol.limits import LIMITS, MIB
from tests.deals import a_deal, classes_in_turn, in_batches_of, journal_of, rows
from tests.shared import shared_path

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE


@dataclass
class Transferred:
    """What the buyer has in the end, and what the seller was told."""

    table: pa.Table
    exported: Path
    upload: UploadResult
    epochs: int


async def transfer(
    directory: Path,
    table: Any,
    *,
    classes: Mapping[str, FieldClass] | None = None,
    options: UploadOptions | None = None,
    suffix: str = ".parquet",
) -> Transferred:
    """Take a table from the seller's hands to the buyer's file."""
    async with a_deal(directory) as deal:
        uploaded = await deal.seller.upload(
            table, collection="Kunden 客户", classes=classes, options=options
        )
        assert journal_of(deal.seller) == (0, 0)
        await deal.offer()
        accepted = await deal.buyer.accept(words=deal.words)
        assert (accepted.records, accepted.cells) == (uploaded.records, uploaded.cells)
        assert accepted.collections == 1
        assert (await deal.buyer.status()).role == "owner"
        path = directory / f"out{suffix}"
        exported = await deal.buyer.export("Kunden 客户", path=path)
        assert (exported.records, exported.cells) == (uploaded.records, uploaded.cells)
        where = await deal.buyer.collection("Kunden 客户")
        assert all(field.readable and field.tainted for field in where.fields)
        given = await deal.buyer.read("Kunden 客户")
        return Transferred(given, path, uploaded, accepted.keys)


def same(given: pa.Table, wanted: pa.Table) -> None:
    """Demand the same names, types and values; a NaN is itself, and -0.0 is not 0.0."""
    assert given.schema.equals(wanted.schema, check_metadata=False)
    assert given.num_rows == wanted.num_rows
    for name in given.schema.names:
        mine, theirs = given[name].combine_chunks(), wanted[name].combine_chunks()
        if pa.types.is_floating(mine.type):
            assert mine.is_null().equals(theirs.is_null())
            assert _bits(mine) == _bits(theirs)
        else:
            assert mine.equals(theirs), name


def _bits(values: pa.Array) -> list[bytes | None]:
    return [None if v is None else np.float64(v).tobytes() for v in values.to_pylist()]


def csv_rows(path: Path, encoding: str = "utf-8") -> list[list[str]]:
    """Read a CSV file with Python's own reader."""
    with path.open(encoding=encoding, newline="") as stream:
        return list(csv.reader(stream))


# --- whole tables, as files


async def test_the_example_table_comes_out_byte_for_byte(tmp_path: Path) -> None:
    classes = {name: field_class(text) for name, text in customers.CLASSES.items()}

    moved = await transfer(tmp_path, customers.CSV_PATH, classes=classes, suffix=".csv")

    assert moved.exported.read_bytes() == customers.CSV_PATH.read_bytes()
    assert moved.upload.records == customers.ROWS
    wanted = csv_rows(customers.CSV_PATH)[1:]
    assert [list(row.values()) for row in moved.table.to_pylist()] == wanted


async def test_the_example_table_as_parquet_keeps_every_type(tmp_path: Path) -> None:
    file = tmp_path / "customers.parquet"
    wanted = customers.parquet_table(customers.customers(1_000))
    pq.write_table(wanted, file)
    assert len({str(kind) for kind in wanted.schema.types}) > 3

    moved = await transfer(tmp_path, file, classes=classes_in_turn(wanted.schema.names))

    same(moved.table, wanted)
    same(pq.read_table(moved.exported), wanted)


SHARED_CSV = {
    "telco_churn.csv": ReadOptions(),
    "synthea_patients.csv": ReadOptions(),
    "zh_crm_gb18030.csv": ReadOptions(encoding="gb18030", footer=0),
}


@pytest.mark.parametrize(("name", "said"), SHARED_CSV.items(), ids=SHARED_CSV)
async def test_a_real_csv_table_comes_out_byte_for_byte(
    tmp_path: Path, name: str, said: ReadOptions
) -> None:
    file = shared_path("data", name)
    columns = [column.name for column in open_source(file, said).columns]

    moved = await transfer(
        tmp_path,
        file,
        classes=classes_in_turn(columns),
        options=UploadOptions(said),
        suffix=".csv",
    )

    wanted = csv_rows(file, said.encoding or "utf-8")
    assert csv_rows(moved.exported, said.encoding or "utf-8") == wanted
    assert [list(row.values()) for row in moved.table.to_pylist()] == wanted[1:]
    assert set(moved.table.schema.types) == {pa.string()}
    assert moved.exported.read_bytes() == file.read_bytes()


async def test_fifty_thousand_records_come_out_cell_for_cell(tmp_path: Path) -> None:
    file = shared_path("data", "historical_figures_50k.parquet")
    wanted = pq.read_table(file)
    names = wanted.schema.names

    moved = await transfer(tmp_path, file, classes=classes_in_turn(names))

    assert moved.upload.batches == -(-wanted.num_rows // LIMITS.batch_records_default)
    assert moved.upload.cells == wanted.num_rows * len(names) > 500_000
    same(moved.table, wanted)
    same(pq.read_table(moved.exported), wanted)


async def test_a_csv_file_whose_quoting_is_nobodys_rule_keeps_its_cells(tmp_path: Path) -> None:
    # Quoted here and there as the writer pleased: the cells come back, those quotes do not.
    file = tmp_path / "in.csv"
    file.write_bytes('a,b\r\n"x",y\r\nz,"1 ""2"""\r\n,"é\n"\r\n'.encode())

    moved = await transfer(tmp_path, file, suffix=".csv")

    assert csv_rows(moved.exported) == csv_rows(file)
    assert moved.exported.read_bytes() == 'a,b\r\nx,y\r\nz,"1 ""2"""\r\n,"é\n"\r\n'.encode()


# --- tables in memory


async def test_a_pandas_frame_comes_out_as_arrow_took_it(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas", minversion="2.2")
    frame = pd.DataFrame(
        {
            "name": ["Ann", None, "李雷", ""],
            "when": pd.to_datetime(["2024-01-02", None, "1969-12-31", "2024-02-29"]),
            "spent": [1.5, float("nan"), -0.0, 1e300],
            "level": pd.Categorical(["gold", None, "gold", "silver"]),
            "active": pd.array([True, None, False, True], dtype="boolean"),
        }
    )

    moved = await transfer(tmp_path, frame, classes=classes_in_turn(list(frame.columns)))

    stream = pa.RecordBatchReader.from_stream(frame).read_all()
    same(moved.table, stream)
    same(open_table(moved.exported), stream)


async def test_a_polars_frame_comes_out_as_it_was(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "name": ["Ann", None, "李雷"],
            "n": pl.Series([1, None, -3], dtype=pl.Int8),
            "raw": [b"\x00\xff", b"", None],
            "at": pl.Series([1, 2, None], dtype=pl.Datetime("us", "Asia/Shanghai")),
            "price": pl.Series(["1.10", None, "-7.00"]).cast(pl.Decimal(10, 2)),
        }
    )

    moved = await transfer(tmp_path, frame, classes=classes_in_turn(frame.columns))

    same(moved.table, pa.RecordBatchReader.from_stream(frame).read_all())
    assert pl.DataFrame(moved.table).equals(frame, null_equal=True)


def open_table(path: Path) -> pa.Table:
    source = open_source(path)
    return pa.Table.from_batches(source.batches(1_000), schema=schema_of(source.columns))


# --- edges


async def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    moved = await transfer(tmp_path, rows(0))

    same(moved.table, rows(0))
    same(pq.read_table(moved.exported), rows(0))
    assert (moved.upload.records, moved.upload.batches, moved.upload.cells) == (0, 0, 0)


@pytest.mark.parametrize("final", [b"", b"\n"])
async def test_a_csv_file_of_a_header_alone_comes_back(tmp_path: Path, final: bytes) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(b"name,phone" + final)

    moved = await transfer(tmp_path, file, suffix=".csv")

    assert moved.exported.read_bytes().rstrip() == b"name,phone"
    assert moved.table.schema.names == ["name", "phone"]
    assert moved.table.num_rows == 0


async def test_one_row(tmp_path: Path) -> None:
    same((await transfer(tmp_path, rows(1))).table, rows(1))


async def test_one_column_with_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(b"name\nAnn\n\nBo\n")

    moved = await transfer(tmp_path, file, suffix=".csv")

    assert moved.table.to_pydict() == {"name": ["Ann", "", "Bo"]}
    assert open_table(moved.exported).equals(moved.table)


async def test_columns_of_nulls_of_every_kind(tmp_path: Path) -> None:
    kinds = [pa.null(), pa.string(), pa.int64(), pa.float32(), pa.bool_(), pa.binary(7)]
    table = pa.table({f"c{i}": pa.nulls(5, kind) for i, kind in enumerate(kinds)})

    same((await transfer(tmp_path, table)).table, table)


async def test_twelve_hundred_columns(tmp_path: Path) -> None:
    # More fields than one row of a catalog names, and more manifest than usual in one act.
    table = pa.table({f"{i:04} 列": pa.array([i, None, -i], pa.int16()) for i in range(1_200)})

    moved = await transfer(tmp_path, table, classes=classes_in_turn(table.schema.names))

    same(moved.table, table)
    assert moved.upload.fields == 1_200


async def test_names_at_the_limit_come_back_whole(tmp_path: Path) -> None:
    # They differ at their ends only.
    table = pa.table({"列" * 1_365 + end: pa.array([1], pa.int8()) for end in "ab"})

    same((await transfer(tmp_path, table)).table, table)


async def test_a_cell_of_the_largest_size_and_none_above(tmp_path: Path) -> None:
    most = LIMITS.cell_bytes
    largest = pa.table({"a": ["x" * most, "y"], "b": [None, b"\0" * most]})

    same((await transfer(tmp_path, largest)).table, largest)
    with pytest.raises(TableTooLarge, match="1048577 bytes"):
        await transfer(tmp_path / "b", pa.table({"a": ["x" * (most + 1)]}))


async def test_batches_that_end_early_for_their_size(tmp_path: Path) -> None:
    # Twenty cells, each padded to 1 MiB, do not fit in the 16 MiB of a block.
    deep = pa.table({"a": ["x" * (MIB - 1_000)] * 20, "b": list(range(20))})

    moved = await transfer(tmp_path, deep)

    assert moved.upload.batches == 2
    same(moved.table, deep)


async def test_batches_that_end_early_for_all_their_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = LIMITS.__class__(batch_bytes=24_000)
    monkeypatch.setattr(sealing, "LIMITS", small)
    table = rows(500)

    moved = await transfer(tmp_path, table, options=in_batches_of(400))

    assert moved.upload.batches > 2  # 400 and 100 rows would be two
    same(moved.table, table)


async def test_many_batches(tmp_path: Path) -> None:
    table = rows(700)

    moved = await transfer(tmp_path, table, options=in_batches_of(3))

    assert moved.upload.batches == 234
    same(moved.table, table)


async def test_a_commit_in_several_parts_shows_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 1_200)
    table = rows(100)
    async with a_deal(tmp_path) as deal:
        seen: list[int] = []
        act = deal.seller.session.act

        async def counted(*args: Any, **more: Any) -> int:
            index = await act(*args, **more)
            seen.append(
                sum(each.records for each in deal.seller.session.state.collections.values())
            )
            return index

        monkeypatch.setattr(deal.seller.session, "act", counted)
        await deal.seller.upload(table, collection="Kunden", options=in_batches_of(5))

        # define, epochs, and then the parts: nothing shows before the last
        assert len(seen) > 5
        assert seen[-1] == 100
        assert not any(seen[:-1])
        await deal.offer()
        await deal.accept()
        same(await deal.buyer.read("Kunden"), table)


# --- what is refused before anything is sealed


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"collection": " "}, "1 to 500 characters"),
        ({"collection": "x" * 501}, "1 to 500 characters"),
        ({"collection": "c", "classes": {"nome": GENERAL}}, "no column 'nome'"),
        ({"collection": "c", "options": in_batches_of(0)}, "1 to 65536 records"),
        ({"collection": "c", "options": in_batches_of(65_537)}, "1 to 65536 records"),
    ],
)
async def test_what_does_not_fit_is_refused_before_the_vault_changes(
    tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    async with a_deal(tmp_path) as deal:
        before = (await deal.seller.status()).leaves
        with pytest.raises(InputError, match=said):
            await deal.seller.upload(rows(3), **more)
        assert (await deal.seller.status()).leaves == before


async def test_the_largest_batch_is_taken(tmp_path: Path) -> None:
    table = pa.table({"n": pa.array(range(LIMITS.batch_records + 1), pa.int32())})
    moved = await transfer(tmp_path, table, options=in_batches_of(LIMITS.batch_records))
    assert moved.upload.batches == 2
    same(moved.table, table)


def test_the_classes_have_names() -> None:
    assert [field_class(text) for text in ("general", "sensitive", "core")] == [0, 1, 2]
    with pytest.raises(InputError, match="no class 'secret'"):
        field_class("secret")


async def test_a_dictionary_of_many_texts_is_padded_and_read_as_text(tmp_path: Path) -> None:
    texts = [f"value {n}" for n in range(300)]
    table = pa.table({"city": pa.array(texts).dictionary_encode(), "n": range(300)})
    moved = await transfer(tmp_path, table)
    assert moved.table["city"].to_pylist() == texts
    assert moved.table["city"].type == table["city"].type
