"""Erasing records for ever (SPEC section 9.5). It takes the blocks, and no key.

Records are counted from 1, in the order in which they are read; a number is never given again,
so those of later records do not change when one is erased.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from client.errors import InputError, Refused
from client.fetching import fetch_blocks, open_committed
from client.parts import in_parts
from client.results.progress import OnProgress, Progress
from client.session import ATTEMPTS, Session, saying
from protocol import acts
from protocol.acts import EmptiedBlock, Erasure, Reason
from protocol.blocks import Address, BlockRef, empty_cells, is_catalog, verify_block
from protocol.errors import (
    CommitmentMismatch,
    IntegrityError,
    MalformedMessage,
    ManifestMismatch,
    OutOfOrder,
    WeakKey,
)
from protocol.ledger.contents import Batch, Collection
from protocol.limits import KIB, LIMITS
from protocol.wire import to_bytes

ACT_ROOM: Final = LIMITS.act_bytes - 16 * KIB

Positions = Mapping[bytes, frozenset[int]]
"""Which positions of which batches."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: the indexes of the acts, and how many records were gone before."""

    acts: tuple[int, ...]
    records: int
    already: int


def positions_of(where: Collection, numbers: Sequence[int]) -> Positions:
    """Turn record numbers, from 1, into positions of batches.

    Raises:
        InputError: there is no such record; the first one that is not there is named.
    """
    data = [batch for batch in where.batches if not batch.manifest.is_catalog]
    ends = list(accumulate((batch.manifest.records for batch in data), initial=0))
    found: dict[bytes, set[int]] = {}
    for number in numbers:
        if not 1 <= number <= ends[-1]:
            raise InputError(
                f"there is no record {number:,}: they are numbered from 1 to {ends[-1]:,}",
                hint="'sealroom read NAME --numbers' shows each record's number. "
                "Nothing was erased.",
            )
        at = bisect_right(ends, number - 1) - 1
        found.setdefault(data[at].id, set()).add(number - 1 - ends[at])
    return {batch: frozenset(positions) for batch, positions in found.items()}


async def unreadable(session: Session, where: Collection) -> Positions:
    """Return all positions of each batch with a block that this member ought to open and cannot.

    Raises:
        ManifestMismatch: the server sent another block than the committed one.
    """
    mine = [
        (batch, ref)
        for batch in where.batches
        for ref in batch.manifest.blocks
        if batch.records and session.holds(where.id, ref.field)
    ]
    found: dict[bytes, frozenset[int]] = {}
    async for batch, ref, block in fetch_blocks(session, where.id, mine):
        verify_block(ref, block)
        if not await asyncio.to_thread(_opens, session, where, batch, ref, block):
            found[batch.id] = frozenset(range(batch.manifest.records))
    return found


def _opens(session: Session, where: Collection, batch: Batch, ref: BlockRef, block: bytes) -> bool:
    address = Address(where.id, ref.field, ref.epoch)
    for varies in (True,) if is_catalog(ref.field) else (True, False):
        try:
            key = session.key(address).key.expose()
            open_committed(key, where, batch, ref, block, varies)
        except (IntegrityError, CommitmentMismatch, WeakKey):
            continue
        return True
    return False


async def erase(
    session: Session,
    collection: bytes,
    positions: Positions,
    reason: Reason,
    on_progress: OnProgress,
) -> Erased:
    """Erase records in every field and every epoch, in as few acts as the limits allow.

    Safe to repeat: what is gone already is passed over.

    Raises:
        Refused: this member may not, or the vault is frozen or offered.
        ManifestMismatch: the server sent another block than the committed one.
    """
    total = sum(map(len, positions.values()))
    landed: list[int] = []
    done = 0
    for _ in range(ATTEMPTS * max(1, len(positions))):
        where = session.state.collections.get(collection)
        if where is None:
            raise Refused(
                "the collection was retired",
                code="out_of_order",
                hint="All of its records are gone: nothing is left to erase.",
            )
        left = _left(where, positions)
        if not left:
            break
        group = next(_groups(where, left))
        try:
            payload = await _drafted(session, where, group, reason)
            landed.append(await session.act(saying(payload)))
        except (Refused, ManifestMismatch) as error:
            await session.sync_as_member()
            changed = session.state.collections.get(collection) != where
            if not changed or (isinstance(error, Refused) and error.refusal != OutOfOrder.code):
                raise
            continue
        done += sum(map(len, group.values()))
        on_progress(Progress("erasing", done, total, "records"))
    else:
        raise Refused("others keep changing it", code="out_of_order", hint="Repeat the command.")
    return Erased(tuple(landed), done, total - done)


