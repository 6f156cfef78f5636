"""Excel in and out: types as the cells have them, and no workbook that exhausts anybody."""

from __future__ import annotations

import datetime as dt
import io
import math
import zipfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import python_calamine
from hypothesis import given
from hypothesis import strategies as st

from client.tables import (
    Column,
    ReadOptions,
    Source,
    TableChanged,
    TableEmpty,
    TableFormat,
    TablePackage,
    TableTooLarge,
    TableUnreadable,
    TableUnsure,
    TableUnwritable,
    TableValue,
    WriteOptions,
    excel_cells,
    open_sink,
    open_source,
    schema_of,
    xls_in,
    xlsx_in,
    xlsx_out,
)
from client.tables.excel_cells import Cell, Kind, cell_of_number, cell_text, kind_of_format
from tests.shared import shared_path

HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def workbook(sheet: str, *more: str, **parts: str | bytes) -> bytes:
    """Write a workbook of one sheet, or several, whose XML is given; parts replace those there."""
    sheets = [sheet, *more]
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    listed = "".join(
        f'<sheet name="S{n}" sheetId="{n}" r:id="r{n}"/>' for n in range(1, len(sheets) + 1)
    )
    related = "".join(
        f'<Relationship Id="r{n}" Type="{office}/worksheet" Target="worksheets/s{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    files: dict[str, str | bytes] = {
        "[Content_Types].xml": f"{HEAD}<Types/>",
        "_rels/.rels": f'{HEAD}<Relationships xmlns="{package}"><Relationship Id="a" Type='
        f'"{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'{HEAD}<workbook xmlns="{MAIN}" xmlns:r="{office}"><sheets>{listed}'
        "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'{HEAD}<Relationships xmlns="{package}">{related}'
        f'<Relationship Id="t" Type="{office}/sharedStrings" Target="sharedStrings.xml"/>'
        f'<Relationship Id="s" Type="{office}/styles" Target="/xl/styles.xml"/></Relationships>',
    }
    for number, content in enumerate(sheets, 1):
        files[f"xl/worksheets/s{number}.xml"] = (
            f'{HEAD}<worksheet xmlns="{MAIN}"><sheetData>{content}</sheetData></worksheet>'
        )
    files |= {name.replace("__", "/").replace("_xml", ".xml"): part for name, part in parts.items()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in files.items():
            archive.writestr(name, part)
    return packed.getvalue()


def row(*cells: str, number: int | None = None) -> str:
    at = "" if number is None else f' r="{number}"'
    return f"<row{at}>{''.join(cells)}</row>"


def text(value: str) -> str:
    return f'<c t="inlineStr"><is><t>{value}</t></is></c>'


def number(value: object, style: int = 0) -> str:
    return f'<c s="{style}"><v>{value}</v></c>'


HEADER = row(text("a"), text("b"))


def source_of(folder: Path, content: bytes, name: str = "t.xlsx", **said: Any) -> Source:
    (folder / name).write_bytes(content)
    return open_source(folder / name, ReadOptions(**said))


def table_of(source: Source) -> pa.Table:
    return pa.Table.from_batches(source.batches(100), schema_of(source.columns))


def written(folder: Path, data: pa.Table, **options: Any) -> tuple[Path, tuple[str, ...]]:
    columns = open_source(data).columns
    path = folder / "out.xlsx"
    said = WriteOptions(**options)
    with open_sink(path, columns, overwrite=True, options=said) as sink:
        for batch in data.to_batches(3):
            sink.write(pa.record_batch(batch.columns, schema=schema_of(columns)))
        sink.write(pa.record_batch([array[:0] for array in batch.columns], schema_of(columns)))
        sink.commit()
    return path, sink.notes


# --- cells in


def test_every_kind_of_cell_is_read(tmp_path: Path) -> None:
    texts = (
        f'<sst xmlns="{MAIN}"><si><t>plain</t></si><si><r><t>ri</t></r><r><t xml:space="preserve">'
        "ch </t></r><rPh><t>spoken</t></rPh></si><si/></sst>"
    )
    cells = row(
        '<c t="s"><v>0</v></c>', '<c t="s"><v>1</v></c>', text("in<![CDATA[<]]>line"),
        '<c t="str"><f>1+1</f><v>two</v></c>', '<c t="b"><v>1</v></c>', number("1.5"),
        number("7"), '<c t="e"><v>#N/A</v></c>', '<c t="d"><v>2024-01-02</v></c>', "<c/>",
        '<c t="s"><v>2</v></c>', '<c t="str"><v></v></c>',
    )  # fmt: skip
    header = row(*(text(name) for name in "abcdefghijkl"))
    source = source_of(tmp_path, workbook(header + cells, xl__sharedStrings_xml=texts))
    assert table_of(source).to_pylist() == [{
        "a": "plain", "b": "rich ", "c": "in<line", "d": "two", "e": True, "f": 1.5, "g": 7,
        "h": "#N/A", "i": "2024-01-02", "j": None, "k": "", "l": "",
    }]  # fmt: skip
    types = {column.name: column.type for column in source.columns}
    assert (types["e"], types["f"], types["g"], types["j"]) == (
        "bool",
        "float64",
        "int64",
        "string",
    )
    assert "column 'h': holds errors, which are kept as text" in source.notes


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        (["1", "2"], "int64", [1, 2]),
        (["1", "2.5"], "float64", [1.0, 2.5]),
        (["1", "-0.0"], "float64", [1.0, -0.0]),
        (["0.1", "1e300"], "float64", [0.1, 1e300]),
        (["9007199254740991"], "int64", [2**53 - 1]),
        (["9007199254740993"], "float64", [9007199254740992.0]),
    ],
)
def test_numbers_are_integers_where_all_of_a_column_are_whole(
    tmp_path: Path, values: list[str], kind: str, wanted: list[float]
) -> None:
    rows = "".join(row(number(value)) for value in values)
    source = source_of(tmp_path, workbook(row(text("n")) + rows))
    assert source.columns == (Column("n", kind),)
    got = table_of(source)["n"].to_pylist()
    assert [(value, math.copysign(1, value)) for value in got] == [
        (value, math.copysign(1, value)) for value in wanted
    ]


