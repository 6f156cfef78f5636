"""The storage contract: what a server needs of a database, and nothing that names one.

An engine stores bytes that it does not understand, under ids that it does not invent. It
keeps four promises, and `tests/storage_contract.py` checks them on each engine:

1. **Acknowledged is durable.** A call that changes something returns only after the change
   would survive the process being killed and the machine losing power.
2. **All or nothing.** A call that raises has changed nothing, whatever it raised.
3. **Vaults are apart.** Every row is keyed by its vault's id first; no call can meet a row
   of another vault, and no number is drawn from a sequence that vaults share.
4. **Append is compare-and-set.** Of several appends at one size exactly one lands.

Whoever cancels a call that changes something does not know whether it happened. All such
calls are safe to repeat: the second answer says what became of the first.

Sizes: vault and member ids and digests are 32 bytes; batch, upload and collection ids 16.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from protocol.errors import ApiMisuse, Conflict, OutOfOrder, SealroomError

DIGEST_BYTES: Final = 32
RESTORE: Final = (
    "Have whoever runs the server see what 'sealroom store check' says, and put back a copy."
)


class StorageFull(SealroomError):
    """The disk or the quota below the database has no room; nothing was changed."""

    code = "storage_full"


class StorageFailed(SealroomError):
    """The database could not do what was asked, through no fault of the request."""

    code = "storage_failed"


class StorageDamaged(StorageFailed):
    """What is stored is not what was stored; trying again helps nobody."""

    code = "storage_damaged"

    def __init__(self, message: str, *, hint: str | None = RESTORE) -> None:
        super().__init__(message, hint=hint)


class StillRead(StorageFailed):
    """Somebody reads what was there before, a copy that is taken perhaps; later it will do."""

    code = "storage_still_read"


class DirectoryInUse(StorageFailed):
    """Another server already works on this data directory."""

    code = "storage_in_use"


class UnknownVault(SealroomError):
    """No vault has this id here."""

    code = "not_found"


class AlreadyExists(Conflict):
    """A vault of this id was created before."""

    code = "already_exists"


class NotStaged(OutOfOrder):
    """A batch that should become visible is not staged, or its upload is gone."""

    code = "not_staged"


class SizeMoved(OutOfOrder):
    """The log is no longer as long as the append assumed; `actual` is its length now."""

    code = "size_moved"

    def __init__(self, actual: int) -> None:
        super().__init__(f"the log has {actual} leaves", hint="sync and append again")
        self.actual = actual


@dataclass(frozen=True, slots=True)
class SidePart:
    """One part of a leaf's sides; `content` is None once it was deleted, `digest` stays.

    The digest is whatever the signed act commits to for this part: storage keeps it beside
    the content and does not compute it, so the ledger replays without the content.
    """

    digest: bytes
    content: bytes | None

    def __post_init__(self) -> None:
        if len(self.digest) != DIGEST_BYTES:
            raise ApiMisuse("a part's digest has 32 bytes")

    @classmethod
    def of(cls, content: bytes) -> SidePart:
        """Return the part under its plain SHA-256."""
        return cls(hashlib.sha256(content).digest(), content)


@dataclass(frozen=True, slots=True)
class StoredLeaf:
    """A leaf of a vault's log with what travels beside it.

    `leaf` is the exact leaf data that the tree hashes, `observation` the salt and body of an
    observation leaf (None for an act).
    """

    index: int
    leaf: bytes
    sides: tuple[SidePart, ...] = ()
    observation: bytes | None = None


Block = tuple[int, bytes, bytes]
"""A block as it is staged: field number, digest, bytes."""


@dataclass(frozen=True, slots=True)
class StagedBatch:
    """A batch that is stored and not yet visible; `size` counts its manifest and blocks."""

    batch_id: bytes
    manifest_digest: bytes
    size: int


@dataclass(frozen=True, slots=True)
class ToStage:
    """A batch to be staged: its manifest's bytes, and its blocks as (field, digest, bytes).

    `under` says what it is sealed under, in words that are the caller's. With `anew` the batch is
    a published one, of which these are blocks that were made anew.
    """

    batch_id: bytes
    manifest: bytes
    blocks: Sequence[Block]
    under: bytes = b""
    anew: bool = False

    @property
    def digest(self) -> bytes:
        """The hash of its manifest, 32 bytes."""
        return hashlib.sha256(self.manifest).digest()

    @property
    def size(self) -> int:
        """How many bytes it comes to, manifest and blocks."""
        return len(self.manifest) + sum(len(content) for _, _, content in self.blocks)


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """An upload as the store has it: whose it is, and whether an append showed or held it."""

    upload_id: bytes
    member_id: bytes
    published: bool
    held: bool


@dataclass(frozen=True, slots=True)
class Relied:
    """What an append relies on: batches staged under an upload, with exactly these manifests.

    Each is (batch id, SHA-256 of the manifest), as `StagedBatch` has them.
    """

    upload_id: bytes
    manifests: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class BlockKey:
    """A block's place and its digest: several blocks may stand in one place for a while."""

    batch_id: bytes
    field: int
    digest: bytes


