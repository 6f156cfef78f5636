"""What a wrong option most likely meant: by another program's word for it, or by its letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import click

from client.likely import ALIKE

ASKING: Final = "--yes"

OTHER_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "--address": ("--listen",),
    "--bind": ("--listen",),
    "--cert": ("--tls-cert",),
    "--columns": ("--fields",),
    "--days": ("--expires",),
    "--dir": ("--data", "--into"),
    "--filter": ("--where",),
    "--folder": ("--into", "--data"),
    "--force": (ASKING, "--overwrite"),
    "--host": ("--listen",),
    "--key": ("--replace-by", "--tls-key"),
    "--output": ("--out",),
    "--port": ("--listen",),
    "--preview": ("--dry-run",),
    "--rows": ("--limit", "--records"),
    "--sep": ("--delimiter",),
    "--table-name": ("--table",),
    "--ttl": ("--expires",),
    "--update-by": ("--replace-by",),
    "--why": ("--reason",),
    "-f": (ASKING, "--overwrite", "--fields"),
    "-n": ("--limit", "--dry-run"),
    "-o": ("--out",),
    "-p": ("--listen",),
    "-y": (ASKING,),
}
"""What people type who know other programs, and what it is called here: the first that is known."""


def option_message(error: click.NoSuchOption) -> str:
    """Return what is wrong, and which option of the same command was most likely meant."""
    known = _options(error.ctx)
    for each in OTHER_WORDS.get(error.option_name, ()):
        if each in known:
            return f"{error.message} Did you mean {each!r}?"
    if asks_nothing(error):
        return error.message  # nothing that is spelt like it means anything like it
    return error.format_message()


def asks_nothing(error: click.NoSuchOption) -> bool:
    """Say whether somebody means to answer a question that the command does not ask."""
    wanted = (error.option_name, *OTHER_WORDS.get(error.option_name, ()))
    return ASKING in wanted and not set(wanted) & _options(error.ctx)


def _options(context: click.Context | None) -> set[str]:
    if context is None:
        return set()
    return {name for option in context.command.params for name in option.opts}


class Choice(click.Choice[str]):
    """One of a few words; whoever mistypes one is told which was most likely meant."""

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        """Return what is wrong, what there is, and what was most likely meant."""
        said = super().get_invalid_choice_message(value, ctx)
        return f"{said} {meant(str(value), self.choices)}".strip()


def not_one_of(typed: str, words: Sequence[str]) -> str:
    """Return that something is none of a few words, and which was most likely meant."""
    return f"{typed!r} is not one of {', '.join(words)}. {meant(typed, words)}".strip()


def meant(typed: str, words: Iterable[str]) -> str:
    """Ask whether one of a few words was meant, if it is spelt much like what was typed."""
    from difflib import get_close_matches  # seldom needed

    close = get_close_matches(typed.lower(), words, n=1, cutoff=ALIKE)
    return f"Did you mean {close[0]!r}?" if close else ""
