"""Workbooks of Excel 2007 and later, cell by cell in bounded memory (ECMA-376 part 1).

A workbook is a zip archive of XML. Both can be made to exhaust whoever opens them: a part is
read a piece at a time and only up to a share of its packed size, and a document that declares
entities, as no workbook does, is refused. A sheet's size is what its cells say, never what its
header claims; nothing is allocated for cells that are not there.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from client.tables.errors import TableError, TableTooLarge, TableUnreadable
from client.tables.excel_cells import (
    LONGEST_CELL,
    MOST_COLUMNS,
    MOST_ROWS,
    Cell,
    Kind,
    cell_of_number,
    kind_of_format,
)
from client.tables.packed import FREE_BYTES, LARGEST_RATIO
from protocol.limits import KIB, MIB

Row = tuple[int, list[tuple[int, Cell]]]
"""A row's number, from 1, and its cells with the numbers of their columns, from 0."""

_PIECE: Final = 64 * KIB
_MOST_TEXT: Final = 1024 * MIB
_LONGEST_ELEMENT: Final = 2 * MIB
_MOST_STYLES: Final = 65_536
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
_ESCAPE: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_FAULTS: Final = (
    OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError,
    ValueError, LookupError,
)  # fmt: skip


class Xlsx:
    """One workbook; its sheets in their order. Use it as a context."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        try:
            self._archive = zipfile.ZipFile(path)
        except _FAULTS:
            raise self._damaged() from None
        try:
            self._open()
        except BaseException:
            self._archive.close()
            raise

    def _open(self) -> None:
        parts = self._relations("_rels/.rels", "")
        book = next((part for kind, part in parts.values() if kind == "officeDocument"), None)
        if book is None:
            raise self._damaged()
        folder, file = posixpath.split(book)
        related = self._relations(f"{folder}/_rels/{file}.rels".lstrip("/"), folder)
        workbook = _Workbook()
        self._parse(book, workbook)
        self.since_1904 = workbook.since_1904
        self._sheets = {
            name: related[relation][1]
            for name, relation in workbook.sheets
            if relation in related and related[relation][0] == "worksheet"
        }
        by_kind = dict(related.values())
        styles = _Styles()
        if (part := by_kind.get("styles")) in self._archive.NameToInfo:
            self._parse(str(part), styles)
        self._kinds = styles.kinds()
        self._texts = _SharedTexts()
        if (part := by_kind.get("sharedStrings")) in self._archive.NameToInfo:
            self._parse(str(part), self._texts)

    def __enter__(self) -> Xlsx:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    @property
    def sheets(self) -> tuple[str, ...]:
        """The names of the sheets that hold cells."""
        return tuple(self._sheets)

    def rows(self, sheet: str) -> Iterator[Row]:
        """Yield the rows that have cells, in their order. Raises: TableError."""
        found = _Sheet(self._kinds, self._texts, since_1904=self.since_1904)
        for _ in self._pieces(self._sheets[sheet], found):
            while found.rows:
                yield found.rows.popleft()

    def _relations(self, part: str, folder: str) -> Mapping[str, tuple[str, str]]:
        found = _Relations()
        self._parse(part, found)
        return {
            key: (kind, posixpath.normpath(posixpath.join(folder, target)).lstrip("/"))
            for key, kind, target in found.listed
        }

    def _parse(self, part: str, reader: _Reader) -> None:
        for _ in self._pieces(part, reader):
            pass

    def _pieces(self, part: str, reader: _Reader) -> Iterator[None]:
        """Feed a part to a reader, pausing after each piece."""
        try:
            info = self._archive.getinfo(part)
            stream = self._archive.open(info)
        except _FAULTS:
            raise self._damaged() from None
        parser = _parser(reader)
        most, done = FREE_BYTES + LARGEST_RATIO * info.compress_size, 0
        with stream:
            while True:
                piece = self._fed(stream, parser)
                done += piece
                if done > most:
                    raise TableTooLarge(
                        f"{self._name} unpacks to more than {LARGEST_RATIO} times its size",
                        hint="that is how workbooks are made to exhaust machines; if you know it, "
                        "save it anew, or as CSV",
                    )
                yield
                if not piece:
                    return

    def _fed(self, stream: Any, parser: Any) -> int:
        try:
            piece: bytes = stream.read(_PIECE)
            parser.Parse(piece, not piece)
        except TableError:
            raise
        except (expat.ExpatError, *_FAULTS):
            raise self._damaged() from None
        return len(piece)

    def _damaged(self) -> TableUnreadable:
        return TableUnreadable(
            f"{self._name} is not a whole Excel workbook", hint="fetch it again, or save it anew"
        )


class _Reader:
    """What is made of a part: elements by their names without prefix, and the text in them."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None: ...

    def end(self, name: str) -> None: ...

    def text(self, text: str) -> None: ...


