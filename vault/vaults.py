"""Vaults in memory: each one's ledger, replayed from what is stored and kept up with it.

Nothing in the store is believed. A vault is loaded by replaying its log as a client would:
each act's signature and effect, each observation's signature, each part of each act's sides by
its hash. So no checkpoint is ever signed over a byte that changed on the disk (S13).
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final
from weakref import WeakValueDictionary

from protocol.acts import Act
from protocol.blocks import Address, BlockRef, Manifest
from protocol.errors import ApiMisuse, ContextMismatch, IntegrityError, SealroomError
from protocol.identity import access_key_id
from protocol.ledger import Landed, Ledger, State, check_sides
from protocol.ledger.contents import Batch
from protocol.ledger.sides import WrapsPart, parse_part, required_entries, required_parts
from protocol.limits import LIMITS
from protocol.merkle import leaf_hash, root_of
from protocol.rewrap import Wrap
from vault.callers import Caller, caller_of
from vault.checkpoints import CheckpointSigner, SignedObservation
from vault.storage.base import SidePart, Storage, StorageDamaged, StoredLeaf, UnknownVault
from vault.tls import CheckpointKey

Wraps = Mapping[tuple[Address, bytes], Wrap]

NO_KEYS: Final[Mapping[bytes, bytes]] = {}


@dataclass(frozen=True, slots=True)
class Retired:
    """What nobody needs any more once epochs are retired.

    The wraps on record of those epochs, and (leaf index, part number) of each part beside the
    log that is of nothing but retired epochs.
    """

    wraps: tuple[tuple[Address, bytes], ...] = ()
    parts: tuple[tuple[int, int], ...] = ()


NOTHING_RETIRED: Final = Retired()


@dataclass(frozen=True, slots=True)
class Admitted:
    """A leaf that was checked with its sides: what it puts on record, and what it retires.

    `parts` says of each part beside it, by its number, which epochs it is of.
    """

    landed: Landed
    sides: tuple[bytes, ...] = ()
    wraps: Wraps = field(default_factory=dict)
    parts: Mapping[int, tuple[Address, ...]] = field(default_factory=dict)
    retired: Retired = NOTHING_RETIRED

    @property
    def stored(self) -> StoredLeaf:
        """The leaf as it is stored: each part beside its leaf hash, which the act signs."""
        parts = tuple(SidePart(leaf_hash(part), part) for part in self.sides)
        return StoredLeaf(self.landed.index, self.landed.leaf, parts)


@dataclass(frozen=True, slots=True)
class Committed:
    """Where a visible batch belongs, and what it is now."""

    collection: bytes
    batch: Batch

    @property
    def manifest(self) -> Manifest:
        """The batch's current manifest."""
        return self.batch.manifest


@dataclass(slots=True)
class Waiting:
    """A fetch that waits for its observation to be appended."""

    admit: Callable[[], SignedObservation]
    answer: asyncio.Future[None]

    def tell(self, error: Exception | None) -> None:
        """Say what became of it; the first word stands."""
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(None)
        else:
            self.answer.set_exception(error)
            self.answer.exception()  # heard, as far as asyncio cares: who waits may have gone


