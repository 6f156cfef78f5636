"""Arrow IPC, JSON lines and contacts: in, out again, and what is wrong with them."""

from __future__ import annotations

import gzip
import json
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
    TableEncoding,
    TableError,
    TableSyntax,
    TableTooLarge,
    TableUnreadable,
    TableUnsure,
    TableValue,
    jsonl_in,
    open_sink,
    open_source,
    schema_of,
    type_to_text,
    vcard_in,
)
from client.tables.cells import encoded
from protocol.limits import LIMITS
from tests.shared import shared_path


def source_of(folder: Path, content: bytes | str, name: str, **said: Any) -> Source:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return open_source(folder / name, ReadOptions(**said))


def table_of(source: Source) -> pa.Table:
    return pa.Table.from_batches(source.batches(100), schema_of(source.columns))


def copied(source: Source, target: Path) -> Path:
    with open_sink(target, source.columns, source.format, overwrite=True) as sink:
        for batch in source.batches(2):
            sink.write(batch)
        sink.commit()
    return target


# --- Arrow IPC


@pytest.mark.parametrize("suffix", [".arrow", ".feather", ".arrows"])
def test_an_arrow_file_comes_back_equal(tmp_path: Path, suffix: str) -> None:
    table = pa.table({
        "a": pa.array(["x", None, "y", "x", "z"]).dictionary_encode(),
        "b": pa.array([1, 2, None, 4, 5], pa.decimal256(40, 2)),
        "c": pa.array([1000, 2000, 3000, 4000, None], pa.timestamp("ns", "Asia/Shanghai")),
        "d": pa.array(["v", "w", None, "", "é"], pa.string_view()),
    })  # fmt: skip
    source = open_source(copied(open_source(table), tmp_path / f"t{suffix}"))
    assert source.format == {"kind": "arrow"}
    assert source.columns == open_source(table).columns
    assert table_of(source).to_pylist() == table.to_pylist()
    again = open_source(copied(source, tmp_path / f"u{suffix}"))
    assert table_of(again).to_pylist() == table.to_pylist()
    assert source.bytes_total == (tmp_path / f"t{suffix}").stat().st_size
    assert source.bytes_read <= source.bytes_total


def test_the_dictionaries_of_an_arrow_file_grow_from_batch_to_batch(tmp_path: Path) -> None:
    kinds = (pa.string(), pa.string_view(), pa.float64(), pa.null())
    for kind in kinds:
        wanted = pa.dictionary(pa.int8(), kind)
        columns = (Column("x", type_to_text(wanted)),)
        cells: list[Any] = ["a", "b", None] if kind not in kinds[2:] else [0.0, -0.0, None]
        cells = cells if kind != pa.null() else [None] * 3
        values = [pa.array(some, kind) for some in (cells[:1], cells[1:], cells)]
        with open_sink(tmp_path / "t.arrow", columns, overwrite=True) as sink:
            for array in values:
                batch = pa.record_batch([encoded(array, wanted)], schema=schema_of(columns))
                sink.write(batch)
            sink.commit()
        read = table_of(open_source(tmp_path / "t.arrow"))["x"].to_pylist()
        assert str(read) == str(cells[:1] + cells[1:] + cells)


def test_more_values_than_an_index_counts_are_refused(tmp_path: Path) -> None:
    columns = (Column("x", "dictionary<values=int64, indices=int8, ordered=0>"),)
    few, more = (
        pa.record_batch(
            [encoded(pa.array(range(start, start + 100)), schema_of(columns)[0].type)],
            schema=schema_of(columns),
        )
        for start in (0, 100)
    )
    with open_sink(tmp_path / "t.arrow", columns) as sink:
        sink.write(few)
        sink.write(few)
        with pytest.raises(TableValue, match="more distinct values than int8"):
            sink.write(more)


def test_an_arrow_file_with_names_twice_says_so(tmp_path: Path) -> None:
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as stream:
        schema = pa.schema([("a", pa.int8()), ("a", pa.int8())])
        pa.ipc.new_file(stream, schema).close()
    assert len(open_source(tmp_path / "t.arrow").notes) == 1


