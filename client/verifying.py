"""Verifying all that is offered, before anything is accepted (SPEC section 10.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from client.catalogs import Names, read_names
from client.columns import Cells
from client.documents.checking import Checks, checks_of
from client.errors import Refused
from client.fetching import Arrived, Listed, fetch_batches
from client.handover import open_offer
from client.overlap import in_order
from client.people import remember_words, words_with
from client.reading import open_cells
from client.results.progress import OnProgress, Progress
from client.session import Session
from client.tables import cells_to_array
from protocol.acts import CollectionReceipt
from protocol.blocks import Address, BlockRef, is_catalog, verify_block
from protocol.errors import IntegrityError, MalformedMessage, ManifestMismatch
from protocol.ledger.contents import Batch, Collection
from protocol.ledger.state import OpenOffer


@dataclass(frozen=True, slots=True)
class Verified:
    """The offer that was verified in full, and the receipts that say so."""

    offer: OpenOffer
    receipts: tuple[CollectionReceipt, ...]


async def verify(
    session: Session, *, words: str | None, yes: bool, on_progress: OnProgress
) -> Verified:
    """Check everything that is offered, before anything is accepted (SPEC section 10.5).

    In this order: (1) genesis, consistency, replay and proofs, by the sync; (2) the seller's
    words; (3) every key: its share, and its confirmation; (4) the roots offered are those of
    the replayed commits; (5) every block has the committed hash, and every cell opens and is
    of its type; (6) the counts.

    Raises:
        VerificationFailed: which of these failed, and for what; nothing was accepted.
        Refused: nothing is offered, or the words were not compared.
    """
    # (1)
    await session.sync_as_member()
    opened = open_offer(session)
    # (2)
    if not await remember_words(session, session.state.owner, words, yes):
        raise Refused(
            "the seller's twelve words were never compared",
            code="not_compared",
            hint="Ask the seller for them by voice, then give them with --words. "
            f"Yours are: {words_with(session, session.state.owner)}",
        )
    # (3)
    keys = {address: session.key(address).key.expose() for address in sorted(opened.addresses)}
    # (4)
    if opened.roots != session.state.roots():
        raise ManifestMismatch("the offer is of other data than was committed")
    # (5) and (6)
    total = sum(each.cells for each in session.state.collections.values())
    tally = _Tally(total, on_progress)
    receipts = []
    for _, where in sorted(session.state.collections.items()):
        await _verify_collection(session, where, keys, tally)
        receipts.append(CollectionReceipt(where.id, where.root(), where.records, where.cells))
    if tally.cells != total:
        raise ManifestMismatch(f"{tally.cells} cells opened where {total} were committed")
    return Verified(opened, tuple(receipts))


@dataclass(slots=True)
class _Tally:
    """How much was opened so far."""

    total: int
    on_progress: OnProgress
    cells: int = 0

    def add(self, cells: int) -> None:
        self.cells += cells
        self.on_progress(Progress("verifying", self.cells, self.total, "cells"))


async def _verify_collection(
    session: Session, where: Collection, keys: dict[Address, bytes], tally: _Tally
) -> None:
    """Open every cell of every data field of a collection, batch by batch.

    Documents have to be whole, each the file that its entry says. Catalog blocks have to be the
    committed ones; one that does not open names nothing.
    """
    names, documents = await read_names(session, where.id), await checks_of(session, where.id)
    arriving = fetch_batches(session, where.id, list(_listed(where)))
    opening = in_order(arriving, partial(_opened, where, keys, names, documents))
    async with aclosing(opening) as batches:
        async for opened in batches:
            for cells in opened.chunks:
                await asyncio.to_thread(documents.take, opened.batch, cells)
            tally.add(opened.cells)
    documents.finish()


class _Opened(NamedTuple):
    """A batch that was verified: how many cells it has, and those that are a document's chunks."""

    batch: Batch
    cells: int
    chunks: list[Cells]


def _opened(
    where: Collection,
    keys: dict[Address, bytes],
    names: Names,
    documents: Checks,
    arrived: Arrived,
) -> _Opened:
    """Verify the blocks of a batch; runs in a thread."""
    batch, chunks, count = arrived.batch, [], 0
    for ref, block in arrived.blocks:
        if is_catalog(ref.field) or not batch.records:
            # Which names open is seen when they are read: an admin's rubbish is no data missing.
            # Of a batch that was erased nothing is left to open, and its key may be gone.
            verify_block(ref, block)
            continue
        named = names.fields.get(ref.field)
        if named is None:
            raise names.failure or IntegrityError(f"the catalog does not name field {ref.field}")
        cells = _verified(where, keys, batch, ref, block, named.type)
        count += batch.records
        if documents.concern(batch):
            chunks.append(cells)
    return _Opened(batch, count, chunks)


def _verified(
    where: Collection,
    keys: dict[Address, bytes],
    batch: Batch,
    ref: BlockRef,
    block: bytes,
    kind: str,
) -> Cells:
    """Return a block's cells, once they are of their type, and empty where they were erased."""
    cells = open_cells(where, keys, batch, ref, block, kind)
    try:
        cells_to_array(cells, kind)
    except MalformedMessage as error:
        raise IntegrityError(
            f"batch {batch.id.hex()}: field {ref.field} holds what is no {kind}"
        ) from error
    return cells


def _listed(where: Collection) -> Iterator[Listed]:
    return ((batch, ref) for batch in where.batches for ref in batch.manifest.blocks)
