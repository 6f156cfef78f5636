"""`sealroom identity`: who this home is."""

from __future__ import annotations

import click

from client.cli import options
from client.cli.invocation import Invocation
from client.cli.output import moment, print_facts, print_table, visible


@click.group()
def identity() -> None:
    """Make and list the identities of this home.

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


def _keep(invocation: Invocation) -> str:
    path = invocation.folder.keyring_path
    return f"Keep a copy of {visible(str(path))}, and its passphrase: nobody can replace them."
