"""A look at the log now and then, while much is being sealed (SPEC section 10.5)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from client.session import Session
from protocol.blocks import Address
from protocol.ledger.state import State

LOOK_SECONDS: Final = 20
"""A removal should not cost more than so many seconds' work."""


class KeysMoved(Exception):
    """A key under which something is being sealed is not to be used for it any more."""


class Lookout:
    """Looks whether the keys that are being sealed under are still good, as `good` says."""

    def __init__(self, session: Session, good: Callable[[], bool]) -> None:
        self._session = session
        self._good = good
        self._looked = time.monotonic()

    async def look(self) -> None:
        """Sync and make sure, if the last look is some time ago.

        Raises:
            KeysMoved: somebody was removed meanwhile who held one of the keys.
            Refused: it was this member.
            Stale: as `Session.keep_head_fresh`.
        """
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        await self._session.sync_as_member()
        await self._session.keep_head_fresh()
        self._looked = time.monotonic()
        if not self._good():
            raise KeysMoved


def all_open(state: State, addresses: Iterable[Address]) -> bool:
    """Say whether all of these epochs take commits."""
    epochs = map(state.epoch, addresses)
    return all(epoch is not None and not epoch.tainted for epoch in epochs)
