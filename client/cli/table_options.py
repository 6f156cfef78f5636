"""Options that say how a table is read or written, and what `client.tables` makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from client.cli.meant import Choice

if TYPE_CHECKING:
    from client.tables.options import ReadOptions, WriteOptions

F = TypeVar("F", bound="Callable[..., Any]")

FILE: Final = click.Path(path_type=Path)
_LINES: Final = click.IntRange(min=0)
_NEWLINES: Final = {"crlf": "\r\n", "lf": "\n", "cr": "\r"}


def delimiter(typed: str) -> str:
    """Return a delimiter; a tab can be written as a word, or with a backslash."""
    return {"tab": "\t", "\\t": "\t"}.get(typed, typed)


_READING: Final = (
    click.option("--encoding", metavar="NAME", help="A text file's encoding; found if not given."),
    click.option(
        "--delimiter",
        type=delimiter,
        metavar="CHAR",
        help="What separates cells; found if not given.",
    ),
    click.option(
        "--quote", metavar="CHAR", help="What stands around cells, or 'none'; found if not given."
    ),
    click.option(
        "--lax-quotes",
        is_flag=True,
        default=None,
        help="Let text follow a closing quote; it belongs to the cell.",
    ),
    click.option(
        "--header-row",
        type=_LINES,
        metavar="N",
        help="The line or row that names the columns, from 1; 0: there is none.",
    ),
    click.option("--skip", type=_LINES, metavar="N", help="How many lines stand above the header."),
    click.option(
        "--footer",
        type=_LINES,
        metavar="N",
        help="How many lines stand below the last row: totals, words.",
    ),
    click.option(
        "--null-text",
        metavar="TEXT",
        help="The text of a cell that means null; none does if not given.",
    ),
    click.option(
        "--on-error",
        type=Choice(["stop", "set-aside"]),
        default="stop",
        show_default=True,
        help="What to do about rows that cannot be read.",
    ),
    click.option(
        "--set-aside",
        type=FILE,
        metavar="FILE",
        help="Where rows go that are set aside; the file's name and .set-aside if not given.",
    ),
    click.option("--sheet", metavar="NAME", help="Which sheet of a workbook."),
    click.option("--table", metavar="NAME", help="Which table of a database."),
    click.option("--query", metavar="SQL", help="A SELECT whose rows are the table."),
    click.option(
        "--types",
        type=Choice(["source", "infer"]),
        default="source",
        show_default=True,
        help="Types as the source has them, or also such as all cells of a text column allow.",
    ),
)

_WRITING: Final = (
    click.option(
        "--encoding", metavar="NAME", help="A CSV file's encoding; as it came in if not given."
    ),
    click.option(
        "--delimiter",
        type=delimiter,
        metavar="CHAR",
        help="A CSV file's delimiter; as it came in if not given.",
    ),
    click.option(
        "--quote",
        metavar="CHAR",
        help="A CSV file's quote, or 'none'; as it came in if not given.",
    ),
    click.option(
        "--quoting",
        type=Choice(["minimal", "all", "nonnumeric"]),
        help="Which cells are quoted beside those that must be.",
    ),
    click.option(
        "--newline",
        type=Choice(list(_NEWLINES)),
        help="What ends lines; as it came in if not given.",
    ),
    click.option("--null-text", metavar="TEXT", help="What a null is written as in CSV."),
    click.option(
        "--defuse",
        is_flag=True,
        help="Put an apostrophe before what a spreadsheet would run as formulas in CSV; quote all.",
    ),
    click.option(
        "--table", metavar="NAME", help="What to call the sheet or the table in the file."
    ),
)


def reading(command: F) -> F:
    """Add the options that say how a table is read."""
    return _with(_READING, command)


def writing(command: F) -> F:
    """Add the options that say how a table is written."""
    return _with(_WRITING, command)


def _with(added: Sequence[Callable[[F], F]], command: F) -> F:
    for option in reversed(added):
        command = option(command)
    return command


def read_options(file: str, said: dict[str, Any], *, guess: bool) -> ReadOptions:
    """Return what was said about reading a table."""
    from client.tables.options import SET_ASIDE, ReadOptions

    if said["set_aside"] is not None:
        said |= {"on_error": SET_ASIDE}
    elif said["on_error"] == SET_ASIDE:
        said |= {"set_aside": Path(f"{Path(file).name}.set-aside")}
    return ReadOptions(**said, guess=guess)


def write_options(said: dict[str, Any]) -> WriteOptions:
    """Return what was said about writing a table."""
    from client.tables.options import WriteOptions

    newline = said.pop("newline")
    return WriteOptions(**said, newline=_NEWLINES.get(newline))
