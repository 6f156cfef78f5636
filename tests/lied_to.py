"""People at the command line, and a server in a thread that lies to each command as it is told.

The commands are the real ones, in this process, and so is everything below them down to the
transport, which is a `Liar`: the honest server but for one lie. Homes come in three ages: `behind`
does not know the newest acts yet, `bare` knows the log and no names, `current` knows both. A
command that is lied to must leave its home, to the byte, and the folder of its files as they were;
so all of them use the same homes, and only commands that may succeed get copies.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa
import pytest

from client.cli import main
from client.home import Home
from client.transport import Signer, Transport
from protocol import api
from protocol.acts import Reason, Role
from tests.company import ALL, Company, company
from tests.deals import in_batches_of
from tests.in_process import PASSPHRASE, ServiceTransport
from tests.liars import Liar, Lie
from vault.fetches import plan_fetch
from vault.storage.base import BlockKey

T = TypeVar("T")
BEHIND, BARE, CURRENT = "behind", "bare", "current"
ROWS: Final = 12
BATCHES: Final = 3
ORDERS: Final = pa.table(
    {
        "item": [f"canary item {i:04}" for i in range(ROWS)],
        "shop": [f"canary shop {i:04}" for i in range(ROWS)],
        "card": [f"canary card {i:04}" for i in range(ROWS)],
    }
)
CLASSES: Final = {"item": ALL[0], "shop": ALL[0], "card": ALL[2]}
NO_CONTENT: Final = (".db-wal", ".db-shm", ".lock", ".upload")
"""Locks, and what SQLite has while a database is open."""

PEOPLE: Final = ("olga", "ada", "kim", "bo", "aud", "rex")


@dataclass(frozen=True)
class Command:
    """A command line as somebody gives it; `{out}`, `{link}` and `{token}` are filled in."""

    who: str
    line: str
    offered: bool = False

    def arguments(self, **known: object) -> list[str]:
        return [each.format(**known) for each in self.line.split()]


@dataclass(frozen=True)
class Told:
    """How a command ended, what it said, and what it left."""

    code: int
    out: str
    err: str
    before: dict[str, Any]
    after: dict[str, Any]
    sent: tuple[str, ...]

    @property
    def error(self) -> str:
        """The code of the error it ended with, or an empty text."""
        return str(json.loads(self.out).get("error", {}).get("code", ""))

    @property
    def message(self) -> str:
        return str(json.loads(self.out)["error"]["message"])

    @property
    def changed(self) -> list[str]:
        """What is not, to the byte, as it was."""
        both = self.before.keys() | self.after.keys()
        return sorted(each for each in both if self.before.get(each) != self.after.get(each))

    @property
    def left(self) -> set[str]:
        """What is there afterwards that was not there before, wherever it stands."""
        return set(map(repr, self.after.values())) - set(map(repr, self.before.values()))


class Bridge:
    """The transport to a service that runs in another thread, for a client in this one.

    A server that lies about blocks would admit none of its reads either: unless it is `honest`, it
    serves them without an observation, and so nothing new is true in the log afterwards.
    """

    def __init__(self, where: Stage, there: ServiceTransport, honest: bool) -> None:
        self.where, self.there, self.honest = where, there, honest

    async def _over(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(work, self.where.thread.loop)
        )

    async def server_info(self) -> api.ServerInfo:
        return await self._over(self.there.server_info())

    async def create_vault(self, request: api.CreateVault) -> api.Submitted:
        return await self._over(self.there.create_vault(request))

    async def log_page(self, vault_id: bytes, start: int) -> api.LogPage:
        return await self._over(self.there.log_page(vault_id, start))

    async def consistency(self, vault_id: bytes, old: int, new: int) -> tuple[bytes, ...]:
        return await self._over(self.there.consistency(vault_id, old, new))

    async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        return await self._over(self.there.submit(vault_id, act))

    async def observations(self, vault_id: bytes, start: int) -> api.ObservationsPage:
        return await self._over(self.there.observations(vault_id, start))

    async def staged(self, vault_id: bytes, upload: bytes) -> api.Staged:
        return await self._over(self.there.staged(vault_id, upload))

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        await self._over(self.there.stage(vault_id, upload, batch, body))

    async def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        for block in await self._over(self._fetched(vault_id, request, sizes)):
            yield block

    async def _fetched(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> list[bytes]:
        if self.honest:
            return [each async for each in self.there.fetch(vault_id, request, sizes)]
        service = self.there.service
        plan = plan_fetch(await service._open(vault_id), self.there.keyid, request)
        return [
            await service._storage.read_block(vault_id, BlockKey(batch, ref.field, ref.sha256))
            or b""
            for batch, ref in plan.blocks
        ]

    async def close(self) -> None:
        """Nothing to let go of."""


class Threaded:
    """An event loop in a thread of its own, in which one async context stays open."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Threaded:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


