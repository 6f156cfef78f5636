"""MongoDB's client-side field level encryption, as its drivers do it explicitly, without a server.

The key vault is a dictionary here, and the key management service a local key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar
from uuid import UUID

import bson
from bson.binary import USER_DEFINED_SUBTYPE, UUID_SUBTYPE, Binary
from pymongocrypt.mongocrypt import MongoCryptOptions
from pymongocrypt.synchronous.explicit_encrypter import ExplicitEncrypter
from pymongocrypt.synchronous.state_machine import MongoCryptCallback

from benchmarks.cells import Table
from benchmarks.peers.cellwise import Function, Peer, Reader

ALGORITHM = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"
_ENCRYPTED = 6
_LOCAL_KEY_BYTES = 96


class _Vault(MongoCryptCallback):  # type: ignore[misc]  # pymongocrypt ships no types
    """What a driver does for libmongocrypt: keep data keys, and speak BSON."""

    def __init__(self) -> None:
        self._keys: dict[bytes, bytes] = {}

    def insert_data_key(self, data_key: bytes) -> Binary:
        found = bson.decode(data_key)["_id"]
        self._keys[found.bytes if isinstance(found, UUID) else bytes(found)] = data_key
        return Binary(next(reversed(self._keys)), UUID_SUBTYPE)

    def fetch_keys(self, filter: bytes) -> Iterator[bytes]:
        wanted = bson.decode(filter)["$or"][0]["_id"]["$in"]
        yield from (self._keys[bytes(each)] for each in wanted)

    def bson_encode(self, doc: Any) -> bytes:
        encoded: bytes = bson.encode(doc)
        return encoded

    def kms_request(self, kms_context: Any) -> None:
        raise NotImplementedError("the local provider asks no service")

    def collection_info(self, database: str, filter: bytes) -> None:
        raise NotImplementedError("only automatic encryption asks for schemas")

    def mark_command(self, database: str, cmd: bytes) -> None:
        raise NotImplementedError("only automatic encryption marks commands")

    def close(self) -> None:
        self._keys.clear()


class MongoFields(Peer):
    """A data key for each field, AES-256-CBC with HMAC-SHA-512."""

    name: ClassVar = "MongoDB CSFLE"
    package: ClassVar = "pymongocrypt"
    records: ClassVar = 500
    binds: ClassVar = False
    reader: ClassVar = Reader.FIELDS

    def __init__(self) -> None:
        providers = {
            name: {"key": os.urandom(_LOCAL_KEY_BYTES)} for name in ("local", "local:reader")
        }
        self._encrypter = ExplicitEncrypter(_Vault(), MongoCryptOptions(providers))

    def fresh_key(self) -> Any:
        """Make a data key, in the vault, under the local key."""
        return bytes(self._encrypter.create_data_key("local"))

    def sealer(self, key: Any) -> Function:
        """Seal as `ClientEncryption.encrypt` does."""
        encrypt, encode, decode = self._encrypter.encrypt, bson.encode, bson.decode

        def seal(value: bytes) -> bytes:
            wrapped = encode({"v": Binary(value, USER_DEFINED_SUBTYPE)})
            sealed: bytes = decode(encrypt(wrapped, ALGORITHM, key_id=key))["v"]
            return sealed

        return seal

    def opener(self, key: Any) -> Function:
        """Open as `ClientEncryption.decrypt` does; the cell itself names its key."""
        decrypt, encode, decode = self._encrypter.decrypt, bson.encode, bson.decode

        def open_cell(sealed: bytes) -> bytes:
            value: bytes = decode(decrypt(encode({"v": Binary(sealed, _ENCRYPTED)})))["v"]
            return bytes(value)

        return open_cell

    def admit(self, keys: Sequence[Any], sealed: Table, places: Table) -> object:
        """Rewrap every data key for another holder of a local key."""
        wanted = {"$or": [{"_id": {"$in": [Binary(key, UUID_SUBTYPE) for key in keys]}}]}
        return self._encrypter.rewrap_many_data_key(wanted, "local:reader")
