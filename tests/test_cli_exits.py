"""How commands end: the exit-code table, and what is said about errors."""

from __future__ import annotations

import inspect
import io
import json
import re
import resource
import sqlite3
from importlib.metadata import EntryPoint, PackageNotFoundError
from pathlib import Path
from typing import Any

import click
import pytest

import client.errors
import client.tables.errors
import protocol.errors
from client.cli import exits, main
from client.cli.exits import UnusableAnswer, exit_code, from_server, tell
from client.cli.invites import join
from client.errors import InputError, Interrupted, Refused, Unreachable
from protocol.errors import (
    ApiMisuse,
    Conflict,
    IntegrityError,
    LimitExceeded,
    MalformedMessage,
    NonCanonical,
    PinMismatch,
    SealroomError,
    VerificationFailed,
    WrongPassphrase,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), 1),
        (WrongPassphrase("x"), 1),
        (MalformedMessage("typed"), 1),
        (LimitExceeded("typed"), 1),
        (client.tables.errors.TableEmpty("x"), 1),
        (PermissionError(13, "no", "f"), 1),
        (sqlite3.OperationalError("database is locked"), 1),
        (click.ClickException("x"), 1),
        (click.UsageError("x"), 2),
        (Refused("x", code="not_granted"), 3),
        (Conflict("x"), 3),
        (PinMismatch("x"), 4),
        (IntegrityError("x"), 4),
        (UnusableAnswer("x"), 4),
        (Unreachable("x"), 5),
        (ApiMisuse("x"), 70),
        (KeyError("x"), 70),
        (Interrupted("x"), 130),
    ],
)
def test_the_exit_code_of_an_error(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


def test_no_error_of_ours_is_taken_for_a_bug() -> None:
    ours = [
        kind
        for module in (protocol.errors, client.errors, client.tables.errors, exits)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, SealroomError)
    ]
    assert len(ours) > 40
    for kind in ours:
        bare = kind.__new__(kind)
        assert exit_code(bare) != exits.BUG
        assert (exit_code(bare) == exits.UNTRUE) == issubclass(
            kind, VerificationFailed | UnusableAnswer
        )


@pytest.mark.parametrize("kind", [MalformedMessage, NonCanonical, LimitExceeded])
def test_bytes_that_the_server_got_wrong_are_its_doing(
    kind: type[SealroomError], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnusableAnswer) as caught, from_server():
        raise kind("of the wrong shape")
    assert tell(caught.value, as_json=True) == 4
    out, err = capsys.readouterr()
    told = json.loads(out)["error"]
    assert told["code"] == kind.code
    assert told["message"] == "what the server sent cannot be right: of the wrong shape"
    assert "hint: " in err


def test_other_errors_pass_the_server_by() -> None:
    with pytest.raises(Refused), from_server():
        raise Refused("x", code="y")


def test_an_error_and_its_hint_are_told_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(Refused("no\x1b[2J", code="c", hint="ask\u202e"), as_json=False) == 3
    assert capsys.readouterr() == ("", "error: no\\x1b[2J\nhint: ask\\u202e\n")


def test_with_json_the_error_is_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(Refused("no", code="not_granted", hint="ask"), as_json=True) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"code": "not_granted", "message": "no", "hint": "ask"}}
    assert err == "error: no\nhint: ask\n"


def test_an_error_of_the_system_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(PermissionError(13, "Permission denied", "/x/y"), as_json=False) == 1
    assert tell(OSError("odd"), as_json=False) == 1
    assert tell(sqlite3.OperationalError("disk is full"), as_json=False) == 1
    assert capsys.readouterr().err == (
        "error: Permission denied: /x/y\n"
        "hint: Have its owner let you, or choose another place.\n"
        "error: OSError\n"
        "error: the home's own files cannot be used: disk is full\n"
        "hint: Is the disk full, or another sealroom at work in this home?\n"
    )


def test_a_bug_is_one_line_that_repeats_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SEALROOM_DEBUG", raising=False)
    error = KeyError("a cell, perhaps")
    assert tell(error, as_json=True) == 70
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "internal"
    assert "report it" in err
    assert "a cell" not in out + err
    assert "Traceback" not in err

    monkeypatch.setenv("SEALROOM_DEBUG", "1")
    assert tell(error, as_json=False) == 70
    assert "KeyError" in capsys.readouterr().err


# --- the command line as a whole


def run(*arguments: str) -> int:
    return main.run(arguments)


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "upload" in err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("frobnicate",), "Try 'sealroom --help'."),
        (("upload", "t.csv"), "Try 'sealroom upload --help'."),
        (("--frob",), "Try 'sealroom --help'."),
        (("members", "--json"), "--json comes before the command: sealroom --json ..."),
        (("members", "--home", "x"), "--home comes before the command: sealroom --home ..."),
        (("members", "--frob"), "Try 'sealroom members --help'."),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], hint: str, capsys: Any) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith("Usage: sealroom")
    assert "\nerror: " in err
    assert err.endswith(f"\nhint: {hint}\n")
    assert ("error" in json.loads(out)) if "--json" in arguments else out == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("uplod", "t.csv"), "Did you mean 'upload'?"),
        (("upload", "t.csv", "--collecton", "x"), "Did you mean '--collection'?"),
        (("--hom", "x", "members"), "Did you mean '--home'?"),
        (("list",), "Did you mean 'sealroom vault list' or 'sealroom collection list' or"),
        (("rebuild",), "hint: Did you mean 'sealroom recovery rebuild'?"),
        (("vault", "rebuild"), "hint: Try 'sealroom vault --help'."),
    ],
)
def test_what_is_mistyped_or_lies_one_level_below_is_named(
    arguments: tuple[str, ...], told: str, capsys: Any
) -> None:
    assert run(*arguments) == 2
    assert told in capsys.readouterr().err


