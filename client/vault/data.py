"""Tables in and out, and records that go for ever.

What works on tables is imported when it is asked for: it needs Arrow, which takes a tenth of a
second, and most commands do not.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from client import erasing
from client.catalogs import read_names
from client.documents.entries import holds_documents
from client.erasing_names import idle_names
from client.errors import InputError
from client.likely import likely
from client.people import find_member
from client.results.data import EraseResult, GivenUp, ReadResult, UploadPlan, UploadResult
from client.results.log import ActResult
from client.results.progress import OnProgress, no_progress
from client.session import saying
from client.standing import expect_reader
from client.tables.options import AS_IT_CAME, NOTHING_SAID, ReadOptions, WriteOptions
from client.vault.face import Face
from protocol import acts
from protocol.acts import Reason
from protocol.blocks import PEOPLE_COLLECTION, FieldClass
from protocol.ledger.contents import Collection
from protocol.limits import LIMITS

if TYPE_CHECKING:
    import pyarrow as pa

    from client.filtering import Matching
    from client.plans import Plan

DATA_CLASSES: Final = (FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE)

Table: TypeAlias = str | os.PathLike[str] | object


def field_class(text: str) -> FieldClass:
    """Parse the name of a class that fields can have.

    Raises:
        InputError: no such class.
    """
    by_name = {each.name.lower(): each for each in DATA_CLASSES}
    if text not in by_name:
        hint = likely(text, by_name, "Classes are general, sensitive and core.")
        raise InputError(f"no class {text!r}", hint=hint)
    return by_name[text]


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """How a table is read and cut."""

    read: ReadOptions = NOTHING_SAID
    batch_rows: int = LIMITS.batch_records_default


class Data(Face):
    """Uploading, reading, exporting, erasing."""

    async def upload(
        self,
        table: Table | Sequence[Table],
        *,
        collection: str,
        classes: Mapping[str, FieldClass] | None = None,
        default: FieldClass | None = None,
        options: UploadOptions | None = None,
        replace_by: str | None = None,
        again: bool = False,
        on_progress: OnProgress = no_progress,
    ) -> UploadResult:
        """Seal a table field by field and commit it; safe to repeat.

        `table` is a file's path, a database's address, an object with an Arrow stream, or what
        `client.tables.open_source` made of one; or a list of them, which go in as one. It
        becomes a new collection, or goes into the one of that name, if its columns are the same.
        Fields without a class are sensitive, or what they are there.

        With `replace_by` rows take the place of the records that have the same value in that
        column; those that are there as they are stay. A file that this home uploaded there before
        is refused, unless it is to go in `again`.

        Raises as `client.table_uploads.upload`, `client.replacing.replace_records` and
        `client.tables.open_source`.
        """
        plan = self._planned(table, collection, classes, default, options, again=again)
        if replace_by is not None:
            from client.replacing import replace_records

            return await replace_records(self.session, plan, replace_by, on_progress)
        from client.table_uploads import upload

        return await upload(self.session, plan, on_progress)

    async def plan_upload(
        self,
        table: Table | Sequence[Table],
        *,
        collection: str,
        classes: Mapping[str, FieldClass] | None = None,
        default: FieldClass | None = None,
        options: UploadOptions | None = None,
        replace_by: str | None = None,
        again: bool = False,
        rehearse: bool = True,
        on_progress: OnProgress = no_progress,
    ) -> UploadPlan:
        """Say what `upload` would do, and do none of it; nothing is sent.

        It is rehearsed whole: all of the table is read, and sealed under keys of no use. Without
        `rehearse` only its columns are looked at. Raises as `upload` would before it sends.
        """
        from client.rehearsing import looked_at, rehearsed

        plan = self._planned(table, collection, classes, default, options, again=again)
        await self.session.sync_as_member()
        self.session.expect_may(acts.DefineCollection)
        if not rehearse:
            return await looked_at(self.session, plan)
        return await rehearsed(self.session, plan, replace_by, on_progress)

    def _planned(
        self,
        table: Table | Sequence[Table],
        collection: str,
        classes: Mapping[str, FieldClass] | None,
        default: FieldClass | None,
        options: UploadOptions | None,
        *,
        again: bool,
    ) -> Plan:
        from client.appending import as_one
        from client.plans import plan_upload
        from client.tables import open_source

        chosen = options or UploadOptions()
        tables = table if isinstance(table, list | tuple) else [table]
        source = as_one([open_source(each, chosen.read) for each in tables])
        return plan_upload(
            source, collection, classes or {}, default, chosen.batch_rows, again=again
        )

    async def give_up(self, collection: str) -> GivenUp:
        """Let go of this home's unfinished uploads to a collection, found by name or id.

        Raises as `client.table_uploads.give_up`.
        """
        from client.table_uploads import give_up

        await self.session.sync_as_member()
        return await give_up(self.session, await self._find_collection(collection))

    async def read(
        self,
        collection: str,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        numbers: bool = False,
        where: Sequence[str] = (),
    ) -> pa.Table:
        """Return verified records as an Arrow table, all in memory; see `export` for files.

        With `numbers` a first column, `record`, has each record's number, as `erase` takes it;
        `where` as for `stream`.
        """
        stream = self.stream(collection, fields=fields, limit=limit, numbers=numbers, where=where)
        batches = [batch async for batch in stream]
        match = await self._matching(collection, fields, where, numbers)
        import pyarrow as pa

        from client.tables import schema_of

        return pa.Table.from_batches(batches, schema=schema_of(match.columns))

    async def stream(
        self,
        collection: str,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        numbers: bool = False,
        where: Sequence[str] = (),
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        """Yield verified records batch by batch, in bounded memory; `numbers` as in `read`.

        `where` lists conditions that all have to be met: FIELD=VALUE, also !=, <, <=, >, >=,
        and FIELD~PART for texts that contain one. They are evaluated here, on opened values.
        """
        await self.session.sync_as_member()
        match = await self._matching(collection, fields, where, numbers)
        async with aclosing(match.read(self.session, limit)) as batches:
            async for batch in batches:
                yield batch

    async def export(
        self,
        collection: str,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        path: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        numbers: bool = False,
        on_batch: Callable[[pa.RecordBatch], None] = lambda _: None,
        on_progress: OnProgress = no_progress,
        where: Sequence[str] = (),
        options: WriteOptions = AS_IT_CAME,
    ) -> ReadResult:
        """Write verified records to a file that appears whole or not at all.

        Its suffix says of which kind: CSV, Excel, Parquet, SQLite, Arrow, JSON lines. Without a
        path each batch goes to `on_batch`; `numbers` as in `read`, `where` as for `stream`.
        Raises as `client.exporting.export`.
        """
        from client.exporting import export

        await self.session.sync_as_member()
        found = await self._find_table(collection)
        return await export(
            self.session,
            found.id,
            fields=fields,
            limit=limit,
            path=None if path is None else Path(path),
            overwrite=overwrite,
            counted=numbers,
            on_batch=on_batch,
            on_progress=on_progress,
            where=where,
            options=options,
        )

    async def _matching(
        self, collection: str, fields: Sequence[str] | None, where: Sequence[str], numbers: bool
    ) -> Matching:
        from client.filtering import select_matching

        found = await self._find_table(collection)
        return await select_matching(self.session, found.id, fields, where, counted=numbers)

    async def _find_table(self, text: str) -> Collection:
        expect_reader(self.session.state, self.identity.member_id)
        where = await self._find_collection(text)
        await self._expect_table(where)
        return where

    async def _expect_table(self, where: Collection) -> None:
        """Refuse what is no table to a person, though its cells could be read as one.

        Raises:
            InputError: it is a collection of documents.
        """
        names = await read_names(self.session, where.id)
        if holds_documents(names):
            raise InputError(
                f"{names.name!r} holds documents, and no table",
                hint="'sealroom documents list' shows them; 'get' and 'remove' take their names.",
            )

    # --- for ever

    async def erase(
        self,
        collection: str,
        records: Sequence[int] = (),
        *,
        unreadable: bool = False,
        reason: Reason = Reason.REQUEST,
        on_progress: OnProgress = no_progress,
    ) -> EraseResult:
        """Erase records in every field and every epoch, for ever; it needs no key.

        Records are counted from 1, as `read` counts them, and keep their numbers. With
        `unreadable` everything goes that this member ought to open and cannot, of names too.

        Raises:
            InputError: there is no such record, which is named; nothing was erased.
            Refused: not allowed now.
        """
        started = time.monotonic()
        await self.session.sync_as_member()
        self.session.expect_may(acts.Erase)
        where = await self._find_collection(collection)
        if unreadable:
            positions = await erasing.unreadable(self.session, where)
        else:
            await self._expect_table(where)
            positions = erasing.positions_of(where, records)
        done = await erasing.erase(self.session, where.id, positions, reason, on_progress)
        return EraseResult(
            acts=done.acts,
            collection=collection,
            records=done.records,
            already_gone=done.already,
            seconds=time.monotonic() - started,
        )

    async def erase_names(
        self,
        author: str,
        *,
        reason: Reason = Reason.REQUEST,
        on_progress: OnProgress = no_progress,
    ) -> EraseResult:
        """Erase what a member, also one who was removed, wrote for a name of people and is none.

        Names that count stay, and so does all that others wrote.

        Raises:
            InputError: there is no such member.
            Refused: not allowed now.
        """
        started = time.monotonic()
        await self.session.sync_as_member()
        self.session.expect_may(acts.Erase)
        member = await find_member(self.session, author, removed=True)
        positions = await idle_names(self.session, member.id)
        done = await erasing.erase(self.session, PEOPLE_COLLECTION, positions, reason, on_progress)
        return EraseResult(
            acts=done.acts,
            collection="the names of people",
            records=done.records,
            already_gone=done.already,
            seconds=time.monotonic() - started,
        )

    async def retire_collection(self, collection: str, reason: Reason = Reason.OTHER) -> ActResult:
        """End a collection: the server deletes its blocks and wraps."""
        await self.session.sync_as_member()
        self.session.expect_may(acts.RetireCollection)
        where = await self._find_collection(collection)
        index = await self.session.act(saying(acts.RetireCollection(where.id, reason)))
        journal = self.session.store.uploads
        for begun in journal.unfinished():
            if begun.collection == where.id:
                journal.end(begun.upload)
        return ActResult("retire-collection", index, name=collection)
