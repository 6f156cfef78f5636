"""A seed in shares: dealing it, checking shares, putting them together (SPEC section 9.9).

Pedersen's verifiable secret sharing over the group of SPEC section 3: any `threshold` shares
give the dealt secret, fewer tell nothing about it, and each can be checked by itself against
commitments that tell nothing either, even to whoever takes logarithms. The seed is sealed under
a key from the dealt secret, since it is no scalar.

What is dealt is the whole of an identity. Only the client that rebuilds it ever has it together.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl import bindings

from client.crypto.derivation import hkdf
from client.crypto.engines import NONCE
from client.crypto.identity import Identity, seal_box
from client.crypto.secrets import Secret, Seed
from protocol.acts import Dealing, SealedShare
from protocol.errors import CommitmentMismatch, IntegrityError, WeakKey
from protocol.group import ORDER, SCALAR_BYTES, SECOND_GENERATOR, Point, Scalar, linear
from protocol.identity import PublicIdentity
from protocol.labels import Label, digest, framed


class CustodianShare(Secret):
    """One custodian's share: f(i) and g(i), 64 bytes."""

    size = 2 * SCALAR_BYTES


class DealtSecret(Secret):
    """The scalar that a dealing puts in shares: a_0, 32 bytes."""


# --- dealing


def deal(
    owner: Identity, vault_id: bytes, custodians: Sequence[PublicIdentity], threshold: int
) -> Dealing:
    """Put an owner's seed in shares, one for each custodian; any `threshold` rebuild it.

    Raises:
        MalformedMessage: as `Dealing`: too few custodians, or one twice.
    """
    ordered = sorted(custodians, key=lambda each: each.member_id)
    secret, hiding = _polynomial(threshold), _polynomial(threshold)
    commitments = tuple(
        linear(((a, None), (b, SECOND_GENERATOR))) for a, b in zip(secret, hiding, strict=True)
    )
    ids = tuple(each.member_id for each in ordered)
    shares = []
    for place, custodian in enumerate(ordered, 1):
        info = _share_info(vault_id, owner.member_id, custodian.member_id, place, commitments)
        pair = _value_at(secret, place) + _value_at(hiding, place)
        shares.append(SealedShare(custodian.member_id, seal_box(custodian, pair, info)))
    key = _seed_key(DealtSecret(secret[0]), vault_id, owner.member_id, commitments, ids)
    sealed = AESGCM(key).encrypt(NONCE, owner.seed.expose(), None)
    return Dealing(threshold, commitments, sealed, tuple(shares))


def _polynomial(coefficients: int) -> tuple[bytes, ...]:
    return tuple(bytes(Scalar.reduced(secrets.token_bytes(64))) for _ in range(coefficients))


def _value_at(polynomial: Sequence[bytes], place: int) -> bytes:
    """Evaluate by Horner's rule, in libsodium's arithmetic: the coefficients are secret."""
    at = _small(place)
    *lower, value = polynomial
    for coefficient in reversed(lower):
        product = bindings.crypto_core_ed25519_scalar_mul(value, at)
        value = bindings.crypto_core_ed25519_scalar_add(product, coefficient)
    return value


def _small(number: int) -> bytes:
    return (number % ORDER).to_bytes(SCALAR_BYTES, "little")


# --- a custodian's own


def open_share(
    custodian: Identity, vault_id: bytes, owner: bytes, dealing: Dealing
) -> CustodianShare:
    """Return a custodian's share of a dealing, once it fits the commitments.

    Raises:
        IntegrityError: this is no custodian of it, or its box does not open.
        CommitmentMismatch: the share is not the one that was committed to.
    """
    me = custodian.member_id
    if me not in dealing.custodians:
        raise IntegrityError("there is no share for this identity")
    place = _place(dealing, me)
    info = _share_info(vault_id, owner, me, place, dealing.commitments)
    pair = custodian.open_box(dealing.shares[place - 1].box, info)
    return _checked(dealing, me, pair)


def release_share(
    share: CustodianShare,
    vault_id: bytes,
    dealt_at: int,
    custodian: bytes,
    rebuilder: PublicIdentity,
) -> bytes:
    """Return the box in which a custodian gives its share to whoever rebuilds the seed."""
    info = _release_info(vault_id, dealt_at, custodian, rebuilder.member_id)
    return seal_box(rebuilder, share.expose(), info)


# --- putting them together


