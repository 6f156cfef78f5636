"""Files as the bytes in them, packed (gzip, bzip2, a zip archive of one file) or plain.

Nothing is ever unpacked as a whole: whoever reads holds one piece. What is left of a bomb is the
work of unpacking it, and for that the share of unpacked to packed bytes has a limit.
"""

from __future__ import annotations

import bz2
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_END, BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

from client.tables.errors import TableFormat, TableTooLarge, TableUnreadable
from client.tables.source import open_binary, stamp_of
from protocol.limits import KIB, MIB

LARGEST_RATIO: Final = 250
"""Real tables pack to a third, repetitive ones to a fiftieth; bombs to a thousandth and less."""
FREE_BYTES: Final = 64 * MIB
"""So much may come out of a file whatever its size: a few cells of one letter are no bomb."""

_PIECE: Final = 256 * KIB
_MARKS: Final = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"PK\x03\x04", "zip"))
_SUFFIXES: Final = (".gz", ".bz2", ".zip")
_BESIDE: Final = ("__MACOSX/", ".DS_Store", "Thumbs.db")
_FAULTS: Final = (
    OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError
)  # fmt: skip


class PlainStream:
    """The bytes in a file from its beginning; `packed_read` counts those of the file itself."""

    def __init__(self, inner: BinaryIO, file: BufferedReader, name: str, *, packed: bool) -> None:
        self._inner, self._file, self._name, self._packed = inner, file, name, packed
        self._size = stamp_of(file)[0]
        self.read_so_far = 0
        self._ended = False

    def read(self, most: int) -> bytes:
        """Return the next bytes, none at the end.

        Raises: TableUnreadable for a damaged archive, TableTooLarge for a bomb.
        """
        try:
            piece = self._inner.read(most)
        except _FAULTS:
            raise TableUnreadable(
                f"{self._name} cannot be unpacked: it is damaged or cut short",
                hint="fetch it again, or unpack it yourself",
            ) from None
        self.read_so_far += len(piece)
        self._ended = not piece
        if self._packed and self.read_so_far > FREE_BYTES + LARGEST_RATIO * self._size:
            raise TableTooLarge(
                f"{self._name} unpacks to more than {LARGEST_RATIO} times its size",
                hint="that is how archives are made to exhaust machines; if you know the file, "
                "unpack it yourself and upload what is in it",
            )
        return piece

    @property
    def packed_read(self) -> int:
        """How many bytes of the file were read; all at the end, whatever comes after it there."""
        return self._size if self._ended else self._file.tell()

    def stamp(self) -> tuple[int, int]:
        """Return what tells that the file has stayed the same."""
        return stamp_of(self._file)


@dataclass(frozen=True, slots=True)
class Content:
    """A file to read: how it is packed, and the name of what is in it."""

    path: Path
    stamp: tuple[int, int]
    packing: str | None
    name: str

    @contextmanager
    def open(self) -> Iterator[PlainStream]:
        """Open the bytes in it. Raises: TableUnreadable, TableFormat."""
        name, packed = self.path.name, self.packing is not None
        with open_binary(self.path) as file, _unpacked(file, self.packing, name) as inner:
            yield PlainStream(inner, file, name, packed=packed)

    def head(self, most: int) -> bytes:
        """Return the first bytes of what is in it."""
        with self.open() as stream:
            return stream.read(most)

    def tail(self, most: int) -> tuple[int, bytes]:
        """Return how many bytes are in it, and the last of them; a packed file is read through."""
        if self.packing is None:
            with open_binary(self.path) as file:
                size = file.seek(0, SEEK_END)
                file.seek(max(0, size - most))
                return size, file.read()
        last = b""
        with self.open() as stream:
            while piece := stream.read(_PIECE):
                last = (last + piece)[-most:]
            return stream.read_so_far, last


def content_of(path: Path) -> Content:
    """Find out how a file is packed. Raises: TableUnreadable, TableFormat."""
    with open_binary(path) as file:
        stamp, head = stamp_of(file), file.read(8)
        packing = next((kind for mark, kind in _MARKS if head.startswith(mark)), None)
        name = path.name
        if packing == "zip":
            name = Path(_only_member(file, path.name).filename).name
        elif packing and path.suffix.lower() in _SUFFIXES:
            name = path.stem
    return Content(path, stamp, packing, name)


def is_workbook(path: Path) -> bool:
    """Whether a file is an Excel workbook, which is a zip archive too. Raises: TableUnreadable."""
    with open_binary(path) as file:
        if file.read(4) != b"PK\x03\x04":
            return False
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
        except _FAULTS:
            return path.suffix.lower() in (".xlsx", ".xlsm")
    return "[Content_Types].xml" in names and any(name.startswith("xl/") for name in names)


@contextmanager
def _unpacked(file: BufferedReader, packing: str | None, name: str) -> Iterator[BinaryIO]:
    if packing == "gzip":
        with gzip.GzipFile(fileobj=file, mode="rb") as inner:
            yield inner  # type: ignore[misc]  # a GzipFile reads as a BinaryIO does
    elif packing == "bzip2":
        with bz2.BZ2File(file) as inner:
            yield inner  # type: ignore[misc]
    elif packing == "zip":
        with _member(file, name) as inner:
            yield inner
    else:
        yield file


def _member(file: BufferedReader, name: str) -> BinaryIO:
    member = _only_member(file, name)
    try:
        return zipfile.ZipFile(file).open(member)  # type: ignore[return-value]
    except _FAULTS:
        raise TableUnreadable(
            f"{name} is not a whole zip archive", hint="fetch it again, or unpack it yourself"
        ) from None


def _only_member(file: BufferedReader, name: str) -> zipfile.ZipInfo:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [
                each for each in archive.infolist()
                if not each.is_dir() and not any(part in each.filename for part in _BESIDE)
            ]  # fmt: skip
    except _FAULTS:
        raise TableUnreadable(
            f"{name} is not a whole zip archive", hint="fetch it again, or unpack it yourself"
        ) from None
    if len(members) != 1:
        raise TableFormat(
            f"{name} is a zip archive of {len(members)} files",
            hint="a zip archive with one file in it is read; unpack it and upload one at a time",
        )
    if members[0].flag_bits & 0x1:
        raise TableFormat(f"{name} is encrypted", hint="unpack it first")
    return members[0]
