"""How long tests wait for what comes by itself, before they take it for what never will."""

from __future__ import annotations

from typing import Final

HANGS_SECONDS: Final = 120
"""No machine is so busy: only a failing test waits as long as this."""
