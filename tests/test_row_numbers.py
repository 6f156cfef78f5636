"""One way of counting rows: as a spreadsheet shows them, in every message about a table."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.appending import as_one
from client.errors import InputError
from client.results.progress import no_progress
from client.row_hashes import MOST_NAMED, Hashes
from client.tables import Column, ReadOptions, Source, TableError, open_sink, open_source
from client.tables.combining import Chosen


def csv(path: Path) -> Source:
    path.write_text("Customers of 2025\nid,name\n1,a\n2,b\n2,c\n", newline="")
    return open_source(path, ReadOptions(guess=True, header_row=2))


def jsonl(path: Path) -> Source:
    path.write_text('{"id": "1"}\n\n{"id": "2"}\n{"id": "2"}\n')
    return open_source(path)


def xlsx(path: Path) -> Source:
    with open_sink(path, [Column("id", "string"), Column("name", "string")]) as sink:
        sink.write(pa.record_batch({"id": ["1", "2", "2"], "name": ["a", "b", "c"]}))
        sink.commit()
    return open_source(path)


def parquet(path: Path) -> Source:
    pq.write_table(pa.table({"id": ["1", "2", "2"]}), path)
    return open_source(path)


def sqlite(path: Path) -> Source:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (id)")
        db.executemany("INSERT INTO t VALUES (?)", [("1",), ("2",), ("2",)])
    db.close()
    return open_source(path)


def inferred(path: Path) -> Source:
    path.write_text("id,name\n1,a\n2,b\n2,c\n")
    return open_source(path, ReadOptions(types="infer"))


KINDS: list[tuple[str, Callable[[Path], Source], list[str]]] = [
    ("t.csv", csv, ["3", "4", "5"]),
    ("t.jsonl", jsonl, ["1", "3", "4"]),
    ("t.xlsx", xlsx, ["2", "3", "4"]),
    ("t.parquet", parquet, ["1", "2", "3"]),
    ("t.sqlite", sqlite, ["1", "2", "3"]),
    ("u.csv", inferred, ["2", "3", "4"]),
]


@pytest.mark.parametrize(("name", "made", "numbers"), KINDS)
async def test_a_key_that_is_there_twice_is_named_by_the_rows_that_a_spreadsheet_shows(
    name: str, made: Callable[[Path], Source], numbers: list[str], tmp_path: Path
) -> None:
    source = made(tmp_path / name)
    assert list(islice(source.row_numbers(), 3)) == numbers
    with pytest.raises(InputError) as refused:
        await Hashes(0).of_table(source, "id", 2, no_progress)
    assert str(refused.value) == (
        f"1 values of 'id' are there more than once in the table: rows {numbers[1]}, {numbers[2]}"
    )


def test_it_is_the_number_by_which_a_bad_row_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,name\n1,a\n2\n3,c\n")
    with pytest.raises(TableError, match=r"^row 3, byte 12: 1 cells"):
        list(open_source(path).batches(10))
    aside = ReadOptions(on_error="set-aside", set_aside=tmp_path / "bad.csv")
    source = open_source(path, aside)
    assert list(source.row_numbers()) == ["2", "4"]
    assert not (tmp_path / "bad.csv").exists()
    assert sum(batch.num_rows for batch in source.batches(10)) == 2
    assert any("(row 3)" in note for note in source.notes)


async def test_rows_of_several_tables_are_named_with_theirs(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("id,name\n1,a\n2,b\n")
    two.write_text("name,id\nc,2\nd,3\n")
    both = as_one([open_source(one), open_source(two)])
    with pytest.raises(InputError, match=r"table: rows 3 of one\.csv, 2 of two\.csv$"):
        await Hashes(0).of_table(both, "id", 10, no_progress)
    assert list(Chosen(both, np.array([False, True, True, False])).row_numbers()) == [
        "3 of one.csv", "2 of two.csv",
    ]  # fmt: skip


async def test_keys_that_are_missing_are_named_in_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,name\n" + "NULL,x\n" * (MOST_NAMED + 1))
    source = open_source(path, ReadOptions(null_text="NULL"))
    with pytest.raises(InputError, match=r"'id' is null in rows 2, 3, 4, .*, \.\.\. of the table"):
        await Hashes(0).of_table(source, "id", 4, no_progress)
    path.write_text("id,name\n1,x\nNULL,x\n")
    source = open_source(path, ReadOptions(null_text="NULL"))
    with pytest.raises(InputError, match="'id' is null in row 3 of the table"):
        await Hashes(0).of_table(source, "id", 4, no_progress)
