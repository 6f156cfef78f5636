"""How the lines of a CSV file make a table: delimiter, quotes, header, lines above and below.

Real exports have a title block above the header, a delimiter at the end of each row that the
header lacks, a total below the last row. All of it is found by the widths of rows. What may be
wrong in a way that changes cells is a finding that is not sure.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from client.tables import fillers
from client.tables.csv_format import NEWLINES, check_delimiter, check_quote
from client.tables.errors import TableEmpty, TableError, TableSyntax, TableTooLarge
from client.tables.fillers import are_fillers, past_fillers
from client.tables.findings import Finding
from client.tables.options import NO_QUOTES, SET_ASIDE, ReadOptions
from protocol.limits import LIMITS

DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
LAX: Final = "quotes"
_QUOTES: Final = ('"', "'")
_LEAST_ALIKE: Final = 0.8
_NUMBER: Final = r"[+-]?(?:[0-9]+(?:[.,][0-9]+)?)(?:[eE][+-]?[0-9]{1,3})?"
_NUMERIC: Final = re.compile(_NUMBER)
_DATA: Final = re.compile(
    rf"{_NUMBER}|[0-9]{{1,4}}[-/.][0-9]{{1,2}}[-/.][0-9]{{1,4}}([T ].*)?|[^@\s]+@[^@\s]+\.[a-z]+"
)
_YEAR: Final = re.compile(r"(?:19|20)[0-9]{2}")

# No cell that fits has more characters than it may have bytes; `checked` counts those, and names
# the column of a cell whose characters are few and whose bytes are many.
FIELD_CHARACTERS: Final = LIMITS.cell_bytes


_SYNTAX: Final = (
    ("unexpected end", "a quote is opened that is never closed", "close it, or double it"),
    (
        "expected after",
        "a closing quote is followed by something other than the delimiter",
        'write a quote inside a quoted cell twice (""), name the --delimiter or the --quote, or '
        "read with --lax-quotes",
    ),
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How cells are told apart: `quote` is "" where none are quoted; `lax` quotes may end early."""

    delimiter: str
    quote: str
    lax: bool = False

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """Return the standard library's reader of lines with their ends."""
        allow_large_fields()
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            strict=not self.lax,
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a table is in its lines.

    The header takes lines `above` to `above + header_lines`, none where there is none; `names`
    are its cells, and `width` is that of rows: at most the last `unheaded` have no name.
    """

    dialect: Dialect
    newline: str
    above: int
    header_lines: int
    names: tuple[str, ...]
    width: int
    findings: tuple[Finding, ...]

    @property
    def unheaded(self) -> int:
        """How many of the last columns the header has no cell for."""
        return self.width - len(self.names) if self.header_lines else 0


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    lines: int
    cells: tuple[str, ...]

    @property
    def blank(self) -> bool:
        return not any(cell.strip() for cell in self.cells)

    @property
    def named(self) -> int:
        return sum(bool(cell.strip()) for cell in self.cells)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A sample read in one way: how alike its rows are, how wide, and where the header is."""

    dialect: Dialect
    rows: tuple[_Row, ...]
    width: int
    header: int
    alike: float

    @property
    def score(self) -> tuple[float, int]:
        return (self.alike, self.width) if self.width > 1 and self.alike else (0.0, 1)


def allow_large_fields() -> None:
    """Raise csv's limit, which is one for the whole process, and never lower it."""
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_CHARACTERS))


def find_layout(lines: Sequence[str], options: ReadOptions, *, whole: bool) -> Layout:
    """Find the table in the first lines of a file, `whole` if these are all.

    What the options say is not looked for. Raises: TableEmpty, TableFormat.
    """
    told = options.skip is not None or options.header_row is not None
    skipped = options.skip or max((options.header_row or 1) - 1, 0)
    readings = _readings(lines[skipped:], options, whole=whole)
    if told:
        readings = [replace(reading, header=0) for reading in readings]
    best = max(readings, key=lambda reading: reading.score)
    if not best.rows:
        if any(line.strip() for line in lines[skipped:]):
            _first_row(lines[skipped:], best.dialect, skipped)
        raise TableEmpty("the file is empty", row=1, hint="its first row must name the columns")
    above = skipped + best.rows[best.header].line
    dialect, findings = _strictness(best, lines[above:], above, options)
    row = _first_row(lines[above:], dialect, above)
    headed = options.header_row != 0
    names = row.cells if headed else ()
    width = _width(best, row)
    where = _header_finding(names, lines[:above], told=told)
    findings = [_delimiter_finding(dialect, options), *findings, where]
    if headed and width > len(names):
        why = "each row ends in a delimiter, the header not"
        findings.append(Finding("columns", f"{width}", why))
    counted = row.lines if headed else 0
    newline = _newline(lines[above:])
    return Layout(dialect, newline, above, counted, names, width, tuple(findings))


