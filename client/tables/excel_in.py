"""Excel workbooks in: one sheet, each column of the type that all of its cells have.

A workbook gives every cell a type of its own. A column whose cells agree keeps it: whole numbers
become integers, others doubles, dates dates. One whose cells do not agree is text, and that is
said. To know, the sheet is read once before its rows are, in bounded memory both times.
"""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Final

import pyarrow as pa

from client.tables import fillers
from client.tables.csv_footer import is_total
from client.tables.errors import TableEmpty, TableFormat
from client.tables.excel_cells import (
    LOST_DIGITS,
    NO_ID,
    Cell,
    Kind,
    cell_text,
    column_of,
    is_whole,
    type_of,
)
from client.tables.fillers import are_fillers, past_fillers
from client.tables.findings import Finding, demand_sure
from client.tables.options import NOTHING_SAID, ReadOptions
from client.tables.source import (
    FileSource,
    checked,
    exact_batches,
    named_columns,
    open_binary,
    schema_of,
    stamp_of,
)
from client.tables.xls_in import Xls
from client.tables.xlsx_in import Row, Xlsx

_SAMPLE_ROWS: Final = 200
_PIECE_ROWS: Final = 1_024
_MOST_FOOTER: Final = 6
_OLD: Final = b"\xd0\xcf\x11\xe0"


