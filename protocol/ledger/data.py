"""Transitions on what is stored: commits, erasures, re-encryptions (SPEC section 9.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from protocol import acts
from protocol.blocks import PEOPLE_COLLECTION, Address, BlockRef, Manifest, catalog_field
from protocol.errors import Conflict, LimitExceeded, NotAuthorised, OutOfOrder
from protocol.ledger.contents import Batch, Collection, PendingMoves, PendingUpload
from protocol.ledger.holders import holds, is_keyed
from protocol.ledger.parties import Member
from protocol.ledger.state import State
from protocol.limits import LIMITS

# --- commits


def commit(state: State, act: acts.Act, payload: acts.Commit, at: int) -> State:
    """Take one part of an upload; the last part makes all of it visible at once."""
    state, grown = _with_part(state, act, payload, at)
    if payload.last:
        return _published(state, payload.upload, grown)
    return replace(state, pending={**state.pending, payload.upload: grown})


def replace_records(state: State, act: acts.Act, payload: acts.Replace, at: int) -> State:
    """Take the last part of an upload, and erase in the same moment what it replaces."""
    where = _collection(state, payload.collection)
    state, grown = _with_part(state, act, payload, at)
    state = state.with_collection(_emptied(where, payload.erasures))
    return _published(state, payload.upload, grown)


def _with_part(
    state: State, act: acts.Act, payload: acts.Commit | acts.Replace, at: int
) -> tuple[State, PendingUpload]:
    author = state.members[act.author]
    where = _collection(state, payload.collection)
    pending = _pending_upload(state, payload, author)
    for manifest in payload.manifests:
        _check_manifest(state, author, where, manifest)
    ids = [manifest.batch_id for manifest in payload.manifests]
    if len(set(ids)) != len(ids) or not state.batch_ids.isdisjoint(ids):
        raise Conflict("a batch id that was used before")
    batches = tuple(Batch(each, payload.upload, at, author.id) for each in payload.manifests)
    grown = replace(pending, batches=pending.batches + batches, parts=pending.parts + 1)
    return replace(state, batch_ids=state.batch_ids | set(ids)), grown


def _collection(state: State, collection: bytes) -> Collection:
    where = state.collections.get(collection)
    if where is None:
        raise OutOfOrder("a collection that is not there")
    return where


def _pending_upload(
    state: State, payload: acts.Commit | acts.Replace, author: Member
) -> PendingUpload:
    known = state.pending.get(payload.upload)
    if known is None:
        _check_unused(state, payload.upload)
        known = PendingUpload(author.id, payload.collection, (), 0)
    if not isinstance(known, PendingUpload):
        raise Conflict("that upload id is a re-encryption's")
    _check_continues(known, author, payload.collection, payload.part)
    return known


def _check_unused(state: State, upload: bytes) -> None:
    if upload in state.uploads:
        raise Conflict("that upload was committed before")


def _check_continues(
    known: PendingUpload | PendingMoves, author: Member, collection: bytes, part: int
) -> None:
    if known.author != author.id or known.collection != collection:
        raise Conflict("that upload id is another's")
    if part != known.parts:
        raise OutOfOrder(f"the next part of that upload is {known.parts}")


def _published(state: State, upload: bytes, pending: PendingUpload) -> State:
    """Show all parts at once: those under an epoch that was tainted meanwhile landed before."""
    where = state.collections[pending.collection]
    grown = replace(where, batches=where.batches + pending.batches)
    _check_catalogs(grown)
    return _ended(state.with_collection(grown), upload)


def _ended(state: State, upload: bytes) -> State:
    left = {key: each for key, each in state.pending.items() if key != upload}
    return replace(state, pending=left, uploads=state.uploads | {upload})


def _check_manifest(state: State, author: Member, where: Collection, manifest: Manifest) -> None:
    """Refuse a batch of fields that are not there, not all there, or not the author's to write."""
    numbers = tuple(ref.field for ref in manifest.blocks)
    if not all(map(where.has, numbers)):
        raise OutOfOrder("a block of a field that is not there")
    if not manifest.is_catalog and numbers != tuple(range(len(where.classes))):
        raise OutOfOrder("a batch of records has one block for every field")
    if where.id != PEOPLE_COLLECTION and not is_keyed(author.role):
        raise NotAuthorised("an admin without keys commits names of people only")
    for ref in manifest.blocks:
        _check_written(state, author, where, ref)


def _check_written(state: State, author: Member, where: Collection, ref: BlockRef) -> None:
    """Refuse a block of a field that the author does not hold, or under no key for new ones."""
    if not holds(author, where, ref.field):
        raise NotAuthorised("who writes a field holds it")
    epoch = state.epoch(Address(where.id, ref.field, ref.epoch))
    if epoch is None:
        raise OutOfOrder("a block under an epoch that is not there")
    if epoch.tainted:
        raise OutOfOrder(
            f"a block under an epoch that takes no more ({epoch.address})",
            hint="Someone who held its key was removed. Run 'sealroom rotate', then try again.",
        )


def _check_catalogs(where: Collection) -> None:
    """Refuse data whose names are nowhere: each class's catalog is written before, or with it."""
    named: set[int] = set()
    for batch in where.batches:
        if batch.manifest.is_catalog:
            named.add(batch.manifest.blocks[0].field)
        elif any(catalog_field(each) not in named for each in where.classes):
            raise OutOfOrder("records before the catalog that names their fields")


