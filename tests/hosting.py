"""A server in a process of its own, with settings that the command lacks: to watch, to kill.

`python -m tests.hosting FOLDER SETTINGS` runs one until it is ended, and prints how to reach it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hangs import HANGS_SECONDS
from tests.servers import Asker, LiveVault, asking
from vault.app import running
from vault.config import Config
from vault.logs import configure_logging
from vault.tls import load_or_create_checkpoint_key

REPOSITORY = Path(__file__).resolve().parent.parent
MIB = 1 << 20


@dataclass
class Hosted:
    """A server's process, and how to reach it."""

    process: asyncio.subprocess.Process
    data_dir: Path
    url: str
    pin: bytes
    token: str
    log: Path

    def memory(self, what: str = "VmRSS") -> int:
        """Return how many bytes of memory it has; the most that it ever had with `VmHWM`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith(what + ":"))
        return int(line.split()[1]) * 1024

    def open_files(self) -> int:
        """Return how many files and connections it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def vault(self, asker: Asker) -> LiveVault:
        """Return a vault in memory, to be pushed to it."""
        key = load_or_create_checkpoint_key(self.data_dir)
        return LiveVault(server=key, asker=asker, token=self.token)

    def logged(self) -> list[dict[str, Any]]:
        """Return what it has logged so far."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    async def kill(self) -> None:
        """Kill it as a power cut would, and wait until it is gone."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def hosted(data_dir: Path, **settings: Any) -> AsyncIterator[Hosted]:
    """Run a server until the block ends, however that is."""
    log = data_dir.with_name(data_dir.name + ".log")
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.hosting", str(data_dir), json.dumps(settings)),
            stdout=asyncio.subprocess.PIPE,
            stderr=file,
            cwd=REPOSITORY,
        )
    try:
        assert process.stdout is not None
        said = json.loads(await asyncio.wait_for(process.stdout.readline(), HANGS_SECONDS))
        pin = bytes.fromhex(said["pin"])
        yield Hosted(process, data_dir, said["url"], pin, said["token"], log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def hosted_vault(data_dir: Path, **settings: Any) -> AsyncIterator[tuple[Hosted, LiveVault]]:
    """Run a server, and create a vault on it."""
    async with hosted(data_dir, **settings) as server, asking(server.url, server.pin) as asker:
        live = server.vault(asker)
        await live.push()
        yield server, live


async def _host(data_dir: Path, settings: dict[str, Any]) -> None:
    config = Config(data_dir=data_dir, **{"port": 0, "drain_seconds": 2, **settings})
    async with running(config) as server:
        told = {"url": server.url, "pin": server.pin.hex(), "token": server.token.reveal()}
        print(json.dumps(told), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    configure_logging()
    asyncio.run(_host(Path(sys.argv[1]), json.loads(sys.argv[2])))
