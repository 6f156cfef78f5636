"""A log of writes that was cut or changed on the disk: what is gone is noticed, and said."""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.vault import Vault
from protocol.errors import Rollback
from tests.deals import a_vault, cheap_keyrings, in_batches_of, rows
from tests.in_process import lab
from vault.storage.sqlite_file import FILE_NAME, PAGE_BYTES

WAL = f"{FILE_NAME}-wal"
HEADER, FRAME = 32, 24 + PAGE_BYTES
FRAMES = 10
STEP = 512
SLICE = 14
TABLE = rows(6)


async def prepared(directory: Path) -> tuple[Path, int]:
    """Make a vault, copy everything while its server runs, and return the log's size then."""
    async with a_vault(directory / "made") as (made, vault):
        await vault.upload(TABLE, collection="customers", options=in_batches_of(3))
        await vault.heartbeat()
        await vault.heartbeat()
        size = vault.session.believed.pin.size
        shutil.copytree(made.directory, directory / "copy")
        (directory / "copy" / "server" / f"{FILE_NAME}-shm").unlink()
    return directory / "copy", size


def commits(log: bytes) -> list[int]:
    """Return where each transaction of a log of writes ends: after a frame that says so."""
    ends = []
    for at in range(HEADER, len(log), FRAME):
        (pages,) = struct.unpack_from(">I", log, at + 4)
        if pages:
            ends.append(at + FRAME)
    return ends


def damages(log: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the log cut at each sector of its last frames, and with a bit of each changed."""
    draw = random.Random(5)
    places = list(range(max(HEADER, len(log) - FRAMES * FRAME), len(log), STEP))
    if not os.environ.get("SEALROOM_EVERY_STEP"):
        places = places[:: max(1, len(places) // SLICE)]
    for place in places:
        yield f"cut at {place}", log[:place]
        broken = bytearray(log)
        at = draw.randrange(place, min(place + STEP, len(log)))
        broken[at] ^= 1 << draw.randrange(8)
        yield f"bit changed at {at}", bytes(broken)


async def state_of(vault: Vault) -> str:
    """Say how a home finds its server: as it left it, or behind."""
    try:
        await vault.session.sync()
    except Rollback:
        return "rollback"
    assert (await vault.read("customers")).equals(TABLE)
    return "whole"


@pytest.mark.threat("R5")
async def test_what_was_cut_from_the_log_of_writes_is_missed_by_whoever_was_told_of_it(
    tmp_path: Path,
) -> None:
    made, size = await prepared(tmp_path)
    log = (made / "server" / WAL).read_bytes()
    assert len(log) > FRAMES * FRAME
    assert commits(log)[-1] == len(log)
    found: list[str] = []
    for number, (what, damaged) in enumerate([("nothing", log), *damages(log)]):
        folder = tmp_path / str(number)
        shutil.copytree(made, folder)
        (folder / "server" / WAL).write_bytes(damaged)
        with cheap_keyrings():
            async with lab(folder) as opened:
                storage = opened.service._storage
                await storage.check()
                (vault_id,) = await storage.vault_ids()
                left = await storage.size(vault_id)
                async with opened.home("seller").vault() as vault:
                    state = await state_of(vault)
        # either nothing is missing, or the client says so: there is no third way
        assert (state, left == size) in (("whole", True), ("rollback", False)), what
        found.append(state)
        shutil.rmtree(folder)
    assert found[0] == "whole"
    assert found.count("rollback") == len(found) - 1
    print(f"\n{len(found) - 1} damaged logs of writes: every loss was noticed")
