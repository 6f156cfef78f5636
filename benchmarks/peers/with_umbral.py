"""Umbral proxy re-encryption: a capsule for each cell, to the key of its field.

`umbral`, its first implementation in Python, needs `cryptography` 3, which has long had holes;
`umbral-pre` is the same people's newer one, in Rust.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import umbral_pre as umbral

from benchmarks.cells import Table
from benchmarks.peers.cellwise import Function, Peer, Reader

CAPSULE_BYTES: Final = 105


class UmbralCells(Peer):
    """Capsules on secp256k1, and ChaCha20-Poly1305."""

    name: ClassVar = "Umbral"
    package: ClassVar = "umbral-pre"
    records: ClassVar = 50
    binds: ClassVar = False
    reader: ClassVar = Reader.CELLS

    def __init__(self) -> None:
        self._signer = umbral.Signer(umbral.SecretKey.random())
        self._reader = umbral.SecretKey.random().public_key()

    def fresh_key(self) -> Any:
        """Make a field's key."""
        return umbral.SecretKey.random()

    def sealer(self, key: Any) -> Function:
        """Seal to the field's public key."""
        public, encrypt = key.public_key(), umbral.encrypt

        def seal(value: bytes) -> bytes:
            capsule, ciphertext = encrypt(public, value)
            return bytes(capsule) + bytes(ciphertext)

        return seal

    def opener(self, key: Any) -> Function:
        """Open as the owner of the field's key."""
        decrypt, parse = umbral.decrypt_original, umbral.Capsule.from_bytes

        def open_cell(sealed: bytes) -> bytes:
            capsule = parse(sealed[:CAPSULE_BYTES])
            return bytes(decrypt(key, capsule, sealed[CAPSULE_BYTES:]))

        return open_cell

    def admit(self, keys: Sequence[Any], sealed: Table, places: Table) -> object:
        """Make a key fragment for each field, and re-encrypt every capsule by it."""
        admitted = []
        for key, column in zip(keys, sealed, strict=True):
            (fragment,) = umbral.generate_kfrags(key, self._reader, self._signer, 1, 1, True, True)
            capsules = (umbral.Capsule.from_bytes(cell[:CAPSULE_BYTES]) for cell in column)
            admitted.append([bytes(umbral.reencrypt(each, fragment)) for each in capsules])
        return admitted
