"""docs/threats.md has every id once, each is settled by tests; what it cites exists."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import pytest
from rich.console import Console

from tests import threats
from tests.threats import (
    BESIDE,
    ID,
    PAGE,
    REPO,
    SETTLED,
    STOPPED,
    UNTESTABLE,
    WAITING,
    Recorder,
    page_part,
    print_table,
    results,
    rows,
    settling,
)

GROUP: Final = re.compile(r"^### ([A-Z](?: and [A-Z])*):", re.MULTILINE)
NAMED: Final = re.compile(rf"\(({ID}(?:(?:, | and | to |; ){ID})*)[):;, ]")
ROW: Final = re.compile(rf"^\| ({ID}) \|", re.MULTILINE)
ALL: Final = {
    "K": 16, "C": 17, "Z": 7, "V": 12, "W": 10, "S": 14, "H": 13, "D": 10, "L": 6, "M": 4, "R": 26
}  # fmt: skip
"""How many there are of each letter: 109 attacks, and 26 faults."""


def ids(title: str) -> list[str]:
    return [row.id for row in rows(title)]


# --- the marks


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def marks(source: str) -> Iterator[str]:
    """Yield the id of each `pytest.mark.threat` in a source, a comprehension's one by one."""
    tree = ast.parse(source)
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "threat" and _is_mark(node.value):
            assert id(node) in called, f"line {node.lineno}: a mark without an id"
            call = called[id(node)]
            assert len(call.args) == 1, f"line {node.lineno}: a mark has one id"
            assert not call.keywords, f"line {node.lineno}: a mark has one id"
            yield from _ids(call.args[0], tree)


def _is_mark(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "mark") or (
        isinstance(node, ast.Name) and node.id == "mark"
    )


def _ids(node: ast.expr, tree: ast.Module) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    assert isinstance(node, ast.Name), f"line {node.lineno}: an id that cannot be read"
    for outer in ast.walk(tree):
        if isinstance(outer, ast.ListComp | ast.GeneratorExp) and _holds(outer.elt, node):
            for loop in outer.generators:
                if isinstance(loop.target, ast.Name) and loop.target.id == node.id:
                    return _texts(loop.iter, tree)
    raise AssertionError(f"line {node.lineno}: an id that cannot be read")


def _holds(outer: ast.expr, inner: ast.expr) -> bool:
    return any(node is inner for node in ast.walk(outer))


def _texts(node: ast.expr | None, tree: ast.Module) -> list[str]:
    """Return the texts in a tuple or list, or the keys of a dict, by its name or as it stands."""
    if isinstance(node, ast.Name):
        for each in tree.body:
            targets = each.targets if isinstance(each, ast.Assign) else []
            if isinstance(each, ast.AnnAssign):
                targets = [each.target]
            if any(isinstance(to, ast.Name) and to.id == node.id for to in targets):
                assert isinstance(each, ast.Assign | ast.AnnAssign)
                return _texts(each.value, tree)
    assert isinstance(node, ast.Tuple | ast.List | ast.Dict), "ids that cannot be read"
    found = node.keys if isinstance(node, ast.Dict) else node.elts
    texts = [each.value for each in found if isinstance(each, ast.Constant)]
    assert len(texts) == len(found), "ids that cannot be read"
    return [str(text) for text in texts]


def marked() -> dict[str, set[str]]:
    """Return every id that is marked, and the files of tests that mark it."""
    found: dict[str, set[str]] = {}
    for path in sorted((REPO / "tests").glob("*.py")):
        for name in marks(path.read_text(encoding="utf-8")):
            found.setdefault(name, set()).add(path.name)
    return found


def marks_of(test: str) -> set[str]:
    """Return the ids on one test: its own, its parameters', its module's.

    Raises:
        AssertionError: there is no such test.
    """
    file, *names = test.split("::")
    tree = parsed(REPO / "tests" / file)
    found: ast.AST = tree
    for name in names:
        inside = [each for each in found.body if getattr(each, "name", None) == name]  # type: ignore[attr-defined]
        if not inside and isinstance(found, ast.ClassDef):  # a contract, kept by whoever inherits
            return marks_of(_inherited(tree, found, name))
        assert len(inside) == 1, f"no test {test}, or several"
        found = inside[0]
    assert isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef), test
    whole = [each for each in tree.body if isinstance(each, ast.Assign)]
    module = [each.value for each in whole if ast.unparse(each.targets[0]) == "pytestmark"]
    return {
        name
        for part in (*found.decorator_list, *module)
        for node in ast.walk(part)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "threat"
        for name in _ids(node.args[0], tree)
    }


def _inherited(tree: ast.Module, found: ast.ClassDef, name: str) -> str:
    """Return where a test stands that a class has from its only base."""
    (base,) = map(ast.unparse, found.bases)
    (module,) = (
        each.module
        for each in tree.body
        if isinstance(each, ast.ImportFrom) and base in {alias.name for alias in each.names}
    )
    assert module is not None
    return f"{module.removeprefix('tests.')}.py::{base}::{name}"


