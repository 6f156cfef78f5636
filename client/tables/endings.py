"""Files whose names end as those of another kind do: read as what they are, or refused by name.

What is told apart by its first bytes is read as that, and it is said. What is text where the
ending promises a workbook or a database is refused: nobody knows whether the table is in it, and
reading such a file as what its ending says only finds it damaged.
"""

from __future__ import annotations

from typing import Final

from client.tables.errors import TableUnreadable
from client.tables.source import Source

WORKBOOK_ENDINGS: Final = (".xlsx", ".xlsm", ".xlsb", ".xls")
_ENDINGS: Final = frozenset(
    (*WORKBOOK_ENDINGS, ".csv", ".tsv", ".tab", ".txt", ".parquet", ".pq", ".sqlite", ".sqlite3",
     ".jsonl", ".ndjson", ".vcf", ".vcard", ".arrow", ".arrows", ".feather")
)  # fmt: skip
_PAGES: Final = (b"<html", b"<!doctype html", b"<table", b"<head", b"<meta", b"<style")
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_NO_TEXT: Final = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")


def expect_no_text(name: str, promised: str, head: bytes) -> None:
    """Refuse a file that is text though its ending promises something else; `head` begins it.

    Raises: TableUnreadable, which says what it is, and what was likely done.
    """
    found = _text_of_a_kind(head)
    if found is not None:
        what, hint = found
        raise TableUnreadable(f"{name} is not {promised}: it is {what}", hint=hint)


def told_apart(source: Source, suffix: str, what: str, endings: tuple[str, ...]) -> Source:
    """Say of a table that its file is of another kind than its ending says, if it is."""
    if suffix in endings or suffix not in _ENDINGS:
        return source
    source.note(f"the file is {what}, though its name ends in {suffix}: it is read as what it is")
    return source


def _text_of_a_kind(head: bytes) -> tuple[str, str] | None:
    if not head:
        return "empty", "fetch it again: nothing of it has arrived"
    begins = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if begins.startswith(_PAGES):
        return "a web page (HTML)", "open it in a spreadsheet and save it as .xlsx or .csv"
    if begins.startswith(b"<?xml"):
        return "XML", "open it in a spreadsheet and save it as .xlsx or .csv"
    if head.startswith(_UTF16) or not _NO_TEXT & set(head):
        return "text", "if it is CSV under a wrong ending, call it .csv, or .tsv if tabs part it"
    return None
