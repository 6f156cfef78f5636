"""The command `sealroom`: the options before the command, and the commands themselves.

Thin over the SDK: what a command does is in `client.vault` and `client.home`. Both are
imported when a command needs them, so that nobody waits for Arrow to see a version.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, entry_points, version
from inspect import cleandoc
from io import TextIOWrapper
from pathlib import Path
from typing import Final

import click

from client.cli.collection import collection
from client.cli.completing import completion, vault_ids
from client.cli.control import attest, freeze, heartbeat, policy, unfreeze
from client.cli.doctor import doctor
from client.cli.documents import attach, documents
from client.cli.erasing import erase
from client.cli.exits import DONE, tell
from client.cli.handover import handover
from client.cli.identity import identity
from client.cli.invites import invite, join
from client.cli.invocation import MOST_LEAVES, WAIT_MINUTES, Invocation, MakeHome, home_of
from client.cli.keys import rotate
from client.cli.log import log
from client.cli.members import confirm, grant, members, role, withdraw
from client.cli.read import read
from client.cli.recovery import recovery
from client.cli.revoking import revoke
from client.cli.upload import upload
from client.cli.vault import vault
from client.errors import InputError, Interrupted

COMMANDS_GROUP: Final = "sealroom.commands"
"""The entry points by which other packages add commands: the server adds `serve`."""


class Commands(click.Group):
    """Our own commands in the order in which they are used, then those of other packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        others = {point.name for point in entry_points(group=COMMANDS_GROUP)}
        return [*self.commands, *sorted(others - self.commands.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; one of ours is never replaced by another package's."""
        own = super().get_command(ctx, cmd_name)
        return own or _contributed(cmd_name)


def _contributed(name: str) -> click.Command | None:
    for point in entry_points(group=COMMANDS_GROUP, name=name):
        try:
            command = point.load()
        except ModuleNotFoundError as error:
            return _absent(name, str(error.name))
        if isinstance(command, click.Command):
            _keep_examples(command)
            return command
    return None


def _absent(name: str, module: str) -> click.Command:
    """Return a command that says what has to be installed first."""

    def run() -> None:
        raise InputError(
            f"'{name}' is not installed here ({module} is missing)",
            hint="pip install 'sealroom[server]'",
        )

    context = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(
        name, callback=run, context_settings=context, short_help="(not installed here)"
    )


def installed_version() -> str:
    """Return the version of this installation, if it is one."""
    try:
        return version("sealroom")
    except PackageNotFoundError:
        return "from source"


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"sealroom {installed_version()}")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--home",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where your keyring is; SEALROOM_HOME, or ~/.sealroom, if not given.",
)
@click.option(
    "--vault",
    metavar="ID",
    shell_complete=vault_ids,
    help="Which vault: its title, its id, or the beginning of it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, errors included.")
@click.option(
    "--passphrase-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read the passphrase from the first line of a file. SEALROOM_PASSPHRASE serves too.",
)
@click.option(
    "--wait",
    metavar="MINUTES",
    type=click.IntRange(0, 10_000),
    default=WAIT_MINUTES,
    show_default=True,
    help="How long to wait for a server that has answered and stops; 0: not at all.",
)
@click.option(
    "--most-leaves",
    metavar="NUMBER",
    type=click.IntRange(1),
    default=MOST_LEAVES,
    show_default=True,
    help="How many new leaves of a log to read at once, at most.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
@click.pass_context
def cli(
    ctx: click.Context,
    home: Path | None,
    vault: str | None,
    as_json: bool,
    passphrase_file: Path | None,
    wait: int,
    most_leaves: int,
) -> None:
    """Share tables through a server that cannot read them, and hand them over.

    Every command verifies what the server says before it believes it. It ends with 0 when it
    is done, 1 when it failed, 2 on wrong usage, 3 when the server, the policy or your role
    does not allow it, 4 when something did not verify, 5 when the server cannot be reached.

    Example:
      sealroom vault create vault.example.com:8443 --title Lark --pin 5f0c... --token mR3x...
      sealroom upload customers.csv --collection customers --class country=general
      sealroom invite bidder --name Ann --classes general
    """
    ours = partial(home_of, wait_minutes=wait, most_leaves=most_leaves)
    ctx.obj = Invocation(
        named_home=home,
        vault=vault,
        json=as_json,
        passphrase_file=passphrase_file,
        make_home=ours if ctx.obj in (None, home_of) else ctx.obj,
    )


@cli.result_callback()
@click.pass_obj
def _and_then(invocation: Invocation, /, *_: object, **__: object) -> None:
    """Offer what only a holder of keys can do, once the command is done."""
    invocation.offer_new_keys()


for command in (
    identity,
    vault,
    upload,
    collection,
    read,
    attach,
    documents,
    invite,
    join,
    members,
    confirm,
    role,
    grant,
    withdraw,
    revoke,
    rotate,
    erase,
    handover,
    attest,
    recovery,
    freeze,
    unfreeze,
    policy,
    heartbeat,
    log,
    doctor,
    completion,
):
    cli.add_command(command)


def _keep_examples(command: click.Command) -> None:
    """Let no example in a help text be wrapped as if it were prose."""
    # click prints a paragraph that begins with a backspace line by line
    command.help = cleandoc(command.help or "").replace("\n\nExample:", "\n\n\b\nExample:")
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _keep_examples(below)


_keep_examples(cli)


def run(arguments: Sequence[str], make_home: MakeHome = home_of) -> int:
    """Run a command line and return its exit code; errors are told, not raised."""
    try:
        ended = cli.main(
            list(arguments), prog_name="sealroom", standalone_mode=False, obj=make_home
        )
    except (click.Abort, KeyboardInterrupt):
        return tell(Interrupted("stopped"), as_json=_wants_json(arguments))
    except Exception as error:
        return tell(error, as_json=_wants_json(arguments))
    return ended if isinstance(ended, int) else DONE


def _wants_json(arguments: Sequence[str]) -> bool:
    """Say whether --json was given, also where the rest could not be parsed."""
    return "--json" in arguments


def main() -> None:
    """Be the command `sealroom`."""
    _harden()
    # Nothing here is linear algebra, for which numpy would start a thread on every processor.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        # A terminal without UTF-8 gets escapes rather than a traceback.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def _harden() -> None:
    """Keep keys out of core dumps, and what is written to its owner."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
