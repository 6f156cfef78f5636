"""Attaching a file: surveyed, sealed chunk by chunk and sent, in bounded memory (SPEC 7.6).

The file is read twice. The first time says what it is, by which an interrupted attachment is
known again; the second time seals it, each piece only if it is still what was seen the first time.
A journal in this home says what was sealed and acknowledged, as for a table (SPEC 10.5).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.catalogs import read_names, read_people, seal_rows
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, SealedBatch, seal_batch
from client.documents import chunks
from client.documents.chunks import cut
from client.documents.entries import (
    CONTENT,
    Document,
    Entry,
    collection_name,
    documents_in,
    entry_rows,
    holds_documents,
    media_type_of,
    plain_file_name,
    read_documents,
)
from client.documents.local import LocalFile, Survey, pieces_of
from client.errors import InputError, Refused
from client.overlap import Flights
from client.results import OnProgress, Progress
from client.sending import LOOK_SECONDS, KeysMoved
from client.session import Session, saying
from client.store import JournalledUpload
from client.uploads import ATTEMPTS, ensure_writable, replaced
from protocol import acts
from protocol.blocks import Address, FieldClass, Manifest, manifest_bytes_at_most
from protocol.ledger.contents import Collection, PendingUpload
from protocol.ledger.holders import holds
from protocol.ledger.state import Phase
from protocol.limits import KIB, LIMITS
from protocol.wire import from_bytes, to_bytes

PART_BATCHES: Final = min(
    LIMITS.act_batches, (LIMITS.act_bytes - 64 * KIB) // manifest_bytes_at_most(1)
)
"""So many batches are committed by one act."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A document that is there now: `already` if it was before, else what was resumed."""

    document: Document
    already: bool
    resumed_batches: int


async def attach(
    session: Session,
    path: Path,
    field_class: FieldClass,
    name: str | None,
    on_progress: OnProgress,
) -> Attached:
    """Seal and send a file as a document of a class, visible at once by one signed commit.

    Safe to repeat after any interruption; where the same file is there under the same name and
    class already, nothing is done.

    Raises:
        InputError: no file, a name that no file can have, or the file changed meanwhile.
        Refused: another document has that name, or the ledger does not allow it.
        Stale: nobody whom the policy names has signed the log's head for too long.
        Unreachable: the server is gone; a repeat goes on.
    """
    called = _checked_name(path.name if name is None else name)
    await session.sync_as_member()
    session.expect_may(acts.DefineCollection)
    await session.keep_head_fresh()
    if session.state.phase is not Phase.OPEN:
        # Nothing would land that is sealed now: let the rules say why.
        session.expect_allowed(acts.DefineCollection(secrets.token_bytes(16), (field_class,)))
    await _expect_holder(session, field_class)
    with LocalFile(path) as file, session.store.uploading():
        survey = await _surveyed(file, on_progress)
        entry = Entry(called, survey.size, media_type_of(called), survey.sha256)
        source = _source_id(field_class, entry)
        there = await _same(session, field_class, entry)
        if there is not None:
            _end(session, source)
            return Attached(there, True, 0)
        journal = await _journal(session, field_class, source)
        work = _Attaching(session, file, survey, entry, field_class, journal, on_progress)
        resumed = await work.run()
        session.store.end_upload(journal.upload)
    for done in await documents_in(session, journal.collection):
        if done.id == journal.upload:
            return Attached(done, False, resumed)
    raise Refused(
        f"{called!r} was removed as soon as it was attached",
        code="changed",
        hint="'sealroom log' shows by whom.",
    )


def _checked_name(name: str) -> str:
    if not plain_file_name(name):
        raise InputError(
            f"a document cannot be called {name!r}",
            hint="Give it a plain file name with --name: no folder, no dot at its beginning.",
        )
    return name


async def _expect_holder(session: Session, field_class: FieldClass) -> None:
    """Refuse before anything is read what this member could not seal.

    Raises:
        Refused: an admin without this class.
    """
    fresh = secrets.token_bytes(16)
    collection = await _collection(session, field_class) or fresh
    where = session.state.collections.get(collection, Collection(fresh, (field_class,)))
    me = session.state.members[session.identity.member_id]
    if not holds(me, where, CONTENT):
        raise Refused(
            f"you were not granted the class {field_class.name.lower()}",
            code="not_granted",
            hint="Ask for a grant, or choose another --class.",
        )


async def _surveyed(file: LocalFile, on_progress: OnProgress) -> Survey:
    whole, pieces, done = hashlib.sha256(), [], 0
    for number in range(pieces_of(file.size)):
        content = await asyncio.to_thread(file.piece, number)
        pieces.append((await asyncio.to_thread(hashlib.sha256, content)).digest())
        await asyncio.to_thread(whole.update, content)
        done += len(content)
        on_progress(Progress("reading", done, file.size, "bytes"))
    return Survey(file.size, whole.digest(), tuple(pieces))


