"""What this client believes: the log replayed, pinned and kept (SPEC section 10.5).

The server's word is never taken for members, keys or policy: every leaf goes through
`protocol.ledger`, the same code that the server runs, and the checkpoint must be an
extension of the one pinned before. A sync verifies first, keeps second, answers third; one
that fails changes nothing, in memory or on disk.
"""

from __future__ import annotations

import asyncio
from collections import ChainMap, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from client.crypto.identity import Identity
from client.crypto.wraps import OpenedKey, open_keys
from client.errors import Refused
from client.store import NewKnowledge, StoredBox, StoreMoved, VaultStore
from client.transport import Transport
from protocol import acts
from protocol.acts import Act
from protocol.api import LogLeaf, LogPage
from protocol.blocks import PEOPLE_COLLECTION, Address
from protocol.checkpoint import Checkpoint, parse_note
from protocol.errors import (
    CommitmentMismatch,
    ContextMismatch,
    Fork,
    IntegrityError,
    MalformedMessage,
    NotAuthorised,
    Rollback,
    SealroomError,
    Stale,
    Unsupported,
    VerificationFailed,
    WeakKey,
)
from protocol.ledger import CheckedSides, Landed, Ledger, State, check_sides
from protocol.ledger.sides import SentPart, WrapTable
from protocol.limits import LIMITS
from protocol.merkle import verify_consistency
from protocol.rewrap import Wrap

ATTEMPTS: Final = 6
MOST_LEAVES: Final = 1_048_576
"""So many leaves are read at one sync, unless more are asked for: each is kept in memory."""
FALSE_KEY: Final = (CommitmentMismatch, IntegrityError, WeakKey)
"""What a key is that somebody gave, and that is not the one which was published."""


@dataclass(slots=True)
class _Progress:
    """What one sync has verified so far, on a ledger of its own until it is done."""

    ledger: Ledger
    wraps: dict[tuple[Address, bytes], Wrap] = field(default_factory=dict)
    boxes: list[StoredBox] = field(default_factory=list)
    gone: dict[Address, int] = field(default_factory=dict)
    landed: list[Landed] = field(default_factory=list)


