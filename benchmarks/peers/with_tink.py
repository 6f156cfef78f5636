"""Google's Tink: an AEAD keyset for each field; or a key for each cell, wrapped by a remote one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import tink
from tink import aead, hybrid, secret_key_access

from benchmarks.cells import Table
from benchmarks.peers.cellwise import Function, Peer, Reader

aead.register()
hybrid.register()


class TinkAead(Peer):
    """A keyset for each field; field and record as associated data."""

    name: ClassVar = "Tink AEAD"
    package: ClassVar = "tink"
    records: ClassVar = 2_000
    binds: ClassVar = True
    reader: ClassVar = Reader.FIELDS

    def __init__(self) -> None:
        self._reader = tink.new_keyset_handle(
            hybrid.hybrid_key_templates.DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM
        ).public_keyset_handle()

    def fresh_key(self) -> Any:
        """Make a keyset of one AES-256-GCM key."""
        return tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)

    def sealer(self, key: Any) -> Function:
        """Seal with associated data."""
        encrypt: Function = key.primitive(aead.Aead).encrypt
        return encrypt

    def opener(self, key: Any) -> Function:
        """Open with associated data."""
        decrypt: Function = key.primitive(aead.Aead).decrypt
        return decrypt

    def admit(self, keys: Sequence[Any], sealed: Table, places: Table) -> object:
        """Encrypt each field's keyset to the reader by HPKE."""
        to_reader = self._reader.primitive(hybrid.HybridEncrypt)
        return [
            to_reader.encrypt(
                tink.proto_keyset_format.serialize(key, secret_key_access.TOKEN),
                field.to_bytes(8, "big"),
            )
            for field, key in enumerate(keys)
        ]


class TinkEnvelope(Peer):
    """A key for each cell, wrapped by a key management service; here one of no distance."""

    name: ClassVar = "Tink envelope"
    package: ClassVar = "tink"
    records: ClassVar = 500
    binds: ClassVar = True
    reader: ClassVar = Reader.CELLS

    def fresh_key(self) -> Any:
        """Make the remote key of a field."""
        remote = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM).primitive(aead.Aead)
        return aead.KmsEnvelopeAead(aead.aead_key_templates.AES256_GCM, remote)

    def sealer(self, key: Any) -> Function:
        """Seal with associated data, under a new key."""
        encrypt: Function = key.encrypt
        return encrypt

    def opener(self, key: Any) -> Function:
        """Open with associated data."""
        decrypt: Function = key.decrypt
        return decrypt

    def admit(self, keys: Sequence[Any], sealed: Table, places: Table) -> object:
        """Seal every cell under remote keys that the reader may use."""
        return [
            list(map(self.fresh_key().encrypt, map(key.decrypt, column, where), where))
            for key, column, where in zip(keys, sealed, places, strict=True)
        ]
