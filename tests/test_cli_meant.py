"""What is told to somebody who typed an option or a word that there is not."""

from __future__ import annotations

from typing import Any

import click
import pytest

from client.cli import main, options
from client.cli.meant import ASKING, OTHER_WORDS, not_one_of, option_message
from client.errors import InputError
from client.vault import field_class
from tests.every_command import every_command


def known(command: click.Command) -> set[str]:
    return {name for option in command.params for name in option.opts}


EVERY = dict(every_command())
SILENT = [path for path, command in EVERY.items() if ASKING not in known(command)]


def test_there_are_commands_that_ask_and_commands_that_do_not() -> None:
    assert {("revoke",), ("rotate",), ("handover", "takeover"), ("serve",)} <= set(SILENT)
    assert not {("erase",), ("upload",), ("vault", "destroy"), ("confirm",)} & set(SILENT)


@pytest.mark.parametrize("path", SILENT, ids=" ".join)
@pytest.mark.parametrize("typed", ["--yes", "-y"])
def test_a_command_that_asks_nothing_says_so(
    path: tuple[str, ...], typed: str, capsys: Any
) -> None:
    assert main.run([*path, typed]) == 2
    err = capsys.readouterr().err
    assert f"error: No such option '{typed}'.\n" in err
    asks = f"hint: 'sealroom {' '.join(path)}' asks nothing that could be answered so: leave it out"
    assert asks in err


def test_yes_before_the_command_is_told_where_it_belongs(capsys: Any) -> None:
    assert main.run(["--yes", "members"]) == 2
    err = capsys.readouterr().err
    assert "No such option '--yes'.\n" in err
    assert "hint: --yes comes after the command, of those that ask." in err


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("serve --port 8443", "--listen"),
        ("serve --host x", "--listen"),
        ("serve --dir x", "--data"),
        ("serve -p 1", "--listen"),
        ("read x -o f", "--out"),
        ("read x --output f", "--out"),
        ("read x --force", "--overwrite"),
        ("read x --columns a", "--fields"),
        ("read x --filter a=1", "--where"),
        ("documents get x --folder y", "--into"),
        ("erase x -y", "--yes"),
        ("vault destroy --force", "--yes"),
        ("invite bidder --ttl 1d", "--expires"),
        ("upload f --collecton x", "--collection"),
    ],
)
def test_the_word_of_another_program_is_told_in_ours(command: str, meant: str, capsys: Any) -> None:
    assert main.run(command.split()) == 2
    assert f". Did you mean '{meant}'?" in capsys.readouterr().err


def test_each_option_that_is_recommended_is_there_somewhere() -> None:
    there = {name for command in EVERY.values() for name in known(command)}
    assert {each for meant in OTHER_WORDS.values() for each in meant} <= there
    assert not set(OTHER_WORDS) & there


def test_what_is_like_nothing_is_told_as_it_is(capsys: Any) -> None:
    assert main.run(["members", "--port", "1"]) == 2
    assert "error: No such option '--port'.\nhint: Try 'sealroom members --help'." in (
        capsys.readouterr().err
    )
    assert option_message(click.NoSuchOption("--port")) == "No such option '--port'."


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("role Ann biddr", "bidder"),
        ("role Ann Bidder", "bidder"),
        ("invite auditer --name x", "auditor"),
        ("freeze --reason breech", "breach"),
        ("handover reject --reason term", "terms"),
        ("grant Ann --classes genral", "general"),
        ("upload t.csv --collection c --class a=genral", "general"),
        ("upload t.csv --collection c --default-class sensitiv", "sensitive"),
        ("attach f --class cor", "core"),
        ("completion bsh", "bash"),
        ("upload t.csv --collection c --on-error setaside", "set-aside"),
    ],
)
def test_a_word_that_is_mistyped_is_told_with_what_was_likely_meant(
    command: str, meant: str, capsys: Any
) -> None:
    assert main.run(command.split()) == 2
    assert f" Did you mean '{meant}'" in capsys.readouterr().err


def test_a_word_that_is_like_none_is_told_with_all_there_are(capsys: Any) -> None:
    assert main.run(["attach", "f", "--class", "zzz"]) == 2
    err = capsys.readouterr().err
    assert "'zzz' is not one of 'general', 'sensitive', 'core'.\n" in err
    assert main.run(["attach", "f", "--class", "secret"]) == 2
    assert "mean" not in capsys.readouterr().err  # as like as that is no slip
    assert not_one_of("zzz", options.CLASSES) == "'zzz' is not one of general, sensitive, core."
    assert main.run(["upload", "f", "--collection", "c", "--class", "=core"]) == 2
    assert "'=core' is not FIELD= and one of general, sensitive, core" in capsys.readouterr().err


def test_a_class_that_is_mistyped_in_python_is_named_too() -> None:
    with pytest.raises(InputError, match="no class 'genral'") as caught:
        field_class("genral")
    assert caught.value.hint == ("Did you mean 'general'? Classes are general, sensitive and core.")
