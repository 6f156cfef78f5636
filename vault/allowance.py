"""How much a member may add to a vault's log in a day (D4).

Each leaf is there for ever, and every client replays it whenever it starts. A rate alone is no
bound that anybody would notice: ten acts a second are 864,000 a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol import api
from protocol.limits import DAY
from vault.rates import RateLimit

FETCHES_PER_ACT: Final = 20
"""To replay the observation of a fetch takes a twentieth of what the least act takes, or less."""
OTHERS_PER_COMMITTER: Final = 10
"""Who commits nothing has a tenth: to read, to answer an offer, to change an identity."""
BROUGHT_IN: Final = b"brought in"
LEAVES: Final = {api.ACTS: FETCHES_PER_ACT, api.BLOCKS: 1}
"""The paths by which the log grows, and what each time is worth."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whose allowance a key spends, and whether as somebody who commits.

    `since` is the id that a member had first: a new identity has its old one's allowance. Of
    whoever commits nothing `by` is who brought it in, the same way: whom one brought in spend
    together what one who commits has, or invites would be allowances.
    """

    since: bytes
    commits: bool
    by: bytes | None = None


class Allowance:
    """A day's worth of leaves for each member at once, and as much again in each day after.

    It is kept in memory: after a restart everybody has a whole one.
    """

    def __init__(self, acts_per_day: int) -> None:
        self._most = acts_per_day * FETCHES_PER_ACT
        self._left = RateLimit(self._most / DAY, self._most, told="too much for the log in one day")

    def spend(self, template: str, vault: bytes, whose: Standing, now: float) -> None:
        """Count a request on a path of `LEAVES`; `now` as for `RateLimit.spend`.

        Raises:
            RateLimited: the member has added what it may, and has to wait.
        """
        leaves = LEAVES[template]
        cost = leaves * (1 if whose.commits else OTHERS_PER_COMMITTER)
        self._left.spend(vault + whose.since, now, min(cost, self._most))
        if whose.by is not None and not whose.commits:
            # Not that of who brought it in, who has to be able to remove it.
            self._left.spend(vault + whose.by + BROUGHT_IN, now, min(leaves, self._most))
