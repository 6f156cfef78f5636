"""Messages: typed records in, bytes out, and the same back or a reason (SPEC section 2).

A message is declared once, as a class with the codec beside each field:

    @record
    class Rule:
        class_: Annotated[int, Uint(255)]
        collection: Annotated[bytes | None, Maybe(Fixed(16))]

    @record
    class Grant:
        member: Annotated[bytes, Fixed(32)]
        role: Role                                    # an Enum: OneOf(Role)
        rules: Annotated[tuple[Rule, ...], ListOf(Rule, 1024, ascending=True)]

It travels as the array of its fields, in order, none left out. `from_bytes(Grant, data)` and
`to_bytes(grant)` are all that most callers need; `pack` and `unpack` stop at plain values.
Records are read when the class is created, so they stand at module level. Whatever parses
encodes to the same bytes again. Errors name the place (`grant.rules[3].class`), never the value.

`Envelope` is the signed message; `encode` and `decode` are those of `protocol.encoding`.
"""

# ruff: noqa: D102 - what a codec takes is said once, by its class

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    TypeVar,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from protocol.encoding import Value, decode, encode
from protocol.errors import (
    ApiMisuse,
    IntegrityError,
    LimitExceeded,
    MalformedMessage,
    NonCanonical,
    SealroomError,
)
from protocol.labels import Label
from protocol.limits import LIMITS
from protocol.signing import SIGNATURE_BYTES, pae, verify_signature

__all__ = [
    "Blob",
    "Choice",
    "Codec",
    "Envelope",
    "Fixed",
    "Flag",
    "ListOf",
    "Maybe",
    "OneOf",
    "Parsed",
    "Plain",
    "Text",
    "Uint",
    "Value",
    "decode",
    "encode",
    "from_bytes",
    "pack",
    "pae",
    "record",
    "to_bytes",
    "unpack",
]

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


# --- whole messages


def to_bytes(message: object) -> bytes:
    """Encode a record.

    Raises:
        ApiMisuse: not a record, or a field whose value its codec does not take.
        LimitExceeded: a field, or the message as a whole, larger than allowed.
    """
    return encode(pack(message))


def from_bytes(cls: type[T], data: bytes, *, max_bytes: int = LIMITS.act_bytes) -> T:
    """Parse the one record of class `cls` that `data` encodes.

    Types, lengths, ranges and orders are then as the fields declare. What the fields mean
    together, and who may say so, is the caller's to check.

    Raises:
        MalformedMessage: not the encoding of such a record (`NonCanonical`: not the only one).
        LimitExceeded: more bytes, depth, elements or items than allowed.
        SealroomError: whatever else the parser of a `Parsed` field raises.
    """
    return unpack(cls, decode(data, max_bytes=max_bytes))


def pack(message: object) -> Value:
    """Turn a record into the plain value that `encode` writes; raises as `to_bytes` does."""
    cls = type(message)
    try:
        return _fields_of(cls).pack(message)
    except _Refused as refused:
        raise refused.error_at(_snake(cls.__name__), ApiMisuse) from refused.__cause__


def unpack(cls: type[T], value: Value) -> T:
    """Turn a decoded plain value into a record of class `cls`; raises as `from_bytes` does."""
    try:
        return cast(T, _fields_of(cls).unpack(value))
    except _Refused as refused:
        raise refused.error_at(_snake(cls.__name__), MalformedMessage) from refused.__cause__


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class a frozen, slotted dataclass that travels as the array of its fields.

    A check across fields belongs into `__post_init__`; a `SealroomError` raised there comes
    back with the record's place before its message.
    """
    made = dataclass(frozen=True, slots=True)(cls)
    hints = get_type_hints(made, include_extras=True)
    codecs = tuple((one.name, _codec_of(hints[one.name])) for one in fields(made))  # type: ignore[arg-type]
    _RECORDS[made] = _Record(made, codecs)
    return made


# --- codecs: one for each kind of field


class _Refused(Exception):
    """A value that does not fit its codec; gathers its place on the way up."""

    def __init__(
        self,
        reason: str,
        error: type[SealroomError] | None = None,
        *,
        hint: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error
        self.hint = hint
        self.place = ""

    def below(self, step: str) -> _Refused:
        self.place = step + self.place
        return self

    def error_at(self, root: str, otherwise: type[Exception]) -> Exception:
        message = f"{root}{self.place}: {self.reason}"
        if self.error is None:
            return otherwise(message)
        return self.error(message, hint=self.hint)


class Codec(ABC, Generic[T]):
    """How one field travels. Values that are their own plain value need `check` only."""

    @abstractmethod
    def pack(self, value: T) -> Value:
        """Return the plain value of a typed one."""

    @abstractmethod
    def unpack(self, value: Value) -> T:
        """Return the typed value of a plain one."""

    def order(self, plain: Value) -> Any:
        """Return what `ListOf` compares: always in the order of the encodings' bytes."""
        return encode(plain)


