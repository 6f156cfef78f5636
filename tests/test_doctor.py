"""`sealroom doctor`: what it finds, what it says, and that it never asks where nobody is."""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
import tomllib
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from client import doctor, speed
from client.cli import doctor as doctor_command
from client.cli import invocation, main
from client.crypto.engines import VARIABLE, Engine, choice, default_engine
from client.doctor import (
    Finding,
    State,
    Subject,
    check_clock,
    check_engine,
    check_keyring,
    check_logs,
    check_servers,
    check_tables,
)
from client.errors import Unreachable
from client.home import Home
from client.places import store_path
from client.speed import EngineSpeed, Rate, engine_speeds
from client.store import VaultStore
from protocol import api
from protocol.errors import PinMismatch
from tests.deals import cheap_keyrings
from tests.every_engine import ENGINES
from tests.in_process import PASSPHRASE, URL, Lab, ServiceTransport, lab


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    default_engine.cache_clear()
    with cheap_keyrings():
        yield
    default_engine.cache_clear()


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Lab]:
    async with lab(tmp_path) as running:
        yield running


async def with_a_vault(made: Lab, **more: Any) -> Home:
    home = made.home("olga", **more)
    await (await home.create_vault(URL, title="T", token=made.token)).close()
    return home


def vault_of(made: Lab) -> str:
    (path,) = (made.directory / "olga" / "vaults").glob("*.db")
    return path.stem


def absent() -> Engine:
    raise LookupError("nowhere to be found")


def states(findings: list[Finding]) -> list[tuple[str, State]]:
    return [(each.about, each.state) for each in findings]


NOBODY = Subject(Home(Path("/nonexistent"), lambda: ""))


class TestEngine:
    async def test_the_fastest(self) -> None:
        (found,) = await check_engine(NOBODY)
        assert found.told.startswith(ENGINES[0].name)
        assert found.state is (State.OK if len(ENGINES) == 3 else State.NOTE)

    async def test_the_fastest_of_a_machine_without_a_compiler(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(choice.MAKERS, "compiled", absent)
        (found,) = await check_engine(NOBODY)
        assert found.state is State.NOTE
        assert "compiled: nowhere to be found" in found.told
        assert "C compiler" in str(found.hint)

    async def test_one_without_libsodium_needs_no_hint(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(choice.MAKERS, "sodium", absent)
        if ENGINES[0].name == "compiled":
            (found,) = await check_engine(NOBODY)
            assert (found.state, found.hint) == (State.NOTE, None)

    async def test_one_that_the_environment_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "cryptography")
        (found,) = await check_engine(NOBODY)
        assert (found.state, found.told) == (
            State.NOTE,
            "cryptography, because SEALROOM_ENGINE names it",
        )

    async def test_one_that_is_not_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "quantum")
        (found,) = await check_engine(NOBODY)
        assert found.state is State.PROBLEM
        assert not any(each.in_use for each in engine_speeds(0.0))


