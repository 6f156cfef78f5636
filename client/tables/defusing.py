"""Texts that a spreadsheet would run as formulas, made harmless (CWE-1236).

A spreadsheet that opens a CSV file takes a cell that begins with one of a few characters for a
formula, and a formula can send the cells beside it somewhere. An apostrophe before it stops that;
it also changes the cell, so it is done on request only, and counted. Numbers stay as they are.

What a cell is, is for the spreadsheet to say: it may cut lines at another mark than the file's
own, and then quotes within a line protect nothing. So what follows a mark at which some cut is
looked at too, and a format that its writer chose is not taken where it could undo all that.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.csv_encoding import codec_name
from client.tables.csv_format import CsvFormat
from client.tables.csv_layout import NUMBER_PATTERN
from client.tables.errors import TableFormat

# Whatever spaces a spreadsheet strips before it looks, and full-width forms that it folds.
_SPACES: Final = "\\s\u00a0\u3000"
_BEGINNINGS: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA: Final = f"^[{_SPACES}]*[{_BEGINNINGS}\t\r]"
_MARKS: Final = ",;|\t\r\n"
"""Where spreadsheets cut lines, by their settings and their country's; and lines themselves."""

STRUCTURE: Final = f'"{_MARKS}'
ASCII: Final = bytes(range(0x80))


class Defuser:
    """Puts an apostrophe before what begins like a formula in a file, and counts such cells.

    Where a cell holds the file's own `delimiter`, its quotes are enough.
    """

    def __init__(self, delimiter: str = ",") -> None:
        self.changed = 0
        marks = re.escape(_MARKS.replace(delimiter, ""))
        self._inner = f'([{marks}][{_SPACES}"]*)([{_BEGINNINGS}])'

    def defused(self, texts: pa.Array) -> pa.Array:
        """Return the texts, formulas among them and in them made harmless."""
        begins = pc.match_substring_regex(texts, _FORMULA)
        unfit = pc.and_not(begins, pc.match_substring_regex(texts, NUMBER_PATTERN))
        apostrophe, nothing = pa.scalar("'", texts.type), pa.scalar("", texts.type)
        harmless = pc.replace_substring_regex(texts, self._inner, "\\1'\\2")
        prefixed = pc.binary_join_element_wise(apostrophe, harmless, nothing)
        harmless = pc.if_else(unfit, prefixed, harmless)
        self.changed += pc.sum(pc.not_equal(harmless, texts)).as_py() or 0
        return harmless

    def told(self) -> str:
        """Say how many were changed."""
        noun = "cell that begins" if self.changed == 1 else "cells that begin"
        return f"{self.changed:,} {noun} like a formula, or where cut, got an apostrophe before it"


def harmless_format(written: CsvFormat) -> CsvFormat:
    """Return the format with every cell in double quotes, and no lines about the table.

    Those may hold anything, and are no cells that could be changed. Apart from them it is as a
    writer had it, where a spreadsheet sees the quotes and delimiters that stand there.

    Raises:
        TableFormat: its delimiter begins a formula, or its encoding has other bytes for quotes.
    """
    if re.match(f"[{_BEGINNINGS}]", written.delimiter):
        raise TableFormat(
            f"{written.delimiter!r} between cells begins formulas",
            hint="name another --delimiter, or leave out --defuse",
        )
    marked = is_wide(written.encoding) and written.bom
    if not marked and not _keeps_ascii(written.encoding):
        raise unseen(written.encoding)
    return replace(written, quote='"', quoting="all", before="", after="")


def unseen(encoding: str) -> TableFormat:
    """Return the error for an encoding in which a spreadsheet may see marks that are none."""
    return TableFormat(
        f"read as another encoding than {encoding}, cells could become formulas",
        hint="name --encoding utf-8, or leave out --defuse",
    )


def is_wide(encoding: str) -> bool:
    """Say whether characters have two bytes; with its byte order mark every spreadsheet sees it."""
    return codec_name(encoding).startswith("utf-16")


def shows_other_marks(text: str, encoded: bytes) -> bool:
    """Say whether bytes of other characters look like marks, to who reads them as ASCII."""
    return any(text.count(mark) != encoded.count(mark.encode()) for mark in STRUCTURE)


def _keeps_ascii(encoding: str) -> bool:
    try:
        return ASCII.decode(encoding).encode(encoding) == ASCII == ASCII.decode(encoding).encode()
    except UnicodeError:
        return False
