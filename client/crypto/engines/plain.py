"""The engine that runs wherever `cryptography` does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import ClassVar

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from client.crypto.block_keys import KEY_BYTES
from client.crypto.engines.columnwise import CellRefused, ColumnwiseEngine, check_bounds
from client.crypto.engines.contract import NONCE
from client.crypto.padding import Octets, Sizes


class CryptographyEngine(ColumnwiseEngine):
    """One AESGCM object a cell, from the `cryptography` package."""

    name: ClassVar[str] = "cryptography"

    def seal_cells(self, keys: Octets, padded: Octets, sizes: Sizes) -> Octets:
        """Seal each cell; see `ColumnwiseEngine`."""
        check_bounds(keys, padded, sizes)
        sealed = [
            AESGCM(key).encrypt(NONCE, cell, None)
            for key, cell in zip(_split_keys(keys), _split(padded, sizes), strict=True)
        ]
        return np.frombuffer(b"".join(sealed), np.uint8)

    def open_cells(self, keys: Octets, sealed: Octets, sizes: Sizes) -> Octets:
        """Open each cell; see `ColumnwiseEngine`."""
        check_bounds(keys, sealed, sizes)
        opened: list[bytes] = []
        try:
            for key, cell in zip(_split_keys(keys), _split(sealed, sizes), strict=True):
                opened.append(AESGCM(key).decrypt(NONCE, cell, None))
        except InvalidTag:
            raise CellRefused(len(opened)) from None
        return np.frombuffer(b"".join(opened), np.uint8)


def _split(buffer: Octets, sizes: Sizes) -> Iterator[memoryview]:
    view = buffer.data
    ends = np.cumsum(sizes).tolist()
    return (view[start:end] for start, end in zip(chain((0,), ends), ends, strict=False))


def _split_keys(keys: Octets) -> Iterator[memoryview]:
    view = keys.data
    return (view[at : at + KEY_BYTES] for at in range(0, len(view), KEY_BYTES))
