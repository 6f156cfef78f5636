"""Field keys: creation, derivation, confirmation (SPEC section 5)."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from client.crypto.derivation import hkdf
from client.crypto.secrets import FieldKey, Share
from protocol.blocks import Address
from protocol.errors import CommitmentMismatch
from protocol.group import Point, Scalar, base_mul
from protocol.labels import Label, digest, framed


def fresh_group_key() -> Point:
    """Return K = k·G for a uniform k that is forgotten at once."""
    return base_mul(bytes(Scalar.reduced(secrets.token_bytes(64))))


def fresh_share() -> Share:
    """Return 32 random bytes: the part of a field key that no curve protects."""
    return Share(secrets.token_bytes(32))


def share_hash(share: Share) -> bytes:
    """Return the published commitment to a share: 32 bytes."""
    return digest(Label.SHARE_HASH, share.expose())


def derive_field_key(vault_id: bytes, address: Address, group_key: Point, share: Share) -> FieldKey:
    """Return FK = HKDF(K || s, salt = vault id, info = label || address) (SPEC section 5)."""
    secret = bytes(group_key) + share.expose()
    return FieldKey(hkdf(secret, framed(Label.FIELD_KEY, address.encode()), salt=vault_id))


def key_confirmation(key: FieldKey) -> bytes:
    """Return HMAC-SHA256(FK, label): published at creation, checked by every recipient."""
    return hmac.new(key.expose(), framed(Label.KEY_CONFIRMATION), hashlib.sha256).digest()


def confirmed_field_key(
    vault_id: bytes,
    address: Address,
    group_key: Point,
    share: Share,
    *,
    published_share_hash: bytes,
    published_confirmation: bytes,
) -> FieldKey:
    """Return the field key if it is the one published when its epoch was created.

    (1) The share has the published hash; (2) the derived key gives the published confirmation.

    Raises:
        CommitmentMismatch: either differs; nothing was derived for use.
    """
    # (1)
    if not hmac.compare_digest(share_hash(share), published_share_hash):
        raise CommitmentMismatch(f"the share of {address} is not the published one")
    key = derive_field_key(vault_id, address, group_key, share)
    # (2)
    if not hmac.compare_digest(key_confirmation(key), published_confirmation):
        raise CommitmentMismatch(f"the key of {address} is not the published one")
    return key
