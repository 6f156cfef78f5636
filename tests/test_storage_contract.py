"""SQLite keeps the storage contract."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    "tests.storage_contract",
    "tests.storage_deletion",
    "tests.storage_model",
    "tests.storage_remains",
)

from tests.sqlite_stores import SqliteEngine  # noqa: E402
from tests.storage_contract import StorageContract  # noqa: E402
from tests.storage_deletion import DeletionContract  # noqa: E402
from tests.storage_model import ModelContract  # noqa: E402
from tests.storage_remains import RemainsContract  # noqa: E402


@pytest.fixture
def engine(tmp_path: Path) -> SqliteEngine:
    return SqliteEngine(tmp_path / "data")


class TestSqliteKeepsTheContract(StorageContract):
    pass


class TestSqliteDeletes(DeletionContract):
    pass


class TestSqliteLeavesNothing(RemainsContract):
    pass


class TestSqliteAgreesWithTheModel(ModelContract):
    pass
