"""`sealroom log`: what happened in a vault, as the replayed log has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from client.cli.invocation import Invocation
from client.cli.output import age, counted, moment, print_facts, print_table, say, visible
from client.results import LogResult, as_json


@click.command()
@click.option("--verify", is_flag=True, help="Replay all of it once more, from the first leaf.")
@click.pass_obj
def log(invocation: Invocation, verify: bool) -> None:
    """Show who did what, in order. Every leaf was verified before it is shown.

    The checkpoint below is what to compare with other members: two that contradict each other
    prove that the server shows different histories.

    Example:
      sealroom log --verify
    """
    found = invocation.in_vault(lambda vault: vault.log(verify=verify))
    invocation.show(found, lambda: _print_log(found))


def _print_log(found: LogResult) -> None:
    rows = [
        (
            f"{entry.index:,}",
            entry.kind,
            visible(entry.author_name or (entry.author or "the server")[:16]),
            _detail(entry.detail),
        )
        for entry in found.entries
    ]
    print_table(("leaf", "what", "who", "detail"), rows)
    say()
    again = (
        f"{counted(found.verified, 'leaf', 'leaves')}, from the first" if found.verified else None
    )
    print_facts(
        [
            ("vault", found.vault_id),
            ("size", counted(found.size, "leaf", "leaves")),
            ("root", found.root),
            ("head", f"{age(found.checkpoint_age)} old"),
            ("replayed", again),
        ]
    )
    say("checkpoint")
    for line in found.checkpoint.splitlines():
        say(f"    {visible(line)}".rstrip())


def _detail(detail: Mapping[str, Any]) -> str:
    parts = []
    for name, value in as_json(detail).items():
        shown = moment(value) if name == "expires" else value
        text = ", ".join(map(str, shown)) if isinstance(shown, list) else str(shown)
        parts.append(f"{name} {text or '-'}")
    return visible("; ".join(parts))