@dataclass(frozen=True, slots=True, order=True)
class BlockPlace:
    """Where a stored block stands, published or not: several uploads may have the same one."""

    batch_id: bytes
    field: int
    digest: bytes
    upload_id: bytes


@dataclass(frozen=True, slots=True)
class Publish:
    """Make what is staged of one upload visible, and close the upload for ever.

    `batch_ids` are batches of its own, or published ones for which it has blocks; `shown` are
    blocks that it must have: what was staged may have gone with a rewrite since. What else the
    upload has goes.
    """

    upload_id: bytes
    batch_ids: tuple[bytes, ...]
    shown: tuple[BlockKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Put other bytes in the place of a published block.

    Whatever else was ever stored in that place, published or staged, goes with it.
    """

    key: BlockKey
    digest: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class Effects:
    """What else changes with an append, in the same transaction.

    Nothing does unless all that it `relies` on is staged.

    `hold_uploads` keeps uploads from expiring, because the log names some of their batches
    already. `drop_uploads` ends uploads that are not published (unknown and published ones are
    passed over), `drop_members` all of these members' that are not. `drop_staged` lists (upload,
    what it is sealed under): of uploads that are not published, such batches go, unless an append
    relied on them (unknown ones are passed over). `delete_parts` lists (leaf index, part number)
    whose content goes and whose digest stays (what is already gone is passed over).

    Of blocks go single published ones (`doom`), all of some batches, or all that the vault has,
    which also drops every upload that is not published (unknown ones are passed over).

    Whatever goes is there for nobody from then on. Its bytes are deleted by `Storage.sweep`,
    since many at once would keep everybody waiting, and need room on a disk that may be full;
    only what is rewritten goes at once.
    """

    publish: tuple[Publish, ...] = ()
    drop_uploads: tuple[bytes, ...] = ()
    delete_parts: tuple[tuple[int, int], ...] = ()
    drop_members: tuple[bytes, ...] = ()
    hold_uploads: tuple[bytes, ...] = ()
    drop_staged: tuple[tuple[bytes, bytes], ...] = ()
    rewrite: tuple[Rewrite, ...] = ()
    doom: tuple[BlockKey, ...] = ()
    doom_batches: tuple[bytes, ...] = ()
    doom_all: bool = False
    relies: tuple[Relied, ...] = ()

    @property
    def deletes(self) -> bool:
        """Whether what was there for somebody is to be deleted from every file afterwards."""
        gone = (self.rewrite, self.doom, self.doom_batches, self.delete_parts)
        dropped = (self.drop_uploads, self.drop_members, self.drop_staged)
        return self.doom_all or any((*gone, *dropped))


NO_EFFECTS: Final = Effects()


@dataclass(frozen=True, slots=True)
class StorageStats:
    """What an engine holds: bytes on disk (all its files), vaults, leaves of all logs."""

    bytes_on_disk: int
    vaults: int
    leaves: int


class Storage(ABC):
    """The operations of every engine. All may raise `StorageFailed`; writes `StorageFull`.

    Whoever opens a storage owes it `close` on every way out, or uses `async with`: an engine's
    threads keep the process alive.
    """

    engine: ClassVar[str]

    # --- vaults and their logs

    @abstractmethod
    async def create_vault(self, vault_id: bytes, leaf: StoredLeaf) -> None:
        """Create a vault with its first leaf, which must have index 0.

        Raises:
            AlreadyExists: The id is taken; nothing was changed.
        """

    @abstractmethod
    async def vault_ids(self) -> list[bytes]:
        """Return the ids of all vaults, ascending."""

    @abstractmethod
    async def size(self, vault_id: bytes) -> int:
        """Return how many leaves the vault's log has.

        Raises:
            UnknownVault: There is no such vault.
        """

    @abstractmethod
    async def append(
        self,
        vault_id: bytes,
        size: int,
        leaves: Sequence[StoredLeaf],
        effects: Effects = NO_EFFECTS,
    ) -> None:
        """Append leaves to a log of exactly `size` leaves, and do the effects with them.

        The leaves' indexes must run on from `size`; at least one leaf is needed.

        Raises:
            SizeMoved: The log has another length (`.actual`); nothing was changed.
            NotStaged: An effect relies on, publishes or holds what is not staged, or rewrites a
                block that is not there; nothing was changed.
            UnknownVault: There is no such vault.
        """

    @abstractmethod
    async def read_leaves(
        self,
        vault_id: bytes,
        start: int,
        limit: int,
        max_bytes: int,
        *,
        with_parts: bool = True,
    ) -> list[StoredLeaf]:
        """Return a run of leaves from index `start`: at most `limit`, about `max_bytes`.

        At least one leaf is returned where one exists, however large; none past the end or
        for an unknown vault. Leaves, observations and live parts count as bytes. Without
        `with_parts` every part's content is None and costs nothing: enough for a replay.
        """

    # --- staging

    @abstractmethod
    async def stage_batches(
        self,
        vault_id: bytes,
        upload_id: bytes,
        member_id: bytes,
        batches: Sequence[ToStage],
        now: int,
    ) -> tuple[bool, ...]:
        """Store batches of an upload, invisible until an append publishes them: all, or none.

        Blocks that were made anew replace earlier ones of the same upload and batch, unless an
        append holds it. Return for each whether it was stored: False if the same batch (same
        upload, same manifest bytes) was there already. The caller has checked the blocks against
        the manifests and the member against the ledger; `now` (unix seconds) is when the upload
        was last active.

        Raises:
            Conflict: A batch id names another manifest or upload (or, with `anew`, another
                manifest of an upload that is held, or no published batch), or the upload is
                another member's or was published before.
            UnknownVault: There is no such vault.
        """

    @abstractmethod
    async def unstage(self, vault_id: bytes, upload_id: bytes, batch_ids: Sequence[bytes]) -> None:
        """Take batches back out of an upload, as a drop does: all in one transaction.

        Passed over if they are not staged, or an append relied on them.
        """

    @abstractmethod
    async def staged(
        self, vault_id: bytes, upload_id: bytes, member_id: bytes | None = None
    ) -> list[StagedBatch]:
        """Return the batches of an upload that is not published, by ascending batch id.

        With a member's id, none unless the upload is that member's.
        """

    @abstractmethod
    async def staged_under(self, vault_id: bytes) -> list[tuple[bytes, bytes]]:
        """Return (upload, what it is sealed under) of all that is staged, each pair once.

        But for what an append relied on, and uploads that are published.
        """

    @abstractmethod
    async def staged_bytes(self, vault_id: bytes, member_id: bytes | None = None) -> int:
        """Return the bytes that one member (or everybody) has staged and not published."""

    @abstractmethod
    async def expire_staged(self, before: int) -> int:
        """End every upload last active before a time, as a drop does; return how many went.

        None that is published, and none that an append held.
        """

    # --- what is visible

    @abstractmethod
    async def read_block(self, vault_id: bytes, key: BlockKey) -> bytes | None:
        """Return a published block; None if there is none, or it went."""

    @abstractmethod
    async def block_sizes(
        self, vault_id: bytes, batch_id: bytes, *, held: bytes | None = None
    ) -> dict[tuple[int, bytes], int]:
        """Return the length of each published block of a published batch, by field and digest.

        With an upload's id, of each block that this upload brought for it, if an append relied
        on the batch and the upload is not published.
        """

    @abstractmethod
    async def next_block(
        self, vault_id: bytes, after: BlockPlace | None
    ) -> tuple[BlockPlace, bytes] | None:
        """Return the block in the next place, ascending, published or not; None after the last."""

    @abstractmethod
    async def uploads(self, vault_id: bytes) -> list[StoredUpload]:
        """Return every upload of a vault that there is, by ascending id."""

    # --- what is to go

    @abstractmethod
    async def sweep(self, max_bytes: int) -> int:
        """Delete about `max_bytes` of what went; return how many blocks and parts of it are left.

        At least one is deleted, if there is one. Deleted bytes are overwritten in the database
        itself. That no other file of the engine's has them any more, only `scour` makes sure of.
        """

    @abstractmethod
    async def scour(self) -> None:
        """Leave nothing in any file of the engine's of what was deleted before this call.

        It works in steps, between which others' writes come. Backups, and what the file system
        or the disk keeps of older contents, are out of reach.

        Raises:
            StillRead: somebody reads what was there before, for too long.
        """

    # --- the engine itself

    @abstractmethod
    async def check(self) -> None:
        """Check that the database is sound and every log without gaps; others go on meanwhile.

        This finds broken structure. Changed contents are found by hash, by those who read.

        Raises:
            StorageDamaged: It is not.
            StorageFailed: It could not be looked at.
        """

    @abstractmethod
    def room(self) -> int | None:
        """Return how many bytes there are for more; None where the engine cannot know."""

    @abstractmethod
    async def stats(self) -> StorageStats:
        """Return what the engine holds."""

    @abstractmethod
    async def close(self) -> None:
        """Finish the writes under way and let go of everything; safe to call twice."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def check_run(size: int, leaves: Sequence[StoredLeaf]) -> None:
    """Check that leaves run on from `size`, which every engine owes before it appends.

    Raises:
        ApiMisuse: There is no leaf, or an index is not the next one.
    """
    if not leaves:
        raise ApiMisuse("an append needs a leaf")
    if any(leaf.index != size + step for step, leaf in enumerate(leaves)):
        raise ApiMisuse("the leaves' indexes do not run on from the log's size")
