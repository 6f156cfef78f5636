"""Install the peers into an environment of their own: `python -m benchmarks.peers.installing DIR`.

All at once where that goes. Where some package does not install on this machine, each by itself,
and what pip said of those that did not is printed; the comparison leaves them out by name.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LOCK: Final = Path(__file__).with_name("requirements.lock")
_PIP: Final = ("-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check")


def main() -> None:
    """Make the environment if it is not there, and install what the lock lists."""
    folder = Path(sys.argv[1])
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if installed(python, LOCK) is None:
        return
    with tempfile.TemporaryDirectory() as name:
        one = Path(name) / "requirement.txt"
        for requirement in requirements(LOCK.read_text(encoding="utf-8")):
            one.write_text(requirement, encoding="utf-8")
            why = installed(python, one)
            if why is not None:
                print(f"{requirement.split()[0]} does not install here: {why}")


def installed(python: Path, lock: Path) -> str | None:
    """Install a lock by its hashes; None, or the last that pip said where it does not go."""
    done = subprocess.run(
        [python, *_PIP, "--no-deps", "--require-hashes", "-r", lock],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else (said or ["pip said nothing"])[-1]


def requirements(lock: str) -> Iterator[str]:
    """Yield each requirement of a lock, with its hashes, and no comment."""
    lines: list[str] = []
    for line in lock.splitlines():
        if line.startswith("#"):
            continue
        if lines and not line.startswith(" "):
            yield "\n".join(lines) + "\n"
            lines = []
        if line.strip():
            lines.append(line)
    if lines:
        yield "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
