"""Files that earlier versions wrote, kept as they were: opened, or refused with their version.

`vectors/stores` has the database of a server and the store of a home in every shape that there
ever was, written by the code of its day: a vault with one table of three records. What is called
`1a` and `1b` has the same version and another shape, from before anything was released.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from client import store as client_store
from client.store import VaultStore
from protocol.errors import MalformedMessage, Unsupported
from protocol.ledger import Ledger
from tests.in_process import lab
from vault.storage.base import StorageFailed
from vault.storage.sqlite import SqliteStorage
from vault.storage.sqlite_file import FILE_NAME, SCHEMA_VERSION

pytestmark = pytest.mark.threat("R24")

STORES = Path(__file__).resolve().parent / "vectors" / "stores"
SERVERS = sorted(path.stem for path in STORES.glob("server-*.sql"))
HOMES = sorted(path.stem for path in STORES.glob("home-*.sql"))
TODAYS = "server-3"
READABLE = ["home-2a", "home-2b"]
RECORDS = {"name": ["Mo", "Li", "Ed"]}


def version_of(name: str) -> int:
    found = re.fullmatch(r"(?:server|home)-(\d+)[a-z]?", name)
    assert found is not None
    return int(found[1])


def written(name: str, file: Path) -> bytes:
    """Write a database as it was then; return its bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as database:
        database.executescript((STORES / f"{name}.sql").read_text(encoding="utf-8"))
        database.execute("PRAGMA journal_mode = WAL")
        assert database.execute("PRAGMA user_version").fetchone() == (version_of(name),)
    return file.read_bytes()


def test_every_version_that_there_ever_was_is_kept() -> None:
    """Whoever makes another one keeps what the last one wrote, and says here what becomes of it."""
    assert {version_of(each) for each in SERVERS} == set(range(1, SCHEMA_VERSION + 1))
    assert {version_of(each) for each in HOMES} == set(range(1, client_store.SCHEMA_VERSION + 1))


# --- a server's database


@pytest.mark.parametrize("name", [each for each in SERVERS if each != TODAYS])
async def test_a_server_refuses_an_older_database_by_its_version_and_leaves_it(
    tmp_path: Path, name: str
) -> None:
    before = written(name, tmp_path / FILE_NAME)
    known = f"schema version {version_of(name)}, this build knows {SCHEMA_VERSION}"
    with pytest.raises(Unsupported, match=known) as refused:
        await SqliteStorage.open(tmp_path)
    assert "the release that wrote it" in str(refused.value.hint)
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("name", [each for each in SERVERS if each != TODAYS])
async def test_a_shape_is_not_taken_for_this_version_s_because_it_says_so(
    tmp_path: Path, name: str
) -> None:
    written(name, tmp_path / FILE_NAME)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(StorageFailed, match="not those of schema version"):
        await SqliteStorage.open(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.threat("R24")
async def test_what_an_earlier_build_of_this_version_wrote_is_served_and_gone_on_with(
    tmp_path: Path,
) -> None:
    """A server's database and a home of the same day, by today's code on both sides."""
    written(TODAYS, tmp_path / "server" / FILE_NAME)
    shutil.copy(STORES / f"{TODAYS}.key", tmp_path / "server" / "checkpoint.key")
    (tmp_path / "server" / "checkpoint.key").chmod(0o600)
    keyring = tmp_path / "home" / "keyring"
    keyring.parent.mkdir(mode=0o700)
    shutil.copy(STORES / "home-2b.keyring", keyring)
    keyring.chmod(0o600)
    async with lab(tmp_path) as opened:
        await opened.service.read_through()
        (vault_id,) = await opened.service._storage.vault_ids()
        written("home-2b", tmp_path / "home" / "vaults" / f"{vault_id.hex()}.db")
        async with opened.home("home").vault() as vault:
            assert await vault.title() == "Project Lark"
            assert (await vault.read("customers")).to_pydict() == RECORDS
            await vault.heartbeat()
            await vault.rotate(reencrypt=True)
            assert (await vault.read("customers")).to_pydict() == RECORDS
        shutil.rmtree(tmp_path / "home" / "vaults")
        async with opened.home("home").vault() as vault:
            assert (await vault.read("customers")).to_pydict() == RECORDS


# --- a home's store


@pytest.mark.parametrize("name", [each for each in HOMES if each not in READABLE])
def test_an_older_home_is_refused_by_its_version_and_left(tmp_path: Path, name: str) -> None:
    before = written(name, tmp_path / "vault.db")
    with pytest.raises(
        Unsupported, match=rf"another version of sealroom \(schema {version_of(name)}\)"
    ):
        VaultStore(tmp_path / "vault.db")
    assert (tmp_path / "vault.db").read_bytes() == before


@pytest.mark.parametrize("version", [client_store.SCHEMA_VERSION + 1, 99])
def test_a_newer_home_is_refused_by_its_version_and_left(tmp_path: Path, version: int) -> None:
    written(READABLE[-1], tmp_path / "vault.db")
    with closing(sqlite3.connect(tmp_path / "vault.db")) as database:
        database.execute(f"PRAGMA user_version = {version}")
    before = (tmp_path / "vault.db").read_bytes()
    with pytest.raises(Unsupported, match=rf"\(schema {version}\)"):
        VaultStore(tmp_path / "vault.db")
    assert (tmp_path / "vault.db").read_bytes() == before


@pytest.mark.parametrize("name", READABLE)
def test_a_home_of_this_version_gets_the_tables_it_lacks_and_keeps_what_it_has(
    tmp_path: Path, name: str
) -> None:
    written(name, tmp_path / "vault.db")
    with closing(sqlite3.connect(tmp_path / "vault.db")) as database:
        before = {*database.iterdump()}
    with VaultStore(tmp_path / "vault.db") as store:
        assert store.size() == 7
        assert store.rotations.unfinished() == ()
        assert {*store._db.iterdump()} >= before
    with VaultStore(None) as fresh:
        assert tables(fresh) == tables(VaultStore(tmp_path / "vault.db"))


def tables(store: VaultStore) -> set[str]:
    with store:
        return {name for (name,) in store._db.execute("SELECT name FROM sqlite_schema")}


# --- logs


def leaves_of(name: str) -> list[bytes]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript((STORES / f"{name}.sql").read_text(encoding="utf-8"))
        table = "leaf_index" if name.startswith("server") else "position"
        return [leaf for (leaf,) in database.execute(f"SELECT leaf FROM leaves ORDER BY {table}")]


def replayed(leaves: list[bytes]) -> Ledger:
    ledger = Ledger()
    for leaf in leaves:
        ledger.append(ledger.check(leaf))
    return ledger


@pytest.mark.parametrize("name", [*SERVERS, *HOMES])
def test_an_older_log_says_what_it_said_or_is_refused(name: str) -> None:
    """Until there is a release, acts were changed in place: the first ones had another policy."""
    leaves = leaves_of(name)
    assert leaves
    if version_of(name) == 1 or name == "server-2a":
        with pytest.raises(MalformedMessage, match=r"genesis.policy: must be a list of 5 fields"):
            replayed(leaves)
    else:
        state = replayed(leaves).state
        assert [each.records for each in state.collections.values()] == [0, 3]
        (table,) = (each for each in state.collections.values() if each.classes)
        assert sum(batch.manifest.is_catalog for batch in table.batches) == 1