def test_every_attack_and_every_fault_has_one_row() -> None:
    known = [f"{letter}{number + 1}" for letter, most in ALL.items() for number in range(most)]
    assert len(known) == 135
    listed = [name for title in (STOPPED, WAITING, UNTESTABLE) for name in ids(title)]
    assert sorted(listed) == sorted(known)


def test_every_id_that_is_stopped_is_settled_by_tests() -> None:
    assert SETTLED.keys() == set(ids(STOPPED))
    assert BESIDE.keys() <= SETTLED.keys()
    found = [(name, test) for name in SETTLED for test in settling(name)]
    assert len(set(found)) == len(found)
    wrong = [(name, test) for name, test in found if name not in marks_of(test)]
    assert wrong == [], "tests that settle an id, and are not marked with it"


def test_no_id_is_settled_twice() -> None:
    """A dict would pass over it."""
    tree = ast.parse((REPO / "tests" / "threats.py").read_text(encoding="utf-8"))
    (named,) = (
        each.value
        for each in tree.body
        if isinstance(each, ast.AnnAssign) and ast.unparse(each.target) == "SETTLED"
    )
    keys = _texts(named, tree)
    assert Counter(keys).most_common(1)[0][1] == 1


@pytest.mark.parametrize("test", ["test_threats.py::test_that_is_not_there", "test_threats.py"])
def test_a_test_that_is_not_there_settles_nothing(test: str) -> None:
    with pytest.raises(AssertionError):
        marks_of(test)


def test_every_id_that_is_marked_has_one_row() -> None:
    counted = Counter(ids(STOPPED))
    wrong = {name: sorted(files) for name, files in marked().items() if counted[name] != 1}
    assert wrong == {}, "ids marked in these files, without exactly one row"


def test_every_row_of_what_is_stopped_has_a_test_that_is_marked() -> None:
    found = marked()
    assert len(found) > 90
    assert [name for name in ids(STOPPED) if name not in found] == []


def test_what_waits_or_cannot_be_tested_is_marked_nowhere() -> None:
    waiting, found = [*ids(WAITING), *ids(UNTESTABLE)], marked()
    assert {"R13", "M4"} <= {*waiting}
    assert [name for name in waiting if name in found] == []


def test_no_line_of_a_table_is_read_as_none() -> None:
    """A row whose id is misspelt would else be neither held nor missed."""
    for title, columns in ((STOPPED, 3), (WAITING, 3), (UNTESTABLE, 3)):
        lines = [line for line in page_part(title).splitlines() if line.startswith("|")]
        body = [line for line in lines if not line.startswith(("| id |", "| --- |"))]
        assert len(body) == len(ids(title))
        assert {line.replace("\\|", "").count("|") for line in lines} == {columns + 1}


def test_rows_stand_below_their_letter_in_order() -> None:
    pieces = GROUP.split(page_part(STOPPED))[1:]
    for title, text in zip(pieces[::2], pieces[1::2], strict=True):
        letters = title.split(" and ")
        places = [(letters.index(name[0]), int(name[1:])) for name in ROW.findall(text)]
        assert places
        assert all(one < other for one, other in pairwise(places)), title


@pytest.mark.parametrize(
    ("source", "ids"),
    [
        ('@pytest.mark.threat("K1")\n@mark.threat("K2")\ndef test() -> None: ...', ["K1", "K2"]),
        ('pytestmark = [pytest.mark.threat(a) for a in ("V8", "W1")]', ["V8", "W1"]),
        ('D: dict = {"H7": 1}\np = [param(e, marks=mark.threat(e)) for e in D]', ["H7"]),
        ('D = ["H7"]\np = [param(e, marks=[mark.threat(e)]) for e in D]', ["H7"]),
        ('p = param(1, marks=[pytest.mark.threat("S1"), mark.slow])', ["S1"]),
        ('"""pytest.mark.threat("K1")"""\nerror.threat("K3")\nthreat = "K4"', []),
    ],
)
def test_marks_are_found_in_each_form(source: str, ids: list[str]) -> None:
    assert sorted(marks(source)) == ids


@pytest.mark.parametrize(
    "source",
    [
        "pytest.mark.threat(NAME)",
        "pytest.mark.threat('K' + '1')",
        "pytest.mark.threat(7)",
        "pytest.mark.threat()",
        "pytest.mark.threat('K1', 'K2')",
        "pytest.mark.threat(id='K1')",
        "attack = pytest.mark.threat",
        "p = [mark.threat(e) for e in load()]",
        "p = [mark.threat(e) for e in ('K1', OTHER)]",
    ],
)
def test_a_mark_that_cannot_be_read_is_not_passed_over(source: str) -> None:
    with pytest.raises(AssertionError, match=r"line 1|cannot be read"):
        list(marks(source))


# --- the table that `make threats` prints


Outcome = Literal["passed", "failed", "skipped"]
When = Literal["setup", "call"]


def report(test: str, outcome: Outcome, when: When = "call") -> pytest.TestReport:
    return pytest.TestReport(f"tests/{test}", ("", 0, ""), {}, outcome, None, when)


