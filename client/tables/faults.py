"""Files that cannot be read or written: named, with what is the matter and what to do about it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from client.tables.errors import TableUnreadable, TableUnwritable

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def what_is_wrong(error: OSError) -> str:
    """Return in words what an error of the system says, however its raiser put it."""
    return os.strerror(error.errno) if error.errno else str(error)


def unreadable(path: Path, error: OSError) -> TableUnreadable:
    """Return what to raise where a file cannot be read."""
    hint = "check the path and its owner"
    if error.errno == errno.EISDIR:
        hint = f"a folder holds tables: name the files in it, such as {Path(path.name) / '*.csv'}"
    elif error.errno == errno.ENOENT:
        hint = f"check the path: {_folder(path)} has no such file"
    elif error.errno in _FORBIDDEN:
        hint = "you may not read it: ask its owner, or copy it as somebody who may"
    return TableUnreadable(f"{path.name or path} cannot be read: {what_is_wrong(error)}", hint=hint)


def why_unwritable(path: Path, error: OSError) -> tuple[str, str]:
    """Return what is wrong where a file cannot be written, and what to do about it."""
    hint = "check the folder"
    if error.errno in _FULL:
        hint = "make room there, or write to another disk"
    elif error.errno == errno.EISDIR:
        hint = f"it is a folder: name a file in it, such as {path.name}/table.csv"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        hint = f"there is no folder {path.parent}: make it first"
    elif error.errno in _FORBIDDEN:
        hint = f"you may not write to {_folder(path)}: choose another"
    return f"{path} cannot be written: {what_is_wrong(error)}", hint


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Blame what the system refuses on the file that is being written.

    Raises: TableUnwritable, in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        message, hint = why_unwritable(path, error)
        raise TableUnwritable(message, hint=hint) from error


def expect_no_folder(path: Path) -> None:
    """Refuse early what would only fail once everything was read. Raises: TableUnwritable."""
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _folder(path: Path) -> str:
    return "this folder" if path.parent == Path() else str(path.parent)
