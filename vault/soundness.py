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
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from protocol.blocks import BlockRef
from protocol.ledger.contents import Pending, PendingUpload
from protocol.ledger.state import State
from vault.logs import Event, IdPrefix, log_event
from vault.storage.base import BlockPlace, Storage, StorageDamaged, StoredUpload
from vault.vaults import OpenVault, VaultShelf

T = TypeVar("T")

BATCHES_AT_ONCE: Final = 256
"""So many batches are compared while nothing else lands in their vault."""


@dataclass(frozen=True, slots=True)
class Found:
    """How much of a vault was read and is what it was: leaves, blocks, and the blocks' bytes."""

    leaves: int
    blocks: int
    size: int


def no_matter(_: int) -> None:
    """Hear how many bytes were read, and do nothing about it."""


class Soundness:
    """Looks through one store and the vaults in it, and keeps what it found to be damaged.

    What could not be looked at is not damaged: that is told to whoever wanted it looked at, and
    tried again. A later look through everything that finds less lets the rest be.
    """

    def __init__(self, storage: Storage, shelf: VaultShelf) -> None:
        self._storage = storage
        self._shelf = shelf
        self._looking = asyncio.Lock()
        self._looked = False
        self._damaged: dict[bytes | None, str] = {}

    def expect_undamaged(self, vault_id: bytes | None = None) -> None:
        """Refuse to put more where damage was found: in the whole store, or in one vault.

        What is there goes on being served.

        Raises:
            StorageDamaged: it was.
        """
        for what in (None, vault_id):
            if what in self._damaged:
                raise _damaged(self._damaged[what])

    async def expect_looked(self, vault_id: bytes) -> None:
        """Look through the store, unless that was done, before something of one vault goes.

        Raises:
            StorageDamaged: the store or that vault is.
            StorageFailed: it cannot be looked at now.
        """
        await self._look_once()
        self.expect_undamaged(vault_id)

    async def expect_sound(self) -> None:
        """Look through the store, unless that was done, before something of any vault goes.

        Raises:
            StorageDamaged: something in it is.
            StorageFailed: it cannot be looked at now.
        """
        await self._look_once()
        self.expect_nothing_damaged()

    async def read_through(self, told: Callable[[int], None] = no_matter) -> dict[bytes, Found]:
        """Look through the store again, replay every log, and hash every block.

        Everything is looked at, whatever is found: return what each sound vault has, and keep in
        `damage` what is not sound. `told` hears how many bytes each block has.

        Raises:
            StorageFailed: it cannot be looked at now.
        """
        async with self._looking:
            damaged = await self._look_through()
            found: dict[bytes, Found] = {}
            for vault_id in self._shelf.ids():
                read = await self._noted(damaged, vault_id, self._read(vault_id, told))
                if read is not None and vault_id not in damaged:
                    found[vault_id] = read
            self._damaged = damaged
        return found

    @property
    def damage(self) -> Mapping[bytes | None, str]:
        """What was found to be damaged, a vault or (None) the whole store, and how."""
        return self._damaged

    def expect_nothing_damaged(self) -> None:
        """Check that nothing was found to be damaged.

        Raises:
            StorageDamaged: something was.
        """
        for why in self._damaged.values():
            raise _damaged(why)

    async def _look_once(self) -> None:
        if self._looked:
            return
        async with self._looking:
            if not self._looked:
                await self._look_through()

    async def _noted(
        self, damaged: dict[bytes | None, str], what: bytes | None, work: Awaitable[T]
    ) -> T | None:
        """Return what some work gives; None if it finds damage, which counts from then on."""
        try:
            return await work
        except StorageDamaged as error:
            damaged[what] = self._damaged[what] = str(error)
            named = {} if what is None else {"vault": IdPrefix.of(what)}
            log_event(Event.STORAGE_DAMAGED, error=type(error), **named)
            return None

    async def _look_through(self) -> dict[bytes | None, str]:
        """Look at everything, and return what is damaged, each with why."""
        damaged: dict[bytes | None, str] = {}
        await self._noted(damaged, None, self._storage.check())
        for vault_id in self._shelf.ids():
            await self._noted(damaged, vault_id, self._compare(vault_id))
        self._looked = True
        return damaged

    async def _unmoving(self, vault_id: bytes, work: Callable[[OpenVault], Awaitable[T]]) -> T:
        """Do something with a vault while nothing lands in it."""
        while True:
            vault = await self._shelf.open(vault_id)
            async with vault.lock:
                if not vault.forgotten:
                    return await work(vault)

    async def _compare(self, vault_id: bytes) -> None:
        """Compare what the store has with what the log lists, some batches at a time.

        Acts land in between; what they add was there when they landed.
        """
        await self._unmoving(vault_id, self._expect_uploads)
        batches = await self._unmoving(vault_id, _batches_of)
        for at in range(0, len(batches), BATCHES_AT_ONCE):
            some = batches[at : at + BATCHES_AT_ONCE]
            await self._unmoving(vault_id, partial(self._expect_batches, some))

    async def _expect_batches(self, some: Sequence[bytes], vault: OpenVault) -> None:
        for batch in some:
            known = vault.committed(batch)
            if known is not None:
                there = await self._storage.block_sizes(vault.id, batch)
                _expect_there(batch, known.manifest.blocks, there)

    async def _expect_uploads(self, vault: OpenVault) -> None:
        uploads = {each.upload_id: each for each in await self._storage.uploads(vault.id)}
        for upload in uploads.values():
            _expect_as_logged(vault.state, upload)
        for upload_id, pending in vault.state.pending.items():
            for batch, refs in _blocks_of(vault, pending).items():
                there = await self._storage.block_sizes(vault.id, batch, held=upload_id)
                _expect_there(batch, refs, there)

    async def _read(self, vault_id: bytes, told: Callable[[int], None]) -> Found:
        replayed = await self._unmoving(vault_id, lambda vault: self._shelf.verify(vault.id))
        blocks = size = 0
        place: BlockPlace | None = None
        while (found := await self._storage.next_block(vault_id, place)) is not None:
            place, block = found
            digest = await asyncio.to_thread(hashlib.sha256, block)
            if digest.digest() != place.digest:
                raise _damaged(f"{_named(place.batch_id, place.field)} is not what it was")
            blocks, size = blocks + 1, size + len(block)
            told(len(block))
        return Found(replayed.size, blocks, size)


