"""What a transfer costs, and sealing alone: `python -m benchmarks` (`make bench`)."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from benchmarks import engines
from benchmarks.blocks import BlockWork
from benchmarks.conditions import Conditions, Neighbours
from benchmarks.figures import Repetition, Size
from benchmarks.mixed_table import write_mixed_csv
from benchmarks.report import report
from benchmarks.transfer import run_transfer

RECORDS: Final = (10_000, 100_000)
LARGE: Final = 1_000_000
QUICK: Final = (300,)
QUICK_ENGINES: Final = {"records": 300, "fields": 1, "rounds": 1}
REPETITIONS: Final = 5
BLOCK_RECORDS: Final = 100_000
"""How many records at most are sealed as a reference: more do not change what a cell costs."""
RESULT: Final = Path("build/bench.json")

Say = Callable[[str], None]


@click.command()
@click.option("--quick", is_flag=True, help="A tiny table, once: only to see that it works.")
@click.option("--engines-only", is_flag=True, help="Only sealing and opening, every engine.")
@click.option("--large", is_flag=True, help=f"Also {LARGE:,} records, once: some minutes more.")
@click.option("--repetitions", default=REPETITIONS, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--json",
    "result",
    default=RESULT,
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the figures as JSON.",
)
def main(quick: bool, engines_only: bool, large: bool, repetitions: int, result: Path) -> None:
    """Measure sealing, opening, resealing and a whole transfer over TLS, and print tables."""
    conditions, started, neighbours = Conditions.now(), datetime.now(UTC), Neighbours()
    cells = engines.measure(**(QUICK_ENGINES if quick else {}), say=_progress)
    sizes = [
        measure(records, 1 if quick or records == LARGE else repetitions, _progress)
        for records in (QUICK if quick else (*RECORDS, *([LARGE] if large else [])))
        if not engines_only
    ]
    others = neighbours.share()
    click.echo(report(conditions, others, sizes))
    click.echo("\n" + engines.report(cells))
    written = {
        "command": _command(quick, large, repetitions),
        "time": started.isoformat(timespec="seconds"),
        "conditions": asdict(conditions),
        "others_share": None if others is None else round(others, 3),
        "sizes": [size.as_json() for size in sizes],
        "engines": engines.as_json(cells),
    }
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def measure(records: int, repetitions: int, say: Say) -> Size:
    """Measure one size; in each repetition the reference runs right before the transfer.

    Raises:
        RuntimeError: a step failed, or the table did not come back as it went in.
    """
    with tempfile.TemporaryDirectory(prefix="sealroom-bench-") as folder:
        table = Path(folder) / "blocks.csv"
        write_mixed_csv(table, block_records := min(records, BLOCK_RECORDS))
        work = BlockWork.of(table)
        done: list[Repetition] = []
        for number in range(1, repetitions + 1):
            started = time.monotonic()
            directory = Path(folder) / str(number)
            directory.mkdir()
            done.append(Repetition(work.measured(), run_transfer(directory, records)))
            seconds = time.monotonic() - started
            say(f"{records:,} records: {number} of {repetitions}, {seconds:.0f} s")
        return Size.of(records, block_records, work.value_bytes / work.cells, done)


def _command(quick: bool, large: bool, repetitions: int) -> str:
    options = [name for name, given in (("--quick", quick), ("--large", large)) if given]
    return " ".join(["python -m benchmarks", *options, f"--repetitions {repetitions}"])


def _progress(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
