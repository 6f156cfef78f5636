"""What is done on request only: types for texts, conditions on values, formulas made harmless."""

from __future__ import annotations

import datetime as dt
import re
import zipfile
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
    TableFormat,
    WriteOptions,
    open_sink,
    open_source,
    schema_of,
)
from client.tables.defusing import Defuser
from client.tables.inferring import InferredSource
from client.tables.sink import Sink
from client.tables.text_forms import text_form
from client.tables.where import Condition, Filter, parse_condition

INFER = ReadOptions(types="infer", header_row=1, footer=0)


def csv_source(folder: Path, content: str, said: ReadOptions = INFER) -> Source:
    (folder / "t.csv").write_text(content, encoding="utf-8", newline="")
    return open_source(folder / "t.csv", said)


def table_of(source: Source) -> pa.Table:
    return pa.Table.from_batches(source.batches(3), schema_of(source.columns))


# --- types: infer


@pytest.mark.parametrize(
    ("cells", "kind", "first"),
    [
        (["1", "-20"], "int64", 1),
        (["007", "8"], "string", "007"),
        (["+1", "2"], "string", "+1"),
        (["1.50", "-2.25"], "decimal128(4,2)", Decimal("1.50")),
        (["0.1", "1.25"], "float64", 0.1),
        (["1.0", "2.0"], "decimal128(2,1)", Decimal("1.0")),
        (["-0.0", "1.5"], "string", "-0.0"),
        (["true", "false"], "bool", True),
        (["True", "False"], "string", "True"),
        (["2024-01-02", "1999-12-31"], "date32", dt.date(2024, 1, 2)),
        (["2024-01-02T03:04:05", "1999-12-31T00:00:00"], "timestamp[s]", None),
        (["2024-01-02T03:04:05.250", "1999-12-31T00:00:00.000"], "timestamp[ms]", None),
        (["2024-01-02T03:04:05Z", "1999-12-31T00:00:00Z"], "timestamp[s, tz=UTC]", None),
        (["2024-01-02 03:04:05", "x"], "string", None),
        (["03:04:05.000001", "00:00:00.000000"], "time64[us]", dt.time(3, 4, 5, 1)),
        (["1", ""], "string", "1"),
        (["1" * 40, "2"], "string", "1" * 40),
        (["0." + "1" * 40, "0." + "2" * 40], "string", None),
        (["9" * 20 + ".25", "1.5"], "string", None),
        (["1e5", "2"], "string", "1e5"),
        (["NaN", "1.5"], "string", "NaN"),
    ],
)
def test_a_type_is_taken_only_if_it_gives_every_text_back(
    tmp_path: Path, cells: list[str], kind: str, first: Any
) -> None:
    source = csv_source(tmp_path, "k,x\n" + "".join(f"k,{cell}\n" for cell in cells))
    assert source.columns[1] == Column("x", kind)
    table = table_of(source)
    if first is not None:
        assert table["x"][0].as_py() == first
    assert text_form(table["x"].combine_chunks()).to_pylist() == cells
    told = [note for note in source.notes if note.startswith("column 'x'")]
    assert len(told) == (kind != "string")


def test_a_column_without_a_cell_stays_text(tmp_path: Path) -> None:
    assert csv_source(tmp_path, "a,b\n").columns == (Column("a", "string"), Column("b", "string"))
    said = ReadOptions(types="infer", null_text="")
    source = csv_source(tmp_path, "a,b\n1,\n2,\n", said)
    assert [column.type for column in source.columns] == ["int64", "string"]
    assert table_of(source).to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": None}]


