"""Addresses and paths that people type otherwise than they are wanted: what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from client.cli import main, options
from client.errors import InputError
from client.keyring_file import checked_file
from client.tables import Column, open_sink, open_source
from client.tables.errors import TableUnreadable, TableUnwritable
from client.transport import HttpTransport
from protocol.errors import NoKeyring
from tests.cli_world import ID, World, made_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return made_world(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (
            "http://h.example:8443",
            "speak TLS alone: write h.example:8443, or https://h.example:8443.",
        ),
        ("http://h", "write h:8443, or https://h:8443."),
        ("http://127.0.0.1:8443/", "write 127.0.0.1:8443, or https://127.0.0.1:8443."),
        ("http://[::1]:8443", "write [::1]:8443, or https://[::1]:8443."),
        ("https://h.example:8443/v1", "Write the host and the port alone: h.example:8443."),
        ("h.example/x", "Write the host and the port alone: h.example:8443."),
        ("me@h.example:1", "Write the host and the port alone: h.example:1."),
        ("ftp://h", "Write the host and the port alone: h:8443."),
        ("8443", "put the host before it, such as 127.0.0.1:8443."),
        (":8443", "put the host before it, such as 127.0.0.1:8443."),
        ("h.example:84433", "For example vault.example.com:8443; a port is a number from 1 to"),
        ("h.example:0", "For example vault.example.com:8443; a port is a number from 1 to"),
        ("http://h\x1b:1", "write vault.example.com:8443, or"),
        ("", "For example vault.example.com:8443;"),
    ],
)
def test_what_is_no_address_is_told_with_what_to_write(typed: str, hint: str) -> None:
    with pytest.raises(InputError, match="is not a server's address") as caught:
        options.server_url(typed)
    assert hint in (caught.value.hint or "")


def test_what_is_recommended_is_an_address() -> None:
    for typed in (
        "http://h.example:8443",
        "https://h.example/x",
        "http://[::1]:1",
        "a@10.0.0.1:65",
    ):
        with pytest.raises(InputError) as caught:
            options.server_url(typed)
        words = (caught.value.hint or "").rstrip(".").replace(",", " ").split()
        assert options.server_url(words[-1]).startswith("https://")


def test_an_invite_link_in_the_place_of_an_address_is_not_repeated(
    world: World, capsys: Any
) -> None:
    assert world.run("vault", "create", f"sealroom://h:1/{ID}#SECRET") == 1
    out, err = capsys.readouterr()
    assert err == ("error: that is an invite link\nhint: 'sealroom join' takes it, in quotes.\n")
    assert "SECRET" not in out + err


async def test_whoever_named_no_port_is_told_which_one_it_was() -> None:
    for url, told in [
        ("https://localhost", " Without a port it is 443."),
        ("https://localhost:1", ""),
    ]:
        async with HttpTransport(url, pin=None) as transport:
            error = transport._unreachable(OSError("refused"))
        hint = f"Is the server running, and the address right?{told}"
        assert getattr(error, "hint", None) == hint


# --- folders in the place of files


def test_a_folder_in_the_place_of_a_keyring_is_told(tmp_path: Path) -> None:
    (tmp_path / "keyring").mkdir(mode=0o700)
    with pytest.raises(NoKeyring, match="keyring is a folder, and a keyring is a file") as caught:
        checked_file(tmp_path / "keyring")
    assert "name the folder around the keyring as the home" in (caught.value.hint or "")


def test_a_file_in_the_place_of_a_home_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    home = tmp_path / "home"
    home.write_text("")
    monkeypatch.setenv("SEALROOM_HOME", str(home))
    assert main.run(["vault", "list"]) == 1
    err = capsys.readouterr().err
    assert f"error: {home} is a file, and a home is a folder\n" in err
    assert "with --home or SEALROOM_HOME" in err
    assert main.run(["--home", str(home), "vault", "list"]) == 2
    assert "hint: Name a folder.\n" in capsys.readouterr().err


def test_a_folder_in_the_place_of_a_passphrase_file_is_told(world: World, capsys: Any) -> None:
    (world.directory / "d").mkdir()
    assert world.run("--passphrase-file", "d", "members") == 0  # nobody asked for it
    with pytest.raises(InputError) as caught:
        world.passphrase()
    assert caught.value.hint == "d is a folder: name a file in it."
    (world.directory / "d").rmdir()
    with pytest.raises(InputError) as caught:
        world.passphrase()
    assert caught.value.hint == "Is d right?"


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("identity backup --out d", "Name a file in that folder."),
        ("documents get x --into t.csv", "Name a folder."),
        ("serve --data t.csv", "Name a folder."),
        ("serve --tls-cert d", "Name a file in that folder."),
        ("role Ann king", "Try 'sealroom role --help'."),
    ],
)
def test_a_folder_for_a_file_and_the_other_way_round(
    command: str, hint: str, world: World, capsys: Any
) -> None:
    (world.directory / "d").mkdir()
    assert world.run(*command.split()) == 2
    assert capsys.readouterr().err.endswith(f"\nhint: {hint}\n")
    assert world.calls == []


READING: list[tuple[str, str, str]] = [
    ("d", "d cannot be read", "such as d/*.csv"),
    (".", ". cannot be read", "such as *.csv"),
]


@pytest.mark.parametrize(("path", "why", "hint"), READING)
def test_a_folder_in_the_place_of_a_table_is_told_by_its_name(
    path: str, why: str, hint: str, world: World
) -> None:
    (world.directory / "d").mkdir()
    with pytest.raises(TableUnreadable) as caught:
        open_source(path)
    assert str(caught.value).startswith(why)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["d", "d.csv", "d.xlsx"])
def test_a_folder_in_the_place_of_a_file_to_write_is_told_whatever_it_is_called(
    name: str, world: World
) -> None:
    (world.directory / name).mkdir()
    with pytest.raises(TableUnwritable, match="Is a directory") as caught:
        open_sink(name, [Column("a", str(pa.string()))])
    assert f"such as {name}/table.csv" in (caught.value.hint or "")