async def _same(session: Session, field_class: FieldClass, entry: Entry) -> Document | None:
    """Return the document that is this very file, if it is there.

    Raises:
        Refused: another one has its name.
    """
    named = [
        each
        for each in await read_documents(session)
        if each.entry is not None and each.entry.name == entry.name
    ]
    for each in named:
        if each.entry == entry and each.field_class is field_class and each.whole:
            return each
    if named:
        raise Refused(
            f"there is another document {entry.name!r} already",
            code="conflict",
            hint="Give another name with --name, or 'sealroom documents remove' that one first.",
        )
    return None


# --- the journal


def _source_id(field_class: FieldClass, entry: Entry) -> bytes:
    """Name what is attached, and how it is cut."""
    how = (chunks.CHUNK_BYTES, chunks.CHUNKS_A_BATCH)
    parts = ("document", int(field_class), entry.name, entry.size, entry.sha256, how)
    return hashlib.sha256(repr(parts).encode()).digest()


async def _journal(session: Session, field_class: FieldClass, source: bytes) -> JournalledUpload:
    """Return the journal of this very attachment, an interrupted one where there is one."""
    for begun in session.store.unfinished_uploads():
        state = session.state
        gone = begun.collection in state.retired or begun.upload in state.uploads
        if begun.source == source and not gone:
            return begun
    _end(session, source)
    collection = await _collection(session, field_class) or secrets.token_bytes(16)
    # What it is called follows from its class, which the log says: it is no secret.
    name = collection_name(field_class)
    begun = JournalledUpload(
        secrets.token_bytes(16), collection, source, chunks.CHUNKS_A_BATCH, name
    )
    session.store.begin_upload(begun)
    return begun


def _end(session: Session, source: bytes) -> None:
    """Forget every journal of this attachment."""
    for begun in session.store.unfinished_uploads():
        if begun.source == source:
            session.store.end_upload(begun.upload)


async def _collection(session: Session, field_class: FieldClass) -> bytes | None:
    """Return where documents of a class go, if that is there or on its way from this home."""
    begun = {
        each.collection
        for each in session.store.unfinished_uploads()
        if each.name == collection_name(field_class)
    }
    for where in tuple(session.state.collections.values()):
        if where.classes == (field_class,):
            names = await read_names(session, where.id)
            if holds_documents(names) or (where.id in begun and not where.batches):
                return where.id
    return next(iter(begun - session.state.collections.keys() - session.state.retired), None)


# --- sealing and sending


