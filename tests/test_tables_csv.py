"""CSV in, and CSV out again: equal cell for cell, or refused with the place."""

from __future__ import annotations

import csv
import hashlib
import io
import json
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
    TableEncoding,
    TableError,
    TableFormat,
    TableRagged,
    TableSyntax,
    TableTooLarge,
    TableType,
    TableUnreadable,
    TableUnsure,
    csv_layout,
    csv_rows,
    open_sink,
    open_source,
    source,
)
from client.tables.csv_format import CsvFormat
from client.tables.source import named_columns
from protocol.errors import ApiMisuse, SealroomError
from protocol.limits import LIMITS, MIB
from tests.shared import shared_path

Rows = list[list[str | None]]


def source_of(folder: Path, content: bytes | str, **options: Any) -> Source:
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_source(path, ReadOptions(**options))


def names_of(source: Source) -> list[str]:
    return [column.name for column in source.columns]


def rows_of(source: Source, max_rows: int = 100) -> Rows:
    return [
        list(row)
        for batch in source.batches(max_rows)
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    ]


def parsed(content: bytes | str, **options: Any) -> Rows:
    """Read CSV with the standard library alone."""
    text = content if isinstance(content, str) else content.decode("utf-8-sig")
    return [list(row) for row in csv.reader(io.StringIO(text, newline=""), strict=True, **options)]


def copied(source: Source, target: Path, **changes: Any) -> Source:
    with open_sink(target, source.columns, source.format | changes, overwrite=True) as sink:
        for batch in source.batches(100):
            sink.write(batch)
        sink.commit()
    return open_source(
        target,
        ReadOptions(
            encoding=source.format["encoding"],
            delimiter=source.format["delimiter"],
            quote=source.format["quote"],
            skip=source.format["before"].count("\n"),
            header_row=None if source.format["header"] else 0,
            footer=source.format["after"].count("\n"),
        ),
    )


# --- what a source says


def test_every_column_is_text_and_nothing_is_guessed(tmp_path: Path) -> None:
    source = source_of(tmp_path, "id,when,gone\n007,2024-01-02,\n1e5,NULL,NaN\n")
    assert source.columns == tuple(Column(name, "string") for name in ("id", "when", "gone"))
    assert rows_of(source) == [["007", "2024-01-02", ""], ["1e5", "NULL", "NaN"]]
    assert (source.name, source.total_rows, source.notes) == ("table.csv", None, ())


def test_a_batch_has_exactly_the_rows_asked_for(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a\n" + "".join(f"{n}\n" for n in range(5_000)))
    for size in (1_000, 2_047, 2_500, 5_000, 9_000):
        batches = list(source.batches(size))
        assert [batch.num_rows for batch in batches[:-1]] == [size] * (len(batches) - 1)
        cells = [cell for batch in batches for cell in batch.column(0).to_pylist()]
        assert cells == [str(n) for n in range(5_000)]
    with pytest.raises(ApiMisuse):
        next(source.batches(0))


def test_large_rows_make_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MOST_HELD", 100_000)
    table = source_of(tmp_path, "a\n" + ("x" * 40_000 + "\n") * 20)
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 30_000)
    sizes = [batch.num_rows for batch in table.batches(1_000)]
    assert sum(sizes) == 20
    assert max(sizes) <= 10
    assert sizes == [batch.num_rows for batch in table.batches(1_000)]


