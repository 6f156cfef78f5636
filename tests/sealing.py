"""One sealed column with all that opening it takes, and blocks that no honest client would seal."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from client.columns import Cells
from client.crypto.block_keys import cell_key
from client.crypto.cells import ColumnToSeal, OpenedBlock, open_block, seal_batch
from client.crypto.engines import Engine
from protocol.blocks import BlockRef, FieldClass, cell_lengths, empty_cells
from tests.every_engine import agreed

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
VALUES: tuple[bytes | None, ...] = (b"Ada", None, b"", b"Grace Hopper of the navy", b"\x80\0\0")


def column(
    cells: Sequence[bytes | None] = VALUES,
    *,
    field: int = 3,
    field_class: FieldClass = FieldClass.GENERAL,
    key: bytes = KEY,
    string_like: bool = True,
) -> ColumnToSeal:
    made = Cells.from_list(cells, string_like=string_like)
    return ColumnToSeal(field, 7, field_class, key, made)


@dataclass(frozen=True)
class Sealed:
    """One sealed column with all that opening it takes; tests change one part at a time."""

    ref: BlockRef
    block: bytes
    batch_id: bytes
    records: int
    field_class: FieldClass = FieldClass.GENERAL
    key: bytes = KEY
    string_like: bool = True
    erased: frozenset[int] = frozenset()

    def with_block(self, block: bytes) -> Sealed:
        """Take other bytes and a manifest entry that agrees with them."""
        sha256 = hashlib.sha256(block).digest()
        return replace(self, block=block, ref=replace(self.ref, length=len(block), sha256=sha256))

    def erase(self, *positions: int) -> Sealed:
        emptied = self.with_block(empty_cells(self.block, self.records, positions))
        return replace(emptied, erased=frozenset(positions))

    def open(self) -> OpenedBlock:
        """Open it with every engine there is, which must all say the same."""
        return agreed(self.open_with)

    def open_with(self, engine: Engine) -> OpenedBlock:
        return open_block(
            self.key,
            self.field_class,
            self.ref,
            self.batch_id,
            self.records,
            self.block,
            self.string_like,
            self.erased,
            engine,
        )

    def values(self) -> list[bytes | None]:
        return values_of(self.open().cells)

    @property
    def lengths(self) -> tuple[int, ...]:
        return cell_lengths(self.block, self.records)

    def cell(self, position: int) -> bytes:
        start = 4 * self.records + sum(self.lengths[:position])
        return self.block[start : start + self.lengths[position]]


def values_of(cells: Cells) -> list[bytes | None]:
    return [cells.cell(index) for index in range(cells.count)]


def seal(one: ColumnToSeal, engine: Engine | None = None) -> Sealed:
    batch = seal_batch([one], engine)
    (ref,), (block,) = batch.manifest.blocks, batch.blocks
    return Sealed(
        ref,
        block,
        batch.manifest.batch_id,
        batch.manifest.records,
        one.field_class,
        one.field_key,
        one.cells.string_like,
    )


def joined(padded: Sequence[bytes], base: Sealed) -> Sealed:
    """Seal given padded cells under the right keys: what only a holder of the key can do."""
    sealed = [
        AESGCM(cell_key(base.key, base.batch_id, base.ref.salt, position).expose()).encrypt(
            bytes(12), cell, None
        )
        for position, cell in enumerate(padded)
    ]
    header = struct.pack(f"<{len(sealed)}I", *map(len, sealed))
    return replace(base.with_block(header + b"".join(sealed)), records=len(sealed))


def padded_to(value: bytes | None, size: int) -> bytes:
    return (b"" if value is None else value + b"\x80").ljust(size, b"\0")
