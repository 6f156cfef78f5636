"""How fast tables are read and written, beside the standard library's csv: `make benchtables`.

One table of eight columns, written as each kind of file; rows a second of processor time, median
of five with least and greatest. Reading is from the beginning to Arrow batches of 4,096 rows, what
has to be found out first included; csv only parses, and makes no columns.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Final

import pyarrow as pa

from benchmarks.conditions import Conditions
from client.tables import ReadOptions, open_sink, open_source

ROWS: Final = 200_000
RUNS: Final = 5
BATCH: Final = 4_096
NAMES: Final = ("id", "name", "email", "phone", "address", "since", "state", "spent")


def table(rows: int) -> pa.Table:
    """Return a table of customers, all text."""
    columns = [
        [f"{1_000_000 + n}" for n in range(rows)],
        [f"John Smith {n % 997}" for n in range(rows)],
        [f"john.smith{n}@example.com" for n in range(rows)],
        [f"+49 170 {1_000_000 + n * 7 % 9_000_000}" for n in range(rows)],
        [f"Main Street {n % 300}, Berlin" for n in range(rows)],
        [f"20{n % 25:02}-0{n % 9 + 1}-1{n % 10}" for n in range(rows)],
        ["active" if n % 3 else "gone" for n in range(rows)],
        [f"{n % 10_000 / 100:.2f}" for n in range(rows)],
    ]
    return pa.table(dict(zip(NAMES, columns, strict=True)))


def write(whole: pa.Table, path: Path, form: Mapping[str, object] | None = None) -> None:
    """Write the table to a file of the kind that its suffix says."""
    source = open_source(whole)
    with open_sink(path, source.columns, form, overwrite=True) as sink:
        for batch in source.batches(BATCH):
            sink.write(batch)
        sink.commit()


def read(path: Path, said: ReadOptions) -> None:
    """Read a file to its end."""
    for _ in open_source(path, said).batches(BATCH):
        pass


def parse(path: Path) -> None:
    """Parse a CSV file with the standard library alone."""
    with path.open(newline="", encoding="utf-8") as stream:
        for _ in csv.reader(stream, strict=True):
            pass


def timed(work: Callable[[], None], rows: int) -> str:
    """Return rows a second of processor time: the median, the least and the greatest."""
    rates = []
    for _ in range(RUNS):
        started = time.process_time()
        work()
        rates.append(rows / (time.process_time() - started))
    return f"{median(rates):>12,.0f}  ({min(rates):,.0f} to {max(rates):,.0f})"


def main(rows: int = ROWS) -> None:
    """Measure, and print the table."""
    whole = table(rows)
    stray = whole.set_column(1, "name", pa.array([f'5" pipe {n}' for n in range(rows)]))
    print(f"rows a second of processor time, {rows:,} rows x {len(NAMES)} columns, {RUNS} runs")
    print("\n".join(Conditions.now().lines()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(whole, folder / "t.csv")
        print(f"{'csv alone, no columns':<38}{timed(lambda: parse(folder / 't.csv'), rows)}")
        said = ReadOptions(header_row=1, footer=0)
        for what, file, data, form, options in (
            ("CSV", "t.csv", whole, None, said),
            ("CSV, quotes doubled in cells", "q.csv", stray, None, said),
            ("CSV in GB18030", "g.csv", whole, {"kind": "csv", "encoding": "gb18030"},
             ReadOptions(encoding="gb18030", header_row=1, footer=0)),
            ("Excel (.xlsx)", "t.xlsx", whole.slice(0, rows // 10), None, said),
            ("SQLite", "t.sqlite", whole, None, ReadOptions()),
            ("Parquet", "t.parquet", whole, None, ReadOptions()),
            ("Arrow IPC", "t.arrow", whole, None, ReadOptions()),
            ("JSON lines", "t.jsonl", whole, None, ReadOptions()),
        ):  # fmt: skip
            path, count = folder / file, data.num_rows
            wrote = timed(lambda: write(data, path, form), count)  # noqa: B023 - called at once
            got = timed(lambda: read(path, options), count)  # noqa: B023
            print(f"{what + ', written':<38}{wrote}")
            print(f"{what + ', read':<38}{got}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
