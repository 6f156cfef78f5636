"""Rows of a CSV file: fast where every reader agrees what they are, with care everywhere else.

The file's text, as UTF-8, is cut into blocks of whole rows. A block in which each quote stands
where it must (at the beginning or the end of a cell, or doubled inside one), with no NUL, no
blank line and no line end but LF and CRLF, means the same to every reader, so Arrow's compiled
one takes it. Whatever is not so plain goes row by row through the standard library's reader,
which is strict, and knows the row and the byte of what is wrong.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from client.tables.csv_encoding import CHUNK, DAMAGED, Encoding, decoder_of
from client.tables.csv_layout import Dialect, syntax_error
from client.tables.errors import (
    TableEncoding,
    TableError,
    TableRagged,
    TableSyntax,
    TableTooLarge,
)
from client.tables.packed import PlainStream
from protocol.limits import LIMITS, MIB

PIECE_ROWS: Final = 2_048
BLOCK_BYTES: Final = 1 * MIB
_LONGEST_BLOCK: Final = 2 * BLOCK_BYTES
ESCAPED: Final = "sealroom-escaped"
_FIRST_ESCAPE: Final = 0xDC00
_ESCAPES: Final = re.compile("([\udc00-\udcff]+)")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read: its bytes as they are in the file, to a line end; and why."""

    raw: bytes
    error: TableError


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows as columns of text, and their numbers; `blanks` if blank lines were left out."""

    columns: Sequence[pa.Array]
    numbers: Sequence[int]
    blanks: bool = False


class Feed:
    """The text of a region of a file, as UTF-8, a chunk at a time.

    Bytes that the encoding does not have become lone surrogates, which no UTF-8 decoder takes
    for text: they are found where their row is read.
    """

    def __init__(
        self, stream: PlainStream, encoding: Encoding, start: int, end: int | None
    ) -> None:
        self._stream = stream
        self.encoding, self.codec = encoding, encoding.codec
        self._decoder = None if self.plain else decoder_of(self.codec, ESCAPED)
        self._end = end
        self._at = 0
        self._held: bytes = self._from(start)

    @property
    def plain(self) -> bool:
        """Whether the file's bytes are UTF-8 already."""
        return self.codec == "utf-8"

    def more(self) -> bytes:
        """Return the next text as UTF-8, empty at the end. Raises: TableEncoding."""
        while True:
            raw = self._held or self._read()
            self._held = b""
            text = raw if self._decoder is None else self._decoded(raw)
            if text or not raw:  # else the chunk ended within its only character
                return text

    def original(self, text: bytes) -> bytes:
        """Return text as it is in the file."""
        if self.plain:
            return text
        return original(text.decode("utf-8", "surrogatepass"), self.codec)

    def offset(self, ahead: bytes) -> int | None:
        """Return where in the file a row begins, if `ahead` is all text from there on."""
        undecoded = 0 if self._decoder is None else len(self._decoder.getstate()[0])
        try:
            return self._at - undecoded - len(self.original(ahead))
        except UnicodeError:
            return None

    def _from(self, start: int) -> bytes:
        while self._at < start and (piece := self._read()):
            if self._at > start:
                return piece[start - self._at :]
        return b""

    def _read(self) -> bytes:
        most = CHUNK if self._end is None else min(CHUNK, self._end - self._at)
        piece = self._stream.read(most) if most > 0 else b""
        self._at += len(piece)
        return piece

    def _decoded(self, raw: bytes) -> bytes:
        try:
            text: str = self._decoder.decode(raw, not raw)  # type: ignore[union-attr]
        except UnicodeError:  # an encoding whose faults cannot be told from its text
            raise TableEncoding(
                f"bytes that are not {self.codec}",
                byte_offset=self._at - len(raw),
                hint=self.encoding.hint(),
            ) from None
        return text.encode("utf-8", "surrogatepass")


