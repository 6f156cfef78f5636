"""libsodium's AES-256-GCM, called cell by cell through PyNaCl's own foreign-function library."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import compress, count, repeat
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

import nacl.bindings
import numpy as np
import numpy.typing as npt

from client.crypto.block_keys import KEY_BYTES
from client.crypto.engines.columnwise import CellRefused, ColumnwiseEngine, check_bounds
from client.crypto.engines.contract import NONCE
from client.crypto.padding import Octets, Sizes
from protocol.blocks import CELL_STEP, TAG_BYTES

# One arena's room: small enough to stay in the processor's cache, and to keep one a thread.
ARENA_BYTES: Final = 256 * 1024
ARENA_CELLS: Final = 2_048
# Up to here slots are as wide as their widest cell; above, powers of two: few kinds are kept.
_NARROW: Final = 512


class SodiumEngine(ColumnwiseEngine):
    """libsodium through the foreign-function library inside PyNaCl.

    Several times as fast as an object a cell. The library is private to PyNaCl, which is why it is
    looked for rather than relied upon. Threads may share an engine.

    Raises: LookupError where it is missing, or the processor has no AES.
    """

    name: ClassVar[str] = "sodium"

    def __init__(self) -> None:
        # Before anything else calls into the library: else it runs its portable code.
        nacl.bindings.sodium_init()
        try:
            sodium = importlib.import_module("nacl._sodium")
            self._ffi: Any = sodium.ffi
            self._encrypt: Callable[..., int] = sodium.lib.crypto_aead_aes256gcm_encrypt
            self._decrypt: Callable[..., int] = sodium.lib.crypto_aead_aes256gcm_decrypt
            usable = sodium.lib.crypto_aead_aes256gcm_is_available() == 1
        except (ImportError, AttributeError) as error:
            raise LookupError("this PyNaCl shows no AES-256-GCM") from error
        if not usable:
            raise LookupError("libsodium has no AES-256-GCM on this processor")
        self._nonce = self._ffi.new("unsigned char[]", NONCE)
        self._idle: deque[_Arena] = deque()

    def seal_cells(self, keys: Octets, padded: Octets, sizes: Sizes) -> Octets:
        """Seal each cell; see `ColumnwiseEngine`."""
        check_bounds(keys, padded, sizes)
        return self._run(self._seal_each, keys, padded, sizes, sizes + TAG_BYTES)

    def open_cells(self, keys: Octets, sealed: Octets, sizes: Sizes) -> Octets:
        """Open each cell; see `ColumnwiseEngine`."""
        check_bounds(keys, sealed, sizes)
        if int(sizes.min()) <= TAG_BYTES:
            raise CellRefused(int(sizes.argmin()))
        return self._run(self._open_each, keys, sealed, sizes, sizes - TAG_BYTES)

    def _seal_each(self, load: _Load) -> _Codes:
        null, nonce = repeat(self._ffi.NULL), repeat(self._nonce)
        made, cells, lengths, keys = load
        return map(self._encrypt, made, null, cells, lengths, null, repeat(0), null, nonce, keys)

    def _open_each(self, load: _Load) -> _Codes:
        null, nonce = repeat(self._ffi.NULL), repeat(self._nonce)
        made, cells, lengths, keys = load
        return map(self._decrypt, made, null, null, cells, lengths, null, repeat(0), nonce, keys)

    def _run(
        self,
        calls: Callable[[_Load], _Codes],
        keys: Octets,
        source: Octets,
        sizes: Sizes,
        made: Sizes,
    ) -> Octets:
        """Make one call a cell, an arena of them at a time; `made` are the sizes that come out."""
        target = np.empty(int(made.sum()), np.uint8)
        read, wrote = (np.concatenate(([0], np.cumsum(each))) for each in (sizes, made))
        with self._arena() as usual:
            for first, last, width in _loads(np.maximum(sizes, made)):
                arena = usual if width <= ARENA_BYTES else _Arena(self._ffi, width)
                load = arena.load(
                    keys[KEY_BYTES * first : KEY_BYTES * last],
                    source[read[first] : read[last]],
                    sizes[first:last],
                    made[first:last],
                )
                if any(calls(load)):  # quickest; which one it was is asked only if there is one
                    raise CellRefused(next(compress(count(first), calls(load))))
                arena.made.join(target[wrote[first] : wrote[last]], made[first:last])
        return target

    @contextmanager
    def _arena(self) -> Iterator[_Arena]:
        """Lend an arena to one thread, and wipe it afterwards: it held keys and plaintext."""
        try:
            arena = self._idle.pop()
        except IndexError:
            arena = _Arena(self._ffi, ARENA_BYTES)
        try:
            yield arena
        finally:
            arena.wipe()
            self._idle.append(arena)


_Codes: TypeAlias = Iterator[int]


class _Load(NamedTuple):
    """What one run of calls is made with: for each cell where to, from where, how long, the key."""

    made: Iterable[Any]
    cells: Iterable[Any]
    lengths: Iterable[int]
    keys: Iterable[Any]


class _Slots:
    """Memory cut into slots of one width, a cell each, with a C pointer to every slot.

    Making a pointer costs as much as a third of sealing a cell, so those of a width are kept.
    """

    def __init__(self, ffi: Any, size: int) -> None:
        self.memory: Octets = np.zeros(size, np.uint8)
        self._ffi = ffi
        self._pointers: dict[int, list[Any]] = {}
        self._used = 0

    def pointers(self, sizes: Sizes) -> Iterable[Any]:
        """Return a pointer to a slot for each of these cells, and mark the slots as used."""
        count, width = len(sizes), _width(sizes)
        if width not in self._pointers:
            room = self.memory[: min(ARENA_CELLS, len(self.memory) // width) * width]
            self._pointers[width] = list(self._ffi.from_buffer(f"unsigned char[][{width}]", room))
        self._used = max(self._used, count * width)
        kept = self._pointers[width]
        return kept if count == len(kept) else kept[:count]

    def hold(self, cells: Octets, sizes: Sizes) -> None:
        """Copy joined cells in, each to the beginning of a slot."""
        width = _width(sizes)
        if len(cells) == len(sizes) * width:
            self.memory[: len(cells)] = cells
        else:
            self._steps(len(sizes), width)[_filled(sizes, width)] = cells.view(_STEP)

    def join(self, cells: Octets, sizes: Sizes) -> None:
        """Copy what is at the beginning of each slot out, joined."""
        width = _width(sizes)
        if len(cells) == len(sizes) * width:
            cells[:] = self.memory[: len(cells)]
        else:
            cells.view(_STEP)[:] = self._steps(len(sizes), width)[_filled(sizes, width)]

    def _steps(self, count: int, width: int) -> npt.NDArray[np.complex128]:
        return self.memory[: count * width].view(_STEP).reshape(count, width // CELL_STEP)

    def wipe(self) -> None:
        """Zero all that was ever used since the last time."""
        self.memory[: self._used] = 0
        self._used = 0


# Sixteen bytes that numpy moves at once; nothing is ever computed with them.
_STEP: Final = np.dtype(np.complex128)


def _width(sizes: Sizes) -> int:
    """Return the width of the slots in which these cells lie."""
    widest = int(sizes.max())
    return widest if widest <= _NARROW else 1 << (widest - 1).bit_length()


def _filled(sizes: Sizes, width: int) -> npt.NDArray[np.bool_]:
    """Mark the steps of each slot that a cell fills."""
    return np.less(np.arange(0, width, CELL_STEP), sizes[:, np.newaxis])


class _Arena:
    """Scratch memory for one thread: cells in, cells out, and their keys."""

    def __init__(self, ffi: Any, size: int) -> None:
        self.cells, self.made = _Slots(ffi, size), _Slots(ffi, size)
        self.keys = _Slots(ffi, KEY_BYTES * ARENA_CELLS)

    def load(self, keys: Octets, cells: Octets, sizes: Sizes, made: Sizes) -> _Load:
        """Copy cells and keys in."""
        key_sizes = np.full(len(sizes), KEY_BYTES)
        self.cells.hold(cells, sizes)
        self.keys.hold(keys, key_sizes)
        return _Load(
            self.made.pointers(made),
            self.cells.pointers(sizes),
            sizes.tolist(),
            self.keys.pointers(key_sizes),
        )

    def wipe(self) -> None:
        """Zero all that was ever used since the last time."""
        for slots in (self.cells, self.made, self.keys):
            slots.wipe()


def _loads(sizes: Sizes) -> Iterator[tuple[int, int, int]]:
    """Cut consecutive cells into loads: from which, up to which, and how wide their slots are.

    A load fits an arena, or is one cell that does not.
    """
    waiting = [
        (start, min(start + ARENA_CELLS, len(sizes))) for start in range(0, len(sizes), ARENA_CELLS)
    ]
    waiting.reverse()
    while waiting:
        start, end = waiting.pop()
        width = _width(sizes[start:end])
        if width * (end - start) > ARENA_BYTES and end - start > 1:
            middle = (start + end) // 2
            waiting += [(middle, end), (start, middle)]
        else:
            yield start, end, width
