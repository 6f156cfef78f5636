"""A way to a server that lets so many bytes through and then nothing, until it is opened again."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.hangs import HANGS_SECONDS


@dataclass
class Gate:
    """Counts what goes up and down; holds everything back once one of them is above its limit."""

    server: int
    port: int = 0
    passed: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    limits: dict[str, float] = field(default_factory=dict)
    closed: threading.Event = field(default_factory=threading.Event)
    _opened: threading.Condition = field(default_factory=threading.Condition)

    def hold_after(self, way: str, count: int) -> None:
        """Let so many more bytes through on one way, then nothing on either."""
        self.closed.clear()
        self.limits[way] = self.passed[way] + count

    def open(self) -> None:
        """Let everything through."""
        with self._opened:
            self.limits.clear()
            self._opened.notify_all()

    def _pump(self, way: str, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                with self._opened:
                    self.passed[way] += len(piece)
                    while any(self.passed[each] > most for each, most in self.limits.items()):
                        self.closed.set()
                        self._opened.wait()
                target.sendall(piece)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def accept(self, listening: socket.socket) -> None:
        """Take connections until the socket is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", self.server))
                for way, source, target in (("up", client, server), ("down", server, client)):
                    pump = threading.Thread(
                        target=self._pump, args=(way, source, target), daemon=True
                    )
                    pump.start()


@contextlib.contextmanager
def gate(server: int) -> Iterator[Gate]:
    """Open a way to a server's port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = Gate(server, listening.getsockname()[1])
        accepting = threading.Thread(target=made.accept, args=(listening,), daemon=True)
        accepting.start()
        try:
            yield made
        finally:
            made.open()
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join(HANGS_SECONDS)
