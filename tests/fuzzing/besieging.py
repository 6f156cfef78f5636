"""Hostile requests without end: `python -m tests.fuzzing.besieging` (`make fuzz`)."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import click

from protocol.limits import MIB
from tests.casts import staged_cast
from tests.fuzzing.requests import Target, Told, ask_hostile, say_hostile
from tests.hosting import Hosted, hosted_vault

AT_ONCE: Final = 6
A_ROUND: Final = (2_000, 300)
"""So many signed requests and raw connections between two looks at the clock."""
GENEROUS: Final = {
    "requests_per_second": 100_000,
    "request_burst": 100_000,
    "act_cost": 1,
    "acts_per_day": 1_000_000,
}
"""What keeps members from asking too often would keep most of this out."""


@click.command()
@click.option("--seconds", default=120, show_default=True)
@click.option("--seed", type=int, help="Where to begin; without it, somewhere new.")
def main(seconds: int, seed: int | None) -> None:
    """Besiege a server of its own; print what it answered, and exit with 1 where that is wrong."""
    chosen = int(time.time()) if seed is None else seed
    click.echo(f"seed {chosen}")
    told = asyncio.run(_besiege(seconds, chosen))
    for what in told.wrong[:20]:
        click.echo(f"  wrong: {what}")
    sys.exit(1 if told.wrong else 0)


async def _besiege(seconds: int, seed: int) -> Told:
    draw, told = random.Random(seed), Told()
    with tempfile.TemporaryDirectory() as directory:
        async with besieged(Path(directory, "server")) as (server, target):
            before, until = server.memory("VmHWM"), time.monotonic() + seconds
            while time.monotonic() < until and not told.wrong:
                told.add(await storm(server, target, draw.getrandbits(64), *A_ROUND))
            click.echo(
                f"{told.requests:,} hostile requests: {dict(sorted(told.statuses.items()))},"
                f" {told.dropped:,} dropped, the slowest {told.slowest:.2f} s, peak memory grew by"
                f" {(server.memory('VmHWM') - before) / MIB:.1f} MiB"
            )
            bugs = [line for line in server.logged() if line["event"] == "internal_error"]
            told.wrong += [str(line) for line in bugs[:5]]
    return told


@asynccontextmanager
async def besieged(directory: Path) -> AsyncIterator[tuple[Hosted, Target]]:
    """Run a server with two vaults: one for whoever signs, and one that they know nothing of."""
    async with hosted_vault(directory, **GENEROUS) as (server, live):
        assert live.asker is not None
        other = server.vault(live.asker)
        await other.push()
        cast = await staged_cast(live)
        signers = tuple(cast[name] for name in ("owner", "bidder", "revoked", "invite", "stranger"))
        yield server, Target(live, other.vault_id, (*signers, None))


async def storm(server: Hosted, target: Target, seed: int, signed: int, raw: int) -> Told:
    """Send so many of each, a few at once."""
    told, draw = Told(), random.Random(seed)
    places = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int, *, signs: bool) -> None:
        async with places:
            own = random.Random(seed)
            if signs:
                await ask_hostile(target, own, told)
            else:
                await say_hostile(server.url, server.pin, own, told)

    asked = [one(draw.getrandbits(64), signs=True) for _ in range(signed)]
    said = [one(draw.getrandbits(64), signs=False) for _ in range(raw)]
    await asyncio.gather(*asked, *said)
    return told


if __name__ == "__main__":
    main()
