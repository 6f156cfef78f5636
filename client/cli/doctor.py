"""`sealroom doctor`: whether this installation, this home and its servers are in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from client.cli.exits import DONE, FAILED
from client.cli.invocation import Invocation
from client.cli.output import print_facts, print_table, say, visible
from client.errors import InputError
from protocol.errors import SealroomError

if TYPE_CHECKING:
    from client.doctor import Diagnosis, Finding
    from client.speed import EngineSpeed, Rate

OFFLINE: Final = "--offline was given"


@click.command()
@click.option("--offline", is_flag=True, help="Ask for no passphrase, and no server anything.")
@click.pass_context
def doctor(context: click.Context, offline: bool) -> None:
    """Look whether everything is in order: versions, speed, keyring, logs, clock, servers.

    What this home keeps of each vault's log is verified once more, and each vault's server has to
    show a fresh checkpoint that continues it: one that was put back from a backup, has another
    history or lost the vault is told. Nothing is changed. The engines that seal and open are
    measured for a second. Ends with 1 where something is a problem.

    Example:
      sealroom doctor --offline
    """
    import asyncio

    from client.doctor import Subject, diagnose

    invocation: Invocation = context.obj
    subject = Subject(invocation.home, OFFLINE if offline else _why_shut(invocation))
    told = asyncio.run(diagnose(subject))
    document = {
        "in_order": told.in_order,
        "versions": told.versions,
        "engines": told.engines,
        "findings": told.findings,
    }
    invocation.show(document, lambda: _print_diagnosis(told))
    context.exit(DONE if told.in_order else FAILED)


def _why_shut(invocation: Invocation) -> str | None:
    """Open the keyring if there is one, and say why it stays shut where nobody gives a passphrase.

    Whatever else is wrong with it is for the diagnosis to find.
    """
    try:
        if invocation.home.keyring_path.exists():
            invocation.unlock()
    except InputError as error:
        return str(error)
    except SealroomError:
        return None
    return None


def _print_diagnosis(told: Diagnosis) -> None:
    print_facts(told.versions.items())
    say()
    print_table(
        ("engine", "", "seals/s", "MB/s", "of bare", "opens/s", "MB/s", "of bare"),
        [_engine_row(each) for each in told.engines],
    )
    say()
    for each in told.findings:
        _print_finding(each)


def _engine_row(each: EngineSpeed) -> tuple[str, ...]:
    state = "in use" if each.in_use else "here" if each.present else f"absent: {each.why_absent}"
    return (each.name, state, *_rate_cells(each.seal), *_rate_cells(each.open))


def _rate_cells(rate: Rate | None) -> tuple[str, str, str]:
    if rate is None:
        return "", "", ""
    bare = "" if rate.of_bare_loop is None else f"{rate.of_bare_loop:.2f}"
    return f"{rate.cells_per_second:,}", f"{rate.megabytes_per_second:,.1f}", bare


def _print_finding(each: Finding) -> None:
    say(f"{each.state.value}: {visible(each.about)}: {visible(each.told)}")
    if each.hint is not None:
        say(f"    {visible(each.hint)}")
