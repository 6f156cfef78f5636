"""How much one key may ask for: a token bucket for each (D4)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil
from typing import Final

from protocol.errors import RateLimited

BUCKETS: Final = 65_536
"""How many keys are remembered; whoever is forgotten starts with a full bucket."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """Lets each key spend `burst` tokens at once, and `per_second` a second for ever."""

    def __init__(
        self,
        per_second: float,
        burst: int,
        *,
        buckets: int = BUCKETS,
        told: str = "too many requests",
    ) -> None:
        self._per_second = per_second
        self._told = told
        self._burst = burst
        self._most = buckets
        self._buckets: OrderedDict[bytes, _Bucket] = OrderedDict()

    def spend(self, key: bytes, now: float, cost: int = 1) -> None:
        """Count a request by a key; `now` in seconds, of a clock that never goes back.

        A request that costs more than a burst is never let through.

        Raises:
            RateLimited: its bucket holds less than the request costs, and keeps it.
        """
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        earned = (now - bucket.at) * self._per_second
        bucket.tokens = min(self._burst, bucket.tokens + earned)
        bucket.at = now
        if bucket.tokens < cost:
            wait = ceil((cost - bucket.tokens) / self._per_second)
            raise RateLimited(self._told, retry_after=wait, hint=f"Wait {wait} s.")
        bucket.tokens -= cost