def test_a_table_without_rows_has_columns_and_no_batches(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a,b")
    assert names_of(source) == ["a", "b"]
    assert list(source.batches(10)) == []


def test_progress_counts_the_files_bytes(tmp_path: Path) -> None:
    content = "a\n" + "x" * 80 + "\n"
    source = source_of(tmp_path, content + ("y" * 80 + "\n") * 20_000)
    assert source.bytes_read == 0
    batches = source.batches(1_000)
    next(batches)
    assert source.bytes_total is not None
    assert 0 < source.bytes_read < source.bytes_total
    assert sum(1 for _ in batches) == 20
    assert source.bytes_read == source.bytes_total == (tmp_path / "table.csv").stat().st_size


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a\n1\n")
    assert source.fingerprint() == hashlib.sha256(b"a\n1\n").digest()


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a\n1\n")
    (tmp_path / "table.csv").write_text("a\n1\n2\n")
    with pytest.raises(TableChanged):
        list(source.batches(10))
    with pytest.raises(TableChanged):
        source.fingerprint()


def test_a_row_numbers_hold_whatever_the_size_of_the_pieces(tmp_path: Path) -> None:
    rows = "".join(f"{n},x\n" for n in range(10_000))
    source = source_of(tmp_path, "a,b\n" + rows + "only one\n")
    for size in (7, 2_048, 20_000):
        with pytest.raises(TableRagged) as caught:
            list(source.batches(size))
        assert caught.value.row == 10_002


def test_large_rows_make_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 100_000)
    monkeypatch.setattr(csv_rows, "CHUNK", 10_000)
    source = source_of(tmp_path, "a\n" + ("x" * 999 + "\n") * 2_000)
    pieces = source._pieces()  # type: ignore[attr-defined]
    sizes = [piece.num_rows for piece in pieces]
    assert sum(sizes) == 2_000
    assert max(sizes) <= 400


# --- names


def test_repeated_and_empty_names_get_names_of_their_own(tmp_path: Path) -> None:
    source = source_of(tmp_path, "name,,name,name_2,column_5,,name\n1,2,3,4,5,6,7\n")
    assert names_of(source) == [
        "name", "column_2", "name_3", "name_2", "column_5", "column_6", "name_4",
    ]  # fmt: skip
    assert len(source.notes) == 4
    assert "column 3" in source.notes[1]
    assert "'name_3'" in source.notes[1]


def test_an_empty_name_whose_number_is_taken_gets_a_suffix(tmp_path: Path) -> None:
    assert names_of(source_of(tmp_path, "column_2,\n")) == ["column_2", "column_2_2"]


def test_the_header_comes_back_as_it_was(tmp_path: Path) -> None:
    content = b"name,,name\n1,2,3\n"
    copied(source_of(tmp_path, content), tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_bytes() == content


@given(st.lists(st.sampled_from(["a", "a_2", "", "column_2", "column_3", "b"]), min_size=1))
def test_names_are_always_unique(names: list[str]) -> None:
    columns, _ = named_columns(names, [pa.string()] * len(names))
    unique = [column.name for column in columns]
    assert len(set(unique)) == len(names)
    assert all(unique)
    first = {name: names.index(name) for name in names if name}
    assert all(unique[at] == name for name, at in first.items())


# --- the delimiter


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ("a;b;c\n1;2;3\n4;5\n6;7;8\n", ";"),
        ("note\nfirst; second\n", ","),
        ('"x;y",b\n"1;2",3\n', ","),
        ("a,b;c\n1,2;3\n", ","),
        ("a;b", ";"),
        ("a\n", ","),
        ('a;b\n1;"2\n', ";"),
    ],
)
def test_the_delimiter_is_found_by_the_widths_of_rows(
    tmp_path: Path, content: str, delimiter: str
) -> None:
    source = source_of(tmp_path, content)
    assert source.format["delimiter"] == delimiter
    found = {finding.what: finding for finding in source.findings}
    assert found["delimiter"].value == csv_layout.DELIMITERS[delimiter]
    assert found["delimiter"].sure


def test_a_delimiter_that_is_named_is_not_detected(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a;b:c\n1;2:3\n", delimiter=":")
    assert names_of(source) == ["a;b", "c"]
    assert source.notes == ()


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "\r", "\0", "\ufeff", "\ud800"])
def test_what_cannot_delimit_is_refused(tmp_path: Path, delimiter: str) -> None:
    with pytest.raises(TableFormat):
        source_of(tmp_path, "a,b\n", delimiter=delimiter)


