"""The bare disk and the bare loopback: what nothing that stores or sends so many bytes beats."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

PIECE_BYTES: Final = 1 << 20
MOST_BYTES: Final = 64 << 20
"""More than this is not moved: what a byte costs is then known."""

_SEND: Final = """
import socket, sys
port, size, piece = map(int, sys.argv[1:])
with socket.create_connection(("127.0.0.1", port)) as line:
    content = bytes(piece)
    while size > 0:
        line.sendall(content[:size])
        size -= piece
"""


@dataclass(frozen=True, slots=True)
class Bare:
    """Seconds to put so many bytes on the disk to stay, and to bring them from another process."""

    disk: float
    loopback: float

    @classmethod
    def of(cls, directory: Path, size: int) -> Self:
        """Measure both; what is more than `MOST_BYTES` is scaled up."""
        moved = min(size, MOST_BYTES)
        scale = size / moved
        return cls(disk_seconds(directory / "bare", moved) * scale, loopback_seconds(moved) * scale)


def disk_seconds(path: Path, size: int) -> float:
    """Return what writing a file takes, in pieces of a mebibyte and with one sync at the end."""
    content = secrets.token_bytes(PIECE_BYTES)
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for at in range(0, size, PIECE_BYTES):
            file.write(content[: size - at])
        os.fsync(file.fileno())
    taken = time.perf_counter() - start
    path.unlink()
    return taken


def loopback_seconds(size: int) -> float:
    """Return what receiving takes, over TCP and without TLS, from the first byte to the last.

    Raises:
        RuntimeError: the sender ended early.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-c", _SEND, str(port), str(size), str(PIECE_BYTES)]
        with subprocess.Popen(command) as sender:
            line, _ = listener.accept()
            with line:
                taken = _received_in(line, size)
            sender.wait()
    return taken


def _received_in(line: socket.socket, size: int) -> float:
    buffer = bytearray(PIECE_BYTES)
    received = line.recv_into(buffer)
    start = time.perf_counter()
    while received < size:
        more = line.recv_into(buffer)
        if not more:
            raise RuntimeError(f"the sender ended after {received:,} of {size:,} bytes")
        received += more
    return time.perf_counter() - start
