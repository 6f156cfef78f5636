"""What names said when this home first saw them (SPEC section 7.4).

Whoever re-encrypts a catalog seals its cells anew, under the author of old, and nothing in the log
says that they are the same cells. A home that saw them before can tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from client.crypto.derivation import hkdf
from client.session import Session
from protocol.labels import Label, framed
from protocol.ledger.contents import Batch

DIGEST_BYTES: Final = 16


def exchanged(session: Session, batch: Batch, cells: Sequence[bytes | None]) -> frozenset[int]:
    """Return the positions whose cells are others than this home saw there, erased ones aside.

    What it sees for the first time it remembers, as hashes under a key that only this identity has:
    names can be guessed, and a home lies unsealed.
    """
    key = hkdf(session.identity.seed.expose(), framed(Label.NAMES_SEEN))
    now = [_digest(key, batch.id, position, cell) for position, cell in enumerate(cells)]
    before = session.store.seen(batch.id, session.identity.member_id, b"".join(now))
    return frozenset(
        position
        for position, digest in enumerate(now)
        if position not in batch.erased and digest != _at(before, position)
    )


def _digest(key: bytes, batch: bytes, position: int, cell: bytes | None) -> bytes:
    """Hash a cell in its place; a null is no empty cell."""
    found = hashlib.blake2b(batch + position.to_bytes(4, "big"), key=key, digest_size=DIGEST_BYTES)
    if cell is not None:
        found.update(b"\x01" + cell)
    return found.digest()


def _at(digests: bytes, position: int) -> bytes:
    return digests[position * DIGEST_BYTES : (position + 1) * DIGEST_BYTES]
