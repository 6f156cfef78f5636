"""What the server does for a request, once it is known whose it is (SPEC section 10).

Every operation names the vault and the caller's key id, and decides by the ledger as it stands
at that moment, never by what was true when the connection opened. What changes something goes
verify, persist, reply: a failed check or a failing store leaves the ledger in memory as it was,
and a request whose answer was lost is safe to send again.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from protocol import acts
from protocol.acts import Act, parse_envelope
from protocol.api import (
    API_VERSION,
    LENGTH_BYTES,
    ConsistencyProof,
    CreateVault,
    FetchBlocks,
    LimitValue,
    LogLeaf,
    LogPage,
    Observation,
    ObservationsPage,
    ServerInfo,
    Staged,
    SubmitAct,
    Submitted,
)
from protocol.blocks import split_batch_body
from protocol.encoding import encode
from protocol.errors import (
    Conflict,
    ContextMismatch,
    LimitExceeded,
    MalformedMessage,
    NotAuthorised,
    OutOfOrder,
    StaleAct,
)
from protocol.ledger import Ledger, act_leaf
from protocol.ledger.holders import may_read
from protocol.ledger.state import Member
from protocol.limits import LIMITS, limits_table
from vault.callers import COMMITTERS, OBSERVERS, Caller, not_found
from vault.checkpoints import SignedObservation
from vault.config import Config
from vault.effects import could_commit, effects_of, expect_staged
from vault.fetches import FetchPlan, expect_bounded, plan_fetch
from vault.logs import Event, IdPrefix, log_event
from vault.storage.base import (
    AlreadyExists,
    SizeMoved,
    Storage,
    StorageFailed,
    StoredLeaf,
    UnknownVault,
)
from vault.tls import CheckpointKey, CreateToken
from vault.vaults import Admitted, OpenVault, VaultShelf, Waiting

PAGE_PARTS: Final = LIMITS.message_elements // 2
"""How many parts of sides a page of the log holds, so that its elements stay within the limit."""
HEALTH_SECONDS: Final = 1
CREATE_VAULT_LEAD: Final = b"\x92"
"""How a `CreateVault` begins: an array of two. The token comes next."""

Pieces = AsyncGenerator[bytes, None]
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
        self._running: set[asyncio.Task[Any]] = set()
        self._healthy_at = 0.0

    # --- the server itself

    async def start(self) -> None:
        """Learn which vaults there are; nothing is served before."""
        await self._shelf.learn_ids()

    async def warm(self) -> None:
        """Load each vault once, so that even the first stranger to ask causes no replay (H11)."""
        for vault_id in self._shelf.ids():
            try:
                await self._shelf.keys(vault_id)
            except StorageFailed as error:  # whoever asks for the vault is told too
                log_event(Event.STORAGE_FAILED, vault=IdPrefix.of(vault_id), error=type(error))

    async def close(self) -> None:
        """Wait for what was begun and must not be left half done."""
        await asyncio.gather(*self._running, return_exceptions=True)

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
        """
        if self._clock() - self._healthy_at >= HEALTH_SECONDS:
            await self._storage.stats()
            self._healthy_at = self._clock()

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
            await self._storage.create_vault(vault_id, Admitted(landed, (), {}).stored)
            log_event(Event.VAULT_CREATED, vault=IdPrefix.of(vault_id))
        self._shelf.add(vault_id)
        vault = await self._open(vault_id)
        return self._submitted(vault, keyid, 0)

    async def expect_author(self, vault_id: bytes, keyid: bytes) -> None:
        """Check that a key may have an act to send at all, before its body is read.

        A closed invite has one as long as whoever joined with it is there: its join, again.

        Raises:
            NotAuthorised: a former member, or an access key; they read the log.
            NotFound: a closed invite.
        """
        vault = await self._open(vault_id)
        if not _brought(vault, keyid):
            _known(vault, keyid).expect_author()

    async def submit(self, vault_id: bytes, keyid: bytes, sent: SubmitAct) -> Submitted:
        """Append an act that its author sent, with its sides (SPEC section 10.2).

        Obligations, in this order:
        (1) it is an act, and the request was signed by its author;
        (2) its number was not used before; the very same act again is answered as before;
        (3) the checkpoint it cites is recent, so that what has expired is expired;
        (4) the ledger takes it, and its sides are exactly what it must carry, proofs and all;
        (5) what a commit lists is staged, by its author under that upload;
        (6) it is stored, with all its effects, before the ledger in memory has it.

        Raises:
            SealroomError: one of these fails; nothing changed.
        """
        # (1)
        _, act = await asyncio.to_thread(parse_envelope, sent.envelope)
        if act.author != keyid:
            raise NotAuthorised("an act is sent by its author")

        async def landed(vault: OpenVault) -> Submitted:
            index = await self._finished(self._land(vault, act, sent))
            return self._submitted(vault, keyid, index)

        return await self._on(vault_id, landed)

    async def _land(self, vault: OpenVault, act: Act, sent: SubmitAct) -> int:
        leaf = act_leaf(sent.envelope)
        async with vault.lock:
            # (2)
            earlier = vault.place(act.author, act.number)
            if earlier is not None:
                return _same(vault, earlier, leaf)
            _known(vault, act.author).visible(vault.size)
            due = vault.state.numbers.get(act.author, 0)
            if act.number != due:
                raise OutOfOrder(f"the author's next act is number {due}", hint="Sync first.")
            # (3)
            _expect_recent(act, self.now())
            # (4)
            admitted = await asyncio.to_thread(vault.check, leaf, sent.sides)
            # (5)
            if isinstance(act.payload, acts.Commit):
                upload = act.payload.upload
                expect_staged(act.payload, await self._storage.staged(vault.id, upload, act.author))
            # (6)
            effects = effects_of(vault.state, admitted.landed.after, act.payload)
            await self._storage.append(vault.id, vault.size, [admitted.stored], effects)
            vault.take(admitted)
        index = admitted.landed.index
        log_event(Event.ACT_APPENDED, vault=IdPrefix.of(vault.id), index=index)
        return index

    def _submitted(self, vault: OpenVault, keyid: bytes, index: int) -> Submitted:
        caller = _known(vault, keyid)
        # Whoever joined is no longer its invite, which is shown no more than its join.
        size = index + 1 if caller.member is None else caller.visible(vault.size)
        return Submitted(index, vault.note(size, self.now()))

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
        return LogPage(start, _bounded_page(stored), vault.note(visible, self.now()))

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
        for index in list(vault.observations_from(start))[: LIMITS.log_page_leaves]:
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
        """
        _uploader(await self._open(vault_id), keyid, upload)

    async def stage(
        self, vault_id: bytes, keyid: bytes, upload: bytes, batch: bytes, body: bytes
    ) -> Staged:
        """Store one batch of an upload, seen by nobody until a commit shows it.

        Raises:
            NotAuthorised: the member could not commit such a batch to any collection.
            Conflict: the upload was committed before, or the batch id names something else.
            LimitExceeded: the member has more staged than the server keeps for one.
            SealroomError: the body is not what its manifest says (see `split_batch_body`).
        """
        vault = await self._open(vault_id)
        member = _uploader(vault, keyid, upload)
        manifest, encoded, blocks = await asyncio.to_thread(split_batch_body, body)
        if manifest.batch_id != batch:
            raise MalformedMessage("the batch is not the one that the path names")
        if not could_commit(vault.state, member, manifest):
            raise NotAuthorised("who writes a field holds it, in a collection that has it")
        kept = await self._storage.staged_bytes(vault_id, keyid)
        if kept + len(body) > self._config.staged_bytes_per_member:
            raise LimitExceeded(
                "more is uploaded and not committed than this server keeps for one member",
                hint="Commit what was uploaded, then go on.",
            )
        numbered = [
            (ref.field, ref.epoch, block)
            for ref, block in zip(manifest.blocks, blocks, strict=True)
        ]
        await self._storage.stage_batch(
            vault_id, upload, batch, keyid, encoded, numbered, self.now()
        )
        # Whoever was removed meanwhile is told so; what it left is invisible, and expires.
        _uploader(vault, keyid, upload)
        return Staged((batch,))

    async def staged(self, vault_id: bytes, keyid: bytes, upload: bytes) -> Staged:
        """Return which batches of a member's own upload are stored and not committed."""
        vault = await self._open(vault_id)
        _known(vault, keyid).expect_role(COMMITTERS)
        found = await self._storage.staged(vault_id, upload, keyid)
        return Staged(tuple(batch.batch_id for batch in found))

    async def expire_staged(self) -> None:
        """Delete what was uploaded long ago and never committed."""
        count = await self._storage.expire_staged(self.now() - LIMITS.staged_seconds)
        if count:
            log_event(Event.UPLOADS_EXPIRED, count=count)

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
        """Admit a fetch, append its observation, and return the answer's length and pieces.

        Whether the member may read is judged where the observation lands, and again before
        each block: a removal cuts off what is still under way (S10). `request` is the hash of
        the signed request.

        Raises:
            NotFound, LimitExceeded: as `plan_fetch`.
        """
        expect_bounded(wanted)

        async def observed(vault: OpenVault) -> tuple[int, Pieces]:
            plans: list[FetchPlan] = []

            def admit() -> SignedObservation:
                plan = plan_fetch(vault, keyid, wanted)
                plans.append(plan)
                body = plan.observed(vault_id, keyid, request, self.now())
                return SignedObservation.of(body, self._key)

            waiting = Waiting(admit, asyncio.get_running_loop().create_future())
            vault.waiting.append(waiting)
            await self._finished(self._append_observations(vault))
            await waiting.answer
            (plan,) = plans
            return plan.length, self._pieces(vault, keyid, plan)

        return await self._on(vault_id, observed)

    async def _append_observations(self, vault: OpenVault) -> None:
        """Append the observations of all fetches that wait, at once: they share one write."""
        async with vault.lock:
            group, vault.waiting = vault.waiting, []
            admitted: list[tuple[Waiting, SignedObservation]] = []
            for waiting in group:
                try:
                    admitted.append((waiting, waiting.admit()))
                except Exception as error:
                    waiting.tell(error)
            try:
                await self._append_all(vault, [observation for _, observation in admitted])
            except Exception as error:
                for waiting, _ in admitted:
                    waiting.tell(error)
            for waiting, _ in admitted:
                waiting.tell(None)

    async def _append_all(self, vault: OpenVault, observations: list[SignedObservation]) -> None:
        if not observations:
            return
        stored = [
            StoredLeaf(index, one.leaf, (), one.stored)
            for index, one in enumerate(observations, vault.size)
        ]
        await self._storage.append(vault.id, vault.size, stored)
        for leaf in stored:
            vault.take(vault.check(leaf.leaf, ()))

    async def _pieces(self, vault: OpenVault, keyid: bytes, plan: FetchPlan) -> Pieces:
        collection = plan.wanted.collection
        for batch, ref in plan.blocks:
            if not may_read(vault.state, keyid, collection, ref.field):
                raise not_found()
            block = await self._storage.read_block(vault.id, batch, ref.field)
            if block is None or len(block) != ref.length:
                raise StorageFailed("a block is not as its manifest lists it")
            yield len(block).to_bytes(LENGTH_BYTES, "big")
            yield block

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

    async def _finished(self, change: Coroutine[Any, Any, T]) -> T:
        """Run a change to its end, even if whoever asked for it goes away."""
        task = asyncio.create_task(change)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)


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


