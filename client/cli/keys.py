"""`sealroom rotate`: new keys for what is written next."""

from __future__ import annotations

import click

from client.cli import options
from client.cli.invocation import Invocation
from client.cli.output import counted, duration, print_facts, say, visible
from client.results import RotateResult


@click.command()
@options.collection_option("Only this collection; all if not given.")
@options.fields_option("Only these fields; all that you hold if not given.")
@click.pass_obj
def rotate(
    invocation: Invocation, collection: str | None, fields: tuple[tuple[str, ...], ...]
) -> None:
    """Replace keys: a new epoch for each field.

    What is written from now on is sealed with keys that only the present holders have. Records
    that are there stay under the keys that they have.

    Example:
      sealroom rotate --collection customers
    """
    done = invocation.in_vault(
        lambda vault: vault.rotate(collection=collection, fields=options.joined(fields) or None)
    )
    invocation.show(done, lambda: _print_rotated(done))


def _print_rotated(done: RotateResult) -> None:
    if done.index is None:
        say("nothing to rotate: you hold no field of it")
        return
    say(f"rotated: {counted(len(done.fields), 'field')} (leaf {done.index:,} of the log)")
    print_facts(
        [
            ("fields", visible(", ".join(done.fields))),
            ("wraps", f"{done.wraps:,}"),
            ("took", duration(done.seconds)),
        ]
    )
