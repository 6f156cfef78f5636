"""What people type, as values: names, classes, fields, spans of time, addresses, words."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import click

from client.cli.meant import Choice, meant, not_one_of
from client.errors import InputError

if TYPE_CHECKING:
    from protocol.blocks import FieldClass

ROLES: Final = ("owner", "admin", "keyless-admin", "bidder", "auditor")
CLASSES: Final = ("general", "sensitive", "core")
REASONS: Final = (
    "lost-bid", "left", "key-lost", "breach", "mistake", "terms", "verification", "request",
    "retention", "other",
)  # fmt: skip
NAME_CHARACTERS: Final = 200
MOST_RECORDS: Final = 10_000_000
MOST_CHARACTERS: Final = 1 << 20

_SPAN: Final = re.compile(r"([1-9][0-9]{0,8})([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PIN: Final = re.compile(r"[0-9a-f]{64}")
_RECORDS: Final = re.compile(r"([0-9]{1,12})(?:\s*-\s*([0-9]{1,12}))?")
_HOST: Final = re.compile(r"[a-z0-9.:\[\]_-]{1,260}")
_PLAIN_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9._-]*[A-Za-z][A-Za-z0-9._-]*|[0-9]+(?:\.[0-9]+){3}|\[[0-9a-fA-F:]+\])"
    r"(?P<port>:[1-9][0-9]{0,3}|:[1-5][0-9]{4})?"
)
"""A host and perhaps a port that may be shown as what was likely meant."""
USUAL_PORT: Final = ":8443"
"""Where 'sealroom serve' listens unless it is told otherwise."""
EXAMPLE: Final = f"vault.example.com{USUAL_PORT}"
_PORT_ALONE: Final = re.compile(r":?([0-9]{1,5})")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
F = TypeVar("F", bound=Callable[..., Any])


# --- types of options: what raises BadParameter is usage


def name(typed: str) -> str:
    """Return a name that people give, without spaces around it: 1 to 200 characters."""
    text = typed.strip()
    if not 1 <= len(text) <= NAME_CHARACTERS:
        raise click.BadParameter(f"a name has 1 to {NAME_CHARACTERS} characters")
    if any(0xD800 <= ord(each) <= 0xDFFF for each in text):
        raise click.BadParameter("a name is text in UTF-8")
    return text


def names(typed: str) -> tuple[str, ...]:
    """Return names with commas between; one that has a comma itself stands in double quotes."""
    try:
        rows = list(csv.reader([typed], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise click.BadParameter(f"not a list: {error}") from error
    listed = tuple(rows[0]) if len(rows) == 1 else ()
    if not listed or not all(listed):
        raise click.BadParameter("an empty name in the list")
    return listed


def names_or_nobody(typed: str) -> tuple[str, ...]:
    """Return names with commas between; none of an empty text."""
    return names(typed) if typed.strip() else ()


def record_numbers(typed: str) -> tuple[int, ...]:
    """Return record numbers, from 1, of a list such as 17,204-210; each once, ascending."""
    numbers: set[int] = set()
    for part in typed.split(","):
        found = _RECORDS.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last:
            raise click.BadParameter(f"{part!r} is no record's number; for example 17,204-210")
        if last - first < MOST_RECORDS:  # or else they are not even listed
            numbers.update(range(first, last + 1))
        if last - first >= MOST_RECORDS or len(numbers) > MOST_RECORDS:
            raise click.BadParameter(f"more than {MOST_RECORDS:,} records at once")
    return tuple(sorted(numbers))


def classes(typed: str) -> tuple[str, ...]:
    """Return the names of classes with commas between."""
    listed = names(typed)
    for each in listed:
        if each not in CLASSES:
            raise click.BadParameter(not_one_of(each, CLASSES))
    return listed


def span(typed: str) -> float:
    """Return a span of time such as 14d, 36h or 2w, in days."""
    found = _SPAN.fullmatch(typed.strip())
    if found is None:
        raise click.BadParameter(f"{typed!r} is not a span of time such as 14d, 36h or 2w")
    return int(found[1]) * _UNITS[found[2]] / _UNITS["d"]


def class_of(typed: str) -> tuple[str, str]:
    """Return a field and its class from FIELD=CLASS; the field's name may have = in it."""
    field, sign, field_class = typed.rpartition("=")
    if not sign or not field or field_class not in CLASSES:
        wrong = f"{typed!r} is not FIELD= and one of {', '.join(CLASSES)}"
        raise click.BadParameter(f"{wrong}. {meant(field_class, CLASSES)}".strip())
    return field, field_class


