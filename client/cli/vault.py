"""`sealroom vault`: creating vaults, listing them, and how one stands."""

from __future__ import annotations

import click

from client.cli import advice, options
from client.cli.invocation import Invocation, confirmed
from client.cli.output import age, counted, moment, print_facts, print_table, say, visible
from client.results.vaults import OfferInfo, VaultInfo, VaultStatus

UNTITLED = "untitled"
SEALED_TITLE = "sealed from you"
NO_TITLE_HERE = "-"


@click.group()
def vault() -> None:
    """Create vaults, list them, see how one stands, follow one to another address, end one.

    Example:
      sealroom vault status
    """


@vault.command()
@click.argument("url")
@click.option("--title", type=options.name, metavar="TITLE", help="What members call the vault.")
@click.option(
    "--name",
    type=options.name,
    default="owner",
    show_default=True,
    metavar="NAME",
    help="What the owner and the admins call you.",
)
@click.option(
    "--pin", metavar="HEX", help="The pin of the server's TLS key, as 'sealroom serve' prints it."
)
@click.option(
    "--token",
    metavar="TOKEN",
    envvar="SEALROOM_TOKEN",
    help="The server's token for creating vaults. Others on this machine can see what is typed "
    "here: SEALROOM_TOKEN serves too, and they cannot see it.",
)
@click.pass_obj
def create(
    invocation: Invocation,
    url: str,
    title: str | None,
    name: str,
    pin: str | None,
    token: str | None,
) -> None:
    """Create a vault on the server at URL (HOST:PORT), and become its owner.

    Without --pin the server's certificate must be one that this machine trusts.

    Example:
      sealroom vault create vault.example.com:8443 --title Lark --pin 5f0c... --token mR3x...
    """
    address, tls_pin = options.server_url(url), options.tls_pin(pin)

    async def creating() -> str:
        async with await invocation.home.create_vault(
            address, title=title or "", name=name, pin=tls_pin, token=token or ""
        ) as made:
            return made.vault_id

    vault_id = invocation.work(creating, stopped="'sealroom vault list' shows whether it is there.")
    info = next(each for each in invocation.home.vaults() if each.vault_id == vault_id)
    invocation.show(info, lambda: _print_created(info))
    invocation.tell_of_namesakes(info.title)
    keyring = visible(str(invocation.home.keyring_path))
    invocation.aside(
        "A lost owner's keyring is the end of its vault: keep a copy of "
        f"{keyring}, or make a kit with 'sealroom identity backup'."
    )


def _print_created(info: VaultInfo) -> None:
    print_facts(
        [
            ("vault", info.vault_id),
            ("title", info.title or UNTITLED),
            ("server", info.server),
            ("pin", info.pin),
        ]
    )


@vault.command(name="list")
@click.pass_obj
def list_vaults(invocation: Invocation) -> None:
    """List the vaults of this home. No server is asked.

    Example:
      sealroom vault list
    """
    invocation.demand_keyring()
    vaults = invocation.folder.vaults()
    rows = [
        (
            each.vault_id[:16],
            visible(each.title) or NO_TITLE_HERE,
            visible(each.server),
            visible(each.identity),
            moment(each.since),
            "" if each.joined else "join not finished",
        )
        for each in vaults
    ]

    def for_people() -> None:
        if rows:
            print_table(("vault", "title", "server", "identity", "since", ""), rows)
        else:
            say("no vaults yet")

    invocation.show({"vaults": vaults}, for_people)


@vault.command()
@click.pass_obj
def status(invocation: Invocation) -> None:
    """Fetch and verify what is new, and say how the vault stands.

    Example:
      sealroom --vault "Project Lark" vault status
    """
    stands = invocation.in_vault(lambda opened: opened.status())
    invocation.show(stands, lambda: _print_status(stands))


