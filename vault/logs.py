"""The server's log: JSON lines that have no place for a secret, a name or a word (H13, M1).

What stands in a line is chosen from a table: each field has one type, and no type can hold
free text. Text that other libraries log is dropped whole, arguments and tracebacks with it;
what is left is the level, the library and the class of the exception. Lines that repeat are
counted instead of written, so that nobody can flood the disk through the log (D4).
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from http import HTTPMethod
from typing import Final, TextIO

from protocol.errors import ApiMisuse, SealroomError

LOGGER_NAME: Final = "sealroom"
LIBRARIES: Final = frozenset({"aiohttp", "aiosqlite", "asyncio", "concurrent", "py"})

_PAYLOAD: Final = "sealroom_payload"
_SEGMENT: Final = re.compile(r"[a-z][a-z0-9_.-]{0,15}|\{[a-z_]{1,20}\}")
_CLASS_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")
_MAX_INT: Final = 2**53


class Event(Enum):
    """Everything that the server says about itself: the word in the line, and its level."""

    SERVER_STARTED = ("server_started", logging.INFO)
    SERVER_STOPPED = ("server_stopped", logging.INFO)
    STORAGE_OPENED = ("storage_opened", logging.INFO)
    STORAGE_FAILED = ("storage_failed", logging.ERROR)
    VAULT_CREATED = ("vault_created", logging.INFO)
    ACT_APPENDED = ("act_appended", logging.INFO)
    UPLOADS_EXPIRED = ("uploads_expired", logging.INFO)
    SWEPT = ("swept", logging.INFO)
    SWEEP_WAITS = ("sweep_waits", logging.WARNING)
    DISK_LOW = ("disk_low", logging.ERROR)
    STORAGE_DAMAGED = ("storage_damaged", logging.ERROR)
    READ_THROUGH = ("read_through", logging.INFO)
    REQUEST = ("request", logging.INFO)
    REQUEST_REFUSED = ("request_refused", logging.WARNING)
    INTERNAL_ERROR = ("internal_error", logging.ERROR)

    def __init__(self, word: str, level: int) -> None:
        self.word = word
        self.level = level


@dataclass(frozen=True, slots=True)
class IdPrefix:
    """The first four bytes of a public id, as 8 hex digits: enough to follow, not to address."""

    text: str

    @classmethod
    def of(cls, public_id: bytes) -> IdPrefix:
        """Shorten a vault, member, batch or upload id. Never give it a key."""
        return cls(public_id[:4].hex())

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{8}", self.text):
            raise ApiMisuse("an id's prefix is 8 hex digits")


@dataclass(frozen=True, slots=True)
class RequestId:
    """A request's number in the log: 16 hex digits, drawn by the server, saying nothing."""

    text: str = field(default_factory=lambda: secrets.token_hex(8), init=False)


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A route with its variables unfilled, such as `/v1/vaults/{vault}/log`.

    A segment is a short word or a name in braces; an id or a token is too long to be either.
    """

    text: str

    def __post_init__(self) -> None:
        head, *segments = self.text.split("/")
        if head or not segments or not all(_SEGMENT.fullmatch(part) for part in segments):
            raise ApiMisuse("a path template is made of short words and names in braces")


Loggable = int | IdPrefix | RequestId | PathTemplate | HTTPMethod | type[BaseException]

FIELDS: Final[dict[str, type]] = {
    "vault": IdPrefix,
    "member": IdPrefix,
    "batch": IdPrefix,
    "upload": IdPrefix,
    "request": RequestId,
    "path": PathTemplate,
    "method": HTTPMethod,
    "error": type,
    "status": int,
    "bytes": int,
    "ms": int,
    "count": int,
    "index": int,
    "size": int,
    "port": int,
    "schema": int,
    "sqlite": int,
    "wal_reset_safe": int,
}
"""The allow-list: every field that may stand in a line, and the one type that it takes."""


@dataclass(frozen=True, slots=True)
class _Payload:
    """What `log_event` lets through to the handler, and nobody else makes."""

    event: Event
    values: dict[str, str | int]


def log_event(event: Event, **fields: Loggable) -> None:
    """Write one line about an event, with fields from the allow-list.

    `error` takes an exception's class, never the exception: the line names its stable code.

    Raises:
        ApiMisuse: A field is not in the table, or its value not of the one type.
    """
    values = {name: _plain(name, value) for name, value in fields.items()}
    payload = _Payload(event, values)
    logging.getLogger(LOGGER_NAME).log(event.level, event.word, extra={_PAYLOAD: payload})


def log_failure(error: BaseException) -> None:
    """Write what went wrong where nobody waits for an answer."""
    event = Event.STORAGE_FAILED if isinstance(error, SealroomError) else Event.INTERNAL_ERROR
    log_event(event, error=type(error))


@contextmanager
def unlogged() -> Iterator[None]:
    """Write no line about any event meanwhile."""
    logger = logging.getLogger(LOGGER_NAME)
    logger.disabled, before = True, logger.disabled
    try:
        yield
    finally:
        logger.disabled = before


def configure_logging(
    stream: TextIO | None = None, *, repeats: int = 50, window_seconds: float = 10.0
) -> JsonLineHandler:
    """Make this the only way in which anything in the process is logged; return the handler.

    Python's warnings come the same way. At most `repeats` like lines are written in each
    window; the next line of their kind says how many were left out.
    """
    handler = JsonLineHandler(stream or sys.stderr, RepeatLimit(repeats, window_seconds))
    root = logging.getLogger()
    for other in [*root.handlers]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER_NAME).setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    return handler


@dataclass(slots=True)
class RepeatLimit:
    """Counts like lines in a fixed window; `clock` gives seconds and is frozen in tests."""

    repeats: int
    window_seconds: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[float, int]] = field(default_factory=dict)

    def admit(self, kind: str) -> tuple[bool, int]:
        """Return whether to write a line of this kind, and how many were left out before it."""
        now = self.clock()
        start, count = self._seen.get(kind, (now, 0))
        left_out = 0
        if now - start >= self.window_seconds:
            left_out = max(0, count - self.repeats)
            start, count = now, 0
        self._seen[kind] = (start, count + 1)
        return count < self.repeats, left_out

    def drain(self) -> dict[str, int]:
        """Return how many lines of each kind were left out and not yet told; start afresh."""
        missing = {kind: count - self.repeats for kind, (_, count) in self._seen.items()}
        self._seen.clear()
        return {kind: count for kind, count in missing.items() if count > 0}


class JsonLineHandler(logging.Handler):
    """Writes one JSON object a line, and of records not made by `log_event` no text at all."""

    def __init__(self, stream: TextIO, limit: RepeatLimit) -> None:
        super().__init__()
        self._stream = stream
        self._limit = limit

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's line, unless enough like it were written; a dead stream is no error."""
        line = _line(record)
        kind = _kind(line)
        admitted, left_out = self._limit.admit(kind)
        if left_out:
            self._write(_suppressed(kind, left_out, record.created))
        if admitted:
            self._write(line)

    def close(self) -> None:
        """Tell what was left out, then close as every handler does; the stream stays open."""
        self.acquire()
        try:
            for kind, count in self._limit.drain().items():
                self._write(_suppressed(kind, count, time.time()))
        finally:
            self.release()
        super().close()

    def _write(self, line: dict[str, str | int]) -> None:
        # The standard answer to a failing stream prints the record's text to stderr.
        try:
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return