class TestKeyring:
    async def test_where_there_is_none(self, tmp_path: Path) -> None:
        subject = Subject(Home(tmp_path, lambda: PASSPHRASE))
        assert states(await check_keyring(subject)) == [("keyring", State.NOTE)]
        assert await check_servers(subject) == await check_clock(subject) == []

    async def test_in_order(self, made: Lab) -> None:
        (found,) = await check_keyring(Subject(await with_a_vault(made)))
        assert found.state is State.OK
        assert "1 identities, 1 vaults" in found.told

    async def test_not_opened(self, made: Lab) -> None:
        subject = Subject(await with_a_vault(made), shut="nobody gave a passphrase")
        (found,) = await check_keyring(subject)
        assert found.state is State.NOTE
        assert "nobody gave a passphrase" in found.told
        assert await check_servers(subject) == await check_clock(subject) == []

    @pytest.mark.parametrize(
        ("mode", "of_folder", "hint"), [(0o640, False, "chmod 600"), (0o777, True, "chmod 700")]
    )
    async def test_within_the_reach_of_others(
        self, made: Lab, mode: int, of_folder: bool, hint: str
    ) -> None:
        home = await with_a_vault(made)
        path = home.keyring_path.parent if of_folder else home.keyring_path
        path.chmod(mode)
        (found,) = await check_keyring(Subject(home))
        assert found.state is State.PROBLEM
        assert str(found.hint).startswith(hint)

    async def test_a_folder_that_others_may_only_look_into_is_in_order(self, made: Lab) -> None:
        home = await with_a_vault(made)
        home.keyring_path.parent.chmod(0o755)
        assert states(await check_keyring(Subject(home))) == [("keyring", State.OK)]

    async def test_of_another_user(self, made: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        home = await with_a_vault(made)
        monkeypatch.setattr(os, "getuid", lambda: home.keyring_path.stat().st_uid + 1)
        found = await check_keyring(Subject(home))
        assert [each.state for each in found] == [State.PROBLEM] * 2
        assert all("another user" in each.told for each in found)

    async def test_under_another_passphrase(self, made: Lab) -> None:
        path = (await with_a_vault(made)).keyring_path
        subject = Subject(Home(path.parent, lambda: "another"))
        (found,) = await check_keyring(subject)
        assert found.state is State.PROBLEM
        assert await check_servers(subject) == await check_clock(subject) == []


class TestLogs:
    async def test_what_is_kept_is_verified_without_a_passphrase(self, made: Lab) -> None:
        home = await with_a_vault(made)
        shut = Subject(made.home("olga"), shut="nobody gave a passphrase")
        (found,) = await check_logs(shut)
        (entry,) = home.keyring.vaults
        assert (found.about, found.state) == (f"log of {entry.vault_id.hex()[:16]}", State.OK)
        assert "leaves verified, seen 0 hours ago" in found.told
        (home.directory / "vaults" / "notes.db").touch()
        assert await check_logs(shut) == [found]

    async def test_one_of_which_nothing_was_fetched(self, tmp_path: Path) -> None:
        home = Home(tmp_path, lambda: PASSPHRASE)
        with VaultStore(store_path(tmp_path, bytes(32))):
            pass
        assert await check_logs(Subject(home)) == [
            Finding("log of " + "0" * 16, State.NOTE, "nothing of it was fetched yet")
        ]

    async def test_one_that_was_changed_or_is_no_log(self, made: Lab) -> None:
        home = await with_a_vault(made)
        (path,) = (home.directory / "vaults").glob("*.db")
        with sqlite3.connect(path) as db:
            db.execute("DELETE FROM leaves WHERE position = (SELECT MAX(position) FROM leaves)")
        db.close()
        (found,) = await check_logs(Subject(home))
        assert (found.state, found.hint) == (State.PROBLEM, "Restore it from a backup.")
        path.write_bytes(b"no database at all, but as long as the head of one has to be" * 20)
        (found,) = await check_logs(Subject(home))
        assert found.state is State.PROBLEM
        path.unlink()
        path.mkdir()
        (found,) = await check_logs(Subject(home))
        assert found.state is State.PROBLEM
        assert "it cannot be read" in found.told


class TestTables:
    async def test_all_kinds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
        assert states(await check_tables(NOBODY)) == [("tables", State.OK)]

    async def test_what_is_absent_says_what_brings_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        found = await check_tables(NOBODY)
        assert states(found) == [("tables", State.NOTE)] * 3
        assert [each.hint for each in found] == [
            "pip install 'sealroom[excel]'",
            "pip install 'sealroom[sql]'",
            "pip install 'sealroom[sql]'",
        ]

    def test_each_extra_is_one_of_the_project(self) -> None:
        repo = Path(__file__).resolve().parent.parent
        project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
        for module, _, extra in doctor.OPTIONAL:
            listed = " ".join(project["optional-dependencies"][extra]).lower()
            assert module in listed


class TestServersAndClock:
    async def test_a_server_that_answers_at_the_same_time(self, made: Lab) -> None:
        found = await check_servers(Subject(await with_a_vault(made)))
        about = [f"server {URL}", "clock", f"vault {vault_of(made)[:16]}"]
        assert states(found) == [(each, State.OK) for each in about]
        assert "a certificate that this machine trusts" in found[0].told

    async def test_a_pinned_one(self, made: Lab) -> None:
        home = made.home("olga")
        await (
            await home.create_vault(URL, title="T", token=made.token, pin=bytes(range(32)))
        ).close()
        assert "the pinned key" in (await check_servers(Subject(home)))[0].told

    @pytest.mark.parametrize("apart", [3_600, -3_600])
    async def test_a_clock_that_is_off(self, made: Lab, apart: int) -> None:
        home = await with_a_vault(made)
        right = home.clock
        home.clock = lambda: right() + apart
        answers, clock, shown = await check_servers(Subject(home))
        assert (answers.state, clock.state) == (State.OK, State.PROBLEM)
        assert ("ahead of" if apart > 0 else "behind") in clock.told
        assert shown.state is State.PROBLEM
        assert "the server's newest checkpoint is" in shown.told

    @pytest.mark.parametrize("error", [Unreachable("no"), PinMismatch("another key", hint="Ask.")])
    async def test_a_server_that_is_not_there_or_another(self, made: Lab, error: Exception) -> None:
        home = await with_a_vault(made)

        class Gone(ServiceTransport):
            async def server_info(self) -> api.ServerInfo:
                raise error

        home.connect = lambda url, pin, signer: Gone(made.service, signer)
        (found,) = await check_servers(Subject(home))
        assert (found.state, found.told) == (State.PROBLEM, str(error))

    async def test_a_clock_before_what_this_home_has_seen(self, made: Lab) -> None:
        home = await with_a_vault(made)
        assert await check_clock(Subject(home)) == []
        home.clock = lambda: 0.0
        assert states(await check_clock(Subject(home))) == [("clock", State.PROBLEM)]


class TestVersions:
    def test_what_speed_and_safety_hang_on(self) -> None:
        told = doctor.versions()
        for name in ("sealroom", "Python", "cryptography", "OpenSSL in it", "PyNaCl", "SQLite"):
            assert told[name]
        assert "libsodium in it" in told

    def test_a_library_that_shows_its_version_and_one_that_cannot_be_loaded(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Shows:
            def __call__(self) -> bytes:
                return b"1.0.20"

        shown = SimpleNamespace(sodium_version_string=Shows())
        monkeypatch.setattr(ctypes, "CDLL", lambda path: shown)
        assert doctor.versions()["libsodium in it"] == "1.0.20"

        def refuse(path: str) -> object:
            raise OSError(path)

        monkeypatch.setattr(ctypes, "CDLL", refuse)
        assert doctor.versions()["libsodium in it"] == "not shown by this PyNaCl"

    def test_from_source(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(name: str) -> str:
            raise PackageNotFoundError(name)

        monkeypatch.setattr(doctor, "version", unknown)
        assert doctor.versions()["sealroom"] == "from source"


class TestSpeed:
    def test_every_engine_is_measured_and_one_is_in_use(self) -> None:
        told = engine_speeds(0.0)
        assert [each.name for each in told if each.present] == [each.name for each in ENGINES]
        assert [each.name for each in told if each.in_use] == [ENGINES[0].name]
        for each in told:
            if each.present:
                assert each.seal is not None
                assert each.open is not None
                assert each.seal.cells_per_second > 0
                assert each.open.megabytes_per_second > 0

    def test_a_rate_is_that_of_the_best_run(self) -> None:
        # Each run takes 2 s but the second, which takes 1.
        ticks = iter([0, 0, 2, 2, 2, 3, 3, 3, 5, 5])
        assert speed._best_rate(lambda: None, 5, lambda: next(ticks)) == speed.CELLS

    def test_without_the_loop_nothing_is_compared_with_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(choice.MAKERS, "compiled", absent)
        monkeypatch.setattr(speed, "BareLoop", absent)
        first, *others = engine_speeds(0.0)
        assert first == EngineSpeed("compiled", False, False, "nowhere to be found")
        for each in others:
            assert each.seal is None or each.seal.of_bare_loop is None


SPEEDS = (
    EngineSpeed("compiled", True, True, None, Rate(5, 1.5, 0.55), Rate(6, 2.5, None)),
    EngineSpeed("sodium", True, False, None, Rate(4, 1.0, 0.2), Rate(4, 1.0, 0.2)),
    EngineSpeed("cryptography", False, False, "lost\x1b[2J"),
)


class TestCommand:
    @pytest.fixture(autouse=True)
    @staticmethod
    def measured(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "engine_speeds", lambda: SPEEDS)
        monkeypatch.setattr(invocation, "_has_terminal", lambda: False)
        monkeypatch.delenv("SEALROOM_PASSPHRASE", raising=False)

    def home(self, tmp_path: Path) -> Path:
        home = Home(tmp_path / "home", lambda: PASSPHRASE)
        home.new_identity("one")
        return home.directory

    def run(self, directory: Path, *arguments: str) -> int:
        return main.run(["--home", str(directory), *arguments])

    def test_for_people(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(tmp_path, "doctor") == 0
        shown = capsys.readouterr().out
        for part in ("sealroom ", "SQLite", "compiled", "in use", "0.55", "absent: lost\\x1b[2J"):
            assert part in shown
        assert "note: keyring: there is none" in shown
        assert "'vault create' or 'join' makes one." in shown

    def test_for_programs(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(tmp_path, "--json", "doctor") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["in_order"] is True
        assert told["engines"][0]["seal"] == {
            "cells_per_second": 5,
            "megabytes_per_second": 1.5,
            "of_bare_loop": 0.55,
        }
        assert {"about", "state", "told", "hint"} == set(told["findings"][0])

    def test_where_nobody_gives_a_passphrase(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(self.home(tmp_path), "doctor") == 0
        assert "not opened: a passphrase is needed" in capsys.readouterr().out

    def test_offline_nobody_is_asked(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SEALROOM_PASSPHRASE", "of no use here")
        assert self.run(self.home(tmp_path), "doctor", "--offline") == 0
        assert doctor_command.OFFLINE in capsys.readouterr().out

    def test_with_the_passphrase(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SEALROOM_PASSPHRASE", PASSPHRASE)
        assert self.run(self.home(tmp_path), "doctor") == 0
        assert "1 identities, 0 vaults" in capsys.readouterr().out

    def test_a_problem_is_told_and_ends_with_1(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SEALROOM_PASSPHRASE", "another passphrase")
        assert self.run(self.home(tmp_path), "doctor") == 1
        assert "problem: keyring: " in capsys.readouterr().out
