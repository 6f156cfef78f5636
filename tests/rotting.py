"""A server's database in which one bit changed, and what becomes of it and of whoever uses it.

`made` makes a vault with everything that a store can hold, and stops its server. `fate_of` starts
that server again with one bit of its database changed, lets it look through its store, delete
what is to be deleted, and serve: a reader who knows nothing yet, and the owner, who knows all
that there was. What they are given is compared with what there was, to the byte.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client import uploads
from client.errors import Unreachable
from client.vault import Vault
from protocol import api
from protocol.acts import Reason, Role
from protocol.checkpoint import parse_note
from protocol.errors import Fork, Rollback, SealroomError
from protocol.limits import LIMITS
from protocol.merkle import Tree, leaf_hash
from tests.deals import a_deal, cheap_keyrings, in_batches_of, joined, rows, through
from tests.documents import SENSITIVE, a_file, content_of, short_chunks
from tests.in_process import Lab, ServiceTransport, lab
from tests.uploading import CommitsUpTo, Ending
from vault.storage.sqlite_file import FILE_NAME

T = TypeVar("T")
TABLE: Final = rows(12)
ERASED: Final = 3
MORE: Final = rows(9)
BEGUN: Final = "begun.parquet"
LATER: Final = 8 * 24 * 3_600
"""Longer than what is staged and not committed is kept."""
BARE: Final = re.compile(rb"\0{64,}")
"""Where nothing stands: pages that are not full, and the fillers before contents."""
WAITS: Final = "published = 0 AND held = 0"
MISSED: Final = {
    "a vault": "SELECT vault, size FROM vaults",
    "a leaf": "SELECT vault, leaf_index, leaf, observation FROM leaves",
    "a part": "SELECT vault, leaf_index, part, digest, contents.content FROM sides"
    " LEFT JOIN contents ON contents.id = sides.content",
    "a block": "SELECT vault, batch, field, digest, upload, contents.content FROM blocks"
    " JOIN uploads USING (vault, upload) JOIN contents ON contents.id = blocks.content"
    f" WHERE NOT ({WAITS})",
    "an upload": f"SELECT vault, upload, published, held FROM uploads WHERE NOT ({WAITS})",
    "a batch": "SELECT vault, batch FROM batches JOIN uploads USING (vault, upload)"
    " WHERE published = 1",
    "a part of a commit": "SELECT vault, upload, member, batch, relied FROM batches"
    " JOIN uploads USING (vault, upload) WHERE published = 0 AND held = 1",
}
"""What somebody would miss, of all that is stored. Other columns matter no more, or for a while."""
AWAITED: Final = {
    "a batch that waits": "SELECT vault, upload, member, batch, digest, relied FROM batches"
    f" JOIN uploads USING (vault, upload) WHERE {WAITS}",
    "a block that waits": "SELECT vault, batch, field, blocks.digest, upload, contents.content"
    " FROM blocks JOIN uploads USING (vault, upload)"
    f" JOIN contents ON contents.id = blocks.content WHERE {WAITS}",
}
"""What would be missed besides, until it expires."""


@dataclass(frozen=True)
class Made:
    """A stopped server's folder with the homes of its people, and what they know."""

    folder: Path
    leaves: tuple[bytes, ...]
    vault_id: bytes
    server_key: bytes
    left: pa.Table
    """The table without the record that was erased."""

    @property
    def database(self) -> bytes:
        return (self.folder / "server" / FILE_NAME).read_bytes()


