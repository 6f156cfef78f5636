"""The rows as a table that is Markdown too, and as bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.chart import Bars, Group, drawn
from benchmarks.peers.catalogue import Absent, Kind
from benchmarks.peers.comparing import Row, leads

HEADS = (
    "",
    "seal, x (a)",
    "open, x (a)",
    "bytes added a cell",
    "one more reader, 1,000,000 cells",
    "a column under a new key, a cell",
    "one single cell",
    "a moved cell opens",
)


def report(rows: Sequence[Row], absent: Sequence[Absent]) -> str:
    """Return all of it: cell by cell, then what seals something larger, and who is ahead."""
    ours = [row for row in rows if row.kind is Kind.OURS]
    lines = [
        "Medians of processor time, one thread. x (a): how many times as fast as a Python loop",
        "over one reused AESGCM object that ran right before it; in brackets how many times as",
        f"fast {_names(ours)} is. A reader's key is made to Sealroom with a",
        "proof that it is the same one, which is checked; the others prove nothing. Sealroom pads",
        "what it seals: a third of the bytes that it adds is to hide lengths.",
        "",
        *_table([row for row in rows if row.kind is not Kind.WHOLE]),
    ]
    whole = [row for row in rows if row.kind is Kind.WHOLE]
    if whole:
        lines += ["", "Not cell by cell:", "", *_table(whole)]
    ahead = list(leads(rows))
    if ahead:
        lines += ["", f"Ahead of {rows[0].name}, by how many times:", *(f"- {e}" for e in ahead)]
    if absent:
        lines += ["", "Not here:", *(f"- {each.name}: {each.why}" for each in absent)]
    return "\n".join(lines)


def _names(ours: Sequence[Row]) -> str:
    return " / ".join(row.name for row in ours[:2])


def _table(rows: Sequence[Row]) -> Iterator[str]:
    cells = [HEADS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for at, row in enumerate(cells):
        yield (
            "| "
            + " | ".join(f"{cell:<{size}}" for cell, size in zip(row, widths, strict=True))
            + " |"
        )
        if at == 0:
            yield "|" + "|".join("-" * (size + 2) for size in widths) + "|"


def _cells(row: Row) -> tuple[str, ...]:
    seal, opened = zip(*row.ahead.values(), strict=True) if row.ahead else ((), ())
    ours = row.kind is Kind.OURS
    return (
        row.name,
        _number(row.seal_times) + ("" if ours else _brackets(seal)),
        _number(row.open_times) + ("" if ours else _brackets(opened)),
        f"{row.added_bytes:,.2f}" if row.added_bytes < 1 else f"{row.added_bytes:,.0f}",
        str(row.reader)
        if row.reader_seconds is None
        else f"{_time(row.reader_seconds)}, {row.reader}",
        _time(row.column.median / 1e9),
        _time(row.cell.median / 1e9),
        "" if row.kind is Kind.WHOLE else "yes" if row.moved_cell_opens else "no",
    )


def _brackets(times: Sequence[float]) -> str:
    return " (" + " / ".join(_number(each) for each in times[:2]) + ")"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _time(seconds: float) -> str:
    for unit, size in (("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{_number(seconds / size)} {unit}"
    return f"{seconds * 1e9:,.0f} ns"


def picture(rows: Sequence[Row], conditions: str) -> str:
    """Return how fast each way seals and opens, as an SVG picture."""
    groups = [Group(row.name, (row.seal_times, row.open_times)) for row in rows]
    return drawn(
        Bars(
            title="Sealing and opening: times as fast as a bare Python loop of AES-GCM",
            note=conditions,
            series=("seal", "open"),
            groups=[g for g, row in zip(groups, rows, strict=True) if row.kind is not Kind.WHOLE],
            apart=[g for g, row in zip(groups, rows, strict=True) if row.kind is Kind.WHOLE],
            apart_title="Not cell by cell: pages, or the whole file, have one key",
            logarithmic=True,
        )
    )