class Believed:
    """The replayed log of one vault, as this home has verified it.

    The boxes addressed to `identities` are kept, to be opened when a key is needed. Which box is
    its invite's, a `newcomer` learns from the invite's own act: it keeps those of everybody.
    At one sync at most `most_leaves` are read: a server alone can make a log as long as it likes.
    """

    def __init__(
        self,
        vault_id: bytes,
        store: VaultStore,
        *identities: Identity,
        newcomer: bool = False,
        most_leaves: int = MOST_LEAVES,
    ) -> None:
        self.vault_id = vault_id
        self._most_leaves = most_leaves
        self._identities = {identity.member_id: identity for identity in identities}
        self._newcomer = newcomer
        self._store = store
        self._syncing = asyncio.Lock()
        self._ledger = Ledger()
        self._acts: list[Act | None] = []
        self._wraps: dict[tuple[Address, bytes], Wrap] = {}
        self._keys: dict[tuple[bytes, Address], OpenedKey] = {}
        self._pin: Checkpoint | None = None
        self._owed: Mapping[Address, int] = {}
        self._reload()

    @property
    def state(self) -> State:
        """The state after the last verified leaf."""
        return self._ledger.state

    @property
    def known(self) -> bool:
        """Whether anything of the vault was verified yet."""
        return self._ledger.size > 0

    @property
    def ledger(self) -> Ledger:
        """The replayed ledger, for previews and citations; not to be appended to."""
        return self._ledger

    @property
    def pin(self) -> Checkpoint:
        """The last verified checkpoint.

        Raises:
            Stale: nothing was verified yet.
        """
        if self._pin is None:
            raise Stale("nothing of this vault was verified yet", hint="Connect to its server.")
        return self._pin

    @property
    def acts(self) -> tuple[Act | None, ...]:
        """Every leaf's act, None for observations."""
        return tuple(self._acts)

    @property
    def wraps(self) -> Mapping[tuple[Address, bytes], Wrap]:
        """Every wrap on record, each proved when its act was verified."""
        return self._wraps

    # --- syncing

    async def sync(self, transport: Transport, now: float, reader: bytes) -> tuple[Landed, ...]:
        """Fetch, verify and keep what is new; return it (SPEC section 10.5).

        `reader` is whom the server shows the log: to a former member it ends with the removal.

        Obligations, in this order:
        (1) the checkpoint is this vault's server's, and not older than the pinned one;
        (2) it is recent by this machine's clock;
        (3) the pinned tree is a prefix of its tree, by a consistency proof;
        (4) every leaf is one that the ledger's rules allow where it stands;
        (5) every act carries exactly the wraps it must, each proved; none is missing but of
            epochs that are retired by the end of the log, or were since a former member's ended;
        (6) the leaves give the checkpoint's root.
        Only then is anything kept, or seen in `state`.

        Raises:
            VerificationFailed: which of these failed, by its class; nothing was kept.
            Unsupported: somebody acts in a way that this build does not know.
            Refused: by the server; or more leaves are new than are read at once.
            Unreachable: from the transport.
        """
        async with self._syncing:
            for _ in range(ATTEMPTS):
                try:
                    return await self._synced(transport, now, reader)
                except StoreMoved:
                    self._reload()
        raise Refused(
            "other commands keep changing this home", code="busy", hint="Wait for them to end."
        )

    async def look(self, transport: Transport, now: float) -> Checkpoint:
        """Return the server's newest checkpoint, checked by (1) to (3) of `sync`; keep nothing.

        Whether the leaves beyond the pinned ones are allowed is not looked at. Something of the
        vault must be known.

        Raises:
            VerificationFailed, Refused, Unreachable: as `sync`.
        """
        page = await self._page(transport, self._ledger.size)
        return await self._continued(transport, now, page, self._ledger)

    async def _synced(self, transport: Transport, now: float, reader: bytes) -> tuple[Landed, ...]:
        progress = _Progress(self._ledger, gone=dict(self._owed))
        page = await self._page(transport, self._ledger.size)
        if not self.known:
            self._first_leaf(page.leaves, progress)
        checkpoint = await self._read_on(transport, now, page, progress)
        # (5)
        for _ in range(ATTEMPTS):
            if _is_former(progress.ledger.state, reader) or not _withheld(progress):
                break
            # Epochs may have been retired while the log was being read: see whether they were.
            size, page = checkpoint.size, await self._page(transport, progress.ledger.size)
            checkpoint = await self._read_on(transport, now, page, progress)
            if checkpoint.size == size:
                _expect_retired(progress)
        else:
            _expect_retired(progress)
        # (6)
        if progress.ledger.tree.root(checkpoint.size) != checkpoint.root:
            raise IntegrityError(
                "the server's leaves are not those of its checkpoint",
                hint="The server shows something that it did not sign. Keep this home as it is.",
            )
        self._keep(checkpoint, progress)
        return tuple(progress.landed)

    async def _read_on(
        self, transport: Transport, now: float, page: LogPage, progress: _Progress
    ) -> Checkpoint:
        """Verify all leaves up to the checkpoint of a page, which begins where that is due."""
        checkpoint = await self._continued(transport, now, page, progress.ledger)
        if progress.ledger is self._ledger and checkpoint.size > self._ledger.size:
            progress.ledger = self._ledger.copy()
        leaves = page.leaves[progress.ledger.size - page.start :]
        while progress.ledger.size < checkpoint.size:
            if not leaves:
                leaves = (await self._page(transport, progress.ledger.size)).leaves
                if not leaves:
                    raise Rollback("the server withholds leaves that its checkpoint counts")
            for leaf in leaves[: checkpoint.size - progress.ledger.size]:
                self._verify_leaf(leaf, progress, checkpoint)
            leaves = ()
        return checkpoint

    async def _continued(
        self, transport: Transport, now: float, page: LogPage, ledger: Ledger
    ) -> Checkpoint:
        """Return the checkpoint of a page, once it continues the pinned one and is recent."""
        # (1)
        checkpoint = self._checkpoint(page.checkpoint, ledger)
        # (2)
        if abs(now - checkpoint.time) > LIMITS.checkpoint_age_seconds:
            raise Stale(
                f"the server's newest checkpoint is {int(now - checkpoint.time)} seconds old",
                hint="Check this machine's clock; if it is right, the server withholds news.",
            )
        # (3)
        await self._consistent(transport, checkpoint)
        return checkpoint

    async def _page(self, transport: Transport, start: int) -> LogPage:
        page = await transport.log_page(self.vault_id, start)
        if page.start != start:
            raise ContextMismatch("the server sent other leaves than it was asked for")
        return page

    def _first_leaf(self, leaves: tuple[LogLeaf, ...], progress: _Progress) -> None:
        """Take the genesis, whose hash is the vault's id: the root of all later belief."""
        if not leaves:
            raise Rollback("the server sent no genesis")
        progress.ledger = Ledger()
        self._verify_leaf(leaves[0], progress, None)
        if progress.ledger.state.vault_id != self.vault_id:
            raise ContextMismatch("the server sent another vault's genesis")

    def _checkpoint(self, note: bytes, ledger: Ledger) -> Checkpoint:
        checkpoint = parse_note(note, self.vault_id, ledger.state.server_key)
        least = ledger.size
        # Sizes alone: a server's clock may be set right, and (2) bounds how old a time may be.
        if checkpoint.size < least:
            raise Rollback(
                f"the server shows {checkpoint.size} leaves where there have been {least} before",
                hint="It may have been put back from a backup. Ask who runs it.",
            )
        new = checkpoint.size - self._ledger.size
        if new > self._most_leaves:
            # Before any of them is asked for: observations need nobody's signature but its own.
            raise Refused(
                f"the server's log has {new:,} leaves that this home does not know, and at most "
                f"{self._most_leaves:,} are read at once",
                code="long_log",
                hint="Ask other members how long it is. If it is so long, give the same command "
                "with 'sealroom --most-leaves NUMBER': for each it takes half a kilobyte.",
            )
        return checkpoint

    async def _consistent(self, transport: Transport, shown: Checkpoint) -> None:
        pin = self._pin
        if pin is None:
            return
        proof: tuple[bytes, ...] = ()
        if shown.size != pin.size:
            proof = await transport.consistency(self.vault_id, pin.size, shown.size)
        try:
            verify_consistency(pin.size, pin.root, shown.size, shown.root, proof)
        except (IntegrityError, MalformedMessage) as error:
            raise Fork(
                "the server shows a history that does not continue the one it has signed",
                pinned=pin.note(),
                shown=shown.note(),
                hint="Keep both checkpoints, which the server signed. Compare with other members.",
            ) from error

    def _verify_leaf(
        self, received: LogLeaf, progress: _Progress, shown: Checkpoint | None
    ) -> None:
        at = progress.ledger.size
        try:
            # (4)
            landed = progress.ledger.check(received.leaf)
            # (5)
            on_record = ChainMap(progress.wraps, self._wraps)
            sides = tuple(part.sent() for part in received.sides)
            checked = _checked_sides(landed, sides, on_record, progress.gone)
        except SealroomError as error:
            raise _named(error, at, shown) from error
        progress.ledger.append(landed)
        progress.wraps.update(checked.wraps)
        progress.gone |= dict.fromkeys(checked.gone - progress.gone.keys(), at)
        progress.landed.append(landed)
        progress.boxes += [
            StoredBox(at, party, box)
            for party, box in checked.boxes.items()
            if self._newcomer or party in self._identities
        ]

    def _keep(self, checkpoint: Checkpoint, progress: _Progress) -> None:
        state = progress.ledger.state
        wraps = {**self._wraps, **progress.wraps}
        retired = frozenset(address for address, _ in wraps if state.is_retired(address))
        new = NewKnowledge(
            self._ledger.size,
            tuple(landed.leaf for landed in progress.landed),
            progress.wraps,
            tuple(progress.boxes),
            retired,
            _replaced(self._ledger.state, state) if self.known else frozenset(),
            checkpoint.note(),
            # Whoever goes on as this member's successor sees the rest, and what is owed with it;
            # that may be another process of this home.
            dict(_withheld(progress)),
        )
        self._store.learn(new)
        self._owed = new.owed
        self._ledger = progress.ledger
        self._acts += [landed.act for landed in progress.landed]
        self._wraps = {key: wrap for key, wrap in wraps.items() if key[0] not in retired}
        self._keys = {key: each for key, each in self._keys.items() if key[1] not in retired}
        self._pin = checkpoint

    def _reload(self) -> None:
        """Replay what is kept. It was verified when it came, but replaying verifies it again."""
        try:
            ledger, acts, pin = self._replayed()
        except Unsupported:
            raise
        except SealroomError as error:
            raise IntegrityError(
                "this home's copy of the vault's log is damaged", hint="Restore it from a backup."
            ) from error
        self._ledger, self._acts, self._pin = ledger, acts, pin
        self._wraps = self._store.wraps()
        self._owed = self._store.owed()
        self._keys = {}

    def _replayed(self) -> tuple[Ledger, list[Act | None], Checkpoint | None]:
        ledger, acts = Ledger(), list[Act | None]()
        for leaf in self._store.leaves():
            landed = ledger.check(leaf)
            ledger.append(landed)
            acts.append(landed.act)
        note = self._store.pinned_note()
        if note is None or not acts:
            if acts or note is not None:
                raise IntegrityError("leaves without a pin, or a pin without leaves")
            return ledger, acts, None
        pin = parse_note(note, self.vault_id, ledger.state.server_key)
        if pin.size != ledger.size or pin.root != ledger.tree.root():
            raise IntegrityError("the kept leaves are not those of the pinned checkpoint")
        return ledger, acts, pin

    def verify_again(self) -> int:
        """Replay the kept log from its genesis once more; return how many leaves it has.

        Raises:
            VerificationFailed: this home's copy is not what its pin says.
        """
        self._reload()
        return self._ledger.size

    def state_at(self, size: int) -> State:
        """Replay the kept log again, and return the state after its first `size` leaves."""
        (state,) = deque(self.states(size), maxlen=1)
        return state

    def states(self, size: int) -> Iterator[State]:
        """Replay the kept log again, and yield the state after each of its first `size` leaves."""
        ledger = Ledger()
        for leaf in islice(self._store.leaves(), size):
            ledger.append(ledger.check(leaf))
            yield ledger.state

    # --- keys

    def read_as(self, identity: Identity) -> None:
        """Keep the boxes addressed to another identity of this home too, from the next leaf on."""
        self._identities[identity.member_id] = identity

    def key(self, party: bytes, address: Address) -> OpenedKey:
        """Return the key of an epoch that an identity of this home holds, checked before its use.

        Raises:
            NotAuthorised: nobody gave this identity that key.
            CommitmentMismatch, IntegrityError, WeakKey: what was given is not the published key.
        """
        if (party, address) not in self._keys:
            self._open_box(party, address)
        return self._keys[party, address]

    def _open_box(self, party: bytes, address: Address) -> None:
        """Open the boxes that hold the address, newest first, until one is right."""
        failure: SealroomError | None = None
        for box in self._store.boxes(party):
            if address not in box.shares.addresses:
                continue
            try:
                opened = self._opened(party, box, address)
            except FALSE_KEY as error:
                failure = _given(error, address, box.position, self._acts[box.position])
            else:
                self._keys.update({(party, a): key for a, key in opened.items()})
                if address in opened:
                    return
        raise failure or NotAuthorised(f"you hold no key of {address}", hint="Ask for a grant.")

    def _opened(self, party: bytes, box: StoredBox, address: Address) -> dict[Address, OpenedKey]:
        identity, checked = self._identities[party], CheckedSides(self._wraps, {party: box.shares})
        try:
            return open_keys(identity, self.state, checked)
        except (CommitmentMismatch, WeakKey):
            # One key that is false must not take along those that came with it.
            return open_keys(identity, self.state, checked, address)


