"""A table that is to be uploaded, and the batches that it is cut into (SPEC section 10.5)."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from client.catalogs import (
    NAME_CHARACTERS,
    NamedField,
    collection_rows,
    read_people,
    seal_rows,
)
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, SealedBatch, plan_rows
from client.errors import InputError
from client.likely import likely
from client.recall import Recall
from client.sending import Cargo, Cut, Into
from client.tables import Source, column_cells
from client.tables.csv_format import for_readers_of
from protocol import acts
from protocol.blocks import FieldClass, catalog_class
from protocol.limits import LIMITS

NO_ROWS: Final = "the table has columns and no rows"
RATE: Final = "bytes sealed and sent"


@dataclass(frozen=True, slots=True)
class Plan(Cargo):
    """A table to upload: where it goes, and the class of each of its columns in order.

    `said` are the columns whose class somebody said: of a collection that is there the others have
    the classes that they have there. `named` are those of them that were named one by one. With
    `again` a file that is there already goes in once more.
    """

    source: Source
    collection: str
    classes: tuple[FieldClass, ...]
    batch_rows: int = LIMITS.batch_records_default
    said: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    again: bool = False
    erasures: tuple[acts.Erasure, ...] = ()
    seen: set[bytes] | None = None

    unit = "records"
    rate = RATE

    def source_id(self) -> bytes:
        """Name what is uploaded and how; an object in memory is never the same twice.

        A database is named by where it is: what of it was sent is compared (`client.recall`).
        A file is read for it, to its end.
        """
        content = self.source.fingerprint() or self.source.origin() or secrets.token_bytes(32)
        named = zip(self.source.columns, self.classes, strict=True)
        parts = [
            self.collection,
            str(self.batch_rows),
            # Where a batch ends early depends on them, and what follows it on that.
            repr(LIMITS),
            repr(sorted(self.source.format.items())),
            *(f"{column.name}\0{column.type}\0{its_class}" for column, its_class in named),
        ]
        text = b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts)
        return hashlib.sha256(content + text).digest()

    async def look_into(self) -> None:
        """Read the first batch of a file: one that cannot be read defines no collection."""
        if self.source.rereadable:  # a stream in memory is not
            first = await asyncio.to_thread(next, self.source.batches(self.batch_rows), None)
            if first is None:
                self.source.note(NO_ROWS)

    def total(self, read: int, *, ended: bool) -> tuple[int | None, bool]:
        """Return how many records there are, and whether that is known; else what bytes say."""
        source = self.source
        if source.total_rows is not None or ended:
            return source.total_rows or read, True
        if not source.bytes_total or not source.bytes_read:
            return None, True
        return max(read, read * source.bytes_total // source.bytes_read), False

    async def cuts(self, into: Into) -> AsyncGenerator[Cut, None]:
        """Yield every batch: the catalogs, where there are none yet, and the table's."""
        named = any(batch.manifest.is_catalog for batch in into.where.batches)
        for sequence, number in enumerate(into.where.catalogs):
            known = named or sequence in into.listed
            yield Cut(sequence, 0, None if known else await self._names(into, number))
        cuts = self._rows(into, self._recall(into))
        while (cut := await asyncio.to_thread(next, cuts, None)) is not None:
            yield cut

    async def _names(self, into: Into, number: int) -> SealedBatch:
        names = {
            i: NamedField(column.name, column.type)
            for i, column in enumerate(self.source.columns)
            if self.classes[i] is catalog_class(number)
        }
        rows = collection_rows(
            title=(await read_people(into.session)).title or "",
            collection=self.collection,
            file=self.source.name,
            table_format=self._format(number),
            fields=names,
        )
        return seal_rows(into.session, into.epochs[number], rows)

    def _format(self, number: int) -> dict[str, Any]:
        """Return what of the table's format the readers of a class may know."""
        its_class = catalog_class(number)
        named = zip(self.source.columns, self.classes, strict=True)
        columns = frozenset(column.name for column, each in named if each is its_class)
        highest = its_class is max(self.classes)
        return for_readers_of(self.source.format, columns, everything=highest)

    def _recall(self, into: Into) -> Recall | None:
        """Return what is remembered of each batch, if another reading may give other rows."""
        if self.source.origin() is None:
            return None
        return Recall(into.keys[0], into.session.store.uploads.digests(into.journal.upload))

    def _rows(self, into: Into, recall: Recall | None) -> Iterator[Cut]:
        """Cut the table into batches, as many records in each as fit; runs in a thread."""
        sequence = len(into.where.catalogs)
        for table in self.source.batches(self.batch_rows):
            at = 0
            while at < table.num_rows:
                cut = _first_of(table.slice(at), sequence, into, recall)
                yield cut
                at += cut.size
                sequence += 1


def _first_of(rows: pa.RecordBatch, sequence: int, into: Into, recall: Recall | None) -> Cut:
    """Return the batch that these rows begin with, which the journal may have."""
    listed = into.listed.get(sequence)
    if listed is not None:
        known = rows.slice(0, listed.records)
        if recall is None or recall.is_same(sequence, known):
            return Cut(sequence, listed.records, None)
    columns = batch_of(rows, into.column)
    records = columns[0].cells.count
    digest = None if recall is None else recall.digest(rows.slice(0, records))
    return Cut(sequence, records, columns, digest)


def batch_of(
    rows: pa.RecordBatch, column: Callable[[int, Cells], ColumnToSeal]
) -> list[ColumnToSeal]:
    """Return as many of these rows as fit in a batch, to be sealed as `column` says."""
    columns = _columns(rows, column)
    records = plan_rows(columns)
    return columns if records == rows.num_rows else _columns(rows.slice(0, records), column)


def _columns(
    rows: pa.RecordBatch, column: Callable[[int, Cells], ColumnToSeal]
) -> list[ColumnToSeal]:
    return [column(number, column_cells(each)) for number, each in enumerate(rows.columns)]


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
