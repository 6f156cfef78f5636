"""Whom names lead to, shown to a person before it is done: names are others' to change."""

from __future__ import annotations

from collections.abc import Sequence

import click

from client.cli import invocation
from client.cli.output import note, rows_of_words, visible
from client.errors import Interrupted
from client.results.people import MemberInfo


def ask_if_meant(
    given: invocation.Invocation, members: Sequence[str], question: str, *, said: bool
) -> None:
    """Show a person each of these, with its words, and ask, before what cannot be taken back.

    Whose words are still to be compared is asked about by that, not here. Where it was `said`, or
    nobody is there, nothing is shown.

    Raises:
        Interrupted: the answer is no.
    """
    if said or not invocation.somebody_there():
        return
    found = given.in_vault(lambda vault: vault.persons(members))
    for each in found:
        _show(each)
    if all(each.compared for each in found):
        invocation.confirmed(question, False)


def said_of_plan(
    given: invocation.Invocation, member: str, classes: tuple[str, ...]
) -> tuple[str, ...]:
    """Show a person what confirming grants and who planned it; return the classes that are meant.

    Those that the inviter could not grant itself are asked about, unless they were said. Where
    nobody is there, nothing is shown, and what was said counts.

    Raises:
        Interrupted: it is not meant.
    """
    if not invocation.somebody_there():
        return classes
    (found,) = given.in_vault(lambda vault: vault.persons([member]))
    if not found.planned:
        return classes
    name, planner = visible(found.name or found.member_id), visible(found.planned_by or "-")
    note(f"Confirming {name} grants: {visible(', '.join(found.planned))}, as {planner} planned.")
    unsaid = tuple(each for each in found.beyond if each not in classes)
    if unsaid:
        listed = ", ".join(unsaid)
        note(f"{planner} could not grant {listed}.")
        if not _agreed(f"Do you mean to grant {name} the class {listed}?"):
            raise Interrupted(
                "stopped",
                hint="Nobody was confirmed. "
                f"'sealroom withdraw MEMBER --classes {','.join(unsaid)}' ends the plan.",
            )
    return (*classes, *unsaid)


def _show(found: MemberInfo) -> None:
    note(f"{visible(found.name or '-')} ({found.role}, {found.member_id[:16]}), words:")
    for row in rows_of_words(found.words or ""):
        note(f"    {row}")


def _agreed(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        return False