class Rows:
    """Rows from a feed, all of one width, numbered on from `number`.

    What is wrong is raised, or given to `bad` and passed over.
    """

    def __init__(
        self,
        feed: Feed,
        dialect: Dialect,
        width: int,
        number: int,
        bad: Callable[[BadRow], None] | None = None,
    ) -> None:
        self._feed = feed
        self._dialect = dialect
        self._width = width
        self.number = number
        self._bad = bad
        self._pending = b""
        self._ended = False
        self._queue: deque[bytes] = deque()
        self._taken: list[bytes] = []
        self._fast = _FastReader.of(dialect, width)

    def pieces(self) -> Iterator[Piece]:
        """Yield all rows. Raises: TableError for the first that cannot be read."""
        while block := self._next_block():
            columns = self._fast.read(block) if self._fast is not None else None
            if columns is not None:
                numbers = range(self.number + 1, self.number + 1 + len(columns[0]))
                self.number += len(numbers)
                yield Piece(columns, numbers)
            else:
                self._queue.extend(block.splitlines(keepends=True))
                yield from self._carefully()

    def _next_block(self) -> bytes:
        """Cut whole lines off what is pending, and whole rows where quotes tell them."""
        wanted = BLOCK_BYTES
        while True:
            while not self._ended and len(self._pending) < wanted:
                self._pull()
            text = self._pending
            lines = len(text) if self._ended else _end_of_lines(text)
            rows = lines if self._fast is None else self._fast.whole_rows(text[:lines])
            if rows or self._ended or (lines and len(text) > _LONGEST_BLOCK):
                cut = rows or lines
                self._pending = text[cut:]
                return text[:cut]
            self._demand_an_end(lines)
            wanted = len(text) + BLOCK_BYTES

    def _pull(self) -> None:
        try:
            text = self._feed.more()
        except TableError as error:
            error.row = self.number + 1
            raise
        self._ended = not text
        self._pending += text

    def _demand_an_end(self, lines: int) -> None:
        if not lines and len(self._pending) > LIMITS.batch_bytes:
            raise TableTooLarge(f"a line above {LIMITS.batch_bytes} bytes", row=self.number + 1)

    # --- with care

    def _carefully(self) -> Iterator[Piece]:
        reader = self._dialect.reader(_RowLines(self._line))
        rows: list[list[str]] = []
        numbers: list[int] = []
        blanks = False
        while self._queue:
            try:
                row = self._row(reader)
            except TableError:
                yield self._piece(rows, numbers, blanks)  # what is before the fault can be had
                raise
            if row is None:
                continue
            if not row and self._width > 1:
                blanks = True
                continue
            rows.append(row or [""])
            numbers.append(self.number)
            if len(rows) == PIECE_ROWS:
                yield self._piece(rows, numbers, blanks)
                rows, numbers, blanks = [], [], False
        if rows or blanks:
            yield self._piece(rows, numbers, blanks)

    def _piece(self, rows: list[list[str]], numbers: list[int], blanks: bool) -> Piece:
        cells: Sequence[Sequence[str]] = list(zip(*rows, strict=True)) or [()] * self._width
        return Piece([pa.array(column, pa.string()) for column in cells], numbers, blanks)

    def _row(self, reader: Iterator[list[str]]) -> list[str] | None:
        """Read one row; None where it was bad and is set aside."""
        self._taken.clear()
        self.number += 1
        try:
            row = next(reader)
            if len(row) not in (0, self._width):
                raise self._ragged(row)
            return row
        except csv.Error as error:
            # What a quote swallowed that is never closed are rows of their own.
            self._queue.extendleft(reversed(self._taken[1:]))
            del self._taken[1:]
            self._give_up(syntax_error(str(error)))
        except TableError as error:
            self._give_up(error)
        return None

    def _give_up(self, error: TableError) -> None:
        raw = b"".join(self._taken)
        error.row = self.number
        if error.byte_offset is None:
            error.byte_offset = self._feed.offset(
                b"".join(chain([raw], self._queue, [self._pending]))
            )
        if self._bad is None:
            raise error
        whole = raw if raw.endswith((b"\n", b"\r")) else raw + b"\n"
        self._bad(BadRow(self._feed.original(whole), error))

    def _ragged(self, row: Sequence[str]) -> TableRagged:
        return TableRagged(
            f"{len(row)} cells where the header has {self._width}",
            hint="quote cells that hold the delimiter, name the --delimiter or the --header-row, "
            "or set such rows aside (--on-error set-aside)",
        )

    def _line(self) -> str | None:
        """Give the reader a line of the row that it is reading, also from beyond the block."""
        if not self._queue:
            if not self._taken or not (line := self._one_more_line()):
                return None
            self._queue.append(line)
        self._taken.append(self._queue.popleft())
        return self._text(self._taken[-1])

    def _one_more_line(self) -> bytes:
        while not self._ended and not _end_of_lines(self._pending):
            self._demand_an_end(0)
            self._pull()
        line = self._pending[: _first_end(self._pending)]
        self._pending = self._pending[len(line) :]
        return line

    def _text(self, line: bytes) -> str:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise TableEncoding(
                f"bytes that are not {self._feed.codec}",
                byte_offset=self._within(line[: error.start]),
                hint=self._feed.encoding.hint(),
            ) from None
        if "\0" in text:
            before = line[: line.find(b"\0")]
            raise TableSyntax("a NUL character", byte_offset=self._within(before), hint=DAMAGED)
        return text

    def _within(self, before: bytes) -> int | None:
        ahead = b"".join(chain([self._taken[-1]], self._queue, [self._pending]))
        start = self._feed.offset(ahead)
        return None if start is None else start + len(self._feed.original(before))


class _RowLines:
    """Lines as csv's reader takes them; unlike a generator it goes on after it raised."""

    def __init__(self, line: Callable[[], str | None]) -> None:
        self._line = line

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._line()
        if line is None:
            raise StopIteration
        return line


