"""docs/threats.md has the ids that tests play; the code names no others; what it cites exists."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

REPO: Final = Path(__file__).resolve().parent.parent
PAGE: Final = REPO / "docs" / "threats.md"
STOPPED, WAITING = "## What is stopped, and by what", "## What waits"
ID: Final = r"[KCZVWSHDLMR][1-9]\d?"
ROW: Final = re.compile(rf"^\| ({ID}) \|", re.MULTILINE)
GROUP: Final = re.compile(r"^### ([A-Z](?: and [A-Z])*):", re.MULTILINE)
NAMED: Final = re.compile(rf"\(({ID}(?:(?:, | and | to |; ){ID})*)[):;, ]")


def page_part(title: str) -> str:
    """Return what stands below a heading of the page, up to the next of its level."""
    _, found, rest = PAGE.read_text(encoding="utf-8").partition(f"\n{title}\n")
    assert found, f"the page has no heading {title!r}"
    return rest.partition("\n## ")[0]


def rows(title: str) -> list[str]:
    return ROW.findall(page_part(title))


# --- the marks


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


def test_every_id_that_is_marked_has_one_row() -> None:
    counted = Counter(rows(STOPPED))
    wrong = {name: sorted(files) for name, files in marked().items() if counted[name] != 1}
    assert wrong == {}, "ids marked in these files, without exactly one row"


def test_every_row_of_what_is_stopped_has_a_test_that_is_marked() -> None:
    found = marked()
    assert len(found) > 90
    assert [name for name in rows(STOPPED) if name not in found] == []


def test_what_waits_is_marked_nowhere_and_listed_once() -> None:
    waiting, found = rows(WAITING), marked()
    assert len(waiting) > 5
    assert len(set(waiting)) == len(waiting)
    assert [name for name in waiting if name in found or name in rows(STOPPED)] == []


def test_no_line_of_a_table_is_read_as_none() -> None:
    """A row whose id is misspelt would else be neither held nor missed."""
    for title, columns in ((STOPPED, 3), (WAITING, 3)):
        lines = [line for line in page_part(title).splitlines() if line.startswith("|")]
        body = [line for line in lines if not line.startswith(("| id |", "| --- |"))]
        assert len(body) == len(rows(title))
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
    known, seen, wrong = set(rows(STOPPED)), 0, []
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
