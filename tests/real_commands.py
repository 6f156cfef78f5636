"""The real command line, as it was installed, and a real server: each in a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from client.cli import main
from tests.hangs import HANGS_SECONDS

PASSPHRASE = "correct horse battery staple"
ROWS = 50
CLASSES = ("--class", "id=general", "--class", "country=general", "--class", "iban=core")


def command() -> str:
    """Return the command as it was installed; without it there is nothing real to test."""
    path = Path(sys.executable).with_name("sealroom")
    assert path.exists(), "the project is not installed in this environment: run 'make setup'"
    return str(path)


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SEALROOM_")}
    return kept | {"SEALROOM_PASSPHRASE": PASSPHRASE} | more


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    def ok(self) -> Any:
        """Return the JSON document of a command that did what it should."""
        assert self.code == 0, self
        return self.document


def heeding_ctrl_c() -> None:
    """Let a process heed Ctrl-C: whoever runs these tests in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def sealroom(*arguments: str | Path, **env: str) -> Ended:
    done = subprocess.run(
        [command(), *map(str, arguments)],
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANGS_SECONDS,
        start_new_session=True,  # no terminal to ask at
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def quickly(*arguments: str | Path, **env: str) -> Ended:
    """Run a command line in this process: the same without the start of an interpreter."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment(**env)).items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.run([str(each) for each in arguments])
    return Ended(code, out.getvalue(), err.getvalue())


@dataclass
class Server:
    """`sealroom serve`, running; its log is a file."""

    process: subprocess.Popen[str]
    log: Path
    announced: dict[str, Any]

    @property
    def create(self) -> tuple[str, ...]:
        """The arguments of `vault create` that fit this server."""
        return (self.address, "--pin", self.announced["pin"], "--token", self.announced["token"])

    @property
    def address(self) -> str:
        return str(self.announced["url"].removeprefix("https://"))

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(HANGS_SECONDS)


def serve(directory: Path) -> Server:
    log = directory / "serve.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [command(), "--json", "serve", "--listen", "127.0.0.1:0", "--data", directory / "data"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    return Server(process, log, json.loads(process.stdout.readline()))


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Server]:
    server = serve(directory)
    try:
        yield server
    finally:
        server.process.send_signal(signal.SIGCONT)
        if server.process.poll() is None:
            server.stop()
        assert server.process.stdout is not None
        server.process.stdout.close()


def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server to all tests of a module; a fixture."""
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


def write_table(path: Path, rows: int = ROWS) -> Path:
    lines = [f"{i},Person {i},DE{i:020},{'DE' if i % 2 else 'FR'}" for i in range(rows)]
    path.write_text("\n".join(["id,name,iban,country", *lines, ""]))
    return path


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had so far; nothing once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    lines = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return next((int(line.split()[1]) * 1_024 for line in lines), 0)
