"""The command `serve` as a process: started, killed, started again, asked to stop."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from client.cli import main
from protocol import acts, api
from protocol.blocks import Manifest
from protocol.ledger import act_leaf
from protocol.wire import to_bytes
from tests.casts import Cast, staged_cast
from tests.hangs import HANGS_SECONDS
from tests.heads import bodies_begun
from tests.servers import (
    Answer,
    Asker,
    LiveVault,
    asking,
    blocks_in,
    head_of,
    live_vault,
    raw,
    start_process,
    subprocess_server,
)
from vault import app, cli
from vault.app import running
from vault.cli import serve
from vault.config import Config, InvalidConfig
from vault.listener import ListenFailed
from vault.storage.base import StorageFailed
from vault.storage.sqlite_file import FILE_NAME
from vault.tls import TOKEN_FILE, load_or_create_checkpoint_key


def vault_at(data_dir: Path, asker: Asker, token: str) -> LiveVault:
    return LiveVault(server=load_or_create_checkpoint_key(data_dir), asker=asker, token=token)


# --- what it says


async def test_it_says_where_it_is_and_shows_the_token_once(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with subprocess_server(data_dir) as first:
        assert re.fullmatch(r"https://127\.0\.0\.1:[0-9]+", first.url)
        assert first.announced["ready"] is True
        token = first.announced["token"]
        assert Path(first.announced["token_file"]).read_text().strip() == token
        async with asking(first.url, first.pin) as asker:
            assert (await asker.ask(None, "GET", api.HEALTH)).status == 200
        code, log = await first.stop()
    assert code == 0
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert (events[0], events[-1]) == ("storage_opened", "server_stopped")
    assert token not in log
    for path in data_dir.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    async with subprocess_server(data_dir, "--open") as second:
        assert second.pin == first.pin
        assert second.announced["token"] is second.announced["token_file"] is None
        code, log = await second.stop(signal.SIGHUP)  # the terminal went away
    assert code == 0
    assert json.loads(log.splitlines()[-1])["event"] == "server_stopped"


async def test_it_says_what_keeps_it_from_starting(tmp_path: Path) -> None:
    async with subprocess_server(tmp_path / "one") as running_one:
        port = running_one.url.rpartition(":")[2]
        one, two, three, four = (tmp_path / name for name in ("one", "two", "three", "four"))
        free, taken, absent = "127.0.0.1:0", f"127.0.0.1:{port}", "no.such.host.invalid:0"
        cases = (
            (two, taken, "listen_failed", "cannot listen on", "--listen"),
            (one, free, "storage_in_use", "another server works on this", "another"),
            (three, "127.0.0.1", "invalid_config", "is not HOST:PORT", "127.0.0.1:8443"),
            (four, absent, "listen_failed", "cannot listen on", "Choose another"),
            (one / TOKEN_FILE / "x", free, "storage_failed", f"{TOKEN_FILE}/x: Not a dir", "disk"),
        )
        for data_dir, listen, code, error, hint in cases:
            process = await start_process(data_dir, listen=listen)
            out, err = await asyncio.wait_for(process.communicate(), HANGS_SECONDS)
            said = err.decode().splitlines()
            assert process.returncode == 1
            told = json.loads(out)["error"]
            assert said[-2:] == [f"error: {told['message']}", f"hint: {told['hint']}"]
            assert told["code"] == code
            assert said[-2].startswith("error: "), said
            assert error in said[-2]
            assert said[-1].startswith("hint: ")
            assert hint in said[-1]


# --- killed


@pytest.mark.threat("R1")
async def test_what_was_acknowledged_survives_being_killed(tmp_path: Path) -> None:
    """Three times: acts, uploads and commits under way, kill -9, start again, look."""
    async with subprocess_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        live = vault_at(tmp_path, asker, server.announced["token"])
        cast = await staged_cast(live)
        await server.kill()
    kept = Kept(live, cast)
    for round_ in range(3):
        async with subprocess_server(tmp_path) as server, asking(server.url, server.pin) as asker:
            live.asker = asker
            await kept.check()
            work = [asyncio.create_task(each()) for each in (kept.commit, kept.stage, kept.stage)]
            await kept.grown(work)
            await asyncio.sleep(0.1 * round_)  # into what comes next
            await server.kill()
            failed = await asyncio.gather(*work, return_exceptions=True)
            assert all(isinstance(error, aiohttp.ClientError) for error in failed), failed
    async with subprocess_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        live.asker = asker
        await kept.check()


async def patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask again, as often as the server says that this was too often."""
    while (answer := await ask()).status == 429:
        await asyncio.sleep(int(answer.headers["Retry-After"]))
    return answer


