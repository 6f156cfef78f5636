"""How peers are compared: the same cells, ratios of one round, and rows that they win kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from benchmarks.blocks import BlockWork
from benchmarks.cells import Table, Taken
from benchmarks.conditions import REPOSITORY
from benchmarks.mixed_table import CLASSES, write_mixed_csv
from benchmarks.peers import comparing, installing
from benchmarks.peers.catalogue import Absent, Kind, Way, ways
from benchmarks.peers.cellwise import COLUMN, CellWork, Costs, Function, Peer, Reader
from benchmarks.peers.comparing import Row, as_json, compare, leads
from benchmarks.peers.ours import OurWork, admission
from benchmarks.peers.report import picture, report
from benchmarks.peers.whole import AgeFile, ParquetModules
from client.crypto.engines import CryptographyEngine
from tests.every_engine import ENGINES

VALUES: Table = [[b"%d of %d" % (row, field) for row in range(3)] for field in range(10)]


@pytest.fixture
def table(tmp_path: Path) -> BlockWork:
    write_mixed_csv(tmp_path / "table.csv", 20)
    return BlockWork.of(tmp_path / "table.csv")


class Rot(Peer):
    """Adds a key to every byte, and its place before it; it checks that if it is told to."""

    name: ClassVar = "Rot"
    package: ClassVar = "click"
    records: ClassVar = 2
    binds: ClassVar = True
    reader: ClassVar = Reader.CELLS

    def __init__(self, checks: bool = True) -> None:
        self.checks = checks

    def fresh_key(self) -> Any:
        return os.urandom(1)[0]

    def sealer(self, key: Any) -> Function:
        def seal(value: bytes, place: bytes) -> bytes:
            return place + bytes((byte + key) % 256 for byte in value)

        return seal

    def opener(self, key: Any) -> Function:
        def open_cell(sealed: bytes, place: bytes) -> bytes:
            if self.checks and not sealed.startswith(place):
                raise ValueError("moved")
            return bytes((byte - key) % 256 for byte in sealed[len(place) :])

        return open_cell

    def admit(self, keys: Sequence[Any], sealed: Table, places: Table) -> object:
        return [
            list(map(self.opener(key), column, where))
            for key, column, where in zip(keys, sealed, places, strict=True)
        ]


class Lossy(Rot):
    def opener(self, key: Any) -> Function:
        return lambda sealed, place: b""


class Alone(Rot):
    reader: ClassVar = Reader.ELSEWHERE


# --- the work


def test_a_peer_takes_as_many_records_as_it_says_and_is_charged_for_its_bytes_alone() -> None:
    work = CellWork(Rot(), VALUES)
    assert work.values == [column[:2] for column in VALUES]
    assert work.cells == 20
    assert work.added_bytes == 40
    assert len({place for column in work.places for place in column}) == 20


def test_a_peer_that_loses_cells_is_not_measured() -> None:
    with pytest.raises(ValueError, match="Rot does not give back"):
        CellWork(Lossy(), VALUES)


@pytest.mark.parametrize("checks", [True, False])
def test_whether_a_moved_cell_opens_is_tried(checks: bool) -> None:
    assert CellWork(Rot(checks), VALUES).moved_cell_opens() is not checks


def test_a_round_takes_time_for_each_act() -> None:
    costs = CellWork(Rot(), VALUES).round()
    assert costs.reader is not None
    assert min(costs.seal, costs.open, costs.column, costs.reader) > 0
    assert costs.cell == costs.column


def test_who_has_no_way_to_admit_a_reader_is_not_given_one() -> None:
    assert CellWork(Alone(), VALUES).round().reader is None
    with pytest.raises(NotImplementedError, match="no way of its own"):
        Peer.admit(Alone(), [], [], [])


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_our_own_cells_do_not_move_either(
    engine: Any, table: BlockWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alike(work: Callable[[], object]) -> float:
        work()
        return 2_000.0

    work = OurWork(table.batches, engine)
    assert work.cells == 200
    assert work.records == 20
    assert work.added_bytes > 20
    assert not work.moved_cell_opens()
    costs = work.round()
    assert costs.reader is not None
    assert min(costs.seal, costs.open, costs.column, costs.cell, costs.reader) > 0
    # One cell goes to a new key with all of its block, here the only one of its column.
    monkeypatch.setattr("benchmarks.peers.ours.nanoseconds", alike)
    assert work.round() == Costs(10, 10, 100, 2_000, 2_000)


def test_a_cell_that_opened_in_another_place_would_be_told(
    table: BlockWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = OurWork(table.batches, CryptographyEngine())
    monkeypatch.setattr("benchmarks.peers.ours.open_block", lambda *_, **__: None)
    assert work.moved_cell_opens()


def test_our_reader_gets_a_proof_for_each_field_and_it_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[bytes] = []
    monkeypatch.setattr(
        "benchmarks.peers.ours.verify_rewrap", lambda statement, proof: checked.append(proof)
    )
    admission(3)()
    assert len(set(checked)) == 3


def test_the_compared_column_is_the_one_that_transfers_seal_anew() -> None:
    assert list(CLASSES)[COLUMN] == "account"


def test_parquet_is_encrypted_read_back_and_written_anew_for_one_column() -> None:
    work = ParquetModules([[b"a value that shows", b"", b"x"]] * 10)
    assert b"a value that shows" not in work.sealed
    costs = work.round()
    assert costs.reader is None
    assert costs.cell == pytest.approx(costs.column * 3)
    assert not work.moved_cell_opens()
    assert work.added_bytes > 0
    assert work.move() != work.sealed
    with pytest.raises(NotImplementedError):
        work.admit()


def test_a_whole_file_is_sealed_to_one_and_for_a_reader_to_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an age of its own: which recipients a file has stands before it, in the open."""

    def encrypt(content: bytes, recipients: Sequence[str]) -> bytes:
        return ",".join(recipients).encode() + b"|" + content[::-1]

    def decrypt(sealed: bytes, identities: Sequence[Any]) -> bytes:
        names, _, content = sealed.partition(b"|")
        assert identities[0].to_public().encode() in names.split(b",")
        return content[::-1]

    numbers = count(1)

    def generate() -> SimpleNamespace:
        name = f"age{next(numbers)}"
        return SimpleNamespace(to_public=lambda: name)

    identity = SimpleNamespace(generate=generate)
    age = SimpleNamespace(
        encrypt=encrypt, decrypt=decrypt, x25519=SimpleNamespace(Identity=identity)
    )
    monkeypatch.setitem(sys.modules, "pyrage", age)
    work = AgeFile([[b"a,b", b"c"], [b"", b"d"]])
    assert work.opened() == b'"a,b",\r\nc,d\r\n'
    assert work.added_bytes == len(b"age1|") / 4
    assert str(work.move()).startswith("b'age2|")
    assert str(work.admit()).startswith("b'age1,age3|")
    costs = work.round()
    assert costs.reader is not None
    assert costs.cell == pytest.approx(costs.column * 2)


