"""An upload without sending: everything is read, checked and sealed, and thrown away.

It is sealed under keys that are drawn for the purpose and forgotten, so that the figures are those
of the real thing, and nothing of it is of use to anybody.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from client.appending import collection_named, fitted, misspelt
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, seal_batch
from client.personal import Likeness, likenesses
from client.plans import RATE, Plan, batch_of
from client.results.data import PlannedField, UploadPlan
from client.results.progress import OnProgress, Progress
from client.session import Session
from client.surveying import surveyed
from client.table_uploads import refuse_repeated
from client.tables import Column
from client.under_way import expect_free
from client.uploads import expect_open
from protocol import acts
from protocol.blocks import FieldClass

KEY_BYTES: Final = 32


async def looked_at(session: Session, plan: Plan) -> UploadPlan:
    """Say where a table would go, and as what, by its columns alone.

    Raises:
        InputError: there is a collection of that name, which the table does not fit.
        Refused: the ledger does not allow it; or this home has another one under way to a new
            collection of that name.
    """
    there = await collection_named(session, plan.collection)
    like: dict[str, Likeness] = {}
    if there is None:
        session.expect_allowed(acts.DefineCollection(secrets.token_bytes(16), plan.classes))
        if said := await misspelt(session, plan.collection):
            plan.source.note(said)
        await expect_free(session, plan)
        like = await asyncio.to_thread(likenesses, plan.source)
    else:
        plan = fitted(session, plan, *there)
        expect_open(session, plan.classes)
    fields = tuple(
        _planned(column, its_class, None if column.name in plan.named else like.get(column.name))
        for column, its_class in zip(plan.source.columns, plan.classes, strict=True)
    )
    records = None if there is None else there[0].records
    return UploadPlan(plan.collection, records, fields, notes=plan.source.notes)


def _planned(column: Column, its_class: FieldClass, like: Likeness | None) -> PlannedField:
    named = PlannedField(column.name, column.type, its_class.name.lower())
    if like is None or like.least <= its_class:
        return named
    return replace(named, looks_like=like.what, looked_at=like.by, advised=like.least.name.lower())


async def rehearsed(
    session: Session, plan: Plan, replace_by: str | None, on_progress: OnProgress
) -> UploadPlan:
    """Do everything that an upload does but send; return what it would come to.

    Raises:
        InputError, Refused, TableError: what the upload would end with before it sends.
    """
    looked = await looked_at(session, plan)
    there = await collection_named(session, plan.collection)
    await plan.look_into()
    plans: Iterable[Plan]
    survey = None
    if replace_by is not None:
        survey = await surveyed(session, plan, replace_by, on_progress)
    if survey is not None:
        plans = survey.uploads()
    elif there is None:
        plans = [plan]
    else:
        fits = fitted(session, plan, *there)
        refuse_repeated(session, fits, there[0].id, await asyncio.to_thread(fits.source_id))
        plans = [fits]
    sealed = _Sealed()
    started = time.monotonic()
    for each in plans:
        steps = sealed.steps(each)
        while (done := await asyncio.to_thread(next, steps, None)) is not None:
            total = each.source.total_rows
            on_progress(Progress("sealing, to measure", done, total, "records"))
    rate = session.store.rate(RATE)
    return replace(
        looked,
        records=sealed.records,
        replaced=survey.replaced if survey else 0,
        unchanged=survey.unchanged if survey else 0,
        left=(looked.there or 0) - survey.replaced - survey.unchanged if survey else 0,
        batches=sealed.batches,
        sealed_bytes=sealed.bytes,
        sealing_seconds=time.monotonic() - started,
        seconds=None if rate is None else sealed.bytes / rate,
        notes=plan.source.notes,
    )


@dataclass(slots=True)
class _Sealed:
    """What was sealed so far, and forgotten."""

    records: int = 0
    batches: int = 0
    bytes: int = 0

    def steps(self, plan: Plan) -> Iterator[int]:
        """Seal a table under keys of no use, a batch a step; yield how many of its rows are."""
        done = 0
        keys = [secrets.token_bytes(KEY_BYTES) for _ in plan.classes]

        def column(number: int, cells: Cells) -> ColumnToSeal:
            return ColumnToSeal(number, 1, plan.classes[number], keys[number], cells)

        for table in plan.source.batches(plan.batch_rows):
            at = 0
            while at < table.num_rows:
                batch = seal_batch(batch_of(table.slice(at), column))
                at += batch.manifest.records
                self.batches += 1
                self.bytes += sum(ref.length for ref in batch.manifest.blocks)
            done += table.num_rows
            self.records += table.num_rows
            yield done
