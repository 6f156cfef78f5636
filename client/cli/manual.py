"""Manual pages of all commands, written from what `--help` says: `make man`.

    python -m client.cli.manual build/man

One page a command, as git has them, with its examples as they stand. The same commands give the
same bytes: a page bears the version, and no date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from client.cli.main import cli, installed_version

SECTION: Final = 1
ENVIRONMENT: Final = (
    ("SEALROOM_HOME", "The home, where --home does not name one."),
    ("SEALROOM_PASSPHRASE", "The passphrase of the keyring, for scripts."),
    ("SEALROOM_TOKEN", "The token of a server, with which vaults are created."),
    ("SEALROOM_ENGINE", "Forces an engine: compiled, sodium or cryptography."),
    ("SEALROOM_DEBUG", "Set to 1, shows where a bug happened."),
)


def pages(version: str) -> dict[str, str]:
    """Return the page of each command, by the name of its file."""
    return {
        f"{_page_name(context)}.{SECTION}": _page(context, version)
        for context in _contexts(click.Context(cli, info_name="sealroom", **cli.context_settings))
    }


def write(folder: Path, version: str) -> int:
    """Write all pages where `man` looks for them below a folder of its path; return how many."""
    where = folder / f"man{SECTION}"
    where.mkdir(parents=True, exist_ok=True)
    made = pages(version)
    for old in where.glob(f"sealroom*.{SECTION}"):
        old.unlink()
    for name, text in made.items():
        (where / name).write_text(text, encoding="utf-8")
    return len(made)


def _contexts(context: click.Context) -> Iterator[click.Context]:
    yield context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and command.help:  # one that is not installed has none
                yield from _contexts(click.Context(command, context, name))


def _page_name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


# --- one page


def _page(context: click.Context, version: str) -> str:
    command = context.command
    summary, prose, examples = _help_of(command)
    name = _page_name(context)
    lines = [
        f'.TH "{_plain(name.upper())}" {SECTION} "" "{_plain(version)}" "Sealroom"',
        ".SH NAME",
        f"{_plain(name)} \\- {_plain(summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        f"\\fB{_plain(context.command_path)}\\fR {_plain(' '.join(_usage(context)))}",
        ".SH DESCRIPTION",
        *_paragraphs((summary, *prose)),
        *_listed("OPTIONS", _options(context)),
    ]
    if isinstance(command, click.Group):
        lines += _listed("COMMANDS", _below(context, command))
    lines += [".SH EXAMPLES", ".nf", *(_line(each) for each in examples), ".fi"]
    if context.parent is None:
        lines += _listed("ENVIRONMENT", ENVIRONMENT)
    else:
        lines += [".SH SEE ALSO", f"\\fB{_plain(_page_name(context.parent))}\\fR({SECTION})"]
    return "\n".join(lines) + "\n"


def _help_of(command: click.Command) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the first paragraph of a help text, the others, and the examples, line by line."""
    texts = (command.help or "").split("\n\n")
    prose = [" ".join(each.split()) for each in texts if not each.startswith("\b\nExample:")]
    (shown,) = (each for each in texts if each.startswith("\b\nExample:"))
    return prose[0], tuple(prose[1:]), tuple(each.strip() for each in shown.split("\n")[2:])


def _usage(context: click.Context) -> list[str]:
    return context.command.collect_usage_pieces(context)


def _options(context: click.Context) -> Iterator[tuple[str, str]]:
    """Return each option's names and its help; what the arguments are, the description says."""
    options = (p for p in context.command.get_params(context) if isinstance(p, click.Option))
    return filter(None, (each.get_help_record(context) for each in options))


def _below(context: click.Context, group: click.Group) -> Iterator[tuple[str, str]]:
    for each in _contexts(context):
        if each.parent is context:
            yield _page_name(each) + f"({SECTION})", _help_of(each.command)[0]


# --- the language of pages


def _listed(
    heading: str, entries: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]
) -> list[str]:
    lines = [f".SH {heading}"]
    for term, text in entries:
        lines += [".TP", f"\\fB{_plain(term)}\\fR", _line(" ".join(text.split()))]
    return lines


def _paragraphs(texts: tuple[str, ...]) -> Iterator[str]:
    for number, each in enumerate(texts):
        if number:
            yield ".PP"
        yield _line(each)


def _line(text: str) -> str:
    """Return a line of text: one that begins with a dot or a quote would be an instruction."""
    plain = _plain(text)
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain


def _plain(text: str) -> str:
    """Return text that is shown as it is: a bare hyphen may be shown as another sign."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")


def main(arguments: list[str]) -> None:
    """Write the pages into the folder that is named."""
    (folder,) = map(Path, arguments)
    click.echo(f"{write(folder, f'sealroom {installed_version()}')} pages in {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
