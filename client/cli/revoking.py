"""`sealroom revoke`: removing a member, and what it could read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from client.cli import options
from client.cli.advice import THE_REST, WHY_NO_KEYS
from client.cli.exits import REFUSED
from client.cli.invocation import Invocation
from client.cli.keys import print_rotated
from client.cli.output import counted, lines_of, print_facts, say, visible
from client.cli.progress import progress_bar
from client.results.keys import KeysWait, RevokePlan, RevokeResult, Undone

CUT = "'sealroom members' shows whether it is removed; the same command does the rest."
UNDONE: Final[Mapping[Undone, str]] = {
    Undone.REENCRYPT: "--reencrypt, sealing anew what it could read",
    Undone.REINVITE: "--reinvite, inviting it anew",
}
"""What was asked beside the removal, and is not done."""


@click.command()
@click.argument("member")
@options.reason_option
@click.option(
    "--reencrypt",
    is_flag=True,
    help="Seal what it could read anew, and have the server delete what it replaces.",
)
@click.option(
    "--reinvite",
    is_flag=True,
    help="Invite the same person anew, with the same role and grants: for lost or stolen keys.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")
@click.pass_context
def revoke(
    context: click.Context,
    member: str,
    reason: str,
    reencrypt: bool,
    reinvite: bool,
    dry_run: bool,
) -> None:
    """Remove a member, then replace every key that it held.

    Its access ends at once, with its invites and unfinished uploads. What it could read until
    then it may have kept; what is written from now on it cannot open. With --reencrypt the
    server then has nothing more that its keys open. A removed member comes back only as a new
    one.

    While the vault is offered or frozen no keys are replaced and nobody is invited: what of that
    was asked is told, the command ends with 3, and later the same command does it.

    Example:
      sealroom revoke Ann --reason lost-bid --dry-run
      sealroom revoke Ann --reason key-lost --reinvite
    """
    from protocol.acts import Reason

    invocation: Invocation = context.obj
    if dry_run:
        plan = invocation.in_vault(
            lambda vault: vault.plan_revocation(member, reencrypt=reencrypt, reinvite=reinvite)
        )
        invocation.show(plan, lambda: _print_plan(plan))
        _end(context, plan)
        return
    with progress_bar() as on_progress:
        done = invocation.in_vault(
            lambda vault: vault.revoke(
                member,
                Reason(reason),
                reencrypt=reencrypt,
                reinvite=reinvite,
                on_progress=on_progress,
            ),
            stopped=CUT,
        )
    invocation.show(done, lambda: _print_revoked(done))
    _end(context, done)


def _end(context: click.Context, told: RevokePlan | RevokeResult) -> None:
    """End as refused where something that was asked cannot be done now."""
    if told.undone:
        context.exit(REFUSED)


def _print_revoked(done: RevokeResult) -> None:
    say(f"removed: {visible(done.name or done.member_id)} (leaf {done.index:,} of the log)")
    print_facts(
        [
            ("could read", lines_of(done.could_read, "nothing")),
            ("did read", _reads(done.admitted_reads, done.admitted_blocks)),
            ("withdrawn", _invites(done.voided_invites)),
            ("left", lines_of(done.left_tainted, None)),
        ]
    )
    if done.rotated.index is not None:
        print_rotated(done.rotated)
    elif done.keys_wait:
        say(f"no keys were replaced: {WHY_NO_KEYS[done.keys_wait]}")
    else:
        say("no keys were replaced by this command")
    for each in done.undone:
        say(f"not done: {UNDONE[each]}")
    if done.keys_wait and (done.undone or done.left_tainted) and not _by_others(done):
        say(THE_REST[done.keys_wait])
    elif done.left_tainted:
        say("What is left takes no new records until somebody who holds it has run")
        say("'sealroom rotate --tainted'.")
    if done.invited is not None:
        say("The new invite, to be sent over a channel that the server's operator does not see:")
        say(done.invited.link)


def _by_others(done: RevokeResult) -> bool:
    """Say whether all that is left is what others replace in any case."""
    return done.keys_wait is KeysWait.ROLE and not done.undone


def _print_plan(plan: RevokePlan) -> None:
    say(f"would remove: {visible(plan.name or plan.member_id)}; nothing was done")
    print_facts(
        [
            ("can read", lines_of(plan.could_read, "nothing")),
            ("did read", _reads(plan.admitted_reads, plan.admitted_blocks)),
            ("withdraws", _invites(plan.voided_invites)),
            ("replaces", lines_of(plan.replaced, _why_nothing(plan))),
        ]
    )
    for each in plan.undone:
        say(f"would not be done: {UNDONE[each]}")
    if plan.keys_wait and plan.undone:
        say(THE_REST[plan.keys_wait])


def _why_nothing(plan: RevokePlan) -> str:
    return f"nothing: {WHY_NO_KEYS[plan.keys_wait]}" if plan.keys_wait else "nothing"


def _reads(reads: int, blocks: int) -> str:
    return f"{counted(reads, 'read')} of {counted(blocks, 'block')}, as the server admits"


def _invites(names: tuple[str, ...]) -> str | None:
    return f"invites of {', '.join(names)}" if names else None
