"""Randomness that is the same every time, and what vectors are written with."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final
from unittest import mock

from nacl.signing import SigningKey

from client.crypto import wraps as wraps_module
from client.crypto.derivation import hkdf
from client.crypto.identity import Identity
from client.crypto.secrets import Seed
from protocol.encoding import Value, decode
from protocol.errors import SealroomError
from protocol.identity import PublicIdentity
from protocol.labels import Label, framed
from tests import xwing

DAY: Final = 86_400

Json = Any


class Draws:
    """Takes the place of the system's random source, and remembers what it gave."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._count = 0
        self._given: list[str] = []

    def __call__(self, size: int | None = None) -> bytes:
        self._count += 1
        counted = self._count.to_bytes(4, "big")
        drawn = hashlib.shake_256(b"drawn for " + self._name + counted).digest(size or 32)
        self._given.append(drawn.hex())
        return drawn

    def taken(self) -> list[str]:
        """Return what was drawn since the last call."""
        given, self._given = self._given, []
        return given

    def seal_box(self, recipient: PublicIdentity, plaintext: bytes, info: bytes) -> bytes:
        """Seal a box with 64 drawn bytes as the coins of its encapsulation."""
        return xwing.seal(recipient.kem_key, plaintext, info, self(xwing.COINS_BYTES))


@contextlib.contextmanager
def fixed_randomness(name: str) -> Iterator[Draws]:
    """Replace every source of randomness that the client has."""
    draws = Draws(name)
    with (
        mock.patch.object(secrets, "token_bytes", draws),
        mock.patch.object(os, "urandom", draws),
        mock.patch.object(wraps_module, "seal_box", draws.seal_box),
    ):
        yield draws


def fixed(text: str, size: int = 32) -> bytes:
    """Return bytes that stand for a secret or an id chosen beforehand."""
    return hashlib.shake_256(b"sealroom test vectors: " + text.encode()).digest(size)


def person(name: str) -> Identity:
    return Identity(Seed(fixed(f"the seed of {name}")))


def identity_of(identity: Identity) -> Json:
    """Write an identity out, from its seed to its id."""
    seed = identity.seed.expose()
    wide = hkdf(seed, framed(Label.SEED_REWRAP), length=64)
    signing_key, kem_key, rewrap_key = identity.public.keys()
    return {
        "seed": seed.hex(),
        "signing_seed": hkdf(seed, framed(Label.SEED_SIGNING)).hex(),
        "kem_seed": hkdf(seed, framed(Label.SEED_KEM), length=96).hex(),
        "rewrap_wide": wide.hex(),
        "rewrap_scalar": identity.rewrap_scalar.expose().hex(),
        "signing_key": signing_key.hex(),
        "kem_key": kem_key.hex(),
        "rewrap_key": rewrap_key.hex(),
        "member_id": identity.member_id.hex(),
    }


SERVER: Final = SigningKey(fixed("the server's checkpoint key"))
VAULT_ID: Final = fixed("a vault id")
COLLECTION: Final = fixed("a collection", 16)


# --- plain values


def plain(value: Value) -> Json:
    """Write a value of the one encoding as JSON."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return {"int": str(value)}
        case bytes():
            return {"hex": value.hex()}
        case tuple() | list():
            return [plain(item) for item in value]
        case _:
            return {"map": [[key, plain(value[key])] for key in sorted(value)]}


def refusal(call: Callable[..., object], *given: object, **named: object) -> str:
    """Return the code of the error that a call gives; it must give one of ours."""
    try:
        call(*given, **named)
    except SealroomError as error:
        return error.code
    raise AssertionError("an invalid case was taken")


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]


def parts_of(encoded: bytes) -> Any:
    """Take a message apart into plain values, to put it together wrongly."""
    return decode(encoded, max_bytes=1 << 20)
