"""Observations: what the server says it served, in the log (SPEC section 8.4).

Everybody gets the leaf, which is a salted hash; owner, admins and auditors also get salt and
envelope. They prove the reads that the server admits, never the absence of others.
"""

from __future__ import annotations

from typing import Annotated, Final

from protocol.acts import Id16, Id32, Time
from protocol.errors import ContextMismatch, IntegrityError
from protocol.labels import Label, digest
from protocol.limits import LIMITS
from protocol.wire import Envelope, Fixed, ListOf, Uint, from_bytes, record

OBSERVATION_LEAF: Final = 0x02
OBSERVATION_LEAF_BYTES: Final = 33
OBSERVATION_SALT_BYTES: Final = 32


@record
class ObservationBody:
    """What was served: signed by the server, its salted hash is the leaf."""

    vault_id: Id32
    member: Id32
    request: Id32
    time: Time
    collection: Id16
    fields: Annotated[tuple[int, ...], ListOf(Uint(0xFFFF), LIMITS.fields, 1, ascending=True)]
    batches: Annotated[tuple[bytes, ...], ListOf(Fixed(16), LIMITS.fetch_blocks, 1)]


def observation_leaf(salt: bytes, envelope: bytes) -> bytes:
    """Return the leaf of a signed observation: 0x02, and the hash of salt and envelope."""
    return bytes((OBSERVATION_LEAF,)) + digest(Label.OBSERVATION_LEAF, salt, envelope)


def verify_observation(
    salt: bytes, envelope: bytes, leaf: bytes, vault_id: bytes, server_key: bytes
) -> ObservationBody:
    """Return what an observation says, once it is the one that the log has.

    (1) Its salted hash is the leaf; (2) the server signed it; (3) it is of this vault.

    Raises:
        IntegrityError: (1) or (2).
        ContextMismatch: (3).
        MalformedMessage: it is no observation at all.
    """
    # (1)
    if observation_leaf(salt, envelope) != leaf:
        raise IntegrityError("an observation that is not the one of its leaf")
    # (2)
    signed = from_bytes(Envelope, envelope).verify(server_key, Label.OBSERVATION)
    body = from_bytes(ObservationBody, signed)
    # (3)
    if body.vault_id != vault_id:
        raise ContextMismatch("an observation of another vault")
    return body
