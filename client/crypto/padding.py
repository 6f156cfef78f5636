"""Padding whole columns, and taking it off only where it is exactly right (SPEC section 7).

A padded cell is value || 0x80 || zeros, or zeros only for a null. How long it becomes is the
block's padding mode. All of this runs on whole columns: no Python object per cell. The modes are
for everybody; what pads and unpads is for engines that have nothing faster.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from client.columns import Cells
from protocol.blocks import UNIFORM_MOST, FieldClass, Padding
from protocol.limits import LIMITS

TERMINATOR: Final = 0x80
# String columns of at most so many distinct values (null is one) get one length per block:
# among few values a length tells which.
FEW_VALUES: Final = 256

Octets: TypeAlias = npt.NDArray[np.uint8]
Sizes: TypeAlias = npt.NDArray[np.int64]

_FIRST_SCAN: Final = FEW_VALUES + 32
_SCAN: Final = 1_024
# A little-endian word at or above the k-th of these has its highest byte at k + 1 or later.
_BYTE_STARTS: Final = np.left_shift(np.uint64(1), np.arange(8, 64, 8, dtype=np.uint64))


class BadPadding(Exception):
    """A cell padded otherwise than its mode says; `position` counts those handed in, from 0."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


# --- which mode, which lengths


class Needs(NamedTuple):
    """What cells need, in bytes: each its value and the terminator, and 1 for a null.

    `longest` is the most that one needs (0 without any) and `position` the first that does.
    `rounded` is the sum once each is rounded up to the class's unit, and `powers` once each is a
    power of two as in a UNIFORM block of long cells.
    """

    longest: int
    position: int
    rounded: int
    powers: int


class Shape(NamedTuple):
    """How the cells of a block are padded.

    All to `width` bytes; where that is 0 each to a multiple of `unit`; where that is 0 too each to
    a power of two. `total` is what they then have together.
    """

    width: int
    unit: int
    total: int


def shape_of(needs: Needs, count: int, padding: Padding, field_class: FieldClass) -> Shape:
    """Return the shape that a mode gives to `count` cells (SPEC section 7)."""
    if padding is not Padding.UNIFORM:
        return Shape(0, field_class.unit, needs.rounded)
    width = round_up_one(needs.longest, field_class.unit)
    return Shape(width, 0, width * count) if width <= UNIFORM_MOST else Shape(0, 0, needs.powers)


def allowed_modes(field_class: FieldClass, string_like: bool) -> frozenset[Padding]:
    """Return the modes that a block of this class and kind of type may have.

    Whether text had few distinct values cannot be told once cells of it are erased, so both
    modes of its class are allowed.
    """
    text = {Padding.of_text(field_class)} if string_like else set()
    return frozenset({Padding.UNIFORM} | text)


def rows_of_few_values(cells: Cells) -> int:
    """Return how many leading cells still hold at most 256 distinct values, null being one.

    Non-string columns count as such throughout. Columns of many values end the search early.
    """
    if not cells.string_like:
        return cells.count
    values = np.frombuffer(cells.values, np.uint8)
    seen: set[bytes | None] = set()
    end = 0
    while end < cells.count:
        # A column of many values mostly shows it at its beginning.
        start, end = end, min(end + (_SCAN if end else _FIRST_SCAN), cells.count)
        bounds = cells.offsets[start : end + 1]
        raw = values[bounds[0] : bounds[-1]].tobytes()
        ends = (bounds - bounds[0]).tolist()
        chunk: list[bytes | None] = list(map(raw.__getitem__, map(slice, ends, ends[1:])))
        for null in np.flatnonzero(~cells.valid[start:end]).tolist():
            chunk[null] = None
        if len(seen.union(chunk)) > FEW_VALUES:
            new = [cell for cell in dict.fromkeys(chunk) if cell not in seen]
            return start + chunk.index(new[FEW_VALUES - len(seen)])
        seen.update(chunk)
    return cells.count


def needs_of(cells: Cells, unit: int) -> Needs:
    """Return what cells need, padded in steps of `unit` bytes."""
    needed = needed_sizes(cells)
    if not len(needed):
        return Needs(0, 0, 0, 0)
    position = int(needed.argmax())
    longest = int(needed[position])
    powers = (
        len(needed) * UNIFORM_MOST if longest <= UNIFORM_MOST else int(power_sizes(needed).sum())
    )
    return Needs(longest, position, int(round_up(needed, unit).sum()), powers)


def needed_sizes(cells: Cells) -> Sizes:
    """Return the bytes that each cell needs: its value and the terminator; 1 for a null."""
    return np.diff(cells.offsets) + 1


def shaped_sizes(needed: Sizes, shape: Shape) -> Sizes:
    """Return the length to which each cell is padded, in bytes."""
    if shape.width:
        return np.full(len(needed), shape.width)
    return round_up(needed, shape.unit) if shape.unit else power_sizes(needed)


