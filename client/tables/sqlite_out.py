"""SQLite out: one table in a new database file, its columns declared as they came, or by type.

SQLite has integers to 64 bits, doubles, texts and blobs. What is none of these is written as
text, exactly; NaN, which SQLite takes for NULL, is refused.
"""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.arrow_types import is_text, varies_in_length
from client.tables.cells import decoded
from client.tables.errors import TableType, TableValue
from client.tables.sink import Sink
from client.tables.source import Column
from client.tables.text_forms import text_form

_MOST_COLUMNS: Final = 2_000
# A declared type is words, perhaps with a size: anything else would be SQL of somebody's making.
_DECLARED: Final = re.compile(r"([A-Za-z][A-Za-z0-9_ ]{0,60}(\([0-9]{1,9}(, ?[0-9]{1,9})?\))?)?")
_CONSTRAINTS: Final = re.compile(
    r"\b(as|check|collate|constraint|default|foreign|generated|not|null|primary|references|unique)\b",
    re.IGNORECASE,
)


class SqliteSink(Sink):
    """A table in a new database."""

    def __init__(
        self,
        path: Path,
        columns: Sequence[Column],
        came: Mapping[str, Any],
        *,
        table: str | None,
        overwrite: bool,
    ) -> None:
        if len(columns) > _MOST_COLUMNS:
            raise TableType(f"SQLite has at most {_MOST_COLUMNS} columns", hint="write Parquet")
        _demand_names_apart(columns)
        super().__init__(path, columns, overwrite=overwrite)
        self._name = table or _text_of(came.get("table")) or path.stem
        wishes = came.get("declared")
        declared = wishes if isinstance(wishes, Mapping) else {}
        try:
            self._database = sqlite3.connect(
                self._file.temporary, isolation_level=None, check_same_thread=False
            )
            # Nothing is lost by writing without a journal: an unfinished file is thrown away.
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute("BEGIN")
            self._create(declared)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Remove what was written; without effect after `commit`, or twice."""
        if self._open and hasattr(self, "_database"):
            self._database.close()
        super().abort()

    def _create(self, declared: Mapping[str, Any]) -> None:
        listed = ", ".join(
            f"{_quoted(column.name)} {_declaration(declared.get(column.name), kind)}"
            for column, kind in zip(self.columns, self._schema.types, strict=True)
        )
        try:
            self._database.execute(f"CREATE TABLE {_quoted(self._name)} ({listed})")
        except (sqlite3.Error, ValueError):
            raise TableType(
                "a name that no table or column can have in SQLite",
                hint="name the table with --table, or write CSV",
            ) from None
        places = ", ".join("?" * len(self.columns))
        self._insert = f"INSERT INTO {_quoted(self._name)} VALUES ({places})"

    def _write(self, batch: pa.RecordBatch) -> None:
        named = zip(batch.schema.names, batch.columns, strict=True)
        columns = [self._values(name, decoded(array)) for name, array in named]
        try:
            self._database.executemany(self._insert, zip(*columns, strict=True))
        except (sqlite3.Error, OverflowError) as error:
            raise _of_the_system(error) from None

    def _finish(self) -> None:
        try:
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise _of_the_system(error) from None
        self._database.close()

    def _values(self, name: str, array: pa.Array) -> list[Any]:
        kind = array.type
        if pa.types.is_boolean(kind):
            array = array.cast(pa.int64())
        elif pa.types.is_floating(kind):
            at = pc.index(pc.is_nan(array.cast(pa.float64())), True).as_py()
            if at >= 0:
                raise TableValue("NaN, which SQLite has not", row=self.rows_written + at + 1,
                                 column=name, hint="write Parquet or CSV instead")  # fmt: skip
        elif not _is_native(kind):
            try:
                array = text_form(array)
            except ValueError:
                raise TableValue("a date or time that has no text here", column=name) from None
        values: list[Any] = array.to_pylist()
        return values


def _is_native(kind: pa.DataType) -> bool:
    """Whether SQLite has values of a type; of 64 bits without a sign only those that fit."""
    if pa.types.is_integer(kind):
        return bool(kind != pa.uint64())
    binary = varies_in_length(kind) or pa.types.is_fixed_size_binary(kind)
    return bool(pa.types.is_floating(kind) or binary or pa.types.is_null(kind))


def _declaration(wish: object, kind: pa.DataType) -> str:
    if isinstance(wish, str) and _DECLARED.fullmatch(wish) and not _CONSTRAINTS.search(wish):
        return wish
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and kind != pa.uint64()):
        return "INTEGER"
    if pa.types.is_floating(kind):
        return "REAL"
    if is_text(kind) or not _is_native(kind):
        return "TEXT"
    return "BLOB"


def _demand_names_apart(columns: Sequence[Column]) -> None:
    """Refuse names that SQLite takes for one: it does not tell A from a."""
    seen: set[str] = set()
    for column in columns:
        folded = "".join(
            chr(ord(each) + 32) if "A" <= each <= "Z" else each for each in column.name
        )
        if folded in seen:
            raise TableType(
                "another column differs from it in capitals only, which SQLite does not tell apart",
                column=column.name, hint="write CSV or Parquet, or leave one out with --fields",
            )  # fmt: skip
        seen.add(folded)


def _text_of(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _of_the_system(error: Exception) -> OSError:
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return OSError(errno.ENOSPC, "full") if full else OSError(str(error))
