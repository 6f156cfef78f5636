"""Tables of any types, names, nulls and texts, in files of every kind, through a real vault."""

from __future__ import annotations

import asyncio
import csv
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.tables import Column, ReadOptions, open_sink, open_source, schema_of
from client.tables.text_forms import text_form
from client.vault import UploadOptions, Vault
from tests.deals import a_vault, classes_in_turn
from tests.table_values import VALUES, columns

EXAMPLES = 12
TYPES = sorted(set(VALUES) | {"dictionary<values=string, indices=int8, ordered=0>"})
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@dataclass
class Sandbox:
    """A vault, the loop that it lives in, and a folder; every table goes in under a new name."""

    loop: asyncio.AbstractEventLoop
    vault: Vault
    folder: Path
    count: int = 0

    def through(self, table: object, suffix: str, said: ReadOptions) -> tuple[pa.Table, Path]:
        """Upload a table; return what is read, and the file that is written, of the same kind."""
        self.count += 1
        name = f"table {self.count}"
        out = self.folder / f"out{suffix}"

        async def moved() -> pa.Table:
            source = open_source(table, said)
            names = [column.name for column in source.columns]
            await self.vault.upload(
                source,
                collection=name,
                classes=classes_in_turn(names),
                options=UploadOptions(batch_rows=5),
            )
            await self.vault.export(name, path=out, overwrite=True)
            return await self.vault.read(name)

        return self.loop.run_until_complete(moved()), out


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("through")
    loop = asyncio.new_event_loop()
    entered = a_vault(folder)
    _, vault = loop.run_until_complete(entered.__aenter__())
    try:
        yield Sandbox(loop, vault, folder)
    finally:
        loop.run_until_complete(entered.__aexit__(None, None, None))
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)


@st.composite
def tables(draw: st.DrawFn, *types: str, names: st.SearchStrategy[str] = NAMES) -> pa.Table:
    """Draw a table of up to four columns of these types, with at least one row."""
    kinds = draw(st.lists(st.sampled_from(types), min_size=1, max_size=4))
    drawn = [draw(columns(kind, 12))[0] for kind in kinds]
    length = draw(st.integers(1, 12))
    arrays = [_of_length(array, length) for array in drawn]
    named = draw(st.lists(names.filter(bool), min_size=len(kinds), max_size=len(kinds),
                          unique_by=str.casefold))  # fmt: skip
    return pa.table(dict(zip(named, arrays, strict=True)))


def _of_length(array: pa.Array, length: int) -> pa.Array:
    short = array.slice(0, length)
    return pa.concat_arrays([short, pa.nulls(length - len(short), array.type)])


def same(got: pa.Table, wanted: pa.Table) -> bool:
    """Whether tables are equal bit for bit: NaN is NaN, and the two zeros differ."""
    if got.schema != wanted.schema or got.num_rows != wanted.num_rows:
        return False
    pairs = zip(got.columns, wanted.columns, strict=True)
    return all(_bits(mine) == _bits(theirs) for mine, theirs in pairs)


def _bits(column: pa.ChunkedArray) -> list[Any]:
    from client.tables import column_cells

    whole = column.combine_chunks()
    array = whole if isinstance(whole, pa.Array) else pa.concat_arrays(column.chunks)
    cells = column_cells(array)
    return [cells.cell(at) for at in range(cells.count)]


def of_source(table: object, said: ReadOptions) -> pa.Table:
    source = open_source(table, said)
    return pa.Table.from_batches(source.batches(100), schema_of(source.columns))


def written(table: pa.Table, path: Path, form: dict[str, Any] | None = None) -> Path:
    source = open_source(table)
    with open_sink(path, source.columns, form, overwrite=True) as sink:
        for batch in source.batches(7):
            sink.write(batch)
        sink.commit()
    return path


