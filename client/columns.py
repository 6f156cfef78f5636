"""One column of cells in the form that sealing works on (SPEC section 7).

Joined value bytes, where each value begins, and which cells hold a value at all. It knows
numpy and nothing of Arrow: `client.tables` makes it from tables, `client.crypto` seals it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Buffer: TypeAlias = bytes | memoryview | npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Cells:
    """The cells of one column of one batch, as bytes without a Python object per cell.

    Cell `i` is `values[offsets[i]:offsets[i + 1]]` where `valid[i]`, and null otherwise.
    Guaranteed by construction: `offsets` has `count + 1` int64 entries, begins with 0, never
    falls and ends with the length of `values`; `valid` has `count` booleans; a null cell has
    no bytes. `string_like` says that the values vary in length by nature (text, binary), so
    that their lengths are worth hiding; otherwise each has the width of its type.

    Never prints its values. Raises: ValueError for a shape other than this.
    """

    values: Buffer
    offsets: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_]
    string_like: bool

    def __post_init__(self) -> None:
        """Check the shape once, so that no later slice reads beyond the values."""
        offsets, valid = self.offsets, self.valid
        if offsets.dtype != np.int64 or valid.dtype != np.bool_:
            raise ValueError("offsets must be int64 and valid bool")
        if offsets.ndim != 1 or valid.ndim != 1 or len(offsets) != len(valid) + 1:
            raise ValueError("offsets must have one entry more than valid")
        widths = np.diff(offsets)
        if offsets[0] != 0 or offsets[-1] != byte_length(self.values) or (widths < 0).any():
            raise ValueError("offsets must rise from 0 to the length of the values")
        if widths[~valid].any():
            raise ValueError("a null cell has no bytes")

    def __repr__(self) -> str:
        """Say how much, never what."""
        return f"Cells(count={self.count}, bytes={byte_length(self.values)})"

    def __reduce__(self) -> str | tuple[object, ...]:
        """Refuse pickling: cells are what the whole program keeps from leaking."""
        raise TypeError("Cells cannot be pickled")

    @classmethod
    def trusted(
        cls,
        values: Buffer,
        offsets: npt.NDArray[np.int64],
        valid: npt.NDArray[np.bool_],
        string_like: bool,
    ) -> Cells:
        """Build from parts whose maker guarantees their shape, which is not looked at again."""
        made = object.__new__(cls)
        for name, part in zip(cls.__slots__, (values, offsets, valid, string_like), strict=True):
            object.__setattr__(made, name, part)
        return made

    @property
    def count(self) -> int:
        """The number of cells, nulls among them."""
        return len(self.valid)

    def cell(self, index: int) -> bytes | None:
        """Return one cell's bytes, None for a null; for tests and single cells, not for columns."""
        if not self.valid[index]:
            return None
        start, end = int(self.offsets[index]), int(self.offsets[index + 1])
        return np.frombuffer(self.values, np.uint8)[start:end].tobytes()

    @classmethod
    def from_list(cls, cells: Sequence[bytes | None], *, string_like: bool) -> Cells:
        """Build from one bytes object (or None) per cell; for tests and single cells."""
        widths = np.fromiter((len(cell or b"") for cell in cells), np.int64, len(cells))
        offsets = np.zeros(len(cells) + 1, np.int64)
        np.cumsum(widths, out=offsets[1:])
        valid = np.fromiter((cell is not None for cell in cells), np.bool_, len(cells))
        return cls(b"".join(cell or b"" for cell in cells), offsets, valid, string_like)


def byte_length(values: Buffer) -> int:
    """Return the length of a buffer in bytes."""
    return values.nbytes if not isinstance(values, bytes) else len(values)