def _parser(reader: _Reader) -> Any:
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def first(name: str, attributes: Mapping[str, str]) -> None:
        """Learn from the root element how elements are prefixed, most often not at all."""
        prefix = name[: name.rfind(":") + 1]
        if prefix:
            parser.StartElementHandler = lambda name, given: reader.start(bare(name), given)
            parser.EndElementHandler = lambda name: reader.end(bare(name))
        else:
            parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end

        def bare(name: str) -> str:
            return name.removeprefix(prefix) if name.startswith(prefix) else f"?{name}"

    def refuse(*_: object) -> None:
        raise TableUnreadable(
            "a workbook whose XML declares entities, as none does",
            hint="that is how XML is made to exhaust machines; save the workbook anew",
        )

    parser.StartElementHandler = first
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = refuse
    return parser


class _Relations(_Reader):
    def __init__(self) -> None:
        self.listed: list[tuple[str, str, str]] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Relationship" and attributes.get("TargetMode") != "External":
            kind = attributes["Type"].rpartition("/")[2]
            self.listed.append((attributes["Id"], kind, attributes["Target"]))


class _Workbook(_Reader):
    def __init__(self) -> None:
        self.sheets: list[tuple[str, str]] = []
        self.since_1904 = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "workbookPr":
            self.since_1904 = attributes.get("date1904", "0") in ("1", "true")
        elif name == "sheet":
            ids = (value for key, value in attributes.items() if key.endswith(":id"))
            self.sheets.append((attributes["name"], next(ids, "")))


class _Styles(_Reader):
    """Which cell styles make dates and times of numbers."""

    def __init__(self) -> None:
        self._codes: dict[int, str] = {}
        self._used: list[int] = []
        self._in_cells = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "numFmt":
            self._codes[int(attributes["numFmtId"])] = attributes.get("formatCode", "")
        elif name == "cellXfs":
            self._in_cells = True
        elif name == "xf" and self._in_cells and len(self._used) < _MOST_STYLES:
            self._used.append(int(attributes.get("numFmtId", "0")))

    def end(self, name: str) -> None:
        if name == "cellXfs":
            self._in_cells = False

    def kinds(self) -> tuple[Kind, ...]:
        return tuple(kind_of_format(number, self._codes.get(number)) for number in self._used)


