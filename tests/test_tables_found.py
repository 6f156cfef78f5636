"""What is found out about a CSV file: encoding, delimiter, quotes, header, what is around it."""

from __future__ import annotations

import bz2
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from client.tables import (
    ReadOptions,
    Source,
    TableChanged,
    TableEmpty,
    TableEncoding,
    TableFormat,
    TableRagged,
    TableSyntax,
    TableTooLarge,
    TableUnreadable,
    TableUnsure,
    open_sink,
    open_source,
    packed,
)
from client.tables.csv_encoding import find_encoding
from client.tables.csv_format import CsvFormat, for_readers_of
from client.tables.findings import Finding, demand_sure
from client.tables.options import WriteOptions
from client.tables.packed import content_of

Rows = list[list[str | None]]
CHINESE = "客户,备注\n" + "".join(f"张三{n},欢迎光临本店铺谢谢惠顾\n" for n in range(30))
FRENCH = "nom,remarque\n" + "".join(
    f"Renée {n},{words}\n"
    for n, words in enumerate(
        ["habite à Besançon près de la forêt", "préfère être appelée après midi",
         "déjà cliente depuis l'été dernier", "où est passé le chèque de Noël ?",
         "reçoit le catalogue à l'hôtel", "a déménagé à Orléans"] * 5
    )
)  # fmt: skip


def source_of(folder: Path, content: bytes | str, name: str = "t.csv", **said: Any) -> Source:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_source(path, ReadOptions(**said))


def rows_of(source: Source) -> Rows:
    return [list(row.values()) for batch in source.batches(100) for row in batch.to_pylist()]


def found(source: Source) -> dict[str, Finding]:
    return {finding.what: finding for finding in source.findings}


def names_of(source: Source) -> list[str]:
    return [column.name for column in source.columns]


def written(source: Source, target: Path, **wanted: Any) -> bytes:
    options = WriteOptions(**wanted)
    with open_sink(target, source.columns, source.format, overwrite=True, options=options) as sink:
        for batch in source.batches(100):
            sink.write(batch)
        sink.commit()
    return target.read_bytes()


# --- encodings


@pytest.mark.parametrize(
    ("content", "codec", "why"),
    [
        (b"a,b\n1,2\n", "utf-8", "all of it is ASCII"),
        ("ä,ö\n1,2\n".encode(), "utf-8", "every byte of it was checked"),
        ("\ufeffä,b\n1,2\n".encode(), "utf-8", "by its byte order mark"),
        ("\ufeffä,b\n1,2\n".encode("utf-16-be"), "utf-16-be", "by its byte order mark"),
    ],
)
def test_what_is_certain_is_taken_and_said(
    tmp_path: Path, content: bytes, codec: str, why: str
) -> None:
    source = source_of(tmp_path, content)
    finding = found(source)["encoding"]
    assert (source.format["encoding"], finding.why, finding.sure) == (codec, why, True)
    assert len(rows_of(source)) == 1


@pytest.mark.parametrize(
    ("text", "codec", "found_as", "language"),
    [
        (CHINESE, "gbk", "gb18030", "Chinese"),
        (CHINESE + "龘𠀀,x\n", "gb18030", "gb18030", "Chinese"),
        (FRENCH, "cp1252", "cp1252", "Western European"),
    ],
)
def test_a_guess_is_a_hint_until_somebody_takes_it(
    tmp_path: Path, text: str, codec: str, found_as: str, language: str
) -> None:
    content = text.encode(codec)
    with pytest.raises(TableEncoding) as caught:
        source_of(tmp_path, content)
    assert caught.value.row is not None
    assert caught.value.byte_offset is not None
    assert f"--encoding {found_as}" in (caught.value.hint or "")
    assert language in (caught.value.hint or "")
    source = source_of(tmp_path, content, guess=True)
    finding = found(source)["encoding"]
    assert (source.format["encoding"], finding.sure) == (found_as, False)
    assert [list(row) for row in rows_of(source)] == [
        line.split(",") for line in text.splitlines()[1:]
    ]


def test_a_few_bytes_that_are_no_utf8_are_damage_and_no_other_encoding(tmp_path: Path) -> None:
    content = FRENCH.encode() + b"\xff\xff,x\n"
    for guess in (False, True):
        with pytest.raises(TableEncoding) as caught:
            rows_of(source_of(tmp_path, content, guess=guess))
        assert (caught.value.row, caught.value.byte_offset) == (32, len(content) - 5)
    assert find_encoding(content_of(tmp_path / "t.csv"), None, guess=True).guess is None


