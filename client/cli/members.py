"""`sealroom members`, `confirm`, `role`, `grant` and `withdraw`: who may do what."""

from __future__ import annotations

from typing import Final

import click

from client.cli import options
from client.cli.invocation import Invocation, compared
from client.cli.meant import Choice
from client.cli.output import note, print_table, rows_of_words, say, visible
from client.cli.whom import ask_if_meant, said_of_plan
from client.results.log import ActResult
from client.results.people import ConfirmResult, MemberInfo

NO_NAME: Final = "(sealed)"
NAMELESS: Final = ("bidder", "auditor")
ADMINS: Final = ("admin", "keyless-admin")
WHY_NO_NAMES: Final = (
    "Names are sealed for the owner and the admins, so that bidders learn of no others who bid. "
    "Tell people by their ids, and by the twelve words."
)


@click.command()
@click.pass_obj
def members(invocation: Invocation) -> None:
    """List members and invites, grants, and words to compare.

    Example:
      sealroom members
    """
    found = invocation.in_vault(lambda vault: vault.members())
    headers = ("name", "id", "role", "status", "grants", "words", "compared")
    rows = [
        (
            visible(each.name or NO_NAME) + (" (you)" if each.me else ""),
            each.member_id[:16],
            each.role,
            each.status,
            _grants(each),
            rows_of_words(each.words) if each.words else "-",
            _compared(each),
        )
        for each in found
    ]

    def for_people() -> None:
        print_table(headers, rows)
        if any(each.me and each.role in NAMELESS for each in found):
            note(WHY_NO_NAMES)

    invocation.show({"members": found}, for_people)


def _grants(member: MemberInfo) -> tuple[str, ...]:
    by = f", planned by {visible(member.planned_by)}" if member.planned_by else ""
    planned = tuple(f"{each} (when confirmed{by})" for each in member.planned)
    return (*member.grants, *planned) or ("-",)


def _compared(member: MemberInfo) -> str:
    if member.words is None:
        return "-"
    if member.compared_as is not None:
        return f"as {visible(member.compared_as)}"
    return "yes" if member.compared else "no"


@click.command()
@click.argument("member")
@options.classes_option("Classes that the inviter planned and could not grant: they are meant.")
@options.words_options
@click.pass_obj
def confirm(
    invocation: Invocation,
    member: str,
    classes: tuple[tuple[str, ...], ...],
    words: str | None,
    yes: bool,
) -> None:
    """Confirm a member, once the twelve words were compared.

    The grants that its invite planned are made, and on a terminal shown before, with who planned
    them. What the inviter could not grant itself is granted only if you say so, there or by
    --classes. MEMBER is a name, an id, or the beginning of an id. On a terminal the words are
    shown, and you are asked whether the other person reads out the same, by voice or in person.

    Example:
      sealroom confirm Ann --words "abandon ability able about above absent ..."
    """
    typed = options.checked_words(words)

    said = said_of_plan(invocation, member, options.joined(classes))

    def confirming(heard: str | None) -> ConfirmResult:
        return invocation.in_vault(
            lambda vault: vault.confirm(
                member, words=typed or heard, yes=yes, classes=options.field_classes([said])
            )
        )

    done = compared(confirming, lambda: invocation.in_vault(lambda vault: vault.words(member)))
    invocation.show(done, lambda: _print_confirmed(done))


def _print_confirmed(done: ConfirmResult) -> None:
    _print_act("confirmed", done)
    if done.granted:
        granted, planner = ", ".join(done.granted), done.planned_by or "-"
        say(f"granted: {visible(granted)}, as {visible(planner)} planned")


@click.command()
@click.argument("member")
@click.argument("role", type=Choice(options.ROLES))
@options.words_options
@click.pass_obj
def role(invocation: Invocation, member: str, role: str, words: str | None, yes: bool) -> None:
    """Give a confirmed member another role. Only the owner may.

    Of whoever becomes an admin or keyless-admin you compare the twelve words yourself, unless you
    did at 'confirm', and it goes by the same name since. On a terminal you are shown whom the name
    leads to, and asked.

    Example:
      sealroom role Ann bidder
      sealroom role Ann admin --words "abandon ability able about above absent ..."
    """
    from protocol.acts import Role

    typed = options.checked_words(words)
    if role in ADMINS:
        question = f"Make {visible(member)} {role}?"
        ask_if_meant(invocation, [member], question, said=yes or typed is not None)

    def changing(heard: str | None) -> ActResult:
        return invocation.in_vault(
            lambda vault: vault.change_role(member, Role(role), words=typed or heard, yes=yes)
        )

    done = compared(changing, lambda: invocation.in_vault(lambda vault: vault.words(member)))
    invocation.show(done, lambda: _print_act(f"now {role}", done))


@click.command()
@click.argument("member")
@options.classes_option("The classes to grant.")
@options.fields_option("Single fields to grant.")
@options.collection_option("Only in this collection; in all if not given.")
@click.pass_obj
def grant(
    invocation: Invocation,
    member: str,
    classes: tuple[tuple[str, ...], ...],
    fields: tuple[tuple[str, ...], ...],
    collection: str | None,
) -> None:
    """Grant a confirmed member classes or single fields.

    Example:
      sealroom grant Ann --classes general
      sealroom grant Ann --fields iban --collection customers
    """
    if not classes and not fields:
        raise click.UsageError("name what to grant: --classes or --fields")
    done = invocation.in_vault(
        lambda vault: vault.grant(
            member,
            classes=options.field_classes(classes),
            fields=options.joined(fields),
            collection=collection,
        )
    )
    invocation.show(done, lambda: _print_act("granted to", done))


@click.command()
@click.argument("whom", metavar="INVITE|MEMBER")
@options.classes_option("The classes of which to end the grants.")
@options.fields_option("Single fields of which to end the grants.")
@options.collection_option("Only the grants that are for this collection.")
@click.pass_obj
def withdraw(
    invocation: Invocation,
    whom: str,
    classes: tuple[tuple[str, ...], ...],
    fields: tuple[tuple[str, ...], ...],
    collection: str | None,
) -> None:
    """Close an open invite, or end grants of a member.

    With --classes or --fields the grants of them end. What a member could read until then it
    may have kept. Its grants end as they were made: name the --collection of a grant that was
    for one.

    Example:
      sealroom withdraw Ann
      sealroom withdraw Ann --classes sensitive
    """
    if not classes and not fields:
        if collection is not None:
            raise click.UsageError("--collection goes with --classes or --fields")
        closed = invocation.in_vault(lambda vault: vault.withdraw_invite(whom))
        invocation.show(closed, lambda: _print_act("invite withdrawn", closed))
        return
    done = invocation.in_vault(
        lambda vault: vault.withdraw_grant(
            whom,
            classes=options.field_classes(classes),
            fields=options.joined(fields),
            collection=collection,
        )
    )
    invocation.show(done, lambda: _print_act("grants ended", done))


def _print_act(what: str, done: ActResult) -> None:
    whom = done.name or done.member_id or ""
    say(f"{what}: {visible(whom)} (leaf {done.index:,} of the log)")
