"""One whole transfer, measured, with a server of its own.

Upload; a removal, and two re-encryptions; offer, acceptance, export. What is exported has been
sealed anew before, all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.mixed_table import write_mixed_csv
from benchmarks.serving import Serving, serving
from benchmarks.steps import PASSPHRASE, Step, run_step
from client.home import Home
from protocol.acts import Role
from protocol.blocks import FieldClass

BUYER: Final = "Buyer"
LOSER: Final = "Loser"
"""A bidder with a class, who is removed."""
ONE_FIELD: Final = "account"
"""The field that is sealed anew alone: of all ten the nearest to a tenth of the sealed bytes."""
_PAUSE_SECONDS: Final = 0.05
_IDLE_SHARE: Final = 0.04
_QUIET_PAUSES: Final = 8
_PAUSES: Final = 1_200


@dataclass(frozen=True, slots=True)
class Transfer:
    """The steps of one transfer, and the most memory that the server needed for all of it.

    `rotate_one` seals one field of ten anew, `rotate_all` all of them and their names.
    """

    upload: Step
    revoke: Step
    rotate_one: Step
    rotate_all: Step
    offer: Step
    accept: Step
    export: Step
    server_peak_bytes: int | None


def run_transfer(directory: Path, records: int) -> Transfer:
    """Play one transfer of the mixed table in an empty directory.

    Raises:
        RuntimeError: a step failed, or what came out is not the table that went in.
    """
    table, exported = directory / "table.csv", directory / "exported.csv"
    write_mixed_csv(table, records)
    seller, buyer = directory / "seller", directory / "buyer"
    with serving(directory / "server") as server:
        asyncio.run(create_vault(server, seller))
        upload = stepped(server, "upload", seller, str(table))
        words = asyncio.run(enrol(seller, {BUYER: buyer, LOSER: directory / "loser"}))
        revoke = stepped(server, "revoke", seller, LOSER)
        one = stepped(server, "reencrypt", seller, ONE_FIELD)
        everything = stepped(server, "reencrypt", seller, "")
        offer = stepped(server, "offer", seller, BUYER)
        accept = stepped(server, "accept", buyer, words)
        export = stepped(server, "export", buyer, str(exported))
        peak = server.peak_bytes()
    if exported.read_bytes() != table.read_bytes():
        raise RuntimeError("what was exported is not what was uploaded")
    return Transfer(upload, revoke, one, everything, offer, accept, export, peak)


def stepped(server: Serving, step: str, home: Path, argument: str, by: Sequence[str] = ()) -> Step:
    """Run a step as `run_step` does, and add what the server computed for it."""
    before = server.processor_seconds()
    done = run_step(step, home, argument, by)
    after = _settled(server)
    taken = None if before is None or after is None else after - before
    return replace(done, server_seconds=taken)


def _settled(server: Serving) -> float | None:
    """Wait until the server has rested for a while, and return its processor time.

    What it deletes after its answer belongs to the step that asked, and not to the next one. It
    also waits for the disk then, so that one moment without computing says nothing.
    """
    taken, quiet = server.processor_seconds(), 0
    for _ in range(_PAUSES):
        time.sleep(_PAUSE_SECONDS)
        before, taken = taken, server.processor_seconds()
        if taken is None or before is None:
            break
        quiet = quiet + 1 if taken - before < _PAUSE_SECONDS * _IDLE_SHARE else 0
        if quiet == _QUIET_PAUSES:
            break
    return taken


def home_at(directory: Path) -> Home:
    """Return the home of one member of a transfer."""
    return Home(directory, lambda: PASSPHRASE)


async def create_vault(server: Serving, seller: Path) -> None:
    """Make a vault on a server, and a home for its owner."""
    vault = await home_at(seller).create_vault(
        server.url, title="Benchmark", pin=server.pin, token=server.token
    )
    await vault.close()


async def enrol(seller: Path, bidders: Mapping[str, Path]) -> str:
    """Let bidders join and confirm them, each with a class but the buyer, who will have all.

    Returns the words that the buyer compares at the acceptance.
    """
    words = {}
    async with home_at(seller).vault() as vault:
        for name, directory in bidders.items():
            classes = () if name == BUYER else (FieldClass.GENERAL,)
            invite = await vault.invite(Role.BIDDER, name=name, classes=classes)
            joined, result = await home_at(directory).join(invite.link)
            await joined.close()
            await vault.confirm(name, words=result.words)
            words[name] = result.words
    return words[BUYER]