def syntax_error(text: str, row: int | None = None) -> TableError:
    """Return what csv's complaint means, in our words."""
    if "field larger" in text:
        return TableTooLarge(
            f"a cell above {FIELD_CHARACTERS} characters",
            row=row,
            hint=f"a quote is never closed, or the cell is too large (at most "
            f"{LIMITS.cell_bytes} bytes)",
        )
    for part, message, hint in _SYNTAX:
        if part in text:
            return TableSyntax(message, row=row, hint=hint)
    return TableSyntax("not CSV", row=row, hint="quote cells that hold quotes or line ends")


def is_number(text: str) -> bool:
    """Whether writers that quote all but numbers leave a text unquoted."""
    return _NUMERIC.fullmatch(text) is not None


NUMBER_PATTERN: Final = rf"^{_NUMBER}$"


def written_quoting(lines: Sequence[str], layout: Layout) -> str:
    """Say which cells the file's writer quoted beside those it had to: none, all, all but numbers.

    The first rows are written in each way and compared.
    """
    dialect = layout.dialect
    rows = [list(row.cells) for row in _rows(lines, dialect, whole=False) if row.cells]
    if not rows or not dialect.quote:
        return "minimal"
    text = "".join(lines)
    for quoting in ("all", "nonnumeric"):
        wanted = [
            [_Unquoted(cell) if quoting == "nonnumeric" and is_number(cell) else cell
             for cell in row] for row in rows
        ]  # fmt: skip
        written = io.StringIO(newline="")
        csv.writer(
            written,
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            quoting=csv.QUOTE_ALL if quoting == "all" else csv.QUOTE_NONNUMERIC,
            lineterminator=layout.newline,
        ).writerows(wanted)
        if text.startswith(written.getvalue().removesuffix(layout.newline)):
            return quoting
    return "minimal"


class _Unquoted(float):
    """A number that csv's writer writes as the text it was."""

    text: str

    def __new__(cls, text: str) -> _Unquoted:
        made = super().__new__(cls)
        made.text = text
        return made

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__


# --- reading a sample in many ways


def _readings(lines: Sequence[str], options: ReadOptions, *, whole: bool) -> list[_Reading]:
    delimiters = tuple(DELIMITERS)
    if options.delimiter is not None:
        check_delimiter(options.delimiter)
        delimiters = (options.delimiter,)
    quotes: tuple[str, ...] = _QUOTES
    if options.quote is not None:
        quotes = ("" if options.quote == NO_QUOTES else options.quote,)
    for delimiter in delimiters:
        for quote in quotes:
            check_quote(quote, delimiter)
    return [
        _read(lines, Dialect(delimiter, quote, lax=True), whole=whole)
        for quote in quotes
        for delimiter in delimiters
        # A single quote is an apostrophe until the widths of rows say otherwise.
        if quote != "'" or len(quotes) == 1 or any(
            line.startswith("'") or f"{delimiter}'" in line for line in lines
        )
    ]  # fmt: skip


def _read(lines: Sequence[str], dialect: Dialect, *, whole: bool) -> _Reading:
    rows = tuple(row for row in _rows(lines, dialect, whole=whole) if row.cells)
    widths = Counter(len(row.cells) for row in rows if len(row.cells) > 1)
    # Of widths as frequent as each other the first counts, which is the header's.
    width = max(widths, key=lambda each: widths[each], default=1)
    header = _header_index(rows, width)
    body = rows[header + 1 :]
    alike = sum(len(row.cells) == width for row in body) / len(body) if body else 0.5
    fits = rows and (len(rows[header].cells) == width or _lacks_last(rows[header:], width))
    if not fits and alike < 0.5:
        alike = 0.0  # a few rows with the delimiter in them are no columns
    if header and not body:
        alike = 0.0  # words above nothing are no title block
    return _Reading(dialect, rows, width, header, alike)


def _header_index(rows: Sequence[_Row], width: int) -> int:
    """Return which row names the columns: the first that is as wide as rows are, and not sparse."""
    if width == 1 or (rows and len(rows[0].cells) == width and rows[0].blank):
        return 0
    full = (at for at, row in enumerate(rows) if _is_full(row, rows[at:], width))
    first = next(full, 0)
    return past_fillers([first, *full]) if are_fillers(rows[first].cells) else first


def _is_full(row: _Row, rows: Sequence[_Row], width: int) -> bool:
    wide = row.named >= max(2, ceil(len(row.cells) / 2))
    return wide and (len(row.cells) == width or _lacks_last(rows, width))


