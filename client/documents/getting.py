"""Getting a document: fetched, verified chunk by chunk, and a file once all of it was (SPEC 7.6).

What was verified lies in a file beside its place. An interrupted try leaves it there, and the next
one goes on after it; that it is right is known by the hash of the whole, as for the rest.
"""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile
from pathlib import Path

import pyarrow as pa

from client.catalogs import Names
from client.documents.chunks import Assembly, bytes_before
from client.documents.entries import CONTENT, Document, Entry, plain_file_name
from client.documents.local import PartFile
from client.errors import InputError, Refused
from client.exporting import to_the_end
from client.reading import ASK, Selection, read_batches
from client.results.progress import OnProgress, Progress
from client.session import Session
from client.tables import Column
from client.tables.errors import TableUnwritable
from client.tables.faults import writing
from protocol.errors import IntegrityError, VerificationFailed
from protocol.ledger.contents import Batch


@dataclass(frozen=True, slots=True)
class Got:
    """A document that is a file now; `resumed` bytes of it were there from an earlier try."""

    path: Path
    entry: Entry
    resumed: int


def place_of(document: Document, folder: Path) -> Path:
    """Return where a document is written in a folder: under its own name.

    Raises:
        InputError: its name is none that a file could have there, so it was made to do harm.
        IntegrityError: nothing says what it is called.
    """
    name = document.expect_whole().name
    if not plain_file_name(name):
        raise InputError(
            f"{name!r} is no name that a file should have", hint="Choose one yourself, with --out."
        )
    return folder / name


async def get(
    session: Session,
    document: Document,
    path: Path,
    *,
    overwrite: bool,
    make_folder: bool,
    on_progress: OnProgress,
) -> Got:
    """Write a document to a file, which appears whole and verified or not at all.

    Safe to repeat: a try that was interrupted goes on where it stopped. Its folder is made where
    it is not there, if that is wanted.

    Raises:
        TableExists: there is such a file, and it is not to be replaced.
        InputError, TableUnwritable: it cannot be written there; what was written so far waits, and
            it is said where.
        Refused: not granted, or removed in part.
        VerificationFailed: it is not what was attached; nothing of it is left here.
        Unreachable: the server is gone; a repeat goes on.
    """
    entry = document.expect_whole()
    if not session.may_open(document.where.id, CONTENT):
        raise Refused(f"you were not granted {entry.name!r}", code="not_granted", hint=ASK)
    if make_folder:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    part = PartFile(path, _tag(session, document, path), overwrite=overwrite)
    work = _Getting(session, document, entry, part, on_progress)
    try:
        resumed = await work.run()
        await to_the_end(part.commit)
    except (Refused, VerificationFailed):
        part.give_up()
        raise
    except TableUnwritable as error:
        error.hint = f"{error.hint}. {work.left_there()}"
        raise
    finally:
        part.close()
    return Got(path, entry, resumed)


def _tag(session: Session, document: Document, path: Path) -> str:
    """Return by which an interrupted try is known again; it says nothing of the document."""
    named = session.vault_id + document.id + path.name.encode("utf-8", "surrogateescape")
    return hashlib.sha256(named).hexdigest()[:16]


class _Getting:
    """One document on its way into one file."""

    def __init__(
        self,
        session: Session,
        document: Document,
        entry: Entry,
        part: PartFile,
        on_progress: OnProgress,
    ) -> None:
        self._session = session
        self._document = document
        self._entry = entry
        self._part = part
        self._on_progress = on_progress
        self._done = 0

    async def run(self) -> int:
        """Write what is left of it; return how many bytes were there before.

        Where what was there before turns out to be something else, all is fetched anew.
        """
        resumed = await self._try(self._verified())
        if resumed is None:
            resumed = await self._try(())
        assert resumed is not None  # nothing was there before
        return resumed

    def left_there(self) -> str:
        """Say what waits for the next try, and where; remove what that could not go on from."""
        chunks = sum(batch.records for batch in self._verified())
        kept = bytes_before(self._entry.size, chunks)
        if not kept:
            self._part.give_up()
            return "Nothing of it was left there."
        return (
            f"{kept:,} bytes of it were verified and wait in {self._part.temporary}: the same "
            "command goes on after them, and whoever wants it no more removes that file."
        )

    def _verified(self) -> tuple[Batch, ...]:
        """Return the batches whose content an earlier try has left."""
        size, there = self._entry.size, self._part.length()
        ends = accumulate(batch.records for batch in self._document.batches)
        known = takewhile(lambda end: 0 < bytes_before(size, end) <= there, ends)
        return self._document.batches[: sum(1 for _ in known)]

    async def _try(self, before: tuple[Batch, ...]) -> int | None:
        """Go on after some batches; None if all together is not the document after all.

        Raises:
            IntegrityError: it is not, and nothing was there before.
        """
        assembly = Assembly(self._document.id, self._entry.size, self._entry.sha256)
        chunks = sum(batch.records for batch in before)
        resumed = self._done = bytes_before(self._entry.size, chunks)
        await to_the_end(lambda: assembly.resume(chunks, self._part.kept(resumed)))
        left = self._document.batches[len(before) :]
        async with aclosing(read_batches(self._session, self._selection(left))) as batches:
            async for rows in batches:
                await to_the_end(self._write, assembly, rows)
                self._on_progress(
                    Progress("fetching and opening", self._done, self._entry.size, "bytes")
                )
        try:
            assembly.finish()
        except IntegrityError:
            if before:
                return None
            raise
        return resumed

    def _selection(self, batches: tuple[Batch, ...]) -> Selection:
        """Select the content of some batches of the document, and nothing else."""
        where = replace(self._document.where, batches=batches)
        return Selection(where, Names(), (CONTENT,), (Column("content", "large_binary"),))

    def _write(self, assembly: Assembly, rows: pa.RecordBatch) -> None:
        for cell in rows.column(0):
            content = assembly.take(cell.as_buffer())
            self._part.write(content)
            self._done += len(content)
