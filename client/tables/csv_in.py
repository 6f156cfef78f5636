"""CSV in: every cell as text, every byte accounted for, nothing guessed (RFC 4180, strictly).

What is refused rather than repaired, or set aside where that is wanted: bytes that the encoding
does not have, NUL, rows wider or narrower than the others, quotes that do not close. A lone
quote inside an unquoted cell is a character like any other. Blank lines are no rows, except
where the table has one column: there each is an empty cell.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.csv_encoding import DAMAGED, Encoding, find_encoding, mark_in
from client.tables.csv_footer import footer_lines
from client.tables.csv_format import LONGEST_LINES, CsvFormat, check_null_text
from client.tables.csv_layout import LAX, Layout, find_layout, written_quoting
from client.tables.csv_rows import ESCAPED, Feed, Piece, Rows, original
from client.tables.errors import TableEmpty, TableEncoding, TableError, TableSyntax
from client.tables.findings import Finding, demand_sure
from client.tables.options import NOTHING_SAID, STOP, TEXT_OPTIONS, ReadOptions
from client.tables.packed import Content, PlainStream, content_of
from client.tables.set_aside import SetAside
from client.tables.source import FileSource, checked, exact_batches, named_columns, schema_of
from protocol.limits import KIB, LIMITS, MIB

_SAMPLE_LINES: Final = 200
_SAMPLE_CHARACTERS: Final = 1 * MIB
_TAIL: Final = 64 * KIB


class CsvSource(FileSource):
    """A CSV file, packed or plain. `bytes_read` counts bytes of the file, to the chunk."""

    def __init__(self, path: Path, options: ReadOptions = NOTHING_SAID) -> None:
        options.demand_only("a CSV file", *TEXT_OPTIONS)
        content = content_of(path)
        # Rows that are set aside for their bytes leave nothing to guess an encoding from.
        guess = options.guess and options.on_error == STOP
        encoding = find_encoding(content, options.encoding, guess=guess)
        sample = _Sample(content, encoding)
        layout = _layout(sample, options)
        check_null_text(options.null_text, layout.dialect.delimiter, layout.dialect.quote)
        region = _Region.of(content, encoding, sample, layout, options)
        names = [*layout.names, *[""] * (layout.width - len(layout.names))]
        columns, notes = named_columns(names, [pa.string()] * len(names))
        written = _written(encoding, sample, layout, region, options.null_text)
        renamed = {
            column.name: name
            for column, name in zip(columns, names, strict=True)
            if column.name != name and layout.header_lines
        }
        super().__init__(
            path, content.stamp, columns, CsvFormat(**written, renamed=renamed).to_dict()
        )
        self._content, self._encoding, self._layout = content, encoding, layout
        self._region, self._null_text = region, options.null_text
        self._set_aside = None if options.on_error == STOP else options.set_aside
        self.findings = (*_encoding_finding(encoding), *layout.findings, *region.findings)
        doubts = {each.what for each in self.findings if not each.sure}
        if encoding.broken_at is not None or (doubts == {LAX} and not options.guess):
            self._show_the_fault()
        if not options.guess:
            demand_sure(self.findings)
        for note in (*_lines_left_out(written, region), *notes):
            self.note(note)

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of text columns, exactly `max_rows` each but the last."""
        return exact_batches(self._pieces(), max_rows)

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        aside = SetAside(self._set_aside) if self._set_aside is not None else None
        region, layout = self._region, self._layout
        try:
            with self._content.open() as stream:
                feed = Feed(stream, self._encoding, region.start, region.end)
                first = layout.above + bool(layout.header_lines)
                give = None if aside is None else aside.take
                for piece in Rows(feed, layout.dialect, layout.width, first, give).pieces():
                    self.bytes_read = stream.packed_read
                    # Before each piece: an upload keeps what it sealed, and may go on another day.
                    self._demand_same(stream)
                    yield self._batch(piece)
                self._demand_same(stream)
                self.bytes_read = stream.packed_read
            if aside is not None and (told := aside.finish()):
                self.note(told)
        finally:
            if aside is not None:
                aside.close()

    def row_numbers(self) -> Iterator[str]:
        """Yield the number of each row that can be read."""
        region, layout = self._region, self._layout
        with self._content.open() as stream:
            feed = Feed(stream, self._encoding, region.start, region.end)
            first = layout.above + bool(layout.header_lines)
            passed_over = None if self._set_aside is None else lambda _: None
            for piece in Rows(feed, layout.dialect, layout.width, first, passed_over).pieces():
                yield from map(str, piece.numbers)

    def _batch(self, piece: Piece) -> pa.RecordBatch:
        if piece.blanks:
            self.note("blank lines are left out")
        columns = piece.columns
        if self._null_text is not None:
            columns = [_with_nulls(column, self._null_text) for column in columns]
        return checked(
            pa.record_batch(list(columns), schema=schema_of(self.columns)), piece.numbers
        )

    def _show_the_fault(self) -> None:
        """Read up to what cannot be read, so that the error names its row and byte."""
        if self._set_aside is None:
            for _ in self._pieces():
                pass

    def _demand_same(self, stream: PlainStream) -> None:
        self._demand_stamp(stream.stamp())


