"""The compiled loop: one call a block for all its cells, without the interpreter's lock.

`client/crypto/loop/loop.c` pads, seals, opens and unpads; the cipher in it is libsodium's, whose
functions are looked up in the library inside PyNaCl and handed over. It was built where a compiler
was present when Sealroom was installed; elsewhere the other engines give the same bytes.
"""

from __future__ import annotations

import ctypes
import importlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import nacl.bindings
import numpy as np
import numpy.typing as npt

from client.columns import Cells
from client.crypto.block_keys import KEY_BYTES, fill_cell_keys
from client.crypto.engines.contract import (
    LENGTH_BYTES,
    BlockRefused,
    Fault,
    Mask,
    Rules,
)
from client.crypto.padding import FEW_VALUES, Needs, Octets, Shape
from protocol.blocks import TAG_BYTES, UNIFORM_MOST, Padding
from protocol.errors import ApiMisuse
from protocol.limits import LIMITS

# Fresh memory costs more than sealing what is in it, so buffers are used again; a larger one than
# this is let go, so that one block of 16 MiB does not stay in memory for good.
KEPT_BYTES = 4 * 1024 * 1024
_LEAST_BYTES = 64 * 1024
_STATE_BYTES: Final = 512
_CIPHER: Final = ("beforenm", "encrypt_detached_afternm", "decrypt_detached_afternm")
"""In the order of `sealroom_cipher`."""
_BARE: Final = ("encrypt", "decrypt")
"""In the order of `sealroom_bare`."""


