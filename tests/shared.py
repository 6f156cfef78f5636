"""Where tests find the shared vectors and tables, which are not part of the project."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(
    os.environ.get("SEALROOM_SHARED", Path(__file__).resolve().parent.parent.parent / "shared")
)


def shared_path(*parts: str) -> Path:
    """Return a path below the shared folder, or skip the test, saying what is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{'/'.join(parts)} is not in the shared folder (set SEALROOM_SHARED)")
    return path


def vectors(*parts: str) -> Any:
    """Return a JSON file of published vectors, parsed; skips where it is absent."""
    return json.loads(shared_path("vectors", *parts).read_text(encoding="utf-8"))
