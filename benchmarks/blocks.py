"""Reference (a), and sealing and opening of whole blocks, on the values of the measured table."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.cells import BlockWork as EngineWork
from benchmarks.cells import Table, reference_by
from benchmarks.mixed_table import CLASSES, NULL_TEXT
from client.columns import byte_length
from client.crypto.cells import ColumnToSeal
from client.crypto.engines import default_engine
from client.tables import ReadOptions, column_cells, open_source
from protocol.limits import LIMITS


@dataclass(frozen=True, slots=True)
class Round:
    """Nanoseconds a cell: of (a), and right after it of blocks, sealed, opened and sealed anew.

    `work_seal` and `work_open` are what (a) took of the processor, the others by the clock.
    `nonce` is what drawing one nonce costs, a part of `reference_seal` that is the system's
    and differs between machines far more than the cipher does.
    """

    reference_seal: float
    reference_open: float
    seal: float
    open: float
    reseal: float
    nonce: float
    work_seal: float
    work_open: float


@dataclass(frozen=True, slots=True)
class BlockWork:
    """A table ready to be sealed both ways; what makes it ready is not part of the figures.

    (a) seals each value alone and so begins from separate objects; blocks begin from columns,
    as in an upload.
    """

    values: Table
    batches: list[list[ColumnToSeal]]

    @classmethod
    def of(cls, table: Path) -> Self:
        """Read a mixed table, and cut it into batches under keys that nobody keeps."""
        keys = [secrets.token_bytes(32) for _ in CLASSES]
        source = open_source(table, ReadOptions(null_text=NULL_TEXT))
        batches = [
            [
                ColumnToSeal(field, 1, its_class, key, column_cells(column))
                for field, (column, its_class, key) in enumerate(
                    zip(batch.columns, CLASSES.values(), keys, strict=True)
                )
            ]
            for batch in source.batches(LIMITS.batch_records_default)
        ]
        columns = zip(*batches, strict=True)
        return cls(
            [[cell for part in parts for cell in _values(part)] for parts in columns], batches
        )

    @property
    def cells(self) -> int:
        """How many cells there are, nulls among them."""
        return sum(map(len, self.values))

    @property
    def value_bytes(self) -> int:
        """How many bytes all values have."""
        return sum(byte_length(part.cells.values) for parts in self.batches for part in parts)

    @property
    def bytes_per_cell(self) -> float:
        """How many bytes a value has on average."""
        return self.value_bytes / self.cells

    def measured(self) -> Round:
        """Seal and open everything once each way, and seal blocks anew."""
        plain, work = reference_by(self.values, time.perf_counter, time.process_time)
        blocks = EngineWork(self.batches, default_engine()).round()
        assert blocks.reseal is not None  # blocks can be
        return Round(
            plain.seal,
            plain.open,
            blocks.seal,
            blocks.open,
            blocks.reseal,
            _nonce_nanoseconds(self.cells),
            work.seal,
            work.open,
        )


def _nonce_nanoseconds(count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        os.urandom(12)
    return (time.perf_counter() - start) / count * 1e9


def _values(column: ColumnToSeal) -> list[bytes]:
    return [column.cells.cell(at) or b"" for at in range(column.cells.count)]
