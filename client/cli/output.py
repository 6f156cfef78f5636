"""What the command line prints: one JSON document, or text for people.

Names and cells come from other people. Whatever of them reaches a screen goes through
`visible`, so that none can move the cursor, turn the reading direction or draw an empty line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from client.drawn import drawn
from client.results import as_json
from client.results.data import FieldsOf

if TYPE_CHECKING:
    from rich.text import Text

Cell: TypeAlias = str | tuple[str, ...] | None
"""A table's cell: text, lines of text, or None, which is shown as NULL."""

_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", " ": "\\x20"}
_BYTES_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")
_AGES: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))
_PIPE_WIDTH: Final = 100_000
WORDS_IN_A_ROW: Final = 4


# --- text that is safe to show


def visible(text: str) -> str:
    """Return the text with every character escaped that a terminal would act on, or not draw.

    Control and format characters (bidirectional overrides and zero-width ones among them), line
    separators, surrogates, private-use and unassigned characters, and letters and marks that are
    drawn as nothing are written as in a Python string; spaces of all kinds, other letters, marks
    and symbols stay. Where there is nothing but spaces, they are escaped too.
    """
    if text.isascii() and text.isprintable() and text.strip():
        return text
    blank = not text.strip()
    seen = zip(text, drawn(text), strict=True)
    return "".join(each if is_drawn and not blank else _escaped(each) for each, is_drawn in seen)


def _escaped(character: str) -> str:
    short = _SHORT_ESCAPES.get(character)
    return short or character.encode("unicode_escape", "surrogatepass").decode("ascii")


def rows_of_words(words: str) -> tuple[str, ...]:
    """Return twelve words in three rows of four, each in a column of its own."""
    listed = words.split()
    widest = max((len(word) for word in listed), default=0)
    cut = [listed[at : at + WORDS_IN_A_ROW] for at in range(0, len(listed), WORDS_IN_A_ROW)]
    return tuple("  ".join(word.ljust(widest) for word in row).rstrip() for row in cut)


# --- figures


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a figure with its unit: `1 record`, `1,204 records`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def size(count: int) -> str:
    """Return a number of bytes in the largest unit in which it is at least one."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_BYTES_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return counted(count, "byte") if unit == 0 else f"{value:,.1f} {_BYTES_UNITS[unit]}"


def age(seconds: int) -> str:
    """Return a span of whole seconds in the largest unit in which it is at least one."""
    for length, unit in _AGES:
        if seconds >= length:
            return f"{seconds // length:,} {unit}"
    return f"{seconds} s"


def moment(unix: int) -> str:
    """Return a time (unix seconds) in local time, with the zone's name.

    A time beyond all calendars is given in seconds: others write times, and any may be shown.
    """
    try:
        return datetime.fromtimestamp(unix).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    except (OSError, OverflowError, ValueError):
        return f"{unix:,} s after 1970"


def duration(seconds: float) -> str:
    """Return how long something took."""
    return f"{seconds:,.1f} s"


# --- printing


def print_json(value: object) -> None:
    """Print one JSON document, in ASCII: what is in it cannot reach the terminal raw."""
    document = json.dumps(as_json(value), indent=2, allow_nan=False)
    # The one control character that JSON leaves as it is.
    click.echo(document.replace("\x7f", "\\u007f"))


def say(text: str = "") -> None:
    """Print a line of results."""
    click.echo(text)


def note(text: str) -> None:
    """Print a line beside the results, on stderr."""
    click.echo(text, err=True)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a table, every cell made `visible`.

    On a terminal it has lines and fits the width; elsewhere it is plain, and as wide as it
    needs to be.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    table = Table(
        box=box.SIMPLE_HEAD if terminal else None,
        header_style="bold" if terminal else "",
        pad_edge=False,
        show_edge=False,
    )
    for header in headers:
        table.add_column(_cell(header), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(cell) for cell in row))
    width = None if terminal else _PIPE_WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False, emoji=False, markup=False)
    with console.capture() as captured:
        console.print(table)
    # So that what is piped on has no spaces at its ends that nobody wrote.
    say("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _cell(cell: Cell) -> Text:
    from rich.text import Text

    if cell is None:
        return Text("NULL", "dim")
    lines = (cell,) if isinstance(cell, str) else cell
    return Text("\n".join(visible(line) for line in lines))


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Print lines of a name and what it is, the second in a column; None leaves a line out.

    What has several lines is a tuple of them.
    """
    known = [(name, value) for name, value in facts if value is not None]
    widest = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        lines = value if isinstance(value, tuple) else (value,)
        for at, line in enumerate(lines):
            say(f"{'' if at else name:{widest}}  {visible(str(line))}")


def lines_of(fields: Sequence[FieldsOf], otherwise: str | None) -> tuple[str, ...] | str | None:
    """Return fields as lines, one for each collection; `otherwise` where there are none."""
    lines = (f"{each.collection or 'the vault'}: {', '.join(each.fields)}" for each in fields)
    return tuple(lines) or otherwise


def how_many(fields: Iterable[FieldsOf]) -> str:
    """Return how many fields there are, in words."""
    return counted(sum(len(each.fields) for each in fields), "field")
