"""Where the processor time of a step goes, on both sides: `python -m benchmarks.profiled STEP`.

The step runs once with a new server, and py-spy samples client and server meanwhile, native code
too. A sample belongs to the innermost part that it is in; imports and the opening of the keyring
are left out. Shares are of samples; nanoseconds a cell are those shares of the processor time that
the step says it took, and the server meanwhile.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from benchmarks.mixed_table import write_mixed_csv
from benchmarks.serving import Serving, serving
from benchmarks.steps import Step
from benchmarks.transfer import BUYER, create_vault, enrol, stepped

RECORDS: Final = 300_000
RATE: Final = 200
SETTLE_SECONDS: Final = 1.0

_IGNORED: Final = re.compile(r"importlib|argon2|client/keyring_file\.py|_curve_seconds")
_WAITING: Final = re.compile(
    r"acquire_lock|take_gil|pthread_cond|epoll|selectors\.py|fsync|fdatasync|futures/thread\.py:81"
)
"""What a thread that waits is in: no sample of it, whatever the system says of its state."""
_INNERMOST: Final = 4

_PARTS: Final = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("SHA-256", r"SHA256|sha256|EVP_hash"),
        ("TLS", r"SSL_|_ssl|libssl"),
        ("the socket", r"sock_send|sock_recv|_socket"),
        ("the cipher, padding", r"_loop|libsodium|_sodium|client/crypto/|numpy"),
        ("tables", r"client/tables/|client/columns|arrow|parquet"),
        ("SQLite", r"sqlite|client/store\.py|vault/storage/"),
        ("bodies put together, cut", r"protocol/blocks|vault/bodies|vault/landing|bytes_join"),
        ("signing requests, ledger", r"protocol/|signing|http_message_signatures|client/trust"),
        ("HTTP, event loop", r"aiohttp|asyncio|uvloop|multidict|yarl"),
        ("the rest of client and server", r"client/|vault/|benchmarks/"),
    )
)
OTHER: Final = "Python itself"


@dataclass(frozen=True, slots=True)
class Profile:
    """How many samples each part had, on each side, and the step they are of."""

    step: Step
    client: Counter[str]
    server: Counter[str]


def part_of(stack: Sequence[str]) -> str | None:
    """Return the innermost part that a stack, root first, is in; None if it is not of the work.

    Nor is what waits, and what runs outside of Python's functions: an interpreter that ends.
    """
    if any(_IGNORED.search(frame) for frame in stack):
        return None
    if any(_WAITING.search(frame) for frame in stack[-_INNERMOST:]):
        return None
    if not any(".py:" in frame for frame in stack):
        return None
    for frame in reversed(stack):
        for name, pattern in _PARTS:
            if pattern.search(frame):
                return name
    return OTHER


def counted(raw: Iterable[str]) -> Counter[str]:
    """Count the samples of each part in what py-spy wrote: frames, a space, a number."""
    found: Counter[str] = Counter()
    for line in raw:
        frames, _, count = line.rstrip().rpartition(" ")
        part = part_of(frames.split(";"))
        if part is not None:
            found[part] += int(count)
    return found


def report(profile: Profile) -> str:
    """Return a table: nanoseconds of each side's processor a cell, part by part."""
    step = profile.step
    sides = [("client", profile.client, step.processor_seconds)]
    if step.server_seconds is not None:
        sides.append(("server", profile.server, step.server_seconds))
    lines = [f"{step.cells:,} cells in {step.seconds:.2f} s; ns of the processor a cell"]
    for name, samples, seconds in sides:
        whole = seconds / step.cells * 1e9
        lines.append(f"{name:<34}{whole:>8.0f}   ({samples.total():,} samples)")
        for part, count in samples.most_common():
            share = count / samples.total()
            lines.append(f"  {part:<32}{share * whole:>8.0f}{share:>7.0%}")
    return "\n".join(lines)


def profiled(step: str, records: int, spy: str) -> Profile:
    """Play what has to come before a step, and sample that one.

    Raises:
        RuntimeError: a step failed, or py-spy may not look into processes here.
    """
    with tempfile.TemporaryDirectory(prefix="sealroom-profile-") as name:
        folder = Path(name)
        table, seller, buyer = folder / "table.csv", folder / "seller", folder / "buyer"
        write_mixed_csv(table, records)
        with serving(folder / "server") as server:
            asyncio.run(create_vault(server, seller))
            home, argument = seller, str(table)
            if step != "upload":
                stepped(server, "upload", seller, str(table))
                argument = {"export": str(folder / "out.csv")}.get(step, "")
            if step == "accept":
                home, argument = buyer, asyncio.run(enrol(seller, {BUYER: buyer}))
                stepped(server, "offer", seller, BUYER)
            client, other = folder / "client.raw", folder / "server.raw"
            with sampled(spy, server, other):
                done = stepped(server, step, home, argument, _spying(spy, client))
        return Profile(done, _counted_in(client), _counted_in(other))


def _spying(spy: str, raw: Path) -> tuple[str, ...]:
    return (spy, "record", "--native", "--format", "raw", "--rate", str(RATE), "-o", str(raw), "--")


@contextmanager
def sampled(spy: str, server: Serving, raw: Path) -> Iterator[None]:
    """Sample a server as long as the block lasts."""
    command = [*_spying(spy, raw)[:-1], "--pid", str(server.pid)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        time.sleep(SETTLE_SECONDS)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate()
    if not raw.exists():
        raise RuntimeError(f"py-spy did not sample the server:\n{said.decode(errors='replace')}")


def _counted_in(raw: Path) -> Counter[str]:
    with raw.open(encoding="utf-8", errors="replace") as lines:
        return counted(lines)


@click.command()
@click.argument("step", type=click.Choice(["upload", "reencrypt", "accept", "export"]))
@click.option("--records", default=RECORDS, show_default=True, type=click.IntRange(min=1))
def main(step: str, records: int) -> None:
    """Run one step, and print where its processor time goes."""
    spy = shutil.which("py-spy", path=Path(sys.executable).parent) or shutil.which("py-spy")
    if spy is None:
        raise click.ClickException("py-spy is not installed: pip install py-spy")
    click.echo(report(profiled(step, records, spy)))


if __name__ == "__main__":
    main()