def test_wrong_usage_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "role", "Ann", "king") == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["code"] == "usage"
    assert "king" in told["message"]


def test_a_usage_error_without_its_context_has_no_hint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tell(click.UsageError("odd"), as_json=False) == 2
    assert tell(click.ClickException("odder"), as_json=False) == 1
    assert capsys.readouterr().err == "error: odd\nerror: odder\n"


def test_the_version(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("sealroom ")

    def missing(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(main, "version", missing)
    assert run("--version") == 0
    assert capsys.readouterr().out == "sealroom from source\n"


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [path]
    context = click.Context(group)
    for name in group.list_commands(context):
        command, below = group.get_command(context, name), (*path, name)
        found += commands(command, below) if isinstance(command, click.Group) else [below]
    return found


@pytest.mark.parametrize("path", commands(main.cli), ids=" ".join)
def test_every_help_has_an_example_that_parses(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*path, "--help") == 0
    lines = capsys.readouterr().out.split("\n")
    at = lines.index("  Example:")
    examples = [line for line in lines[at + 1 :] if line.startswith("    sealroom ")]
    assert examples
    for each in examples:
        _parses(each.split("sealroom ", 1)[1])


def _parses(example: str) -> None:
    import shlex

    words = shlex.split(re.split(" [<>] ", example)[0])
    context = main.cli.make_context("sealroom", words, resilient_parsing=False)
    while isinstance(context.command, click.Group):
        name, command, rest = context.command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert command is not None
        context = command.make_context(name, rest, parent=context)


# --- commands of other packages


def contribute(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    point = EntryPoint(name, value, main.COMMANDS_GROUP)

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        assert group == main.COMMANDS_GROUP
        return [point] if name in (None, point.name) else []

    monkeypatch.setattr(main, "entry_points", entry_points)


@click.command()
@click.pass_context
def extra(ctx: click.Context) -> None:
    """Be another package's command.

    Example:
      sealroom extra
    """
    click.echo(f"extra, json={ctx.find_root().obj.json}")
    ctx.exit(7)


def test_commands_of_other_packages_are_gathered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contribute(monkeypatch, "extra", f"{__name__}:extra")
    assert run("--json", "extra") == 7
    assert capsys.readouterr().out == "extra, json=True\n"
    assert run("--help") == 0
    assert "Be another package's command." in capsys.readouterr().out
    assert run("extra", "--help") == 0
    assert "\n  Example:\n    sealroom extra\n" in capsys.readouterr().out


def test_no_other_package_replaces_a_command_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    contribute(monkeypatch, "join", f"{__name__}:extra")
    context = click.Context(main.cli)
    assert main.cli.get_command(context, "join") is join
    assert main.cli.list_commands(context).count("join") == 1


def test_what_is_no_command_is_not_one(monkeypatch: pytest.MonkeyPatch) -> None:
    contribute(monkeypatch, "odd", f"{__name__}:commands")
    assert main.cli.get_command(click.Context(main.cli), "odd") is None


def test_a_command_whose_package_is_missing_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contribute(monkeypatch, "serve", "no_such_package_at_all:serve")
    assert run("--help") == 0
    assert "(not installed here)" in capsys.readouterr().out
    assert run("serve", "--listen", "x:1") == 1
    assert capsys.readouterr().err == (
        "error: 'serve' is not installed here (no_such_package_at_all is missing)\n"
        "hint: pip install 'sealroom[server]'\n"
    )


def test_ctrl_c_before_anything_began(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main.cli, "main", stop)
    assert run("--json", "members") == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert err == "error: stopped\n"


def test_the_command_hardens_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("resource.setrlimit", lambda *limit: asked.append(limit))
    monkeypatch.setattr("os.umask", lambda mask: asked.append(mask))
    monkeypatch.setattr("sys.argv", ["sealroom", "--version"])
    monkeypatch.setattr("sys.stderr", io.StringIO())  # no stream of a terminal: left as it is
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 0
    assert asked == [(resource.RLIMIT_CORE, (0, 0)), 0o077]


def test_the_home_is_the_users_unless_another_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("SEALROOM_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("vault", "list") == 1
    assert f"there is no keyring at {tmp_path}/.sealroom/keyring" in capsys.readouterr().err
    monkeypatch.setenv("SEALROOM_HOME", str(tmp_path / "elsewhere"))
    assert run("vault", "list") == 1
    assert f"there is no keyring at {tmp_path}/elsewhere/keyring" in capsys.readouterr().err
    assert run("--home", str(tmp_path / "third"), "identity", "show") == 1
    assert f"there is no keyring at {tmp_path}/third/keyring" in capsys.readouterr().err
