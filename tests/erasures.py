"""Erasing from the one batch of data that there is, as an accomplice or a test would."""

from __future__ import annotations

import hashlib

from client.fetching import fetch_blocks
from client.session import Session
from protocol import acts
from protocol.acts import EmptiedBlock, Erasure, Reason
from protocol.blocks import empty_cells
from protocol.ledger.contents import Batch
from protocol.ledger.state import State

Blocks = dict[int, bytes]
"""The blocks of a batch by field."""


def data_batch(state: State) -> tuple[bytes, Batch]:
    """Return the one batch of data that there is, and its collection."""
    (found,) = (
        (where.id, batch)
        for where in state.collections.values()
        for batch in where.batches
        if not batch.manifest.is_catalog
    )
    return found


def erasing(state: State, positions: set[int], left: Blocks) -> acts.Erase:
    where, batch = data_batch(state)
    emptied = tuple(
        EmptiedBlock(
            ref.field, ref.sha256, len(left[ref.field]), hashlib.sha256(left[ref.field]).digest()
        )
        for ref in batch.manifest.blocks
    )
    return acts.Erase(where, Reason.REQUEST, (Erasure(batch.id, tuple(positions), emptied),))


def emptied(blocks: Blocks, positions: set[int]) -> Blocks:
    return {number: empty_cells(block, 3, positions) for number, block in blocks.items()}


async def blocks_of(session: Session) -> Blocks:
    """Return the blocks as the server has them."""
    where, batch = data_batch(session.state)
    listed = [(batch, ref) for ref in batch.manifest.blocks]
    return {ref.field: block async for _, ref, block in fetch_blocks(session, where, listed)}
