"""SPEC.md says what the code does, and every reject in it is tried somewhere."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard
from unittest import mock

import pytest

from client.keyring import Keyring, StoredIdentity, VaultEntry
from client.keyring_file import MAX_FILE_BYTES
from protocol import acts
from protocol.errors import SealroomError
from protocol.labels import Label, framed
from protocol.limits import limits_table
from tests import spec_tables
from tests.make_vectors import FOLDER

REPO = Path(__file__).resolve().parent.parent
SPEC = spec_tables.SPEC
PAGES = [SPEC, REPO / "SECURITY.md", *sorted((REPO / "docs" / "adr").glob("*.md"))]
TEST = re.compile(r"`(test_\w+\.py)::([\w:]+)`")
VECTOR = re.compile(r"`(\w+)\.json#([\w*-]+)`")


@cache
def text(page: Path = SPEC) -> str:
    return page.read_text(encoding="utf-8")


# --- tables


def test_every_table_is_what_the_code_says() -> None:
    for found in spec_tables.MARKED.finditer(text()):
        assert found[2] == spec_tables.table(found[1]), (
            f"the table {found[1]!r} is out of date; python -m tests.spec_tables writes it"
        )
    assert spec_tables.filled(text()) == text()


def test_every_table_is_in_the_specification_once() -> None:
    names = [found[1] for found in spec_tables.MARKED.finditer(text())]
    # What travels as other bytes, as part of another, without a field, or as another's form.
    inner = {"Address", "Act", "_Part", "Expire", "Heartbeat", "Noop", "Unfreeze", "Destroy"}
    records = {f"record {name}" for name in spec_tables.RECORDS if name not in inner}
    assert sorted(names) == sorted({*spec_tables.TABLES, *records})


def test_a_table_that_is_out_of_date_is_noticed() -> None:
    changed = text().replace("| `cell_bytes` | 1,048,576 |", "| `cell_bytes` | 2,097,152 |")
    assert changed != text()
    assert spec_tables.filled(changed) == text()


def test_nothing_in_the_tables_is_without_its_words() -> None:
    assert set(spec_tables.USES) == set(Label)
    assert set(spec_tables.MEANINGS) == set(limits_table())
    table = spec_tables.errors_table()
    assert all(f"`{cls.code}`" in table for cls in _below(SealroomError) if _is_protocol(cls))


def _below(cls: Any) -> list[Any]:
    return [cls, *(each for sub in cls.__subclasses__() for each in _below(sub))]


def _is_protocol(cls: Any) -> bool:
    return bool(cls.__module__ == "protocol.errors")


def test_codes_are_stable_and_one_class_each() -> None:
    classes = [cls for cls in _below(SealroomError) if _is_protocol(cls)]
    assert len({cls.code for cls in classes}) == len(classes)


def test_the_records_of_the_keyring_file_are_those_of_the_code() -> None:
    """They have tables of their own: what lies on one machine is no message."""
    records = {cls.__name__: cls for cls in (Keyring, StoredIdentity, VaultEntry)}
    words = {"Seed": "a seed (4.1)", "InviteSecret": "a link's secret (4.3)"}
    with (
        mock.patch.dict(spec_tables.RECORDS, records),
        mock.patch.dict(spec_tables.PARSERS, words),
    ):
        for name in records:
            assert f"`{name}`:\n\n{spec_tables.record_table(name)}\n" in text()
    assert f"({MAX_FILE_BYTES:,} bytes)" in text()


def test_what_is_signed_begins_as_the_specification_says() -> None:
    label = framed(Label.IDENTITY_SIGNATURE)
    assert f"| `{label[:4].hex()}` and the label `{label[4:].decode()}` |" in text()


# --- references


@cache
def names_in(module: str) -> frozenset[str]:
    """Return the names of a module's tests, those of classes with the class before them."""
    tree = ast.parse((REPO / "tests" / module).read_text(encoding="utf-8"))
    plain = [node.name for node in tree.body if _is_test(node)]
    inner = [
        f"{node.name}::{method.name}"
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if _is_test(method)
    ]
    return frozenset(plain + inner)


def _is_test(node: ast.stmt) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")


