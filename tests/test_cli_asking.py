"""What a person is asked before it cannot be undone, and what is offered once a command is done."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from client.cli import options
from client.errors import InputError, Refused
from client.kits import Backup
from client.results.vaults import NewKeys, Way
from protocol.errors import NotAuthorised
from tests.cli_table import KIT, KIT_WORDS
from tests.cli_world import ACT, HOSTILE, ID, SHOWN, WORDS, World, at_a_terminal, made_world, split


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return made_world(tmp_path, monkeypatch)


# --- for ever

FOR_EVER = [
    ("erase X --records 1,3 --reason request", "Erase 2 records of X for ever?"),
    ("erase X --unreadable --reason request", "Erase what does not open of X for ever?"),
    (
        "erase --names-by Kim --reason request",
        "Erase what Kim wrote for names, and nobody goes by, for ever?",
    ),
    ("collection retire X --reason retention", "Delete the collection X, for ever?"),
    ("vault destroy --reason terms", "Destroy the vault and all that is in it, for ever?"),
    ("attest destroyed", "Destroy this home's keys of the vault, for ever?"),
]


@pytest.mark.parametrize(("command", "question"), FOR_EVER)
def test_a_script_says_that_it_is_meant(
    command: str, question: str, world: World, capsys: Any
) -> None:
    assert world.run("--json", *split(command)) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "input"
    assert "hint: Say that you mean it, with --yes." in err
    assert (world.calls, world.unlocked) == ([], 0)
    assert world.run(*split(command), "--yes") == 0
    assert len(world.calls) == 1


@pytest.mark.parametrize(("command", "question"), FOR_EVER)
def test_a_person_is_asked_and_may_think_again(
    command: str, question: str, world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in ("n\n", "\n", ""):
        at_a_terminal(monkeypatch, answer)
        assert world.run(*split(command)) == 130
        err = capsys.readouterr().err
        assert f"{question} [y/N]: " in err
        assert "error: stopped\nhint: Nothing was done." in err
    assert (world.calls, world.unlocked) == ([], 0)
    at_a_terminal(monkeypatch, "y\n")
    assert world.run(*split(command)) == 0
    assert len(world.calls) == 1


def test_a_hostile_name_is_asked_about_escaped(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "n\n")
    assert world.run("collection", "retire", HOSTILE, "--reason", "other") == 130
    assert f"Delete the collection {SHOWN}, for ever?" in capsys.readouterr().err


# --- new keys, once a command is done


def test_whoever_could_replace_keys_is_told_how(world: World, capsys: Any) -> None:
    for waiting, text in [
        (1, "1 field takes no new data until its key is replaced: run 'sealroom rotate --tainted'"),
        (3, "3 fields take no new data until their keys are replaced: run 'sealroom rotate"),
    ]:
        world.waiting = NewKeys(5, waiting, Way.ROTATE)
        assert world.run("collection", "list") == 0
        assert text in capsys.readouterr().err
        # A program is told by 'vault status', and finds one document on its standard output.
        assert world.run("--json", "collection", "list") == 0
        out, err = capsys.readouterr()
        assert json.loads(out)
        assert err == ""
    world.waiting = NewKeys(5, 0, None)  # nothing that this member may do, so it is left in peace
    assert world.run("collection", "list") == 0
    assert capsys.readouterr().err == ""
    assert {call[0] for call in world.calls} == {"collections"}


@pytest.mark.parametrize(
    ("typed", "index", "told"),
    [
        ("y\n", 8, "replaced (leaf 8 of the log)"),
        ("\n", 8, "replaced (leaf 8 of the log)"),
        ("y\n", None, "replaced (by somebody else)"),
        ("n\n", 8, ""),
        ("", 8, ""),
    ],
)
def test_at_a_terminal_it_is_offered_and_the_command_is_done_either_way(
    typed: str,
    index: int | None,
    told: str,
    world: World,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dataclasses import replace

    at_a_terminal(monkeypatch, typed)
    world.waiting = NewKeys(2, 2, Way.ROTATE)
    world.answers["rotate"] = replace(world.answers["rotate"], index=index)
    assert world.run("members") == 0
    err = capsys.readouterr().err
    assert "2 fields take no new data until their keys are replaced. Replace now? [Y/n]" in err
    assert told in err
    rotated = [call for call in world.calls if call[0] == "rotate"]
    assert rotated == ([("rotate", (), {"tainted": True})] if told else [])


def test_a_new_owner_is_told_to_take_over_and_nothing_else(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.waiting = NewKeys(5, 5, Way.TAKEOVER)
    told = "The seller still knows the keys that are in use: run 'sealroom handover takeover' next."
    assert world.run("handover", "accept", "--yes") == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == told
    assert "rotate" not in out + err
    assert "takeover" not in out
    # It takes long: a person is told too, and not led into it by a question.
    at_a_terminal(monkeypatch, "y\n")
    assert world.run("collection", "list") == 0
    assert capsys.readouterr().err.splitlines() == [told]
    assert {call[0] for call in world.calls} == {"accept", "collections"}


def test_a_replacement_that_fails_is_told(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.waiting = NewKeys(1, 1, Way.ROTATE)
    world.answers["rotate"] = Refused("frozen", code="frozen")
    assert world.run("members") == 3
    assert "error: frozen" in capsys.readouterr().err


def test_nothing_is_offered_after_a_command_that_failed(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.waiting = NewKeys(1, 1, Way.ROTATE)
    world.answers["members"] = NotAuthorised("no")
    assert world.run("members") == 4
    assert "Replace now?" not in capsys.readouterr().err


# --- a rescue request, a kit


def refused_once() -> Callable[[], Any]:
    answers = iter([Refused("not compared", code="not_compared"), ACT])
    return lambda: next(answers)


def test_a_custodian_compares_words_with_whoever_asks(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.answers["release_share"] = refused_once()
    assert world.run("recovery", "release", "request.txt") == 0
    text = "sealroom-rescue:AAAA"
    assert world.calls == [
        ("release_share", (text,), {"words": None, "yes": False}),
        ("request_words", (text,), {}),
        ("release_share", (text,), {"words": WORDS, "yes": False}),
    ]
    assert "    abandon " in capsys.readouterr().err


def test_a_rebuilt_owner_is_told_of_new_keys_as_by_every_other_command(
    world: World, capsys: Any
) -> None:
    world.waiting = NewKeys(4, 4, Way.ROTATE)
    assert world.run("recovery", "rebuild") == 0
    out, err = capsys.readouterr()
    assert "sealroom rotate'" not in out
    what = "4 fields take no new data until their keys are replaced"
    assert err == f"{what}: run 'sealroom rotate --tainted'.\n"
    assert world.closed == 1
    world.waiting = NewKeys(0, 0, None)
    assert world.run("recovery", "rebuild") == 0
    out, err = capsys.readouterr()
    assert "--tainted" not in out + err
    assert "sealroom rotate'" not in out


def test_a_request_s_text_alone_goes_to_standard_output(world: World, capsys: Any) -> None:
    assert world.run("recovery", "request", "h:1", ID) == 0
    out, err = capsys.readouterr()
    assert out == "sealroom-rescue:AAAA\n"
    assert err == f"Your id here, which custodians compare by: {'cd' * 32}\n"


def test_a_request_can_come_on_standard_input(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("typed\n"))
    assert world.run("recovery", "release", "-", "--yes") == 0
    assert world.calls == [("release_share", ("typed\n",), {"words": None, "yes": True})]


@pytest.mark.parametrize("kit", ["kit.html", "-"])
def test_a_kit_is_read_from_its_page_or_from_standard_input(
    kit: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = f"<p>{KIT.code()}</p>"
    (world.directory / "kit.html").write_text(page)
    monkeypatch.setattr("sys.stdin", io.StringIO(page))
    assert world.run("identity", "restore", "--kit", kit) == 0
    assert world.calls == [("restore", (KIT,), {"server": None, "pin": None})]


def test_a_kit_that_nobody_confirmed_is_called_so(world: World, capsys: Any) -> None:
    world.answers["backup"] = Backup(KIT, "could not reach \x1b[2Jh:1")
    assert world.run("identity", "backup", "--out", "kit.html") == 0
    out, err = capsys.readouterr()
    assert out == "written: kit.html\n"
    assert "NOT CONFIRMED by the server: could not reach \\x1b[2Jh:1.\n" in err
    assert "make another kit once the server answers again" in err
    assert world.run("--json", "identity", "backup", "--out", "kit.html") == 0
    assert json.loads(capsys.readouterr().out)["unconfirmed"] == "could not reach \x1b[2Jh:1"


def test_a_place_that_is_given_beside_a_kit_is_passed_on(world: World) -> None:
    (world.directory / "kit.html").write_text(KIT.code())
    assert world.run(*split(f"identity restore --kit kit.html --pin {'AB' * 32}")) == 0
    assert world.run(*split("identity restore --kit kit.html --server New.example:9")) == 0
    assert world.calls == [
        ("restore", (KIT,), {"server": None, "pin": b"\xab" * 32}),
        ("restore", (KIT,), {"server": "https://new.example:9", "pin": None}),
    ]


def test_a_kits_words_are_asked_for_unseen(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: KIT_WORDS)
    arguments = ["--server", "H:1", "--vault-id", ID, "--pin", "cd" * 32]
    assert world.run("identity", "restore", *arguments) == 0
    assert world.calls == [("restore", (KIT,), {"server": "https://h:1", "pin": b"\xcd" * 32})]
    assert "abandon" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(("content", "limit"), [(b"", None), (b"\xff\xfe", None), (b"sealroom", 7)])
def test_what_is_no_text_is_told_before_anybody_is_asked(
    content: bytes, limit: int | None, world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit is not None:
        monkeypatch.setattr(options, "MOST_CHARACTERS", limit)
    (world.directory / "file").write_bytes(content)
    for command in ("recovery release file", "identity restore --kit file"):
        assert world.run("--json", *split(command)) == 1
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "input"
    with pytest.raises(InputError, match="no such text"):
        options.text_of(world.directory / "file")
    assert world.run("recovery", "release", "gone.txt") == 1
    assert "No such file" in capsys.readouterr().err
    assert (world.calls, world.unlocked) == ([], 0)


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        ("erase X --reason request --yes", 2),
        ("erase X --records 1 --unreadable --reason request", 2),
        ("erase --records 1 --reason request --yes", 2),
        ("erase --unreadable --reason request --yes", 2),
        ("erase X --names-by Kim --reason request --yes", 2),
        ("erase --names-by Kim --unreadable --reason request --yes", 2),
        ("erase X --records 0 --reason request", 2),
        ("erase X --records 5-3 --reason request", 2),
        ("erase X --records '' --reason request", 2),
        ("erase X --records 1", 2),
        ("rotate --tainted --fields a", 2),
        ("policy set", 2),
        ("policy set --head-signers Ann,,", 2),
        ("identity backup", 2),
        ("identity restore", 2),
        (f"identity restore --vault-id {ID}", 2),
        ("identity restore --words 'a b' --server h", 2),
        ("identity restore --words 'a b' --kit request.txt", 2),
        (f"identity restore --vault-id {ID} --kit request.txt", 2),
        ("identity restore --kit request.txt --pin abc", 1),
        ("identity restore --kit request.txt --server http://h", 1),
        ("recovery setup --custodians Ann --threshold 1", 2),
        ("recovery setup", 2),
        (f"recovery setup --custodians Ann,Bo --words '{WORDS}'", 2),
        (f"recovery setup --custodians Ann,Bo --words '={WORDS}'", 2),
        (f"recovery setup --custodians Ann,Bo --words 'Bo={WORDS}' --words 'Bo={WORDS}'", 2),
        ("recovery setup --custodians Ann,Bo --words 'Bo=x y z'", 1),
        (f"identity restore --words 'a b' --server h --vault-id {ID}", 1),
        ("identity restore --words 'a b' --server h --vault-id abc", 1),
        ("recovery request h abc", 1),
        (f"recovery request http://h {ID}", 1),
        (f"recovery request h {ID} --pin abc", 1),
        (f"recovery words {ID} abc", 1),
        ("recovery release request.txt --words 'x y z'", 1),
    ],
)
def test_what_does_not_fit_asks_nobody(
    command: str, exit_code: int, world: World, capsys: Any
) -> None:
    assert world.run("--json", *split(command)) == exit_code
    assert json.loads(capsys.readouterr().out)["error"]["code"]
    assert (world.calls, world.unlocked) == ([], 0)


def test_record_numbers_are_listed_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options.record_numbers(" 204 - 206,17,205") == (17, 204, 205, 206)
    monkeypatch.setattr(options, "MOST_RECORDS", 5)
    assert len(options.record_numbers("1-5")) == 5
    for too_many in ("1-6", "1-5,9", "1-3,7-9"):
        with pytest.raises(click.BadParameter, match="more than 5 records"):
            options.record_numbers(too_many)


def test_words_and_ids_are_taken_as_people_type_them() -> None:
    assert options.whole_id(f" {ID.upper()} ") == bytes.fromhex(ID)
    assert options.names_or_nobody("  ") == ()
    assert options.checked_words(WORDS.upper()) == WORDS