def test_numbers_that_excel_has_cut_short_are_warned_about(tmp_path: Path) -> None:
    cells = "".join(row(number(n)) for n in ("440106199001011000", "5", "6222020000000000000"))
    source = source_of(tmp_path, workbook(row(text("id")) + cells + row(number("1e30"))))
    (warned,) = (note for note in source.notes if "16 digits" in note)
    assert warned.startswith("column 'id': 2 numbers of 16 digits or more; Excel keeps 15")


def test_a_column_of_several_kinds_is_text_and_it_is_said(tmp_path: Path) -> None:
    cells = row(number("1.0")) + row(text("x")) + row('<c t="b"><v>0</v></c>') + row(number("2.5"))
    source = source_of(tmp_path, workbook(row(text("m")) + cells))
    assert table_of(source)["m"].to_pylist() == ["1", "x", "FALSE", "2.5"]
    assert source.notes == (
        "column 'm': booleans and numbers and text are mixed, so all of it is text",
    )


STYLES = (
    f'<styleSheet xmlns="{MAIN}"><numFmts><numFmt numFmtId="170" formatCode="[h]:mm"/><numFmt '
    'numFmtId="171" formatCode="0.00&quot;d&quot;"/></numFmts><cellStyleXfs><xf numFmtId="14"/>'
    '</cellStyleXfs><cellXfs><xf/><xf numFmtId="14"/><xf numFmtId="22"/><xf numFmtId="21"/>'
    '<xf numFmtId="170"/><xf numFmtId="171"/></cellXfs></styleSheet>'
)


