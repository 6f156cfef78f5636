"""Who is compared, and who is not here, with why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from importlib.metadata import version
from typing import Final, Protocol

from benchmarks.cells import Table
from benchmarks.peers.cellwise import CellWork, Costs, Reader
from benchmarks.peers.ours import OurWork
from client.crypto.cells import ColumnToSeal
from client.crypto.engines import survey

CELLWISE: Final = (
    ("benchmarks.peers.with_tink", "TinkAead"),
    ("benchmarks.peers.with_tink", "TinkEnvelope"),
    ("benchmarks.peers.with_nacl", "NaclSecretBox"),
    ("benchmarks.peers.with_fernet", "FernetTokens"),
    ("benchmarks.peers.with_mongo", "MongoFields"),
    ("benchmarks.peers.with_aws", "AwsMessages"),
    ("benchmarks.peers.with_age", "AgeCells"),
    ("benchmarks.peers.with_umbral", "UmbralCells"),
)
WHOLE: Final = (
    ("benchmarks.peers.whole", "ParquetModules"),
    ("benchmarks.peers.whole", "AgeFile"),
)
"""Modules and what to take of them: imported one by one, for not all install everywhere."""


class Kind(StrEnum):
    """Sealroom, a peer that seals cell by cell as it does, and one that seals something larger."""

    OURS = "ours"
    CELLS = "cells"
    WHOLE = "whole"


class Work(Protocol):
    """A table sealed one way."""

    @property
    def cells(self) -> int:
        """How many cells a round takes."""

    @property
    def added_bytes(self) -> float:
        """How many bytes a cell has more than its value."""

    def moved_cell_opens(self) -> bool:
        """Say whether a cell opens in another's place."""

    def round(self) -> Costs:
        """Do all of it once."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to seal the table, with the library that does it."""

    name: str
    kind: Kind
    library: str
    reader: Reader
    work: Work


@dataclass(frozen=True, slots=True)
class Absent:
    """A peer that is not here, and what its import said."""

    name: str
    why: str


def ways(values: Table, batches: Sequence[list[ColumnToSeal]]) -> tuple[list[Way], list[Absent]]:
    """Seal the table in every way that there is here."""
    ours = (OurWork(batches, each.engine) for each in survey() if each.engine is not None)
    found = [Way(work.name, Kind.OURS, "", Reader.FIELDS, work) for work in ours]
    absent: list[Absent] = []
    for kind, members in ((Kind.CELLS, CELLWISE), (Kind.WHOLE, WHOLE)):
        for module, member in members:
            try:
                found.append(_way(module, member, kind, values))
            except ImportError as error:
                absent.append(Absent(member, str(error)))
    return found, absent


def _way(module: str, member: str, kind: Kind, values: Table) -> Way:
    peer = getattr(import_module(module), member)
    work: Work = CellWork(peer(), values) if kind is Kind.CELLS else peer(values)
    return Way(peer.name, kind, f"{peer.package} {version(peer.package)}", peer.reader, work)