def open_released(
    rebuilder: Identity,
    vault_id: bytes,
    dealt_at: int,
    dealing: Dealing,
    custodian: bytes,
    box: bytes,
) -> CustodianShare:
    """Return a share that a custodian released, once it fits the commitments.

    Raises:
        IntegrityError: the box does not open.
        CommitmentMismatch: the share is not the one that was committed to for this custodian;
            both name it.
    """
    info = _release_info(vault_id, dealt_at, custodian, rebuilder.member_id)
    try:
        pair = rebuilder.open_box(box, info)
    except IntegrityError as error:
        raise IntegrityError(f"what custodian {custodian.hex()[:16]} gave does not open") from error
    return _checked(dealing, custodian, pair)


def rebuild(
    vault_id: bytes, owner: bytes, dealing: Dealing, shares: Mapping[bytes, CustodianShare]
) -> Identity:
    """Put checked shares together, by custodian; return the identity that was dealt.

    Raises:
        IntegrityError: fewer than it takes.
        CommitmentMismatch: the dealer sealed something that is not the owner's seed.
    """
    if len(shares) < dealing.threshold:
        raise IntegrityError(
            f"{len(shares)} shares are there, {dealing.threshold} are needed",
            hint="Ask another custodian.",
        )
    used = sorted(_place(dealing, custodian) for custodian in shares)[: dealing.threshold]
    total = bytes(SCALAR_BYTES)
    for place in used:
        value = shares[dealing.custodians[place - 1]].expose()[:SCALAR_BYTES]
        weighted = bindings.crypto_core_ed25519_scalar_mul(value, _weight(place, used))
        total = bindings.crypto_core_ed25519_scalar_add(total, weighted)
    key = _seed_key(DealtSecret(total), vault_id, owner, dealing.commitments, dealing.custodians)
    try:
        found = Identity(Seed(AESGCM(key).decrypt(NONCE, dealing.seed_box, None)))
    except InvalidTag:
        raise _not_the_seed() from None
    if found.member_id != owner:
        raise _not_the_seed()
    return found


def _not_the_seed() -> CommitmentMismatch:
    return CommitmentMismatch("what was dealt is not the owner's seed")


def _weight(place: int, used: Sequence[int]) -> bytes:
    """Return Lagrange's coefficient at zero; places are public."""
    product = 1
    for other in used:
        if other != place:
            product = product * other * pow(other - place, -1, ORDER) % ORDER
    return _small(product)


# --- what both sides derive


def _place(dealing: Dealing, custodian: bytes) -> int:
    return dealing.custodians.index(custodian) + 1


def _checked(dealing: Dealing, custodian: bytes, pair: bytes) -> CustodianShare:
    """Return a share once f(i)·G + g(i)·H is what the commitments give at its place."""
    place = _place(dealing, custodian)
    committed = tuple(
        (_small(pow(place, power)), point) for power, point in enumerate(dealing.commitments)
    )
    try:
        share = CustodianShare(pair)
        given = linear(
            ((pair[:SCALAR_BYTES], None), (pair[SCALAR_BYTES:], SECOND_GENERATOR)),
        )
        if given == linear(committed):
            return share
    except (WeakKey, ValueError):
        pass
    raise CommitmentMismatch(
        f"the share of custodian {custodian.hex()[:16]} is not the one that was dealt to it",
        hint="It does not help. Ask another custodian, and tell the owner.",
    )


def _share_info(
    vault_id: bytes, owner: bytes, custodian: bytes, place: int, commitments: Sequence[Point]
) -> bytes:
    counts = (bytes((place,)), bytes((len(commitments),)))
    points = map(bytes, commitments)
    return digest(Label.RECOVERY_SHARE, vault_id, owner, custodian, *counts, *points)


def _release_info(vault_id: bytes, dealt_at: int, custodian: bytes, rebuilder: bytes) -> bytes:
    at = dealt_at.to_bytes(8, "big")
    return digest(Label.RECOVERY_RELEASE, vault_id, at, custodian, rebuilder)


def _seed_key(
    secret: DealtSecret,
    vault_id: bytes,
    owner: bytes,
    commitments: Sequence[Point],
    custodians: Sequence[bytes],
) -> bytes:
    points = map(bytes, commitments)
    info = framed(Label.RECOVERY_SEED, owner, bytes((len(commitments),)), *points, *custodians)
    return hkdf(secret.expose(), info, salt=vault_id)
