"""Progress bars on stderr: how far, how fast, how long yet. Only where somebody looks."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from client.cli.output import size
from client.results.progress import OnProgress, Progress, no_progress

if TYPE_CHECKING:
    from rich import progress


PACE_SECONDS: Final = 30


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """Give what shows progress while the block runs; off a terminal it shows nothing."""
    if not sys.stderr.isatty():
        yield no_progress
        return
    bar = _bar()
    try:
        yield _Shown(bar).show
    finally:
        bar.stop()


def _bar() -> progress.Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[figures]}"),
        console=Console(file=sys.stderr),
        transient=True,
    )


class Pace:
    """How fast some work goes, by what was heard in the last half minute.

    Of its own, since rich forgets what it measured whenever a total changes, and the total of a
    file that is read as it is sent is an estimate until its end.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: deque[tuple[float, int]] = deque()

    def hear(self, done: int) -> None:
        """Take in how much is done; less than before is the same work on the next file."""
        now = self._clock()
        if self._heard and done < self._heard[-1][1]:
            self._heard.clear()
        self._heard.append((now, done))
        while len(self._heard) > 2 and self._heard[1][0] < now - PACE_SECONDS:
            self._heard.popleft()

    @property
    def speed(self) -> float | None:
        """How much is done in a second; None before anybody could know."""
        (since, before), (now, done) = self._heard[0], self._heard[-1]
        return (done - before) / (now - since) if now > since and done > before else None


class _Shown:
    """One bar for each task that is reported, made when it is first heard of.

    Nothing is drawn before: a bar that is redrawn would wipe the prompt for the passphrase.
    """

    def __init__(self, bar: progress.Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, tuple[progress.TaskID, Pace]] = {}

    def show(self, heard: Progress) -> None:
        if heard.task not in self._tasks:
            self._bar.start()
            made = self._bar.add_task(heard.task, total=heard.total, figures="")
            self._tasks[heard.task] = made, Pace()
        task, pace = self._tasks[heard.task]
        shown = next(each for each in self._bar.tasks if each.id == task)
        if heard.done < shown.completed:
            self._bar.reset(task, total=heard.total)
        pace.hear(heard.done)
        figures = _figures(heard, pace.speed)
        self._bar.update(task, total=heard.total, completed=heard.done, figures=figures)


def _figures(heard: Progress, speed: float | None) -> str:
    of = "" if heard.total is None else f" of {_total(heard)}"
    if heard.unit == "bytes":
        done, rate = size(heard.done), "" if speed is None else f", {size(int(speed))}/s"
    else:
        done, rate = f"{heard.done:,}", "" if speed is None else f", {speed:,.0f}/s"
        of += f" {heard.unit}"
    return done + of + rate + _time_left(heard, speed)


def _total(heard: Progress) -> str:
    """Return a total; of an estimate two digits that count."""
    total = heard.total or 0
    if heard.unit == "bytes":
        return size(total)
    if not heard.estimated:
        return f"{total:,}"
    step = 10 ** max(0, len(str(total)) - 2)
    return f"about {max(heard.done, round(total / step) * step):,}"


def _time_left(heard: Progress, speed: float | None) -> str:
    if heard.total is None or not speed:
        return ""
    minutes, seconds = divmod(math.ceil(max(0, heard.total - heard.done) / speed), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f", {clock} left"
