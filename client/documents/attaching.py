"""Attaching a file: surveyed, sealed chunk by chunk and sent, in bounded memory (SPEC 7.6).

The file is read twice. The first time says what it is, by which an interrupted attachment is
known again; the second time seals it, each piece only if it is still what was seen the first time.
A journal in this home says what was sealed and acknowledged, as for a table (SPEC 10.5).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from client.catalogs import read_names, read_people, seal_rows
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, SealedBatch
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
from client.documents.local import LocalFile, Survey, piece_length, pieces_of
from client.drawn import spaced
from client.errors import InputError, Refused
from client.journals import JournalledUpload
from client.results.progress import OnProgress, Progress
from client.sending import Cargo, Cut, Into
from client.session import Session
from client.uploads import Upload, begin, expect_open, interrupted
from protocol import acts
from protocol.blocks import FieldClass
from protocol.ledger.contents import Collection
from protocol.ledger.holders import holds


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
    expect_open(session, (field_class,))
    await _expect_holder(session, field_class)
    with LocalFile(path) as file, session.store.uploading():
        survey = await _surveyed(file, on_progress)
        entry = Entry(called, survey.size, media_type_of(called), survey.sha256)
        source = _source_id(field_class, entry)
        there = await _same(session, field_class, entry)
        if there is not None:
            _end(session, source)
            return Attached(there, True, 0)
        journal, resumed = await _journal(session, field_class, source)
        cargo = _FileCargo((field_class,), file, survey, entry)
        await Upload(session, cargo, journal, on_progress).run()
        session.store.uploads.end(journal.upload)
    for done in await documents_in(session, journal.collection):
        if done.id == journal.upload:
            return Attached(done, False, resumed)
    raise Refused(
        f"{called!r} was removed as soon as it was attached",
        code="changed",
        hint="'sealroom log' shows by whom.",
    )


def _checked_name(name: str) -> str:
    if not plain_file_name(name) or name != name.strip():
        raise InputError(
            f"a document cannot be called {name!r}",
            hint="Give it a plain file name with --name: no folder, no dot at its beginning, no "
            "space at its ends.",
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
        Refused: another one has its name, or one that differs in spaces alone.
    """
    named = [
        each
        for each in await read_documents(session)
        if each.entry is not None and spaced(each.entry.name) == spaced(entry.name)
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


async def _journal(
    session: Session, field_class: FieldClass, source: bytes
) -> tuple[JournalledUpload, int]:
    """Return the journal of this very attachment, and how many batches of it are good still."""
    found = await interrupted(session, source)
    if found is not None and found[0].upload not in session.state.uploads:
        return found
    _end(session, source)  # it was attached, and removed again since
    collection = await _collection(session, field_class) or secrets.token_bytes(16)
    # What it is called follows from its class, which the log says: it is no secret.
    return begin(session, collection, source, collection_name(field_class)), 0


def _end(session: Session, source: bytes) -> None:
    """Forget every journal of this attachment."""
    for begun in session.store.uploads.unfinished():
        if begun.source == source:
            session.store.uploads.end(begun.upload)


async def _collection(session: Session, field_class: FieldClass) -> bytes | None:
    """Return where documents of a class go, if that is there or on its way from this home."""
    begun = {
        each.collection
        for each in session.store.uploads.unfinished()
        if each.name == collection_name(field_class)
    }
    for where in tuple(session.state.collections.values()):
        if where.classes == (field_class,):
            names = await read_names(session, where.id)
            if holds_documents(names) or (where.id in begun and not where.batches):
                return where.id
    return next(iter(begun - session.state.collections.keys() - session.state.retired), None)


# --- what is sealed


@dataclass(frozen=True, slots=True)
class _FileCargo(Cargo):
    """A file as an upload brings it: batch 0 is the catalog's, every other a piece of the file."""

    classes: tuple[FieldClass]
    file: LocalFile
    survey: Survey
    entry: Entry

    unit = "bytes"

    def total(self, read: int, *, ended: bool) -> tuple[int, bool]:
        """Return how many bytes there are, which is known."""
        return self.survey.size, True

    async def cuts(self, into: Into) -> AsyncGenerator[Cut, None]:
        """Yield the catalog's batch and the file's.

        Raises:
            InputError: the file changed since it was surveyed; nothing of the change was sealed.
        """
        yield Cut(0, 0, None if 0 in into.listed else await self._names(into))
        for number in range(pieces_of(self.survey.size)):
            known = number + 1 in into.listed
            content = None if known else await asyncio.to_thread(self._piece, into, number)
            yield Cut(number + 1, piece_length(self.survey.size, number), content)

    async def _names(self, into: Into) -> SealedBatch:
        (catalog,) = into.where.catalogs
        title = (await read_people(into.session)).title or ""
        rows = entry_rows(title, *self.classes, self.entry)
        return seal_rows(into.session, into.epochs[catalog], rows)

    def _piece(self, into: Into, number: int) -> list[ColumnToSeal]:
        """Read and cut up a piece of the file; runs in a thread."""
        content = self.file.surveyed_piece(self.survey, number)
        first = number * chunks.CHUNKS_A_BATCH
        cut_up = list(cut(into.journal.upload, self.survey.size, first, content))
        return [into.column(CONTENT, Cells.from_list(cut_up, string_like=True))]
