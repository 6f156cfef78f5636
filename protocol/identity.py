"""Public identities: three keys, an id, and the card that proves them (SPEC section 4).

An identity is an Ed25519 signing key, an X-Wing (ML-KEM-768 with X25519) KEM key and a
rewrap key P = p·G. Its card carries a signature and a proof of knowledge of p, both over
all three keys and what they are meant for, so that nobody enrols keys of others, keys made
from others' (rogue keys), or a card copied from another vault or made for another invite.
"""

from __future__ import annotations

from typing import Annotated, Final

from protocol import sigma
from protocol.errors import MalformedMessage, WeakKey
from protocol.group import POINT_BYTES, Point
from protocol.labels import Label, digest, framed
from protocol.signing import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    verify_public_key,
    verify_signature,
)
from protocol.wire import Fixed, Parsed, record

MLKEM_KEY_BYTES: Final = 1184
X25519_KEY_BYTES: Final = 32
KEM_KEY_BYTES: Final = MLKEM_KEY_BYTES + X25519_KEY_BYTES
HPKE_ENC_BYTES: Final = 1120
"""What precedes the ciphertext in a box to a KEM key (SPEC section 6.3)."""
HPKE_TAG_BYTES: Final = 16
PROOF_SECRETS: Final = 1
PROOF_BYTES: Final = sigma.proof_bytes(PROOF_SECRETS)
_MLKEM_MODULUS: Final = 3329
_MLKEM_SEED_BYTES: Final = 32
_X25519_MODULUS: Final = 2**255 - 19
# RFC 7748 curve25519: every u-coordinate, reduced modulo 2^255 - 19, of a point whose order
# divides the cofactor; these give an all-zero shared secret with any key.
_LOW_ORDER_U: Final = frozenset(
    {
        0,
        1,
        2**255 - 20,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)


def check_kem_key(encoded: bytes) -> bytes:
    """Return the key if it is a valid X-Wing public key (SPEC section 4).

    Checks FIPS 203 section 7.2 (length, every coefficient below 3329) and that the X25519
    part has no low order (RFC 9180 section 7.1.4).

    Raises:
        MalformedMessage: not 1,216 bytes.
        WeakKey: a coefficient or an X25519 key that is not reduced, or the latter of low order.
    """
    if len(encoded) != KEM_KEY_BYTES:
        raise MalformedMessage("a KEM key is 1,216 bytes")
    coefficients = encoded[: MLKEM_KEY_BYTES - _MLKEM_SEED_BYTES]
    for low, middle, high in zip(
        coefficients[::3], coefficients[1::3], coefficients[2::3], strict=True
    ):
        if (low | (middle & 15) << 8) >= _MLKEM_MODULUS or (
            middle >> 4 | high << 4
        ) >= _MLKEM_MODULUS:
            raise WeakKey("an ML-KEM key with a coefficient that is not reduced")
    u = int.from_bytes(encoded[MLKEM_KEY_BYTES:], "little")
    if (u & (2**255 - 1)) % _X25519_MODULUS in _LOW_ORDER_U:
        raise WeakKey("an X25519 key of low order")
    # The library would mask and reduce it: one key under two ids.
    if u >= _X25519_MODULUS:
        raise WeakKey("an X25519 key that is not reduced")
    return encoded


def _montgomery_u(point: bytes) -> int:
    """Map a point of edwards25519 to curve25519: u = (1 + y) / (1 - y) (RFC 7748 section 4.1).

    The sign of x is dropped. The identity, where y = 1, is no point of a valid key.
    """
    y = int.from_bytes(point, "little") & (2**255 - 1)
    return (1 + y) * pow(1 - y, -1, _X25519_MODULUS) % _X25519_MODULUS


@record
class PublicIdentity:
    """The three public keys of a member or an invite, each valid by construction."""

    signing_key: Annotated[bytes, Parsed(bytes, verify_public_key, PUBLIC_KEY_BYTES)]
    kem_key: Annotated[bytes, Parsed(bytes, check_kem_key, KEM_KEY_BYTES)]
    rewrap_key: Annotated[Point, Parsed(bytes, Point.from_bytes, POINT_BYTES)]

    def __post_init__(self) -> None:
        """Refuse one key pair in two roles, where one role's proof could serve the other."""
        signing, rewrap = self.signing_key, bytes(self.rewrap_key)
        u = int.from_bytes(self.kem_key[MLKEM_KEY_BYTES:], "little")
        if signing == rewrap or u in (_montgomery_u(signing), _montgomery_u(rewrap)):
            raise WeakKey("one key in two roles")

    @property
    def member_id(self) -> bytes:
        """SHA-256 over the three keys: 32 bytes, the only name that the protocol uses."""
        return digest(Label.MEMBER_ID, *self.keys())

    def keys(self) -> tuple[bytes, bytes, bytes]:
        """Return the three encoded keys, in order."""
        return (self.signing_key, self.kem_key, bytes(self.rewrap_key))

    def knowledge(self, context: bytes) -> sigma.Relation:
        """Return the relation `P = p·G`, over all three keys and what they are meant for."""
        return sigma.Relation(
            label=Label.IDENTITY_PROOF,
            context=(context, *self.keys()),
            secrets=PROOF_SECRETS,
            equations=(sigma.Equation(self.rewrap_key, ((0, 1, None),)),),
        )

    def signed_bytes(self, context: bytes) -> bytes:
        """Return what an identity signs about itself, for one context."""
        return framed(Label.IDENTITY_SIGNATURE, context, *self.keys())


@record
class IdentityCard:
    """An identity with its self-signature and its proof of knowledge; check it before use."""

    identity: PublicIdentity
    signature: Annotated[bytes, Fixed(SIGNATURE_BYTES)]
    proof: Annotated[bytes, Fixed(PROOF_BYTES)]


def access_key_id(access_key: bytes) -> bytes:
    """Return the key id under which an invite's access key signs requests (SPEC section 4.3)."""
    return digest(Label.ACCESS_KEY_ID, access_key)


def join_context(vault_id: bytes, invite: bytes) -> bytes:
    """Return what a joiner's card is for: the vault, and the invite that it joins through.

    Without the invite, a server that holds a join back could give the newcomer's card to the
    holder of another invite, and enrol the newcomer with another role than it was invited to.
    """
    return vault_id + invite


def rotation_context(vault_id: bytes, old: bytes) -> bytes:
    """Return what the card of a rotated identity is for: the vault, and whom it follows."""
    return vault_id + old


def recovery_context(vault_id: bytes) -> bytes:
    """Return what the card of whoever rebuilds a seed is for: the vault, and nothing but that.

    It cannot name the dealing: whoever lost everything cannot read the log to find it.
    """
    return vault_id + b"recovery"


def verify_card(card: IdentityCard, context: bytes) -> PublicIdentity:
    """Return the identity if its card proves it for this context (SPEC section 4).

    (1) The signing key signed all three keys and the context; (2) whoever made the card
    knows the rewrap scalar. Decapsulation is not proved: a false KEM key harms its owner only.
    The context is 32 zero bytes for a genesis, whose vault has no id yet; the vault id for an
    invite; `join_context`, `rotation_context` and `recovery_context` for the others.

    Raises:
        IntegrityError: the signature or the proof does not verify.
        MalformedMessage: the proof is not the one encoding.
    """
    identity = card.identity
    # (1)
    verify_signature(identity.signing_key, identity.signed_bytes(context), card.signature)
    # (2)
    sigma.verify(identity.knowledge(context), sigma.Proof.from_bytes(card.proof, PROOF_SECRETS))
    return identity