class _Attaching:
    """One attachment on its way: batch 0 is the catalog's, every other a piece of the file."""

    def __init__(
        self,
        session: Session,
        file: LocalFile,
        survey: Survey,
        entry: Entry,
        field_class: FieldClass,
        journal: JournalledUpload,
        on_progress: OnProgress,
    ) -> None:
        self._session = session
        self._file = file
        self._survey = survey
        self._entry = entry
        self._class = field_class
        self._journal = journal
        self._on_progress = on_progress
        self._looked = time.monotonic()
        self._keys: tuple[Address, ...] = ()
        self._key = b""

    async def run(self) -> int:
        """Do what is left, anew where keys were replaced meanwhile; return what was there."""
        session = self._session
        await self._forget_unusable()
        resumed = len(session.store.batches(self._journal.upload))
        attempts = 0
        while True:
            attempts += 1
            await self._prepare()
            try:
                await self._send()
                await self._commit()
            except (KeysMoved, Refused) as error:
                await session.sync_as_member()
                moved = await self._forget_unusable() or not self._keys_open()
                again = moved and session.state.phase is Phase.OPEN
                if isinstance(error, Refused) and not again:
                    raise
                if not again or attempts == ATTEMPTS:
                    raise replaced() from error
            else:
                return resumed

    async def _prepare(self) -> None:
        """Define the collection and create its epochs, whichever of it is not there yet."""
        session, collection = self._session, self._journal.collection
        if collection in session.state.retired:
            raise Refused(
                "the collection was retired while it was being attached",
                code="out_of_order",
                hint="The same command attaches it once more.",
            )
        if collection not in session.state.collections:
            await session.act(saying(acts.DefineCollection(collection, (self._class,))))
        fields = session.state.collections[collection].fields
        await ensure_writable(session, [(collection, number) for number in fields])
        self._keys = tuple(session.writable(collection, number) for number in fields)
        self._key = session.key(self._keys[CONTENT]).key.expose()

    async def _send(self) -> None:
        """Seal and send what the journal does not list yet.

        Raises:
            KeysMoved: somebody was removed meanwhile who held one of the keys.
        """
        there = self._session.store.batches(self._journal.upload)
        if 0 not in there:
            names = await self._catalog()
            await self._stage(0, names.manifest.records, names)
            # Nobody has to fetch, and the log to note, what this home has made itself.
            (ref,), (block,) = names.manifest.blocks, names.blocks
            self._session.store.keep_block(names.manifest.batch_id, ref.field, block)
        async with Flights() as flights:
            for number in range(len(self._survey.pieces)):
                if number + 1 not in there:
                    records, sealed = await asyncio.to_thread(self._sealed, number)
                    await flights.launch(self._stage, number + 1, records, sealed)
                self._advance(number)
                await self._look_at_keys()

    async def _catalog(self) -> SealedBatch:
        _, catalog = self._keys
        title = (await read_people(self._session)).title or ""
        return seal_rows(self._session, catalog, entry_rows(title, self._class, self._entry))

    def _sealed(self, number: int) -> tuple[int, SealedBatch]:
        """Seal a piece of the file; runs in a thread."""
        cells = self._cells(number)
        epoch = self._keys[CONTENT].epoch
        column = ColumnToSeal(CONTENT, epoch, self._class, self._key, cells)
        return cells.count, seal_batch([column])

    def _cells(self, number: int) -> Cells:
        content = self._file.surveyed_piece(self._survey, number)
        first = number * chunks.CHUNKS_A_BATCH
        cut_up = list(cut(self._journal.upload, self._survey.size, first, content))
        return Cells.from_list(cut_up, string_like=True)

    async def _stage(self, sequence: int, records: int, sealed: SealedBatch) -> None:
        """Send one batch, and write it down once the server has it."""
        session, upload = self._session, self._journal.upload
        body = await asyncio.to_thread(sealed.body)
        await session.transport.stage(session.vault_id, upload, sealed.manifest.batch_id, body)
        session.store.add_batch(upload, sequence, records, to_bytes(sealed.manifest))

    def _advance(self, number: int) -> None:
        size = self._survey.size
        done = min(size, (number + 1) * chunks.CHUNKS_A_BATCH * chunks.CHUNK_BYTES)
        self._on_progress(Progress("sealing and sending", done, size, "bytes"))

    async def _look_at_keys(self) -> None:
        """Sync now and then: a removal should not cost more than a few seconds' work."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        await self._session.sync_as_member()
        await self._session.keep_head_fresh()
        self._looked = time.monotonic()
        if not self._keys_open():
            raise KeysMoved

    def _keys_open(self) -> bool:
        return all(map(self._is_open, self._keys))

    def _is_open(self, address: Address) -> bool:
        epoch = self._session.state.epoch(address)
        return epoch is not None and not epoch.tainted

    async def _forget_unusable(self) -> bool:
        """Strike from the journal what can be committed no more; say whether there was any.

        What landed in a part of the commit stands. What did not has to be there still, under
        keys that take commits, and not have been dropped by an offer.
        """
        session, upload, store = self._session, self._journal.upload, self._session.store
        listed = store.batches(upload)
        if not listed:
            return False
        pending = session.state.pending.get(upload)
        landed = {b.id for b in pending.batches} if isinstance(pending, PendingUpload) else set()
        staged = set((await session.transport.staged(session.vault_id, upload)).batches)
        waiting = staged - session.state.batch_ids

        def usable(manifest: Manifest) -> bool:
            there = manifest.batch_id in waiting and all(map(self._is_open, self._under(manifest)))
            return there or manifest.batch_id in landed

        unusable = [
            sequence
            for sequence, (_, encoded) in listed.items()
            if not usable(from_bytes(Manifest, encoded))
        ]
        store.drop_batches(upload, unusable)
        return bool(unusable)

    def _under(self, manifest: Manifest) -> Iterator[Address]:
        collection = self._journal.collection
        return (Address(collection, ref.field, ref.epoch) for ref in manifest.blocks)

    async def _commit(self) -> None:
        """Sign what the journal lists, in parts where it is much; the last shows all."""
        session, upload = self._session, self._journal.upload
        listed = sorted(session.store.batches(upload).items())
        manifests = [from_bytes(Manifest, encoded) for _, (_, encoded) in listed]
        parts = range(0, len(manifests), PART_BATCHES)
        pending = session.state.pending.get(upload)
        for part in range(pending.parts if pending else 0, len(parts)):
            its_own = manifests[parts[part] : parts[part] + PART_BATCHES]
            last = part == len(parts) - 1
            payload = acts.Commit(upload, self._journal.collection, part, last, tuple(its_own))
            await session.act(saying(payload))
