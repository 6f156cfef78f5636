"""What a client does, each step in a process of its own: `python -m benchmarks.steps STEP ...`.

A process each, because memory at its peak is a matter of a process, and because nothing that
one step has warmed up or kept may help the next. A step times its own work, after its imports
and the opening of the keyring, and prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute
from nacl.bindings import crypto_scalarmult
from nacl.public import PrivateKey

from benchmarks.conditions import REPOSITORY
from benchmarks.memory import peak_bytes
from benchmarks.mixed_table import CLASSES, NULL_TEXT
from client.home import Home
from client.tables import ReadOptions
from client.vault import UploadOptions, Vault

PASSPHRASE: Final = "a passphrase of a benchmark"
COLLECTION: Final = "customers"
_CURVE_ROUNDS: Final = 501


@dataclass(frozen=True, slots=True)
class Step:
    """One step done: its time by the clock, its own processor time, and what it came to.

    `before_bytes` is the peak of the process's memory when the step began, `peak_bytes` at the
    end. `cells` are those it handled, `sealed_bytes` what they came to; `keys` are what an offer
    rewrapped or a removal wrapped anew, and `curve_seconds` the median time of one X25519 in that
    same process. `server_seconds` is the server's processor time meanwhile, None where unknown.
    """

    seconds: float
    processor_seconds: float
    before_bytes: int | None
    peak_bytes: int | None
    cells: int = 0
    keys: int = 0
    curve_seconds: float = 0.0
    sealed_bytes: int = 0
    server_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Done:
    cells: int = 0
    keys: int = 0
    sealed_bytes: int = 0


Work = Callable[[Vault, str], Awaitable[_Done]]


async def _upload(vault: Vault, file: str) -> _Done:
    options = UploadOptions(ReadOptions(null_text=NULL_TEXT))
    done = await vault.upload(file, collection=COLLECTION, classes=CLASSES, options=options)
    return _Done(done.cells, sealed_bytes=done.sealed_bytes)


async def _revoke(vault: Vault, member: str) -> _Done:
    return _Done(keys=(await vault.revoke(member)).rotated.wraps)


async def _reencrypt(vault: Vault, field: str) -> _Done:
    done = await vault.rotate(
        collection=COLLECTION, fields=[field] if field else None, reencrypt=True
    )
    assert done.reencrypted is not None  # it was asked for
    return _Done(done.reencrypted.cells, sealed_bytes=done.reencrypted.sealed_bytes)


async def _offer(vault: Vault, buyer: str) -> _Done:
    return _Done(keys=(await vault.offer(buyer)).keys)


async def _accept(vault: Vault, words: str) -> _Done:
    done = await vault.accept(words=words)
    return _Done(done.cells, done.keys)


async def _export(vault: Vault, file: str) -> _Done:
    return _Done((await vault.export(COLLECTION, path=file)).cells)


STEPS: Final[dict[str, Work]] = {
    "upload": _upload,
    "revoke": _revoke,
    "reencrypt": _reencrypt,
    "offer": _offer,
    "accept": _accept,
    "export": _export,
}
"""Each step. Their arguments: a file, a member's name, a field or "" for all of them and the
names, a member's name, twelve words, a file.
"""


def run_step(step: str, home: Path, argument: str, by: Sequence[str] = ()) -> Step:
    """Run one step in a process of its own, started `by` another command if one is given.

    Raises:
        RuntimeError: it failed; the message is what it wrote.
    """
    done = subprocess.run(
        [*by, sys.executable, "-m", "benchmarks.steps", step, str(home), argument],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the step {step} failed:\n{done.stderr}")
    # A profiler has its say beside the step.
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("{"))
    return Step(**json.loads(line))


async def _measured(work: Work, home: Path, argument: str) -> Step:
    # The first array of a process looks for pandas and imports it where there is one, and the
    # first use of `compute` imports that: no part of the work.
    pa.compute.equal(pa.array([""]), "")
    async with Home(home, lambda: PASSPHRASE).vault() as vault:
        before = peak_bytes()
        started, processor = time.perf_counter(), time.process_time()
        done = await work(vault, argument)
        seconds = time.perf_counter() - started
        processor = time.process_time() - processor
    curve = _curve_seconds() if done.keys else 0.0
    return Step(
        seconds, processor, before, peak_bytes(), done.cells, done.keys, curve, done.sealed_bytes
    )


def _curve_seconds() -> float:
    ours, theirs = bytes(PrivateKey.generate()), bytes(PrivateKey.generate().public_key)
    taken = []
    for _ in range(_CURVE_ROUNDS):
        start = time.perf_counter()
        crypto_scalarmult(ours, theirs)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


if __name__ == "__main__":
    name, home, argument = sys.argv[1:]
    step = asyncio.run(_measured(STEPS[name], Path(home), argument))
    sys.stdout.write(json.dumps(asdict(step)) + "\n")
