"""Dealing and rebuilding a seed as SPEC section 9.9 says, in plain integers, for tests only."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests import edwards
from tests.sealing_by_spec import framed, hkdf

L = edwards.L
Point = tuple[int, int]


def digest(label: str, *parts: bytes) -> bytes:
    return hashlib.sha256(framed(label, *parts)).digest()


def second_generator() -> tuple[int, bytes, Point]:
    """H, with the number and the hash from which it comes."""
    number = 0
    while True:
        hashed = digest("sealroom/v1/recovery/generator", struct.pack(">I", number))
        found = edwards.decode(hashed)
        if found is not None:
            return number, hashed, edwards.mul(8, found)
        number += 1


H = second_generator()[2]


def scalar(number: int) -> bytes:
    return (number % L).to_bytes(32, "little")


def number_of(encoded: bytes) -> int:
    return int.from_bytes(encoded, "little")


def value_at(polynomial: Sequence[int], place: int) -> int:
    return sum(a * pow(place, j, L) for j, a in enumerate(polynomial)) % L


def commitment(a: int, b: int) -> Point:
    return edwards.add(edwards.mul(a, edwards.BASE), edwards.mul(b, H))


@dataclass(frozen=True)
class Dealt:
    """One dealing: the polynomials, and all that follows from them. Custodians are in order."""

    vault_id: bytes
    owner: bytes
    custodians: tuple[bytes, ...]
    a: tuple[int, ...]
    b: tuple[int, ...]

    @property
    def commitments(self) -> tuple[bytes, ...]:
        pairs = zip(self.a, self.b, strict=True)
        return tuple(edwards.encode(commitment(*pair)) for pair in pairs)

    def share(self, place: int) -> bytes:
        """f(i) || g(i)."""
        return scalar(value_at(self.a, place)) + scalar(value_at(self.b, place))

    def share_info(self, place: int) -> bytes:
        return digest(
            "sealroom/v1/recovery/share",
            *(self.vault_id, self.owner, self.custodians[place - 1]),
            *(bytes((place,)), bytes((len(self.a),)), *self.commitments),
        )

    @property
    def seed_info(self) -> bytes:
        counted = bytes((len(self.a),))
        parts = (self.owner, counted, *self.commitments, *self.custodians)
        return framed("sealroom/v1/recovery/seed", *parts)

    @property
    def seed_key(self) -> bytes:
        return hkdf(scalar(self.a[0]), self.seed_info, self.vault_id)

    def seed_box(self, seed: bytes) -> bytes:
        return AESGCM(self.seed_key).encrypt(bytes(12), seed, None)


def release_info(vault_id: bytes, dealing: int, custodian: bytes, rebuilder: bytes) -> bytes:
    at = struct.pack(">Q", dealing)
    return digest("sealroom/v1/recovery/release", vault_id, at, custodian, rebuilder)


def fits(share: bytes, place: int, commitments: Sequence[bytes]) -> bool:
    """Say whether f(i)·G + g(i)·H is the sum of i^j · E_j, and both are scalars (3.1)."""
    f, g = number_of(share[:32]), number_of(share[32:])
    if not (len(share) == 64 and 0 < f < L and 0 < g < L):
        return False
    total = edwards.IDENTITY
    for j, encoded in enumerate(commitments):
        point = edwards.decode(encoded)
        if point is None:
            return False
        total = edwards.add(total, edwards.mul(place**j, point))
    return commitment(f, g) == total


def weights(places: Sequence[int]) -> dict[int, int]:
    """The Lagrange coefficient of each place, at zero."""
    return {i: prod(j * pow(j - i, -1, L) for j in places if j != i) % L for i in places}


def rebuilt(shares: Mapping[int, bytes]) -> int:
    """a_0, from checked shares by place."""
    weight = weights(tuple(shares))
    return sum(number_of(share[:32]) * weight[i] for i, share in shares.items()) % L
