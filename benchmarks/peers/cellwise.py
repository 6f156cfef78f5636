"""A peer that seals cells one by one, and the work that is measured with it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from benchmarks.cells import Table

COLUMN: Final = 6
"""The field that is put under a new key: of all ten the nearest to their mean."""

CLOCK: Final = time.process_time

Function = Callable[..., bytes]
"""From a value, and its place where the peer binds to one, to what is sealed, or back."""


class Reader(StrEnum):
    """What it takes to let one more reader read what is there."""

    FIELDS = "a key for each field"
    CELLS = "every cell anew"
    BYTES = "everything anew"
    ELSEWHERE = "no way of its own"


@dataclass(frozen=True, slots=True)
class Costs:
    """What a round took, in nanoseconds.

    A cell, for sealing, opening, and putting a column under a new key that is there already; in
    all, for putting one single cell under it. `reader`: to let one more reader in, a cell or for
    all fields as the peer's `Reader` says; None where it has no way of its own.
    """

    seal: float
    open: float
    column: float
    cell: float
    reader: float | None


class Peer(ABC):
    """A library, used as its documentation says, with a key for each field.

    Where `binds`, what `sealer` and `opener` return takes a cell's place as well. `records` are
    how many a round takes, fewer where it is slow.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    records: ClassVar[int]
    binds: ClassVar[bool]
    reader: ClassVar[Reader]

    @abstractmethod
    def fresh_key(self) -> Any:
        """Make a field's key."""

    @abstractmethod
    def sealer(self, key: Any) -> Function:
        """Return what seals a cell under a field's key."""

    @abstractmethod
    def opener(self, key: Any) -> Function:
        """Return what opens one; it raises where it does not open."""

    def admit(self, keys: Sequence[Any], sealed: Table, places: Table) -> object:
        """Let one more reader read all of it, so that it can open nothing else.

        Returns what the reader is given. Only where `reader` says that there is a way.
        """
        raise NotImplementedError(f"{self.name} has no way of its own")


class CellWork:
    """A table sealed by a peer, and what is then done with it.

    Raises: ValueError, if the peer does not give back what it was given.
    """

    def __init__(self, peer: Peer, values: Table) -> None:
        self.peer = peer
        self.values = [list(column[: peer.records]) for column in values]
        self.places = [
            [field.to_bytes(8, "big") + row.to_bytes(32, "big") for row in range(len(column))]
            for field, column in enumerate(self.values)
        ]
        self.keys = [peer.fresh_key() for _ in self.values]
        self.sealed = self._each(peer.sealer, self.values)
        if self._each(peer.opener, self.sealed) != self.values:
            raise ValueError(f"{peer.name} does not give back what it was given")

    @property
    def cells(self) -> int:
        """How many cells a round takes."""
        return sum(map(len, self.values))

    @property
    def added_bytes(self) -> float:
        """How many bytes a cell has more than its value."""
        sealed, plain = (
            sum(len(cell) for column in table for cell in column)
            for table in (self.sealed, self.values)
        )
        return (sealed - plain) / self.cells

    def moved_cell_opens(self) -> bool:
        """Say whether a cell opens in the place of another of its field, unnoticed."""
        moved = [self.sealed[COLUMN][1]]
        try:
            self._done(self.peer.opener(self.keys[COLUMN]), moved, self.places[COLUMN][:1])
        except Exception:  # whatever kind the peer raises: it noticed
            return False
        return True

    def round(self) -> Costs:
        """Do all of it once."""
        cells = self.cells
        seal = nanoseconds(lambda: self._each(self.peer.sealer, self.values))
        opened = nanoseconds(lambda: self._each(self.peer.opener, self.sealed))
        another = self.peer.fresh_key()
        moved = nanoseconds(lambda: self._moved(another)) / len(self.values[COLUMN])
        return Costs(seal / cells, opened / cells, moved, moved, self._admitted())

    def _admitted(self) -> float | None:
        if self.peer.reader is Reader.ELSEWHERE:
            return None
        taken = nanoseconds(lambda: self.peer.admit(self.keys, self.sealed, self.places))
        return taken / self.cells if self.peer.reader is Reader.CELLS else taken

    def _moved(self, key: Any) -> list[bytes]:
        """Put a column under a new key."""
        places = self.places[COLUMN]
        opener = self.peer.opener(self.keys[COLUMN])
        values = self._done(opener, self.sealed[COLUMN], places)
        return self._done(self.peer.sealer(key), values, places)

    def _each(self, maker: Callable[[Any], Function], table: Table) -> list[list[bytes]]:
        return [
            self._done(maker(key), column, places)
            for key, column, places in zip(self.keys, table, self.places, strict=True)
        ]

    def _done(
        self, function: Function, cells: Sequence[bytes], places: Sequence[bytes]
    ) -> list[bytes]:
        if self.peer.binds:
            return list(map(function, cells, places))
        return list(map(function, cells))


def nanoseconds(work: Callable[[], object]) -> float:
    """Return what it takes of the processor: other processes disturb that less than the time."""
    start = CLOCK()
    work()
    return (CLOCK() - start) * 1e9
