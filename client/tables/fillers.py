"""Headers that a spreadsheet made up where it was given none: `Column1`, `Column2`, and so on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

WHY: Final = "such names are made up where there are none; those of the table may stand below"

# As the spreadsheet says it in the language of whoever exported the table.
_FILLER: Final = re.compile(
    r"(column|列|열|spalte|colonne|columna|colonna|coluna|kolom|kolumna|столбец) ?([1-9][0-9]*)",
    re.IGNORECASE,
)


def are_fillers(names: Sequence[str]) -> bool:
    """Say whether names are one word with a number behind it, counted from 1."""
    found = [_FILLER.fullmatch(name.strip()) for name in names]
    words = {each[1] for each in found if each is not None}
    numbers = [int(each[2]) for each in found if each is not None]
    return len(names) > 1 and len(words) == 1 and numbers == list(range(1, len(names) + 1))


def past_fillers(full: Sequence[int]) -> int:
    """Return which of the rows that are wide enough names the columns, where fillers come first.

    `full` are their places in order, the fillers' first. What stands under them at once may be a
    record; under a title block it is a header.
    """
    at, *below = full
    return below[0] if below and below[0] > at + 1 else at
