"""Which reader and which writer for which table.

A reader is chosen by a file's first bytes, then by its suffix; a writer by the suffix alone. Each
is imported when it is first needed: some need packages that are extras.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from client.tables.arrow_in import ArrowSource, offers_arrow
from client.tables.csv_format import CsvFormat
from client.tables.csv_in import CsvSource
from client.tables.csv_out import CsvSink
from client.tables.endings import WORKBOOK_ENDINGS, expect_no_text, told_apart
from client.tables.errors import TableFormat
from client.tables.faults import expect_no_folder, writing
from client.tables.inferring import inferred
from client.tables.options import AS_IT_CAME, NOTHING_SAID, ReadOptions, WriteOptions
from client.tables.packed import content_of, is_workbook
from client.tables.parquet_in import ParquetSource
from client.tables.parquet_out import ParquetSink
from client.tables.sink import Sink
from client.tables.source import Column, Source

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SQLITE: Final = "sqlite:///"
_TABS: Final = (".tsv", ".tab")
# What is no table, so that nobody seals it as if it were text.
_NO_TABLES: Final = (
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x7fELF", "a program"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"Rar!", "a RAR archive"),
)


def open_source(
    table: str | os.PathLike[str] | object, options: ReadOptions = NOTHING_SAID
) -> Source:
    """Open a table to read.

    `table` is a file's path (CSV and other delimited text, Excel, SQLite, Parquet, Arrow IPC,
    JSON lines, vCard; text also packed by gzip, bzip2 or zip), the address of a database, or an
    object with Arrow data (`__arrow_c_stream__` or `__arrow_c_array__`). A `Source` is returned
    as it is.

    Raises: TableError; TablePackage where another package has to be installed for it.
    """
    if isinstance(table, Source):
        return table
    if isinstance(table, str) and table.startswith(_SQLITE):
        table = table.removeprefix(_SQLITE)
    if isinstance(table, str) and _URL.match(table):
        from client.tables.sql_in import SqlSource

        return inferred(SqlSource(table, options), options)
    if isinstance(table, (str, os.PathLike)):
        return inferred(_file_source(Path(table), options), options)
    if offers_arrow(table):
        options.demand_only("a table in memory")
        return inferred(ArrowSource(table), options)
    raise TableFormat(
        f"a {type(table).__name__} is no table",
        hint="give a file's path, a database's address, or a pandas, polars, DuckDB or Arrow table",
    )


def open_sink(
    path: str | os.PathLike[str],
    columns: Sequence[Column],
    format: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    options: WriteOptions = AS_IT_CAME,
) -> Sink:
    """Open a file to write a table into, of the kind that its suffix says.

    `format` is a `Source.format`: a file of the same kind then comes back as it was, but for
    what `options` want otherwise. Without one CSV is UTF-8, comma, CRLF, nulls bare and empty
    texts quoted; `.tsv` has tabs. Nothing is seen under `path` before `commit`.

    Raises: TableError: the file is there and not to be overwritten, or cannot hold a column.
    """
    target = Path(path)
    expect_no_folder(target)
    kind = _BY_SUFFIX.get(target.suffix.lower())
    if kind is None:
        raise TableFormat(
            f"no table is written as {target.suffix or 'a file without suffix'}",
            hint=f"end the file's name in one of {', '.join(_BY_SUFFIX)}",
        )
    order = _Order(target, tuple(columns), format or {}, overwrite, options)
    with writing(target):
        return _WRITERS[kind](order)


# --- readers


@dataclass(frozen=True, slots=True)
class _Reader:
    """A kind of file: its first bytes, the suffixes that name it, whether it is read packed too."""

    what: str
    marks: tuple[bytes, ...]
    suffixes: tuple[str, ...]
    packed: bool
    open: Callable[[Path, ReadOptions], Source]

    @property
    def endings(self) -> tuple[str, ...]:
        """The suffixes under which nobody wonders at such a file; workbooks share theirs."""
        return WORKBOOK_ENDINGS if self.what == _WORKBOOK else self.suffixes


def _file_source(path: Path, options: ReadOptions) -> Source:
    if is_workbook(path):
        ending = path.suffix.lower()
        return told_apart(_excel(path, options), ending, _WORKBOOK, WORKBOOK_ENDINGS)
    content = content_of(path)
    head, suffix = content.head(_HEAD), Path(content.name).suffix.lower()
    for mark, what in _NO_TABLES:
        if head.startswith(mark):
            raise TableFormat(
                f"{path.name} is {what}", hint="unpack or save the table as CSV or Excel first"
            )
    for reader in _READERS:
        marked = head.startswith(reader.marks)
        if marked or suffix in reader.suffixes:
            if content.packing is not None and not reader.packed:
                raise TableFormat(
                    f"{path.name} packs {reader.what}, which is not read from its beginning to "
                    "its end",
                    hint="unpack it first",
                )
            if not marked and not reader.packed:
                expect_no_text(path.name, reader.what, head)
            return told_apart(reader.open(path, options), suffix, reader.what, reader.endings)
    if suffix in WORKBOOK_ENDINGS:
        expect_no_text(path.name, _WORKBOOK, head)
    return CsvSource(path, options)


def _excel(path: Path, options: ReadOptions) -> Source:
    from client.tables.excel_in import ExcelSource

    return ExcelSource(path, options)


def _sqlite(path: Path, options: ReadOptions) -> Source:
    from client.tables.sqlite_in import SqliteSource

    return SqliteSource(path, options)


def _arrow_file(path: Path, options: ReadOptions) -> Source:
    from client.tables.ipc_in import IpcSource

    return IpcSource(path, options)


def _json_lines(path: Path, options: ReadOptions) -> Source:
    from client.tables.jsonl_in import JsonLinesSource

    return JsonLinesSource(path, options)


def _contacts(path: Path, options: ReadOptions) -> Source:
    from client.tables.vcard_in import ContactsSource

    return ContactsSource(path, options)


_HEAD: Final = 4_096
_WORKBOOK: Final = "an Excel workbook"
_READERS: Final = (
    _Reader("Parquet", (b"PAR1",), (".parquet", ".pq"), False, ParquetSource),
    _Reader(_WORKBOOK, (b"\xd0\xcf\x11\xe0",), (".xls",), False, _excel),
    _Reader("an SQLite database", (b"SQLite format 3\0",), (".sqlite", ".sqlite3"), False, _sqlite),
    _Reader("an Arrow file", (b"ARROW1", b"\xff\xff\xff\xff"),
            (".arrow", ".arrows", ".feather", ".ipc"), False, _arrow_file),
    _Reader("contacts", (b"BEGIN:VCARD", b"begin:vcard"), (".vcf", ".vcard"), True, _contacts),
    _Reader("JSON lines", (b'{"',), (".jsonl", ".ndjson"), True, _json_lines),
)  # fmt: skip


# --- writers


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be written, and where."""

    path: Path
    columns: tuple[Column, ...]
    format: Mapping[str, Any]
    overwrite: bool
    options: WriteOptions

    def format_of(self, kind: str) -> Mapping[str, Any]:
        """Return the format that the table came in, if it was of this kind."""
        return self.format if self.format.get("kind") == kind else {}