def test_a_guess_that_does_not_decode_all_of_the_file_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import chardet

    listed = [{"encoding": name} for name in ("GB18030", "Klingon", None, "TSCII")]
    monkeypatch.setattr(chardet, "detect_all", lambda *_, **__: listed)
    content = CHINESE.encode("gb18030") + b"\xff\xff\n"
    with pytest.raises(TableEncoding):
        rows_of(source_of(tmp_path, content, guess=True))


def test_the_sample_is_about_the_first_byte_that_tells(tmp_path: Path) -> None:
    plain = "name,note\n" + "ascii,only\n" * 40_000
    content = plain.encode() + CHINESE.split("\n", 1)[1].encode("gbk")
    source = source_of(tmp_path, content, guess=True)
    assert source.format["encoding"] == "gb18030"


def test_utf16_that_ends_in_half_a_character_is_no_guess(tmp_path: Path) -> None:
    with pytest.raises(TableEncoding):
        rows_of(source_of(tmp_path, "a\n一\n".encode("utf-16")[:-1]))


# --- delimiter and quotes


def test_a_quote_is_found_by_the_widths_that_it_gives(tmp_path: Path) -> None:
    content = "a\tb\n1\t'x\ty'\n2\t'z'\n"
    with pytest.raises(TableUnsure, match="quote") as caught:
        source_of(tmp_path, content)
    assert '--quote "\'"' in (caught.value.hint or "")
    either: tuple[dict[str, Any], ...] = ({"guess": True}, {"quote": "'"})
    for said in either:
        source = source_of(tmp_path, content, **said)
        assert rows_of(source) == [["1", "x\ty"], ["2", "z"]]
        assert source.format["quote"] == "'"
        assert written(source, tmp_path / "copy.csv") == b"a\tb\n1\t'x\ty'\n2\tz\n"


