"""From times to figures: medians and spread, a ratio to the reference beside every one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from benchmarks.bare import Bare
from benchmarks.blocks import Round
from benchmarks.steps import Step
from benchmarks.transfer import Transfer

_OPENING: Final = ("open", "accept", "export")
"""What is compared with (a) opening; all else is with (a) sealing."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """One repetition: the reference and blocks first, a whole transfer right after.

    `bare` is what the bare disk and loopback took for the bytes that the transfer had sealed.
    """

    blocks: Round
    transfer: Transfer
    bare: Bare


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
    than (a). `busy` is the share of the time in which the measured process computed, `server` that
    in which its server did. `work` is what both computed, as a multiple of what (a) computes: what
    other processes do meanwhile changes it least. None where there is no server, or nobody knows.
    """

    name: str
    cells: int
    seconds: Spread
    cells_per_second: Spread
    ratio: Spread
    busy: Spread
    server: Spread | None = None
    work: Spread | None = None

    @classmethod
    def of(
        cls,
        name: str,
        cells: int,
        timed: Sequence[tuple[float, float]],
        reference: Sequence[float],
    ) -> Self:
        """Summarise repetitions: seconds, processor seconds, and (a)'s nanoseconds a cell."""
        both = [
            (each, base * cells / 1e9) for (each, _), base in zip(timed, reference, strict=True)
        ]
        return cls(
            name,
            cells,
            Spread.of([seconds for seconds, _ in timed]),
            Spread.of([cells / seconds for seconds, _ in timed]),
            Spread.of([base / seconds for seconds, base in both]),
            Spread.of([processor / seconds for seconds, processor in timed]),
        )

    @classmethod
    def of_blocks(
        cls, name: str, cells: int, costs: Sequence[float], reference: Sequence[float]
    ) -> Self:
        """Summarise work in memory, by its nanoseconds a cell; it waits for nobody."""
        seconds = [each * cells / 1e9 for each in costs]
        return cls.of(name, cells, list(zip(seconds, seconds, strict=True)), reference)

    @classmethod
    def of_steps(
        cls, name: str, steps: Sequence[Step], reference: Sequence[float], work: Sequence[float]
    ) -> Self:
        """Summarise steps of transfers; `work` is what (a) computes, in nanoseconds a cell."""
        cells = steps[0].cells
        timed = [(step.seconds, step.processor_seconds) for step in steps]
        both = map(_work, steps)
        return replace(
            cls.of(name, cells, timed, reference),
            server=_known([(step.server_seconds, step.seconds) for step in steps]),
            work=_known([(one, each * cells / 1e9) for one, each in zip(both, work, strict=True)]),
        )


@dataclass(frozen=True, slots=True)
class KeyWork:
    """What work on keys costs that touches no cell: offering a handover, removing a member.

    `seconds` are those from the command to the act found in the verified log, `client` the
    client's own processor time among them, `server` the server's, None where it is unknown; then
    all of them as multiples of one X25519.
    """

    keys: int
    seconds: Spread
    client: Spread
    server: Spread | None
    curve_multiple: Spread
    client_curve_multiple: Spread
    server_curve_multiple: Spread | None

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Self:
        """Summarise repetitions."""
        return cls(
            steps[0].keys,
            Spread.of([step.seconds for step in steps]),
            Spread.of([step.processor_seconds for step in steps]),
            _known([(step.server_seconds, 1.0) for step in steps]),
            Spread.of([step.seconds / step.curve_seconds for step in steps]),
            Spread.of([step.processor_seconds / step.curve_seconds for step in steps]),
            _known([(step.server_seconds, step.curve_seconds) for step in steps]),
        )


