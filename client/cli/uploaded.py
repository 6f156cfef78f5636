"""What an upload did, or would do, in words."""

from __future__ import annotations

from client.cli.output import counted, duration, print_facts, say, size, visible
from client.results.data import UploadPlan, UploadResult

Facts = list[tuple[str, str | None]]


def print_uploaded(done: UploadResult, replace_by: str | None) -> None:
    """Print what an upload did; of an update, what became of the records and of the rows."""
    fields, collection = counted(done.fields, "field"), visible(done.collection)
    updated = replace_by is not None and done.appended
    if updated:
        say(f"updated by {visible(replace_by or '')!r}: {collection}")
    else:
        how = "sealed and added to" if done.appended else "sealed and committed"
        say(f"{counted(done.records, 'record')} of {fields} {how}: {collection}")
    resumed = f"{counted(done.resumed_batches, 'batch', 'batches')} were there already"
    print_facts(
        [
            *(_of_update(done.records, done) if updated else []),
            ("cells", f"{done.cells:,}"),
            ("sealed", f"{size(done.sealed_bytes)} in {counted(done.batches, 'batch', 'batches')}"),
            ("resumed", resumed if done.resumed_batches else None),
            ("took", duration(done.seconds)),
            *(("note", each) for each in done.notes),
        ]
    )


def print_plan(plan: UploadPlan, replace_by: str | None) -> None:
    """Print what an upload would do, in the words in which it then says what it did."""
    fields, collection = counted(len(plan.fields), "field"), visible(plan.collection)
    records, there = plan.records or 0, plan.there
    updates = replace_by is not None and there is not None
    if updates:
        say(f"would update by {visible(replace_by or '')!r}: {collection}")
    else:
        into = "a new collection" if there is None else f"{counted(there, 'record')} in"
        say(f"would seal and send {counted(records, 'record')} of {fields} to {into}: {collection}")
    batches = counted(plan.batches or 0, "batch", "batches")
    print_facts(
        [
            *(_of_update(records, plan) if updates else []),
            ("sealed", f"{size(plan.sealed_bytes or 0)} in {batches}"),
            ("sealing", f"{duration(plan.sealing_seconds or 0)} on this machine"),
            (
                "would take",
                "nobody knows: nothing of some size was sent from this home yet"
                if plan.seconds is None
                else f"about {duration(plan.seconds)}, as fast as the last time",
            ),
            *(("note", each) for each in plan.notes),
        ]
    )
    say("nothing was sent")


def _of_update(records: int, of: UploadResult | UploadPlan) -> Facts:
    """Return what becomes of every row, and of the records that no row is about."""
    return [
        ("replaced", counted(of.replaced, "record")),
        ("added", counted(records - of.replaced, "record")),
        ("unchanged", counted(of.unchanged, "record")),
        ("left", f"{counted(of.left, 'record')} that no row is about; an update removes none"),
    ]
