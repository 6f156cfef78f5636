"""Words that are compared: by a person at a terminal, or said to have been."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.errors import Refused
from client.results.people import JoinResult
from protocol.blocks import FieldClass
from tests.cli_world import (
    ACCEPTED,
    ACT,
    CONFIRMED,
    HOSTILE,
    ID,
    JOINED,
    LINK,
    MEMBERS,
    NEWCOMER,
    OFFERED,
    RECOVERY,
    SHOWN,
    WORDS,
    World,
    at_a_terminal,
    made_world,
    split,
)

CORE, GENERAL = FieldClass.CORE, FieldClass.GENERAL


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return made_world(tmp_path, monkeypatch)


def refused_once() -> Callable[[], Any]:
    """Refuse for want of a comparison, until it was made."""
    answers = iter([Refused("not compared", code="not_compared", hint="h"), CONFIRMED])
    return lambda: next(answers)


@pytest.mark.parametrize(
    ("command", "verb"),
    [
        ("confirm Ann", "confirm"),
        ("handover accept", "accept"),
        ("handover offer Ann", "offer"),
        ("role Ann admin", "change_role"),
    ],
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
    assert world.calls == [("confirm", ("Ann",), {"words": None, "yes": False, "classes": ()})]


def test_at_a_terminal_a_person_compares_the_words(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.answers["confirm"] = refused_once()
    assert world.run("confirm", "Ann") == 0
    assert [call[0] for call in world.calls] == ["persons", "confirm", "words", "confirm"]
    assert world.calls[-1][2] == {"words": WORDS, "yes": False, "classes": ()}
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
    world.answers["persons"] = (MEMBERS[0], MEMBERS[2], MEMBERS[2])
    world.answers["set_up_recovery"] = refused_once_then_dealt()
    command = f"recovery setup --custodians Ann,Bo,Cy --words Cy='{WORDS}'"
    assert world.run(*split(command)) == 0
    names = ("Ann", "Bo", "Cy")
    told = {"Cy": WORDS}
    assert world.calls == [
        ("persons", (names,), {}),
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
    world.answers["persons"] = (MEMBERS[2], MEMBERS[2])
    world.answers["set_up_recovery"] = refused_once_then_dealt()
    assert world.run("recovery", "setup", "--custodians", "Ann,Bo") == 4
    assert [call[0] for call in world.calls] == ["persons", "set_up_recovery", "custodian_words"]
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
    world.answers["persons"] = MEMBERS[1:]
    assert world.run("recovery", "setup", "--custodians", "Ann,Bo") == 3
    assert [call[0] for call in world.calls] == ["persons", "set_up_recovery"]


def test_words_that_differ_end_it(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "n\n")
    world.answers["confirm"] = refused_once()
    assert world.run("confirm", "Ann") == 4
    assert [call[0] for call in world.calls] == ["persons", "confirm", "words"]
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
    assert [call[0] for call in world.calls] == ["persons", "confirm"]


# --- whom a name leads to, and what was planned for it

FOR_GOOD = [
    ("handover offer Ann", "offer", "Offer everything to Ann? You cannot take it back."),
    ("role Ann keyless-admin", "change_role", "Make Ann keyless-admin?"),
    (
        "recovery setup --custodians A,B",
        "set_up_recovery",
        "Deal shares of your keys to A, B?",
    ),
]


@pytest.mark.parametrize(("command", "verb", "question"), FOR_GOOD)
def test_whom_a_name_leads_to_is_shown_before_what_nobody_takes_back(
    command: str, verb: str, question: str, world: World, capsys: Any, monkeypatch: Any
) -> None:
    at_a_terminal(monkeypatch, "n\n")
    assert world.run(*split(command)) == 130
    assert [call[0] for call in world.calls] == ["persons"]
    err = capsys.readouterr().err
    shown = f"{SHOWN} (owner, {ID[:16]}), words:\n    abandon   ability   able      about\n"
    assert shown in err
    assert err.index(shown) < err.index(f"{question} [y/N]: ")
    at_a_terminal(monkeypatch, "y\n")
    assert world.run(*split(command)) == 0
    assert [call[0] for call in world.calls] == ["persons", "persons", verb]
    # Whoever says that it is meant is shown nothing, and asked nothing.
    world.calls.clear()
    at_a_terminal(monkeypatch, "")
    assert world.run(*split(command), "--yes") == 0
    assert [call[0] for call in world.calls] == [verb]


def test_a_role_below_an_admin_s_asks_nobody(world: World, monkeypatch: Any) -> None:
    at_a_terminal(monkeypatch, "")
    assert world.run("role", "Ann", "auditor") == 0
    assert [call[0] for call in world.calls] == ["change_role"]


def test_where_the_words_are_still_to_be_compared_that_is_the_question(
    world: World, capsys: Any, monkeypatch: Any
) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.answers["persons"] = (replace(MEMBERS[2], name=None),)
    world.answers["offer"] = offered_once_compared()
    assert world.run("handover", "offer", "Ann") == 0
    assert [call[0] for call in world.calls] == ["persons", "offer", "words", "offer"]
    err = capsys.readouterr().err
    assert f"- (admin, {'ef' * 8}), words:" in err
    assert err.count("[y/N]") == 1


@pytest.mark.threat("K1")
@pytest.mark.parametrize(
    ("command", "verb", "done"),
    [("handover offer Ann", "offer", OFFERED), ("role Ann admin", "change_role", ACT)],
)
def test_the_words_that_were_heard_go_with_the_act(
    command: str, verb: str, done: Any, world: World, monkeypatch: Any
) -> None:
    """While a person hears them, the name may be given to somebody else, whose words differ."""
    at_a_terminal(monkeypatch, "y\n")
    world.answers["persons"] = (MEMBERS[2],)
    answers = iter([Refused("not compared", code="not_compared"), done])
    world.answers[verb] = lambda: next(answers)
    assert world.run(*split(command)) == 0
    assert world.calls[-1][0] == verb
    assert (world.calls[-1][2]["words"], world.calls[-1][2]["yes"]) == (WORDS, False)


def offered_once_compared() -> Callable[[], Any]:
    answers = iter([Refused("not compared", code="not_compared"), OFFERED])
    return lambda: next(answers)


def test_a_plan_is_shown_and_what_its_planner_could_not_grant_is_asked_about(
    world: World, capsys: Any, monkeypatch: Any
) -> None:
    world.answers["persons"] = (NEWCOMER,)
    for answer in ("n\n", ""):
        at_a_terminal(monkeypatch, answer)
        assert world.run("confirm", "Ann") == 130
        err = capsys.readouterr().err
        assert f"Confirming {SHOWN} grants: general, core, as {SHOWN} planned.\n" in err
        assert f"{SHOWN} could not grant core.\nDo you mean to grant {SHOWN} the class core?" in err
        assert "hint: Nobody was confirmed. 'sealroom withdraw MEMBER --classes core' ends" in err
    assert {call[0] for call in world.calls} == {"persons"}
    at_a_terminal(monkeypatch, "y\n")
    assert world.run("confirm", "Ann") == 0
    assert world.calls[-1][2] == {"words": None, "yes": False, "classes": (CORE,)}
    at_a_terminal(monkeypatch, "")
    assert world.run("confirm", "Ann", "--classes", "general,core") == 0
    assert world.calls[-1][2] == {"words": None, "yes": False, "classes": (GENERAL, CORE)}
    assert f"granted: core, {SHOWN}, as {SHOWN} planned" in capsys.readouterr().out


def test_in_a_script_what_was_not_said_is_a_refusal(world: World, capsys: Any) -> None:
    world.answers["confirm"] = Refused("would grant core", code="not_said")
    assert world.run("--json", "confirm", "Ann", "--yes") == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not_said"
    world.answers["confirm"] = replace(CONFIRMED, granted=(), planned_by=None)
    assert world.run("confirm", "Ann", "--yes") == 0
    assert "granted" not in capsys.readouterr().out
    assert [call[0] for call in world.calls] == ["confirm", "confirm"]


def test_members_tell_who_planned_and_under_which_name_words_were_compared(
    world: World, capsys: Any
) -> None:
    world.answers["members"] = (NEWCOMER, MEMBERS[2])
    assert world.run("members") == 0
    out = capsys.readouterr().out
    assert f"core (when confirmed, planned by {SHOWN})" in out
    assert f"as {SHOWN}" in out


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