def test_what_is_inferred_comes_out_as_the_text_it_was(tmp_path: Path) -> None:
    content = "id,price,when,ok\n1,1.50,2024-01-02,true\n20,-0.25,1999-12-31,false\n"
    source = csv_source(tmp_path, content)
    assert {column.type for column in source.columns} == {
        "int64", "decimal128(4,2)", "date32", "bool"
    }  # fmt: skip
    with open_sink(tmp_path / "copy.csv", source.columns, source.format) as sink:
        for batch in source.batches(1):
            sink.write(batch)
        sink.commit()
    assert (tmp_path / "copy.csv").read_bytes() == content.encode()
    assert isinstance(source, InferredSource)
    assert source.fingerprint() == csv_source(tmp_path, content, ReadOptions()).fingerprint()
    assert source.bytes_read == source.bytes_total


def test_typed_columns_and_streams_keep_their_types() -> None:
    table = pa.table({"n": pa.array(["1"]), "m": pa.array([1], pa.int8())})
    assert [column.type for column in open_source(table, INFER_ONLY).columns] == ["string", "int8"]


INFER_ONLY = ReadOptions(types="infer")


@given(st.lists(st.text("0123456789.-+eTZ:/ aé", max_size=9), min_size=1, max_size=5))
def test_whatever_is_inferred_gives_every_text_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("infer", numbered=True)
    quoted = "".join(f'"k","{cell}"\n' for cell in cells)
    source = csv_source(folder, '"k","x"\n' + quoted)
    assert text_form(table_of(source)["x"].combine_chunks()).to_pylist() == cells


@given(st.floats(allow_nan=False) | st.integers(-(10**17), 10**17).map(float))
def test_the_text_of_a_number_gives_it_back_without_an_exponent_where_people_write_none(
    number: float,
) -> None:
    (text,) = text_form(pa.array([number])).to_pylist()
    assert float(text) == number
    if number == 0 or 1e-4 <= abs(number) < 1e16:
        assert "e" not in text


# --- conditions

COLUMNS = (
    Column("name", "string"), Column("spent", "decimal128(9,2)"), Column("born", "date32"),
    Column("seen", "timestamp[s, tz=UTC]"), Column("n", "int64"), Column("a=b", "float64"),
    Column("kind", "dictionary<values=string, indices=int8, ordered=0>"), Column("raw", "binary"),
    Column("ok", "bool"), Column("at", "time64[us]"), Column("nil", "null"),
)  # fmt: skip
BATCH = pa.record_batch(
    [
        pa.array(["Ada", "Alan", None, ""]),
        pa.array([Decimal("1.50"), Decimal("100.00"), None, Decimal("-1.00")], pa.decimal128(9, 2)),
        pa.array([dt.date(1815, 12, 10), dt.date(1912, 6, 23), None, dt.date(2000, 1, 1)]),
        pa.array([0, 86_400, None, 1], pa.timestamp("s", "UTC")),
        pa.array([1, 2, None, 10]),
        pa.array([0.5, float("nan"), None, 1e300]),
        pa.array(["x", "y", None, "x"], pa.dictionary(pa.int8(), pa.string())),
        pa.array([b"\0", b"a", None, b""]),
        pa.array([True, False, None, True]),
        pa.array([0, 1_000_000, None, 5], pa.time64("us")),
        pa.nulls(4),
    ],
    schema=schema_of(COLUMNS),
)  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("name=Ada", [0]), ("name!=Ada", [1, 3]), ("name=", [3]), ("name~la", [1]),
        ("name>Ada", [1]), ("name <= Ada", [0, 3]),
        ("spent>1.5", [1]), ("spent>=1.5", [0, 1]), ("spent<0", [3]), ("spent~.5", [0]),
        ("born<1900-01-01", [0]), ("born=2000-01-01", [3]), ("born~-06-", [1]),
        ("seen>=1970-01-01T00:00:01Z", [1, 3]), ("seen=1970-01-02", [1]),
        ("n=10", [3]), ("n<10", [0, 1]), ("a=b>1", [3]), ("a=b=0.5", [0]),
        ("kind=x", [0, 3]), ("kind~y", [1]), ("raw=YQ==", [1]), ("ok=true", [0, 3]),
        ("at<00:00:01", [0, 3]), ("nil=x", []), ("n!=1", [1, 3]),
    ],
)  # fmt: skip
def test_a_condition_compares_values_as_what_they_are(condition: str, rows: list[int]) -> None:
    read = parse_condition(condition, [column.name for column in COLUMNS])
    kept = Filter([read], COLUMNS).kept(BATCH)
    assert kept.to_pylist() == [BATCH.slice(row, 1).to_pylist()[0] for row in rows] or (
        [str(row) for row in kept.to_pylist()]
        == [str(BATCH.slice(row, 1).to_pylist()[0]) for row in rows]
    )


