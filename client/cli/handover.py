"""`sealroom handover`: offering a vault, verifying all of it, accepting it or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.cli import options
from client.cli.advice import what_is_left
from client.cli.invocation import Invocation, compared
from client.cli.keys import GOES_ON, print_rotated
from client.cli.meant import Choice
from client.cli.output import counted, duration, moment, print_facts, say, size, visible
from client.cli.progress import progress_bar
from client.cli.vault import offer_text
from client.cli.whom import ask_if_meant
from client.results.keys import AcceptResult, OfferResult

if TYPE_CHECKING:
    from client.vault import Vault


@click.group()
def handover() -> None:
    """Hand a vault over to a bidder: offer, then accept or reject.

    Example:
      sealroom handover status
    """


@handover.command()
@click.argument("member")
@options.expires_option("the offer")
@options.words_options
@click.pass_obj
def offer(
    invocation: Invocation, member: str, expires: float, words: str | None, yes: bool
) -> None:
    """Offer the vault to a confirmed bidder: every key, with proofs.

    Only the owner may. Offering is disclosing: from then on the bidder can open everything,
    accepted or not. Until it accepts or rejects, or the offer ends by itself, nobody uploads,
    erases, rotates, invites, confirms or grants; members can be removed. You cannot take an offer
    back, so choose a short --expires. And you compare its twelve words yourself, unless you did
    at 'confirm', and it goes by the same name since. On a terminal you are shown whom the name
    leads to, and asked.

    Example:
      sealroom handover offer Ann --expires 7d --words "abandon ability able about above ..."
    """
    typed = options.checked_words(words)

    ask_if_meant(
        invocation,
        [member],
        f"Offer everything to {visible(member)}? You cannot take it back.",
        said=yes or typed is not None,
    )

    def offering(heard: str | None) -> OfferResult:
        return invocation.in_vault(
            lambda vault: vault.offer(member, days=expires, words=typed or heard, yes=yes)
        )

    done = compared(offering, lambda: invocation.in_vault(lambda vault: vault.words(member)))
    invocation.show(done, lambda: _print_offered(member, done))


def _print_offered(member: str, done: OfferResult) -> None:
    say(f"offered to: {visible(member)} (leaf {done.index:,} of the log)")
    print_facts(
        [
            ("keys", f"{done.keys:,}, each with a proof"),
            ("until", moment(done.expires)),
            ("took", duration(done.seconds)),
        ]
    )
    say("Until the buyer accepts or rejects, or the offer ends then, nothing is uploaded, rotated,")
    say("granted, and nobody is invited; members can be removed. It cannot be taken back.")


@handover.command()
@options.words_options
@click.pass_obj
def accept(invocation: Invocation, words: str | None, yes: bool) -> None:
    """Verify all that is offered, cell by cell, and take it over.

    The seller's twelve words must have been compared, at 'join' or now. Whatever does not
    verify ends the command with 4, and nothing is accepted.

    Example:
      sealroom handover accept --words "abandon ability able about above absent ..."
    """
    typed = options.checked_words(words)

    def accepting(heard: str | None) -> AcceptResult:
        with progress_bar() as on_progress:
            return invocation.in_vault(
                lambda vault: vault.accept(words=typed or heard, yes=yes, on_progress=on_progress),
                stopped="'sealroom handover status' shows whether the offer is still open.",
            )

    done = compared(accepting, lambda: invocation.in_vault(_sellers_words))
    invocation.show(done, lambda: _print_accepted(done))


async def _sellers_words(vault: Vault) -> str:
    return next(
        each.words
        for each in await vault.members()
        if each.role == "owner" and each.words is not None
    )


def _print_accepted(done: AcceptResult) -> None:
    say(f"accepted: the vault is yours (leaf {done.index:,} of the log)")
    records = counted(done.records, "record")
    beside = f", {counted(done.documents, 'document')}" if done.documents else ""
    print_facts(
        [
            ("verified", f"{counted(done.keys, 'key')}, {records}, {counted(done.cells, 'cell')}"),
            (
                "of",
                f"{counted(done.collections, 'collection')}{beside}, {size(done.verified_bytes)}",
            ),
            ("took", duration(done.seconds)),
        ]
    )


@handover.command()
@click.pass_obj
def takeover(invocation: Invocation) -> None:
    """Seal everything anew under keys that the seller never had: the new owner's first work.

    Afterwards the server has nothing that the seller's keys open. After any interruption the
    same command goes on; once all is done it does nothing.

    Example:
      sealroom handover takeover
    """
    with progress_bar() as on_progress:
        done = invocation.in_vault(
            lambda vault: vault.takeover(on_progress=on_progress), stopped=GOES_ON
        )

    def for_people() -> None:
        if done.index is None:
            say("taken over before: nothing is under a key that the seller had")
        else:
            print_rotated(done)

    invocation.show(done, for_people)


@handover.command()
@click.option(
    "--reason",
    default="other",
    show_default=True,
    type=Choice(options.REASONS),
    help="Why; the log shows it.",
)
@click.pass_obj
def reject(invocation: Invocation, reason: str) -> None:
    """Decline the offer that is open to you.

    Example:
      sealroom handover reject --reason verification
    """
    from protocol.acts import Reason

    done = invocation.in_vault(lambda vault: vault.reject(Reason(reason)))
    invocation.show(done, lambda: say(f"rejected (leaf {done.index:,} of the log)"))


@handover.command()
@click.pass_obj
def status(invocation: Invocation) -> None:
    """Say whether the vault is offered, to whom and until when.

    Example:
      sealroom handover status
    """
    stands = invocation.in_vault(lambda vault: vault.status())

    def for_people() -> None:
        say(visible(offer_text(stands.offer)))
        left = what_is_left(stands.new_keys)
        if left is not None:
            say(visible(left))

    invocation.show({"offer": stands.offer}, for_people)
