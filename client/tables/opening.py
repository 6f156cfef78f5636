"""Which reader and which writer for which table.

Later formats have their place here: a line in `_READERS` with its marks, and a `Source`;
a suffix in `open_sink`, and a `Sink`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from client.tables.arrow_in import ArrowSource, offers_arrow
from client.tables.csv_format import CsvFormat
from client.tables.csv_in import CsvSource
from client.tables.csv_out import CsvSink
from client.tables.errors import TableFormat
from client.tables.parquet_in import ParquetSource
from client.tables.parquet_out import ParquetSink
from client.tables.sink import Sink
from client.tables.source import Column, Source, open_binary

_PARQUET: Final = (".parquet", ".pq")
_TEXT: Final = (".csv", ".tsv", ".tab", ".txt")
# First bytes of what this build cannot read, so that nobody seals an archive as if it were text.
_UNREAD: Final = (
    (b"PK\x03\x04", "an Excel workbook or a zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"ARROW1", "an Arrow IPC file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF"),
)


def open_source(
    table: str | os.PathLike[str] | object,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    null_text: str | None = None,
) -> Source:
    """Open a table to read: a CSV or Parquet file, or an object with Arrow data.

    `encoding` (any of Python's; UTF-8 if None), `delimiter` (detected if None) and `null_text`
    (the cell that means null; none does if None) are for CSV. Parquet is known by its first
    bytes, and an object by its `__arrow_c_stream__` or `__arrow_c_array__`.

    Raises: TableError.
    """
    is_path = isinstance(table, (str, os.PathLike))
    path = Path(table) if isinstance(table, (str, os.PathLike)) else None
    if path is not None and not _is_parquet(path):
        return CsvSource(path, encoding=encoding, delimiter=delimiter, null_text=null_text)
    if (encoding, delimiter, null_text) != (None, None, None):
        raise TableFormat("encoding, delimiter and the text for null are for CSV files only")
    if path is not None:
        return ParquetSource(path)
    if not is_path and offers_arrow(table):
        return ArrowSource(table)
    raise TableFormat(
        f"a {type(table).__name__} is no table",
        hint="give a file's path, or a pandas, polars, DuckDB or Arrow table",
    )


def open_sink(
    path: str | os.PathLike[str],
    columns: Sequence[Column],
    format: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> Sink:
    """Open a file to write a table into: CSV or Parquet, by its suffix.

    `format` is a `Source.format`: a CSV file then comes back as it was. Without one CSV is
    UTF-8, comma, CRLF, nulls bare and empty texts quoted; `.tsv` has tabs. Nothing is seen
    under `path` before `commit`.

    Raises: TableError: the file is there and not to be overwritten, or cannot hold a column.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix in _PARQUET:
        return ParquetSink(target, columns, overwrite=overwrite)
    if suffix not in _TEXT:
        raise TableFormat(
            f"no table is written as {suffix or 'a file without suffix'}",
            hint="end the file's name in .csv, .tsv or .parquet",
        )
    if format is not None and format.get("kind") == "csv":
        written = CsvFormat.from_dict(format)
    else:
        written = CsvFormat(delimiter="\t" if suffix in (".tsv", ".tab") else ",")
    return CsvSink(target, columns, written, overwrite=overwrite)


def _is_parquet(path: Path) -> bool:
    with open_binary(path) as stream:
        head = stream.read(16)
    for mark, what in _UNREAD:
        if head.startswith(mark):
            raise TableFormat(
                f"{path.name} is {what}", hint="save the table as CSV or Parquet first"
            )
    return head.startswith(b"PAR1") or path.suffix.lower() in _PARQUET
