"""Every domain-separation label, in one table (SPEC section 2).

A label is the first part of whatever it separates: a hash, an HKDF `info`, an HPKE
`info`, a signature's payload type, a proof's transcript. `framed` is the only way in
which labels and values are joined: each part is preceded by its length, so two
different lists of parts never give the same bytes.
"""

from __future__ import annotations

import hashlib
from enum import Enum


class Label(bytes, Enum):
    """The labels of protocol version 1. A test checks that no two are equal or prefixes."""

    # identities and invites (SPEC section 4)
    MEMBER_ID = b"sealroom/v1/member-id"
    IDENTITY_SIGNATURE = b"sealroom/v1/identity-signature"
    IDENTITY_PROOF = b"sealroom/v1/identity-proof"
    SEED_SIGNING = b"sealroom/v1/seed/signing"
    SEED_KEM = b"sealroom/v1/seed/kem"
    SEED_REWRAP = b"sealroom/v1/seed/rewrap"
    SEED_NONCE = b"sealroom/v1/seed/proof-nonce"
    INVITE_SEED = b"sealroom/v1/invite/seed"
    INVITE_ACCESS = b"sealroom/v1/invite/access-key"
    ACCESS_KEY_ID = b"sealroom/v1/access-key-id"
    WORDS = b"sealroom/v1/words"
    # keys, from the top down (SPEC section 5)
    VAULT_ID = b"sealroom/v1/vault-id"
    SHARE_HASH = b"sealroom/v1/share-hash"
    FIELD_KEY = b"sealroom/v1/field-key"
    KEY_CONFIRMATION = b"sealroom/v1/key-confirmation"
    SALT_KEY = b"sealroom/v1/salt-key"
    BATCH_KEY = b"sealroom/v1/batch-key"
    # wraps (SPEC section 6)
    REWRAP_PROOF = b"sealroom/v1/rewrap-proof"
    SHARE_BOX = b"sealroom/v1/share-box"
    # the log (SPEC sections 8 and 13)
    ACT = b"sealroom/v1/act"
    OBSERVATION = b"sealroom/v1/observation"
    OBSERVATION_LEAF = b"sealroom/v1/leaf/observation"
    REQUEST_HASH = b"sealroom/v1/request-hash"
    # recovery (SPEC section 9.9)
    RECOVERY_GENERATOR = b"sealroom/v1/recovery/generator"
    RECOVERY_SHARE = b"sealroom/v1/recovery/share"
    RECOVERY_SEED = b"sealroom/v1/recovery/seed"
    RECOVERY_RELEASE = b"sealroom/v1/recovery/release"
    # files on the user's own machine (client only)
    KEYRING_FILE = b"sealroom/v1/keyring-file"
    KEYRING_ENCRYPTION = b"sealroom/v1/keyring/encryption"
    KEYRING_MAC = b"sealroom/v1/keyring/mac"
    JOURNAL_KEY = b"sealroom/v1/journal-key"
    COMPARED_NAME = b"sealroom/v1/compared-name"
    NAMES_SEEN = b"sealroom/v1/names-seen"


def framed(label: Label, *parts: bytes) -> bytes:
    """Join a label and values unambiguously: each as a 4-byte big-endian length, then its bytes."""
    pieces = [label.value, *parts]
    return b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces)


def digest(label: Label, *parts: bytes) -> bytes:
    """SHA-256 of `framed(label, *parts)`: 32 bytes, bound to the label's one purpose."""
    return hashlib.sha256(framed(label, *parts)).digest()
