"""Lines below the last row of a CSV file: totals, and words about the table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from client.tables.csv_layout import Dialect, Layout

_MOST_FOOTER: Final = 12
_TOTAL: Final = re.compile(
    r".{0,6}(合计|总计|小计|共计|汇总|合計|総計|總計|小計)[:\uff1a]?"
    r"|(grand |sub)?totals?|sum|summe|gesamt(summe)?|total général|итого|합계|총계",
    re.IGNORECASE,
)


def footer_lines(tail: Sequence[str], layout: Layout, wanted: int | None) -> int:
    """Return how many of the last lines of a file are no rows.

    Those are a total, or words below the table, with the blank lines about them. `wanted` is what
    the user says. A line in the middle of a quoted cell is none of them.
    """
    if wanted is not None:
        return min(wanted, len(tail))
    if layout.width == 1:
        return 0
    found = count = 0
    for line in reversed(tail[-_MOST_FOOTER:]):
        cells = next(iter(_lax(layout.dialect).reader(iter([line]))), [])
        words = [cell.strip() for cell in cells if cell.strip()]
        count += 1
        if not words:
            continue
        if not is_total(words[0]) and not (len(cells) == 1 and layout.width > 2):
            break
        found = count
    if not _stands_apart(tail[len(tail) - found :], layout):
        return 0
    return found + _blank_above(tail, found)


def _stands_apart(below: Sequence[str], layout: Layout) -> bool:
    """Whether lines are whole rows, none of which is one of the table's."""
    quote = layout.dialect.quote
    if quote and "".join(below).count(quote) % 2:
        return False
    rows = [[cell.strip() for cell in row] for row in _lax(layout.dialect).reader(iter(below))]
    return all(len(row) <= 1 or is_total(next(filter(None, row), "")) for row in rows if any(row))


def _blank_above(tail: Sequence[str], found: int) -> int:
    """Lines of spaces alone, above what is below the table, belong to it."""
    if not found:
        return 0
    above = reversed(tail[: len(tail) - found])
    return next((count for count, line in enumerate(above) if line.strip() or line == ""), 0)


def is_total(word: str) -> bool:
    """Whether the first word of a row says that it is a total of those above it."""
    return _TOTAL.fullmatch(word) is not None


def _lax(dialect: Dialect) -> Dialect:
    return Dialect(dialect.delimiter, dialect.quote, lax=True)
