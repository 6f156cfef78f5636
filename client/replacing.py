"""Updating records by a key: rows whose key is there replace its record, others are appended.

The ledger's `replace` shows the new records and erases the old ones in one act, so no key is ever
there twice or not at all, wherever this is cut off. Rows that are there as they are stay
untouched, so the same command again does what is left, and nothing of what is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Set
from dataclasses import dataclass, field, replace

from client.errors import InputError, Refused
from client.plans import Plan
from client.results.data import UploadResult
from client.results.progress import OnProgress
from client.session import ATTEMPTS, Session
from client.surveying import Survey, surveyed
from client.table_uploads import append, end_updates, upload_held
from protocol import acts
from protocol.errors import ManifestMismatch, OutOfOrder
from protocol.ledger.contents import Collection


async def replace_records(
    session: Session, plan: Plan, key: str, on_progress: OnProgress
) -> UploadResult:
    """Bring a collection up to date by a table, whose rows are told apart by the column `key`.

    Where there is no collection of that name, all of the table becomes one. Safe to repeat after
    any interruption, and at any time: rows that are there as they are are left alone.

    Raises:
        InputError: no such column, or one that is no key: keys that are null, or there twice, in
            the table or in the collection, are named by their places; or the table does not fit.
        Refused: the ledger does not allow it, or others keep changing the collection.
        IntegrityError, ManifestMismatch, Stale, TableError, Unreachable: as reading and uploading.
    """
    started = time.monotonic()
    await session.sync_as_member()
    session.expect_may(acts.Replace)
    await session.keep_head_fresh()
    if not plan.source.rereadable and plan.source.total_rows is None:
        raise InputError(
            "a stream can be read once, and an update reads its rows more often",
            hint="Hand over a table.",
        )
    await plan.look_into()
    done = _Done()
    with session.store.uploading():
        for attempt in range(ATTEMPTS):
            survey = await surveyed(session, plan, key, on_progress)
            if survey is None:
                return await upload_held(session, plan, started, on_progress)
            before = set(survey.seen)
            done.unchanged = survey.unchanged - done.records if attempt else survey.unchanged
            try:
                for part in survey.uploads():
                    landed = await append(session, part, survey.collection, started, on_progress)
                    done.results.append(landed)
                    done.replaced += sum(len(each.positions) for each in part.erasures)
            except (Refused, ManifestMismatch) as error:
                await _expect_change(session, survey, error, attempt)
            else:
                plan = replace(plan, collection=survey.plan.collection)
                end_updates(session, survey.collection, plan.collection)
                await _remember(session, survey, survey.seen - before)
                return done.result(session, plan, survey.collection, time.monotonic() - started)
    raise AssertionError("unreachable")


@dataclass(slots=True)
class _Done:
    """What has landed so far, over all attempts."""

    results: list[UploadResult] = field(default_factory=list)
    replaced: int = 0
    unchanged: int = 0

    @property
    def records(self) -> int:
        return sum(each.records for each in self.results)

    def result(
        self, session: Session, plan: Plan, collection: bytes, seconds: float
    ) -> UploadResult:
        where = session.state.collections[collection]
        fields = len(where.classes)
        return UploadResult(
            collection_id=collection.hex(),
            collection=plan.collection,
            records=self.records,
            fields=fields,
            cells=self.records * fields,
            batches=sum(each.batches for each in self.results),
            sealed_bytes=sum(each.sealed_bytes for each in self.results),
            resumed_batches=sum(each.resumed_batches for each in self.results),
            seconds=seconds,
            notes=plan.source.notes,
            appended=True,
            replaced=self.replaced,
            unchanged=self.unchanged,
            left=max(0, where.records - self.records - self.unchanged),
        )


async def _remember(session: Session, survey: Survey, uploads: Set[bytes]) -> None:
    """Remember that a file is there, though it went in as an update: it is not added unasked.

    `uploads` brought it; none did where all of its rows were there as they are.
    """
    source = await asyncio.to_thread(survey.plan.source_id)
    session.store.uploads.remember(source, survey.collection, max(uploads, default=b""))


async def _expect_change(
    session: Session, survey: Survey, error: Refused | ManifestMismatch, attempt: int
) -> None:
    """Sync, and go on if somebody changed the collection meanwhile; else raise the error."""
    await session.sync_as_member()
    now = session.state.collections.get(survey.collection)
    ordinary = isinstance(error, ManifestMismatch) or error.refusal == OutOfOrder.code
    if not ordinary or now is None or attempt == ATTEMPTS - 1:
        raise error
    unseen = not {batch.upload for batch in now.batches} <= survey.seen
    if not unseen and not _starts_elsewhere(survey, now):
        raise error


def _starts_elsewhere(survey: Survey, now: Collection) -> bool:
    """Say whether blocks that were to be erased from are others by now."""
    current = {
        (batch.id, ref.field): ref.sha256 for batch in now.batches for ref in batch.manifest.blocks
    }
    return any(
        current.get((erasure.batch, block.field)) != block.before
        for group in survey.groups
        for erasure in group.erasures
        for block in erasure.blocks
    )
