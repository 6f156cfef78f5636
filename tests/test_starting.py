"""A server begins anew only where nothing was before (SPEC section 10.4)."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import live_vault, running_server
from vault.config import InvalidConfig
from vault.starting import expect_own_directory
from vault.storage.base import StorageDamaged
from vault.storage.sqlite_file import FILE_NAME
from vault.tls import CHECKPOINT_KEY_FILE, TLS_FILE, TOKEN_FILE


async def a_store(data_dir: Path) -> None:
    """Make a store with a vault, and stop its server."""
    async with live_vault(data_dir):
        pass


def kept_in(data_dir: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in data_dir.iterdir()
        if not path.name.startswith(FILE_NAME)
    }


async def refused(data_dir: Path, match: str) -> InvalidConfig:
    """Say why a server does not start, which makes and changes no other file than a database's."""
    before = kept_in(data_dir)
    with pytest.raises(InvalidConfig, match=match) as error:
        async with running_server(data_dir):
            pass
    assert kept_in(data_dir) == before
    assert error.value.hint
    return error.value


@pytest.mark.parametrize("database", ["gone", "empty"])
async def test_keys_without_their_database_are_no_first_start(
    tmp_path: Path, database: str
) -> None:
    await a_store(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    if database == "empty":
        (tmp_path / FILE_NAME).touch(mode=0o600)
    error = await refused(tmp_path, "the keys of a server and no database")
    assert "not mounted" in str(error.hint)


def test_what_is_in_the_log_of_writes_alone_is_a_database(tmp_path: Path) -> None:
    """So it is where a server was killed before SQLite put the first pages in their place."""
    for name in (FILE_NAME, f"{FILE_NAME}-wal", CHECKPOINT_KEY_FILE):
        (tmp_path / name).touch(mode=0o600)
    with pytest.raises(InvalidConfig, match="no database"):
        expect_own_directory(tmp_path)
    (tmp_path / f"{FILE_NAME}-wal").write_bytes(bytes(64))
    expect_own_directory(tmp_path)


async def test_a_lost_tls_key_is_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (first, _):
        pass
    (tmp_path / TLS_FILE).unlink()
    error = await refused(tmp_path, "members know this server by it")
    assert "--new-tls-key" in str(error.hint)
    assert "vault move" in str(error.hint)
    async with running_server(tmp_path, new_tls_key=True) as second:
        assert second.pin != first.pin
    async with running_server(tmp_path) as third:
        assert third.pin == second.pin


async def test_where_there_is_no_vault_yet_what_is_missing_is_made(tmp_path: Path) -> None:
    async with running_server(tmp_path):
        pass
    for name in (TLS_FILE, CHECKPOINT_KEY_FILE, TOKEN_FILE):
        (tmp_path / name).unlink()
        async with running_server(tmp_path):
            assert (tmp_path / name).exists()


def test_a_directory_that_is_not_there_yet_or_is_empty_is_nobody_elses(tmp_path: Path) -> None:
    expect_own_directory(tmp_path / "absent")
    expect_own_directory(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
async def test_a_directory_that_others_can_write_to_is_not_worked_in(
    tmp_path: Path, mode: int
) -> None:
    await a_store(tmp_path)
    tmp_path.chmod(mode)
    error = await refused(tmp_path, "other users can write to")
    assert error.hint == f"chmod 700 {tmp_path}"
    tmp_path.chmod(0o755)
    await a_store(tmp_path)


@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
async def test_a_database_that_others_can_read_is_not_worked_in(tmp_path: Path, end: str) -> None:
    await a_store(tmp_path)
    file = tmp_path / f"{FILE_NAME}{end}"
    file.touch()
    file.chmod(0o640)
    error = await refused(tmp_path, "other users can reach")
    assert error.hint == f"chmod 600 {file}"


async def test_whose_vaults_they_are_the_first_says_that_verifies(tmp_path: Path) -> None:
    """What is damaged is told when it is loaded, and keeps nothing else from being served."""
    for _ in range(3):
        await a_store(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database, database:
        database.execute(
            "UPDATE leaves SET leaf = x'00' WHERE vault = (SELECT MIN(vault) FROM vaults)"
        )
        database.execute("DELETE FROM leaves WHERE vault = (SELECT MAX(vault) FROM vaults)")
    async with running_server(tmp_path) as server:
        with pytest.raises(StorageDamaged):
            await server.service.look_through()
    (tmp_path / CHECKPOINT_KEY_FILE).write_text(os.urandom(32).hex() + "\n")
    await refused(tmp_path, "not the key of the vaults")
