from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import astuple, replace
from itertools import islice
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks_main
from benchmarks import conditions, starting
from benchmarks.bare import Bare
from benchmarks.blocks import BlockWork, Round
from benchmarks.conditions import REPOSITORY, Conditions, Neighbours
from benchmarks.figures import KeyWork, Margin, Memory, Repetition, Size, growth
from benchmarks.mixed_table import CLASSES, NULL_TEXT, mixed_rows, write_mixed_csv
from benchmarks.report import report
from benchmarks.steps import Step
from benchmarks.transfer import Transfer
from client.tables import ReadOptions, open_source
from protocol.blocks import FieldClass

MIB = 1024 * 1024
on_linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells it of other processes"
)


def a_repetition(slower: float = 1.0, cells: int = 1_000) -> Repetition:
    """Make one in which (a) needs 1,000 ns to seal and 2,000 ns to open a cell."""
    step = Step(0.004 * slower, 0.001 * slower, 10 * MIB, 20 * MIB, cells)
    one = replace(step, seconds=step.seconds / 8, cells=cells // 10, sealed_bytes=110)
    every = replace(step, seconds=step.seconds * 1.6, sealed_bytes=1_000)
    keys = Step(0.06, 0.03, 10 * MIB, 10 * MIB, keys=14, curve_seconds=0.00003, server_seconds=0.02)
    blocks = Round(1_000, 2_000, 500 * slower, 250 * slower, 600 * slower, 400, 800, 1_600)
    step = replace(step, sealed_bytes=2 * MIB)
    transfer = Transfer(step, replace(keys, keys=7), one, every, keys, step, step, 30 * MIB)
    return Repetition(blocks, transfer, Bare(0.002, 0.001))


def figures_of(size: Size) -> dict[str, tuple[float, float, float]]:
    return {
        each.name: (each.seconds.median, each.cells_per_second.median, each.ratio.median)
        for each in size.figures
    }


# --- the table


def test_a_longer_table_begins_with_the_rows_of_a_shorter_one() -> None:
    assert list(islice(mixed_rows(500), 100)) == list(mixed_rows(100))
    assert list(mixed_rows(100, seed=1)) != list(mixed_rows(100))


def test_the_table_is_as_it_is_described() -> None:
    rows = list(mixed_rows(3_000))
    columns = dict(zip(CLASSES, zip(*rows, strict=True), strict=True))
    cells = [cell for row in rows for cell in row]
    assert 17 < sum(len(cell.encode()) for cell in cells) / len(cells) < 22
    assert 0.3 < columns["note"].count(NULL_TEXT) / len(rows) < 0.36
    assert NULL_TEXT not in [cell for name in CLASSES if name != "note" for cell in columns[name]]
    assert len(set(columns["customer"])) == len(rows)
    assert len(set(columns["city"])) < 10


def test_the_file_is_read_back_with_nulls(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_mixed_csv(path, 50)
    (batch,) = open_source(path, ReadOptions(null_text=NULL_TEXT)).batches(100)
    rows = [tuple(cell or NULL_TEXT for cell in row.values()) for row in batch.to_pylist()]
    assert rows == list(mixed_rows(50))
    assert batch.column("note").null_count > 0


def test_reference_and_blocks_seal_the_same_cells(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_mixed_csv(path, 60)
    work = BlockWork.of(path)
    assert work.cells == 600 == sum(part.cells.count for part in work.batches[0])
    assert work.value_bytes == sum(len(cell) for column in work.values for cell in column)
    assert [bytes(cell).decode() for cell in work.values[1]] == [row[1] for row in mixed_rows(60)]
    measured = work.measured()
    assert min(astuple(measured)) > 0


# --- the figures


def test_figures_are_ratios_to_the_reference_of_the_same_repetition() -> None:
    shown = figures_of(Size.of(100, 100, 19.0, [a_repetition()]))
    assert shown["seal"] == pytest.approx((0.0005, 2_000_000, 2.0))
    assert shown["open"] == pytest.approx((0.00025, 4_000_000, 8.0))
    assert shown["upload"] == pytest.approx((0.004, 250_000, 0.25))
    assert shown["accept"] == pytest.approx((0.004, 250_000, 0.5))
    assert shown["export"] == shown["accept"]
    assert shown["reseal"] == pytest.approx((0.0006, 1e9 / 600, 1 / 0.6))
    assert shown["rotate all"] == pytest.approx((0.0064, 156_250, 1 / 6.4))
    assert shown["rotate one"] == pytest.approx((0.0005, 200_000, 0.2))


def test_work_is_what_both_sides_compute_in_multiples_of_what_the_reference_computes() -> None:
    one = a_repetition()
    upload = replace(one.transfer.upload, server_seconds=0.0006)
    known = replace(one, transfer=replace(one.transfer, upload=upload))
    figures = {each.name: each for each in Size.of(100, 100, 19.0, [known]).figures}
    # 0.001 s and 0.0006 s for 1,000 cells, where (a) takes 800 ns of the processor for each.
    work, server = figures["upload"].work, figures["upload"].server
    assert work is not None
    assert server is not None
    assert (work.median, server.median) == pytest.approx((2.0, 0.15))
    assert figures["accept"].work is figures["accept"].server is None
    assert "   15%   2.00\n" in report(Conditions.now(), 0.0, [Size.of(100, 100, 19.0, [known])])


def test_figures_are_medians_with_their_spread() -> None:
    size = Size.of(100, 100, 19.0, [a_repetition(slower) for slower in (1.0, 10.0, 2.0)])
    upload = next(each for each in size.figures if each.name == "upload")
    assert astuple(upload.seconds) == pytest.approx((0.008, 0.004, 0.04))
    assert upload.busy.median == pytest.approx(0.25)
    assert size.repetitions == 3


def test_work_on_keys_is_a_multiple_of_one_curve_multiplication() -> None:
    size = Size.of(100, 100, 19.0, [a_repetition()])
    offer = size.offer
    assert offer.keys == 14
    assert offer.curve_multiple.median == pytest.approx(2_000)
    assert offer.client_curve_multiple.median == pytest.approx(1_000)
    assert offer.server_curve_multiple is not None
    assert offer.server_curve_multiple.median == pytest.approx(2_000 / 3)
    assert size.revoke == replace(offer, keys=7)


def test_a_server_whose_time_is_unknown_once_has_no_figure() -> None:
    known = a_repetition().transfer.offer
    work = KeyWork.of([known, replace(known, server_seconds=None)])
    assert work.server is work.server_curve_multiple is None


def test_sealing_anew_is_compared_with_all_fields_and_with_uploading_and_accepting() -> None:
    found = Size.of(100, 100, 19.0, [a_repetition(), a_repetition(3.0)]).reencryption
    assert found.one_of_all.median == pytest.approx(1 / 8 / 1.6)
    assert found.bytes_of_all == pytest.approx(0.11)
    assert found.work_of_all is None
    assert found.of_upload_and_accept.median == pytest.approx(2 / 1.6)
    assert found.of_seal_and_open.median == pytest.approx(750 / 600)


def test_sealing_one_field_anew_is_compared_in_work_too_where_the_server_s_is_known() -> None:
    made = a_repetition()
    one = replace(made.transfer.rotate_one, processor_seconds=0.1, server_seconds=0.2)
    every = replace(made.transfer.rotate_all, processor_seconds=1.0, server_seconds=1.5)
    transfer = replace(made.transfer, rotate_one=one, rotate_all=every)
    size = Size.of(100, 100, 19.0, [replace(made, transfer=transfer)])
    work = size.reencryption.work_of_all
    assert work is not None
    assert work.median == pytest.approx(0.12)
    assert "0.120 (0.120 to 0.120) of the work" in report(Conditions.now(), 0.0, [size])


def test_what_each_record_more_costs_leaves_out_what_is_paid_once() -> None:
    # 0.004 s and 0.036 s more for 9,000 cells more: 4,000 ns a cell, beside 1,000 of (a).
    small = Size.of(100, 100, 19.0, [a_repetition()])
    large = Size.of(1_000, 1_000, 19.0, [a_repetition(10.0, cells=10_000)])
    margin = Margin.of(small, large)
    assert margin.ratio["upload"] == pytest.approx(0.25)
    assert margin.ratio["accept"] == pytest.approx(0.5)
    assert margin.ratio["rotate one"] == pytest.approx(0.2)
    assert margin.one_of_all == pytest.approx(1 / 8 / 1.6)
    assert margin.of_upload_and_accept == pytest.approx(2 / 1.6)
    assert Margin.of(large, small) == Margin({}, None, None)


def test_memory_is_the_most_of_all_repetitions() -> None:
    less = Step(1, 1, 5 * MIB, 6 * MIB)
    more = Step(1, 1, 4 * MIB, 9 * MIB)
    unknown = Step(1, 1, None, None)
    assert Memory.of("x", [less, more, unknown]) == Memory("x", 5 * MIB, 9 * MIB)
    assert Memory.of("x", [unknown]) == Memory("x", None, None)


def test_growth_is_told_by_name_and_only_where_it_is_known() -> None:
    small = Size.of(100, 100, 19.0, [a_repetition()])
    large = Size.of(1_000, 1_000, 19.0, [a_repetition(slower=8.0, cells=10_000)])
    unknown = replace(large, memory=tuple(replace(each, peak=None) for each in large.memory))
    grown = growth(small, large)
    assert grown["upload time"] == pytest.approx(8.0)
    assert (
        grown["offer time"] == grown["revoke time"] == grown["server memory"] == pytest.approx(1.0)
    )
    assert not [name for name in growth(small, unknown) if "memory" in name]


# --- the report


def test_the_report_shows_conditions_every_figure_and_the_growth() -> None:
    known = Conditions.now()
    sizes = [
        Size.of(100, 100, 19.0, [a_repetition()]),
        Size.of(200, 200, 19.0, [a_repetition(2.0)]),
    ]
    text = report(known, 0.02, sizes)
    for shown in (known.processor, known.python, "100 records", "From 100 to 200"):
        assert shown in text
    for row in ("(a) seal", "(a) open", *(each.name for each in sizes[0].figures)):
        assert f"\n  {row:<12} " in text
    assert "2.00 (2.00 to 2.00)" in text
    assert "40% is drawing nonces" in text
    assert "without it seal is x 1.20" in text
    assert "offer of 14 keys: 0.060 (0.060 to 0.060) s, 2,000 X25519, 143 a key" in text
    assert "removal, 7 keys replaced: 0.060" in text
    assert "0.030 s, 1,000 X25519, and by the server 0.020 s, 667" in text
    assert "11.0% of the sealed bytes" in text
    assert "the bare disk takes 0.002 (0.002 to 0.002) s for 2 MiB sealed; upload is 2.0" in text
    assert "each record more" not in text  # as many cells in both
    assert "server 30 MiB" in text


@pytest.mark.parametrize(
    ("others", "shown"),
    [(None, "is unknown"), (0.04, "took 4% of the machine\n"), (0.4, "took 40% of the machine (")],
)
def test_the_report_says_what_else_the_machine_did(others: float | None, shown: str) -> None:
    assert shown in report(Conditions.now(), others, [Size.of(100, 100, 19.0, [a_repetition()])])


@on_linux
def test_neighbours_are_told_from_what_this_process_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([(100.0, 50.0, 10.0), (200.0, 110.0, 40.0)])
    monkeypatch.setattr(conditions, "_ticks", lambda: next(ticks))
    assert Neighbours().share() == pytest.approx(0.3)
    monkeypatch.setattr(conditions, "_ticks", lambda: None)
    assert Neighbours().share() is None


@on_linux
def test_work_of_a_child_is_no_neighbours() -> None:
    whole, busy, own = conditions._ticks() or (0.0, 0.0, 0.0)
    subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"], check=True)
    later = conditions._ticks()
    assert later is not None
    assert later[0] > whole > busy > own
    assert later[2] - own > 0.1
    assert later[1] - busy > 0.1


def test_the_report_says_which_figures_were_scaled_up() -> None:
    whole = Size.of(200, 200, 19.0, [a_repetition()])
    scaled = Size.of(200, 100, 19.0, [a_repetition()])
    assert "scaled up" not in report(Conditions.now(), 0.0, [whole])
    assert "measured on 100 records and scaled up" in report(Conditions.now(), 0.0, [scaled])


def test_conditions_say_what_was_measured() -> None:
    known = Conditions.now()
    assert known.commit is None or len(known.commit) == 40
    assert known.cores >= 1
    assert known.memory_gib > 0
    assert {"cryptography", "PyNaCl", "SQLite"} <= known.libraries.keys()
    assert str(REPOSITORY) not in "\n".join(known.lines())


@pytest.mark.parametrize("known", [True, False])
def test_the_report_says_what_the_server_computed_where_that_is_known(known: bool) -> None:
    repetition = a_repetition()
    if not known:
        offer = replace(repetition.transfer.offer, server_seconds=None)
        repetition = replace(repetition, transfer=replace(repetition.transfer, offer=offer))
    text = report(Conditions.now(), 0.0, [Size.of(200, 200, 19.0, [repetition])])
    assert ("by the server unknown" in text) is not known


def test_the_report_says_what_each_record_more_costs_where_time_grew() -> None:
    small = Size.of(100, 100, 19.0, [a_repetition()])
    large = Size.of(1_000, 1_000, 19.0, [a_repetition(10.0, cells=10_000)])
    text = report(Conditions.now(), 0.0, [small, large])
    assert "each record more, x (a): seal 0.18, open 0.73" in text
    assert "each record more takes one field of ten 0.078 of the time of all" in text
    assert "takes one field" not in report(Conditions.now(), 0.0, [large, small])


# --- the command


def test_sizes_take_turns_so_that_a_busy_hour_hits_all(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[int] = []

    def transferring(directory: Path, records: int) -> Transfer:
        played.append(records)
        return a_repetition(cells=records * 10).transfer

    monkeypatch.setattr(benchmarks_main, "run_transfer", transferring)
    sizes = benchmarks_main.measure({20: 2, 40: 2, 80: 1}, lambda _: None)
    assert played == [20, 40, 80, 20, 40]
    assert [(each.records, each.repetitions) for each in sizes] == [(20, 2), (40, 2), (80, 1)]


@pytest.mark.parametrize(
    ("quick", "large", "sizes"),
    [
        (False, False, {1_000: 3, 10_000: 3, 100_000: 3}),
        (False, True, {1_000: 3, 10_000: 3, 100_000: 3, 1_000_000: 1}),
        (True, True, {300: 1}),
    ],
)
def test_the_largest_table_is_measured_only_where_asked_for(
    quick: bool, large: bool, sizes: dict[int, int]
) -> None:
    assert benchmarks_main._sizes(quick, large, 3) == sizes


def test_the_command_measures_a_whole_transfer(tmp_path: Path) -> None:
    result = tmp_path / "made" / "bench.json"
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    done = subprocess.run(
        [*command, "--json", str(result), "--svg", str(result.with_suffix(".svg"))],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "300 records x 10 fields" in done.stdout
    written = json.loads(result.read_text(encoding="utf-8"))
    assert str(tmp_path) not in json.dumps(written)
    (size,) = written["sizes"]
    assert [each["cells"] for each in size["figures"]] == [
        *[3_000] * 6,
        3_000 + 3,  # and a cell with the names of each class
        300,
    ]
    assert all(each["cells_per_second"]["median"] > 0 for each in size["figures"])
    assert size["offer"]["keys"] == len(CLASSES) + 4  # and the names of three classes, and people
    assert size["offer"]["curve_multiple"]["median"] > 1
    assert size["revoke"]["keys"] == list(CLASSES.values()).count(FieldClass.GENERAL) + 1
    assert size["reencryption"]["of_upload_and_accept"]["median"] > 0
    assert [each["name"] for each in written["starts"]][-2:] == [starting.VERSION, starting.STATUS]
    assert "rotate all" in result.with_suffix(".svg").read_text(encoding="utf-8")
