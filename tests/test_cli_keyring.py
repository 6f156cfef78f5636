"""The home of a command line: its keyring, and who is asked for its passphrase."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client.cli import invocation, main
from client.keyring import Keyring
from client.results.vaults import VaultInfo
from tests.cli_world import INFO, SHOWN, split


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SEALROOM_PASSPHRASE", raising=False)
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> int:
    return main.run(["--home", str(home), *arguments])


def typed(monkeypatch: pytest.MonkeyPatch, *answers: str | BaseException) -> list[str]:
    """Have a person at the terminal, and return the prompts that it will see."""
    waiting, prompts = list(answers), []

    def getpass(prompt: str) -> str:
        prompts.append(prompt)
        answer = waiting.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr("getpass.getpass", getpass)
    monkeypatch.setattr(invocation, "_has_terminal", lambda: True)
    return prompts


def test_a_new_keyring_asks_twice_and_an_old_one_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    prompts = typed(monkeypatch, "right", "right", "right", "right")
    assert run(home, "identity", "new", "--name", "me") == 0
    out, err = capsys.readouterr()
    assert len(prompts) == 2
    assert "New passphrase" in prompts[0]
    assert out.startswith("name  me\nid    ")
    assert f"Keep a copy of {home}/keyring" in err
    assert run(home, "identity", "show") == 0
    assert run(home, "vault", "list") == 0
    assert len(prompts) == 4
    out, _ = capsys.readouterr()
    assert "none yet" in out
    assert out.endswith("no vaults yet\n")


def test_two_different_passphrases_make_no_keyring(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    typed(monkeypatch, "right", "wrong")
    assert run(home, "--json", "identity", "new") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "wrong_passphrase"
    assert not home.exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), EOFError()])
def test_ctrl_c_at_the_prompt(
    home: Path, stop: BaseException, monkeypatch: Any, capsys: Any
) -> None:
    typed(monkeypatch, stop)
    assert run(home, "identity", "new") == 130
    assert capsys.readouterr().err == "error: stopped\nhint: Nothing was done.\n"
    assert not home.exists()


def test_without_a_terminal_nobody_is_asked(home: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(invocation, "_has_terminal", lambda: False)
    assert run(home, "identity", "new") == 1
    assert "hint: Give --passphrase-file FILE, or set SEALROOM_PASSPHRASE." in (
        capsys.readouterr().err
    )
    assert not home.exists()


@pytest.mark.parametrize("content", [b"right\n", b"right\r\nmore\n", b"right"])
def test_the_passphrase_from_a_file(
    home: Path, content: bytes, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setenv("SEALROOM_PASSPHRASE", "another")
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    assert run(home, "--passphrase-file", str(file), "identity", "new") == 0
    assert len(Keyring.load(home / "keyring", lambda: "right").identities) == 1
    assert run(home, "identity", "show") == 1
    assert "the passphrase is wrong" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe\n"])
def test_files_without_a_passphrase(home: Path, content: Any, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "passphrase"
    if content is not None:
        file.write_bytes(content)
    assert run(home, "--passphrase-file", str(file), "identity", "new") == 1
    assert "the passphrase file " in capsys.readouterr().err
    assert not home.exists()


def test_identities_in_json(home: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("SEALROOM_PASSPHRASE", "right")
    assert run(home, "--json", "identity", "new") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["name"] == "identity-1"
    assert made["vault_id"] is None
    assert len(made["member_id"]) == 64
    assert run(home, "--json", "identity", "show") == 0
    assert json.loads(capsys.readouterr().out) == {"identities": [made]}
    assert run(home, "--json", "identity", "new", "--name", "identity-1") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "input"


@pytest.mark.parametrize("command", ["members", "vault list", "identity show", "read X"])
def test_a_home_without_a_keyring_asks_for_no_passphrase(
    home: Path, command: str, monkeypatch: Any, capsys: Any
) -> None:
    prompts = typed(monkeypatch)
    assert run(home, "--json", *split(command)) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "no_keyring"
    assert "hint: 'sealroom vault create' or 'sealroom join' makes one" in err
    assert prompts == []
    assert not home.exists()


def test_the_vaults_of_a_home(home: Path, monkeypatch: Any, capsys: Any) -> None:
    from client.folder import Folder

    monkeypatch.setenv("SEALROOM_PASSPHRASE", "right")
    monkeypatch.setattr(
        Folder,
        "vaults",
        lambda _: (INFO, VaultInfo("cd" * 32, "", "s", None, "i", False, 0)),
    )
    home.mkdir()
    (home / "keyring").touch()
    assert run(home, "vault", "list") == 0
    out = capsys.readouterr().out
    assert SHOWN in out
    assert f"{'cd' * 8}  -  " in out  # nobody here knows whether it has a title
    assert "join not finished" in out
    assert run(home, "--json", "vault", "list") == 0
    assert [each["joined"] for each in json.loads(capsys.readouterr().out)["vaults"]] == [
        True,
        False,
    ]


def test_the_home_of_production_is_the_sdks(tmp_path: Path) -> None:
    from client.home import Home

    made = invocation.home_of(tmp_path, lambda: "x")
    assert isinstance(made, Home)
    assert made.directory == tmp_path


def test_a_terminal_is_asked_for_by_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def found(path: str, _: int) -> int:
        opened.append(path)
        return 99

    monkeypatch.setattr("os.open", found)
    monkeypatch.setattr("os.close", lambda _: None)
    assert invocation._has_terminal()
    assert opened == ["/dev/tty"]

    def absent(*_: object) -> int:
        raise OSError

    monkeypatch.setattr("os.open", absent)
    assert not invocation._has_terminal()


def test_somebody_is_there_who_sees_and_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for sees in (True, False):
        for answers in (True, False):
            monkeypatch.setattr("sys.stdin.isatty", lambda answers=answers: answers, raising=False)
            monkeypatch.setattr("sys.stderr.isatty", lambda sees=sees: sees, raising=False)
            assert invocation.somebody_there() == (sees and answers)
