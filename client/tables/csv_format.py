"""How a CSV file is written: what must be known to write one equal to it (SPEC section 7.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from client.tables.csv_encoding import BOM, codec_name, resolved_codec
from client.tables.errors import TableFormat
from client.tables.options import NO_QUOTES, WriteOptions

NEWLINES: Final = ("\r\n", "\n", "\r")
QUOTINGS: Final = ("minimal", "all", "nonnumeric")
LONGEST_LINES: Final = 64 * 1024
"""So many bytes of lines above and below the rows are kept, to be written again."""

_LONGEST_NULL: Final = 64
_NOT_A_MARK: Final = f"\r\n\0{BOM}"


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """One way to write CSV; valid by construction.

    `quote` stands around cells and is doubled in them, "" where no cell can be quoted. `quoting`
    says which cells are quoted beside those that must be: none, all, or all but numbers.
    `null_text` is what a null is written as, unquoted; None: there are no nulls. Where it is "",
    an empty text is written as `""`, so that the two stay apart for whoever tells quoted from
    unquoted. `renamed` maps the names of columns to the header cells they were read from, where
    those differ. `header` says whether names are written at all, and `unheaded` for how many of
    the last columns the header has no cell. `before` and `after` are whole lines above and below.

    Raises: TableFormat, TableEncoding.
    """

    encoding: str = "utf-8"
    bom: bool = False
    delimiter: str = ","
    quote: str = '"'
    newline: str = "\r\n"
    quoting: str = "minimal"
    header: bool = True
    unheaded: int = 0
    final_newline: bool = True
    null_text: str | None = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    before: str = ""
    after: str = ""

    def __post_init__(self) -> None:
        codec_name(self.encoding)
        check_delimiter(self.delimiter)
        check_quote(self.quote, self.delimiter)
        check_null_text(self.null_text, self.delimiter, self.quote)
        if self.newline not in NEWLINES or self.quoting not in QUOTINGS:
            raise TableFormat("a CSV format with another line end or quoting than there are")
        if self.unheaded < 0 or (not self.quote and self.quoting != "minimal"):
            raise TableFormat("a CSV format that contradicts itself")

    def to_dict(self) -> dict[str, Any]:
        """Return the format as plain values, for `Source.format`."""
        return {"kind": "csv", **asdict(self), "renamed": dict(self.renamed)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CsvFormat:
        """Read what `to_dict` wrote; keys left out have their defaults, keys unknown no meaning.

        Checked, since it may come from a catalog that another member wrote.
        Raises: TableFormat, TableEncoding.
        """
        default = asdict(cls())
        given = {key: value for key, value in values.items() if key in default}
        for key, value in given.items():
            if type(value) not in _types_of(key, default[key]):
                raise TableFormat(f"a CSV format has no such value for {key!r}")
        renamed = given.get("renamed", {})
        if not all(isinstance(text, str) for pair in renamed.items() for text in pair):
            raise TableFormat("a CSV format renames text to text")
        return cls(**given)

    def as_asked(self, wanted: WriteOptions) -> CsvFormat:
        """Return the format with what somebody wants otherwise.

        Lines above and below are left out unless the whole table is written.
        Raises: TableFormat, TableEncoding.
        """
        if wanted.defuse and (wanted.quote or '"', wanted.quoting or "all") != ('"', "all"):
            raise TableFormat("--defuse puts every cell in double quotes; leave out the other")
        quote = "" if wanted.quote == NO_QUOTES else wanted.quote
        asked: dict[str, Any] = {
            "encoding": wanted.encoding and resolved_codec(wanted.encoding),
            "bom": _wanted_mark(wanted),
            "delimiter": wanted.delimiter,
            "quote": quote,
            "quoting": "minimal" if quote == "" else wanted.quoting,
            "newline": wanted.newline,
            "null_text": wanted.null_text,
        }
        if not wanted.whole:
            asked |= {"before": "", "after": "", "unheaded": 0}
        return replace(self, **{key: value for key, value in asked.items() if value is not None})


def check_delimiter(delimiter: str) -> None:
    """Refuse what cannot stand between cells. Raises: TableFormat."""
    if len(delimiter) != 1 or delimiter in f'"{_NOT_A_MARK}' or _lone(delimiter):
        raise TableFormat("the delimiter is one character, no quote and no line end")


def check_quote(quote: str, delimiter: str) -> None:
    """Refuse what cannot stand around cells. Raises: TableFormat."""
    if len(quote) > 1 or (quote and (quote in _NOT_A_MARK or quote == delimiter or _lone(quote))):
        raise TableFormat("the quote is one character, no delimiter and no line end, or 'none'")


def check_null_text(null_text: str | None, delimiter: str, quote: str = '"') -> None:
    """Refuse a text for null that would have to be quoted. Raises: TableFormat."""
    if null_text is None:
        return
    marks = f"{quote}{delimiter}\r\n\0"
    if len(null_text) > _LONGEST_NULL or any(mark in null_text for mark in marks):
        raise TableFormat("the text for null is short and has no quote, line end or delimiter")


def for_readers_of(
    table_format: Mapping[str, Any], columns: frozenset[str], *, everything: bool
) -> dict[str, Any]:
    """Return what of a format those may see who may know the names of `columns` (SPEC 7.4).

    Lines above and below the rows may hold anything, and go to those only who read every class.
    """
    shown = dict(table_format)
    for key, value in table_format.items():
        if isinstance(value, dict):
            shown[key] = {name: each for name, each in value.items() if name in columns}
        elif key in ("before", "after") and not everything:
            shown[key] = ""
    return shown


def _wanted_mark(wanted: WriteOptions) -> bool | None:
    """A mark comes with an encoding that is named for it, and goes with any other."""
    if wanted.bom is not None or wanted.encoding is None:
        return wanted.bom
    return wanted.encoding.lower().replace("_", "-") in ("utf-8-sig", "utf-16", "utf-32")


def _types_of(key: str, default: object) -> tuple[type, ...]:
    return (str, type(None)) if key == "null_text" else (type(default),)


def _lone(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"
