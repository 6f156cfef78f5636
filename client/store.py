"""What one home keeps of one vault, in one SQLite file (SPEC section 10.5).

The log as verified, the pinned checkpoint, the wraps and boxes that came with it, which
members' words were compared, catalog blocks as they came (sealed), and the journal of
uploads. Nothing secret is in it: keys stay in the keyring, cells stay sealed.

Every change is one transaction: a crash leaves the file as it was before or after, and a
check that fails leaves it as it was to the byte.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from client.errors import Refused
from protocol.blocks import Address
from protocol.errors import IntegrityError, Unsupported
from protocol.ledger.sides import SharesBox
from protocol.rewrap import Wrap

SCHEMA_VERSION: Final = 2
_SCHEMA: Final = """
CREATE TABLE pin (one INTEGER PRIMARY KEY CHECK (one = 1), note BLOB NOT NULL) STRICT;
CREATE TABLE leaves (position INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT;
CREATE TABLE wraps (
    collection BLOB NOT NULL, field INTEGER NOT NULL, epoch INTEGER NOT NULL,
    party BLOB NOT NULL, wrap BLOB NOT NULL,
    PRIMARY KEY (collection, field, epoch, party)
) STRICT, WITHOUT ROWID;
CREATE TABLE boxes (
    position INTEGER NOT NULL, party BLOB NOT NULL,
    box BLOB NOT NULL, info BLOB NOT NULL, addresses BLOB NOT NULL,
    PRIMARY KEY (position, party)
) STRICT, WITHOUT ROWID;
CREATE TABLE compared (member BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE blocks (
    batch BLOB NOT NULL, field INTEGER NOT NULL, block BLOB NOT NULL,
    PRIMARY KEY (batch, field)
) STRICT, WITHOUT ROWID;
CREATE TABLE uploads (
    upload BLOB PRIMARY KEY, collection BLOB NOT NULL, source BLOB NOT NULL,
    batch_rows INTEGER NOT NULL, name TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE batches (
    upload BLOB NOT NULL REFERENCES uploads (upload) ON DELETE CASCADE,
    sequence INTEGER NOT NULL, records INTEGER NOT NULL, manifest BLOB NOT NULL,
    PRIMARY KEY (upload, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE rotations (
    upload BLOB PRIMARY KEY, collection BLOB NOT NULL, started BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE made_anew (
    upload BLOB NOT NULL REFERENCES rotations (upload) ON DELETE CASCADE,
    batch BLOB NOT NULL, before BLOB NOT NULL, manifest BLOB NOT NULL,
    PRIMARY KEY (upload, batch)
) STRICT, WITHOUT ROWID;
CREATE TABLE rates (work TEXT PRIMARY KEY, a_second REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE said (what TEXT PRIMARY KEY, envelope BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""
# Tables that older homes lack and older versions pass over, so that either reads the other's.
_ADDED: Final = """
CREATE TABLE IF NOT EXISTS finished (
    source BLOB NOT NULL, collection BLOB NOT NULL, upload BLOB NOT NULL,
    PRIMARY KEY (source, collection)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (
    upload BLOB NOT NULL REFERENCES uploads (upload) ON DELETE CASCADE,
    sequence INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (upload, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS names (
    upload BLOB NOT NULL REFERENCES uploads (upload) ON DELETE CASCADE,
    field INTEGER NOT NULL, block BLOB NOT NULL,
    PRIMARY KEY (upload, field)
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class StoredBox:
    """A box of key shares for an identity of this home, from the act at `position`."""

    position: int
    party: bytes
    shares: SharesBox


class StoreMoved(Exception):
    """Another process of this home learned something first; look again, then try again."""


@dataclass(frozen=True, slots=True)
class NewKnowledge:
    """What one sync learned, to be kept all at once: the leaves from position `start` on.

    Wraps of the epochs in `retired` are let go of, and kept blocks (batch, field) in `replaced`.
    """

    start: int
    leaves: tuple[bytes, ...]
    wraps: dict[tuple[Address, bytes], Wrap]
    boxes: tuple[StoredBox, ...]
    retired: frozenset[Address]
    replaced: frozenset[tuple[bytes, int]]
    note: bytes


@dataclass(frozen=True, slots=True)
class JournalledUpload:
    """An upload that was begun: what it reads, and how it is cut into batches."""

    upload: bytes
    collection: bytes
    source: bytes
    batch_rows: int
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

    batch: bytes
    before: tuple[bytes, ...]
    manifest: bytes


class VaultStore:
    """The file. One process at a time writes; SQLite makes the others wait."""

    def __init__(self, path: Path | None) -> None:
        """Open the file, made private to its owner; None is a store in memory, for one look.

        Raises:
            IntegrityError: it is no such file.
            Unsupported: another version of sealroom wrote it; it is left as it is.
        """
        self._path = path
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=30)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            # A name that was erased is not to be had back from this file either.
            self._db.execute("PRAGMA secure_delete = ON")
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._db.close()
            if isinstance(error, sqlite3.OperationalError):
                raise  # locked, or the disk is full: the file may be in order
            raise IntegrityError(
                "this home's copy of the vault's log is damaged", hint="Restore it from a backup."
            ) from error
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _prepare(self) -> None:
        with self.transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise Unsupported(
                    f"this home was written by another version of sealroom (schema {version})",
                    hint="Use that version, or a new home.",
                )
            for statement in _ADDED.split(";"):
                self._db.execute(statement)

    @contextlib.contextmanager
    def uploading(self) -> Iterator[None]:
        """Let one process of this home upload to this vault at a time.

        Raises:
            Refused: another one is at it.
        """
        if self._path is None:
            yield
            return
        lock = os.open(self._path.with_suffix(".upload"), os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(
                    "another upload to this vault is running from this home",
                    code="busy",
                    hint="Wait for it, then repeat the command.",
                ) from None
            yield
        finally:
            os.close(lock)  # gives the lock up, also where the process dies

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is written in the block one change, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk ends some by itself
                self._db.execute("ROLLBACK")
            raise

    # --- the log

    def size(self) -> int:
        """Return how many leaves are kept."""
        (count,) = self._db.execute("SELECT count(*) FROM leaves").fetchone()
        return int(count)

    def leaves(self) -> Iterable[bytes]:
        """Yield every leaf in order."""
        for (leaf,) in self._db.execute("SELECT leaf FROM leaves ORDER BY position"):
            yield leaf

    def pinned_note(self) -> bytes | None:
        """Return the last verified checkpoint as a signed note."""
        row = self._db.execute("SELECT note FROM pin").fetchone()
        return None if row is None else bytes(row[0])

    def learn(self, new: NewKnowledge) -> None:
        """Keep what a sync verified: leaves, wraps, boxes and the new pin, in one change.

        Raises:
            StoreMoved: the leaves that are kept do not end where the new ones start.
        """
        with self.transaction():
            if self.size() != new.start:
                raise StoreMoved
            self._db.executemany(
                "INSERT INTO leaves VALUES (?, ?)", enumerate(new.leaves, new.start)
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO wraps VALUES (?, ?, ?, ?, ?)",
                [
                    (a.collection, a.field, a.epoch, party, bytes(wrap))
                    for (a, party), wrap in new.wraps.items()
                ],
            )
            self._db.executemany(
                "INSERT INTO boxes VALUES (?, ?, ?, ?, ?)",
                [
                    (b.position, b.party, b.shares.box, b.shares.info, _packed(b.shares.addresses))
                    for b in new.boxes
                ],
            )
            self._db.executemany(
                "DELETE FROM wraps WHERE collection = ? AND field = ? AND epoch = ?",
                [(a.collection, a.field, a.epoch) for a in new.retired],
            )
            self._db.executemany("DELETE FROM blocks WHERE batch = ? AND field = ?", new.replaced)
            self._db.execute("INSERT OR REPLACE INTO pin VALUES (1, ?)", (new.note,))

    def wraps(self) -> dict[tuple[Address, bytes], Wrap]:
        """Return every wrap on record."""
        rows = self._db.execute("SELECT collection, field, epoch, party, wrap FROM wraps")
        return {
            (Address(collection, field, epoch), party): Wrap.from_bytes(wrap)
            for collection, field, epoch, party, wrap in rows
        }

    def boxes(self, party: bytes) -> tuple[StoredBox, ...]:
        """Return the boxes addressed to one identity, newest first."""
        rows = self._db.execute(
            "SELECT * FROM boxes WHERE party = ? ORDER BY position DESC", (party,)
        )
        return tuple(
            StoredBox(position, whose, SharesBox(box, info, _unpacked(addresses)))
            for position, whose, box, info, addresses in rows
        )

    # --- words that were compared

    def compared(self) -> frozenset[bytes]:
        """Return the ids of members whose words were compared."""
        return frozenset(member for (member,) in self._db.execute("SELECT member FROM compared"))

    def mark_compared(self, member: bytes) -> None:
        """Remember that a member's words were compared; once is enough."""
        self._db.execute("INSERT OR IGNORE INTO compared VALUES (?)", (member,))

    # --- sealed catalog blocks

    def block(self, batch: bytes, field: int) -> bytes | None:
        """Return a kept block; its hash is the reader's to check, as if it came from the server."""
        row = self._db.execute(
            "SELECT block FROM blocks WHERE batch = ? AND field = ?", (batch, field)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def keep_block(self, batch: bytes, field: int, block: bytes) -> None:
        """Keep a sealed block."""
        self._db.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)", (batch, field, block))

    # --- the journal of uploads

    def begin_upload(self, begun: JournalledUpload) -> None:
        """Write down an upload before its first batch is sealed."""
        self._db.execute(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, ?)",
            (begun.upload, begun.collection, begun.source, begun.batch_rows, begun.name),
        )

    def unfinished_uploads(self) -> tuple[JournalledUpload, ...]:
        """Return the uploads that were begun and neither committed nor given up."""
        return tuple(JournalledUpload(*row) for row in self._db.execute("SELECT * FROM uploads"))

    def add_batch(
        self,
        upload: bytes,
        sequence: int,
        records: int,
        manifest: bytes,
        digest: bytes | None = None,
    ) -> None:
        """Write down a batch that the server acknowledged; only these are ever committed.

        With the digest of what is in it, it takes the place of one with this sequence.
        """
        row = (upload, sequence, records, manifest)
        if digest is None:
            self._db.execute("INSERT INTO batches VALUES (?, ?, ?, ?)", row)
            return
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)", row)
            self._db.execute(
                "INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", (upload, sequence, digest)
            )

    def contents(self, upload: bytes) -> dict[int, bytes]:
        """Return the digest of each batch of an upload that was written down with one."""
        rows = self._db.execute("SELECT sequence, digest FROM contents WHERE upload = ?", (upload,))
        return dict(rows.fetchall())

    def keep_names(self, upload: bytes, field: int, block: bytes) -> None:
        """Keep the sealed block of names of an upload, for as long as it is under way."""
        self._db.execute("INSERT OR REPLACE INTO names VALUES (?, ?, ?)", (upload, field, block))

    def names(self, upload: bytes) -> dict[int, bytes]:
        """Return the sealed blocks that were kept of an upload, by the number of their catalog."""
        rows = self._db.execute("SELECT field, block FROM names WHERE upload = ?", (upload,))
        return dict(rows.fetchall())

    def drop_batches(self, upload: bytes, sequences: Iterable[int]) -> None:
        """Forget batches of an upload, in one change: they are to be sealed anew."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM batches WHERE upload = ? AND sequence = ?",
                [(upload, sequence) for sequence in sequences],
            )

    def batches(self, upload: bytes) -> dict[int, tuple[int, bytes]]:
        """Return (records, manifest) of each acknowledged batch of an upload, by sequence."""
        rows = self._db.execute(
            "SELECT sequence, records, manifest FROM batches WHERE upload = ? ORDER BY sequence",
            (upload,),
        )
        return {sequence: (records, manifest) for sequence, records, manifest in rows}

    def end_upload(self, upload: bytes) -> None:
        """Forget an upload that was given up."""
        self._db.execute("DELETE FROM uploads WHERE upload = ?", (upload,))

    def finish_upload(self, done: JournalledUpload) -> None:
        """Let go of the journal of an upload that has landed; remember that it has."""
        with self.transaction():
            self._db.execute("DELETE FROM uploads WHERE upload = ?", (done.upload,))
            self._db.execute(
                "INSERT OR REPLACE INTO finished VALUES (?, ?, ?)",
                (done.source, done.collection, done.upload),
            )

    def finished_upload(self, source: bytes, collection: bytes) -> bytes | None:
        """Return the upload by which this source went into this collection, if it has."""
        row = self._db.execute(
            "SELECT upload FROM finished WHERE source = ? AND collection = ?", (source, collection)
        ).fetchone()
        return None if row is None else bytes(row[0])

    # --- the journal of re-encryptions

    def begin_rotation(self, begun: JournalledRotation) -> None:
        """Write down a re-encryption before its epochs are created."""
        self._db.execute(
            "INSERT INTO rotations VALUES (?, ?, ?)",
            (begun.upload, begun.collection, _packed(begun.started)),
        )

    def unfinished_rotations(self) -> tuple[JournalledRotation, ...]:
        """Return the re-encryptions that were begun and not ended."""
        return tuple(
            JournalledRotation(upload, collection, _unpacked(started))
            for upload, collection, started in self._db.execute("SELECT * FROM rotations")
        )

    def add_made_anew(self, upload: bytes, made: MadeAnew) -> None:
        """Write down blocks that the server acknowledged; only these are ever moved to."""
        self._db.execute(
            "INSERT OR REPLACE INTO made_anew VALUES (?, ?, ?, ?)",
            (upload, made.batch, b"".join(made.before), made.manifest),
        )

    def made_anew(self, upload: bytes) -> tuple[MadeAnew, ...]:
        """Return what of a re-encryption was acknowledged."""
        rows = self._db.execute(
            "SELECT batch, before, manifest FROM made_anew WHERE upload = ? ORDER BY batch",
            (upload,),
        )
        return tuple(
            MadeAnew(batch, tuple(before[i : i + 32] for i in range(0, len(before), 32)), manifest)
            for batch, before, manifest in rows
        )

    def end_rotation(self, upload: bytes) -> None:
        """Forget a re-encryption that was done or given up."""
        self._db.execute("DELETE FROM rotations WHERE upload = ?", (upload,))

    # --- figures, and what must be said again in the same bytes

    def rate(self, work: str) -> float | None:
        """Return how much of some work was done in a second when it was last measured."""
        row = self._db.execute("SELECT a_second FROM rates WHERE work = ?", (work,)).fetchone()
        return None if row is None else float(row[0])

    def keep_rate(self, work: str, a_second: float) -> None:
        """Remember a rate, for estimates."""
        self._db.execute("INSERT OR REPLACE INTO rates VALUES (?, ?)", (work, a_second))

    def said(self, what: str) -> bytes | None:
        """Return an envelope that was signed before, to be sent again as it is."""
        row = self._db.execute("SELECT envelope FROM said WHERE what = ?", (what,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep_said(self, what: str, envelope: bytes) -> None:
        """Keep an envelope before it is sent."""
        self._db.execute("INSERT OR REPLACE INTO said VALUES (?, ?)", (what, envelope))


def _packed(addresses: Iterable[Address]) -> bytes:
    return b"".join(address.encode() for address in addresses)


def _unpacked(packed: bytes) -> tuple[Address, ...]:
    return tuple(_address(packed[i : i + 22]) for i in range(0, len(packed), 22))


def _address(packed: bytes) -> Address:
    return Address(
        packed[:16], int.from_bytes(packed[16:18], "big"), int.from_bytes(packed[18:], "big")
    )
