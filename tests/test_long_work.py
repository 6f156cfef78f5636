"""Long work over what happens to it: a server that is killed and comes back, cables that are cut.

The server is the real command in a process of its own, and so is the client where it says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from client.home import Home
from client.patience import Patient, Waiting
from client.transport import HttpTransport, Signer, Transport
from client.vault import Vault
from tests.deals import cheap_keyrings, in_batches_of, rows, through
from tests.hangs import HANGS_SECONDS
from tests.in_process import PASSPHRASE
from tests.ports import own_port
from tests.real_commands import (
    Ended,
    command,
    environment,
    heeding_ctrl_c,
    quickly,
    sealroom,
    write_table,
)
from tests.servers import subprocess_server

ROWS = 60_000


@dataclass
class Server:
    """The real server on one port, killed and started again as one likes."""

    directory: Path
    port: int
    process: subprocess.Popen[str] | None = None
    announced: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.directory / "serve.log"

    def start(self) -> None:
        listen = ("--listen", f"127.0.0.1:{self.port}", "--data", str(self.directory / "data"))
        with self.log.open("a") as stderr:
            self.process = subprocess.Popen(
                [command(), "--json", "serve", *listen],
                env=environment(), stdout=subprocess.PIPE, stderr=stderr, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        self.announced |= json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        """Kill it as a power cut would."""
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait(HANGS_SECONDS)
        self.process.stdout.close()

    def served(self, method: str) -> int:
        return self.log.read_text().count(f'"{method}"')


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path, own_port())
    made.start()
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            made.kill()


@pytest.fixture
def home(server: Server, tmp_path: Path) -> tuple[str | Path, ...]:
    announced = server.announced
    address = announced["url"].removeprefix("https://")
    home = ("--json", "--home", tmp_path / "home")
    quickly(
        *home, "vault", "create", address, "--pin", announced["pin"], "--token", announced["token"]
    ).ok()
    return home


def begun(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [command(), *map(str, arguments)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heeding_ctrl_c,
    )


def ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=HANGS_SECONDS)
    return Ended(process.returncode, out, err)


def said_until(process: subprocess.Popen[str], words: str) -> str:
    """Wait until a command says so on standard error, and return all that it said until then."""
    assert process.stderr is not None
    said = ""
    while words not in said:
        line = process.stderr.readline()
        assert line, f"it ended: {said}"
        said += line
    return said


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + HANGS_SECONDS
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.threat("R1")
def test_a_server_that_is_killed_twice_and_comes_back_ends_no_upload_and_no_read(
    server: Server, home: tuple[str | Path, ...], tmp_path: Path
) -> None:
    table = write_table(tmp_path / "large.csv", ROWS)
    uploading, said = begun(*home, "upload", table, "--collection", "large"), ""
    for _ in range(2):
        before = server.served("PUT")
        wait_until(lambda before=before: server.served("PUT") > before + 3)  # type: ignore[misc]
        server.kill()
        said += said_until(uploading, "could not reach")
        server.start()
    done = ended(uploading)
    said += done.err
    assert done.ok()["records"] == ROWS
    assert "trying again for up to 10 minutes; Ctrl-C stops" in said
    assert "the server answers again, after" in said

    copy = tmp_path / "copy.csv"
    before = server.served("POST")
    reading = begun(*home, "read", "large", "--out", copy)
    wait_until(lambda: server.served("POST") > before or reading.poll() is not None)
    server.kill()
    server.start()
    assert ended(reading).ok()["records"] == ROWS
    assert copy.read_bytes() == table.read_bytes()


def test_who_stops_waiting_goes_on_with_the_same_command(
    server: Server, home: tuple[str | Path, ...], tmp_path: Path
) -> None:
    upload = ("upload", write_table(tmp_path / "large.csv", ROWS), "--collection", "large")
    waiting = begun(*home, *upload)
    wait_until(lambda: server.served("PUT") > 4)
    server.kill()
    assert "trying again for up to 10 minutes" in said_until(waiting, "could not reach")
    waiting.send_signal(signal.SIGINT)
    stopped = ended(waiting)
    assert stopped.code == 130
    assert stopped.err == "error: stopped\nhint: The same command goes on where it stopped.\n"
    gone = sealroom(*home, *upload)
    assert (gone.code, gone.document["error"]["code"]) == (5, "unreachable")

    server.start()
    before = server.served("PUT")
    impatient = begun(*home, "--wait", "0", *upload)
    wait_until(lambda: server.served("PUT") > before + 2)
    server.kill()
    assert ended(impatient).code == 5
    server.start()
    done = sealroom(*home, *upload).ok()
    assert done["records"] == ROWS
    assert done["resumed_batches"] > 0


# --- cables that are cut


@dataclass
class Proxy:
    """Passes bytes on between clients and a server, and cuts each connection after some of them."""

    target: int
    draw: random.Random
    most: int
    cuts: int = 0
    open: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self.target)
        left = [self.draw.randrange(2_000, self.most)]
        pumps = [self._pump(reader, there[1], left), self._pump(there[0], writer, left)]
        tasks = [asyncio.create_task(pump) for pump in pumps]
        _, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in (writer, there[1]):
            each.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int]
    ) -> None:
        while piece := await reader.read(1 << 14):
            left[0] -= len(piece)
            if left[0] < 0:
                self.cuts += 1
                return
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def cutting(port: int, most: int) -> AsyncIterator[tuple[int, Proxy]]:
    proxy = Proxy(port, random.Random(7), most)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], proxy
    finally:
        listening.close()


@pytest.mark.threat("R21")
async def test_a_connection_that_is_cut_all_the_time_ends_no_upload_update_or_read(
    tmp_path: Path,
) -> None:
    table, told = rows(30_000), list[Waiting]()

    async def soon(_: float) -> None:
        await asyncio.sleep(0.01)

    def connect(url: str, pin: bytes | None, signer: Signer) -> Transport:
        return Patient(HttpTransport(url, pin=pin, signer=signer), tell=told.append, sleep=soon)

    with cheap_keyrings():
        async with (
            subprocess_server(tmp_path / "server") as server,
            cutting(int(server.url.rpartition(":")[2]), 400_000) as (port, proxy),
        ):
            made = Home(tmp_path / "home", lambda: PASSPHRASE, connect=connect)
            # Nobody has answered yet, so the first words go straight to the server.
            vault = await made.create_vault(
                server.url, title="Lark", pin=server.pin, token=server.announced["token"]
            )
            async with vault:
                cut = connect(
                    f"https://127.0.0.1:{port}", server.pin,
                    Signer(vault.identity.request_key, vault.identity.member_id),
                )  # fmt: skip
                try:
                    with through(vault, cut):
                        await over_cut_cables(vault, table)
                finally:
                    await cut.close()
                assert proxy.cuts > 10
                assert (await vault.collection("c")).records == table.num_rows


async def over_cut_cables(vault: Vault, table: pa.Table) -> None:
    """Upload a table, turn one column of it around by an update, and read it."""
    options = in_batches_of(1_000)
    await vault.session.sync()
    assert (await vault.upload(table, collection="c", options=options)).records == table.num_rows
    around = table["orders"].take(pa.array(range(table.num_rows - 1, -1, -1)))
    new = table.set_column(1, "orders", around)
    await vault.upload(new, collection="c", replace_by="name", options=options)
    assert (await vault.read("c")).sort_by("name").equals(new.sort_by("name"))
