"""JSON lines in: an object a line, a column a key, types as all of a key's values have them.

Texts, booleans, and numbers that a column's type holds exactly keep their types; objects and
lists are kept as JSON text. To know, the file is read once before its rows are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, Final, NoReturn

import pyarrow as pa

from client.tables.csv_encoding import BOM, CHUNK
from client.tables.csv_rows import BadRow
from client.tables.errors import TableEmpty, TableEncoding, TableError, TableSyntax, TableTooLarge
from client.tables.options import NOTHING_SAID, STOP, ReadOptions
from client.tables.packed import PlainStream, content_of
from client.tables.set_aside import SetAside
from client.tables.source import FileSource, checked, exact_batches, named_columns, schema_of
from protocol.limits import LIMITS

_PIECE_ROWS: Final = 2_048
_EXACT_DIGITS: Final = 15
_LOWEST, _HIGHEST = -(2**63), 2**63


class Kind(Enum):
    """What a value is."""

    TEXT = "texts"
    BOOLEAN = "booleans"
    INTEGER = "integers"
    REAL = "numbers"
    LONG = "long numbers"
    NESTED = "objects and lists"


class JsonLinesSource(FileSource):
    """A file of JSON lines, packed or plain. Rows are lines, counted from 1."""

    def __init__(self, path: Path, options: ReadOptions = NOTHING_SAID) -> None:
        options.demand_only("a file of JSON lines", "on_error", "set_aside")
        self._content = content_of(path)
        self._set_aside = None if options.on_error == STOP else options.set_aside
        seen: dict[str, _Seen] = {}
        self._rows = 0
        for _, row in self._read(None):
            self._rows += 1
            for key, value in row.items():
                seen.setdefault(key, _Seen()).take(value)
        if not seen:
            raise TableEmpty("the file has no object with a key", row=1)
        self._keys = list(seen)
        self._kinds = [each.type() for each in seen.values()]
        columns, notes = named_columns(self._keys, self._kinds)
        literal = {
            column.name: "" for column, each in zip(columns, seen.values(), strict=True)
            if each.literal
        }  # fmt: skip
        super().__init__(path, self._content.stamp, columns, {"kind": "jsonl", "literal": literal})
        self.total_rows = self._rows
        for note in (*notes, *_notes(self._keys, seen.values(), self._rows)):
            self.note(note)

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of exactly `max_rows` but for the last."""
        return exact_batches(self._pieces(), max_rows)

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        schema = schema_of(self.columns)
        aside = SetAside(self._set_aside) if self._set_aside is not None else None
        try:
            rows = self._read(aside)
            while piece := list(islice(rows, _PIECE_ROWS)):
                arrays = [
                    _array([row.get(key) for _, row in piece], kind)
                    for key, kind in zip(self._keys, self._kinds, strict=True)
                ]
                yield checked(
                    pa.record_batch(arrays, schema=schema), [number for number, _ in piece]
                )
            if aside is not None and (told := aside.finish()):
                self.note(told)
        finally:
            if aside is not None:
                aside.close()

    def row_numbers(self) -> Iterator[str]:
        """Yield the number of each line that is a row."""
        return (str(number) for number, _ in self._read(None))

    def _read(self, aside: SetAside | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the number and the object of each line; pass over bad ones where that is wanted."""
        with self._content.open() as stream:
            for number, offset, line in _lines(stream):
                self.bytes_read = stream.packed_read
                if not line.strip():
                    continue
                try:
                    row = _object(line)
                except TableError as error:
                    error.row, error.byte_offset = number, offset
                    if self._set_aside is None:
                        raise
                    if aside is not None:
                        aside.take(BadRow(line + b"\n", error))
                    continue
                yield number, row
            if hasattr(self, "_stamp"):
                self._demand_stamp(stream.stamp())


@dataclass(slots=True)
class _Seen:
    """What the values of one key were."""

    kinds: set[Kind] = field(default_factory=set)
    count: int = 0

    def take(self, value: Any) -> None:
        self.count += 1
        if value is not None:
            self.kinds.add(_kind(value))

    @property
    def literal(self) -> bool:
        """Whether the texts of the column are JSON as it stood in the file."""
        numbers = {Kind.INTEGER, Kind.REAL, Kind.LONG}
        return self.type() == pa.string() and (
            self.kinds == {Kind.NESTED} or (bool(self.kinds) and self.kinds <= numbers)
        )

    def type(self) -> pa.DataType:
        if self.kinds == {Kind.BOOLEAN}:
            return pa.bool_()
        if self.kinds == {Kind.INTEGER}:
            return pa.int64()
        return pa.float64() if self.kinds == {Kind.REAL} else pa.string()


class _Number(str):
    """A number as it stands in the file."""

    __slots__ = ()


def _lines(stream: PlainStream) -> Iterator[tuple[int, int, bytes]]:
    """Yield each line's number, its place in the file, and its bytes."""
    number, offset, held = 0, 0, b""
    while True:
        piece = stream.read(CHUNK)
        held += piece
        *lines, held = held.split(b"\n") if piece else [held, b""]
        for line in lines:
            number += 1
            yield number, offset, line.removeprefix(BOM.encode()) if number == 1 else line
            offset += len(line) + 1
        if not piece:
            return
        if len(held) > LIMITS.batch_bytes:
            raise TableTooLarge(f"a line above {LIMITS.batch_bytes} bytes", row=number + 1)


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise TableEncoding("bytes that are not UTF-8", hint="JSON is UTF-8") from None
    try:
        row = _DECODER.decode(text.strip())
    except (ValueError, RecursionError):
        raise TableSyntax("not a JSON object", hint="each line is one whole object") from None
    if not isinstance(row, dict):
        raise TableSyntax("JSON, but no object", hint="each line is one object")
    if "\\ud" in text.lower():
        _demand_whole_characters(row)
    return row


def _demand_whole_characters(row: object) -> None:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise TableEncoding("half a character (a lone surrogate)") from None


def _pairs(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key twice")
    return row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_Number, parse_int=_Number, parse_constant=_no_constant
)


def _kind(value: Any) -> Kind:
    if isinstance(value, bool):
        return Kind.BOOLEAN
    if isinstance(value, _Number):
        return _kind_of_number(value)
    return Kind.TEXT if isinstance(value, str) else Kind.NESTED


def _kind_of_number(text: str) -> Kind:
    """Integers of 64 bits, and numbers that a double gives back as they stand, have types.

    A zero with a sign is none that an integer gives back.
    """
    if not any(mark in text for mark in ".eE") and text != "-0":
        return Kind.INTEGER if _LOWEST <= int(text[:40]) < _HIGHEST else Kind.LONG
    number = float(text)
    exact = len(text) <= _EXACT_DIGITS or Decimal(text) == Decimal(repr(number))
    return Kind.REAL if exact and number - number == 0 else Kind.LONG


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.int64():
        values = [None if value is None else int(value) for value in values]
    elif kind == pa.float64():
        values = [None if value is None else float(value) for value in values]
    elif kind == pa.string():
        values = [_text(value) for value in values]
    return pa.array(values, kind)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return "".join(_written(value))


def _written(value: Any) -> Iterator[str]:
    """Write JSON with numbers as they stood in the file, which json's own encoder would quote."""
    if isinstance(value, _Number):
        yield value
    elif isinstance(value, dict):
        yield "{"
        for at, (key, each) in enumerate(value.items()):
            yield f"{', ' if at else ''}{json.dumps(key, ensure_ascii=False)}: "
            yield from _written(each)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for at, each in enumerate(value):
            yield ", " if at else ""
            yield from _written(each)
        yield "]"
    else:
        yield json.dumps(value, ensure_ascii=False)


def _notes(keys: Sequence[str], seen: Any, rows: int) -> Iterator[str]:
    for key, each in zip(keys, seen, strict=True):
        if each.count < rows:
            yield f"column {key!r}: lines that lack the key are null"
        if each.kinds == {Kind.NESTED}:
            yield f"column {key!r}: objects and lists are JSON text"
        elif each.literal:
            yield f"column {key!r}: numbers of which no type holds all are text"
        elif len(each.kinds) > 1:
            mixed = " and ".join(sorted(kind.value for kind in each.kinds))
            yield f"column {key!r}: {mixed} are mixed, so all of it is text"
