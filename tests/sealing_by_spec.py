"""Sealing and opening blocks as SPEC section 7.2 says, one cell at a time, for tests only."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def hkdf(key: bytes, info: bytes, salt: bytes = bytes(32), length: int = 32) -> bytes:
    """HKDF-SHA256 (2.1)."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(key)


def framed(label: str, *parts: bytes) -> bytes:
    """Join a label and parts (2.3)."""
    return b"".join(struct.pack(">I", len(part)) + part for part in (label.encode(), *parts))


def cell_keys(field_key: bytes, batch_id: bytes, salt: bytes, count: int) -> list[bytes]:
    """The keys of so many cells."""
    batch_key = hkdf(field_key, framed("sealroom/v1/batch-key", batch_id, salt))
    stream = Cipher(algorithms.AES(batch_key), modes.CTR(bytes(16))).encryptor()
    keys = stream.update(bytes(32 * count))
    return [keys[32 * i : 32 * i + 32] for i in range(count)]


def opened(
    field_key: bytes, batch_id: bytes, salt: bytes, records: int, block: bytes
) -> list[bytes | None]:
    """Each padded cell; None where one was erased."""
    lengths = struct.unpack_from(f"<{records}I", block)
    at, padded = 4 * records, list[bytes | None]()
    for key, length in zip(cell_keys(field_key, batch_id, salt, records), lengths, strict=True):
        cell = block[at : at + length]
        padded.append(AESGCM(key).decrypt(bytes(12), cell, None) if length else None)
        at += length
    if at != len(block):
        raise AssertionError("lengths that do not add up")
    return padded


def sealed(
    field_key: bytes, batch_id: bytes, padded: Sequence[bytes | None], random: bytes
) -> tuple[bytes, bytes]:
    """The salt, and the block of these padded cells; one that was erased has no bytes."""
    there = [cell or b"" for cell in padded]
    plaintext = b"".join(struct.pack("<I", len(cell)) for cell in there) + b"".join(there)
    salt_key = hkdf(field_key, framed("sealroom/v1/salt-key"))
    salt = hmac.digest(salt_key, random + hashlib.sha256(plaintext).digest(), "sha256")[:16]
    keys = cell_keys(field_key, batch_id, salt, len(there))
    cells = [
        AESGCM(key).encrypt(bytes(12), cell, None) if cell else b""
        for key, cell in zip(keys, there, strict=True)
    ]
    return salt, b"".join(struct.pack("<I", len(cell)) for cell in cells) + b"".join(cells)


def emptied(block: bytes, records: int, positions: Sequence[int]) -> bytes:
    """What an erasure of these positions, and of those before it, leaves (9.5)."""
    if len(set(positions)) == records:
        return bytes(4 * records)
    lengths = struct.unpack_from(f"<{records}I", block)
    starts = [4 * records + sum(lengths[:i]) for i in range(records)]
    cells = [
        b"" if i in positions else block[start : start + length]
        for i, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]
    return b"".join(struct.pack("<I", len(cell)) for cell in cells) + b"".join(cells)
