"""Killing a server over and over while a large table is sent to it: `python -m tests.crashing`.

The server is a process of its own, and the connection real. Whatever it acknowledged is written
down here, outside of it; after every kill it is started on what is on its disk, and the client's
same command goes on.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client import transport
from client.errors import Unreachable
from client.home import Home
from client.transport import HttpTransport
from client.vault import Vault
from protocol.blocks import split_batch_body
from tests.deals import cheap_keyrings, classes_in_turn, in_batches_of, rows
from tests.hosting import Hosted, hosted
from tests.ports import own_port
from vault.storage.sqlite import SqliteStorage

PASSPHRASE: Final = "a passphrase"
COLUMNS: Final = ("name", "orders", "note")
GENEROUS: Final = {
    "requests_per_second": 100_000,
    "request_burst": 100_000,
    "act_cost": 1,
    "acts_per_day": 1_000_000,
}
MOST_BETWEEN: Final = 3
"""So many answers at most are waited for before the next kill."""
MOST_LATER: Final = 0.03
"""So many seconds after that it comes at most: the time of a few writes."""


@dataclass
class Oracle:
    """What was acknowledged: batches by their upload, and acts by their place in the log."""

    batches: dict[bytes, set[bytes]] = field(default_factory=dict)
    acts: dict[int, bytes] = field(default_factory=dict)
    answers: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self) -> None:
        """Count an answer."""
        self.answers += 1
        self.heard.set()

    async def wait_for(self, answers: int) -> None:
        """Wait for so many more answers."""
        until = self.answers + answers
        while self.answers < until:
            self.heard.clear()
            await self.heard.wait()


class Listening(HttpTransport):
    """A client's connection, whose answers an oracle hears."""

    oracle: Oracle

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        """Send a batch, and write down that the server has it."""
        await super().stage(vault_id, upload, batch, body)
        self.oracle.batches.setdefault(upload, set()).add(batch)
        self.oracle.hear()

    async def stage_several(self, vault_id: bytes, upload: bytes, bodies: Sequence[bytes]) -> None:
        """Send several, and write down that the server has them."""
        await super().stage_several(vault_id, upload, bodies)
        ids = {split_batch_body(body).manifest.batch_id for body in bodies}
        self.oracle.batches.setdefault(upload, set()).update(ids)
        self.oracle.hear()

    async def submit(self, vault_id: bytes, act: Any) -> Any:
        """Send an act, and write down where the server says that it is."""
        answer = await super().submit(vault_id, act)
        self.oracle.acts[answer.index] = act.envelope
        self.oracle.hear()
        return answer


@dataclass
class Told:
    """What the kills came to."""

    kills: int = 0
    uploads: int = 0
    acknowledged_batches: int = 0
    acknowledged_acts: int = 0
    resumed: int = 0
    slowest_start: float = 0.0
    progress: list[int] = field(default_factory=list)


@click.command()
@click.option("--points", default=200, show_default=True, help="How often to kill the server.")
@click.option("--records", default=100_000, show_default=True)
@click.option("--batch", default=500, show_default=True, help="Records in a batch.")
@click.option("--seed", default=1, show_default=True)
def main(points: int, records: int, batch: int, seed: int) -> None:
    """Kill a server so often while a table is sent to it, and see that nothing is lost."""
    with tempfile.TemporaryDirectory() as directory:
        told = asyncio.run(crashed(Path(directory), points, records, batch, seed))
    print(summary(told, records))
    sys.exit(0)


def summary(told: Told, records: int) -> str:
    """Say what the kills came to, in one line."""
    return (
        f"killed {told.kills} times in {told.uploads} uploads of {records:,} records:"
        f" {told.acknowledged_batches:,} batches and {told.acknowledged_acts} acts acknowledged,"
        f" 0 lost, {told.resumed:,} batches not sent again; ready after"
        f" {told.slowest_start:.1f} s at most"
    )