class _Simple(Codec[T]):
    """A codec whose typed and plain values are the same."""

    @abstractmethod
    def check(self, value: Value) -> T: ...

    def pack(self, value: T) -> Value:
        return cast(Value, self.check(cast(Value, value)))

    def unpack(self, value: Value) -> T:
        return self.check(value)


@dataclass(frozen=True, slots=True)
class Fixed(_Simple[bytes]):
    """Exactly `size` bytes."""

    size: int

    def check(self, value: Value) -> bytes:
        if type(value) is not bytes or len(value) != self.size:
            raise _Refused(f"must be {self.size} bytes")
        return value

    def order(self, plain: Value) -> Any:
        return plain


@dataclass(frozen=True, slots=True)
class Blob(_Simple[bytes]):
    """From `least` to `most` bytes."""

    most: int
    least: int = 0

    def check(self, value: Value) -> bytes:
        if type(value) is not bytes:
            raise _Refused("must be bytes")
        _within("bytes", len(value), self.least, self.most)
        return value


@dataclass(frozen=True, slots=True)
class Uint(_Simple[int]):
    """An integer from `least` to `most`; True is not one."""

    most: int
    least: int = 0

    def check(self, value: Value) -> int:
        if type(value) is not int or not self.least <= value <= self.most:
            raise _Refused(f"must be an integer from {self.least} to {self.most}")
        return value

    def order(self, plain: Value) -> Any:
        return plain


@dataclass(frozen=True, slots=True)
class Text(_Simple[str]):
    """Text of `least` to `most` bytes of UTF-8."""

    most: int = LIMITS.text_bytes
    least: int = 0

    def check(self, value: Value) -> str:
        if type(value) is not str:
            raise _Refused("must be text")
        try:
            length = len(value) if value.isascii() else len(value.encode())
        except UnicodeEncodeError:
            reason = "text that has no UTF-8 form (a lone surrogate)"
            raise _Refused(reason, MalformedMessage) from None
        _within("bytes of text", length, self.least, self.most)
        return value


@dataclass(frozen=True, slots=True)
class _Flag(_Simple[bool]):
    def check(self, value: Value) -> bool:
        if type(value) is not bool:
            raise _Refused("must be true or false")
        return value


Flag: Final = _Flag()


@dataclass(frozen=True, slots=True)
class Plain(_Simple[Value]):
    """Any plain value, for a field whose own class only the reader of the rest can name."""

    def check(self, value: Value) -> Value:
        return value


class OneOf(Codec[E]):
    """A member of an Enum whose values are all text, all integers or all bytes."""

    __slots__ = ("_by_value", "_enum")

    def __init__(self, enum: type[E]) -> None:
        self._enum = enum
        self._by_value = {_tag(member): member for member in enum}

    def pack(self, value: E) -> Value:
        if type(value) is not self._enum:
            raise _Refused(f"must be a {self._enum.__name__}")
        return cast(Value, value.value)

    def unpack(self, value: Value) -> E:
        try:
            return self._by_value[type(value), value]
        except (KeyError, TypeError):
            raise _Refused(f"is no known {_snake(self._enum.__name__)}") from None


