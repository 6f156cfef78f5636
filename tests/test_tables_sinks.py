"""Tables out: how files come into place, and what typed values look like as text."""

from __future__ import annotations

import datetime
import decimal
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from client.tables import (
    Column,
    ReadOptions,
    Sink,
    TableExists,
    TableFormat,
    TableUnwritable,
    TableValue,
    open_sink,
    open_source,
    type_to_text,
)
from client.tables.csv_format import CsvFormat
from protocol.errors import ApiMisuse

PLAIN = [Column("a", "string")]
SUFFIXES = [".csv", ".parquet"]


def batch_of(**arrays: Any) -> pa.RecordBatch:
    return pa.record_batch([pa.array(cells) for cells in arrays.values()], names=list(arrays))


def csv_of(folder: Path, batch: pa.RecordBatch, **changes: Any) -> bytes:
    path = folder / "out.csv"
    columns = [
        Column(name, type_to_text(kind))
        for name, kind in zip(batch.schema.names, batch.schema.types, strict=True)
    ]
    written = CsvFormat(**changes).to_dict() if changes else None
    with open_sink(path, columns, written, overwrite=True) as sink:
        sink.write(batch)
        sink.commit()
    return path.read_bytes()


# --- files


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_there_before_commit_and_all_of_it_after(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out{suffix}"
    with open_sink(target, PLAIN) as sink:
        sink.write(batch_of(a=["x"]))
        assert not target.exists()
        (temporary,) = tmp_path.iterdir()
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        sink.commit()
    assert list(tmp_path.iterdir()) == [target]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sink.rows_written == 1
    assert next(open_source(target).batches(5)).to_pylist() == [{"a": "x"}]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_without_rows_is_a_table(tmp_path: Path, suffix: str) -> None:
    with open_sink(tmp_path / f"out{suffix}", PLAIN) as sink:
        sink.commit()
    assert open_source(tmp_path / f"out{suffix}").columns == tuple(PLAIN)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_not_committed_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    with open_sink(tmp_path / f"out{suffix}", PLAIN) as sink:
        sink.write(batch_of(a=["x"]))
    assert list(tmp_path.iterdir()) == []

    def fail(sink: Sink) -> None:
        sink.write(batch_of(a=["x"]))
        raise KeyError

    with pytest.raises(KeyError), open_sink(tmp_path / f"out{suffix}", PLAIN) as sink:
        fail(sink)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_there_is_kept(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out{suffix}"
    target.write_text("mine")
    with pytest.raises(TableExists):
        open_sink(target, PLAIN)
    with open_sink(target, PLAIN, overwrite=True) as sink:
        sink.write(batch_of(a=["x"]))
        assert target.read_text() == "mine"
    assert target.read_text() == "mine"
    with open_sink(target, PLAIN, overwrite=True) as sink:
        sink.commit()
    assert open_source(target).columns == tuple(PLAIN)
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    with open_sink(target, PLAIN) as sink:
        target.write_text("mine")
        with pytest.raises(TableExists):
            sink.commit()
    assert target.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_system_without_links_has_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    target = tmp_path / "out.csv"
    with open_sink(target, PLAIN) as sink:
        target.write_text("mine")
        with pytest.raises(TableExists):
            sink.commit()
    assert target.read_text() == "mine"
    target.unlink()
    with open_sink(target, PLAIN) as sink:
        sink.commit()
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    sink = open_sink(tmp_path / f"out{suffix}", PLAIN)
    with sink, pytest.raises(TableUnwritable, match="space"):
        sink.commit()
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_is_no_longer_for_being_temporary(tmp_path: Path) -> None:
    target = tmp_path / ("名" * 80 + ".csv")
    with open_sink(target, PLAIN) as sink:
        sink.commit()
    assert target.exists()


def test_a_link_that_leads_nowhere_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "out.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TableExists):
        open_sink(tmp_path / "out.csv", PLAIN)


def test_a_folder_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(TableUnwritable, match="No such file"):
        open_sink(tmp_path / "none" / "out.csv", PLAIN)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_sink_is_used_once(tmp_path: Path, suffix: str) -> None:
    sink = open_sink(tmp_path / f"out{suffix}", PLAIN)
    sink.commit()
    sink.abort()
    assert (tmp_path / f"out{suffix}").exists()
    for late in (sink.commit, lambda: sink.write(batch_of(a=["x"]))):
        with pytest.raises(ApiMisuse):
            late()


def test_aborting_twice_is_aborting(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "out.parquet", PLAIN)
    sink.abort()
    sink.abort()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ApiMisuse):
        sink.commit()


def test_the_file_is_on_the_disk_before_commit_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def linked(source: Path, target: Path) -> None:
        steps.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    with open_sink(tmp_path / "out.csv", PLAIN) as sink:
        sink.commit()
    assert steps == ["file", "link", "folder"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("batch", [batch_of(b=["x"]), batch_of(a=[1]), batch_of(a=["x"], b=["y"])])
def test_a_batch_of_other_columns_is_a_bug(
    tmp_path: Path, suffix: str, batch: pa.RecordBatch
) -> None:
    with open_sink(tmp_path / f"out{suffix}", PLAIN) as sink, pytest.raises(ApiMisuse):
        sink.write(batch)


@pytest.mark.parametrize("name", ["out.xls", "out", "out.json"])
def test_a_kind_of_file_that_is_not_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TableFormat) as caught:
        open_sink(tmp_path / name, PLAIN)
    assert ".csv" in (caught.value.hint or "")


def test_the_suffix_chooses_the_delimiter_where_no_format_does(tmp_path: Path) -> None:
    columns = [Column("a", "string"), Column("b", "string")]
    for name, given, header in [
        ("out.TSV", None, b"a\tb\r\n"),
        ("out.txt", {"kind": "parquet"}, b"a,b\r\n"),
        ("x.tsv", CsvFormat(delimiter=";", newline="\n").to_dict(), b"a;b\n"),
    ]:
        with open_sink(tmp_path / name, columns, given) as sink:
            sink.commit()
        assert (tmp_path / name).read_bytes() == header


# --- text forms

UTC_INSTANT = pa.array([1_700_000_000_123_456], pa.int64())
FORMS: list[tuple[pa.Array, list[str]]] = [
    (pa.array([True, False]), ["true", "false"]),
    (pa.array([-128, 127], pa.int8()), ["-128", "127"]),
    (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
    (
        pa.array([0.1, 1.0, -0.0, 1e300, 5e-324, float("nan"), float("-inf")]),
        ["0.1", "1", "-0", "1e+300", "5e-324", "nan", "-inf"],
    ),
    (pa.array([0.1], pa.float32()), ["0.1"]),
    (pa.array(np.array([0.1, 1.0, -0.0], np.float16)), ["0.1", "1", "-0"]),
    (pa.array([datetime.date(1999, 12, 31)]), ["1999-12-31"]),
    (pa.array([datetime.date(1999, 12, 31)], pa.date64()), ["1999-12-31"]),
    (pa.array([1], pa.int32()).view(pa.time32("s")), ["00:00:01"]),
    (pa.array([1], pa.int64()).view(pa.time64("ns")), ["00:00:00.000000001"]),
    (pa.array([0], pa.int64()).view(pa.timestamp("s")), ["1970-01-01T00:00:00"]),
    (
        UTC_INSTANT.view(pa.timestamp("us", "Asia/Shanghai")),
        ["2023-11-14T22:13:20.123456Z"],
    ),
    (UTC_INSTANT.view(pa.timestamp("us", "No/Where")), ["2023-11-14T22:13:20.123456Z"]),
    (pa.array([-90], pa.int64()).view(pa.duration("s")), ["-90"]),
    (pa.array([(1, -2, 3)], pa.month_day_nano_interval()), ["P1M-2DT3N"]),
    (pa.array([decimal.Decimal("-1.20")], pa.decimal32(5, 2)), ["-1.20"]),
    (pa.array([decimal.Decimal("0.00")], pa.decimal256(60, 2)), ["0.00"]),
    (pa.array([b"\xff\xfe"]), ["//4="]),
    (pa.array([b""], pa.binary_view()), [""]),
    (pa.array([b"abc"], pa.binary(3)), ["YWJj"]),
    (pa.array(["é"], pa.string_view()), ["é"]),
    (pa.array([0.5, 0.5]).dictionary_encode(), ["0.5", "0.5"]),
    (pa.array(["x"]).dictionary_encode(), ["x"]),
]


@pytest.mark.parametrize(("array", "texts"), FORMS, ids=[str(form[0].type) for form in FORMS])
def test_a_typed_value_has_one_text(tmp_path: Path, array: pa.Array, texts: list[str]) -> None:
    null = pa.array([None], array.type)
    column = pa.concat_arrays([array, null])
    batch = pa.record_batch([column, pa.array(["-"] * len(column))], names=["a", "b"])
    csv_of(tmp_path, batch)
    source = open_source(tmp_path / "out.csv")
    cells = [row["a"] for each in source.batches(99) for row in each.to_pylist()]
    assert cells == [*texts, ""]


def test_a_column_of_nulls_is_empty(tmp_path: Path) -> None:
    batch = pa.record_batch([pa.nulls(2), pa.array([1, 2])], names=["a", "b"])
    assert csv_of(tmp_path, batch) == b"a,b\r\n,1\r\n,2\r\n"


@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("s"), pa.timestamp("us", "UTC")])
def test_a_time_without_a_text_is_refused(tmp_path: Path, kind: pa.DataType) -> None:
    integers = pa.int32() if kind == pa.date32() else pa.int64()
    far = pa.array([2**31 - 1 if kind == pa.date32() else 2**62], integers).view(kind)
    with pytest.raises(TableValue, match="column 'when'"):
        csv_of(tmp_path, pa.record_batch([far], names=["when"]))
    assert list(tmp_path.iterdir()) == []


