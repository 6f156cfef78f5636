"""`sealroom erase`: records that go for ever, and names that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.cli import options
from client.cli.invocation import Invocation, confirmed
from client.cli.output import counted, duration, print_facts, say, visible
from client.cli.progress import progress_bar
from client.results.data import EraseResult

if TYPE_CHECKING:
    from client.vault import Vault


@click.command()
@click.argument("collection", metavar="[COLLECTION]", required=False)
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
@click.option(
    "--names-by",
    metavar="MEMBER",
    help="What a member, also a removed one, wrote for names of people and nobody goes by.",
)
@options.reason_option
@options.yes_option
@click.pass_obj
def erase(
    invocation: Invocation,
    collection: str | None,
    records: tuple[int, ...] | None,
    unreadable: bool,
    names_by: str | None,
    reason: str,
    yes: bool,
) -> None:
    """Erase records for ever: their cells go from every field and every epoch.

    It needs no key, so an admin without keys can do it too. The server overwrites what it
    deletes in its own files; backups, and whoever has read the records, keep what they have.
    Other records keep their numbers.

    Example:
      sealroom erase customers --records 17,204-210 --reason request
      sealroom erase --names-by Kim --reason breach
    """
    if (records is not None) + unreadable + (names_by is not None) != 1:
        raise click.UsageError("give one of --records, --unreadable and --names-by")
    if (collection is None) != (names_by is not None):
        raise click.UsageError("--names-by goes without a collection, and the others with one")
    if names_by is not None:
        what = f"what {visible(names_by)} wrote for names, and nobody goes by,"
    else:
        what = "what does not open" if records is None else counted(len(records), "record")
        what += f" of {visible(collection or '')}"
    confirmed(f"Erase {what} for ever?", yes)
    done = _erased(invocation, collection, records, names_by, reason)
    invocation.show(done, lambda: _print_erased(done))


def _erased(
    invocation: Invocation,
    collection: str | None,
    records: tuple[int, ...] | None,
    names_by: str | None,
    reason: str,
) -> EraseResult:
    from protocol.acts import Reason

    with progress_bar() as on_progress:

        async def erasing(vault: Vault) -> EraseResult:
            if names_by is not None:
                return await vault.erase_names(
                    names_by, reason=Reason(reason), on_progress=on_progress
                )
            return await vault.erase(
                collection or "",
                records or (),
                unreadable=records is None,
                reason=Reason(reason),
                on_progress=on_progress,
            )

        return invocation.in_vault(
            erasing,
            stopped="'sealroom log' shows what is erased; the same command does the rest.",
        )


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
