"""What a home keeps of one vault: whole or not at all, private, and of one version."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from client.database import transaction
from client.errors import Refused
from client.journals import JournalledRotation, JournalledUpload, MadeAnew
from client.store import (
    SCHEMA_VERSION,
    NewKnowledge,
    StoredBox,
    StoreMoved,
    VaultStore,
)
from protocol.blocks import Address, BlockRef, Manifest, Padding
from protocol.errors import ExposedFile, IntegrityError, Unsupported
from protocol.group import base_mul
from protocol.ledger.sides import SharesBox
from protocol.rewrap import Wrap
from tests.hangs import HANGS_SECONDS

PARTY = bytes(32)
ADDRESSES = [Address(bytes([n]) * 16, n, n + 1) for n in range(1, 4)]
WRAP = Wrap(base_mul((5).to_bytes(32, "little")), base_mul((7).to_bytes(32, "little")))


def manifest(records: int, batch: bytes = bytes(16)) -> Manifest:
    ref = BlockRef(0, 1, bytes(16), 4 * records, bytes(32), Padding.UNIFORM)
    return Manifest(batch, records, (ref,))


def learned(
    start: int,
    *leaves: bytes,
    note: bytes = b"note",
    retired: frozenset[Address] = frozenset(),
    replaced: frozenset[tuple[bytes, int]] = frozenset(),
    owed: dict[Address, int] | None = None,
) -> NewKnowledge:
    wraps = {(address, PARTY): WRAP for address in ADDRESSES}
    shares = SharesBox(b"box", b"info", tuple(ADDRESSES))
    boxes = tuple(
        StoredBox(at, party, shares)
        for at in range(start, start + len(leaves))
        for party in (PARTY, bytes([1]) * 32)
    )
    return NewKnowledge(start, leaves, wraps, boxes, retired, replaced, note, owed or {})


def test_what_was_learned_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "vaults" / "a.db"
    with VaultStore(path) as store:
        assert (store.size(), store.pinned_note(), list(store.leaves())) == (0, None, [])
        store.learn(learned(0, b"a", b"b"))
        store.learn(learned(2, note=b"later"))
        store.learn(learned(2, b"c", note=b"last"))
    with VaultStore(path) as store:
        assert list(store.leaves()) == [b"a", b"b", b"c"]
        assert store.size() == 3
        assert store.pinned_note() == b"last"
        assert store.wraps() == {(address, PARTY): WRAP for address in ADDRESSES}
        boxes = store.boxes(PARTY)
        assert [box.position for box in boxes] == [2, 1, 0]  # newest first
        assert boxes[0] == learned(2, b"c").boxes[0]
        assert store.boxes(b"nobody") == ()


def test_what_ended_is_let_go_of(tmp_path: Path) -> None:
    with VaultStore(tmp_path / "a.db") as store:
        store.learn(learned(0, b"a"))
        for field in (1, 2):
            store.keep_block(b"batch", field, b"block")
        replaced = frozenset({(b"batch", 1), (b"never kept", 2)})
        store.learn(learned(1, b"b", retired=frozenset(ADDRESSES[:2]), replaced=replaced))
        assert store.wraps() == {(ADDRESSES[2], PARTY): WRAP}
        assert (store.block(b"batch", 1), store.block(b"batch", 2)) == (None, b"block")


@pytest.mark.parametrize("start", [0, 1, 3])
def test_leaves_go_on_where_the_kept_ones_end(tmp_path: Path, start: int) -> None:
    with VaultStore(tmp_path / "a.db") as store:
        store.learn(learned(0, b"a", b"b"))
        with pytest.raises(StoreMoved):
            store.learn(learned(start, b"x", note=b"other"))
        assert list(store.leaves()) == [b"a", b"b"]
        assert store.pinned_note() == b"note"


def test_a_change_that_fails_in_its_middle_is_none(tmp_path: Path) -> None:
    with VaultStore(tmp_path / "a.db") as store:
        store.learn(learned(0, b"a"))
        wrong = learned(1, b"b")
        twice = replace(wrong, boxes=wrong.boxes * 2, note=b"other")
        with pytest.raises(sqlite3.IntegrityError):
            store.learn(twice)
        assert (store.size(), store.pinned_note()) == (1, b"note")
        store.learn(wrong)
        assert store.size() == 2


def _die_in_the_middle(path: Path) -> None:
    store = VaultStore(path)
    with transaction(store._db):
        store._db.execute("INSERT INTO leaves VALUES (1, x'00')")
        store._db.execute("DELETE FROM pin")
        os._exit(9)


@pytest.mark.threat("R2")
def test_a_crash_in_the_middle_leaves_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with VaultStore(path) as store:
        store.learn(learned(0, b"a"))
    process = multiprocessing.get_context("fork").Process(target=_die_in_the_middle, args=(path,))
    process.start()
    process.join(HANGS_SECONDS)
    assert process.exitcode == 9
    with VaultStore(path) as store:
        assert (list(store.leaves()), store.pinned_note()) == ([b"a"], b"note")


def test_a_commit_that_fails_is_rolled_back_and_the_store_goes_on(tmp_path: Path) -> None:
    with VaultStore(tmp_path / "a.db") as store:
        store._db.execute("PRAGMA max_page_count = 1")  # the least there is: what it has now
        with pytest.raises(sqlite3.OperationalError, match="full"):
            store.keep_block(b"b", 1, bytes(1 << 20))
        with pytest.raises(sqlite3.OperationalError, match="full"), transaction(store._db):
            store.keep_block(b"b", 1, bytes(1 << 20))
        store._db.execute("PRAGMA max_page_count = 1000000")
        store.keep_block(b"b", 1, b"block")
        store.learn(learned(0, b"a"))
        assert store.size() == 1


def test_what_ends_a_transaction_by_itself_is_not_rolled_back_twice(tmp_path: Path) -> None:
    with VaultStore(tmp_path / "a.db") as store:
        with (
            pytest.raises(sqlite3.OperationalError, match="no transaction"),
            transaction(store._db),
        ):
            store._db.execute("ROLLBACK")
        store.mark_compared(PARTY)
        assert store.compared() == {PARTY}


def test_another_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    VaultStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        db.execute("DROP TABLE pin")
    db.close()
    with pytest.raises(Unsupported, match=f"schema {SCHEMA_VERSION + 1}"):
        VaultStore(path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
        assert not db.execute("SELECT * FROM sqlite_schema WHERE name = 'pin'").fetchall()
    db.close()


def test_what_is_no_store_is_named_so(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database, but of some length" * 100)
    before = path.read_bytes()
    with pytest.raises(IntegrityError, match="damaged"):
        VaultStore(path)
    assert path.read_bytes() == before


def test_a_store_that_cannot_be_written_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(_: VaultStore) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(VaultStore, "_prepare", locked)
    with pytest.raises(sqlite3.OperationalError):
        VaultStore(tmp_path / "a.db")


@pytest.mark.threat("L5")
def test_its_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "vaults" / "a.db"
    before = os.umask(0)
    try:
        with VaultStore(path) as store:
            store.learn(learned(0, b"a"))
            files = list(path.parent.iterdir())
            assert len(files) == 3  # with the write-ahead log and its index
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.threat("L5")
@pytest.mark.parametrize("bit", [0o020, 0o002])
@pytest.mark.parametrize("name", ["", "a.db", "a.db-wal", "a.db-shm", "a.db-journal"])
def test_a_store_that_others_may_write_is_not_believed(tmp_path: Path, name: str, bit: int) -> None:
    folder = tmp_path / "vaults"
    with VaultStore(folder / "a.db") as store:
        store.mark_compared(PARTY)
    exposed = folder / name
    if name not in ("", "a.db"):
        exposed.touch()
    exposed.chmod(0o700 | bit)
    before = (folder / "a.db").read_bytes()
    with pytest.raises(ExposedFile, match="others on this machine may change") as caught:
        VaultStore(folder / "a.db")
    assert f" {exposed};" in str(caught.value.hint)
    assert (folder / "a.db").read_bytes() == before
    exposed.chmod(0o755)
    with VaultStore(folder / "a.db") as store:
        assert store.compared() == {PARTY}


def test_what_is_owed_is_what_the_last_sync_says(tmp_path: Path) -> None:
    path, (first, *rest) = tmp_path / "a.db", ADDRESSES
    with VaultStore(path) as store:
        store.learn(learned(0, b"0", owed={first: 0, **dict.fromkeys(rest, 3)}))
    with VaultStore(path) as store:
        assert store.owed() == {first: 0, **dict.fromkeys(rest, 3)}
        store.learn(learned(1, b"1", owed={first: 0}))
        assert store.owed() == {first: 0}
        with pytest.raises(StoreMoved):
            store.learn(learned(1, b"1"))
        assert store.owed() == {first: 0}


def test_what_was_compared_blocks_and_journals_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    upload, other = (
        JournalledUpload(bytes([n]) * 16, bytes(16), bytes([n]) * 32, f"table {n}") for n in (1, 2)
    )
    with VaultStore(path) as store:
        store.mark_compared(PARTY)
        store.mark_compared(PARTY)
        assert store.block(b"batch", 3) is None
        store.keep_block(b"batch", 3, b"old")
        store.keep_block(b"batch", 3, b"new")
        for each in (upload, other):
            store.uploads.begin(each)
            store.uploads.add(each.upload, 1, manifest(10))
            store.uploads.add(each.upload, 0, manifest(20))
        with pytest.raises(sqlite3.IntegrityError):
            store.uploads.begin(upload)
        with pytest.raises(sqlite3.IntegrityError):
            store.uploads.add(b"never begun", 0, manifest(1))
        store.uploads.end(other.upload)
    with VaultStore(path) as store:
        assert store.compared() == {PARTY}
        assert store.block(b"batch", 3) == b"new"
        assert store.uploads.unfinished() == (upload,)
        listed = store.uploads.batches(upload.upload)
        assert list(listed.items()) == [(0, manifest(20)), (1, manifest(10))]
        assert store.uploads.batches(other.upload) == {}  # the batches went with their upload


def test_re_encryptions_rates_and_what_was_said_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    one, other = (
        JournalledRotation(bytes([n]) * 16, bytes(16), tuple(ADDRESSES[:n])) for n in (1, 2)
    )
    made = MadeAnew((b"1" * 32, b"2" * 32), manifest(10, b"b" * 16))
    earlier = replace(made, manifest=manifest(10, b"a" * 16))
    later = replace(made, before=(b"3" * 32,), manifest=manifest(9, b"b" * 16))
    with VaultStore(path) as store:
        assert (store.rate("sealing"), store.said("destroyed")) == (None, None)
        for rotation in (one, other):
            store.rotations.begin(rotation)
            store.rotations.add(rotation.upload, [made])
        store.rotations.add(one.upload, [earlier])
        store.rotations.add(one.upload, [later])  # sealed once more, in its own place
        with pytest.raises(sqlite3.IntegrityError):
            store.rotations.add(b"never begun", [made])
        store.rotations.end(other.upload)
        for rate in (10.0, 12.5):
            store.keep_rate("sealing", rate)
        for envelope in (b"first", b"second"):
            store.keep_said("destroyed", envelope)
    with VaultStore(path) as store:
        assert store.rotations.unfinished() == (one,)
        assert store.rotations.made_anew(one.upload) == (earlier, later)
        assert store.rotations.made_anew(other.upload) == ()
        assert store.rate("sealing") == 12.5
        assert store.said("destroyed") == b"second"


def test_a_store_for_one_look_is_nowhere_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with VaultStore(None) as store:
        store.learn(learned(0, b"a"))
        assert store.size() == 1
    assert not list(tmp_path.iterdir())


def test_one_upload_at_a_time_from_one_home(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with VaultStore(path) as one, VaultStore(path) as other:
        with one.uploading(), pytest.raises(Refused, match="another upload") as caught:
            other.uploading().__enter__()
        assert caught.value.refusal == "busy"
        with other.uploading():
            pass
    with VaultStore(None) as nowhere, nowhere.uploading(), nowhere.uploading():
        assert nowhere.size() == 0