async def _batches_of(vault: OpenVault) -> list[bytes]:
    return list(vault.blocks())


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


def _blocks_of(vault: OpenVault, pending: Pending) -> dict[bytes, list[BlockRef]]:
    """Return the blocks, by batch, of parts of a commit or a re-encryption that landed.

    A block that was made anew is gone with the one that it should replace: where records of it
    were erased meanwhile, or it was replaced by another.
    """
    if isinstance(pending, PendingUpload):
        return {batch.id: list(batch.manifest.blocks) for batch in pending.batches}
    found: dict[bytes, list[BlockRef]] = {}
    for move in pending.moves:
        known = vault.committed(move.batch)
        stands = known is not None and move.before in {r.sha256 for r in known.manifest.blocks}
        if stands:
            found.setdefault(move.batch, []).append(move.block)
    return found


def _expect_there(
    batch: bytes, refs: Iterable[BlockRef], there: dict[tuple[int, bytes], int]
) -> None:
    for ref in refs:
        if there.get((ref.field, ref.sha256)) != ref.length:
            raise _damaged(f"{_named(batch, ref.field)} is not there, or not all of it")


def _named(batch: bytes, field: int) -> str:
    return f"the block of field {field} in batch {batch.hex()[:8]}"


def _damaged(what: str) -> StorageDamaged:
    return StorageDamaged(what)