def _checked_sides(
    landed: Landed,
    sides: tuple[SentPart, ...],
    on_record: WrapTable,
    gone: Collection[Address],
) -> CheckedSides:
    if landed.act is None or landed.before is None:
        if sides:
            raise MalformedMessage("sides beside a leaf that has none")
        return CheckedSides({}, {})
    return check_sides(landed.before, landed.after, landed.act, sides, on_record, gone)


def _replaced(before: State, after: State) -> frozenset[tuple[bytes, int]]:
    """Return (batch, field) of each catalog block that was erased, sealed anew or retired since."""
    gone: set[tuple[bytes, int]] = set()
    for where in before.collections.values():
        now = after.collections.get(where.id)
        if now is not None and now.batches[: len(where.batches)] == where.batches:
            continue
        known = {} if now is None else now.by_id()
        gone |= {
            (batch.id, batch.manifest.blocks[0].field)
            for batch in where.batches
            if batch.manifest.is_catalog and known.get(batch.id) != batch
        }
    return frozenset(gone)


def _is_former(state: State, reader: bytes) -> bool:
    """Say whether a log ends where its reader was removed or replaced."""
    member = state.members.get(reader)
    return member is not None and not member.live


def _withheld(progress: _Progress) -> Mapping[Address, int]:
    """Return each epoch of which something is missing beside the log, and which is in use."""
    state = progress.ledger.state
    return {address: at for address, at in progress.gone.items() if not state.is_retired(address)}