def test_several_conditions_have_to_be_met_all() -> None:
    conditions = [parse_condition(text) for text in ("n>1", "ok=true")]
    assert Filter(conditions, COLUMNS).kept(BATCH)["n"].to_pylist() == [10]
    assert Filter([], COLUMNS).kept(BATCH) is BATCH


@pytest.mark.parametrize("text", ["", "name", "=x", "name:x"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(TableFormat, match="no condition"):
        parse_condition(text, ["name"])


@pytest.mark.parametrize("text", ["n=x", "spent>a lot", "born=yesterday", "ok=maybe", "at=noon"])
def test_a_value_that_is_none_of_the_fields_type_is_refused(text: str) -> None:
    with pytest.raises(TableFormat, match="is no value of") as caught:
        Filter([parse_condition(text)], COLUMNS)
    assert caught.value.hint


def test_the_longest_name_that_fits_is_the_field() -> None:
    assert parse_condition("a=b=c", ["a", "a=b"]) == Condition("a=b", "=", "c")
    assert parse_condition("a=b=c", ["a"]) == Condition("a", "=", "b=c")
    assert parse_condition("a = b", []) == Condition("a", "=", "b")
    assert parse_condition("ab=c", ["a"]) == Condition("ab", "=", "c")


def test_a_date_beyond_the_years_that_have_a_text_is_told() -> None:
    columns = (Column("t", "timestamp[s]"),)
    batch = pa.record_batch([pa.array([2**62], pa.timestamp("s"))], schema=schema_of(columns))
    with pytest.raises(TableFormat, match="beyond the years"):
        Filter([Condition("t", "~", "1")], columns).kept(batch)


# --- formulas


@pytest.mark.parametrize(
    ("cell", "harmless"),
    [
        ("=1+1", "'=1+1"), ("+49 170", "'+49 170"), ("-5", "-5"), ("-5.25", "-5.25"), ("+5", "+5"),
        ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "'\t'=1"),
        ("\rx", "'\rx"), (" =cmd|' /C calc'!A0", None),
        ("＝1+1", "'＝1+1"), ("a=1", "a=1"), ("", ""),
        (None, None), ("-1e5", "-1e5"), ("--1", "'--1"),
        ("=", "'="), ("'=1", "'=1"), ("日本", "日本"),
        ("x;=1", "x;'=1"), ("x,=1", "x,=1"), ("x\t \"=1", "x\t \"'=1"), ("a\n-b|+c", "a\n'-b|'+c"),
        ("=1;@2", "'=1;'@2"), ("x;＝1", "x;'＝1"), ("1;5", "1;5"), ("x;\t;=1", "x;\t;'=1"),
    ],
)  # fmt: skip
def test_what_begins_like_a_formula_gets_an_apostrophe(
    cell: str | None, harmless: str | None
) -> None:
    defuser = Defuser()
    (got,) = defuser.defused(pa.array([cell], pa.large_string())).to_pylist()
    assert got == (f"'{cell}" if cell and harmless is None else harmless)
    assert defuser.changed == (got != cell)


def test_a_csv_file_is_defused_on_request_and_it_is_said(tmp_path: Path) -> None:
    columns = (Column("=name", "string"), Column("n", "int64"))
    batch = pa.record_batch([pa.array(["=1", "x", None]), pa.array([-1, 2, 3])], schema_of(columns))
    for defuse, first in (
        (True, b'"\'=name","n"\r\n"\'=1","-1"\r\n"x","2"\r\n,"3"\r\n'),
        (False, b"=name,n\r\n=1,-1\r\n"),
    ):
        options = WriteOptions(defuse=defuse)
        with open_sink(tmp_path / "t.csv", columns, overwrite=True, options=options) as sink:
            sink.write(batch)
            sink.commit()
        assert (tmp_path / "t.csv").read_bytes().startswith(first)
        told = ("2 cells that begin like a formula, or where cut, got an apostrophe before it",)
        assert sink.notes == (told if defuse else ())
    single = Defuser()
    single.defused(pa.array(["=1"], pa.large_string()))
    assert single.told().startswith("1 cell that begins like a formula")


CALLS = "=cmd|'/C calc'!A0"


def defused(folder: Path, written: dict[str, Any], *rows: tuple[str | None, str]) -> Sink:
    """Write rows in a format that another member chose; the file is `folder / "t.csv"`."""
    columns = (Column("a", "string"), Column("b", "string"))
    one, two = zip(*rows, strict=True)
    batch = pa.record_batch([pa.array(one, pa.string()), pa.array(two)], schema_of(columns))
    options = WriteOptions(defuse=True)
    with open_sink(
        folder / "t.csv", columns, {"kind": "csv", **written}, overwrite=True, options=options
    ) as sink:
        sink.write(batch)
        sink.commit()
    return sink


def cells_cut_by(content: str, mark: str, quote: str = '"') -> list[str]:
    """Cut as a lax spreadsheet does: quotes count at a cell's beginning, up to the next one."""
    cells, at = [""], 0
    while at < len(content):
        if cells[-1] == "" and content[at] == quote and (not at or content[at - 1] in f"{mark}\n"):
            at += 1
            while at < len(content):
                if content[at] != quote:
                    cells[-1] += content[at]
                elif content[at + 1 : at + 2] == quote:
                    cells[-1] += quote
                    at += 1
                else:
                    break
                at += 1
        elif content[at] in f"{mark}\r\n":
            cells.append("")
        else:
            cells[-1] += content[at]
        at += 1
    return cells


def runs(content: str) -> list[str]:
    """Return what some spreadsheet would run, wherever it cuts."""
    every = [cell for mark in ",;\t|" for cell in cells_cut_by(content, mark)]
    number = re.compile(r"[+-]?[0-9]+")
    begun = (cell.strip(" \t\u3000") for cell in every)
    return [cell for cell in begun if cell[:1] in tuple("=+-@") and not number.fullmatch(cell)]


@pytest.mark.parametrize(
    ("written", "row", "changed"),
    [
        ({"null_text": CALLS}, (None, "x"), 1),
        ({"null_text": "x,=1", "delimiter": ";"}, (None, "x"), 1),
        ({"before": f"{CALLS}\r\n", "after": f"{CALLS}"}, ("x", "y"), 0),
        ({"before": f"{CALLS}\r\n", "header": False}, ("x", "y"), 0),
        ({"delimiter": ";"}, (f"x,{CALLS}", "y"), 1),
        ({"delimiter": ";"}, ("y", f"x,{CALLS}"), 1),
        ({}, ("y", f"x;{CALLS};"), 1),
        ({}, ("y", f"x\n{CALLS}"), 1),
        ({"quote": "'"}, ("y", f"x,{CALLS}"), 0),
        ({"quote": ""}, ("y", f"x;{CALLS}"), 1),
        ({"renamed": {"a": CALLS}}, ("x", "y"), 1),
        ({"renamed": {"b": f"x;{CALLS}"}}, ("x", "y"), 1),
        ({"quoting": "nonnumeric"}, (f"x;{CALLS}", "1"), 1),
    ],
)
def test_nothing_that_another_member_wrote_gets_past_defusing(
    tmp_path: Path, written: dict[str, Any], row: tuple[str | None, str], changed: int
) -> None:
    sink = defused(tmp_path, written, row)
    content = (tmp_path / "t.csv").read_bytes().decode()
    assert runs(content) == []
    left_out = "the lines above and below the table are left out, as they may hold formulas"
    assert sink.notes[:1] == ((left_out,) if written.get("before") else sink.notes[:1])
    counted = [note for note in sink.notes if note.startswith(f"{changed} cell")]
    assert len(counted) == (changed > 0) == any("apostrophe" in note for note in sink.notes)


HOSTILE = st.text("=+-@,;|\"'\t\n x5＝", max_size=8)


@given(HOSTILE, HOSTILE, st.sampled_from(",;\t|x"))
def test_no_text_is_run_wherever_a_spreadsheet_cuts(
    tmp_path_factory: pytest.TempPathFactory, one: str, two: str, delimiter: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    defused(folder, {"delimiter": delimiter}, (one, two))
    assert runs((folder / "t.csv").read_bytes().decode()) == []


@pytest.mark.parametrize("delimiter", [*"=+-@", "＝"])
def test_a_delimiter_that_begins_a_formula_is_refused(tmp_path: Path, delimiter: str) -> None:
    with pytest.raises(TableFormat, match="between cells begins formulas") as caught:
        defused(tmp_path, {"delimiter": delimiter}, (None, "HYPERLINK(A1)"))
    assert "--delimiter" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("written", "cell"),
    [
        ({"encoding": "cp037"}, "x"),
        ({"encoding": "utf-16-le"}, "x"),
        ({"encoding": "utf-7"}, "x"),
        ({"encoding": "iso2022_jp"}, "あ"),  # whose bytes have a quote in them
        ({"encoding": "hz"}, "猢"),
    ],
)
def test_an_encoding_that_hides_quotes_from_a_spreadsheet_is_refused(
    tmp_path: Path, written: dict[str, str], cell: str
) -> None:
    with pytest.raises(TableFormat, match="cells could become formulas") as caught:
        defused(tmp_path, written, (cell, "y"))
    assert "--encoding utf-8" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "encoding", ["utf-8", "gb18030", "big5", "shift_jis", "cp932", "euc_kr", "cp1252", "utf-16-le"]
)
def test_encodings_that_spreadsheets_know_are_kept(tmp_path: Path, encoding: str) -> None:
    defused(tmp_path, {"encoding": encoding, "bom": encoding == "utf-16-le"}, ("x", "=1"))
    content = (tmp_path / "t.csv").read_bytes().decode(encoding).removeprefix("\ufeff")
    assert content == '"a","b"\r\n"x","\'=1"\r\n'


