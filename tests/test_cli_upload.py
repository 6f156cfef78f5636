"""What `upload` passes on and says: several files, updates, rehearsals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client.results import as_json
from client.results.data import UploadPlan, UploadResult
from client.tables.combining import Several
from tests.cli_world import HOSTILE, PLANNED, SHOWN, World, made_world, no_raw_controls
from tests.deals import cheap_keyrings
from tests.real_commands import Ended, Server, one_server, quickly

ADDED = UploadResult(
    "c0" * 16,
    "X",
    50,
    2,
    100,
    1,
    9_999,
    0,
    1.0,
    (),
    appended=True,
    replaced=7,
    unchanged=3,
    left=90,
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = made_world(tmp_path, monkeypatch)
    (tmp_path / "u.csv").write_text("a\n2\n")
    return made


def test_several_files_are_one_table_and_each_is_shown(world: World, capsys: Any) -> None:
    assert world.run("upload", "t.csv", "u.csv", "--collection", "X") == 0
    looked, (verb, (source,), said) = world.calls
    assert (verb, looked[0]) == ("upload", "plan_upload")
    assert isinstance(source, Several)
    assert looked == ("plan_upload", (source,), {"rehearse": False, **said})
    err = capsys.readouterr().err
    assert err.index("t.csv") < err.index("u.csv")


def test_rows_that_are_set_aside_have_a_file_for_each(world: World, capsys: Any) -> None:
    both = ("upload", "t.csv", "u.csv", "--collection", "X")
    assert world.run(*both, "--set-aside", "bad.csv") == 2
    assert "--on-error set-aside one for each" in capsys.readouterr().err
    assert world.run(*both, "--on-error", "set-aside") == 0


def test_an_update_says_what_it_did(world: World, capsys: Any) -> None:
    world.answers["upload"] = ADDED
    arguments = ("upload", "t.csv", "--collection", "X", "--replace-by", "a", "--again")
    assert world.run(*arguments) == 0
    said = world.calls[-1][2]
    assert (said["replace_by"], said["again"]) == ("a", True)
    out = capsys.readouterr().out
    assert out.startswith("updated by 'a': X\n")
    for line in (
        "replaced   7 records", "added      43 records", "unchanged  3 records",
        "left       90 records that no row is about; an update removes none",
    ):  # fmt: skip
        assert f"{line}\n" in out
    assert "added to" not in out


def test_an_update_of_nothing_there_says_that_it_is_an_upload(world: World, capsys: Any) -> None:
    arguments = ("upload", "t.csv", "--collection", "X", "--replace-by", "a")
    assert world.run(*arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("50 records of 2 fields sealed and committed: ")
    assert "that no row is about" not in out
    world.answers["plan_upload"] = UploadPlan("X", None, (), 50)
    assert world.run(*arguments, "--dry-run") == 0
    assert capsys.readouterr().out.startswith("would seal and send 50 records of 1 field to a new")


def test_a_rehearsed_update_says_what_would_become_of_each_record(
    world: World, capsys: Any
) -> None:
    arguments = ("upload", "t.csv", "--collection", "X", "--replace-by", "a", "--dry-run")
    assert world.run(*arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("would update by 'a': X\n")
    for line in (
        "replaced    7 records", "added       43 records", "unchanged   3 records",
        "left        1,194 records that no row is about; an update removes none",
    ):  # fmt: skip
        assert f"{line}\n" in out


def test_a_rehearsal_says_what_would_be_done(world: World, capsys: Any) -> None:
    arguments = ("upload", "t.csv", "--collection", "X", "--dry-run")
    assert world.run(*arguments) == 0
    assert [(verb, said.get("rehearse")) for verb, _, said in world.calls] == [
        ("plan_upload", False), ("plan_upload", True),
    ]  # fmt: skip
    out, err = capsys.readouterr()
    assert out.startswith("would seal and send 50 records of 1 field to 1,204 records in: X\n")
    for line in (
        "sealed      9.8 KiB in 1 batch",
        "sealing     0.5 s on this machine",
        "would take  about 90.0 s, as fast as the last time", f"note        {SHOWN}",
        "nothing was sent",
    ):  # fmt: skip
        assert f"{line}\n" in out
    assert f" ! {SHOWN}\n" in err
    assert no_raw_controls(out + err)
    world.answers["plan_upload"] = UploadPlan("X", None, (), 0)
    assert world.run(*arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("would seal and send 0 records of 1 field to a new collection: X\n")
    assert "nobody knows: nothing of some size was sent from this home yet" in out


def test_a_rehearsal_for_programs(world: World, capsys: Any) -> None:
    assert world.run("--json", "upload", "t.csv", "--collection", "X", "--dry-run") == 0
    ((verb, _, said),) = world.calls
    assert (verb, said["rehearse"]) == ("plan_upload", True)
    shown = json.loads(capsys.readouterr().out)
    assert shown == as_json(PLANNED) | {"fields": [
        {"name": "a", "type": "string", "field_class": "sensitive",
         "looks_like": None, "looked_at": None, "advised": None}
    ], "notes": [HOSTILE]}  # fmt: skip


def test_a_rehearsal_that_is_stopped_has_sent_nothing(world: World, capsys: Any) -> None:
    world.answers["plan_upload"] = KeyboardInterrupt()
    assert world.run("--json", "upload", "t.csv", "--collection", "X", "--dry-run") == 130
    assert "hint: Nothing was sent." in capsys.readouterr().err


# --- against a real server


server = pytest.fixture(scope="module")(one_server)


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Iterator[Callable[..., Ended]]:
    with cheap_keyrings():
        home = ("--home", tmp_path / "home")
        quickly(*home, "--json", "vault", "create", *server.create, "--title", "Lark").ok()
        yield lambda *arguments: quickly(*home, *arguments)


def test_a_table_grows_and_changes_by_the_command_line(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    one, two, new = (tmp_path / f"{each}.csv" for each in ("one", "two", "new"))
    one.write_text("id,name\n1,Ann\n2,Bob\n")
    two.write_text("name,id\nCem,3\n")
    new.write_text("id,name\n2,Bo\n4,Di\n3,Cem\n")
    made = run("upload", one, two, "--collection", "c", "--class", "name=core")
    assert "3 records of 2 fields sealed and committed: c" in made.out
    assert "put in that one by name" in made.err
    again = run("upload", one, two, "--collection", "c", "--class", "name=core")
    assert (again.code, "before (act" in again.err) == (3, True)
    other = run("upload", one, "--collection", "c", "--class", "name=general")
    assert other.code == 1
    assert "error: the table does not fit the collection 'c': 'name' is to be general" in other.err
    rehearsed = run("upload", new, "--collection", "c", "--replace-by", "id", "--dry-run")
    told = "replaced    1 record\nadded       1 record\nunchanged   1 record\nleft        1 record"
    assert told in rehearsed.out
    updated = run("upload", new, "--collection", "c", "--replace-by", "id")
    told = "replaced   1 record\nadded      1 record\nunchanged  1 record\nleft       1 record that"
    assert told in updated.out
    rows = run("--json", "read", "c").ok()["rows"]
    assert {row["id"]: row["name"] for row in rows} == {
        "1": "Ann",
        "2": "Bo",
        "3": "Cem",
        "4": "Di",
    }