@pytest.mark.parametrize("content", [b"ARROW1\0\0" + bytes(50), b"\xff\xff\xff\xff\x10\0\0\0", b""])
def test_a_damaged_arrow_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TableUnreadable):
        source_of(tmp_path, content, "t.arrow")


def test_an_arrow_file_with_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    copied(open_source(pa.table({"nnnnnnnn": [1]})), tmp_path / "t.arrows")
    content = (tmp_path / "t.arrows").read_bytes()
    with pytest.raises(TableUnreadable):
        source_of(tmp_path, content.replace(b"nnnnnnnn", b"\xff" * 8), "t.arrows")


def test_an_arrow_file_that_is_damaged_further_in_is_refused(tmp_path: Path) -> None:
    table = pa.table({"a": ["x" * 100, "y" * 100] * 50})
    copied(open_source(table), tmp_path / "t.arrows")
    content = (tmp_path / "t.arrows").read_bytes()
    with pytest.raises(TableUnreadable):
        table_of(source_of(tmp_path, content[:-200], "t.arrows"))


def test_an_arrow_file_that_changes_is_refused(tmp_path: Path) -> None:
    source = open_source(copied(open_source(pa.table({"a": [1]})), tmp_path / "t.arrow"))
    copied(open_source(pa.table({"a": [1, 2, 3]})), tmp_path / "t.arrow")
    with pytest.raises(TableChanged):
        table_of(source)


def test_an_arrow_stream_that_is_given_up_leaves_no_file(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "t.arrows", [Column("a", "int64")])
    sink.abort()
    sink.abort()
    assert list(tmp_path.iterdir()) == []


# --- JSON lines

ROWS = (
    '{"a": 1, "t": "é\\n", "b": true, "f": 0.1, "n": {"k": [1, 2.50, null, false]}, "l": 1}\n'
    '{"a": null, "t": null, "b": null, "f": -2e3, "n": [], "l": 123456789012345678901234}\n'
    "\n"
    '{"a": -7, "z": "only here"}\n'
)


def test_keys_become_columns_with_the_types_of_their_values(tmp_path: Path) -> None:
    source = source_of(tmp_path, "\ufeff" + ROWS, "t.jsonl")
    assert {column.name: column.type for column in source.columns} == {
        "a": "int64", "t": "string", "b": "bool", "f": "float64", "n": "string", "l": "string",
        "z": "string",
    }  # fmt: skip
    rows = table_of(source).to_pylist()
    assert rows[0]["n"] == '{"k": [1, 2.50, null, false]}'
    assert [row["l"] for row in rows] == ["1", "123456789012345678901234", None]
    assert [row["f"] for row in rows] == [0.1, -2000.0, None]
    assert "column 'n': objects and lists are JSON text" in source.notes
    assert "column 'l': numbers of which no type holds all are text" in source.notes
    assert "column 'z': lines that lack the key are null" in source.notes
    back = copied(source, tmp_path / "copy.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in back] == [
        dict.fromkeys("atbfnlz") | json.loads(line) for line in ROWS.split("\n") if line
    ]
    assert '"n": {"k": [1, 2.50, null, false]}' in back[0]


def test_what_is_mixed_is_text_and_it_is_said(tmp_path: Path) -> None:
    source = source_of(tmp_path, '{"x": 1.50}\n{"x": "a"}\n{"x": true}\n{"x": [1]}\n', "t.ndjson")
    assert table_of(source)["x"].to_pylist() == ["1.50", "a", "true", "[1]"]
    assert any("are mixed, so all of it is text" in note for note in source.notes)
    assert source.format["literal"] == {}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("9223372036854775807", "int64"), ("9223372036854775808", "string"),
        ("0.1", "float64"), ("1e400", "string"), ("0.30000000000000004", "float64"),
        ("0.3000000000000000444", "string"), ("1.5E2", "float64"), ("-0", "float64"),
    ],
)  # fmt: skip
def test_a_number_has_a_type_that_gives_it_back(tmp_path: Path, text: str, kind: str) -> None:
    source = source_of(tmp_path, f'{{"x": {text}}}\n', "t.jsonl")
    assert source.columns == (Column("x", kind),)
    assert copied(source, tmp_path / "u.jsonl").read_text().lower() in (
        f'{{"x": {text}}}\n'.lower(), '{"x": 150}\n'
    )  # fmt: skip


