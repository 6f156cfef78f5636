"""`sealroom identity`: who this home is, new keys for it, and keys on paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from client.cli import options
from client.cli.invocation import Invocation
from client.cli.keys import print_left, print_rotated
from client.cli.output import moment, print_facts, print_table, rows_of_words, say, visible
from client.results.keys import RotateIdentityResult

if TYPE_CHECKING:
    from client.kits import Backup, Kit

UNCONFIRMED: Final = (
    "The keys on it are those that this home has. That they still serve in the vault, and that its "
    "server is still where the kit says, nobody has said now: make another kit once the server "
    "answers again. To one that moved, 'sealroom identity restore' goes by --server and --pin."
)
"""What is told of a kit beside the reason for which its server did not confirm it."""


@click.group()
def identity() -> None:
    """Make identities, list them, give them new keys, and put them on paper.

    An identity is a set of keys, and serves in one vault. 'vault create' and 'join' make one
    where none is free, so there is seldom a need to make one by hand.

    Example:
      sealroom identity show
    """


@identity.command()
@click.option("--name", type=options.name, metavar="NAME", help="What to call it in this home.")
@click.pass_obj
def new(invocation: Invocation, name: str | None) -> None:
    """Make an identity, and the keyring first if there is none.

    Example:
      sealroom identity new --name acquirer
    """
    made = invocation.folder.new_identity(name)
    shown = next(each for each in invocation.folder.identities() if each.name == made.name)
    invocation.show(shown, lambda: print_facts([("name", shown.name), ("id", shown.member_id)]))
    invocation.aside(_keep(invocation))


@identity.command()
@click.pass_obj
def show(invocation: Invocation) -> None:
    """List the identities, and the vault in which each serves.

    Example:
      sealroom identity show
    """
    invocation.demand_keyring()
    identities = invocation.folder.identities()
    rows = [
        (
            visible(each.name),
            each.member_id,
            moment(each.created),
            each.vault_id[:16] if each.vault_id else "none yet",
        )
        for each in identities
    ]
    invocation.show(
        {"identities": identities}, lambda: print_table(("name", "id", "made", "vault"), rows)
    )


@identity.command()
@click.option(
    "--leave-false-keys",
    is_flag=True,
    help="Move on without keys that were given to you false: they open nothing, then as now.",
)
@click.pass_obj
def rotate(invocation: Invocation, leave_false_keys: bool) -> None:
    """Move to new keys in this vault, with all that you hold; the old ones are dead.

    For when somebody may have your keys, or had your passphrase. Whoever but the owner rotates
    is unconfirmed until its words were compared anew; it goes on reading meanwhile. Other homes
    of yours stop, and say so. After any interruption the same command goes on.

    Example:
      sealroom identity rotate
    """
    invocation.demand_keyring()

    async def rotating() -> RotateIdentityResult:
        async with invocation.home.vault(invocation.vault) as vault:
            return await invocation.home.rotate_identity(vault, leave_false_keys=leave_false_keys)

    done = invocation.work(rotating, stopped="The same command does the rest.")
    invocation.show(done, lambda: _print_rotated(done))
    invocation.aside(_keep(invocation))


def _print_rotated(done: RotateIdentityResult) -> None:
    say(f"rotated: you have new keys (leaf {done.index:,} of the log)")
    print_facts([("you were", done.old_id), ("you are", done.new_id), ("status", done.status)])
    print_left(done.left)
    if done.deal_anew and done.words is None:
        say(
            "RECOVERY HAS ENDED: custodians' shares are of your old keys. Deal anew with "
            "'sealroom recovery setup'."
        )
    elif done.deal_anew:
        say("Your share of the owner's keys went with your old ones: have the owner deal anew.")
    say("A kit on paper is of the old keys too: 'sealroom identity backup' makes another.")
    if done.rotated is not None and done.rotated.index is not None:
        print_rotated(done.rotated)
    if done.words is not None:
        say("Read these words to the owner, by voice or in person; then it confirms you anew:")
        for row in rows_of_words(done.words):
            say(f"    {row}")


@identity.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    help="The page to print: your keys, as words and as a QR code.",
)
@click.pass_obj
def backup(invocation: Invocation, out: Path) -> None:
    """Make the recovery kit of your identity in this vault: a page to print.

    It holds your keys in clear. Whoever has it can do and open what you can: print it, delete
    the file, and keep the paper in a safe. Where the server does not answer, or is not believed,
    the page is made from what this home knows, and what could not be confirmed is said.

    Example:
      sealroom identity backup --out kit.html
    """
    invocation.demand_keyring()

    async def making() -> Backup:
        async with invocation.home.vault(invocation.vault) as vault:
            return await invocation.home.backup(vault, out)

    why = invocation.work(making).unconfirmed
    made = {"page": str(out), "unconfirmed": why}
    invocation.show(made, lambda: say(f"written: {visible(str(out))}"))
    invocation.aside("It holds your keys in clear. Print it, delete it, lock the paper away.")
    if why is not None:
        invocation.aside(f"NOT CONFIRMED by the server: {visible(why)}.")
        invocation.aside(UNCONFIRMED)


@identity.command()
@click.option(
    "--kit",
    type=click.Path(allow_dash=True, path_type=Path),
    metavar="FILE",
    help="The kit's page, or what its QR code says; - for standard input.",
)
@click.option(
    "--words",
    metavar="'24 WORDS'",
    help="The kit's words, with --server and --vault-id; asked for if not given.",
)
@click.option(
    "--server", metavar="HOST:PORT", help="The server; with --kit, where it is another by now."
)
@click.option("--vault-id", metavar="ID", help="The vault's id; a kit's file has it.")
@click.option(
    "--pin",
    metavar="HEX",
    help="The pin of the server's TLS key; with --kit, where it is another by now.",
)
@click.pass_obj
def restore(
    invocation: Invocation,
    kit: Path | None,
    words: str | None,
    server: str | None,
    vault_id: str | None,
    pin: str | None,
) -> None:
    """Bring an identity back from its recovery kit.

    A kit says where the server was. If it has another address or TLS key by now, say so with
    --server and --pin: whoever answers there has to show the vault's log, verified as ever, and
    nothing is kept before it does. If somebody else may have seen the kit, or the machine was
    stolen, run 'sealroom identity rotate' next.

    Example:
      sealroom identity restore --kit kit.html
      sealroom identity restore --kit kit.html --pin 5f0c...
    """
    address = None if server is None else options.server_url(server)
    tls_pin = options.tls_pin(pin)
    restored = _kit(kit, words, vault_id, address, tls_pin)

    async def restoring() -> str:
        home = invocation.home
        async with await home.restore(restored, server=address, pin=tls_pin) as vault:
            return vault.vault_id

    found = invocation.work(restoring, stopped="The same command begins anew.")
    info = next(each for each in invocation.home.vaults() if each.vault_id == found)
    invocation.show(
        info,
        lambda: print_facts(
            [("vault", info.vault_id), ("title", info.title or None), ("identity", info.identity)]
        ),
    )


def _kit(
    kit: Path | None,
    words: str | None,
    vault_id: str | None,
    server: str | None,
    tls_pin: bytes | None,
) -> Kit:
    from client.kits import Kit, parse_kit, seed_of_words

    if kit is not None:
        if words is not None or vault_id is not None:
            raise click.UsageError("--kit has the words and the vault's id: leave yours out")
        return parse_kit(options.text_of(kit))
    if server is None or vault_id is None:
        raise click.UsageError("give --kit, or --server and --vault-id beside the words")
    whole = options.whole_id(vault_id)
    typed = words or click.prompt("The kit's 24 words", hide_input=True, err=True)
    return Kit(whole, server, tls_pin, seed_of_words(typed))


def _keep(invocation: Invocation) -> str:
    path = invocation.folder.keyring_path
    return f"Keep a copy of {visible(str(path))}, and its passphrase: nobody can replace them."