def _expect_retired(progress: _Progress) -> None:
    """Check that whatever is missing beside the log is of epochs that are no more."""
    for address, at in _withheld(progress).items():
        raise NotAuthorised(
            f"leaf {at} of the log: the server withholds keys of {address}, which is in use",
            hint="Keep this home as it is, and ask who runs the server.",
        )


def _given(error: SealroomError, address: Address, at: int, act: Act | None) -> SealroomError:
    """Say in which act a false key came. It blames nobody: who made the box cannot be proved."""
    assert act is not None  # observations carry no boxes
    who = f"by member {act.author.hex()[:16]}"
    if isinstance(act.payload, acts.RotateIdentity):
        who = "to your new identity, by the one before, which could not open it either"
    people = address.collection == PEOPLE_COLLECTION
    where = "" if people else f" --collection {address.collection.hex()[:8]}"
    return type(error)(
        f"the key of {address} was given to you false in act {at}, {who}: {error}",
        hint=f"Have somebody else who holds it replace it: 'sealroom rotate{where} --reencrypt'.",
    )


def _named(error: SealroomError, at: int, shown: Checkpoint | None) -> SealroomError:
    """Say which leaf was refused. Whatever the rule, a refused leaf in a log is a false log.

    An act that cites another history is half of a proof; the other half is the checkpoint that
    is `shown` with it.
    """
    if isinstance(error, Unsupported):
        return Unsupported(f"leaf {at} of the log: {error}", hint=error.hint)
    if isinstance(error, Fork):
        message = f"leaf {at} of the log: {error}"
        pinned = b"" if shown is None else shown.note()
        return Fork(message, pinned=pinned, shown=error.shown, hint=error.hint)
    kind: Callable[..., SealroomError] = NotAuthorised
    if isinstance(error, VerificationFailed):
        kind = type(error)
    return kind(
        f"leaf {at} of the log: {error}",
        hint="The server shows something that it had to refuse. Keep this home as it is.",
    )