@pytest.mark.parametrize(
    "said",
    [
        WriteOptions(defuse=True, quote="'"),
        WriteOptions(defuse=True, quote="none"),
        WriteOptions(defuse=True, quoting="minimal"),
    ],
)
def test_defusing_goes_with_no_other_quotes(tmp_path: Path, said: WriteOptions) -> None:
    columns = (Column("a", "string"),)
    with pytest.raises(TableFormat, match="--defuse puts every cell in double quotes"):
        open_sink(tmp_path / "t.csv", columns, options=said)
    assert list(tmp_path.iterdir()) == []


def test_a_workbook_has_no_formulas_whatever_is_in_it(tmp_path: Path) -> None:
    columns = (Column(CALLS, "string"),)
    with open_sink(tmp_path / "t.xlsx", columns, overwrite=True) as sink:
        sink.write(pa.record_batch([pa.array([CALLS, f"<f>{CALLS}</f>"])], schema_of(columns)))
        sink.commit()
    with zipfile.ZipFile(tmp_path / "t.xlsx") as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert sheet.count('t="inlineStr"') == 3


def test_what_is_said_of_the_rows_is_said_of_typed_ones_too(tmp_path: Path) -> None:
    source = csv_source(tmp_path, "a,a\n1,2\n\n3,4\n")
    assert table_of(source).num_rows == 2
    assert any("another is called" in note for note in source.notes)
    assert "blank lines are left out" in source.notes
