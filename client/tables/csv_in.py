"""CSV in: every cell as text, every byte accounted for, nothing guessed (RFC 4180, strictly).

What is refused rather than repaired: bytes that the encoding does not have, NUL, rows wider or
narrower than the header, quotes that do not close. A lone quote inside an unquoted cell is a
character like any other. Blank lines are no rows, except where the table has one column: there
each is an empty cell.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.csv_format import (
    BOM,
    DELIMITERS,
    CsvFormat,
    check_delimiter,
    check_null_text,
    detect_delimiter,
    detect_newline,
    detect_quoting,
    resolve_encoding,
)
from client.tables.errors import (
    TableEmpty,
    TableEncoding,
    TableError,
    TableRagged,
    TableSyntax,
    TableTooLarge,
)
from client.tables.source import (
    FileSource,
    checked,
    exact_batches,
    named_columns,
    open_binary,
    schema_of,
    stamp_of,
)
from protocol.limits import KIB, LIMITS, MIB

_CHUNK: Final = 256 * KIB
_PIECE_ROWS: Final = 2_048
_PIECE_BYTES: Final = 8 * MIB
_STEP_ROWS: Final = 128
_SAMPLE_LINES: Final = 200
# csv counts characters and names no column, so it stops only what would exhaust memory;
# `checked` counts bytes and names the column.
_FIELD_CHARACTERS: Final = 4 * LIMITS.cell_bytes

_SYNTAX: Final = (
    ("unexpected end", "a quote is opened that is never closed", "close it, or double it"),
    (
        "expected after",
        "a closing quote is followed by something other than the delimiter",
        'write a quote inside a quoted cell twice (""), or name the --delimiter',
    ),
)


class CsvSource(FileSource):
    """A CSV file. `bytes_read` counts bytes of the file, to the chunk."""

    def __init__(
        self,
        path: Path,
        *,
        encoding: str | None = None,
        delimiter: str | None = None,
        null_text: str | None = None,
    ) -> None:
        _allow_large_fields()
        with open_binary(path) as stream:
            stamp = stamp_of(stream)
            codec, bom = resolve_encoding(encoding, stream.read(8))
            stream.seek(0)
            sample, failure = _sample(_Lines(stream, codec, bom=bom))
        if delimiter is None:
            delimiter = detect_delimiter(sample)
            detected = delimiter != ","
        else:
            check_delimiter(delimiter)
            detected = False
        check_null_text(null_text, delimiter)
        self._null_text = null_text
        header = _header(sample, delimiter, failure)
        columns, notes = named_columns(header, [pa.string()] * len(header))
        newline = detect_newline(sample)
        written = CsvFormat(
            encoding=codec,
            bom=bom,
            delimiter=delimiter,
            newline=newline,
            quoting=detect_quoting(sample, delimiter, newline),
            final_newline=_ends_in_newline(path, codec),
            null_text=null_text,
            renamed={
                column.name: name
                for column, name in zip(columns, header, strict=True)
                if column.name != name
            },
        )
        super().__init__(path, stamp, columns, written.to_dict())
        self._codec, self._bom, self._delimiter = codec, bom, delimiter
        if detected:
            self.note(f"the delimiter is a {DELIMITERS[delimiter]}")
        for note in notes:
            self.note(note)

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of text columns, exactly `max_rows` each but the last."""
        return exact_batches(self._pieces(min(max_rows, _PIECE_ROWS)), max_rows)

    def _pieces(self, rows: int) -> Iterator[pa.RecordBatch]:
        _allow_large_fields()
        with open_binary(self.path) as stream:
            lines = _Lines(stream, self._codec, bom=self._bom)
            reader = _Rows(lines, self._delimiter)
            reader.take(1)
            while taken := reader.take(rows):
                self.bytes_read = lines.bytes_read
                # Before each piece: an upload keeps what it sealed, and may go on another day.
                self._demand_unchanged(stream)
                yield self._batch(taken, reader.number - len(taken))
            self._demand_unchanged(stream)
        self.bytes_read = lines.bytes_read

    def _batch(self, rows: list[list[str]], before: int) -> pa.RecordBatch:
        numbers: Sequence[int] = range(before + 1, before + 1 + len(rows))
        width = len(self.columns)
        if {*map(len, rows)} != {width}:
            if width == 1:
                rows = [row or [""] for row in rows]
            elif not all(rows):
                self.note("blank lines are left out")
                numbers = [number for number, row in zip(numbers, rows, strict=True) if row]
                rows = [row for row in rows if row]
            _check_widths(rows, numbers, width)
        cells = zip(*rows, strict=True) if rows else [()] * width
        arrays = [self._array(column, numbers) for column in cells]
        return checked(pa.record_batch(arrays, schema=schema_of(self.columns)), numbers)

    def _array(self, column: Sequence[str], numbers: Sequence[int]) -> pa.Array:
        try:
            array = pa.array(column, pa.string())
        except UnicodeEncodeError:
            row = next(number for number, cell in zip(numbers, column, strict=True) if _lone(cell))
            raise TableEncoding(
                f"half a character (a lone surrogate), as {self._codec} should not hold", row=row
            ) from None
        if self._null_text is None:
            return array
        return pc.if_else(pc.equal(array, self._null_text), pa.scalar(None, pa.string()), array)