class _Text(_Reader):
    """Gathers the text of `t` elements but those that say how it is spoken."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._spoken = 0
        self._open = False

    def begin(self) -> None:
        self._parts.clear()
        self._size = 0
        self._spoken = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "rPh":
            self._spoken += 1
        self._open = name == "t" and not self._spoken

    def end(self, name: str) -> None:
        if name == "rPh":
            self._spoken -= 1
        self._open = False

    def text(self, text: str) -> None:
        if self._open:
            self._size += len(text)
            if self._size > _LONGEST_ELEMENT:
                raise TableTooLarge(f"a cell above {_LONGEST_ELEMENT} characters")
            self._parts.append(text)

    def whole(self) -> str:
        return unescaped("".join(self._parts))


class _SharedTexts(_Reader):
    """The texts that cells share, joined, for a Python object each would be too much."""

    def __init__(self) -> None:
        self._text = _Text()
        self._joined = bytearray()
        self._ends = array("Q", [0])

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "si":
            self._text.begin()
        else:
            self._text.start(name, attributes)

    def end(self, name: str) -> None:
        if name == "si":
            self._joined += self._text.whole().encode("utf-8", "replace")
            self._ends.append(len(self._joined))
            if len(self._joined) > _MOST_TEXT:
                raise TableTooLarge(f"texts of more than {_MOST_TEXT} bytes", hint="save it as CSV")
        else:
            self._text.end(name)

    def text(self, text: str) -> None:
        self._text.text(text)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self._ends) - 1:
            raise ValueError("a text that is not there")
        return self._joined[self._ends[index] : self._ends[index + 1]].decode()


class _Sheet(_Reader):
    """Rows of cells; those that are whole wait in `rows`."""

    def __init__(self, kinds: tuple[Kind, ...], texts: _SharedTexts, *, since_1904: bool) -> None:
        self.rows: deque[Row] = deque()
        self._kinds, self._texts, self._since_1904 = kinds, texts, since_1904
        self._inline = _Text()
        self._cells: list[tuple[int, Cell]] = []
        self._row = 0
        self._column = -1
        self._kind = "n"
        self._style = 0
        self._value: list[str] = []
        self._in_value = False
        self._columns: dict[str, int] = {}

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "c":
            self._begin_cell(attributes)
        elif name == "v":
            self._in_value = True
        elif name == "row":
            self._begin_row(attributes)
        elif self._kind == "inlineStr":
            self._inline.start(name, attributes)

    def end(self, name: str) -> None:
        if name == "c":
            if (cell := self._cell()) is not None:
                self._cells.append((self._column, cell))
            self._kind = "n"
        elif name == "v":
            self._in_value = False
        elif name == "row":
            if self._cells:
                self.rows.append((self._row, self._cells))
        elif self._kind == "inlineStr":
            self._inline.end(name)

    def text(self, text: str) -> None:
        if self._in_value:
            self._value.append(text)
            if len(text) > _LONGEST_ELEMENT or len(self._value) > LONGEST_CELL:
                raise TableTooLarge(f"a cell above {LONGEST_CELL} characters", row=self._row)
        elif self._kind == "inlineStr":
            self._inline.text(text)

    def _begin_row(self, attributes: Mapping[str, str]) -> None:
        number = int(attributes.get("r", self._row + 1))
        if not self._row < number <= MOST_ROWS:
            raise ValueError("rows out of order")
        self._row, self._column, self._cells = number, -1, []

    def _begin_cell(self, attributes: Mapping[str, str]) -> None:
        reference = attributes.get("r")
        column = self._column + 1 if reference is None else self._column_of(reference)
        if not self._column < column < MOST_COLUMNS:
            raise ValueError("cells out of order")
        self._column = column
        self._kind = attributes.get("t", "n")
        self._style = int(attributes.get("s", 0))
        if self._kind == "inlineStr":
            self._inline.begin()
        else:
            self._value.clear()

    def _column_of(self, reference: str) -> int:
        letters = reference.rstrip("0123456789")
        known = self._columns.get(letters)
        if known is None:
            if not _REFERENCE.fullmatch(reference):
                raise ValueError("a reference to no cell")
            known = 0
            for letter in letters:
                known = known * 26 + ord(letter) - 64
            self._columns[letters] = known = known - 1
        return known

    def _cell(self) -> Cell | None:
        if self._kind == "inlineStr":
            return Cell(Kind.TEXT, self._inline.whole())
        value = "".join(self._value)
        return _CELLS[self._kind](self, value) if value or self._kind == "str" else None

    def _number(self, value: str) -> Cell:
        number = float(value)
        if number - number != 0:
            raise ValueError("a number that is none")
        kind = self._kinds[self._style] if self._style < len(self._kinds) else Kind.NUMBER
        if kind is Kind.NUMBER:
            return Cell(kind, number)
        return cell_of_number(number, kind, since_1904=self._since_1904)

    def _shared(self, value: str) -> Cell:
        return Cell(Kind.TEXT, self._texts[int(value)])


_CELLS: Final[Mapping[str, Callable[[_Sheet, str], Cell]]] = {
    "n": _Sheet._number,
    "s": _Sheet._shared,
    "b": lambda _, value: Cell(Kind.BOOLEAN, value.strip() in ("1", "true")),
    "e": lambda _, value: Cell(Kind.ERROR, value),
    "str": lambda _, value: Cell(Kind.TEXT, unescaped(value)),
    "d": lambda _, value: Cell(Kind.TEXT, value),
}


def unescaped(text: str) -> str:
    """Return a text with `_xHHHH_` as the characters that XML has no other way to write."""
    if "_x" not in text:
        return text
    joined = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
