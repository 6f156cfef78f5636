"""A vault whose server has another address, or another TLS key (SPEC section 13.3)."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from client import blocking, doctor
from client.cli import main
from client.errors import InputError, Refused
from client.home import Home
from client.keyring import Keyring, VaultEntry
from client.results.vaults import VaultInfo
from protocol.acts import Reason, Role
from protocol.errors import Fork, PinMismatch, Rollback, SealroomError
from tests.deals import cheap_keyrings
from tests.in_process import PASSPHRASE
from tests.servers import running_server
from vault.app import RunningServer
from vault.tls import TLS_FILE


@pytest.fixture(autouse=True)
def _cheap() -> Iterator[None]:
    with cheap_keyrings():
        yield


def home(folder: Path, name: str) -> Home:
    return Home(folder / name, lambda: PASSPHRASE)


def entry_of(folder: Path, name: str) -> VaultEntry:
    (entry,) = home(folder, name).keyring.vaults
    return entry


@asynccontextmanager
async def begun(folder: Path) -> AsyncIterator[RunningServer]:
    """Run a server that has a vault of an owner and one bidder."""
    async with running_server(folder / "server") as server:
        async with await home(folder, "owner").create_vault(
            server.url, title="Lark", pin=server.pin, token=server.token.reveal()
        ) as vault:
            invited = await vault.invite(Role.BIDDER, name="Bo")
        joined, _ = await home(folder, "Bo").join(invited.link)
        await joined.close()
        yield server


async def test_a_server_with_another_address_and_another_tls_key_is_followed(
    tmp_path: Path,
) -> None:
    async with begun(tmp_path) as before:
        pass
    (tmp_path / "server" / TLS_FILE).unlink()
    async with running_server(tmp_path / "server", new_tls_key=True) as now:
        assert now.pin != before.pin
        for name in ("owner", "Bo"):
            told = await home(tmp_path, name).move_vault(now.url + "/", pin=now.pin)
            assert (told.server, told.pin) == (now.url, now.pin.hex())
            async with home(tmp_path, name).vault() as vault:
                assert (await vault.status()).leaves >= 3
        async with home(tmp_path, "owner").vault("Lark") as vault:
            invited = await vault.invite(Role.BIDDER, name="Cy")
        joined, _ = await home(tmp_path, "Cy").join(invited.link)
        await joined.close()
        assert entry_of(tmp_path, "Cy").server == now.url


async def an_older_copy(folder: Path) -> Path:
    """Make a data directory that has less of the log than the owner knows."""
    async with begun(folder):
        pass
    shutil.copytree(folder / "server", folder / "older")
    async with running_server(folder / "server") as server:
        await home(folder, "owner").move_vault(server.url, pin=server.pin)
        async with home(folder, "owner").vault() as vault:
            await vault.heartbeat()
    return folder / "older"


async def another_history(folder: Path) -> Path:
    """Make one whose log goes on otherwise than the owner knows."""
    older = await an_older_copy(folder)
    shutil.copytree(folder / "owner", folder / "twin")
    shutil.rmtree(folder / "twin" / "vaults")
    async with running_server(older) as server:
        await home(folder, "twin").move_vault(server.url, pin=server.pin)
        async with home(folder, "twin").vault() as vault:
            await vault.revoke("Bo", Reason.LEFT)
            await vault.heartbeat()
    return older


async def a_stranger(folder: Path) -> Path:
    """Name a directory in which a server begins with nothing."""
    async with begun(folder):
        pass
    return folder / "stranger"


WRONG: dict[str, tuple[Any, type[SealroomError]]] = {
    "less of the log": (an_older_copy, Rollback),
    "another history": (another_history, Fork),
    "no such vault": (a_stranger, Refused),
}


@pytest.mark.parametrize("what", WRONG)
async def test_nobody_is_followed_who_has_not_the_log(tmp_path: Path, what: str) -> None:
    make, error = WRONG[what]
    there = await make(tmp_path)
    known = entry_of(tmp_path, "owner")
    async with running_server(there) as server:
        with pytest.raises(error):
            await home(tmp_path, "owner").move_vault(server.url, pin=server.pin)
    assert entry_of(tmp_path, "owner") == known
    # With the server that it has, all goes on.
    async with running_server(tmp_path / "server") as server:
        await home(tmp_path, "owner").move_vault(server.url, pin=server.pin)
        async with home(tmp_path, "owner").vault() as vault:
            await vault.heartbeat()


FOUND = {
    "less of the log": "ROLLED BACK: the server shows ",
    "another history": "ANOTHER HISTORY: the server shows ",
    "no such vault": "its server has no such vault for this identity's key",
}


@pytest.mark.parametrize("what", WRONG)
async def test_the_doctor_says_what_is_wrong_with_a_server_that_has_not_the_log(
    tmp_path: Path, what: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALROOM_PASSPHRASE", PASSPHRASE)
    monkeypatch.setattr(doctor, "engine_speeds", lambda: ())
    false = await WRONG[what][0](tmp_path)
    examined = ["--home", str(tmp_path / "owner"), "doctor"]
    for data, code in ((false, 1), (tmp_path / "server", 0)):
        async with running_server(data) as server:
            known = entry_of(tmp_path, "owner")
            vault_id, there = known.vault_id, replace(known, server=server.url, tls_pin=server.pin)
            home(tmp_path, "owner")._edit(partial(Keyring.with_vault, entry=there))
            assert await asyncio.to_thread(main.run, examined) == code
        out = capsys.readouterr().out
        assert f"ok: server {server.url}: answers, with the pinned key\n" in out
        told = FOUND[what] if code else "its server goes on with the log that this home knows"
        assert f"{'problem' if code else 'ok'}: vault {vault_id.hex()[:16]}: {told}" in out


async def test_another_tls_key_than_the_one_that_was_told_is_not_followed(tmp_path: Path) -> None:
    async with begun(tmp_path) as server:
        known = entry_of(tmp_path, "owner")
        with pytest.raises(PinMismatch):
            await home(tmp_path, "owner").move_vault(server.url, pin=bytes(32))
        with pytest.raises(InputError, match="no such vault"):
            await home(tmp_path, "owner").move_vault(server.url, pin=server.pin, vault="Nightjar")
        assert entry_of(tmp_path, "owner") == known


async def test_who_has_not_joined_yet_joins_anew(tmp_path: Path) -> None:
    async with begun(tmp_path) as server:
        async with home(tmp_path, "owner").vault() as vault:
            invited = await vault.invite(Role.BIDDER, name="Cy")
        cy = home(tmp_path, "Cy")
        with pytest.MonkeyPatch.context() as patch:

            async def cut_off(*_: object) -> None:
                raise KeyError

            patch.setattr(Home, "_finish_join", cut_off)
            with pytest.raises(KeyError):
                await cy.join(invited.link)
        with pytest.raises(InputError, match="has not joined that vault yet"):
            await cy.move_vault(server.url, pin=server.pin)


async def test_the_command_and_the_sdk_without_asyncio_go_there(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with begun(tmp_path):
        pass
    monkeypatch.setenv("SEALROOM_PASSPHRASE", PASSPHRASE)
    async with running_server(tmp_path / "server", new_tls_key=True) as now:
        where = ("--home", str(tmp_path / "owner"), "--vault", "Lark")
        move = ("vault", "move", now.url, "--pin", now.pin.hex())
        assert await asyncio.to_thread(main.run, (*where, *move)) == 0
        assert capsys.readouterr().out == f"Lark is at {now.url}\n"
        assert await asyncio.to_thread(main.run, ("--json", *where, *move)) == 0
        assert json.loads(capsys.readouterr().out)["server"] == now.url

        def waits() -> VaultInfo:
            with blocking.Home(tmp_path / "Bo", lambda: PASSPHRASE) as bo:
                return bo.move_vault(now.url, pin=now.pin)

        assert (await asyncio.to_thread(waits)).server == now.url
        assert entry_of(tmp_path, "Bo").server == now.url


async def test_a_kit_finds_a_server_with_another_tls_key_by_the_pin_beside_it(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALROOM_PASSPHRASE", PASSPHRASE)
    async with begun(tmp_path), home(tmp_path, "owner").vault() as vault:
        await home(tmp_path, "owner").backup(vault, tmp_path / "kit.html")
    (tmp_path / "server" / TLS_FILE).unlink()
    async with running_server(tmp_path / "server", new_tls_key=True) as now:
        restore = ["--home", str(tmp_path / "paper"), "identity", "restore"]
        restore += ["--kit", str(tmp_path / "kit.html"), "--server", now.url]
        assert await asyncio.to_thread(main.run, restore) == 4
        assert not (tmp_path / "paper").exists()
        assert await asyncio.to_thread(main.run, [*restore, "--pin", now.pin.hex()]) == 0
        assert "restored-1" in capsys.readouterr().out
        assert entry_of(tmp_path, "paper").tls_pin == now.pin
