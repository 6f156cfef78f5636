"""`sealroom read`: tables out, to a file or to the screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.cli import options, table_options
from client.cli.invocation import Invocation
from client.cli.output import counted, duration, print_facts, say, size, visible
from client.cli.progress import progress_bar
from client.results.data import ReadResult

if TYPE_CHECKING:
    from client.cli.rows import Preview

PREVIEW_ROWS = 20


@click.command()
@click.argument("name")
@options.fields_option("The fields to read; all that you may if not given.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"How many records to read; all with --out, else {PREVIEW_ROWS}.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Only records that meet it: =, !=, <, <=, >, >=, or ~ for contains. All have to be met.",
)
@click.option(
    "--out",
    type=table_options.FILE,
    metavar="FILE",
    help="A .csv, .tsv, .xlsx, .parquet, .sqlite, .arrow or .jsonl file to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file that is there.")
@click.option(
    "--numbers", is_flag=True, help="A first column: each record's number, for 'sealroom erase'."
)
@table_options.writing
@click.pass_obj
def read(
    invocation: Invocation,
    /,
    name: str,
    fields: tuple[tuple[str, ...], ...],
    limit: int | None,
    where: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    numbers: bool,
    **said: Any,
) -> None:
    """Write a collection to a file, or show its first records.

    Every cell is verified. A file appears when all of it was verified, or not at all. On the
    screen control characters are escaped. A CSV file is written as the table came in, unless
    said otherwise. With --json and without --out the rows are in the
    document: numbers, texts and booleans as they are, bytes in base64, everything else
    (decimals, dates, times, infinities) as text, null as null.

    Example:
      sealroom read customers --fields name,country --out customers.csv
      sealroom read customers --where country=DE --where "spent>1000" --out german.xlsx
    """
    written = {name: value for name, value in said.items() if value not in (None, False)}
    if out is None and (overwrite or written):
        first = "overwrite" if overwrite else next(iter(written))
        raise click.UsageError(f"--{first.replace('_', '-')} goes with --out")
    wanted = options.joined(fields) or None
    if out is None:
        preview = _preview(invocation, name, wanted, limit or PREVIEW_ROWS, numbers, where)
        invocation.show(preview.document() if invocation.json else None, preview.print)
        return
    options_said = table_options.write_options(said)
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
                where=where,
                options=options_said,
            ),
            stopped="No file was written.",
        )
    invocation.show(done, lambda: _print_read(done))


def _preview(
    invocation: Invocation,
    name: str,
    fields: tuple[str, ...] | None,
    limit: int,
    numbers: bool,
    where: tuple[str, ...],
) -> Preview:
    from client.cli.rows import Preview
    from client.vault import Vault

    async def reading(vault: Vault) -> Preview:
        table = await vault.read(name, fields=fields, limit=limit, numbers=numbers, where=where)
        return Preview(await vault.collection(name), table, filtered=bool(where))

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
            *(("note", each) for each in done.notes),
        ]
    )