@dataclass
class Kept:
    """What a server acknowledged, and must have after whatever happened to it."""

    live: LiveVault
    cast: Cast
    upload: bytes = b"\x55" * 16
    acts: dict[int, bytes] = field(default_factory=dict)
    committed: list[Manifest] = field(default_factory=list)
    staged: set[bytes] = field(default_factory=set)

    async def grown(self, work: Sequence[asyncio.Task[None]], by: int = 3) -> None:
        """Wait until so many more were committed, and so many more uploaded."""
        committed, staged = len(self.committed) + by, len(self.staged) + by
        while len(self.committed) < committed or len(self.staged) < staged:
            assert not [each for each in work if each.done()]
            await asyncio.sleep(0.01)

    async def stage(self) -> None:
        """Upload for ever."""
        while True:
            manifest = self.live.records(self.cast.collection)
            staging = partial(self.live.stage, self.cast["admin"], self.upload, manifest)
            answer = await patiently(staging)
            self.staged.update(answer.read(api.Staged).batches)

    async def commit(self) -> None:
        """Upload and commit for ever, a batch at a time."""
        live, owner = self.live, self.live.owner
        while True:
            upload, manifest = os.urandom(16), live.records(self.cast.collection)
            staging = partial(live.stage, owner, upload, manifest)
            (await patiently(staging)).read(api.Staged)
            payload = acts.Commit(upload, self.cast.collection, 0, True, (manifest,))
            leaf = act_leaf(live.signed(owner, live.draft(owner, payload)))
            submitting = partial(live.submit, owner, leaf)
            index = (await patiently(submitting)).read(api.Submitted).index
            self.acts[index] = leaf
            self.committed.append(manifest)
            live.land_leaf(leaf, ())

    async def check(self) -> None:
        """Look for all of it; acts that were stored and not acknowledged are taken note of."""
        live = self.live
        live.pushed = live.ledger.size
        await live.pull()
        page = (await live.get(live.owner, live.at(api.LOG) + "?from=0")).read(api.LogPage)
        assert live.checkpoint(page.checkpoint).root == live.ledger.tree.root()
        for index, leaf in self.acts.items():
            assert page.leaves[index].leaf == leaf
        path = live.at(api.UPLOAD, upload=self.upload)
        listed = (await live.get(self.cast["admin"], path)).read(api.Staged).batches
        assert self.staged <= set(listed)
        for manifest in self.committed:
            served = await live.fetch(live.owner, self.cast.collection, (manifest.batch_id, (0, 1)))
            assert tuple(blocks_in(served.body)) == live.blocks[manifest.batch_id]
        await live.pull()


# --- asked to stop


async def first_answer(reader: asyncio.StreamReader) -> bytes:
    """Read one answer off a connection, and return its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    (length,) = re.findall(rb"(?i)^content-length: ([0-9]+)\r$", head, re.MULTILINE)
    return await reader.readexactly(int(length))


async def nobody_listens(port: int) -> None:
    """Wait until a new connection is refused."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.transport.abort()
        await asyncio.sleep(0.01)


async def begun(live: LiveVault) -> tuple[bytes, bytes]:
    """Return the head and the body of a request that takes an act."""
    assert live.asker is not None
    leaf = act_leaf(live.signed(live.owner, live.draft(live.owner, acts.Noop())))
    body = to_bytes(api.SubmitAct(leaf[1:], ()))
    return head_of(live.asker.url, live.owner, "POST", live.at(api.ACTS), body), body


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_finishes_what_it_began_before_it_stops(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with subprocess_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        live = vault_at(tmp_path, asker, server.announced["token"])
        await live.push()
        head, body = await begun(live)
        async with raw(server.url, server.pin) as (reader, writer):
            # The request comes along with another: once that is answered, it is under way.
            other = f"GET {api.SERVER} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            writer.write(other + head + body[:9])
            await first_answer(reader)
            server.process.send_signal(number)
            await nobody_listens(int(server.url.rpartition(":")[2]))
            assert server.process.returncode is None
            writer.write(body[9:])
            await first_answer(reader)
        assert await asyncio.wait_for(server.process.wait(), HANGS_SECONDS) == 0
    assert not (tmp_path / f"{FILE_NAME}-wal").exists()
    async with subprocess_server(tmp_path) as server, asking(server.url, server.pin) as asker:
        live.asker = asker
        page = (await live.get(live.owner, live.at(api.LOG) + "?from=0")).read(api.LogPage)
        assert len(page.leaves) == 2


async def test_a_request_that_does_not_end_is_cut_off_in_the_end(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    patience: dict[str, Any] = {"body_grace_seconds": 30, "drain_seconds": 1}
    async with AsyncExitStack() as clients:
        async with live_vault(tmp_path, **patience) as (server, live):
            head, body = await begun(live)
            _, writer = await clients.enter_async_context(raw(server.url, server.pin))
            with bodies_begun() as reading:
                writer.write(head + body[:9])
                await reading.wait()
            started = loop.time()
        assert 0.5 < loop.time() - started < patience["body_grace_seconds"]


# --- in this process


def test_options_become_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Config, bool]] = []

    async def noted(config: Config, *, as_json: bool) -> None:
        seen.append((config, as_json))

    monkeypatch.setattr(cli, "_serve", noted)
    monkeypatch.setattr(os, "umask", lambda mask: None)
    monkeypatch.setattr(resource, "setrlimit", lambda *values: None)
    monkeypatch.setattr(cli, "configure_logging", lambda: None)
    limits = tmp_path / "limits.toml"
    limits.write_text("acts_per_day = 12\nloaded_vaults = 3\n")
    options = ["--listen", "[::1]:9", "--data", "d", "--name", "vault.example:443", "--open"]
    options += ["--limits", str(limits)]
    for root, as_json in (
        (None, False),
        ({"json": True}, True),
        ({}, False),
        (SimpleNamespace(json=True), True),
    ):
        result = CliRunner().invoke(serve, options, obj=root)
        assert result.exit_code == 0, result.output
        assert seen[-1][1] is as_json
    config = seen[-1][0]
    assert (config.host, config.port, config.data_dir) == ("::1", 9, Path("d"))
    assert config.authorities == ("vault.example",)
    assert config.hosts == ("localhost", "127.0.0.1", "vault.example")
    assert config.open is True
    assert (config.acts_per_day, config.loaded_vaults, config.act_cost) == (12, 3, 5)
    failed = False

    async def failing(config: Config, *, as_json: bool) -> None:
        nonlocal failed
        failed = True
        if as_json:
            raise PermissionError(13, "Permission denied")
        raise StorageFailed("no hint")

    monkeypatch.setattr(cli, "_serve", failing)
    denied = CliRunner().invoke(serve, options, obj={"json": True})
    assert (denied.exit_code, failed) == (1, True)
    message, hint = "d: Permission denied", cli.ANOTHER_DIRECTORY
    told = {"code": "invalid_config", "message": message, "hint": hint}
    assert denied.stdout == json.dumps({"error": told}) + "\n"
    assert denied.stderr == f"error: {message}\nhint: {hint}\n"
    unhinted = CliRunner().invoke(serve, options)
    assert (unhinted.exit_code, unhinted.output) == (1, "error: no hint\n")
    both = CliRunner().invoke(serve, ["--tls-cert", "a"])
    assert both.exit_code == 1
    assert "error: a certificate needs its key" in both.output


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "https://127.0.0.1:9"),
        ({"host": "0.0.0.0"}, "https://localhost:9"),
        ({"host": "::"}, "https://localhost:9"),
        ({"authorities": ("a.example:8443", "b.example")}, "https://a.example:8443"),
        ({"host": "0.0.0.0", "authorities": ("b.example",)}, "https://b.example"),
    ],
)
def test_the_address_that_is_shown_is_one_that_is_answered(
    settings: dict[str, Any], url: str
) -> None:
    config = Config(data_dir=Path("d"), **settings)
    assert cli.reached_at(config, f"https://{config.host}:9") == url


