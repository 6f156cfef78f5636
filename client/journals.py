"""What this home has begun and not ended, by which it goes on (SPEC section 10.5).

Uploads and re-encryptions, with what the server has acknowledged of each. Nothing secret is in
them, and no name that anybody chose: what is sealed lies there as its manifest, what is read as a
hash.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from client.database import packed, transaction, unpacked
from protocol.blocks import Address, Manifest
from protocol.wire import from_bytes, to_bytes

HASH_BYTES: Final = 32

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS uploads (
    upload BLOB PRIMARY KEY, collection BLOB NOT NULL, source BLOB NOT NULL,
    batch_rows INTEGER NOT NULL, name TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    upload BLOB NOT NULL REFERENCES uploads (upload) ON DELETE CASCADE,
    sequence INTEGER NOT NULL, records INTEGER NOT NULL, manifest BLOB NOT NULL,
    PRIMARY KEY (upload, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (
    upload BLOB NOT NULL REFERENCES uploads (upload) ON DELETE CASCADE,
    sequence INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (upload, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS finished (
    source BLOB NOT NULL, collection BLOB NOT NULL, upload BLOB NOT NULL,
    PRIMARY KEY (source, collection)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rotations (
    upload BLOB PRIMARY KEY, collection BLOB NOT NULL, started BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS made_anew (
    upload BLOB NOT NULL REFERENCES rotations (upload) ON DELETE CASCADE,
    batch BLOB NOT NULL, before BLOB NOT NULL, manifest BLOB NOT NULL,
    PRIMARY KEY (upload, batch)
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class JournalledUpload:
    """An upload that was begun: what it reads, and where that goes.

    `source` is a hash of what is read and how it is cut; `name` stands for what the collection is
    called, where others of the same home are to find it by that.
    """

    upload: bytes
    collection: bytes
    source: bytes
    name: str


@dataclass(frozen=True, slots=True)
class JournalledRotation:
    """A re-encryption that was begun: of which fields, and their newest epochs at its start."""

    upload: bytes
    collection: bytes
    started: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class MadeAnew:
    """Blocks of a batch that were sealed anew and acknowledged; `before` are the old hashes."""

    before: tuple[bytes, ...]
    manifest: Manifest

    @property
    def batch(self) -> bytes:
        """The batch's id, which is what it was."""
        return self.manifest.batch_id


class UploadJournal:
    """The uploads of this home to one vault."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def begin(self, begun: JournalledUpload) -> None:
        """Write down an upload before its first batch is sealed."""
        # How many rows a batch has is in the hash of the source; nobody reads it here.
        self._db.execute(
            "INSERT INTO uploads (upload, collection, source, batch_rows, name)"
            " VALUES (?, ?, ?, 0, ?)",
            (begun.upload, begun.collection, begun.source, begun.name),
        )

    def unfinished(self) -> tuple[JournalledUpload, ...]:
        """Return the uploads that were begun and neither committed nor given up."""
        rows = self._db.execute("SELECT upload, collection, source, name FROM uploads")
        return tuple(JournalledUpload(*row) for row in rows)

    def add(
        self, upload: bytes, sequence: int, manifest: Manifest, digest: bytes | None = None
    ) -> None:
        """Write down a batch that the server acknowledged; only these are ever committed.

        With the digest of what is in it, it takes the place of one with this sequence.
        """
        row = (upload, sequence, manifest.records, to_bytes(manifest))
        if digest is None:
            self._db.execute("INSERT INTO batches VALUES (?, ?, ?, ?)", row)
            return
        with transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)", row)
            self._db.execute(
                "INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", (upload, sequence, digest)
            )

    def batches(self, upload: bytes) -> dict[int, Manifest]:
        """Return the manifest of each acknowledged batch of an upload, in order of sequence."""
        rows = self._db.execute(
            "SELECT sequence, manifest FROM batches WHERE upload = ? ORDER BY sequence", (upload,)
        )
        return {sequence: from_bytes(Manifest, manifest) for sequence, manifest in rows}

    def digests(self, upload: bytes) -> dict[int, bytes]:
        """Return the digest of each batch of an upload that was written down with one."""
        rows = self._db.execute("SELECT sequence, digest FROM contents WHERE upload = ?", (upload,))
        return dict(rows.fetchall())

    def drop(self, upload: bytes, sequences: Iterable[int]) -> None:
        """Forget batches of an upload, in one change: they are to be sealed anew."""
        with transaction(self._db):
            self._db.executemany(
                "DELETE FROM batches WHERE upload = ? AND sequence = ?",
                [(upload, sequence) for sequence in sequences],
            )

    def end(self, upload: bytes) -> None:
        """Forget an upload that was given up."""
        self._db.execute("DELETE FROM uploads WHERE upload = ?", (upload,))

    def finish(self, done: JournalledUpload) -> None:
        """Let go of an upload that has landed; remember that it has."""
        with transaction(self._db):
            self.end(done.upload)
            self.remember(done.source, done.collection, done.upload)

    def remember(self, source: bytes, collection: bytes, upload: bytes) -> None:
        """Remember that a source is in a collection, and by which upload; empty if by no one."""
        self._db.execute(
            "INSERT OR REPLACE INTO finished VALUES (?, ?, ?)", (source, collection, upload)
        )

    def finished(self, source: bytes, collection: bytes) -> bytes | None:
        """Return the upload by which this source went into this collection, if it is there."""
        row = self._db.execute(
            "SELECT upload FROM finished WHERE source = ? AND collection = ?", (source, collection)
        ).fetchone()
        return None if row is None else bytes(row[0])


class RotationJournal:
    """The re-encryptions of this home in one vault."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def begin(self, begun: JournalledRotation) -> None:
        """Write down a re-encryption before its epochs are created."""
        self._db.execute(
            "INSERT INTO rotations VALUES (?, ?, ?)",
            (begun.upload, begun.collection, packed(begun.started)),
        )

    def unfinished(self) -> tuple[JournalledRotation, ...]:
        """Return the re-encryptions that were begun and not ended."""
        return tuple(
            JournalledRotation(upload, collection, unpacked(started))
            for upload, collection, started in self._db.execute("SELECT * FROM rotations")
        )

    def add(self, upload: bytes, made: Iterable[MadeAnew]) -> None:
        """Write down blocks that the server acknowledged; only these are ever moved to."""
        with transaction(self._db):
            self._db.executemany(
                "INSERT OR REPLACE INTO made_anew VALUES (?, ?, ?, ?)",
                [
                    (upload, each.batch, b"".join(each.before), to_bytes(each.manifest))
                    for each in made
                ],
            )

    def made_anew(self, upload: bytes) -> tuple[MadeAnew, ...]:
        """Return what of a re-encryption was acknowledged, in order of batches."""
        rows = self._db.execute(
            "SELECT before, manifest FROM made_anew WHERE upload = ? ORDER BY batch", (upload,)
        )
        return tuple(
            MadeAnew(_hashes(before), from_bytes(Manifest, manifest)) for before, manifest in rows
        )

    def end(self, upload: bytes) -> None:
        """Forget a re-encryption that was done or given up."""
        self._db.execute("DELETE FROM rotations WHERE upload = ?", (upload,))


def name_tag(collection: bytes, name: str) -> str:
    """Return what stands for a collection's name in the journal: names lie in no file unsealed."""
    return hashlib.sha256(collection + name.encode()).hexdigest()


def _hashes(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES))