# --- erasures


def erase(state: State, act: acts.Act, payload: acts.Erase, at: int) -> State:
    """Empty the cells of records, in every field and for ever."""
    where = _collection(state, payload.collection)
    return state.with_collection(_emptied(where, payload.erasures))


def _emptied(where: Collection, erasures: Sequence[acts.Erasure]) -> Collection:
    """Return the collection without these records; all of them are there, or none goes."""
    if len({erasure.batch for erasure in erasures}) != len(erasures):
        raise OutOfOrder("a batch that is erased from twice in one act")
    known = where.by_id()
    changed = []
    touched = 0
    for erasure in erasures:
        batch = known.get(erasure.batch)
        if batch is None:
            raise OutOfOrder(f"there is no batch {erasure.batch.hex()} in that collection")
        touched += sum(ref.length for ref in batch.manifest.blocks)
        changed.append(_without_records(batch, erasure))
    if touched > LIMITS.erase_bytes:
        raise LimitExceeded(f"blocks of more than {LIMITS.erase_bytes} bytes in one erasure")
    return where.with_batches(changed)


def _without_records(batch: Batch, erasure: acts.Erasure) -> Batch:
    gone = frozenset(erasure.positions)
    if erasure.positions[-1] >= batch.manifest.records:
        raise OutOfOrder(f"batch {batch.id.hex()} has no record {erasure.positions[-1]}")
    if gone & batch.erased:
        raise OutOfOrder(f"record {min(gone & batch.erased)} of batch {batch.id.hex()} is erased")
    if [each.field for each in erasure.blocks] != [ref.field for ref in batch.manifest.blocks]:
        raise OutOfOrder("an erasure is from every field of its batch, in their order")
    emptied = {}
    for ref, block in zip(batch.manifest.blocks, erasure.blocks, strict=True):
        if block.before != ref.sha256:
            raise OutOfOrder(
                f"field {ref.field} of batch {batch.id.hex()} changed meanwhile",
                hint="Sync, and erase again.",
            )
        if not 4 * batch.manifest.records <= block.length <= ref.length:
            raise OutOfOrder("a block that would grow, or lose its lengths, by an erasure")
        emptied[ref.field] = replace(ref, length=block.length, sha256=block.after)
    return replace(batch.with_blocks(emptied), erased=batch.erased | gone)


# --- re-encryption

Current = dict[tuple[bytes, int], tuple[Batch, BlockRef]]
"""Blocks as they are, by batch and field."""


def reencrypt(state: State, act: acts.Act, payload: acts.Reencrypt, at: int) -> State:
    """Take one part of a re-encryption; the last part moves all that did not change meanwhile."""
    author = state.members[act.author]
    where = _collection(state, payload.collection)
    pending = _pending_moves(state, payload, author)
    grown = replace(pending, moves=pending.moves + payload.moves, parts=pending.parts + 1)
    # What earlier parts start from may be there only now, so the last part looks at all.
    looked_at = grown.moves if payload.last else payload.moves
    current = _current(where, looked_at)
    for move in looked_at:
        _check_moved(current.get((move.batch, move.block.field)), move)
        _check_written(state, author, where, move.block)
    places = {(move.batch, move.block.field) for move in grown.moves}
    if len(places) != len(grown.moves):
        raise OutOfOrder("a block that moves twice in one re-encryption")
    if not payload.last:
        return replace(state, pending={**state.pending, payload.upload: grown})
    moved = _moved(where, grown.moves, current)
    return _ended(state.with_collection(moved), payload.upload)


def _pending_moves(state: State, payload: acts.Reencrypt, author: Member) -> PendingMoves:
    known = state.pending.get(payload.upload)
    if known is None:
        _check_unused(state, payload.upload)
        known = PendingMoves(author.id, payload.collection, (), 0)
    if not isinstance(known, PendingMoves):
        raise Conflict("that upload id is a commit's")
    _check_continues(known, author, payload.collection, payload.part)
    return known


def _current(where: Collection, moves: Sequence[acts.MovedBlock]) -> Current:
    """Return the blocks that there are in the batches of which some move."""
    named = {move.batch for move in moves}
    return {
        (batch.id, ref.field): (batch, ref)
        for batch in where.batches
        if batch.id in named
        for ref in batch.manifest.blocks
    }


def _check_moved(found: tuple[Batch, BlockRef] | None, move: acts.MovedBlock) -> None:
    """Refuse a block that is sealed again of nothing, or is not cut and padded as it was."""
    if found is None:
        raise OutOfOrder(f"there is no block of that field in a batch {move.batch.hex()}")
    _, ref = found
    alike = (move.block.length, move.block.padding) == (ref.length, ref.padding)
    if ref.sha256 == move.before and not alike:
        raise OutOfOrder("a block that has another length, or padding, by a re-encryption")


def _moved(where: Collection, moves: Sequence[acts.MovedBlock], current: Current) -> Collection:
    """Return the collection with blocks moved to newer epochs; one that changed stays."""
    moving: dict[bytes, dict[int, BlockRef]] = {}
    for move in moves:
        _, ref = current[move.batch, move.block.field]
        if ref.sha256 == move.before and ref.epoch < move.block.epoch:
            moving.setdefault(move.batch, {})[ref.field] = move.block
    return where.with_batches(
        batch.with_blocks(moving[batch.id]) for batch in where.batches if batch.id in moving
    )
