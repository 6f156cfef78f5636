"""From times to figures: medians and spread, a ratio to the reference beside every one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from benchmarks.blocks import Round
from benchmarks.steps import Step
from benchmarks.transfer import Transfer


@dataclass(frozen=True, slots=True)
class Repetition:
    """One repetition: the reference and blocks first, a whole transfer right after."""

    blocks: Round
    transfer: Transfer


@dataclass(frozen=True, slots=True)
class Spread:
    """Some repetitions of one measurement."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summarise one value or more."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Figure:
    """One kind of work on so many cells.

    `ratio` is to reference (a), speed against speed in the same repetition: above 1 is faster
    than (a). `busy` is the share of the time in which the measured process computed; where that
    is well below 1 it waited for the server.
    """

    name: str
    cells: int
    seconds: Spread
    cells_per_second: Spread
    ratio: Spread
    busy: Spread

    @classmethod
    def of(cls, name: str, cells: int, timed: Sequence[tuple[float, float, float]]) -> Self:
        """Summarise repetitions: seconds, processor seconds, and seconds of (a) for as many."""
        return cls(
            name,
            cells,
            Spread.of([seconds for seconds, _, _ in timed]),
            Spread.of([cells / seconds for seconds, _, _ in timed]),
            Spread.of([reference / seconds for seconds, _, reference in timed]),
            Spread.of([processor / seconds for seconds, processor, _ in timed]),
        )


@dataclass(frozen=True, slots=True)
class Offer:
    """What offering the handover costs: it rewraps keys, and touches no cell.

    `seconds` are those from the command to the act found in the verified log, `client_seconds`
    the seller's own processor time among them; then both as multiples of one X25519.
    """

    keys: int
    seconds: Spread
    client_seconds: Spread
    curve_multiple: Spread
    client_curve_multiple: Spread

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Self:
        """Summarise repetitions."""
        return cls(
            steps[0].keys,
            Spread.of([step.seconds for step in steps]),
            Spread.of([step.processor_seconds for step in steps]),
            Spread.of([step.seconds / step.curve_seconds for step in steps]),
            Spread.of([step.processor_seconds / step.curve_seconds for step in steps]),
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """The most memory that a process needed in any repetition, in bytes; None where unknown.

    `before` is what a client had needed when its work began: libraries, and Argon2id for the
    keyring, which takes 64 MiB for a moment.
    """

    name: str
    before: int | None
    peak: int | None

    @classmethod
    def of(cls, name: str, steps: Sequence[Step]) -> Self:
        """Take the greatest of the repetitions."""
        before = _most([step.before_bytes for step in steps])
        return cls(name, before, _most([step.peak_bytes for step in steps]))


@dataclass(frozen=True, slots=True)
class Size:
    """All that was measured with one number of records.

    (a), seal and open were measured on `block_records` of them and scaled up where that is less.
    `nonce_share` is the part of (a)'s sealing that is drawing nonces, which blocks do not do.
    """

    records: int
    block_records: int
    repetitions: int
    bytes_per_cell: float
    reference: dict[str, Spread]
    nonce_share: Spread
    figures: tuple[Figure, ...]
    offer: Offer
    memory: tuple[Memory, ...]

    @classmethod
    def of(
        cls,
        records: int,
        block_records: int,
        bytes_per_cell: float,
        repetitions: Sequence[Repetition],
    ) -> Self:
        """Summarise repetitions. Seconds of (a) are what it would need for as many cells."""
        blocks = [each.blocks for each in repetitions]
        transfers = [each.transfer for each in repetitions]
        cells = transfers[0].upload.cells
        seals = [each.reference_seal * cells / 1e9 for each in blocks]
        opens = [each.reference_open * cells / 1e9 for each in blocks]
        seal = [each.seal * cells / 1e9 for each in blocks]
        opened = [each.open * cells / 1e9 for each in blocks]
        steps = {
            "upload": ([each.upload for each in transfers], seals),
            "accept": ([each.accept for each in transfers], opens),
            "export": ([each.export for each in transfers], opens),
        }
        return cls(
            records,
            block_records,
            len(repetitions),
            bytes_per_cell,
            {"seal": Spread.of(seals), "open": Spread.of(opens)},
            Spread.of([each.nonce / each.reference_seal for each in blocks]),
            (
                Figure.of("seal", cells, list(zip(seal, seal, seals, strict=True))),
                Figure.of("open", cells, list(zip(opened, opened, opens, strict=True))),
                *(Figure.of(name, cells, _timed(*each)) for name, each in steps.items()),
            ),
            Offer.of([each.offer for each in transfers]),
            (
                *(Memory.of(name, each) for name, (each, _) in steps.items()),
                Memory("server", None, _most([each.server_peak_bytes for each in transfers])),
            ),
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON, numbers to four digits."""
        shown: dict[str, Any] = _rounded(asdict(self))
        return shown


def growth(small: Size, large: Size) -> dict[str, float]:
    """Return by what factor time and memory grew, by name."""
    grown = {
        f"{before.name} time": after.seconds.median / before.seconds.median
        for before, after in zip(small.figures, large.figures, strict=True)
    }
    grown["offer time"] = large.offer.seconds.median / small.offer.seconds.median
    for before, after in zip(small.memory, large.memory, strict=True):
        if before.peak and after.peak:
            grown[f"{before.name} memory"] = after.peak / before.peak
    return grown


def _timed(steps: Sequence[Step], reference: Sequence[float]) -> list[tuple[float, float, float]]:
    return [
        (step.seconds, step.processor_seconds, base)
        for step, base in zip(steps, reference, strict=True)
    ]


def _most(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
