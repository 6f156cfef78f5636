"""Contacts in (vCard 2.1, 3.0 and 4.0): a row a contact, a column a property and its types.

What phones and mail programs export differs in all but the outline. Lines are unfolded,
quoted-printable and character sets undone, names and addresses taken apart; a property that a
contact has twice gets a second column. Everything is text; pictures stay base64.
"""

from __future__ import annotations

import quopri
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa

from client.tables.csv_encoding import BOM, CHUNK, codec_name
from client.tables.errors import (
    TableEmpty,
    TableEncoding,
    TableError,
    TableSyntax,
    TableTooLarge,
    TableUnsure,
)
from client.tables.findings import Finding
from client.tables.options import NOTHING_SAID, ReadOptions
from client.tables.packed import PlainStream, content_of
from client.tables.source import FileSource, checked, exact_batches, named_columns, schema_of
from protocol.limits import LIMITS

_PIECE_ROWS: Final = 512
_MOST_LINES: Final = 200_000
LONGEST_PROPERTY: Final = 2 * LIMITS.cell_bytes
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "n": ("family name", "given name", "additional names", "prefix", "suffix"),
    "adr": ("po box", "extended address", "street", "city", "region", "postal code", "country"),
}
_NAMES: Final = {
    "fn": "name", "tel": "phone", "email": "email", "org": "organisation", "bday": "birthday",
    "adr": "address", "n": "", "url": "web page", "categories": "categories",
}  # fmt: skip
# Types that say how a value travels or which is preferred, not what it is.
_NO_TYPES: Final = frozenset({
    "internet", "pref", "base64", "b", "quoted-printable", "8bit", "7bit", "jpeg", "jpg", "png",
    "gif", "voice", "x-pref",
})  # fmt: skip
_PROPERTY: Final = re.compile(rb"(?:[A-Za-z0-9-]+\.)?([A-Za-z0-9-]+)((?:;[^:]*)?):", re.DOTALL)
_PARAMETER: Final = re.compile(r';([^;="]+)(?:=((?:"[^"]*"|[^;"])*))?')
_LEFT_OUT: Final = ("version", "begin", "end", "prodid", "rev")


@dataclass(frozen=True, slots=True)
class _Property:
    """One property of one contact: a name of its own for a column, and its value."""

    column: str
    value: str