def joined(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return what an option listed that may be given several times, each name once."""
    return tuple(dict.fromkeys(name for each in lists for name in each))


def field_classes(lists: Sequence[tuple[str, ...]]) -> tuple[FieldClass, ...]:
    """Return the classes that --classes listed."""
    from client.vault import field_class

    return tuple(field_class(each) for each in joined(lists))


# --- what is checked when a command runs: what is wrong with it is no usage


def server_url(text: str) -> str:
    """Return a server's address as https://HOST[:PORT], from that or from HOST[:PORT].

    Raises:
        InputError: another scheme, a path, or no host.
    """
    full = text.strip() if "://" in text else f"https://{text.strip()}"
    try:
        parts = urlsplit(full)
        host, port = parts.netloc.lower(), parts.port
    except ValueError:
        host, port = "", None
        parts = urlsplit("")
    beyond = parts.path.rstrip("/") or parts.query or parts.fragment
    if parts.scheme != "https" or beyond or port == 0 or not _HOST.fullmatch(host):
        raise _no_address(text.strip())
    if _PORT_ALONE.fullmatch(host):
        raise _no_address(text.strip())
    return f"https://{host}"


def _no_address(typed: str) -> InputError:
    """Return what to write in place of what is no server's address."""
    scheme, _, rest = typed.rpartition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    likely = _PLAIN_HOST.fullmatch(host)
    plain = f"{host}{'' if likely['port'] else USUAL_PORT}" if likely else EXAMPLE
    if scheme == "sealroom":
        # It holds a secret, and is not repeated.
        return InputError("that is an invite link", hint="'sealroom join' takes it, in quotes.")
    if port := _PORT_ALONE.fullmatch(rest):
        hint = f"That is a port: put the host before it, such as 127.0.0.1:{port[1]}."
    elif scheme == "http":
        hint = f"Servers speak TLS alone: write {plain}, or https://{plain}."
    elif likely:
        hint = f"Write the host and the port alone: {plain}."
    else:
        hint = f"For example {plain}; a port is a number from 1 to 65535."
    return InputError(f"{typed!r} is not a server's address", hint=hint)


def tls_pin(text: str | None) -> bytes | None:
    """Return the pin of a server's TLS key, 32 bytes, from 64 hex digits.

    Raises:
        InputError: not a whole pin.
    """
    if text is None:
        return None
    typed = text.strip().lower().replace(":", "")
    if not _PIN.fullmatch(typed):
        raise InputError(
            "that is not a whole pin", hint="A pin has 64 hex digits; 'sealroom serve' prints it."
        )
    return bytes.fromhex(typed)


def whole_id(text: str) -> bytes:
    """Return a vault's or a member's id, 32 bytes, from 64 hex digits.

    Raises:
        InputError: not a whole id.
    """
    typed = text.strip().lower()
    if not _PIN.fullmatch(typed):
        raise InputError(f"{text!r} is not a whole id", hint="A whole id has 64 hex digits.")
    return bytes.fromhex(typed)


def text_of(file: Path) -> str:
    """Return what a file says, or standard input where - is named.

    Raises:
        InputError: it is no text, or much more than there could be to say.
    """
    try:
        if str(file) == "-":
            text = sys.stdin.read(MOST_CHARACTERS + 1)
        else:
            with file.open(encoding="utf-8") as stream:
                text = stream.read(MOST_CHARACTERS + 1)
    except UnicodeDecodeError:
        text = ""
    if not 0 < len(text) <= MOST_CHARACTERS:
        raise InputError(f"{file} is no such text", hint="Is it the right file?")
    return text


def checked_words(typed: str | None) -> str | None:
    """Return the twelve words that somebody typed, in full.

    Raises:
        MalformedMessage: not twelve words of the list.
    """
    if typed is None:
        return None
    from client.words import normalise_words

    return " ".join(normalise_words(typed))


def named_words(typed: Sequence[str]) -> dict[str, str]:
    """Return NAME=WORDS pairs as a mapping, each as `checked_words` returns them.

    Raises:
        BadParameter: not a pair, or two of one name.
    """
    pairs: dict[str, str] = {}
    for each in typed:
        who, sign, words = each.rpartition("=")
        if not sign or not who.strip():
            raise click.BadParameter(f"{each!r} is not NAME='TWELVE WORDS'")
        whom = name(who)
        if whom in pairs:
            raise click.BadParameter(f"there are two for {whom!r}")
        pairs[whom] = checked_words(words) or ""
    return pairs


# --- options that several commands share


def classes_option(help_text: str) -> Decorator:
    """Add --classes."""
    return click.option(
        "--classes",
        multiple=True,
        type=classes,
        metavar="CLASS,...",
        help=f"{help_text} Classes are {', '.join(CLASSES)}.",
    )


def fields_option(help_text: str) -> Decorator:
    """Add --fields."""
    return click.option(
        "--fields",
        multiple=True,
        type=names,
        metavar="FIELD,...",
        help=f"{help_text} A name with a comma in it stands in double quotes.",
    )


def collection_option(help_text: str) -> Decorator:
    """Add --collection."""
    return click.option("--collection", metavar="NAME", help=help_text)


def expires_option(what: str) -> Decorator:
    """Add --expires."""
    return click.option(
        "--expires",
        default="14d",
        show_default=True,
        type=span,
        metavar="SPAN",
        help=f"How long {what} stands, for example 14d or 36h.",
    )


def words_options(command: F) -> F:
    """Add --words and --yes, for scripts; without either a terminal asks."""
    yes = click.option(
        "--yes",
        is_flag=True,
        help="The words were compared already, by voice or in person, and are the same.",
    )
    words = click.option(
        "--words",
        metavar="'TWELVE WORDS'",
        help="The twelve words that the other person read out; they are compared.",
    )
    return words(yes(command))


def reason_option(command: F) -> F:
    """Add --reason."""
    return click.option(
        "--reason", required=True, type=Choice(REASONS), help="Why; the log shows it."
    )(command)


def yes_option(command: F) -> F:
    """Add --yes, for what cannot be undone."""
    return click.option("--yes", is_flag=True, help="Do not ask: it is meant.")(command)
