"""Taking batches ahead of the act that shows them (SPEC section 10.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from protocol.blocks import (
    PEOPLE_COLLECTION,
    BatchBody,
    Manifest,
    cell_lengths,
    split_batch_body,
)
from protocol.errors import (
    Conflict,
    LimitExceeded,
    MalformedMessage,
    Moved,
    NotAuthorised,
    SealroomError,
)
from protocol.ledger.contents import Batch
from protocol.ledger.holders import holds, is_keyed
from protocol.ledger.parties import Member
from protocol.ledger.state import State
from vault.callers import COMMITTERS, not_found
from vault.fetches import expect_thawed
from vault.logs import Event, log_event
from vault.storage.base import Storage, StorageFull, ToStage
from vault.under import expect_may_land, sealed_under
from vault.vaults import Committed, OpenVault


class Staging:
    """Stores batches of vaults of one store, of each member at most so many bytes.

    `now` gives whole unix seconds. Of the disk `reserve_bytes` are left for acts.
    """

    def __init__(
        self,
        storage: Storage,
        now: Callable[[], int],
        staged_bytes_per_member: int,
        reserve_bytes: int,
    ) -> None:
        self._storage = storage
        self._now = now
        self._most = staged_bytes_per_member
        self._reserve = reserve_bytes

    def expect_room(self, size: int = 0) -> None:
        """Refuse so many bytes more where they would take what acts may need.

        Raises:
            StorageFull: they would.
        """
        room = self._storage.room()
        if room is not None and room - size < self._reserve:
            log_event(Event.DISK_LOW, bytes=room)
            raise StorageFull(
                "the server's disk has no room for uploads",
                hint="Have whoever runs it free some space, then repeat the command.",
            )

    async def stage(
        self,
        opened: Callable[[], Awaitable[OpenVault]],
        keyid: bytes,
        upload: bytes,
        bodies: Sequence[bytes],
        *,
        named: bytes | None = None,
    ) -> tuple[bytes, ...]:
        """Store batches, all or none; return their ids, ascending.

        `opened` gives the vault as it is at the moment, `named` is the id that a single one has to
        have. What was decided while they were stored holds for them: then they are taken back.

        Raises:
            SealroomError: one of them is not taken (see `VaultService.stage`).
        """
        vault = await opened()
        uploader(vault, keyid, upload)
        self.expect_room(sum(map(len, bodies)))
        batches = await asyncio.to_thread(lambda: list(map(split_batch_body, bodies)))
        ids = tuple(sorted({batch.manifest.batch_id for batch in batches}))
        if len(ids) < len(batches):
            raise MalformedMessage("one batch twice")
        if named is not None and ids != (named,):
            raise MalformedMessage("the batch is not the one that the path names")
        member = uploader(vault, keyid, upload)
        taken = [await _taken(vault, member, batch) for batch in batches]
        kept = await self._storage.staged_bytes(vault.id, keyid)
        if kept + sum(map(len, bodies)) > self._most:
            raise LimitExceeded(
                "more is uploaded and not committed than this server keeps for one member",
                hint="Commit what was uploaded, then go on.",
            )
        stored = [_to_stage(batch, *each) for batch, each in zip(batches, taken, strict=True)]
        are_new = await self._storage.stage_batches(vault.id, upload, keyid, stored, self._now())
        try:
            async with vault.lock:  # an act that has not seen it there has landed by then
                vault = await opened()
            uploader(vault, keyid, upload)
            for batch, one in zip(batches, stored, strict=True):
                expect_may_land(vault.state, one.under)
                await _expect_erased(vault.committed(one.batch_id), batch)
        except SealroomError:
            new = [one.batch_id for one, is_new in zip(stored, are_new, strict=True) if is_new]
            await self._storage.unstage(vault.id, upload, new)
            raise
        return ids


async def _taken(
    vault: OpenVault, member: Member, batch: BatchBody
) -> tuple[Committed | None, bytes]:
    """Return what a batch was committed as before, and what it is sealed under, as things stand.

    Raises:
        SealroomError: its sender may not bring it.
    """
    known = vault.committed(batch.manifest.batch_id)
    _expect_entitled(vault.state, member, known, batch.manifest)
    under = sealed_under(batch.manifest, known.collection if known else None)
    expect_may_land(vault.state, under)
    await _expect_erased(known, batch)
    return known, under


def _to_stage(batch: BatchBody, known: Committed | None, under: bytes) -> ToStage:
    refs = batch.manifest.blocks
    blocks = [(r.field, r.sha256, each) for r, each in zip(refs, batch.blocks, strict=True)]
    anew = known is not None
    return ToStage(batch.manifest.batch_id, batch.manifest_bytes, blocks, under, anew)


def uploader(vault: OpenVault, keyid: bytes, upload: bytes) -> Member:
    """Return the member who may bring something under this upload, as things stand.

    Raises:
        NotFound, NotAuthorised: no confirmed owner or admin.
        Frozen: nothing is taken from anybody.
        Conflict: the upload was committed before.
    """
    caller = vault.caller(keyid)
    if caller is None:
        raise not_found()
    member = caller.expect_role(COMMITTERS)
    expect_thawed(vault.state)
    if upload in vault.state.uploads:
        raise Conflict("that upload was committed before", hint="Begin another one.")
    return member


def _expect_entitled(
    state: State, member: Member, known: Committed | None, manifest: Manifest
) -> None:
    """Refuse a batch that its sender could commit nowhere, or not put in a committed one's place.

    Raises:
        NotAuthorised: so it is.
        Conflict: some of its blocks are committed already.
    """
    if known is None:
        entitled = could_commit(state, member, manifest)
    elif not set(manifest.blocks).isdisjoint(known.manifest.blocks):
        raise Conflict("that batch was committed before", hint="Begin another one.")
    else:
        entitled = could_reencrypt(state, member, known, manifest)
    if not entitled:
        raise NotAuthorised("who writes a field holds it, in a collection that has it")


async def _expect_erased(known: Committed | None, batch: BatchBody) -> None:
    """Refuse blocks made anew in which there are cells of records that were erased.

    Every reader would refuse them, and what was erased would be there again for a while.

    Raises:
        Moved: there are.
        MalformedMessage: a block that is not well formed.
    """
    if known is None or not known.batch.erased:
        return
    if not await asyncio.to_thread(_is_erased, known.batch, batch):
        raise Moved(
            "records of that batch were erased while it was sealed anew",
            hint="Sync, and seal it once more.",
        )


def _is_erased(known: Batch, batch: BatchBody) -> bool:
    lengths = [cell_lengths(block, batch.manifest.records) for block in batch.blocks]
    return not any(each[position] for each in lengths for position in known.erased)


def could_commit(state: State, author: Member, manifest: Manifest) -> bool:
    """Say whether some collection would take such a batch from this member.

    An upload does not say which collection it is for; its commit does, and is judged exactly.
    """
    numbers = tuple(ref.field for ref in manifest.blocks)
    return any(
        (is_keyed(author.role) or where.id == PEOPLE_COLLECTION)
        and (manifest.is_catalog or numbers == tuple(range(len(where.classes))))
        and all(where.has(number) and holds(author, where, number) for number in numbers)
        for where in state.collections.values()
    )


def could_reencrypt(state: State, author: Member, known: Committed, manifest: Manifest) -> bool:
    """Say whether a committed batch's blocks could be replaced by these, sealed by this member."""
    where = state.collections[known.collection]
    numbers = {ref.field for ref in known.manifest.blocks}
    return (
        is_keyed(author.role)
        and manifest.records == known.manifest.records
        and all(ref.field in numbers and holds(author, where, ref.field) for ref in manifest.blocks)
    )
