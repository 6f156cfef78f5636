"""Looks for what was deleted in every file that a server keeps, as a thief of its disk would."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from tests.hangs import HANGS_SECONDS

PIECE_BYTES = 24


def on_disk(directory: Path) -> bytes:
    """Return all that is kept in any file of a directory."""
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()))


def traces(content: bytes, disk: bytes) -> bool:
    """Say whether a piece of a content is there that is long enough to tell it by.

    Not of its beginning, which many have in common.
    """
    last = max(0, len(content) - PIECE_BYTES)
    return any(content[at : at + PIECE_BYTES] in disk for at in (last // 2, last))


def remains(data_dir: Path, contents: Iterable[bytes]) -> list[bytes]:
    """Return the contents of which something is in a file."""
    disk = on_disk(data_dir)
    return [each for each in contents if traces(each, disk)]


async def vanish(data_dir: Path, contents: Iterable[bytes]) -> bool:
    """Wait until the server has deleted all of these, which it does soon after it is decided."""
    listed = list(contents)
    async with asyncio.timeout(HANGS_SECONDS):
        while remains(data_dir, listed):
            await asyncio.sleep(0.05)
    return True
