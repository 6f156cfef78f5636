"""Files that go with the tables: attached, listed, fetched, removed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from client.catalogs import People, name_of, read_people
from client.documents.entries import CONTENT, Document, find_document, read_documents
from client.documents.removing import remove
from client.errors import InputError, Refused
from client.results.documents import (
    AttachResult,
    DocumentInfo,
    GetAllResult,
    GetResult,
    NotGot,
    RemoveResult,
)
from client.results.progress import OnProgress, no_progress
from client.standing import expect_reader
from client.tables.errors import TableError
from client.vault.face import Face
from protocol import acts
from protocol.acts import Reason
from protocol.blocks import FieldClass
from protocol.errors import IntegrityError, SealroomError, VerificationFailed

ITS_OWN: tuple[type[SealroomError], ...] = (InputError, Refused, TableError, IntegrityError)
"""What may be wrong with one document and not with the next. What a server is to blame for is none
of it: nothing more is asked of one that lies."""


class Documents(Face):
    """What a sale has beside its tables."""

    async def attach(
        self,
        path: str | os.PathLike[str],
        *,
        field_class: FieldClass = FieldClass.SENSITIVE,
        name: str | None = None,
        on_progress: OnProgress = no_progress,
    ) -> AttachResult:
        """Seal a file of any size under a class, and commit it as a document; safe to repeat.

        It is called as the file is, unless a `name` is given. Raises as
        `client.documents.attaching.attach`.
        """
        from client.documents.attaching import attach

        started = time.monotonic()
        done = await attach(self.session, Path(path), field_class, name, on_progress)
        info = self._described(await read_people(self.session), done.document)
        seconds = time.monotonic() - started
        return AttachResult(info, done.already, done.resumed_batches, seconds)

    async def documents(self) -> tuple[DocumentInfo, ...]:
        """List the documents of the classes whose names this member may know, oldest first."""
        await self.session.sync_as_member()
        people = await read_people(self.session)
        return tuple(self._described(people, each) for each in await read_documents(self.session))

    async def get_document(
        self,
        document: str,
        *,
        path: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] = ".",
        overwrite: bool = False,
        on_progress: OnProgress = no_progress,
    ) -> GetResult:
        """Write a document, found by name or id, to a file that appears verified or not at all.

        Without a `path` it gets its own name, in the `folder`, which is made if need be. Safe to
        repeat: what was interrupted goes on. Raises as `get` and `place_of` of
        `client.documents.getting`.
        """
        from client.documents.getting import place_of

        await self.session.sync_as_member()
        expect_reader(self.session.state, self.identity.member_id)
        found = await self._find_document(document)
        place = place_of(found, Path(folder)) if path is None else Path(path)
        return await self._got(found, place, overwrite, path is None, on_progress)

    async def get_documents(
        self,
        documents: Sequence[str] | None = None,
        *,
        folder: str | os.PathLike[str] = ".",
        overwrite: bool = False,
        on_progress: OnProgress = no_progress,
    ) -> GetAllResult:
        """Write documents, found by name or id, into a folder, each under its own name.

        None: all that this member can have. What is wrong with one does not stop the others; the
        result says which are not written, and why. Two that would share a file are both not
        written, and no file of this call takes the place of another one. Safe to repeat.

        Raises:
            InputError: one that is named is not there, or several fit; nothing was written.
            Refused: a role that reads no data; or this member was removed meanwhile.
            Unreachable: the server is gone; a repeat goes on.
            VerificationFailed: the server's log cannot be right, or what it sent is not what was
                committed.
        """
        from client.documents.together import Together

        await self.session.sync_as_member()
        expect_reader(self.session.state, self.identity.member_id)
        people = await read_people(self.session)
        known = await read_documents(self.session)
        wanted = self._whole(known) if documents is None else _each_once(known, documents)
        together = Together(Path(folder), wanted)
        done: list[GetResult] = []
        failed: list[NotGot] = []
        for each in wanted:
            # Outside: a log that cannot be right is the server's doing, and no document's.
            await self.session.sync_as_member()
            try:
                found = await self._find_document(each.id.hex())
                place = together.place_of(found)
                done.append(await self._got(found, place, overwrite, True, on_progress))
                together.wrote(place)
            except ITS_OWN as error:
                failed.append(_not_got(self._described(people, each), error))
        return GetAllResult(tuple(done), tuple(failed))

    def _whole(self, known: Iterable[Document]) -> list[Document]:
        """Return the documents that this member can have at all."""
        return [
            each
            for each in known
            if each.state == "whole" and self.session.may_open(each.where.id, CONTENT)
        ]

    async def _got(
        self,
        found: Document,
        place: Path,
        overwrite: bool,
        make_folder: bool,
        on_progress: OnProgress,
    ) -> GetResult:
        from client.documents.getting import get

        started = time.monotonic()
        got = await get(
            self.session,
            found,
            place,
            overwrite=overwrite,
            make_folder=make_folder,
            on_progress=on_progress,
        )
        return GetResult(
            document_id=found.id.hex(),
            name=got.entry.name,
            path=str(got.path),
            size=got.entry.size,
            sha256=got.entry.sha256.hex(),
            resumed_bytes=got.resumed,
            seconds=time.monotonic() - started,
        )

    async def remove_document(
        self,
        document: str,
        *,
        reason: Reason = Reason.REQUEST,
        on_progress: OnProgress = no_progress,
    ) -> RemoveResult:
        """Erase a document, found by name or id, for ever: its content, and then its name.

        It needs the names of its class, and no key of its content. Raises as
        `client.documents.removing.remove`.
        """
        started = time.monotonic()
        await self.session.sync_as_member()
        self.session.expect_may(acts.Erase)
        found = await self._find_document(document)
        done = await remove(self.session, found, reason, on_progress)
        return RemoveResult(
            acts=done.acts,
            document_id=found.id.hex(),
            name=None if found.entry is None else found.entry.name,
            seconds=time.monotonic() - started,
        )

    async def _find_document(self, text: str) -> Document:
        return find_document(await read_documents(self.session), text)

    def _described(self, people: People, document: Document) -> DocumentInfo:
        entry = document.entry
        return DocumentInfo(
            document_id=document.id.hex(),
            name=None if entry is None else entry.name,
            field_class=document.field_class.name.lower(),
            size=None if entry is None else entry.size,
            media_type=None if entry is None else entry.media_type,
            sha256=None if entry is None else entry.sha256.hex(),
            readable=self.session.may_open(document.where.id, CONTENT),
            state=document.state,
            stored_bytes=document.stored_bytes,
            author=document.author.hex(),
            author_name=name_of(self.session.state, people, document.author),
            committed_at=document.committed_at,
        )


def _each_once(known: Iterable[Document], texts: Sequence[str]) -> list[Document]:
    """Return the documents that are named, each once. Raises: InputError, as `find_document`."""
    listed = tuple(known)
    found = (find_document(listed, text) for text in texts)
    return list({each.id: each for each in found}.values())


def _not_got(info: DocumentInfo, error: SealroomError) -> NotGot:
    return NotGot(
        document_id=info.document_id,
        name=info.name,
        author=info.author,
        author_name=info.author_name,
        code=error.refusal if isinstance(error, Refused) else error.code,
        message=str(error),
        hint=error.hint,
        untrue=isinstance(error, VerificationFailed),
    )