@pytest.mark.parametrize(
    ("cells", "kind", "wanted"),
    [
        ([("45292", 1)], "date32", [dt.date(2024, 1, 1)]),
        ([("61", 1), ("1", 1)], "date32", [dt.date(1900, 3, 1), dt.date(1900, 1, 1)]),
        ([("45292.5", 2), ("45292", 1)], "timestamp[ms]",
         [dt.datetime(2024, 1, 1, 12), dt.datetime(2024, 1, 1)]),
        ([("0.5", 3)], "time32[ms]", [dt.time(12)]),
        ([("0.999999999", 3)], "int64", None),
        ([("1.5", 4), ("-0.25", 4)], "duration[ms]",
         [dt.timedelta(days=1.5), -dt.timedelta(hours=6)]),
        ([("60", 1)], "int64", [60]),
        ([("0", 1)], "int64", [0]),
        ([("-1", 1), ("2958466", 1)], "int64", [-1, 2958466]),
        ([("1e17", 4)], "float64", [1e17]),
        ([("2.5", 5)], "float64", [2.5]),
        ([("1", 99)], "int64", [1]),
        ([("1.25", 3)], "timestamp[ms]", [dt.datetime(1900, 1, 1, 6)]),
    ],
)  # fmt: skip
def test_dates_and_times_are_numbers_with_a_format(
    tmp_path: Path, cells: list[tuple[str, int]], kind: str, wanted: list[Any] | None
) -> None:
    rows = "".join(row(number(*cell)) for cell in cells)
    source = source_of(tmp_path, workbook(row(text("d")) + rows, xl__styles_xml=STYLES))
    if wanted is not None:
        assert source.columns == (Column("d", kind),)
        assert table_of(source)["d"].to_pylist() == wanted


def test_workbooks_of_old_macs_count_from_1904(tmp_path: Path) -> None:
    book = (
        f'<workbook xmlns="{MAIN}" xmlns:r="r"><workbookPr date1904="1"/><sheets>'
        '<sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>'
    )
    content = workbook(row(text("d")) + row(number("0", 1)), xl__styles_xml=STYLES,
                       xl__workbook_xml=book)  # fmt: skip
    assert table_of(source_of(tmp_path, content))["d"].to_pylist() == [dt.date(1904, 1, 1)]


@pytest.mark.parametrize(
    ("number_", "code", "kind"),
    [
        (0, None, Kind.NUMBER), (14, None, Kind.DATE), (22, None, Kind.MOMENT),
        (46, None, Kind.SPAN), (45, None, Kind.TIME), (57, None, Kind.DATE),
        (99, None, Kind.NUMBER), (170, "General", Kind.NUMBER), (170, "yyyy\\-mm\\-dd", Kind.DATE),
        (170, '0.00"day"', Kind.NUMBER), (170, "[Red]0.00", Kind.NUMBER),
        (170, "[$-409]d/m/yy h:mm AM/PM;@", Kind.MOMENT), (170, "mmmm", Kind.DATE),
        (170, "mm:ss.0", Kind.TIME), (170, "[mm]:ss", Kind.SPAN), (170, "[>9]0;0", Kind.NUMBER),
        (170, "_-* #,##0.00_-", Kind.NUMBER), (170, 'yyyy"年"m"月"d"日"', Kind.DATE),
    ],
)  # fmt: skip
def test_what_a_format_makes_of_a_number(number_: int, code: str | None, kind: Kind) -> None:
    assert kind_of_format(number_, code) is kind


def test_texts_of_cells() -> None:
    shown = {
        Cell(Kind.DATE, 0): "1970-01-01", Cell(Kind.MOMENT, 1): "1970-01-01T00:00:00.001",
        Cell(Kind.TIME, 500): "00:00:00.500", Cell(Kind.SPAN, 90): "90",
        Cell(Kind.NUMBER, 1e16): "1e+16", Cell(Kind.ERROR, "#REF!"): "#REF!",
    }  # fmt: skip
    assert {cell: cell_text(cell) for cell in shown} == shown


@given(st.integers(1, 2_958_465), st.integers(0, excel_cells.DAY_MS - 1))
def test_a_moment_is_had_from_its_serial_to_the_millisecond(days: int, ms: int) -> None:
    cell = cell_of_number(days + ms / excel_cells.DAY_MS, Kind.MOMENT, since_1904=True)
    assert cell.value == (days - 24_107) * excel_cells.DAY_MS + ms


