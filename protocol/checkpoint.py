"""Checkpoints: what the server says its log is, with a time and a signature (SPEC section 8).

A C2SP tlog-checkpoint as a signed note. The origin line and the key's name are the same,
`sealroom/` and the vault id in hexadecimal, and the signature has the cosignature/v1 form, so it
covers the time at which the server said it:

    sealroom/<vault id>
    <size>
    <base64 of the root>

    — sealroom/<vault id> <base64 of key id, time, signature>

Whether a checkpoint is recent enough, and an extension of the last one seen, is the caller's
to check; here it is only found genuine.
"""

from __future__ import annotations

import base64
import re
from dataclasses import InitVar, dataclass
from typing import Final

from protocol.errors import ApiMisuse, ContextMismatch, MalformedMessage
from protocol.merkle import EMPTY_ROOT, HASH_BYTES
from protocol.note import (
    TIME_BYTES,
    KeyKind,
    NoteSignature,
    VerifierKey,
    cosigned_message,
    parse_base64,
    parse_signed_note,
)
from protocol.signing import verify_signature

VAULT_ID_BYTES: Final = 32
SIZE_MOST: Final = 2**63 - 1
TIME_MOST: Final = 2**63 - 1
_VERIFIED: Final = object()


def origin(vault_id: bytes) -> str:
    """Return the vault's origin line, which is its checkpoint key's name too."""
    return f"sealroom/{vault_id.hex()}"


def checkpoint_key(vault_id: bytes, server_key: bytes) -> VerifierKey:
    """Return the server's public key as signed notes refer to it."""
    return VerifierKey(origin(vault_id), KeyKind.COSIGNATURE, server_key)


def signed_message(vault_id: bytes, size: int, root: bytes, time: int) -> bytes:
    """Return what the server signs for a checkpoint: the time, then the note's text.

    Raises:
        MalformedMessage: an id or a root that is not 32 bytes, a size or a time out of range.
    """
    return cosigned_message(_text(vault_id, size, root, time), time)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's size and root at a time, under the server's verified signature.

    Made by `verified` and `parse_note` only, so that to hold one is to know it is genuine.
    """

    vault_id: bytes
    size: int
    root: bytes
    time: int
    signature: bytes
    server_key: bytes
    made: InitVar[object]

    def __post_init__(self, made: object) -> None:
        if made is not _VERIFIED:
            raise ApiMisuse("a checkpoint is made by verifying one")

    @classmethod
    def verified(
        cls,
        vault_id: bytes,
        size: int,
        root: bytes,
        time: int,
        signature: bytes,
        server_key: bytes,
    ) -> Checkpoint:
        """Return the checkpoint once the server's signature over it is verified.

        That `server_key` is the key in force for this vault is the caller's to know.

        Raises:
            MalformedMessage: lengths or ranges, or an empty log with another root than that.
            IntegrityError: the signature is not one of this checkpoint by this key.
            WeakKey: the key is not a canonical point of prime order.
        """
        verify_signature(server_key, signed_message(vault_id, size, root, time), signature)
        return cls(vault_id, size, root, time, signature, server_key, _VERIFIED)

    def note(self) -> bytes:
        """Return the checkpoint as the signed note that `parse_note` reads."""
        key_id = checkpoint_key(self.vault_id, self.server_key).key_id
        content = self.time.to_bytes(TIME_BYTES, "big") + self.signature
        line = NoteSignature(origin(self.vault_id), key_id, content).line()
        return _text(self.vault_id, self.size, self.root, self.time) + b"\n" + line


def parse_note(note: bytes, vault_id: bytes, server_key: bytes) -> Checkpoint:
    """Parse a checkpoint and verify that this vault's server signed it.

    Obligations:
      (0) the note has the one form, with exactly one signature line by this key; lines by
          others (witnesses) are passed over;
      (1) it is this vault's, and its size, root and time are in their one form;
      (2) the signature verifies.

    Raises:
        MalformedMessage: (0) or (1), in form.
        ContextMismatch: (1), the checkpoint of another log.
        IntegrityError: (2), or no signature by this key.
        LimitExceeded: more bytes or signature lines than the table of limits allows.
        WeakKey: the key is not a canonical point of prime order.
    """
    # (0) and (1); before (2), so that a genuine one of another log is called just that
    parsed = parse_signed_note(note)
    size, root = _parse_text(parsed.text.decode(), vault_id)
    # (2)
    signed = parsed.verify(checkpoint_key(vault_id, server_key))
    time = signed.time or 0
    _expect_in_range(vault_id, size, root, time)
    return Checkpoint(vault_id, size, root, time, signed.signature, server_key, _VERIFIED)


def _parse_text(text: str, vault_id: bytes) -> tuple[int, bytes]:
    lines = text.split("\n")
    if len(lines) != 4:
        raise MalformedMessage("a checkpoint has three lines")
    if lines[0] != origin(vault_id):
        raise ContextMismatch("the checkpoint of another log")
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
        raise MalformedMessage("a tree size is decimal, without leading zeros")
    return int(lines[1]), parse_base64(lines[2])


def _text(vault_id: bytes, size: int, root: bytes, time: int) -> bytes:
    _expect_in_range(vault_id, size, root, time)
    return f"{origin(vault_id)}\n{size}\n{base64.b64encode(root).decode()}\n".encode()


def _expect_in_range(vault_id: bytes, size: int, root: bytes, time: int) -> None:
    if len(vault_id) != VAULT_ID_BYTES or len(root) != HASH_BYTES:
        raise MalformedMessage("a vault id and a root are 32 bytes")
    if not 0 <= size <= SIZE_MOST or not 0 <= time <= TIME_MOST:
        raise MalformedMessage("a size or a time out of range")
    if size == 0 and root != EMPTY_ROOT:
        raise MalformedMessage("an empty log has one root")