class _Sample:
    """The first lines of a file as far as they are text, and what stopped them if anything did."""

    def __init__(self, content: Content, encoding: Encoding) -> None:
        self.mark = len(mark_in(encoding.codec)) if encoding.bom else 0
        self.failure: TableError | None = None
        self.lines: list[str] = []
        with content.open() as stream:
            feed = Feed(stream, encoding, self.mark, None)
            text, self.whole = _first_text(feed)
        for line in text.splitlines(keepends=True):
            if len(self.lines) == _SAMPLE_LINES:
                self.whole = False
                break
            if self._unfit(line, encoding, feed):
                break
            self.lines.append(line.decode())

    def _unfit(self, line: bytes, encoding: Encoding, feed: Feed) -> bool:
        before = self.mark + len("".join(self.lines).encode(encoding.codec))
        try:
            if "\0" not in line.decode():
                return False
            at = before + len(feed.original(line[: line.find(b"\0")]))
            self.failure = TableSyntax("a NUL character", byte_offset=at, hint=DAMAGED)
        except UnicodeDecodeError as error:
            at = before + len(feed.original(line[: error.start]))
            self.failure = TableEncoding(
                f"bytes that are not {encoding.codec}", byte_offset=at, hint=encoding.hint()
            )
        self.whole = False
        return True


@dataclass(frozen=True, slots=True)
class _Region:
    """Which bytes of a file are rows, and the lines above the header and below the last row."""

    start: int
    end: int | None
    before: str
    after: str
    final_newline: bool
    findings: tuple[Finding, ...]

    @classmethod
    def of(
        cls,
        content: Content,
        encoding: Encoding,
        sample: _Sample,
        layout: Layout,
        options: ReadOptions,
    ) -> _Region:
        """Find it by the lines of the header, and by the last lines of the file."""
        before = "".join(sample.lines[: layout.above])
        head = "".join(sample.lines[: layout.above + layout.header_lines])
        start = sample.mark + len(head.encode(encoding.codec))
        tail, size, ended = _tail(content, encoding, start)
        below = footer_lines(tail, layout, options.footer)
        after = "".join(tail[len(tail) - below :])
        end = size - len(original(after, encoding.codec)) if below else None
        ended = bool(below) or (ended if size > start else head.endswith(("\n", "\r")))
        finding = _footer_finding(below, options.footer)
        found = (finding,) if finding else ()
        return cls(start, end, before, after, ended, found)


def _layout(sample: _Sample, options: ReadOptions) -> Layout:
    """Find the layout; a header that is cut short by a fault is blamed on the fault."""
    try:
        layout = find_layout(sample.lines, options, whole=sample.whole)
    except TableError:
        if sample.failure is None:
            raise
        sample.failure.row = 1
        raise sample.failure from None
    if layout.header_lines and not any(layout.names):
        raise TableEmpty(
            "no name in the header", row=layout.above + 1, hint="its cells name the columns; "
            "--header-row says which line it is, 0 that there is none"
        )  # fmt: skip
    return layout


