"""Every defence is missed by some test: a slice of `make mutants`, and that the tool sees right.

The slice is always the same until the code changes. What is known to survive is argued one by one
in docs/mutants.md, where nothing else may stand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.mutants.__main__ import all_mutants, argued
from tests.mutants.defences import DEFENCES
from tests.mutants.finding import mutants_of
from tests.mutants.targets import DECIDING, REPO, TESTS, files_of
from tests.threats import SETTLED

SLICE = 8

SOURCE = '''
def verify(value, key):
    """Verify it."""
    check(key)
    if not value or len(value) != 3 and value[0]:
        raise Malformed("no")
    if 0 <= value[1] < 9:
        name = "odd"
        raise Malformed(name)
    elif value[2] == 7:
        return True
    else:
        raise Malformed("else")
    try:
        open(value)
    except ValueError as error:
        raise Refused("not opened") from error
    for part in value:
        _expect_part(part)
        count(part)
    size = value or b""
    return compare_digest(value, key)


class Type:
    async def check(self):
        await self.verify_all(1)
        return self.a == 1 and self.b

    def plain(self):
        return 1
'''


DECIDED = """
def decide(values, me):
    if me is None:
        return ()
    if me.old and not me.live:
        raise Refused("old")
    may = me.keyed and me.live
    _expect_known(me)
    me.mark(1)
    size = me.count(values) or 0
    return [each for each in values if each.live and each != me]


async def is_one(values, me):
    await me.close()
    return me in values
"""


def lacking(source: str = SOURCE, *, deciding: bool = False) -> list[tuple[str, str]]:
    return [(each.where, each.lacks) for each in mutants_of("x.py", source, deciding=deciding)]


def test_everything_that_a_verifier_demands_can_be_taken_out_of_it() -> None:
    assert sorted(lacking()) == sorted(
        [
            ("verify", "does not call `check(key)`"),
            ("verify", "refuses no `not value or (len(value) != 3 and value[0])`"),
            ("verify", "does not ask `not value`"),
            ("verify", "does not ask `len(value) != 3 and value[0]`"),
            ("verify", "does not ask `len(value) != 3`"),
            ("verify", "does not ask `value[0]`"),
            ("verify", "refuses no `0 <= value[1] < 9`"),
            ("verify", "does not ask the first half of `0 <= value[1] < 9`"),
            ("verify", "does not ask the second half of `0 <= value[1] < 9`"),
            ("verify", "goes on after `Malformed('else')`"),
            ("verify", "goes on after `Refused('not opened')`"),
            ("verify", "does not call `_expect_part(part)`"),
            ("verify", "takes `compare_digest(value, key)` for true"),
            ("Type.check", "does not call `self.verify_all(1)`"),
            ("Type.check", "does not ask `self.a == 1`"),
            ("Type.check", "does not ask `self.b`"),
        ]
    )


def test_what_is_decided_without_a_refusal_and_what_is_done_can_be_taken_out_as_well() -> None:
    refusing = [
        ("decide", "refuses no `me.old and (not me.live)`"),
        ("decide", "does not ask `me.old`"),
        ("decide", "does not ask `not me.live`"),
        ("decide", "does not call `_expect_known(me)`"),
        ("decide", "does not ask `each.live`"),
        ("decide", "does not ask `each != me`"),
    ]
    assert sorted(lacking(DECIDED)) == sorted(refusing)
    assert sorted(lacking(DECIDED, deciding=True)) == sorted(
        [
            *refusing,
            ("decide", "does not heed `me is None`"),
            ("decide", "does not ask `me.keyed`"),
            ("decide", "does not ask `me.live`"),
            ("decide", "does not do `me.mark(1)`"),
            ("decide", "does not sift by `each.live and each != me`"),
            ("is_one", "does not do `await me.close()`"),
            ("is_one", "takes `me in values` for true"),
        ]
    )


def test_a_decision_that_is_taken_out_leaves_the_rest() -> None:
    made = {each.lacks: each.source for each in mutants_of("x.py", DECIDED, deciding=True)}
    assert len(set(made.values())) == len(made)
    whole = made["does not heed `me is None`"]
    assert "if False:\n        return ()" in whole
    assert "if each.live and each != me]" in whole
    assert "for each in values]" in made["does not sift by `each.live and each != me`"]
    assert "me.mark(1)" not in made["does not do `me.mark(1)`"]
    assert "return True" in made["takes `me in values` for true"]


def test_a_mutant_lacks_one_thing_and_is_python_still() -> None:
    whole = len(compile(SOURCE, "x", "exec").co_consts)
    made = mutants_of("x.py", SOURCE)
    assert len({each.source for each in made}) == len(made) == len({each.id for each in made})
    for each in made:
        assert len(compile(each.source, "x", "exec").co_consts) == whole
    (without,) = (each for each in made if each.lacks == "does not call `check(key)`")
    assert "    check(key)" not in without.source
    assert "_expect_part(part)" in without.source


def test_what_reads_alike_is_told_apart() -> None:
    twice = "def f(a):\n" + "    if a:\n        raise X(1)\n" * 2
    first, second = mutants_of("x.py", twice)
    assert first.id != second.id
    assert second.id.endswith(" (2)")


def test_every_file_that_is_named_is_there_and_has_mutants() -> None:
    assert set(TESTS) >= DECIDING
    for path in TESTS:
        assert (REPO / path).is_file()
        for test in files_of(path):
            assert (REPO / test).is_file(), test
    assert {each.path for each in all_mutants()} | {"protocol/ledger/contents.py"} == set(TESTS)


def test_what_is_argued_is_a_mutant_and_is_argued_once() -> None:
    text = (REPO / "docs" / "mutants.md").read_text(encoding="utf-8")
    known = {each.id for each in all_mutants()}
    assert argued() <= known, "these are no mutants any more"
    assert text.count("\n### ") == len(argued())


@pytest.mark.threat("R26")
def test_tests_notice_what_is_taken_out() -> None:
    """By a process of its own: this one has imported what would have to change."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    # The protocol's, whose tests are quick.
    command = [sys.executable, "-m", "tests.mutants", "--only", "protocol/", "--some", str(SLICE)]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True)
    print("\n" + done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SLICE} mutants: {SLICE} killed" in done.stdout


# --- the defences of the threat table


def test_every_defence_of_the_table_is_where_it_is_said_to_be() -> None:
    for each in DEFENCES:
        compile(each.taken_out(), each.path, "exec")
    assert {each.row for each in DEFENCES} <= set(SETTLED)
    assert len(DEFENCES) > 80


def test_a_defence_that_is_not_there_is_said_to_be_missing() -> None:
    moved = replace(DEFENCES[0], there="what nobody wrote")
    with pytest.raises(ValueError, match="does not have it once"):
        moved.taken_out()
