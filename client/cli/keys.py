"""`sealroom rotate`: new keys, for what is written next or for everything that is there."""

from __future__ import annotations

from collections.abc import Sequence

import click

from client.cli import options
from client.cli.invocation import Invocation
from client.cli.output import (
    age,
    counted,
    duration,
    how_many,
    lines_of,
    print_facts,
    say,
    size,
    visible,
)
from client.cli.progress import progress_bar
from client.results.keys import RotatePlan, RotateResult

GOES_ON = "Nothing is lost: everything reads as before. The same command goes on."


@click.command()
@options.collection_option("Only this collection; all if not given.")
@options.fields_option("Only these fields; all that you hold if not given.")
@click.option("--tainted", is_flag=True, help="Only what takes no new data until it is rotated.")
@click.option(
    "--reencrypt",
    is_flag=True,
    help="Seal everything that is there anew, and have the server delete what it replaces.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, for whom; do nothing.")
@click.pass_obj
def rotate(
    invocation: Invocation,
    collection: str | None,
    fields: tuple[tuple[str, ...], ...],
    tainted: bool,
    reencrypt: bool,
    dry_run: bool,
) -> None:
    """Replace keys: a new epoch for each field.

    What is written from now on is sealed with keys that only the present holders have. Records
    that are there stay under the keys that they have; with --reencrypt they are sealed anew, and
    appear under their new keys all at once. Whoever reads meanwhile is not disturbed. After any
    interruption the same command goes on.

    Example:
      sealroom rotate --collection customers
      sealroom rotate --fields phone --reencrypt --dry-run
    """
    wanted = options.joined(fields) or None
    if tainted and wanted:
        raise click.UsageError("--tainted chooses fields by itself: leave --fields out")
    if dry_run:
        plan = invocation.in_vault(
            lambda vault: vault.plan_rotation(
                collection=collection, fields=wanted, tainted=tainted, reencrypt=reencrypt
            )
        )
        invocation.show(plan, lambda: _print_plan(plan, reencrypt))
        return
    with progress_bar() as on_progress:
        done = invocation.in_vault(
            lambda vault: vault.rotate(
                collection=collection,
                fields=wanted,
                tainted=tainted,
                reencrypt=reencrypt,
                on_progress=on_progress,
            ),
            stopped=GOES_ON,
        )
    invocation.show(done, lambda: print_rotated(done))
    if not reencrypt:
        invocation.tell_what_is_left()


def print_rotated(done: RotateResult) -> None:
    """Print what got new keys, and what moved to them."""
    if done.index is None:
        say("nothing to rotate")
        return
    say(f"rotated: {how_many(done.fields)} (leaf {done.index:,} of the log)")
    moved = done.reencrypted
    print_facts(
        [
            ("fields", lines_of(done.fields, None)),
            ("wraps", f"{done.wraps:,}"),
            (
                "moved",
                None
                if moved is None
                else f"{counted(moved.cells, 'cell')} in {counted(moved.blocks, 'block')}, "
                f"{size(moved.sealed_bytes)}",
            ),
            (
                "resumed",
                f"{counted(moved.resumed_blocks, 'block')} were sealed before"
                if moved and moved.resumed_blocks
                else None,
            ),
            (
                "others",
                f"{counted(moved.moved_by_others, 'block')} changed meanwhile, and were left or "
                "moved by somebody else"
                if moved and moved.moved_by_others
                else None,
            ),
            (
                "retired",
                f"{counted(moved.retired, 'old key')}: the server deletes what lay under "
                f"{'it' if moved.retired == 1 else 'them'}"
                if moved
                else None,
            ),
            ("took", duration(done.seconds)),
        ]
    )


def print_left(left: Sequence[str]) -> None:
    """Print which keys were left behind, because they had been given false."""
    if left:
        say(f"left behind, for they were given to you false: {visible('; '.join(left))}")
        say("Have somebody else who holds them run 'sealroom rotate --reencrypt'.")


def _print_plan(plan: RotatePlan, reencrypt: bool) -> None:
    say(f"would rotate: {how_many(plan.fields)}; nothing was done")
    estimate = "no rate was measured in this home yet"
    if plan.seconds is not None:
        estimate = f"about {age(round(plan.seconds))}, at the rate of the last time"
    print_facts(
        [
            ("fields", lines_of(plan.fields, "none")),
            ("for", ", ".join(plan.holders) or "nobody"),
            (
                "moves",
                f"{counted(plan.cells, 'cell')} in {counted(plan.blocks, 'block')}, "
                f"{size(plan.sealed_bytes)}"
                if reencrypt
                else None,
            ),
            ("takes", estimate if reencrypt else None),
        ]
    )
