"""What an upload brings, sealed and sent: reading, sealing and sending overlap (SPEC 10.5).

One thread reads and cuts, others seal, while the event loop sends what is sealed: so many batches
are under way at once, and one more is being read. Memory holds those, however much there is.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from client.columns import Cells
from client.crypto.cells import ColumnToSeal, SealedBatch, seal_batch
from client.journals import JournalledUpload
from client.lookout import Lookout, all_open
from client.overlap import Flights, threads
from client.results.progress import OnProgress, Progress
from client.session import Session
from protocol import acts
from protocol.blocks import Address, FieldClass, Manifest
from protocol.ledger.contents import Collection
from protocol.limits import MIB

RATE_BYTES: Final = MIB
"""Of less the time goes into requests, whatever their size: a rate would tell nothing."""


@dataclass(frozen=True, slots=True)
class Into:
    """Where an upload goes: its collection as it stands, and an epoch of each field, with its key.

    `listed` are the batches that the journal has, by their places in the upload.
    """

    session: Session
    journal: JournalledUpload
    where: Collection
    listed: Mapping[int, Manifest]
    epochs: Mapping[int, Address]
    keys: Mapping[int, bytes] = field(repr=False)

    @classmethod
    def of(cls, session: Session, journal: JournalledUpload) -> Into:
        """Return what an upload goes into now.

        Raises:
            Refused: a field takes no commits.
        """
        where = session.state.collections[journal.collection]
        epochs = {number: session.writable(where.id, number) for number in where.fields}
        keys = {number: session.key(each).key.expose() for number, each in epochs.items()}
        listed = session.store.uploads.batches(journal.upload)
        return cls(session, journal, where, listed, epochs, keys)

    def column(self, number: int, cells: Cells) -> ColumnToSeal:
        """Return cells with what they are sealed under."""
        its_class, key = self.where.class_of(number), self.keys[number]
        return ColumnToSeal(number, self.epochs[number].epoch, its_class, key, cells)

    def keys_open(self) -> bool:
        """Say whether all of its keys take commits, as far as is known."""
        return all_open(self.session.state, self.epochs.values())


class Cut(NamedTuple):
    """One batch of an upload: its place in it, and what there is to seal, or what is sealed of it.

    There is nothing to seal where the journal has it. `size` is told as progress. `digest` is
    what is remembered of the batch, where its source could give something else another time.
    """

    sequence: int
    size: int
    content: list[ColumnToSeal] | SealedBatch | None
    digest: bytes | None = None


class Cargo(ABC):
    """What an upload brings: a table, or a document.

    `classes` are those of the collection's fields. `erasures` are what its records replace, in
    the moment in which they become visible. `seen` are the uploads beside which alone it may
    become visible; None where it does not matter. The sizes of its cuts are told in `unit`; what
    was sealed and sent in a second is remembered as `rate`, if that has a name and it was enough.
    """

    classes: tuple[FieldClass, ...]
    erasures: tuple[acts.Erasure, ...] = ()
    seen: AbstractSet[bytes] | None = None
    unit: str
    rate: str | None = None

    @abstractmethod
    def total(self, read: int, *, ended: bool) -> tuple[int | None, bool]:
        """Return how much there is, and whether that is known, where so much was read of it."""

    @abstractmethod
    def cuts(self, into: Into) -> AsyncGenerator[Cut, None]:
        """Yield all batches in order, catalogs first; what comes again is cut as it was."""


class Sender:
    """An upload on its way: seals in threads, sends a few batches at once, journals each."""

    def __init__(self, into: Into, cargo: Cargo, on_progress: OnProgress) -> None:
        self._into = into
        self._cargo = cargo
        self._on_progress = on_progress
        self._sealing = asyncio.Semaphore(threads())
        self._read = self._sent = self._sent_bytes = 0
        self._ended = False

    async def run(self) -> None:
        """Seal and send everything that the journal does not list yet; let go of what is no more.

        Raises:
            KeysMoved, Stale: as `Lookout.look`; what was sent is in the journal.
        """
        into, cargo = self._into, self._cargo
        lookout = Lookout(into.session, into.keys_open)
        started, last = time.monotonic(), 0
        async with Flights() as flights, aclosing(cargo.cuts(into)) as cuts:
            async for cut in cuts:
                last = cut.sequence
                self._read += cut.size
                if cut.content is None:
                    self._count(cut)
                else:
                    await flights.launch(self._send, cut, cut.content)
                await lookout.look()
            self._ended = True
        await lookout.look()  # sending the last of it may have taken days, with sleep
        gone = [sequence for sequence in into.listed if sequence > last]
        into.session.store.uploads.drop(into.journal.upload, gone)
        if self._sent_bytes >= RATE_BYTES and cargo.rate is not None:
            seconds = max(time.monotonic() - started, 1e-6)
            into.session.store.keep_rate(cargo.rate, self._sent_bytes / seconds)

    async def _send(self, cut: Cut, content: list[ColumnToSeal] | SealedBatch) -> None:
        """Seal and send one batch, and write it down once the server has it."""
        session, upload = self._into.session, self._into.journal.upload
        async with self._sealing:
            manifest, body = await asyncio.to_thread(_sealed, content)
        await session.transport.stage(session.vault_id, upload, manifest.batch_id, body)
        session.store.uploads.add(upload, cut.sequence, manifest, cut.digest)
        if isinstance(content, SealedBatch):
            # Nobody has to fetch, and the log to note, names that this home has sealed itself.
            for ref, block in zip(manifest.blocks, content.blocks, strict=True):
                session.store.keep_block(manifest.batch_id, ref.field, block)
        self._sent_bytes += sum(ref.length for ref in manifest.blocks)
        self._count(cut)

    def _count(self, cut: Cut) -> None:
        if cut.size:
            self._sent += cut.size
            total, known = self._cargo.total(self._read, ended=self._ended)
            task, unit = "sealing and sending", self._cargo.unit
            self._on_progress(Progress(task, self._sent, total, unit, estimated=not known))


def _sealed(content: list[ColumnToSeal] | SealedBatch) -> tuple[Manifest, bytes]:
    """Seal a batch, and join what is sent of it; runs in a thread."""
    sealed = content if isinstance(content, SealedBatch) else seal_batch(content)
    return sealed.manifest, sealed.body()