BAD = {
    "no JSON": (b"{x}\n", TableSyntax),
    "no object": (b"[1]\n", TableSyntax),
    "a key twice": (b'{"a": 1, "a": 2}\n', TableSyntax),
    "NaN": (b'{"a": NaN}\n', TableSyntax),
    "deep": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", TableSyntax),
    "no UTF-8": (b'{"a": "\xff"}\n', TableEncoding),
    "half a character": (b'{"a": "\\ud800"}\n', TableEncoding),
    "two objects": (b'{"a": 1} {"a": 2}\n', TableSyntax),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named_or_set_aside(tmp_path: Path, name: str) -> None:
    line, error = BAD[name]
    content = b'{"a": 1}\n\n' + line + b'{"a": 2}'
    with pytest.raises(error) as caught:
        source_of(tmp_path, content, "t.jsonl")
    assert (caught.value.row, caught.value.byte_offset) == (3, 10)
    aside = tmp_path / "bad.jsonl"
    source = source_of(tmp_path, content, "t.jsonl", on_error="set-aside", set_aside=aside)
    assert table_of(source)["a"].to_pylist() == [1, 2]
    assert aside.read_bytes() == line
    assert source.notes[-1].startswith("1 row was set aside in bad.jsonl (row 3)")


def test_json_lines_may_be_packed_and_have_a_whole_character_in_two_escapes(tmp_path: Path) -> None:
    content = gzip.compress(b'{"a": "\\ud83d\\ude00"}\n')
    assert table_of(source_of(tmp_path, content, "t.jsonl.gz"))["a"].to_pylist() == ["😀"]


@pytest.mark.parametrize("content", ["", "\n", "{}\n", "null\n"])
def test_lines_without_a_key_are_no_table(tmp_path: Path, content: str) -> None:
    with pytest.raises((TableEmpty, TableSyntax)):
        source_of(tmp_path, content, "t.jsonl")


def test_a_file_of_json_lines_that_changes_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, '{"a": 1}\n', "t.jsonl")
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(TableChanged):
        table_of(source)


def test_a_line_of_json_that_never_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl_in, "LIMITS", type(LIMITS)(batch_bytes=500))
    monkeypatch.setattr(jsonl_in, "CHUNK", 100)
    with pytest.raises(TableTooLarge):
        source_of(tmp_path, '{"a": "' + "x" * 2_000, "t.jsonl")


def test_names_twice_are_told_apart_in_a_table_of_json_lines(tmp_path: Path) -> None:
    source = source_of(tmp_path, '{"": 1}\n', "t.jsonl")
    assert source.columns == (Column("column_1", "int64"),)
    assert len(source.notes) == 1


