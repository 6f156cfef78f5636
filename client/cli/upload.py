"""`sealroom upload`: a table in."""

from __future__ import annotations

from typing import Any

import click

from client.cli import options, table_options
from client.cli.completing import files
from client.cli.invocation import Invocation, somebody_there
from client.cli.output import counted, duration, print_facts, say, size, visible
from client.cli.progress import progress_bar
from client.results import UploadResult

GOES_ON = "The same command goes on where it stopped."


@click.command()
@click.argument("file", shell_complete=files)
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
@table_options.reading
@click.option("--yes", is_flag=True, help="Take everything as it was found, and do not ask.")
@click.pass_obj
def upload(
    invocation: Invocation,
    /,
    file: str,
    collection: str,
    field_classes: tuple[tuple[str, str], ...],
    default_class: str,
    yes: bool,
    **said: Any,
) -> None:
    """Seal a table and commit it as a new collection.

    FILE is CSV or other delimited text (also packed by gzip, bzip2 or zip), Excel, SQLite,
    Parquet, Arrow, JSON lines, vCard contacts, or the address of a database. How it is read is
    found out, shown with the first rows, and on a terminal asked about; a script says what is
    not sure, or --yes. Every field has a class, and grants are by class: general, sensitive or
    core. After any interruption the same command goes on where it stopped.

    Example:
      sealroom upload customers.csv --collection customers --class iban=core
      sealroom upload export.csv --collection crm --encoding gb18030 --header-row 3 --footer 1
      sealroom upload book.xlsx --collection sales --sheet 2024
      sealroom upload postgresql://me@db.example.com/crm --collection crm --table customers
    """
    named = _each_once(field_classes)
    from client.cli.outlook import Outlook
    from client.tables import open_source
    from client.uploads import plan_upload
    from client.vault import field_class

    asking = somebody_there() and not yes and not invocation.json
    source = open_source(file, table_options.read_options(file, said, guess=yes or asking))
    classes = {field: field_class(each) for field, each in named.items()}
    # So that a class for a column that is not there stops before anybody is asked anything.
    plan_upload(source, collection, classes, field_class(default_class))
    invocation.demand_keyring()
    if not invocation.json:
        outlook = Outlook(source, named, default_class)
        outlook.print()
        if asking:
            outlook.confirm(collection)
    with progress_bar() as on_progress:
        done = invocation.in_vault(
            lambda vault: vault.upload(
                source,
                collection=collection,
                classes=classes,
                default=field_class(default_class),
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