def _written(
    encoding: Encoding, sample: _Sample, layout: Layout, region: _Region, null_text: str | None
) -> dict[str, Any]:
    """Return what of the format does not hang on the columns' names."""
    kept = _is_kept(region.before + region.after)
    body = sample.lines[layout.above :]
    return {
        "encoding": encoding.codec,
        "bom": encoding.bom,
        "delimiter": layout.dialect.delimiter,
        "quote": layout.dialect.quote,
        "newline": layout.newline,
        "quoting": written_quoting(body, layout),
        "header": bool(layout.header_lines),
        "unheaded": layout.unheaded,
        "final_newline": region.final_newline,
        "null_text": null_text,
        "before": region.before if kept else "",
        "after": region.after if kept else "",
    }


def _is_kept(lines: str) -> bool:
    try:
        return len(lines.encode()) <= LONGEST_LINES
    except UnicodeEncodeError:
        return False


def _lines_left_out(written: dict[str, Any], region: _Region) -> list[str]:
    kept = bool(written["before"] or written["after"])
    sides = [(region.before, "above the header"), (region.after, "below the last row")]
    return [
        f"{where}: {_counted_lines(text)}, {'kept beside the rows' if kept else 'left out'}"
        for text, where in sides
        if text.strip()
    ]


def _counted_lines(text: str) -> str:
    count = len(text.encode("utf-8", "replace").splitlines())
    return f"{count} line{'s' if count != 1 else ''}"


def _footer_finding(below: int, wanted: int | None) -> Finding | None:
    if not below:
        return None
    value = f"{below} line{'s' if below != 1 else ''}"
    if wanted is not None:
        return Finding("footer", value, "as you say", option="--footer")
    why = "looks like a total, or words below the table; 0: it is rows"
    return Finding("footer", value, why, False, f"--footer {below}")


def _encoding_finding(encoding: Encoding) -> tuple[Finding, ...]:
    if encoding.broken_at is not None:
        return (Finding("encoding", encoding.codec, "but for some bytes", option="--encoding"),)
    value = encoding.codec + (" with a byte order mark" if encoding.bom else "")
    option = f"--encoding {encoding.codec}"
    return (Finding("encoding", value, encoding.why, encoding.sure, option),)


def _first_text(feed: Feed) -> tuple[bytes, bool]:
    """Return enough text for a sample, and whether it is all there is."""
    text = b""
    while len(text) < _SAMPLE_CHARACTERS or not _has_line(text):
        if len(text) > LIMITS.batch_bytes:
            break
        piece = feed.more()
        if not piece:
            return text, True
        text += piece
    return text[: max(text.rfind(b"\n"), text.rfind(b"\r", 0, -1)) + 1] or text, False


def _tail(content: Content, encoding: Encoding, start: int) -> tuple[list[str], int, bool]:
    """Return the last whole lines of a file from `start` on, its size, and if it ends in a line."""
    size, held = content.tail(_TAIL)
    ended = held.endswith(tuple(end.encode(encoding.codec) for end in ("\n", "\r")))
    begin = size - len(held)
    if begin <= start:
        held = held[start - begin :]
    else:
        held = held[_first_line_end(held, begin, encoding.codec) :]
    return list(io.StringIO(held.decode(encoding.codec, ESCAPED), newline="")), size, ended


def _first_line_end(held: bytes, begin: int, codec: str) -> int:
    """Return where the first line ends in bytes from the middle of a file, their end if none."""
    ends = [mark.encode(codec) for mark in ("\n", "\r")]
    for end in ends:
        at = held.find(end)
        while at >= 0 and (begin + at) % len(end):  # half of one character and half of the next
            at = held.find(end, at + 1)
        if at >= 0:
            return at + len(end)
    return len(held)


def _has_line(text: bytes) -> bool:
    return b"\n" in text or b"\r" in text[:-1]


def _with_nulls(column: pa.Array, null_text: str) -> pa.Array:
    return pc.if_else(pc.equal(column, null_text), pa.scalar(None, pa.string()), column)
