"""Payloads of recovery by custodians (SPEC sections 8.3 and 9.9)."""

from __future__ import annotations

from typing import Annotated, Final

from protocol.acts.terms import Count, Id32
from protocol.errors import MalformedMessage
from protocol.group import POINT_BYTES, SCALAR_BYTES, Point
from protocol.identity import HPKE_ENC_BYTES, HPKE_TAG_BYTES, IdentityCard
from protocol.limits import LIMITS
from protocol.wire import Fixed, ListOf, Maybe, Parsed, Uint, record

SHARE_PAIR_BYTES: Final = 2 * SCALAR_BYTES
"""A custodian's share: f(i) and g(i)."""
SHARE_BOX_BYTES: Final = HPKE_ENC_BYTES + SHARE_PAIR_BYTES + HPKE_TAG_BYTES
SEED_BOX_BYTES: Final = 32 + 16

PointField = Parsed(bytes, Point.from_bytes, POINT_BYTES)
ShareBox = Annotated[bytes, Fixed(SHARE_BOX_BYTES)]


@record
class SealedShare:
    """One custodian's share, in a box that it alone opens."""

    custodian: Id32
    box: ShareBox


@record
class Dealing:
    """The owner's seed, sealed under a secret that `threshold` custodians rebuild together.

    Shares ascend by custodian; the place in the list, from 1, is where each share was taken.

    Raises:
        MalformedMessage: not one commitment for each coefficient, fewer shares than are
            needed to rebuild, or a custodian twice.
    """

    threshold: Annotated[int, Uint(LIMITS.custodians, 2)]
    commitments: Annotated[tuple[Point, ...], ListOf(PointField, LIMITS.custodians, 2)]
    seed_box: Annotated[bytes, Fixed(SEED_BOX_BYTES)]
    shares: Annotated[
        tuple[SealedShare, ...], ListOf(SealedShare, LIMITS.custodians, 2, ascending=True)
    ]

    def __post_init__(self) -> None:
        """Check what spans several fields."""
        if len(self.commitments) != self.threshold:
            raise MalformedMessage("a dealing has one commitment for each of its coefficients")
        if len(self.shares) < self.threshold:
            raise MalformedMessage("fewer custodians than it takes to rebuild")
        if len({share.custodian for share in self.shares}) != len(self.shares):
            raise MalformedMessage("a custodian with two shares")

    @property
    def custodians(self) -> tuple[bytes, ...]:
        """The custodians' member ids, in the order of their shares."""
        return tuple(share.custodian for share in self.shares)


@record
class Custodians:
    """A new dealing in the place of the one there is; none ends recovery."""

    dealing: Annotated[Dealing | None, Maybe(Dealing)]


@record
class Release:
    """A custodian gives its share to whoever rebuilds, before the eyes of all members."""

    dealing: Count
    card: IdentityCard
    box: ShareBox
