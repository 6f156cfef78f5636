"""Signed notes: a text and signatures under it (C2SP signed-note; SPEC section 8).

    the text, one or more lines
    <empty line>
    — name base64(key id || signature)

Two kinds of signature are read: Ed25519 over the text (type 0x01), and the timestamped
cosignature/v1 of C2SP tlog-cosignature (type 0x04), which is what this project's servers write.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocol.errors import IntegrityError, LimitExceeded, MalformedMessage
from protocol.limits import LIMITS
from protocol.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, verify_public_key, verify_signature

KEY_ID_BYTES: Final = 4
TIME_BYTES: Final = 8
_SIGNATURE_MARK: Final = "\u2014 "


class KeyKind(IntEnum):
    """The signature types of C2SP signed-note that are read here."""

    ED25519 = 0x01
    COSIGNATURE = 0x04


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named public key, as notes refer to it."""

    name: str
    kind: KeyKind
    public_key: bytes

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Parse `name+keyid+base64(type || public key)` (C2SP signed-note, verifier keys).

        Raises:
            MalformedMessage: not of that form, or the key id is not that of name and key.
            WeakKey: the key is not a canonical point of prime order.
        """
        name, key_id, encoded = _fields(text)
        typed = parse_base64(encoded)
        if len(typed) != 1 + PUBLIC_KEY_BYTES or typed[0] not in (*KeyKind,):
            raise MalformedMessage("a verifier key of an unknown type")
        key = cls(name, KeyKind(typed[0]), verify_public_key(typed[1:]))
        if key.key_id.hex() != key_id:
            raise MalformedMessage("the key id is not that of the key")
        return key

    @property
    def key_id(self) -> bytes:
        """The 4 bytes by which signature lines find the key; too few to rely on."""
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key
        return hashlib.sha256(named).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: whose it claims to be, and what follows the key id."""

    name: str
    key_id: bytes
    content: bytes

    def line(self) -> bytes:
        """Return the line as it stands under the text."""
        encoded = base64.b64encode(self.key_id + self.content).decode()
        return f"{_SIGNATURE_MARK}{self.name} {encoded}\n".encode()


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that was verified; `time` in Unix seconds where the kind carries one."""

    signature: bytes
    time: int | None


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A text, ending in a newline, and the signature lines under it, none verified yet."""

    text: bytes
    signatures: tuple[NoteSignature, ...]

    def verify(self, key: VerifierKey) -> Signed:
        """Verify the one signature by `key`; lines by other keys are passed over (C2SP).

        Raises:
            IntegrityError: no signature by this key, or one that does not verify.
            MalformedMessage: several lines claim to be by this key.
            WeakKey: the key is not a canonical point of prime order.
        """
        known = [line for line in self.signatures if _is_by(line, key)]
        if not known:
            raise IntegrityError("the note carries no signature by this key")
        if len(known) > 1:
            raise MalformedMessage("the note carries several signatures by this key")
        return _verify_content(known[0].content, self.text, key)


def cosigned_message(text: bytes, time: int) -> bytes:
    """Return what a cosignature/v1 signs: the time in Unix seconds, then the note's text."""
    return b"cosignature/v1\ntime %d\n" % time + text


def parse_signed_note(note: bytes) -> SignedNote:
    """Parse a signed note; nothing is verified yet (C2SP signed-note).

    Raises:
        MalformedMessage: not UTF-8, control characters, no signature, or not of that form.
        LimitExceeded: more bytes or signature lines than the table of limits allows.
    """
    if len(note) > LIMITS.note_bytes:
        raise LimitExceeded(f"a note of {len(note)} bytes, at most {LIMITS.note_bytes}")
    try:
        content = note.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("a note that is not UTF-8") from None
    if re.search(r"[\x00-\x09\x0b-\x1f]", content):
        raise MalformedMessage("a note with control characters")
    text, gap, lines = content.rpartition("\n\n")
    if not gap or not text or not lines.endswith("\n"):
        raise MalformedMessage("not a text, an empty line and signature lines")
    found = lines[:-1].split("\n")
    if len(found) > LIMITS.note_signatures:
        raise LimitExceeded(f"{len(found)} signatures, at most {LIMITS.note_signatures}")
    return SignedNote((text + "\n").encode(), tuple(_signature(line) for line in found))


def parse_base64(text: str) -> bytes:
    """Decode standard base64 in its one form: padded, no stray bits, no other characters.

    Raises:
        MalformedMessage: anything else.
    """
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedMessage("not base64") from None
    # The library ignores the bits that the last character has too many; they must be zero.
    if base64.b64encode(decoded).decode() != text:
        raise MalformedMessage("base64 in another than its one form")
    return decoded


def _fields(text: str) -> tuple[str, str, str]:
    name, _, rest = text.partition("+")
    key_id, plus, encoded = rest.partition("+")
    if not plus or not re.fullmatch(r"[0-9a-f]{8}", key_id) or not _is_name(name):
        raise MalformedMessage("not a verifier key: name+keyid+base64")
    return name, key_id, encoded


def _signature(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_SIGNATURE_MARK).partition(" ")
    if not line.startswith(_SIGNATURE_MARK) or not space or not _is_name(name):
        raise MalformedMessage("a signature line that is not a dash, a name and base64")
    content = parse_base64(encoded)
    if len(content) <= KEY_ID_BYTES:
        raise MalformedMessage("a signature line without a signature")
    return NoteSignature(name, content[:KEY_ID_BYTES], content[KEY_ID_BYTES:])


def _is_name(name: str) -> bool:
    return bool(name) and not any(map(_is_foreign, name))


def _is_foreign(char: str) -> bool:
    # Half of a surrogate pair is no character: text that is pasted may hold one, UTF-8 cannot.
    return char == "+" or char.isspace() or "\ud800" <= char <= "\udfff"


def _is_by(line: NoteSignature, key: VerifierKey) -> bool:
    return line.name == key.name and line.key_id == key.key_id


def _verify_content(content: bytes, text: bytes, key: VerifierKey) -> Signed:
    if key.kind is KeyKind.ED25519:
        verify_signature(key.public_key, text, content)
        return Signed(content, None)
    if len(content) != TIME_BYTES + SIGNATURE_BYTES:
        raise IntegrityError("the signature does not verify")
    time = int.from_bytes(content[:TIME_BYTES], "big")
    signature = content[TIME_BYTES:]
    verify_signature(key.public_key, cosigned_message(text, time), signature)
    return Signed(signature, time)
