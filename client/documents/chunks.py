"""How a document is cut into chunks, and put together again (SPEC section 7.6).

Each chunk is the value of one cell, and begins with a header that says of which document it is,
the how manyth, and whether the last. The cell's key already is the chunk's address, and the order
of batches is signed: the header says the same once more within the plaintext, so that an opened
stream is whole by itself, whoever brought its cells into their order.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from typing import Final

from protocol.errors import ApiMisuse, IntegrityError
from protocol.limits import MIB

ID_BYTES: Final = 16
HEADER_BYTES: Final = ID_BYTES + 8 + 1
CHUNK_BYTES: Final = MIB - 1 - HEADER_BYTES
"""What a full chunk holds: with its header and the byte that ends a value it fills 1 MiB."""

CHUNKS_A_BATCH: Final = 4
"""So many chunks are sealed at once: few enough that several batches fit in memory."""


def chunks_of(size: int) -> int:
    """Return how many chunks a document of `size` bytes has: at least one, which may be empty."""
    return max(1, -(-size // CHUNK_BYTES))


def bytes_before(size: int, number: int) -> int:
    """Return how many bytes of a document of `size` bytes are in the chunks before `number`."""
    return min(size, number * CHUNK_BYTES)


def chunk_length(size: int, number: int) -> int:
    """Return how many bytes of a document of `size` bytes are in chunk `number`, from 0."""
    return bytes_before(size, number + 1) - bytes_before(size, number)


def chunk_header(document: bytes, number: int, *, last: bool) -> bytes:
    """Return what a chunk begins with: the document's id, its number, and whether it is the last.

    Raises:
        ApiMisuse: an id of another length.
    """
    if len(document) != ID_BYTES:
        raise ApiMisuse(f"a document's id has {ID_BYTES} bytes")
    return document + number.to_bytes(8, "big") + bytes([last])


def cut(document: bytes, size: int, first: int, content: bytes) -> Iterator[bytes]:
    """Yield the chunks that hold `content`, which begins with chunk `first` of the document.

    The content ends where a chunk ends.
    """
    view, at, number = memoryview(content), 0, first
    while at < len(view) or number == first:
        length = chunk_length(size, number)
        last = number == chunks_of(size) - 1
        yield chunk_header(document, number, last=last) + view[at : at + length]
        at, number = at + length, number + 1


class Assembly:
    """Takes the chunks of one document in their order, and gives what is in them.

    Obligations, for each chunk and before its content is given:
      (1) it is of this document, and the next one;
      (2) it says that it is the last exactly if it is the last of the document's size;
      (3) it is full, and the last one as long as the size leaves;
    and at the end:
      (4) all were there, and none beyond;
      (5) the SHA-256 of everything is the document's.
    """

    def __init__(self, document: bytes, size: int, sha256: bytes) -> None:
        self._document = document
        self._size = size
        self._sha256 = sha256
        self._count = chunks_of(size)
        self._next = 0
        self._hash = hashlib.sha256()

    def take(self, chunk: bytes | memoryview | None) -> memoryview:
        """Return the content of the next chunk; None is a cell without a value.

        Raises:
            IntegrityError: it is another chunk than the next, or none at all.
        """
        number = self._next
        # (4)
        if number == self._count:
            raise self._wrong(f"goes on after its {self._count:,} chunks")
        view = memoryview(chunk or b"").cast("B")
        # (1) (2)
        expected = chunk_header(self._document, number, last=number == self._count - 1)
        # (3)
        length = HEADER_BYTES + chunk_length(self._size, number)
        if len(view) != length or view[:HEADER_BYTES] != expected:
            raise self._wrong(f"has something else in the place of chunk {number + 1:,}")
        content = view[HEADER_BYTES:]
        self._hash.update(content)
        self._next += 1
        return content

    def resume(self, chunks: int, content: Iterable[bytes]) -> None:
        """Take it that so many chunks were given before, with this content; `finish` will tell."""
        for piece in content:
            self._hash.update(piece)
        self._next += chunks

    def finish(self) -> None:
        """Look whether all of it was there.

        Raises:
            IntegrityError: it was cut short, or is not what was attached.
        """
        # (4)
        if self._next != self._count:
            raise self._wrong(f"ends after {self._next:,} of {self._count:,} chunks")
        # (5)
        if not hmac.compare_digest(self._hash.digest(), self._sha256):
            raise self._wrong("is not the file that was attached")

    def _wrong(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"document {self._document.hex()[:16]} {what}",
            hint="Whoever attached it, or sealed it anew, can attach it again.",
        )