class _Rows:
    """Rows of a CSV file, counting; what goes wrong is raised with the row's number."""

    def __init__(self, lines: _Lines, delimiter: str) -> None:
        self._lines = lines
        self._reader = csv.reader(lines.read(), delimiter=delimiter, strict=True)
        self.number = 0

    def take(self, most: int) -> list[list[str]]:
        """Return the next rows, fewer if they are large, none at the end."""
        rows: list[list[str]] = []
        start = self._lines.bytes_read
        try:
            while len(rows) < most and self._lines.bytes_read - start < _PIECE_BYTES:
                wanted = min(_STEP_ROWS, most - len(rows))
                before = len(rows)
                rows.extend(islice(self._reader, wanted))
                if len(rows) - before < wanted:
                    break
        except TableError as error:
            error.row = self.number + len(rows) + 1
            raise
        except csv.Error as error:
            raise _syntax_error(str(error), self.number + len(rows) + 1) from None
        self.number += len(rows)
        return rows


class _Lines:
    """Lines of a stream of bytes, ends kept; a line that cannot be read raises in its turn.

    Lines before the fault are yielded first, so that whoever counts rows knows which it is.
    """

    def __init__(self, stream: BinaryIO, codec: str, *, bom: bool) -> None:
        self._stream = stream
        self._codec = codec
        self._decoder = codecs.getincrementaldecoder(codec)("strict")
        self._bom = bom
        self.bytes_read = 0

    def read(self) -> Iterator[str]:
        """Yield the lines. Raises: TableEncoding, TableSyntax, TableTooLarge."""
        held: list[str] = []
        size = 0
        chunk = b"-"
        while chunk:
            chunk = self._stream.read(_CHUNK)
            text, failure = self._text(chunk)
            end = _end_of_lines(text) if chunk and not failure else _last_end(text)
            if end or not chunk:
                whole = "".join([*held, text[: end if chunk else None]])
                held, size, text = [], 0, text[end:]
                yield from io.StringIO(whole, newline="")
            if failure:
                raise failure
            held.append(text)
            size += len(text)
            if size > LIMITS.batch_bytes:
                raise TableTooLarge(f"a line above {LIMITS.batch_bytes} characters")

    def _text(self, chunk: bytes) -> tuple[str, TableError | None]:
        """Decode as far as there is no fault, and say which it was."""
        failure: TableError | None = None
        state = self._decoder.getstate()
        try:
            text = self._decoder.decode(chunk, not chunk)
        except UnicodeDecodeError as error:
            start = error.start - (len(error.object) - len(chunk))
            failure = self._undecodable(self.bytes_read + start)
            text = self._before(chunk[: max(start, 0)], state)
        text, failure = self._without_nul(text, chunk, failure)
        if self._bom and text:
            text, self._bom = text.removeprefix(BOM), False
        self.bytes_read += len(chunk)
        return text, failure

    def _before(self, sound: bytes, state: tuple[bytes, int]) -> str:
        self._decoder.setstate(state)
        return self._decoder.decode(sound)

    def _without_nul(
        self, text: str, chunk: bytes, failure: TableError | None
    ) -> tuple[str, TableError | None]:
        at = text.find("\0")
        if at < 0:
            return text, failure
        one_byte = "\0".encode(self._codec) == b"\0"
        offset = self.bytes_read + chunk.find(b"\0") if one_byte else None
        hint = "the file is damaged, or its encoding is another (--encoding utf-16-le, say)"
        return text[:at], TableSyntax("a NUL character", byte_offset=offset, hint=hint)

    def _undecodable(self, offset: int) -> TableError:
        return TableEncoding(
            f"bytes that are not {self._codec}",
            byte_offset=offset,
            hint="name the file's encoding: --encoding gb18030 (Chinese Excel), cp1252 (Western "
            "Windows), shift_jis, utf-16",
        )


