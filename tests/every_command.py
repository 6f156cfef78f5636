"""Every command of the command line, by its path."""

from __future__ import annotations

from collections.abc import Iterator

import click

from client.cli import main

Path = tuple[str, ...]


def every_command(
    group: click.Group = main.cli, above: Path = ()
) -> Iterator[tuple[Path, click.Command]]:
    """Yield each command with its path, those of other packages too; groups are none."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from every_command(found, (*above, name))
        else:
            yield (*above, name), found
