"""Which HTTP status each error answers with, and the body of every refusal (SPEC 10.3 and 12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.api import ErrorBody
from protocol.errors import (
    LimitExceeded,
    MalformedMessage,
    NotAuthorised,
    NotFound,
    OutOfOrder,
    RateLimited,
    Replay,
    SealroomError,
    Unauthenticated,
    Unsupported,
    VerificationFailed,
)
from protocol.limits import KIB
from protocol.wire import to_bytes
from vault.storage.base import StorageFailed, StorageFull, UnknownVault

MESSAGE_BYTES: Final = 2 * KIB


class NoLength(MalformedMessage):
    """A body whose length was not said before it began."""

    code = "no_length"


class WrongContentType(MalformedMessage):
    """A body of another type than the path takes, or one that is compressed."""

    code = "wrong_content_type"


class WrongMethod(MalformedMessage):
    """A path of this interface, asked with a method that it does not have."""

    code = "wrong_method"

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__("that path does not have this method")
        self.allowed = allowed


class TooSlow(SealroomError):
    """A body that did not arrive in time, or at the least rate."""

    code = "too_slow"


STATUSES: Final[dict[type[SealroomError], int]] = {
    MalformedMessage: 400,
    Unsupported: 400,
    Unauthenticated: 401,
    Replay: 401,
    NotAuthorised: 403,
    NotFound: 404,
    UnknownVault: 404,
    WrongMethod: 405,
    TooSlow: 408,
    OutOfOrder: 409,
    NoLength: 411,
    LimitExceeded: 413,
    WrongContentType: 415,
    VerificationFailed: 422,
    RateLimited: 429,
    StorageFailed: 503,
    StorageFull: 507,
}
"""An error has the status of the nearest class above it that stands here; else 500."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a request is answered that is not served; `body` is an encoded `ErrorBody`."""

    status: int
    code: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def status_of(error: type[BaseException]) -> int:
    """Return the HTTP status of a class of errors; 500 for a bug."""
    found = (STATUSES[cls] for cls in error.__mro__ if cls in STATUSES)
    return next(found, 500)


def refusal_of(error: BaseException, now: int) -> Refusal:
    """Return the answer to a request that ended in an error (SPEC section 10.3).

    The messages of this project's errors hold no secret and are shown. Of any other exception
    nothing is: it is a bug, and its text may hold anything.
    """
    status = status_of(type(error))
    if status == 500 or not isinstance(error, SealroomError):
        return _refusal(500, "internal", "the server failed", "Its operator finds it logged.", now)
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, RateLimited):
        headers = (("Retry-After", str(error.retry_after)),)
    elif isinstance(error, WrongMethod):
        headers = (("Allow", ", ".join(error.allowed)),)
    return _refusal(status, error.code, str(error), error.hint, now, headers)


def _refusal(
    status: int,
    code: str,
    message: str,
    hint: str | None,
    now: int,
    headers: tuple[tuple[str, str], ...] = (),
) -> Refusal:
    shown = None if hint is None else _cut(hint)
    return Refusal(status, code, to_bytes(ErrorBody(code, _cut(message), shown, now)), headers)


def _cut(text: str) -> str:
    return text.encode()[:MESSAGE_BYTES].decode(errors="ignore")
