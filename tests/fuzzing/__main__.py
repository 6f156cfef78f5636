"""`python -m tests.fuzzing`: feed every parser until its time is over; exit with 1 on any wrong."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import Final

import click

from tests.fuzzing.parsers import PARSERS
from tests.fuzzing.running import REPO, Report, corpus_file, corpus_of, fuzzed
from tests.fuzzing.seeds import seeds

FINDINGS: Final = REPO / "build" / "fuzz"
KEPT_BYTES: Final = 2_048
"""The corpus in the tree takes no larger inputs from a run: what is small is read by people."""
ENDLESS: Final = 1 << 62


@click.command()
@click.option("--seconds", default=600, show_default=True, help="For all parsers together.")
@click.option("--only", default="", help="The parser of this name.")
@click.option("--seed", type=int, help="Where to begin; without it, somewhere new.")
@click.option("--keep", is_flag=True, help="Add what got somewhere new to the corpus.")
@click.option("--begin", is_flag=True, help="Write the honest inputs that the corpus lacks.")
def main(seconds: int, only: str, seed: int | None, keep: bool, begin: bool) -> None:
    """Print for each parser what became of its inputs; what went wrong is kept in build/fuzz.

    Places are the ways by which inputs were refused; memory is by how much the most of it grew.
    """
    if begin:
        for name, inputs in seeds().items():
            if not corpus_file(name).exists():
                _keep(name, inputs)
        return
    names = [name for name in PARSERS if only in ("", name)]
    chosen = int(time.time()) if seed is None else seed
    click.echo(f"seed {chosen}")
    click.echo(f"{'parser':16}{'inputs':>10}{'values':>9}{'places':>8}{'slowest':>11}{'memory':>9}")
    wrong = 0
    for name in names:
        report = fuzzed(
            PARSERS[name], corpus_of(name), chosen, inputs=ENDLESS, seconds=seconds / len(names)
        )
        _say(name, report)
        wrong += len(report.wrong)
        if keep:
            found = map(bytes.fromhex, report.found)
            _keep(name, [each for each in found if len(each) <= KEPT_BYTES])
    sys.exit(1 if wrong else 0)


def _say(name: str, report: Report) -> None:
    click.echo(
        f"{name:16}{report.inputs:10,}{report.values:9,}{report.places:8,}"
        f"{report.slowest_ms:8.1f} ms{report.grown_mib:5} MiB"
    )
    for what, data in report.wrong[:10]:
        click.echo(f"  wrong: {what}")
        FINDINGS.mkdir(parents=True, exist_ok=True)
        file = FINDINGS / f"{name.replace(' ', '-')}-{_name(bytes.fromhex(data))}"
        file.write_text(json.dumps({"what": what, "input": data}), encoding="utf-8")


def _keep(name: str, inputs: list[bytes]) -> None:
    file = corpus_file(name)
    file.parent.mkdir(exist_ok=True)
    before = corpus_of(name) if file.exists() else []
    lines = [data.hex() for data in dict.fromkeys([*before, *inputs])]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


if __name__ == "__main__":
    main()
