"""Files whose endings say another kind than they are: read as what they are, or refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from client.tables import TableUnreadable, open_sink, open_source
from client.tables.source import Column

TABLE = pa.table({"a": ["1", "2"], "b": ["x", "y"]})
TEXT = b"a,b\n1,x\n"


def written(folder: Path, kind: str) -> Path:
    """Return a file of a kind, under its own ending."""
    path = folder / f"own{kind}"
    columns = [Column("a", "string"), Column("b", "string")]
    with open_sink(path, columns, overwrite=True) as sink:
        for batch in TABLE.to_batches():
            sink.write(batch)
        sink.commit()
    return path


@pytest.mark.parametrize(
    ("kind", "ending", "what"),
    [
        (".xlsx", ".csv", "an Excel workbook"),
        (".xlsx", ".txt", "an Excel workbook"),
        (".parquet", ".csv", "Parquet"),
        (".sqlite", ".CSV", "an SQLite database"),
        (".arrow", ".xlsx", "an Arrow file"),
        (".jsonl", ".csv", "JSON lines"),
    ],
)
def test_what_its_bytes_tell_is_read_as_that_and_said(
    kind: str, ending: str, what: str, tmp_path: Path
) -> None:
    path = tmp_path / f"t{ending}"
    shutil.copy(written(tmp_path, kind), path)
    source = open_source(path)
    assert pa.Table.from_batches(source.batches(10)).equals(TABLE)
    told = f"the file is {what}, though its name ends in {ending.lower()}: it is read as what it is"
    assert told in source.notes


@pytest.mark.parametrize(
    ("kind", "ending"),
    [(".xlsx", ".xlsm"), (".xlsx", ".xls"), (".parquet", ".pq"), (".parquet", ".data"),
     (".sqlite", ".db"), (".csv", ".txt")],
)  # fmt: skip
def test_endings_that_nobody_wonders_at_are_not_told(
    kind: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"t{ending}"
    shutil.copy(written(tmp_path, kind), path)
    assert open_source(path).notes == ()


@pytest.mark.parametrize(
    ("ending", "promised"),
    [(".xlsx", "an Excel workbook"), (".xls", "an Excel workbook"), (".parquet", "Parquet"),
     (".sqlite", "an SQLite database"), (".arrow", "an Arrow file")],
)  # fmt: skip
@pytest.mark.parametrize(
    ("content", "what", "hint"),
    [
        (TEXT, "text", "if it is CSV under a wrong ending, call it .csv"),
        ("\u59d3\u540d,b\n".encode("gb18030"), "text", "call it .csv"),
        (b"\xff\xfe" + "a,b\n".encode("utf-16-le"), "text", "call it .csv"),
        (b"\xef\xbb\xbf  <HTML><table>", "a web page (HTML)", "save it as .xlsx or .csv"),
        (b"<?xml version='1.0'?><Workbook/>", "XML", "save it as .xlsx or .csv"),
        (b"", "empty", "fetch it again"),
    ],
)
def test_text_where_something_else_is_promised_names_the_likely_mistake(
    ending: str, promised: str, content: bytes, what: str, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / f"t{ending}"
    path.write_bytes(content)
    with pytest.raises(TableUnreadable) as refused:
        open_source(path)
    assert str(refused.value) == f"t{ending} is not {promised}: it is {what}"
    assert hint in (refused.value.hint or "")


def test_a_damaged_file_under_its_own_ending_is_told_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(bytes(200))
    with pytest.raises(TableUnreadable, match="is not a whole Parquet file"):
        open_source(tmp_path / "t.parquet")
