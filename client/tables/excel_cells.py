"""What a spreadsheet's cell can be, and what it is as a value or a text (ECMA-376, [MS-XLS]).

A spreadsheet has numbers, texts, booleans and errors; a date is a number with a format. Serial
numbers count days from 1899-12-30, or in workbooks of old Macs from 1904-01-01; what pretends to
be 1900-02-29 there never was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

import pyarrow as pa

DAY_MS: Final = 86_400_000
LONGEST_CELL: Final = 32_767
MOST_ROWS: Final = 1_048_576
MOST_COLUMNS: Final = 16_384
LOST_DIGITS: Final = 10**15
"""Excel keeps 15 digits: of a whole number from here on it has made the last ones zeros."""

NO_ID: Final = 10**22
"""No card, account or person has so many digits; what is larger is a quantity."""

_EPOCH: Final = datetime(1970, 1, 1)
_FROM_1900: Final = (datetime(1899, 12, 30) - _EPOCH).days
_FROM_1904: Final = (datetime(1904, 1, 1) - _EPOCH).days
_PHANTOM: Final = 60
_LAST_SERIAL: Final = 2_958_466
_EXACT: Final = 2**53

# The formats that are dates or times by their number alone; 27 to 58 are of East Asian Excels.
_BUILT_IN: Final = {
    **dict.fromkeys((14, 15, 16, 17, *range(27, 32), 36, *range(50, 55), 57, 58), "yyyy-mm-dd"),
    22: "yyyy-mm-dd h:mm",
    **dict.fromkeys((18, 19, 20, 21, *range(32, 36), 55, 56, 45, 47), "h:mm:ss"),
    46: "[h]:mm:ss",
}
_NOT_CODE: Final = re.compile(r'"[^"]*"|\\.|_.|\*.|\[\$[^\]]*\]|\[(?:[a-zA-Z]{3,}|[<>=][^\]]*)\]')
_ELAPSED: Final = re.compile(r"\[[hms]+\]", re.IGNORECASE)


class Kind(Enum):
    """What a cell is."""

    NUMBER = "numbers"
    TEXT = "text"
    BOOLEAN = "booleans"
    DATE = "dates"
    MOMENT = "dates with a time"
    TIME = "times of day"
    SPAN = "spans of time"
    ERROR = "errors"


class Cell(NamedTuple):  # made for every cell, so it has to be cheap
    """One cell: times count milliseconds, of a day, from 1970 or altogether; dates count days."""

    kind: Kind
    value: float | int | str | bool


def kind_of_format(number: int, code: str | None) -> Kind:
    """Say what a number with this format is."""
    code = _BUILT_IN.get(number, "") if code is None else code
    first = _NOT_CODE.sub("", code).split(";")[0].lower()
    if "general" in first:
        return Kind.NUMBER
    if _ELAPSED.search(first):
        return Kind.SPAN
    bare = re.sub(r"\[[^\]]*\]", "", first)
    timed = "h" in bare or "s" in bare
    dated = "y" in bare or "d" in bare or ("m" in bare and not timed)
    if dated:
        return Kind.MOMENT if timed else Kind.DATE
    return Kind.TIME if timed else Kind.NUMBER


def cell_of_number(number: float, kind: Kind, *, since_1904: bool) -> Cell:
    """Return the cell of a number whose format says what it is; what fits no format is a number."""
    whole = number == int(number) if abs(number) < _EXACT else True
    if kind is Kind.SPAN:
        return Cell(kind, round(number * DAY_MS)) if abs(number) < _LAST_SERIAL else _plain(number)
    if kind is Kind.TIME and 0 <= number < 1 and (ms := round(number * DAY_MS)) < DAY_MS:
        return Cell(kind, ms)
    is_date = kind in (Kind.DATE, Kind.MOMENT, Kind.TIME)
    if not is_date or not 0 <= number < _LAST_SERIAL:
        return _plain(number)
    days = int(number)
    if not since_1904 and days <= _PHANTOM:
        if days in (0, _PHANTOM):
            return _plain(number)
        days += 1
    first = _FROM_1904 if since_1904 else _FROM_1900
    if kind is Kind.DATE and whole:
        return Cell(Kind.DATE, first + days)
    return Cell(Kind.MOMENT, (first + days) * DAY_MS + round((number - int(number)) * DAY_MS))


def cell_text(cell: Cell) -> str:
    """Return a cell as text, as it is shown where a column's cells are not all of one kind."""
    match cell.kind:
        case Kind.NUMBER:
            return number_text(float(cell.value))
        case Kind.BOOLEAN:
            return "TRUE" if cell.value else "FALSE"
        case Kind.DATE:
            return (_EPOCH + timedelta(days=float(cell.value))).date().isoformat()
        case Kind.MOMENT:
            return _clock(_EPOCH + timedelta(milliseconds=float(cell.value))).replace(" ", "T")
        case Kind.TIME:
            return _clock(_EPOCH + timedelta(milliseconds=float(cell.value)))[11:]
        case Kind.SPAN:
            return f"{cell.value}"
        case _:
            return str(cell.value)


def number_text(number: float) -> str:
    """Return a number's shortest digits; whole ones have no point."""
    if abs(number) < _EXACT and number == int(number):
        return str(int(number))
    return repr(number)


def type_of(kinds: set[Kind], *, whole: bool) -> pa.DataType:
    """Return the type of a column whose cells are of these kinds; whole numbers are integers."""
    if kinds == {Kind.NUMBER}:
        return pa.int64() if whole else pa.float64()
    if kinds and kinds <= {Kind.DATE, Kind.MOMENT}:
        return pa.date32() if kinds == {Kind.DATE} else pa.timestamp("ms")
    types = {
        Kind.BOOLEAN: pa.bool_(), Kind.TIME: pa.time32("ms"), Kind.SPAN: pa.duration("ms")
    }  # fmt: skip
    return types.get(next(iter(kinds)), pa.string()) if len(kinds) == 1 else pa.string()


def is_whole(cell: Cell) -> bool:
    """Whether a number is an integer that a double holds exactly."""
    value = float(cell.value)
    return abs(value) < _EXACT and value == int(value) and str(value) != "-0.0"


def column_of(cells: Sequence[Cell | None], data_type: pa.DataType) -> pa.Array:
    """Return cells as a column of the type that `type_of` found for them."""
    if data_type == pa.string():
        return pa.array([None if cell is None else cell_text(cell) for cell in cells], data_type)
    if data_type == pa.timestamp("ms"):
        moments = (cell and (cell.value if cell.kind is Kind.MOMENT else cell.value * DAY_MS)
                   for cell in cells)  # fmt: skip
        return pa.array(moments, pa.int64()).cast(data_type)
    values = [None if cell is None else cell.value for cell in cells]
    if data_type == pa.int64():
        return pa.array([None if value is None else int(value) for value in values], data_type)
    stored = {pa.date32(): pa.int32(), pa.time32("ms"): pa.int32(), pa.duration("ms"): pa.int64()}
    return pa.array(values, stored.get(data_type, data_type)).cast(data_type)


def _plain(number: float) -> Cell:
    return Cell(Kind.NUMBER, number)


def _clock(moment: datetime) -> str:
    fraction = f".{moment.microsecond // 1000:03}" if moment.microsecond else ""
    return moment.strftime("%Y-%m-%d %H:%M:%S") + fraction