class CompiledEngine:
    """Everything that is done once a cell, done in C.

    Raises: LookupError where it was not built, the library cannot be found, or the processor has
    no AES.
    """

    name: ClassVar[str] = "compiled"
    parallel: ClassVar[bool] = True

    def __init__(self) -> None:
        loop = _loop()
        self._ffi, self._loop = loop.ffi, loop.lib
        functions = [self._ffi.cast("void *", at) for at in _functions(_CIPHER)]
        self._cipher = self._ffi.new("sealroom_cipher *", functions)
        self._faults: dict[int, Fault] = {
            self._loop.SEALROOM_LENGTH: Fault.LENGTH,
            self._loop.SEALROOM_SUM: Fault.SUM,
            self._loop.SEALROOM_EMPTY: Fault.EMPTY,
            self._loop.SEALROOM_REFUSED: Fault.CELL,
            self._loop.SEALROOM_PADDING: Fault.PADDING,
        }
        self._idle: deque[_Rooms] = deque()

    def rows_of_few_values(self, cells: Cells) -> int:
        """Count leading cells of few values; see `Engine.rows_of_few_values`."""
        rows = self._ffi.new("uint64_t *")
        column = _Column(self._ffi, cells)
        self._demand(self._loop.sealroom_rows_of_few(column.pointer, FEW_VALUES, rows))
        return int(rows[0])

    def measure(self, cells: Cells, unit: int) -> Needs:
        """Measure cells; see `Engine.measure`."""
        needs = self._ffi.new("sealroom_needs *")
        column = _Column(self._ffi, cells)
        self._demand(self._loop.sealroom_measure(column.pointer, unit, UNIFORM_MOST, needs))
        return Needs(needs.longest, needs.position, needs.rounded, needs.powers)

    @contextmanager
    def draft(
        self, cells: Cells, shape: Shape, erased: Mask | None = None
    ) -> Iterator[CompiledDraft]:
        """Pad cells; see `Engine.draft`."""
        records = cells.count if erased is None else len(erased)
        size = LENGTH_BYTES * records + shape.total
        shaped = self._ffi.new("sealroom_shape *", (shape.width, shape.unit, UNIFORM_MOST))
        column = _Column(self._ffi, cells)
        with self._rooms() as rooms:
            plaintext = rooms.plaintext.of(size)
            self._demand(
                self._loop.sealroom_pad(
                    column.pointer, shaped, self._mask(erased), records, plaintext, size
                )
            )
            block_size = size + TAG_BYTES * cells.count
            yield CompiledDraft(self, rooms, records, size, block_size)

    def seal_draft(self, draft: CompiledDraft, batch_key: bytes) -> bytes:
        """Seal what a draft holds; see `Draft.seal`."""
        rooms, key_bytes = draft.rooms, KEY_BYTES * draft.records
        keys, block = rooms.keys.of(key_bytes), rooms.block.of(draft.block_bytes)
        fill_cell_keys(batch_key, rooms.keys.memory[:key_bytes])
        answer = self._loop.sealroom_seal(
            self._cipher,
            rooms.plaintext.of(draft.plaintext_bytes),
            draft.plaintext_bytes,
            draft.records,
            keys,
            key_bytes,
            block,
            draft.block_bytes,
        )
        rooms.plaintext.was_wiped()
        rooms.keys.was_wiped()
        self._demand(answer)
        return rooms.block.memory[: draft.block_bytes].tobytes()

    def open(
        self, batch_key: bytes, block: bytes, erased: Mask | None, records: int, rules: Rules
    ) -> Cells:
        """Open a block; see `Engine.open`."""
        offsets, valid = np.empty(records + 1, np.int64), np.empty(records, np.bool_)
        position, key_bytes = self._ffi.new("uint64_t *"), KEY_BYTES * records
        present = records if erased is None else records - int(np.count_nonzero(erased))
        padded = max(0, len(block) - LENGTH_BYTES * records - TAG_BYTES * present)
        with self._rooms() as rooms:
            keys, values = rooms.keys.of(key_bytes), rooms.plaintext.of(padded)
            fill_cell_keys(batch_key, rooms.keys.memory[:key_bytes])
            answer = self._loop.sealroom_open(
                self._cipher,
                self._ffi.from_buffer("uint8_t[]", block),
                len(block),
                records,
                keys,
                key_bytes,
                self._mask(erased),
                self._rules(rules),
                values,
                padded,
                self._ffi.from_buffer("int64_t[]", offsets),
                self._ffi.from_buffer("uint8_t[]", valid.view(np.uint8)),
                position,
            )
            rooms.keys.was_wiped()
            self._demand(answer, position[0])
            joined = rooms.plaintext.memory[: int(offsets[-1])].tobytes()
        return Cells.trusted(joined, offsets, valid, rules.string_like)

    def _rules(self, rules: Rules) -> Any:
        uniform, unit = rules.padding is Padding.UNIFORM, rules.field_class.unit
        return self._ffi.new("sealroom_rules *", (uniform, unit, UNIFORM_MOST, LIMITS.cell_bytes))

    def _mask(self, erased: Mask | None) -> Any:
        if erased is None:
            return self._ffi.NULL
        return self._ffi.from_buffer("uint8_t[]", _plain(erased).view(np.uint8))

    def _demand(self, answer: int, record: int = 0) -> None:
        """Turn what the loop answers into what `Engine` says."""
        if answer == self._loop.SEALROOM_DONE:
            return
        fault = self._faults.get(answer)
        if fault is None:
            raise ApiMisuse("cells, sizes or keys that do not fit each other")
        alone = fault in (Fault.LENGTH, Fault.CELL, Fault.PADDING)
        raise BlockRefused(fault, record if alone else None)

    @contextmanager
    def _rooms(self) -> Iterator[_Rooms]:
        """Lend buffers to one thread, and wipe them afterwards: they held keys and values."""
        try:
            rooms = self._idle.pop()
        except IndexError:
            rooms = _Rooms(self._ffi)
        try:
            yield rooms
        finally:
            rooms.wipe()
            self._idle.append(rooms)


class CompiledDraft:
    """A padded block; see `Draft`."""

    def __init__(
        self,
        engine: CompiledEngine,
        rooms: _Rooms,
        records: int,
        plaintext_bytes: int,
        block_bytes: int,
    ) -> None:
        self.rooms = rooms
        self.records = records
        self.plaintext_bytes = plaintext_bytes
        self.block_bytes = block_bytes
        self._engine = engine

    @property
    def plaintext(self) -> Octets:
        """The block plaintext; see `Draft.plaintext`."""
        return self.rooms.plaintext.memory[: self.plaintext_bytes]

    def seal(self, batch_key: bytes) -> bytes:
        """Seal the block; see `Draft.seal`."""
        return self._engine.seal_draft(self, batch_key)


class _Column:
    """A column as the loop sees it, which keeps alive what it points at."""

    def __init__(self, ffi: Any, cells: Cells) -> None:
        values = ffi.from_buffer("uint8_t[]", cells.values)
        offsets = ffi.from_buffer("int64_t[]", _plain(cells.offsets))
        valid = ffi.from_buffer("uint8_t[]", _plain(cells.valid).view(np.uint8))
        self._kept = values, offsets, valid
        self.pointer = ffi.new(
            "sealroom_column *", (values, len(values), offsets, valid, len(cells.valid))
        )


