"""Many clients on one server: everybody is served, in bounded memory. A slice of `make soak`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.hosting import MIB
from tests.soaking import Told, complaints, soaked, summary

MEMBERS = 3


@pytest.mark.threat("R15")
@pytest.mark.threat("R22")
async def test_everybody_is_served_beside_the_idle_the_slow_and_the_greedy(tmp_path: Path) -> None:
    told = await soaked(tmp_path, seconds=5, idle=60, members=MEMBERS, records=4_000)
    assert complaints(told, MEMBERS) == []
    assert told.most_idle == 60
    assert told.slow_bytes > 0
    assert sum(told.greedy.values()) > 0
    print("\n" + summary(told))


def test_whoever_is_not_served_is_told_of() -> None:
    good = Told()
    good.reads.update({"0": 1, "1": 1, "2": 1})
    good.acts.update({"one home": 1, "another": 1})
    assert complaints(good, MEMBERS) == []
    for bad, word in (
        (replace(good, reads=good.reads - Counter({"2": 1})), "members"),
        (replace(good, acts=good.acts - Counter({"another": 1})), "two clients"),
        (replace(good, peak=300 * MIB), "MiB more"),
        (replace(good, idle_bytes=MIB), "idle connection"),
        (replace(good, slowest_probe=60.0), "waited"),
        (replace(good, greedy=good.greedy + Counter({503: 1})), "failed"),
    ):
        (said,) = complaints(bad, MEMBERS)
        assert word in said
