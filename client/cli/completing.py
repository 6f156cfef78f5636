"""`sealroom completion`: what makes a shell complete commands, options and ids of vaults.

A shell asks at each press of the key, so nothing here opens the keyring, which costs a
passphrase and half a second, or talks to a server. So names, which lie in no file unsealed, are
not completed; ids of vaults are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from client.cli.invocation import Invocation
from client.cli.meant import Choice
from client.cli.output import say
from client.places import default_home, known_vaults

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = "_SEALROOM_COMPLETE"
"""By which a shell asks, instead of running a command; click looks for it."""


@click.command()
@click.argument("shell", type=Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that has a shell complete what you type, to be loaded by it.

    Commands, options, their fixed values and files are completed, and with --vault the ids of
    this home's vaults. Names are not: they lie in no file unsealed, and nobody is asked for a
    passphrase while typing.

    Example:
      sealroom completion bash > ~/.local/share/bash-completion/completions/sealroom
      sealroom completion zsh > ~/.zfunc/_sealroom
      sealroom completion fish > ~/.config/fish/completions/sealroom.fish
    """
    from click.shell_completion import ShellComplete, get_completion_class

    invocation: Invocation = context.obj
    kind = get_completion_class(shell)
    assert kind is not None  # click knows these three
    complete = kind(context.find_root().command, {}, "sealroom", VARIABLE)
    # Bash's own `source` also runs bash, to see whether it is new enough.
    script = ShellComplete.source(complete)
    invocation.show({"script": script}, lambda: say(script.rstrip("\n")))


def vault_ids(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the ids that begin so, of the vaults in the home that --home names, or the usual."""
    from click.shell_completion import CompletionItem

    home = context.find_root().params.get("home") or default_home()
    return [CompletionItem(each) for each in known_vaults(home) if each.startswith(incomplete)]


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Have the shell complete the name of a file, for what need not be one."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]
