"""The command: `python -m benchmarks.peers` (`make bench-peers`, which installs the peers)."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from benchmarks.blocks import BlockWork
from benchmarks.conditions import Conditions, Neighbours
from benchmarks.mixed_table import write_mixed_csv
from benchmarks.peers.catalogue import ways
from benchmarks.peers.comparing import as_json, compare
from benchmarks.peers.report import picture, report
from benchmarks.report import others_line
from protocol.limits import LIMITS

RECORDS: Final = 2 * LIMITS.batch_records_default
REFERENCE_RECORDS: Final = 1_000
ROUNDS: Final = 9
QUICK_RECORDS: Final = 20
RESULT: Final = Path("build/bench-peers.json")
PICTURE: Final = Path("build/bench-peers.svg")


@click.command()
@click.option("--quick", is_flag=True, help="A tiny table, once: only to see that it works.")
@click.option("--rounds", default=ROUNDS, show_default=True, type=click.IntRange(min=1))
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
def main(quick: bool, rounds: int, result: Path, svg: Path) -> None:
    """Seal the same table in every way that is here, and print how they compare."""
    conditions, started, neighbours = Conditions.now(), datetime.now(UTC), Neighbours()
    with tempfile.TemporaryDirectory(prefix="sealroom-peers-") as folder:
        table = Path(folder) / "table.csv"
        write_mixed_csv(table, QUICK_RECORDS if quick else RECORDS)
        work = BlockWork.of(table)
    found, absent = ways(work.values, work.batches)
    reference = [column[:REFERENCE_RECORDS] for column in work.values]
    rows = compare(
        found, reference, 1 if quick else rounds, lambda line: click.echo(line, err=True)
    )
    others = neighbours.share()
    click.echo("\n".join([*conditions.lines(), others_line(others), ""]))
    click.echo(report(rows, absent))
    written = {
        "command": "python -m benchmarks.peers" + (" --quick" if quick else f" --rounds {rounds}"),
        "time": started.isoformat(timespec="seconds"),
        "conditions": asdict(conditions),
        "others_share": None if others is None else round(others, 3),
        "bytes_per_cell": round(work.bytes_per_cell, 2),
        "rows": as_json(rows),
        "absent": [asdict(each) for each in absent],
    }
    for path, content in (
        (result, json.dumps(written, indent=1) + "\n"),
        (svg, picture(rows, f"{conditions.processor}, {conditions.python}; make bench-peers")),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
