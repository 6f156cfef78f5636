"""Under which names words were compared in this home (SPEC section 4.2).

Words are compared for an id, and people act on names, which others give and can change. So the name
is remembered with the comparison, sealed under a key that derives from this member's seed: names
lie in no file in clear.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from client.crypto.derivation import hkdf
from client.crypto.identity import Identity
from client.store import VaultStore
from protocol.labels import Label, framed

_NONCE_BYTES: Final = 12
_PADDED_TO: Final = 64


class Remembered:
    """The comparisons of one identity of this home in one vault."""

    def __init__(self, store: VaultStore, identity: Identity) -> None:
        self._store = store
        self._key = AESGCM(hkdf(identity.seed.expose(), framed(Label.COMPARED_NAME)))

    def names(self) -> dict[bytes, str]:
        """Return the names under which words were compared, by id, as far as they open.

        What was sealed to another identity, or changed, is no name that words were compared under.
        """
        opened = {
            member: self._opened(member, sealed)
            for member, sealed in self._store.sealed_names().items()
        }
        return {member: name for member, name in opened.items() if name is not None}

    def mark(self, member: bytes, name: str | None) -> None:
        """Remember that words were compared with a member, by the name it was seen under."""
        self._store.mark_compared(member, None if name is None else self._sealed(member, name))

    def pass_to(self, identity: Identity) -> None:
        """Have the identity that comes in this one's place remember the same names."""
        following = Remembered(self._store, identity)
        self._store.keep_names(following.sealed(self.names()))

    def sealed(self, names: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Return names as they are kept, by id."""
        return {member: self._sealed(member, name) for member, name in names.items()}

    def _sealed(self, member: bytes, name: str) -> bytes:
        """Seal a name, padded: how long it is tells who it could be."""
        nonce, plain = secrets.token_bytes(_NONCE_BYTES), name.encode()
        padded = plain.ljust(-(-len(plain) // _PADDED_TO) * _PADDED_TO, b"\0")
        return nonce + self._key.encrypt(nonce, padded, member)

    def _opened(self, member: bytes, sealed: bytes) -> str | None:
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._key.decrypt(nonce, rest, member).rstrip(b"\0").decode()
        except (InvalidTag, ValueError):
            return None
