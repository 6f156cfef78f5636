"""What the server signs: checkpoints, and the observations of what it served (SPEC section 8)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from protocol.api import Observation, ObservationBody
from protocol.checkpoint import Checkpoint, signed_message
from protocol.errors import IntegrityError
from protocol.labels import Label, digest
from protocol.ledger.log import OBSERVATION_LEAF
from protocol.merkle import Tree
from protocol.signing import pae
from protocol.wire import Envelope, from_bytes, to_bytes
from vault.tls import CheckpointKey

SALT_BYTES: Final = 32
FRESH_SECONDS: Final = 1
"""How long a checkpoint of the same size is shown again instead of signed anew."""


class CheckpointSigner:
    """Signs one vault's checkpoints, at times that never go back."""

    def __init__(self, key: CheckpointKey, vault_id: bytes) -> None:
        self._key = key
        self._vault_id = vault_id
        self._newest: Checkpoint | None = None
        self._time = 0

    def note(self, tree: Tree, size: int, now: int) -> bytes:
        """Return a signed note of the tree's first `size` leaves, signed a second ago at most."""
        self._time = max(self._time, now)
        known = self._newest
        if known is None or known.size != size or self._time - known.time >= FRESH_SECONDS:
            known = self._newest = self._signed(tree, size, self._time)
        return known.note()

    def _signed(self, tree: Tree, size: int, time: int) -> Checkpoint:
        root = tree.root(size)
        signature = self._key.sign(signed_message(self._vault_id, size, root, time)).signature
        public_key = bytes(self._key.verify_key)
        return Checkpoint.verified(self._vault_id, size, root, time, signature, public_key)


@dataclass(frozen=True, slots=True)
class SignedObservation:
    """An observation as it is stored: the signed envelope, and the salt that hides it."""

    salt: bytes
    envelope: bytes

    @classmethod
    def of(cls, body: ObservationBody, key: CheckpointKey) -> SignedObservation:
        """Sign what was served, under a fresh salt."""
        encoded = to_bytes(body)
        signature = key.sign(pae(Label.OBSERVATION, encoded)).signature
        envelope = to_bytes(Envelope(Label.OBSERVATION, encoded, signature))
        return cls(secrets.token_bytes(SALT_BYTES), envelope)

    @classmethod
    def from_stored(cls, stored: bytes) -> SignedObservation:
        """Take apart what `stored` gave; whether it is whole `verify` tells."""
        return cls(stored[:SALT_BYTES], stored[SALT_BYTES:])

    @property
    def stored(self) -> bytes:
        """The bytes to store beside the leaf."""
        return self.salt + self.envelope

    @property
    def leaf(self) -> bytes:
        """The leaf that everybody gets: nothing but a salted hash."""
        return bytes((OBSERVATION_LEAF,)) + digest(Label.OBSERVATION_LEAF, self.salt, self.envelope)

    def at(self, index: int) -> Observation:
        """Return the message in which it is shown to those who may see it."""
        return Observation(index, self.salt, self.envelope)

    def verify(self, leaf: bytes, vault_id: bytes, server_key: bytes) -> None:
        """Check what was read from storage against its leaf, its signature and its vault.

        Raises:
            IntegrityError: it is not what the server signed and appended there.
            MalformedMessage: it is no observation at all.
        """
        if leaf != self.leaf:
            raise IntegrityError("an observation that is not the one of its leaf")
        envelope = from_bytes(Envelope, self.envelope)
        body = from_bytes(ObservationBody, envelope.verify(server_key, Label.OBSERVATION))
        if body.vault_id != vault_id:
            raise IntegrityError("an observation of another vault")
