"""The commands `sealroom store`: what an operator does with a server's data."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from protocol.limits import MIB
from vault.cli import data_option, wants_json
from vault.copies import Examined, Told, back_up, examine
from vault.logs import unlogged

DAMAGED: Final = 1


@click.group()
def store() -> None:
    """Copy a server's data, and see whether all of it is sound.

    For whoever runs a server: see docs/operating.md.

    Example:
      sealroom store backup --data /srv/sealroom --out /backup/sealroom-2026-11-27
    """


@store.command()
@data_option("The server's data directory.")
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the copy is made; nothing may be there.",
)
@click.pass_context
def backup(ctx: click.Context, data_dir: Path, out: Path) -> None:
    """Copy a server's data while it runs, and read the copy through.

    The copy is the store at one moment, with the server's keys: a data directory on which
    'sealroom serve' starts. Keep it as safe as the server. What is erased later is still in it.

    Example:
      sealroom store backup --data /srv/sealroom --out /backup/sealroom-2026-11-27
    """
    with _prepared(), _shown(ctx) as told:
        found = back_up(data_dir, out, told)
    _report(ctx, found, out)


@store.command()
@data_option("The server's data directory.")
@click.pass_context
def check(ctx: click.Context, data_dir: Path) -> None:
    """Read all of a server's data, and say whether it is sound: every log, every block.

    Of a copy, or while the server is stopped. A running server does the same once a day, and says
    'read_through' in its log.

    Example:
      sealroom store check --data /backup/sealroom-2026-11-27
    """
    with _prepared(), _shown(ctx) as told:
        found = asyncio.run(examine(data_dir, told))
    _report(ctx, found, data_dir)


@contextmanager
def _prepared() -> Iterator[None]:
    old = os.umask(0o077)
    try:
        # What there is to say the report says.
        with unlogged():
            yield
    finally:
        os.umask(old)


@contextmanager
def _shown(ctx: click.Context) -> Iterator[Told]:
    """Show whoever looks a bar for each thing that takes long, with rate and time left."""
    if wants_json(ctx) or not sys.stderr.isatty():
        yield lambda *_: None
        return
    bars: dict[str, Any] = {}
    begun: dict[str, float] = {}

    def told(task: str, done: int, total: int) -> None:
        if task not in bars:
            for bar in bars.values():
                bar.render_finish()
            begun[task] = time.monotonic()
            bars[task] = click.progressbar(
                length=total,
                label=task,
                file=sys.stderr,
                width=30,
                item_show_func=lambda rate: rate,
            )
        rate = done / max(time.monotonic() - begun[task], 0.001) / MIB
        bars[task].update(done - bars[task].pos, f"{rate:,.0f} MiB/s")

    try:
        yield told
    finally:
        for bar in bars.values():
            bar.render_finish()


def _report(ctx: click.Context, found: Examined, directory: Path) -> None:
    damage = [
        {"vault_id": vault and vault.hex(), "what": what} for vault, what in found.damage.items()
    ]
    vaults = [
        {"vault_id": vault.hex(), "leaves": each.leaves, "blocks": each.blocks, "bytes": each.size}
        for vault, each in found.vaults.items()
    ]
    if wants_json(ctx):
        shown = {"directory": str(directory), "sound": not damage, "vaults": vaults}
        click.echo(json.dumps(shown | {"damage": damage}))
    else:
        for line in _lines(found, directory):
            click.echo(line)
    if damage:
        click.echo("error: not all of it is sound", err=True)
        click.echo("hint: Keep older copies. A server deletes nothing from such a store.", err=True)
        ctx.exit(DAMAGED)


def _lines(found: Examined, directory: Path) -> Iterator[str]:
    if found.vaults:
        yield f"{'vault':64}  {'leaves':>9}  {'blocks':>9}  {'MiB':>10}"
    for vault, each in found.vaults.items():
        size = each.size / MIB
        yield f"{vault.hex()}  {each.leaves:>9,}  {each.blocks:>9,}  {size:>10,.1f}"
    for damaged, what in found.damage.items():
        yield f"{'the store' if damaged is None else damaged.hex()}  damaged: {what}"
    if not found.damage:
        count = len(found.vaults)
        yield f"{directory}: {count} vault{'' if count == 1 else 's'}, all of it sound"
