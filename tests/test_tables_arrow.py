"""Parquet and tables in memory, in; and that what is not valid stays out."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.tables import (
    Column,
    ReadOptions,
    Source,
    TableChanged,
    TableEmpty,
    TableFormat,
    TableTooLarge,
    TableType,
    TableUnreadable,
    TableValue,
    column_cells,
    open_sink,
    open_source,
    schema_of,
    type_from_text,
)
from protocol.limits import LIMITS
from tests.shared import shared_path
from tests.table_values import DICTIONARIES, VALUES, columns

NOT_IN_PARQUET = [text for text in (*VALUES, *DICTIONARIES) if "interval" in text or ",-3)" in text]
IN_PARQUET = [text for text in (*VALUES, *DICTIONARIES) if text not in NOT_IN_PARQUET]


def cells_of(source: Source, column: int = 0, max_rows: int = 7) -> list[bytes | None]:
    read = [column_cells(batch.column(column)) for batch in source.batches(max_rows)]
    return [cells.cell(index) for cells in read for index in range(cells.count)]


def rows_of(source: Source, max_rows: int = 1_000) -> list[dict[str, Any]]:
    return [row for batch in source.batches(max_rows) for row in batch.to_pylist()]


def written(path: Path, table: Any, **options: Any) -> Source:
    pq.write_table(pa.table(table), path, **options)
    return open_source(path)


# --- Parquet


@pytest.mark.parametrize("type_text", IN_PARQUET)
@given(data=st.data())
@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow])
def test_every_type_comes_back_from_parquet_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, type_text: str, data: st.DataObject
) -> None:
    array, expected = data.draw(columns(type_text))
    path = tmp_path_factory.mktemp("parquet", numbered=True) / "t.parquet"
    with open_sink(path, [Column("a", type_text)]) as sink:
        sink.write(pa.record_batch([array], names=["a"]))
        sink.commit()
    source = open_source(path)
    assert source.columns == (Column("a", type_text),)
    for batch in source.batches(5):
        assert batch.schema == schema_of(source.columns)
    assert cells_of(source) == expected


@pytest.mark.parametrize("type_text", NOT_IN_PARQUET)
def test_a_type_that_parquet_lacks_is_refused_before_a_row(tmp_path: Path, type_text: str) -> None:
    with pytest.raises(TableType, match="column 'when'") as caught:
        open_sink(tmp_path / "t.parquet", [Column("a", "int8"), Column("when", type_text)])
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_parquet_cannot_hold_is_refused(tmp_path: Path) -> None:
    far = pa.array([2**62], pa.int64()).view(pa.timestamp("s"))
    sink = open_sink(tmp_path / "t.parquet", [Column("a", "timestamp[s]")])
    with pytest.raises(TableValue), sink:
        sink.write(pa.record_batch([far], names=["a"]))
    assert list(tmp_path.iterdir()) == []


def test_parquet_says_what_it_holds(tmp_path: Path) -> None:
    source = written(tmp_path / "t.parquet", {"n": pa.array(range(100), pa.int16())})
    assert (source.name, source.total_rows) == ("t.parquet", 100)
    assert source.format == {"kind": "parquet"}
    content = (tmp_path / "t.parquet").read_bytes()
    assert source.fingerprint() == hashlib.sha256(content).digest()
    assert source.bytes_total == len(content)
    batches = source.batches(50)
    next(batches), next(batches)
    assert 0 < source.bytes_read < len(content)
    assert list(batches) == []
    assert source.bytes_read == len(content)


def test_parquet_batches_cross_row_groups(tmp_path: Path) -> None:
    source = written(tmp_path / "t.parquet", {"n": list(range(1_000))}, row_group_size=130)
    assert [batch.num_rows for batch in source.batches(300)] == [300, 300, 300, 100]
    assert [row["n"] for row in rows_of(source, 7)] == list(range(1_000))


def test_dictionaries_that_differ_between_row_groups_are_joined(tmp_path: Path) -> None:
    words = pa.array([str(n // 3) for n in range(90)]).dictionary_encode()
    source = written(tmp_path / "t.parquet", {"w": words}, row_group_size=11)
    assert [row["w"] for row in rows_of(source, 60)] == words.to_pylist()


def test_parquet_without_rows_has_columns(tmp_path: Path) -> None:
    source = written(tmp_path / "t.parquet", {"n": pa.array([], pa.int8())})
    assert source.columns == (Column("n", "int8"),)
    assert list(source.batches(10)) == []


def test_parquet_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "table.dat")
    assert open_source(tmp_path / "table.dat").format == {"kind": "parquet"}


@pytest.mark.parametrize(
    "said",
    [
        ReadOptions(encoding="utf-8"),
        ReadOptions(delimiter=";"),
        ReadOptions(null_text=""),
        ReadOptions(sheet="x"),
        ReadOptions(table="x"),
    ],
)
def test_options_of_other_files_are_refused(tmp_path: Path, said: ReadOptions) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    for table in (tmp_path / "t.parquet", pa.table({"a": [1]})):
        with pytest.raises(TableFormat):
            open_source(table, said)


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"PAR1", b"PAR1" + bytes(40) + b"PAR1"])
def test_a_damaged_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(TableUnreadable):
        open_source(tmp_path / "t.parquet")


def test_a_page_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [f"{n}" * 9 for n in range(999)]}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[200:1200] = bytes(1000)
    path.write_bytes(content)
    source = open_source(path)
    with pytest.raises(TableUnreadable):
        list(source.batches(100))


def test_a_parquet_file_that_changes_is_refused(tmp_path: Path) -> None:
    source = written(tmp_path / "t.parquet", {"a": [1, 2]})
    pq.write_table(pa.table({"a": [1, 2, 3]}), tmp_path / "t.parquet")
    with pytest.raises(TableChanged):
        list(source.batches(10))


def test_a_nested_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableType, match="column 'tags'") as caught:
        written(tmp_path / "t.parquet", {"a": [1], "tags": [["x"]]})
    assert "flatten" in (caught.value.hint or "")


def test_repeated_names_in_parquet_get_suffixes(tmp_path: Path) -> None:
    table = pa.table([pa.array([1]), pa.array(["x"])], names=["a", "a"])
    pq.write_table(table, tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet")
    assert rows_of(source) == [{"a": 1, "a_2": "x"}]
    assert len(source.notes) == 1


def test_the_order_of_categories_is_said_to_be_lost(tmp_path: Path) -> None:
    sizes = pa.DictionaryArray.from_arrays(
        pa.array([2, 0], pa.int8()), pa.array(["S", "M", "L"]), ordered=True
    )
    source = written(tmp_path / "t.parquet", {"size": sizes})
    assert [row["size"] for row in rows_of(source)] == ["L", "S"]
    assert source.notes == (
        "column 'size': its values are kept, the order of its categories is not",
    )


def forged(path: Path, schema: pa.Schema) -> Source:
    """Write one timestamp of 1.5 seconds under a note that its Arrow types were others."""
    table = pa.table({"a": pa.array([1_500], pa.timestamp("ms"))})
    noted = base64.b64encode(schema.serialize().to_pybytes())
    with pq.ParquetWriter(path, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"ARROW:schema": noted})
    return open_source(path)


def test_a_note_of_the_types_that_lies_is_found_out(tmp_path: Path) -> None:
    source = forged(tmp_path / "t.parquet", pa.schema([("a", pa.timestamp("s"))]))
    assert source.columns[0].type == "timestamp[s]"
    with pytest.raises(TableUnreadable):
        list(source.batches(10))


@pytest.mark.parametrize(
    "noted", [pa.schema([("b", pa.timestamp("s"))]), pa.schema([("a", pa.string())])]
)
def test_a_note_of_the_types_that_does_not_fit_is_passed_over(
    tmp_path: Path, noted: pa.Schema
) -> None:
    source = forged(tmp_path / "t.parquet", noted)
    assert source.columns[0].type == "timestamp[ms]"
    assert cells_of(source) == [(1_500).to_bytes(8, "little")]


@pytest.mark.parametrize("noted", ["?", "AAAA", base64.b64encode(b"no schema").decode()])
def test_a_note_of_the_types_that_is_none_is_refused(tmp_path: Path, noted: str) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"a": [1]})
    with pq.ParquetWriter(path, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"ARROW:schema": noted})
    with pytest.raises(TableUnreadable):
        open_source(path)


def test_without_a_note_of_the_types_parquets_own_are_taken(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array([1], pa.timestamp("s")), "b": pa.array([0], pa.date64())})
    source = written(tmp_path / "t.parquet", table, store_schema=False)
    assert [column.type for column in source.columns] == ["timestamp[ms]", "date32"]


def test_real_parquet_comes_back_exactly(tmp_path: Path) -> None:
    for name in ("historical_figures_50k.parquet", "kylo_userdata1.parquet"):
        path = shared_path("data", name)
        source = open_source(path)
        expected = pq.read_table(path)
        assert source.total_rows == expected.num_rows
        with open_sink(tmp_path / name, source.columns, source.format) as sink:
            for batch in source.batches(4_096):
                sink.write(batch)
            sink.commit()
        back = pq.read_table(tmp_path / name)
        assert back.schema.equals(expected.schema, check_metadata=False)
        assert back.equals(expected.replace_schema_metadata(back.schema.metadata))


# --- tables in memory


def arrow_table() -> pa.Table:
    return pa.table(
        {
            "n": pa.array([1, None, 3], pa.int32()),
            "when": pa.array([0, 1, None], pa.timestamp("us", "Asia/Shanghai")),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        }
    )


def test_an_arrow_table_is_a_source() -> None:
    source = open_source(arrow_table())
    assert [column.type for column in source.columns] == [
        "int32",
        "timestamp[us, tz=Asia/Shanghai]",
        "dictionary<values=string, indices=int32, ordered=0>",
    ]
    assert (source.name, source.total_rows, source.fingerprint()) == (None, 3, None)
    assert (source.bytes_total, source.bytes_read, source.format) == (None, 0, {"kind": "arrow"})
    batches = list(source.batches(2))
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert pa.Table.from_batches(batches).equals(arrow_table())


def test_a_reader_is_streamed_and_read_once() -> None:
    seen: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for n in range(10):
            seen.append(n)
            yield pa.record_batch([pa.array([n, n])], names=["n"])

    schema = pa.schema([("n", pa.int64())])
    source = open_source(pa.RecordBatchReader.from_batches(schema, batches()))
    assert (source.total_rows, seen) == (None, [])
    read = source.batches(3)
    assert next(read).column(0).to_pylist() == [0, 0, 1]
    assert len(seen) < 4
    assert sum(batch.num_rows for batch in read) == 17
    with pytest.raises(TableUnreadable, match="read once"):
        next(source.batches(3))


def test_a_table_that_knows_its_rows_is_read_as_often_as_needed() -> None:
    """An upload that was overtaken by a rotation reads it again."""
    source = open_source(arrow_table())
    for _ in range(2):
        assert pa.Table.from_batches(source.batches(3)).equals(arrow_table())


def test_the_rows_of_a_data_frame_are_counted_by_its_length() -> None:
    class DataFrame:
        __module__ = "pandas.core.frame"
        table = pa.table({"n": [1, 2, 3]})

        def __len__(self) -> int:
            return 3

        def __arrow_c_stream__(self, requested: object = None) -> object:
            return self.table.__arrow_c_stream__(requested)

    source = open_source(DataFrame())
    assert source.total_rows == 3
    for _ in range(2):
        assert pa.Table.from_batches(source.batches(2)).equals(DataFrame.table)


def test_one_batch_is_a_source_too() -> None:
    class OnlyArray:
        def __arrow_c_array__(self, requested: object = None) -> object:
            return pa.record_batch([pa.array(["x"])], names=["a"]).__arrow_c_array__(requested)

    source = open_source(OnlyArray())
    assert source.total_rows is None
    assert rows_of(source) == [{"a": "x"}]


def test_pandas_is_a_source() -> None:
    pandas = pytest.importorskip("pandas", minversion="2.2")
    frame = pandas.DataFrame({"name": ["Ann", None], "n": [1.5, float("nan")], "ok": [True, False]})
    source = open_source(frame)
    assert source.total_rows == 2
    assert [column.name for column in source.columns] == ["name", "n", "ok"]
    assert [row["name"] for row in rows_of(source)] == ["Ann", None]


def test_pandas_columns_of_mixed_objects_are_refused_without_quoting_them() -> None:
    pandas = pytest.importorskip("pandas", minversion="2.2")
    frame = pandas.DataFrame({"a": pandas.Series([1, "SECRET"], dtype=object)})
    with pytest.raises(TableUnreadable) as caught:
        open_source(frame)
    assert "SECRET" not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"
    assert caught.value.__suppress_context__


def test_polars_is_a_source() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(
        {
            "name": ["Ann", None, "中"],
            "kind": polars.Series(["x", "y", "x"], dtype=polars.Categorical),
        }
    )
    source = open_source(frame)
    assert source.total_rows == 3
    assert rows_of(source, 2) == frame.to_dicts()


def test_polars_categories_go_to_parquet_and_back(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    kinds = polars.Series(["x", None, "y", "x"], dtype=polars.Categorical)
    source = open_source(polars.DataFrame({"kind": kinds}))
    with open_sink(tmp_path / "t.parquet", source.columns) as sink:
        for batch in source.batches(3):
            sink.write(batch)
        sink.commit()
    back = open_source(tmp_path / "t.parquet")
    assert back.columns == source.columns
    assert [row["kind"] for row in rows_of(back)] == ["x", None, "y", "x"]


@pytest.mark.parametrize("type_text", DICTIONARIES)
def test_any_dictionaries_are_joined(type_text: str) -> None:
    data_type = type_from_text(type_text)
    one = pa.DictionaryArray.from_arrays(
        pa.array([0, None], data_type.index_type),
        pa.nulls(1, data_type.value_type),
        ordered=data_type.ordered,
    )
    two = pa.DictionaryArray.from_arrays(
        pa.array([1, 0, 0], data_type.index_type),
        pa.nulls(2, data_type.value_type),
        ordered=data_type.ordered,
    )
    pieces = [pa.record_batch([array], names=["a"]) for array in (one, two, two, one)]
    source = open_source(pa.RecordBatchReader.from_batches(pieces[0].schema, pieces))
    assert cells_of(source, max_rows=4) == [None] * 10


def test_categories_shared_by_all_pieces_keep_their_order() -> None:
    sizes = pa.DictionaryArray.from_arrays(
        pa.array([2, 0, 2, 1], pa.int8()), pa.array(["S", "M", "L"]), ordered=True
    )
    table = pa.table({"size": sizes})
    pieces = [table.slice(at, 1).to_batches()[0] for at in range(4)]
    source = open_source(pa.RecordBatchReader.from_batches(table.schema, pieces))
    (batch,) = source.batches(4)
    assert batch.column(0).equals(sizes)


def test_duckdb_is_a_source() -> None:
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.sql("select range as n, 'row ' || range as name from range(5000)")
    source = open_source(relation)
    assert [column.type for column in source.columns] == ["int64", "string"]
    batches = list(source.batches(3_000))
    assert [batch.num_rows for batch in batches] == [3_000, 2_000]
    assert batches[1].column(1)[1_999].as_py() == "row 4999"


@pytest.mark.parametrize("table", [3, None, [["a"]], {"a": [1]}, b"a.csv"])
def test_what_is_no_table_is_refused(table: object) -> None:
    with pytest.raises(TableFormat):
        open_source(table)


def test_a_column_alone_is_no_table() -> None:
    with pytest.raises(TableUnreadable):
        open_source(pa.array([1, 2]))


def test_a_table_without_columns_is_refused() -> None:
    with pytest.raises(TableEmpty):
        open_source(pa.table({}))


def test_a_library_that_fails_midway_is_an_error_without_its_message() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([pa.array([1])], names=["n"])
        raise OSError("SECRET")

    schema = pa.schema([("n", pa.int64())])
    source = open_source(pa.RecordBatchReader.from_batches(schema, batches()))
    with pytest.raises(TableUnreadable) as caught:
        list(source.batches(1))
    assert "SECRET" not in str(caught.value)


def bad_text() -> pa.Array:
    offsets = pa.py_buffer(np.array([0, 1, 2], np.int32))
    return pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xff")])


def test_text_that_is_not_utf8_does_not_get_in() -> None:
    source = open_source(pa.table({"fine": ["x", "y"], "name": bad_text()}))
    with pytest.raises(TableUnreadable, match="column 'name'"):
        list(source.batches(10))


def test_parquet_text_that_is_not_utf8_does_not_get_in(tmp_path: Path) -> None:
    source = written(tmp_path / "t.parquet", {"name": bad_text()})
    with pytest.raises(TableUnreadable, match="column 'name'"):
        list(source.batches(10))


def test_a_cell_above_the_limit_is_named() -> None:
    large = "x" * (LIMITS.cell_bytes + 1)
    for kind in (pa.string(), pa.large_binary(), pa.string_view()):
        source = open_source(pa.table({"n": [1, 2, 3], "a": pa.array(["", "y", large], kind)}))
        with pytest.raises(TableTooLarge, match="column 'a'") as caught:
            list(source.batches(2))
        assert caught.value.row == 3
    source = open_source(pa.table({"a": pa.array(["y", large]).dictionary_encode()}))
    with pytest.raises(TableTooLarge, match="column 'a'") as caught:
        list(source.batches(2))
    assert caught.value.row is None


def test_dictionaries_that_cannot_be_joined_are_refused() -> None:
    def piece(start: int) -> pa.RecordBatch:
        words = pa.array([str(n) for n in range(start, start + 100)])
        indices = pa.array(range(100), pa.int8())
        return pa.record_batch([pa.DictionaryArray.from_arrays(indices, words)], names=["w"])

    pieces = [piece(0), piece(100)]
    source = open_source(pa.RecordBatchReader.from_batches(pieces[0].schema, pieces))
    with pytest.raises(TableType, match="cannot be joined"):
        list(source.batches(200))
    source = open_source(pa.RecordBatchReader.from_batches(pieces[0].schema, pieces))
    assert [batch.num_rows for batch in source.batches(100)] == [100, 100]


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 12))
def test_pieces_of_any_size_make_exact_batches(sizes: list[int], max_rows: int) -> None:
    numbers = iter(range(sys.maxsize))
    pieces = [pa.record_batch([pa.array([next(numbers) for _ in range(n)], pa.int64())], ["n"])
              for n in sizes]  # fmt: skip
    source = open_source(pa.RecordBatchReader.from_batches(pa.schema([("n", pa.int64())]), pieces))
    read = list(source.batches(max_rows))
    assert all(batch.num_rows == max_rows for batch in read[:-1])
    assert not read or 0 < read[-1].num_rows <= max_rows
    cells = [cell for batch in read for cell in batch.column(0).to_pylist()]
    assert cells == list(range(sum(sizes)))


def test_a_slice_of_a_table_gives_its_own_rows_only() -> None:
    table = pa.table({"a": ["0", "1", "2", "3"], "b": [None, True, False, None]})
    source = open_source(table.slice(1, 2))
    assert cells_of(source, 0) == [b"1", b"2"]
    source = open_source(table.slice(1, 3))
    assert cells_of(source, 1) == [b"\1", b"\0", None]


def test_types_are_those_that_were_declared() -> None:
    source = open_source(arrow_table())
    batch = next(source.batches(3))
    assert [type_from_text(column.type) for column in source.columns] == batch.schema.types
    assert pc.sum(batch.column(0)).as_py() == 4
