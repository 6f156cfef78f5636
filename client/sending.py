"""Sealing a table and sending it: reading, sealing and sending overlap (SPEC 10.5).

One thread reads and cuts, others seal, while the event loop sends what is sealed: so many batches
are under way at once, and one more is being read. Memory holds those, whatever the table's size.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import pyarrow as pa

from client.catalogs import NamedField, collection_rows, read_people, seal_rows
from client.crypto.cells import ColumnToSeal, SealedBatch, plan_rows, seal_batch
from client.overlap import Flights, threads
from client.recall import Recall
from client.results import OnProgress, Progress
from client.session import Session
from client.store import JournalledUpload
from client.tables import Source, column_cells
from client.tables.csv_format import for_readers_of
from protocol import acts
from protocol.blocks import Address, FieldClass, Manifest, catalog_class
from protocol.ledger.state import State
from protocol.limits import LIMITS
from protocol.wire import to_bytes

RATE: Final = "bytes sealed and sent"
LOOK_SECONDS: Final = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """A table to upload: where it goes, and the class of each of its columns in order.

    `said` are the columns whose class somebody said: of a collection that is there the others have
    the classes that they have there. `named` are those of them that were named one by one. With
    `again` a file that is there already goes in once more. `erasures` are what its records replace,
    in the moment in which they become visible. `seen` are the uploads that were there when that was
    decided: it becomes visible beside no others.
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


class KeysMoved(Exception):
    """A key under which an upload is being sealed takes no more commits."""


class _Cut(NamedTuple):
    """One batch of an upload: its place, its records, and their cells, or what is sealed of them.

    There is nothing to seal where the journal has it. `digest` is what is remembered of it, where
    its source could give other rows another time.
    """

    sequence: int
    records: int
    content: list[ColumnToSeal] | SealedBatch | None
    digest: bytes | None = None


