"""Databases by their address: PostgreSQL for real, the general way by SQLite's dialect."""

from __future__ import annotations

import datetime as dt
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from client.tables import (
    ReadOptions,
    Source,
    TableEmpty,
    TableFormat,
    TablePackage,
    TableUnreadable,
    TableValue,
    open_source,
    schema_of,
)
from client.tables.sql_in import SqlSource, _declared, _first_unfit, _refused, _tried
from tests.postgres import a_postgres


def table_of(source: Source) -> pa.Table:
    return pa.Table.from_batches(source.batches(100), schema_of(source.columns))


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with a_postgres() as address:
        with psycopg.connect(address, autocommit=True) as made:
            for statement in SETUP:
                made.execute(statement)
        yield address


SETUP = [
    """CREATE TABLE customers (id bigint PRIMARY KEY, name text, zip varchar(10),
       balance numeric(12,2), rate numeric, vip bool, born date, seen timestamptz,
       made timestamp, t time, tz timetz, photo bytea, tags text[], j jsonb, u uuid, f4 real,
       f8 double precision, iv interval, c char(5), s smallint, i int, ip inet,
       huge numeric(80,2))""",
    r"""INSERT INTO customers VALUES
       (1, 'Zoë; 张三', '007', 1.20, 0.10000000000000000000000001, true, '1990-02-28',
        '2024-03-31 02:30:00.123456+02', '0001-01-01', '23:59:59.999999', '12:00:00+05',
        '\x00ff', '{a,"b,c"}', '{"a": 1.50}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 0.1, 0.1,
        '1 year 2 mons 3 days 04:05:06', 'ab', -32768, 2147483647, '10.0.0.1/8', 1.50),
       (2, NULL, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        'NaN', 'Infinity', NULL, NULL, NULL, NULL, NULL, NULL)""",
    "CREATE SCHEMA sales",
    'CREATE TABLE sales."Odd . Name" (a int)',
    "CREATE TABLE unlike (k int, d date)",
    "INSERT INTO unlike VALUES (1, '2024-01-02'), (2, 'infinity')",
    "CREATE TABLE counted (n int)",
    "CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS "
    "'INSERT INTO counted VALUES (1) RETURNING n'",
    "CREATE TABLE many AS SELECT n, 'name ' || n AS name FROM generate_series(1, 5000) n",
]


# --- PostgreSQL


def test_every_type_comes_as_the_server_has_it(postgres: str) -> None:
    source = open_source(postgres, ReadOptions(table="customers"))
    types = {column.name: column.type for column in source.columns}
    assert types == {
        "id": "int64", "name": "string", "zip": "string", "balance": "decimal128(12,2)",
        "rate": "string", "vip": "bool", "born": "date32", "seen": "timestamp[us, tz=UTC]",
        "made": "timestamp[us]", "t": "time64[us]", "tz": "string", "photo": "binary",
        "tags": "string", "j": "string", "u": "string", "f4": "float32", "f8": "float64",
        "iv": "string", "c": "string", "s": "int16", "i": "int32", "ip": "string",
        "huge": "string",
    }  # fmt: skip
    full, empty = table_of(source).to_pylist()
    assert full["balance"] == Decimal("1.20")
    assert str(full["balance"]) == "1.20"
    assert full["rate"] == "0.10000000000000000000000001"
    assert (full["zip"], full["c"], full["name"]) == ("007", "ab   ", "Zoë; 张三")
    assert full["born"] == dt.date(1990, 2, 28)
    assert full["seen"] == dt.datetime(2024, 3, 31, 0, 30, 0, 123456, dt.UTC)
    assert full["made"] == dt.datetime(1, 1, 1)
    assert full["t"] == dt.time(23, 59, 59, 999999)
    assert (full["photo"], full["tags"], full["j"]) == (b"\x00\xff", '{a,"b,c"}', '{"a": 1.50}')
    assert (full["iv"], full["tz"], full["ip"]) == ("P1Y2M3DT4H5M6S", "12:00:00+05", "10.0.0.1/8")
    assert (full["f8"], full["s"], full["i"], full["huge"]) == (0.1, -32768, 2**31 - 1, "1.50")
    assert empty["f4"] != empty["f4"]
    assert empty["f8"] == float("inf")
    assert (empty["name"], empty["zip"]) == (None, "")
    assert (source.name, source.format, source.rereadable) == (
        "customers", {"kind": "database"}, True
    )  # fmt: skip
    assert source.fingerprint() is None


