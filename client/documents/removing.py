"""Removing a document for ever: its chunks first, and then its name (SPEC sections 7.6 and 9.5)."""

from __future__ import annotations

from client.documents.entries import Document
from client.erasing import Erased, erase
from client.results.progress import OnProgress
from client.session import Session
from protocol.acts import Reason


async def remove(
    session: Session, document: Document, reason: Reason, on_progress: OnProgress
) -> Erased:
    """Erase a document in every epoch, in as few acts as the limits allow.

    Safe to repeat: while any of it is left, its name is too, and the same goes on.

    Raises:
        Refused: this member may not, or the vault is frozen or offered.
        ManifestMismatch: the server sent another block than the committed one.
    """
    chunks = {b.id: frozenset(range(b.manifest.records)) for b in document.batches}
    collection = document.where.id
    done = await erase(session, collection, chunks, reason, on_progress)
    rows: dict[bytes, set[int]] = {}
    for row in document.rows:
        rows.setdefault(row.batch.id, set()).add(row.position)
    entries = {batch: frozenset(positions) for batch, positions in rows.items()}
    named = await erase(session, collection, entries, reason, on_progress)
    return Erased((*done.acts, *named.acts), done.records + named.records, done.already)
