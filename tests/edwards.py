"""A second edwards25519, written from RFC 8032 in plain integers: slow, obvious, for tests only."""

from __future__ import annotations

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
IDENTITY = (0, 1)


def recover_x(y: int, sign: int) -> int | None:
    """Return the x of a point, None where no point has this y."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return x if x % 2 == sign else (P - x) % P


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def mul(scalar: int, point: tuple[int, int]) -> tuple[int, int]:
    total = IDENTITY
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def encode(point: tuple[int, int]) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(encoded: bytes) -> tuple[int, int] | None:
    """Return the point of a canonical encoding, None for every other 32 bytes."""
    number = int.from_bytes(encoded, "little")
    y, sign = number & (2**255 - 1), number >> 255
    if y >= P:
        return None
    x = recover_x(y, sign)
    if x is None or (x == 0 and sign):
        return None
    return x, y


def is_prime_order(point: tuple[int, int] | None) -> bool:
    return point is not None and point != IDENTITY and mul(L, point) == IDENTITY


_base_x = recover_x(4 * pow(5, -1, P) % P, 0)
assert _base_x is not None
BASE = (_base_x, 4 * pow(5, -1, P) % P)

# Generators of the eight points whose order divides the cofactor.
_eighth = decode(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))
assert _eighth is not None
EIGHTH = _eighth

# y in 0, 1, -1, both of order eight, and the two above the prime; each with both signs.
SMALL_ENCODINGS = tuple(
    (y | sign << 255).to_bytes(32, "little")
    for y in (0, 1, P - 1, EIGHTH[1], P - EIGHTH[1], P, P + 1)
    for sign in (0, 1)
)
