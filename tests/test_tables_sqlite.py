"""SQLite in and out: the values decide the types, nothing is written to, and all comes back."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
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
    TableUnwritable,
    TableValue,
    WriteOptions,
    open_sink,
    open_source,
    schema_of,
    sqlite_in,
    sqlite_out,
)
from protocol.limits import LIMITS

Values = list[list[Any]]


def database(folder: Path, *statements: str, name: str = "t.sqlite") -> Path:
    path = folder / name
    with closing(sqlite3.connect(path)) as made:
        for statement in statements:
            made.execute(statement)
        made.commit()
    return path


def table_of(source: Source) -> pa.Table:
    return pa.Table.from_batches(source.batches(100), schema_of(source.columns))


def values_of(path: Path, table: str = "t") -> Values:
    with closing(sqlite3.connect(path)) as made:
        return [list(row) for row in made.execute(f'SELECT * FROM "{table}"')]


def copied(source: Source, target: Path, **options: Any) -> Path:
    said = WriteOptions(**options)
    with open_sink(target, source.columns, source.format, overwrite=True, options=said) as sink:
        for batch in source.batches(2):
            sink.write(batch)
        sink.commit()
    return target


# --- types


@pytest.mark.parametrize(
    ("declared", "values", "kind"),
    [
        ("INTEGER", [1, None, -(2**63)], "int64"),
        ("REAL", [0.1, None, 2.0], "float64"),
        ("NUMERIC", [1, 0.5, None], "float64"),
        ("TEXT", ["007", None, "", "日本"], "string"),
        ("BLOB", [b"\0\xff", None, b""], "binary"),
        ("", ["x", None], "string"),
        ("NVARCHAR(40)", [None, None], "string"),
        ("DATETIME", ["2024-01-02 03:04:05"], "string"),
        ("INTEGER", [1, "x", None], "string"),
        ("NUMERIC", [0.5, 2**53 + 1], "string"),
        ("TEXT", [], "string"),
    ],
)
def test_the_values_of_a_column_say_its_type(
    tmp_path: Path, declared: str, values: list[Any], kind: str
) -> None:
    path = database(tmp_path, f"CREATE TABLE t (k INTEGER, x {declared})")
    with closing(sqlite3.connect(path)) as made:
        made.executemany("INSERT INTO t VALUES (1, ?)", [(value,) for value in values])
        made.commit()
    source = open_source(path)
    assert source.columns[1] == Column("x", kind)
    assert source.total_rows == len(values)
    mixed = len({type(value) for value in values if value is not None}) > 1 and kind == "string"
    assert any("mixed" in note for note in source.notes) == mixed
    back = copied(source, tmp_path / "copy.sqlite")
    assert values_of(back) == values_of(path)
    assert open_source(back).format == source.format
    assert table_of(open_source(back)).equals(table_of(source))


def test_blobs_beside_other_values_have_no_one_type(tmp_path: Path) -> None:
    path = database(tmp_path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (x'00'), ('a')")
    with pytest.raises(TableFormat, match="blobs") as caught:
        open_source(path)
    assert "--query" in (caught.value.hint or "")


def test_text_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    insert = "INSERT INTO t VALUES ('good', 1), (CAST(x'ff' AS TEXT), 2)"
    path = database(tmp_path, "CREATE TABLE t (x TEXT, n)", insert)
    with pytest.raises(TableUnreadable, match="'x'"):
        table_of(open_source(path))
    mixed = database(
        tmp_path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1), (CAST(x'ff' AS TEXT))",
        name="mixed.sqlite",
    )  # fmt: skip
    with pytest.raises(TableUnreadable):
        table_of(open_source(mixed))


# --- which rows


def test_a_table_has_to_be_named_where_there_are_several(tmp_path: Path) -> None:
    path = database(
        tmp_path, "CREATE TABLE a (x)", 'CREATE TABLE "b "" c" (y)', "CREATE VIEW v AS SELECT 1 z",
        "INSERT INTO a VALUES ('1')", "INSERT INTO \"b \"\" c\" VALUES ('2')",
        "CREATE TABLE sq (i INTEGER PRIMARY KEY AUTOINCREMENT)",
    )  # fmt: skip
    with pytest.raises(TableFormat, match="4 tables") as caught:
        open_source(path)
    assert "sqlite_sequence" not in (caught.value.hint or "")
    with pytest.raises(TableFormat, match="no table 'nope'"):
        open_source(path, ReadOptions(table="nope"))
    assert table_of(open_source(path, ReadOptions(table='b " c'))).to_pylist() == [{"y": "2"}]
    assert table_of(open_source(path, ReadOptions(table="v"))).to_pylist() == [{"z": 1}]


def test_a_query_may_be_read(tmp_path: Path) -> None:
    path = database(tmp_path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1), (2), (3)")
    query = "WITH y AS (SELECT x FROM t) SELECT x, x * 0.5 AS half, x FROM y WHERE x > 1;  "
    source = open_source(path, ReadOptions(query=query))
    assert [column.name for column in source.columns] == ["x", "half", "x_2"]
    assert table_of(source)["half"].to_pylist() == [1.0, 1.5]
    assert values_of(copied(source, tmp_path / "copy.sqlite", table="q"), "q") == [
        [2, 1.0, 2], [3, 1.5, 3]
    ]  # fmt: skip


@pytest.mark.parametrize(
    "query",
    ["DELETE FROM t", "SELECT 1; SELECT 2", "SELEC", "SELECT * FROM nope", "SELECT nope FROM t",
     "ATTACH 'x' AS y", "PRAGMA journal_mode = DELETE", "", "SELECT load_extension('x')"],
)  # fmt: skip
def test_what_is_no_query_changes_nothing(tmp_path: Path, query: str) -> None:
    path = database(tmp_path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
    before = path.read_bytes()
    with pytest.raises((TableFormat, TableUnreadable)):
        open_source(path, ReadOptions(query=query))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"


@pytest.mark.parametrize("rows", ["", " WHERE x < 0"])
def test_a_view_that_never_ends_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: str
) -> None:
    monkeypatch.setattr(sqlite_in, "_LEAST_STEPS", 3_000_000)
    path = database(tmp_path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)",
                    f"CREATE VIEW v AS {ENDLESS}{rows}")  # fmt: skip
    for said in (ReadOptions(table="v"), ReadOptions(query=f"{ENDLESS}{rows}")):
        with pytest.raises(TableTooLarge, match="far more work to read than a table of its size"):
            open_source(path, said)
    assert table_of(open_source(path, ReadOptions(table="t"))).num_rows == 1


def test_much_that_ends_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_in, "_LEAST_STEPS", 3_000_000)
    many = f"{ENDLESS} LIMIT 20000"
    path = database(tmp_path, "CREATE TABLE t (x)", f"INSERT INTO t {many}", "CREATE VIEW v AS "
                    "SELECT a.x FROM t a JOIN t b ON b.rowid = a.rowid")  # fmt: skip
    for table in ("t", "v"):
        assert table_of(open_source(path, ReadOptions(table=table))).num_rows == 20_000


def test_what_a_log_beside_it_holds_counts_as_the_file_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_in, "_LEAST_STEPS", 0)
    path = tmp_path / "t.sqlite"
    with closing(sqlite3.connect(path)) as writing:
        writing.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x);"
            f"INSERT INTO t {ENDLESS} LIMIT 50000"
        )
        assert path.stat().st_size < 10_000
        assert table_of(open_source(path)).num_rows == 50_000


def test_another_query_of_one_file_is_another_table(tmp_path: Path) -> None:
    path = database(tmp_path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
    queries = ("SELECT x FROM t WHERE x = 1", "SELECT x FROM t WHERE x = 2")
    prints = {open_source(path, ReadOptions(query=each)).fingerprint() for each in queries}
    assert len(prints) == 2


def test_a_database_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableEmpty):
        open_source(database(tmp_path, "CREATE TABLE t (x)", "DROP TABLE t"))


def test_more_columns_than_a_collection_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from client.tables import source as common

    columns = ", ".join(f"c{n}" for n in range(250))
    path = database(tmp_path, f"CREATE TABLE t ({columns})", "INSERT INTO t (c249) VALUES (1)")
    assert [column.type for column in open_source(path).columns][-2:] == ["string", "int64"]
    few = type(LIMITS)(fields=200)
    monkeypatch.setattr(sqlite_in, "LIMITS", few)
    monkeypatch.setattr(common, "LIMITS", few)
    with pytest.raises(TableTooLarge, match="250 columns"):
        open_source(path)


def test_a_file_that_is_read_is_left_as_it_was(tmp_path: Path) -> None:
    path = database(tmp_path, "PRAGMA journal_mode = WAL", "CREATE TABLE t (x)",
                    "INSERT INTO t VALUES (1)")  # fmt: skip
    before = path.read_bytes()
    assert table_of(open_source(path)).num_rows == 1
    assert path.read_bytes() == before


def test_a_database_in_a_folder_of_somebody_else_is_read(tmp_path: Path) -> None:
    path = database(tmp_path, "PRAGMA journal_mode = WAL", "CREATE TABLE t (x)",
                    "INSERT INTO t VALUES (1)")  # fmt: skip
    for left in tmp_path.glob("t.sqlite-*"):
        left.unlink()
    tmp_path.chmod(0o500)
    try:
        assert table_of(open_source(path)).num_rows == 1
    finally:
        tmp_path.chmod(0o700)


def test_a_database_that_changes_is_refused(tmp_path: Path) -> None:
    path = database(tmp_path, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
    source = open_source(path)
    os.utime(path, (1, 1))
    with pytest.raises(TableChanged):
        table_of(source)


@pytest.mark.parametrize("content", [b"SQLite format 3\0" + bytes(200), b"SQLite format 3\0"])
def test_a_damaged_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.db").write_bytes(content)
    with pytest.raises((TableUnreadable, TableEmpty)):
        open_source(tmp_path / "t.db")


def test_damage_further_in_is_told_as_damage(tmp_path: Path) -> None:
    values = ", ".join(["(hex(zeroblob(500)))"] * 200)
    path = database(tmp_path, "CREATE TABLE t (x TEXT)", f"INSERT INTO t VALUES {values}")
    content = bytearray(path.read_bytes())
    content[-8_192:] = b"\xff" * 8_192
    path.write_bytes(content)
    with pytest.raises(TableUnreadable):
        table_of(open_source(path))


def test_a_schema_that_asks_for_more_than_reading_is_refused(tmp_path: Path) -> None:
    path = database(tmp_path, "CREATE VIEW v AS SELECT writefile('x', 'y') AS z")
    with pytest.raises((TableFormat, TableUnreadable)):
        open_source(path)


# --- out


def written(folder: Path, columns: dict[str, pa.Array], **options: Any) -> Path:
    return copied(open_source(pa.table(columns)), folder / "out.sqlite", **options)


def test_what_sqlite_has_no_type_for_is_text(tmp_path: Path) -> None:
    path = written(tmp_path, {
        "big": pa.array([2**64 - 1], pa.uint64()), "flag": pa.array([True]),
        "when": pa.array([0], pa.timestamp("s", "UTC")),
        "price": pa.array([Decimal("1.50")], pa.decimal128(9, 2)),
        "few": pa.array(["x"]).dictionary_encode(), "blob": pa.array([b"\0"], pa.binary(1)),
        "none": pa.nulls(1), "half": pa.array([1.5], pa.float16()),
    })  # fmt: skip
    assert values_of(path, "out") == [
        [str(2**64 - 1), 1, "1970-01-01T00:00:00Z", "1.50", "x", b"\0", None, 1.5]
    ]
    with closing(sqlite3.connect(path)) as made:
        types = [row[2] for row in made.execute("PRAGMA table_info(out)")]
    assert types == ["TEXT", "INTEGER", "TEXT", "TEXT", "TEXT", "BLOB", "BLOB", "REAL"]


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        ("NVARCHAR(40)", "NVARCHAR(40)"), ("numeric(10, 2)", "numeric(10, 2)"),
        ("TEXT DEFAULT 'x'", "TEXT"), ("x); DROP TABLE t; --", "TEXT"), (7, "TEXT"),
        ("INTEGER PRIMARY KEY", "TEXT"), ("", ""),
    ],
)  # fmt: skip
def test_a_declared_type_is_words_and_nothing_else(
    tmp_path: Path, wish: object, wanted: str
) -> None:
    came = {"kind": "sqlite", "table": "t", "declared": {"x": wish}}
    with open_sink(tmp_path / "o.db", [Column("x", "string")], came) as sink:
        sink.commit()
    with closing(sqlite3.connect(tmp_path / "o.db")) as made:
        assert [row[2] for row in made.execute("PRAGMA table_info(t)")] == [wanted]


def test_a_catalog_that_lies_about_declared_types_is_passed_over(tmp_path: Path) -> None:
    came = {"kind": "sqlite", "table": 7, "declared": ["x"]}
    with open_sink(tmp_path / "o.db", [Column("x", "int64")], came) as sink:
        sink.commit()
    assert values_of(tmp_path / "o.db", "o") == []


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"a": pa.array([1]), "A": pa.array([2])}, TableType),
        ({f"c{n}": pa.array([n]) for n in range(2_001)}, TableType),
        ({"x": pa.array([1.0, float("nan")])}, TableValue),
        ({"x": pa.array([2**62], pa.timestamp("s"))}, TableValue),
    ],
    ids=["capitals", "wide", "NaN", "far"],
)
def test_what_sqlite_cannot_hold_is_refused_and_leaves_no_file(
    tmp_path: Path, columns: dict[str, pa.Array], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        written(tmp_path, columns)
    assert getattr(caught.value, "hint", None) or error is TableValue
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_sqlite_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableType):
        open_sink(tmp_path / "o.db", [Column("x\0y", "int64")])
    assert list(tmp_path.iterdir()) == []


def test_names_that_differ_in_other_letters_stay_apart(tmp_path: Path) -> None:
    path = written(tmp_path, {"É": pa.array([1]), "é": pa.array([2])}, table="Ä \" '")
    assert values_of(path, 'Ä "" \'') == [[1, 2]]


def test_a_full_disk_is_an_error_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = open_sink(tmp_path / "o.db", [Column("x", "int64")])
    assert isinstance(sink, sqlite_out.SqliteSink)
    sink._database.execute("DROP TABLE o")  # as good as any way in which writing fails
    with pytest.raises(TableUnwritable, match="no such table"):
        sink.write(pa.record_batch([pa.array([1])], names=["x"]))
    sink.abort()
    assert list(tmp_path.iterdir()) == []


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.floats(allow_nan=False),
            st.none() | st.text(max_size=9),
            st.none() | st.binary(max_size=9),
        ),
        min_size=1,
        max_size=9,
    )
)
def test_any_values_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("sqlite", numbered=True)
    types = (pa.int64(), pa.float64(), pa.string(), pa.binary())
    arrays = [
        pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), types, strict=True)
    ]
    path = written(folder, dict(zip("ABCD", arrays, strict=True)))
    assert values_of(path, "out") == [list(row) for row in rows]
    read = table_of(open_source(path))
    for name, array in zip("ABCD", arrays, strict=True):
        if array.null_count < len(array):
            assert read[name].to_pylist() == array.to_pylist()


def test_numbers_beyond_all_bounds_are_damage() -> None:
    def overflow() -> None:
        raise OverflowError

    with pytest.raises(TableUnreadable):
        sqlite_in._tried(overflow, Path("t.db"))
