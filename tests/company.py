"""A vault with somebody of every kind, made once and copied for each test."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from client import transport
from client.home import Home
from client.results.data import FieldsOf
from client.results.people import MemberInfo
from client.session import Session
from client.vault import Vault
from protocol.acts import Reason, Role
from protocol.blocks import PEOPLE_COLLECTION, FieldClass
from tests.deals import cheap_keyrings
from tests.in_process import URL, Lab, lab
from tests.liars import Liar, Lie

TITLE = "Project Lark"
ALL = (FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE)
TABLE = pa.table(
    {"name": ["Mo", "Li", "Ed"], "phone": ["1", "22", "333"], "iban": ["DE1", "DE2", "DE3"]}
)
CLASSES = dict(zip(TABLE.column_names, ALL, strict=True))


@dataclass
class Actor:
    """Somebody's vault, with whatever its server answers in place of the truth."""

    name: str
    home: Home
    vault: Vault
    lie: Lie

    @property
    def session(self) -> Session:
        return self.vault.session

    @property
    def id(self) -> bytes:
        return self.vault.identity.member_id

    def kept(self) -> dict[str, Any]:
        """Return all that this home keeps: every table's rows, and the keyring file."""
        return kept_in(self.home.directory)

    @contextmanager
    def catches(
        self, error: type[BaseException], match: str | None = None, *, but: str = ""
    ) -> Iterator[pytest.ExceptionInfo[BaseException]]:
        """Expect an error, after which nothing was kept, believed or sent.

        But where leaves that are true were `learned` on the way, those are kept; and `sent`
        says that something had to be sent for it to go wrong.
        """
        before = self.kept(), self.believed()
        self.lie.sent.clear()
        with pytest.raises(error, match=match) as caught:
            yield caught
        if "learned" not in but:
            assert (self.kept(), self.believed()) == before
        if "sent" not in but:
            assert self.lie.sent == []

    def believed(self) -> tuple[Any, ...]:
        """Return what is believed in memory, as far as it can be compared."""
        believed = self.session.believed
        if not believed.known:
            return ()
        return believed.state, believed.pin, believed.acts, dict(believed.wraps)


@dataclass
class Company:
    """The cast: olga owns, ada and kim administer, bo bids, aud audits; rex was removed.

    Kim is keyless. Uma (an admin) and una (a bidder) joined and are not confirmed; ivy has a
    link and did not use it.
    """

    lab: Lab
    stack: AsyncExitStack
    link: str
    clock: Callable[[], float] = time.time
    open: dict[str, Actor] = field(default_factory=dict)

    async def actor(
        self,
        name: str,
        lie: Lie | None = None,
        clock: Callable[[], float] | None = None,
        *,
        fresh: bool = False,
    ) -> Actor:
        """Open somebody's home anew, as another process would, against the truth or a lie.

        A `fresh` one knows its keyring, and nothing of the log yet.
        """
        lie = lie or Lie()
        if fresh:
            shutil.rmtree(self.lab.directory / name / "vaults")
        home = self.lab.home(name, lambda honest: Liar(honest, lie), clock or self.clock)
        vault = await self.stack.enter_async_context(home.vault())
        return Actor(name, home, vault, lie)

    async def __call__(self, name: str) -> Vault:
        """Return somebody's vault on the honest server, synced, always the same one."""
        if name not in self.open:
            self.open[name] = await self.actor(name)
        await self.open[name].session.sync()
        return self.open[name].vault

    async def id_of(self, name: str) -> bytes:
        return (await self(name)).identity.member_id

    def newcomer(self, name: str, lie: Lie | None = None) -> Home:
        """Return a home without anything in it."""
        told = lie or Lie()
        return self.lab.home(name, lambda honest: Liar(honest, told))


async def members(vault: Vault) -> dict[str | None, MemberInfo]:
    """Return what a vault lists of everybody, by name."""
    return {each.name: each for each in await vault.members()}


def named(fields: Iterable[FieldsOf]) -> list[str]:
    """Return fields that were told by collection as one list."""
    return [f"{each.collection}: {name}" for each in fields for name in each.fields]


def customers(vault: Vault) -> bytes:
    """Return the id of the first collection that is not the people's."""
    return next(c for c in vault.session.state.collections if c != PEOPLE_COLLECTION)


def kept_in(directory: Path) -> dict[str, Any]:
    """Return all that a home keeps."""
    kept: dict[str, Any] = {}
    for path in sorted(directory.glob("vaults/*.db")):
        with sqlite3.connect(path) as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema")]
            for table in tables:
                if not table.startswith("sqlite_"):
                    kept[f"{path.name}/{table}"] = db.execute(f"SELECT * FROM {table}").fetchall()
        db.close()
    keyring = directory / "keyring"
    kept["keyring"] = keyring.read_bytes() if keyring.exists() else None
    return kept


@asynccontextmanager
async def company(
    directory: Path, clock: Callable[[], float] = time.time
) -> AsyncIterator[Company]:
    """Give a copy of the cast on a server of its own."""
    with cheap_keyrings(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "PAUSE_SECONDS", 0)
        source = await _made()
        copy = directory / "company"
        await asyncio.to_thread(shutil.copytree, source, copy)
        async with lab(copy, clock) as made, AsyncExitStack() as stack:
            yield Company(made, stack, (copy / "link").read_text(), clock)


_MADE: list[Path] = []
HIRED_SECONDS_AGO: Final = 600
"""So that it was in the past of every test, also of one that had its clock before the cast."""


def _when_hired() -> float:
    return time.time() - HIRED_SECONDS_AGO


async def _made() -> Path:
    """Return the folder of the cast, made at the first call."""
    if not _MADE:
        directory = Path(tempfile.mkdtemp(prefix="company-"))
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        async with lab(directory, _when_hired) as made, AsyncExitStack() as stack:
            await _hire(made, stack)
        _MADE.append(directory)
    return _MADE[0]


async def _hire(made: Lab, stack: AsyncExitStack) -> None:
    home = partial(made.home, clock=_when_hired)
    owner = await stack.enter_async_context(
        await home("olga").create_vault(URL, title=TITLE, name="Olga", token=made.token)
    )
    await owner.upload(TABLE, collection="customers", classes=CLASSES)

    vaults = [owner]

    async def hire(name: str, role: Role, classes: tuple[FieldClass, ...]) -> None:
        invited = await owner.invite(role, name=name.title(), classes=classes)
        vault, result = await home(name).join(invited.link)
        vaults.append(await stack.enter_async_context(vault))
        if name not in ("una", "uma"):
            await owner.confirm(name, words=result.words)

    await hire("ada", Role.ADMIN, ALL)
    await hire("kim", Role.KEYLESS_ADMIN, ())
    await hire("bo", Role.BIDDER, (FieldClass.GENERAL,))
    await hire("aud", Role.AUDITOR, ())
    await hire("rex", Role.BIDDER, (FieldClass.GENERAL,))
    await owner.revoke("rex", Reason.LEFT)
    await hire("una", Role.BIDDER, (FieldClass.GENERAL,))
    await hire("uma", Role.ADMIN, ALL)
    ivy = await owner.invite(Role.BIDDER, name="Ivy", classes=(FieldClass.GENERAL,))
    (made.directory / "link").write_text(ivy.link)
    for vault in vaults:
        await vault.session.sync()