@dataclass(frozen=True, slots=True)
class Reencryption:
    """How sealing anew what is stored compares, each with times of the same repetition.

    `one_of_all` is the time for one field as a share of that for all, `work_of_all` the same of
    what both sides compute, None where unknown, and `bytes_of_all` what it is of the sealed bytes.
    `of_upload_and_accept` is the rate of all as a share of that of an upload followed by an
    acceptance, 1 / (1/upload + 1/accept); `of_seal_and_open` the same in memory.
    """

    one_of_all: Spread
    work_of_all: Spread | None
    bytes_of_all: float
    of_upload_and_accept: Spread
    of_seal_and_open: Spread

    @classmethod
    def of(cls, repetitions: Sequence[Repetition]) -> Self:
        """Compare."""
        transfers = [each.transfer for each in repetitions]
        blocks = [each.blocks for each in repetitions]
        return cls(
            Spread.of([each.rotate_one.seconds / each.rotate_all.seconds for each in transfers]),
            _work_of_all(transfers),
            transfers[0].rotate_one.sealed_bytes / transfers[0].rotate_all.sealed_bytes,
            Spread.of(
                [
                    (_a_cell(each.upload) + _a_cell(each.accept)) / _a_cell(each.rotate_all)
                    for each in transfers
                ]
            ),
            Spread.of([(each.seal + each.open) / each.reseal for each in blocks]),
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
    `bare` has the seconds that the bare disk and the bare loopback take for `sealed_bytes`.
    """

    records: int
    block_records: int
    repetitions: int
    bytes_per_cell: float
    reference: dict[str, Spread]
    nonce_share: Spread
    figures: tuple[Figure, ...]
    offer: KeyWork
    revoke: KeyWork
    reencryption: Reencryption
    sealed_bytes: int
    bare: dict[str, Spread]
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
        seals = [each.reference_seal for each in blocks]
        opens = [each.reference_open for each in blocks]
        sealing = seals, [each.work_seal for each in blocks]
        opening = opens, [each.work_open for each in blocks]
        steps = {
            "upload": ([each.upload for each in transfers], *sealing),
            "accept": ([each.accept for each in transfers], *opening),
            "export": ([each.export for each in transfers], *opening),
            "rotate all": ([each.rotate_all for each in transfers], *sealing),
            "rotate one": ([each.rotate_one for each in transfers], *sealing),
        }
        return cls(
            records=records,
            block_records=block_records,
            repetitions=len(repetitions),
            bytes_per_cell=bytes_per_cell,
            reference={
                "seal": Spread.of([each * cells / 1e9 for each in seals]),
                "open": Spread.of([each * cells / 1e9 for each in opens]),
            },
            nonce_share=Spread.of([each.nonce / each.reference_seal for each in blocks]),
            figures=(
                Figure.of_blocks("seal", cells, [each.seal for each in blocks], seals),
                Figure.of_blocks("open", cells, [each.open for each in blocks], opens),
                Figure.of_blocks("reseal", cells, [each.reseal for each in blocks], seals),
                *(Figure.of_steps(name, *each) for name, each in steps.items()),
            ),
            offer=KeyWork.of([each.offer for each in transfers]),
            revoke=KeyWork.of([each.revoke for each in transfers]),
            reencryption=Reencryption.of(repetitions),
            sealed_bytes=transfers[0].upload.sealed_bytes,
            bare={
                "disk": Spread.of([each.bare.disk for each in repetitions]),
                "loopback": Spread.of([each.bare.loopback for each in repetitions]),
            },
            memory=(
                *(Memory.of(name, each) for name, (each, *_) in steps.items()),
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
    for name in ("offer", "revoke"):
        work, less = getattr(large, name), getattr(small, name)
        grown[f"{name} time"] = work.seconds.median / less.seconds.median
    for before, after in zip(small.memory, large.memory, strict=True):
        if before.peak and after.peak:
            grown[f"{before.name} memory"] = after.peak / before.peak
    return grown


@dataclass(frozen=True, slots=True)
class Margin:
    """What each record more costs, which leaves out what every piece of work takes once.

    `ratio` is to (a) as in `Figure`, by name; `one_of_all` and `of_upload_and_accept` as in
    `Reencryption`. A figure that did not grow has none.
    """

    ratio: dict[str, float]
    one_of_all: float | None
    of_upload_and_accept: float | None

    @classmethod
    def of(cls, small: Size, large: Size) -> Self:
        """Compare two sizes, by their medians."""
        ratio, seconds = {}, {}
        for before, after in zip(small.figures, large.figures, strict=True):
            more = after.seconds.median - before.seconds.median
            cells = after.cells - before.cells
            if more > 0 and cells:
                base = "open" if after.name in _OPENING else "seal"
                whole = large.figures[0].cells
                ratio[after.name] = large.reference[base].median * cells / whole / more
                seconds[after.name] = more
        every = seconds.get("rotate all")
        one, up, down = (seconds.get(name) for name in ("rotate one", "upload", "accept"))
        return cls(
            ratio,
            one / every if one and every else None,
            (up + down) / every if up and down and every else None,
        )


def _known(shares: Sequence[tuple[float | None, float]]) -> Spread | None:
    """Summarise quotients, if all of what is divided is known."""
    found = [value / whole for value, whole in shares if value is not None]
    return Spread.of(found) if len(found) == len(shares) else None


def _work(step: Step) -> float | None:
    """Return what both sides computed, in seconds of the processor."""
    return None if step.server_seconds is None else step.processor_seconds + step.server_seconds


def _work_of_all(transfers: Sequence[Transfer]) -> Spread | None:
    """Return the work of sealing one field anew as a share of that of all."""
    pairs = [(_work(each.rotate_one), _work(each.rotate_all)) for each in transfers]
    found = [one / every for one, every in pairs if one is not None and every is not None]
    return Spread.of(found) if len(found) == len(pairs) else None


def _a_cell(step: Step) -> float:
    return step.seconds / step.cells


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
