"""What is signed, and the one verifier of every signature (SPEC section 2).

Signing itself lives with the private keys, in the client and in the vault; both sign what
`pae` or `protocol.checkpoint.signed_message` returns.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from protocol.errors import IntegrityError, WeakKey
from protocol.labels import Label

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


def pae(payload_type: Label, body: bytes) -> bytes:
    """Frame a type and a body as DSSE v1 does: the bytes that are signed (SPEC section 2).

    Lengths are decimal, so no two pairs of type and body give the same bytes, and the fixed
    start keeps them apart from every other thing that is ever signed.
    """
    kind = payload_type.value
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Verify an Ed25519 signature, the same way on every machine (SPEC section 2).

    Obligations:
      (0) the key is the canonical encoding of a point of prime order: 32 bytes;
      (1) so is the signature's first half, R: 64 bytes in all;
      (2) libsodium accepts: its scalar is below the group's order and the equation holds.
    With (0) and (1) the two readings of RFC 8032 (with and without cofactor) agree, so there is
    no signature that one honest implementation takes and another refuses.

    What the key is entitled to say is the caller's to check.

    Raises:
        WeakKey: obligation (0) fails; under such keys one signature can fit many messages.
        IntegrityError: the signature is not one of this message by this key.
    """
    # (0)
    verify_public_key(public_key)
    # (1)
    if len(signature) != SIGNATURE_BYTES or not _in_prime_subgroup(signature[:32]):
        raise IntegrityError("the signature does not verify")
    # (2)
    try:
        VerifyKey(public_key).verify(message, signature)
    except BadSignatureError:
        raise IntegrityError("the signature does not verify") from None


def verify_public_key(public_key: bytes) -> bytes:
    """Return an Ed25519 public key once it is known to be a point of prime order (SPEC section 2).

    Raises:
        WeakKey: not 32 bytes, not canonical, not on the curve, of small or of mixed order.
    """
    if len(public_key) != PUBLIC_KEY_BYTES or not _is_key(public_key):
        raise WeakKey("the signing key is not a canonical point of prime order")
    return public_key


@lru_cache(maxsize=1024)
def _is_key(public_key: bytes) -> bool:
    # A replay verifies thousands of signatures by a few keys; the answer never changes.
    return _in_prime_subgroup(public_key)


def _in_prime_subgroup(encoded: bytes) -> bool:
    return bool(crypto_core_ed25519_is_valid_point(encoded))