def _csv_sink(order: _Order) -> Sink:
    came = order.format_of("csv")
    tabs = order.path.suffix.lower() in _TABS
    written = CsvFormat.from_dict(came) if came else CsvFormat(delimiter="\t" if tabs else ",")
    written = written.as_asked(order.options)
    return CsvSink(
        order.path, order.columns, written, overwrite=order.overwrite,
        defuse=order.options.defuse,
    )  # fmt: skip


def _parquet_sink(order: _Order) -> Sink:
    return ParquetSink(order.path, order.columns, overwrite=order.overwrite)


def _xlsx_sink(order: _Order) -> Sink:
    from client.tables.xlsx_out import XlsxSink

    sheet = order.options.table or order.format_of("excel").get("sheet")
    return XlsxSink(order.path, order.columns, sheet=sheet, overwrite=order.overwrite)


def _sqlite_sink(order: _Order) -> Sink:
    from client.tables.sqlite_out import SqliteSink

    return SqliteSink(
        order.path, order.columns, order.format_of("sqlite"), table=order.options.table,
        overwrite=order.overwrite,
    )  # fmt: skip


def _arrow_sink(order: _Order) -> Sink:
    from client.tables.ipc_out import IpcSink

    streamed = order.path.suffix.lower() == ".arrows"
    return IpcSink(order.path, order.columns, streamed=streamed, overwrite=order.overwrite)


def _json_lines_sink(order: _Order) -> Sink:
    from client.tables.jsonl_out import JsonLinesSink

    came = order.format_of("jsonl")
    return JsonLinesSink(order.path, order.columns, came, overwrite=order.overwrite)


_WRITERS: Final[Mapping[str, Callable[[_Order], Sink]]] = {
    "csv": _csv_sink,
    "excel": _xlsx_sink,
    "parquet": _parquet_sink,
    "sqlite": _sqlite_sink,
    "arrow": _arrow_sink,
    "jsonl": _json_lines_sink,
}
_BY_SUFFIX: Final = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv", ".xlsx": "excel",
    ".parquet": "parquet", ".pq": "parquet", ".sqlite": "sqlite", ".sqlite3": "sqlite",
    ".db": "sqlite", ".arrow": "arrow", ".feather": "arrow", ".arrows": "arrow",
    ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip
