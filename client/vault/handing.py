"""The handover: offering the vault, verifying all of it, taking it over."""

from __future__ import annotations

import time

from client import handover
from client.catalogs import read_names
from client.documents.entries import documents_in, holds_documents
from client.fields import held_fields
from client.new_keys import seller_knows
from client.people import find_member
from client.removing import rotate_in_full
from client.results.keys import AcceptResult, OfferResult, RotateResult
from client.results.log import ActResult
from client.results.progress import OnProgress, no_progress
from client.vault.face import Face
from client.vault.members import DEFAULT_DAYS
from protocol import acts
from protocol.acts import Reason
from protocol.blocks import PEOPLE_COLLECTION
from protocol.limits import DAY


class Handing(Face):
    """What the seller and the buyer do."""

    async def offer(
        self,
        member: str,
        *,
        days: float = DEFAULT_DAYS,
        words: str | None = None,
        yes: bool = False,
    ) -> OfferResult:
        """Offer the handover, to a buyer whose words were compared: every live key, with proofs."""
        started = time.monotonic()
        await self.session.sync_as_member()
        self.session.expect_may(acts.Offer)
        buyer = await find_member(self.session, member)
        index = await handover.offer(self.session, buyer, int(days * DAY), words=words, yes=yes)
        opened = self.session.state.offer
        keys, expires = (len(opened.addresses), opened.expiry) if opened else (0, 0)
        return OfferResult(index, buyer.id.hex(), keys, expires, time.monotonic() - started)

    async def accept(
        self,
        *,
        words: str | None = None,
        yes: bool = False,
        on_progress: OnProgress = no_progress,
    ) -> AcceptResult:
        """Verify everything that is offered, cell by cell, and only then take over.

        Safe to repeat: whoever has accepted is told so again, and nothing is done twice.
        Raises as `client.verifying.verify` and `client.handover.accept`.
        """
        started = time.monotonic()
        await self.session.sync_as_member()
        done = handover.accepted(self.session)
        if done is None:
            from client.verifying import verify

            verified = await verify(self.session, words=words, yes=yes, on_progress=on_progress)
            done = await handover.accept(self.session, verified)
        tables, documents = [], 0
        for receipt in done.receipts:
            if holds_documents(await read_names(self.session, receipt.collection)):
                there = await documents_in(self.session, receipt.collection)
                documents += sum(each.committed_at < done.index for each in there)
            elif receipt.collection != PEOPLE_COLLECTION:
                tables.append(receipt)
        return AcceptResult(
            index=done.index,
            keys=done.keys,
            collections=len(tables),
            records=sum(receipt.records for receipt in tables),
            cells=sum(receipt.cells for receipt in done.receipts),
            verified_bytes=done.bytes,
            seconds=time.monotonic() - started,
            documents=documents,
        )

    async def reject(self, reason: Reason) -> ActResult:
        """Decline the open offer."""
        index = await handover.reject(self.session, reason)
        return ActResult("reject", index, self.identity.member_id.hex())

    async def takeover(self, *, on_progress: OnProgress = no_progress) -> RotateResult:
        """Put everything under keys that the seller never had, and retire those it knows.

        The first work of whoever has accepted. Safe to repeat: what was interrupted goes on, and
        once no key is in use that the seller had, nothing is done.

        Raises:
            Refused: this member is not the owner.
            IntegrityError: some blocks do not open; all others are done.
        """
        started = time.monotonic()
        await self.session.sync_as_member()
        self.session.expect_may(acts.Offer)
        if self.session.state.handovers and not seller_knows(self.session.state):
            return RotateResult(None, (), 0, None, time.monotonic() - started)
        return await rotate_in_full(self.session, held_fields(self.session), on_progress)