def _brought(vault: OpenVault, keyid: bytes) -> bool:
    """Say whether a key is that of an invite with which a live member joined."""
    return any(each.invite == keyid and each.live for each in vault.state.members.values())


def _uploader(vault: OpenVault, keyid: bytes, upload: bytes) -> Member:
    member = _known(vault, keyid).expect_role(COMMITTERS)
    if upload in vault.state.uploads:
        raise Conflict("that upload was committed before", hint="Begin another one.")
    return member


def _expect_recent(act: Act, now: int) -> None:
    """Refuse a citation kept from long ago, by which an expired invite or offer would live on.

    The ledger reads no clock: there, only somebody's later citation ends what has expired.

    Raises:
        StaleAct: it is older than the table of limits allows.
    """
    if now - act.cited_time > LIMITS.citation_age_seconds:
        raise StaleAct("an act cites a checkpoint of long ago", hint="Sync, and try again.")


def _same(vault: OpenVault, index: int, leaf: bytes) -> int:
    if not vault.holds_leaf(index, leaf):
        raise Conflict(
            "that number of the author's was used for another act", hint="Sync, and sign it anew."
        )
    return index


def _bounded_page(stored: list[StoredLeaf]) -> tuple[LogLeaf, ...]:
    page: list[LogLeaf] = []
    parts = 0
    for leaf in stored:
        parts += len(leaf.sides)
        if page and parts > PAGE_PARTS:
            break
        sides = tuple(part.content for part in leaf.sides if part.content is not None)
        page.append(LogLeaf(leaf.leaf, sides))
    return tuple(page)