class _FastReader:
    """Arrow's reader for blocks that mean the same to every reader."""

    def __init__(self, dialect: Dialect, width: int) -> None:
        self._quote = dialect.quote.encode()
        self._delimiter = dialect.delimiter.encode()
        self._width = width
        names = [str(position) for position in range(width)]
        self._names = names
        self._parse = pyarrow.csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            double_quote=bool(dialect.quote),
            newlines_in_values=bool(dialect.quote),
            ignore_empty_lines=False,
        )
        self._convert = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=False,
            quoted_strings_can_be_null=False,
        )

    @classmethod
    def of(cls, dialect: Dialect, width: int) -> _FastReader | None:
        """Return the reader, None for a dialect that Arrow does not have."""
        marks = (dialect.delimiter + dialect.quote).encode()
        return cls(dialect, width) if len(marks) == 1 + len(dialect.quote) else None

    def whole_rows(self, block: bytes) -> int:
        """Return how much of a block of whole lines is whole rows, as far as quotes tell."""
        if not self._quote or not block.count(self._quote) % 2:
            return len(block)
        last = block.rfind(self._quote)
        cut = max(block.rfind(b"\n", 0, last), block.rfind(b"\r", 0, last)) + 1
        return cut if not block.count(self._quote, 0, cut) % 2 else 0

    def read(self, block: bytes) -> list[pa.Array] | None:
        """Return the columns of a block, None if it is not plain."""
        if not self._plain(block):
            return None
        options = pyarrow.csv.ReadOptions(
            column_names=self._names, use_threads=False, block_size=len(block) + 1
        )
        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(block),
                read_options=options,
                parse_options=self._parse,
                convert_options=self._convert,
            )
        except pa.ArrowInvalid:
            return None
        return [_one_array(column) for column in table.columns]

    def _plain(self, block: bytes) -> bool:
        if b"\0" in block or block.startswith(b"\xef\xbb\xbf"):
            return False
        text = np.frombuffer(block, np.uint8)
        if not _line_ends_are_plain(text, blank=self._width == 1):
            return False
        return not self._quote or self._quote not in block or self._quotes_in_their_places(text)

    def _quotes_in_their_places(self, text: npt.NDArray[np.uint8]) -> bool:
        places = np.flatnonzero(text == self._quote[0])
        if len(places) % 2:
            return False
        opening, closing = places[0::2], places[1::2]
        before = text[opening - 1]
        if opening[0] == 0:
            before[0] = ord("\n")
        at_end = closing[-1] == len(text) - 1
        after = text[closing[:-1] + 1 if at_end else closing + 1]
        delimiter, quote = self._delimiter[0], self._quote[0]
        opens = (before == delimiter) | (before == ord("\n")) | (before == quote)
        closes = (after == delimiter) | (after == ord("\n")) | (after == ord("\r"))
        return bool(opens.all() and (closes | (after == quote)).all())


def original(text: str, codec: str) -> bytes:
    """Return text as it was in a file, bytes that are none of it included.

    Raises: UnicodeEncodeError for what no decoder of ours made of a file.
    """
    parts = _ESCAPES.split(text)
    return b"".join(
        bytes(ord(escape) - _FIRST_ESCAPE for escape in part) if at % 2 else part.encode(codec)
        for at, part in enumerate(parts)
    )


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Make a lone surrogate of each byte that is no text."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    unfit = error.object[error.start : error.end]
    return "".join(chr(_FIRST_ESCAPE + byte) for byte in unfit), error.end


codecs.register_error(ESCAPED, _escaped)


def _one_array(column: pa.ChunkedArray) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _line_ends_are_plain(text: npt.NDArray[np.uint8], *, blank: bool) -> bool:
    """Whether lines end in LF or CRLF, and none is blank unless that may be."""
    feeds = text == ord("\n")
    backs = text == ord("\r")
    crlf = bool(backs.any())
    if crlf and (backs[-1] or not feeds[1:][backs[:-1]].all()):
        return False
    if blank:
        return True
    first_two = text[0] in b"\r\n" or (feeds[1:] & feeds[:-1]).any()
    return not (first_two or (crlf and (feeds[2:] & backs[1:-1] & feeds[:-2]).any()))


def _end_of_lines(text: bytes) -> int:
    """Return where the last whole line ends; a CR at the very end may be half a CRLF."""
    return max(text.rfind(b"\n"), text.rfind(b"\r", 0, -1)) + 1


def _first_end(text: bytes) -> int:
    """Return where the first line ends, at the end of the text if nowhere before."""
    feed, back = text.find(b"\n"), text.find(b"\r")
    if back >= 0 and (feed < 0 or back < feed):
        return back + 2 if text[back + 1 : back + 2] == b"\n" else back + 1
    return feed + 1 if feed >= 0 else len(text)
