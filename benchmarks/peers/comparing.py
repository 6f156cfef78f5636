"""From rounds to rows: medians, and how many times as fast as each peer Sealroom is."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from benchmarks.cells import Table, Taken, reference_round
from benchmarks.figures import Spread
from benchmarks.peers.catalogue import Kind, Way
from benchmarks.peers.cellwise import CLOCK, Costs, Reader

TABLE_CELLS: Final = 1_000_000
"""For so large a table, in ten fields, it is said what one more reader costs."""

Round = tuple[Taken, Costs]


@dataclass(frozen=True, slots=True)
class Row:
    """One way, measured.

    `seal`, `open` and `column` are nanoseconds a cell, `cell` those for one single cell under a
    new key. `seal_times` and `open_times` say how many times as fast as (a) it is, which ran right
    before it. `reader_seconds` are for a million cells in ten fields, None where it has no way of
    its own. `ahead` has, by Sealroom's names, how many times as fast that seals and opens.
    """

    name: str
    kind: Kind
    library: str
    cells: int
    seal: Spread
    open: Spread
    column: Spread
    cell: Spread
    seal_times: float
    open_times: float
    added_bytes: float
    moved_cell_opens: bool
    reader: Reader
    reader_seconds: float | None
    ahead: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, way: Way, rounds: Sequence[Round], ours: dict[str, Sequence[Round]]) -> Self:
        """Summarise the rounds of one way, beside those of our own in the same order."""
        costs = [cost for _, cost in rounds]
        seal, opened = _times(rounds)
        return cls(
            name=way.name,
            kind=way.kind,
            library=way.library,
            cells=way.work.cells,
            seal=Spread.of([each.seal for each in costs]),
            open=Spread.of([each.open for each in costs]),
            column=Spread.of([each.column for each in costs]),
            cell=Spread.of([each.cell for each in costs]),
            seal_times=statistics.median(seal),
            open_times=statistics.median(opened),
            added_bytes=way.work.added_bytes,
            moved_cell_opens=way.work.moved_cell_opens(),
            reader=way.reader,
            reader_seconds=_reader_seconds(way, costs),
            ahead={name: _ahead(mine, rounds) for name, mine in ours.items() if name != way.name},
        )


def compare(
    ways: Sequence[Way], values: Table, rounds: int, say: Callable[[str], None]
) -> list[Row]:
    """Take all ways in turn so many times, (a) right before each, and summarise."""
    taken: dict[str, list[Round]] = {way.name: [] for way in ways}
    for number in range(1, rounds + 1):
        for way in ways:
            taken[way.name].append((reference_round(values, CLOCK), way.work.round()))
        say(f"round {number} of {rounds}")
    ours = {way.name: taken[way.name] for way in ways if way.kind is Kind.OURS}
    return [Row.of(way, taken[way.name], dict(ours)) for way in ways]


def leads(rows: Sequence[Row]) -> Iterator[str]:
    """Say in what each other way is ahead of Sealroom's first row, and by how much."""
    ours = rows[0]
    for row in (each for each in rows if each.kind is not Kind.OURS):
        found = [
            f"{what} ({_shown(mine / its)} times)"
            for what, mine, its in (
                ("sealing", ours.seal.median, row.seal.median),
                ("opening", ours.open.median, row.open.median),
                ("bytes a cell", ours.added_bytes, row.added_bytes),
                ("one more reader", ours.reader_seconds, row.reader_seconds),
                ("a column under a new key", ours.column.median, row.column.median),
                ("one single cell under a new key", ours.cell.median, row.cell.median),
            )
            if mine is not None and its is not None and its < mine
        ]
        if found:
            yield f"{row.name}: {', '.join(found)}"


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows for JSON."""
    return [asdict(row) for row in rows]


def _times(rounds: Sequence[Round]) -> tuple[list[float], list[float]]:
    return (
        [base.seal / cost.seal for base, cost in rounds],
        [base.open / cost.open for base, cost in rounds],
    )


def _ahead(mine: Sequence[Round], theirs: Sequence[Round]) -> tuple[float, float]:
    """Compare through the (a) that ran right before each, round by round."""
    seal, opened = (
        statistics.median(our / its for our, its in zip(one, other, strict=True))
        for one, other in zip(_times(mine), _times(theirs), strict=True)
    )
    return seal, opened


def _reader_seconds(way: Way, costs: Sequence[Costs]) -> float | None:
    found = [each.reader for each in costs if each.reader is not None]
    if not found:
        return None
    cost = statistics.median(found) / 1e9
    if way.reader is Reader.BYTES:
        cost /= way.work.cells
    return cost if way.reader is Reader.FIELDS else cost * TABLE_CELLS


def _shown(times: float) -> str:
    return f"{times:,.0f}" if times >= 10 else f"{times:.1f}"
