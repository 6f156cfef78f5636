"""The demo that README promises plays a sale to its end, by real commands against a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent


def test_the_demo_plays_to_its_end() -> None:
    demo = [sys.executable, "-m", "examples.demo"]
    done = subprocess.run(demo, cwd=REPO, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert "Everything went as it must" in done.stdout
