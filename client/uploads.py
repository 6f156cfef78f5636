"""An upload, whatever it brings: journalled, sent and committed (SPEC section 10.5).

A journal in this home says what was sealed and acknowledged. The same upload goes on from there
after any interruption; what is committed is only what the journal lists, never what the server
says is staged. Where a key was tainted meanwhile, what was sealed under it and has not landed is
sealed anew, and nothing else.
"""

from __future__ import annotations

import secrets
from enum import Enum
from typing import Final

from client.errors import Refused
from client.journals import JournalledUpload
from client.lookout import KeysMoved, all_open
from client.parts import in_parts, land_parts
from client.results.progress import OnProgress
from client.sending import Cargo, Into, Sender
from client.session import ATTEMPTS, Build, Draft, Session, saying
from protocol import acts
from protocol.blocks import Address, FieldClass, Manifest, manifest_bytes_at_most
from protocol.errors import OutOfOrder
from protocol.ledger.contents import PendingUpload
from protocol.ledger.state import Phase, State
from protocol.limits import KIB, LIMITS

PART_BYTES: Final = LIMITS.act_bytes - 64 * KIB


class Standing(Enum):
    """How an upload stands that was interrupted."""

    WHOLE = "everything that the journal lists is good still"
    PARTLY = "some of it has to be sealed anew"
    OVER = "what has landed of it fits nothing any more; the journal has let go of it"


# --- the journal


def begin(session: Session, collection: bytes, source: bytes, name: str) -> JournalledUpload:
    """Write down an upload under an id of its own."""
    begun = JournalledUpload(secrets.token_bytes(16), collection, source, name)
    session.store.uploads.begin(begun)
    return begun


async def interrupted(
    session: Session, source: bytes, collection: bytes | None = None
) -> tuple[JournalledUpload, int] | None:
    """Return the journal of this very upload, if it was begun, and how many batches are good.

    It may have landed, and only its end not been written down. Others that are over are let go
    of. `collection` is where it goes, if that is there already: then it is no other one's.
    """
    journal, found = session.store.uploads, None
    for begun in journal.unfinished():
        if begun.upload in session.state.uploads:
            if begun.source == source:
                found = begun
            else:
                journal.finish(begun)
        elif begun.collection in session.state.retired:
            journal.end(begun.upload)
        elif begun.source != source or collection not in (None, begun.collection):
            continue
        elif await _looked_over(session, begun) is not Standing.OVER:
            found = begun
    return None if found is None else (found, len(journal.batches(found.upload)))


async def _looked_over(session: Session, begun: JournalledUpload) -> Standing:
    """Forget what was sealed before and can be committed no more; say how the rest stands.

    Usable is what has landed in a part of the commit. What has not is usable while no epoch of
    it was tainted, its part was not dropped by an offer, and the server still has it: what is
    long staged and not committed expires there. What else it lists is nothing to go by.
    """
    journal = session.store.uploads
    listed = journal.batches(begun.upload)
    if not listed:
        return Standing.WHOLE
    state, pending = session.state, session.state.pending.get(begun.upload)
    landed = {b.id for b in pending.batches} if isinstance(pending, PendingUpload) else set()
    staged = set((await session.transport.staged(session.vault_id, begun.upload)).batches)

    def usable(manifest: Manifest) -> bool:
        addresses = (Address(begun.collection, r.field, r.epoch) for r in manifest.blocks)
        there = manifest.batch_id in staged - state.batch_ids and all_open(state, addresses)
        return there or manifest.batch_id in landed

    unusable = [sequence for sequence, manifest in listed.items() if not usable(manifest)]
    if not unusable:
        return Standing.WHOLE
    journal.drop(begun.upload, unusable)
    if not _all_was_read(session, begun):
        return Standing.PARTLY
    # What would be sealed in its place may be other rows by now, which fit no such parts.
    journal.end(begun.upload)
    return Standing.OVER


def _all_was_read(session: Session, begun: JournalledUpload) -> bool:
    """Say whether parts have landed of what may read otherwise by now, and so is not read again.

    All of it was read and sent before the first part of it was signed.
    """
    return begun.upload in session.state.pending and bool(
        session.store.uploads.digests(begun.upload)
    )


# --- the work


class Upload:
    """An upload that stands in the journal, and what it brings."""

    def __init__(
        self, session: Session, cargo: Cargo, journal: JournalledUpload, on_progress: OnProgress
    ) -> None:
        self._session = session
        self._cargo = cargo
        self._journal = journal
        self._on_progress = on_progress

    async def run(self) -> None:
        """Do what is left of it; begin again with whatever became unusable meanwhile.

        Raises:
            Refused: the rules do not allow it, or keys were replaced too often.
            Stale: nobody whom the policy names has signed the log's head for too long.
            TableError, InputError: what it brings cannot be read; a repeat goes on.
            Unreachable: the server is gone; a repeat goes on.
        """
        session = self._session
        expect_open(session, self._cargo.classes)
        attempts = 0
        while True:
            attempts += 1
            await self._prepare()
            into = Into.of(session, self._journal)
            try:
                if not _all_was_read(session, self._journal):
                    await Sender(into, self._cargo, self._on_progress).run()
                await self._commit()
            except (KeysMoved, Refused) as error:
                await session.sync_as_member()
                standing = await _looked_over(session, self._journal)
                moved = standing is not Standing.WHOLE or not into.keys_open()
                # While an offer is open, or the vault frozen, nothing sealed anew would land.
                futile = session.state.phase is not Phase.OPEN or standing is Standing.OVER
                if isinstance(error, Refused) and (futile or not moved):
                    raise
                if futile or not moved or attempts == ATTEMPTS:
                    raise Refused(
                        "keys that it was sealed under were replaced meanwhile",
                        code="tainted",
                        hint="Repeat the command: what has landed stands.",
                    ) from error
            else:
                return

    async def _prepare(self) -> None:
        """Define the collection and create its epochs, whichever of it is not there yet."""
        session, collection = self._session, self._journal.collection
        if collection in session.state.retired:
            raise Refused(
                "the collection was retired while it was being uploaded",
                code="out_of_order",
                hint="The same command uploads it once more, as a new one.",
            )
        if collection not in session.state.collections:
            await session.act(saying(acts.DefineCollection(collection, self._cargo.classes)))
        fields = session.state.collections[collection].fields
        await session.ensure_writable([(collection, number) for number in fields])

    async def _commit(self) -> None:
        """Sign the manifests of the journal, in parts where they are many; the last shows all.

        With erasures the last part is the act that erases too; it has one manifest, to have room.
        """
        manifests = list(self._session.store.uploads.batches(self._journal.upload).values())
        cut = len(manifests) - (1 if self._cargo.erasures else 0)
        most = (PART_BYTES, LIMITS.act_batches)
        parts = list(in_parts(manifests[:cut], _weight, most))
        if self._cargo.erasures:
            parts.append(manifests[cut:])
        await land_parts(self._session, self._journal.upload, parts, self._saying)

    def _saying(self, part: int, last: bool, manifests: tuple[Manifest, ...]) -> Build:
        upload, collection = self._journal.upload, self._journal.collection
        payload: acts.Payload = acts.Commit(upload, collection, part, last, manifests)
        if last and self._cargo.erasures:
            reason, erasures = acts.Reason.OTHER, self._cargo.erasures
            payload = acts.Replace(upload, collection, part, manifests, reason, erasures)

        def build(state: State) -> Draft:
            if last:
                self._expect_seen(state)
            return Draft(payload)

        return build

    def _expect_seen(self, state: State) -> None:
        """Refuse to add records to what was not looked at, if it matters what else is there."""
        where, seen = state.collections.get(self._journal.collection), self._cargo.seen
        if seen is None or where is None:
            return
        if not {batch.upload for batch in where.batches} <= seen:
            raise Refused(
                "somebody else added records meanwhile",
                code=OutOfOrder.code,
                hint="Repeat the command: what has landed stands.",
            )


def _weight(manifest: Manifest) -> tuple[int, ...]:
    """Return a manifest's length in an act, and that it is one."""
    return manifest_bytes_at_most(len(manifest.blocks)), 1


# --- the collection and its keys


def expect_open(session: Session, classes: tuple[FieldClass, ...]) -> None:
    """Refuse, in the words of the rules, while nothing would land that is sealed now.

    Raises:
        Refused: the vault is frozen or destroyed, or an offer is open.
    """
    if session.state.phase is not Phase.OPEN:
        session.expect_allowed(acts.DefineCollection(secrets.token_bytes(16), classes))
