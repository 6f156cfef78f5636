"""What an act changes in storage besides the log: what is shown, rewritten, and to be deleted."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

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
    StorageDamaged,
)


def effects_of(
    landed: Landed,
    relies: tuple[Relied, ...],
    rewrites: Sequence[Rewrite],
    retired: tuple[tuple[int, int], ...],
    closed: tuple[tuple[bytes, bytes], ...],
) -> Effects:
    """Return what is to happen together with the append of an act.

    It `relies` on what it lists, `rewrites` are those of what it erases, `retired` the parts
    beside the log that it retires, `closed` what is staged and can land no more after it, as
    `Effects.drop_staged` has it.

    The last part of a commit shows every batch of its upload, and that of a re-encryption every
    block, in the place of what it was made from. From its first part on an upload does not
    expire: its batches can never be committed again, so the last part would show what is gone.
    If the ledger drops it, all of it goes. Whoever is removed loses what it had staged.
    """
    before, after, act = landed.before, landed.after, landed.act
    assert before is not None
    assert act is not None
    ended, moving = after.ended and not before.ended, _Moving.of(before, after, act.payload)
    gone = before.collections.keys() - after.collections.keys()
    return Effects(
        publish=_published(before, act.payload, moving),
        relies=relies,
        drop_members=_removed(before, after),
        hold_uploads=tuple(after.pending.keys() - before.pending.keys()),
        drop_uploads=tuple(before.pending.keys() - after.pending.keys() - after.uploads),
        drop_staged=closed,
        rewrite=tuple(rewrites),
        doom=() if moving is None else tuple(moving.left()),
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


@dataclass(frozen=True, slots=True)
class _Moving:
    """A re-encryption's last part: all its moves, and each of their places before and after."""

    moves: tuple[acts.MovedBlock, ...]
    before: Mapping[tuple[bytes, int], bytes]
    after: Mapping[tuple[bytes, int], bytes]

    @classmethod
    def of(cls, before: State, after: State, payload: acts.Payload) -> _Moving | None:
        """Return what an act moves; None unless it is such a part."""
        moves = _moves(before, payload)
        if not isinstance(payload, acts.Reencrypt) or not moves:
            return None
        was, now = (_current(each, payload.collection) for each in (before, after))
        return cls(moves, was, now)

    def shown(self) -> Iterator[BlockKey]:
        """Yield the new blocks that are there from now on."""
        for move in self.moves:
            place = (move.batch, move.block.field)
            if self.after[place] != self.before[place]:
                yield BlockKey(*place, self.after[place])

    def left(self) -> Iterator[BlockKey]:
        """Yield what is there no more: the old block, or else the new one that did not move.

        What a move says that it was made from may be anything, such as a block that somebody
        else has staged. Of records that are all erased both are the same bytes, and stay.
        """
        for move in self.moves:
            place = (move.batch, move.block.field)
            if self.after[place] != self.before[place]:
                yield BlockKey(*place, self.before[place])
            elif move.block.sha256 != self.after[place]:
                yield BlockKey(*place, move.block.sha256)


def _current(state: State, collection: bytes) -> dict[tuple[bytes, int], bytes]:
    return {
        (batch.id, ref.field): ref.sha256
        for batch in state.collections[collection].batches
        for ref in batch.manifest.blocks
    }


def _published(before: State, payload: acts.Payload, moving: _Moving | None) -> tuple[Publish, ...]:
    if isinstance(payload, acts.Reencrypt) and moving is not None:
        batches = tuple({move.batch: None for move in moving.moves})
        return (Publish(payload.upload, batches, tuple(moving.shown())),)
    if isinstance(payload, acts.Replace) or (isinstance(payload, acts.Commit) and payload.last):
        pending = before.pending.get(payload.upload)
        earlier = pending.batches if isinstance(pending, PendingUpload) else ()
        manifests = (*(batch.manifest for batch in earlier), *payload.manifests)
        shown = tuple(BlockKey(m.batch_id, b.field, b.sha256) for m in manifests for b in m.blocks)
        return (Publish(payload.upload, tuple(m.batch_id for m in manifests), shown),)
    return ()


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
        StorageDamaged: a block is not there.
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
                raise StorageDamaged("a block that the log lists is not there")
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
