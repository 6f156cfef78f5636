"""A seller with a vault, a buyer who joined, and servers that tamper, break off or hang."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import shutil
import sqlite3
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import nacl.pwhash.argon2id
import pyarrow as pa
import pytest

from client import fetching
from client.catalogs import read_names, seal_rows
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, seal_batch
from client.errors import Unreachable
from client.home import Home
from client.session import saying
from client.tables import type_from_text
from client.tables.arrow_types import is_text
from client.transport import Transport
from client.vault import UploadOptions, Vault
from protocol import api
from protocol.acts import Commit, Role
from protocol.blocks import Address, BlockRef, FieldClass, Manifest, Padding, join_batch_body
from tests.in_process import PASSPHRASE, URL, Lab, ServiceTransport, lab

T = TypeVar("T")
ALL_CLASSES = (FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE)


@contextmanager
def cheap_keyrings() -> Iterator[None]:
    """Derive keyring keys by one hash, and wait for nothing: neither is the point here."""

    def kdf(size: int, password: bytes, salt: bytes, opslimit: int, memlimit: int) -> bytes:
        return hashlib.blake2b(password, salt=salt, digest_size=size).digest()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nacl.pwhash.argon2id, "kdf", kdf)
        patch.setattr(fetching, "PAUSE_SECONDS", 0)
        yield


# --- a deal


@dataclass
class Deal:
    """A vault with its owner and one confirmed bidder, who was granted nothing yet."""

    lab: Lab
    seller: Vault
    buyer: Vault
    words: str

    async def offer(self) -> None:
        await self.seller.offer("Bo")

    async def accept(self) -> None:
        await self.buyer.accept(words=self.words)


@asynccontextmanager
async def a_server(directory: Path) -> AsyncIterator[Lab]:
    """Give a server without any vault."""
    with cheap_keyrings():
        async with lab(directory) as made:
            yield made


@asynccontextmanager
async def a_vault(directory: Path, title: str = "Project Lark") -> AsyncIterator[tuple[Lab, Vault]]:
    with cheap_keyrings():
        async with lab(directory) as made:
            seller = await made.home("seller").create_vault(
                URL, title=title, name="Sue", token=made.token
            )
            async with seller:
                yield made, seller


@asynccontextmanager
async def a_deal(directory: Path) -> AsyncIterator[Deal]:
    async with a_vault(directory) as (made, seller), joined(made, seller, "Bo") as buyer:
        yield Deal(made, seller, buyer, await seller.words("Bo"))


@asynccontextmanager
async def joined(
    made: Lab,
    inviter: Vault,
    name: str,
    role: Role = Role.BIDDER,
    classes: Sequence[FieldClass] | None = None,
) -> AsyncIterator[Vault]:
    """Invite, join and confirm; the newcomer's home is a folder called like it."""
    invited = await inviter.invite(role, name=name, classes=classes)
    member, result = await made.home(name).join(invited.link)
    async with member:
        await inviter.confirm(name, words=result.words)
        yield member


def classes_in_turn(names: Sequence[str]) -> dict[str, FieldClass]:
    """Give every class some columns."""
    return {name: ALL_CLASSES[i % 3] for i, name in enumerate(names)}


def rows(count: int, **more: Any) -> pa.Table:
    """Return a small table of one text, one number and one mostly null column."""
    return pa.table(
        {
            "name": [f"customer {i:06}" for i in range(count)],
            "orders": pa.array(range(count), pa.int32()),
            "note": pa.array([f"n{i}" if i % 7 == 0 else None for i in range(count)], pa.string()),
            **more,
        }
    )


def in_batches_of(count: int) -> UploadOptions:
    return UploadOptions(batch_rows=count)


# --- what must not change

_COMES_WITH_A_SYNC = re.compile(r"""INSERT INTO "(pin"|leaves" VALUES\(\d+,X'02)""")


def kept_by(vault: Vault) -> tuple[str, ...]:
    """Return everything in a home's store but what is true and comes with each sync.

    That is the pin, whose time moves, and what the server says of its own reads: a client that
    was sent other blocks than it knows looks whether they were replaced.
    """
    kept = vault.session.store._db.iterdump()
    return tuple(line for line in kept if not _COMES_WITH_A_SYNC.match(line))


def journal_of(vault: Vault) -> tuple[int, int]:
    """Return how many uploads and batches a home's journal lists."""
    db = vault.session.store._db
    counts = "SELECT (SELECT count(*) FROM uploads), (SELECT count(*) FROM batches)"
    uploads, batches = db.execute(counts).fetchone()
    return uploads, batches


async def acts_since(vault: Vault, size: int) -> list[str]:
    """Return the kinds of the acts that landed from a leaf on; observations are none."""
    await vault.session.sync()
    return [act.kind for act in vault.session.believed.acts[size:] if act is not None]


# --- servers that tamper, break off or hang

Tamper = Callable[[api.FetchBlocks, list[bytes]], list[bytes]]


class Tampering(ServiceTransport):
    """The honest server, but that the blocks it sends go through `tamper` first."""

    def __init__(self, honest: Transport, tamper: Tamper) -> None:
        like = cast(ServiceTransport, honest)
        self.service, self.keyid = like.service, like.keyid
        self.tamper = tamper
        self.lies = 0

    async def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        true = [block async for block in super().fetch(vault_id, request, sizes)]
        sent = self.tamper(request, list(true))
        self.lies += sent != true
        for block in sent:
            yield block


