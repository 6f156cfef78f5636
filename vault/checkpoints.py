"""What the server signs: checkpoints, and the observations of what it served (SPEC section 8)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from protocol.api import Observation
from protocol.checkpoint import Checkpoint, signed_message
from protocol.labels import Label
from protocol.limits import LIMITS
from protocol.merkle import Tree
from protocol.observations import (
    OBSERVATION_SALT_BYTES,
    ObservationBody,
    observation_leaf,
    verify_observation,
)
from protocol.signing import pae
from protocol.wire import Envelope, to_bytes
from vault.tls import CheckpointKey

FRESH_SECONDS: Final = 1
"""How long a checkpoint of the same size is shown again instead of signed anew."""


class CheckpointSigner:
    """Signs one vault's checkpoints, at times that go back only where no client would take them.

    That is when the clock ran ahead, and was set right since (SPEC section 8.6, R20).
    """

    def __init__(self, key: CheckpointKey, vault_id: bytes) -> None:
        self._key = key
        self._vault_id = vault_id
        self._newest: Checkpoint | None = None
        self._time = 0

    @property
    def server_key(self) -> bytes:
        """The public half of the key, which clients have from the genesis."""
        return bytes(self._key.verify_key)

    def note(self, tree: Tree, size: int, now: int) -> bytes:
        """Return a signed note of the tree's first `size` leaves, signed a second ago at most."""
        if self._time - now > LIMITS.checkpoint_age_seconds:
            self._time, self._newest = now, None
        self._time = max(self._time, now)
        known = self._newest
        if known is None or known.size != size or self._time - known.time >= FRESH_SECONDS:
            known = self._newest = self._signed(tree, size, self._time)
        return known.note()

    def _signed(self, tree: Tree, size: int, time: int) -> Checkpoint:
        root = tree.root(size)
        signature = self._key.sign(signed_message(self._vault_id, size, root, time)).signature
        public_key = self.server_key
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
        return cls(secrets.token_bytes(OBSERVATION_SALT_BYTES), envelope)

    @classmethod
    def from_stored(cls, stored: bytes) -> SignedObservation:
        """Take apart what `stored` gave; whether it is whole `verify` tells."""
        return cls(stored[:OBSERVATION_SALT_BYTES], stored[OBSERVATION_SALT_BYTES:])

    @property
    def stored(self) -> bytes:
        """The bytes to store beside the leaf."""
        return self.salt + self.envelope

    @property
    def leaf(self) -> bytes:
        """The leaf that everybody gets: nothing but a salted hash."""
        return observation_leaf(self.salt, self.envelope)

    def at(self, index: int) -> Observation:
        """Return the message in which it is shown to those who may see it."""
        return Observation(index, self.salt, self.envelope)

    def verify(self, leaf: bytes, vault_id: bytes, server_key: bytes) -> None:
        """Check what was read from storage against its leaf, its signature and its vault.

        Raises:
            SealroomError: as `protocol.observations.verify_observation`.
        """
        verify_observation(self.salt, self.envelope, leaf, vault_id, server_key)