@vault.command()
@click.argument("url")
@click.option(
    "--pin", metavar="HEX", help="The pin of the TLS key there, as 'sealroom serve' prints it."
)
@click.pass_obj
def move(invocation: Invocation, url: str, pin: str | None) -> None:
    """Go to another address (HOST:PORT) for a vault, or to a server with another TLS key.

    The log there is verified before anything changes: it has to be the one that this home knows,
    signed by the vault's own server. Each member does this for its home; invite links that are
    out lead to the old address.

    Example:
      sealroom --vault "Project Lark" vault move new.example.com:8443 --pin 5f0c...
    """
    address, tls_pin = options.server_url(url), options.tls_pin(pin)
    invocation.demand_keyring()
    moved = invocation.work(
        lambda: invocation.home.move_vault(address, pin=tls_pin, vault=invocation.vault)
    )
    invocation.show(moved, lambda: say(f"{visible(moved.title)} is at {visible(moved.server)}"))


@vault.command()
@options.reason_option
@options.yes_option
@click.pass_obj
def destroy(invocation: Invocation, reason: str, yes: bool) -> None:
    """End the vault for ever: the server deletes all records and keys. Only the owner may.

    The log stays, and its members can still read it. Backups, and whoever has read something,
    keep what they have.

    Example:
      sealroom --vault "Project Lark" vault destroy --reason terms
    """
    from protocol.acts import Reason

    confirmed("Destroy the vault and all that is in it, for ever?", yes)
    done = invocation.in_vault(lambda opened: opened.destroy(Reason(reason)))
    invocation.show(done, lambda: say(f"destroyed (leaf {done.index:,} of the log)"))


def _print_status(stands: VaultStatus) -> None:
    print_facts(
        [
            ("vault", stands.vault_id),
            ("title", title_text(stands.title, sealed=stands.title_sealed)),
            ("server", stands.server),
            ("you", _you(stands)),
            ("members", f"{stands.members:,}, and {counted(stands.open_invites, 'open invite')}"),
            ("holds", _holds(stands)),
            ("log", f"{counted(stands.leaves, 'leaf', 'leaves')}, verified"),
            ("root", stands.root),
            ("head", f"{age(stands.checkpoint_age)} old, {_signed(stands)}"),
            ("unheard", advice.of_silence(stands)),
            ("frozen", _frozen(stands.phase)),
            ("handover", offer_text(stands.offer)),
            ("new keys", advice.told_to(stands)),
            ("old keys", advice.what_is_left(stands.new_keys)),
        ]
    )


def _you(stands: VaultStatus) -> str:
    if stands.status in advice.FORMER:
        return f"no member any more, once {stands.role}: {stands.status} ({stands.me[:16]})"
    return f"{stands.role}, {stands.status} ({stands.me[:16]})"


def _holds(stands: VaultStatus) -> str:
    tables = f"{counted(stands.collections, 'collection')}, {counted(stands.records, 'record')}"
    holds = f"{tables}, {counted(stands.documents, 'document')}" if stands.documents else tables
    return f"{holds}; {closed_text(stands.nameless)}" if stands.nameless else holds


def title_text(title: str, *, sealed: bool) -> str:
    """Return a vault's title, or why none is shown."""
    return title or (SEALED_TITLE if sealed else UNTITLED)


def closed_text(collections: int) -> str:
    """Return that of so many collections this member knows no names, and so not what they are."""
    if collections == 1:
        return "the names of 1 collection are closed to you: it may be a table, or documents"
    return (
        f"the names of {collections:,} collections are closed to you: each may be a table, "
        "or documents"
    )


def offer_text(offer: OfferInfo | None) -> str:
    """Return the open offer in words."""
    if offer is None:
        return "none offered"
    whom = "you" if offer.to_me else offer.buyer_name or offer.buyer[:16]
    return f"offered to {whom} until {moment(offer.expires)}"


def _signed(stands: VaultStatus) -> str:
    if stands.head_age < 0:
        return f"signed by a clock that is {age(-stands.head_age)} ahead, too far to write"
    late = stands.head_age > stands.head_limit
    return f"signed {age(stands.head_age)} ago{', too long ago to write' if late else ''}"


def _frozen(phase: str) -> str | None:
    if phase == "ended":
        return "the vault is destroyed"
    return "yes: nothing but removals lands" if phase.startswith("frozen") else None
