"""The figures as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from benchmarks.conditions import Conditions
from benchmarks.figures import Size, Spread, growth

MIB: Final = 1024 * 1024
BUSY_SHARE: Final = 0.05
"""From here on what else a machine does shows in the figures."""

_READING: Final = (
    "Medians, (least to greatest). x (a) compares with the reference of the same repetition:",
    "one reused AESGCM object in a Python loop, random nonces, 40 bytes of associated data, no",
    "network and no disk. Above 1 is faster than it. `busy` is the client's share of computing.",
)


def report(conditions: Conditions, others: float | None, sizes: Sequence[Size]) -> str:
    """Return all of it: conditions, a table for each size, and how each grew from the one before.

    `others` is the share of the machine that other processes took meanwhile, None if unknown.
    """
    lines = [*conditions.lines(), _others_line(others), "", *_READING]
    for size in sizes:
        lines += ["", *_size_lines(size)]
    for small, large in pairwise(sizes):
        lines += ["", *_growth_lines(small, large, growth(small, large))]
    return "\n".join(lines)


def _others_line(others: float | None) -> str:
    if others is None:
        return "what else the machine did is unknown"
    advice = " (measure again when it is idle)" if others > BUSY_SHARE else ""
    return f"other processes took {others:.0%} of the machine{advice}"


def _size_lines(size: Size) -> Iterator[str]:
    yield (
        f"{size.records:,} records x {size.figures[0].cells // size.records} fields, "
        f"{size.bytes_per_cell:.1f} bytes a cell, {size.repetitions} repetitions"
    )
    if size.block_records < size.records:
        yield f"  (a), seal and open: measured on {size.block_records:,} records and scaled up"
    yield f"  {'':<10}{'cells/s':>12}  {'x (a)':<22}{'seconds':<26}{'busy':>5}"
    cells = size.figures[0].cells
    for name, spread in size.reference.items():
        speed = f"{cells / spread.median:,.0f}"
        yield f"  {'(a) ' + name:<10}{speed:>12}  {'1':<22}{_spread(spread, 3):<26}".rstrip()
    for each in size.figures:
        speed = f"{each.cells_per_second.median:,.0f}"
        yield (
            f"  {each.name:<10}{speed:>12}  {_spread(each.ratio, 2):<22}"
            f"{_spread(each.seconds, 3):<26}{each.busy.median:>5.0%}"
        )
    yield (
        f"  of (a) seal, {size.nonce_share.median:.0%} is drawing nonces, the system's cost: "
        f"without it seal is x {_without_nonces(size):.2f}"
    )
    offer = size.offer
    yield (
        f"  offer of {offer.keys} keys: {_spread(offer.seconds, 3)} s, "
        f"{offer.curve_multiple.median:,.0f} X25519; of it the client computes "
        f"{_spread(offer.client_seconds, 3)} s, {offer.client_curve_multiple.median:,.0f} X25519"
    )
    peaks = ", ".join(
        f"{each.name} {_mib(each.peak)}"
        + (f" (before it {_mib(each.before)})" if each.before else "")
        for each in size.memory
    )
    yield f"  memory at most: {peaks}"


def _without_nonces(size: Size) -> float:
    seal = next(each for each in size.figures if each.name == "seal")
    return seal.ratio.median * (1 - size.nonce_share.median)


def _growth_lines(small: Size, large: Size, grown: Mapping[str, float]) -> Iterator[str]:
    yield f"From {small.records:,} to {large.records:,} records:"
    yield "  " + ", ".join(f"{name} x {factor:.2f}" for name, factor in grown.items())


def _spread(spread: Spread, digits: int) -> str:
    values = (f"{value:.{digits}f}" for value in (spread.median, spread.least, spread.greatest))
    return "{} ({} to {})".format(*values)


def _mib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / MIB:,.0f} MiB"
