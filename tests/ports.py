"""A port of the loopback to come back to, which nobody is given in the meantime."""

from __future__ import annotations

import os
import socket
from itertools import count
from typing import Final

FIRST: Final = 10_000
COUNT: Final = 20_000
"""All below those that the system gives to whoever asks for any, which begin at 32,768."""
_next = count(os.getpid() * 64)  # other processes of tests begin elsewhere


def own_port() -> int:
    """Return a port that is free, and stays so while nothing listens there."""
    while True:
        port = FIRST + next(_next) % COUNT
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