# --- rows, header, sheets


def test_the_place_of_a_cell_counts_not_its_order(tmp_path: Path) -> None:
    cells = '<row r="2"><c r="B2"><v>1</v></c></row><row r="9"><c r="AA9"><v>2</v></c></row>'
    header = row(*(text(f"c{n}") for n in range(27)))
    table = table_of(source_of(tmp_path, workbook(header + cells)))
    assert (table.num_rows, table["c1"].to_pylist(), table["c26"].to_pylist()) == (
        2, [1, None], [None, 2]
    )  # fmt: skip


@pytest.mark.parametrize("prefix", ["x", "main"])
def test_elements_may_have_a_prefix(tmp_path: Path, prefix: str) -> None:
    sheet = (
        '<p:worksheet xmlns:p="x" xmlns:o="o"><p:sheetData><p:row>'
        '<p:c t="inlineStr"><p:is><p:t>a</p:t></p:is></p:c>'
        '<o:c t="b"><o:v>1</o:v></o:c></p:row></p:sheetData></p:worksheet>'
    )
    content = workbook("", xl__worksheets__s1_xml=sheet.replace("p:", f"{prefix}:"))
    assert source_of(tmp_path, content).columns == (Column("a", "string"),)


def test_a_title_block_and_totals_are_found(tmp_path: Path) -> None:
    title = row(text("Sales"), number=1) + row(text(" "), text(""), number=2)
    body = "".join(row(text(f"n{n}"), text("x"), number(n)) for n in range(9))
    total = row(text("Total"), "<c/>", number(36)) + row(text("end of the list"))
    content = workbook(title + row(text("a"), text("b"), text("c"), number=4) + body + total)
    with pytest.raises(TableUnsure, match=r"title block.*footer") as caught:
        source_of(tmp_path, content)
    assert "--header-row 4 --footer 2" in (caught.value.hint or "")
    for said in ({"guess": True}, {"header_row": 4, "footer": 2}, {"skip": 3, "footer": 2}):
        source = source_of(tmp_path, content, **said)
        assert (source.total_rows, table_of(source).num_rows) == (9, 9)
        assert "above the header: 2 rows, left out" in source.notes
        assert "below the last row: 2 rows, left out" in source.notes
    whole = source_of(tmp_path, content, header_row=4, footer=0)
    assert table_of(whole).num_rows == 11


FILLERS = row(text("Column1"), text("Column2"), text("Column3"))
BODY = row(text("name"), text("day"), text("sum")) + row(text("Ada"), text("x"), number(1))


def test_names_that_a_spreadsheet_made_up_are_no_header_above_a_title_block(
    tmp_path: Path,
) -> None:
    title = row(text("Sales"), text(""), text("")) + row(text("of May"), text(""), text(""))
    content = workbook(FILLERS + title + BODY)
    with pytest.raises(TableUnsure, match="header: row 4"):
        source_of(tmp_path, content)
    source = source_of(tmp_path, content, guess=True)
    assert [column.name for column in source.columns] == ["name", "day", "sum"]
    assert "above the header: 3 rows, left out" in source.notes


def test_names_that_a_spreadsheet_made_up_are_asked_about_above_rows(tmp_path: Path) -> None:
    for content in (workbook(FILLERS + BODY), workbook(FILLERS)):
        with pytest.raises(TableUnsure, match=r"header: row 1 .such names are made up"):
            source_of(tmp_path, content)
        source = source_of(tmp_path, content, header_row=1)
        assert [column.name for column in source.columns] == ["Column1", "Column2", "Column3"]


def test_a_header_that_a_spreadsheet_made_up_is_found_in_a_real_workbook() -> None:
    path = shared_path("data", "zh_exports", "wechat.xlsx")
    for sheet in ("example-wechat-records", "Sheet1"):
        found = open_source(path, ReadOptions(sheet=sheet, guess=True)).findings
        header = next(each for each in found if each.what == "header")
        assert (header.value, header.sure, header.option) == ("row 18", False, "--header-row 18")


