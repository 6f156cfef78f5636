"""What every table that comes in looks like, whatever it came from."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from itertools import count
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.arrow_types import type_from_text, type_to_text, varies_in_length
from client.tables.cells import contiguous, decoded, encoded
from client.tables.errors import (
    TableChanged,
    TableEmpty,
    TableTooLarge,
    TableType,
    TableUnreadable,
)
from client.tables.faults import unreadable
from client.tables.findings import Finding
from protocol.errors import ApiMisuse
from protocol.limits import LIMITS, MIB

MOST_HELD: Final = 32 * MIB
"""So many bytes of rows make a batch, however few they are."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name, unique in its table, and the text of its Arrow type."""

    name: str
    type: str


class Source(ABC):
    """A table to read: its columns now, its rows in batches, in bounded memory.

    `name` is the file's name without its folder, None for an object in memory. `notes` says to
    the user what was decided or changed on the way in (it may grow while rows are read).
    `format` holds what `open_sink` needs to write an equal file back: text, numbers, booleans,
    None and one map, so that it can travel in a catalog; it names columns, so nowhere else.
    `findings` are what was found out by looking, to be shown before anything is sent.
    `rereadable` says whether the rows can be had again, from the first one on.
    `total_rows` and `bytes_total` are None where nobody knows before the end.
    """

    name: str | None = None
    total_rows: int | None = None
    bytes_total: int | None = None
    bytes_read: int = 0
    rereadable: bool = True

    def __init__(self, columns: tuple[Column, ...], table_format: dict[str, Any]) -> None:
        self.columns = columns
        self.format = table_format
        self.notes: tuple[str, ...] = ()
        self.findings: tuple[Finding, ...] = ()

    @abstractmethod
    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows, `max_rows` a batch but for the last; none for an empty table.

        A batch is smaller where its rows are large, and the same at each reading.

        Each batch has the columns' names and types, is valid to the last byte and has no cell
        above the limit. Memory is bounded by `max_rows` rows and a little. A file is read anew
        by each call; a stream in memory can be read once.
        Raises: TableError.
        """

    @abstractmethod
    def fingerprint(self) -> bytes | None:
        """Return the SHA-256 of the file's content, by which an upload knows what it resumes.

        None for objects in memory. Reads the whole file, in bounded memory.
        Raises: TableError if the file changed since it was opened.
        """

    def origin(self) -> bytes | None:
        """Return what names the place that rows come from, where they have no fingerprint.

        What is read there may be another table each time. None where nothing names it.
        """
        return None

    def row_numbers(self) -> Iterator[str]:
        """Yield how errors name each row, in order and without end where they are just counted.

        A row of a sheet or of a text file has the number that a spreadsheet shows beside it, with
        the header and whatever stands above it; elsewhere the first record is 1. It may read the
        table once more.
        """
        return map(str, count(1))

    def note(self, *texts: str) -> None:
        """Add lines to `notes`, each once."""
        self.notes = tuple(dict.fromkeys([*self.notes, *texts]))


class FileSource(Source):
    """A table in a file, which must stay as it was when opened."""

    def __init__(
        self,
        path: Path,
        stamp: tuple[int, int],
        columns: tuple[Column, ...],
        table_format: dict[str, Any],
    ) -> None:
        super().__init__(columns, table_format)
        self.path = path
        self.name = path.name
        self.bytes_total = stamp[0]
        self._stamp = stamp

    def fingerprint(self) -> bytes:
        """Return the SHA-256 of the file's content."""
        with open_binary(self.path) as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
            self._demand_unchanged(stream)
        return digest

    def _demand_unchanged(self, stream: BufferedReader) -> None:
        self._demand_stamp(stamp_of(stream))

    def _demand_stamp(self, stamp: tuple[int, int]) -> None:
        if stamp != self._stamp:
            raise TableChanged(
                f"{self.name} was changed while it was read",
                hint="close the program that writes it, or copy it, and begin again",
            )


def open_binary(path: Path) -> BufferedReader:
    """Open a file to read. Raises: TableUnreadable."""
    try:
        return path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from None


def stamp_of(stream: BufferedReader) -> tuple[int, int]:
    """Return a file's size and time of change, by which it is known to have stayed the same."""
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns


def named_columns(
    names: Sequence[str], types: Sequence[pa.DataType]
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """Give every column a name of its own, and say in notes which names were changed.

    A repeated name gets the first free suffix from `_2` on, an empty one becomes `column_N`.
    Raises: TableError for a type or a size that a vault cannot hold, or no columns.
    """
    if not names:
        raise TableEmpty("the table has no columns")
    if len(names) > LIMITS.fields:
        raise TableTooLarge(f"{len(names)} columns; a collection has at most {LIMITS.fields}")
    for name in names:
        if len(name.encode("utf-8", "replace")) > LIMITS.text_bytes:
            raise TableTooLarge(
                f"a name above {LIMITS.text_bytes} bytes",
                column=name,
                hint="if the first row is no header, say so: --header-row 0",
            )
    unique = _unique(names)
    notes = tuple(
        f"column {position}: {'its name is empty' if not old else f'another is called {old!r} too'}"
        f", it is called {new!r} here"
        for position, (old, new) in enumerate(zip(names, unique, strict=True), 1)
        if old != new
    )
    texts = (type_to_text(kind, column=name) for kind, name in zip(types, unique, strict=True))
    return tuple(map(Column, unique, texts)), notes + _order_notes(unique, types)


def is_bare_export(source: Source) -> bool:
    """Say whether a file that somebody exported has columns and no row. Raises: TableError.

    That is a mistake more often than not; a table of a database that is named may well be empty.
    """
    exported = source.format.get("kind") in ("csv", "excel")
    return exported and source.rereadable and next(source.batches(1), None) is None


def schema_of(columns: Iterable[Column]) -> pa.Schema:
    """Return the Arrow schema of columns; every field may be null. Raises: TableType."""
    return pa.schema([pa.field(column.name, type_from_text(column.type)) for column in columns])


def exact_batches(pieces: Iterable[pa.RecordBatch], max_rows: int) -> Iterator[pa.RecordBatch]:
    """Cut and join batches of any size to exactly `max_rows` rows, but for the last.

    Rows so large that many would fill the memory come fewer at a time.
    Raises: TableType where dictionaries that differ cannot be joined.
    """
    if max_rows < 1:
        raise ApiMisuse("a batch has at least one row")
    held: list[pa.RecordBatch] = []
    count = size = 0
    for whole in pieces:
        piece = whole
        while count + piece.num_rows >= max_rows:
            missing = max_rows - count
            yield _joined([*held, piece.slice(0, missing)])
            held, count, size, piece = [], 0, 0, piece.slice(missing)
        if piece.num_rows:
            held.append(piece)
            count, size = count + piece.num_rows, size + piece.nbytes
        if size > MOST_HELD:
            yield _joined(held)
            held, count, size = [], 0, 0
    if held:
        yield _joined(held)


def checked_batches(pieces: Iterable[pa.RecordBatch], max_rows: int) -> Iterator[pa.RecordBatch]:
    """Cut and join as `exact_batches` does, with each batch `checked`; rows count from 1."""
    done = 0
    for batch in exact_batches(pieces, max_rows):
        yield checked(batch, range(done + 1, done + 1 + batch.num_rows))
        done += batch.num_rows


def checked(batch: pa.RecordBatch, rows: Sequence[int]) -> pa.RecordBatch:
    """Return a batch whose every value is valid and within the limit of a cell.

    `rows` are the numbers of its rows, for messages.
    Raises: TableError naming the column, and the row of a cell that is too large.
    """
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        try:
            array.validate(full=True)
        except pa.ArrowException:
            raise TableUnreadable(
                "holds values that its type does not allow (text that is not UTF-8, say)",
                column=name,
            ) from None
        _check_sizes(name, array, rows)
    return batch


def _check_sizes(name: str, array: pa.Array, rows: Sequence[int]) -> None:
    values = array.dictionary if pa.types.is_dictionary(array.type) else array
    if not varies_in_length(values.type):
        return
    lengths = pc.binary_length(contiguous(values))
    largest = pc.max(lengths).as_py() or 0
    if largest <= LIMITS.cell_bytes:
        return
    at = pc.index(lengths, pc.max(lengths)).as_py()
    row = rows[at] if values is array else None
    raise TableTooLarge(
        f"a cell of {largest} bytes; at most {LIMITS.cell_bytes} fit",
        row=row,
        column=name,
        hint="keep large objects outside the table and name them in it",
    )


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    schema = batches[0].schema
    try:
        columns = [_one([batch.column(at) for batch in batches]) for at in range(len(schema))]
        return pa.record_batch(columns, schema=schema)
    except pa.ArrowException:
        raise TableType(
            "rows next to each other cannot be joined into one batch",
            hint="use fewer rows a batch, or wider dictionary indices",
        ) from None


def _one(arrays: list[pa.Array]) -> pa.Array:
    """Join arrays; dictionaries by their values, since Arrow cannot unify all of them."""
    data_type = arrays[0].type
    if not pa.types.is_dictionary(data_type):
        return pa.concat_arrays(arrays)
    if all(array.dictionary.equals(arrays[0].dictionary) for array in arrays):
        indices = pa.concat_arrays([array.indices for array in arrays])
        return pa.DictionaryArray.from_arrays(
            indices, arrays[0].dictionary, ordered=data_type.ordered
        )
    return encoded(pa.concat_arrays([decoded(array) for array in arrays]), data_type)


def _order_notes(names: Sequence[str], types: Sequence[pa.DataType]) -> tuple[str, ...]:
    ordered = (
        name
        for name, kind in zip(names, types, strict=True)
        if pa.types.is_dictionary(kind) and kind.ordered
    )
    return tuple(f"column {name!r}: its values are kept, the order of its categories is not"
                 for name in ordered)  # fmt: skip


def _unique(names: Sequence[str]) -> list[str]:
    taken = set(names)
    seen: set[str] = set()
    unique = []
    for position, name in enumerate(names, 1):
        wanted = name or f"column_{position}"
        if name in seen or not name:
            wanted = _free(wanted, taken, plain=not name)
            taken.add(wanted)
        seen.add(name)
        unique.append(wanted)
    return unique


def _free(name: str, taken: set[str], *, plain: bool) -> str:
    if plain and name not in taken:
        return name
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
