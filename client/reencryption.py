"""Rotating fields in full: new keys, and everything that is there sealed anew (SPEC 9.5, 10.5).

A job for each collection: create the new epochs by their own act; fetch, open, seal anew and
stage each batch's blocks of these fields; one act (in parts, of which the last counts) moves them
all at once; what changed meanwhile is moved by another pass; then the old epochs are retired, and
the server deletes what lay under them.

Until the last part lands the old blocks are current, and readers read them. A journal in this
home says what was staged, so the same command goes on after any interruption. The work is done
when nothing lies under an epoch that was there at its start, or whose key somebody has who holds
it no more, whoever moved it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from client.catalogs import read_names
from client.errors import Refused
from client.fetching import Listed
from client.journals import JournalledRotation
from client.lookout import KeysMoved, Lookout
from client.parts import in_parts, land_parts
from client.resealing import Resealer
from client.results.progress import OnProgress, Progress
from client.session import ATTEMPTS, Build, Draft, Session, Unneeded, saying
from protocol import acts
from protocol.acts import EpochName, MovedBlock
from protocol.blocks import Address, BlockRef
from protocol.errors import IntegrityError, ManifestMismatch
from protocol.ledger.contents import Batch, Collection
from protocol.ledger.state import State
from protocol.limits import LIMITS

RATE: Final = "cells sealed anew"

Field = tuple[bytes, int]


@dataclass(slots=True)
class Reencrypted:
    """What a rotation in full has done so far."""

    index: int | None = None
    blocks: int = 0
    cells: int = 0
    bytes: int = 0
    resumed: int = 0
    retired: int = 0
    by_others: int = 0
    unreadable: list[str] = field(default_factory=list)


def lying_in(state: State, fields: Sequence[Field]) -> Iterator[tuple[Collection, Batch, BlockRef]]:
    """Yield the current blocks of these fields; a batch that is erased whole has none."""
    wanted = set(fields)
    for where in state.collections.values():
        for batch in (each for each in where.batches if each.records):
            for ref in batch.manifest.blocks:
                if (where.id, ref.field) in wanted:
                    yield where, batch, ref


async def reencrypt(
    session: Session, fields: Sequence[Field], on_progress: OnProgress
) -> Reencrypted:
    """Put everything of these fields under new epochs, and retire the old ones.

    Safe to repeat after any interruption; two of them at once end with one of them told so.

    Raises:
        Refused: this member may not, or the vault is frozen or offered; what was staged waits.
        IntegrityError: some blocks do not open, and stay where they are; all others are done.
        Stale: as `Session.keep_head_fresh`.
        ManifestMismatch, Unreachable: from the server.
    """
    await session.keep_head_fresh()
    done = Reencrypted()
    by_collection: dict[bytes, list[Field]] = {}
    for each in sorted(set(fields)):
        by_collection.setdefault(each[0], []).append(each)
    total = sum(batch.records for _, batch, _ in lying_in(session.state, fields))
    with session.store.uploading():
        for collection, its_fields in by_collection.items():
            await _Job(session, collection, its_fields, done, total, on_progress).run()
    if done.unreadable:
        raise IntegrityError(
            f"{len(done.unreadable)} blocks do not open, and stay under the keys that they have: "
            + "; ".join(done.unreadable[:3]),
            hint="'sealroom erase NAME --unreadable' removes them. All others are done.",
        )
    return done


class _Job:
    """The rotation of some fields of one collection."""

    def __init__(
        self,
        session: Session,
        collection: bytes,
        fields: Sequence[Field],
        done: Reencrypted,
        total: int,
        on_progress: OnProgress,
    ) -> None:
        self._session = session
        self._collection = collection
        self._fields = list(fields)
        self._done = done
        self._total = total
        self._on_progress = on_progress
        self._unreadable: set[tuple[bytes, int]] = set()

    async def run(self) -> None:
        """Move what is there, until nothing is left to move; then retire what is behind."""
        journal = self._journal()
        for attempt in range(ATTEMPTS):
            targets = await self._targets(journal)
            left = list(self._left(journal))
            if not left:
                break
            try:
                # What has landed in part is landed whole before anything else is sealed.
                if journal.upload not in self._session.state.pending:
                    await self._seal(journal, targets, left)
                await self._move(journal, targets)
            except KeysMoved:
                continue
            except (Refused, ManifestMismatch):
                if attempt == ATTEMPTS - 1 or not await self._changed(journal, targets, left):
                    raise
            journal = self._next_pass(journal)
        else:
            raise Refused(
                "others keep changing what is to be rotated",
                code="out_of_order",
                hint="Repeat the command later.",
            )
        await self._retire(journal)
        self._session.store.rotations.end(journal.upload)

    # --- the journal

    def _journal(self) -> JournalledRotation:
        """Return the journal of this very rotation, an interrupted one where there is one.

        One whose work others have done since is no reason to do nothing now.
        """
        numbers = {number for _, number in self._fields}
        for begun in self._session.store.rotations.unfinished():
            same = begun.collection == self._collection
            if same and {address.field for address in begun.started} == numbers:
                if _unfinished(self._session.state, begun):
                    return begun
                self._session.store.rotations.end(begun.upload)
        newest = (self._session.state.newest(*each) for each in self._fields)
        started = tuple(
            Address(collection, number, 0) if epoch is None else epoch.address
            for (collection, number), epoch in zip(self._fields, newest, strict=True)
        )
        return self._begin(started)

    def _begin(self, started: tuple[Address, ...]) -> JournalledRotation:
        begun = JournalledRotation(secrets.token_bytes(16), self._collection, started)
        self._session.store.rotations.begin(begun)
        return begun

    def _next_pass(self, journal: JournalledRotation) -> JournalledRotation:
        """Go on under another upload id, if the one there was has served."""
        if journal.upload not in self._session.state.uploads:
            return journal
        following = self._begin(journal.started)
        self._session.store.rotations.end(journal.upload)
        return following

    async def _changed(
        self, journal: JournalledRotation, targets: dict[Field, int], left: Sequence[Listed]
    ) -> bool:
        """Sync, and say whether trying once more could come to something else."""
        session = self._session
        await session.sync_as_member()
        if self._collection not in session.state.collections:
            return False
        if journal.upload in session.state.uploads:
            return True
        known = session.state.collections[self._collection].by_id()
        if any(known.get(batch.id) != batch for batch, _ in left):
            return True
        made = session.store.rotations.made_anew(journal.upload)
        refs = (ref for each in made for ref in each.manifest.blocks)
        sealed = {Address(self._collection, ref.field, ref.epoch) for ref in refs}
        return not sealed | _addresses(targets) <= self._serving()

    # --- epochs

    async def _targets(self, journal: JournalledRotation) -> dict[Field, int]:
        """Return each field's epoch to move to: newer than at the start, and open.

        It stays the one to which blocks were sealed already, as long as that is open. Those that
        are missing are created; whoever else created one meanwhile did the same work.
        """
        session, started = self._session, _started(journal)
        chosen = self._chosen(journal)

        def wanting(state: State) -> list[Field]:
            others = (each for each in self._fields if each not in chosen)
            return [each for each in others if _closed(state, each, started[each])]

        if wanting(session.state):
            made = await session.act_if_needed(lambda state: session.next_epochs(wanting(state)))
            self._done.index = self._done.index if made is None else made
        newest = {
            each: session.writable(*each).epoch for each in self._fields if each not in chosen
        }
        return {**chosen, **newest}

    def _chosen(self, journal: JournalledRotation) -> dict[Field, int]:
        made = self._session.store.rotations.made_anew(journal.upload)
        refs = [ref for each in made for ref in each.manifest.blocks]
        serving = self._serving()
        return {
            (self._collection, ref.field): ref.epoch
            for ref in refs
            if Address(self._collection, ref.field, ref.epoch) in serving
        }

    def _left(self, journal: JournalledRotation) -> Iterator[Listed]:
        """Yield what lies under old epochs or spoilt ones, but for what does not open.

        An interrupted rotation may have moved blocks to keys that somebody took along since.
        """
        started, serving = _started(journal), self._serving()
        for where, batch, ref in lying_in(self._session.state, self._fields):
            old = ref.epoch <= started[where.id, ref.field]
            spoilt = Address(where.id, ref.field, ref.epoch) not in serving
            if (old or spoilt) and (batch.id, ref.field) not in self._unreadable:
                yield batch, ref

    def _serving(self) -> frozenset[Address]:
        return _serving(self._session.state, self._fields)

    def _where(self, state: State) -> Collection:
        """Return the collection as it stands.

        Raises:
            Refused: somebody retired it meanwhile, or destroyed the vault.
        """
        where = state.collections.get(self._collection)
        if where is None:
            raise Refused(
                "the collection was retired while it was being sealed anew",
                code="out_of_order",
                hint="Nothing of it is left to seal: 'sealroom collection list' shows what is.",
            )
        return where

    # --- sealing anew

    async def _seal(
        self, journal: JournalledRotation, targets: dict[Field, int], left: Sequence[Listed]
    ) -> None:
        """Fetch, seal anew and stage what the journal does not list yet."""
        there = await self._usable(journal, targets)
        todo = [(batch, ref) for batch, ref in left if (batch.id, ref.sha256) not in there]
        self._done.resumed += len(left) - len(todo)
        self._advance(sum(batch.records for batch, ref in left if (batch.id, ref.sha256) in there))
        resealer = Resealer(
            self._session,
            self._where(self._session.state),
            journal.upload,
            {number: epoch for (_, number), epoch in targets.items()},
            await read_names(self._session, self._collection),
        )
        aimed_at = _addresses(targets)
        lookout = Lookout(self._session, lambda: aimed_at <= self._serving())
        started = time.monotonic()
        try:
            await resealer.run(todo, self._advance, lookout.look)
        finally:
            self._unreadable |= resealer.unreadable.keys()
            self._done.unreadable += resealer.unreadable.values()
        if resealer.cells:
            seconds = max(time.monotonic() - started, 1e-6)
            self._session.store.keep_rate(RATE, resealer.cells / seconds)

    def _advance(self, cells: int) -> None:
        self._done.cells += cells
        self._on_progress(Progress("re-encrypting", self._done.cells, self._total, "cells"))

    async def _usable(
        self, journal: JournalledRotation, targets: dict[Field, int]
    ) -> set[tuple[bytes, bytes]]:
        """Return (batch id, old hash) of each block that was sealed anew and can still be moved to.

        It is under the epoch that blocks move to now, and the server still has it.
        """
        session = self._session
        staged = set((await session.transport.staged(session.vault_id, journal.upload)).batches)
        usable = set()
        for made in session.store.rotations.made_anew(journal.upload):
            refs = made.manifest.blocks
            current = all(targets.get((self._collection, r.field)) == r.epoch for r in refs)
            if made.batch in staged and current:
                usable |= {(made.batch, before) for before in made.before}
        return usable

    # --- moving, and retiring

    async def _move(self, journal: JournalledRotation, targets: dict[Field, int]) -> None:
        """Sign what is staged, in parts where it is much; the last moves all of it at once."""
        session = self._session
        usable = await self._usable(journal, targets)
        moves = [
            MovedBlock(made.batch, before, ref)
            for made in session.store.rotations.made_anew(journal.upload)
            for before, ref in zip(made.before, made.manifest.blocks, strict=True)
            if (made.batch, before) in usable
        ]
        if not moves:
            return

        def say(part: int, last: bool, moved: tuple[MovedBlock, ...]) -> Build:
            return saying(acts.Reencrypt(journal.upload, self._collection, part, last, moved))

        made = await land_parts(session, journal.upload, _parts(moves), say)
        self._done.index = self._done.index if made is None else made
        self._count(moves)

    def _count(self, moves: Sequence[MovedBlock]) -> None:
        known = self._where(self._session.state).by_id()
        for move in moves:
            stands = move.block in known[move.batch].manifest.blocks
            self._done.blocks += stands
            self._done.bytes += move.block.length * stands
            self._done.by_others += not stands

    async def _retire(self, journal: JournalledRotation) -> None:
        """Retire what was there at the start or is spoilt, if nothing lies under it any more.

        A newer epoch that is still empty may be another rotation's, on its way.
        """
        session, started = self._session, _started(journal)

        def behind(state: State) -> list[Address]:
            used, serving = self._where(state).addresses(), self._serving()
            return sorted(
                epoch.address
                for each in self._fields
                for epoch in state.epochs.get(each, ())[:-1]
                if not epoch.retired
                and (epoch.address not in serving or epoch.address.epoch <= started[each])
                and epoch.address not in used
            )

        def draft(state: State) -> Draft:
            gone = behind(state)[: LIMITS.retired]
            if not gone:
                raise Unneeded
            return Draft(acts.RetireEpoch(tuple(map(EpochName.of, gone))))

        while gone := behind(session.state):
            made = await session.act_if_needed(draft)
            if made is not None:
                self._done.index = made
                self._done.retired += len(gone) - len(behind(session.state))


def _addresses(targets: dict[Field, int]) -> set[Address]:
    return {Address(*each, epoch) for each, epoch in targets.items()}


def _started(journal: JournalledRotation) -> dict[Field, int]:
    return {(each.collection, each.field): each.epoch for each in journal.started}


def _unfinished(state: State, journal: JournalledRotation) -> bool:
    """Say whether an epoch that was there when the rotation began is there still."""
    started = _started(journal)
    return any(
        not epoch.retired and epoch.address.epoch <= started[each]
        for each in started
        for epoch in state.epochs.get(each, ())
    )


def _closed(state: State, at: Field, started: int) -> bool:
    newest = state.newest(*at)
    if newest is None or newest.address.epoch <= started:
        return True
    return newest.address not in _serving(state, [at])


def _serving(state: State, fields: Sequence[Field]) -> frozenset[Address]:
    """Return the epochs whose keys are good for what is to stay: open, and known to holders only.

    The end of a grant taints no names; yet whoever held their key, and does no longer, has it.
    """
    kept = {address for member in state.members.values() for address in member.kept}
    known = (epoch for each in fields for epoch in state.epochs.get(each, ()))
    return frozenset(
        each.address for each in known if not each.tainted and each.address not in kept
    )


def _parts(moves: Iterable[MovedBlock]) -> list[list[MovedBlock]]:
    """Cut moves into acts; all of one batch stand in one part."""
    batches = (list(its) for _, its in groupby(moves, lambda move: move.batch))
    parts = in_parts(batches, lambda its: (len(its),), (LIMITS.act_moves,))
    return [[move for its in part for move in its] for part in parts]
