"""A clock for what a server lets each key ask for, which goes on only where a test says so."""

from __future__ import annotations

import pytest

from vault import door as door_module
from vault.rates import RateLimit


class Standing:
    """Has a server that starts from now on count its requests by `now`, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        clock = self

        class Limit(RateLimit):
            def spend(self, key: bytes, now: float, cost: int = 1) -> None:
                super().spend(key, clock.now, cost)

        monkeypatch.setattr(door_module, "RateLimit", Limit)
