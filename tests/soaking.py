"""Many clients at once, honest ones and others, for as long as one likes (`make soak`).

Ten members work on one vault over real connections, one of them from two homes at once. Around them
a thousand connections say nothing, somebody reads a large collection as slowly as it may, and
somebody asks for everything again and again. What the server's process takes is watched meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import click
import pyarrow as pa

from client.errors import Refused, Unreachable
from client.home import Home
from client.vault import Vault
from protocol import api
from protocol.acts import Role
from protocol.blocks import FieldClass
from protocol.wire import to_bytes
from tests.deals import cheap_keyrings, in_batches_of, rows
from tests.hosting import MIB, Hosted, hosted
from tests.servers import asking, head_of, raw

PASSPHRASE: Final = "a passphrase"
MOST_CONNECTIONS: Final = 1_536
"""Half as many again as a server takes unless told otherwise: the idle are most of those."""
IDLE_PER_ADDRESS: Final = 200
"""Fewer than one address may have; so they come from several of the loopback."""
SLOW_BYTES: Final = 2_048
SLOW_SECONDS: Final = 0.1
MOST_GROWN: Final = 256 * MIB
MOST_IDLE_BYTES: Final = 384 * 1024
"""256 KiB of it are asyncio's own, to read TLS into: each connection has them from its start."""
MOST_WAIT: Final = 30


@dataclass
class Told:
    """What happened, and what the server took for it."""

    seconds: float = 0.0
    reads: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    greedy: Counter[int] = field(default_factory=Counter)
    slow_bytes: int = 0
    slow_cut: int = 0
    most_idle: int = 0
    idle_bytes: int = 0
    slowest_probe: float = 0.0
    probes: int = 0
    again: int = 0
    at_rest: int = 0
    peak: int = 0
    most_files: int = 0
    after: int = 0


@click.command()
@click.option("--seconds", default=600, show_default=True)
@click.option("--idle", default=1_000, show_default=True, help="Connections that say nothing.")
@click.option("--members", default=10, show_default=True)
@click.option("--records", default=50_000, show_default=True, help="In the large collection.")
def main(seconds: int, idle: int, members: int, records: int) -> None:
    """Load a server of its own, and exit with 1 where somebody was not served."""
    with tempfile.TemporaryDirectory() as directory:
        told = asyncio.run(soaked(Path(directory), seconds, idle, members, records))
    click.echo(summary(told))
    wrong = complaints(told, members)
    for what in wrong:
        click.echo(f"wrong: {what}")
    sys.exit(1 if wrong else 0)


def summary(told: Told) -> str:
    """Say what happened in a few lines."""
    return (
        f"{told.seconds:.0f} s: {sum(told.reads.values()):,} whole reads by {len(told.reads)}"
        f" members, {sum(told.acts.values()):,} acts by {len(told.acts)} clients of one;\n"
        f"{told.most_idle:,} idle connections at once ({told.idle_bytes / 1024:.0f} KiB each),"
        f" {told.slow_bytes:,} bytes read slowly (cut off {told.slow_cut} times),"
        f" {sum(told.greedy.values()):,} greedy requests {dict(sorted(told.greedy.items()))};\n"
        f"{told.probes} probes, the slowest {told.slowest_probe:.2f} s, {told.again} times anybody"
        f" had to try again; memory at rest"
        f" {told.at_rest / MIB:.0f} MiB, at its peak {told.peak / MIB:.0f} MiB, afterwards"
        f" {told.after / MIB:.0f} MiB; {told.most_files:,} open files at most"
    )