def _plain(name: str, value: Loggable) -> str | int:
    kind = FIELDS.get(name)
    if kind is None:
        raise ApiMisuse(f"the log has no field {name!r}")
    if kind is type:
        return _error_name(value)
    if type(value) is not kind:
        raise ApiMisuse(f"the log's field {name!r} takes {kind.__name__}")
    if isinstance(value, int):
        return _bounded(name, value)
    if isinstance(value, HTTPMethod):
        return value.value
    assert isinstance(value, IdPrefix | RequestId | PathTemplate)
    return value.text


def _error_name(value: Loggable) -> str:
    if not (isinstance(value, type) and issubclass(value, BaseException)):
        raise ApiMisuse("the log's field 'error' takes a class of exceptions")
    return value.code if issubclass(value, SealroomError) else _class_name(value)


def _class_name(error: type[BaseException]) -> str:
    # A class made at run time may be called anything.
    return error.__name__ if _CLASS_NAME.fullmatch(error.__name__) else "other"


def _bounded(name: str, value: int) -> int:
    # A larger number could be a key that somebody read as one.
    if abs(value) >= _MAX_INT:
        raise ApiMisuse(f"the log's field {name!r} takes numbers below 2^53")
    return value


def _line(record: logging.LogRecord) -> dict[str, str | int]:
    line: dict[str, str | int] = {"time": _stamp(record.created), "level": _level(record.levelno)}
    payload = getattr(record, _PAYLOAD, None)
    if isinstance(payload, _Payload):
        return line | {"event": payload.event.word} | payload.values
    line |= {"event": "library", "library": _library(record.name)}
    if record.exc_info and record.exc_info[0]:
        line["error"] = _class_name(record.exc_info[0])
    return line


def _library(logger_name: str) -> str:
    # Below its first segment a logger's name may be anything, even what a caller sent.
    root = logger_name.partition(".")[0]
    return root if root in LIBRARIES else "other"


def _level(number: int) -> str:
    for level in (logging.ERROR, logging.WARNING, logging.INFO):
        if number >= level:
            return logging.getLevelName(level).lower()
    return "debug"


def _kind(line: dict[str, str | int]) -> str:
    parts = (line.get(name, "") for name in ("event", "library", "level", "error", "status"))
    return "/".join(str(part) for part in parts)


def _suppressed(kind: str, count: int, created: float) -> dict[str, str | int]:
    of, _, _ = kind.partition("/")
    return {
        "time": _stamp(created),
        "level": "warning",
        "event": "suppressed",
        "of": of,
        "count": count,
    }


def _stamp(created: float) -> str:
    return datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
