"""HKDF-SHA256, the one key derivation (RFC 5869; SPEC section 2)."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def hkdf(secret: bytes, info: bytes, *, salt: bytes = b"", length: int = 32) -> bytes:
    """Derive `length` bytes from a secret, for the one purpose that `info` names.

    `info` is what `protocol.labels.framed` returns; an empty salt means 32 zero bytes.
    """
    return HKDF(algorithm=SHA256(), length=length, salt=salt or None, info=info).derive(secret)
