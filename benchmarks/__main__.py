"""What a transfer costs, and sealing alone: `python -m benchmarks` (`make bench`)."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import click

from benchmarks import engines, starting
from benchmarks.bare import Bare
from benchmarks.blocks import BlockWork
from benchmarks.conditions import Conditions, Neighbours
from benchmarks.figures import Margin, Repetition, Size, growth
from benchmarks.mixed_table import write_mixed_csv
from benchmarks.report import picture, report
from benchmarks.transfer import run_transfer

RECORDS: Final = (1_000, 10_000, 100_000)
LARGE: Final = 1_000_000
QUICK: Final = (300,)
QUICK_ENGINES: Final = {"records": 300, "fields": 1, "rounds": 1}
REPETITIONS: Final = 5
BLOCK_RECORDS: Final = 100_000
"""How many records at most are sealed as a reference: more do not change what a cell costs."""
RESULT: Final = Path("build/bench.json")
PICTURE: Final = Path("build/bench.svg")

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
@click.option(
    "--svg",
    default=PICTURE,
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to draw them.",
)
def main(
    quick: bool, engines_only: bool, large: bool, repetitions: int, result: Path, svg: Path
) -> None:
    """Measure sealing, opening, resealing, cold starts, and a whole transfer over TLS."""
    conditions, started, neighbours = Conditions.now(), datetime.now(UTC), Neighbours()
    cells = engines.measure(**(QUICK_ENGINES if quick else {}), say=_progress)
    starts = [] if engines_only else starting.measure(1 if quick else starting.ROUNDS, _progress)
    sizes = measure({} if engines_only else _sizes(quick, large, repetitions), _progress)
    others = neighbours.share()
    click.echo(report(conditions, others, sizes))
    if starts:
        click.echo("\n" + starting.report(starts))
    click.echo("\n" + engines.report(cells))
    written = {
        "command": _command(quick, large, repetitions),
        "time": started.isoformat(timespec="seconds"),
        "conditions": asdict(conditions),
        "others_share": None if others is None else round(others, 3),
        "sizes": [size.as_json() for size in sizes],
        "growth": [
            {"from": one.records, "to": other.records, "times": growth(one, other)}
            | {"each_record_more": asdict(Margin.of(one, other))}
            for one, other in pairwise(sizes)
        ],
        "starts": [asdict(each) for each in starts],
        "engines": engines.as_json(cells),
    }
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    if sizes:
        svg.parent.mkdir(parents=True, exist_ok=True)
        svg.write_text(picture(conditions, sizes), encoding="utf-8")


def measure(sizes: Mapping[int, int], say: Say) -> list[Size]:
    """Measure these numbers of records so many times each; the sizes take turns.

    In each repetition the reference runs right before the transfer, and the bare disk and the bare
    loopback right after it.

    Raises:
        RuntimeError: a step failed, or the table did not come back as it went in.
    """
    done: dict[int, list[Repetition]] = {records: [] for records in sizes}
    with tempfile.TemporaryDirectory(prefix="sealroom-bench-") as name:
        folder = Path(name)
        works = {size: _block_work(folder, size) for size in map(_block_records, sizes)}
        for number in range(1, max(sizes.values(), default=0) + 1):
            for records in (size for size, wanted in sizes.items() if number <= wanted):
                started = time.monotonic()
                done[records].append(_repetition(folder, records, works[_block_records(records)]))
                seconds = time.monotonic() - started
                say(f"{records:,} records: {number} of {sizes[records]}, {seconds:.0f} s")
    return [
        Size.of(records, block := _block_records(records), works[block].bytes_per_cell, each)
        for records, each in done.items()
    ]


def _sizes(quick: bool, large: bool, repetitions: int) -> dict[int, int]:
    if quick:
        return dict.fromkeys(QUICK, 1)
    return dict.fromkeys(RECORDS, repetitions) | ({LARGE: 1} if large else {})


def _block_records(records: int) -> int:
    return min(records, BLOCK_RECORDS)


def _block_work(folder: Path, records: int) -> BlockWork:
    table = folder / "blocks.csv"
    write_mixed_csv(table, records)
    return BlockWork.of(table)


def _repetition(folder: Path, records: int, work: BlockWork) -> Repetition:
    blocks = work.measured()
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        transfer = run_transfer(Path(directory), records)
        bare = Bare.of(Path(directory), transfer.upload.sealed_bytes)
    return Repetition(blocks, transfer, bare)


def _command(quick: bool, large: bool, repetitions: int) -> str:
    options = [name for name, given in (("--quick", quick), ("--large", large)) if given]
    return " ".join(["python -m benchmarks", *options, f"--repetitions {repetitions}"])


def _progress(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