class Breaking(ServiceTransport):
    """The honest server until call number `at`, which breaks off before or after it did its work.

    With `hang` that call never comes back and `hung` is set, as if the client were killed there.
    """

    def __init__(
        self, honest: Transport, at: int, *, after: bool = False, hang: bool = False
    ) -> None:
        like = cast(ServiceTransport, honest)
        self.service, self.keyid = like.service, like.keyid
        self.counter = Counter(at, after, hang)

    async def _answer(self, work: Awaitable[T]) -> T:
        return await self.counter.call(super()._answer, work)


class Counter:
    """Counts calls, over several connections too, and breaks one of them."""

    def __init__(self, at: int, after: bool, hang: bool) -> None:
        self.at, self.after, self.hang = at, after, hang
        self.calls = 0
        self.hung = asyncio.Event()

    async def call(self, answer: Callable[[Awaitable[T]], Awaitable[T]], work: Awaitable[T]) -> T:
        mine, self.calls = self.calls, self.calls + 1
        if mine < self.at:
            return await answer(work)
        if self.after and mine == self.at:
            await answer(work)
        else:
            cast(Any, work).close()
        if self.hang:
            self.hung.set()
            await asyncio.Event().wait()
        raise Unreachable("the cable was cut")


@asynccontextmanager
async def hanging_at(
    vault: Vault, at: int, work: Coroutine[Any, Any, Any], *, after: bool = False
) -> AsyncIterator[bool]:
    """Begin some work whose call number `at` never comes back, and end it with the block.

    The block is entered once it hangs, and is given False if it came to its end without.
    """
    hanging = Breaking(honest(vault), at, after=after, hang=True)
    with through(vault, hanging):
        working = asyncio.create_task(work)
        hung = asyncio.create_task(hanging.counter.hung.wait())
        await asyncio.wait({working, hung}, return_when=asyncio.FIRST_COMPLETED)
        try:
            yield hung.done()
        finally:
            hung.cancel()
            ended = working.done()
            working.cancel()
            await asyncio.wait({working, hung})
        assert not ended or working.exception() is None


@contextmanager
def through(vault: Vault, transport: Transport) -> Iterator[None]:
    """Let a vault talk to another server for a while."""
    honest, vault.session.transport = vault.session.transport, transport
    try:
        yield
    finally:
        vault.session.transport = honest


def honest(vault: Vault) -> Transport:
    return vault.session.transport


def as_killed(home: Home, made: Lab, name: str) -> Home:
    """Return a home as the disk holds it now, as after a kill: nothing was closed or cleaned up."""
    copy = made.directory / name
    shutil.copytree(home.directory, copy)
    for store in (copy / "vaults").glob("*.db"):
        with sqlite3.connect(store) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
    return made.home(name)


async def commit_names(vault: Vault, collection: bytes, number: int, *rows: dict[str, Any]) -> None:
    """Commit rows to a catalog as a member of a mind of its own would."""
    session = vault.session
    await session.sync()
    sealed = seal_rows(session, session.writable(collection, number), rows)
    upload = secrets.token_bytes(16)
    batch = sealed.manifest.batch_id
    await session.transport.stage(session.vault_id, upload, batch, sealed.body())
    await session.act(saying(Commit(upload, collection, 0, True, (sealed.manifest,))))


async def commit_records(
    vault: Vault, collection: bytes, epochs: Mapping[int, int], count: int
) -> None:
    """Commit records as a writer does that has not seen the newest epoch of every field."""
    session = vault.session
    await session.sync()
    where = session.state.collections[collection]
    columns = []
    for number, field_class in enumerate(where.classes):
        newest = session.writable(collection, number)
        address = Address(collection, number, epochs.get(number, newest.epoch))
        named = (await read_names(session, collection)).fields[number]
        texts = is_text(type_from_text(named.type))
        cells = Cells.from_list([b"late" if texts else bytes(4)] * count, string_like=texts)
        key = session.key(address).key.expose()
        columns.append(ColumnToSeal(number, address.epoch, field_class, key, cells))
    sealed = seal_batch(columns)
    upload = secrets.token_bytes(16)
    batch = sealed.manifest.batch_id
    await session.transport.stage(session.vault_id, upload, batch, sealed.body())
    await session.act(saying(Commit(upload, collection, 0, True, (sealed.manifest,))))


async def commit_rubbish(vault: Vault, collection: bytes, number: int, records: int = 1) -> None:
    """Commit a catalog block that no key opens; of several records, it is not even a block."""
    session = vault.session
    await session.sync()
    epoch = session.writable(collection, number).epoch
    block = (48).to_bytes(4, "little") + secrets.token_bytes(48)
    digest = hashlib.sha256(block).digest()
    ref = BlockRef(number, epoch, bytes(16), len(block), digest, Padding.UNIFORM)
    manifest = Manifest(secrets.token_bytes(16), records, (ref,))
    upload = secrets.token_bytes(16)
    body = join_batch_body(manifest, (block,))
    await session.transport.stage(session.vault_id, upload, manifest.batch_id, body)
    await session.act(saying(Commit(upload, collection, 0, True, (manifest,))))


__all__ = ["PASSPHRASE", "URL"]
