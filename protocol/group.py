"""The prime-order subgroup of edwards25519 (SPEC section 3).

A `Point` and a `Scalar` are valid once constructed: the point is canonical, of prime order
and not the identity, the scalar reduced and not zero. Everything that the library would
quietly accept beyond that (small order, mixed order, the identity, L + 1) is refused here,
once, so that no proof has to think of it.

The arithmetic is libsodium's. It is constant-time in the scalar, so `client` uses the same
functions with secret scalars; this module itself holds none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from protocol.errors import MalformedMessage, WeakKey

POINT_BYTES: Final = 32
SCALAR_BYTES: Final = 32
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_IDENTITY: Final = b"\x01" + bytes(31)


@dataclass(frozen=True, slots=True)
class Point:
    """A point of prime order, never the identity. Build it with `from_bytes` or arithmetic."""

    encoded: bytes

    def __post_init__(self) -> None:
        if len(self.encoded) != POINT_BYTES:
            raise MalformedMessage("a point is 32 bytes")
        if not bindings.crypto_core_ed25519_is_valid_point(self.encoded):
            raise WeakKey("not a point of the prime-order group")

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Point:
        """Parse a point (SPEC section 3).

        Raises:
            MalformedMessage: not 32 bytes.
            WeakKey: the identity, a point of small or mixed order, or not canonical.
        """
        return cls(bytes(encoded))

    def __bytes__(self) -> bytes:
        """Return the 32 canonical bytes."""
        return self.encoded

    def __add__(self, other: Point) -> Point:
        """Return the sum; raises `WeakKey` where it would be the identity."""
        return _closed(bindings.crypto_core_ed25519_add(self.encoded, other.encoded))

    def __sub__(self, other: Point) -> Point:
        """Return the difference; raises `WeakKey` where it would be the identity."""
        return _closed(bindings.crypto_core_ed25519_sub(self.encoded, other.encoded))


@dataclass(frozen=True, slots=True)
class Scalar:
    """A public scalar 0 < s < L, little-endian. Secret ones are `client.crypto` classes."""

    encoded: bytes

    def __post_init__(self) -> None:
        if len(self.encoded) != SCALAR_BYTES:
            raise MalformedMessage("a scalar is 32 bytes")
        if not 0 < int.from_bytes(self.encoded, "little") < ORDER:
            raise MalformedMessage("a scalar is reduced and not zero")

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Scalar:
        """Parse a reduced, non-zero scalar (SPEC section 3).

        Raises:
            MalformedMessage: not 32 bytes, zero, or L and above.
        """
        return cls(bytes(encoded))

    @classmethod
    def reduced(cls, wide: bytes) -> Scalar:
        """Reduce 64 uniform bytes modulo L, so that the bias is below 2^-250.

        Raises:
            MalformedMessage: the reduction is zero (never, for uniform bytes).
        """
        return cls(bindings.crypto_core_ed25519_scalar_reduce(wide))

    def __bytes__(self) -> bytes:
        """Return the 32 little-endian bytes."""
        return self.encoded


def base_mul(scalar: bytes) -> Point:
    """Return scalar·G for 32 reduced, non-zero bytes; constant-time in the scalar."""
    return _closed(_multiple(scalar, None))


def mul(scalar: bytes, point: Point) -> Point:
    """Return scalar·point for 32 reduced, non-zero bytes; constant-time in the scalar."""
    return _closed(_multiple(scalar, point))


def linear(terms: tuple[tuple[bytes, Point | None], ...]) -> Point:
    """Return the sum of scalar·point over one or more terms; None stands for the generator G.

    Raises:
        WeakKey: the sum is the identity (never, for honest random input).
    """
    (scalar, point), *rest = terms
    total = _multiple(scalar, point)
    for scalar, point in rest:
        total = bindings.crypto_core_ed25519_add(total, _multiple(scalar, point))
    return _closed(total)


def negate(scalar: bytes) -> bytes:
    """Return L - scalar for 32 reduced bytes."""
    return bindings.crypto_core_ed25519_scalar_negate(scalar)


def _multiple(scalar: bytes, point: Point | None) -> bytes:
    try:
        if point is None:
            return bindings.crypto_scalarmult_ed25519_base_noclamp(scalar)
        return bindings.crypto_scalarmult_ed25519_noclamp(scalar, point.encoded)
    except CryptoError as error:
        raise WeakKey("a multiplication gave the identity") from error


def _closed(encoded: bytes) -> Point:
    """Build a point from arithmetic on points: the group is closed, so only the identity is bad.

    Skipping the subgroup check here saves a third of a proof's verification (50 us a point).
    """
    if encoded == _IDENTITY:
        raise WeakKey("the sum of the points is the identity")
    point = object.__new__(Point)
    object.__setattr__(point, "encoded", encoded)
    return point


SECOND_GENERATOR: Final = Point.from_bytes(
    bytes.fromhex("e8e78ca74d5c447fef0e483c68ce6bc4abb3c3beb66bc096bc9ea91eb3a1acc6")
)
"""H, of which nobody knows the logarithm to G: derived as SPEC section 9.9 says, by a test too."""