async def made(directory: Path) -> Made:
    """Make a vault with acts, sides, blocks, documents, and uploads that are under way."""
    with short_chunks():
        async with (
            a_deal(directory / "made") as deal,
            joined(deal.lab, deal.seller, "Ada", Role.ADMIN) as ada,
        ):
            seller = deal.seller
            classes = dict.fromkeys(TABLE.column_names, SENSITIVE)
            await seller.upload(
                TABLE, collection="customers", classes=classes, options=in_batches_of(4)
            )
            await seller.grant("Bo", classes=[SENSITIVE])
            await seller.attach(a_file(directory, size=9_000))
            await seller.rotate(collection="customers", reencrypt=True)
            await seller.erase("customers", records=[ERASED], reason=Reason.REQUEST)
            await deal.buyer.read("customers")
            pq.write_table(MORE, directory / "made" / BEGUN)
            with through(seller, Ending(seller, 3)), suppress(Unreachable):
                await upload(seller, directory / "made")
            with pytest.MonkeyPatch.context() as patch, suppress(Unreachable):
                patch.setattr(uploads, "LIMITS", LIMITS.__class__(act_batches=2))
                with through(ada, CommitsUpTo(ada, 1)):
                    await ada.attach(a_file(directory, "ada's", seed=2))
            await seller.session.sync()
            session = seller.session
            leaves = tuple(session.store.leaves())
            state = session.state
        return Made(
            directory / "made",
            leaves,
            state.vault_id,
            state.server_key,
            pa.concat_tables([TABLE.slice(0, ERASED - 1), TABLE.slice(ERASED)]),
        )


async def upload(vault: Vault, folder: Path) -> int:
    """Upload what was begun; return how many batches of it were there."""
    classes = dict.fromkeys(MORE.column_names, SENSITIVE)
    table, options = folder / BEGUN, in_batches_of(2)
    done = await vault.upload(table, collection="begun", classes=classes, options=options)
    return done.resumed_batches


# --- one bit


def bit_of(database: bytes, seed: int) -> int:
    """Draw a bit: of all bits by even seeds, by odd ones of those where something stands."""
    draw = random.Random(f"rot {seed}")
    bare = [each.span() for each in BARE.finditer(database)] if seed % 2 else []
    while True:
        at = draw.randrange(len(database))
        if not any(first <= at < last for first, last in bare):
            return 8 * at + draw.randrange(8)


def stored(server: Path, more: Mapping[str, str] = MISSED) -> dict[str, list[Any]]:
    """Return what a stopped server has stored that somebody would miss."""
    file = server / FILE_NAME
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        return {what: sorted(map(repr, database.execute(query))) for what, query in more.items()}


def lost(server: Path, before: Mapping[str, list[Any]], missed: Mapping[str, str]) -> list[str]:
    """Say what a stopped server has no longer, or what cannot be read any more."""
    try:
        now = stored(server, missed)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return [f"it cannot be read: {error!r}"]
    return [f"{each} is lost in silence" for each in before if before[each] != now[each]]


