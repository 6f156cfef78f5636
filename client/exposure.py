"""What of a home others on this machine own or may change: nothing of it is believed then."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from protocol.errors import ExposedFile

ROOT: Final = 0
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def expect_own(path: Path, opened: int | None = None) -> None:
    """Refuse a folder or a file that others may write; `opened` is its descriptor, if it has one.

    Who may write into a folder may put other files in the place of those in it, whatever their
    modes are; and whoever owns either may give itself leave to. So both are this user's, or root's,
    who may change anything; root believes nobody's but its own. Folders above the home are for
    their owner to look after.

    Raises:
        ExposedFile: they may, or it is another user's.
    """
    found = os.stat(path if opened is None else opened)
    me = os.geteuid()
    if found.st_uid not in (me, ROOT):
        raise ExposedFile(
            f"{path} is another user's (its owner is {found.st_uid}, and you are {me})",
            hint="Run sealroom as the user whose home it is, without sudo; in a container, with "
            f"'--user'. If it is yours: chown -R {me} the home.",
        )
    if stat.S_IMODE(found.st_mode) & _OTHERS_WRITE:
        wanted = "700" if stat.S_ISDIR(found.st_mode) else "600"
        raise ExposedFile(
            f"others on this machine may change {path}",
            hint=f"chmod {wanted} {path}; if somebody may have, restore the home from a backup",
        )
