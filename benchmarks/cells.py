"""What sealing and opening cells costs: `python -m benchmarks.cells`.

Everything is compared with the plainest way to do the work, reference (a): a Python loop over
one reused AESGCM object with random nonces and 40 bytes of associated data, on the same values.
Times differ from machine to machine; the ratios are what holds. Engines and reference take
turns, so that a busy moment hits both.
"""

from __future__ import annotations

import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from client.columns import Cells
from client.crypto.cells import ColumnToSeal, SealedBatch, open_block, seal_batch
from client.crypto.engines import CryptographyEngine, Engine, SodiumEngine
from protocol.blocks import FieldClass
from protocol.limits import LIMITS

RECORDS = 20_000
FIELDS = 10
ROUNDS = 5

Table = Sequence[Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Nanoseconds a cell, one entry for each round."""

    seal: tuple[float, ...]
    open: tuple[float, ...]


# --- the tables


def equal_table(records: int = RECORDS, fields: int = FIELDS) -> Table:
    """Return columns of many values of exactly 20 bytes: what the engines like best."""
    draw = random.Random(1)
    return [[draw.randbytes(20) for _ in range(records)] for _ in range(fields)]


def varied_table(records: int = RECORDS, fields: int = FIELDS) -> Table:
    """Return columns of many values of 12 to 28 bytes: every second cell is a step longer."""
    draw = random.Random(2)
    return [[draw.randbytes(draw.randint(12, 28)) for _ in range(records)] for _ in range(fields)]


def few_values_table(records: int = RECORDS, fields: int = FIELDS) -> Table:
    """Return columns of 12 values of 12 to 28 bytes: counting the values is the work."""
    draw = random.Random(3)
    values = [[draw.randbytes(draw.randint(12, 28)) for _ in range(12)] for _ in range(fields)]
    return [[draw.choice(some) for _ in range(records)] for some in values]


TABLES: dict[str, Callable[[], Table]] = {
    "20 bytes each": equal_table,
    "12 to 28 bytes": varied_table,
    "12 values a field": few_values_table,
}


# --- the work


def engines() -> list[Engine]:
    """Return the engines that run on this machine."""
    try:
        return [SodiumEngine(), CryptographyEngine()]
    except LookupError:
        return [CryptographyEngine()]


def reference_round(table: Table) -> tuple[float, float]:
    """Seal and open every cell the plain way; return nanoseconds a cell for each."""
    cipher, address = AESGCM(bytes(32)), bytes(40)
    sealed: list[bytes] = []

    def seal() -> None:
        for column in table:
            for value in column:
                nonce = os.urandom(12)
                sealed.append(nonce + cipher.encrypt(nonce, value, address))

    def open_all() -> None:
        for cell in sealed:
            cipher.decrypt(cell[:12], cell[12:], address)

    cells = sum(map(len, table))
    return _seconds(seal) / cells * 1e9, _seconds(open_all) / cells * 1e9


def batches_of(
    table: Table, records: int = LIMITS.batch_records_default
) -> list[list[ColumnToSeal]]:
    """Cut a table into batches as an upload would, with the columns ready to be sealed."""
    return [
        [
            ColumnToSeal(
                field,
                1,
                FieldClass.GENERAL,
                field.to_bytes(32, "big"),
                Cells.from_list(column[start : start + records], string_like=True),
            )
            for field, column in enumerate(table)
        ]
        for start in range(0, len(table[0]), records)
    ]


def blocks_round(batches: list[list[ColumnToSeal]], engine: Engine) -> tuple[float, float]:
    """Seal and open whole blocks, padding and hashes included; return nanoseconds a cell."""
    sealed: list[SealedBatch] = []

    def seal() -> None:
        sealed.extend(seal_batch(columns, engine) for columns in batches)

    def open_all() -> None:
        for columns, batch in zip(batches, sealed, strict=True):
            manifest = batch.manifest
            for column, ref, block in zip(columns, manifest.blocks, batch.blocks, strict=True):
                open_block(
                    column.field_key,
                    column.field_class,
                    ref,
                    manifest.batch_id,
                    manifest.records,
                    block,
                    column.cells.string_like,
                    engine=engine,
                )

    cells = sum(columns[0].cells.count * len(columns) for columns in batches)
    return _seconds(seal) / cells * 1e9, _seconds(open_all) / cells * 1e9


def measure(table: Table, rounds: int = ROUNDS) -> dict[str, Cost]:
    """Return what each way costs on this table, by name; `(a)` is the reference."""
    batches = batches_of(table)
    ways: dict[str, Callable[[], tuple[float, float]]] = {"(a)": lambda: reference_round(table)}
    for engine in engines():
        ways[engine.name] = lambda engine=engine: blocks_round(batches, engine)  # type: ignore[misc]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(way())
    return {
        name: Cost(tuple(seal for seal, _ in times), tuple(opened for _, opened in times))
        for name, times in taken.items()
    }


def ratios(costs: dict[str, Cost]) -> dict[str, tuple[float, float]]:
    """Return, for each engine, how many times as fast as (a) it seals and opens, best to best."""
    base = costs["(a)"]
    return {
        name: (min(base.seal) / min(cost.seal), min(base.open) / min(cost.open))
        for name, cost in costs.items()
        if cost is not base
    }


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# --- the report


def report(rounds: int = ROUNDS) -> str:
    """Return all tables and engines as text, with what they were measured on."""
    lines = [
        f"{RECORDS:,} records x {FIELDS} fields, batches of {LIMITS.batch_records_default:,}, "
        f"one process; ns a cell, best (median) of {rounds}",
        f"Python {platform.python_version()}, cryptography {version('cryptography')}, "
        f"PyNaCl {version('PyNaCl')}, numpy {version('numpy')}; "
        f"{platform.machine()}, {os.cpu_count()} cores",
        "",
        f"{'table':<20}{'way':<14}{'seal':>16}{'x (a)':>7}{'open':>16}{'x (a)':>7}",
    ]
    for title, make in TABLES.items():
        costs = measure(make(), rounds)
        times = {"(a)": (1.0, 1.0), **ratios(costs)}
        for name, cost in costs.items():
            sealing, opening = times[name]
            lines.append(
                f"{title:<20}{name:<14}{_best(cost.seal):>16}{sealing:>7.2f}"
                f"{_best(cost.open):>16}{opening:>7.2f}"
            )
    return "\n".join(lines)


def _best(times: Sequence[float]) -> str:
    return f"{min(times):.0f} ({statistics.median(times):.0f})"


if __name__ == "__main__":
    sys.stdout.write(report() + "\n")
