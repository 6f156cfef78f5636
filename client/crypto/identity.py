"""A member's secret identity: one seed, three key pairs (SPEC section 4)."""

from __future__ import annotations

import secrets
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from nacl.signing import SigningKey

from client.crypto.derivation import hkdf
from client.crypto.proving import prove
from client.crypto.secrets import RewrapScalar, Seed
from protocol.errors import IntegrityError
from protocol.group import Scalar, base_mul
from protocol.identity import MLKEM_KEY_BYTES, IdentityCard, PublicIdentity
from protocol.labels import Label, framed

HPKE_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_KEM_SEED_BYTES = 96
_MLKEM_SEED_BYTES = 64


class Identity:
    """The secret half of one identity. Everything derives from the seed; nothing else is kept."""

    def __init__(self, seed: Seed) -> None:
        self.seed = seed

    @classmethod
    def generate(cls) -> Identity:
        """Return an identity from 32 fresh random bytes."""
        return cls(Seed(secrets.token_bytes(32)))

    def __repr__(self) -> str:
        return f"<Identity {self.public.member_id.hex()[:16]}>"

    @property
    def member_id(self) -> bytes:
        """The 32-byte id of the public identity."""
        return self.public.member_id

    @cached_property
    def public(self) -> PublicIdentity:
        """The three public keys."""
        mlkem, x25519 = self._kem_parts
        kem_key = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        return PublicIdentity(
            signing_key=bytes(self._signing_key.verify_key),
            kem_key=kem_key,
            rewrap_key=base_mul(self.rewrap_scalar.expose()),
        )

    @cached_property
    def rewrap_scalar(self) -> RewrapScalar:
        """The secret scalar p of the rewrap key P = p·G."""
        wide = hkdf(self.seed.expose(), framed(Label.SEED_REWRAP), length=64)
        return RewrapScalar(bytes(Scalar.reduced(wide)))

    def card(self, context: bytes) -> IdentityCard:
        """Return the public identity with signature and proof (SPEC section 4).

        `context` is what `protocol.identity.verify_card` checks the card for.
        """
        witness = (self.rewrap_scalar.expose(),)
        return IdentityCard(
            identity=self.public,
            signature=self.sign(self.public.signed_bytes(context)),
            proof=prove(self.public.knowledge(context), witness, self.seed),
        )

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature; the message carries its own domain prefix."""
        return bytes(self._signing_key.sign(message).signature)

    @property
    def request_key(self) -> SigningKey:
        """The key that signs HTTP requests (RFC 9421 bases parse as no other signed type)."""
        return self._signing_key

    def open_box(self, box: bytes, info: bytes) -> bytes:
        """Open an HPKE box that was sealed to this identity under the same `info` (RFC 9180).

        Raises:
            IntegrityError: it did not open.
        """
        try:
            return HPKE_SUITE.decrypt(box, MLKEM768X25519PrivateKey(*self._kem_parts), info)
        except (InvalidTag, ValueError) as error:
            raise IntegrityError("a box of key shares did not open") from error

    @cached_property
    def _signing_key(self) -> SigningKey:
        return SigningKey(hkdf(self.seed.expose(), framed(Label.SEED_SIGNING)))

    @cached_property
    def _kem_parts(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        wide = hkdf(self.seed.expose(), framed(Label.SEED_KEM), length=_KEM_SEED_BYTES)
        return (
            MLKEM768PrivateKey.from_seed_bytes(wide[:_MLKEM_SEED_BYTES]),
            X25519PrivateKey.from_private_bytes(wide[_MLKEM_SEED_BYTES:]),
        )


def seal_box(recipient: PublicIdentity, plaintext: bytes, info: bytes) -> bytes:
    """Seal to an identity with HPKE base mode, single shot: `enc` (1,120 bytes) || ciphertext.

    A fresh encapsulation every call. Base mode says nothing about the sender: a box counts
    only inside an act signed by someone entitled, and `info` binds all of its context.
    """
    key = MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(recipient.kem_key[:MLKEM_KEY_BYTES]),
        X25519PublicKey.from_public_bytes(recipient.kem_key[MLKEM_KEY_BYTES:]),
    )
    return HPKE_SUITE.encrypt(plaintext, key, info)
