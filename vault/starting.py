"""What has to be true of a data directory before a server works in it (SPEC section 10.4).

A server that begins anew where something of an older one is missing looks well and answers
everybody, and what it answers is a lie to every member. So it makes what it needs only where
nothing was before.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from protocol.errors import SealroomError
from protocol.ledger import Ledger
from protocol.limits import LIMITS
from vault.config import InvalidConfig
from vault.storage.base import Storage
from vault.storage.sqlite_file import FILE_NAME
from vault.tls import CHECKPOINT_KEY_FILE, CheckpointKey

OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def expect_own_directory(data_dir: Path) -> None:
    """Check that nobody else reaches a directory's database, and that it is where its keys are.

    A directory that is not there yet, or empty, is fine.

    Raises:
        InvalidConfig: others can write there, or read the database; or there are keys without it.
    """
    if data_dir.is_dir() and data_dir.stat().st_mode & OTHERS_WRITE:
        raise InvalidConfig(f"other users can write to {data_dir}", hint=f"chmod 700 {data_dir}")
    files = [data_dir / f"{FILE_NAME}{end}" for end in ("", "-wal", "-shm")]
    sizes = []
    for file in filter(Path.exists, files):
        found = file.stat()
        if found.st_mode & OTHERS:
            raise InvalidConfig(f"other users can reach {file}", hint=f"chmod 600 {file}")
        sizes.append(found.st_size)
    if not any(sizes) and (data_dir / CHECKPOINT_KEY_FILE).exists():
        raise InvalidConfig(
            f"{data_dir} has the keys of a server and no database",
            hint="Is something not mounted? Put the database back. "
            "To begin anew, choose another directory.",
        )


async def expect_own_vaults(storage: Storage, key: CheckpointKey) -> None:
    """Check that the vaults in a store are of this server's key.

    One is looked at: all of a store are of one key. What does not verify is told when it is loaded.

    Raises:
        InvalidConfig: they are another's.
    """
    for vault_id in await storage.vault_ids():
        page = await storage.read_leaves(vault_id, 0, 1, LIMITS.log_page_bytes, with_parts=False)
        try:
            genesis = Ledger().check(page[0].leaf)
        except (SealroomError, IndexError):
            continue
        if genesis.after.server_key != bytes(key.verify_key):
            raise InvalidConfig(
                f"{CHECKPOINT_KEY_FILE} is not the key of the vaults that are here",
                hint="Put back the one that belongs to them: a copy has it beside the database.",
            )
        return