def test_an_apostrophe_is_no_quote(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a,b\n'tis,O'Neil\n'twas,x\n")
    assert rows_of(source) == [["'tis", "O'Neil"], ["'twas", "x"]]


def test_no_quotes_may_be_said(tmp_path: Path) -> None:
    source = source_of(tmp_path, 'a,b\n"1,2"\n', quote="none")
    assert rows_of(source) == [['"1', '2"']]
    assert written(source, tmp_path / "copy.csv") == b'a,b\n"1,2"\n'


@pytest.mark.parametrize("quote", ["ab", ",", "\n", "\0"])
def test_what_cannot_quote_is_refused(tmp_path: Path, quote: str) -> None:
    with pytest.raises(TableFormat):
        source_of(tmp_path, "a,b\n", quote=quote, delimiter=",")


def test_lax_quotes_are_taken_only_if_somebody_says_so(tmp_path: Path) -> None:
    content = 'a,b\n"1"\t,2\n"3"\t,4\n'
    with pytest.raises(TableSyntax) as caught:
        source_of(tmp_path, content)
    assert (caught.value.row, caught.value.byte_offset) == (2, 4)
    assert "--lax-quotes" in (caught.value.hint or "")
    either: tuple[dict[str, Any], ...] = ({"guess": True}, {"lax_quotes": True})
    for said in either:
        assert rows_of(source_of(tmp_path, content, **said)) == [["1\t", "2"], ["3\t", "4"]]
    both = "title\n" + content
    with pytest.raises(TableUnsure, match=r"line 3 .*title block") as unsure:
        source_of(tmp_path, both)
    assert "--lax-quotes --header-row 2" in (unsure.value.hint or "")
    with pytest.raises(TableSyntax):
        rows_of(source_of(tmp_path, content, lax_quotes=False))


@pytest.mark.parametrize(
    ("content", "quoting"),
    [
        ('"a","b"\n"1","x"\n', "all"),
        ('"a";"b"\n1;"x"\n-2.5;""\n', "nonnumeric"),
        ('a,b\n1,"x,y"\n', "minimal"),
        ('"a",b\n1,x\n', "minimal"),
    ],
)
def test_which_cells_are_quoted_is_found_and_written_again(
    tmp_path: Path, content: str, quoting: str
) -> None:
    source = source_of(tmp_path, content)
    assert source.format["quoting"] == quoting
    if quoting != "minimal":
        assert written(source, tmp_path / "copy.csv") == content.encode()


# --- the header, and lines above it

TITLE = "Customers of Lark\nexported 2024-01-02\n\n"
TABLE = "name,city,born\nAda,London,1815\nAlan,Wilmslow,1912\n"


def test_a_title_block_is_found_and_comes_back(tmp_path: Path) -> None:
    content = TITLE + TABLE
    with pytest.raises(TableUnsure, match="title block") as caught:
        source_of(tmp_path, content)
    assert "--header-row 4" in (caught.value.hint or "")
    for said in ({"guess": True}, {"header_row": 4}, {"skip": 3}):
        source = source_of(tmp_path, content, **said)
        assert names_of(source) == ["name", "city", "born"]
        assert len(rows_of(source)) == 2
        assert "above the header: 3 lines, kept beside the rows" in source.notes
        assert written(source, tmp_path / "copy.csv") == content.encode()
        assert written(source, tmp_path / "part.csv", whole=False) == TABLE.encode()


def test_rows_are_numbered_as_a_spreadsheet_shows_them(tmp_path: Path) -> None:
    with pytest.raises(TableRagged) as caught:
        rows_of(source_of(tmp_path, TITLE + TABLE + "short\n", header_row=4, footer=0))
    assert caught.value.row == 7


def test_a_title_block_of_the_tables_own_width_is_found_by_its_empty_cells(tmp_path: Path) -> None:
    content = "Customers,,\n,,\n" + TABLE
    source = source_of(tmp_path, content, guess=True)
    assert names_of(source) == ["name", "city", "born"]


def test_words_above_nothing_are_no_title(tmp_path: Path) -> None:
    assert names_of(source_of(tmp_path, "note\nfirst; second\n")) == ["note"]


def test_blank_lines_above_the_header_are_no_doubt(tmp_path: Path) -> None:
    source = source_of(tmp_path, "\n\n" + TABLE)
    assert found(source)["header"].sure
    assert written(source, tmp_path / "copy.csv") == ("\n\n" + TABLE).encode()


@pytest.mark.parametrize("cell", ["1", "-2.5", "2024-01-02", "ada@example.com"])
def test_a_header_that_looks_like_data_is_asked_about(tmp_path: Path, cell: str) -> None:
    content = f"Ada,{cell}\nAlan,x\n"
    with pytest.raises(TableUnsure, match="look like data"):
        source_of(tmp_path, content)
    headless = source_of(tmp_path, content, header_row=0)
    assert names_of(headless) == ["column_1", "column_2"]
    assert rows_of(headless)[0] == ["Ada", cell]
    assert found(headless)["header"].value == "none"
    assert written(headless, tmp_path / "copy.csv") == content.encode()
    assert names_of(source_of(tmp_path, content, header_row=1)) == ["Ada", cell]


@pytest.mark.parametrize(
    ("content", "few"),
    [("姓名,城市\n张三,上海\n李四,北京\n".encode("gb18030"), False),
     (b"\xff\n\xfe\n", False),
     (TABLE.encode() + b"\xff,x,y\n" + TABLE.encode(), True),
     (b"a,b\n1,2\n" * 9 + "张三在上海,李四在北京\n".encode("gb18030"), True)],
)  # fmt: skip
def test_rows_are_to_be_set_aside_only_where_most_are_left(
    tmp_path: Path, content: bytes, few: bool
) -> None:
    with pytest.raises(TableEncoding) as caught:
        source_of(tmp_path, content)
    hint = caught.value.hint or ""
    assert "--encoding" in hint
    assert ("or set such rows aside (--on-error set-aside)" in hint) is few


@pytest.mark.parametrize("word", ["Column", "列", "Spalte", "Столбец "])
def test_names_that_a_spreadsheet_made_up_are_no_header(tmp_path: Path, word: str) -> None:
    made_up, body = f"{word}1,{word}2,{word}3\n", "name,day,sum\nAda,x,1\nAlan,y,2\n"
    source = source_of(tmp_path, f"{made_up}Sales,,\n,,\n{body}", guess=True)
    assert (names_of(source), found(source)["header"].value) == (["name", "day", "sum"], "line 4")
    assert not found(source)["header"].sure
    # At once below them may stand a header or a record.
    source = source_of(tmp_path, made_up + body, guess=True)
    assert found(source)["header"].value == "line 1"
    assert found(source)["header"].why.startswith("such names are made up")
    assert len(rows_of(source)) == 3


@pytest.mark.parametrize("header", ["column_1,column_2", "Column1,Column3", "Column1,列2", "列1"])
def test_other_names_with_numbers_are_a_header(tmp_path: Path, header: str) -> None:
    row = "x,y" if "," in header else "x"
    assert found(source_of(tmp_path, f"{header}\n{row}\n"))["header"].sure


def test_a_year_may_name_a_column(tmp_path: Path) -> None:
    assert names_of(source_of(tmp_path, "country,1999,2024\nDE,1,2\n"))[1:] == ["1999", "2024"]


def test_no_header_below_lines_that_are_skipped(tmp_path: Path) -> None:
    source = source_of(tmp_path, TITLE + "1,2\n3,4\n", header_row=0, skip=3)
    assert rows_of(source) == [["1", "2"], ["3", "4"]]
    assert written(source, tmp_path / "copy.csv") == (TITLE + "1,2\n3,4\n").encode()


def test_a_delimiter_that_ends_each_row_makes_a_column_without_a_name(tmp_path: Path) -> None:
    content = "a,b\n1,2,\n3,4,\n"
    source = source_of(tmp_path, content)
    assert names_of(source) == ["a", "b", "column_3"]
    assert found(source)["columns"].value == "3"
    assert written(source, tmp_path / "copy.csv") == content.encode()
    assert written(source, tmp_path / "part.csv", whole=False).startswith(b"a,b,\n")
    for ragged in ("a,b\n1,2,\n", "a,b\n1,2,x\n3,4,\n", "a,b\n1,2,\n3,4,\n5,6\n7,8\n9,0\n"):
        with pytest.raises((TableRagged, TableUnsure)):
            rows_of(source_of(tmp_path, ragged))


@pytest.mark.parametrize("said", [{"header_row": 9}, {"skip": 9}])
def test_a_header_beyond_the_end_is_refused(tmp_path: Path, said: dict[str, Any]) -> None:
    with pytest.raises(TableEmpty):
        source_of(tmp_path, TABLE, **said)


def test_a_header_with_a_quote_astray_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableSyntax) as caught:
        source_of(tmp_path, 'x\n"a"b,c\n1,2\n3,4\n', header_row=2)
    assert caught.value.row == 2


