"""Looking whether the store is whole, and has all that the logs list (SPEC section 10.4, R8).

A disk changes bits, and nobody notices until somebody asks. What is served is verified by whoever
is served; but what nobody reads for years would be lost in silence, and one wrong bit in a table
could make the server delete, as expired or as gone, what is there for good. So nothing is deleted
before the store was looked through: its structure, every log, and whether each block that a log
lists is there, as long as it should be, and each upload what the log says of it. Now and then
every log is replayed and every block hashed besides, also of what is not committed yet.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from protocol.blocks import BlockRef
from protocol.ledger.contents import Pending, PendingUpload
from protocol.ledger.state import State
from vault.logs import Event, IdPrefix, log_event
from vault.storage.base import BlockPlace, Storage, StorageFailed, StoredUpload
from vault.vaults import OpenVault, VaultShelf

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """How much was read and is what it was."""

    blocks: int
    size: int


class Soundness:
    """Looks through one store and the vaults in it, and keeps what it found until the end."""

    def __init__(self, storage: Storage, shelf: VaultShelf) -> None:
        self._storage = storage
        self._shelf = shelf
        self._looking = asyncio.Lock()
        self._looked = False
        self._damaged: dict[bytes | None, StorageFailed] = {}

    def expect_undamaged(self, vault_id: bytes | None = None) -> None:
        """Refuse to put more where damage was found: in the whole store, or in one vault.

        What is there goes on being served.

        Raises:
            StorageFailed: it was.
        """
        for what in (None, vault_id):
            if what in self._damaged:
                raise self._damaged[what]

    async def expect(self) -> None:
        """Look through the store, unless that was done.

        Raises:
            StorageFailed: something in it is damaged, or was found to be before.
        """
        async with self._looking:
            if not self._looked:
                await self._look_through()
            self._expect_nothing_damaged()

    async def read_through(self) -> Found:
        """Look through the store again, replay every log, and hash every block.

        Raises:
            StorageFailed: as `expect`.
        """
        async with self._looking:
            await self._look_through()
            found = [await self._noted(each, self._read(each)) for each in self._shelf.ids()]
            self._expect_nothing_damaged()
            read = [each for each in found if each is not None]
            return Found(sum(each.blocks for each in read), sum(each.size for each in read))

    def _expect_nothing_damaged(self) -> None:
        for error in self._damaged.values():
            raise error

    async def _noted(self, what: bytes | None, work: Awaitable[T]) -> T | None:
        """Return what some work gives; None if it finds damage, which is said in the log."""
        try:
            return await work
        except StorageFailed as error:
            self._damaged[what] = error
            named = {} if what is None else {"vault": IdPrefix.of(what)}
            log_event(Event.STORAGE_DAMAGED, error=type(error), **named)
            return None

    async def _look_through(self) -> None:
        await self._noted(None, self._storage.check())
        for vault_id in self._shelf.ids():
            await self._noted(vault_id, self._unmoving(vault_id, self._compare))
        self._looked = True

    async def _unmoving(
        self, vault_id: bytes, work: Callable[[OpenVault], Awaitable[object]]
    ) -> OpenVault:
        """Do something with a vault while nothing lands in it; return the vault."""
        while True:
            vault = await self._shelf.open(vault_id)
            async with vault.lock:
                if not vault.forgotten:
                    await work(vault)
                    return vault

    async def _compare(self, vault: OpenVault) -> None:
        await self._expect_uploads(vault)
        for batch, refs in vault.blocks().items():
            _expect_there(refs, await self._storage.block_sizes(vault.id, batch))

    async def _expect_uploads(self, vault: OpenVault) -> None:
        uploads = {each.upload_id: each for each in await self._storage.uploads(vault.id)}
        for upload in uploads.values():
            _expect_as_logged(vault.state, upload)
        for upload_id, pending in vault.state.pending.items():
            for batch, refs in _blocks_of(pending).items():
                there = await self._storage.block_sizes(vault.id, batch, held=upload_id)
                _expect_there(refs, there)

    async def _read(self, vault_id: bytes) -> Found:
        await self._unmoving(vault_id, lambda vault: self._shelf.verify(vault.id))
        blocks = size = 0
        place: BlockPlace | None = None
        while (found := await self._storage.next_block(vault_id, place)) is not None:
            place, block = found
            digest = await asyncio.to_thread(hashlib.sha256, block)
            if digest.digest() != place.digest:
                raise _damaged("a block is not what it was")
            blocks, size = blocks + 1, size + len(block)
        return Found(blocks, size)


def _expect_as_logged(state: State, upload: StoredUpload) -> None:
    """Check what the store says of an upload against what the log does."""
    if upload.published:
        sound = upload.upload_id in state.uploads
    elif upload.held:
        pending = state.pending.get(upload.upload_id)
        sound = pending is not None and pending.author == upload.member_id
    else:
        known = state.pending.keys() | state.uploads
        sound = upload.upload_id not in known and upload.member_id in state.members
    if not sound:
        raise _damaged("an upload is not what the log says of it")


def _blocks_of(pending: Pending) -> dict[bytes, list[BlockRef]]:
    """Return the blocks, by batch, of parts of a commit or a re-encryption that landed."""
    if isinstance(pending, PendingUpload):
        return {batch.id: list(batch.manifest.blocks) for batch in pending.batches}
    found: dict[bytes, list[BlockRef]] = {}
    for move in pending.moves:
        found.setdefault(move.batch, []).append(move.block)
    return found


def _expect_there(refs: Iterable[BlockRef], there: dict[tuple[int, bytes], int]) -> None:
    if any(there.get((ref.field, ref.sha256)) != ref.length for ref in refs):
        raise _damaged("a block that the log lists is not there, or not all of it")


def _damaged(what: str) -> StorageFailed:
    return StorageFailed(what, hint="Restore a backup. Nothing is deleted until then.")