def _left(where: Collection, positions: Positions) -> Positions:
    known = where.by_id()
    left = {each: gone - known[each].erased for each, gone in positions.items() if each in known}
    return {batch: gone for batch, gone in left.items() if gone}


def _groups(where: Collection, positions: Positions) -> Iterator[Positions]:
    """Cut an erasure into acts: whole batches, within the limits on blocks and on an act."""

    def weigh(batch: Batch) -> tuple[int, ...]:
        refs = batch.manifest.blocks
        size = 64 + 3 * len(positions[batch.id]) + 96 * len(refs)
        return sum(ref.length for ref in refs), size, 1

    batches = (batch for batch in where.batches if batch.id in positions)
    for part in in_parts(batches, weigh, (LIMITS.erase_bytes, ACT_ROOM, LIMITS.act_batches)):
        yield {batch.id: positions[batch.id] for batch in part}


async def _drafted(
    session: Session, where: Collection, positions: Positions, reason: Reason
) -> acts.Erase:
    batches = [batch for batch in where.batches if batch.id in positions]
    gone = {batch.id: positions[batch.id] | batch.erased for batch in batches}
    emptied = await _what_is_left(session, where, batches, gone)
    erasures = [
        Erasure(batch.id, tuple(sorted(positions[batch.id])), tuple(emptied[batch.id]))
        for batch in batches
    ]
    return acts.Erase(where.id, reason, tuple(sorted(erasures, key=to_bytes)))


async def _what_is_left(
    session: Session, where: Collection, batches: Sequence[Batch], gone: Positions
) -> dict[bytes, list[EmptiedBlock]]:
    """Return what is left of the blocks of each batch, in the manifest's order."""
    emptied: dict[bytes, list[EmptiedBlock]] = {}
    parts = []
    for batch in batches:
        records = batch.manifest.records
        if len(gone[batch.id]) < records:
            parts += [(batch, ref) for ref in batch.manifest.blocks]
        else:
            # What is left does not depend on what was there, so nobody has to fetch that.
            left = empty_cells(b"", records, gone[batch.id])
            emptied[batch.id] = [_emptied(ref, left) for ref in batch.manifest.blocks]
    async for batch, ref, block in fetch_blocks(session, where.id, parts):
        verify_block(ref, block)
        left_of = await asyncio.to_thread(emptied_block, batch, ref, block, gone[batch.id])
        emptied.setdefault(batch.id, []).append(left_of)
    return emptied


def emptied_block(batch: Batch, ref: BlockRef, block: bytes, gone: frozenset[int]) -> EmptiedBlock:
    """Return what is left of a committed block without the records in `gone`, all that ever went.

    Raises:
        IntegrityError: it is no block of cells.
    """
    try:
        left = empty_cells(block, batch.manifest.records, gone)
    except MalformedMessage:
        raise IntegrityError(
            f"field {ref.field} of batch {batch.id.hex()} has no cells that could be erased",
            hint="Erase all of it, with --unreadable.",
        ) from None
    return _emptied(ref, left)


def _emptied(ref: BlockRef, left: bytes) -> EmptiedBlock:
    """Return how an act tells what is left of a block."""
    return EmptiedBlock(ref.field, ref.sha256, len(left), hashlib.sha256(left).digest())