class Maybe(Codec[T | None]):
    """None, or what `codec` takes; not around another `Maybe`."""

    __slots__ = ("_codec",)

    def __init__(self, codec: Codec[T] | type[T]) -> None:
        self._codec = _as_codec(codec)

    def pack(self, value: T | None) -> Value:
        return None if value is None else self._codec.pack(value)

    def unpack(self, value: Value) -> T | None:
        return None if value is None else self._codec.unpack(value)


class ListOf(Codec[tuple[T, ...]]):
    """A tuple of `least` to `most` items, on request without repeats or in ascending order.

    Items are compared by the bytes of their encodings; ascending allows no repeats.
    """

    __slots__ = ("_ascending", "_item", "_least", "_most", "_unique")

    def __init__(
        self,
        item: Codec[T] | type[T],
        most: int,
        least: int = 0,
        *,
        unique: bool = False,
        ascending: bool = False,
    ) -> None:
        self._item = _as_codec(item)
        self._most = most
        self._least = least
        self._unique = unique
        self._ascending = ascending

    def pack(self, value: tuple[T, ...]) -> Value:
        self._count(value)
        packed = tuple(self._each(self._item.pack, value))
        self._arranged(packed)
        return packed

    def unpack(self, value: Value) -> tuple[T, ...]:
        items = self._count(value)
        unpacked = tuple(self._each(self._item.unpack, items))
        self._arranged(items)
        return unpacked

    def _count(self, value: object) -> tuple[Any, ...]:
        if type(value) is not tuple:
            raise _Refused("must be a list")
        _within("items", len(value), self._least, self._most)
        return value

    @staticmethod
    def _each(turn: Callable[[Any], Any], items: tuple[Any, ...]) -> Iterable[Any]:
        for index, item in enumerate(items):
            try:
                yield turn(item)
            except _Refused as refused:
                raise refused.below(f"[{index}]") from refused.__cause__

    def _arranged(self, packed: tuple[Value, ...]) -> None:
        if self._ascending:
            keys = [self._item.order(item) for item in packed]
            for index in range(1, len(keys)):
                if not keys[index - 1] < keys[index]:
                    raise _Refused("must be in ascending order").below(f"[{index}]")
        elif self._unique and len({self._item.order(item) for item in packed}) != len(packed):
            raise _Refused("must not repeat an item")


class Parsed(Codec[T]):
    """A type with a parser of its own, travelling as exactly `size` bytes.

    `from_bytes` raises a `SealroomError` for what it refuses; that class reaches the reader.
    """

    __slots__ = ("_bytes", "_from_bytes", "_to_bytes")

    def __init__(
        self, to_bytes: Callable[[T], bytes], from_bytes: Callable[[bytes], T], size: int
    ) -> None:
        self._to_bytes = to_bytes
        self._from_bytes = from_bytes
        self._bytes = Fixed(size)

    def pack(self, value: T) -> Value:
        return self._bytes.check(self._to_bytes(value))

    def unpack(self, value: Value) -> T:
        encoded = self._bytes.check(value)
        typed = _told(self._from_bytes, encoded)
        if self._to_bytes(typed) != encoded:
            raise _Refused("has another encoding", NonCanonical)
        return typed

    def order(self, plain: Value) -> Any:
        return plain


class Choice(Codec[Any]):
    """One of several records, travelling as the array [tag, record]."""

    __slots__ = ("_by_class", "_by_tag")

    def __init__(self, classes: Mapping[str, type] | Mapping[int, type]) -> None:
        self._by_tag = {(type(tag), tag): _fields_of(cls) for tag, cls in classes.items()}
        self._by_class = {cls: tag for tag, cls in classes.items()}

    def pack(self, value: Any) -> Value:
        tag = self._by_class.get(type(value))
        if tag is None:
            raise _Refused("must be one of " + ", ".join(cls.__name__ for cls in self._by_class))
        return (tag, _fields_of(type(value)).pack(value))

    def unpack(self, value: Value) -> Any:
        if type(value) is not tuple or len(value) != 2:
            raise _Refused("must be a tag and a record")
        tag, body = value
        try:
            codec = self._by_tag[type(tag), tag]  # type: ignore[index]
        except (KeyError, TypeError):
            raise _Refused("has an unknown tag") from None
        return codec.unpack(body)