examples = settings(
    max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@examples
@given(table=tables(*TYPES))
def test_a_table_in_memory_comes_back_bit_for_bit(sandbox: Sandbox, table: pa.Table) -> None:
    read, _ = sandbox.through(table, ".arrow", ReadOptions())
    assert same(read, of_source(table, ReadOptions()))


@pytest.mark.parametrize("suffix", [".arrow", ".arrows"])
@examples
@given(table=tables(*TYPES))
def test_an_arrow_file_comes_back_bit_for_bit(
    sandbox: Sandbox, table: pa.Table, suffix: str
) -> None:
    path = written(table, sandbox.folder / f"in{suffix}")
    read, out = sandbox.through(path, suffix, ReadOptions())
    assert same(read, of_source(path, ReadOptions()))
    assert same(of_source(out, ReadOptions()), read)


PARQUET = [kind for kind in TYPES if not kind.startswith(("month_day", "decimal32(9,-", "null"))]


@examples
@given(data=st.data())
def test_a_parquet_file_comes_back_bit_for_bit(sandbox: Sandbox, data: st.DataObject) -> None:
    from client.tables import TableType, TableValue

    table = data.draw(tables(*PARQUET))
    try:
        path = written(table, sandbox.folder / "in.parquet")
    except (TableType, TableValue):
        return  # what Parquet has no type for, or no room
    read, out = sandbox.through(path, ".parquet", ReadOptions())
    assert same(read, of_source(path, ReadOptions()))
    assert same(of_source(out, ReadOptions()), read)


SAID = ReadOptions(header_row=1, footer=0, delimiter=",", quote='"')
FORMS = st.fixed_dictionaries({
    "kind": st.just("csv"), "encoding": st.sampled_from(["utf-8", "utf-16-le", "gb18030"]),
    "bom": st.just(True), "newline": st.sampled_from(["\r\n", "\n"]),
    "quoting": st.sampled_from(["minimal", "all", "nonnumeric"]), "final_newline": st.booleans(),
})  # fmt: skip


@examples
@given(table=tables("string"), form=FORMS)
def test_a_csv_file_comes_back_cell_for_cell(
    sandbox: Sandbox, table: pa.Table, form: dict[str, Any]
) -> None:
    texts = pa.table(
        {name: pa.array([cell or "" for cell in column.to_pylist()], pa.string())
         for name, column in zip(table.column_names, table.columns, strict=True)}
    )  # fmt: skip
    if any("\0" in cell for column in texts.columns for cell in column.to_pylist()):
        return
    path = written(texts, sandbox.folder / "in.csv", form | {"null_text": None})
    read, out = sandbox.through(path, ".csv", SAID)
    assert read.to_pylist() == texts.to_pylist()
    for file in (path, out):
        text = file.read_bytes().decode(form["encoding"]).removeprefix("\ufeff")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        assert rows[0] == texts.column_names
        wanted = [list(row.values()) for row in texts.to_pylist()]
        assert [row or [""] for row in rows[1:]] == wanted


SQLITE = ["int64", "float64", "string", "binary", "int8", "uint16"]


@examples
@given(table=tables(*SQLITE, names=st.text("abcdé \"'", min_size=1, max_size=5)))
def test_a_database_file_comes_back_value_for_value(sandbox: Sandbox, table: pa.Table) -> None:
    from client.tables import TableValue

    try:
        path = written(table, sandbox.folder / "in.sqlite")
    except TableValue:
        return  # NaN, which SQLite has not
    read, out = sandbox.through(path, ".sqlite", ReadOptions())
    assert same(read, of_source(path, ReadOptions()))
    assert same(of_source(out, ReadOptions()), read)
    assert [list(row.values()) for row in read.to_pylist()] == [
        list(row.values()) for row in table.to_pylist()
    ]


EXCEL = ["int32", "float64", "string", "bool", "date32", "timestamp[ms]"]
NO_NULL_ROWS = Column("key", "string")


@examples
@given(table=tables(*EXCEL))
def test_a_workbook_comes_back_as_the_texts_that_it_shows(
    sandbox: Sandbox, table: pa.Table
) -> None:
    key = pa.array([f"k{n}" for n in range(table.num_rows)])
    named = table.rename_columns([f"c {name}" for name in table.column_names])
    keyed = named.add_column(0, NO_NULL_ROWS.name, key)
    from client.tables import TableValue

    try:
        path = written(keyed, sandbox.folder / "in.xlsx")
    except TableValue:
        return  # a date that has no text
    said = ReadOptions(header_row=1, footer=0)
    read, out = sandbox.through(path, ".xlsx", said)
    assert same(read, of_source(path, said))
    assert same(of_source(out, said), read)
    for name, column in zip(keyed.column_names, keyed.columns, strict=True):
        shown, wanted = _texts(read[name]), _texts(column)
        assert [_bare(text) for text in shown] == [_bare(text) for text in wanted], name


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    return [text for chunk in column.chunks for text in text_form(chunk).to_pylist()]


def _bare(text: str | None) -> str | None:
    """Booleans in a column of text are TRUE; dates among moments have a time; -0.0 is 0 there."""
    if text is None:
        return None
    text = text.removesuffix("T00:00:00.000").removesuffix(".000")
    return {"true": "TRUE", "false": "FALSE", "-0": "0"}.get(text, text)


OBJECTS = ["int64", "bool", "string", "float64"]


@examples
@given(table=tables(*OBJECTS))
def test_json_lines_come_back_value_for_value(sandbox: Sandbox, table: pa.Table) -> None:
    from client.tables import TableValue

    try:
        path = written(table, sandbox.folder / "in.jsonl")
    except TableValue:
        return  # NaN and infinity, which JSON has not
    read, out = sandbox.through(path, ".jsonl", ReadOptions())
    assert same(read, of_source(path, ReadOptions()))
    assert out.read_bytes() == path.read_bytes() or read.num_columns == table.num_columns
    assert [_texts(column) for column in read.columns] == [
        _texts(column) for column in table.columns
    ]