def complaints(told: Told, members: int) -> list[str]:
    """Return what must not be."""
    wrong = []
    if len(told.reads) < members:
        wrong.append(f"only {len(told.reads)} of {members} members were served")
    if len(told.acts) < 2:
        wrong.append("of two clients of one member, not both were served")
    grown = told.peak - told.at_rest - told.most_idle * told.idle_bytes
    if grown > MOST_GROWN:
        wrong.append(f"beside its idle connections it took {grown / MIB:.0f} MiB more")
    if told.idle_bytes > MOST_IDLE_BYTES:
        wrong.append(f"an idle connection takes {told.idle_bytes / 1024:.0f} KiB")
    if told.slowest_probe > MOST_WAIT:
        wrong.append(f"somebody waited {told.slowest_probe:.0f} s for an answer")
    if any(status >= 500 for status in told.greedy):
        wrong.append("the server failed somebody")
    return wrong


async def soaked(directory: Path, seconds: float, idle: int, members: int, records: int) -> Told:
    """Do all of it for so long, and return what happened."""
    told, table = Told(), rows(records)
    with cheap_keyrings():
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(
                hosted(directory / "server", max_connections=MOST_CONNECTIONS)
            )
            people = await _gathered(stack, server, directory, members, table)
            told.at_rest = server.memory()
            await _held(stack, server, idle, told)
            twin = await _twin(stack, directory)
            until = time.monotonic() + seconds
            works: list[Awaitable[None]] = [
                _watch(server, until, told),
                _probe(server, until, told),
                _read_slowly(server, people[0], until, told),
                _ask_for_everything(server, people[-1], until, told),
                _act(people[0], "one home", until, told),
                _act(twin, "another", until, told),
                *(_read(vault, str(at), table, until, told) for at, vault in enumerate(people)),
            ]
            started = time.monotonic()
            await asyncio.gather(*works)
            told.seconds = time.monotonic() - started
            told.after = server.memory()
            failures = [line for line in server.logged() if line["event"] == "internal_error"]
            assert failures == []
    return told


async def _gathered(
    stack: AsyncExitStack, server: Hosted, directory: Path, members: int, table: pa.Table
) -> list[Vault]:
    """Create a vault with a large collection, and let in everybody else to read of it."""
    home = Home(directory / "owner", lambda: PASSPHRASE)
    owner = await stack.enter_async_context(
        await home.create_vault(server.url, title="Lark", pin=server.pin, token=server.token)
    )
    classes = dict.fromkeys(table.column_names, FieldClass.GENERAL)
    await owner.upload(table, collection="large", classes=classes, options=in_batches_of(2_048))
    people = [owner]
    for number in range(1, members):
        name = f"member {number}"
        invited = await owner.invite(Role.BIDDER, name=name, classes=[FieldClass.GENERAL])
        vault, joined = await Home(directory / name, lambda: PASSPHRASE).join(invited.link)
        people.append(await stack.enter_async_context(vault))
        await owner.confirm(name, words=joined.words)
    return people


async def _twin(stack: AsyncExitStack, directory: Path) -> Vault:
    """Return a second client of the owner: its home, copied to another machine."""
    shutil.copytree(directory / "owner", directory / "twin")
    home = Home(directory / "twin", lambda: PASSPHRASE)
    return await stack.enter_async_context(home.vault())


async def _held(stack: AsyncExitStack, server: Hosted, count: int, told: Told) -> None:
    """Open connections that say nothing, and see to it that there are as many all the time."""
    before = server.memory()
    held = [_Idle(server, f"127.0.0.{2 + at // IDLE_PER_ADDRESS}") for at in range(count)]
    for start in range(0, count, 50):
        await asyncio.gather(*(each.open() for each in held[start : start + 50]))
    told.most_idle = sum(each.is_open for each in held)
    told.idle_bytes = max(0, server.memory() - before) // max(1, count)
    keeping = [asyncio.create_task(each.keep()) for each in held]

    async def let_go() -> None:
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        for each in held:
            each.close()

    stack.push_async_callback(let_go)


