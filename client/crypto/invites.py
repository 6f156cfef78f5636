"""What an invite's secret derives: an identity and an access key (SPEC section 4.3)."""

from __future__ import annotations

import secrets

from nacl.signing import SigningKey

from client.crypto.derivation import hkdf
from client.crypto.identity import Identity
from client.crypto.secrets import InviteSecret, Seed
from protocol.acts import Role
from protocol.labels import Label, framed


def fresh_invite_secret() -> InviteSecret:
    """Return 32 random bytes for one link."""
    return InviteSecret(secrets.token_bytes(32))


def invite_identity(
    secret: InviteSecret,
    vault_id: bytes,
    inviter: bytes,
    role: Role,
    expiry: int,
    cited_size: int,
    cited_root: bytes,
) -> Identity:
    """Return the identity that stands for an invite until somebody joins with it.

    It binds vault, inviter, role, expiry, and the log that the inviter saw: a newcomer that
    re-derives it knows that the log up to there is what the inviter meant.
    """
    info = framed(
        Label.INVITE_SEED,
        vault_id,
        inviter,
        role.value.encode(),
        expiry.to_bytes(8, "big"),
        cited_size.to_bytes(8, "big"),
        cited_root,
    )
    return Identity(Seed(hkdf(secret.expose(), info)))


def invite_access_key(secret: InviteSecret) -> SigningKey:
    """Return the key with which a newcomer reads the ledger before it joins."""
    return SigningKey(hkdf(secret.expose(), framed(Label.INVITE_ACCESS)))
