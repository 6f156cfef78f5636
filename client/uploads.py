"""A table uploaded: planned, journalled, sent and committed (SPEC section 10.5).

It becomes a new collection, or goes into the one of that name, if it fits (`client.appending`).

A journal in this home says what was sealed and acknowledged. The same command on the same
file goes on from there after any interruption; what is committed is only what the journal
lists, never what the server says is staged. Where a key was tainted meanwhile, what was sealed
under it and has not landed is sealed anew, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from client.appending import collection_named, fitted, misspelt
from client.catalogs import (
    NAME_CHARACTERS,
)
from client.errors import InputError, Refused
from client.likely import likely
from client.results import OnProgress, UploadResult
from client.sending import KeysMoved, Plan, Sender, all_open
from client.session import Draft, Session, saying
from client.store import JournalledUpload
from client.tables import Source
from protocol import acts
from protocol.blocks import (
    Address,
    FieldClass,
    Manifest,
    is_catalog,
    manifest_bytes_at_most,
)
from protocol.errors import OutOfOrder
from protocol.ledger.contents import PendingUpload
from protocol.ledger.state import Phase, State
from protocol.limits import KIB, LIMITS
from protocol.wire import from_bytes

NO_ROWS: Final = "the table has columns and no rows"
UPDATING: Final = "update\0"
ATTEMPTS: Final = 6

PART_BYTES: Final = LIMITS.act_bytes - 64 * KIB


def plan_upload(
    source: Source,
    collection: str,
    classes: Mapping[str, FieldClass],
    default: FieldClass | None,
    batch_rows: int = LIMITS.batch_records_default,
    *,
    again: bool = False,
) -> Plan:
    """Give each column its class; columns that nobody named get the default.

    Without a default they are sensitive, or what they are in the collection of that name.

    Raises:
        InputError: a class for a column that the table does not have, a name for the collection
            that is empty or too long, or no such number of records for a batch.
    """
    names = [column.name for column in source.columns]
    unknown = sorted(set(classes) - set(names))
    if unknown:
        raise InputError(
            f"the table has no column {unknown[0]!r}",
            hint=likely(unknown[0], names, f"It has: {', '.join(names)}."),
        )
    if not collection.strip() or len(collection) > NAME_CHARACTERS:
        raise InputError(f"a collection has a name of 1 to {NAME_CHARACTERS} characters")
    if not 1 <= batch_rows <= LIMITS.batch_records:
        raise InputError(f"a batch has 1 to {LIMITS.batch_records} records")
    other = FieldClass.SENSITIVE if default is None else default
    chosen = tuple(classes.get(name, other) for name in names)
    said = frozenset(classes if default is None else names)
    return Plan(source, collection, chosen, batch_rows, said, frozenset(classes), again)


async def upload(session: Session, plan: Plan, on_progress: OnProgress) -> UploadResult:
    """Seal and send a table, visible at once by one signed commit.

    Safe to repeat after any interruption: batches that were acknowledged are not sealed again, and
    what has landed does not land twice.

    Raises:
        InputError: there is a collection of that name, which the table does not fit.
        Refused: this home has uploaded the file before, or the ledger does not allow it.
        Stale: nobody whom the policy names has signed the log's head for too long.
        TableError: the table cannot be read to its end; nothing is visible, a repeat goes on.
        Unreachable: the server is gone; a repeat goes on.
    """
    started = time.monotonic()
    await session.sync_as_member()
    session.expect_may(acts.DefineCollection)
    await session.keep_head_fresh()
    await look_into(plan)
    with session.store.uploading():
        return await upload_held(session, plan, started, on_progress)


async def upload_held(
    session: Session, plan: Plan, started: float, on_progress: OnProgress
) -> UploadResult:
    """Upload while the store is held for that (`VaultStore.uploading`); raises as `upload`."""
    plan, journal, resumed = await _begun(session, plan)
    await send(session, plan, journal, on_progress)
    return result_of(session, plan, journal, resumed, time.monotonic() - started)


async def send(
    session: Session, plan: Plan, journal: JournalledUpload, on_progress: OnProgress
) -> None:
    """Do what is left of an upload that stands in the journal, to its end; raises as `upload`."""
    if journal.upload not in session.state.uploads:
        await _seal_and_commit(session, plan, journal, on_progress)
    session.store.finish_upload(journal)


async def _seal_and_commit(
    session: Session, plan: Plan, journal: JournalledUpload, on_progress: OnProgress
) -> None:
    """Do what is left of an upload; begin again with whatever became unusable meanwhile."""
    if session.state.phase is not Phase.OPEN:
        # Nothing would land that is sealed now: let the rules say why.
        session.expect_allowed(acts.DefineCollection(secrets.token_bytes(16), plan.classes))
    for attempt in range(ATTEMPTS):
        await _prepare_collection(session, plan, journal.collection)
        sender = Sender(session, plan, journal)
        try:
            await sender.run(on_progress)
            await _commit(session, plan, journal)
        except (KeysMoved, Refused) as error:
            await session.sync_as_member()
            dropped = await _drop_unusable(session, journal)
            elsewhere = bool(dropped) and _landed_otherwise(session, journal)
            if elsewhere:
                session.store.end_upload(journal.upload)
            moved = bool(dropped) or not sender.keys_open()
            # While an offer is open, or the vault frozen, nothing that is sealed anew would land.
            again = moved and session.state.phase is Phase.OPEN and not elsewhere
            if isinstance(error, Refused) and not again:
                raise
            if not again or attempt == ATTEMPTS - 1:
                raise replaced() from error
        else:
            return


def replaced() -> Refused:
    """Return the refusal of what cannot go on because its keys were replaced too often."""
    return Refused(
        "keys that it was sealed under were replaced meanwhile",
        code="tainted",
        hint="Repeat the command: what has landed stands.",
    )


async def look_into(plan: Plan) -> None:
    """Read the first batch of a file, so that one that cannot be read defines no collection."""
    if plan.source.rereadable:  # a stream in memory is not
        first = await asyncio.to_thread(next, plan.source.batches(plan.batch_rows), None)
        if first is None:
            plan.source.note(NO_ROWS)


# --- the journal


async def _begun(session: Session, plan: Plan) -> tuple[Plan, JournalledUpload, int]:
    """Return an upload's journal, an interrupted one where there is one, and how much it lists.

    The plan that comes with it is the one that fits the collection, if that is there already.
    """
    there = await collection_named(session, plan.collection)
    if there is None:
        if said := await misspelt(session, plan.collection):
            plan.source.note(said)
        return plan, *await _begun_anew(session, plan)
    plan = fitted(session, plan, *there)
    return plan, *await begin_appending(session, plan, there[0].id, source_id(plan))


async def begin_appending(
    session: Session, plan: Plan, collection: bytes, source: bytes
) -> tuple[JournalledUpload, int]:
    """Return the journal of an upload to a collection that is there, and how much it lists.

    Raises:
        Refused: the same file went there before, from this home.
    """
    found = await _interrupted(session, source, collection)
    if found is not None:
        return found
    refuse_repeated(session, plan, collection, source)
    return _begin(session, plan, collection, source), 0


def refuse_repeated(session: Session, plan: Plan, collection: bytes, source: bytes) -> None:
    """Refuse what went there before, from this home, unless it is to go there again.

    Raises:
        Refused: it did; which act of the log it was is told.
    """
    before = session.store.finished_upload(source, collection)
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


async def _begun_anew(session: Session, plan: Plan) -> tuple[JournalledUpload, int]:
    source, collection = source_id(plan), secrets.token_bytes(16)
    found = await _interrupted(session, source, None)
    if found is not None:
        return found
    for begun in session.store.unfinished_uploads():
        if _left_empty(session, plan, begun):
            session.store.end_upload(begun.upload)
            collection = begun.collection
    return _begin(session, plan, collection, source), 0


async def _interrupted(
    session: Session, source: bytes, collection: bytes | None
) -> tuple[JournalledUpload, int] | None:
    """Return the journal of this very upload, if it was begun; those that are over are let go of.

    `collection` is where it goes, if that has its names already: then it is no other one's.
    """
    found = None
    for begun in session.store.unfinished_uploads():
        if begun.upload in session.state.uploads:
            if begun.source == source:
                found = begun, len(session.store.batches(begun.upload))
            else:
                session.store.finish_upload(begun)
        elif begun.collection in session.state.retired:
            session.store.end_upload(begun.upload)
        elif begun.source == source and collection in (None, begun.collection):
            dropped = await _drop_unusable(session, begun)
            if dropped and _landed_otherwise(session, begun):
                session.store.end_upload(begun.upload)
            else:
                found = begun, len(session.store.batches(begun.upload))
    return found


def _landed_otherwise(session: Session, begun: JournalledUpload) -> bool:
    """Say whether parts have landed of what may give other rows by now, which fit no such rows."""
    return begun.upload in session.state.pending and bool(session.store.contents(begun.upload))


def _left_empty(session: Session, plan: Plan, begun: JournalledUpload) -> bool:
    """Say whether an upload of another file, cut off before anything of it was visible, made way.

    A table that could not be read to its end leaves a collection that is defined and empty;
    the mended table goes into it, rather than beside it.
    """
    where = session.state.collections.get(begun.collection)
    return (
        begun.name == _name_tag(begun.collection, plan.collection)
        and begun.upload not in session.state.uploads
        and (where is None or (where.classes == plan.classes and not where.batches))
    )


def _begin(session: Session, plan: Plan, collection: bytes, source: bytes) -> JournalledUpload:
    updating = "" if plan.seen is None else UPDATING
    tag = _name_tag(collection, updating + plan.collection)
    begun = JournalledUpload(secrets.token_bytes(16), collection, source, plan.batch_rows, tag)
    session.store.begin_upload(begun)
    return begun


def end_updates(session: Session, collection: bytes, name: str) -> None:
    """Let go of the journals of updates that were decided on another state of a collection."""
    tag = _name_tag(collection, UPDATING + name)
    for begun in session.store.unfinished_uploads():
        if begun.name == tag and begun.upload not in session.state.pending:
            session.store.end_upload(begun.upload)


def _name_tag(collection: bytes, name: str) -> str:
    """Return what stands for a name in the journal: names lie in no file unsealed."""
    return hashlib.sha256(collection + name.encode()).hexdigest()


def source_id(plan: Plan) -> bytes:
    """Name what is uploaded and how; an object in memory is never the same twice.

    A database is named by where it is: what of it was sent is compared (`client.recall`).
    """
    content = plan.source.fingerprint() or plan.source.origin() or secrets.token_bytes(32)
    named = zip(plan.source.columns, plan.classes, strict=True)
    parts = [
        plan.collection,
        str(plan.batch_rows),
        # Where a batch ends early depends on them, and what follows it on that.
        repr(LIMITS),
        repr(sorted(plan.source.format.items())),
        *(f"{column.name}\0{column.type}\0{its_class}" for column, its_class in named),
    ]
    text = b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts)
    return hashlib.sha256(content + text).digest()


async def _drop_unusable(session: Session, begun: JournalledUpload) -> int:
    """Forget what was sealed before and can be committed no more; return how many batches.

    Usable is what has landed in a part of the commit. What has not is usable while no epoch of
    it was tainted, its part was not dropped by an offer, and the server still has it: what is
    long staged and not committed expires there. What else it lists is nothing to go by.
    """
    state, pending = session.state, session.state.pending.get(begun.upload)
    landed = {b.id for b in pending.batches} if isinstance(pending, PendingUpload) else set()
    staged = set((await session.transport.staged(session.vault_id, begun.upload)).batches)
    unusable = []
    for sequence, (_, encoded) in session.store.batches(begun.upload).items():
        manifest = _parsed(encoded)
        addresses = (Address(begun.collection, r.field, r.epoch) for r in manifest.blocks)
        there = manifest.batch_id in staged and manifest.batch_id not in state.batch_ids
        if manifest.batch_id not in landed and not (there and all_open(state, addresses)):
            unusable.append(sequence)
    session.store.drop_batches(begun.upload, unusable)
    return len(unusable)


# --- the collection and its keys


async def _prepare_collection(session: Session, plan: Plan, collection: bytes) -> None:
    """Define the collection and create its epochs, whichever of it an interruption left out."""
    if collection in session.state.retired:
        raise Refused(
            "the collection was retired while it was being uploaded",
            code="out_of_order",
            hint="The same command uploads it once more, as a new one.",
        )
    if collection not in session.state.collections:
        await session.act(saying(acts.DefineCollection(collection, plan.classes)))
    await ensure_writable(
        session, [(collection, number) for number in session.state.collections[collection].fields]
    )


async def ensure_writable(session: Session, fields: Sequence[tuple[bytes, int]]) -> int | None:
    """Create the next epoch of each field whose newest is missing or tainted.

    Return the act's index, None where all fields take commits already. The log's head is fresh
    then: nothing is sealed for members whose removal may be hidden.

    Raises:
        Refused: this member may not create epochs, or holds not all of these fields.
        Stale: as `Session.keep_head_fresh`.
    """
    await session.keep_head_fresh()

    def wanting(state: State) -> list[tuple[bytes, int]]:
        newest = {field: state.newest(*field) for field in fields}
        return [field for field, epoch in newest.items() if epoch is None or epoch.tainted]

    if not wanting(session.state):
        return None
    return await session.act_if_needed(lambda state: session.next_epochs(wanting(state)))


# --- the commit


async def _commit(session: Session, plan: Plan, journal: JournalledUpload) -> None:
    """Sign the manifests of the journal, in parts where they are many; the last shows all.

    With erasures the last part is the act that erases too; it has one manifest, to have room.
    """
    batches = session.store.batches(journal.upload)
    manifests = [_parsed(manifest) for _, (_, manifest) in sorted(batches.items())]
    cut = len(manifests) - (1 if plan.erasures else 0)
    parts = [*_parts(manifests[:cut]), *([manifests[cut:]] if plan.erasures else [])]
    pending = session.state.pending.get(journal.upload)
    for part in range(pending.parts if pending else 0, len(parts)):
        last, listed = part == len(parts) - 1, tuple(parts[part])
        payload = _payload(plan, journal, part, last, listed)

        def build(state: State, payload: acts.Payload = payload, last: bool = last) -> Draft:
            if last:
                _expect_seen(state, plan, journal)
            return Draft(payload)

        await session.act(build)


def _payload(
    plan: Plan, journal: JournalledUpload, part: int, last: bool, listed: tuple[Manifest, ...]
) -> acts.Payload:
    if not (last and plan.erasures):
        return acts.Commit(journal.upload, journal.collection, part, last, listed)
    reason = acts.Reason.OTHER
    return acts.Replace(journal.upload, journal.collection, part, listed, reason, plan.erasures)


def _expect_seen(state: State, plan: Plan, journal: JournalledUpload) -> None:
    """Refuse to add records to what was not looked at, if it matters what else is there."""
    where = state.collections.get(journal.collection)
    if plan.seen is None or where is None:
        return
    if not {batch.upload for batch in where.batches} <= plan.seen:
        raise Refused(
            "somebody else added records meanwhile",
            code=OutOfOrder.code,
            hint="Repeat the command: what has landed stands.",
        )


def _parts(manifests: Sequence[Manifest]) -> Iterator[list[Manifest]]:
    """Cut manifests into as many acts as they need; always the same way, so a repeat fits."""
    part: list[Manifest] = []
    size = 0
    for manifest in manifests:
        length = manifest_bytes_at_most(len(manifest.blocks))
        if part and (size + length > PART_BYTES or len(part) >= LIMITS.act_batches):
            yield part
            part, size = [], 0
        part.append(manifest)
        size += length
    if part:
        yield part


def _parsed(manifest: bytes) -> Manifest:
    return from_bytes(Manifest, manifest)


def result_of(
    session: Session, plan: Plan, journal: JournalledUpload, resumed: int, seconds: float
) -> UploadResult:
    """Return what an upload that has landed came to, as the ledger has it."""
    where = session.state.collections[journal.collection]
    mine = [batch.manifest for batch in where.batches if batch.upload == journal.upload]
    data = [manifest for manifest in mine if not is_catalog(manifest.blocks[0].field)]
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
