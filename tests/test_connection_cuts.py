"""A connection that is cut after any byte: the same command ends what it began, and does it once.

Bytes are of classes: the first and the last of what is sent at once, those beside, and those
within; a handshake, heads, bodies and answers are all among them. Every other time the server stays
out of reach until the command is said again. `make crash` cuts at each of those places.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from client import transport
from client.errors import Unreachable
from client.home import Home
from client.keeper import https_waiting
from client.patience import nobody
from client.vault import Vault
from tests.deals import cheap_keyrings, in_batches_of, rows
from tests.proxy import Proxy, Way, proxied
from tests.servers import running_server

TABLE = rows(9)
SLICE = 14
GENEROUS: dict[str, Any] = {
    "requests_per_second": 100_000,
    "request_burst": 100_000,
    "act_cost": 1,
    "acts_per_day": 1_000_000,
}


def places(edges: dict[Way, list[int]]) -> Iterator[tuple[Way, int]]:
    """Yield bytes of every class: beside each edge between what was sent at once, and halfway."""
    for way in Way:
        found, before = set(), 0
        for edge in edges[way]:
            found |= {before + 1, (before + edge) // 2, edge - 1, edge}
            before = edge
        yield from ((way, place) for place in sorted(found) if place > 0)


def chosen(all_of_them: list[tuple[Way, int]]) -> list[tuple[Way, int]]:
    """Return every place, or as many as the everyday run has time for, spread over the whole."""
    if os.environ.get("SEALROOM_EVERY_STEP"):
        return all_of_them
    return all_of_them[:: max(1, len(all_of_them) // SLICE)]


async def sent(home: Home, number: int) -> None:
    """Give one whole command: open the vault, and upload a table into it."""
    async with home.vault() as vault:
        name = f"table {number}"
        if all(each.name != name or not each.records for each in await vault.collections()):
            await vault.upload(TABLE, collection=name, options=in_batches_of(3))


async def kinds(vault: Vault) -> list[str]:
    return [entry.kind for entry in (await vault.log(verify=True)).entries]


async def cut_and_repeated(home: Home, proxy: Proxy, number: int, cut: tuple[Way, int]) -> bool:
    """Give a command while the connection is cut, and again if it failed; say whether it did."""
    proxy.begin(cut, stays=number % 2 == 0)
    try:
        await sent(home, number)
    except Unreachable:
        proxy.begin(None)
        await sent(home, number)
        return True
    return False


@pytest.mark.threat("R21")
async def test_a_command_that_is_cut_after_any_byte_is_done_once_by_saying_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "PAUSE_SECONDS", 0)
    with cheap_keyrings():
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(
                running_server(tmp_path / "server", **GENEROUS)
            )
            target = int(server.url.rpartition(":")[2])
            proxy, port = await stack.enter_async_context(proxied(target))
            at_once = https_waiting(0, nobody)  # else it would wait for the server by itself
            home = Home(tmp_path / "home", lambda: "a passphrase", connect=at_once)
            made = await home.create_vault(
                f"https://127.0.0.1:{port}", title="Lark", pin=server.pin,
                token=server.token.reveal(),
            )  # fmt: skip
            await made.close()
            proxy.begin(None)
            await sent(home, 0)
            cuts = chosen(list(places(proxy.edges)))
            failed = 0
            for number, cut in enumerate(cuts, start=1):
                failed += await cut_and_repeated(home, proxy, number, cut)
            async with home.vault() as vault:
                tables = [each.name or "" for each in await vault.collections()]
                assert sorted(tables) == sorted(f"table {n}" for n in range(len(cuts) + 1))
                for name in tables:
                    assert (await vault.read(name)).equals(TABLE)
                # one commit for the names of each, one for its records
                assert (await kinds(vault)).count("define-collection") == len(cuts) + 1
    # Some places lie after the last byte that a command needs.
    assert proxy.cuts > len(cuts) // 2
    assert failed > 0
    print(f"\nthe connection was cut after {proxy.cuts} bytes of every class; {failed} commands"
          " had to be said again, and each was done once")  # fmt: skip
