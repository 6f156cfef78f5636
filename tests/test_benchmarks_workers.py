"""The ways to seal on all processors are the same work."""

from __future__ import annotations

from benchmarks.cells import batches_of, table_of
from benchmarks.workers import ONE, measure, report


def test_every_way_seals_all_of_it_and_is_told() -> None:
    taken = measure(batches_of(table_of(8, 100, 3), 40), 2)
    assert [len(times) for times in taken.values()] == [2, 2, 2, 2]
    told = report(taken, 300)
    assert f"{ONE:<34}1.00 (1.00 to 1.00)" in told
    assert told.count("ns a cell") == 4
