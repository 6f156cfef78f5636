"""What people may say about a table to read or to write; None leaves it to what the file says."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from client.tables.errors import TableFormat

STOP: Final = "stop"
SET_ASIDE: Final = "set-aside"
NO_QUOTES: Final = "none"
AS_SOURCE: Final = "source"
INFER: Final = "infer"

_OF_TEXT: Final = (
    "encoding", "delimiter", "quote", "lax_quotes", "header_row", "skip", "footer", "null_text",
    "on_error", "set_aside",
)  # fmt: skip
_OF_DATABASES: Final = ("table", "query")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a table is read.

    For CSV: `encoding` is any of Python's; `quote` is one character, or "none"; with `lax_quotes`
    what follows a closing quote belongs to the cell. `skip` lines stand above the header, or
    `header_row` is the header's line, 0 where there is none; `footer` lines stand below the last
    row. `null_text` is the cell that means null; none does if None. Rows that cannot be read stop
    the reading, or are `on_error="set-aside"` into the file `set_aside` and counted.

    `sheet` is of workbooks, `table` and `query` of databases. `types="infer"` reads columns of
    texts as the numbers, dates and booleans that all of their cells are.

    With `guess` whatever was found is taken, however unsure: without it a finding that may be
    wrong is an error, which says how to decide it.
    """

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    lax_quotes: bool | None = None
    header_row: int | None = None
    skip: int | None = None
    footer: int | None = None
    null_text: str | None = None
    on_error: str = STOP
    set_aside: Path | None = None
    sheet: str | None = None
    table: str | None = None
    query: str | None = None
    types: str = AS_SOURCE
    guess: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself. Raises: TableFormat."""
        counts = (self.header_row, self.skip, self.footer)
        if any(count is not None and count < 0 for count in counts):
            raise TableFormat("a number of lines below zero")
        if self.header_row and self.skip is not None:
            raise TableFormat("the header's line and the lines above it are named both")
        if self.on_error not in (STOP, SET_ASIDE) or self.types not in (AS_SOURCE, INFER):
            raise TableFormat("no such way to treat errors or types")
        if (self.on_error == SET_ASIDE) != (self.set_aside is not None):
            raise TableFormat("rows that are set aside need a file to go to")
        if self.table is not None and self.query is not None:
            raise TableFormat("a table or a query is read, not both")

    def demand_only(self, kind: str, *allowed: str) -> None:
        """Refuse an option that the kind of table has no use for. Raises: TableFormat."""
        common = {"types", "guess", *allowed}
        for option in fields(self):
            given: Any = getattr(self, option.name)
            if option.name not in common and given != option.default:
                name = "--" + option.name.replace("_", "-")
                whose = (
                    "CSV files only" if option.name in _OF_TEXT
                    else "databases only" if option.name in _OF_DATABASES
                    else "workbooks only"
                )  # fmt: skip
                raise TableFormat(f"{name} is for {whose}; this is {kind}")


TEXT_OPTIONS: Final = _OF_TEXT
NOTHING_SAID: Final = ReadOptions()


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a table is written; what is None is as the table came in, or as the kind of file has it.

    For CSV: `encoding`, `delimiter`, `quote` and `null_text` as for `ReadOptions`; `quoting` says
    which cells stand in quotes ("minimal", "all", "nonnumeric"), `newline` ends lines, and `bom`
    says whether a byte order mark begins the file. `defuse` puts an apostrophe before texts that a
    spreadsheet would run as formulas, and the result then says how many it changed; it quotes all
    cells, and leaves out lines above and below.

    `table` names the sheet of a workbook or the table of a database file. `whole` says that all
    of a collection is written: then lines that stood above and below it come back too.
    """

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    quoting: str | None = None
    newline: str | None = None
    bom: bool | None = None
    null_text: str | None = None
    defuse: bool = False
    table: str | None = None
    whole: bool = True


AS_IT_CAME: Final = WriteOptions()
