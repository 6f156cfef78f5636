"""The files of a release, twice: `python -m release.build` (`make dist`).

A source archive is made of what is committed, and a wheel of that archive alone. Both come out the
same to the byte wherever and whenever they are made of one commit with the versions that the lock
pins: times are those of the commit, owners and modes are fixed, and order is sorted. So whoever
doubts a release makes it again and compares hashes.

The wheel is pure: compiled code would be another for each platform and compiler, and could be
compared by nobody. Whoever wants the compiled loop installs from the archive, where a compiler is.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Final

DIST: Final = Path("dist")
PURE: Final = "SEALROOM_PURE"
EPOCH: Final = "SOURCE_DATE_EPOCH"
UMASK: Final = 0o022

Files = Mapping[str, bytes]


class Unlike(RuntimeError):
    """Two builds of one commit that are not the same."""


def main() -> None:
    """Build the release twice, compare, keep it in `dist`, and print the hashes.

    Raises:
        Unlike: the builds differ.
    """
    repository = Path.cwd()
    epoch = int(os.environ.get(EPOCH) or committed_at(repository))
    made = built(repository, epoch)
    again = built(repository, epoch, TZ="Pacific/Apia", LC_ALL="C", PYTHONHASHSEED="1")
    expect_same(made, again)
    DIST.mkdir(exist_ok=True)
    for name, content in made.items():
        (DIST / name).write_bytes(content)
        print(f"{hashlib.sha256(content).hexdigest()}  {DIST / name}")


def expect_same(one: Files, other: Files) -> None:
    """Check that two builds gave the same files.

    Raises:
        Unlike: they did not.
    """
    unlike = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    if unlike or not one:
        raise Unlike(f"two builds of one commit differ in {', '.join(unlike) or 'everything'}")


def committed_at(repository: Path) -> int:
    """Return when the newest commit was made, in unix seconds."""
    return int(_output(repository, "git", "log", "-1", "--format=%ct"))


def built(repository: Path, epoch: int, **environment: str) -> dict[str, bytes]:
    """Return the source archive and the wheel of the newest commit, by name.

    What is not committed is not in them. `environment` is what the build runs under, which must
    make no difference.
    """
    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory)
        committed = _output(repository, "git", "archive", "--format=tar", "HEAD")
        tree = _unpacked(committed, room / "tree")
        source = _made("build_sdist", tree, room, epoch, environment)
        content = settled(source.read_bytes(), epoch)
        inner = _unpacked(content, room / "source") / source.name.removesuffix(".tar.gz")
        wheel = _made("build_wheel", inner, room, epoch, environment)
        return {source.name: content, wheel.name: wheel.read_bytes()}


def settled(archive: bytes, epoch: int) -> bytes:
    """Return a tar.gz with the same files, and nothing in it of when, where or by whom."""
    out = BytesIO()
    with (
        tarfile.open(fileobj=BytesIO(archive)) as source,
        gzip.GzipFile("", "wb", 9, out, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for member in sorted(source.getmembers(), key=lambda each: each.name):
            if not (member.isfile() or member.isdir()):
                raise Unlike(f"{member.name} is neither a file nor a folder")
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size, plain.mtime = member.type, member.size, epoch
            plain.mode = 0o755 if member.isdir() else 0o644
            target.addfile(plain, source.extractfile(member) if member.isfile() else None)
    return out.getvalue()


def _unpacked(archive: bytes, directory: Path) -> Path:
    before = os.umask(UMASK)
    try:
        with tarfile.open(fileobj=BytesIO(archive)) as source:
            source.extractall(directory, filter="data")
    finally:
        os.umask(before)
    return directory


def _made(hook: str, tree: Path, room: Path, epoch: int, environment: Mapping[str, str]) -> Path:
    """Run a hook of the build backend (PEP 517) in a process of its own; return what it made."""
    made = room / hook
    made.mkdir()
    program = f"import os, setuptools.build_meta as b; os.umask({UMASK}); b.{hook}({str(made)!r})"
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tree,
        env={**os.environ, **environment, PURE: "1", EPOCH: str(epoch)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (file,) = made.iterdir()
    return file


def _output(directory: Path, *command: str) -> bytes:
    return subprocess.run(command, cwd=directory, check=True, capture_output=True).stdout


if __name__ == "__main__":
    main()
