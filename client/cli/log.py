"""`sealroom log`: what happened in a vault, as the replayed log has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import click

from client.cli.exits import tell
from client.cli.invocation import Invocation
from client.cli.output import (
    Cell,
    age,
    counted,
    moment,
    note,
    print_facts,
    print_table,
    say,
    visible,
)
from client.results import as_json
from client.results.log import OBSERVATION, LogEntry, LogResult
from protocol.errors import VerificationFailed

_MOMENTS: Final = ("expires", "time")
MOST_NAMED: Final = 8


@click.command()
@click.option("--verify", is_flag=True, help="Replay all of it once more, from the first leaf.")
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="A line for each leaf: reads that the server observed are told in one line otherwise. "
    "With --json each leaf is there anyhow.",
)
@click.pass_context
def log(context: click.Context, verify: bool, every: bool) -> None:
    """Show who did what, in order. Every leaf was verified before it is shown.

    Reads between two acts are told in one line: how many, by whom, and when, as far as your role
    may know it. The checkpoint below is what to compare with other members: two that contradict
    each other prove that the server shows different histories.

    That somebody read is the server's word, which it has signed. Where the log rules out what it
    says, that is told on a line of its own, and the command ends with 4.

    Example:
      sealroom log --verify
      sealroom log --all
    """
    invocation: Invocation = context.obj
    found = invocation.in_vault(lambda vault: vault.log(verify=verify))
    invocation.show(found, lambda: _print_log(found, every=every))
    if found.false_observations:
        context.exit(tell(_false(found.false_observations), as_json=False))


def _false(observations: Sequence[int]) -> VerificationFailed:
    shown = ", ".join(f"{each:,}" for each in observations[:MOST_NAMED])
    more = ", ..." if len(observations) > MOST_NAMED else ""
    return VerificationFailed(
        f"{counted(len(observations), 'observation')} of the server cannot be true, at leaf "
        f"{shown}{more}",
        hint="The server has signed them: keep this home as it is, and ask who runs it. Blame "
        "nobody for such a read.",
    )


def _print_log(found: LogResult, *, every: bool) -> None:
    rows = [_row(each) for each in found.entries] if every else list(_folded(found.entries))
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
    if len(rows) < len(found.entries):
        note("reads are told in one line for each time between two acts: --all shows each")


def _folded(entries: Sequence[LogEntry]) -> Iterator[Sequence[Cell]]:
    """Yield a row for each act, and one for all reads that were observed between two.

    A read that cannot have been is no read, and has a row of its own.
    """

    def is_read(each: LogEntry) -> bool:
        return each.kind == OBSERVATION and "untrue" not in each.detail

    for observed, run in groupby(entries, is_read):
        together = list(run)
        if observed and len(together) > 1:
            yield _reads(together)
        else:
            yield from map(_row, together)


def _row(entry: LogEntry) -> Sequence[Cell]:
    who = visible(entry.author_name or (entry.author or "the server")[:16])
    return (f"{entry.index:,}", entry.kind, who, _detail(entry.detail))


def _reads(run: Sequence[LogEntry]) -> Sequence[Cell]:
    where = f"{run[0].index:,}-{run[-1].index:,}"
    told = f"{len(run):,} reads"
    readers = dict.fromkeys(each.detail["who"] for each in run if "who" in each.detail)
    if readers:
        times = [each.detail["time"] for each in run if "time" in each.detail]
        told += f" by {counted(len(readers), 'member')} ({visible(', '.join(readers))})"
        first, last = moment(min(times)), moment(max(times))
        told += f", at {first}" if first == last else f", from {first} to {last}"
    return (where, "observations", "the server", told)


def _detail(detail: Mapping[str, Any]) -> str:
    told = as_json(detail)
    untrue = told.pop("untrue", None)
    parts = [] if untrue is None else [f"FALSE: {untrue}"]
    for name, value in told.items():
        shown = moment(value) if name in _MOMENTS else value
        text = ", ".join(map(str, shown)) if isinstance(shown, list) else str(shown)
        parts.append(f"{name} {text or '-'}")
    return visible("; ".join(parts))
