"""`sealroom upload`, `collection` and `read`: tables in, what is there, and tables out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from client.cli import options
from client.cli.invocation import Invocation, confirmed
from client.cli.output import counted, duration, print_facts, print_table, say, size, visible
from client.cli.progress import progress_bar
from client.results import CollectionInfo, FieldInfo, ReadResult, UploadResult

if TYPE_CHECKING:
    from client.cli.rows import Preview

PREVIEW_ROWS = 20
GOES_ON = "The same command goes on where it stopped."

FILE = click.Path(path_type=Path)


# --- in


@click.command()
@click.argument("file", type=FILE)
@click.option(
    "--collection", required=True, type=options.name, metavar="NAME", help="What to call it."
)
@click.option(
    "--class",
    "field_classes",
    multiple=True,
    type=options.class_of,
    metavar="FIELD=CLASS",
    help=f"A field's class: {', '.join(options.CLASSES)}. Can be given more than once.",
)
@click.option(
    "--default-class",
    type=click.Choice(options.CLASSES),
    default="sensitive",
    show_default=True,
    help="The class of every other field.",
)
@click.option("--encoding", metavar="NAME", help="A CSV file's encoding; UTF-8 if not given.")
@click.option("--delimiter", metavar="CHAR", help="A CSV file's delimiter; detected if not given.")
@click.option(
    "--null-text",
    metavar="TEXT",
    help="The text of a CSV cell that means null; none does if not given.",
)
@click.pass_obj
def upload(
    invocation: Invocation,
    file: Path,
    collection: str,
    field_classes: tuple[tuple[str, str], ...],
    default_class: str,
    encoding: str | None,
    delimiter: str | None,
    null_text: str | None,
) -> None:
    """Seal a table and commit it as a new collection.

    FILE is CSV or Parquet, and is sealed cell by cell before it is sent. Every field has
    a class, and grants are by class: general, sensitive or core. After any interruption the
    same command goes on where it stopped.

    Example:
      sealroom upload customers.csv --collection customers --class iban=core
    """
    named = _each_once(field_classes)
    _demand_readable(file)
    from client.vault import UploadOptions, field_class

    with progress_bar() as on_progress:
        done = invocation.in_vault(
            lambda vault: vault.upload(
                file,
                collection=collection,
                classes={field: field_class(each) for field, each in named.items()},
                default=field_class(default_class),
                options=UploadOptions(encoding, delimiter, null_text),
                on_progress=on_progress,
            ),
            stopped=GOES_ON,
        )
    invocation.show(done, lambda: _print_uploaded(done))


def _each_once(field_classes: tuple[tuple[str, str], ...]) -> dict[str, str]:
    named: dict[str, str] = {}
    for field, its_class in field_classes:
        if named.setdefault(field, its_class) != its_class:
            raise click.BadParameter(f"two classes for {field!r}", param_hint="'--class'")
    return named


def _demand_readable(file: Path) -> None:
    """Find a mistyped path before anybody types a passphrase for it."""
    from client.tables.source import open_binary

    with open_binary(file):
        pass


def _print_uploaded(done: UploadResult) -> None:
    what = f"{counted(done.records, 'record')} of {counted(done.fields, 'field')}"
    say(f"{what} sealed and committed: {visible(done.collection)}")
    resumed = f"{counted(done.resumed_batches, 'batch', 'batches')} were there already"
    print_facts(
        [
            ("cells", f"{done.cells:,}"),
            ("sealed", f"{size(done.sealed_bytes)} in {counted(done.batches, 'batch', 'batches')}"),
            ("resumed", resumed if done.resumed_batches else None),
            ("took", duration(done.seconds)),
            *(("note", each) for each in done.notes),
        ]
    )


# --- what is there


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

    Example:
      sealroom collection list
    """
    found = invocation.in_vault(lambda vault: vault.collections())
    rows = [
        (
            _name(each),
            f"{each.records:,}",
            f"{len(each.fields):,}",
            f"{sum(field.readable for field in each.fields):,}",
            size(each.stored_bytes),
            each.collection_id[:16],
        )
        for each in found
    ]

    def for_people() -> None:
        if rows:
            print_table(("collection", "records", "fields", "readable", "stored", "id"), rows)
        else:
            say("no collections yet")

    invocation.show({"collections": found}, for_people)


