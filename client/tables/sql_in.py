"""Tables of any database that SQLAlchemy knows: read-only, streamed, typed as the database says.

From PostgreSQL every value comes as the text that the server writes for it, and is parsed by
the type that the server names, so decimals keep their scale and times their zone. Of another
database a table's columns have the types that it declares; those of a query are text there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import time
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.errors import (
    TableEmpty,
    TableError,
    TableFormat,
    TablePackage,
    TableUnreadable,
    TableValue,
)
from client.tables.findings import Finding
from client.tables.options import ReadOptions
from client.tables.source import Source, checked_batches, named_columns, schema_of

_PIECE_ROWS: Final = 2_048
_READS: Final = re.compile(r"\s*(select|with|table|values)\b", re.IGNORECASE)
_MOST_LISTED: Final = 20

# What PostgreSQL calls its types, by number; what is not here is text as the server writes it.
_PLAIN: Final[Mapping[int, pa.DataType]] = {
    16: pa.bool_(),
    17: pa.binary(),
    20: pa.int64(),
    21: pa.int16(),
    23: pa.int32(),
    700: pa.float32(),
    701: pa.float64(),
    1082: pa.date32(),
    1083: pa.time64("us"),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", "UTC"),
}
_NUMERIC: Final = 1700
_AS_PYTHON: Final = (16, 17, 20, 21, 23, 700, 701)
_DECIMAL_DIGITS: Final = 76
# Beyond these PostgreSQL has numbers to over 100,000 digits, dates before Christ, and infinity.


class SqlSource(Source):
    """A table or a query of a database. Rows count from 1; each reading asks anew."""

    def __init__(self, url: str, options: ReadOptions) -> None:
        options.demand_only("a database", "table", "query")
        self._engine, parsed = _engine(url)
        with self._connected() as connection:
            table, self._query = _chosen(connection, options)
            names, self._kinds = self._described(connection, table)
        columns, notes = named_columns(names, self._kinds)
        super().__init__(columns, {"kind": "database"})
        self.name = None if table is None else table
        where = f"{parsed.get_backend_name()} at {parsed.host or 'this machine'}"
        what = "query" if table is None else "table"
        self.findings = (Finding(what, table or "as you say", where, option="--table"),)
        self.note(*notes)
        if parsed.password is not None:
            self.note(
                "the address had a password in it, which others on this machine can see while the "
                "command runs; the database's own file for passwords (~/.pgpass) keeps it hidden"
            )
        if table is None and not self._postgres:
            self.note("the columns of a query are text here; --table knows their types")

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of exactly `max_rows` but for the last."""
        return checked_batches(self._pieces(), max_rows)

    def fingerprint(self) -> None:
        """There is no file: a table may be another by the next reading."""
        return

    def origin(self) -> bytes:
        """Return the hash of the address, without its password, and of the query."""
        address = self._engine.url.set(password=None).render_as_string()
        return hashlib.sha256(f"{address}\0{self._query}".encode()).digest()

    @property
    def _postgres(self) -> bool:
        return bool(self._engine.dialect.driver == "psycopg")

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        schema = schema_of(self.columns)
        with self._connected() as connection:
            done = 0
            with closing(self._run(connection)) as result:
                partitions = result.partitions(_PIECE_ROWS)
                while rows := _tried(lambda: next(partitions, None)):
                    columns = zip(self.columns, zip(*rows, strict=True), self._kinds, strict=True)
                    arrays = [
                        self._array(column.name, list(values), kind, done)
                        for column, values, kind in columns
                    ]
                    done += len(rows)
                    yield pa.record_batch(arrays, schema=schema)

    def _run(self, connection: Any) -> Any:
        import sqlalchemy

        options = {"stream_results": True, "max_row_buffer": _PIECE_ROWS}
        text = sqlalchemy.text(self._query.replace(":", r"\:"))
        return _tried(lambda: connection.execution_options(**options).execute(text))

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Connect for one reading, in one snapshot where the database has them; change nothing."""
        postgres = self._engine.dialect.name == "postgresql"
        read_only: dict[str, Any] = (
            {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True} if postgres else {}
        )
        connection = _tried(self._engine.connect)
        try:
            yield connection.execution_options(**read_only)
        finally:
            connection.rollback()
            connection.close()

    def _described(self, connection: Any, table: str | None) -> tuple[list[str], list[Any]]:
        """Return the names and types of the columns, asking for no rows."""
        if not self._postgres and table is not None:
            found = _tried(lambda: _inspected(connection).get_columns(*_in_schema(table)))
            return [each["name"] for each in found], [_declared(each["type"]) for each in found]
        result = self._run(connection)
        description = result.cursor.description
        result.close()
        names = [str(column[0]) for column in description]
        if not self._postgres:
            return names, [pa.string()] * len(names)
        return names, [_postgres_type(column) for column in description]

    def _array(self, name: str, values: list[Any], kind: pa.DataType, before: int) -> pa.Array:
        try:
            if kind == pa.string():
                return pa.array([_text(value) for value in values], kind)
            if values and any(isinstance(value, str) for value in values):
                return _parsed(values, kind)
            return pa.array(values, kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            row = before + _first_unfit(values, kind)
            raise TableValue(
                f"a value that {kind} cannot hold", row=row, column=name,
                hint="cast the column to text, with --query",
            ) from None  # fmt: skip


# --- connecting


def _engine(url: str) -> tuple[Any, Any]:
    try:
        import sqlalchemy
    except ModuleNotFoundError:
        raise TablePackage(
            "a database is read with packages that are not installed",
            hint="pip install 'sealroom[sql]'",
        ) from None
    try:
        parsed = sqlalchemy.make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        engine = sqlalchemy.create_engine(parsed, poolclass=sqlalchemy.NullPool)
    except ModuleNotFoundError as error:
        raise TablePackage(
            f"this kind of database needs the package {error.name}",
            hint=f"pip install {error.name}",
        ) from None
    except (sqlalchemy.exc.SQLAlchemyError, ValueError):
        raise TableFormat(
            "that is no database's address",
            hint="for example postgresql://user@host/database; see SQLAlchemy for others",
        ) from None
    if engine.dialect.driver == "psycopg":
        sqlalchemy.event.listen(engine, "connect", _as_texts)
    return engine, parsed


def _as_texts(connection: Any, _: object) -> None:
    """Have psycopg hand over what the server wrote, but for numbers, booleans and bytes."""
    from psycopg.types.string import TextLoader

    for known in connection.adapters.types:
        if known.oid not in _AS_PYTHON:
            connection.adapters.register_loader(known.oid, TextLoader)
        if known.array_oid:
            connection.adapters.register_loader(known.array_oid, TextLoader)
    connection.autocommit = True
    connection.execute(
        "SET DateStyle = 'ISO'; SET TimeZone = 'UTC'; SET IntervalStyle = 'iso_8601'"
    )
    connection.execute("SET extra_float_digits = 1; SET bytea_output = 'hex'")
    connection.autocommit = False


def _tried(work: Callable[[], Any]) -> Any:
    """Do something with the database; tell what went wrong without what its cells hold."""
    import sqlalchemy

    try:
        return work()
    except sqlalchemy.exc.DBAPIError as error:
        raise _refused(error) from None
    except sqlalchemy.exc.SQLAlchemyError:
        raise TableFormat("the database does not understand that", hint="check --query") from None


def _refused(error: Any) -> TableError:
    """The words of a connection or of a query that is wrong are safe; others may quote cells."""
    state = getattr(error.orig, "sqlstate", None) or ""
    words = str(error.orig).strip().splitlines()[0][:200] if str(error.orig).strip() else ""
    if state == "25006":
        return TableFormat("the query does more than read", hint="give one SELECT")
    if state.startswith(("42", "0A")):
        return TableFormat(f"the database refuses the query: {words}", hint="check --query")
    if not state and type(error.orig).__name__ == "OperationalError":
        return TableUnreadable(
            f"the database cannot be reached or read: {words}", hint="check its address and yours"
        )
    return TableUnreadable(
        f"the database failed to hand over rows ({state or type(error.orig).__name__})",
        hint="try the query there first",
    )


# --- which rows


def _chosen(connection: Any, options: ReadOptions) -> tuple[str | None, str]:
    if options.query is not None:
        if not _READS.match(options.query):
            raise TableFormat("the query does more than read", hint="begin it with SELECT")
        return None, options.query.strip().rstrip(";")
    inspected = _inspected(connection)
    tables = [*_tried(inspected.get_table_names), *_tried(inspected.get_view_names)]
    shown = ", ".join(repr(each) for each in tables[:_MOST_LISTED])
    listed = f"say which with --table: {shown}{', ...' if len(tables) > _MOST_LISTED else ''}"
    table = options.table or (tables[0] if len(tables) == 1 else None)
    if table is None:
        if not tables:
            raise TableEmpty("the database has no table that you may see")
        raise TableFormat(f"the database has {len(tables)} tables", hint=listed)
    name, schema = _in_schema(table) if table not in tables else (table, None)
    if table not in tables and not _tried(lambda: inspected.has_table(name, schema=schema)):
        raise TableFormat(f"there is no table {table!r}", hint=listed)
    quoted = connection.dialect.identifier_preparer.quote_identifier
    parts = [quoted(part) for part in (schema, name) if part]
    return table, f"SELECT * FROM {'.'.join(parts)}"


def _in_schema(table: str) -> tuple[str, str | None]:
    schema, _, name = table.rpartition(".")
    return name, schema or None


def _inspected(connection: Any) -> Any:
    import sqlalchemy

    return sqlalchemy.inspect(connection)


# --- types


def _postgres_type(column: Any) -> pa.DataType:
    if column.type_code != _NUMERIC:
        return _PLAIN.get(column.type_code, pa.string())
    precision, scale = column.precision, column.scale
    if precision is None or precision > _DECIMAL_DIGITS:
        return pa.string()
    return _decimal(precision, scale or 0)


def _decimal(precision: int, scale: int) -> pa.DataType:
    return (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale)


def _declared(kind: Any) -> pa.DataType:
    """Return the type of a column that a database declares, as SQLAlchemy names it."""
    from sqlalchemy import types

    if isinstance(kind, types.Numeric) and not isinstance(kind, types.Float):
        if kind.precision and kind.precision <= _DECIMAL_DIGITS:
            return _decimal(kind.precision, kind.scale or 0)
        return pa.string()
    if isinstance(kind, types.DateTime):
        return pa.timestamp("us", "UTC") if kind.timezone else pa.timestamp("us")
    known = (
        (types.Boolean, pa.bool_()), (types.Integer, pa.int64()), (types.Float, pa.float64()),
        (types.Date, pa.date32()), (types.Time, pa.time64("us")), (types.LargeBinary, pa.binary()),
    )  # fmt: skip
    return next((found for each, found in known if isinstance(kind, each)), pa.string())


def _parsed(texts: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    """Parse what a server wrote. Raises: pyarrow.ArrowInvalid."""
    if pa.types.is_time(kind):
        return pa.array([text and time.fromisoformat(text) for text in texts], kind)
    array = pa.array(texts, pa.string())
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        # Offsets are all that of UTC, to which the session is set.
        bare = pc.replace_substring_regex(array, r"([+-]00(:?00)?|Z)$", "")
        return bare.cast(pa.timestamp(kind.unit)).cast(pa.int64()).cast(kind)
    return array.cast(kind)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bytes, memoryview)):
        raise ValueError("bytes where text is wanted")
    return str(value)


def _first_unfit(values: Sequence[Any], kind: pa.DataType) -> int:
    """Return which value, from 1, its type cannot hold."""
    for at, value in enumerate(values, 1):
        try:
            if isinstance(value, str) and kind != pa.string():
                _parsed([value], kind)
            elif kind == pa.string():
                _text(value)
            else:
                pa.array([value], kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            return at
    return 1