def test_a_process_that_may_open_too_little_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, made = [(64, 200)], []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: made.append(pair))
    with pytest.raises(InvalidConfig, match="1,024 connections need 1,152 open files") as refused:
        cli.expect_handles(1_024)
    assert "LimitNOFILE" in str(refused.value.hint)
    assert not made
    for limits[0] in ((64, 4_096), (64, resource.RLIM_INFINITY)):
        cli.expect_handles(1_024)
        assert made.pop() == (1_152, limits[0][1])
    limits[0] = (2_000, 2_000)
    cli.expect_handles(1_024)
    assert not made


@pytest.mark.parametrize("as_json", [False, True])
def test_below_the_root_command_errors_are_the_roots_to_tell(
    as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(os, "umask", lambda mask: None)
    monkeypatch.setattr(resource, "setrlimit", lambda *values: None)
    monkeypatch.setattr(cli, "configure_logging", lambda: None)
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    root = ("--json",) if as_json else ()
    for options, code, message in (
        (("--listen", "nowhere"), "invalid_config", "nowhere is not HOST:PORT"),
        (("--data", str(in_the_way / "below")), "storage_failed", "below: Not a directory"),
    ):
        assert main.run([*root, "serve", *options]) == 1
        out, err = capsys.readouterr()
        assert err.startswith("error: ")
        assert err.count("error: ") == 1
        assert message in err
        assert "hint: " in err
        if not as_json:
            assert out == ""
            continue
        told = json.loads(out)["error"]
        assert (told["code"], message in told["message"]) == (code, True)


async def test_people_are_shown_what_they_need(tmp_path: Path) -> None:
    for is_open in (False, True):
        config = Config(data_dir=tmp_path / str(is_open), port=0, open=is_open)
        async with running(config) as server:
            shown = cli._announcement(config, server, as_json=False)
            assert server.url in shown
            assert server.pin.hex() in shown
            assert (server.token.reveal() in shown) is not is_open
            assert shown.endswith("ready")
        async with running(config) as again:
            shown = cli._announcement(config, again, as_json=False)
            assert again.token.reveal() not in shown
            assert ("create.token" in shown) is not is_open


async def test_it_listens_where_it_is_told(tmp_path: Path) -> None:
    async with running(Config(data_dir=tmp_path, host="::1", port=0)) as server:
        assert server.url.startswith("https://[::1]:")
    assert app._url("vault.example", 443) == "https://vault.example"
    with pytest.raises(ListenFailed):
        async with running(Config(data_dir=tmp_path, host="203.0.113.1", port=0)):
            pass
    # whatever went wrong, the directory is free again
    async with running(Config(data_dir=tmp_path, port=0)):
        pass