async def crashed(directory: Path, points: int, records: int, batch: int, seed: int) -> Told:
    """Send tables until the server was killed so often; then let it end, and look at everything.

    Raises:
        AssertionError: something acknowledged is gone, or something is visible by halves.
    """
    draw, told, oracle = random.Random(seed), Told(), Oracle()
    table, file = rows(records), directory / "customers.parquet"
    pq.write_table(table, file)
    with cheap_keyrings(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "PAUSE_SECONDS", 0.01)
        home = Home(directory / "home", lambda: PASSPHRASE, connect=_listening(oracle))
        port = own_port()
        async with hosted(directory / "server", port=port, **GENEROUS) as server:
            made = await home.create_vault(
                server.url, title="Lark", pin=server.pin, token=server.token
            )
            await made.close()
        done, unread = False, list[str]()
        while True:
            started = time.monotonic()
            async with hosted(directory / "server", port=port, **GENEROUS) as server:
                told.slowest_start = max(told.slowest_start, time.monotonic() - started)
                async with home.vault() as vault:
                    await expect_kept(vault, oracle, records)
                    # Not as soon as it was sent: the kill that comes may come then.
                    for name in unread:
                        await expect_whole(vault, table, name)
                    unread.clear()
                    told.progress.append(oracle.answers)
                    if done and told.kills >= points:
                        break
                    killing = None
                    if told.kills < points:
                        killing = asyncio.create_task(_kill(server, oracle, draw))
                    done = await _sent(vault, file, told, batch)
                    if done:
                        unread.append(f"table {told.uploads}")
                        told.uploads += 1
                    if killing is not None:
                        if done and not killing.done():
                            killing.cancel()
                        else:
                            await killing
                            told.kills += 1
        told.acknowledged_batches = sum(map(len, oracle.batches.values()))
        told.acknowledged_acts = len(oracle.acts)
        await expect_stored(directory / "server", oracle)
    return told


def _listening(oracle: Oracle) -> Any:
    def connect(url: str, pin: bytes | None, signer: Any) -> Listening:
        made = Listening(url, pin=pin, signer=signer)
        made.oracle = oracle
        return made

    return connect


async def _kill(server: Hosted, oracle: Oracle, draw: random.Random) -> None:
    answers, later = draw.randint(0, MOST_BETWEEN), draw.uniform(0, MOST_LATER)
    await oracle.wait_for(answers)
    await asyncio.sleep(later)
    await server.kill()


async def _sent(vault: Vault, file: Path, told: Told, batch: int) -> bool:
    """Give the same command again, and say whether it came to its end."""
    name = f"table {told.uploads}"
    classes = classes_in_turn(COLUMNS)
    try:
        result = await vault.upload(
            file, collection=name, classes=classes, options=in_batches_of(batch)
        )
    except Unreachable:
        return False
    told.resumed += result.resumed_batches
    return True


async def expect_kept(vault: Vault, oracle: Oracle, records: int) -> None:
    """Check that the server has what it acknowledged, and shows all of an upload or nothing."""
    for upload, batches in oracle.batches.items():
        page = await vault.session.transport.staged(vault.session.vault_id, upload)
        missing = batches - set(page.batches)
        assert not missing or _committed(vault, upload), f"{len(missing)} batches are gone"
    for each in await vault.collections():
        assert each.records in (0, records), f"{each.records} records of {each.name} show"


def _committed(vault: Vault, upload: bytes) -> bool:
    return upload in vault.session.state.uploads


async def expect_whole(vault: Vault, table: pa.Table, name: str) -> None:
    """Check that a table reads as it was sent, every record once."""
    assert (await vault.read(name)).equals(table)


async def expect_stored(directory: Path, oracle: Oracle) -> None:
    """Check the file itself, and every acknowledged act in it."""
    async with await SqliteStorage.open(directory) as storage:
        await storage.check()
        (vault,) = await storage.vault_ids()
        for index, envelope in oracle.acts.items():
            (leaf,) = await storage.read_leaves(vault, index, 1, 1 << 24)
            assert leaf.leaf[1:] == envelope, f"the act at {index} is another"


if __name__ == "__main__":
    main()
