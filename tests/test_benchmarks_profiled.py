"""Where processor time goes: every sample belongs to one part, and what waits to none."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import profiled
from benchmarks.profiled import OTHER, Profile, counted, main, part_of, report
from benchmarks.serving import Serving
from benchmarks.steps import Step

RUN = "run (asyncio/runners.py:190)"


@pytest.mark.parametrize(
    ("frames", "part"),
    [
        ("seal_batch (client/crypto/cells.py:120);sealroom_seal (_loop.so)", "the cipher, padding"),
        ("seal_batch (client/crypto/cells.py:120);SHA256_Update (libcrypto.so.3)", "SHA-256"),
        ("batches (client/tables/csv_in.py:90);0x7f (libarrow.so)", "tables"),
        ("write (asyncio/sslproto.py:3);SSL_write_ex (libssl.so.3);0x7f (libcrypto.so.3)", "TLS"),
        ("write (asyncio/selector_events.py:3);sock_send (socketmodule.c:9)", "the socket"),
        ("stage (vault/storage/sqlite.py:7);sqlite3_step (libsqlite3.so.0)", "SQLite"),
        ("join_batch_body (protocol/blocks.py:8);0x7f (libc.so.6)", "bodies put together, cut"),
        ("sign_request (client/request_signing.py:8)", "signing requests, ledger"),
        ("_run_once (asyncio/base_events.py:9)", "HTTP, event loop"),
        ("stage (client/transport.py:170)", "the rest of client and server"),
        ("work (concurrent/futures/thread.py:64);PyDict_New (libpython3.11.so)", OTHER),
    ],
)
def test_a_sample_belongs_to_the_innermost_part_that_it_is_in(frames: str, part: str) -> None:
    stack = frames.split(";")
    if part != OTHER:
        stack = [RUN, *stack]
    assert part_of(stack) == part


@pytest.mark.parametrize(
    "frames",
    [
        "_find_and_load (<frozen importlib._bootstrap>:1176);sqlite3 (x.py:1)",
        "_keys (client/keyring_file.py:320);argon2id (libsodium.so)",
        "select (selectors.py:468);epoll_wait (libc.so.6)",
        "get (queue.py:9);PyThread_acquire_lock_timed (libpython3.11.so);0x7f (libc.so.6)",
        "commit (vault/storage/sqlite.py:7);unixSync (libsqlite3.so);fsync (libc.so.6)",
        "0x7f (libc.so.6);gc_collect_main (libpython3.11.so.1.0)",
    ],
)
def test_what_waits_starts_or_ends_is_no_part_of_the_work(frames: str) -> None:
    assert part_of(frames.split(";")) is None


def test_samples_are_counted_by_part() -> None:
    raw = [
        f"{RUN};stage (client/transport.py:170) 3\n",
        f"{RUN};a (client/tables/csv_in.py:1) 2\n",
        f"{RUN};stage (client/transport.py:171) 4\n",
        "select (selectors.py:468) 90\n",
    ]
    assert counted(raw) == {"the rest of client and server": 7, "tables": 2}


@pytest.mark.parametrize("known", [True, False])
def test_the_report_turns_samples_into_nanoseconds_a_cell(known: bool) -> None:
    step = Step(2.0, 1.0, None, None, cells=1_000_000, server_seconds=0.5 if known else None)
    text = report(Profile(step, Counter(tables=3, TLS=1), Counter(SQLite=5)))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "1,000,000 cells in 2.00 s; ns of the processor a cell"
    assert lines[1:4] == ["client 1000 (4 samples)", "tables 750 75%", "TLS 250 25%"]
    assert lines[4:] == (["server 500 (5 samples)", "SQLite 500 100%"] if known else [])


# --- the command

FAKE_SPY = """#!{python}
import signal, subprocess, sys
arguments = sys.argv[1:]
raw = arguments[arguments.index("-o") + 1]
if "--pid" in arguments:
    signal.sigwait([signal.SIGINT])
    code = 0
else:
    print("py-spy> sampling")
    code = subprocess.run(arguments[arguments.index("--") + 1 :]).returncode
if True:
    with open(raw, "w") as out:
        out.write("work (client/uploads.py:1) 5\\n")
sys.exit(code)
"""


@pytest.fixture
def spy(tmp_path: Path) -> Path:
    """A command that takes py-spy's arguments, and finds five samples on each side."""
    path = tmp_path / "py-spy"
    path.write_text(FAKE_SPY.format(python=sys.executable))
    path.chmod(0o700)
    return path


def test_a_step_is_played_for_real_and_sampled_on_both_sides(spy: Path) -> None:
    made = profiled.profiled("accept", 20, str(spy))
    assert made.step.cells == 200
    assert made.client == made.server == {"the rest of client and server": 5}


@pytest.mark.parametrize(
    ("step", "played"),
    [
        ("upload", ["upload"]),
        ("reencrypt", ["upload", "reencrypt"]),
        ("export", ["upload", "export"]),
        ("accept", ["upload", "offer", "accept"]),
    ],
)
def test_before_a_step_is_played_what_it_needs_and_it_alone_is_sampled(
    step: str, played: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, bool]] = []

    @contextmanager
    def somewhere(*_: object) -> Iterator[None]:
        yield

    async def words(*_: object) -> str:
        return "words"

    def stepped(_: object, name: str, *arguments: object) -> Step:
        steps.append((name, len(arguments) == 3))
        return Step(1, 1, None, None)

    for name, instead in (
        ("serving", somewhere),
        ("sampled", somewhere),
        ("create_vault", words),
        ("enrol", words),
        ("stepped", stepped),
        ("_counted_in", lambda _: Counter()),
    ):
        monkeypatch.setattr(profiled, name, instead)
    profiled.profiled(step, 20, "py-spy")
    assert steps == [(name, name == step) for name in played]


def test_the_command_prints_where_time_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(step: str, records: int, spy: str) -> Profile:
        assert (step, records, spy) == ("upload", 20, "/somewhere/py-spy")
        return Profile(Step(1, 1, None, None, cells=200), Counter(tables=1), Counter())

    monkeypatch.setattr("benchmarks.profiled.shutil.which", lambda *_, **__: "/somewhere/py-spy")
    monkeypatch.setattr(profiled, "profiled", found)
    done = CliRunner().invoke(main, ["upload", "--records", "20"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("200 cells in ")


def test_without_py_spy_the_command_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.profiled.shutil.which", lambda *_, **__: None)
    done = CliRunner().invoke(main, ["upload"])
    assert done.exit_code == 1
    assert "pip install py-spy" in done.output


def test_a_server_that_cannot_be_sampled_is_said(tmp_path: Path) -> None:
    refused = tmp_path / "py-spy"
    refused.write_text("#!/bin/sh\necho 'Permission Denied' >&2\nexit 1\n")
    refused.chmod(0o700)
    server = Serving("https://localhost:1", bytes(32), "", 1)
    with (
        pytest.raises(RuntimeError, match="Permission Denied"),
        profiled.sampled(str(refused), server, tmp_path / "raw"),
    ):
        pass