def test_a_test_passed_if_all_of_it_did() -> None:
    seen = Recorder()
    ended: list[tuple[str, Outcome]] = [
        ("one[x]", "passed"),
        ("one[y]", "passed"),
        ("two[x]", "passed"),
        ("two[y]", "failed"),
        ("three", "skipped"),
    ]
    for name, outcome in ended:
        seen.pytest_runtest_logreport(report(f"a.py::{name}", outcome))
    seen.pytest_runtest_logreport(report("a.py::four", "passed", "setup"))
    seen.pytest_runtest_logreport(report("a.py::five", "failed", "setup"))
    told = [seen.of(f"a.py::{name}") for name in ("one", "two", "three", "four", "five", "six")]
    assert told == ["passed", "failed", "skipped", "not run", "failed", "not run"]


def test_the_table_has_every_id_once_with_its_test_and_how_it_ended() -> None:
    seen = Recorder()
    for name in ("K5", "K2"):
        seen.pytest_runtest_logreport(report(SETTLED[name], "passed"))
    seen.pytest_runtest_logreport(report(SETTLED["K3"], "failed"))
    out = io.StringIO()
    print_table(seen, Console(file=out, width=400))
    lines = [line.split() for line in out.getvalue().splitlines()]
    listed = {line[0]: line for line in lines if line and re.fullmatch(ID, line[0])}
    assert len(listed) == 135
    assert [listed[name][-1] for name in ("K5", "K3", "R13")] == ["passed", "failed", "waiting"]
    assert listed["M4"][-2:] == ["untestable", "here"]
    assert SETTLED["K5"] in listed["K5"]
    counts = results(seen)
    assert (counts["failed"], counts["untestable here"], sum(counts.values())) == (1, 1, 135)


def test_the_command_runs_the_tests_and_fails_where_one_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken: list[str] = []

    def run(arguments: list[str], plugins: list[Recorder]) -> None:
        for test in arguments[3:]:
            outcome: Outcome = "failed" if test in broken else "passed"
            plugins[0].pytest_runtest_logreport(report(test.removeprefix("tests/"), outcome))

    monkeypatch.setattr(pytest, "main", run)
    assert threats.main([]) == 0
    assert f"{len(SETTLED)} passed" in capsys.readouterr().out
    broken.append(f"tests/{SETTLED['K1']}")
    assert threats.main([]) == 1


# --- the comments


def named(source: str) -> Iterator[tuple[int, str]]:
    """Yield each id in parentheses in comments and texts, and its line; "K1 to K4" is all four."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (tokenize.COMMENT, tokenize.STRING):
            continue
        for found in NAMED.finditer(token.string):
            line = token.start[0] + token.string.count("\n", 0, found.start())
            for name in _listed(found[1]):
                yield line, name


def _listed(text: str) -> Iterator[str]:
    for one in re.split(r", | and |; ", text):
        first, _, last = one.partition(" to ")
        yield first
        if last:
            assert first[0] == last[0], f"{one!r} spans two letters"
            yield from (f"{first[0]}{n}" for n in range(int(first[1:]) + 1, int(last[1:]) + 1))


def test_comments_name_ids_that_are_in_the_table() -> None:
    known, seen, wrong = set(ids(STOPPED)), 0, []
    for package in ("vault", "client", "protocol"):
        for path in sorted((REPO / package).rglob("*.py")):
            for line, name in named(path.read_text(encoding="utf-8")):
                seen += 1
                if name not in known:
                    wrong.append(f"{path.relative_to(REPO)}:{line} names {name}")
    assert wrong == []
    assert seen > 5


def test_ids_are_found_in_comments_and_nowhere_else() -> None:
    source = (
        '"""Told the same (H11),\n\nand on time (D3, D5)."""\n'
        "x = f(K1)  # as it was (S13; S14), or not (Z1: proved)\n"
        "# (K1 to K3) (M1 and M2), SPEC (4), H9, (RFC 9421), (R16x), (X1), (K)\n"
    )
    assert list(named(source)) == [
        (1, "H11"), (3, "D3"), (3, "D5"), (4, "S13"), (4, "S14"), (4, "Z1"),
        (5, "K1"), (5, "K2"), (5, "K3"), (5, "M1"), (5, "M2"),
    ]  # fmt: skip


# --- what the rows cite


def test_every_module_that_a_row_names_exists() -> None:
    paths = re.findall(r"`([\w/]+\.py)`", PAGE.read_text(encoding="utf-8"))
    assert len(paths) > 50
    assert [path for path in paths if not (REPO / path).is_file()] == []


def test_every_section_that_a_row_names_exists() -> None:
    spec = (REPO / "protocol" / "SPEC.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", spec, re.MULTILINE))
    cited = re.findall(r"SPEC (\d[\d.]*\d|\d+)(?: (?:and|to) (\d[\d.]*\d))?", page_part(STOPPED))
    sections = {section for pair in cited for section in pair if section}
    assert len(sections) > 20
    assert sections - headings == set()


def test_every_row_of_what_is_stopped_names_code_or_another_row() -> None:
    lines = [line for line in page_part(STOPPED).splitlines() if ROW.match(line)]
    bare = [line for line in lines if not re.search(rf"\.py`|\bAs {ID}\b", line)]
    assert bare == []
