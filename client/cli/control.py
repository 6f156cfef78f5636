"""`sealroom freeze`, `unfreeze`, `heartbeat`, `policy` and `attest`: the vault as a whole."""

from __future__ import annotations

import click

from client.cli import options
from client.cli.invocation import Invocation, confirmed
from client.cli.output import print_facts, say, visible
from client.results.log import ActResult, AttestResult, HeartbeatResult
from client.results.vaults import PolicyInfo


@click.command()
@options.reason_option
@click.pass_obj
def freeze(invocation: Invocation, reason: str) -> None:
    """Stop: the server serves no block, and takes no data, grant or key.

    Members can still be removed, and the log still syncs. Any admin may freeze; only the owner
    lifts it, with 'sealroom unfreeze'.

    Example:
      sealroom freeze --reason breach
    """
    from protocol.acts import Reason

    done = invocation.in_vault(lambda vault: vault.freeze(Reason(reason)))
    invocation.show(done, lambda: _print_done("frozen", done))


@click.command()
@click.pass_obj
def unfreeze(invocation: Invocation) -> None:
    """Lift a freeze. Only the owner may.

    Example:
      sealroom unfreeze
    """
    done = invocation.in_vault(lambda vault: vault.unfreeze())
    invocation.show(done, lambda: _print_done("no longer frozen", done))


@click.command()
@click.pass_obj
def heartbeat(invocation: Invocation) -> None:
    """Sign the log's head, so that the others know that what they see is new.

    Nobody writes under a head that neither the owner nor somebody else whom the policy names has
    signed for too long: a server could be hiding a removal. Every command by which an owner
    changes something signs it too.

    Example:
      sealroom heartbeat
    """
    done = invocation.in_vault(lambda vault: vault.heartbeat())
    invocation.show(done, lambda: _print_signed(done))


def _print_signed(done: HeartbeatResult) -> None:
    say(f"signed (leaf {done.index:,} of the log)")
    if not done.counts:
        say("Writers go by the owner's signature, and those that the policy names; yours is none")
        say("of them. The owner can name you: 'sealroom policy set --head-signers'.")


def _print_done(what: str, done: ActResult) -> None:
    say(f"{what} (leaf {done.index:,} of the log)")


# --- the policy


@click.group()
def policy() -> None:
    """Show the vault's policy, or change it.

    Example:
      sealroom policy show
    """


@policy.command()
@click.pass_obj
def show(invocation: Invocation) -> None:
    """Show the policy in force.

    Example:
      sealroom policy show
    """
    found = invocation.in_vault(lambda vault: vault.policy())
    invocation.show(found, lambda: _print_policy(found))


@policy.command(name="set")
@click.option("--invites", type=options.span, metavar="SPAN", help="How long an invite may stand.")
@click.option("--offers", type=options.span, metavar="SPAN", help="How long an offer may stand.")
@click.option(
    "--head-age",
    type=options.span,
    metavar="SPAN",
    help="How old the owner's last signature of the log may be for others to write.",
)
@click.option(
    "--head-signers",
    type=options.names_or_nobody,
    metavar="MEMBER,...",
    help="Members whose signatures of the log count like the owner's; '' for nobody.",
)
@click.option(
    "--invite-data/--no-invite-data",
    default=None,
    help="Whether an invite may carry keys of data. Whoever ever sees its link reads that data.",
)
@click.pass_obj
def change(
    invocation: Invocation,
    invites: float | None,
    offers: float | None,
    head_age: float | None,
    head_signers: tuple[str, ...] | None,
    invite_data: bool | None,
) -> None:
    """Change what is given, and leave the rest as it is. Only the owner may.

    Example:
      sealroom policy set --head-age 3d --head-signers Notary
    """
    given = (invites, offers, head_age, head_signers, invite_data)
    if all(each is None for each in given):
        raise click.UsageError("nothing to change was named")
    done = invocation.in_vault(
        lambda vault: vault.change_policy(
            invite_days=invites,
            offer_days=offers,
            head_days=head_age,
            invite_data=invite_data,
            head_signers=head_signers,
        )
    )
    invocation.show(done, lambda: _print_policy(done))


def _print_policy(found: PolicyInfo) -> None:
    signers = ", ".join(each[:16] for each in found.head_signers)
    print_facts(
        [
            ("invites", f"at most {found.invite_days:g} days"),
            ("offers", f"at most {found.offer_days:g} days"),
            ("head", f"signed within {found.head_days:g} days, or nobody writes"),
            ("signers", f"the owner{', ' + signers if signers else ''}"),
            ("data by invite", "yes" if found.invite_data else "no"),
        ]
    )


# --- statements


@click.group()
def attest() -> None:
    """Sign a statement, for the log.

    Example:
      sealroom attest destroyed
    """


@attest.command()
@options.yes_option
@click.pass_obj
def destroyed(invocation: Invocation, yes: bool) -> None:
    """Destroy this home's keys of a vault that was handed over or ended, and sign that.

    What the vault's log proves of it stays in this home, in a file. Nothing can prove that no
    copy of the keys is left; who signs this says so.

    Example:
      sealroom --vault "Project Lark" attest destroyed
    """
    invocation.demand_keyring()
    confirmed("Destroy this home's keys of the vault, for ever?", yes)

    async def attesting() -> AttestResult:
        vault = invocation.home.vault(invocation.vault)
        try:
            return await invocation.home.attest_destroyed(vault)
        finally:
            await vault.close()

    done = invocation.work(attesting, stopped="The same command does the rest.")
    invocation.show(done, lambda: _print_attested(done))


def _print_attested(done: AttestResult) -> None:
    say(f"destroyed, and attested (leaf {done.index:,} of the log)")
    print_facts([("you were", done.member_id), ("proof", visible(done.proof))])
