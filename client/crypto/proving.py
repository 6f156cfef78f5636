"""Proving linear relations: the secret half of `protocol.sigma` (SPEC section 3)."""

from __future__ import annotations

import secrets

from nacl import bindings

from client.crypto.derivation import hkdf
from client.crypto.secrets import Seed
from protocol.group import Scalar
from protocol.labels import Label, digest, framed
from protocol.sigma import Proof, Relation

_WIDE_BYTES = 64


def hedged_scalar(seed: Seed, *context: bytes) -> Scalar:
    """Return a fresh secret scalar: HKDF(seed, label || context || 32 random bytes), reduced.

    With good randomness it is uniform whatever the seed; with a repeated or broken random
    source (a cloned machine) it still differs for every context, so no scalar leaks from two
    proofs with one nonce.
    """
    info = framed(Label.SEED_NONCE, *context, secrets.token_bytes(32))
    return Scalar.reduced(hkdf(seed.expose(), info, length=_WIDE_BYTES))


def prove(relation: Relation, witness: tuple[bytes, ...], seed: Seed) -> bytes:
    """Return a proof of the relation for secret scalars that satisfy it (SPEC section 3).

    `witness` holds 32 reduced bytes a secret; that it satisfies the relation is the caller's
    to know: a proof from a false witness simply does not verify. Nonces are hedged with the
    prover's seed over the whole statement.
    """
    statement = digest(relation.label, *relation.statement())
    nonces = tuple(
        bytes(hedged_scalar(seed, statement, i.to_bytes(2, "big"))) for i in range(relation.secrets)
    )
    challenge = relation.challenge(relation.commitments(nonces))
    responses = tuple(
        Scalar(_multiply_add(bytes(challenge), secret, nonce))
        for secret, nonce in zip(witness, nonces, strict=True)
    )
    return bytes(Proof(challenge, responses))


def _multiply_add(challenge: bytes, secret: bytes, nonce: bytes) -> bytes:
    product = bindings.crypto_core_ed25519_scalar_mul(challenge, secret)
    return bindings.crypto_core_ed25519_scalar_add(product, nonce)
