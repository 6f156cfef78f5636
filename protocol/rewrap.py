"""The rewrap statement and its verification (SPEC section 6).

A wrap of the group key K for a member with rewrap key P = p·G is (R, C) = (r·G, K + r·P).
Who holds a wrap (Ra, Ca) for Pa can make one for Pb, and prove without telling anything
about K that both hold the same K:

    exists (pa, r):   Pa = pa·G   and   Rb = r·G   and   Cb - Ca = r·Pb - pa·Ra

Knowing r keeps a prover from passing on a wrap it cannot open (no decryption oracle).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol import sigma
from protocol.blocks import Address
from protocol.errors import IntegrityError, MalformedMessage, WeakKey
from protocol.group import POINT_BYTES, Point
from protocol.identity import PublicIdentity
from protocol.labels import Label

WRAP_BYTES: Final = 2 * POINT_BYTES
REWRAP_SECRETS: Final = 2
REWRAP_PROOF_BYTES: Final = sigma.proof_bytes(REWRAP_SECRETS)


@dataclass(frozen=True, slots=True)
class Wrap:
    """One group key K under one member's rewrap key: two points, 64 bytes."""

    ephemeral: Point
    masked: Point

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Wrap:
        """Parse 64 bytes R || C.

        Raises:
            MalformedMessage: another length.
            WeakKey: a point outside the prime-order group.
        """
        if len(encoded) != WRAP_BYTES:
            raise MalformedMessage("a wrap is 64 bytes")
        return cls(Point.from_bytes(encoded[:POINT_BYTES]), Point.from_bytes(encoded[POINT_BYTES:]))

    def __bytes__(self) -> bytes:
        """Return R || C."""
        return bytes(self.ephemeral) + bytes(self.masked)


@dataclass(frozen=True, slots=True)
class RewrapStatement:
    """All that one rewrap claims: which key, in which act, from whom to whom."""

    vault_id: bytes
    act_kind: str
    address: Address
    share_hash: bytes
    source: PublicIdentity
    source_wrap: Wrap
    recipient: PublicIdentity
    wrap: Wrap

    def relation(self) -> sigma.Relation:
        """Return the statement as a linear relation in the secrets (pa, r).

        Raises:
            WeakKey: Cb equals Ca, so that their difference is the identity.
        """
        return sigma.Relation(
            label=Label.REWRAP_PROOF,
            context=(
                self.vault_id,
                self.act_kind.encode(),
                self.address.encode(),
                self.share_hash,
                self.source.member_id,
                self.recipient.member_id,
                bytes(self.source_wrap),
                bytes(self.wrap),
            ),
            secrets=REWRAP_SECRETS,
            equations=(
                sigma.Equation(self.source.rewrap_key, ((0, 1, None),)),
                sigma.Equation(self.wrap.ephemeral, ((1, 1, None),)),
                sigma.Equation(
                    self.wrap.masked - self.source_wrap.masked,
                    ((1, 1, self.recipient.rewrap_key), (0, -1, self.source_wrap.ephemeral)),
                ),
            ),
        )


def verify_rewrap(statement: RewrapStatement, proof: bytes) -> Wrap:
    """Check that the new wrap holds the same K as the source wrap (SPEC section 6).

    Guarantees: (1) the prover knows the source's rewrap key and the new wrap's scalar,
    (2) both wraps hold one K, (3) all of it was said in this vault, act kind, address and
    between these members. The caller still owes: that the source wrap is the one on record,
    and that the act is signed by the source.

    Raises:
        IntegrityError: the proof does not verify.
        MalformedMessage: the proof is not the one encoding.
    """
    parsed = sigma.Proof.from_bytes(proof, REWRAP_SECRETS)
    try:
        relation = statement.relation()
    except WeakKey as error:
        raise IntegrityError("a proof does not verify") from error
    sigma.verify(relation, parsed)
    return statement.wrap
