"""Files that the system lets nobody read or write: named, with what helps, and nothing left."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from client.documents.local import PartFile
from client.tables import (
    Column,
    TableError,
    TableUnreadable,
    TableUnwritable,
    open_sink,
    open_source,
)
from client.tables.faults import unreadable, why_unwritable

COLUMNS = [Column("a", "string")]
KINDS = (".csv", ".xlsx", ".parquet", ".sqlite", ".arrow", ".jsonl")
SMALL = 64 * 1_024


@contextmanager
def small_files() -> Iterator[None]:
    """Let the system refuse to make any file larger than `SMALL`, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def large() -> pa.RecordBatch:
    noise = np.random.default_rng(7).bytes(40 * SMALL).hex()
    return pa.record_batch({"a": [noise[at : at + 80] for at in range(0, len(noise), 80)]})


def fill(path: Path) -> None:
    with open_sink(path, COLUMNS) as sink:
        for _ in range(8):
            sink.write(large())
        sink.commit()


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_is_full_is_told_by_the_files_name_and_nothing_is_left(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"out{kind}"
    with small_files(), pytest.raises(TableUnwritable) as refused:
        fill(path)
    assert f"{path} cannot be written: " in str(refused.value)
    assert refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_document_that_fills_the_disk_is_told_and_waits_for_the_next_try(tmp_path: Path) -> None:
    path = tmp_path / "contract.pdf"
    part = PartFile(path, "tag", overwrite=False)
    with small_files(), pytest.raises(TableUnwritable) as refused:
        part.write(memoryview(bytes(2 * SMALL)))
    part.close()
    assert str(refused.value) == f"{path} cannot be written: File too large"
    assert refused.value.hint == "make room there, or write to another disk"
    assert [each.name for each in tmp_path.iterdir()] == [".sealroom-tag.part"]
    assert not path.exists()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", [".csv", ".sqlite"])
def test_a_folder_in_the_place_of_a_file_is_found_before_anything_is_read(
    kind: str, overwrite: bool, tmp_path: Path
) -> None:
    path = tmp_path / f"out{kind}"
    path.mkdir()
    with pytest.raises(TableUnwritable, match="cannot be written: Is a directory") as refused:
        open_sink(path, COLUMNS, overwrite=overwrite)
    assert f"name a file in it, such as out{kind}/table.csv" in (refused.value.hint or "")
    with pytest.raises(TableUnwritable, match="Is a directory"):
        PartFile(path, "tag", overwrite=overwrite)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no" / "out.csv"
    for opening in (lambda: open_sink(path, COLUMNS), lambda: PartFile(path, "t", overwrite=False)):
        with pytest.raises(TableUnwritable, match="No such file or directory") as refused:
            opening()
        assert refused.value.hint == f"there is no folder {path.parent}: make it first"


READING = [
    (errno.EISDIR, "name the files in it, such as t.csv/*.csv"),
    (errno.ENOENT, "check the path: /x has no such file"),
    (errno.EACCES, "ask its owner, or copy it as somebody who may"),
    (errno.EIO, "check the path and its owner"),
]
WRITING = [
    (errno.ENOSPC, "make room there, or write to another disk"),
    (errno.EDQUOT, "make room there, or write to another disk"),
    (errno.EISDIR, "it is a folder"),
    (errno.ENOENT, "there is no folder /x: make it first"),
    (errno.EROFS, "you may not write to /x: choose another"),
    (errno.EIO, "check the folder"),
]


@pytest.mark.parametrize(("number", "hint"), READING)
def test_what_keeps_a_file_from_being_read_has_its_hint(number: int, hint: str) -> None:
    told = unreadable(Path("/x/t.csv"), OSError(number, "as its raiser put it"))
    assert str(told) == f"t.csv cannot be read: {os.strerror(number)}"
    assert hint in (told.hint or "")


@pytest.mark.parametrize(("number", "hint"), WRITING)
def test_what_keeps_a_file_from_being_written_has_its_hint(number: int, hint: str) -> None:
    message, told = why_unwritable(Path("/x/t.csv"), OSError(number, "as its raiser put it"))
    assert message == f"/x/t.csv cannot be written: {os.strerror(number)}"
    assert hint in told


def test_what_has_no_number_is_told_as_it_was_said() -> None:
    message, _ = why_unwritable(Path("t.csv"), OSError("odd"))
    assert message == "t.csv cannot be written: odd"
    assert "this folder" in (unreadable(Path("t.csv"), FileNotFoundError(2, "")).hint or "")


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable, match="cannot be read: Is a directory") as refused:
        open_source(tmp_path)
    assert "name the files in it" in (refused.value.hint or "")
    assert isinstance(refused.value, TableError)
