"""The one encoding: bytes to plain values and back, or a reason (SPEC section 2).

A subset of msgpack in which every value has exactly one form: None, bool, integers from
-2^63 to 2^64-1, text, bytes, arrays, and maps whose keys are text in ascending order of their
UTF-8 bytes. No floats, no extensions, no timestamps, nothing longer than it needs to be.

Almost nobody needs this module: messages are declared as records in `protocol.wire`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

import msgpack

from protocol.errors import ApiMisuse, LimitExceeded, MalformedMessage, NonCanonical
from protocol.limits import LIMITS

Value: TypeAlias = (
    bool | int | str | bytes | tuple["Value", ...] | list["Value"] | Mapping[str, "Value"] | None
)


def encode(value: Value) -> bytes:
    """Write a plain value in its one form (SPEC section 2).

    Map keys are sorted; tuples and lists become the same array. What this writes, `decode`
    reads, given the same bytes as room.

    Raises:
        ApiMisuse: a type or an integer that the encoding has no form for.
        MalformedMessage: text with a lone surrogate, which has no UTF-8 form.
        LimitExceeded: deeper, longer or more elements than the table of limits allows.
    """
    plain = _plain(value, 0)
    try:
        data = _packed(plain)
    except UnicodeEncodeError:
        raise MalformedMessage("text that has no UTF-8 form (a lone surrogate)") from None
    except OverflowError:
        raise ApiMisuse("an integer outside -2^63 to 2^64-1") from None
    _Scan(data).whole()
    return data


def decode(data: bytes, *, max_bytes: int) -> Value:
    """Read the one plain value that `data` encodes; arrays come back as tuples (SPEC section 2).

    Size, depth, counts, lengths and forms are checked on the bytes before any object is made:
    1 MB of empty maps would otherwise become 75 MB of objects. Types and ranges of the values
    remain the caller's to check, which is what records are for.

    Raises:
        MalformedMessage: not msgpack, cut off, trailed by something, or a forbidden type.
        NonCanonical: a longer form than needed, or map keys out of order or twice.
        LimitExceeded: more than `max_bytes`, or than the table of limits allows.
    """
    if len(data) > max_bytes:
        raise LimitExceeded(f"a message of {len(data)} bytes, at most {max_bytes} are allowed")
    _Scan(data).whole()
    try:
        value: Value = msgpack.unpackb(data, raw=False, use_list=False)
    except ValueError:
        raise MalformedMessage("text that is not UTF-8") from None
    # The scan alone should decide; this stands guard should it and the library ever disagree.
    if _packed(value) != data:
        raise NonCanonical("encoding the decoded value again gives other bytes")
    return value


def _packed(plain: Value) -> bytes:
    packed: bytes = msgpack.packb(plain, use_bin_type=True)
    return packed


_EXACT: Final = frozenset({type(None), bool, int, str, bytes})


def _plain(value: Value, depth: int) -> Value:
    """Check types exactly and sort the maps."""
    if type(value) in _EXACT:
        return value
    if depth >= LIMITS.message_depth:
        raise LimitExceeded(f"nested deeper than {LIMITS.message_depth}")
    if type(value) is tuple or type(value) is list:
        return [_plain(item, depth + 1) for item in value]
    if type(value) is dict:
        if any(type(key) is not str for key in value):
            raise ApiMisuse("a map key that is not text")
        return {key: _plain(value[key], depth + 1) for key in sorted(value)}
    raise ApiMisuse(f"the encoding has no form for {type(value).__name__}")


# --- the scan

# What follows a lead byte. Atoms are complete; runs are followed by that many bytes.
_REFUSED, _ATOM, _BYTES, _TEXT, _ARRAY, _MAP = range(6)


class _Form(NamedTuple):
    """One lead byte: what it starts, the width of the big-endian number after it, its range.

    The range is the one in which no shorter form exists. With width 0 the number is `least`.
    """

    kind: int
    width: int = 0
    least: int = 0
    most: int = 0


def _forms() -> tuple[_Form, ...]:
    forms = [_Form(_REFUSED)] * 256
    for lead in (*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3):
        forms[lead] = _Form(_ATOM)
    for lead, kind, numbers in ((0x80, _MAP, 16), (0x90, _ARRAY, 16), (0xA0, _TEXT, 32)):
        for number in range(numbers):
            forms[lead + number] = _Form(kind, 0, number)
    for first, kind, widths, shortest in (
        (0xC4, _BYTES, (1, 2, 4), 0),
        (0xCC, _ATOM, (1, 2, 4, 8), 0x80),
        (0xD9, _TEXT, (1, 2, 4), 32),
        (0xDC, _ARRAY, (2, 4), 16),
        (0xDE, _MAP, (2, 4), 16),
    ):
        least = shortest
        for step, width in enumerate(widths):
            forms[first + step] = _Form(kind, width, least, 2 ** (8 * width) - 1)
            least = 2 ** (8 * width)
    # Signed forms hold negative numbers only, seen here as their two's complement.
    most = 0xDF
    for step, width in enumerate((1, 2, 4, 8)):
        forms[0xD0 + step] = _Form(_ATOM, width, 2 ** (8 * width - 1), most)
        most = 2 ** (16 * width) - 2 ** (8 * width - 1) - 1
    return tuple(forms)


_FORMS: Final = _forms()


class _Scan:
    """One walk over the bytes that makes no object of what they hold."""

    __slots__ = ("_data", "_elements", "_size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = len(data)
        self._elements = 1

    def whole(self) -> None:
        if self._value(0, 0) != self._size:
            raise MalformedMessage("bytes after the end of the message")

    def _value(self, at: int, depth: int) -> int:
        """Return where the value that starts at `at` ends; never past the end of the bytes."""
        if at >= self._size:
            raise MalformedMessage("the message ends where a value should start")
        kind, width, number, most = _FORMS[self._data[at]]
        at += 1
        if width:
            least, start = number, at
            at += width
            number = int.from_bytes(self._data[start:at], "big")
            if at > self._size:
                raise MalformedMessage("the message ends inside a number")
            if not least <= number <= most:
                raise NonCanonical("a longer form than the value needs")
        if kind == _ATOM:
            return at
        if kind == _REFUSED:
            raise MalformedMessage("a float, an extension or a reserved byte")
        if number > self._size - at:
            raise MalformedMessage("a length that runs past the end of the message")
        if kind == _BYTES:
            return at + number
        if kind == _TEXT:
            return self._text(at, number)
        return self._container(kind, number, at, depth + 1)

    def _text(self, at: int, length: int) -> int:
        if length > LIMITS.text_bytes:
            raise LimitExceeded(f"text of {length} bytes, at most {LIMITS.text_bytes}")
        return at + length

    def _container(self, kind: int, count: int, at: int, depth: int) -> int:
        if depth > LIMITS.message_depth:
            raise LimitExceeded(f"nested deeper than {LIMITS.message_depth}")
        self._elements += count if kind == _ARRAY else 2 * count
        if self._elements > LIMITS.message_elements:
            raise LimitExceeded(f"more than {LIMITS.message_elements} elements")
        if kind == _MAP:
            return self._entries(count, at, depth)
        for _ in range(count):
            at = self._value(at, depth)
        return at

    def _entries(self, count: int, at: int, depth: int) -> int:
        last: bytes | None = None
        for _ in range(count):
            form = _FORMS[self._data[at]] if at < self._size else None
            end = self._value(at, depth)
            if form is None or form.kind != _TEXT:
                raise MalformedMessage("a map key that is not text")
            key = self._data[at + 1 + form.width : end]
            if last is not None and key <= last:
                raise NonCanonical("map keys out of order or twice")
            last = key
            at = self._value(end, depth)
        return at