class OpenVault:
    """One vault's ledger with what the server looks up in it. Appends go one at a time: `lock`.

    `check` may run in another thread while the lock is held; everything else is the loop's.
    """

    def __init__(self, signer: CheckpointSigner) -> None:
        self.signer = signer
        self.lock = asyncio.Lock()
        self.waiting: list[Waiting] = []
        self.keys: dict[bytes, bytes] = {}
        """Every key id that ever meant something here, and its key; what now, `caller` says."""
        self.forgotten = False
        """Whether this fell behind its store: then it learns nothing of what happens any more."""
        self._ledger = Ledger()
        self._wraps: dict[tuple[Address, bytes], Wrap] = {}
        self._placed: dict[bytes, array[int]] = {}
        self._observed: array[int] = array("Q")
        self._batches: dict[bytes, Committed] = {}
        self._access: dict[bytes, bytes] = {}
        self._parts: dict[int, dict[int, tuple[Address, ...]]] = {}
        self._missing: set[Address] = set()

    @property
    def state(self) -> State:
        """The state after the last leaf."""
        return self._ledger.state

    @property
    def id(self) -> bytes:
        """The vault's id."""
        return self.state.vault_id

    @property
    def size(self) -> int:
        """How many leaves the log has."""
        return self._ledger.size

    def caller(self, keyid: bytes) -> Caller | None:
        """Return what a key id stands for now; None if for nobody."""
        return caller_of(self.state, keyid, self._access.get(keyid))

    def note(self, size: int, now: int) -> bytes:
        """Return a signed checkpoint of the first `size` leaves."""
        return self.signer.note(self._ledger.tree, size, now)

    def consistency_proof(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Prove one size from another (see `Tree.consistency_proof`)."""
        return self._ledger.tree.consistency_proof(old_size, new_size)

    def place(self, author: bytes, number: int) -> int | None:
        """Return the index of an author's act by its number; None if it has not landed."""
        placed = self._placed.get(author, ())
        return placed[number] if number < len(placed) else None

    def holds_leaf(self, index: int, leaf: bytes) -> bool:
        """Say whether the leaf at an index is exactly this one."""
        return self._ledger.tree.leaf(index) == leaf_hash(leaf)

    def committed(self, batch_id: bytes) -> Committed | None:
        """Return a visible batch."""
        return self._batches.get(batch_id)

    def blocks(self) -> dict[bytes, tuple[BlockRef, ...]]:
        """Return the blocks of every visible batch as they are now."""
        return {batch_id: each.manifest.blocks for batch_id, each in self._batches.items()}

    def inclusion_proof(self, index: int, size: int) -> tuple[bytes, ...]:
        """Prove that a leaf is in the tree of a size (see `Tree.inclusion_proof`)."""
        return self._ledger.tree.inclusion_proof(index, size)

    def observations_from(self, start: int) -> Iterator[int]:
        """Return the indexes of observations, from `start` on."""
        return islice(self._observed, bisect_left(self._observed, start), None)

    def check(self, leaf: bytes, sides: tuple[bytes, ...]) -> Admitted:
        """Return what a leaf would do if it came next, with everything about it verified.

        Raises:
            SealroomError: it is refused (see `Ledger.check` and `check_sides`).
        """
        landed = self._ledger.check(leaf)
        if landed.act is None or landed.before is None:
            return Admitted(landed)
        checked = check_sides(landed.before, landed.after, landed.act, sides, self._wraps)
        parts = dict(enumerate(_parts_of(landed)))
        return Admitted(landed, sides, checked.wraps, parts, self._retired(landed))

    def _retired(self, landed: Landed) -> Retired:
        if landed.before is None or not landed.after.retired_since(landed.before):
            return NOTHING_RETIRED
        is_retired = landed.after.is_retired
        return Retired(
            tuple(key for key in self._wraps if is_retired(key[0])),
            tuple(
                (index, number)
                for index, parts in self._parts.items()
                for number, addresses in parts.items()
                if all(map(is_retired, addresses))
            ),
        )

    def take(self, admitted: Admitted) -> None:
        """Append what was checked, once it is stored."""
        landed = admitted.landed
        self._ledger.append(landed)
        self._wraps.update(admitted.wraps)
        if landed.act is None:
            self._observed.append(landed.index)
        else:
            self._placed.setdefault(landed.act.author, array("Q")).append(landed.index)
        if admitted.parts:
            self._parts[landed.index] = dict(admitted.parts)
        self._index(landed)
        self._forget(admitted.retired)

    def replay(self, stored: StoredLeaf) -> None:
        """Take the next leaf from storage, having verified everything about it but proofs.

        The proofs in its sides were verified before they were stored, and these are the same
        bytes: their root is what the act's author signed.

        Raises:
            SealroomError: what is stored is not what was appended.
        """
        landed = self._ledger.check(stored.leaf)
        if landed.act is None:
            observation = SignedObservation.from_stored(stored.observation or b"")
            observation.verify(stored.leaf, landed.after.vault_id, landed.after.server_key)
            self.take(Admitted(landed))
        else:
            wraps = _stored_wraps(landed.act, stored.sides)
            parts = dict(enumerate(_parts_of(landed)))
            for number, part in enumerate(stored.sides):
                if part.content is None:
                    self._missing.update(parts.pop(number))
            self.take(Admitted(landed, (), wraps, parts, self._retired(landed)))

    def expect_whole(self) -> None:
        """Check, once all is replayed, that parts are missing of what is retired only.

        Raises:
            IntegrityError: one is not there that has to be.
        """
        if not all(map(self.state.is_retired, self._missing)):
            raise IntegrityError("a part beside the log is gone, and its epochs are not retired")
        self._missing.clear()

    def _index(self, landed: Landed) -> None:
        """Note what the leaf added: keys, and batches that became visible."""
        before, after = landed.before, landed.after
        if before is None or before.members is not after.members:
            known = () if before is None else before.members
            for member in (after.members[each] for each in after.members.keys() - known):
                self.keys[member.id] = member.identity.signing_key
        if before is not None and before.rebuilders is not after.rebuilders:
            for rebuilder in (
                after.rebuilders[e] for e in after.rebuilders.keys() - before.rebuilders
            ):
                self.keys[rebuilder.member_id] = rebuilder.signing_key
        if before is not None and before.invites is not after.invites:
            for invite in (after.invites[each] for each in after.invites.keys() - before.invites):
                self.keys[invite.id] = invite.identity.signing_key
                keyid = access_key_id(invite.access_key)
                self.keys[keyid] = invite.access_key
                self._access[keyid] = invite.id
        if before is not None and before.collections is not after.collections:
            self._index_batches(before, after)

    def _index_batches(self, before: State, after: State) -> None:
        for where in after.collections.values():
            if before.collections.get(where.id) is not where:
                for batch in where.batches:
                    self._batches[batch.id] = Committed(where.id, batch)
        for gone in before.collections.keys() - after.collections.keys():
            for batch in before.collections[gone].batches:
                del self._batches[batch.id]
        if after.ended:
            self._batches.clear()

    def _forget(self, retired: Retired) -> None:
        for key in retired.wraps:
            del self._wraps[key]
        for index, number in retired.parts:
            del self._parts[index][number]
            if not self._parts[index]:
                del self._parts[index]


def _parts_of(landed: Landed) -> tuple[tuple[Address, ...], ...]:
    """Return of each part beside a leaf which epochs it is of.

    It follows from what the act must carry, and so needs none of what the parts hold.
    """
    if landed.act is None or landed.before is None or landed.act.sides_root is None:
        return ()
    required = required_parts(required_entries(landed.before, landed.after, landed.act))
    return tuple(part.addresses for part in required)


def _stored_wraps(act: Act, sides: Sequence[SidePart]) -> Wraps:
    root = root_of([part.digest for part in sides]) if sides else None
    if root != act.sides_root:
        raise ContextMismatch("the stored sides are not those that the act's author signed")
    wraps: dict[tuple[Address, bytes], Wrap] = {}
    for part in sides:
        if part.content is None:
            continue
        if leaf_hash(part.content) != part.digest:
            raise IntegrityError("a stored part that is not what its act's author signed")
        parsed = parse_part(part.content)
        if isinstance(parsed, WrapsPart):
            wraps |= {(parsed.address, entry.recipient): entry.wrap for entry in parsed.entries}
    return wraps


class VaultShelf:
    """The vaults that are loaded: the last few used, and whichever a request still holds.

    Each vault's keys are kept for good once they are known: a stranger costs one signature,
    and no look into the store, whether there is such a vault or not (H11).
    """

    def __init__(self, storage: Storage, key: CheckpointKey, most: int) -> None:
        self._storage = storage
        self._key = key
        self._most = most
        self._keys: dict[bytes, Mapping[bytes, bytes] | None] = {}
        self._alive: WeakValueDictionary[bytes, OpenVault] = WeakValueDictionary()
        self._recent: OrderedDict[bytes, OpenVault] = OrderedDict()
        self._loading: dict[bytes, asyncio.Task[OpenVault]] = {}

    async def open(self, vault_id: bytes) -> OpenVault:
        """Return a vault, loading it if it is not.

        Raises:
            UnknownVault: there is none of this id.
            StorageDamaged: what is stored of it does not verify.
        """
        found = self._alive.get(vault_id)
        if found is None:
            found = await self._loaded(vault_id)
        self._recent[vault_id] = found
        self._recent.move_to_end(vault_id)
        while len(self._recent) > self._most:
            self._recent.popitem(last=False)
        return found

    async def learn_ids(self) -> None:
        """Learn which vaults there are."""
        for vault_id in await self._storage.vault_ids():
            self.add(vault_id)

    async def keys(self, vault_id: bytes) -> Mapping[bytes, bytes]:
        """Return every key id that means something to a vault; none if there is no such vault."""
        if vault_id not in self._keys:
            return NO_KEYS
        known = self._keys[vault_id]
        return (await self.open(vault_id)).keys if known is None else known

    def ids(self) -> list[bytes]:
        """Return the ids of all vaults."""
        return list(self._keys)

    def add(self, vault_id: bytes) -> None:
        """Learn of a vault that was created just now."""
        self._keys.setdefault(vault_id, None)

    def forget(self, vault: OpenVault) -> None:
        """Drop a vault whose ledger fell behind its store; the next request replays it."""
        vault.forgotten = True
        if self._alive.get(vault.id) is vault:
            del self._alive[vault.id]
            self._recent.pop(vault.id, None)

    async def _loaded(self, vault_id: bytes) -> OpenVault:
        if vault_id not in self._keys:
            raise UnknownVault("no vault has this id")
        loading = self._loading.get(vault_id)
        if loading is None:
            loading = asyncio.create_task(self._load(vault_id))
            self._loading[vault_id] = loading
            loading.add_done_callback(partial(self._end_loading, vault_id))
        # A request that goes away must not take the others' vault with it.
        return await asyncio.shield(loading)

    def _end_loading(self, vault_id: bytes, loading: asyncio.Task[OpenVault]) -> None:
        del self._loading[vault_id]
        # If all who asked went away, whoever asks next meets the same, and is told it.
        if not loading.cancelled():
            loading.exception()

    async def _load(self, vault_id: bytes) -> OpenVault:
        vault = await self.verify(vault_id)
        self._alive[vault_id] = vault
        self._keys[vault_id] = vault.keys
        return vault

    async def verify(self, vault_id: bytes) -> OpenVault:
        """Replay a vault as it is stored, while nothing lands in it; it stays as it is loaded.

        Raises:
            StorageDamaged: what is stored of it does not verify.
        """
        vault = OpenVault(CheckpointSigner(self._key, vault_id))
        size, at = await self._storage.size(vault_id), 0
        # One page more than there should be: it must be empty.
        while page := await self._storage.read_leaves(
            vault_id, at, LIMITS.log_page_leaves, LIMITS.log_page_bytes
        ):
            try:
                await asyncio.to_thread(_replay, vault, vault_id, page, at)
            except (SealroomError, ApiMisuse) as error:
                raise _damaged() from error
            at += len(page)
        if at != size:
            raise _damaged()
        if vault.state.server_key != vault.signer.server_key:
            raise StorageDamaged("a vault is of another server's key")
        try:
            vault.expect_whole()
        except IntegrityError as error:
            raise _damaged() from error
        return vault


def _replay(vault: OpenVault, vault_id: bytes, page: Sequence[StoredLeaf], at: int) -> None:
    for index, leaf in enumerate(page, at):
        if leaf.index != index:
            raise IntegrityError("the stored log has a gap")
        vault.replay(leaf)
    if vault.id != vault_id:
        raise IntegrityError("the stored log is another vault's")


def _damaged() -> StorageDamaged:
    return StorageDamaged("what is stored of a vault does not verify")
