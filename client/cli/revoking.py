"""`sealroom revoke`: removing a member, and what it could read."""

from __future__ import annotations

import click

from client.cli import options
from client.cli.invocation import Invocation
from client.cli.keys import print_rotated
from client.cli.output import counted, lines_of, print_facts, say, visible
from client.cli.progress import progress_bar
from client.results import RevokePlan, RevokeResult

CUT = "'sealroom members' shows whether it is removed; the same command does the rest."


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
@click.pass_obj
def revoke(
    invocation: Invocation,
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

    Example:
      sealroom revoke Ann --reason lost-bid --dry-run
      sealroom revoke Ann --reason key-lost --reinvite
    """
    from protocol.acts import Reason

    if dry_run:
        plan = invocation.in_vault(lambda vault: vault.plan_revocation(member))
        invocation.show(plan, lambda: _print_plan(plan))
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
    if done.rotated.index is None:
        say("no keys were replaced by this command")
    else:
        print_rotated(done.rotated)
    if done.left_tainted:
        say("What is left takes no new records until somebody who holds it has run")
        say("'sealroom rotate --tainted'.")
    if done.invited is not None:
        say("The new invite, to be sent over a channel that the server's operator does not see:")
        say(done.invited.link)


def _print_plan(plan: RevokePlan) -> None:
    say(f"would remove: {visible(plan.name or plan.member_id)}; nothing was done")
    print_facts(
        [
            ("can read", lines_of(plan.could_read, "nothing")),
            ("did read", _reads(plan.admitted_reads, plan.admitted_blocks)),
            ("withdraws", _invites(plan.voided_invites)),
            ("replaces", lines_of(plan.replaced, "nothing: you make no keys")),
        ]
    )


def _reads(reads: int, blocks: int) -> str:
    return f"{counted(reads, 'read')} of {counted(blocks, 'block')}, as the server admits"


def _invites(names: tuple[str, ...]) -> str | None:
    return f"invites of {', '.join(names)}" if names else None