# --- lines below

TOTALS = ["Total,,3727\n", "合计,,3727\n", "Grand Total,,1\n", "\nTOTAL,,1\n", "end of the list\n"]


@pytest.mark.parametrize("total", TOTALS)
def test_what_is_below_the_table_is_found_and_comes_back(tmp_path: Path, total: str) -> None:
    content = TABLE + total
    with pytest.raises(TableUnsure, match="footer"):
        source_of(tmp_path, content)
    lines = total.count("\n")
    for said in ({"guess": True}, {"footer": lines}):
        source = source_of(tmp_path, content, **said)
        assert len(rows_of(source)) == 2
        assert any(note.startswith("below the last row") for note in source.notes)
        assert written(source, tmp_path / "copy.csv") == content.encode()
    if total.count(",") == 2:
        assert len(rows_of(source_of(tmp_path, content, footer=0))) == 3


@pytest.mark.parametrize(
    "last", ["Totals Ltd,x,1\n", "Tota,,1\n", '"a\nTotal",,1\n', '"x\n\nTotal,",y,z\n', "\n\n"]
)
def test_what_only_looks_a_little_like_a_total_is_a_row(tmp_path: Path, last: str) -> None:
    source = source_of(tmp_path, TABLE + last)
    assert "footer" not in found(source)


def test_in_one_column_nothing_is_below(tmp_path: Path) -> None:
    assert rows_of(source_of(tmp_path, "name\nTotal\n")) == [["Total"]]


def test_a_footer_may_be_said_to_be_longer_than_the_file(tmp_path: Path) -> None:
    assert rows_of(source_of(tmp_path, TABLE, footer=99)) == []


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-32-be", "gb18030"])
def test_the_end_of_a_long_file_is_found_in_any_encoding(tmp_path: Path, codec: str) -> None:
    body = "".join(f"Ada {n},伦敦,1815\n" for n in range(9_000))
    content = ("姓名,city,born\n" + body + "合计,,1\n").encode(codec)
    source = source_of(tmp_path, content, encoding=codec, footer=1)
    assert sum(batch.num_rows for batch in source.batches(5_000)) == 9_000
    assert source.format["after"] == "合计,,1\n"


def test_a_last_line_longer_than_the_end_that_is_looked_at_is_a_row(tmp_path: Path) -> None:
    source = source_of(tmp_path, TABLE.rstrip("\n") + "x" * 200_000)
    assert len(rows_of(source)) == 2
    assert not source.format["final_newline"]


