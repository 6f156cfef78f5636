"""Servers to test against: in this process, or as the real command in one of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from nacl.signing import SigningKey
from yarl import URL

from client.crypto.identity import Identity
from client.pinning import client_ssl_context
from client.request_signing import sign_request
from protocol import acts, api
from protocol.acts import Citation
from protocol.api import CONTENT_TYPE, ErrorBody
from protocol.blocks import (
    BlockRef,
    Manifest,
    Padding,
    cell_lengths,
    empty_cells,
    join_batch_body,
    join_bundle,
)
from protocol.checkpoint import Checkpoint, parse_note
from protocol.ledger import Landed, act_leaf
from protocol.ledger.contents import Batch
from protocol.wire import from_bytes, to_bytes
from tests.hangs import HANGS_SECONDS
from tests.world import World
from vault.app import RunningServer, running
from vault.config import Config
from vault.tls import load_or_create_checkpoint_key

T = TypeVar("T")
ANSWER_BYTES = api.LOG_PAGE_BYTES
CELL_BYTES = 32
SERVE = "from vault.cli import serve; serve(obj={'json': True})"


@asynccontextmanager
async def running_server(
    data_dir: Path, clock: Callable[[], float] = time.time, **settings: Any
) -> AsyncIterator[RunningServer]:
    """Run a server in this process, over real TLS on a free port of the loopback."""
    config = Config(data_dir=data_dir, port=0, **{"drain_seconds": 2, **settings})
    async with running(config, clock) as server:
        yield server


@dataclass
class ServerProcess:
    """The real command, running."""

    process: asyncio.subprocess.Process
    url: str
    pin: bytes
    announced: Mapping[str, Any]

    async def kill(self) -> None:
        """Kill it as a power cut would, and wait until it is gone."""
        self.process.kill()
        await self.process.wait()

    async def stop(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to stop, and return its exit code and its log."""
        self.process.send_signal(by)
        _, log = await asyncio.wait_for(self.process.communicate(), HANGS_SECONDS)
        return self.process.returncode or 0, log.decode()


async def start_process(
    data_dir: Path, *options: str, listen: str = "127.0.0.1:0"
) -> asyncio.subprocess.Process:
    """Start `serve` as a process; what it says is the caller's to read."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", SERVE, "--listen", listen, "--data", str(data_dir), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).resolve().parent.parent,
    )


@asynccontextmanager
async def subprocess_server(data_dir: Path, *options: str) -> AsyncIterator[ServerProcess]:
    """Run the real command until the block ends, however that is."""
    process = await start_process(data_dir, *options)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), HANGS_SECONDS)
        announced = json.loads(line)
        yield ServerProcess(process, announced["url"], bytes.fromhex(announced["pin"]), announced)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@dataclass(frozen=True)
class Answer:
    """What a request was answered, read to the end."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        return self.error.code

    @property
    def error(self) -> ErrorBody:
        return from_bytes(ErrorBody, self.body)

    def read(self, cls: type[T]) -> T:
        assert self.status == 200, (self.status, self.body)
        return from_bytes(cls, self.body, max_bytes=ANSWER_BYTES)


@dataclass
class Asker:
    """Sends requests to one server, signed by whoever is asked to sign them."""

    url: str
    session: aiohttp.ClientSession

    async def ask(
        self,
        signer: Identity | tuple[SigningKey, bytes] | None,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = CONTENT_TYPE,
        now: float | None = None,
    ) -> Answer:
        headers = {} if body is None else {"Content-Type": content_type}
        if signer is not None:
            key, keyid = (
                (signer.request_key, signer.member_id) if isinstance(signer, Identity) else signer
            )
            headers = sign_request(
                method, self.url + path, body, content_type, key, keyid, now or time.time()
            )
        return await self.send(method, path, headers, body)

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: Any = None
    ) -> Answer:
        """Send exactly these header fields."""
        url = URL(self.url + path, encoded=True)
        async with self.session.request(
            method, url, data=body, headers=headers, allow_redirects=False
        ) as response:
            return Answer(response.status, await response.read(), response.headers)

    async def get(self, signer: Identity, path: str) -> Answer:
        return await self.ask(signer, "GET", path)


@asynccontextmanager
async def asking(url: str, pin: bytes) -> AsyncIterator[Asker]:
    """Reach a server by its pin."""
    connector = aiohttp.TCPConnector(ssl=client_ssl_context(pin), limit=0)
    async with aiohttp.ClientSession(
        connector=connector,
        skip_auto_headers={"User-Agent", "Content-Type"},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield Asker(url, session)


@asynccontextmanager
async def raw(
    url: str, pin: bytes, local: tuple[str, int] | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a TLS connection, to write to as one likes; `local` is where it comes from."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(url.rpartition(":")[2]), ssl=client_ssl_context(pin), local_addr=local
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def head_of(
    url: str,
    who: Identity,
    method: str,
    path: str,
    body: bytes,
    content_type: str = CONTENT_TYPE,
) -> bytes:
    """Return the signed head of a request with a body, as it goes over the wire."""
    headers = sign_request(
        method, url + path, body, content_type, who.request_key, who.member_id, time.time()
    )
    headers |= {"Host": url.removeprefix("https://"), "Content-Length": str(len(body))}
    fields = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *fields, "", ""]).encode()


