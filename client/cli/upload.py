"""`sealroom upload`: tables in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from client.cli import options, table_options
from client.cli.completing import files
from client.cli.invocation import Invocation, somebody_there
from client.cli.meant import Choice
from client.cli.output import note, say, visible
from client.cli.progress import progress_bar
from client.cli.uploaded import print_plan, print_uploaded
from client.results.data import PlannedField, UploadPlan

if TYPE_CHECKING:
    from client.tables import Source

GOES_ON = "The same command goes on where it stopped."


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=files)
@click.option(
    "--collection",
    required=True,
    type=options.name,
    metavar="NAME",
    help="What to call it; where there is one of that name, or id, the records are added to it.",
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
    type=Choice(options.CLASSES),
    help="The class of every other field; sensitive if not given, or what it is there.",
)
@click.option(
    "--replace-by",
    metavar="FIELD",
    help="Rows replace the records with the same value in this field; others are added.",
)
@click.option("--again", is_flag=True, help="Add a file again that was uploaded there before.")
@table_options.reading
@click.option("--dry-run", is_flag=True, help="Do everything but send; say what it comes to.")
@click.option("--yes", is_flag=True, help="Take everything as it was found, and do not ask.")
@click.pass_obj
def upload(
    invocation: Invocation,
    /,
    files: tuple[str, ...],
    collection: str,
    field_classes: tuple[tuple[str, str], ...],
    default_class: str | None,
    replace_by: str | None,
    again: bool,
    dry_run: bool,
    yes: bool,
    **said: Any,
) -> None:
    """Seal tables and commit them as a collection, or add them to the one of that name.

    FILE is CSV or other delimited text (also packed by gzip, bzip2 or zip), Excel, SQLite,
    Parquet, Arrow, JSON lines, vCard contacts, or the address of a database. How it is read is
    found out, shown with the first rows, and on a terminal asked about; a script says what is
    not sure, or --yes. Several files go in as one table; all are looked at before anything is
    sent. A table that does not fit the collection is refused, field by field. --dry-run shows all
    that was found, and what of it a script has to say; in a script it then fails as the upload.

    Every field has a class, and grants are by class: general, sensitive or core. Columns that
    look like core data and were given no class are pointed out.

    With --replace-by records are updated, in one step where 64 MiB hold them. After any
    interruption the same command goes on where it stopped.

    Example:
      sealroom upload customers.csv --collection customers --class iban=core
      sealroom upload export.csv --collection crm --encoding gb18030 --header-row 3 --footer 1
      sealroom upload book.xlsx --collection sales --sheet 2024
      sealroom upload postgresql://me@db.example.com/crm --collection crm --table customers
      sealroom upload 2025-*.csv --collection orders --dry-run
      sealroom upload today.csv --collection customers --replace-by id
    """
    named = _each_once(field_classes)
    from client.appending import as_one
    from client.cli.outlook import Outlook
    from client.plans import plan_upload
    from client.tables import open_source
    from client.tables.findings import NO_ROWS, demand_sure, options_of
    from client.tables.source import is_bare_export
    from client.vault import field_class

    if len(files) > 1 and said["set_aside"] is not None:
        raise click.UsageError("--set-aside names one file; --on-error set-aside one for each")
    deciding = somebody_there() and not yes and not invocation.json
    asking = deciding and not dry_run
    # A rehearsal shows everything that a script has to decide, and not the first of it alone.
    guess = yes or deciding or dry_run
    sources = [
        open_source(file, table_options.read_options(file, dict(said), guess=guess))
        for file in files
    ]
    for each in sources:
        if is_bare_export(each):
            each.findings = (*each.findings, NO_ROWS)
            demand_sure(() if guess else (NO_ROWS,))
    source = as_one(sources)
    findings = tuple(chain.from_iterable(each.findings for each in sources))
    asked: dict[str, Any] = {
        "collection": collection,
        "classes": {field: field_class(each) for field, each in named.items()},
        "default": None if default_class is None else field_class(default_class),
        "again": again,
    }
    # So that a class for a column that is not there stops before anybody is asked anything.
    plan_upload(source, collection, asked["classes"], asked["default"])
    asked |= {} if replace_by is None else {"replace_by": replace_by}
    invocation.demand_keyring()
    if not invocation.json:
        looked = invocation.in_vault(
            lambda vault: vault.plan_upload(source, rehearse=False, **asked)
        )
        outlook = _printed(sources, looked, Outlook)
        if asking:
            outlook.confirm(looked, replace_by, *(each.findings for each in sources[:-1]))
    if dry_run:
        undecided = () if yes else tuple(each for each in findings if not each.sure)
        if invocation.json:
            demand_sure(undecided)
        with progress_bar() as on_progress:
            plan = invocation.in_vault(
                lambda vault: vault.plan_upload(source, on_progress=on_progress, **asked),
                stopped="Nothing was sent.",
            )
        invocation.show(plan, lambda: print_plan(plan, replace_by))
        if not deciding:
            demand_sure(undecided)
        elif undecided:
            say(
                f"a script would have to say: {options_of(undecided)}--yes takes it as it was found"
            )
        return
    with progress_bar() as on_progress:
        done = invocation.in_vault(
            lambda vault: vault.upload(source, on_progress=on_progress, **asked), stopped=GOES_ON
        )
    invocation.show(done, lambda: print_uploaded(done, replace_by))


def _each_once(field_classes: tuple[tuple[str, str], ...]) -> dict[str, str]:
    named: dict[str, str] = {}
    for field, its_class in field_classes:
        if named.setdefault(field, its_class) != its_class:
            raise click.BadParameter(f"two classes for {field!r}", param_hint="'--class'")
    return named


def _printed(
    sources: Sequence[Source],
    looked: UploadPlan,
    outlook: Callable[[Source, dict[str, PlannedField]], Any],
) -> Any:
    """Show every table with the classes that its fields have, or get; return the last one shown."""
    fields = {field.name: field for field in looked.fields}
    shown = None
    for source in sources:
        shown = outlook(source, fields)
        shown.print()
    for each in dict.fromkeys(looked.notes):
        if all(each not in source.notes for source in sources):
            note(f" ! {visible(each)}")
    return shown
