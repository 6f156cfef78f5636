"""`python -m tests.waits`: whether a stranger's wait tells what is there, measured and printed.

Three requests by somebody who is nobody, in an order that is drawn anew for each round: to a vault
that is not there, to one that is, and to that one under a member's id with a signature of one's
own. Welch's t compares each with the first; above 4.5 in absolute value a difference is taken for
one. It is printed, and nothing is made to pass or fail by it: a busy machine tells tales.
"""

from __future__ import annotations

import asyncio
import logging
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from client.crypto.identity import Identity
from protocol import api
from tests.casts import staged_cast
from tests.servers import LiveVault, live_vault

ROUNDS = 3_000
ABSENT, STRANGER, FORGER = "no such vault", "not a member", "a member's id, another's signature"


async def measure(rounds: int, seed: int = 1) -> dict[str, list[float]]:
    """Return the waits for each kind of request, in seconds."""
    with tempfile.TemporaryDirectory() as directory:
        async with live_vault(Path(directory), request_burst=10**6) as (_, live):
            cast = await staged_cast(live)
            absent = LiveVault(server=live.server, asker=live.asker)
            nobody = Identity.generate()
            forger = (Identity.generate().request_key, cast["bidder"].member_id)
            asked = {ABSENT: (absent, nobody), STRANGER: (live, nobody), FORGER: (live, forger)}
            waits: dict[str, list[float]] = {each: [] for each in asked}
            order, drawn = list(asked), random.Random(seed)
            for _ in range(rounds):
                drawn.shuffle(order)
                for kind in order:
                    vault, signer = asked[kind]
                    path = vault.at(api.LOG) + "?from=0"
                    started = time.perf_counter()
                    answer = await live.ask(signer, "GET", path)
                    waits[kind].append(time.perf_counter() - started)
                    assert answer.status == 404
            return waits


def welch(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Welch's t of two samples."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return float((statistics.mean(one) - statistics.mean(other)) / spread**0.5)


def lines(waits: Mapping[str, Sequence[float]]) -> list[str]:
    """Return a line for each kind: mean and median in milliseconds, and t against the first."""
    return [
        f"{kind}: mean {1e3 * statistics.mean(found):.3f} ms, median "
        f"{1e3 * statistics.median(found):.3f} ms, t {welch(found, waits[ABSENT]):+.2f}, "
        f"of {len(found):,}"
        for kind, found in waits.items()
    ]


if __name__ == "__main__":
    logging.disable()  # a line for each refusal
    rounds = int(sys.argv[1]) if sys.argv[1:] else ROUNDS
    sys.stdout.write("\n".join(lines(asyncio.run(measure(rounds)))) + "\n")