def test_other_types_are_written_as_texts_that_nobody_rounds(tmp_path: Path) -> None:
    table = pa.table({
        "d": pa.array([Decimal("1.20")], pa.decimal128(9, 2)), "w": pa.array([0], pa.date32()),
        "b": pa.array([b"\0"]), "f": pa.array([0.1], pa.float32()),
        "big": pa.array([13_800_138_000.0]), "c": pa.array(["x"]).dictionary_encode(),
    })  # fmt: skip
    assert copied(open_source(table), tmp_path / "t.jsonl").read_text() == (
        '{"d": "1.20", "w": "1970-01-01", "b": "AA==", "f": 0.1, "big": 13800138000, "c": "x"}\n'
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(TableValue) as caught:
        copied(open_source(pa.table({"x": [1.0, value]})), tmp_path / "t.jsonl")
    assert (caught.value.row, caught.value.column) == (2, "x")
    far = open_source(pa.table({"x": pa.array([2**62], pa.timestamp("s"))}))
    with pytest.raises(TableValue):
        copied(far, tmp_path / "t.jsonl")


def test_what_a_later_writer_put_beside_json_is_quoted(tmp_path: Path) -> None:
    came = {"kind": "jsonl", "literal": {"x": ""}}
    with open_sink(tmp_path / "t.jsonl", [Column("x", "string")], came) as sink:
        sink.write(pa.record_batch([pa.array(["[1,\n2]", "}", "[" * 99_999])], names=["x"]))
        sink.commit()
    lines = [json.loads(line)["x"] for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert lines == [[1, 2], "}", "[" * 99_999]
    with open_sink(tmp_path / "u.jsonl", [Column("x", "string")], {"kind": "jsonl", "literal": 1}):
        pass


PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    PLAIN | NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
OBJECTS = st.dictionaries(st.text(max_size=3), VALUES, min_size=1, max_size=3)


@given(st.lists(OBJECTS, min_size=1, max_size=5))
def test_any_objects_come_back_or_as_their_json_text(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("jsonl", numbered=True)
    try:
        source = source_of(folder, "".join(json.dumps(row) + "\n" for row in rows), "t.jsonl")
    except TableError:
        return  # names that differ only once they are given
    back = copied(source, folder / "u.jsonl").read_text("utf-8").split("\n")[:-1]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    mixed = {
        key for key, column in zip(keys, source.columns, strict=True)
        if column.type == "string" and column.name not in source.format["literal"]
    }  # fmt: skip
    for row, line in zip(rows, back, strict=True):
        read = dict(zip(keys, json.loads(line).values(), strict=True))
        for key in keys:
            wanted = row.get(key)
            if key in mixed and wanted is not None and not isinstance(wanted, str):
                wanted = read[key] and str(read[key])
            assert read[key] == wanted


# --- contacts

CARDS = """BEGIN:VCARD
VERSION:3.0
N:Doe;John;;Mr.;
FN:John
  Doe
TEL;TYPE=HOME,VOICE;TYPE=pref:1
item1.TEL;TYPE=home:2
EMAIL;INTERNET:j@example.com
ADR;TYPE=work:;;5 Main\\; Street;Town;;01234;Land;more
NOTE:a\\nb\\, c\\\\
X-EMPTY:
X-OLD;QUOTED-PRINTABLE;HOME:=41
PHOTO;ENCODING=b;TYPE=JPEG:AAEC
END:VCARD

begin:vcard
version:2.1
N;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:M=FCller;J=
=F6rg
BEGIN:VCARD
FN:an agent
END:VCARD
AGENT:nobody
end:vcard
"""


def test_contacts_become_rows_and_their_properties_columns(tmp_path: Path) -> None:
    source = source_of(tmp_path, CARDS.replace("\n", "\r\n"), "t.vcf")
    assert table_of(source).to_pylist() == [
        {
            "family name": "Doe", "given name": "John", "prefix": "Mr.", "name": "John Doe",
            "phone (home)": "1", "phone (home) 2": "2", "email": "j@example.com",
            "address (work) street": "5 Main; Street", "address (work) city": "Town",
            "address (work) postal code": "01234", "address (work) country": "Land;more",
            "note": "a\nb, c\\", "x-old (home)": "A", "photo": "AAEC",
        },
        dict.fromkeys(
            ["prefix", "name", "phone (home)", "phone (home) 2", "email", "address (work) street",
             "address (work) city", "address (work) postal code", "address (work) country",
             "note", "x-old (home)", "photo"]
        ) | {"family name": "Müller", "given name": "Jörg"},
    ]  # fmt: skip
    assert (source.total_rows, source.format) == (2, {"kind": "vcard"})
    assert set(source.columns) == {Column(column.name, "string") for column in source.columns}


def test_text_of_no_named_encoding_is_asked_about(tmp_path: Path) -> None:
    card = b"BEGIN:VCARD\nVERSION:2.1\nFN:J\xf6rg\nEND:VCARD\n"
    with pytest.raises(TableUnsure) as caught:
        source_of(tmp_path, b"BEGIN:VCARD\nFN:x\nEND:VCARD\n" + card, "t.vcf")
    assert (caught.value.row, caught.value.byte_offset) == (2, 27)
    for said in ({"guess": True}, {"encoding": "cp1252"}):
        source = source_of(tmp_path, card, "t.vcf", **said)
        assert table_of(source)["name"].to_pylist() == ["Jörg"]
        doubts = [each.option for each in source.findings if not each.sure]
        assert doubts == (["--encoding cp1252"] if "guess" in said else [])
    with pytest.raises(TableEncoding):
        source_of(tmp_path, card, "t.vcf", encoding="ascii")
    with pytest.raises(TableEncoding):
        source_of(tmp_path, card.replace(b"\xf6", b"\x81"), "t.vcf", guess=True)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("BEGIN:VCARD\nFN:x\n", TableSyntax),
        ("BEGIN:VCARD\nno property\nEND:VCARD\n", TableSyntax),
        ("BEGIN:VCARD\nEND:VCARD\nFN:x\n", TableSyntax),
        ("BEGIN:VCARD\nFN;CHARSET=klingon:x\nEND:VCARD\n", TableEncoding),
        ("BEGIN:VCARD\nVERSION:3.0\nEND:VCARD\n", TableEmpty),
        ("\n", TableEmpty),
        ("END:VCARD\n", TableEmpty),
    ],
)
def test_what_is_no_contact_is_refused(
    tmp_path: Path, content: str, error: type[TableError]
) -> None:
    if content == "END:VCARD\n":
        content = ""
    with pytest.raises(error) as caught:
        source_of(tmp_path, content, "t.vcf")
    assert caught.value.hint or error in (TableEmpty, TableEncoding)


def test_contacts_that_change_are_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, CARDS, "t.vcf")
    (tmp_path / "t.vcf").write_text(CARDS + CARDS)
    with pytest.raises(TableChanged):
        table_of(source)


