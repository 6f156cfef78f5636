"""Clocks that jump, either way: nothing is lost, what is refused says why, and it goes on after."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.vault import Vault
from protocol.errors import Stale
from tests.deals import cheap_keyrings, in_batches_of, rows
from tests.in_process import URL, lab

HOUR, DAY = 3_600, 86_400
TABLE = rows(6)


@dataclass
class Clock:
    """A machine's clock, which somebody may set."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@asynccontextmanager
async def a_vault_by(directory: Path, server: Clock, mine: Clock) -> AsyncIterator[Vault]:
    """Give a vault on a server of one clock, in a home of another."""
    with cheap_keyrings():
        async with lab(directory, server) as made:
            home = made.home("seller", clock=mine)
            async with await home.create_vault(URL, title="Lark", token=made.token) as vault:
                yield vault


async def sent(vault: Vault, name: str) -> None:
    await vault.upload(TABLE, collection=name, options=in_batches_of(3))
    assert (await vault.read(name)).equals(TABLE)


@pytest.mark.threat("R20")
@pytest.mark.parametrize("jump", [-2 * DAY, -HOUR, HOUR, 2 * DAY])
async def test_clocks_that_are_set_together_and_back_stop_nobody_for_long(
    tmp_path: Path, jump: int
) -> None:
    """As when a machine that has both wakes with a wrong clock, and is set right."""
    clock = Clock()
    async with a_vault_by(tmp_path, clock, clock) as vault:
        await sent(vault, "before")
        for number, ahead in enumerate((jump, 0)):
            clock.ahead = ahead
            await sent(vault, f"after {number}")
        for name in ("before", "after 0", "after 1"):
            assert (await vault.read(name)).equals(TABLE)
        # Nor is a server whose clock was wrong told to have made up what it observed.
        assert (await vault.log()).false_observations == ()
        await vault.log(verify=True)


@pytest.mark.threat("R20")
@pytest.mark.parametrize("jump", [-2 * DAY, -HOUR, HOUR, 2 * DAY])
@pytest.mark.parametrize("whose", ["the server's", "the client's"])
async def test_one_clock_that_is_wrong_is_told_of_and_nothing_moves_until_it_is_right(
    tmp_path: Path, jump: int, whose: str
) -> None:
    server, mine = Clock(), Clock()
    async with a_vault_by(tmp_path, server, mine) as vault:
        await sent(vault, "before")
        pin = vault.session.believed.pin
        wrong = server if whose == "the server's" else mine
        wrong.ahead = jump
        with pytest.raises(Stale, match="seconds old") as told:
            await sent(vault, "meanwhile")
        assert told.value.hint is not None
        assert "clock" in told.value.hint
        assert vault.session.believed.pin == pin
        wrong.ahead = 0
        await sent(vault, "meanwhile")
        assert (await vault.read("before")).equals(TABLE)