# --- encodings

CHINESE = "姓名,备注\n张三,㐀𠀀\n"


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16-le"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32-le"),
        ("gb18030", "gb18030"),
    ],
)
@pytest.mark.parametrize("mark", [True, False])
def test_an_encoding_with_or_without_its_mark(
    tmp_path: Path, encoding: str, name: str, mark: bool
) -> None:
    content = (("\ufeff" if mark else "") + CHINESE).encode(name)
    source = source_of(tmp_path, content, encoding=encoding)
    assert names_of(source) == ["姓名", "备注"]
    assert rows_of(source) == [["张三", "㐀𠀀"]]
    assert (source.format["encoding"], source.format["bom"]) == (name, mark)
    copied(source, tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_bytes() == content


def test_the_mark_tells_the_byte_order(tmp_path: Path) -> None:
    content = b"\xfe\xff" + CHINESE.encode("utf-16-be")
    source = source_of(tmp_path, content, encoding="utf-16")
    assert rows_of(source) == [["张三", "㐀𠀀"]]
    assert source.format["encoding"] == "utf-16-be"


def test_utf8_may_have_a_mark_without_being_told(tmp_path: Path) -> None:
    source = source_of(tmp_path, b"\xef\xbb\xbfa\n1\n")
    assert names_of(source) == ["a"]
    assert source.format["bom"]


@pytest.mark.parametrize(
    "encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "gb18030"]
)
def test_a_byte_order_mark_names_the_encoding(tmp_path: Path, encoding: str) -> None:
    content = ("\ufeff" + CHINESE).encode(encoding)
    source = source_of(tmp_path, content)
    assert rows_of(source) == [["张三", "㐀𠀀"]]
    assert (source.format["encoding"], source.format["bom"]) == (encoding, True)
    copied(source, tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_bytes() == content


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "hex", "idna", "unicode_escape", "a\0b"])
def test_what_is_no_encoding_of_files_is_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(TableEncoding):
        source_of(tmp_path, "a\n", encoding=encoding)


def test_bytes_that_are_not_text_are_named_by_row_and_byte(tmp_path: Path) -> None:
    good = "a,b\n" + "1,2\n" * 100
    content = good.encode() + b"3,\xd5\xc5\n" + b"4,5\n"
    with pytest.raises(TableEncoding) as caught:
        rows_of(source_of(tmp_path, content))
    assert (caught.value.row, caught.value.byte_offset) == (102, len(good) + 2)
    assert "--encoding gb18030" in (caught.value.hint or "")
    assert str(caught.value) == f"row 102, byte {len(good) + 2}: bytes that are not utf-8"


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "shift_jis", "utf-16-le"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 4096])
def test_the_place_does_not_depend_on_where_chunks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, chunk: int
) -> None:
    fault = {"utf-16-le": b"\x00\xdc"}.get(encoding, b"\xff")
    good = "日本,語\r\n一,二\r\n三,".encode(encoding)
    content = good + fault + "四\r\n".encode(encoding)
    source = source_of(tmp_path, content, encoding=encoding)
    monkeypatch.setattr(csv_rows, "CHUNK", chunk)
    batches = source.batches(1)
    with pytest.raises(TableEncoding) as caught:
        list(batches)
    assert (caught.value.row, caught.value.byte_offset) == (3, len(good))


def test_a_character_cut_off_at_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableEncoding) as caught:
        rows_of(source_of(tmp_path, "a\né".encode()[:-1]))
    assert (caught.value.row, caught.value.byte_offset) == (2, 2)


def test_bytes_that_are_not_text_in_the_header_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TableEncoding) as caught:
        source_of(tmp_path, b'a,"b\xff\n')
    assert (caught.value.row, caught.value.byte_offset) == (1, 4)


