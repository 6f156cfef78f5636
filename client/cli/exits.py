"""How a command ends: one table from errors to exit codes, and how an error is told.

0 done, 1 failed, 2 usage, 3 refused by the server, the policy or one's role, 4 verification
failed, 5 unreachable, 70 a bug of ours, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import click
from click.exceptions import NoArgsIsHelpError

from client.cli.meant import ASKING, asks_nothing, option_message
from client.cli.output import note, print_json, visible
from client.errors import Interrupted, Refused, Unreachable
from client.results import as_json as as_document
from protocol.errors import (
    Fork,
    LimitExceeded,
    MalformedMessage,
    OutOfOrder,
    SealroomError,
    VerificationFailed,
)

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
UNTRUE: Final = 4
UNREACHABLE: Final = 5
BUG: Final = 70
STOPPED: Final = 130


class UnusableAnswer(SealroomError):
    """What came from the server cannot be right; carries the code of what is wrong with it."""


EXITS: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (VerificationFailed, UNTRUE),
    (UnusableAnswer, UNTRUE),
    (Unreachable, UNREACHABLE),
    (Refused, REFUSED),
    (OutOfOrder, REFUSED),
    (Interrupted, STOPPED),
    (SealroomError, FAILED),
    (click.UsageError, USAGE),
    (click.ClickException, FAILED),
    (OSError, FAILED),
    (sqlite3.Error, FAILED),
)
"""The first class that fits gives the exit code; what fits none is a bug."""

LAST_HINTS: Final = {
    UNTRUE: "Do not go on. Keep this home as it is, and ask who runs the server.",
    UNREACHABLE: "Is the server running, and the address right?",
}
"""What is hinted where nobody closer to the error knew better."""

SYSTEM_HINTS: Final = {
    errno.ENOSPC: "Make room on that disk, and repeat the command.",
    errno.EDQUOT: "Make room on that disk, and repeat the command.",
    errno.EACCES: "Have its owner let you, or choose another place.",
    errno.EROFS: "Choose another place: that one cannot be written to.",
    errno.EISDIR: "It is a folder: name a file in it.",
    errno.ENOENT: "Check the path, and make its folder first if that is missing.",
    errno.ENOTDIR: "Check the path: something in it is no folder.",
}
"""What is hinted where the system refuses one of the user's files."""


@dataclass(frozen=True, slots=True)
class Told:
    """An error as it is told: a stable code, what happened, and what to do next."""

    code: str
    message: str
    hint: str | None


def exit_code(error: BaseException) -> int:
    """Return the code with which a command ends that met this error."""
    return next((code for kind, code in EXITS if isinstance(error, kind)), BUG)


@contextmanager
def from_server() -> Iterator[None]:
    """Blame the server for bytes that are malformed or too many: in here nobody else sends any.

    Raises:
        UnusableAnswer: in place of MalformedMessage and LimitExceeded.
    """
    try:
        yield
    except (MalformedMessage, LimitExceeded) as error:
        unusable = UnusableAnswer(
            f"what the server sent cannot be right: {error}",
            hint=error.hint or LAST_HINTS[UNTRUE],
        )
        raise unusable from error


def tell(error: BaseException, *, as_json: bool) -> int:
    """Print an error for people on stderr, for programs on stdout; return the exit code.

    A fork comes with both checkpoints, whole: they are what the user can show to others.
    """
    told, evidence = _told(error), _evidence(error)
    if as_json:
        shown: dict[str, Any] = as_document(told)
        print_json({"error": shown | ({"checkpoints": evidence} if evidence else {})})
    if isinstance(error, NoArgsIsHelpError):
        note(error.format_message())
        return USAGE
    if isinstance(error, click.UsageError) and error.ctx is not None:
        note(error.ctx.get_usage())
    note(f"error: {visible(told.message)}")
    if told.hint:
        note(f"hint: {visible(told.hint)}")
    for checkpoint in evidence:
        lines = (f"    {visible(line)}".rstrip() for line in checkpoint.splitlines())
        note("\n".join(["checkpoint", *lines]))
    code = exit_code(error)
    if code == BUG and os.environ.get("SEALROOM_DEBUG") == "1":
        note("".join(traceback.format_exception(error)))
    return code


def _evidence(error: BaseException) -> list[str]:
    """Return the checkpoints that contradict each other in a fork, as the server signed them."""
    if not isinstance(error, Fork):
        return []
    return [each.decode() for each in (error.pinned, error.shown) if each]


def _told(error: BaseException) -> Told:
    match error:
        case Refused():
            return Told(error.refusal, str(error), error.hint)
        case UnusableAnswer() if isinstance(error.__cause__, SealroomError):
            return Told(error.__cause__.code, str(error), error.hint)
        case SealroomError():
            return Told(error.code, str(error), error.hint or LAST_HINTS.get(exit_code(error)))
        case NoArgsIsHelpError():
            return Told("usage", "no command was given", "Try --help.")
        case click.NoSuchOption():
            return Told("usage", option_message(error), _usage_hint(error))
        case click.UsageError():
            return Told("usage", " ".join(error.format_message().split()), _usage_hint(error))
        case click.ClickException():
            return Told("failed", error.format_message(), None)
        case OSError():
            where = f": {error.filename}" if error.filename else ""
            hint = SYSTEM_HINTS.get(error.errno or 0)
            return Told("system", f"{error.strerror or type(error).__name__}{where}", hint)
        case sqlite3.Error():
            hint = "Is the disk full, or another sealroom at work in this home?"
            return Told("system", f"the home's own files cannot be used: {error}", hint)
        case _:
            # Its message is left out: nobody has checked what an unexpected one repeats.
            hint = "SEALROOM_DEBUG=1 shows where it happened."
            kind = type(error).__name__
            return Told("internal", f"a bug in sealroom ({kind}); please report it", hint)


def _usage_hint(error: click.UsageError) -> str | None:
    context = error.ctx
    if context is None:
        return None
    root = context.find_root()
    if isinstance(error, click.NoSuchOption) and context is not root:
        known = {name for option in root.command.params for name in option.opts}
        if error.option_name in known:
            first = f"{root.info_name} {error.option_name}"
            return f"{error.option_name} comes before the command: {first} ..."
    if isinstance(error, click.NoSuchOption) and asks_nothing(error):
        if context is root:
            return f"{ASKING} comes after the command, of those that ask."
        return f"'{context.command_path}' asks nothing that could be answered so: leave it out."
    if isinstance(error, click.BadParameter) and (kind := _kind_of_place(error)) is not None:
        return kind
    if isinstance(error, click.NoSuchCommand) and isinstance(context.command, click.Group):
        below = _groups_with(context.command, error.command_name)
        if below:
            named = " or ".join(f"'{root.info_name} {each}'" for each in below)
            return f"Did you mean {named}?"
    return f"Try '{context.command_path} --help'."


def _kind_of_place(error: click.BadParameter) -> str | None:
    """Return what to name where a file was named for a folder, or the other way round."""
    wanted = None if error.param is None else error.param.type
    if not isinstance(wanted, click.Path) or wanted.file_okay == wanted.dir_okay:
        return None
    return "Name a file in that folder." if wanted.file_okay else "Name a folder."


def _groups_with(group: click.Group, name: str) -> list[str]:
    """Return the commands one level below that are called so: for 'list', 'vault list'."""
    return [
        f"{above} {name}"
        for above, command in group.commands.items()
        if isinstance(command, click.Group) and name in command.commands
    ]
