"""Blocks fetched, sealed anew and staged, in bounded memory: what a rotation in full moves.

Batch by batch: while one arrives, others are opened and sealed in threads, and what is sealed is
sent. A block that is the committed one and does not open is noted, and stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from client.catalogs import Names
from client.crypto.cells import reseal_block
from client.fetching import Arrived, Listed, fetch_batches
from client.journals import MadeAnew
from client.overlap import Flights, threads
from client.session import Session
from client.tables import type_from_text
from client.tables.arrow_types import value_type, varies_in_length
from protocol.blocks import (
    Address,
    BlockRef,
    Manifest,
    Padding,
    is_catalog,
    join_batch_body,
    verify_block,
)
from protocol.errors import CommitmentMismatch, IntegrityError, WeakKey
from protocol.ledger.contents import Batch, Collection
from protocol.limits import LIMITS, MIB

BUNDLE_BYTES: Final = 2 * MIB
"""Bodies shorter than this are sent together: a request costs as much as sealing some 100 KiB."""


class _Block(NamedTuple):
    """One block with the key that it is under."""

    ref: BlockRef
    block: bytes
    key: bytes


class _Anew(NamedTuple):
    """What came of a batch: its manifest and its body, and each block's old hash.

    The body is empty where nothing of it opened.
    """

    manifest: Manifest
    body: bytes
    before: tuple[bytes, ...]
    failures: dict[int, str]


class Resealer:
    """Moves blocks of one collection under the epochs in `targets` (by number of field).

    `unreadable` has, by batch and field, why a block does not open; `cells` counts those that
    were sealed anew.
    """

    def __init__(
        self,
        session: Session,
        where: Collection,
        upload: bytes,
        targets: Mapping[int, int],
        names: Names,
    ) -> None:
        self._session = session
        self._where = where
        self._upload = upload
        self._targets = targets
        self._names = names
        self._new_keys = {
            number: session.key(Address(where.id, number, epoch)).key.expose()
            for number, epoch in targets.items()
        }
        self._resealing = asyncio.Semaphore(threads())
        self._waiting: list[_Anew] = []
        self.unreadable: dict[tuple[bytes, int], str] = {}
        self.cells = 0

    async def run(
        self,
        todo: Sequence[Listed],
        on_cells: Callable[[int], None],
        between: Callable[[], Awaitable[None]],
    ) -> None:
        """Seal anew and stage everything in `todo`; the store's journal lists what is staged.

        `between` is awaited after each batch that arrived, and after all was sent.

        Raises:
            ManifestMismatch: the server sent another block than the committed one.
            Refused, Unreachable: as the transport raises; what was staged is in the journal.
        """
        arriving = fetch_batches(self._session, self._where.id, todo)
        async with Flights() as flights, aclosing(arriving):
            async for arrived in arriving:
                await flights.launch(self._move, arrived, on_cells)
                await between()
        if self._waiting:
            await self._send(self._waiting, on_cells)
        await between()  # sending the last of it may have taken days, with sleep

    async def _move(self, arrived: Arrived, on_cells: Callable[[int], None]) -> None:
        """Seal anew what arrived, and send it: alone, or with others that wait for each other."""
        batch = arrived.batch
        blocks = list(self._with_keys(arrived))
        async with self._resealing:
            anew = await asyncio.to_thread(self._sealed_anew, batch, blocks)
        for number, why in anew.failures.items():
            self.unreadable[batch.id, number] = why
        if not anew.body:
            return
        if len(anew.body) >= BUNDLE_BYTES:
            await self._send([anew], on_cells)
            return
        self._waiting.append(anew)
        waiting = sum(len(each.body) for each in self._waiting)
        if waiting >= BUNDLE_BYTES or len(self._waiting) == LIMITS.bundle_batches:
            bundle, self._waiting = self._waiting, []
            await self._send(bundle, on_cells)

    async def _send(self, bundle: Sequence[_Anew], on_cells: Callable[[int], None]) -> None:
        """Stage batches in one request, and write them down once the server has them."""
        session = self._session
        if len(bundle) == 1:
            (alone,) = bundle
            place = (session.vault_id, self._upload, alone.manifest.batch_id)
            await session.transport.stage(*place, alone.body)
        else:
            bodies = [each.body for each in bundle]
            await session.transport.stage_several(session.vault_id, self._upload, bodies)
        made = [MadeAnew(each.before, each.manifest) for each in bundle]
        session.store.rotations.add(self._upload, made)
        cells = sum(each.manifest.records * len(each.before) for each in bundle)
        self.cells += cells
        on_cells(cells)

    def _with_keys(self, arrived: Arrived) -> Iterator[_Block]:
        for ref, block in arrived.blocks:
            try:
                opened = self._session.key(Address(self._where.id, ref.field, ref.epoch))
            except (IntegrityError, CommitmentMismatch, WeakKey) as error:
                verify_block(ref, block)
                self.unreadable[arrived.batch.id, ref.field] = str(error)
            else:
                yield _Block(ref, block, opened.key.expose())

    def _sealed_anew(self, batch: Batch, blocks: Sequence[_Block]) -> _Anew:
        """Open and seal the blocks of one batch, and join what is sent of it; runs in a thread."""
        before, made, failures = [], [], {}
        for ref, block, key in blocks:
            try:
                sealed = reseal_block(
                    key,
                    self._new_keys[ref.field],
                    self._where.class_of(ref.field),
                    ref,
                    self._targets[ref.field],
                    batch.id,
                    batch.manifest.records,
                    block,
                    _varies(ref, self._names),
                    batch.erased,
                )
            except IntegrityError as error:
                verify_block(ref, block)  # another one than was committed: the server's doing
                failures[ref.field] = str(error)
            else:
                before.append(ref.sha256)
                made.append(sealed)
        manifest = Manifest(batch.id, batch.manifest.records, tuple(ref for ref, _ in made))
        body = join_batch_body(manifest, tuple(block for _, block in made)) if made else b""
        return _Anew(manifest, body, tuple(before), failures)


def _varies(ref: BlockRef, names: Names) -> bool:
    """Say whether a field's values have no fixed width; its catalog says so, or its padding."""
    named = names.fields.get(ref.field)
    if is_catalog(ref.field):
        return True
    if named is None:
        return ref.padding is not Padding.UNIFORM
    return varies_in_length(value_type(type_from_text(named.type)))