def test_a_header_cut_short_by_a_fault_is_blamed_on_the_fault(tmp_path: Path) -> None:
    with pytest.raises(TableEncoding) as caught:
        source_of(tmp_path, b'a,"b\n\xff\n')
    assert (caught.value.row, caught.value.byte_offset) == (1, 5)


def test_rows_before_a_fault_are_still_had(tmp_path: Path) -> None:
    batches = source_of(tmp_path, b"a\n1\n2\n\xff\n", encoding="utf-8").batches(2)
    assert next(batches).column(0).to_pylist() == ["1", "2"]
    with pytest.raises(TableEncoding):
        next(batches)


def test_a_fault_does_not_change_the_text_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The chunk with the fault begins between two characters of a shifted encoding.
    content = "a\n日本\n".encode("iso2022_jp") + b"\xff\n"
    source = source_of(tmp_path, content, encoding="iso2022_jp")
    monkeypatch.setattr(csv_rows, "CHUNK", 7)
    batches = source.batches(1)
    assert next(batches).column(0).to_pylist() == ["日本"]
    with pytest.raises(TableEncoding):
        next(batches)


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableEncoding) as caught:
        rows_of(source_of(tmp_path, b"a,b\n1,2\n3,+2AA-\n", encoding="utf-7"))
    assert caught.value.row == 3


@pytest.mark.parametrize(
    ("content", "encoding", "row", "offset"),
    [
        (b"a,b\n1,\x002\n", None, 2, 6),
        (b"a\0,b\n", None, 1, 1),
        (b"a\r1\r\0\r", None, 3, 4),
        ("a\n1\n\0\n".encode("utf-16-le"), "utf-16-le", 3, 8),
    ],
)
def test_nul_is_refused(
    tmp_path: Path, content: bytes, encoding: str | None, row: int, offset: int | None
) -> None:
    with pytest.raises(TableSyntax, match="NUL") as caught:
        rows_of(source_of(tmp_path, content, encoding=encoding))
    assert (caught.value.row, caught.value.byte_offset) == (row, offset)


# --- rows


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ("a,b\n1,2\n3\n", 3),
        ("a,b\n1,2,3\n", 2),
        ("a,b\n\n1,2\n\n\n3\n", 6),
        ('a,b\n"1\n1",2\n3\n', 3),
    ],
)
def test_ragged_rows_are_refused(tmp_path: Path, content: str, row: int) -> None:
    with pytest.raises(TableRagged) as caught:
        rows_of(source_of(tmp_path, content))
    assert caught.value.row == row
    assert caught.value.hint


def test_blank_lines_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a,b\n1,2\n\n\n3,4\n\n")
    assert rows_of(source) == [["1", "2"], ["3", "4"]]
    assert source.notes == ("blank lines are left out",)
    assert rows_of(source) == [["1", "2"], ["3", "4"]]
    assert len(source.notes) == 1


def test_blank_lines_alone_are_no_rows(tmp_path: Path) -> None:
    assert rows_of(source_of(tmp_path, "a,b\n\n\n")) == []


def test_in_one_column_a_blank_line_is_an_empty_cell(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a\n1\n\n2\n")
    assert rows_of(source) == [["1"], [""], ["2"]]
    assert source.notes == ()


@pytest.mark.parametrize("chunk", [1, 2, 5, 1000])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_any_line_end_with_any_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newline: str, chunk: int
) -> None:
    monkeypatch.setattr(csv_rows, "CHUNK", chunk)
    content = newline.join(["a,b", '1,"x\r\ny"', '2,"x\ry\n"', "3,\u2028\x0b\x85", ""])
    source = source_of(tmp_path, content)
    assert rows_of(source) == [["1", "x\r\ny"], ["2", "x\ry\n"], ["3", "\u2028\x0b\x85"]]
    assert source.format["newline"] == newline
    assert source.format["final_newline"]


