"""What is remembered of rows that were sent from a database, and where they come from."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.recall import Recall
from client.tables import ReadOptions, open_source, schema_of
from client.tables.combining import Arranged, Chosen
from client.tables.inferring import InferredSource
from tests.deals import rows
from tests.table_values import VALUES, columns

# --- hashes


@pytest.mark.parametrize("kind", sorted(VALUES))
@settings(max_examples=15)
@given(data=st.data())
def test_equal_hashes_are_equal_rows_however_they_lie_in_memory(
    kind: str, data: st.DataObject
) -> None:
    array, cells = data.draw(columns(kind, 8))
    other, others = data.draw(columns(kind, 8))
    recall = Recall(bytes(32), {})
    found = recall.digest(pa.record_batch([array], names=["x"]))
    assert found == recall.digest(pa.record_batch([array], names=["x"]).slice(0))
    assert (found == recall.digest(pa.record_batch([other], names=["y"]))) == (cells == others)
    assert found != Recall(b"k" * 32, {}).digest(pa.record_batch([array], names=["x"]))


def test_one_column_s_cells_are_not_another_s() -> None:
    recall = Recall(bytes(32), {})
    tables: list[dict[str, Any]] = [
        {"a": ["xy"], "b": ["z"]}, {"a": ["x"], "b": ["yz"]}, {"a": [None], "b": ["xyz"]},
        {"a": [""], "b": ["xyz"]}, {"a": ["x", "y"], "b": ["", "z"]},
    ]  # fmt: skip
    digests = {recall.digest(pa.RecordBatch.from_pydict(each)) for each in tables}
    assert len(digests) == len(tables)


# --- where rows come from


def test_a_database_is_named_by_its_address_without_a_password_and_its_query(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE t (x TEXT)")
        made.execute("CREATE TABLE u (x TEXT)")
    url = f"sqlite+pysqlite:///{path}"
    t, again, u = (open_source(url, ReadOptions(table=name)) for name in ("t", "t", "u"))
    assert t.origin() == again.origin() != u.origin()
    assert t.fingerprint() is None
    inferred = InferredSource(t)
    assert inferred.origin() == Arranged(t, [0]).origin() == t.origin()
    assert Chosen(t, np.array([], np.bool_)).origin() is None
    assert open_source(rows(2)).origin() is None
    assert schema_of(t.columns).names == ["x"]
