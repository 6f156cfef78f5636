"""How a CSV file is written: what must be known to read it, and to write an equal one back."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from client.tables.errors import TableEncoding, TableFormat

DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
NEWLINES: Final = ("\r\n", "\n", "\r")
QUOTINGS: Final = ("minimal", "all")
BOM: Final = "\ufeff"

_SAMPLE_ROWS: Final = 40
_NOT_OF_FILES: Final = ("idna", "punycode", "unicode-escape", "raw-unicode-escape")
_LONGEST_NULL: Final = 64
_BYTE_ORDERS: Final = {
    "utf-16": (b"\xff\xfe", b"\xfe\xff"),
    "utf-32": (b"\xff\xfe\0\0", b"\0\0\xfe\xff"),
}
_MARKS: Final = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\x84\x31\x95\x33", "gb18030"),
)


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """One way to write CSV; valid by construction.

    `quoting` says which cells are quoted beside those that must be. `null_text` is what a null
    is written as, unquoted; None: there are no nulls. Where it is "", an empty text is written
    as `""`, so that the two stay apart for whoever tells quoted from unquoted. `renamed` maps
    the names of columns to the header cells they were read from, where those differ.

    Raises: TableFormat, TableEncoding.
    """

    encoding: str = "utf-8"
    bom: bool = False
    delimiter: str = ","
    newline: str = "\r\n"
    quoting: str = "minimal"
    final_newline: bool = True
    null_text: str | None = ""
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        codec_name(self.encoding)
        check_delimiter(self.delimiter)
        check_null_text(self.null_text, self.delimiter)
        if self.newline not in NEWLINES or self.quoting not in QUOTINGS:
            raise TableFormat("a CSV format with another line end or quoting than there are")

    def to_dict(self) -> dict[str, Any]:
        """Return the format as plain values, for `Source.format`."""
        return {"kind": "csv", **asdict(self), "renamed": dict(self.renamed)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CsvFormat:
        """Read what `to_dict` wrote; keys left out have their defaults.

        Checked to the last key, since it may come from a catalog that another member wrote.
        Raises: TableFormat, TableEncoding.
        """
        default = asdict(cls())
        given = {key: value for key, value in values.items() if key != "kind"}
        for key, value in given.items():
            if key not in default or type(value) not in _types_of(key, default[key]):
                raise TableFormat(f"a CSV format has no such value for {key[:40]!r}")
        renamed = given.get("renamed", {})
        if not all(isinstance(text, str) for pair in renamed.items() for text in pair):
            raise TableFormat("a CSV format renames text to text")
        return cls(**given)


def codec_name(encoding: str) -> str:
    """Return Python's own name of a text encoding. Raises: TableEncoding if there is none."""
    try:
        "".encode(encoding)
        name = codecs.lookup(encoding).name
        if name.replace("_", "-") in _NOT_OF_FILES:
            raise LookupError(name)
        return name
    except (LookupError, UnicodeError, ValueError):
        raise TableEncoding(
            f"no encoding is called {encoding[:40]!r}",
            hint="names are utf-8, utf-16, gb18030, big5, shift_jis, cp1252 and others",
        ) from None


def resolve_encoding(encoding: str | None, head: bytes) -> tuple[str, bool]:
    """Return codec and whether a byte order mark begins the file, from its first bytes.

    UTF-16 and UTF-32 become the byte order that the mark tells, little-endian without one.
    Raises: TableEncoding for a name unknown, or no name and a mark of another encoding.
    """
    name = codec_name(encoding or "utf-8").removesuffix("-sig")
    if encoding is None and (marked := marked_encoding(head)):
        raise TableEncoding(
            f"begins with the byte order mark of {marked}",
            byte_offset=0,
            hint=f"say --encoding {marked}",
        )
    if orders := _BYTE_ORDERS.get(name):
        name += "-be" if head.startswith(orders[1]) else "-le"
    return name, head.startswith(_mark_in(name))


def marked_encoding(head: bytes) -> str | None:
    """Name the encoding other than UTF-8 whose byte order mark begins the file, if any."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def check_delimiter(delimiter: str) -> None:
    """Refuse what cannot stand between cells. Raises: TableFormat."""
    if len(delimiter) != 1 or delimiter in f'"\r\n\0{BOM}' or "\ud800" <= delimiter <= "\udfff":
        raise TableFormat("the delimiter is one character, no quote and no line end")


def check_null_text(null_text: str | None, delimiter: str) -> None:
    """Refuse a text for null that would have to be quoted. Raises: TableFormat."""
    if null_text is None:
        return
    if len(null_text) > _LONGEST_NULL or any(mark in null_text for mark in f'"\r\n\0{delimiter}'):
        raise TableFormat("the text for null is short and has no quote, line end or delimiter")


def detect_delimiter(lines: Sequence[str]) -> str:
    """Choose among comma, semicolon, tab and bar by the first lines of a file.

    The one under which most of the first rows have the header's width, then the one with the
    most columns; comma where the header has one column under each.
    """
    best, best_score = ",", (0.0, 1)
    for delimiter in DELIMITERS:
        widths = [len(row) for row in sample_rows(lines, delimiter) if row]
        if widths and widths[0] > 1:
            alike = widths.count(widths[0]) / len(widths) if len(widths) > 1 else 0.5
            best, best_score = max((best, best_score), (delimiter, (alike, widths[0])), key=_second)
    return best


def sample_rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Parse the first whole rows of lines that may end in the middle of one."""
    rows: list[list[str]] = []
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            rows.append(row)
            if len(rows) == _SAMPLE_ROWS:
                break
    except csv.Error:
        return rows
    return rows


def detect_newline(lines: Sequence[str]) -> str:
    """Return the line end of the header's line, CRLF where there is none."""
    first = lines[0] if lines else ""
    return next((newline for newline in NEWLINES if first.endswith(newline)), "\r\n")


def detect_quoting(lines: Sequence[str], delimiter: str, newline: str) -> str:
    """Say "all" where the first rows are written with every cell quoted, else "minimal"."""
    rows = [row for row in sample_rows(lines, delimiter) if row]
    rewritten = io.StringIO(newline="")
    writer = csv.writer(
        rewritten, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator=newline
    )
    writer.writerows(rows)
    written = rewritten.getvalue().removesuffix(newline)
    return "all" if rows and "".join(lines).startswith(written) else "minimal"


def _second(pair: tuple[str, tuple[float, int]]) -> tuple[float, int]:
    return pair[1]


def _types_of(key: str, default: object) -> tuple[type, ...]:
    return (str, type(None)) if key == "null_text" else (type(default),)


def _mark_in(codec: str) -> bytes:
    try:
        return BOM.encode(codec)
    except UnicodeError:
        return b"\0no mark in this encoding"
