"""A table uploaded (SPEC section 10.5): where it goes, and what of it went there before.

It becomes a new collection, or goes into the one of that name, if it fits (`client.appending`).
The same command on the same file goes on after any interruption (`client.uploads`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Final

from client.appending import collection_named, fitted, misspelt
from client.catalogs import read_names
from client.errors import InputError, Refused
from client.journals import JournalledUpload, name_tag
from client.plans import Plan
from client.results.data import GivenUp, UploadResult
from client.results.progress import OnProgress
from client.session import Session, saying
from client.under_way import giving_way, tell_renamed
from client.uploads import Upload, begin, interrupted
from protocol import acts
from protocol.ledger.contents import Collection

UPDATING: Final = "update\0"


async def upload(session: Session, plan: Plan, on_progress: OnProgress) -> UploadResult:
    """Seal and send a table, visible at once by one signed commit.

    Safe to repeat after any interruption: batches that were acknowledged are not sealed again, and
    what has landed does not land twice.

    Raises:
        InputError: there is a collection of that name, which the table does not fit.
        Refused: this home has uploaded the file before, or has another one under way to a new
            collection of that name, or the ledger does not allow it.
        Stale, TableError, Unreachable: as `client.uploads.Upload.run`.
    """
    started = time.monotonic()
    await session.sync_as_member()
    session.expect_may(acts.DefineCollection)
    await session.keep_head_fresh()
    await plan.look_into()
    with session.store.uploading():
        return await upload_held(session, plan, started, on_progress)


async def upload_held(
    session: Session, plan: Plan, started: float, on_progress: OnProgress
) -> UploadResult:
    """Upload while the store is held for that (`VaultStore.uploading`); raises as `upload`."""
    there = await collection_named(session, plan.collection)
    if there is not None:
        fits = fitted(session, plan, *there)
        return await append(session, fits, there[0].id, started, on_progress)
    if said := await misspelt(session, plan.collection):
        plan.source.note(said)
    source = await asyncio.to_thread(plan.source_id)
    found = await interrupted(session, source)
    if found is not None:
        tell_renamed(session, plan, found[0])
    journal, resumed = found or (_begun_anew(session, plan, source), 0)
    return await _landed(session, plan, journal, resumed, started, on_progress)


async def append(
    session: Session, plan: Plan, collection: bytes, started: float, on_progress: OnProgress
) -> UploadResult:
    """Upload to a collection that is there, and which the plan fits; raises as `upload_held`."""
    source = await asyncio.to_thread(plan.source_id)
    found = await interrupted(session, source, collection)
    if found is None:
        refuse_repeated(session, plan, collection, source)
    journal, resumed = found or (_begin(session, plan, source, collection), 0)
    return await _landed(session, plan, journal, resumed, started, on_progress)


async def _landed(
    session: Session,
    plan: Plan,
    journal: JournalledUpload,
    resumed: int,
    started: float,
    on_progress: OnProgress,
) -> UploadResult:
    """Do what is left of an upload that stands in the journal, to its end; raises as `upload`."""
    if plan.seen is not None:
        plan.seen.add(journal.upload)
    if journal.upload not in session.state.uploads:
        try:
            await Upload(session, plan, journal, on_progress).run()
        except BaseException as error:
            _leave_nothing(session, journal, error)
            raise
        # While they are what was committed: this home then knows if somebody exchanges them.
        await read_names(session, journal.collection)
    session.store.uploads.finish(journal)
    return _result(session, plan, journal, resumed, time.monotonic() - started)


def _leave_nothing(session: Session, journal: JournalledUpload, error: BaseException) -> None:
    """Forget an upload that ended before anything of it was sent: there is nothing to go on with.

    A collection that was made for it, or may have been, stays with it: the name is nowhere else.
    """
    where = session.state.collections.get(journal.collection)
    unmade = where is None and isinstance(error, Refused)
    added_to = where is not None and bool(where.batches)
    if (unmade or added_to) and not session.store.uploads.batches(journal.upload):
        session.store.uploads.end(journal.upload)


def _result(
    session: Session, plan: Plan, journal: JournalledUpload, resumed: int, seconds: float
) -> UploadResult:
    """Return what an upload that has landed came to, as the ledger has it."""
    where = session.state.collections[journal.collection]
    mine = [batch.manifest for batch in where.batches if batch.upload == journal.upload]
    data = [manifest for manifest in mine if not manifest.is_catalog]
    records = sum(manifest.records for manifest in data)
    return UploadResult(
        collection_id=where.id.hex(),
        collection=plan.collection,
        records=records,
        fields=len(where.classes),
        cells=records * len(where.classes),
        batches=len(data),
        sealed_bytes=sum(ref.length for manifest in mine for ref in manifest.blocks),
        resumed_batches=resumed,
        seconds=seconds,
        notes=plan.source.notes,
        appended=len(where.batches) > len(mine),
    )


# --- the journal


def refuse_repeated(session: Session, plan: Plan, collection: bytes, source: bytes) -> None:
    """Refuse what went there before, from this home, unless it is to go there again.

    Raises:
        Refused: it did; which act of the log it was is told.
    """
    before = session.store.uploads.finished(source, collection)
    if before is not None and not plan.again and plan.source.origin() is None:
        batches = session.state.collections[collection].batches
        index = next((each.committed_at for each in batches if each.upload == before), None)
        raise Refused(
            f"{plan.source.name or 'this table'} was uploaded to {plan.collection!r} before"
            + ("" if index is None else f" (act {index:,} of the log)"),
            code="conflict",
            hint="Its records are there, so nothing was sent. --again appends them once more; "
            "--replace-by FIELD updates the records that are there.",
        )


def _begun_anew(session: Session, plan: Plan, source: bytes) -> JournalledUpload:
    """Begin an upload to a new collection, or to one that was left without a visible record.

    Raises:
        Refused: as `client.under_way.giving_way`.
    """
    collection = secrets.token_bytes(16)
    for begun in giving_way(session, plan):
        session.store.uploads.end(begun.upload)
        collection = begun.collection
    return _begin(session, plan, source, collection)


def _begin(session: Session, plan: Plan, source: bytes, collection: bytes) -> JournalledUpload:
    updating = "" if plan.seen is None else UPDATING
    return begin(session, collection, source, name_tag(collection, updating + plan.collection))


async def give_up(session: Session, where: Collection) -> GivenUp:
    """Let go of what this home has begun to upload to a collection and not ended.

    The server deletes by itself what was sent of it and is in no act. A collection of which
    nothing is visible yet ends with it.

    Raises:
        InputError: nothing is under way to it from this home.
        Refused: the ledger does not let this member end the collection.
    """
    journal = session.store.uploads
    begun = [
        each
        for each in journal.unfinished()
        if each.collection == where.id and each.upload not in session.state.uploads
    ]
    if not begun:
        raise InputError(
            "this home has no unfinished upload to it",
            hint="'sealroom collection list' shows those that it has.",
        )
    index = None
    if not where.batches:
        index = await session.act(saying(acts.RetireCollection(where.id, acts.Reason.MISTAKE)))
    for each in begun:
        journal.end(each.upload)
    return GivenUp(where.id.hex(), len(begun), index)


def end_updates(session: Session, collection: bytes, name: str) -> None:
    """Let go of the journals of updates that were decided on another state of a collection."""
    tag = name_tag(collection, UPDATING + name)
    for begun in session.store.uploads.unfinished():
        if begun.name == tag and begun.upload not in session.state.pending:
            session.store.uploads.end(begun.upload)