def test_a_file_that_does_not_come_back_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ParquetModules, "opened", lambda _: None)
    with pytest.raises(ValueError, match="Parquet modular encryption does not give back"):
        ParquetModules(VALUES)


def test_each_that_is_here_is_found_and_each_that_is_not_is_named(
    table: BlockWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyrage", None)
    found, absent = ways(table.values, table.batches)
    names = [way.name for way in found]
    assert {"SecretBox", "Fernet", "Parquet modular encryption"} <= set(names)
    assert [way.kind for way in found][: len(ENGINES)] == [Kind.OURS] * len(ENGINES)
    assert {"AgeCells", "AgeFile"} <= {each.name for each in absent}
    assert all("pyrage" in each.why for each in absent if each.name.startswith("Age"))


# --- the comparison


@dataclass
class Scripted:
    """A way whose costs are given."""

    costs: Costs
    cells: int = 100
    added_bytes: float = 30.0
    moves: bool = False

    def moved_cell_opens(self) -> bool:
        return self.moves

    def round(self) -> Costs:
        return self.costs


def scripted(name: str, kind: Kind, costs: Costs, reader: Reader = Reader.FIELDS) -> Way:
    return Way(name, kind, f"{name} 1.0", reader, Scripted(costs))


OURS = scripted("Sealroom", Kind.OURS, Costs(200, 100, 400, 1_600_000, 12e6))
PLAIN = scripted("Sealroom, no compiler", Kind.OURS, Costs(800, 500, 1_600, 6_400_000, 12e6))
SLOW = scripted("Slow", Kind.CELLS, Costs(2_000, 5_000, 7_000, 7_000, 15_000), Reader.CELLS)
LONE = scripted("Lone", Kind.CELLS, Costs(150, 5_000, 7_000, 7_000, None), Reader.ELSEWHERE)
FILE = scripted("File", Kind.WHOLE, Costs(20, 50, 70, 7_000, 1_000_000), Reader.BYTES)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """Two rounds; in the second the machine was twice as slow for (a), and not for the ways."""
    pace = iter([1.0] * 5 + [2.0] * 5)
    monkeypatch.setattr(
        comparing,
        "reference_round",
        lambda *_: Taken(1_000 * (now := next(pace)), 500 * now),
    )
    said: list[str] = []
    made = compare([OURS, PLAIN, SLOW, LONE, FILE], VALUES, 2, said.append)
    assert said == ["round 1 of 2", "round 2 of 2"]
    return made


def test_every_ratio_is_to_the_reference_that_ran_right_before(rows: list[Row]) -> None:
    ours, plain, slow, _, file = rows
    assert (ours.seal_times, ours.open_times) == pytest.approx((7.5, 7.5))
    assert slow.ahead == {
        "Sealroom": pytest.approx((10, 50)),
        "Sealroom, no compiler": pytest.approx((2.5, 10)),
    }
    assert plain.ahead == {"Sealroom": pytest.approx((4, 5))}
    assert ours.seal.median == 200
    assert file.seal_times == pytest.approx(75)


def test_a_reader_s_cost_is_that_for_a_million_cells(rows: list[Row]) -> None:
    assert [row.reader_seconds for row in rows] == pytest.approx([0.012, 0.012, 15, None, 10])


def test_where_a_peer_is_ahead_is_said(rows: list[Row]) -> None:
    assert list(leads(rows)) == [
        "Slow: one single cell under a new key (229 times)",
        "Lone: sealing (1.3 times), one single cell under a new key (229 times)",
        "File: sealing (10 times), opening (2.0 times), a column under a new key (5.7 times), "
        "one single cell under a new key (229 times)",
    ]


def test_the_report_sets_apart_what_does_not_seal_cells(rows: list[Row]) -> None:
    text = report(rows, [Absent("Umbral", "No module named 'umbral_pre'")])
    cellwise, _, whole = text.partition("Not cell by cell:")
    assert "| Slow " in cellwise
    assert "| File " not in cellwise
    assert "| File " in whole
    (slow,) = [line for line in text.splitlines() if line.startswith("| Slow ")]
    assert [cell.strip() for cell in slow.strip("|").split("|")] == [
        "Slow",
        "0.75 (10 / 2.5)",
        "0.15 (50 / 10)",
        "30",
        "15 s, every cell anew",
        "7 µs",
        "7 µs",
        "no",
    ]
    (ours,) = [line for line in text.splitlines() if line.startswith("| Sealroom  ")]
    assert "12 ms, a key for each field" in ours
    assert "1.6 ms" in ours
    assert "- Umbral: No module named 'umbral_pre'" in text


def test_the_report_leaves_out_what_there_is_nothing_to_say_of(rows: list[Row]) -> None:
    text = report(rows[:2], [])
    assert "Not cell by cell" not in text
    assert "Ahead of" not in text
    assert "Not here" not in text


def test_small_and_large_figures_are_shown_as_such(rows: list[Row]) -> None:
    small = replace(rows[0], added_bytes=0.04, reader_seconds=3_000.0, moved_cell_opens=True)
    text = report([small], [])
    assert "0.04" in text
    assert "50 min" in text
    assert "yes" in text
    assert "400 ns" in text


def test_rows_go_into_json_and_a_picture(rows: list[Row]) -> None:
    written = json.loads(json.dumps(as_json(rows)))
    assert written[2]["name"] == "Slow"
    assert written[2]["seal"]["median"] == 2_000
    drawn = picture(rows, "a processor")
    assert all(row.name in drawn for row in rows)
    assert "Not cell by cell" in drawn


def test_the_command_measures_what_is_here(tmp_path: Path) -> None:
    result, svg = tmp_path / "made" / "peers.json", tmp_path / "made" / "peers.svg"
    command = [sys.executable, "-m", "benchmarks.peers", "--quick"]
    done = subprocess.run(
        [*command, "--json", str(result), "--svg", str(svg)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| SecretBox" in done.stdout
    written = json.loads(result.read_text(encoding="utf-8"))
    assert written["command"] == "python -m benchmarks.peers --quick"
    assert {"Sealroom, no libsodium", "SecretBox", "Fernet"} <= {r["name"] for r in written["rows"]}
    assert svg.read_text(encoding="utf-8").startswith("<svg")


# --- installing


def test_a_lock_is_cut_into_requirements_with_their_hashes() -> None:
    lock = (
        "# made by\n#    make\none==1 \\\n    --hash=a \\\n    --hash=b\ntwo==2 \\\n    --hash=c\n"
    )
    assert list(installing.requirements(lock)) == [
        "one==1 \\\n    --hash=a \\\n    --hash=b\n",
        "two==2 \\\n    --hash=c\n",
    ]
    assert list(installing.requirements("# nothing\n")) == []


def test_the_lock_has_a_hash_for_all_that_is_compared_and_names_no_index() -> None:
    lock = installing.LOCK.read_text(encoding="utf-8")
    listed = {each.partition("==")[0]: each for each in installing.requirements(lock)}
    assert {"tink", "pyrage", "pymongocrypt", "aws-encryption-sdk", "umbral-pre"} <= set(listed)
    assert all("--hash=sha256:" in each for each in listed.values())
    assert "://" not in lock


def test_what_is_shared_has_the_versions_that_sealroom_runs_with() -> None:
    ours = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    theirs = installing.LOCK.read_text(encoding="utf-8")
    locked = [
        {each.split()[0].partition("==")[0]: each.split()[0] for each in installing.requirements(a)}
        for a in (ours, theirs)
    ]
    shared = locked[0].keys() & locked[1].keys()
    assert {"cryptography", "pynacl", "pyarrow"} <= shared
    assert {locked[0][name] for name in shared} == {locked[1][name] for name in shared}


@pytest.mark.parametrize("fails", ["", "two"])
def test_what_does_not_install_is_named_and_the_others_are_installed(
    fails: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lock = tmp_path / "lock"
    lock.write_text("one==1 \\\n    --hash=a\ntwo==2 \\\n    --hash=c\n")
    tried: list[str] = []

    def pip(_: Path, requirements: Path) -> str | None:
        tried.append(requirements.read_text())
        return "no wheel for this machine" if fails and fails in tried[-1] else None

    monkeypatch.setattr(installing, "LOCK", lock)
    monkeypatch.setattr(installing, "installed", pip)
    monkeypatch.setattr(sys, "argv", ["installing", str(tmp_path / "environment")])
    made: list[object] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: made.append(command[-1]))
    installing.main()
    assert made == [tmp_path / "environment"]
    if fails:
        assert len(tried) == 3
        assert (
            capsys.readouterr().out == "two==2 does not install here: no wheel for this machine\n"
        )
    else:
        assert len(tried) == 1


def test_an_environment_that_is_there_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch()
    used: list[Path] = []
    monkeypatch.setattr(installing, "installed", lambda found, _: used.append(found))
    monkeypatch.setattr(sys, "argv", ["installing", str(tmp_path)])
    monkeypatch.setattr(subprocess, "run", None)
    installing.main()
    assert used == [python]


def test_what_pip_said_last_is_why(tmp_path: Path) -> None:
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho first >&2\necho second >&2\nexit 1\n")
    pip.chmod(0o700)
    assert installing.installed(pip, tmp_path / "lock") == "second"
    pip.write_text("#!/bin/sh\nexit 1\n")
    assert installing.installed(pip, tmp_path / "lock") == "pip said nothing"
    pip.write_text("#!/bin/sh\nexit 0\n")
    assert installing.installed(pip, tmp_path / "lock") is None