@pytest.mark.parametrize(
    ("content", "row", "message"),
    [
        ('a,b\n1,"2"x\n', 2, "closing quote"),
        ('a,b\n1,2\n3,"4\n5,6\n', 3, "never closed"),
        ('a,"b\n', 1, "never closed"),
        ('a,"b"c\n', 1, "closing quote"),
    ],
)
def test_stray_quotes_are_refused(tmp_path: Path, content: str, row: int, message: str) -> None:
    with pytest.raises(TableSyntax, match=message) as caught:
        rows_of(source_of(tmp_path, content))
    assert caught.value.row == row


def test_another_complaint_of_the_reader_is_one_too() -> None:
    assert csv_layout.syntax_error("new words", 4).row == 4


def test_a_quote_inside_an_unquoted_cell_is_a_character(tmp_path: Path) -> None:
    assert rows_of(source_of(tmp_path, 'size,x\n5" pipe,1\n')) == [['5" pipe', "1"]]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n", b"\n\n", b",,\n1,2,3\n"])
def test_a_file_without_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TableEmpty) as caught:
        source_of(tmp_path, content)
    assert caught.value.row == 1
    assert caught.value.hint


# --- sizes


def test_the_largest_cell_passes_and_one_byte_more_is_named(tmp_path: Path) -> None:
    largest = "é" * (LIMITS.cell_bytes // 2)
    assert rows_of(source_of(tmp_path, f"a,b\n1,{largest}\n")) == [["1", largest]]
    with pytest.raises(TableTooLarge) as caught:
        rows_of(source_of(tmp_path, f"a,b\n1,2\n\n1,{largest}x\n"))
    assert (caught.value.row, caught.value.column) == (4, "b")
    assert str(LIMITS.cell_bytes + 1) in str(caught.value)


def test_a_quote_that_swallows_the_file_is_stopped(tmp_path: Path) -> None:
    content = 'a,b\n1,"2\n' + "x" * 80 + "\n"
    with pytest.raises(TableTooLarge, match="characters") as caught:
        rows_of(source_of(tmp_path, content + ("y" * 999 + "\n") * (5 * MIB // 1000)))
    assert caught.value.row == 2
    assert "never closed" in (caught.value.hint or "")


def test_a_line_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(tmp_path, b"a,b\n1,2\n" + b"x" * 900 + b"\n")
    monkeypatch.setattr(csv_rows, "CHUNK", 100)
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 100)
    monkeypatch.setattr(csv_rows, "_LONGEST_BLOCK", 200)
    small = type(LIMITS)(batch_bytes=500)
    monkeypatch.setattr(csv_rows, "LIMITS", small)
    with pytest.raises(TableTooLarge, match="a line above 500") as caught:
        rows_of(source)
    assert caught.value.row == 3


def test_a_limit_of_csv_set_higher_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit(64 * MIB)
    try:
        rows_of(source_of(tmp_path, "a\n1\n"))
        assert csv.field_size_limit() == 64 * MIB
    finally:
        csv.field_size_limit(before)


def test_too_many_columns_are_refused(tmp_path: Path) -> None:
    header = ",".join(map(str, range(LIMITS.fields + 1)))
    with pytest.raises(TableTooLarge, match="4097 columns"):
        source_of(tmp_path, header)


def test_a_name_too_long_is_shown_shortened(tmp_path: Path) -> None:
    with pytest.raises(TableTooLarge) as caught:
        source_of(tmp_path, "a," + "n" * (LIMITS.text_bytes + 1))
    assert len(str(caught.value)) < 150


def test_a_header_cell_beyond_the_readers_own_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableTooLarge) as caught:
        source_of(tmp_path, "a," + "n" * (5 * MIB))
    assert caught.value.row == 1


# --- nulls


def test_null_comes_from_the_text_that_means_it_and_from_nothing_else(tmp_path: Path) -> None:
    content = 'a,b\nNULL,null\n"NULL",\nNULL ,x\n'
    assert None not in [cell for row in rows_of(source_of(tmp_path, content)) for cell in row]
    source = source_of(tmp_path, content, null_text="NULL")
    assert rows_of(source) == [[None, "null"], [None, ""], ["NULL ", "x"]]
    assert source.format["null_text"] == "NULL"


def test_the_empty_text_may_mean_null(tmp_path: Path) -> None:
    source = source_of(tmp_path, 'a,b\n,1\n"",2\n', null_text="")
    assert rows_of(source) == [[None, "1"], [None, "2"]]


@pytest.mark.parametrize("null_text", ["a,b", '"', "\n", "x" * 65])
def test_a_text_for_null_that_needs_quotes_is_refused(tmp_path: Path, null_text: str) -> None:
    with pytest.raises(TableFormat):
        source_of(tmp_path, "a,b\n", null_text=null_text)


# --- and out again

CELLS = st.text(
    st.sampled_from('ab,;"\r\n\t |é中\U00020000 ')
    | st.characters(codec="utf-8", exclude_characters="\0"),
    max_size=6,
)


@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=6
        )
    ),
    delimiter=st.sampled_from([",", ";", "\t", "|", "é"]),
    newline=st.sampled_from(["\r\n", "\n", "\r"]),
    quoting=st.sampled_from(["minimal", "all"]),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "gb18030"]),
    ends=st.tuples(st.booleans(), st.booleans()),
)
def test_any_text_comes_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    delimiter: str,
    newline: str,
    quoting: str,
    encoding: str,
    ends: tuple[bool, bool],
) -> None:
    folder = tmp_path_factory.mktemp("csv", numbered=True)
    columns = [Column(f"\ufeff{position}", "string") for position in range(len(rows[0]))]
    written = CsvFormat(
        encoding=encoding,
        bom=ends[0],
        delimiter=delimiter,
        newline=newline,
        quoting=quoting,
        final_newline=ends[1],
        null_text=None,
    ).to_dict()
    batch = pa.record_batch(
        [pa.array(column, pa.string()) for column in zip(*rows, strict=True)],
        names=[column.name for column in columns],
    )
    with open_sink(folder / "out.csv", columns, written) as sink:
        sink.write(batch)
        sink.write(batch[:0])
        sink.write(batch)
        sink.commit()
    said = ReadOptions(encoding=encoding, delimiter=delimiter, header_row=1, footer=0, quote='"')
    source = open_source(folder / "out.csv", said)
    assert names_of(source) == [column.name for column in columns]
    assert rows_of(source) == rows * 2
    assert {key: source.format[key] for key in ("bom", "final_newline")} == {
        "bom": ends[0],
        "final_newline": ends[1],
    }
    # Another reader of the same file sees the same cells.
    text = (folder / "out.csv").read_bytes().decode(encoding).removeprefix("\ufeff" * ends[0])
    assert parsed(text, delimiter=delimiter)[1:] == rows * 2
    assert rows_of(copied(source, folder / "again.csv")) == rows * 2


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\r\n1,2\r\n",
        b"a;b\n1;2",
        b'"a","b"\n"1",""\n',
        b"\xef\xbb\xbfa,b\r1,\r",
        b'a\n""\nx\n',
        b"a,a,\n1,2,3\n",
        b'"\xef\xbb\xbfa",b\n1,2\n',
        b"a,b",
    ],
)
def test_a_file_written_in_the_usual_way_comes_back_to_the_byte(
    tmp_path: Path, content: bytes
) -> None:
    copied(source_of(tmp_path, content), tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_bytes() == content


SHARED_TABLES = [
    ("telco_churn.csv", None),
    ("synthea_patients.csv", None),
    ("adventureworks_customers_bom.csv", None),
    ("kylo_userdata1.csv", None),
    ("us-500.csv", None),
    ("febrl4a_leading_space.csv", None),
    ("superstore_us_cp1252.csv", "cp1252"),
    ("zh_crm_gb18030.csv", "gb18030"),
    ("nasty/csvkit/mac_newlines.csv", None),
    ("nasty/csvkit/test_utf16_big.csv", "utf-16"),
    ("nasty/csvkit/test_utf16_little.csv", "utf-16"),
    ("nasty/duckdb/encodings__shift_jis.csv", "shift_jis"),
    ("nasty/duckdb/mixed_new_line.csv", None),
]


@pytest.mark.parametrize(("name", "encoding"), SHARED_TABLES)
def test_real_tables_come_back_equal_cell_for_cell(
    tmp_path: Path, name: str, encoding: str | None
) -> None:
    path = shared_path("data", *name.split("/"))
    source = open_source(path, ReadOptions(encoding=encoding, header_row=1, footer=0))
    text = path.read_bytes().decode(encoding or "utf-8-sig")
    expected = parsed(text)
    assert rows_of(source) == expected[1:]
    back = copied(source, tmp_path / "copy.csv")
    assert rows_of(back) == expected[1:]
    assert parsed((tmp_path / "copy.csv").read_bytes().decode(
        source.format["encoding"]
    ).removeprefix("\ufeff"))[0] == expected[0]  # fmt: skip


def test_the_chinese_export_comes_back_to_the_byte(tmp_path: Path) -> None:
    path = shared_path("data", "zh_crm_gb18030.csv")
    source = open_source(path, ReadOptions(encoding="gb18030", footer=1))
    assert names_of(source)[-2:] == ["备注_2", "column_20"]
    assert len(source.notes) == 3
    copied(source, tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_bytes() == path.read_bytes()


def test_the_chinese_export_read_as_utf8_names_the_remedy() -> None:
    with pytest.raises(TableEncoding) as caught:
        open_source(shared_path("data", "zh_crm_gb18030.csv"))
    assert "--encoding gb18030" in (caught.value.hint or "")


def test_a_semicolon_table_is_found_to_be_one() -> None:
    path = shared_path("data", "bank_marketing_semicolon.csv")
    source = open_source(path)
    assert rows_of(source, 4_096) == parsed(path.read_bytes(), delimiter=";")[1:]


SPECTRUM = [
    "comma_in_quotes", "empty", "empty_crlf", "escaped_quotes", "json", "newlines",
    "quotes_and_newlines", "simple", "simple_crlf", "utf8",
]  # fmt: skip


@pytest.mark.parametrize("name", SPECTRUM)
def test_csv_spectrum_reads_as_it_says(tmp_path: Path, name: str) -> None:
    folder = shared_path("data", "nasty", "csv-spectrum")
    expected = json.loads((folder / "expected_json" / f"{name}.json").read_text("utf-8"))
    source = open_source(folder / f"{name}.csv")
    for read in (source, copied(source, tmp_path / "copy.csv")):
        rows = [dict(zip(names_of(read), row, strict=True)) for row in rows_of(read)]
        assert rows == expected


def test_naughty_strings_come_back_equal(tmp_path: Path) -> None:
    listed = json.loads(shared_path("data", "nasty", "blns", "blns.json").read_text("utf-8"))
    strings = [text for text in listed if "\0" not in text]
    columns = [Column(name, "string") for name in ("a", "b")]
    with open_sink(tmp_path / "out.csv", columns) as sink:
        sink.write(pa.record_batch([pa.array(strings), pa.array(strings)], names=["a", "b"]))
        sink.commit()
    assert rows_of(open_source(tmp_path / "out.csv")) == [[text, text] for text in strings]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("csvkit/bad.csv", TableRagged),
        ("csvkit/empty.csv", TableEmpty),
        ("csvkit/null_byte.csv", TableSyntax),
        ("csvkit/test_latin1.csv", TableEncoding),
        ("duckdb/test__unterminated.csv", TableSyntax),
        ("duckdb/test__invalid_utf_big.csv", TableEncoding),
        ("duckdb/auto__backslash_escape.csv", TableUnsure),
        ("duckdb/line_too_long.csv.gz", TableTooLarge),
    ],
)
def test_nasty_files_are_refused_by_name(name: str, error: type[TableError]) -> None:
    with pytest.raises(error) as caught:
        rows_of(open_source(shared_path("data", "nasty", *name.split("/"))))
    assert caught.value.hint


