"""Words that are compared: by a person at a terminal, or said to have been."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.errors import Refused
from client.results.people import JoinResult
from tests.cli_world import (
    ACCEPTED,
    ACT,
    HOSTILE,
    ID,
    JOINED,
    LINK,
    RECOVERY,
    WORDS,
    World,
    at_a_terminal,
    made_world,
    split,
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return made_world(tmp_path, monkeypatch)


def refused_once() -> Callable[[], Any]:
    """Refuse for want of a comparison, until it was made."""
    answers = iter([Refused("not compared", code="not_compared", hint="h"), ACT])
    return lambda: next(answers)


@pytest.mark.parametrize(
    ("command", "verb"), [("confirm Ann", "confirm"), ("handover accept", "accept")]
)
def test_in_a_script_words_that_were_not_compared_are_a_refusal(
    command: str, verb: str, world: World, capsys: Any
) -> None:
    world.answers[verb] = refused_once()
    assert world.run("--json", *split(command)) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not_compared"
    assert len(world.calls) == 1


def test_words_compared_before_need_nobody(world: World) -> None:
    assert world.run("confirm", "Ann") == 0
    assert world.calls == [("confirm", ("Ann",), {"words": None, "yes": False})]


def test_at_a_terminal_a_person_compares_the_words(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.answers["confirm"] = refused_once()
    assert world.run("confirm", "Ann") == 0
    assert [call[0] for call in world.calls] == ["confirm", "words", "confirm"]
    assert world.calls[-1][2] == {"words": None, "yes": True}
    err = capsys.readouterr().err
    assert "\n    abandon   ability   able      about\n" in err
    assert "read out the same words?" in err


def test_the_buyer_compares_the_sellers_words(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.answers["accept"] = refused_once_then_accepted()
    assert world.run("handover", "accept") == 0
    assert [call[0] for call in world.calls] == ["accept", "members", "accept"]
    assert "    abandon " in capsys.readouterr().err


def refused_once_then_accepted() -> Callable[[], Any]:
    answers = iter([Refused("not compared", code="not_compared"), ACCEPTED])
    return lambda: next(answers)


def refused_once_then_dealt() -> Callable[[], Any]:
    answers = iter([Refused("not compared", code="not_compared"), RECOVERY])
    return lambda: next(answers)


def test_an_owner_compares_the_words_of_each_custodian_that_is_new_to_it(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "y\ny\n")
    world.answers["set_up_recovery"] = refused_once_then_dealt()
    command = f"recovery setup --custodians Ann,Bo,Cy --words Cy='{WORDS}'"
    assert world.run(*split(command)) == 0
    names = ("Ann", "Bo", "Cy")
    told = {"Cy": WORDS}
    assert world.calls == [
        ("set_up_recovery", (names, 2), {"words": told, "yes": False}),
        ("custodian_words", (names,), {}),
        ("set_up_recovery", (names, 2), {"words": dict.fromkeys(names, WORDS), "yes": False}),
    ]
    err = capsys.readouterr().err
    for name in ("Ann", "Bo"):
        assert f"Compare these words with {name}," in err
        assert f"Does {name} read out the same words?" in err


def test_a_custodian_whose_words_differ_ends_it_before_anything_is_dealt(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "y\nn\n")
    world.answers["set_up_recovery"] = refused_once_then_dealt()
    assert world.run("recovery", "setup", "--custodians", "Ann,Bo") == 4
    assert [call[0] for call in world.calls] == ["set_up_recovery", "custodian_words"]
    assert "do not go on: somebody is in between" in capsys.readouterr().err


def test_in_a_script_custodians_with_whom_nobody_compared_are_a_refusal(
    world: World, capsys: Any
) -> None:
    world.answers["set_up_recovery"] = refused_once_then_dealt()
    assert world.run("--json", "recovery", "setup", "--custodians", "Ann,Bo") == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not_compared"
    assert len(world.calls) == 1
    assert world.run("recovery", "setup", "--custodians", "Ann,Bo", "--yes") == 0
    assert world.calls[-1][2] == {"words": {}, "yes": True}


def test_another_refusal_of_custodians_asks_nobody(world: World, monkeypatch: Any) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.answers["set_up_recovery"] = Refused("no", code="out_of_order")
    assert world.run("recovery", "setup", "--custodians", "Ann,Bo") == 3
    assert len(world.calls) == 1


def test_words_that_differ_end_it(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "n\n")
    world.answers["confirm"] = refused_once()
    assert world.run("confirm", "Ann") == 4
    assert [call[0] for call in world.calls] == ["confirm", "words"]
    assert "do not go on: somebody is in between" in capsys.readouterr().err


def test_no_answer_is_not_a_yes(world: World, capsys: Any, monkeypatch: Any) -> None:
    at_a_terminal(monkeypatch, "")
    world.answers["confirm"] = refused_once()
    assert world.run("confirm", "Ann") == 130
    at_a_terminal(monkeypatch, "\n")
    world.answers["confirm"] = refused_once()
    assert world.run("confirm", "Ann") == 4


def test_another_refusal_asks_nobody(world: World, monkeypatch: Any) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.answers["confirm"] = Refused("no", code="out_of_order")
    assert world.run("confirm", "Ann") == 3
    assert len(world.calls) == 1


def not_compared() -> Any:
    return JoinResult(ID, HOSTILE, ID, ID, "bidder", "unconfirmed", WORDS, False, 0)


def test_a_script_that_joins_is_told_the_words(world: World, capsys: Any) -> None:
    world.answers["join"] = not_compared()
    assert world.run("--json", "join", LINK) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["words"], told["compared"]) == (WORDS, False)
    assert len(world.calls) == 1


def test_a_person_who_joins_is_told_to_compare_the_words(world: World, capsys: Any) -> None:
    world.answers["join"] = not_compared()
    assert world.run("join", LINK) == 0
    out = capsys.readouterr().out
    assert "bidder, unconfirmed" in out
    assert "Read these words to the inviter" in out
    world.answers["join"] = JOINED
    assert world.run("join", LINK, "--yes") == 0
    assert "Read these words" not in capsys.readouterr().out


def test_a_link_can_come_on_standard_input(world: World, monkeypatch: Any) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(f" {LINK}\nmore"))
    assert world.run("join", "-", "--yes") == 0
    assert world.calls[0][1] == (f" {LINK}\n",)