def test_lines_of_old_macs_have_their_end_too(tmp_path: Path) -> None:
    content = ("a,b,c\r" + "1,2,3\r" * 20_000 + "Total,,1\r").encode()
    source = source_of(tmp_path, content, footer=1)
    assert sum(batch.num_rows for batch in source.batches(50_000)) == 20_000


def test_lines_too_long_to_keep_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    title = "words " * 20_000 + "\n"
    source = source_of(tmp_path, title + TABLE, header_row=2)
    assert source.format["before"] == ""
    assert "above the header: 1 line, left out" in source.notes


def test_lines_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    source = source_of(tmp_path, TABLE.encode() + b"total \xff\n", encoding="utf-8", footer=1)
    assert (source.format["after"], len(rows_of(source))) == ("", 2)


# --- options that contradict


@pytest.mark.parametrize(
    "said",
    [
        {"skip": 1, "header_row": 2},
        {"skip": -1},
        {"on_error": "ignore"},
        {"on_error": "set-aside"},
        {"set_aside": Path("x")},
        {"types": "guess"},
        {"table": "a", "query": "b"},
    ],
)
def test_options_that_contradict_themselves_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(TableFormat):
        ReadOptions(**said)


def test_what_is_sure_stops_nobody() -> None:
    demand_sure([Finding("a", "b")])


# --- packed


def zipped(*files: tuple[str, bytes]) -> bytes:
    packed_files = io.BytesIO()
    with zipfile.ZipFile(packed_files, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", b"")
        for name, content in files:
            archive.writestr(name, content)
    return packed_files.getvalue()


PACKED = [
    ("t.csv.gz", gzip.compress(TABLE.encode())),
    ("t.csv.gz", gzip.compress(TABLE[:20].encode()) + gzip.compress(TABLE[20:].encode())),
    ("t.csv.bz2", bz2.compress(TABLE.encode())),
    ("t.zip", zipped(("folder/t.csv", TABLE.encode()), ("__MACOSX/t.csv", b"x"))),
]


@pytest.mark.parametrize(("name", "content"), PACKED, ids=range(len(PACKED)))
def test_a_packed_file_is_read_as_what_is_in_it(tmp_path: Path, name: str, content: bytes) -> None:
    source = source_of(tmp_path, content, name)
    assert rows_of(source) == rows_of(source_of(tmp_path, TABLE))
    assert source.bytes_read == source.bytes_total == len(content)
    assert source.name == name
    assert source.fingerprint() != source_of(tmp_path, TABLE).fingerprint()


def test_a_footer_is_found_in_a_packed_file_too(tmp_path: Path) -> None:
    source = source_of(tmp_path, gzip.compress((TABLE + TOTALS[0]).encode()), "t.gz", guess=True)
    assert len(rows_of(source)) == 2
    assert written(source, tmp_path / "copy.csv") == (TABLE + TOTALS[0]).encode()


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("t.csv.gz", gzip.compress(TABLE.encode())[:-9], TableUnreadable),
        ("t.csv.gz", b"\x1f\x8bnot gzip", TableUnreadable),
        ("t.csv.bz2", bz2.compress(TABLE.encode() * 99)[:-20], TableUnreadable),
        ("t.zip", b"PK\x03\x04" + b"x" * 90, TableUnreadable),
        ("t.zip", zipped(("a.csv", b"a\n"), ("b.csv", b"b\n")), TableFormat),
        ("t.zip", zipped(), TableFormat),
        ("t.parquet.gz", gzip.compress(b"PAR1" + bytes(9)), TableFormat),
    ],
    ids=range(7),
)
def test_a_packed_file_that_is_no_one_table_is_refused(
    tmp_path: Path, name: str, content: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        rows_of(source_of(tmp_path, content, name))
    assert getattr(caught.value, "hint", None)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(("t.csv", TABLE.encode())))
    for at in (content.rindex(b"PK\x01\x02") + 8, content.rindex(b"PK\x03\x04") + 6):
        content[at] |= 1
    with pytest.raises(TableFormat, match="encrypted"):
        source_of(tmp_path, bytes(content), "t.zip")


def test_a_member_that_cannot_be_opened_is_damage(tmp_path: Path) -> None:
    content = bytearray(zipped(("t.csv", TABLE.encode())))
    content[content.rindex(b"PK\x03\x04")] = 0
    with pytest.raises(TableUnreadable):
        source_of(tmp_path, bytes(content), "t.zip")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lambda b: zipped(("t.csv", b))])