@cache
def vector_cases(name: str) -> frozenset[str]:
    """Return the names of the invalid cases of a file of vectors."""
    found = json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))
    lists = [part["cases"] if isinstance(part, dict) and "cases" in part else part
             for part in found.values()]  # fmt: skip
    return frozenset(
        case["name"]
        for part in lists
        if isinstance(part, list)
        for case in part
        if isinstance(case, dict) and ("error" in case or "as" in case)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_named_exists(page: Path) -> None:
    missing = [f"{m}::{name}" for m, name in TEST.findall(text(page)) if name not in _tests(m)]
    assert missing == []


def _tests(module: str) -> frozenset[str]:
    return names_in(module) if (REPO / "tests" / module).exists() else frozenset()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_vector_named_exists(page: Path) -> None:
    missing = [
        f"{file}#{pattern}"
        for file, pattern in VECTOR.findall(text(page))
        if not fnmatch.filter(vector_cases(file), pattern)
    ]
    assert missing == []


def test_every_invalid_vector_is_in_the_specification() -> None:
    named: dict[str, list[str]] = {}
    for file, pattern in VECTOR.findall(text()):
        named.setdefault(file, []).append(pattern)
    unnamed = [
        f"{path.stem}#{case}"
        for path in FOLDER.glob("*.json")
        for case in sorted(vector_cases(path.stem))
        if not any(fnmatch.fnmatch(case, pattern) for pattern in named.get(path.stem, []))
    ]
    assert unnamed == []


def rejects() -> list[str]:
    """Return every reject: a bullet below "MUST reject", or the paragraph that begins so."""
    found: list[str] = []
    for paragraph in re.split(r"\n\n+", text()):
        head, _, rest = paragraph.partition("MUST reject")
        if not rest or head.strip():
            continue
        found.append(rest)
    listed = re.findall(r"MUST reject[^\n]*:\n\n((?:- .*\n)+)", text())
    bullets = [line for block in listed for line in block.splitlines()]
    prose = [one for one in found if not re.fullmatch(r"[^\n]*:", one)]
    return bullets + prose


def test_every_reject_is_tried_somewhere() -> None:
    untried = [one for one in rejects() if not TEST.search(one) and not VECTOR.search(one)]
    assert untried == []
    assert len(rejects()) > 100


def test_every_section_of_the_wire_has_rejects() -> None:
    sections = re.split(r"\n## ", text())
    without = [s.partition("\n")[0] for s in sections if "MUST reject" not in s]
    assert [name.partition(".")[0] for name in without[1:]] == ["1", "11", "12", "14"]


def test_examples_are_those_of_the_vectors() -> None:
    """Every long run of hex, and every long word of base64, stands in some vector."""
    known = "".join(path.read_text(encoding="ascii") for path in sorted(FOLDER.glob("*.json")))
    known += bytes.fromhex(json.loads(known_file("checkpoints"))["note"]).decode()
    outside_tables = spec_tables.MARKED.sub("", text())
    shown = re.findall(r"\b[0-9a-f]{32,}\b|[A-Za-z0-9+/]{40,}={0,2}", outside_tables)
    assert [each for each in shown if each not in known and each not in CONSTANTS] == []
    assert len(shown) > 20


def known_file(name: str) -> str:
    return (FOLDER / f"{name}.json").read_text(encoding="ascii")


CONSTANTS = ("27742317777372353535851937790883648493",)


def headings() -> set[str]:
    return set(re.findall(r"^#{2,3} ([0-9]+(?:\.[0-9]+)?)", text(), re.MULTILINE))


SECTION = r"[0-9]+(?:\.[0-9]+)?"
CITED = re.compile(rf"SPEC(?:\.md)?(?: sections?)? ({SECTION}(?:(?:, | and | to ){SECTION})*)")


def test_every_section_cited_in_the_code_exists() -> None:
    cited: dict[str, str] = {}
    for package in ("protocol", "vault", "client"):
        for path in (REPO / package).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            for found in CITED.finditer(source):
                cited |= dict.fromkeys(re.findall(SECTION, found[1]), path.name)
    assert {number: where for number, where in cited.items() if number not in headings()} == {}


def test_every_section_cited_in_the_specification_exists() -> None:
    outside_tables = spec_tables.MARKED.sub("", text())
    cited = re.findall(r"\((\d{1,2}(?:\.\d)?)(?:[,;)]| and)", outside_tables)
    plain = {number for number in cited if "." in number}
    assert plain - headings() == set()
    assert len(plain) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text(page))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_kind_of_act_has_its_rules() -> None:
    rules = text().partition("\n## 9.")[2].partition("\n## 10.")[0]
    spoken = {"expire": "`expire` does only this", "noop": "`noop` nothing beside it"}
    missing = [k for k in acts.KINDS if spoken.get(k, f"**{k}.**") not in rules]
    assert missing == []


# --- decision records


RECORDS = sorted((REPO / "docs" / "adr").glob("*.md"))


@pytest.mark.parametrize("page", RECORDS, ids=lambda page: page.name)
def test_a_decision_has_its_four_parts(page: Path) -> None:
    heads = re.findall(r"^## (.+)$", text(page), re.MULTILINE)
    assert heads == ["Context", "Options", "Outcome", "Cost"]
    assert re.match(rf"# {int(page.name[:4])}\. ", text(page))


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.name[:4]) for page in RECORDS] == list(range(1, len(RECORDS) + 1))
