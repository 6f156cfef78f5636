"""SQLite files in: one table or one query, read-only, types as the values have them.

SQLite gives every value a type of its own, and a column's declared type is only a wish. So the
values decide: a column of integers is integers, one with reals among them doubles (if none loses
a digit by that), one of texts text, one of blobs binary. Dates are texts or numbers there, and
stay what they are. Declared types travel with the format, for whoever writes the file again.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa

from client.tables.errors import (
    TableEmpty,
    TableError,
    TableFormat,
    TableTooLarge,
    TableUnreadable,
)
from client.tables.findings import Finding
from client.tables.options import NOTHING_SAID, ReadOptions
from client.tables.source import (
    FileSource,
    checked_batches,
    named_columns,
    open_binary,
    schema_of,
    stamp_of,
)
from protocol.limits import LIMITS, MIB

_PIECE_ROWS: Final = 2_048
_EXACT: Final = 2**53
_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_KINDS: Final = ("integer", "real", "text", "blob")
_LONGEST_DECLARED: Final = 100
# A view may never end. Reading a table takes about thirty steps of SQLite's machine a byte.
_STEPS_AT_ONCE: Final = 100_000
_LEAST_STEPS: Final = 200_000_000
_STEPS_A_BYTE: Final = 1_000
# A name that no table has, for one that had it could not be read.
_SURVEYED: Final = "sealroom_rows_surveyed"


class SqliteSource(FileSource):
    """A table, a view or a query of an SQLite file. Rows count from 1."""

    def __init__(self, path: Path, options: ReadOptions = NOTHING_SAID) -> None:
        options.demand_only("an SQLite database", "table", "query")
        with open_binary(path) as stream:
            stamp = stamp_of(stream)
        with closing(_opened(path)) as database:
            table, query = _chosen(database, options, path)
            self._query = query
            names = _tried(lambda: _names(database, query), path)
            kinds = _tried(lambda: _kinds(database, query, len(names)), path)
            declared = {} if table is None else _declared(database, table, path)
        self._kinds = [_type_of(kind, name) for kind, name in zip(kinds, names, strict=True)]
        self._mixed = [not kind.one for kind in kinds]
        columns, notes = named_columns(names, self._kinds)
        wishes = {
            column.name: declared[name]
            for column, name in zip(columns, names, strict=True)
            if name in declared
        }
        written = {"kind": "sqlite", "table": table or "", "declared": wishes}
        super().__init__(path, stamp, columns, written)
        self.total_rows = kinds[0].rows
        what = "query" if table is None else "table"
        self.findings = (Finding(what, table or "as you say", option="--table"),)
        self.note(*notes)
        for column, mixed, kind in zip(columns, self._mixed, kinds, strict=True):
            if mixed:
                told = " and ".join(each for each in _KINDS if kind.counts[each])
                self.note(f"column {column.name!r}: {told} values are mixed, so all of it is text")

    def fingerprint(self) -> bytes:
        """Return what names the file and the rows of it that are meant."""
        return hashlib.sha256(super().fingerprint() + self._query.encode()).digest()

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of exactly `max_rows` but for the last."""
        done = 0
        for batch in checked_batches(self._pieces(), max_rows):
            yield batch
            done += batch.num_rows
            self.bytes_read = (self.bytes_total or 0) * done // max(self.total_rows or 0, 1)

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        schema = schema_of(self.columns)
        with open_binary(self.path) as stream, closing(_opened(self.path)) as database:
            cursor = _tried(lambda: database.execute(self._query), self.path)
            while rows := _tried(lambda: cursor.fetchmany(_PIECE_ROWS), self.path):
                self._demand_unchanged(stream)
                cells = zip(*rows, strict=True)
                arrays = [
                    _array(values, kind, mixed=mixed)
                    for values, kind, mixed in zip(cells, self._kinds, self._mixed, strict=True)
                ]
                yield pa.record_batch(arrays, schema=schema)
            self._demand_unchanged(stream)


class _Kinds:
    """How many values of each storage class a column has, and whether its integers are small.

    `largest` is half of the integer farthest from zero.
    """

    def __init__(self, counts: Sequence[int], largest: int | None, rows: int) -> None:
        self.counts = dict(zip(_KINDS, counts, strict=True))
        self.rows = rows
        self._small = largest is None or largest < _EXACT // 2

    @property
    def one(self) -> bool:
        """Whether one Arrow type holds them all."""
        found = {kind for kind in _KINDS if self.counts[kind]}
        return len(found) <= 1 or (found == {"integer", "real"} and self._small)

    @property
    def numeric(self) -> bool:
        return self.one and not self.counts["text"] and not self.counts["blob"]


def _type_of(kinds: _Kinds, name: str) -> pa.DataType:
    counts = kinds.counts
    if counts["blob"] and not kinds.one:
        raise TableFormat(
            f"column {name!r} has blobs beside other values, which one type cannot hold",
            hint="leave it out, or cast it, with --query",
        )
    if counts["blob"]:
        return pa.binary()
    if kinds.numeric and counts["real"]:
        return pa.float64()
    return pa.int64() if kinds.numeric and counts["integer"] else pa.string()


def _array(values: Sequence[Any], kind: pa.DataType, *, mixed: bool) -> pa.Array:
    if mixed:
        texts = [_text(value) for value in values]
        return pa.array(texts, pa.binary()).view(pa.string())
    if kind == pa.float64():
        return pa.array([None if value is None else float(value) for value in values], kind)
    if kind != pa.string():
        return pa.array(values, kind)
    # Texts come as bytes, so that `checked` names the row of one that is no UTF-8.
    return pa.array(values, pa.binary()).view(kind)


