"""Rows of CSV: the fast way and the careful one agree, and bad rows are named or set aside."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from client.tables import (
    ReadOptions,
    TableEncoding,
    TableError,
    TableRagged,
    TableSyntax,
    TableTooLarge,
    csv_rows,
    open_source,
)
from client.tables.csv_encoding import Encoding
from client.tables.csv_layout import Dialect
from client.tables.csv_rows import BadRow, Feed, Rows
from client.tables.packed import content_of
from protocol.limits import LIMITS

Found = tuple[list[tuple[str, ...]], list[int], type[TableError] | None]


def read(
    path: Path,
    width: int,
    dialect: Dialect = Dialect(",", '"'),  # noqa: B008 - frozen
    *,
    codec: str = "utf-8",
    fast: bool = True,
    bad: Any = None,
) -> Found:
    """Return the rows, their numbers, and which error ended them."""
    rows: list[tuple[str, ...]] = []
    numbers: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        if not fast:
            patch.setattr(csv_rows._FastReader, "of", lambda *_: None)
        with content_of(path).open() as stream:
            feed = Feed(stream, Encoding(codec, False, ""), 0, None)
            try:
                for piece in Rows(feed, dialect, width, 0, bad).pieces():
                    rows += zip(*(column.to_pylist() for column in piece.columns), strict=True)
                    numbers += piece.numbers
            except TableError as error:
                return rows, numbers, type(error)
    return rows, numbers, None


# --- both ways agree

PIECES = st.sampled_from(
    ['"', '""', ",", ";", "\n", "\r\n", "\r", "a", "é", "😀", " ", "\ufeff", "\0", '"x,y"', "'",
     '"\r\n"', "1,2\n", '"a""b",c\r\n', "\u2028", "\x85"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join), st.integers(1, 3), st.sampled_from([1, 7, 4096]))
@example('1,2\n"a\n",b\n', 2, 1)
@example('a,"b\r\n\r\nc"\r\n', 2, 7)
@example("\n1,2\n", 2, 4096)
@example("a,b\n\ufeffc,d\n", 2, 4096)
def test_the_fast_way_and_the_careful_one_find_the_same(
    tmp_path_factory: pytest.TempPathFactory, text: str, width: int, block: int
) -> None:
    path = tmp_path_factory.mktemp("rows", numbered=True) / "t.csv"
    path.write_bytes(text.encode())
    careful = read(path, width, fast=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "BLOCK_BYTES", block)
        patch.setattr(csv_rows, "CHUNK", max(1, block // 2))
        assert read(path, width) == careful
    if careful[2] is None:
        lines = io.StringIO(text, newline="")
        wanted = [tuple(row or [""] * (width == 1)) for row in csv.reader(lines, strict=True)]
        assert careful[0] == [row for row in wanted if row]


@given(st.lists(PIECES, max_size=30).map("".join))
def test_lax_quotes_are_those_of_the_standard_library(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("lax", numbered=True) / "t.csv"
    path.write_bytes(text.encode())
    rows, _, error = read(path, 2, Dialect(",", '"', lax=True))
    if error is None:
        wanted = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        assert rows == [tuple(row) for row in wanted]


def test_plain_rows_go_the_fast_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careful(*_: Any) -> Any:
        raise AssertionError("read with care what is plain")

    monkeypatch.setattr(Rows, "_carefully", careful)
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 300)
    path = tmp_path / "t.csv"
    for newline in ("\n", "\r\n"):
        lines = [f'{n},"a ""b"" {n}",x' for n in range(500)] + ['"two\nlines",,""']
        path.write_bytes((newline.join(lines * 3) + newline).encode())
        rows, numbers, error = read(path, 3)
        assert error is None
        assert len(rows) == len(numbers) == 1_503
    path.write_bytes("一,二\n三,四\n".encode("gb18030"))
    assert read(path, 2, codec="gb18030")[0] == [("一", "二"), ("三", "四")]


@pytest.mark.parametrize(
    "dialect", [Dialect("é", '"'), Dialect(",", "”"), Dialect(",", ""), Dialect("|", "'")]
)
def test_other_dialects_are_read_either_way(tmp_path: Path, dialect: Dialect) -> None:
    quote, mark = dialect.quote, dialect.delimiter
    path = tmp_path / "t.csv"
    path.write_text(f"a{mark}{quote}b{quote}\n1{mark}2\n")
    assert read(path, 2, dialect)[0] == [("a", "b"), ("1", "2")]
    assert read(path, 2, dialect, fast=False) == read(path, 2, dialect)


def test_without_quotes_a_quote_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('"a,"b\n')
    assert read(path, 2, Dialect(",", ""))[0] == [('"a', '"b')]


# --- what is wrong is named

FAULTS = [
    (b"1,2\n3\n", TableRagged, 2, 4),
    (b"1,2\n\n3,4,5\n", TableRagged, 3, 5),
    (b'1,2\n"3"x,4\n', TableSyntax, 2, 4),
    (b'1,2\n3,"4\n5,6\n', TableSyntax, 2, 4),
    (b"1,2\n3,\xff\n", TableEncoding, 2, 6),
    (b"1,2\n3,\0\n", TableSyntax, 2, 6),
    (b'1,2\n"3\n\xff",4\n', TableEncoding, 2, 7),
]


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize(("content", "kind", "row", "byte"), FAULTS)
def test_row_and_byte_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    kind: type[TableError],
    row: int,
    byte: int,
    block: int,
) -> None:
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", block)
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with content_of(path).open() as stream, pytest.raises(kind) as caught:
        list(
            Rows(
                Feed(stream, Encoding("utf-8", False, ""), 0, None), Dialect(",", '"'), 2, 0
            ).pieces()
        )
    assert (caught.value.row, caught.value.byte_offset) == (row, byte)
    assert caught.value.hint


@pytest.mark.parametrize("codec", ["utf-8", "gb18030", "shift_jis", "utf-16-le", "utf-16-be"])
def test_the_byte_is_that_of_the_file_in_any_encoding(tmp_path: Path, codec: str) -> None:
    good = "一,二\r\n三,四\r\n".encode(codec)
    path = tmp_path / "t.csv"
    path.write_bytes(good + "五\r\n".encode(codec))
    with content_of(path).open() as stream, pytest.raises(TableRagged) as caught:
        list(
            Rows(
                Feed(stream, Encoding(codec, False, ""), 0, None), Dialect(",", '"'), 2, 0
            ).pieces()
        )
    assert (caught.value.row, caught.value.byte_offset) == (3, len(good))


def test_where_bytes_have_no_one_text_the_row_alone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,+2AA-\n")  # UTF-7 of half a character, which no encoder writes
    rows, _, error = read(path, 2, codec="utf-7")
    assert (rows, error) == ([("a", "b")], TableEncoding)


def test_a_decoder_that_gives_up_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def decode(self, *_: Any) -> str:
            raise UnicodeError("no place")

        def getstate(self) -> tuple[bytes, int]:
            return b"", 0

    path = tmp_path / "t.csv"
    path.write_bytes(b"a\n")
    monkeypatch.setattr(csv_rows, "decoder_of", lambda *_: Broken())
    assert read(path, 1, codec="gb18030")[2] is TableEncoding


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_line_that_never_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quote: str
) -> None:
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 100)
    monkeypatch.setattr(csv_rows, "_LONGEST_BLOCK", 200)
    monkeypatch.setattr(csv_rows, "CHUNK", 100)
    monkeypatch.setattr(csv_rows, "LIMITS", type(LIMITS)(batch_bytes=500))
    path = tmp_path / "t.csv"
    path.write_bytes(b"1,2\n" + quote.encode() + b"x\n" * bool(quote) + b"x" * 2_000)
    assert read(path, 2)[2] is TableTooLarge


# --- set aside


def set_aside(folder: Path, content: bytes, **options: Any) -> tuple[list[Any], bytes | None, str]:
    """Return the rows that are good, what was set aside, and what is said of it."""
    path, aside = folder / "t.csv", folder / "bad.csv"
    path.write_bytes(content)
    said = ReadOptions(on_error="set-aside", set_aside=aside, header_row=1, footer=0, **options)
    source = open_source(path, said)
    rows = [list(row.values()) for batch in source.batches(7) for row in batch.to_pylist()]
    told = [note for note in source.notes if "set aside" in note]
    return rows, aside.read_bytes() if aside.exists() else None, "".join(told)


@pytest.mark.parametrize("block", [1, 1 << 20])
def test_bad_rows_are_set_aside_as_they_were_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", block)
    bad = [b"1\r\n", b"1,2,3\r\n", b'"x"y,2\r\n', b"\xff,2\r\n", b"a\0,2\r\n"]
    good = [b"1,2\r\n", b'"3\r\n4",5\r\n', b"6,7"]
    content = b"a,b\r\n" + good[0] + bad[0] + bad[1] + good[1] + bad[2] + bad[3] + bad[4] + good[2]
    rows, aside, told = set_aside(tmp_path, content)
    assert rows == [["1", "2"], ["3\r\n4", "5"], ["6", "7"]]
    assert aside == b"".join(bad)
    assert told.startswith("5 rows were set aside in bad.csv (row 3, 4, 6, 7, 8): ")
    assert "1 x a NUL character" in told


def test_a_quote_that_is_never_closed_costs_its_own_line_only(tmp_path: Path) -> None:
    rows, aside, told = set_aside(tmp_path, b'a,b\n1,2\n3,"4\n5,6\n7,8\n')
    assert rows == [["1", "2"], ["5", "6"], ["7", "8"]]
    assert aside == b'3,"4\n'
    assert told.startswith("1 row was set aside in bad.csv (row 3)")


def test_a_last_row_without_line_end_is_set_aside_with_one(tmp_path: Path) -> None:
    assert set_aside(tmp_path, b"a,b\n1,2\n3")[:2] == ([["1", "2"]], b"3\n")


@pytest.mark.parametrize("codec", ["gb18030", "utf-16-le"])
def test_rows_are_set_aside_in_the_files_own_encoding(tmp_path: Path, codec: str) -> None:
    fault = b"\xff\n" if codec == "gb18030" else b"\x00\xdc" + "\n".encode(codec)
    bad = ["一\n".encode(codec), "三,".encode(codec) + fault]
    content = "甲,乙\n".encode(codec) + bad[0] + "二,四\n".encode(codec) + bad[1]
    rows, aside, _ = set_aside(tmp_path, content, encoding=codec)
    assert rows == [["二", "四"]]
    assert aside == b"".join(bad)


def test_bytes_that_are_no_text_are_set_aside_whatever_they_look_like(tmp_path: Path) -> None:
    rows, aside, _ = set_aside(tmp_path, b"a,b\n1,\xe9\n3,4\n", guess=True)
    assert (rows, aside) == ([["3", "4"]], b"1,\xe9\n")


def test_where_every_row_is_good_there_is_no_file_of_bad_ones(tmp_path: Path) -> None:
    assert set_aside(tmp_path, b"a,b\n1,2\n") == ([["1", "2"]], None, "")


def test_many_bad_rows_are_counted_and_the_first_named(tmp_path: Path) -> None:
    rows, aside, told = set_aside(tmp_path, b"a,b\n" + b"1\n" * 3_000 + b"1,2\n")
    assert (rows, aside) == ([["1", "2"]], b"1\n" * 3_000)
    assert told.startswith("3,000 rows were set aside in bad.csv (row 2, 3, 4, 5, 6, ...)")


def test_a_reading_that_is_left_off_leaves_no_file(tmp_path: Path) -> None:
    path, aside = tmp_path / "t.csv", tmp_path / "bad.csv"
    path.write_bytes(b"a,b\n1\n" + b"1,2\n" * 9_000)
    said = ReadOptions(on_error="set-aside", set_aside=aside)
    batches = open_source(path, said).batches(10)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_set_aside_is_given_as_it_is() -> None:
    bad = BadRow(b"1\n", TableRagged("x", row=3))
    assert (bad.raw, bad.error.row) == (b"1\n", 3)


# --- rows that go on beyond what was read


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_row_may_go_on_in_the_next_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newline: str
) -> None:
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 1)
    monkeypatch.setattr(csv_rows, "_LONGEST_BLOCK", 2)
    monkeypatch.setattr(csv_rows, "CHUNK", 3)
    lines = ["1,2", '"3', "", 'x""y",4', '5" x,"6', '"']
    path = tmp_path / "t.csv"
    path.write_bytes(newline.join([*lines, ""]).encode())
    wanted = [("1", "2"), (f'3{newline}{newline}x"y', "4"), ('5" x', f"6{newline}")]
    assert read(path, 2) == read(path, 2, fast=False) == (wanted, [1, 2, 3], None)


def test_rows_that_are_all_bad_leave_none(tmp_path: Path) -> None:
    assert set_aside(tmp_path, b"a,b\n1\n")[:2] == ([], b"1\n")


def test_a_place_that_cannot_be_told_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> bytes:
        raise UnicodeEncodeError("x", "x", 0, 1, "x")

    path = tmp_path / "t.csv"
    path.write_bytes(b"1\n")
    with content_of(path).open() as stream:
        feed = Feed(stream, Encoding("gb18030", False, ""), 0, None)
        monkeypatch.setattr(csv_rows, "original", lost)
        assert feed.offset(b"1\n") is None


def test_escapes_are_made_of_bytes_alone() -> None:
    assert b"a\xff".decode("ascii", csv_rows.ESCAPED) == "a\udcff"
    assert csv_rows.original("a\udcff", "ascii") == b"a\xff"
    with pytest.raises(UnicodeEncodeError):
        "é".encode("ascii", csv_rows.ESCAPED)