# --- what CSV cannot hold


def test_a_null_and_an_empty_text_stay_apart(tmp_path: Path) -> None:
    batch = batch_of(a=[None, "", "x"], b=["1", "2", "3"])
    assert csv_of(tmp_path, batch) == b'a,b\r\n,1\r\n"",2\r\nx,3\r\n'


def test_in_one_column_a_null_is_a_blank_line(tmp_path: Path) -> None:
    assert csv_of(tmp_path, batch_of(a=[None, "", "x"])) == b'a\r\n\r\n""\r\nx\r\n'


def test_another_text_may_stand_for_null(tmp_path: Path) -> None:
    content = csv_of(tmp_path, batch_of(a=[None, "", "x"], b=["", "", ""]), null_text="\\N")
    assert content == b"a,b\r\n\\N,\r\n,\r\nx,\r\n"
    source = open_source(tmp_path / "out.csv", ReadOptions(null_text="\\N"))
    assert next(source.batches(9)).column(0).to_pylist() == [None, "", "x"]


def test_a_text_that_would_pass_for_null_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableValue, match="stands for null") as caught:
        csv_of(tmp_path, batch_of(a=["x", "NULL"]), null_text="NULL")
    assert (caught.value.row, caught.value.column) == (3, "a")


def test_a_null_is_refused_where_the_format_has_none(tmp_path: Path) -> None:
    with open_sink(tmp_path / "out.csv", PLAIN, CsvFormat(null_text=None).to_dict()) as sink:
        sink.write(batch_of(a=["x", "y"]))
        with pytest.raises(TableValue, match="null") as caught:
            sink.write(batch_of(a=["x", None]))
    assert (caught.value.row, caught.value.column) == (5, "a")