def _plain(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array itself, or a copy if its items do not lie one after another, aligned."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy()


class _Room:
    """One buffer that is used again, with the pointer to it."""

    def __init__(self, ffi: Any) -> None:
        self._ffi = ffi
        self._used = 0
        self._have(_LEAST_BYTES)

    def _have(self, size: int) -> None:
        self.memory: npt.NDArray[np.uint8] = np.zeros(size, np.uint8)
        self._pointer = self._ffi.from_buffer("uint8_t[]", self.memory)

    def of(self, size: int) -> Any:
        """Return a pointer to so many bytes; asking for more than there are forgets what was."""
        if size > len(self.memory):
            self._have(-(-size // _LEAST_BYTES) * _LEAST_BYTES)
        self._used = max(self._used, size)
        return self._pointer

    def was_wiped(self) -> None:
        """Take note that the loop has zeroed all that was lent."""
        self._used = 0

    def wipe(self) -> None:
        """Zero all that was lent since the last time, and let go of a large buffer."""
        self.memory[: self._used] = 0
        self._used = 0
        if len(self.memory) > KEPT_BYTES:
            self._have(_LEAST_BYTES)


class _Rooms:
    """What one block at a time needs: its plaintext, its keys, and itself (which is no secret)."""

    def __init__(self, ffi: Any) -> None:
        self.plaintext, self.keys, self.block = _Room(ffi), _Room(ffi), _Room(ffi)

    def wipe(self) -> None:
        self.plaintext.wipe()
        self.keys.wipe()
        self.block.wipe()


class BareLoop:
    """libsodium's own functions in the barest loop in C: what engines are measured by.

    Cells of one size lie joined; `keys` has 32 bytes for each.

    Raises: LookupError as `CompiledEngine`.
    """

    def __init__(self) -> None:
        loop = _loop()
        self._ffi, self._loop = loop.ffi, loop.lib
        functions = [self._ffi.cast("void *", at) for at in _functions(_BARE)]
        self._bare = self._ffi.new("sealroom_bare *", functions)

    def seal(self, keys: Octets, cells: Octets, sealed: Octets) -> None:
        """Seal cells into a buffer with room for a tag more each."""
        self._run(self._loop.sealroom_bare_seal, cells, keys, sealed)

    def open(self, keys: Octets, sealed: Octets, cells: Octets) -> None:
        """Open them again."""
        self._run(self._loop.sealroom_bare_open, sealed, keys, cells)

    def _run(self, loop: Any, source: Octets, keys: Octets, target: Octets) -> None:
        view = self._ffi.from_buffer
        answer = loop(
            self._bare,
            view("uint8_t[]", source),
            len(source),
            len(keys) // KEY_BYTES,
            view("uint8_t[]", keys),
            len(keys),
            view("uint8_t[]", target),
            len(target),
        )
        if answer != self._loop.SEALROOM_DONE:
            raise ApiMisuse("cells that do not fit, or did not open")


def _loop() -> Any:
    try:
        return importlib.import_module("client.crypto.loop._loop")
    except ImportError as error:
        raise LookupError("the loop was not compiled when Sealroom was installed") from error


def _functions(names: tuple[str, ...]) -> tuple[int, ...]:
    """Return the addresses of libsodium's functions of AES-256-GCM."""
    # Before anything else calls into the library: else it runs its portable code.
    nacl.bindings.sodium_init()
    try:
        library = ctypes.CDLL(importlib.import_module("nacl._sodium").__file__)
        named = [getattr(library, f"crypto_aead_aes256gcm_{name}") for name in names]
        state_bytes = library.crypto_aead_aes256gcm_statebytes()
        usable = library.crypto_aead_aes256gcm_is_available() == 1
    except (ImportError, OSError, AttributeError) as error:
        raise LookupError("this PyNaCl shows no AES-256-GCM") from error
    if not usable or state_bytes > _STATE_BYTES:
        raise LookupError("libsodium has no AES-256-GCM on this processor")
    return tuple(ctypes.cast(each, ctypes.c_void_p).value or 0 for each in named)
