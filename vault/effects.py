"""What an act changes in storage besides the log: what is shown, rewritten, and to be deleted."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

from protocol import acts
from protocol.blocks import BlockRef, Manifest, empty_cells
from protocol.errors import MalformedMessage, ManifestMismatch, OutOfOrder
from protocol.ledger import Landed
from protocol.ledger.contents import Batch, PendingMoves, PendingUpload
from protocol.ledger.state import State
from protocol.wire import to_bytes
from vault.storage.base import (
    BlockKey,
    Effects,
    Publish,
    Relied,
    Rewrite,
    StagedBatch,
    StorageFailed,
)


def effects_of(
    landed: Landed,
    relies: tuple[Relied, ...],
    rewrites: Sequence[Rewrite],
    retired: tuple[tuple[int, int], ...],
) -> Effects:
    """Return what is to happen together with the append of an act.

    It `relies` on what it lists, `rewrites` are those of what it erases, `retired` the parts
    beside the log that it retires.

    The last part of a commit shows every batch of its upload, and that of a re-encryption every
    block, in the place of what it was made from. From its first part on, until the ledger drops
    it, an upload does not expire: its batches can never be committed again, so the last part
    would show what is gone. Whoever is removed loses what it had staged.
    """
    before, after, act = landed.before, landed.after, landed.act
    assert before is not None
    assert act is not None
    ended, moves = after.ended and not before.ended, _moves(before, act.payload)
    gone = before.collections.keys() - after.collections.keys()
    return Effects(
        publish=_published(before, act.payload, moves),
        relies=relies,
        drop_members=_removed(before, after),
        hold_uploads=tuple(after.pending.keys() - before.pending.keys()),
        release_uploads=tuple(before.pending.keys() - after.pending.keys()),
        rewrite=tuple(rewrites),
        doom=tuple(_superseded(after, act.payload, moves)),
        doom_batches=tuple(batch.id for each in gone for batch in before.collections[each].batches),
        doom_all=ended,
        delete_parts=retired,
    )


def _moves(before: State, payload: acts.Payload) -> tuple[acts.MovedBlock, ...]:
    """Return all moves of a re-encryption whose last part this is."""
    if not isinstance(payload, acts.Reencrypt) or not payload.last:
        return ()
    pending = before.pending.get(payload.upload)
    earlier = pending.moves if isinstance(pending, PendingMoves) else ()
    return (*earlier, *payload.moves)


def _published(
    before: State, payload: acts.Payload, moves: Sequence[acts.MovedBlock]
) -> tuple[Publish, ...]:
    if isinstance(payload, acts.Reencrypt) and payload.last:
        return (Publish(payload.upload, tuple({move.batch: None for move in moves})),)
    if isinstance(payload, acts.Replace) or (isinstance(payload, acts.Commit) and payload.last):
        pending = before.pending.get(payload.upload)
        earlier = pending.batches if isinstance(pending, PendingUpload) else ()
        ids = (*(b.id for b in earlier), *(m.batch_id for m in payload.manifests))
        return (Publish(payload.upload, ids),)
    return ()


def _superseded(
    after: State, payload: acts.Payload, moves: Sequence[acts.MovedBlock]
) -> Iterator[BlockKey]:
    """Yield what a re-encryption leaves behind: the old block, or a new one that did not move.

    Of records that are all erased both are the same bytes, and stay.
    """
    if not isinstance(payload, acts.Reencrypt) or not moves:
        return
    current = {
        (batch.id, ref.field): ref.sha256
        for batch in after.collections[payload.collection].batches
        for ref in batch.manifest.blocks
    }
    for move in moves:
        place = (move.batch, move.block.field)
        for digest in {move.before, move.block.sha256} - {current.get(place)}:
            yield BlockKey(*place, digest)


Listing = acts.Commit | acts.Replace | acts.Reencrypt
"""Acts that list what was staged."""


def relied_on(state: State, payload: Listing, staged: Sequence[StagedBatch]) -> Relied:
    """Return what an act relies on, which is staged, by the author under this upload.

    `state` is the one before the act, which the ledger admits. What is staged may go before the
    act is stored; so the store is told what it was.

    Raises:
        OutOfOrder: some is not staged, or not exactly as the act lists it.
    """
    there = {batch.batch_id: batch.manifest_digest for batch in staged}
    if isinstance(payload, acts.Reencrypt):
        listed = _manifests_of_moves(state, payload)
    else:
        listed = payload.manifests
    digests = []
    for manifest in listed:
        digest = hashlib.sha256(to_bytes(manifest)).digest()
        if there.get(manifest.batch_id) != digest:
            raise OutOfOrder(
                f"batch {manifest.batch_id.hex()} is not staged as the act lists it",
                hint="Upload it again, then commit.",
            )
        digests.append((manifest.batch_id, digest))
    return Relied(payload.upload, tuple(digests))


def _manifests_of_moves(state: State, payload: acts.Reencrypt) -> tuple[Manifest, ...]:
    """Return the manifest under which each batch's new blocks must have been staged."""
    known = state.collections[payload.collection].by_id()
    by_batch: dict[bytes, list[BlockRef]] = {}
    for move in payload.moves:
        by_batch.setdefault(move.batch, []).append(move.block)
    return tuple(
        Manifest(batch_id, known[batch_id].manifest.records, tuple(sorted(refs, key=_by_field)))
        for batch_id, refs in by_batch.items()
    )


def _by_field(ref: BlockRef) -> int:
    return ref.field


ReadBlock = Callable[[BlockKey], Awaitable[bytes | None]]


async def rewrites_of(
    state: State, payload: acts.Erase | acts.Replace, read: ReadBlock
) -> tuple[Rewrite, ...]:
    """Empty the blocks that an act erases from, and check that they are what it says.

    `state` is the one before the act. At most `erase_bytes` of blocks are read (SPEC section 11).

    Raises:
        ManifestMismatch: the act says that something else is left.
        StorageFailed: a block is not there.
    """
    known = state.collections[payload.collection].by_id()
    made = []
    for erasure in payload.erasures:
        batch = known[erasure.batch]
        gone = batch.erased | set(erasure.positions)
        for block in erasure.blocks:
            key = BlockKey(batch.id, block.field, block.before)
            content = await read(key)
            if content is None:
                raise StorageFailed("a block that the log lists is not there")
            made.append(await asyncio.to_thread(_emptied, key, content, batch, gone, block))
    return tuple(made)


def _emptied(
    key: BlockKey, content: bytes, batch: Batch, gone: Collection[int], said: acts.EmptiedBlock
) -> Rewrite:
    try:
        left = empty_cells(content, batch.manifest.records, gone)
    except MalformedMessage:
        raise ManifestMismatch(
            f"a block of field {key.field} from which nothing can be erased",
            hint="Erase all records of its batch: then nothing of it need be understood.",
        ) from None
    digest = hashlib.sha256(left).digest()
    if (len(left), digest) != (said.length, said.after):
        raise ManifestMismatch(f"an erasure that leaves another block of field {key.field}")
    return Rewrite(key, digest, left)


def _removed(before: State, after: State) -> tuple[bytes, ...]:
    if before.members is after.members:
        return ()
    known = (after.members[member.id] for member in before.members.values() if member.live)
    return tuple(member.id for member in known if not member.live)
