"""From a field key down to the key of one cell (SPEC section 7.2).

field key -> batch key, by batch id and salt -> keys of all cells, one keystream
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from client.crypto.derivation import hkdf
from client.crypto.padding import Octets
from client.crypto.secrets import Secret
from protocol.blocks import SALT_BYTES
from protocol.errors import ApiMisuse
from protocol.labels import Label, framed
from protocol.limits import LIMITS

KEY_BYTES: Final = 32
_COUNTER_BYTES: Final = 16
_ZEROS: Final = memoryview(bytes(KEY_BYTES * LIMITS.batch_records_default))


class CellKey(Secret):
    """The key of one cell, 32 bytes: opens that cell and nothing else."""


def check_key(key: bytes) -> None:
    """Refuse a key of another size.

    Raises: ApiMisuse.
    """
    if len(key) != KEY_BYTES:
        raise ApiMisuse(f"a key of {KEY_BYTES} bytes is needed")


def fresh_salt(field_key: bytes, plaintext: Octets) -> bytes:
    """Draw a salt that no other block plaintext gets, even from the same random bytes."""
    salt_key = hkdf(field_key, framed(Label.SALT_KEY))
    drawn = secrets.token_bytes(32) + hashlib.sha256(plaintext.data).digest()
    return hmac.digest(salt_key, drawn, "sha256")[:SALT_BYTES]


def derive_batch_key(field_key: bytes, batch_id: bytes, salt: bytes) -> bytes:
    """Return the key of one block: 32 bytes, of which the keys of its cells are the keystream."""
    return hkdf(field_key, framed(Label.BATCH_KEY, batch_id, salt))


def fill_cell_keys(batch_key: bytes, keys: Octets) -> None:
    """Write the keys of the first cells of a block, 32 bytes each, over all of `keys`."""
    stream = _stream(batch_key, 0)
    room = keys.data
    for start in range(0, len(room), len(_ZEROS)):
        part = room[start : start + len(_ZEROS)]
        stream.update_into(_ZEROS[: len(part)], part)


def cell_key(field_key: bytes, batch_id: bytes, salt: bytes, position: int) -> CellKey:
    """Derive the key of one cell, which may be given away alone (SPEC section 7).

    Raises:
        ApiMisuse: a position outside any batch, or a field key that is not 32 bytes.
    """
    check_key(field_key)
    if not 0 <= position < LIMITS.batch_records:
        raise ApiMisuse("a position outside any batch")
    stream = _stream(derive_batch_key(field_key, batch_id, salt), position)
    return CellKey(stream.update(bytes(KEY_BYTES)))


def _stream(batch_key: bytes, position: int) -> CipherContext:
    """Return the keystream from the key of one cell on."""
    counter = position * KEY_BYTES // _COUNTER_BYTES
    mode = modes.CTR(counter.to_bytes(_COUNTER_BYTES, "big"))
    return Cipher(algorithms.AES(batch_key), mode).encryptor()
