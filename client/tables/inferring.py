"""Types for columns of text, where the user asks for them: only such as give each text back.

A column becomes integers, decimals of one scale, doubles, booleans, dates or times if every one of
its cells is exactly the text that the type would be written as. So "007" stays text, and what is
exported again is what came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.arrow_types import type_to_text
from client.tables.options import INFER, ReadOptions
from client.tables.source import Column, Source, schema_of
from client.tables.text_forms import text_form

_ROWS: Final = 8_192
_DECIMAL_DIGITS: Final = 38
_DECIMAL: Final = r"^-?(?:0|[1-9][0-9]*)\.[0-9]+$"

_CANDIDATES: Final = (
    pa.bool_(), pa.int64(), pa.float64(), pa.date32(), pa.time64("us"),
    pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us"),
    pa.timestamp("s", "UTC"), pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC"),
)  # fmt: skip


def inferred(source: Source, options: ReadOptions) -> Source:
    """Return the source, its columns of text typed if the options ask for that."""
    if options.types != INFER or not source.rereadable:
        return source  # a stream brings its types along
    return InferredSource(source)


class InferredSource(Source):
    """A table whose columns of text have the types that all of their cells allow."""

    def __init__(self, source: Source) -> None:
        self._source = source
        types = _inferred(source)
        columns = tuple(
            Column(column.name, type_to_text(types[at])) if at in types else column
            for at, column in enumerate(source.columns)
        )
        super().__init__(columns, source.format)
        self.name, self.total_rows = source.name, source.total_rows
        self.bytes_total, self.rereadable = source.bytes_total, source.rereadable
        self.findings = source.findings
        for note in source.notes:
            self.note(note)
        for at, kind in sorted(types.items()):
            told = f"all of its cells can be {type_to_text(kind)}, and are read as that"
            self.note(f"column {columns[at].name!r}: {told}")

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows as the source has them, columns of text as what they are."""
        schema = schema_of(self.columns)
        for batch in self._source.batches(max_rows):
            self.bytes_read = self._source.bytes_read
            arrays = [
                parsed(array, kind) if array.type != kind else array
                for array, kind in zip(batch.columns, schema.types, strict=True)
            ]
            yield pa.record_batch(arrays, schema=schema)
        for note in self._source.notes:
            self.note(note)

    def fingerprint(self) -> bytes | None:
        """Return the source's own: the types are part of the columns."""
        return self._source.fingerprint()

    def origin(self) -> bytes | None:
        """Return the source's own."""
        return self._source.origin()

    def row_numbers(self) -> Iterator[str]:
        """Yield the source's own."""
        return self._source.row_numbers()


def parsed(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Parse texts. Raises: pyarrow.ArrowInvalid."""
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        bare = pc.replace_substring_regex(texts, "Z$", "")
        return bare.cast(pa.timestamp(kind.unit)).cast(pa.int64()).cast(kind)
    if pa.types.is_time(kind):
        moments = pc.binary_join_element_wise("1970-01-01T", texts, "")
        return moments.cast(pa.timestamp(kind.unit)).cast(pa.int64()).cast(kind)
    return texts.cast(kind)


def _inferred(source: Source) -> dict[int, pa.DataType]:
    """Return the types of the columns that have one, by a reading of every cell."""
    open_columns = {
        at: _Guess() for at, column in enumerate(source.columns) if column.type == "string"
    }
    for batch in source.batches(_ROWS) if open_columns else ():
        for at, guess in list(open_columns.items()):
            guess.look(batch.column(at))
            if not guess.possible:
                del open_columns[at]
    found = ((at, guess.type()) for at, guess in open_columns.items())
    return {at: kind for at, kind in found if kind is not None}


class _Guess:
    """Which types all cells of a column seen so far allow."""

    def __init__(self) -> None:
        self._types: list[pa.DataType] = list(_CANDIDATES)
        self._scale: int | None = -1
        self._digits = 0
        self._cells = 0

    @property
    def possible(self) -> bool:
        """Whether any type is left."""
        return bool(self._types) or self._scale is not None

    def look(self, texts: pa.Array) -> None:
        """Strike out what the cells do not allow."""
        cells = texts.drop_null()
        if not len(cells):
            return
        self._cells += len(cells)
        self._types = [kind for kind in self._types if _gives_back(cells, kind)]
        if self._scale is not None:
            self._look_for_decimals(cells)

    def type(self) -> pa.DataType | None:
        """Return the type, None where none is left or there was no cell to tell it."""
        if not self._cells:
            return None
        if self._scale is not None and self._scale > 0 and self._digits <= _DECIMAL_DIGITS:
            return pa.decimal128(self._digits, self._scale)
        return self._types[0] if self._types else None

    def _look_for_decimals(self, cells: pa.Array) -> None:
        if not pc.all(pc.match_substring_regex(cells, _DECIMAL)).as_py():
            self._scale = None
            return
        lengths = pc.binary_length(cells)
        scales = pc.subtract(pc.subtract(lengths, pc.find_substring(cells, ".")), 1)
        low, high = pc.min_max(scales).values()
        scale = high.as_py()
        alike = low == high and self._scale in (-1, scale) and scale < _DECIMAL_DIGITS
        if not alike or not _gives_back(cells, pa.decimal128(_DECIMAL_DIGITS, scale)):
            self._scale = None
            return
        self._scale = scale
        self._digits = max(self._digits, pc.max(lengths).as_py() - 1)


def _gives_back(cells: pa.Array, kind: pa.DataType) -> bool:
    try:
        written = text_form(parsed(cells, kind))
    except (pa.ArrowException, ValueError):
        return False
    return bool(pc.all(pc.equal(written, cells.cast(pa.large_string()))).as_py())
