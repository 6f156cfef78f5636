"""`python -m tests.mutants`: play every mutant, or some, and report what survives."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import click

from tests.mutants.finding import Mutant, mutants_of
from tests.mutants.playing import CannotPlay, Played, Verdict, play, preload
from tests.mutants.targets import DECIDING, REPO, TESTS, files_of

RESULTS: Final = REPO / "build" / "mutants.jsonl"
ARGUED: Final = REPO / "docs" / "mutants.md"
_HEADING: Final = re.compile(r"^### `(.+)`$", re.MULTILINE)


@click.command()
@click.option("--only", default="", help="Play mutants whose name has this in it.")
@click.option("--some", type=int, help="Play so many, chosen by the seed.")
@click.option("--seed", default="0", show_default=True, help="What chooses.")
@click.option("--jobs", default=1, show_default=True, help="How many at once.")
@click.option("--again", is_flag=True, help="Forget what was played before.")
@click.option("--list", "listed", is_flag=True, help="Only print their names.")
def main(only: str, some: int | None, seed: str, jobs: int, again: bool, listed: bool) -> None:
    """Take each defence out, one at a time; exit with 1 where no test notices.

    What was played is kept in build/mutants.jsonl, and is not played again unless the mutant's
    text or its tests have changed. What survives must be argued in docs/mutants.md.
    """
    chosen = [each for each in all_mutants() if only in each.id]
    explained = argued()
    if some is not None:
        # what is known to survive tells nothing
        unexplained = [each for each in chosen if each.id not in explained]
        chosen = sorted(unexplained, key=lambda each: each.order(seed))[:some]
    if listed:
        for mutant in chosen:
            click.echo(mutant.id)
        return
    if again:
        RESULTS.unlink(missing_ok=True)
    os.environ["HYPOTHESIS_PROFILE"] = "ci"
    preload()
    played = dict(played_all(chosen, jobs, quietly=some is not None))
    expect_honest(each.by for each in played.values())
    sys.exit(
        0 if report({mutant: each.verdict for mutant, each in played.items()}, explained) else 1
    )


def all_mutants() -> list[Mutant]:
    """Return the mutants of every module that verifies."""
    return [
        mutant
        for path in TESTS
        for mutant in mutants_of(
            path, (REPO / path).read_text(encoding="utf-8"), deciding=path in DECIDING
        )
    ]


def argued() -> set[str]:
    """Return the names of those whose survival docs/mutants.md argues."""
    return set(_HEADING.findall(ARGUED.read_text(encoding="utf-8")))


def expect_honest(noticing: Iterable[str]) -> None:
    """Check that the tests that noticed something pass while nothing is changed."""
    tests = sorted(set(noticing) - {""})
    if tests and (honest := play(tests, None)).verdict is not Verdict.SURVIVED:
        sys.exit(f"error: {honest.by} fails as it is, and so notices nothing:\n{honest.last}")


def played_all(
    mutants: Iterable[Mutant], jobs: int, *, quietly: bool
) -> Iterator[tuple[Mutant, Played]]:
    """Play those that have not been played, and yield what became of each."""
    before = remembered()
    noticing = noticed_by()

    def played(mutant: Mutant) -> tuple[Mutant, Played]:
        key = _key(mutant)
        if not quietly and key in before:
            return mutant, before[key]
        result = _played_in_turn(mutant, noticing.get(mutant.id))
        _remember(key, mutant, result)
        return mutant, result

    with ThreadPoolExecutor(jobs) as pool:
        for mutant, result in pool.map(played, mutants):
            if not quietly or result.verdict is Verdict.SURVIVED:
                click.echo(f"{result.verdict.value:9}  {mutant.id}")
            yield mutant, result


def _played_in_turn(mutant: Mutant, noticing: str | None) -> Played:
    """Play one by the test that noticed it the last time, by the nearest, then by the others.

    Most never get past the first file.
    """
    tests = files_of(mutant.path)
    if noticing is not None and (again := _noticed_again(mutant, noticing)) is not None:
        return again
    result = play(tests[:1], mutant)
    for stage in (tests[1:2], tests[2:4], tests[4:]):
        if stage and result.verdict is Verdict.SURVIVED:
            result = play(stage, mutant)
    return result


def _noticed_again(mutant: Mutant, noticing: str) -> Played | None:
    """Return what one test says, if it is there still and notices it."""
    try:
        result = play([noticing], mutant)
    except CannotPlay:
        return None
    return result if result.verdict is Verdict.KILLED and result.by else None


def report(verdicts: dict[Mutant, Verdict], explained: set[str]) -> bool:
    """Print the figures, and whether nothing survives that is not argued."""
    survived = {each.id for each, verdict in verdicts.items() if verdict is Verdict.SURVIVED}
    noticed = [verdict for verdict in verdicts.values() if verdict is not Verdict.SURVIVED]
    late = noticed.count(Verdict.TIMED_OUT)
    click.echo(
        f"{len(verdicts)} mutants: {len(noticed)} killed ({late} by taking too long),"
        f" {len(survived & explained)} survive and are argued, {len(survived - explained)} survive"
    )
    for name in sorted(survived - explained):
        click.echo(f"no test noticed: {name}")
    return not survived - explained


# --- what was played before


def remembered() -> dict[str, Played]:
    """Return what still holds, by what it is of."""
    return {
        row["key"]: Played(Verdict(row["verdict"]), row["seconds"], row["by"], row["last"])
        for row in _rows()
    }


def noticed_by() -> dict[str, str]:
    """Return which test noticed what the last time, by the name of the mutant."""
    return {row["mutant"]: row["by"] for row in _rows() if row["by"]}


def _rows() -> list[dict[str, Any]]:
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def _remember(key: str, mutant: Mutant, played: Played) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    row = {"key": key, "mutant": mutant.id, "verdict": played.verdict.value, "by": played.by}
    more = {"seconds": round(played.seconds, 1), "last": played.last}
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row | more) + "\n")


def _key(mutant: Mutant) -> str:
    """Return a hash of what a verdict is of: the changed text and its tests."""
    digest = hashlib.sha256(f"{mutant.id}\0{mutant.source}".encode())
    for test in files_of(mutant.path):
        digest.update(Path(REPO, test).read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
