"""Tables made of others: the rows and columns that were asked for, at every reading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.tables import ReadOptions, Source, TableRagged, open_source, schema_of
from client.tables.cells import taken
from client.tables.combining import Arranged, Chosen, Several
from tests.table_values import VALUES, columns
from tests.test_tables_through import same

TABLE = pa.table({"a": range(20), "b": [f"b{n}" for n in range(20)], "c": [None, True] * 10})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE, path)
    return path


def all_of(source: Source, max_rows: int = 7) -> pa.Table:
    batches = list(source.batches(max_rows))
    assert all(batch.num_rows == max_rows for batch in batches[:-1])
    return pa.Table.from_batches(batches, schema_of(source.columns))


def test_columns_in_another_order(file: Path) -> None:
    source = open_source(file)
    arranged = Arranged(source, [2, 0, 1])
    assert all_of(arranged).equals(TABLE.select(["c", "a", "b"]))
    assert arranged.fingerprint() == source.fingerprint()
    assert (arranged.name, arranged.total_rows) == ("t.parquet", 20)
    assert arranged.bytes_read == source.bytes_read > 0


@given(st.lists(st.booleans(), min_size=20, max_size=20), st.integers(1, 9))
def test_the_rows_that_were_chosen(flags: list[bool], max_rows: int) -> None:
    chosen = Chosen(open_source(TABLE), np.array(flags))
    assert all_of(chosen, max_rows).equals(TABLE.filter(pa.array(flags)))
    assert chosen.total_rows == sum(flags)
    assert chosen.fingerprint() is None


def test_other_rows_are_another_table(file: Path) -> None:
    flags = np.arange(20) % 2 == 0
    prints = {
        Chosen(open_source(file), rows).fingerprint() for rows in (flags, ~flags, flags | True)
    }
    assert len(prints | {open_source(file).fingerprint(), None}) == 5


def test_several_are_read_after_each_other(file: Path) -> None:
    several = Several([open_source(file), open_source(file)])
    assert all_of(several).equals(pa.concat_tables([TABLE, TABLE]))
    assert several.total_rows == 40
    assert several.bytes_read == several.bytes_total == 2 * file.stat().st_size
    assert several.fingerprint() not in (None, open_source(file).fingerprint())
    mixed = Several([open_source(file), open_source(TABLE)])
    assert (mixed.fingerprint(), mixed.bytes_total, mixed.rereadable) == (None, None, False)


def test_of_several_the_lines_around_are_not_kept_and_it_is_said(tmp_path: Path) -> None:
    titled, plain = tmp_path / "titled.csv", tmp_path / "plain.csv"
    titled.write_text("Customers\na,b\n1,2\n")
    plain.write_text("a,b\n3,4\n")
    several = Several([open_source(each, ReadOptions(guess=True)) for each in (titled, plain)])
    assert (several.format["before"], several.format["kind"]) == ("", "csv")
    assert several.notes == (
        "lines above and below the rows are not kept where several files are one",
        "titled.csv: above the header: 1 line, kept beside the rows",
    )


class Noting(Source):
    """A table that says something only once it was read."""

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        yield from TABLE.to_batches()
        self.note("read")

    def fingerprint(self) -> None:
        return None


def test_what_is_noted_while_rows_are_read_is_passed_on() -> None:
    noting = Noting(open_source(TABLE).columns, {})
    for made in (Arranged(noting, [0, 1, 2]), Several([noting, noting])):
        list(made.batches(50))
        assert made.notes == ("read",)


def test_which_of_several_is_wrong_is_said_once(tmp_path: Path) -> None:
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("a,b\n1,2\n3\n")
    several = Several([open_source(ragged), open_source(ragged)])
    with pytest.raises(TableRagged, match=r"header has 2 \(in ragged\.csv\)$"):
        list(Several([several]).batches(5))


@pytest.mark.parametrize("kind", sorted(VALUES))
@settings(max_examples=10)
@given(data=st.data())
def test_rows_are_taken_from_every_type(kind: str, data: st.DataObject) -> None:
    array, _ = data.draw(columns(kind, 8))
    batch = pa.record_batch([array], names=["x"])
    wanted = data.draw(st.lists(st.integers(0, max(len(array) - 1, 0)), max_size=5 * len(array)))
    got = taken(batch, pa.array(wanted, pa.int64()))
    pieces = [pa.Table.from_batches([batch.slice(at, 1)]) for at in wanted]
    wanted_rows = pa.concat_tables(pieces or [batch.schema.empty_table()])
    assert same(pa.Table.from_batches([got]), wanted_rows)
