"""Whose a home has to be before anything in it is believed (SPEC 10.5)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from client.exposure import expect_own
from client.keyring import Keyring
from client.store import VaultStore
from protocol.errors import ExposedFile

PARTY = bytes(32)
ANOTHER = 12_345


def owned_by(monkeypatch: pytest.MonkeyPatch, owners: dict[Path, int], me: int) -> None:
    """Let some paths be of other users, and this process be of one: to chown takes root."""
    true = os.stat
    inodes = {(true(path).st_dev, true(path).st_ino): owner for path, owner in owners.items()}

    def stat(path: Any, **more: Any) -> os.stat_result:
        found = true(path, **more)
        owner = inodes.get((found.st_dev, found.st_ino), me)
        return os.stat_result((*found[:4], owner, *found[5:]))

    monkeypatch.setattr("client.exposure.os.stat", stat)
    monkeypatch.setattr("client.exposure.os.geteuid", lambda: me)


@pytest.mark.parametrize("me", [0, 1000])
@pytest.mark.parametrize("name", ["", "a.db", "a.db-wal", "a.db-shm", "a.db-journal"])
def test_a_store_of_another_user_is_not_believed(
    tmp_path: Path, name: str, me: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "vaults"
    with VaultStore(folder / "a.db") as store:
        store.mark_compared(PARTY)
    if name:
        (folder / name).touch()
    before = (folder / "a.db").read_bytes()
    owned_by(monkeypatch, {folder / name: ANOTHER}, me)
    with pytest.raises(ExposedFile, match=f"another user's .its owner is {ANOTHER}") as caught:
        VaultStore(folder / "a.db")
    assert str(folder / name) in str(caught.value)
    assert f"chown -R {me}" in str(caught.value.hint)
    assert (folder / "a.db").read_bytes() == before


@pytest.mark.parametrize("whose", ["the file", "the folder"])
def test_a_keyring_of_another_user_is_refused_before_the_passphrase(
    tmp_path: Path, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "home" / "keyring"
    Keyring.create(path, lambda: "a phrase")
    owned_by(monkeypatch, {path if whose == "the file" else path.parent: ANOTHER}, 1000)

    def asked() -> str:
        raise AssertionError("asked for the passphrase")

    with pytest.raises(ExposedFile, match="another user's"):
        Keyring.load(path, asked)


def test_no_keyring_is_made_in_a_folder_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned_by(monkeypatch, {tmp_path: ANOTHER}, 1000)
    with pytest.raises(ExposedFile, match="another user's"):
        Keyring.create(tmp_path / "keyring", lambda: "a phrase")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("owner", "me", "believed"),
    [(1000, 1000, True), (0, 1000, True), (0, 0, True), (1000, 0, False), (1001, 1000, False)],
)
def test_a_home_is_its_users_or_roots(
    tmp_path: Path, owner: int, me: int, believed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned_by(monkeypatch, {tmp_path: owner}, me)
    if believed:
        expect_own(tmp_path)
        return
    with pytest.raises(ExposedFile):
        expect_own(tmp_path)
