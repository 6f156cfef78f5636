"""Secret byte strings that do not print, pickle, or compare in variable time."""

from __future__ import annotations

import hmac
from typing import ClassVar, NoReturn, Self

from protocol.errors import ApiMisuse


class Secret:
    """A secret of fixed size; each role of key is a subclass, and none stands in for another."""

    size: ClassVar[int] = 32
    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        if len(value) != self.size:
            raise ApiMisuse(f"{type(self).__name__} is {self.size} bytes")
        self._value = bytes(value)

    def expose(self) -> bytes:
        """Return the secret bytes; every call is a place to look at in a review."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        raise TypeError(f"{type(self).__name__} is not hashable")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} does not pickle")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


class Seed(Secret):
    """The 32 bytes from which an identity's three key pairs derive (SPEC section 4)."""


class InviteSecret(Secret):
    """The secret in an invite link, 32 bytes (SPEC section 4)."""


class Share(Secret):
    """The random share `s` of a field key, 32 bytes (SPEC section 5)."""


class FieldKey(Secret):
    """The key of one (collection, field, epoch), 32 bytes (SPEC section 5)."""


class RewrapScalar(Secret):
    """The secret scalar `p` of a rewrap key, reduced and not zero, 32 bytes little-endian."""