@dataclass
class Stage:
    """The company, its server, and everybody's home at each age, at one moment of all clocks."""

    directory: Path
    thread: Threaded
    cast: Company
    now: int
    first: int
    runs: int = field(default=0)

    def clock(self) -> float:
        return self.now

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something where the server is."""
        return self.thread.call(work)

    def home(self, who: str, age: str) -> Path:
        return self.directory / age / who

    def run(
        self,
        command: Command,
        lie: Lie,
        age: str,
        *,
        honest: bool = False,
        copied: bool = False,
        json: bool = True,
    ) -> Told:
        """Run a command against a server that lies; on a copy of the home, where it may succeed.

        An `honest` server admits its reads, and is told to a copy.
        """
        home, out = self.home(command.who, age), self.directory / "out"
        self.runs += 1
        if honest or copied:
            home = self.directory / "copies" / str(self.runs) / command.who
            if self.home(command.who, age).exists():
                shutil.copytree(self.home(command.who, age), home)
        out.mkdir(exist_ok=True)
        token = self.cast.lab.token
        line = command.arguments(out=out, link=self.cast.link, token=token, here=self.directory)
        before = {**left_in(home), **left_in(out)}
        told, err = io.StringIO(), io.StringIO()
        lie.sent.clear()

        def connect(url: str, pin: bytes | None, signer: Signer) -> Transport:
            return Liar(Bridge(self, ServiceTransport(self.cast.lab.service, signer), honest), lie)

        def made(directory: Path, passphrase: Callable[[], str]) -> Home:
            return Home(directory, passphrase, connect=connect, clock=self.clock)

        first = ["--json"] if json else []
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SEALROOM_PASSPHRASE", PASSPHRASE)
            with contextlib.redirect_stdout(told), contextlib.redirect_stderr(err):
                code = main.run([*first, "--home", str(home), *line], make_home=made)
        after = {**left_in(home), **left_in(out)}
        return Told(code, told.getvalue(), err.getvalue(), before, after, tuple(lie.sent))


def left_in(directory: Path) -> dict[str, Any]:
    """Return all that is in a folder: of databases what they say, of all else the bytes."""
    found: dict[str, Any] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory.parent))
        if path.suffix == ".db":
            found |= _said_in(path)
        elif path.is_file() and path.suffix not in NO_CONTENT:
            found[name] = path.read_bytes()
    return found


def _said_in(path: Path) -> dict[str, Any]:
    """Return every row of a database, by its table's name and its place."""
    found: dict[str, Any] = {}
    with contextlib.closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE sql > ''")]
        for table in tables:
            rows = db.execute(f"SELECT * FROM {table}").fetchall()
            found |= {f"{table} {path.stem} {at}": row for at, row in enumerate(rows)}
    return found


@contextlib.contextmanager
def a_stage(directory: Path, *, offered: bool = False) -> Iterator[Stage]:
    """Give the company with news that their homes do not know, and homes of all three ages.

    The news: a second collection, a new epoch, a grant, the removal of uma, and an invite. With
    `offered` the vault is then offered to bo.
    """
    now = int(time.time()) + 1
    with Threaded() as thread:
        opened = company(directory, lambda: now)
        cast = thread.call(opened.__aenter__())
        try:
            for who in PEOPLE:
                shutil.copytree(cast.lab.directory / who, directory / BEHIND / who)
            first = thread.call(_size(cast))
            stage = Stage(directory, thread, cast, now, first)
            thread.call(_news(cast, offered))
            for age in (CURRENT, BARE):
                for who in PEOPLE:
                    shutil.copytree(stage.home(who, BEHIND), stage.home(who, age))
                    thread.call(_catch_up(stage, who, age, names=age == CURRENT))
            # What all of them read is news to each of them.
            for who in PEOPLE:
                thread.call(_catch_up(stage, who, CURRENT, names=False))
            (directory / "more.csv").write_text("name,iban\nzed,DE9\n")
            yield stage
        finally:
            thread.call(opened.__aexit__(None, None, None))


async def _size(cast: Company) -> int:
    return (await cast("olga")).session.state.size


async def _news(cast: Company, offered: bool) -> None:
    olga = await cast("olga")
    await olga.upload(ORDERS, collection="orders", classes=CLASSES, options=in_batches_of(4))
    await olga.rotate(collection="customers", fields=["name"])
    await olga.grant("Bo", classes=[ALL[1]])
    await olga.revoke("Uma", Reason.LEFT)
    await olga.invite(Role.BIDDER, name="Fay")
    if offered:
        await olga.offer("Bo", yes=True)


async def _catch_up(stage: Stage, who: str, age: str, *, names: bool) -> None:
    """Bring a home up to date, and let it read every name that it may."""

    def connect(url: str, pin: bytes | None, signer: Signer) -> Transport:
        return ServiceTransport(stage.cast.lab.service, signer)

    home = Home(stage.home(who, age), lambda: PASSPHRASE, connect=connect, clock=stage.clock)
    async with home.vault() as vault:
        await vault.session.sync()
        if names and vault.session.state.members[vault.identity.member_id].live:
            await vault.members()
            await vault.collections()
