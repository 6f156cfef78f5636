"""`sealroom collection`: what is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from client.cli import options
from client.cli.invocation import Invocation, confirmed
from client.cli.output import counted, note, print_facts, print_table, say, size, visible
from client.cli.vault import closed_text
from client.results.data import CollectionInfo, FieldInfo, GivenUp
from protocol.limits import DAY, LIMITS

LIES_DAYS: Final = LIMITS.staged_seconds // DAY


@click.group()
def collection() -> None:
    """List the vault's collections, show one, or end one.

    Example:
      sealroom collection list
    """


@collection.command(name="list")
@click.pass_obj
def list_collections(invocation: Invocation) -> None:
    """List the collections, by the names that you may know.

    Documents are counted apart. An upload that this home has not finished is told with its name,
    and with the commands that go on with it or give it up.

    Example:
      sealroom collection list
    """
    found = invocation.in_vault(lambda vault: vault.collections())
    tables = [each for each in found if each.documents is None]
    rows = [
        (
            _name(each),
            f"{each.records:,}",
            f"{len(each.fields):,}",
            f"{sum(field.readable for field in each.fields):,}",
            size(each.stored_bytes),
            each.collection_id[:16],
        )
        for each in tables
    ]

    def for_people() -> None:
        if rows:
            print_table(("collection", "records", "fields", "readable", "stored", "id"), rows)
        else:
            say("no collections yet")
        for each in found:
            if each.documents is not None:
                say(f"and {_documents(each)}: 'sealroom documents list' shows them")
        for each in found:
            for line in _under_way(each):
                say(line)
        closed = sum(each.closed for each in found)
        if closed:
            note(closed_text(closed))

    invocation.show({"collections": found}, for_people)


@collection.command()
@click.argument("name")
@click.pass_obj
def show(invocation: Invocation, name: str) -> None:
    """Show a collection: its fields, and which you may read.

    NAME is a name, an id, or the beginning of an id. An upload that this home has not finished is
    found by its name too.

    Example:
      sealroom collection show customers
    """
    found = invocation.in_vault(lambda vault: vault.collection(name))
    invocation.show(found, lambda: _print_collection(found))


@collection.command()
@click.argument("name")
@options.reason_option
@options.yes_option
@click.pass_obj
def retire(invocation: Invocation, name: str, reason: str, yes: bool) -> None:
    """End a collection: the server deletes its records and their keys, for ever.

    NAME is a name, an id, or the beginning of an id.

    Example:
      sealroom collection retire customers --reason retention
    """
    from protocol.acts import Reason

    confirmed(f"Delete the collection {visible(name)}, for ever?", yes)
    done = invocation.in_vault(lambda vault: vault.retire_collection(name, Reason(reason)))
    invocation.show(done, lambda: say(f"retired: {visible(name)} (leaf {done.index:,} of the log)"))


@collection.command(name="give-up")
@click.argument("name")
@click.pass_obj
def give_up(invocation: Invocation, name: str) -> None:
    """Give up the uploads to a collection that this home has begun and not finished.

    NAME is a name, an id, or the beginning of an id. What was sent of them nobody ever saw, and
    the server deletes it. The records that the collection has stay; one that has none ends.

    Example:
      sealroom collection give-up customers
    """
    done = invocation.in_vault(lambda vault: vault.give_up(name))
    invocation.show(done, lambda: _print_given_up(name, done))


def _print_given_up(name: str, done: GivenUp) -> None:
    say(f"given up: {counted(done.uploads, 'upload')} to {visible(name)}")
    if done.index is None:
        say(f"The server deletes what was sent after {LIES_DAYS} days; what was there stays.")
    else:
        say(f"The collection had no records, and is retired (leaf {done.index:,} of the log).")


def _print_collection(found: CollectionInfo) -> None:
    print_facts(
        [
            ("collection", _name(found)),
            ("id", found.collection_id),
            ("file", found.file),
            ("records", _records(found)),
            ("under way", tuple(each.strip() for each in _under_way(found)) or None),
            ("holds", None if found.documents is None else _documents(found)),
            ("stored", size(found.stored_bytes)),
            ("root", found.root),
        ]
    )
    say()
    print_table(
        ("field", "name", "type", "class", "you", "epochs"),
        [
            (
                str(field.number),
                visible(field.name or "-"),
                visible(field.type or "-"),
                field.field_class,
                "may read" if field.readable else "-",
                _epochs(field),
            )
            for field in found.fields
        ],
    )


def _records(found: CollectionInfo) -> str | None:
    if found.documents is not None:
        return None  # chunks, which nobody counts
    return f"{found.records:,} in {counted(found.batches, 'batch', 'batches')}"


def _documents(found: CollectionInfo) -> str:
    of_class = found.fields[0].field_class
    return f"{counted(found.documents or 0, 'document')} of class {of_class}"


def _name(found: CollectionInfo) -> str:
    if found.name:
        return visible(found.name)
    begun = next((each.collection for each in found.unfinished if each.collection), None)
    unfinished = " (unfinished upload)" if not found.batches else ""
    return visible(begun or found.collection_id[:16]) + unfinished


def _under_way(found: CollectionInfo) -> Iterator[str]:
    """Yield lines about each upload that this home has not finished: how much, and what next."""
    if found.documents is not None:
        return  # 'attach' says of its own what to do
    short = found.collection_id[:16]
    for each in found.unfinished:
        what = visible(each.collection or short)
        what += f", from {visible(each.file)}" if each.file else ""
        sent = f"{counted(each.records, 'record')} in {counted(each.batches, 'batch', 'batches')}"
        yield f"unfinished: {what}: {sent} sent"
        yield f"  The same 'sealroom upload' goes on; what was sent is kept for {LIES_DAYS} days."
        if found.batches:
            yield f"  'sealroom collection give-up {short}' gives it up; what is there stays."
        else:
            yield f"  'sealroom collection retire {short} --reason mistake' gives it up now."


def _epochs(field: FieldInfo) -> str:
    return f"{field.epochs:,}{', to be rotated' if field.tainted else ''}"
