"""Where a home is, and what is called how in it. Imports nothing, so that nobody waits for it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

KEYRING_FILE: Final = "keyring"
VAULTS_FOLDER: Final = "vaults"
STORE_SUFFIX: Final = ".db"
RESTORED_SUFFIX: Final = ".restored"
_VAULT_ID: Final = re.compile(r"[0-9a-f]{64}")


def default_home() -> Path:
    """Return SEALROOM_HOME, or a folder of its own under the user's home."""
    named = os.environ.get("SEALROOM_HOME")
    return Path(named) if named else Path.home() / ".sealroom"


def store_path(home: Path, vault_id: bytes) -> Path:
    """Return where a home keeps what it knows of a vault."""
    return home / VAULTS_FOLDER / f"{vault_id.hex()}{STORE_SUFFIX}"


def restored_path(home: Path, vault_id: bytes, member_id: bytes) -> Path:
    """Return where what is known of a vault lies whole, until this member serves there."""
    return home / VAULTS_FOLDER / f"{vault_id.hex()}.{member_id.hex()}{RESTORED_SUFFIX}"


def known_vaults(home: Path) -> list[str]:
    """Return the ids of the vaults that a home knows something of, which are no secret.

    Titles are: they stand in the keyring, and nowhere else.
    """
    found = (path.stem for path in (home / VAULTS_FOLDER).glob(f"*{STORE_SUFFIX}"))
    return sorted(each for each in found if _VAULT_ID.fullmatch(each))