class _Record(Codec[Any]):
    """A record class and the codec of each of its fields."""

    __slots__ = ("_cls", "_codecs")

    def __init__(self, cls: type, codecs: tuple[tuple[str, Codec[Any]], ...]) -> None:
        self._cls = cls
        self._codecs = codecs

    def pack(self, value: Any) -> Value:
        if type(value) is not self._cls:
            raise _Refused(f"must be a {self._cls.__name__}")
        packed: list[Value] = []
        for name, codec in self._codecs:
            try:
                packed.append(codec.pack(getattr(value, name)))
            except _Refused as refused:
                raise refused.below(f".{name.rstrip('_')}") from refused.__cause__
        return tuple(packed)

    def unpack(self, value: Value) -> Any:
        if type(value) is not tuple or len(value) != len(self._codecs):
            raise _Refused(f"must be a list of {len(self._codecs)} fields")
        typed: list[Any] = []
        for (name, codec), item in zip(self._codecs, value, strict=True):
            try:
                typed.append(codec.unpack(item))
            except _Refused as refused:
                raise refused.below(f".{name.rstrip('_')}") from refused.__cause__
        return _told(self._cls, *typed)


_RECORDS: Final[dict[type, _Record]] = {}


def _fields_of(cls: type) -> _Record:
    try:
        return _RECORDS[cls]
    except KeyError:
        raise ApiMisuse(f"{cls.__name__} is not a record") from None


def _codec_of(hint: Any) -> Codec[Any]:
    """Find the codec that a field declares, or the one that its type implies."""
    if get_origin(hint) is Annotated:
        found = [extra for extra in get_args(hint)[1:] if isinstance(extra, Codec)]
        if len(found) == 1:
            return found[0]
    elif hint is bool:
        return Flag
    elif isinstance(hint, type):
        return OneOf(hint) if issubclass(hint, Enum) else _fields_of(hint)
    raise ApiMisuse(f"a field of type {hint} needs one codec beside it")


def _as_codec(codec: Codec[T] | type[T]) -> Codec[T]:
    return codec if isinstance(codec, Codec) else _codec_of(codec)


def _told(make: Callable[..., T], *values: Any) -> T:
    """Call a parser, and let its errors learn their place."""
    try:
        return make(*values)
    except SealroomError as error:
        raise _Refused(str(error), type(error), hint=error.hint) from error


def _within(what: str, count: int, least: int, most: int) -> None:
    if count < least:
        raise _Refused(f"has {count} {what}, at least {least} are needed")
    if count > most:
        raise _Refused(f"has {count} {what}, at most {most} are allowed", LimitExceeded)


def _tag(member: Enum) -> tuple[type, Any]:
    value = member.value
    if type(value) not in (str, int, bytes):
        raise ApiMisuse(f"{type(member).__name__} has a value that does not travel")
    return type(value), value


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


# --- the signed envelope


@record
class Envelope:
    """A signed message: its type, its exact bytes, and an Ed25519 signature over both."""

    payload_type: Annotated[Label, OneOf(Label)]
    body: Annotated[bytes, Blob(LIMITS.act_bytes)]
    signature: Annotated[bytes, Fixed(SIGNATURE_BYTES)]

    def verify(self, public_key: bytes, expected: Label) -> bytes:
        """Return the body once its type is the expected one and the key has signed both.

        Whether the key may say what the body says is the caller's to check.

        Raises:
            IntegrityError: another type, or not a signature by this key.
            WeakKey: the key is not a canonical point of prime order.
        """
        if self.payload_type is not expected:
            raise IntegrityError("a signed message of another type")
        verify_signature(public_key, pae(self.payload_type, self.body), self.signature)
        return self.body