def test_a_bomb_is_stopped_long_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Any
) -> None:
    monkeypatch.setattr(packed, "FREE_BYTES", 1_000_000)
    bomb = pack(b"a,b\n" + b"1,2\n" * 3_000_000)
    with pytest.raises(TableTooLarge, match="250 times") as caught:
        rows_of(source_of(tmp_path, bomb, "t.csv.gz"))
    assert caught.value.hint


def test_a_packed_file_that_changes_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, gzip.compress(TABLE.encode()), "t.csv.gz")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(TABLE.encode() + b"x,y,1\n"))
    with pytest.raises(TableChanged):
        rows_of(source)


# --- the format, and who may see what of it


def test_a_format_is_written_otherwise_where_somebody_wants_that(tmp_path: Path) -> None:
    source = source_of(tmp_path, "ä;b\n1;x\n")
    asked = {"encoding": "utf-16", "delimiter": ",", "quote": "'", "quoting": "all",
             "newline": "\r\n", "null_text": "-"}  # fmt: skip
    content = written(source, tmp_path / "copy.csv", **asked)
    assert content == b"\xff\xfe" + "'ä','b'\r\n'1','x'\r\n".encode("utf-16-le")
    assert written(source, tmp_path / "copy.csv", encoding="utf-8-sig", bom=None) == (
        "\ufeffä;b\n1;x\n".encode()
    )
    assert written(source, tmp_path / "copy.csv", bom=True)[:3] == b"\xef\xbb\xbf"
    with pytest.raises(TableEncoding):
        written(source, tmp_path / "copy.csv", encoding="klingon")


def test_what_would_need_quotes_is_refused_where_there_are_none(tmp_path: Path) -> None:
    from client.tables import TableValue

    source = source_of(tmp_path, 'a,b\n1,"x,y"\n')
    with pytest.raises(TableValue, match="quoted") as caught:
        written(source, tmp_path / "copy.csv", quote="none")
    assert (caught.value.row, caught.value.column) == (2, "b")


@pytest.mark.parametrize(
    "wrong",
    [{"unheaded": -1}, {"quote": "", "quoting": "all"}, {"quote": ","}, {"before": 1}],
)
def test_a_format_that_contradicts_itself_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TableFormat):
        CsvFormat.from_dict(CsvFormat().to_dict() | wrong)


def test_lines_that_the_wanted_encoding_lacks_are_refused(tmp_path: Path) -> None:
    from client.tables import TableValue

    for content, said, where in (
        ("客户名单\n" + TABLE, {"header_row": 2}, "above"),
        (TABLE + "合计,,\n", {"footer": 1}, "below"),
    ):
        source = source_of(tmp_path, content, **dict[str, Any](said))
        with pytest.raises(TableValue, match=where):
            written(source, tmp_path / "copy.csv", encoding="cp1252")


def test_readers_of_a_class_see_what_names_its_own_columns() -> None:
    everything = {"kind": "csv", "renamed": {"a_2": "a", "b_2": "b"}, "before": "t\n", "after": ""}
    part = for_readers_of(everything, frozenset({"a_2"}), everything=False)
    assert part == {"kind": "csv", "renamed": {"a_2": "a"}, "before": "", "after": ""}
    whole = for_readers_of(everything, frozenset({"b_2"}), everything=True)
    assert whole == {"kind": "csv", "renamed": {"b_2": "b"}, "before": "t\n", "after": ""}


def test_half_of_one_character_and_half_of_the_next_is_no_line_end(tmp_path: Path) -> None:
    body = "\u0100\u0a41,伦敦,1\n" + "\u0100\u0a41" * 40_000 + ",x,1\n"
    content = ("a,b,c\n" + body + "Total,,1\n").encode("utf-16-be")
    source = source_of(tmp_path, content, encoding="utf-16-be", footer=1)
    assert len(rows_of(source)) == 2
    assert source.format["after"] == "Total,,1\n"


def test_a_total_in_the_middle_of_a_cell_is_a_row(tmp_path: Path) -> None:
    source = source_of(tmp_path, TABLE + '"a\nTotal,","y",z\n')
    assert rows_of(source)[-1] == ["a\nTotal,", "y", "z"]


def test_a_header_line_that_never_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from client.tables import csv_in
    from protocol.limits import LIMITS

    monkeypatch.setattr(csv_in, "LIMITS", type(LIMITS)(batch_bytes=300_000))
    with pytest.raises(TableTooLarge):
        source_of(tmp_path, "x" * 3_000_000, header_row=1)