def test_a_header_of_numbers_is_asked_about(tmp_path: Path) -> None:
    content = workbook(row(text("x"), number(1)) + row(text("y"), number(2)))
    with pytest.raises(TableUnsure, match="look like data"):
        source_of(tmp_path, content)
    source = source_of(tmp_path, content, header_row=0)
    assert table_of(source).to_pylist() == [
        {"column_1": "x", "column_2": 1}, {"column_1": "y", "column_2": 2}
    ]  # fmt: skip
    assert table_of(source_of(tmp_path, content, header_row=0, skip=1)).num_rows == 1


def test_a_sheet_has_to_be_named_where_there_are_several(tmp_path: Path) -> None:
    content = workbook(HEADER, HEADER + row(text("x"), text("y")))
    with pytest.raises(TableFormat, match="2 sheets") as caught:
        source_of(tmp_path, content)
    assert "'S1', 'S2'" in (caught.value.hint or "")
    with pytest.raises(TableFormat, match="no sheet 'S3'"):
        source_of(tmp_path, content, sheet="S3")
    source = source_of(tmp_path, content, sheet="S2")
    assert table_of(source).num_rows == 1
    assert source.format == {"kind": "excel", "sheet": "S2"}
    first = source_of(tmp_path, content, guess=True)
    assert table_of(first).num_rows == 0
    told = [(each.value, each.sure, each.option) for each in first.findings if each.what == "sheet"]
    assert told == [("S1", False, "--sheet S1")]


@pytest.mark.parametrize(
    "content",
    [workbook(""), workbook("<row/>"), workbook("", xl__workbook_xml="<workbook/>")],
    ids=range(3),
)
def test_an_empty_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TableEmpty):
        source_of(tmp_path, content)


@pytest.mark.parametrize("said", [{"header_row": 9}, {"skip": 9}])
def test_a_header_in_an_empty_row_is_refused(tmp_path: Path, said: dict[str, Any]) -> None:
    with pytest.raises(TableFormat):
        source_of(tmp_path, workbook(HEADER), **said)


def test_a_workbook_that_changes_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, workbook(HEADER + row(text("x"))))
    (tmp_path / "t.xlsx").write_bytes(workbook(HEADER + row(text("x")) + row(text("y"))))
    with pytest.raises(TableChanged):
        table_of(source)


# --- damage, and what is made to exhaust


BILLION = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">'
    "]><worksheet><sheetData><row><c><v>&b;</v></c></row></sheetData></worksheet>"
)
DAMAGED: dict[str, bytes] = {
    "no archive": b"PK\x03\x04" + bytes(99),
    "cut short": workbook(HEADER)[:-30],
    "no relations": workbook(HEADER, **{"_rels__.rels": "<Relationships/>"}),
    "external": workbook(
        HEADER,
        **{"_rels__.rels": '<Relationships><Relationship Id="a" Type="x/officeDocument" '
           'Target="http://x" TargetMode="External"/></Relationships>'},
    ),
    "no XML": workbook(HEADER, xl__worksheets__s1_xml="<worksheet><"),
    "another encoding": workbook("", xl__worksheets__s1_xml='<?xml version="1.0" encoding="x"?>'),
    "rows out of order": workbook(row(text("a"), number=2) + row(text("b"), number=1)),
    "too many rows": workbook(row(text("a"), number=1_048_577)),
    "cells out of order": workbook('<row><c r="B1"><v>1</v></c><c r="A1"><v>1</v></c></row>'),
    "too many columns": workbook('<row><c r="XFE1"><v>1</v></c></row>'),
    "no reference": workbook('<row><c r="1A"><v>1</v></c></row>'),
    "a part that is not there": workbook(
        HEADER,
        xl__workbook_xml='<workbook xmlns:r="r"><sheets><sheet name="S" r:id="r1"/></sheets>'
        "</workbook>",
        **{"xl___rels__workbook.xml.rels": '<Relationships><Relationship Id="r1" Type="x/worksheet"'
           ' Target="worksheets/gone.xml"/></Relationships>'},
    ),
    "no number": workbook(row(number("x"))),
    "no finite number": workbook(row(number("inf"))),
    "a text that is not there": workbook('<row><c t="s"><v>7</v></c></row>'),
    "an unknown kind": workbook('<row><c t="z"><v>7</v></c></row>'),
    "a style that is none": workbook('<row><c s="x"><v>7</v></c></row>'),
}  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TableUnreadable) as caught:
        table_of(source_of(tmp_path, content, header_row=0))
    assert caught.value.hint


