"""The AWS Encryption SDK with a raw AES keyring for each field.

A message for each cell, by the suite that commits to its key and does not sign: it is the fastest
one that the SDK lets anybody take. Its place is its encryption context, which is compared with
the expected one after opening, as its documentation says to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import aws_encryption_sdk
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import (
    AesWrappingAlg,
    CreateMultiKeyringInput,
    CreateRawAesKeyringInput,
)
from aws_encryption_sdk.identifiers import AlgorithmSuite, CommitmentPolicy

from benchmarks.cells import Table
from benchmarks.peers.cellwise import Function, Peer, Reader

SUITE = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
_PLACE = "place"


class AwsMessages(Peer):
    """A data key for each cell, under the keyring of its field."""

    name: ClassVar = "AWS Encryption SDK"
    package: ClassVar = "aws-encryption-sdk"
    records: ClassVar = 10
    binds: ClassVar = True
    reader: ClassVar = Reader.CELLS

    def __init__(self) -> None:
        self._client = aws_encryption_sdk.EncryptionSDKClient(
            commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
        )
        self._providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())

    def fresh_key(self) -> Any:
        """Make a keyring of one key."""
        return self._providers.create_raw_aes_keyring(
            CreateRawAesKeyringInput(
                key_namespace="benchmark",
                key_name="field",
                wrapping_key=os.urandom(32),
                wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
            )
        )

    def sealer(self, key: Any) -> Function:
        """Seal one message."""
        encrypt = self._client.encrypt

        def seal(value: bytes, place: bytes) -> bytes:
            sealed: bytes
            sealed, _ = encrypt(
                source=value,
                keyring=key,
                algorithm=SUITE,
                encryption_context={_PLACE: place.hex()},
            )
            return sealed

        return seal

    def opener(self, key: Any) -> Function:
        """Open one message, and compare its context."""
        decrypt = self._client.decrypt

        def open_cell(sealed: bytes, place: bytes) -> bytes:
            value: bytes
            value, header = decrypt(source=sealed, keyring=key)
            if header.encryption_context.get(_PLACE) != place.hex():
                raise ValueError("a cell of another place")
            return value

        return open_cell

    def admit(self, keys: Sequence[Any], sealed: Table, places: Table) -> object:
        """Seal every message anew, for both: the SDK rewraps no message's data key."""
        admitted = []
        for key, column, where in zip(keys, sealed, places, strict=True):
            both = self._providers.create_multi_keyring(
                CreateMultiKeyringInput(generator=key, child_keyrings=[self.fresh_key()])
            )
            values = map(self.opener(key), column, where)
            admitted.append(list(map(self.sealer(both), values, where)))
        return admitted
