"""A table that a bidder may read a part of, and what tests of reading do to its blocks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from client.vault import Vault
from protocol.blocks import FieldClass
from tests.deals import Deal, a_deal, in_batches_of

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
BATCHES = 20
# Texts of one length, so that every block of a field is as long as its neighbour.
TABLE = pa.table(
    {
        "iban": [f"DE{i:020}" for i in range(100)],
        "notes": [f"of no use {i:012}" for i in range(100)],
        "orders": pa.array(range(100), pa.int32()),
    }
)
FIELDS = len(TABLE.schema.names)


@asynccontextmanager
async def a_reading_deal(directory: Path) -> AsyncIterator[Deal]:
    """A seller with one collection, and a bidder who may read two of its three fields."""
    async with a_deal(directory) as made:
        classes = {"iban": SENSITIVE, "notes": SENSITIVE, "orders": GENERAL}
        options = in_batches_of(100 // BATCHES)
        await made.seller.upload(TABLE, collection="customers", classes=classes, options=options)
        await made.seller.grant("Bo", classes=[SENSITIVE])
        await made.seller.read("customers")
        await made.buyer.read("customers")
        yield made


async def one_deal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deal]:
    """Give such a deal to all tests of a module; a fixture."""
    async with a_reading_deal(tmp_path_factory.mktemp("deal")) as made:
        yield made


def for_exports(tmp_path: Path) -> Path:
    """Give a folder for exports, and for nothing else; a fixture."""
    made = tmp_path / "exports"
    made.mkdir()
    return made


def collection_of(vault: Vault) -> bytes:
    (found,) = (each for each in vault.session.state.collections.values() if each.classes)
    return found.id


def swap_cells(block: bytes, records: int, one: int, other: int) -> bytes:
    """Swap two cells of a block, and their lengths with them."""
    sizes = [int(each) for each in np.frombuffer(block, "<u4", records)]
    starts = [4 * records + sum(sizes[:i]) for i in range(records)]
    cells = [block[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    cells[one], cells[other] = cells[other], cells[one]
    return np.array([len(cell) for cell in cells], "<u4").tobytes() + b"".join(cells)
