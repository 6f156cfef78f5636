"""Copies of a server's data directory, and whether all that is in one is sound (R8, R23).

A copy is itself a data directory: whoever needs it starts a server on it. It holds the server's
own keys, and what was erased since it was taken.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.config import InvalidConfig
from vault.durably import sync
from vault.horizon import HORIZON_FILE
from vault.soundness import Found, Soundness
from vault.storage.base import DirectoryInUse
from vault.storage.sqlite import SqliteStorage
from vault.storage.sqlite_copy import copy_database
from vault.storage.sqlite_file import FILE_NAME
from vault.tls import (
    CHECKPOINT_KEY_FILE,
    TLS_FILE,
    TOKEN_FILE,
    load_or_create_checkpoint_key,
)
from vault.vaults import VaultShelf

KEPT_BESIDE: Final = (CHECKPOINT_KEY_FILE, TLS_FILE, TOKEN_FILE, HORIZON_FILE)
"""The files of a data directory beside its database. Its lock is nobody's but a server's."""
UNFINISHED: Final = ".unfinished"

Told = Callable[[str, int, int], None]
"""Is told what is being done, and how many bytes of how many are done."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a data directory holds: by vault what is sound, and what is damaged and how.

    Damage of None is that of the store itself.
    """

    vaults: dict[bytes, Found]
    damage: dict[bytes | None, str]


def expect_store(data_dir: Path) -> None:
    """Check that a server has worked in a directory.

    Raises:
        InvalidConfig: none has.
    """
    if not (data_dir / FILE_NAME).is_file():
        raise InvalidConfig(
            f"{data_dir} is not a server's data directory: it has no {FILE_NAME}",
            hint="Name the one that 'sealroom serve' was given with --data.",
        )


async def examine(data_dir: Path, told: Told) -> Examined:
    """Look through all that a directory holds: structure, logs, and each block's bytes.

    Nothing is changed, but that what SQLite left in its log of writes is put in its place.

    Raises:
        InvalidConfig: the directory is no server's, or lacks the key of its vaults.
        DirectoryInUse: a server works in it.
        StorageFailed, Unsupported: it cannot be opened or read.
    """
    expect_store(data_dir)
    async with await _opened(data_dir) as storage:
        size = (data_dir / FILE_NAME).stat().st_size
        key = load_or_create_checkpoint_key(data_dir, needed=True)
        shelf = VaultShelf(storage, key, 1)
        await shelf.learn_ids()
        soundness = Soundness(storage, shelf)
        done = 0

        def read(count: int) -> None:
            nonlocal done
            done += count
            told("reading", done, size)

        found = await soundness.read_through(read)
        told("reading", size, size)
        return Examined(found, dict(soundness.damage))


async def _opened(data_dir: Path) -> SqliteStorage:
    try:
        return await SqliteStorage.open(data_dir)
    except DirectoryInUse as error:
        raise DirectoryInUse(
            f"a server works in {data_dir}",
            hint="It reads everything once a day itself. Check a copy, or stop it first.",
        ) from error


def back_up(data_dir: Path, out: Path, told: Told) -> Examined:
    """Copy a directory in which a server may be working, and examine the copy.

    The copy is one past commit of the store, with the server's keys beside it. It appears under
    its name when it is whole, on the disk, and was read through; damage is copied with the rest.
    Not to be called where an event loop runs: Ctrl-C stops it at any moment.

    Raises:
        InvalidConfig: the directory is no server's, or something stands where the copy would.
        StorageFailed, StorageFull, Unsupported: it cannot be read, or there is no room.
    """
    expect_store(data_dir)
    draft = out.with_name(out.name + UNFINISHED)
    if out.exists() or out.is_symlink():
        raise InvalidConfig(f"{out} is there already", hint="Give each copy a name of its own.")
    try:
        draft.mkdir(mode=0o700)
    except FileExistsError as error:
        raise InvalidConfig(
            f"{draft} is there already: another copy is under way, or was cut off",
            hint="Delete it if none is.",
        ) from error
    try:
        copy_database(
            data_dir / FILE_NAME, draft / FILE_NAME, lambda *so_far: told("copying", *so_far)
        )
        for name in KEPT_BESIDE:
            if (data_dir / name).exists():
                # With their modes: the server refuses secrets that others can read.
                shutil.copy2(data_dir / name, draft / name)
                sync(draft / name)
        examined = asyncio.run(examine(draft, told))
        sync(draft)
        draft.rename(out)
        sync(out.absolute().parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return examined