class ExcelSource(FileSource):
    """One sheet of a workbook. Rows are numbered as the sheet numbers them."""

    def __init__(self, path: Path, options: ReadOptions = NOTHING_SAID) -> None:
        options.demand_only("an Excel workbook", "sheet", "header_row", "skip", "footer")
        with open_binary(path) as stream:
            stamp, self._open = stamp_of(stream), Xls if stream.read(4) == _OLD else Xlsx
        with self._open(path) as workbook:
            self._sheet = _chosen(workbook.sheets, options)
            sheet = _sheet_finding(self._sheet, workbook.sheets, options)
            rows = workbook.rows(self._sheet)
            sample = list(islice(rows, _SAMPLE_ROWS))
            header = _header(sample, options)
            names = {column: cell_text(cell) for column, cell in header.cells}
            self._survey = _Survey(header.row, options.footer)
            for row in (*(each for each in sample if each[0] > header.row), *rows):
                self._survey.take(row)
        self._survey.finish()
        self._first = header.row
        width = max(self._survey.width, max(names, default=-1) + 1)
        listed = [names.get(column, "") for column in range(width)]
        columns, notes = named_columns(listed, self._survey.types(width))
        super().__init__(path, stamp, columns, {"kind": "excel", "sheet": self._sheet})
        self.total_rows = self._survey.rows
        self.findings = (
            sheet,
            header.finding(),
            *self._survey.findings(options.footer),
        )
        if not options.guess:
            demand_sure(self.findings)
        for note in (*header.notes(), *notes, *self._survey.notes(columns)):
            self.note(note)

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of exactly `max_rows` but for the last."""
        return exact_batches(self._pieces(), max_rows)

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        done = 0
        with open_binary(self.path) as stream, self._open(self.path) as workbook:
            rows = (row for row in workbook.rows(self._sheet)
                    if self._first < row[0] <= self._survey.last)  # fmt: skip
            while piece := list(islice(rows, _PIECE_ROWS)):
                self._demand_unchanged(stream)
                yield self._batch(piece)
                done += len(piece)
                self.bytes_read = (self.bytes_total or 0) * done // max(self._survey.rows, 1)
            self._demand_unchanged(stream)

    def row_numbers(self) -> Iterator[str]:
        """Yield the number of each row in its sheet."""
        with self._open(self.path) as workbook:
            for number, _ in workbook.rows(self._sheet):
                if self._first < number <= self._survey.last:
                    yield str(number)

    def _batch(self, rows: Sequence[Row]) -> pa.RecordBatch:
        schema = schema_of(self.columns)
        cells: list[list[Cell | None]] = [[None] * len(rows) for _ in self.columns]
        for at, (_, found) in enumerate(rows):
            for column, cell in found:
                cells[column][at] = cell
        arrays = [column_of(each, kind) for each, kind in zip(cells, schema.types, strict=True)]
        return checked(pa.record_batch(arrays, schema=schema), [number for number, _ in rows])


@dataclass(frozen=True, slots=True)
class _Header:
    """The row that names the columns; row 0 and no cells where there is none."""

    row: int
    cells: Sequence[tuple[int, Cell]]
    above: int
    told: bool

    def finding(self) -> Finding:
        if self.told:
            where = f"row {self.row}" if self.cells else "none"
            return Finding("header", where, "as you say", option="--header-row")
        option = f"--header-row {self.row}"
        if self.above:
            why = "what is above it looks like a title block"
            return Finding("header", f"row {self.row}", why, False, option)
        if any(cell.kind is not Kind.TEXT for _, cell in self.cells):
            why = "its cells look like data; 0: there is none"
            return Finding("header", f"row {self.row}", why, False, option)
        if are_fillers(_texts(self.cells)):
            return Finding("header", f"row {self.row}", fillers.WHY, False, option)
        return Finding("header", f"row {self.row}", option="--header-row")

    def notes(self) -> tuple[str, ...]:
        return (f"above the header: {_rows(self.above)}, left out",) if self.above else ()


@dataclass(slots=True)
class _Seen:
    """What the cells of one column were."""

    kinds: set[Kind] = field(default_factory=set)
    whole: bool = True
    long: int = 0


class _Survey:
    """The first reading of a sheet: what the cells of each column are, and where the rows end."""

    def __init__(self, header: int, footer: int | None) -> None:
        self._footer = footer
        self._gaps = False
        self._held: deque[Row] = deque()
        self._seen: dict[int, _Seen] = {}
        self.rows = 0
        self.last = header
        self.below = 0

    @property
    def width(self) -> int:
        """How many columns have cells, or stand before one that has."""
        return max(self._seen, default=-1) + 1

    def take(self, row: Row) -> None:
        """Look at a row, but for the last few, which may be below the table."""
        self._held.append(row)
        most = _MOST_FOOTER if self._footer is None else self._footer
        if len(self._held) > most:
            self._count(self._held.popleft())

    def finish(self) -> None:
        """Decide which of the last rows are below the table."""
        held = list(self._held)
        self.below = _below(held, self.width) if self._footer is None else len(held)
        for row in held[: len(held) - self.below]:
            self._count(row)

    def types(self, width: int) -> list[pa.DataType]:
        """Return the type of each column."""
        seen = (self._seen.get(column, _Seen()) for column in range(width))
        return [type_of(each.kinds, whole=each.whole) for each in seen]

    def findings(self, wanted: int | None) -> tuple[Finding, ...]:
        """Say what is below the table."""
        if not self.below:
            return ()
        if wanted is not None:
            return (Finding("footer", _rows(self.below), "as you say", option="--footer"),)
        why = "looks like a total, or words below the table; 0: it is rows"
        return (Finding("footer", _rows(self.below), why, False, f"--footer {self.below}"),)

    def notes(self, columns: Sequence[object]) -> list[str]:
        """Say what Excel has lost, and which columns are text for want of one type."""
        notes = [f"below the last row: {_rows(self.below)}, left out"] if self.below else []
        if self._gaps:
            notes.append("blank rows are left out")
        for column, seen in sorted(self._seen.items()):
            name = getattr(columns[column], "name", "")
            if seen.long:
                numbers = "1 number" if seen.long == 1 else f"{seen.long:,} numbers"
                notes.append(
                    f"column {name!r}: {numbers} of 16 digits or more; Excel keeps 15, so the "
                    "last digits are lost already"
                )
            if len(seen.kinds) > 1 and not seen.kinds <= {Kind.DATE, Kind.MOMENT}:
                mixed = " and ".join(sorted(kind.value for kind in seen.kinds))
                notes.append(f"column {name!r}: {mixed} are mixed, so all of it is text")
            elif seen.kinds == {Kind.ERROR}:
                notes.append(f"column {name!r}: holds errors, which are kept as text")
        return notes

    def _count(self, row: Row) -> None:
        self.rows += 1
        self._gaps = self._gaps or row[0] != self.last + 1
        self.last = row[0]
        for column, cell in row[1]:
            seen = self._seen.get(column)
            if seen is None:
                seen = self._seen[column] = _Seen()
            seen.kinds.add(cell.kind)
            if cell.kind is Kind.NUMBER:
                seen.whole = seen.whole and is_whole(cell)
                seen.long += LOST_DIGITS <= abs(float(cell.value)) < NO_ID


def _chosen(sheets: Sequence[str], options: ReadOptions) -> str:
    if options.sheet is not None:
        if options.sheet not in sheets:
            raise TableFormat(f"there is no sheet {options.sheet!r}", hint=_listed(sheets))
        return options.sheet
    if not sheets:
        raise TableEmpty("the workbook has no sheet with cells")
    if len(sheets) > 1 and not options.guess:
        raise TableFormat(f"the workbook has {len(sheets)} sheets", hint=_listed(sheets))
    return sheets[0]


def _sheet_finding(chosen: str, sheets: Sequence[str], options: ReadOptions) -> Finding:
    if options.sheet is not None or len(sheets) == 1:
        return Finding("sheet", chosen, option="--sheet")
    why = f"the first of {len(sheets)} sheets"
    return Finding("sheet", chosen, why, False, f"--sheet {shlex.quote(chosen)}")


def _listed(sheets: Sequence[str]) -> str:
    return "say which with --sheet: " + ", ".join(repr(each) for each in sheets)


def _header(sample: Sequence[Row], options: ReadOptions) -> _Header:
    """Find the row that names the columns: the first that is not sparse beside those below it."""
    if options.header_row == 0:
        return _Header(options.skip or 0, (), 0, told=True)
    wanted = options.header_row if options.skip is None else options.skip + 1
    if wanted is not None:
        row = next((row for row in sample if row[0] >= wanted), None)
        if row is None or (options.header_row is not None and row[0] != wanted):
            raise TableFormat(f"row {wanted} of the sheet is empty", hint="count rows from 1")
        above = sum(each[0] < row[0] for each in sample)
        return _Header(row[0], row[1], above, told=True)
    if not sample:
        raise TableEmpty("the sheet is empty", hint="say which with --sheet")
    width = max(_filled(row) for row in sample)
    least = max(min(2, width), ceil(width / 2))
    full = [at for at, row in enumerate(sample) if _filled(row) >= least]
    at = past_fillers(full) if are_fillers(_texts(sample[full[0]][1])) else full[0]
    return _Header(sample[at][0], sample[at][1], at, told=False)


def _texts(cells: Sequence[tuple[int, Cell]]) -> list[str]:
    return [cell_text(cell) for _, cell in cells]


def _filled(row: Row) -> int:
    return sum(cell.kind is not Kind.TEXT or bool(str(cell.value).strip()) for _, cell in row[1])


def _below(rows: Sequence[Row], width: int) -> int:
    """Return how many of the last rows are a total, or words below the table."""
    found = 0
    for count, row in enumerate(reversed(rows), 1):
        first = next((cell for _, cell in row[1] if str(cell.value).strip()), None)
        words = first is not None and first.kind is Kind.TEXT
        if not words or not (
            is_total(str(first and first.value).strip()) or (_filled(row) == 1 and width > 2)
        ):
            break
        found = count
    return found


def _rows(count: int) -> str:
    return f"{count} row{'s' if count != 1 else ''}"
