"""Texts that a spreadsheet would run as formulas, made harmless (CWE-1236).

A spreadsheet that opens a CSV file takes a cell that begins with one of a few characters for a
formula, and a formula can send the cells beside it somewhere. An apostrophe before it stops that;
it also changes the cell, so it is done on request only, and counted. Numbers stay as they are.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.csv_layout import NUMBER_PATTERN

# Whatever spaces a spreadsheet strips before it looks, and full-width forms that it folds.
_FORMULA: Final = "^[\\s\u00a0\u3000]*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]"


class Defuser:
    """Puts an apostrophe before texts that begin like formulas, and counts them."""

    def __init__(self) -> None:
        self.changed = 0

    def defused(self, texts: pa.Array) -> pa.Array:
        """Return the texts, formulas among them made harmless."""
        begins = pc.match_substring_regex(texts, _FORMULA)
        unfit = pc.and_not(begins, pc.match_substring_regex(texts, NUMBER_PATTERN))
        self.changed += pc.sum(unfit).as_py() or 0
        apostrophe, nothing = pa.scalar("'", texts.type), pa.scalar("", texts.type)
        return pc.if_else(unfit, pc.binary_join_element_wise(apostrophe, texts, nothing), texts)

    def told(self) -> str:
        """Say how many were changed."""
        noun = "cell that begins" if self.changed == 1 else "cells that begin"
        return f"{self.changed:,} {noun} like a formula got an apostrophe in front"
