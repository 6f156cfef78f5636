"""What docs/operating.md says of the server is so."""

from __future__ import annotations

import re

import pytest

from tests import operating_tables
from tests.operating_tables import EVENTS, PAGE, SETTINGS, TABLES, filled
from tests.spec_tables import MARKED
from vault.config import LIMITS
from vault.copies import KEPT_BESIDE, UNFINISHED
from vault.logs import Event
from vault.storage.sqlite_file import FILE_NAME, LOCK_NAME

TEXT = PAGE.read_text(encoding="utf-8")


def test_its_tables_are_what_the_code_says() -> None:
    assert filled(TEXT) == TEXT, "python -m tests.operating_tables writes them"
    assert [found[1] for found in MARKED.finditer(TEXT)] == [*reversed(TABLES)]
    assert set(SETTINGS) == set(LIMITS)
    assert set(EVENTS) == set(Event)


@pytest.mark.parametrize("cell", ["| 10,000 |", "| `swept` |", "| 16 KiB |"])
def test_a_table_that_is_out_of_date_is_noticed(cell: str) -> None:
    changed = TEXT.replace(cell, "| other |")
    assert changed != TEXT
    assert operating_tables.filled(changed) == TEXT


def test_every_file_of_a_data_directory_is_in_it() -> None:
    section = TEXT.partition("## What is in the directory")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)
    assert rows == [FILE_NAME, *KEPT_BESIDE, LOCK_NAME]
    assert f"`...{UNFINISHED[1:]}`" in TEXT
