"""Who may send a large body now: a few at once, shared out among vaults and members (D5).

A place is held while a body arrives and is worked on, and so it bounds memory; but whoever sends
slowly holds one for minutes. So no vault ever has all of them, and they go round.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final

PLACES_PER_MEMBER: Final = 2
"""One that is read while the other is stored."""

Share = tuple[bytes, ...]
"""Whose a place counts as: a vault, or one member of it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Visit:
    vault: Share
    member: Share
    called: asyncio.Future[None]


class Places:
    """`most` places. A vault gets another one only while more are free than it has.

    So one vault has half of them at most, and leaves half to the others; two vaults that take
    all they get leave a quarter, and it takes members of several vaults together to leave none
    (of 8 places: of 4 vaults, with 4, 2, 1 and 1). A free place goes to whose vault has the
    fewest, and of those had its turn, or came, longest ago; among a vault's members it is the
    same. So a vault that has none is overtaken once by each other at most, whatever those send.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._taken: Counter[Share] = Counter()
        self._turns: dict[Share, int] = {}
        self._clock = count(1)
        self._waiting: list[_Visit] = []

    @asynccontextmanager
    async def one(self, vault: bytes, member: bytes) -> AsyncIterator[None]:
        """Wait for a place, and hold it until the block ends."""
        called = asyncio.get_running_loop().create_future()
        me = _Visit((vault,), (vault, member), called)
        self._waiting.append(me)
        for share in (me.vault, me.member):
            self._turns.setdefault(share, next(self._clock))
        self._call()
        try:
            await called
            yield
        finally:
            self._leave(me)
            self._call()

    def _call(self) -> None:
        """Give places to those who may have them, as long as there are any."""
        while able := list(self._able()):
            following = min(able, key=self._order)  # of equals who came first
            self._waiting.remove(following)
            self._free -= 1
            for share in (following.vault, following.member):
                self._taken[share] += 1
                self._turns[share] = next(self._clock)
            following.called.set_result(None)

    def _able(self) -> Iterator[_Visit]:
        for visit in self._waiting:
            of_vault, of_member = self._taken[visit.vault], self._taken[visit.member]
            may = of_vault < self._free and of_member < PLACES_PER_MEMBER
            if may and not visit.called.cancelled():
                yield visit

    def _order(self, visit: _Visit) -> tuple[int, int, int, int]:
        vault, member = visit.vault, visit.member
        return self._taken[vault], self._turns[vault], self._taken[member], self._turns[member]

    def _leave(self, visit: _Visit) -> None:
        if visit in self._waiting:  # it was cut off before it was called
            self._waiting.remove(visit)
        else:
            self._free += 1
            self._taken.subtract((visit.vault, visit.member))
        here = {share for each in self._waiting for share in (each.vault, each.member)}
        for share in {visit.vault, visit.member} - here:
            if not self._taken[share]:
                del self._taken[share]
                del self._turns[share]
