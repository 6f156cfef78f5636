"""`sealroom erase`: records that go for ever."""

from __future__ import annotations

import click

from client.cli import options
from client.cli.invocation import Invocation, confirmed
from client.cli.output import counted, duration, print_facts, say, visible
from client.cli.progress import progress_bar
from client.results import EraseResult


@click.command()
@click.argument("collection", metavar="COLLECTION")
@click.option(
    "--records",
    "records",
    type=options.record_numbers,
    metavar="N,N-M,...",
    help="Which records, counted from 1; 'sealroom read NAME --numbers' shows the numbers.",
)
@click.option(
    "--unreadable",
    is_flag=True,
    help="Everything that you ought to open and cannot: what a false key or a false writer left.",
)
@options.reason_option
@options.yes_option
@click.pass_obj
def erase(
    invocation: Invocation,
    collection: str,
    records: tuple[int, ...] | None,
    unreadable: bool,
    reason: str,
    yes: bool,
) -> None:
    """Erase records for ever: their cells go from every field and every epoch.

    It needs no key, so an admin without keys can do it too. The server overwrites what it
    deletes in its own files; backups, and whoever has read the records, keep what they have.
    Other records keep their numbers.

    Example:
      sealroom erase customers --records 17,204-210 --reason request
    """
    from protocol.acts import Reason

    if (records is None) == (not unreadable):
        raise click.UsageError("name records with --records, or give --unreadable")
    what = "what does not open" if records is None else counted(len(records), "record")
    confirmed(f"Erase {what} of {visible(collection)} for ever?", yes)
    with progress_bar() as on_progress:
        done = invocation.in_vault(
            lambda vault: vault.erase(
                collection,
                records or (),
                unreadable=unreadable,
                reason=Reason(reason),
                on_progress=on_progress,
            ),
            stopped="'sealroom log' shows what is erased; the same command does the rest.",
        )
    invocation.show(done, lambda: _print_erased(done))


def _print_erased(done: EraseResult) -> None:
    say(f"erased: {counted(done.records, 'record')} of {visible(done.collection)}")
    leaves = ", ".join(f"{index:,}" for index in done.acts)
    print_facts(
        [
            ("before", f"{done.already_gone:,} were gone already" if done.already_gone else None),
            ("log", f"{'leaf' if len(done.acts) == 1 else 'leaves'} {leaves}" if leaves else None),
            ("took", duration(done.seconds)),
        ]
    )
