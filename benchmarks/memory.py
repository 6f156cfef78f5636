"""How much memory a process has needed at most."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


def peak_bytes(pid: int | None = None) -> int | None:
    """Return the most memory resident so far, of this process or another; None where unknown.

    Linux tells it of each process. Elsewhere only a process itself can ask, by `getrusage`;
    on Linux that would not do, as a child's figure there begins with its parent's size.
    """
    status = Path(f"/proc/{pid or os.getpid()}/status")
    if status.exists():
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        (kibibytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(kibibytes) * 1024
    if pid is not None:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
