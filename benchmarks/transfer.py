"""One whole transfer, measured: upload, offer, accept, export, with a server of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mixed_table import write_mixed_csv
from benchmarks.serving import Serving, serving
from benchmarks.steps import PASSPHRASE, Step, run_step
from client.home import Home
from protocol.acts import Role

BUYER = "Buyer"


@dataclass(frozen=True, slots=True)
class Transfer:
    """The steps of one transfer, and the most memory that the server needed for all of it."""

    upload: Step
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
        asyncio.run(_create(server, seller))
        upload = run_step("upload", seller, str(table))
        words = asyncio.run(_enrol(seller, buyer))
        offer = run_step("offer", seller, BUYER)
        accept = run_step("accept", buyer, words)
        export = run_step("export", buyer, str(exported))
        peak = server.peak_bytes()
    if exported.read_bytes() != table.read_bytes():
        raise RuntimeError("what was exported is not what was uploaded")
    return Transfer(upload, offer, accept, export, peak)


def home_at(directory: Path) -> Home:
    """Return the home of one member of a transfer."""
    return Home(directory, lambda: PASSPHRASE)


async def _create(server: Serving, seller: Path) -> None:
    vault = await home_at(seller).create_vault(
        server.url, title="Benchmark", pin=server.pin, token=server.token
    )
    await vault.close()


async def _enrol(seller: Path, buyer: Path) -> str:
    """Let a buyer join and confirm it; return the words that it compares at the acceptance."""
    async with home_at(seller).vault() as vault:
        invite = await vault.invite(Role.BIDDER, name=BUYER)
        joined, result = await home_at(buyer).join(invite.link)
        await joined.close()
        await vault.confirm(BUYER, words=result.words)
    return result.words
