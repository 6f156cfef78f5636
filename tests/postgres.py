"""A PostgreSQL of the tests' own, started where one is installed, with nothing in it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.ports import own_port

ABSENT = "no PostgreSQL is installed here ('make postgres' installs it on Debian, as root)"
PATIENCE = 300


def _programs() -> Path | None:
    """Return the folder of initdb and postgres, the newest where Debian keeps several."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path and shutil.which("postgres") else None


def _version(initdb: Path) -> int:
    return int(initdb.parts[-3])


def _unprivileged() -> list[str]:
    """Return what runs a command as somebody else: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


@contextmanager
def a_postgres() -> Iterator[str]:
    """Start a server and give its address; skip where there is none to start.

    Where SEALROOM_NEED_POSTGRES is set, as in CI, its absence is a failure.
    """
    programs = _programs()
    if programs is None or (os.geteuid() == 0 and not shutil.which("setpriv")):
        assert not os.environ.get("SEALROOM_NEED_POSTGRES"), ABSENT
        pytest.skip(ABSENT)
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o777)  # whoever runs it is somebody else
    run_as, data, port = _unprivileged(), folder / "data", own_port()
    subprocess.run(
        [*run_as, programs / "initdb", "-D", data, "-A", "trust", "-U", "seller", "-E", "UTF8",
         "--locale=C", "--no-sync", "--no-instructions"],
        check=True, capture_output=True, cwd="/",
    )  # fmt: skip
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [*run_as, programs / "postgres", "-D", data, "-k", folder, "-p", str(port),
         "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
        stdout=log, stderr=log, cwd="/",
    )  # fmt: skip
    address = f"postgresql://seller@127.0.0.1:{port}/postgres"
    try:
        _wait_until_ready(address, server, folder)
        yield address
    finally:
        server.terminate()
        server.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(address: str, server: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg.connect(address).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                raise AssertionError((folder / "log").read_text()) from None
            time.sleep(0.05)