def test_nul_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableValue, match="NUL") as caught:
        csv_of(tmp_path, batch_of(a=["x", "y"], b=["x", "a\0b"]))
    assert (caught.value.row, caught.value.column) == (3, "b")
    with pytest.raises(TableValue, match="NUL"):
        open_sink(tmp_path / "n.csv", [Column("a\0", "string")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("encoding", "text"), [("cp1252", "中"), ("shift_jis", "¥"), ("latin-1", "€"), ("ascii", "é")]
)
def test_a_character_that_the_encoding_lacks_is_refused(
    tmp_path: Path, encoding: str, text: str
) -> None:
    batch = batch_of(a=["x", None, "y"], b=["x", "y", f"SECRET {text}"])
    with pytest.raises(TableValue, match="a character that") as caught:
        csv_of(tmp_path, batch, encoding=encoding)
    assert (caught.value.row, caught.value.column) == (4, "b")
    assert "SECRET" not in str(caught.value)
    with pytest.raises(TableValue) as caught:
        open_sink(
            tmp_path / "n.csv", [Column(text, "string")], {"kind": "csv", "encoding": encoding}
        )
    assert caught.value.row == 1


def test_a_codec_that_fails_only_on_the_whole_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from client.tables import csv_out

    with open_sink(tmp_path / "out.csv", PLAIN, CsvFormat(encoding="cp1252").to_dict()) as sink:
        exactly = csv_out._encoded_exactly
        monkeypatch.setattr(
            csv_out,
            "_encoded_exactly",
            lambda text, codec: exactly(text, codec) if text == "x" else None,
        )
        with pytest.raises(TableValue) as caught:
            sink.write(batch_of(a=["x"]))
    assert caught.value.row is None


def test_all_cells_are_quoted_where_the_format_says_so(tmp_path: Path) -> None:
    content = csv_of(tmp_path, batch_of(a=[None, 'x"y'], b=["", "2"]), quoting="all")
    assert content == b'"a","b"\r\n,""\r\n"x""y","2"\r\n'


def test_a_name_that_looks_like_a_byte_order_mark_stays_a_name(tmp_path: Path) -> None:
    for bom in (False, True):
        columns = [Column("\ufeffa", "string"), Column("b", "string")]
        with open_sink(
            tmp_path / "out.csv", columns, CsvFormat(bom=bom).to_dict(), overwrite=True
        ) as sink:
            sink.commit()
        assert open_source(tmp_path / "out.csv").columns[0].name == "\ufeffa"