def round_up(sizes: Sizes, unit: int) -> Sizes:
    """Round sizes up to multiples of `unit`, a power of two."""
    return (sizes + (unit - 1)) & -unit


def round_up_one(size: int, unit: int) -> int:
    """Round one size up to a multiple of `unit`, a power of two."""
    return (size + (unit - 1)) & -unit


def power_sizes(needed: Sizes) -> Sizes:
    """Return the sizes of a UNIFORM block with a cell above 1,024 bytes: powers of two."""
    _, exponents = np.frexp((needed - 1).astype(np.float64))
    return np.maximum(np.left_shift(np.int64(1), exponents.astype(np.int64)), UNIFORM_MOST)


# --- on


def pad(cells: Cells, sizes: Sizes, padded: Octets) -> None:
    """Write the padded cells, joined, into `padded`, which is all zeros and as long as `sizes`."""
    lengths = np.diff(cells.offsets)
    values = np.frombuffer(cells.values, np.uint8)
    if len(sizes) and _equal(lengths) and _equal(sizes):
        count, length = len(sizes), int(lengths[0])
        padded.reshape(count, -1)[:, :length] = values.reshape(count, length)
    else:
        padded[_value_bytes(lengths, sizes)] = values
    ends = np.cumsum(sizes) - sizes + lengths
    padded[ends[cells.valid]] = TERMINATOR


# --- off


class Unpadded(NamedTuple):
    """Values joined, the length of each, and which are values at all."""

    values: Octets
    lengths: Sizes
    valid: npt.NDArray[np.bool_]


def unpad(padded: Octets, sizes: Sizes) -> Unpadded:
    """Take the padding off joined cells, none of which is empty.

    Guaranteed: each is value || 0x80 || zeros, or zeros only, and no value is longer than a cell
    may be. That the sizes are those of the mode is for `verify_sizes`.

    Raises:
        BadPadding: no terminator, or something after it, or too long a value.
    """
    words = padded.view("<u8")
    ends = np.cumsum(sizes) // 8
    starts = ends - sizes // 8
    last = _last_words(words, starts, ends)
    top = words[last]
    valid = top != 0
    # Which of its bytes is the last that is not zero; a binary search would guess wrong too often.
    byte = np.zeros(len(top), np.int64)
    for start in _BYTE_STARTS:
        byte += top >= start
    # The highest byte that is not zero must be the terminator, whichever it is.
    terminated = (top >> (8 * byte).astype(np.uint64)) == TERMINATOR
    lengths = np.where(valid, 8 * (last - starts) + byte, 0)
    _refuse_first(valid & ~terminated)
    _refuse_first(lengths > LIMITS.cell_bytes)
    if _equal(lengths) and _equal(sizes):
        values = padded.reshape(len(sizes), -1)[:, : int(lengths[0])].ravel()
    else:
        values = padded[_value_bytes(lengths, sizes)]
    return Unpadded(values, lengths, valid)


def _last_words(words: npt.NDArray[np.uint64], starts: Sizes, ends: Sizes) -> npt.NDArray[np.int64]:
    """Return where the last word of each cell is that is not zero; any of it where all are."""
    # It is mostly in the last step of sixteen bytes.
    last = ends - np.where(words[ends - 1] != 0, 1, 2)
    if ((words[last] == 0) & (last > starts)).any():
        used = np.where(words != 0, np.arange(len(words)), -1)
        last = np.maximum(np.maximum.reduceat(used, starts), starts)
    return last


def verify_sizes(
    needed: Sizes, sizes: Sizes, padding: Padding, unit: int, *, some_erased: bool
) -> None:
    """Check that cells were padded to exactly the lengths of their mode (SPEC section 7).

    In a UNIFORM block the longest cell may have been erased, so then, and only then, the one
    length may be longer than the rest need.

    Raises:
        BadPadding: a multiple, a power or a common length other than the mode's.
    """
    if padding is not Padding.UNIFORM:
        _refuse_first(sizes != round_up(needed, unit))
        return
    width = int(sizes.max()) if some_erased else round_up_one(int(needed.max()), unit)
    if width > UNIFORM_MOST:
        _refuse_first(sizes != power_sizes(needed))
    else:
        _refuse_first(sizes != (0 if width % unit else width))


def _equal(sizes: Sizes) -> bool:
    """Tell whether there is but one size: numbers, dates and such take a shorter way."""
    return bool((sizes == sizes[0]).all())


def _refuse_first(wrong: npt.NDArray[np.bool_]) -> None:
    if wrong.any():
        raise BadPadding(int(wrong.argmax()))


def _value_bytes(lengths: Sizes, sizes: Sizes) -> npt.NDArray[np.bool_]:
    """Mark those bytes of joined padded cells that belong to the values."""
    runs = np.empty((len(sizes), 2), np.int64)
    runs[:, 0] = lengths
    runs[:, 1] = sizes - lengths
    return np.repeat(np.tile([True, False], len(sizes)), runs.ravel())
