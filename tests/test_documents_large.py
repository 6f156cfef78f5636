"""A large document through the real command and server, interrupted both ways, in little memory.

By itself it is a small one; `make documents` sends one of some hundred megabytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from protocol.limits import MIB
from tests.real_commands import Server, command, environment, peak_bytes, running, sealroom

SIZE: Final = int(os.environ.get("SEALROOM_DOCUMENT_MIB", "40")) * MIB + 12_345
MOST: Final = 400 * MIB
"""Bytes of memory that a client or a server may have at any time, whatever the document's size."""

SECONDS: Final = 60 + SIZE / MIB
PIECE: Final = 4 * MIB


@dataclass(frozen=True)
class Ran:
    """How a command ended, what it printed, and how much memory it had at most."""

    code: int
    document: Any
    bytes: int
    seconds: float


def run(*arguments: str | Path, stop_when: Callable[[], bool] = lambda: False, folder: Path) -> Ran:
    """Run a command, and press Ctrl-C once the condition holds, if it still runs then."""
    started = time.monotonic()
    with (folder / "printed").open("w+") as out:
        process = subprocess.Popen(
            [command(), *map(str, arguments)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        told, most = False, 0
        while True:
            # Not by wait4: that counts the process of which it was forked, too.
            most = max(most, peak_bytes(process.pid))
            ended, status = os.waitpid(process.pid, os.WNOHANG)
            if ended:
                break
            if not told and stop_when():
                process.send_signal(signal.SIGINT)
                told = True
            assert time.monotonic() - started < SECONDS, "it does not end"
            time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        document = json.loads(out.read())
    return Ran(process.returncode, document, most, time.monotonic() - started)


def most_of(server: Server) -> int:
    """Return how many bytes of memory a server had at most."""
    return peak_bytes(server.process.pid)


def written(path: Path) -> str:
    """Write a file of the size, and return its SHA-256."""
    draw, whole, left = random.Random(7), hashlib.sha256(), SIZE
    with path.open("wb") as stream:
        while left:
            piece = draw.randbytes(min(PIECE, left))
            stream.write(piece)
            whole.update(piece)
            left -= len(piece)
    return whole.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unfinished(folder: Path) -> int:
    """Return how many bytes of an unfinished file are there."""
    return sum(path.stat().st_size for path in folder.glob(".sealroom-*.part"))


def test_a_large_document_goes_in_and_out_in_little_memory(tmp_path: Path) -> None:
    file, out = tmp_path / "recording.mp4", tmp_path / "out"
    out.mkdir()
    digest = written(file)
    home = ("--json", "--home", tmp_path / "home")
    with running(tmp_path) as server:
        sealroom(*home, "vault", "create", *server.create).ok()

        attach = (*home, "attach", file, "--class", "core")
        first = run(
            *attach,
            stop_when=lambda: server.log.read_text().count('"PUT"') > 2,
            folder=tmp_path,
        )
        # A machine that was busy elsewhere may have come too late to stop it.
        assert first.code in (130, 0), first
        second = run(*attach, folder=tmp_path)
        assert second.code == 0, second
        (attached,) = second.document["documents"]
        assert attached["document"]["sha256"] == digest
        assert attached["already"] is (first.code == 0)
        assert attached["already"] or attached["resumed_batches"] > 0

        get = (*home, "documents", "get", file.name, "--into", out)
        third = run(*get, stop_when=lambda: unfinished(out) > 0, folder=tmp_path)
        assert third.code in (130, 0), third
        if third.code == 130:
            kept = unfinished(out)
            assert not (out / file.name).exists()
            fourth = run(*get, folder=tmp_path)
            assert fourth.code == 0, fourth
            (got,) = fourth.document["documents"]
            assert 0 <= kept - got["resumed_bytes"] < 4 * MIB
        assert [path.name for path in out.iterdir()] == [file.name]
        assert sha256_of(out / file.name) == digest

        used = {"attaching": second.bytes, "getting": third.bytes, "serving": most_of(server)}
        print({name: f"{count // MIB} MiB" for name, count in used.items()})
        print({"attach": f"{second.seconds:.1f} s", "get": f"{third.seconds:.1f} s"})
        assert max(used.values()) < MOST
