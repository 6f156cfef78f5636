"""Files of this machine: one that is attached, and one that is on its way here."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from client.documents import chunks
from client.documents.chunks import chunks_of
from client.errors import InputError
from client.tables.faults import expect_no_folder, writing
from client.tables.sink import bring_into_place, expect_absent
from protocol.limits import MIB

_READ_BYTES: Final = MIB


def piece_bytes() -> int:
    """Return how many bytes of a file are sealed as one batch."""
    return chunks.CHUNKS_A_BATCH * chunks.CHUNK_BYTES


def pieces_of(size: int) -> int:
    """Return how many batches the content of a file has."""
    return -(-chunks_of(size) // chunks.CHUNKS_A_BATCH)


def piece_length(size: int, number: int) -> int:
    """Return how many bytes of a file of `size` bytes are in piece `number`, from 0."""
    return min(size, (number + 1) * piece_bytes()) - number * piece_bytes()


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file holds: the SHA-256 of all of it, and of each piece, in order."""

    size: int
    sha256: bytes
    pieces: tuple[bytes, ...]


class LocalFile:
    """A file to attach, open for as long as it takes. It must stay as it was when surveyed."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            InputError: it is no file, or cannot be read.
        """
        self.path = path
        try:
            # Nobody waits for the other end of a pipe.
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise InputError(
                f"{path.name} cannot be read: {error.strerror}", hint="Is it the right file?"
            ) from None
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._file)
            raise InputError(
                f"{path.name} is no file", hint="A folder is attached file by file, or packed."
            )
        self.size = found.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def piece(self, number: int) -> bytes:
        """Read what is sealed as one batch; less where the file has become shorter."""
        at = number * piece_bytes()
        end = min(self.size, at + piece_bytes())
        parts = []
        while at < end and (part := os.pread(self._file, end - at, at)):
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def surveyed_piece(self, survey: Survey, number: int) -> bytes:
        """Read a piece that is still what was surveyed, to the byte.

        Raises:
            InputError: it changed since; nothing of the change was sealed.
        """
        content = self.piece(number)
        if hashlib.sha256(content).digest() != survey.pieces[number]:
            raise InputError(
                f"{self.path.name} changed while it was being attached",
                hint="Repeat the command once nobody writes to it.",
            )
        return content


class PartFile:
    """A file that is on its way: it has its name only when all of it was verified.

    It is written beside its place, under a name that says of nothing but `tag`, for its owner's
    eyes only. What was written waits there for the next try, unless it was given up.
    """

    def __init__(self, path: Path, tag: str, *, overwrite: bool) -> None:
        """Open it, with what an interrupted try left of it.

        Raises:
            TableExists: the file itself is there.
            TableUnwritable: it cannot be written there.
            InputError: another command is writing it, or something is in its way.
        """
        self._path = path
        self._overwrite = overwrite
        expect_no_folder(path)
        if not overwrite:
            expect_absent(path)
        self.temporary = path.with_name(f".sealroom-{tag}.part")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        with writing(path):
            opened = os.open(self.temporary, flags, 0o600)
        self._file = os.fdopen(opened, "r+b", buffering=0)
        try:
            self._expect_ours()
        except InputError:
            self.close()
            raise

    def _expect_ours(self) -> None:
        """Refuse a file that is being written, or that somebody put there to read along."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another command is writing {self._path.name}", hint="Wait for it."
            ) from None
        found = os.fstat(self._file.fileno())
        private = found.st_uid == os.geteuid() and not found.st_mode & 0o077
        if not (stat.S_ISREG(found.st_mode) and private and found.st_nlink == 1):
            raise InputError(
                f"{self.temporary} is in the way, and is not what sealroom left there",
                hint="Look at it, and remove it.",
            )

    def length(self) -> int:
        """Return how many bytes are there."""
        return os.fstat(self._file.fileno()).st_size

    def kept(self, length: int) -> Iterator[bytes]:
        """Yield the first `length` bytes of what is there, let go of the rest, and go on there."""
        self.cut(length)
        self._file.seek(0)
        while part := self._file.read(_READ_BYTES):
            yield part

    def cut(self, length: int) -> None:
        """Let go of everything after the first `length` bytes, and go on writing there."""
        self._file.truncate(length)
        self._file.seek(length)

    def write(self, content: memoryview) -> None:
        """Append. Raises: TableUnwritable; what was written waits for the next try."""
        with writing(self._path):
            while content:
                content = content[self._file.write(content) or 0 :]

    def commit(self) -> None:
        """Bring the file into place, on the disk before this returns.

        Raises: TableExists, TableUnwritable.
        """
        with writing(self._path):
            os.fsync(self._file.fileno())
            bring_into_place(self.temporary, self._path, overwrite=self._overwrite)
        self.give_up()

    def give_up(self) -> None:
        """Leave nothing under the temporary name."""
        self.temporary.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of it; what was written stays for the next try. Twice does no harm."""
        self._file.close()