def test_xml_that_declares_entities_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable, match="entities"):
        source_of(tmp_path, workbook("", xl__worksheets__s1_xml=BILLION))


def test_a_zip_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx_in, "FREE_BYTES", 1_000_000)
    with pytest.raises(TableTooLarge, match="250 times"):
        source_of(tmp_path, workbook(HEADER + " " * 20_000_000))


def test_two_cells_far_apart_cost_two_cells(tmp_path: Path) -> None:
    cells = '<row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c></row>'
    far = '<row r="1048576"><c r="DZZ1048576"><v>1</v></c></row>'
    source = source_of(tmp_path, workbook(cells + far), header_row=1)
    assert len(source.columns) == 3_406
    assert table_of(source).num_rows == 1
    with pytest.raises(TableTooLarge, match="16384 columns"):
        source_of(tmp_path, workbook(cells + far.replace("DZZ", "XFD")), header_row=1)


@pytest.mark.parametrize(
    "cell",
    [
        text("x" * 3_000_000),
        number("1" * 3_000_000),
        '<c t="str"><v>' + "<b/>a" * 40_000 + "</v></c>",
    ],
    ids=range(3),
)
def test_a_cell_that_never_ends_is_stopped(tmp_path: Path, cell: str) -> None:
    with pytest.raises((TableTooLarge, TableUnreadable)):
        table_of(source_of(tmp_path, workbook(HEADER + row(cell))))


def test_texts_that_fill_the_memory_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx_in, "_MOST_TEXT", 1_000)
    texts = f"<sst>{'<si><t>' + 'x' * 100 + '</t></si>'}{'<si><t>y</t></si>' * 1_000}</sst>"
    with pytest.raises(TableTooLarge, match="texts of more"):
        source_of(tmp_path, workbook(HEADER, xl__sharedStrings_xml=texts))


# --- .xls


def test_an_old_workbook_is_read_as_another_reader_reads_it() -> None:
    path = shared_path("data", "nasty", "csvkit", "test.xls")
    table = table_of(open_source(path))
    sheet = python_calamine.CalamineWorkbook.from_path(path).get_sheet_by_index(0)
    header, *rows = sheet.to_python()
    assert table.num_rows == len(rows)
    whole: list[Any] = [None if cells[2] == "" else cells[2] for cells in rows]
    assert table["integer"].to_pylist() == whole
    assert table["boolean"].to_pylist() == [None if cells[3] == "" else cells[3] for cells in rows]
    assert header[0] == table.column_names[0]


def test_an_old_workbook_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared_path("data", "zh_exports", "citic.xls")
    monkeypatch.setitem(__import__("sys").modules, "xlrd", None)
    with pytest.raises(TablePackage) as caught:
        open_source(path)
    assert caught.value.hint == "pip install 'sealroom[excel]', or save the workbook as .xlsx"


def test_an_old_workbook_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xls_in, "_LARGEST", 10)
    with pytest.raises(TableTooLarge):
        open_source(shared_path("data", "zh_exports", "citic.xls"))


@pytest.mark.parametrize("content", [b"\xd0\xcf\x11\xe0" + bytes(600), b"\xd0\xcf\x11\xe0\xa1"])
def test_a_damaged_old_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TableUnreadable, match="password"):
        source_of(tmp_path, content, "t.xls")


def test_rows_without_cells_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xls_in.Xls, "_row", lambda *_: [])
    with pytest.raises(TableEmpty):
        open_source(shared_path("data", "zh_exports", "citic.xls"))