class ContactsSource(FileSource):
    """A file of contacts, packed or plain. Rows are contacts, counted from 1."""

    def __init__(self, path: Path, options: ReadOptions = NOTHING_SAID) -> None:
        options.demand_only("a file of contacts", "encoding")
        self._content = content_of(path)
        self._codec = None if options.encoding is None else codec_name(options.encoding)
        self._guess = options.guess
        self._guessed = False
        self._order: dict[str, int] = {}
        rows = 0
        for contact in self._contacts():
            rows += 1
            for each in contact:
                self._order.setdefault(each, len(self._order))
        if not rows:
            raise TableEmpty("the file holds no whole contact", hint="is it a vCard file?")
        if not self._order:
            raise TableEmpty("the contacts have no property")
        names = list(self._order)
        columns, _ = named_columns(names, [pa.string()] * len(names))
        super().__init__(path, self._content.stamp, columns, {"kind": "vcard"})
        self.total_rows = rows
        if self._guessed:
            why = "some of it is not UTF-8, and says nothing of its encoding"
            self.findings = (Finding("encoding", "cp1252", why, False, "--encoding cp1252"),)
        self.note("contacts are written as a table; a .vcf file is not written again")

    def batches(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the contacts in batches of exactly `max_rows` but for the last."""
        return exact_batches(self._pieces(), max_rows)

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        schema = schema_of(self.columns)
        contacts, done = self._contacts(), 0
        while piece := list(islice(contacts, _PIECE_ROWS)):
            arrays = [
                pa.array([contact.get(name) for contact in piece], pa.string())
                for name in self._order
            ]
            numbers = range(done + 1, done + 1 + len(piece))
            yield checked(pa.record_batch(arrays, schema=schema), numbers)
            done += len(piece)

    def _contacts(self) -> Iterator[dict[str, str]]:
        """Yield each contact's values by the names of their columns."""
        number = 0
        with self._content.open() as stream:
            for offset, lines in _cards(_unfolded(stream)):
                number += 1
                self.bytes_read = stream.packed_read
                try:
                    yield _by_column(self._properties(lines))
                except TableError as error:
                    error.row, error.byte_offset = number, offset
                    raise
            if hasattr(self, "_stamp"):
                self._demand_stamp(stream.stamp())

    def _properties(self, lines: Sequence[bytes]) -> Iterator[_Property]:
        for line in lines:
            found = _PROPERTY.match(line)
            if found is None:
                raise TableSyntax("a line that is no property of a contact", hint="is it a vCard?")
            name = found[1].decode().lower()
            if name not in _LEFT_OUT:
                yield from self._taken_apart(name, found[2], line[found.end() :])

    def _taken_apart(self, name: str, given: bytes, raw: bytes) -> Iterator[_Property]:
        parameters = _parameters(given.decode("ascii", "replace"))
        quoted = "quoted-printable" in parameters.get("encoding", ())
        value = self._decoded(quopri.decodestring(raw) if quoted else raw, parameters)
        kinds = sorted(set(parameters.get("type", ())) - _NO_TYPES)
        parts = _PARTS.get(name)
        shown = _NAMES.get(name, name)
        suffix = f" ({', '.join(kinds)})" if kinds else ""
        if parts is None:
            if text := _unescaped(value):
                yield _Property(shown + suffix, text)
            return
        for part, text in zip(parts, _split(value, len(parts)), strict=True):
            if text:
                yield _Property(f"{shown}{suffix} {part}".strip(), text)

    def _decoded(self, raw: bytes, parameters: Mapping[str, Sequence[str]]) -> str:
        named = next(iter(parameters.get("charset", ())), None)
        codec = "utf-8" if named is None else codec_name(named)
        try:
            return raw.decode(codec)
        except UnicodeError:
            return self._without_a_name(raw, named)

    def _without_a_name(self, raw: bytes, named: str | None) -> str:
        """Decode what is no UTF-8 and says nothing of its encoding, or says it wrongly."""
        if self._codec is None and not self._guess:
            raise TableUnsure(
                f"text that is not {named or 'UTF-8, without a word about its encoding'}",
                hint="say --encoding cp1252 (Western Windows), gb18030 (Chinese) or another",
            )
        self._guessed = self._codec is None
        try:
            return raw.decode(self._codec or "cp1252")
        except UnicodeError:
            raise TableEncoding(f"bytes that are not {self._codec or 'cp1252'}") from None


def _unfolded(stream: PlainStream) -> Iterator[tuple[int, bytes]]:
    """Yield logical lines with their places: folded ones joined, also in quoted-printable."""
    parts: list[bytes] = []
    start = size = 0
    for offset, line in _lines(stream):
        bare = line.rstrip(b"\r\n")
        soft = bool(parts) and parts[-1].endswith(b"=") and _is_quoted_printable(parts[0])
        if soft:
            parts[-1] = parts[-1][:-1]
        elif parts and bare[:1] in (b" ", b"\t") and bare.strip():
            bare = bare[1:]
        else:
            if any(parts):
                yield start, b"".join(parts)
            parts, start, size = [], offset, 0
        parts.append(bare)
        size += len(bare)
        if size > LONGEST_PROPERTY:
            raise TableTooLarge(f"a property above {LONGEST_PROPERTY} bytes")
    if any(parts):
        yield start, b"".join(parts)


def _is_quoted_printable(line: bytes) -> bool:
    return b"quoted-printable" in line.partition(b":")[0].lower()


def _lines(stream: PlainStream) -> Iterator[tuple[int, bytes]]:
    held, offset, piece = b"", 0, b"-"
    while piece:
        piece = stream.read(CHUNK)
        held += piece
        lines = held.splitlines(keepends=True)
        held = lines.pop() if lines and piece else b""
        for line in lines:
            yield offset, line.removeprefix(BOM.encode()) if offset == 0 else line
            offset += len(line)
        if len(held) > LIMITS.batch_bytes:
            raise TableTooLarge(f"a line above {LIMITS.batch_bytes} bytes", byte_offset=offset)


def _cards(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the lines between BEGIN and END; contacts within contacts (agents) are left out."""
    depth = begun = 0
    card: list[bytes] = []
    for offset, line in lines:
        word = line.strip().lower()
        if word == b"begin:vcard":
            depth += 1
            if depth == 1:
                begun, card = offset, []
        elif word == b"end:vcard":
            depth = max(depth - 1, 0)
            if not depth:
                yield begun, card
                card = []
        elif depth == 1:
            if word and not word.startswith(b"agent"):
                card.append(line)
            if len(card) > _MOST_LINES:
                raise TableTooLarge(f"a contact of more than {_MOST_LINES} lines")
        elif not depth and word:
            raise TableSyntax(
                "a line outside of any contact", byte_offset=offset, hint="is it a vCard file?"
            )
    if depth:
        raise TableSyntax(
            "a contact that does not end", byte_offset=begun, hint="the file is cut short: fetch "
            "it again"
        )  # fmt: skip


def _parameters(text: str) -> dict[str, list[str]]:
    """Return parameters by name, in lower case; a bare word is a type or an encoding (2.1)."""
    found: dict[str, list[str]] = {}
    for name, value in _PARAMETER.findall(text):
        key, given = (name, value) if value else ("type", name)
        if not value and name.lower() in ("quoted-printable", "base64"):
            key = "encoding"
        words = (word.strip().strip('"').lower() for word in given.split(","))
        found.setdefault(key.strip().lower(), []).extend(word for word in words if word)
    return found


def _split(value: str, count: int) -> list[str]:
    """Split a structured value at semicolons that are not escaped, into exactly so many parts."""
    parts = re.split(r"(?<!\\);", value)
    whole = [*parts[: count - 1], ";".join(parts[count - 1 :])]
    return [_unescaped(part) for part in whole + [""] * (count - len(whole))]


def _unescaped(text: str) -> str:
    return re.sub(
        r"\\([\\,;:nN])", lambda found: "\n" if found[1] in "nN" else found[1], text
    ).strip()


def _by_column(properties: Iterator[_Property]) -> dict[str, str]:
    seen: Counter[str] = Counter()
    values: dict[str, str] = {}
    for each in properties:
        seen[each.column] += 1
        number = seen[each.column]
        values[each.column if number == 1 else f"{each.column} {number}"] = each.value
    return values
