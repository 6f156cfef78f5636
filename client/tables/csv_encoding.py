"""Which encoding a text file has: by its mark, by every byte of it, or by a guess that is shown."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from client.tables.errors import TableEncoding
from client.tables.packed import Content
from protocol.limits import KIB

BOM: Final = "\ufeff"
CHUNK: Final = 256 * KIB

_NOT_OF_FILES: Final = ("idna", "punycode", "unicode-escape", "raw-unicode-escape")
_BYTE_ORDERS: Final = {
    "utf-16": (b"\xff\xfe", b"\xfe\xff"),
    "utf-32": (b"\xff\xfe\0\0", b"\0\0\xfe\xff"),
}
_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
# Subsets are read as the whole: a file that says GB2312 has characters of GB18030 sooner or later.
_WHOLE: Final = {
    "gb2312": "gb18030", "gbk": "gb18030", "cp936": "gb18030", "hz": "hz",
    "iso8859-1": "cp1252", "iso8859-15": "cp1252", "ascii": "cp1252",
}  # fmt: skip
DAMAGED: Final = "the file is damaged, or its encoding is another (--encoding utf-16-le, say)"
_ANOTHER: Final = (
    "name the file's encoding: --encoding gb18030 (Chinese Excel), cp1252 (Western Windows), "
    "shift_jis, utf-16"
)
_ASIDE: Final = "or set such rows aside (--on-error set-aside)"
_GUESSES: Final = 4
_SAMPLE: Final = 200_000
_SPEAKING: Final = {
    "gb18030": "Chinese", "big5": "Chinese", "cp950": "Chinese", "big5hkscs": "Chinese",
    "cp932": "Japanese", "shift_jis": "Japanese", "euc_jp": "Japanese", "cp949": "Korean",
    "euc_kr": "Korean", "cp1252": "Western European",
    "cp1250": "Central European", "iso8859-2": "Central European", "cp1251": "Cyrillic",
    "koi8-r": "Cyrillic", "cp1253": "Greek", "cp1254": "Turkish", "cp1255": "Hebrew",
    "cp1256": "Arabic",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Encoding:
    """A text file's encoding: Python's codec, and whether a byte order mark begins the file.

    `why` says how it was found, for people; `sure` whether it can be wrong. `broken_at` is the
    first byte that is not UTF-8 where no other encoding fits or may be taken, and `guess` what
    it may be then. With `throughout` most of the first rows have such bytes.
    """

    codec: str
    bom: bool
    why: str
    sure: bool = True
    broken_at: int | None = None
    guess: str | None = None
    throughout: bool = False

    def hint(self) -> str:
        """Say what to do about bytes that the encoding does not have."""
        named = self.guess is not None
        what = f"it may be {self.why}: say --encoding {self.guess}" if named else _ANOTHER
        # Of a table that is all in another encoding nothing would be left.
        return what if self.throughout else f"{what}{',' if named else ';'} {_ASIDE}"


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


def find_encoding(content: Content, named: str | None, *, guess: bool) -> Encoding:
    """Find a file's encoding; one that is `named` is taken as it is.

    First the byte order mark, then strict UTF-8 over the whole file, then what the statistics of
    bytes say, decoded strictly over the whole file too. Without `guess` the last is no answer but
    a hint: then `broken_at` says where the file stops being UTF-8.
    Raises: TableEncoding for a name unknown, TableUnreadable.
    """
    head = content.head(8)
    if named is not None:
        return _with_mark(resolved_codec(named, head), head, "as you say")
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if marked is not None:
        return _with_mark(resolved_codec(marked, head), head, "by its byte order mark")
    broken_at, ascii_only = _first_fault(content, "utf-8")
    if broken_at is None:
        why = "all of it is ASCII" if ascii_only else "every byte of it was checked"
        return Encoding("utf-8", bom=False, why=why)
    guessed = _guessed(content, broken_at)
    throughout = _is_throughout(content)
    if guessed is None:
        return Encoding("utf-8", False, "nothing else fits", False, broken_at, None, throughout)
    spoken = f" ({_SPEAKING[guessed]})"
    if guess:
        return Encoding(guessed, False, f"a guess by its bytes{spoken}", sure=False)
    return Encoding("utf-8", False, f"{guessed}{spoken}", False, broken_at, guessed, throughout)


def decoder_of(codec: str, errors: str = "strict") -> Any:
    """Return an incremental decoder; `errors` as Python has them."""
    return codecs.getincrementaldecoder(codec)(errors)


def mark_in(codec: str) -> bytes:
    """Return the byte order mark in an encoding, and something unlikely where there is none."""
    try:
        return BOM.encode(codec)
    except UnicodeError:
        return b"\0no mark in this encoding"


def resolved_codec(encoding: str, head: bytes = b"") -> str:
    """Return the codec of an encoding that is named, with a byte order and without a mark.

    UTF-16 and UTF-32 become the byte order that the first bytes tell, little-endian without any.
    Raises: TableEncoding.
    """
    name = codec_name(encoding).removesuffix("-sig").removesuffix("_sig")
    if orders := _BYTE_ORDERS.get(name):
        name += "-be" if head.startswith(orders[1]) else "-le"
    return name


def _with_mark(codec: str, head: bytes, why: str) -> Encoding:
    return Encoding(codec, head.startswith(mark_in(codec)), why)


def _pieces(content: Content) -> Iterator[bytes]:
    with content.open() as stream:
        while piece := stream.read(CHUNK):
            yield piece


def _first_fault(content: Content, codec: str) -> tuple[int | None, bool]:
    """Return where a file stops being text in an encoding, and whether all before is ASCII."""
    decoder, before, ascii_only = decoder_of(codec), 0, True
    piece = b""
    try:
        for piece in _pieces(content):
            ascii_only = ascii_only and piece.isascii()
            decoder.decode(piece)
            before += len(piece)
        piece = b""
        decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        return before + error.start - (len(error.object) - len(piece)), False
    return None, ascii_only


def _guessed(content: Content, broken_at: int) -> str | None:
    """Return the likeliest encoding in which the whole file can be read, None for UTF-8 damaged."""
    import chardet

    sample = _sample(content, broken_at)
    if _mostly_utf8(sample):
        return None
    for found in chardet.detect_all(sample, max_bytes=len(sample) + 1)[:_GUESSES]:
        codec = _codec_of(found["encoding"])
        if codec in _SPEAKING and _first_fault(content, codec)[0] is None:
            return codec
    return None


def _sample(content: Content, broken_at: int) -> bytes:
    """Return the bytes about the first that are not UTF-8, for they say most."""
    start = max(0, broken_at - _SAMPLE // 100)
    held, at = b"", 0
    for piece in _pieces(content):
        held += piece[max(0, start - at) :]
        at += len(piece)
        if len(held) >= _SAMPLE:
            break
    return held[:_SAMPLE]


def _is_throughout(content: Content) -> bool:
    """Whether most of the first lines are not UTF-8; the last of them may be cut off."""
    lines = content.head(_SAMPLE).splitlines()
    whole = lines[:-1] or lines
    return 2 * sum("\ufffd" in line.decode("utf-8", "replace") for line in whole) > len(whole)


def _mostly_utf8(sample: bytes) -> bool:
    """Whether a text is UTF-8 but for a few bytes: then it was damaged, and is nothing else."""
    text = sample.decode("utf-8", "replace")
    faults = text.count("\ufffd")
    others = sum(character > "\x7f" for character in text) - faults
    return others > 4 * faults


def _codec_of(encoding: str | None) -> str:
    """Return the codec of a name that chardet gives, nothing for one that Python does not have."""
    try:
        codec = codec_name(encoding or "")
    except TableEncoding:
        return ""
    return _WHOLE.get(codec, codec)
