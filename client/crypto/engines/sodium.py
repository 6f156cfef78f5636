"""libsodium's AES-256-GCM, called cell by cell through PyNaCl's own foreign-function library."""

from __future__ import annotations

import importlib
import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress, count, repeat
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

import nacl.bindings
import numpy as np

from client.crypto.block_keys import KEY_BYTES
from client.crypto.engines.columnwise import CellRefused, ColumnwiseEngine, check_bounds
from client.crypto.engines.contract import NONCE
from client.crypto.padding import Octets, Sizes
from protocol.blocks import CELL_STEP, TAG_BYTES

# One arena's room: small enough to stay in the processor's cache, and to keep one a thread.
ARENA_BYTES: Final = 256 * 1024
ARENA_CELLS: Final = 4_096


class SodiumEngine(ColumnwiseEngine):
    """libsodium through the foreign-function library inside PyNaCl.

    Four times as fast as an object a cell. The library is private to PyNaCl, which is why it is
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

    def _seal_each(self, lent: _Lent) -> _Codes:
        null, nonce = repeat(self._ffi.NULL), repeat(self._nonce)
        made, cells, lengths, keys = lent
        return map(self._encrypt, made, null, cells, lengths, null, repeat(0), null, nonce, keys)

    def _open_each(self, lent: _Lent) -> _Codes:
        null, nonce = repeat(self._ffi.NULL), repeat(self._nonce)
        made, cells, lengths, keys = lent
        return map(self._decrypt, made, null, null, cells, lengths, null, repeat(0), nonce, keys)

    def _run(
        self,
        calls: Callable[[_Lent], _Codes],
        keys: Octets,
        source: Octets,
        sizes: Sizes,
        made: Sizes,
    ) -> Octets:
        """Make one call a cell, an arena of them at a time; `made` are the sizes that come out."""
        target = np.empty(int(made.sum()), np.uint8)
        with self._arena() as usual:
            for load in _loads(sizes, made):
                arena = usual if load.room <= ARENA_BYTES else _Arena(self._ffi, 1, 1, load.room)
                cells = load.cells
                lent = arena.lend(
                    keys[KEY_BYTES * cells.start : KEY_BYTES * cells.stop],
                    source[load.source],
                    sizes[cells],
                    made[cells],
                )
                refused = next(compress(count(cells.start), calls(lent)), None)
                if refused is not None:
                    raise CellRefused(refused)
                target[load.target] = arena.made.memory[: load.target.stop - load.target.start]
        return target

    @contextmanager
    def _arena(self) -> Iterator[_Arena]:
        """Lend an arena to one thread, and wipe it afterwards: it held keys and plaintext."""
        try:
            arena = self._idle.pop()
        except IndexError:
            arena = _Arena(self._ffi, ARENA_CELLS, ARENA_BYTES // CELL_STEP, CELL_STEP)
        try:
            yield arena
        finally:
            arena.wipe()
            self._idle.append(arena)


_Pointers: TypeAlias = Sequence[Any]
_Codes: TypeAlias = Iterator[int]


class _Lent(NamedTuple):
    """What one run of calls is made with: for each cell where to, from where, how long, the key."""

    made: _Pointers
    cells: _Pointers
    lengths: Iterable[int]
    keys: _Pointers


class _Strip:
    """Memory in equal steps with a C pointer to each, made once.

    Making a pointer costs as much as a third of sealing a cell, so they are kept.
    """

    def __init__(self, ffi: Any, steps: int, step: int) -> None:
        self.memory: Octets = np.zeros(steps * step, np.uint8)
        self._pointers = list(ffi.from_buffer(f"unsigned char[][{step}]", self.memory))
        self._step = step
        self._used = 0

    def pointers(self, sizes: Sizes) -> _Pointers:
        """Return a pointer to each of the cells of these sizes that lie joined from the start."""
        ends = np.cumsum(sizes)
        self._used = max(self._used, int(ends[-1]))
        if _equal(sizes):
            stride = max(1, int(sizes[0]) // self._step)
            return self._pointers[: stride * len(sizes) : stride]
        starts = (ends - sizes) // self._step
        found: _Pointers = operator.itemgetter(*starts.tolist())(self._pointers)
        return found

    def holding(self, cells: Octets, sizes: Sizes) -> _Pointers:
        """Copy joined cells in and return a pointer to each."""
        self.memory[: len(cells)] = cells
        return self.pointers(sizes)

    def wipe(self) -> None:
        """Zero all that was ever handed out since the last time."""
        self.memory[: self._used] = 0
        self._used = 0


class _Arena:
    """Scratch memory for one thread: cells in, cells out, and their keys."""

    def __init__(self, ffi: Any, cells: int, steps: int, step: int) -> None:
        self.cells = _Strip(ffi, steps, step)
        self.made = _Strip(ffi, steps, step)
        self.keys = _Strip(ffi, cells, KEY_BYTES)

    def lend(self, keys: Octets, cells: Octets, sizes: Sizes, made: Sizes) -> _Lent:
        return _Lent(
            self.made.pointers(made),
            self.cells.holding(cells, sizes),
            repeat(int(sizes[0])) if _equal(sizes) else sizes.tolist(),
            self.keys.holding(keys, np.full(len(sizes), KEY_BYTES)),
        )

    def wipe(self) -> None:
        for strip in (self.cells, self.made, self.keys):
            strip.wipe()


class _Load(NamedTuple):
    """Some consecutive cells: which, where they lie in each buffer, and the room they need."""

    cells: slice
    source: slice
    target: slice
    room: int


def _loads(sizes: Sizes, made: Sizes) -> Iterator[_Load]:
    """Cut cells into loads that fit an arena; a larger cell is a load of its own."""
    read, wrote = (np.concatenate(([0], np.cumsum(each))) for each in (sizes, made))
    wider = read if read[-1] > wrote[-1] else wrote
    first = 0
    while first < len(sizes):
        fitting = int(np.searchsorted(wider, wider[first] + ARENA_BYTES, side="right")) - 1
        last = max(first + 1, min(fitting, first + ARENA_CELLS))
        yield _Load(
            slice(first, last),
            slice(int(read[first]), int(read[last])),
            slice(int(wrote[first]), int(wrote[last])),
            int(wider[last] - wider[first]),
        )
        first = last


def _equal(sizes: Sizes) -> bool:
    return bool((sizes == sizes[0]).all())