class FakeCell:
    def __init__(self, ctype: int, value: object) -> None:
        self.ctype, self.value, self.xf_index = ctype, value, 0


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        (FakeCell(0, ""), None),
        (FakeCell(1, ""), None),
        (FakeCell(1, "x\ud800"), Cell(Kind.TEXT, "x?")),
        (FakeCell(4, 1), Cell(Kind.BOOLEAN, True)),
        (FakeCell(5, 42), Cell(Kind.ERROR, "#N/A")),
        (FakeCell(5, 99), Cell(Kind.ERROR, "#ERROR")),
        (FakeCell(6, ""), None),
    ],
)
def test_cells_of_old_workbooks(cell: FakeCell, wanted: Cell | None) -> None:
    with xls_in.Xls(shared_path("data", "zh_exports", "citic.xls")) as book:
        assert book._cell(cell) == wanted


def test_errors_of_ours_pass_through_the_net(tmp_path: Path) -> None:
    def refuse() -> None:
        raise TableTooLarge("x")

    path = shared_path("data", "zh_exports", "citic.xls")
    with xls_in.Xls(path) as book, pytest.raises(TableTooLarge):
        book._tried(refuse)


# --- out

EXACT: Mapping[str, pa.Array] = {
    "text": pa.array(["007", None, "", "_x0041_", "a\r\n\x01<&>\"'", "\ufffe😀 ", "=1+1", " x"]),
    "int": pa.array([1, None, -3, 0, 10**15 - 1, 1 - 10**15, 7, 8]),
    "small": pa.array([1, None, 255, 0, 4, 5, 6, 7], pa.uint8()),
    "float": pa.array([0.1, None, 1e300, 0.30000000000000004, -2.5, 1e-300, 5e-324, 0.5]),
    "bool": pa.array([True, None, False, True, True, False, False, True]),
    "date": pa.array([dt.date(2020, 1, 1), None, dt.date(1900, 3, 1), dt.date(9999, 12, 31)] * 2),
    "moment": pa.array(
        [dt.datetime(2020, 1, 1, 1, 2, 3, 4000), None, dt.datetime(1900, 3, 1),
         dt.datetime(9999, 12, 31, 23, 59, 59, 999000)] * 2, pa.timestamp("ms")),
    "time": pa.array([dt.time(1, 2, 3, 4000), None, dt.time(0), dt.time(23, 59, 59)] * 2,
                     pa.time32("ms")),
    "span": pa.array([dt.timedelta(days=400, milliseconds=1), None, dt.timedelta(0),
                      -dt.timedelta(hours=5)] * 2, pa.duration("ms")),
}  # fmt: skip


def test_what_excel_holds_comes_back_equal(tmp_path: Path) -> None:
    table = pa.table({"key": list("abcdefgh"), **EXACT})
    path, notes = written(tmp_path, table, table="Sheet [1]/2")
    source = open_source(path)
    read = table_of(source)
    for name, column in EXACT.items():
        wanted = column.cast(pa.int64()) if name == "small" else column
        assert read[name].to_pylist() == wanted.to_pylist(), name
    assert source.format["sheet"] == "Sheet _1__2"
    assert notes == source.notes == ()


def test_rows_without_a_value_are_blank_and_it_is_said(tmp_path: Path) -> None:
    path, notes = written(tmp_path, pa.table({"a": [1, None, 2], "b": ["x", None, None]}))
    assert notes == ("rows without any value are blank rows here, which readers leave out",)
    source = open_source(path)
    assert table_of(source).to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert source.notes == ("blank rows are left out",)


def test_another_reader_finds_the_same(tmp_path: Path) -> None:
    path, _ = written(tmp_path, pa.table(dict(EXACT)))
    book = python_calamine.CalamineWorkbook.from_path(path)
    header, *rows = book.get_sheet_by_name("out").to_python()
    assert header == list(EXACT)
    by_name = dict(zip(header, zip(*rows, strict=True), strict=True))
    assert by_name["int"][:3] == (1, "", -3)
    assert by_name["float"][3] == 0.30000000000000004
    assert by_name["bool"][:3] == (True, "", False)
    assert by_name["date"][0] == dt.date(2020, 1, 1)
    assert by_name["text"][0] == "007"


