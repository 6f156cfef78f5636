"""What an engine is: the part of a block that costs time, in one small interface (SPEC 7.2, 7.3).

An engine turns columns of cells into blocks and back. Which one runs is a matter of speed only:
they give the same bytes, and refuse the same blocks at the same record for the same reason. What
is above them (keys, salts, hashes, limits, whose fault it is) is in `client.crypto.cells`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import Enum
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from client.columns import Cells
from client.crypto.padding import Needs, Octets, Shape
from protocol.blocks import FieldClass, Padding

LENGTH_BYTES: Final = 4
NONCE: Final = bytes(12)

Mask = npt.NDArray[np.bool_]


class Fault(Enum):
    """What is wrong with a block, for our tests; outward there is one answer.

    Of several faults a block is refused for the one that stands first here.
    """

    BLOCK = "another block than was committed"
    MODE = "a padding mode of another class or type"
    LENGTH = "a length that no sealed cell has"
    SUM = "lengths that do not add up"
    EMPTY = "other cells are empty than were erased"
    CELL = "a cell that does not authenticate"
    PADDING = "a cell padded otherwise than its mode says"


class BlockRefused(Exception):
    """A block does not open; `record` counts from 0, and is None where no single one is meant."""

    def __init__(self, fault: Fault, record: int | None = None) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.record = record


class Rules(NamedTuple):
    """By what the padding of a block is judged, and whether its values vary in length by nature."""

    field_class: FieldClass
    padding: Padding
    string_like: bool


class Draft(Protocol):
    """A padded block in memory that is used again: valid only inside `Engine.draft`."""

    @property
    def plaintext(self) -> Octets:
        """The block plaintext: le32 of each padded cell's length, then the padded cells."""
        ...

    def seal(self, batch_key: bytes) -> bytes:
        """Return the block, each cell sealed under its own key; works once.

        The caller owes that a batch key seals one plaintext ever.
        """
        ...


class Engine(Protocol):
    """Seals and opens whole blocks. Threads may share one."""

    @property
    def name(self) -> str:
        """What it is called, as in SEALROOM_ENGINE."""
        ...

    @property
    def parallel(self) -> bool:
        """Whether threads make it faster: whether it lets go of the interpreter's lock."""
        ...

    def rows_of_few_values(self, cells: Cells) -> int:
        """Return how many leading cells still hold at most 256 distinct values, null being one."""
        ...

    def measure(self, cells: Cells, unit: int) -> Needs:
        """Return what these cells need, padded in steps of `unit` bytes."""
        ...

    def draft(
        self, cells: Cells, shape: Shape, erased: Mask | None = None
    ) -> AbstractContextManager[Draft]:
        """Pad cells to a shape that `shape_of` gave for them.

        `erased` has an entry for each record of the block; `cells` are those of the records that
        it does not name. Whatever the draft held is wiped in the end.
        """
        ...

    def open(
        self, batch_key: bytes, block: bytes, erased: Mask | None, records: int, rules: Rules
    ) -> Cells:
        """Return the cells of a block once all of it is right; erased ones come as nulls.

        The caller owes at least one record, and a block with room for its lengths.

        Raises:
            BlockRefused: anything is wrong with it; nothing of it comes out.
        """
        ...
