"""`sealroom recovery`: custodians who together can give an owner its keys back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from client.cli import options
from client.cli.invocation import Invocation, compared, compared_with_each
from client.cli.keys import print_left
from client.cli.output import counted, print_facts, print_table, rows_of_words, say, visible
from client.cli.whom import ask_if_meant
from client.results.log import ActResult
from client.results.recovery import RecoveryStatus, RescueResult

FILE = click.Path(path_type=Path, allow_dash=True)


@click.group()
def recovery() -> None:
    """Name custodians of the owner's keys, and get the keys back from them.

    Without custodians (or a kit, 'sealroom identity backup') a lost owner's keyring is the end
    of the vault.

    Example:
      sealroom recovery setup --threshold 2 --custodians Ann,Bo,Cy
    """


@recovery.command()
@click.option(
    "--custodians",
    required=True,
    type=options.names,
    metavar="MEMBER,...",
    help="Confirmed members; an auditor can be one.",
)
@click.option(
    "--threshold",
    type=click.IntRange(min=2),
    default=2,
    show_default=True,
    metavar="N",
    help="How many of them it takes together.",
)
@click.option(
    "--words",
    multiple=True,
    metavar="NAME='TWELVE WORDS'",
    help="The twelve words that a custodian read out; they are compared. Once for each.",
)
@click.option(
    "--yes",
    is_flag=True,
    help="The words of all were compared already, by voice or in person, and are the same.",
)
@click.pass_obj
def setup(
    invocation: Invocation,
    custodians: tuple[str, ...],
    threshold: int,
    words: tuple[str, ...],
    yes: bool,
) -> None:
    """Deal shares of your keys: so many custodians together rebuild them, fewer learn nothing.

    Only the owner may. Whoever stands behind enough custodians is the owner, so you compare the
    twelve words of each yourself, unless you did at 'confirm', and they go by the same names
    since. On a terminal you are shown whom the names lead to, and asked. Each share can be checked
    by its custodian, with 'recovery status'. After you rotate your identity, or remove a
    custodian, deal anew.

    Example:
      sealroom recovery setup --threshold 2 --custodians Ann,Bo,Cy
      sealroom recovery setup --custodians Ann,Bo --words Bo="abandon ability able about ..."
    """
    typed = options.named_words(words)

    ask_if_meant(
        invocation,
        custodians,
        f"Deal shares of your keys to {visible(', '.join(custodians))}?",
        said=yes,
    )

    def dealing(more: Mapping[str, str]) -> RecoveryStatus:
        told = {**typed, **more}
        return invocation.in_vault(
            lambda vault: vault.set_up_recovery(custodians, threshold, words=told, yes=yes)
        )

    done = compared_with_each(
        dealing, lambda: invocation.in_vault(lambda vault: vault.custodian_words(custodians))
    )
    invocation.show(done, lambda: _print_status(done))


@recovery.command()
@click.pass_obj
def end(invocation: Invocation) -> None:
    """Let nobody rebuild your keys any more. Shares that were dealt open old keys for ever.

    Example:
      sealroom recovery end
    """
    done = invocation.in_vault(lambda vault: vault.end_recovery())
    invocation.show(done, lambda: say(f"recovery ended (leaf {done.index:,} of the log)"))


@recovery.command()
@click.pass_obj
def status(invocation: Invocation) -> None:
    """Show who the custodians are, and check your own share if you are one.

    Example:
      sealroom recovery status
    """
    found = invocation.in_vault(lambda vault: vault.recovery_status())
    invocation.show({"recovery": found}, lambda: _print_status(found))


def _print_status(found: RecoveryStatus | None) -> None:
    if found is None:
        say("no custodians: a lost owner's keyring would be the end of the vault")
        return
    say(
        f"{found.threshold} of {counted(len(found.custodians), 'custodian')} rebuild the owner's "
        f"keys (leaf {found.index:,} of the log)"
    )
    say()
    print_table(
        ("custodian", "id", "still a member", "released"),
        [
            (
                visible(each.name or "-"),
                each.member_id[:16],
                "yes" if each.live else "no: deal anew",
                f"{each.released:,}",
            )
            for each in found.custodians
        ],
    )
    if found.mine is not None:
        say()
        say("your share is the one that was dealt" if found.mine else "YOUR SHARE IS FALSE")
    if found.rebuilt:
        say("The owner's keys were rebuilt: it has to rotate its identity now.")


@recovery.command()
@click.argument("server", metavar="HOST:PORT")
@click.argument("vault_id", metavar="VAULT_ID")
@click.option("--pin", metavar="HEX", help="The pin of the server's TLS key.")
@click.pass_obj
def request(invocation: Invocation, server: str, vault_id: str, pin: str | None) -> None:
    """Begin a rescue in a new home: make the text that custodians answer.

    Any member can tell you the vault's id, the server and its pin: 'sealroom --json vault list'
    shows them. Send the text to the custodians; each of them then compares words with you.

    Example:
      sealroom --home ~/rescue recovery request vault.example.com:8443 6b1f... > request.txt
    """
    address, tls_pin = options.server_url(server), options.tls_pin(pin)
    whole = options.whole_id(vault_id)
    invocation.unlock()
    made = invocation.home.rescue_request(address, whole, tls_pin)
    invocation.show(made, lambda: say(made.text))
    # The text alone is what goes into a file, or through a pipe.
    invocation.aside(f"Your id here, which custodians compare by: {made.member_id}")


@recovery.command()
@click.argument("vault_id", metavar="VAULT_ID")
@click.argument("custodian", metavar="CUSTODIAN_ID")
@click.pass_obj
def words(invocation: Invocation, vault_id: str, custodian: str) -> None:
    """Show the words to compare with a custodian, who tells you its whole id.

    It finds its id with 'sealroom identity show'.

    Example:
      sealroom --home ~/rescue recovery words 6b1f... 9ac0...
    """
    whom = options.whole_id(vault_id), options.whole_id(custodian)
    invocation.demand_keyring()
    found = invocation.home.rescue_words(*whom)
    invocation.show({"words": found}, lambda: say("\n".join(rows_of_words(found))))


@recovery.command()
@click.argument("file", type=FILE)
@options.words_options
@click.pass_obj
def release(invocation: Invocation, file: Path, words: str | None, yes: bool) -> None:
    """Give your share to the person who made the request in FILE (- for standard input).

    FILE may be the whole mail that it came in. Whoever has enough shares is the owner: so speak
    with the person, and compare the twelve words, by voice or face to face. All members see that
    you released your share.

    Example:
      sealroom recovery release request.txt --words "abandon ability able about above ..."
    """
    typed = options.checked_words(words)
    text = options.text_of(file)

    def releasing(heard: str | None) -> ActResult:
        return invocation.in_vault(
            lambda vault: vault.release_share(text, words=typed or heard, yes=yes)
        )

    done = compared(releasing, lambda: invocation.in_vault(lambda v: v.request_words(text)))
    invocation.show(done, lambda: say(f"share released (leaf {done.index:,} of the log)"))


@recovery.command()
@click.pass_obj
def rebuild(invocation: Invocation) -> None:
    """Put the released shares together, and be the owner again, under new keys.

    The old keys are dead from then on. What they opened takes no new data until its keys are
    replaced, which is offered at the end; then deal anew.

    Example:
      sealroom --home ~/rescue recovery rebuild
    """
    invocation.demand_keyring()

    async def rebuilding() -> RescueResult:
        vault, result = await invocation.home.rebuild(invocation.vault)
        async with vault:
            invocation.waiting[:] = [await vault.new_keys()]
        return result

    done = invocation.work(rebuilding, stopped="The same command does the rest.")
    invocation.show(done, lambda: _print_rebuilt(done))


def _print_rebuilt(done: RescueResult) -> None:
    say(f"rebuilt: you are the owner, under new keys (leaf {done.index:,} of the log)")
    print_facts(
        [
            ("you were", done.old_id),
            ("you are", done.new_id),
            ("shares of", ", ".join(each[:16] for each in done.custodians)),
            *(("wrong", visible(each)) for each in done.wrong),
        ]
    )
    print_left(done.left)
    say("RECOVERY HAS ENDED: deal shares of your new keys, with 'sealroom recovery setup'.")