@collection.command()
@click.argument("name")
@click.pass_obj
def show(invocation: Invocation, name: str) -> None:
    """Show a collection: its fields, and which you may read.

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

    Example:
      sealroom collection retire customers --reason retention
    """
    from protocol.acts import Reason

    confirmed(f"Delete the collection {visible(name)}, for ever?", yes)
    done = invocation.in_vault(lambda vault: vault.retire_collection(name, Reason(reason)))
    invocation.show(done, lambda: say(f"retired: {visible(name)} (leaf {done.index:,} of the log)"))


def _print_collection(found: CollectionInfo) -> None:
    print_facts(
        [
            ("collection", _name(found)),
            ("id", found.collection_id),
            ("file", found.file),
            ("records", f"{found.records:,} in {counted(found.batches, 'batch', 'batches')}"),
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


def _name(found: CollectionInfo) -> str:
    if found.name:
        return visible(found.name)
    unfinished = " (unfinished upload)" if not found.batches else ""
    return found.collection_id[:16] + unfinished


def _epochs(field: FieldInfo) -> str:
    return f"{field.epochs:,}{', to be rotated' if field.tainted else ''}"


# --- out


@click.command()
@click.argument("name")
@options.fields_option("The fields to read; all that you may if not given.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"How many records to read; all with --out, else {PREVIEW_ROWS}.",
)
@click.option("--out", type=FILE, metavar="FILE", help="A .csv, .tsv or .parquet file to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file that is there.")
@click.option(
    "--numbers", is_flag=True, help="A first column: each record's number, for 'sealroom erase'."
)
@click.pass_obj
def read(
    invocation: Invocation,
    name: str,
    fields: tuple[tuple[str, ...], ...],
    limit: int | None,
    out: Path | None,
    overwrite: bool,
    numbers: bool,
) -> None:
    """Write a collection to a file, or show its first records.

    Every cell is verified. A file appears when all of it was verified, or not at all. On the
    screen control characters are escaped. With --json and without --out the rows are in the
    document: numbers, texts and booleans as they are, bytes in base64, everything else
    (decimals, dates, times, infinities) as text, null as null.

    Example:
      sealroom read customers --fields name,country --out customers.csv
    """
    if overwrite and out is None:
        raise click.UsageError("--overwrite goes with --out")
    wanted = options.joined(fields) or None
    if out is None:
        preview = _preview(invocation, name, wanted, limit or PREVIEW_ROWS, numbers)
        invocation.show(preview.document() if invocation.json else None, preview.print)
        return
    with progress_bar() as on_progress:
        done = invocation.in_vault(
            lambda vault: vault.export(
                name,
                fields=wanted,
                limit=limit,
                path=out,
                overwrite=overwrite,
                numbers=numbers,
                on_progress=on_progress,
            ),
            stopped="No file was written.",
        )
    invocation.show(done, lambda: _print_read(done))


def _preview(
    invocation: Invocation, name: str, fields: tuple[str, ...] | None, limit: int, numbers: bool
) -> Preview:
    from client.cli.rows import Preview
    from client.vault import Vault

    async def reading(vault: Vault) -> Preview:
        table = await vault.read(name, fields=fields, limit=limit, numbers=numbers)
        return Preview(await vault.collection(name), table)

    return invocation.in_vault(reading, stopped="Nothing was changed.")


def _print_read(done: ReadResult) -> None:
    say(
        f"{counted(done.records, 'record')} of {counted(len(done.fields), 'field')} verified and "
        f"written to {visible(done.path or '')}"
    )
    print_facts(
        [
            ("cells", f"{done.cells:,}"),
            ("fetched", size(done.fetched_bytes)),
            ("took", duration(done.seconds)),
        ]
    )
