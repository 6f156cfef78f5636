"""PyNaCl's SecretBox: a key for each field, no associated data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nacl.public import PrivateKey, SealedBox
from nacl.secret import SecretBox
from nacl.utils import random

from benchmarks.cells import Table
from benchmarks.peers.cellwise import Function, Peer, Reader


class NaclSecretBox(Peer):
    """XSalsa20-Poly1305 with random nonces; keys go to a reader in a SealedBox."""

    name: ClassVar = "SecretBox"
    package: ClassVar = "PyNaCl"
    records: ClassVar = 2_000
    binds: ClassVar = False
    reader: ClassVar = Reader.FIELDS

    def __init__(self) -> None:
        self._reader = PrivateKey.generate().public_key

    def fresh_key(self) -> Any:
        """Draw a key."""
        return random(SecretBox.KEY_SIZE)

    def sealer(self, key: Any) -> Function:
        """Seal."""
        return SecretBox(key).encrypt

    def opener(self, key: Any) -> Function:
        """Open."""
        return SecretBox(key).decrypt

    def admit(self, keys: Sequence[Any], sealed: Table, places: Table) -> object:
        """Seal each field's key to the reader."""
        return [SealedBox(self._reader).encrypt(key) for key in keys]
