"""`sealroom attach` and `sealroom documents`, beyond what the table of commands shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.cli.progress import Pace, _bar, _figures, _Shown
from client.results import as_json
from client.results.documents import GetAllResult
from client.results.progress import Progress
from tests.cli_world import (
    ATTACHED,
    FETCHED,
    ID,
    NOT_GOT,
    REMOVED,
    SENSITIVE,
    SHOWN,
    World,
    at_a_terminal,
    made_world,
    no_raw_controls,
    split,
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return made_world(tmp_path, monkeypatch)


# --- attaching


def test_several_files_are_attached_one_after_the_other(world: World, capsys: Any) -> None:
    assert world.run("attach", "t.csv", "request.txt") == 0
    named = {"field_class": SENSITIVE, "name": None}
    assert world.calls == [
        ("attach", (Path("t.csv"),), named),
        ("attach", (Path("request.txt"),), named),
    ]
    assert len(world.opened) == 1
    assert capsys.readouterr().out.count(f"{SHOWN}: attached as core\n") == 2


def test_what_was_there_already_is_told_so(world: World, capsys: Any) -> None:
    world.answers["attach"] = replace(ATTACHED, already=True, resumed_batches=0)
    assert world.run("attach", "t.csv") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{SHOWN}: was there already\n")
    assert "resumed" not in out


@pytest.mark.parametrize("file", ["gone.pdf", "."])
def test_what_cannot_be_attached_is_found_before_the_passphrase_and_the_first_file(
    world: World, capsys: Any, file: str
) -> None:
    assert world.run("attach", "t.csv", file) == 1
    assert (world.unlocked, world.calls) == (0, [])
    assert "hint: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "attach",
        "attach t.csv --class people",
        "attach t.csv request.txt --name one",
        "attach t.csv ./t.csv",
        "documents get",
        "documents get X --all",
        "documents get X Y --out F",
        "documents get --all --out F",
        "documents get X --out F --into D",
        "documents remove X",
        "documents remove --reason left",
    ],
)
def test_wrong_usage_asks_nobody(command: str, world: World, capsys: Any) -> None:
    assert world.run("--json", *split(command)) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"
    assert (world.unlocked, world.calls) == (0, [])


@pytest.mark.parametrize(
    ("command", "verb", "hint"),
    [
        ("attach t.csv", "attach", "The same command goes on where it stopped."),
        ("documents get X", "get_document", "a hidden .part file; the same command goes on"),
        ("documents remove X --reason left --yes", "remove_document", "the same command does"),
    ],
)
def test_what_is_stopped_says_how_to_go_on(
    command: str, verb: str, hint: str, world: World, capsys: Any
) -> None:
    world.answers[verb] = KeyboardInterrupt()
    assert world.run(*split(command)) == 130
    assert hint in capsys.readouterr().err


# --- listing


def test_a_list_shows_hostile_names_escaped(world: World, capsys: Any) -> None:
    assert world.run("documents", "list") == 0
    out = capsys.readouterr().out
    assert no_raw_controls(out)
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["document", "class", "size", "by", "you", "id"]
    assert lines[1] == [
        SHOWN, "core", "19.5", "KiB", SHOWN, "may", "get", "it", "d0" * 8,
    ]  # fmt: skip
    assert lines[2] == ["-", "general", "-", ID[:16], "damaged", "d1" * 8]
    assert lines[3][-3:] == [ID[:16], "-", "d0" * 8]


def test_an_empty_list_says_so(world: World, capsys: Any) -> None:
    world.answers["documents"] = ()
    assert world.run("documents", "list") == 0
    assert capsys.readouterr().out == "no documents yet\n"


# --- getting


def test_all_means_all_that_can_be_had(world: World, capsys: Any) -> None:
    assert world.run("documents", "get", "--all", "--into", "D") == 0
    assert [(verb, given) for verb, given, _ in world.calls] == [
        ("get_documents", (None,)),
    ]
    assert capsys.readouterr().out.startswith(f"{SHOWN}: verified and written to {SHOWN}\n")


def test_all_of_nothing_says_so(world: World, capsys: Any) -> None:
    world.answers["get_documents"] = GetAllResult((), ())
    assert world.run("documents", "get", "--all") == 0
    assert capsys.readouterr().out == "no documents that you may get\n"


def test_what_was_not_written_is_listed_and_the_command_fails(world: World, capsys: Any) -> None:
    unnamed = replace(NOT_GOT, name=None, author_name=None, message="gone", hint=None)
    world.answers["get_documents"] = GetAllResult((FETCHED,), (NOT_GOT, unnamed))
    assert world.run("documents", "get", "--all") == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{SHOWN}: verified and written to {SHOWN}\n")
    assert err.splitlines()[-4:] == [
        "error: of 3 documents, 2 not written",
        f"  {SHOWN} ({'d1' * 8}, by {SHOWN}): {SHOWN}",
        f"  hint: {SHOWN}",
        f"  {'d1' * 8} ({'d1' * 8}, by {ID[:16]}): gone",
    ]
    assert world.run("--json", "documents", "get", "--all") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["failed"] == json.loads(json.dumps(as_json((NOT_GOT, unnamed))))
    assert err == ""


def test_what_is_not_what_was_attached_is_no_common_failure(world: World, capsys: Any) -> None:
    lie = replace(NOT_GOT, code="integrity", untrue=True)
    world.answers["get_documents"] = GetAllResult((), (NOT_GOT, lie))
    assert world.run("documents", "get", "--all") == 4
    assert "no documents" not in capsys.readouterr().out


def test_a_document_that_was_not_resumed_says_nothing_of_it(world: World, capsys: Any) -> None:
    world.answers["get_document"] = replace(FETCHED, resumed_bytes=0)
    assert world.run("documents", "get", "X") == 0
    assert "resumed" not in capsys.readouterr().out


# --- removing


def test_nothing_is_removed_unless_it_is_meant(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("documents", "remove", "X", "--reason", "left")
    assert world.run(*command) == 1
    assert "Say that you mean it, with --yes." in capsys.readouterr().err
    at_a_terminal(monkeypatch, "n\n")
    assert world.run(*command) == 130
    assert world.calls == []
    at_a_terminal(monkeypatch, "y\n")
    assert world.run(*command) == 0
    assert len(world.calls) == 1


def test_what_has_no_name_is_removed_by_its_id(world: World, capsys: Any) -> None:
    world.answers["remove_document"] = replace(REMOVED, name=None, acts=(9,))
    assert world.run("documents", "remove", "d0d0d0", "--reason", "left", "--yes") == 0
    assert capsys.readouterr().out == f"removed: {'d0' * 8}\nlog   leaf 9\ntook  0.5 s\n"
    world.answers["remove_document"] = replace(REMOVED, acts=())
    assert world.run("documents", "remove", "d0d0d0", "--reason", "left", "--yes") == 0
    assert capsys.readouterr().out == f"removed: {SHOWN}\ntook  0.5 s\n"


# --- progress


@pytest.mark.parametrize(
    ("heard", "speed", "shown"),
    [
        (Progress("x", 3_000, 1 << 30, "bytes"), 5e6, "2.9 KiB of 1.0 GiB, 4.8 MiB/s, 3:35 left"),
        (Progress("x", 0, None, "bytes"), None, "0 bytes"),
        (
            Progress("x", 3_000, 5_000, "records"),
            1_234.6,
            "3,000 of 5,000 records, 1,235/s, 0:02 left",
        ),
        (Progress("x", 3_000, None, "records"), None, "3,000 records"),
        (Progress("x", 3_000, None, "records"), 10.0, "3,000 records, 10/s"),
        (
            Progress("x", 3_000, 51_234, "records", estimated=True),
            10.0,
            "3,000 of about 51,000 records, 10/s, 1:20:24 left",
        ),
        (
            Progress("x", 9, 9, "records", estimated=True),
            None,
            "9 of about 9 records",
        ),
    ],
)
def test_figures_are_in_units_that_people_read(
    heard: Progress, speed: float | None, shown: str
) -> None:
    assert _figures(heard, speed) == shown


def test_a_pace_is_that_of_the_last_half_minute() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    pace.hear(5)
    assert pace.speed is None
    pace.hear(9)
    assert pace.speed is None  # no time has passed that could be told
    for at, done, speed in ((1, 105, 100), (2, 205, 100), (32, 505, 400 / 31), (40, 905, 700 / 38)):
        now[0] = at
        pace.hear(done)
        assert pace.speed == pytest.approx(speed, rel=0.01)
    pace.hear(3)  # the next file
    assert pace.speed is None
    now[0] = 41
    pace.hear(53)
    assert pace.speed == pytest.approx(50)


def test_the_bar_of_the_next_file_begins_anew() -> None:
    bar = _bar()
    try:
        shown = _Shown(bar)
        shown.show(Progress("x", 5, 10, "bytes"))
        shown.show(Progress("x", 10, 10, "bytes"))
        shown.show(Progress("x", 3, 20, "bytes"))
        (task,) = bar.tasks
        assert (task.completed, task.total) == (3, 20)
        assert task.finished_time is None
    finally:
        bar.stop()
