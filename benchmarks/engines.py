"""What each engine costs, and how that compares: `python -m benchmarks.engines`.

A round takes all ways in turn, so that a busy moment hits all of them, and every ratio is between
times of one round; figures are medians.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from benchmarks.cells import (
    FIELDS,
    RECORDS,
    BareWork,
    BlockWork,
    Table,
    Taken,
    batches_of,
    reference_round,
    tables,
)
from benchmarks.conditions import Conditions, Neighbours
from client.crypto.engines import survey

ROUNDS: Final = 7
THREADS: Final = 2
REFERENCE: Final = "(a)"
BARE: Final = "bare loop"
ACTS: Final = ("seal", "open", "reseal")

Rounds = dict[str, list[Taken]]


@dataclass(frozen=True, slots=True)
class Compared:
    """One act of one way: its cost, and how it stands to the reference and to the bare loop.

    `nanoseconds` a cell, median, least and greatest. `times_reference` says how many times as fast
    as (a) it is; resealing is compared with (a) sealing, as what comes out are sealed cells. Of the
    bare loop it is said how many times as long this takes, where both seal or both open.
    """

    nanoseconds: tuple[float, float, float]
    times_reference: float
    times_bare_loop: float | None


@dataclass(frozen=True, slots=True)
class TableFigures:
    """All ways on one table, by name, then by act."""

    table: str
    ways: dict[str, dict[str, Compared]]


def measure(
    records: int = RECORDS,
    fields: int = FIELDS,
    rounds: int = ROUNDS,
    say: Callable[[str], None] = lambda _: None,
) -> list[TableFigures]:
    """Measure every engine on every table."""
    figures = []
    for title, table in tables(records, fields):
        figures.append(TableFigures(title, compared(_rounds(table, rounds))))
        say(f"{title}: {rounds} rounds")
    return figures


def _rounds(table: Table, rounds: int) -> Rounds:
    with ExitStack() as stack:
        ways = dict(_ways(table, stack))
        taken: Rounds = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                taken[name].append(way())
    return taken


def _ways(table: Table, stack: ExitStack) -> Iterator[tuple[str, Callable[[], Taken]]]:
    batches = batches_of(table)
    yield REFERENCE, lambda: reference_round(table)
    for found in survey():
        if found.engine is None:
            continue
        work = BlockWork(batches, found.engine)
        if not found.engine.parallel:
            yield found.name, work.round
            continue
        bare, threads = BareWork(batches, found.engine), ThreadPoolExecutor(THREADS)
        stack.enter_context(threads)
        yield BARE, bare.round
        yield f"{BARE}, {THREADS} threads", partial(bare.round, threads)
        yield f"{found.name}, cells", work.cells_round
        yield found.name, work.round
        yield f"{found.name}, {THREADS} threads", partial(work.round, threads)


def compared(taken: Rounds) -> dict[str, dict[str, Compared]]:
    """Turn rounds of all ways into figures."""
    return {
        name: {
            act: _compared(
                act, [getattr(each, act) for each in rounds], taken[REFERENCE], taken.get(BARE)
            )
            for act in ACTS
            if getattr(rounds[0], act) is not None
        }
        for name, rounds in taken.items()
    }


def _compared(
    act: str, costs: Sequence[float], reference: Sequence[Taken], bare: Sequence[Taken] | None
) -> Compared:
    base = [each.open if act == "open" else each.seal for each in reference]
    against = None
    if bare is not None and act != "reseal":
        least = [each.open if act == "open" else each.seal for each in bare]
        against = _median_ratio(costs, least)
    spread = (statistics.median(costs), min(costs), max(costs))
    return Compared(spread, _median_ratio(base, costs), against)


def _median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


# --- the report


def report(figures: Sequence[TableFigures]) -> str:
    """Return all of it as text."""
    lines = [
        "ns a cell, median (least to greatest); x (a) is how many times as fast as a Python loop",
        "over one reused AESGCM object, / bare how many times as long as the barest loop in C over",
        "the same cipher with a key for every cell, both in the same round",
    ]
    for each in figures:
        lines += ["", each.table, *_table_lines(each)]
    return "\n".join(lines)


def _table_lines(figures: TableFigures) -> Iterator[str]:
    heads = " ".join(f"{act:>20}{'x (a)':>7}{'/ bare':>7}" for act in ACTS[:2])
    yield f"  {'':<22}{heads} {'reseal':>20}{'x (a)':>7}"
    for name, acts in figures.ways.items():
        cells = " ".join(_cells(acts.get(act), bare=act != "reseal") for act in ACTS)
        yield f"  {name:<22}{cells}".rstrip()


def _cells(figure: Compared | None, *, bare: bool) -> str:
    if figure is None:
        return " " * (34 if bare else 27)
    middle, least, most = figure.nanoseconds
    against = ""
    if bare:
        shown = "" if figure.times_bare_loop is None else f"{figure.times_bare_loop:.2f}"
        against = f"{shown:>7}"
    times = f"{middle:,.0f} ({least:,.0f}-{most:,.0f})"
    return f"{times:>20}{figure.times_reference:>7.2f}{against}"


def as_json(figures: Sequence[TableFigures]) -> Any:
    """Return it for JSON, numbers to four digits."""
    return json.loads(
        json.dumps([asdict(each) for each in figures]),
        parse_float=lambda text: float(f"{float(text):.4g}"),
    )


def main() -> None:
    """Measure, and print a table."""
    conditions, neighbours = Conditions.now(), Neighbours()
    figures = measure(say=lambda line: print(line, file=sys.stderr))
    print("\n".join(conditions.lines()))
    others = neighbours.share()
    print(f"other processes took {'?' if others is None else f'{others:.0%}'} of the machine")
    print(report(figures))


if __name__ == "__main__":
    main()
