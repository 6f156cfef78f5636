"""Non-interactive proofs of linear relations between points (SPEC section 3).

The sigma protocol for preimages of a group homomorphism (Maurer 2009; the shape of
draft-irtf-cfrg-sigma-protocols), made non-interactive with SHA-512 over a labelled,
length-prefixed transcript. A relation is a list of equations

    image = x_i·base + x_j·base + ...

in secret scalars x. Everything a statement depends on goes into the transcript: label,
context, every base and every image, then the commitments. What is left out of a transcript
can be changed after proving ("frozen heart"), so `Relation` leaves the caller no choice.

This module verifies. Proving needs the secret scalars and lives in `client.crypto`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from protocol.errors import IntegrityError, MalformedMessage, WeakKey
from protocol.group import SCALAR_BYTES, Point, Scalar, linear, negate
from protocol.labels import Label, framed

Base = Point | None
"""A base of an equation; None is the generator G."""


@dataclass(frozen=True, slots=True)
class Equation:
    """`image` is the sum of secret scalar number i times `base` over the terms (i, sign, base)."""

    image: Point
    terms: tuple[tuple[int, int, Base], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """A statement to prove: equations over `secrets` scalars, under a label and a context."""

    label: Label
    context: tuple[bytes, ...]
    secrets: int
    equations: tuple[Equation, ...]

    def commitments(self, scalars: tuple[bytes, ...]) -> tuple[Point, ...]:
        """Return the image of the scalars under each equation's linear map."""
        return tuple(
            linear(tuple((_signed(scalars[i], sign), base) for i, sign, base in equation.terms))
            for equation in self.equations
        )

    def statement(self) -> tuple[bytes, ...]:
        """Return all that the transcript holds beside the label, before the commitments."""
        parts = [*self.context, bytes((self.secrets, len(self.equations)))]
        for equation in self.equations:
            parts.append(bytes(equation.image) + bytes((len(equation.terms),)))
            for i, sign, base in equation.terms:
                term = bytes((i, sign & 0xFF))
                parts.append(term + (bytes(base) if base is not None else b""))
        return tuple(parts)

    def challenge(self, commitments: tuple[Point, ...]) -> Scalar:
        """Return SHA-512 of the whole transcript, reduced modulo L."""
        parts = (*self.statement(), *map(bytes, commitments))
        return Scalar.reduced(hashlib.sha512(framed(self.label, *parts)).digest())


@dataclass(frozen=True, slots=True)
class Proof:
    """Challenge and responses: 32 bytes and 32 bytes a secret."""

    challenge: Scalar
    responses: tuple[Scalar, ...]

    @classmethod
    def from_bytes(cls, encoded: bytes, secrets: int) -> Proof:
        """Parse a proof over `secrets` scalars.

        Raises:
            MalformedMessage: another length, or a scalar that is zero or not reduced.
        """
        if len(encoded) != proof_bytes(secrets):
            raise MalformedMessage("a proof of another length")
        challenge, *responses = (
            Scalar.from_bytes(encoded[i : i + SCALAR_BYTES])
            for i in range(0, len(encoded), SCALAR_BYTES)
        )
        return cls(challenge, tuple(responses))

    def __bytes__(self) -> bytes:
        """Return the encoding that `from_bytes` parses."""
        return bytes(self.challenge) + b"".join(map(bytes, self.responses))


def proof_bytes(secrets: int) -> int:
    """Return the size of a proof over `secrets` scalars, in bytes."""
    return SCALAR_BYTES * (1 + secrets)


def verify(relation: Relation, proof: Proof) -> None:
    """Check that whoever made the proof knew scalars that satisfy the relation (SPEC section 3).

    Guarantees knowledge soundness in the random-oracle model over the whole statement. Who
    the prover was, and that the statement is the one wanted, the caller still owes.

    Raises:
        IntegrityError: the proof does not verify.
    """
    if len(proof.responses) != relation.secrets:
        raise IntegrityError("a proof of another length")
    minus_challenge = negate(bytes(proof.challenge))
    responses = tuple(bytes(response) for response in proof.responses)
    try:
        commitments = tuple(
            linear(
                (
                    *((_signed(responses[i], sign), base) for i, sign, base in equation.terms),
                    (minus_challenge, equation.image),
                )
            )
            for equation in relation.equations
        )
    except WeakKey as error:
        raise IntegrityError("a proof does not verify") from error
    if relation.challenge(commitments) != proof.challenge:
        raise IntegrityError("a proof does not verify")


def _signed(scalar: bytes, sign: int) -> bytes:
    return scalar if sign > 0 else negate(scalar)
