"""Names and cells that would be something else in a careless place: SQL, or a path (D8, L6)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest

from client.errors import InputError
from protocol.acts import Role
from tests.deals import a_vault, joined
from tests.in_process import URL
from tests.shared import vectors

SQL = (
    "x'); DROP TABLE leaves; --",
    'a" TEXT); DROP TABLE records; --',
    "`; DELETE FROM pin; --",
    "1 OR 1=1",
    "[main].sqlite_schema",
    "%s ? :name $1 {0}",
    "\x00NUL",
)
PATHS = (
    "../../escaped",
    "/escaped",
    "..",
    ".",
    "C:\\escaped",
    "escaped\x00.csv",
    "~/escaped",
    "$HOME/escaped",
    "con",
    "-rf",
)
EVERYTHING = (*SQL, *PATHS)


def table() -> pa.Table:
    """Return a table of hostile columns, with the naughty strings and ours in their cells."""
    naughty = [str(each) for each in vectors("blns", "blns.json")]
    cells = [*naughty, *EVERYTHING]
    names = [name.replace("\x00", "0") for name in EVERYTHING]
    return pa.table({name: cells[at:] + cells[:at] for at, name in enumerate(names)})


@pytest.mark.threat("D8")
async def test_names_that_are_sql_or_paths_come_back_as_names(tmp_path: Path) -> None:
    """In every name that there is, and in cells, through the home's store and a database file."""
    sent = table()
    async with a_vault(tmp_path) as (made, seller):
        for name in SQL:
            await seller.upload(sent.slice(0, 9), collection=name)
            assert (await seller.read(name)).equals(sent.slice(0, 9))
        await seller.upload(sent, collection="all")
        assert (await seller.read("all")).equals(sent)
        async with joined(made, seller, SQL[0], Role.BIDDER):
            assert SQL[0] in {each.name for each in await seller.members()}
        assert {each.name for each in await seller.collections()} == {*SQL, "all"}
        # A file of tables: names of columns are identifiers there, and nothing but names.
        wanted = [name for name in sent.column_names if "\x00" not in name]
        file = tmp_path / "out.sqlite"
        await seller.export("all", path=file, fields=wanted)
        with sqlite3.connect(file) as db:
            (stored,) = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchone()
            columns = [
                row[1] for row in db.execute("SELECT * FROM pragma_table_info(?)", (stored,))
            ]
            rows = db.execute(f'SELECT * FROM "{stored}"').fetchall()
        db.close()
        assert columns == wanted
        assert rows == [tuple(row[name] for name in wanted) for row in sent.to_pylist()]


@pytest.mark.threat("L6")
async def test_no_name_becomes_a_path(tmp_path: Path) -> None:
    """Titles, collections, people and identities are called like files elsewhere; none is there."""
    home = tmp_path / "inside" / "seller"
    async with a_vault(tmp_path / "inside") as (made, seller):
        for name in PATHS:
            await seller.upload(table().slice(0, 2), collection=name)
            assert (await seller.read(name)).num_rows == 2
        for at, name in enumerate(PATHS):
            other = made.home(f"other-{at}")
            async with await other.create_vault(
                URL, title=name, name=name, token=made.token, identity=name.replace("\x00", "0")
            ) as vault:
                assert await vault.title() == name
        with pytest.raises(InputError):
            await seller.read("../seller")
    names = {path.name for path in tmp_path.rglob("*")}
    assert not {name for name in names if "escaped" in name}
    assert {path.name for path in tmp_path.iterdir()} == {"inside"}
    stores = {path.name for path in (home / "vaults").iterdir()}
    assert {name.partition(".")[0] for name in stores} == {seller.vault_id}
    assert not list(Path.home().glob("escaped*"))
