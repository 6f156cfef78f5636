"""SQLite keeps the storage contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sqlite_stores import SqliteEngine
from tests.storage_contract import StorageContract
from tests.storage_deletion import DeletionContract
from tests.storage_listing import ListingContract
from tests.storage_model import ModelContract
from tests.storage_remains import RemainsContract


@pytest.fixture
def engine(tmp_path: Path) -> SqliteEngine:
    return SqliteEngine(tmp_path / "data")


class TestSqliteKeepsTheContract(StorageContract):
    pass


class TestSqliteListsWhatItHolds(ListingContract):
    pass


class TestSqliteDeletes(DeletionContract):
    pass


class TestSqliteLeavesNothing(RemainsContract):
    pass


class TestSqliteAgreesWithTheModel(ModelContract):
    pass