def _text(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else str(value).encode()


def _opened(path: Path) -> sqlite3.Connection:
    """Open a database that nothing can be written to, or attached to."""
    where = quote(str(path.absolute()))
    for immutable in ("", "&immutable=1"):  # the second where not even a lock can be written
        database = sqlite3.connect(
            f"file:{where}?mode=ro{immutable}", uri=True, check_same_thread=False
        )
        try:
            database.execute("PRAGMA query_only = ON")
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("PRAGMA cell_size_check = ON")
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 4 * LIMITS.cell_bytes)
            database.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, MIB)
            database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except (sqlite3.Error, UnicodeError):
            database.close()
            continue
        database.text_factory = bytes
        database.set_authorizer(_authorized)
        database.set_progress_handler(_budget(path), _STEPS_AT_ONCE)
        return database
    raise _damaged(path)


def _budget(path: Path) -> Callable[[], bool]:
    """Return what ends a connection's queries once they took more steps than such a file needs."""
    log = path.with_name(f"{path.name}-wal")
    file_bytes = path.stat().st_size + (log.stat().st_size if log.exists() else 0)
    most = (_LEAST_STEPS + _STEPS_A_BYTE * file_bytes) // _STEPS_AT_ONCE
    taken = count(1)
    return lambda: next(taken) > most


def _authorized(act: int, what: str | None, *_: str | None) -> int:
    """Let queries read, and do nothing else; a damaged or hostile schema asks for more."""
    reads = act in _ALLOWED or (act == sqlite3.SQLITE_PRAGMA and what == "table_info")
    return sqlite3.SQLITE_OK if reads else sqlite3.SQLITE_DENY


def _tried(work: Any, path: Path) -> Any:
    try:
        return work()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _refused(error, path) from None
    except (OverflowError, UnicodeError):
        raise _damaged(path) from None


def _refused(error: Exception, path: Path) -> TableError:
    """Tell a wrong query from a wrong file; SQLite's words may quote what a cell holds."""
    text = str(error)
    if "not authorized" in text or "prohibited" in text:
        return TableFormat("the query does more than read", hint="begin it with SELECT")
    if text == "interrupted":
        return TableTooLarge(
            f"{path.name} is far more work to read than a table of its size: a view of it may "
            "never end",
            hint="name a table with --table, or a query that ends with --query",
        )
    if "one statement" in text:
        return TableFormat("the query is more than one statement", hint="give one SELECT")
    if "syntax error" in text or text.startswith(("no such", "incomplete", "near ", "ambiguous")):
        return TableFormat(f"not a query of {path.name}: {text[:120]}", hint="check --query")
    return _damaged(path)


def _damaged(path: Path) -> TableUnreadable:
    return TableUnreadable(
        f"{path.name} is not a whole SQLite database", hint="copy it while no program writes to it"
    )


def _chosen(
    database: sqlite3.Connection, options: ReadOptions, path: Path
) -> tuple[str | None, str]:
    if options.query is not None:
        return None, options.query.strip().rstrip(";")
    found = _tried(
        lambda: database.execute(
            "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') "
            "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY rowid"
        ).fetchall(),
        path,
    )
    tables = [bytes(name).decode("utf-8", "replace") for (name,) in found]
    listed = "say which with --table: " + ", ".join(repr(each) for each in tables)
    if options.table is not None:
        if options.table not in tables:
            raise TableFormat(f"there is no table {options.table!r}", hint=listed)
        return options.table, f"SELECT * FROM {_quoted(options.table)}"
    if not tables:
        raise TableEmpty("the database has no table")
    if len(tables) > 1:
        raise TableFormat(f"the database has {len(tables)} tables", hint=listed)
    return tables[0], f"SELECT * FROM {_quoted(tables[0])}"


def _names(database: sqlite3.Connection, query: str) -> list[str]:
    cursor = database.execute(query)
    if cursor.description is None:
        raise TableFormat("the query returns no rows", hint="begin it with SELECT")
    return [str(column[0]) for column in cursor.description]


def _kinds(database: sqlite3.Connection, query: str, width: int) -> list[_Kinds]:
    """Count the storage classes of every column, in one reading of it."""
    if width > LIMITS.fields:
        return [_Kinds([0] * len(_KINDS), None, 0)] * width
    names = [f"c{column}" for column in range(width)]
    found: list[_Kinds] = []
    # A few columns at a time: SQLite has a limit on those of a result.
    for first in range(0, width, 200):
        asked = [
            f"sum(typeof({name}) = '{kind}')" for name in names[first : first + 200]
            for kind in _KINDS
        ] + [
            f"max(CASE typeof({name}) WHEN 'integer' THEN abs({name} / 2) END)"
            for name in names[first : first + 200]
        ]  # fmt: skip
        counted = database.execute(
            f"WITH {_SURVEYED} ({', '.join(names)}) AS ({query}\n) "
            f"SELECT count(*), {', '.join(asked)} FROM {_SURVEYED}"
        ).fetchone()
        some = len(names[first : first + 200])
        for column in range(some):
            at = 1 + column * len(_KINDS)
            counts = [count or 0 for count in counted[at : at + len(_KINDS)]]
            found.append(_Kinds(counts, counted[1 + some * len(_KINDS) + column], counted[0]))
    return found


def _declared(database: sqlite3.Connection, table: str, path: Path) -> dict[str, str]:
    """Return the types that a table's columns were declared with."""
    asked = f"PRAGMA table_info({_quoted(table)})"
    rows = _tried(lambda: database.execute(asked).fetchall(), path)
    texts = [[bytes(text or b"").decode("utf-8", "replace") for text in row[1:3]] for row in rows]
    return {name: kind for name, kind in texts if len(kind) <= _LONGEST_DECLARED}


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