def _allow_large_fields() -> None:
    """Raise csv's limit, which is one for the whole process, and never lower it."""
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_CHARACTERS))


def _end_of_lines(text: str) -> int:
    """Return where the last whole line ends; a CR at the very end may be half a CRLF."""
    return max(text.rfind("\n"), text.rfind("\r", 0, -1)) + 1


def _last_end(text: str) -> int:
    return max(text.rfind("\n"), text.rfind("\r")) + 1


def _sample(lines: _Lines) -> tuple[list[str], TableError | None]:
    sample: list[str] = []
    try:
        for line in islice(lines.read(), _SAMPLE_LINES):
            sample.append(line)
    except TableError as error:
        return sample, error
    return sample, None


def _header(sample: list[str], delimiter: str, failure: TableError | None) -> list[str]:
    """Return the first row. Raises: TableError where there is none that names columns."""
    header = next(iter(_rows_until(sample, delimiter, failure)), None)
    if header is None:
        raise TableEmpty("the file is empty", row=1, hint="its first row must name the columns")
    if not any(header):
        raise TableEmpty("no name in the header", row=1, hint="the first row names the columns")
    return header


def _rows_until(
    sample: list[str], delimiter: str, failure: TableError | None
) -> Iterator[list[str]]:
    try:
        yield from csv.reader(sample, delimiter=delimiter, strict=True)
    except csv.Error as error:
        if failure is None:
            raise _syntax_error(str(error), 1) from None
    if failure:
        failure.row = 1
        raise failure


def _check_widths(rows: list[list[str]], numbers: Sequence[int], width: int) -> None:
    for number, row in zip(numbers, rows, strict=True):
        if len(row) != width:
            raise TableRagged(
                f"{len(row)} cells where the header has {width}",
                row=number,
                hint="the header must be the first line; quote cells that hold the delimiter, or "
                "name the --delimiter",
            )


def _syntax_error(text: str, row: int) -> TableError:
    if "field larger" in text:
        return TableTooLarge(
            f"a cell above {_FIELD_CHARACTERS} characters",
            row=row,
            hint=f"a quote is never closed, or the cell is too large (at most "
            f"{LIMITS.cell_bytes} bytes)",
        )
    for part, message, hint in _SYNTAX:
        if part in text:
            return TableSyntax(message, row=row, hint=hint)
    return TableSyntax("not CSV", row=row)


def _ends_in_newline(path: Path, codec: str) -> bool:
    with open_binary(path) as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - 8))
        tail = stream.read()
    return tail.endswith(("\n".encode(codec), "\r".encode(codec)))


def _lone(cell: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in cell)