def _lacks_last(rows: Sequence[_Row], width: int) -> bool:
    """Whether a header has one cell less than the rows below it, because those end in a delimiter.

    Two rows and more have to agree on that.
    """
    body = [row for row in rows[1:] if len(row.cells) > 1]
    wide = [row for row in body if len(row.cells) == width]
    return (
        len(rows[0].cells) == width - 1
        and len(wide) >= max(2, _LEAST_ALIKE * len(body))
        and not any(row.cells[-1].strip() for row in wide)
    )


def _rows(lines: Sequence[str], dialect: Dialect, *, whole: bool) -> list[_Row]:
    """Parse as many whole rows as there are; blank lines are rows without cells."""
    counted = _Counted(lines)
    rows: list[_Row] = []
    try:
        for cells in dialect.reader(counted):
            start = rows[-1].line + rows[-1].lines if rows else 0
            rows.append(_Row(start, counted.taken - start, tuple(cells)))
    except csv.Error:
        return rows
    if not whole and len(rows) > 1:
        rows.pop()  # it may go on
    return rows


# --- deciding


def _strictness(
    best: _Reading, lines: Sequence[str], above: int, options: ReadOptions
) -> tuple[Dialect, list[Finding]]:
    """Read strictly, unless told otherwise or only lax reading makes rows of one width."""
    delimiter, quote = best.dialect.delimiter, best.dialect.quote
    findings: list[Finding] = []
    if options.quote is None and quote == "'":
        findings.append(Finding("quote", quote, "rows then have one width", False, '--quote "\'"'))
    if options.lax_quotes is not None or not quote or options.on_error == SET_ASIDE:
        return Dialect(delimiter, quote, bool(options.lax_quotes)), findings
    strict = Dialect(delimiter, quote)
    line = _first_stray_quote(lines, strict)
    if line is None or best.width == 1 or best.alike < _LEAST_ALIKE:
        return strict, findings
    why = f"in line {above + line} something stands between a closing quote and the delimiter"
    lax = Finding(LAX, "lax", why, False, "--lax-quotes")
    return Dialect(delimiter, quote, lax=options.guess), [*findings, lax]


def _first_stray_quote(lines: Sequence[str], strict: Dialect) -> int | None:
    """Return the number of the first line where strict reading fails, but for a cut-off end."""
    counted = _Counted(lines)
    try:
        for _ in strict.reader(counted):
            pass
    except csv.Error as error:
        return None if "unexpected end" in str(error) else counted.taken
    return None


class _Counted:
    """Lines for csv's reader, and how many of them it took."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = iter(lines)
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.taken += 1
        return line


def _first_row(lines: Sequence[str], dialect: Dialect, above: int) -> _Row:
    """Return the header, or the first row where there is none. Raises: TableSyntax."""
    counted = _Counted(lines)
    try:
        for cells in dialect.reader(counted):
            if cells:
                break
        return _Row(0, counted.taken, tuple(cells))
    except csv.Error as error:
        raise syntax_error(str(error), above + 1) from None


def _width(best: _Reading, header: _Row) -> int:
    lacks = _lacks_last(best.rows[best.header :], best.width)
    return best.width if lacks else len(header.cells)


def _delimiter_finding(dialect: Dialect, options: ReadOptions) -> Finding:
    why = "as you say" if options.delimiter is not None else "by the widths of rows"
    return Finding("delimiter", DELIMITERS.get(dialect.delimiter, dialect.delimiter), why,
                   option="--delimiter")  # fmt: skip


def _header_finding(names: Sequence[str], above: Sequence[str], *, told: bool) -> Finding:
    """Say where the header is; unless told, it is not sure with words above it or data in it."""
    line = len(above) + 1
    where, option = f"line {line}", f"--header-row {line}"
    if told:
        return Finding("header", where if names else "none", "as you say", option="--header-row")
    if any(text.strip() for text in above):
        title = "line 1 looks" if line == 2 else f"lines 1 to {line - 1} look"
        return Finding("header", where, f"{title} like a title block", False, option)
    if any(_DATA.fullmatch(name.strip()) and not _YEAR.fullmatch(name) for name in names):
        why = "its cells look like data; 0: there is none"
        return Finding("header", where, why, False, option)
    if are_fillers(names):
        return Finding("header", where, fillers.WHY, False, option)
    return Finding("header", where, option="--header-row")


def _newline(lines: Sequence[str]) -> str:
    """Return the line end of the header's line, CRLF where there is none."""
    first = lines[0] if lines else ""
    return next((newline for newline in NEWLINES if first.endswith(newline)), "\r\n")
