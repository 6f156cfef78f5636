"""The figures as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from benchmarks.chart import Bars, Group, drawn
from benchmarks.conditions import Conditions
from benchmarks.figures import KeyWork, Margin, Reencryption, Size, Spread, growth

MIB: Final = 1024 * 1024
BUSY_SHARE: Final = 0.05
"""From here on what else a machine does shows in the figures."""

_READING: Final = (
    "Medians, (least to greatest). x (a) compares with the reference of the same repetition:",
    "one reused AESGCM object in a Python loop, random nonces, 40 bytes of associated data, no",
    "network and no disk. Above 1 is faster than it. `busy` is the share of the time in which the",
    "client computed, `server` that in which its server did, also after its answer; `work` is what",
    "both computed, in multiples of (a)'s: what else the machine does changes that least.",
)


def report(conditions: Conditions, others: float | None, sizes: Sequence[Size]) -> str:
    """Return all of it: conditions, a table for each size, and how each grew from the one before.

    `others` is the share of the machine that other processes took meanwhile, None if unknown.
    """
    lines = [*conditions.lines(), others_line(others), "", *_READING]
    for size in sizes:
        lines += ["", *_size_lines(size)]
    for small, large in pairwise(sizes):
        lines += ["", *_growth_lines(small, large)]
    return "\n".join(lines)


def picture(conditions: Conditions, sizes: Sequence[Size]) -> str:
    """Return how each figure stands to (a) at each size, as an SVG picture."""
    names = [each.name for each in sizes[0].figures]
    ratios = [{each.name: each.ratio.median for each in size.figures} for size in sizes]
    return drawn(
        Bars(
            title="Times as fast as a bare Python loop of AES-GCM without network and disk",
            note=f"{conditions.processor}, {conditions.python}; make bench",
            series=tuple(f"{size.records:,} records" for size in sizes),
            groups=[Group(name, [each[name] for each in ratios]) for name in names],
        )
    )


def others_line(others: float | None) -> str:
    """Say what share of the machine other processes took; None is unknown."""
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
    heads = f"{'busy':>5}{'server':>8}{'work':>7}"
    yield f"  {'':<12}{'cells/s':>12}  {'x (a)':<22}{'seconds':<26}{heads}"
    cells = size.figures[0].cells
    for name, spread in size.reference.items():
        speed = f"{cells / spread.median:,.0f}"
        yield f"  {'(a) ' + name:<12}{speed:>12}  {'1':<22}{_spread(spread, 3):<26}".rstrip()
    for each in size.figures:
        speed = f"{each.cells_per_second.median:,.0f}"
        yield (
            f"  {each.name:<12}{speed:>12}  {_spread(each.ratio, 2):<22}"
            f"{_spread(each.seconds, 3):<26}{each.busy.median:>5.0%}"
            + ("" if each.server is None else f"{each.server.median:>8.0%}")
            + ("" if each.work is None else f"{each.work.median:>7.2f}")
        )
    yield (
        f"  of (a) seal, {size.nonce_share.median:.0%} is drawing nonces, the system's cost: "
        f"without it seal is x {_without_nonces(size):.2f}"
    )
    yield from _reencryption_lines(size.reencryption)
    yield _key_line(f"offer of {size.offer.keys} keys", size.offer)
    yield _key_line(f"removal, {size.revoke.keys} keys replaced", size.revoke)
    yield from _bare_lines(size)
    peaks = ", ".join(
        f"{each.name} {_mib(each.peak)}"
        + (f" (before it {_mib(each.before)})" if each.before else "")
        for each in size.memory
    )
    yield f"  memory at most: {peaks}"


def _reencryption_lines(found: Reencryption) -> Iterator[str]:
    yield (
        f"  one field of ten is {found.bytes_of_all:.1%} of the sealed bytes, and takes "
        f"{_spread(found.one_of_all, 3)} of the time of sealing all anew"
        + (f", {_spread(found.work_of_all, 3)} of the work" if found.work_of_all else "")
    )
    yield (
        "  sealing anew is as fast, of sealing and then opening, as: in memory "
        f"{_spread(found.of_seal_and_open, 2)}, upload and acceptance "
        f"{_spread(found.of_upload_and_accept, 2)}"
    )


def _key_line(what: str, work: KeyWork) -> str:
    """Say what it takes, as a multiple of one X25519, and by the key."""
    server = "unknown"
    if work.server is not None and work.server_curve_multiple is not None:
        server = f"{work.server.median:.3f} s, {work.server_curve_multiple.median:,.0f}"
    return (
        f"  {what}: {_spread(work.seconds, 3)} s, {work.curve_multiple.median:,.0f} X25519, "
        f"{work.curve_multiple.median / work.keys:,.0f} a key; computed by the client "
        f"{work.client.median:.3f} s, {work.client_curve_multiple.median:,.0f} X25519, "
        f"and by the server {server}"
    )


def _bare_lines(size: Size) -> Iterator[str]:
    upload = next(each for each in size.figures if each.name == "upload")
    for name, spread in size.bare.items():
        yield (
            f"  the bare {name} takes {_spread(spread, 3)} s for {_mib(size.sealed_bytes)} sealed; "
            f"upload is {upload.seconds.median / spread.median:.1f} times that"
        )


def _without_nonces(size: Size) -> float:
    seal = next(each for each in size.figures if each.name == "seal")
    return seal.ratio.median * (1 - size.nonce_share.median)


def _growth_lines(small: Size, large: Size) -> Iterator[str]:
    grown, margin = growth(small, large), Margin.of(small, large)
    yield f"From {small.records:,} to {large.records:,} records:"
    yield "  " + ", ".join(f"{name} x {factor:.2f}" for name, factor in grown.items())
    if margin.ratio:
        each = ", ".join(f"{name} {ratio:.2f}" for name, ratio in margin.ratio.items())
        yield f"  each record more, x (a): {each}"
    if margin.one_of_all is not None and margin.of_upload_and_accept is not None:
        yield (
            f"  each record more takes one field of ten {margin.one_of_all:.3f} of the time of "
            f"all; all are as fast as {margin.of_upload_and_accept:.2f} of upload and acceptance"
        )


def _spread(spread: Spread, digits: int) -> str:
    values = (f"{value:.{digits}f}" for value in (spread.median, spread.least, spread.greatest))
    return "{} ({} to {})".format(*values)


def _mib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / MIB:,.0f} MiB"
