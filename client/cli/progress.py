"""Progress bars on stderr: how far, how fast, how long yet. Only where somebody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from client.cli.output import size
from client.results import OnProgress, Progress, no_progress

if TYPE_CHECKING:
    from rich import progress


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
        progress.TimeRemainingColumn(compact=True),
        console=Console(file=sys.stderr),
        transient=True,
    )


class _Shown:
    """One bar for each task that is reported, made when it is first heard of.

    Nothing is drawn before: a bar that is redrawn would wipe the prompt for the passphrase.
    """

    def __init__(self, bar: progress.Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, progress.TaskID] = {}

    def show(self, heard: Progress) -> None:
        if heard.task not in self._tasks:
            self._bar.start()
            self._tasks[heard.task] = self._bar.add_task(heard.task, total=heard.total, figures="")
        task = self._tasks[heard.task]
        shown = next(each for each in self._bar.tasks if each.id == task)
        if heard.done < shown.completed:
            # The same work on the next file: a rate that began with the last one would be wrong.
            self._bar.reset(task, total=heard.total)
        figures = _figures(heard, shown.speed)
        self._bar.update(task, total=heard.total, completed=heard.done, figures=figures)


def _figures(heard: Progress, speed: float | None) -> str:
    if heard.unit == "bytes":
        of = "" if heard.total is None else f" of {size(heard.total)}"
        rate = "" if speed is None else f", {size(int(speed))}/s"
        return f"{size(heard.done)}{of}{rate}"
    of = "" if heard.total is None else f" of {heard.total:,}"
    rate = "" if speed is None else f", {speed:,.0f}/s"
    return f"{heard.done:,}{of} {heard.unit}{rate}"
