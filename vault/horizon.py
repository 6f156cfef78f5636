"""The one thing that the replay guard keeps across restarts: how far ahead clients signed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from vault.config import InvalidConfig
from vault.durably import sync

HORIZON_FILE: Final = "horizon"
_SECONDS: Final = re.compile(r"[0-9]{1,12}\n")


def read_horizon(data_dir: Path) -> int:
    """Return the latest time, ahead of its own clock, at which a server here took a request.

    Raises:
        InvalidConfig: the file is damaged.
    """
    path = data_dir / HORIZON_FILE
    if not path.exists():
        return 0
    text = path.read_text(encoding="ascii", errors="replace")
    if not _SECONDS.fullmatch(text):
        raise InvalidConfig(f"{path} is damaged", hint="Wait two minutes, then delete it.")
    return int(text)


def write_horizon(data_dir: Path, created: int) -> None:
    """Keep a time durably (see `ReplayGuard`); the file is whole at every moment."""
    path = data_dir / HORIZON_FILE
    draft = path.with_name(f".{HORIZON_FILE}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{created}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync(data_dir)