def test_a_query_has_types_too(postgres: str) -> None:
    query = "SELECT 'x:y' AS \"a:b\", 1.5::numeric(3,1) AS n, 7::int AS i;"
    source = open_source(postgres, ReadOptions(query=query))
    assert [column.type for column in source.columns] == ["string", "decimal128(3,1)", "int32"]
    assert table_of(source).to_pylist() == [{"a:b": "x:y", "n": Decimal("1.5"), "i": 7}]


def test_many_rows_are_streamed_and_can_be_had_again(postgres: str) -> None:
    source = open_source(postgres, ReadOptions(table="many"))
    for _ in range(2):
        batches = list(source.batches(1_000))
        assert [batch.num_rows for batch in batches] == [1_000] * 5
        assert batches[-1].column("n").to_pylist()[-1] == 5_000
    left_off = source.batches(10)
    next(left_off)
    left_off.close()  # type: ignore[attr-defined]


def test_a_table_of_another_schema_is_named_with_it(postgres: str) -> None:
    with pytest.raises(TableFormat, match="no table") as caught:
        open_source(postgres, ReadOptions(table="nope"))
    assert "'customers'" in (caught.value.hint or "")
    with psycopg.connect(postgres, autocommit=True) as made:
        made.execute('CREATE TABLE IF NOT EXISTS sales."plain" (a int)')
    assert table_of(open_source(postgres, ReadOptions(table="sales.plain"))).num_rows == 0
    with pytest.raises(TableFormat, match="tables"):
        open_source(postgres)


@pytest.mark.parametrize(
    ("query", "error", "told"),
    [
        ("DELETE FROM customers", TableFormat, "more than read"),
        ("SELECT writes()", TableFormat, "more than read"),
        ("WITH x AS (DELETE FROM customers RETURNING *) SELECT * FROM x", TableFormat, "refuses"),
        ("SELECT nope FROM customers", TableFormat, 'column "nope" does not exist'),
        ("SELECT 1 / 0", TableUnreadable, "22012"),
        ("SELECT name::int FROM customers", TableUnreadable, "22P02"),
    ],
)
def test_what_is_no_query_is_refused_and_changes_nothing(
    postgres: str, query: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told) as caught:
        table_of(open_source(postgres, ReadOptions(query=query)))
    assert "Zoë" not in str(caught.value)
    with psycopg.connect(postgres) as made:
        counts = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM counted)"
        assert made.execute(counts).fetchone() == (2, 0)


def test_a_value_beyond_its_type_is_named(postgres: str) -> None:
    with pytest.raises(TableValue) as caught:
        table_of(open_source(postgres, ReadOptions(table="unlike")))
    assert (caught.value.row, caught.value.column) == (2, "d")
    assert "--query" in (caught.value.hint or "")


def test_whoever_is_not_let_in_is_told_without_the_password(postgres: str) -> None:
    wrong = postgres.replace("seller@", "nobody:SECRET@")
    with pytest.raises(TableUnreadable, match="cannot be reached") as caught:
        open_source(wrong, ReadOptions(table="customers"))
    assert "SECRET" not in str(caught.value) + str(caught.value.hint)


def test_a_password_in_the_address_is_warned_about(postgres: str) -> None:
    address = postgres.replace("seller@", "seller:SECRET@").replace("postgresql:", "postgres:")
    source = open_source(address, ReadOptions(table="many"))
    assert any("password" in note and "SECRET" not in note for note in source.notes)


# --- any other, here by the way that SQLAlchemy goes for SQLite


@pytest.fixture
def general(tmp_path: Path) -> str:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute(
            "CREATE TABLE t (i INTEGER, f FLOAT, n NUMERIC(9, 2), m NUMERIC, d DATE, ts TIMESTAMP, "
            "b BLOB, x TEXT, o BOOLEAN, h TIME)"
        )
        made.execute(
            "INSERT INTO t VALUES (1, 0.5, 1.25, 2, '2024-01-02', '2024-01-02 03:04:05.000000', "
            "x'00', 'é', 1, '01:02:03.000000')"
        )
        made.execute("INSERT INTO t (i) VALUES (NULL)")
        made.execute("CREATE TABLE blobs (k, b)")
        made.execute("INSERT INTO blobs VALUES (1, x'00')")
        made.commit()
    return f"sqlite:///{path}"