@dataclass
class LiveVault(World):
    """A vault in memory whose blocks have bytes, and which is pushed to a server as it grows."""

    asker: Asker | None = None
    token: str = ""
    now: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.blocks: dict[bytes, tuple[bytes, ...]] = {}
        self.contents: dict[bytes, bytes] = {}
        self.authors: list[Identity] = []
        self.uploads: list[tuple[bytes, tuple[Manifest, ...]]] = []
        self.pushed = 0
        super().__post_init__()

    def at(self, template: str, **ids: bytes) -> str:
        """Fill in a path."""
        return template.format(
            vault=self.vault_id.hex(), **{name: value.hex() for name, value in ids.items()}
        )

    def leaf(
        self, author: Identity, payload: acts.Payload, cited: Citation | None = None, step: int = 0
    ) -> bytes:
        """Return a signed act without sides, `step` numbers ahead; nothing lands here."""
        act = self.draft(author, payload, cited)
        return act_leaf(self.signed(author, replace(act, number=act.number + step)))

    def land_leaf(
        self, leaf: bytes, sides: tuple[bytes, ...], readers: Sequence[Identity] = ()
    ) -> Landed:
        landed = super().land_leaf(leaf, sides, readers)
        self.authors.append(readers[0] if readers else self.owner)
        self.uploads.append(self.listed(landed))
        return landed

    def listed(self, landed: Landed) -> tuple[bytes, tuple[Manifest, ...]]:
        """Return what has to be staged before an act: its upload, and the manifests it lists."""
        payload = None if landed.act is None else landed.act.payload
        if isinstance(payload, acts.Commit | acts.Replace):
            return payload.upload, payload.manifests
        if isinstance(payload, acts.Reencrypt) and landed.before is not None:
            known = landed.before.collections[payload.collection].by_id()
            return payload.upload, made_anew(known, payload.moves)
        return b"", ()

    def manifest(self, collection: bytes, fields: Sequence[int], records: int = 3) -> Manifest:
        """Return a manifest of blocks whose cells are random bytes, which are kept."""
        refs, blocks = [], []
        for number in fields:
            newest = self.state.newest(collection, number)
            epoch = 1 if newest is None else newest.definition.epoch
            block = sealed((CELL_BYTES,) * records)
            digest = self.keep(block)
            refs.append(
                BlockRef(number, epoch, os.urandom(16), len(block), digest, Padding.UNIFORM)
            )
            blocks.append(block)
        made = Manifest(os.urandom(16), records, tuple(refs))
        self.blocks[made.batch_id] = tuple(blocks)
        return made

    def keep(self, block: bytes) -> bytes:
        """Keep a block's bytes; return their hash."""
        digest = hashlib.sha256(block).digest()
        self.contents[digest] = block
        return digest

    def batch_body(self, manifest: Manifest) -> bytes:
        return join_batch_body(manifest, [self.contents[ref.sha256] for ref in manifest.blocks])

    def current(self, collection: bytes, batch_id: bytes) -> tuple[bytes, ...]:
        """Return the blocks of a batch as they are now."""
        blocks = self.batch(collection, batch_id).manifest.blocks
        return tuple(self.contents[ref.sha256] for ref in blocks)

    # --- what is erased, and sealed anew

    def erasure(
        self, collection: bytes, batch_id: bytes, positions: Collection[int]
    ) -> acts.Erasure:
        """Return what empties these records of a batch; what is left of its blocks is kept."""
        batch = self.batch(collection, batch_id)
        gone, blocks = batch.erased | set(positions), []
        for ref in batch.manifest.blocks:
            left = empty_cells(self.contents[ref.sha256], batch.manifest.records, gone)
            blocks.append(acts.EmptiedBlock(ref.field, ref.sha256, len(left), self.keep(left)))
        return acts.Erasure(batch_id, tuple(sorted(positions)), tuple(blocks))

    def moves(
        self, collection: bytes, *fields: int, batches: Collection[bytes] | None = None
    ) -> tuple[acts.MovedBlock, ...]:
        """Return every current block of these fields, made anew under the newest epoch."""
        found = []
        for number in fields:
            newest = self.state.newest(collection, number)
            assert newest is not None
            for batch, ref in self.state.collections[collection].blocks(number):
                if batches is None or batch.id in batches:
                    old = self.contents[ref.sha256]
                    digest = self.keep(sealed(cell_lengths(old, batch.manifest.records)))
                    block = replace(ref, salt=os.urandom(16), sha256=digest)
                    block = replace(block, epoch=newest.definition.epoch)
                    found.append(acts.MovedBlock(batch.id, ref.sha256, block))
        return tuple(found)

    # --- sending

    async def ask(self, signer: Any, method: str, path: str, body: bytes | None = None) -> Answer:
        assert self.asker is not None
        return await self.asker.ask(signer, method, path, body)

    async def get(self, signer: Any, path: str) -> Answer:
        return await self.ask(signer, "GET", path)

    async def create(self) -> Answer:
        leaf, _ = self.leaves[0]
        body = to_bytes(api.CreateVault(self.token, leaf[1:]))
        self.pushed = max(self.pushed, 1)
        return await self.ask(self.owner, "POST", api.VAULTS, body)

    async def stage(self, signer: Any, upload: bytes, manifest: Manifest) -> Answer:
        assert self.asker is not None
        path = self.at(api.BATCH, upload=upload, batch=manifest.batch_id)
        body = self.batch_body(manifest)
        return await self.asker.ask(signer, "PUT", path, body, api.BATCH_CONTENT_TYPE)

    async def stage_several(self, signer: Any, upload: bytes, *manifests: Manifest) -> Answer:
        bundle = join_bundle([self.batch_body(manifest) for manifest in manifests])
        return await self.bundle(signer, upload, bundle)

    async def bundle(self, signer: Any, upload: bytes, bundle: bytes) -> Answer:
        assert self.asker is not None
        path = self.at(api.BATCHES, upload=upload)
        return await self.asker.ask(signer, "PUT", path, bundle, api.BATCHES_CONTENT_TYPE)

    async def submit(self, signer: Any, leaf: bytes, sides: tuple[bytes, ...] = ()) -> Answer:
        return await self.ask(
            signer, "POST", self.at(api.ACTS), to_bytes(api.SubmitAct(leaf[1:], sides))
        )

    async def fetch(
        self, signer: Any, collection: bytes, *wanted: tuple[bytes, tuple[int, ...]]
    ) -> Answer:
        message = api.FetchBlocks(collection, tuple(api.WantedBatch(*each) for each in wanted))
        return await self.ask(signer, "POST", self.at(api.BLOCKS), to_bytes(message))

    async def push(self) -> None:
        """Send every act that landed here to the server, staging what commits list."""
        if self.pushed == 0:
            assert (await self.create()).status == 200
        while self.pushed < len(self.leaves):
            leaf, sides = self.leaves[self.pushed]
            author = self.authors[self.pushed]
            upload, manifests = self.uploads[self.pushed]
            for manifest in manifests:
                staged = await self.stage(author, upload, manifest)
                assert staged.status == 200, staged
            answer = (await self.submit(author, leaf, sides)).read(api.Submitted)
            assert answer.index == self.pushed
            self.pushed += 1

    async def pull(self) -> None:
        """Take the observations that the server appended meanwhile."""
        page = (await self.get(self.owner, self.at(api.LOG) + f"?from={self.pushed}")).read(
            api.LogPage
        )
        for each in page.leaves:
            self.land_leaf(each.leaf, tuple(part.content or b"" for part in each.sides))
        self.pushed += len(page.leaves)

    def checkpoint(self, note: bytes) -> Checkpoint:
        return parse_note(note, self.vault_id, bytes(self.server.verify_key))


