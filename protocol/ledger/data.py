"""Transitions on committed data (SPEC section 9.5)."""

from __future__ import annotations

from dataclasses import replace

from protocol import acts
from protocol.blocks import PEOPLE_COLLECTION, Address, BlockRef, Manifest, catalog_field
from protocol.errors import Conflict, NotAuthorised, OutOfOrder
from protocol.ledger.holders import holds, is_keyed
from protocol.ledger.state import Batch, Collection, Member, PendingUpload, State


def commit(state: State, act: acts.Act, payload: acts.Commit, at: int) -> State:
    """Take one part of an upload; the last part makes all of it visible at once."""
    author = state.members[act.author]
    where = state.collections.get(payload.collection)
    if where is None:
        raise OutOfOrder("a commit to a collection that is not there")
    if payload.upload in state.uploads:
        raise Conflict("that upload was committed before")
    pending = _pending(state, payload, author)
    for manifest in payload.manifests:
        _check_manifest(state, author, where, manifest)
    ids = [manifest.batch_id for manifest in payload.manifests]
    if len(set(ids)) != len(ids) or not state.batch_ids.isdisjoint(ids):
        raise Conflict("a batch id that was used before")
    batches = tuple(Batch(each, payload.upload, at, author.id) for each in payload.manifests)
    grown = replace(pending, batches=pending.batches + batches, parts=pending.parts + 1)
    state = replace(state, batch_ids=state.batch_ids | set(ids))
    if not payload.last:
        return replace(state, pending={**state.pending, payload.upload: grown})
    return _published(state, where, payload.upload, grown)


def _pending(state: State, payload: acts.Commit, author: Member) -> PendingUpload:
    known = state.pending.get(payload.upload)
    if known is None:
        known = PendingUpload(author.id, payload.collection, (), 0)
    if known.author != author.id or known.collection != payload.collection:
        raise Conflict("that upload id is another's")
    if payload.part != known.parts:
        raise OutOfOrder(f"the next part of that upload is {known.parts}")
    return known


def _published(state: State, where: Collection, upload: bytes, pending: PendingUpload) -> State:
    """Show all parts at once. None is under a tainted epoch: a taint drops the whole upload."""
    grown = replace(where, batches=where.batches + pending.batches)
    _check_catalogs(grown)
    left = {key: each for key, each in state.pending.items() if key != upload}
    return replace(
        state,
        collections={**state.collections, where.id: grown},
        pending=left,
        uploads=state.uploads | {upload},
    )


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
        if not holds(author, where, ref.field):
            raise NotAuthorised("who writes a field holds it")
        _check_epoch(state, where, ref)


def _check_epoch(state: State, where: Collection, ref: BlockRef) -> None:
    epoch = state.epoch(Address(where.id, ref.field, ref.epoch))
    if epoch is None:
        raise OutOfOrder("a block under an epoch that is not there")
    if epoch.tainted:
        raise OutOfOrder(
            "a block under an epoch that takes no more commits",
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