def test_a_table_has_the_types_that_its_database_declares(general: str) -> None:
    source = SqlSource(general, ReadOptions(table="t"))
    assert {column.name: column.type for column in source.columns} == {
        "i": "int64", "f": "float64", "n": "decimal128(9,2)", "m": "string", "d": "date32",
        "ts": "timestamp[us]", "b": "binary", "x": "string", "o": "bool", "h": "time64[us]",
    }  # fmt: skip


def test_a_query_is_text_and_it_is_said(general: str) -> None:
    source = SqlSource(general, ReadOptions(query="SELECT i, f, x FROM t"))
    assert table_of(source).to_pylist() == [
        {"i": "1", "f": "0.5", "x": "é"}, {"i": None, "f": None, "x": None}
    ]  # fmt: skip
    assert any("text here" in note for note in source.notes)


def test_bytes_are_no_text(general: str) -> None:
    with pytest.raises(TableValue) as caught:
        table_of(SqlSource(general, ReadOptions(query="SELECT k, b FROM blobs")))
    assert (caught.value.row, caught.value.column) == (1, "b")


def test_numbers_of_a_declared_type_are_that(general: str) -> None:
    source = SqlSource(general, ReadOptions(query="SELECT 1"))
    assert source._array("x", [1, None], pa.int64(), 0).to_pylist() == [1, None]
    with pytest.raises(TableValue) as caught:
        source._array("x", [1, 2**70], pa.int64(), 5)
    assert caught.value.row == 7
    with pytest.raises(TableValue) as caught:
        source._array("x", [Decimal("1.5"), object()], pa.decimal128(3, 1), 0)
    assert caught.value.row == 2


def test_what_is_no_table_or_query_is_told(general: str) -> None:
    with pytest.raises(TableFormat, match="2 tables"):
        SqlSource(general, ReadOptions())
    with pytest.raises(TableFormat, match="more than read"):
        SqlSource(general, ReadOptions(query="DROP TABLE t"))
    with pytest.raises(TableUnreadable):
        SqlSource(general, ReadOptions(query="SELECT nope FROM t"))


def test_an_empty_database_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableEmpty):
        SqlSource(f"sqlite:///{tmp_path / 'new.db'}", ReadOptions())


def test_the_address_of_an_sqlite_file_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE t (x)")
        made.commit()
    assert open_source(f"sqlite:///{path}").format["kind"] == "sqlite"


@pytest.mark.parametrize(
    ("address", "error", "told"),
    [
        ("nonsense://x", TableFormat, "no database's address"),
        ("postgresql://x:notaport/y", TableFormat, "no database's address"),
        ("oracle://x", TablePackage, "oracledb"),
        ("postgresql://x@127.0.0.1:1/y", TableUnreadable, "cannot be reached"),
    ],
)
def test_addresses_that_lead_nowhere(address: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told) as caught:
        open_source(address, ReadOptions(table="t"))
    assert getattr(caught.value, "hint", None)


def test_without_sqlalchemy_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(TablePackage) as caught:
        open_source("postgresql://x/y")
    assert caught.value.hint == "pip install 'sealroom[sql]'"


def test_types_that_a_database_may_declare() -> None:
    from sqlalchemy import types

    wanted: dict[Any, pa.DataType] = {
        types.DateTime(timezone=True): pa.timestamp("us", "UTC"), types.BigInteger(): pa.int64(),
        types.Numeric(60, 3): pa.decimal256(60, 3), types.Numeric(90): pa.string(),
        types.Numeric(5): pa.decimal128(5, 0), types.Double(): pa.float64(),
        types.JSON(): pa.string(), types.Enum("a"): pa.string(),
    }  # fmt: skip
    assert {kind: _declared(kind) for kind in wanted} == wanted


def test_an_error_without_words_is_told_by_its_name() -> None:
    class Silent:
        orig = ValueError("")

    assert "ValueError" in str(_refused(Silent()))


def test_what_sqlalchemy_itself_refuses_is_told() -> None:
    from sqlalchemy.exc import ArgumentError

    def refuse() -> None:
        raise ArgumentError("x")

    with pytest.raises(TableFormat, match="does not understand"):
        _tried(refuse)


def test_columns_of_one_name_are_told_apart(general: str) -> None:
    source = SqlSource(general, ReadOptions(query="SELECT i, i FROM t"))
    assert [column.name for column in source.columns] == ["i", "i_2"]
    assert any("another is called" in note for note in source.notes)


def test_where_no_value_is_to_blame_the_first_is_named() -> None:
    assert _first_unfit([1, 2], pa.int64()) == 1