class _Idle:
    """One connection that says nothing, from an address of the loopback."""

    def __init__(self, server: Hosted, address: str) -> None:
        self._server = server
        self._address = address
        self._stack = AsyncExitStack()
        self._reader: asyncio.StreamReader | None = None

    @property
    def is_open(self) -> bool:
        return self._reader is not None and not self._reader.at_eof()

    async def open(self) -> None:
        opened = raw(self._server.url, self._server.pin, (self._address, 0))
        self._reader, _ = await self._stack.enter_async_context(opened)

    async def keep(self) -> None:
        """Come back each time that the server ends it, as it does after a while."""
        while True:
            assert self._reader is not None
            with contextlib.suppress(OSError):
                await self._reader.read()
            await self._stack.aclose()
            with contextlib.suppress(OSError):
                await self.open()
            await asyncio.sleep(1)

    def close(self) -> None:
        self._stack.pop_all()


# --- what everybody does until the time is over


async def _until(until: float, told: Told, work: Callable[[], Awaitable[None]]) -> None:
    while time.monotonic() < until:
        try:
            await work()
        except Refused as refused:
            # Whoever asks too often is told so; it is no failure to be.
            if refused.refusal not in ("rate_limited", "busy"):
                raise
            await asyncio.sleep(1)
        except Unreachable:
            told.again += 1


async def _read(vault: Vault, name: str, table: pa.Table, until: float, told: Told) -> None:
    async def once() -> None:
        assert (await vault.read("large")).equals(table)
        told.reads[name] += 1

    await _until(until, told, once)


async def _act(vault: Vault, name: str, until: float, told: Told) -> None:
    async def once() -> None:
        await vault.heartbeat()
        told.acts[name] += 1
        await asyncio.sleep(0.5)

    await _until(until, told, once)


async def _read_slowly(server: Hosted, vault: Vault, until: float, told: Told) -> None:
    """Ask for the whole large collection, and take it in drops, until the server has enough."""
    state = vault.session.state
    (where,) = (each for each in state.collections.values() if each.classes)
    wanted = tuple(
        api.WantedBatch(batch.id, tuple(ref.field for ref in batch.manifest.blocks))
        for batch in where.batches
    )
    body = to_bytes(api.FetchBlocks(where.id, wanted))
    path = api.BLOCKS.format(vault=vault.session.vault_id.hex())
    while time.monotonic() < until:
        async with raw(server.url, server.pin) as (reader, writer):
            writer.transport.set_write_buffer_limits()
            head = head_of(server.url, vault.session.identity, "POST", path, body)
            writer.write(head + body)
            while time.monotonic() < until:
                try:
                    piece = await reader.read(SLOW_BYTES)
                except OSError:
                    piece = b""
                if not piece:
                    told.slow_cut += 1
                    break
                told.slow_bytes += len(piece)
                await asyncio.sleep(SLOW_SECONDS)


async def _ask_for_everything(server: Hosted, vault: Vault, until: float, told: Told) -> None:
    path = api.LOG.format(vault=vault.session.vault_id.hex()) + "?from=0"
    async with asking(server.url, server.pin) as asker:

        async def one() -> None:
            while time.monotonic() < until:
                answer = await asker.get(vault.session.identity, path)
                told.greedy[answer.status] += 1

        await asyncio.gather(*(one() for _ in range(4)))


async def _probe(server: Hosted, until: float, told: Told) -> None:
    """Ask what anybody may, each time by a new connection, and see how long it takes."""
    while time.monotonic() < until:
        started, served = time.monotonic(), False
        while not served:
            try:
                async with asking(server.url, server.pin) as asker:
                    assert (await asker.send("GET", api.SERVER, {})).status == 200
                served = True
            except aiohttp.ClientError:
                told.again += 1
                await asyncio.sleep(0.2)
        told.slowest_probe = max(told.slowest_probe, time.monotonic() - started)
        told.probes += 1
        await asyncio.sleep(1)


async def _watch(server: Hosted, until: float, told: Told) -> None:
    while time.monotonic() < until:
        told.most_files = max(told.most_files, server.open_files())
        await asyncio.sleep(1)
    told.peak = server.memory("VmHWM")


if __name__ == "__main__":
    main()
