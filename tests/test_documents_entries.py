"""What a catalog says of a document, and what of it is taken for true (SPEC section 7.6)."""

from __future__ import annotations

import pytest

from client.documents.entries import Entry, entry_of, entry_rows, media_type_of
from protocol.encoding import Value
from tests.documents import CORE

ENTRY = Entry("a.pdf", 3, "application/pdf", bytes(32))


def test_an_entry_is_read_as_it_was_written() -> None:
    _, row = entry_rows("Lark", CORE, ENTRY)
    assert entry_of(row) == ENTRY


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""}, {"name": 5}, {"name": None}, {"size": -1}, {"size": True}, {"size": "3"},
        {"media": b"x"}, {"sha256": bytes(31)}, {"sha256": "0" * 32},
    ],
)  # fmt: skip
@pytest.mark.threat("D9")
def test_an_entry_that_cannot_be_right_is_none(change: dict[str, Value]) -> None:
    _, row = entry_rows("Lark", CORE, ENTRY)
    inner = row["document"]
    assert isinstance(inner, dict)
    assert entry_of({"document": {**inner, **change}}) is None
    lacking = {key: value for key, value in inner.items() if key not in change}
    assert entry_of({"document": lacking}) is None


@pytest.mark.parametrize("row", [{}, {"document": None}, {"document": [1]}, {"document": {}}])
def test_what_is_no_entry_is_none(row: dict[str, Value]) -> None:
    assert entry_of(row) is None


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.PDF", "application/pdf"),
        ("a.tar.gz", "application/gzip"),
        ("notes.md", "text/markdown"),
        ("a", "application/octet-stream"),
        ("b.unknown", "application/octet-stream"),
    ],
)
def test_the_end_of_a_name_says_what_it_is(name: str, media_type: str) -> None:
    assert media_type_of(name) == media_type