# --- whatever the bytes


@given(st.binary(max_size=200) | st.text('a,"\r\n\0é;', max_size=60).map(str.encode), st.booleans())
def test_any_bytes_are_a_table_or_an_error_of_its_kind(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, guess: bool
) -> None:
    folder = tmp_path_factory.mktemp("any", numbered=True)
    try:
        source = source_of(folder, content, guess=guess)
        rows = rows_of(source)
    except TableError:
        return
    assert all(len(row) == len(source.columns) for row in rows)


def test_errors_place_but_never_quote_a_cell(tmp_path: Path) -> None:
    for content in ("a,b\n1,SECRET,3\n", 'a,b\n1,"SECRET"x\n', 'a,b\n"SECRET\n'):
        with pytest.raises(TableError) as caught:
            rows_of(source_of(tmp_path, content))
        chain: BaseException | None = caught.value
        while chain is not None:
            assert "SECRET" not in str(chain) + str(getattr(chain, "hint", ""))
            chain = chain.__cause__


def test_every_error_is_in_the_tree_with_a_code_of_its_own() -> None:
    classes: list[type[TableError]] = [TableError, *TableError.__subclasses__()]
    assert issubclass(TableError, SealroomError)
    assert len({each.code for each in classes}) == len(classes)
    assert all(each.code.startswith("table") for each in classes)
    assert TableType in classes


