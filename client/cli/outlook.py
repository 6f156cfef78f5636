"""What was found out about a table, and its first rows, before anything of it is sent.

Cells of core fields are masked even here, and of those that look core and have no class yet
(docs/adr/0022): screens are looked at over shoulders. Everything goes to stderr, and cells only to
a terminal.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import click
from rich.text import Text

from client.cli.output import counted, size, visible
from client.errors import Interrupted
from client.tables import Finding, Source
from client.tables.cells import decoded
from client.tables.text_forms import text_form

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from client.results.data import PlannedField, UploadPlan

SHOWN_ROWS: Final = 3
MASK: Final = "*****"
_LONGEST_CELL: Final = 60
_LONGEST_TYPE: Final = 20
_MOST_ADVISED: Final = 12
_LEAST_CELL: Final = 6
_GAP: Final = 3
_STYLES: Final = {"general": "green", "sensitive": "yellow", "core": "red"}


class Outlook:
    """A table as it will be sealed: findings, notes, fields with their classes, first rows."""

    def __init__(self, source: Source, fields: Mapping[str, PlannedField]) -> None:
        self._source = source
        self._planned = [fields[column.name] for column in source.columns]
        # Opened now, so that a row that cannot be read stops before anybody is asked anything.
        first = next(source.batches(SHOWN_ROWS), None) if source.rereadable else None
        self._known = first is not None
        self._rows: list[tuple[str | None, ...]] = [] if first is None else list(
            zip(*(_texts(column) for column in first.columns), strict=True)
        )  # fmt: skip

    def print(self) -> None:
        """Print all of it on stderr; off a terminal without the cells."""
        from rich.console import Console

        terminal = sys.stderr.isatty()
        console = Console(
            file=sys.stderr, highlight=False, emoji=False, markup=False, soft_wrap=not terminal
        )
        if not terminal:
            console.width = 200
        console.print(self._title())
        console.print(self._findings())
        for note in (*self._source.notes, *advice(self._planned)):
            _print_note(console, note)
        if terminal:
            console.print()
            console.print(self._fields(console.width))
        console.print()

    def confirm(self, plan: UploadPlan, replace_by: str | None, *others: Sequence[Finding]) -> None:
        """Ask whether it is right, with what was found of other tables that go in with this one.

        Raises: Interrupted, naming what says otherwise.
        """
        findings = [*chain(*others), *self._source.findings]
        fields, name = counted(len(plan.fields), "field"), repr(visible(plan.collection))
        what = f"Seal {fields} into {name} and send them?"
        if plan.there is not None:
            there = counted(plan.there, "record")
            what = f"Add them to the {there} of {name}?"
            if replace_by is not None:
                what = f"Update the {there} of {name} by {visible(replace_by)!r}?"
        question = f"Is this right? {what}"
        try:
            right = click.confirm(question, default=all(each.sure for each in findings), err=True)
        except click.Abort:
            right = False
        if not right:
            options = dict.fromkeys(each.option.split(" ")[0] for each in findings if each.option)
            raise Interrupted(
                "stopped, and nothing was sent",
                hint=f"say otherwise with {', '.join([*options, '--class'])}",
            )

    def _title(self) -> Text:
        source = self._source
        facts = [
            counted(source.total_rows, "row") if source.total_rows is not None else None,
            counted(len(source.columns), "field"),
            size(source.bytes_total) if source.bytes_total is not None else None,
        ]
        title = Text(visible(source.name or "table"), "bold")
        return title.append("   " + ", ".join(fact for fact in facts if fact), "not bold dim")

    def _findings(self) -> RenderableType:
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for finding in self._source.findings:
            mark = Text("✓", "green") if finding.sure else Text("?", "bold yellow")
            style = "" if finding.sure else "yellow"
            table.add_row(
                Text(" ").append(mark),
                Text(finding.what, "dim"),
                Text(visible(finding.value), style),
                Text(visible(finding.why), "dim" if finding.sure else style),
                Text("" if finding.sure else finding.option, "bold"),
            )
        return table

    def _fields(self, width: int) -> RenderableType:
        """Return a row a field, since tables are wider than screens: class, type, first cells."""
        from rich import box
        from rich.table import Table

        columns = self._source.columns
        head = {
            "field": [Text(visible(column.name), "bold") for column in columns],
            "class": [_class(each) for each in self._planned],
            "type": [Text(_kind(column.type), "dim") for column in columns],
        }
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
        left = width
        widths = _fitting({title: _widest(title, cells) for title, cells in head.items()}, width)
        for title, most in widths.items():
            table.add_column(title, no_wrap=True, width=most)
            left -= most + _GAP
            for cell in head[title]:
                cell.truncate(most, overflow="ellipsis")
        # Examples that there is no room for are left out, rather than cut what has to be seen.
        rows = self._rows[: max(0, left + _GAP) // (_LEAST_CELL + _GAP)]
        for number in range(1, len(rows) + 1):
            table.add_column(f"row {number}", no_wrap=True)
        each_row = (left + _GAP) // max(len(rows), 1) - _GAP
        for at, field in enumerate(self._planned):
            masked = "core" in (field.field_class, field.advised)
            shown = [_cell(row[at], masked, each_row) for row in rows]
            table.add_row(*(head[title][at] for title in widths), *shown)
        return table


def advice(planned: Iterable[PlannedField]) -> list[str]:
    """Return what columns look like that nobody gave a class, and what would give them one."""
    suspects = [each for each in planned if each.advised is not None]
    told = [
        f"column {each.name!r} looks like {each.looks_like}, by {each.looked_at}: "
        f"it goes in as {each.field_class} unless you say --class {_typed(each)}"
        for each in suspects[:_MOST_ADVISED]
    ]
    rest = len(suspects) - _MOST_ADVISED
    if rest > 0:
        told.append(f"{counted(rest, 'more column looks', 'more columns look')} so")
    return told


def _typed(field: PlannedField) -> str:
    return shlex.quote(f"{field.name}={field.advised}")


def _class(field: PlannedField) -> Text:
    its_class = Text(field.field_class, _STYLES[field.field_class])
    if field.advised is not None:
        its_class.append(f" ({field.advised}?)", _STYLES[field.advised])
    return its_class


def _widest(title: str, cells: Iterable[Text]) -> int:
    return max(len(title), *(cell.cell_len for cell in cells))


def _fitting(widest: Mapping[str, int], width: int) -> dict[str, int]:
    """Return how wide each column is that leads: a class is seen whole, whatever the width.

    A type that there is no room for is left out, and then a name is cut as far as it has to be.
    """
    field = min(widest["field"], max(width // 4, _LEAST_CELL))
    kind = min(widest["type"], _LONGEST_TYPE, width - field - widest["class"] - 2 * _GAP)
    if kind < len("type"):
        left = max(width - widest["class"] - _GAP, 1)
        return {"field": min(widest["field"], left), "class": widest["class"]}
    return {"field": field, "class": widest["class"], "type": kind}


def _kind(text: str) -> str:
    """Return a type in few letters: what a dictionary holds is what counts."""
    return text.removeprefix("dictionary<values=").partition(",")[0] if "<" in text else text


def _print_note(console: Console, note: str) -> None:
    console.print(Text(" ! ", "bold yellow").append(visible(note), "not bold default"))


def _texts(column: object) -> Sequence[str | None]:
    try:
        texts: list[str | None] = text_form(decoded(column)).to_pylist()
    except ValueError:  # a date beyond the years that have a text
        return ["..."] * SHOWN_ROWS
    return list(islice(texts, SHOWN_ROWS))


def _cell(text: str | None, masked: bool, width: int) -> Text:
    if text is None:
        return Text("NULL", "dim")
    if masked:
        return Text(MASK, "dim red")
    cell = Text(visible(text[:_LONGEST_CELL]))
    cell.truncate(width, overflow="ellipsis")
    return cell