LOSSY = {
    "long": (pa.array([10**15, 1]), ["1000000000000000", "1"]),
    "unsigned": (pa.array([2**64 - 1, 1], pa.uint64()), [str(2**64 - 1), "1"]),
    "nan": (pa.array([float("nan"), 1.5]), ["nan", "1.5"]),
    "old": (pa.array([dt.date(1899, 12, 31), dt.date(2020, 1, 1)]), ["1899-12-31", "2020-01-01"]),
    "micro": (pa.array([1, 10**6], pa.timestamp("us")),
              ["1970-01-01T00:00:00.000001", "1970-01-01T00:00:01"]),
    "far": (pa.array([10**17, 1], pa.duration("s")), [str(10**17), "1000"]),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSY)
def test_what_would_lose_a_digit_is_text_and_it_is_said(tmp_path: Path, name: str) -> None:
    column, wanted = LOSSY[name]
    path, notes = written(tmp_path, pa.table({"x": column}))
    assert table_of(open_source(path))["x"].to_pylist() == wanted
    assert notes == ("column 'x': cells that Excel cannot hold exactly are text",)


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array([1, None], pa.timestamp("s", "UTC")), ["1970-01-01T00:00:01Z", None]),
        (pa.array([b"\0\1", None]), ["AAE=", None]),
        (pa.array([Decimal("1.20"), None], pa.decimal128(38, 2)), ["1.20", None]),
        (pa.array([Decimal("1.20"), None], pa.decimal128(9, 2)), [1.2, None]),
        (pa.array([1.5, None], pa.float16()), [1.5, None]),
        (pa.array(["x", None]).dictionary_encode(), ["x", None]),
        (pa.array([5, None], pa.time64("us")), ["00:00:00.000005", None]),
        (pa.array([7, None], pa.time32("s")), [dt.time(0, 0, 7), None]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_other_types_are_what_they_can_be(
    tmp_path: Path, column: pa.Array, wanted: list[Any]
) -> None:
    path, _ = written(tmp_path, pa.table({"y": ["a", "b"], "x": column}))
    assert table_of(open_source(path))["x"].to_pylist() == wanted


def test_a_text_too_long_for_a_cell_is_refused_with_its_place(tmp_path: Path) -> None:
    for value in ("x" * 32_768, "😀" * 16_384):
        with pytest.raises(TableValue, match="32,767") as caught:
            written(tmp_path, pa.table({"x": ["a", value]}))
        assert (caught.value.row, caught.value.column) == (3, "x")
    written(tmp_path, pa.table({"x": ["x" * 32_767, "y" * 20_000]}))
    assert list(tmp_path.iterdir()) == [tmp_path / "out.xlsx"]


def test_more_rows_than_a_sheet_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx_out, "MOST_ROWS", 4)
    written(tmp_path, pa.table({"x": [1, 2, 3]}))
    with pytest.raises(TableTooLarge, match="4 rows"):
        written(tmp_path, pa.table({"x": [1, 2, 3, 4]}))


def test_a_date_without_a_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableValue, match="no text"):
        written(tmp_path, pa.table({"x": pa.array([2**62], pa.timestamp("s"))}))


def test_a_header_that_cannot_be_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xlsx_out.XlsxSink, "_begin", full)
    with pytest.raises(TableUnwritable, match="No space"):
        open_sink(tmp_path / "out.xlsx", [Column("a", "string")])
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.none() | st.text(max_size=20), min_size=1, max_size=8))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("xlsx", numbered=True)
    path, _ = written(
        folder, pa.table({"k": ["k"] * len(texts), "t": pa.array(texts, pa.string())})
    )
    source = open_source(path, ReadOptions(header_row=1, footer=0))
    read = table_of(source)
    got = read["t"].to_pylist() if "t" in read.column_names else [None] * len(texts)
    assert got == texts