# --- what is not there, or is something else


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable, match="No such file"):
        open_source(tmp_path / "none.csv")
    with pytest.raises(TableUnreadable):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"%PDF-1.7", "PDF"),
        (b"\x89PNG", "picture"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
    ],
)
def test_what_is_no_text_is_called_by_name(tmp_path: Path, head: bytes, what: str) -> None:
    with pytest.raises(TableFormat, match=what):
        source_of(tmp_path, head + b"rest")


# --- the format as it travels


def test_a_format_travels_as_plain_values(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a;a\n1;2\n", null_text="-")
    assert CsvFormat.from_dict(json.loads(json.dumps(source.format))).to_dict() == source.format


@pytest.mark.parametrize(
    "wrong",
    [
        {"delimiter": ",,"},
        {"delimiter": 1},
        {"newline": "\x85"},
        {"quoting": "none"},
        {"bom": 1},
        {"final_newline": None},
        {"null_text": "a,b"},
        {"null_text": 0},
        {"renamed": []},
        {"renamed": {"a": 1}},
    ],
)
def test_a_format_of_a_lying_writer_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TableFormat):
        CsvFormat.from_dict(CsvFormat().to_dict() | wrong)


def test_a_format_with_an_encoding_unknown_is_refused() -> None:
    with pytest.raises(TableEncoding):
        CsvFormat.from_dict({"encoding": "rot13"})


# --- bounded memory


def test_a_large_table_streams_in_little_memory(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here to read the memory in use from")
    with (tmp_path / "big.csv").open("w") as stream:
        stream.write("a,b,c\n")
        for n in range(300_000):
            stream.write(f"{n},name {n},{'x' * (n % 200)}\n")
    source = open_source(tmp_path / "big.csv")
    next(source.batches(4_096))
    before, most, rows = _memory(), 0, 0
    for batch in source.batches(4_096):
        rows += batch.num_rows
        most = max(most, _memory())
    assert rows == 300_000
    assert (tmp_path / "big.csv").stat().st_size > 35_000_000
    assert most - before < 30_000_000


def _memory() -> int:
    fields = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) * 1024


def test_a_source_is_read_anew_by_each_call(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a\n1\n2\n")
    assert rows_of(source, 1) == rows_of(source, 5) == [["1"], ["2"]]
