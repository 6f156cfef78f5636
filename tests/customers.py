"""A vault with fifty records in three batches, of a field of each class."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from client.vault import Vault
from protocol.blocks import FieldClass
from tests.deals import a_vault, in_batches_of, rows
from tests.in_process import Lab

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
TABLE = rows(50)
CLASSES = {"name": GENERAL, "orders": SENSITIVE, "note": CORE}


async def with_customers(tmp_path: Path) -> AsyncIterator[tuple[Lab, Vault]]:
    """Give the server and its owner's vault; a fixture."""
    async with a_vault(tmp_path) as (lab, owner):
        await owner.upload(
            TABLE, collection="customers", classes=CLASSES, options=in_batches_of(20)
        )
        yield lab, owner