class Sender:
    """One upload on its way: reads and seals in threads, sends a few at once, journals each."""

    def __init__(self, session: Session, plan: Plan, journal: JournalledUpload) -> None:
        self._session = session
        self._plan = plan
        self._journal = journal
        self._acknowledged = session.store.batches(journal.upload)
        self._where = session.state.collections[journal.collection]
        self._sealing = asyncio.Semaphore(threads())
        self._sent = self._sent_bytes = self._read = 0
        self._all_read = False
        self._looked = time.monotonic()
        self._keys = {
            number: (address, session.key(address).key.expose())
            for number in self._where.fields
            for address in (session.writable(journal.collection, number),)
        }
        known = session.store.contents(journal.upload)
        recalls = plan.source.origin() is not None
        self._recall = Recall(self._keys[0][1], known) if recalls else None

    async def run(self, on_progress: OnProgress) -> None:
        """Seal and send everything that the journal does not list yet.

        Raises:
            KeysMoved: somebody was removed meanwhile who held one of the keys.
            Stale: as `Session.keep_head_fresh`; what was sent is in the journal.
        """
        if self._recall is not None and self._journal.upload in self._session.state.pending:
            return  # all of it was read and sent before the first part of it was signed
        started, last = time.monotonic(), 0
        async with Flights() as flights, aclosing(self._cut()) as cuts:
            async for cut in cuts:
                last = cut.sequence
                if cut.content is None:
                    self._count(cut, on_progress)
                else:
                    await flights.launch(self._send, cut, cut.content, on_progress)
                await self._look_at_keys()
        gone = [sequence for sequence in self._acknowledged if sequence > last]
        self._session.store.drop_batches(self._journal.upload, gone)
        if self._sent_bytes:
            seconds = max(time.monotonic() - started, 1e-6)
            self._session.store.keep_rate(RATE, self._sent_bytes / seconds)

    async def _look_at_keys(self) -> None:
        """Sync now and then: a removal should not cost more than a few seconds' work."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        await self._session.sync_as_member()
        await self._session.keep_head_fresh()
        self._looked = time.monotonic()
        if not self.keys_open():
            raise KeysMoved

    def keys_open(self) -> bool:
        """Say whether all keys that it seals under take commits, as far as is known."""
        return all_open(self._session.state, (address for address, _ in self._keys.values()))

    def _count(self, cut: _Cut, on_progress: OnProgress) -> None:
        if not is_catalog_sequence(cut.sequence, self._where.catalogs):
            self._sent += cut.records
            total, known = self._total()
            task = "sealing and sending"
            on_progress(Progress(task, self._sent, total, "records", estimated=not known))

    def _total(self) -> tuple[int | None, bool]:
        """Return how many records there are, and whether that is known; else what the bytes say."""
        source = self._plan.source
        if source.total_rows is not None or self._all_read:
            return source.total_rows or self._read, True
        if not source.bytes_total or not source.bytes_read:
            return None, True
        return max(self._read, self._read * source.bytes_total // source.bytes_read), False

    async def _send(
        self, cut: _Cut, content: list[ColumnToSeal] | SealedBatch, on_progress: OnProgress
    ) -> None:
        """Seal and send one batch, and write it down once the server has it."""
        upload = self._journal.upload
        async with self._sealing:
            manifest, body = await asyncio.to_thread(_sealed, content)
        await self._session.transport.stage(self._session.vault_id, upload, manifest.batch_id, body)
        encoded = to_bytes(manifest)
        self._session.store.add_batch(upload, cut.sequence, cut.records, encoded, cut.digest)
        if isinstance(content, SealedBatch):  # the names, by which one that is cut off is known
            self._session.store.keep_names(upload, manifest.blocks[0].field, content.blocks[0])
        self._sent_bytes += sum(ref.length for ref in manifest.blocks)
        self._count(cut, on_progress)

    # --- what there is to send

    async def _cut(self) -> AsyncGenerator[_Cut, None]:
        """Yield every batch: the catalogs, where there are none yet, and the table's."""
        named = any(batch.manifest.is_catalog for batch in self._where.batches)
        for sequence, number in enumerate(self._where.catalogs):
            known = named or sequence in self._acknowledged
            yield _Cut(sequence, 1, None if known else await self._catalog(number))
        work = self._data(len(self._where.catalogs))
        while (cut := await asyncio.to_thread(next, work, None)) is not None:
            self._read += cut.records
            yield cut
        self._all_read = True

    async def _catalog(self, number: int) -> SealedBatch:
        names = {
            i: NamedField(column.name, column.type)
            for i, column in enumerate(self._plan.source.columns)
            if self._plan.classes[i] is catalog_class(number)
        }
        rows = collection_rows(
            title=(await read_people(self._session)).title or "",
            collection=self._plan.collection,
            file=self._plan.source.name,
            table_format=self._format(number),
            fields=names,
        )
        return seal_rows(self._session, self._keys[number][0], rows)

    def _format(self, number: int) -> dict[str, Any]:
        """Return what of the table's format the readers of a class may know."""
        its_class = catalog_class(number)
        classes = self._plan.classes
        named = zip(self._plan.source.columns, classes, strict=True)
        columns = frozenset(column.name for column, each in named if each is its_class)
        highest = its_class is max(classes)
        return for_readers_of(self._plan.source.format, columns, everything=highest)

    def _data(self, sequence: int) -> Iterator[_Cut]:
        """Cut the table into batches, as many records in each as fit; runs in a thread."""
        for table in self._plan.source.batches(self._plan.batch_rows):
            at = 0
            while at < table.num_rows:
                rows = table.slice(at)
                known = self._known(sequence, rows)
                if known is not None:
                    cut = _Cut(sequence, known, None)
                else:
                    cut = self._first_of(rows, sequence)
                yield cut
                at += cut.records
                sequence += 1

    def _known(self, sequence: int, rows: pa.RecordBatch) -> int | None:
        """Return how many of these rows the journal has as this batch; None where it has not."""
        records, _ = self._acknowledged.get(sequence, (0, b""))
        if not records:
            return None
        if self._recall is not None and not self._recall.is_same(sequence, rows.slice(0, records)):
            return None
        return records

    def _first_of(self, rows: pa.RecordBatch, sequence: int) -> _Cut:
        columns = self._columns(rows)
        records = plan_rows(columns)
        if records < rows.num_rows:
            columns = self._columns(rows.slice(0, records))
        digest = None if self._recall is None else self._recall.digest(rows.slice(0, records))
        return _Cut(sequence, records, columns, digest)

    def _columns(self, rows: pa.RecordBatch) -> list[ColumnToSeal]:
        columns = []
        for number, column in enumerate(rows.columns):
            address, key = self._keys[number]
            field_class = self._plan.classes[number]
            cells = column_cells(column)
            columns.append(ColumnToSeal(number, address.epoch, field_class, key, cells))
        return columns


def _sealed(content: list[ColumnToSeal] | SealedBatch) -> tuple[Manifest, bytes]:
    """Seal a batch, and join what is sent of it; runs in a thread."""
    sealed = content if isinstance(content, SealedBatch) else seal_batch(content)
    return sealed.manifest, sealed.body()


def all_open(state: State, addresses: Iterable[Address]) -> bool:
    """Say whether all of these epochs take commits."""
    epochs = map(state.epoch, addresses)
    return all(epoch is not None and not epoch.tainted for epoch in epochs)


def is_catalog_sequence(sequence: int, catalogs: Sequence[int]) -> bool:
    """Say whether a batch of an upload is one of its catalogs, which come first."""
    return sequence < len(catalogs)
