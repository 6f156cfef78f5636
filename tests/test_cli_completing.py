"""What a shell completes, without a passphrase, a server, or anything that takes long to import."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from client.cli import main
from client.cli.completing import SHELLS, VARIABLE
from client.places import known_vaults, store_path
from tests.company import company
from tests.real_commands import command, environment

IDS = ("ab" * 32, "ac" * 32, "ff" * 32)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for each in IDS:
        path = store_path(tmp_path, bytes.fromhex(each))
        path.parent.mkdir(exist_ok=True)
        path.with_name(path.name + "-wal").touch()
        path.touch()
    return tmp_path


def completed(monkeypatch: pytest.MonkeyPatch, capsys: Any, *words: str) -> list[str]:
    """Ask as bash does, what could stand in the place of the last word."""
    monkeypatch.setenv(VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(["sealroom", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    with pytest.raises(SystemExit):
        main.run([])
    out: str = capsys.readouterr().out
    return [line for line in out.splitlines() if line]


def test_commands_options_and_fixed_values_are_completed(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert completed(monkeypatch, capsys, "rec") == ["plain,recovery"]
    assert completed(monkeypatch, capsys, "recovery", "re") == [
        "plain,rebuild",
        "plain,release",
        "plain,request",
    ]
    assert completed(monkeypatch, capsys, "recovery", "setup", "--th") == ["plain,--threshold"]
    assert completed(monkeypatch, capsys, "role", "Ann", "k") == ["plain,keyless-admin"]
    assert completed(monkeypatch, capsys, "completion", "f") == ["plain,fish"]
    assert completed(monkeypatch, capsys, "upload", "cust") == ["file,cust"]


def test_ids_of_vaults_are_completed_from_the_home_that_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    named = ("--home", str(home), "--vault")
    assert completed(monkeypatch, capsys, *named, "a") == [f"plain,{each}" for each in IDS[:2]]
    assert completed(monkeypatch, capsys, *named, "b") == []
    monkeypatch.setenv("SEALROOM_HOME", str(home))
    assert completed(monkeypatch, capsys, "--vault", "f") == [f"plain,{IDS[2]}"]
    monkeypatch.setenv("SEALROOM_HOME", str(home / "nowhere"))
    assert completed(monkeypatch, capsys, "--vault", "f") == []


async def test_a_home_is_known_by_the_ids_of_its_vaults(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        actor = await cast.actor("bo")
        assert known_vaults(actor.home.directory) == [actor.vault.vault_id]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_that_of_the_shell(shell: str, capsys: Any) -> None:
    assert main.run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"{VARIABLE}={shell}_complete" in script
    assert main.run(["--json", "completion", shell]) == 0
    assert json.loads(capsys.readouterr().out)["script"].strip() == script.strip()


def test_another_shell_is_wrong_usage(capsys: Any) -> None:
    assert main.run(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_bash_completes_by_the_script(home: Path, capsys: Any) -> None:
    assert main.run(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    asks = f"""
        {script}
        COMP_WORDS=(sealroom --home {home} --vault ff)
        COMP_CWORD=4
        _sealroom_completion sealroom
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    found = str(Path(command()).parent) + os.pathsep + os.environ["PATH"]
    done = subprocess.run(
        ["bash", "-c", asks],
        capture_output=True,
        text=True,
        check=True,
        env=environment(PATH=found),
    )
    assert done.stdout.split() == [IDS[2]]


def test_completing_imports_nothing_that_takes_long() -> None:
    ask = (
        "import sys, client.cli.main as m\n"
        "try:\n    m.run([])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'pyarrow', 'numpy', 'aiohttp', 'rich', 'nacl', 'cryptography'}\n"
        "print({'client.keyring', *heavy} & {*sys.modules})"
    )
    asked = {VARIABLE: "bash_complete", "COMP_WORDS": "sealroom --vault a", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", ask],
        capture_output=True,
        text=True,
        check=True,
        env=environment(**asked),
    )
    assert done.stdout.splitlines()[-1] == "set()"
