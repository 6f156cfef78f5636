"""While much is being sealed, its keys are looked at now and then, and no oftener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client import lookout
from client.lookout import KeysMoved, Lookout
from client.vault import Vault
from tests.deals import Breaking, a_vault, honest, through


@pytest.fixture
async def mine(tmp_path: Path) -> AsyncIterator[Vault]:
    async with a_vault(tmp_path) as (_, vault):
        yield vault


async def test_between_two_looks_the_server_is_not_asked(mine: Vault) -> None:
    looking = Lookout(mine.session, lambda: False)
    with through(mine, Breaking(honest(mine), 0)):
        await looking.look()


async def test_keys_that_are_good_are_looked_at_again_later(
    mine: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0)
    looking, counting = Lookout(mine.session, lambda: True), Breaking(honest(mine), 1_000)
    with through(mine, counting):
        await looking.look()
        once = counting.counter.calls
        await looking.look()
    assert counting.counter.calls == 2 * once > 0


@pytest.mark.threat("R11")
async def test_keys_that_are_good_no_more_stop_the_work(
    mine: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0)
    looking = Lookout(mine.session, lambda: False)
    with pytest.raises(KeysMoved):
        await looking.look()
