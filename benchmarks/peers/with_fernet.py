"""Fernet of `cryptography`: a key for each field, no associated data, text of base64."""

from __future__ import annotations

from typing import Any, ClassVar

from cryptography.fernet import Fernet

from benchmarks.peers.cellwise import Function, Peer, Reader


class FernetTokens(Peer):
    """AES-128-CBC with HMAC-SHA256."""

    name: ClassVar = "Fernet"
    package: ClassVar = "cryptography"
    records: ClassVar = 1_000
    binds: ClassVar = False
    reader: ClassVar = Reader.ELSEWHERE

    def fresh_key(self) -> Any:
        """Draw a key."""
        return Fernet.generate_key()

    def sealer(self, key: Any) -> Function:
        """Seal."""
        return Fernet(key).encrypt

    def opener(self, key: Any) -> Function:
        """Open."""
        return Fernet(key).decrypt
