"""Sealroom's own row: whole blocks, padding, salts, keys and both hashes included."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from benchmarks.cells import Block, each
from benchmarks.peers.cellwise import COLUMN, Costs, nanoseconds
from client.crypto.cells import ColumnToSeal, open_block, seal_batch
from client.crypto.engines import LENGTH_BYTES, Engine
from client.crypto.identity import Identity, seal_box
from client.crypto.wraps import create_epoch, rewrap
from protocol import acts
from protocol.acts import Act
from protocol.blocks import Address
from protocol.errors import IntegrityError
from protocol.rewrap import RewrapStatement, verify_rewrap

NAMES: Final = {
    "compiled": "Sealroom",
    "sodium": "Sealroom, no compiler",
    "cryptography": "Sealroom, no libsodium",
}
"""What an engine is called here."""


class OurWork:
    """The same table as blocks, for one engine."""

    def __init__(self, batches: Sequence[list[ColumnToSeal]], engine: Engine) -> None:
        self.name = NAMES[engine.name]
        self._batches, self._engine = batches, engine
        self._blocks = [block for columns in batches for block in _sealed(columns, engine)]
        self._column = [block for block in self._blocks if block.column.field == COLUMN]
        self._admit = admission(len(batches[0]))

    @property
    def cells(self) -> int:
        """How many cells a round takes."""
        return sum(columns[0].cells.count * len(columns) for columns in self._batches)

    @property
    def records(self) -> int:
        """How many records a round takes."""
        return sum(columns[0].cells.count for columns in self._batches)

    @property
    def added_bytes(self) -> float:
        """How many bytes a cell has more than its value, padding included."""
        sealed = sum(len(block.content) for block in self._blocks)
        values = sum(int(block.column.cells.offsets[-1]) for block in self._blocks)
        return (sealed - values) / self.cells

    def moved_cell_opens(self) -> bool:
        """Say whether two cells change places unnoticed, even if the block's hash says so."""
        block, count = self._column[0], self._column[0].column.cells.count
        size = (len(block.content) - LENGTH_BYTES * count) // count
        start, one = block.content[: -2 * size], block.content[-2 * size : -size]
        content = start + block.content[-size:] + one
        ref = replace(block.ref, sha256=hashlib.sha256(content).digest())
        column = block.column
        try:
            open_block(
                column.field_key,
                column.field_class,
                ref,
                block.batch_id,
                count,
                content,
                column.cells.string_like,
                engine=self._engine,
            )
        except IntegrityError:
            return False
        return True

    def round(self) -> Costs:
        """Do all of it once. One cell alone is moved to a new key with all of its block."""
        engine, cells = self._engine, self.cells
        seal = nanoseconds(lambda: [seal_batch(columns, engine) for columns in self._batches])
        opened = nanoseconds(each(lambda block: block.open(engine), self._blocks, None))
        column = nanoseconds(each(lambda block: block.reseal(engine), self._column, None))
        one = nanoseconds(lambda: self._column[0].reseal(engine))
        reader = nanoseconds(self._admit)
        return Costs(seal / cells, opened / cells, column / self.records, one, reader)


def _sealed(columns: list[ColumnToSeal], engine: Engine) -> list[Block]:
    sealed = seal_batch(columns, engine)
    by_field = {column.field: column for column in columns}
    return [
        Block(by_field[ref.field], ref, sealed.manifest.batch_id, content)
        for ref, content in zip(sealed.manifest.blocks, sealed.blocks, strict=True)
    ]


def admission(fields: int) -> Callable[[], None]:
    """Return what lets one more reader have the keys of so many fields.

    A rewrap with its proof for each, the box of their shares, and the check of every proof, as
    the server does it and every client again.
    """
    giver, reader, vault_id = Identity.generate(), Identity.generate(), secrets.token_bytes(32)
    act = Act(vault_id, giver.member_id, 0, None, acts.Noop(), None)
    addresses = [Address(secrets.token_bytes(16), field, 1) for field in range(fields)]
    epochs = [create_epoch(giver, vault_id, address) for address in addresses]
    shares = b"".join(epoch.share.expose() for epoch in epochs)

    def admit() -> None:
        for epoch in epochs:
            address, share_hash = epoch.definition.address, epoch.definition.share_hash
            source = epoch.first_wrap
            entry = rewrap(giver, act, address, share_hash, source, reader.public)
            statement = RewrapStatement(
                vault_id,
                act.kind,
                address,
                share_hash,
                giver.public,
                source,
                reader.public,
                entry.wrap,
            )
            verify_rewrap(statement, entry.proof)
        seal_box(reader.public, shares, b"benchmark")

    return admit
