"""`sealroom invite` and `join`: how somebody comes into a vault."""

from __future__ import annotations

import sys

import click

from client.cli import options
from client.cli.invocation import Invocation
from client.cli.meant import Choice
from client.cli.output import age, moment, print_facts, rows_of_words, say, visible
from client.cli.vault import title_text
from client.results.people import InviteResult, JoinResult

INVITED_ROLES = tuple(each for each in options.ROLES if each != "owner")


@click.command()
@click.argument("role", type=Choice(INVITED_ROLES))
@click.option(
    "--name",
    required=True,
    type=options.name,
    metavar="NAME",
    help="What the owner and the admins call whoever joins with the link.",
)
@options.classes_option("The classes to grant when the member is confirmed.")
@options.expires_option("the invite")
@click.pass_obj
def invite(
    invocation: Invocation,
    role: str,
    name: str,
    classes: tuple[tuple[str, ...], ...],
    expires: float,
) -> None:
    """Invite somebody, and print the link.

    Whoever has the link can join with it, once, as ROLE. Without --classes an admin is granted
    all of them, a bidder none. The link is a secret: send it over a channel that the server's
    operator does not see.

    Example:
      sealroom invite bidder --name Ann --classes general,sensitive --expires 7d
    """
    from protocol.acts import Role

    made = invocation.in_vault(
        lambda vault: vault.invite(
            Role(role),
            name=name,
            classes=options.field_classes(classes) or None,
            days=expires,
        ),
        stopped="'sealroom members' shows whether the invite is open; withdraw it if so.",
    )
    invocation.show(made, lambda: say(made.link))
    invocation.aside(_about(made))


def _about(made: InviteResult) -> str:
    grants = f", to be granted {', '.join(made.classes)}" if made.classes else ""
    return (
        f"For {visible(made.name)}, {made.role}{grants}, until {moment(made.expires)}. "
        "Once they have joined, compare the twelve words and run 'sealroom confirm'."
    )


@click.command()
@click.argument("link")
@click.option(
    "--name",
    type=options.name,
    metavar="NAME",
    help="The identity to join as, by its name in this home; made if there is none.",
)
@options.words_options
@click.pass_obj
def join(invocation: Invocation, link: str, name: str | None, words: str | None, yes: bool) -> None:
    """Join a vault with an invite link, and compare words.

    Put the LINK in quotes. With - for LINK it is read from standard input, where no other user
    of this machine sees it. Then read the twelve words to the inviter, by voice or in person,
    and have theirs read to you: they confirm you once they are the same. The same command with
    --words (or --yes) remembers that you compared them too.

    Example:
      sealroom join "sealroom://vault.example.com:8443/6b1f...#s3cr3t..."
      sealroom join - --words "abandon ability able about above absent ..." < link
    """
    from client.links import parse_link

    typed = options.checked_words(words)
    whole = sys.stdin.readline() if link == "-" else link
    parse_link(whole)

    async def joining() -> JoinResult:
        vault, result = await invocation.home.join(whole, words=typed, yes=yes, identity=name)
        await vault.close()
        return result

    done = invocation.work(joining, stopped="The same command does the rest.")
    invocation.show(done, lambda: _print_joined(done))
    invocation.tell_of_namesakes(done.title)


def _print_joined(done: JoinResult) -> None:
    print_facts(
        [
            ("vault", done.vault_id),
            ("title", title_text(done.title, sealed=done.title_sealed)),
            ("you", f"{done.role}, {done.status} ({done.member_id[:16]})"),
            ("inviter", done.inviter_id[:16]),
            ("head", f"{age(done.head_age)} old"),
        ]
    )
    for at, row in enumerate(rows_of_words(done.words)):
        say(f"{'words' if at == 0 else '':7}  {row}")
    if not done.compared:
        say("Read these words to the inviter, by voice or in person, and hear theirs: they must")
        say("be the same. 'sealroom join LINK --words \"...\"' remembers that they were.")