def sealed(lengths: Sequence[int]) -> bytes:
    """Return a block of cells of these lengths, of random bytes."""
    header = b"".join(length.to_bytes(4, "little") for length in lengths)
    return header + os.urandom(sum(lengths))


def made_anew(
    known: Mapping[bytes, Batch], moves: Sequence[acts.MovedBlock]
) -> tuple[Manifest, ...]:
    """Return the manifest under which each batch's new blocks are staged."""
    by_batch: dict[bytes, list[BlockRef]] = {}
    for move in moves:
        by_batch.setdefault(move.batch, []).append(move.block)
    return tuple(
        Manifest(batch, known[batch].manifest.records, tuple(sorted(refs, key=field_of)))
        for batch, refs in by_batch.items()
    )


def field_of(ref: BlockRef) -> int:
    return ref.field


@asynccontextmanager
async def live_vault(
    data_dir: Path, clock: Callable[[], float] = time.time, **settings: Any
) -> AsyncIterator[tuple[RunningServer, LiveVault]]:
    """Run a server and create a vault on it."""
    async with (
        running_server(data_dir, clock, **settings) as server,
        asking(server.url, server.pin) as asker,
    ):
        live = LiveVault(
            server=load_or_create_checkpoint_key(data_dir),
            asker=asker,
            token=server.token.reveal(),
        )
        await live.push()
        yield server, live


def blocks_in(body: bytes) -> list[bytes]:
    """Take a fetch's answer apart."""
    found = []
    while body:
        length = int.from_bytes(body[: api.LENGTH_BYTES], "big")
        found.append(body[api.LENGTH_BYTES : api.LENGTH_BYTES + length])
        body = body[api.LENGTH_BYTES + length :]
    return found
