"""What the server does for a request, once it is known whose it is (SPEC section 10).

Every operation names the vault and the caller's key id, and decides by the ledger as it stands
at that moment, never by what was true when the connection opened. What changes something goes
verify, persist, reply: a failed check or a failing store leaves the ledger in memory as it was,
and a request whose answer was lost is safe to send again.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from protocol.acts import Erase, Replace, parse_envelope
from protocol.api import (
    API_VERSION,
    ConsistencyProof,
    CreateVault,
    FetchBlocks,
    LimitValue,
    LogPage,
    Observation,
    ObservationsPage,
    Receipt,
    ServerInfo,
    Staged,
    SubmitAct,
    Submitted,
)
from protocol.encoding import encode
from protocol.errors import (
    ContextMismatch,
    MalformedMessage,
    NotAuthorised,
)
from protocol.ledger import Ledger, act_leaf
from protocol.limits import LIMITS, MIB, limits_table
from vault.allowance import Standing
from vault.callers import COMMITTERS, OBSERVERS, Caller, brought, not_found
from vault.checkpoints import SignedObservation
from vault.config import Config
from vault.fetches import expect_bounded
from vault.landing import Landing
from vault.logs import Event, IdPrefix, log_event
from vault.pages import bounded_page
from vault.serving import BlockServer, Pieces
from vault.soundness import Soundness
from vault.staging import Staging, uploader
from vault.storage.base import (
    AlreadyExists,
    SizeMoved,
    Storage,
    StorageDamaged,
    StorageFailed,
    StoredLeaf,
    UnknownVault,
)
from vault.tls import CheckpointKey, CreateToken
from vault.unbroken import Unbroken
from vault.vaults import Admitted, OpenVault, VaultShelf

HEALTH_SECONDS: Final = 1
SWEEP_BYTES: Final = 16 * MIB
"""How many bytes of blocks are deleted in one transaction, for which every other write waits."""
CREATE_VAULT_LEAD: Final = b"\x92"
"""How a `CreateVault` begins: an array of two. The token comes next."""

T = TypeVar("T")


class VaultService:
    """The operations of one server over one store; `clock` gives unix seconds."""

    def __init__(
        self,
        storage: Storage,
        key: CheckpointKey,
        token: CreateToken,
        config: Config,
        clock: Callable[[], float],
    ) -> None:
        self._storage = storage
        self._key = key
        self._token = token
        self._config = config
        self._clock = clock
        self._shelf = VaultShelf(storage, key, config.loaded_vaults)
        self._unbroken = Unbroken()
        self._to_sweep = asyncio.Event()
        self._landing = Landing(storage, self.now, self._to_sweep.set)
        self._staging = Staging(
            storage, self.now, config.staged_bytes_per_member, config.reserve_bytes
        )
        self._serving = BlockServer(storage, key, self.now, self._unbroken)
        self._soundness = Soundness(storage, self._shelf)
        self._healthy_at = 0.0

    # --- the server itself

    async def start(self) -> None:
        """Learn which vaults there are; nothing is served before."""
        await self._shelf.learn_ids()
        # What was to be deleted when the server last stopped is so still.
        self._to_sweep.set()

    async def warm(self) -> None:
        """Load each vault once, so that even the first stranger to ask causes no replay (H11)."""
        for vault_id in self._shelf.ids():
            try:
                await self._shelf.keys(vault_id)
            except StorageFailed as error:  # whoever asks for the vault is told too
                log_event(Event.STORAGE_FAILED, vault=IdPrefix.of(vault_id), error=type(error))

    async def close(self) -> None:
        """Wait for what was begun and must not be left half done."""
        await self._unbroken.finished()

    def now(self) -> int:
        """Return the server's time in unix seconds."""
        return int(self._clock())

    def info(self) -> ServerInfo:
        """Say whom this server signs as, and what it takes."""
        limits = tuple(LimitValue(name, value) for name, value in limits_table().items())
        public_key = bytes(self._key.verify_key)
        return ServerInfo((API_VERSION,), public_key, self.now(), not self._config.open, limits)

    async def check_health(self) -> None:
        """Ask the store for something small, at most once a second: anybody may ask for this.

        Raises:
            StorageFailed: it does not answer.
            StorageDamaged: something in it was found to be damaged.
            StorageFull: its disk has no room for uploads.
        """
        if self._clock() - self._healthy_at >= HEALTH_SECONDS:
            await self._storage.stats()
            self._staging.expect_room()
            self._healthy_at = self._clock()
        if self._soundness.damage:
            raise StorageDamaged("something that is stored is damaged")

    async def keys(self, vault_id: bytes) -> Mapping[bytes, bytes]:
        """Return the key of each key id that may mean something in a vault."""
        return await self._shelf.keys(vault_id)

    # --- acts

    def expect_token(self, body: bytes) -> None:
        """Check that a body to create a vault shows the token, before anything of it is parsed.

        There is one encoding: a `CreateVault` with the token begins with exactly these bytes.
        So whoever does not have the token makes the server compare bytes, and nothing more.

        Raises:
            NotAuthorised: it does not, and the server is not open to all.
        """
        head = CREATE_VAULT_LEAD + encode(self._token.reveal())
        if not self._config.open and not hmac.compare_digest(body[: len(head)], head):
            raise _token_needed()

    async def create_vault(self, keyid: bytes, asked: CreateVault) -> Submitted:
        """Create a vault with its first act (SPEC section 10.2); the same again is answered again.

        The caller has checked that the request is signed by the key of the owner in the genesis.

        Raises:
            NotAuthorised: without the server's token.
            ContextMismatch: the genesis names another server's key.
            SealroomError: the genesis is refused (see `Ledger.check`).
        """
        if not self._config.open and not self._token.matches(asked.token):
            raise _token_needed()
        self._soundness.expect_undamaged()
        leaf = act_leaf(asked.genesis)
        landed = await asyncio.to_thread(Ledger().check, leaf)
        if landed.after.owner != keyid:
            raise NotAuthorised("a vault is created by the owner that its genesis names")
        if landed.after.server_key != bytes(self._key.verify_key):
            raise ContextMismatch(
                "the genesis names another server's key", hint="Ask this server for its key again."
            )
        vault_id = landed.after.vault_id
        # The id is the hash of the act, so a vault that exists has exactly this genesis.
        with suppress(AlreadyExists):
            await self._storage.create_vault(vault_id, Admitted(landed).stored)
            log_event(Event.VAULT_CREATED, vault=IdPrefix.of(vault_id))
        self._shelf.add(vault_id)
        vault = await self._open(vault_id)
        return self._submitted(vault, keyid, 0, 0)

    async def expect_author(self, vault_id: bytes, keyid: bytes, length: int) -> None:
        """Check that a key may have an act to send at all, before its body is read.

        A closed invite has one as long as whoever joined with it is there: its join, again.

        Raises:
            NotAuthorised: an access key; or a former member, if it is more than an attestation.
            NotFound: a closed invite.
            LimitExceeded: longer than an act of this key can be.
        """
        vault = await self._open(vault_id)
        newcomer = brought(vault.state, keyid)
        # A join that is sent again passes on no more than the newcomer holds by it.
        caller = _known(vault, keyid) if newcomer is None else Caller(newcomer)
        if newcomer is None:
            caller.expect_author(length)
        caller.expect_plausible(vault.state, length)
        self._soundness.expect_undamaged(vault_id)

    async def standing(self, vault_id: bytes, keyid: bytes) -> Standing:
        """Say whose allowance of the log a key spends.

        Raises:
            NotFound: nobody's.
        """
        vault = await self._open(vault_id)
        caller, state = _known(vault, keyid), vault.state
        since = state.lineage(keyid)[-1]
        first = state.members.get(since)
        invite = caller.invite
        if first is not None and first.invite is not None:
            invite = state.invites[first.invite]
        by = None if invite is None else state.lineage(invite.inviter)[-1]
        return Standing(since, caller.commits, by)

    async def submit(self, vault_id: bytes, keyid: bytes, sent: SubmitAct) -> Submitted:
        """Append an act that its author sent, with its sides (SPEC section 10.2).

        (1) It is an act, and the request was signed by its author; the rest is `Landing.land`'s.

        Raises:
            SealroomError: one of the obligations fails; nothing changed.
        """
        # (1)
        _, act = await asyncio.to_thread(parse_envelope, sent.envelope)
        if act.author != keyid:
            raise NotAuthorised("an act is sent by its author")
        self._soundness.expect_undamaged(vault_id)
        if isinstance(act.payload, Erase | Replace):  # which deletes where it lands
            await self._soundness.expect_looked(vault_id)

        async def landed(vault: OpenVault) -> Submitted:
            index = await self._unbroken.run(self._landing.land(vault, act, sent))
            return self._submitted(vault, keyid, index, act.cited_size)

        return await self._on(vault_id, landed)

    def _submitted(self, vault: OpenVault, keyid: bytes, index: int, cited: int) -> Submitted:
        caller = _known(vault, keyid)
        if caller.former and index >= caller.visible(vault.size):
            return self._receipted(vault, index, cited)
        # Whoever joined is no longer its invite, which is shown no more than its join.
        size = index + 1 if caller.member is None else caller.visible(vault.size)
        return Submitted(index, vault.note(size, self.now()), None)

    def _receipted(self, vault: OpenVault, index: int, cited: int) -> Submitted:
        """Prove to somebody who may not see the log so far that its act is in it."""
        size = index + 1
        receipt = Receipt(vault.inclusion_proof(index, size), vault.consistency_proof(cited, size))
        return Submitted(index, vault.note(size, self.now()), receipt)

    # --- the log

    async def log_page(self, vault_id: bytes, keyid: bytes, start: int) -> LogPage:
        """Return leaves from an index on, with their sides, and the newest checkpoint.

        A former member is shown the log up to its removal, as if it ended there. Past the end
        there are no leaves, and the checkpoint says where it is.
        """
        vault = await self._open(vault_id)
        size = _known(vault, keyid).visible(vault.size)
        stored: list[StoredLeaf] = []
        if start < size:
            count = min(LIMITS.log_page_leaves, size - start)
            stored = await self._storage.read_leaves(vault_id, start, count, LIMITS.log_page_bytes)
        visible = _known(vault, keyid).visible(vault.size)
        return LogPage(start, bounded_page(stored), vault.note(visible, self.now()))

    async def consistency(
        self, vault_id: bytes, keyid: bytes, old_size: int, new_size: int
    ) -> ConsistencyProof:
        """Prove that the log of one size begins the log of another.

        Raises:
            MalformedMessage: sizes in no such order, 0, or beyond what the caller may see.
        """
        vault = await self._open(vault_id)
        if new_size > _known(vault, keyid).visible(vault.size):
            raise MalformedMessage(f"the log has no size {new_size}")
        return ConsistencyProof(vault.consistency_proof(old_size, new_size))

    async def observations(self, vault_id: bytes, keyid: bytes, start: int) -> ObservationsPage:
        """Return the server's observations from an index on, for owner, admins and auditors."""
        vault = await self._open(vault_id)
        _known(vault, keyid).expect_role(OBSERVERS)
        found: list[Observation] = []
        size = 0
        for index in list(islice(vault.observations_from(start), LIMITS.log_page_leaves)):
            (leaf,) = await self._storage.read_leaves(vault_id, index, 1, 1)
            one = SignedObservation.from_stored(leaf.observation or b"")
            size += len(one.envelope)
            if found and size > LIMITS.log_page_bytes:
                break
            found.append(one.at(index))
        return ObservationsPage(tuple(found))

    # --- uploads

    async def expect_uploader(self, vault_id: bytes, keyid: bytes, upload: bytes) -> None:
        """Check that a member may upload, before its body is read.

        Raises:
            NotAuthorised: no confirmed owner or admin.
            Conflict: the upload was committed before.
            Frozen: nothing is taken from anybody.
            StorageDamaged: the vault is.
        """
        uploader(await self._open(vault_id), keyid, upload)
        self._soundness.expect_undamaged(vault_id)

    async def stage(
        self, vault_id: bytes, keyid: bytes, upload: bytes, batch: bytes, body: bytes
    ) -> Staged:
        """Store one batch of an upload, seen by nobody until a commit shows it.

        A batch that was committed before is one of which some blocks were made anew.

        Raises:
            NotAuthorised: the member could commit such a batch to no collection, or not put such
                blocks in the place of those that are there.
            Frozen: nothing is taken from anybody.
            Conflict: the upload was committed before, or the batch id names something else.
            OutOfOrder: it is sealed under epochs that take no more.
            Moved: records of the batch were erased, and their cells are there.
            LimitExceeded: the member has more staged than the server keeps for one.
            SealroomError: the body is not what its manifest says (see `split_batch_body`).
        """
        return await self._stage(vault_id, keyid, upload, [body], named=batch)

    async def stage_several(
        self, vault_id: bytes, keyid: bytes, upload: bytes, bodies: Sequence[bytes]
    ) -> Staged:
        """Store several batches of an upload, or none of them; as `stage` otherwise."""
        return await self._stage(vault_id, keyid, upload, bodies)

    async def _stage(
        self,
        vault_id: bytes,
        keyid: bytes,
        upload: bytes,
        bodies: Sequence[bytes],
        *,
        named: bytes | None = None,
    ) -> Staged:
        self._soundness.expect_undamaged(vault_id)
        opened = partial(self._open, vault_id)
        staging = self._staging.stage(opened, keyid, upload, bodies, named=named)
        # What is to be taken back is, whether or not somebody waits for the answer.
        return Staged(await self._unbroken.run(staging))

    async def staged(self, vault_id: bytes, keyid: bytes, upload: bytes) -> Staged:
        """Return which batches of a member's own upload are stored and not committed."""
        vault = await self._open(vault_id)
        _known(vault, keyid).expect_role(COMMITTERS)
        found = await self._storage.staged(vault_id, upload, keyid)
        return Staged(tuple(batch.batch_id for batch in found))

    async def expire_staged(self) -> None:
        """Delete what was uploaded long ago and never committed.

        Raises:
            StorageDamaged: the store is not sound, so that nothing is deleted.
            StorageFailed: it could not.
        """
        await self._soundness.expect_sound()
        count = await self._storage.expire_staged(self.now() - LIMITS.staged_seconds)
        if count:
            log_event(Event.UPLOADS_EXPIRED, count=count)
        # Besides, what commits left out, and what became of an append that was not answered.
        self._to_sweep.set()

    async def sweep(self) -> None:
        """Wait until something is to be deleted from the store, and delete it, bit by bit.

        What was deleted is then nowhere in the store's files. Others' writes come in between.

        Raises:
            StillRead, StorageFailed, StorageFull: the store could not; what is left is deleted the
                next time.
            StorageDamaged: the store is not sound, so that nothing is deleted.
        """
        await self._to_sweep.wait()
        self._to_sweep.clear()
        try:
            await self._soundness.expect_sound()
            while await self._storage.sweep(SWEEP_BYTES):
                pass
            await self._storage.scour()
        except BaseException:
            self._to_sweep.set()
            raise
        log_event(Event.SWEPT)

    async def look_through(self) -> None:
        """Look whether the store is whole, unless that was done since the server started.

        Raises:
            StorageDamaged: it is not; nothing is deleted from it.
            StorageFailed: it cannot be looked at now.
        """
        await self._soundness.expect_sound()

    async def read_through(self) -> None:
        """Read all that there is, and say in the log that it is what it was.

        Raises:
            StorageDamaged: it is not; nothing is deleted from then on.
            StorageFailed: it cannot be looked at now.
        """
        found = (await self._soundness.read_through()).values()
        self._soundness.expect_nothing_damaged()
        log_event(
            Event.READ_THROUGH,
            count=sum(each.blocks for each in found),
            bytes=sum(each.size for each in found),
        )

    # --- blocks

    async def expect_reader(self, vault_id: bytes, keyid: bytes) -> None:
        """Check that a key is a live member's, before its body is read; which blocks, later.

        Raises:
            NotFound: it is not.
        """
        member = _known(await self._open(vault_id), keyid).member
        if member is None or not member.live:
            raise not_found()

    async def fetch(
        self, vault_id: bytes, keyid: bytes, request: bytes, wanted: FetchBlocks
    ) -> tuple[int, Pieces]:
        """Serve blocks; see `BlockServer.fetch`."""
        expect_bounded(wanted)

        async def served(vault: OpenVault) -> tuple[int, Pieces]:
            return await self._serving.fetch(vault, keyid, request, wanted)

        return await self._on(vault_id, served)

    # --- how all of them reach a vault

    async def _open(self, vault_id: bytes) -> OpenVault:
        try:
            return await self._shelf.open(vault_id)
        except UnknownVault:
            raise not_found() from None

    async def _on(self, vault_id: bytes, act: Callable[[OpenVault], Awaitable[T]]) -> T:
        """Run what appends; should the store be ahead of memory, replay it and try once more."""
        vault = await self._open(vault_id)
        try:
            return await act(vault)
        except SizeMoved:
            self._shelf.forget(vault)
        return await act(await self._open(vault_id))


def _known(vault: OpenVault, keyid: bytes) -> Caller:
    caller = vault.caller(keyid)
    if caller is None:
        raise not_found()
    return caller


def _token_needed() -> NotAuthorised:
    return NotAuthorised(
        "vaults are created with the token that this server printed at its first start",
        hint="Ask whoever runs the server for it.",
    )