@pytest.mark.parametrize(
    ("limit", "content"),
    [
        ("line", "BEGIN:VCARD\nFN:" + "x" * 2_000),
        ("folded", "BEGIN:VCARD\nFN:x\n" + " xxxxxxxxx\n" * 200),
        ("lines", "BEGIN:VCARD\n" + "FN:x\n" * 60),
    ],
    ids=["line", "folded", "lines"],
)
def test_a_contact_that_never_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, content: str
) -> None:
    monkeypatch.setattr(vcard_in, "LIMITS", type(LIMITS)(batch_bytes=500))
    monkeypatch.setattr(vcard_in, "LONGEST_PROPERTY", 500)
    monkeypatch.setattr(vcard_in, "CHUNK", 100)
    monkeypatch.setattr(vcard_in, "_MOST_LINES", 50)
    with pytest.raises(TableTooLarge):
        source_of(tmp_path, content, "t.vcf")


def test_contacts_have_names_told_apart(tmp_path: Path) -> None:
    card = "BEGIN:VCARD\nTEL:1\nTEL:2\nphone 2:3\nX-A:4\nEND:VCARD\n".replace("phone 2", "X-B")
    names = [column.name for column in source_of(tmp_path, card, "t.vcf").columns]
    assert names == ["phone", "phone 2", "x-b", "x-a"]


@pytest.mark.parametrize(
    ("name", "rows", "some"),
    [
        ("John_Doe_EVOLUTION.vcf", 1, {"organisation": "IBM;Accounting;Dungeon"}),
        ("John_Doe_LOTUS_NOTES.vcf", 1, {"email (work) 2": "billy_bob@gmail.com"}),
        ("John_Doe_MS_OUTLOOK.vcf", 1, {"phone (work)": "(905) 555-1234"}),
        ("gmail-list.vcf", 3, {"family name": "Smith"}),
        ("rfc6350-example.vcf", 1, {"birthday": "--0203"}),
    ],
)
def test_what_phones_and_mail_programs_write(name: str, rows: int, some: dict[str, str]) -> None:
    table = table_of(open_source(shared_path("data", "vcard", name)))
    assert table.num_rows == rows
    assert {key: table[key][0].as_py() for key in some} == some