@dataclass
class Fate:
    """Who noticed what, in words, and what went wrong that nobody noticed."""

    seed: int
    bit: int
    noticed: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)

    @property
    def by(self) -> str:
        """Say who noticed first, or that nobody had to."""
        return next(iter(self.noticed), "nothing is missing")

    async def step(self, who: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do something that may only go well, or fail by an error of this project's."""
        try:
            return await work()
        except (Fork, Rollback) as error:
            self.wrong.append(f"{who}: signed over something false: {error!r}")
        except SealroomError as error:
            self.noticed.setdefault(who, f"{error.code}: {error}")
        except Exception as error:
            self.wrong.append(f"{who}: {error!r}")
        return None

    def expect(self, what: str, found: Any, true: Any) -> None:
        """Demand that what was given is what there was; nothing was, where that was refused."""
        if found is not None:
            self.compared.append(what)
            if found != true:
                self.wrong.append(f"{what} is another one")


async def fate_of(made: Made, seed: int) -> Fate:
    """Start the server with one bit changed, and see it, and everybody, through."""
    fate = Fate(seed, bit_of(made.database, seed))
    with tempfile.TemporaryDirectory(prefix="rot-") as name, cheap_keyrings(), short_chunks():
        folder = Path(name) / "made"
        shutil.copytree(made.folder, folder)
        server = folder / "server"
        is_later = seed % 4 >= 2
        clock, missed = (later, MISSED) if is_later else (time.time, MISSED | AWAITED)
        before = stored(server, missed)
        flip(server / FILE_NAME, fate.bit)
        await fate.step("the server, when it starts", lambda: _lived(made, folder, fate, clock))
        if not fate.noticed:
            shutil.copy(made.folder / "server" / FILE_NAME, server)
            flip(server / FILE_NAME, fate.bit)
            now = stored(server, missed)
            fate.wrong += [
                f"{each} is lost in silence" for each in before if before[each] != now[each]
            ]
    return fate


def flip(file: Path, bit: int) -> None:
    """Change one bit of a file."""
    changed = bytearray(file.read_bytes())
    changed[bit // 8] ^= 1 << bit % 8
    file.write_bytes(changed)


def later() -> float:
    return time.time() + LATER


async def _lived(made: Made, folder: Path, fate: Fate, clock: Callable[[], float]) -> None:
    async with lab(folder, clock) as opened:
        service = opened.service
        await fate.step("the server, when it looks through", service.look_through)
        if not fate.noticed:  # nothing is deleted from a store that is not sound
            await fate.step("the server, when it deletes", service.expire_staged)
            await fate.step("the server, when it deletes", service.sweep)
        await fate.step("the server, when it reads everything", service.read_through)
        shutil.rmtree(folder / "Bo" / "vaults")
        await fate.step("a reader", lambda: _read(opened, "Bo", made, fate, clock))
        await fate.step("the owner", lambda: _read(opened, "seller", made, fate, clock))
        await fate.step("the owner", lambda: _written(opened, "seller", fate, clock))


async def _read(opened: Lab, who: str, made: Made, fate: Fate, clock: Callable[[], float]) -> None:
    async with opened.home(who, lambda true: Noting(true, made, fate), clock).vault() as vault:
        await vault.session.sync()
        fate.expect("the log", tuple(vault.session.store.leaves())[: len(made.leaves)], made.leaves)
        table = await fate.step(who, lambda: vault.read("customers"))
        fate.expect("the table", table, made.left)
        with tempfile.TemporaryDirectory() as out:
            file = Path(out) / "document"
            got = await fate.step(who, lambda: vault.get_document("contract.pdf", path=file))
            if got is not None:
                fate.expect("the document", file.read_bytes(), content_of(9_000))
            elif file.exists():
                fate.wrong.append("an unverified document was written")


async def _written(opened: Lab, who: str, fate: Fate, clock: Callable[[], float]) -> None:
    async with opened.home(who, clock=clock).vault() as vault:
        await vault.heartbeat()
        resumed = await upload(vault, opened.directory)
        if clock is time.time:
            fate.expect("what was resumed", resumed, 3)
        table = await vault.read("begun")
        fate.expect("what was uploaded after it", table, MORE)
        await vault.revoke("Ada", Reason.LEFT)


class Noting(ServiceTransport):
    """The server as it is, whose checkpoints are compared with the log that there was."""

    def __init__(self, true: ServiceTransport, made: Made, fate: Fate) -> None:
        self.service, self.keyid = true.service, true.keyid
        self.made, self.fate = made, fate

    async def log_page(self, vault_id: bytes, start: int) -> api.LogPage:
        page = await super().log_page(vault_id, start)
        shown = parse_note(page.checkpoint, self.made.vault_id, self.made.server_key)
        true = Tree()
        for leaf in self.made.leaves[: shown.size]:
            true.append(leaf_hash(leaf))
        if shown.size < len(self.made.leaves) or (
            shown.size == len(self.made.leaves) and shown.root != true.root()
        ):
            self.fate.wrong.append("a checkpoint was signed over something false")
        return page


# --- many of them


def told(fates: list[Fate]) -> str:
    """Say how many bits were noticed by whom."""
    by = Counter(fate.by for fate in fates)
    wrong = sum(bool(fate.wrong) for fate in fates)
    return (
        f"{len(fates)} bits: "
        + ", ".join(f"{count} {who}" for who, count in by.most_common())
        + f"; {wrong} wrong"
    )


def main(first: int, last: int) -> None:
    """Play a range of seeds, and print each fate as a line of JSON."""
    with tempfile.TemporaryDirectory() as name, cheap_keyrings():
        vault = asyncio.run(made(Path(name)))
        fates = []
        for seed in range(first, last):
            fates.append(asyncio.run(fate_of(vault, seed)))
            print(json.dumps(fates[-1].__dict__), flush=True)
        print(told(fates))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
