"""What one home keeps of one vault, in one SQLite file (SPEC section 10.5).

The log as verified, the pinned checkpoint, the wraps and boxes that came with it, which
members' words were compared and under which names (sealed), catalog blocks as they came (sealed),
keyed hashes of what they said, and the journals of what was begun (`client.journals`). Nothing
secret is in it: keys stay in the keyring, cells stay sealed.

Every change is one transaction: a crash leaves the file as it was before or after, and a
check that fails leaves it as it was to the byte.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from client.database import open_database, packed, transaction, unpacked
from client.errors import Refused
from client.journals import SCHEMA, RotationJournal, UploadJournal
from protocol.blocks import Address
from protocol.errors import IntegrityError, Unsupported
from protocol.ledger.sides import SharesBox
from protocol.rewrap import Wrap

SCHEMA_VERSION: Final = 2
_KNOWLEDGE: Final = """
CREATE TABLE IF NOT EXISTS pin (
    one INTEGER PRIMARY KEY CHECK (one = 1), note BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS leaves (position INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS wraps (
    collection BLOB NOT NULL, field INTEGER NOT NULL, epoch INTEGER NOT NULL,
    party BLOB NOT NULL, wrap BLOB NOT NULL,
    PRIMARY KEY (collection, field, epoch, party)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS boxes (
    position INTEGER NOT NULL, party BLOB NOT NULL,
    box BLOB NOT NULL, info BLOB NOT NULL, addresses BLOB NOT NULL,
    PRIMARY KEY (position, party)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owed (
    collection BLOB NOT NULL, field INTEGER NOT NULL, epoch INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (collection, field, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS compared (member BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS compared_as (
    member BLOB PRIMARY KEY, sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (
    batch BLOB NOT NULL, field INTEGER NOT NULL, block BLOB NOT NULL,
    PRIMARY KEY (batch, field)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
    batch BLOB NOT NULL, reader BLOB NOT NULL, digests BLOB NOT NULL,
    PRIMARY KEY (batch, reader)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rates (
    work TEXT PRIMARY KEY, a_second REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS said (
    what TEXT PRIMARY KEY, envelope BLOB NOT NULL
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
    All that is `owed` by now: epochs in use of which the server left something out, and the
    position of the leaf where it did.
    """

    start: int
    leaves: tuple[bytes, ...]
    wraps: dict[tuple[Address, bytes], Wrap]
    boxes: tuple[StoredBox, ...]
    retired: frozenset[Address]
    replaced: frozenset[tuple[bytes, int]]
    note: bytes
    owed: Mapping[Address, int]


class VaultStore:
    """The file. One process at a time writes; SQLite makes the others wait."""

    def __init__(self, path: Path | None) -> None:
        """Open the file, made private to its owner; None is a store in memory, for one look.

        Raises:
            ExposedFile: others on this machine may change it, or put another in its place.
            IntegrityError: it is no such file.
            Unsupported: another version of sealroom wrote it; it is left as it is.
        """
        self._path = path
        try:
            self._db = open_database(path)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.OperationalError:
            raise  # locked, or the disk is full: the file may be in order
        except sqlite3.DatabaseError as error:
            raise IntegrityError(
                "this home's copy of the vault's log is damaged", hint="Restore it from a backup."
            ) from error
        self.uploads = UploadJournal(self._db)
        self.rotations = RotationJournal(self._db)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _prepare(self) -> None:
        with transaction(self._db):
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA_VERSION):
                raise Unsupported(
                    f"this home was written by another version of sealroom (schema {version})",
                    hint="Use that version, or a new home.",
                )
            # Tables that an older home lacks are added; an older version passes over them.
            for statement in (_KNOWLEDGE + SCHEMA).split(";"):
                self._db.execute(statement)
            if version == 0:
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

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
        with transaction(self._db):
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
                    (b.position, b.party, b.shares.box, b.shares.info, packed(b.shares.addresses))
                    for b in new.boxes
                ],
            )
            self._db.executemany(
                "DELETE FROM wraps WHERE collection = ? AND field = ? AND epoch = ?",
                [(a.collection, a.field, a.epoch) for a in new.retired],
            )
            self._db.executemany("DELETE FROM blocks WHERE batch = ? AND field = ?", new.replaced)
            self._db.execute("DELETE FROM owed")
            self._db.executemany(
                "INSERT INTO owed VALUES (?, ?, ?, ?)",
                [(a.collection, a.field, a.epoch, at) for a, at in new.owed.items()],
            )
            self._db.execute("INSERT OR REPLACE INTO pin VALUES (1, ?)", (new.note,))

    def wraps(self) -> dict[tuple[Address, bytes], Wrap]:
        """Return every wrap on record."""
        rows = self._db.execute("SELECT collection, field, epoch, party, wrap FROM wraps")
        return {
            (Address(collection, field, epoch), party): Wrap.from_bytes(wrap)
            for collection, field, epoch, party, wrap in rows
        }

    def owed(self) -> dict[Address, int]:
        """Return the epochs of which something was left out, and the position where it was."""
        rows = self._db.execute("SELECT collection, field, epoch, position FROM owed")
        return {Address(collection, field, epoch): at for collection, field, epoch, at in rows}

    def boxes(self, party: bytes) -> tuple[StoredBox, ...]:
        """Return the boxes addressed to one identity, newest first."""
        rows = self._db.execute(
            "SELECT * FROM boxes WHERE party = ? ORDER BY position DESC", (party,)
        )
        return tuple(
            StoredBox(position, whose, SharesBox(box, info, unpacked(addresses)))
            for position, whose, box, info, addresses in rows
        )

    # --- words that were compared

    def compared(self) -> frozenset[bytes]:
        """Return the ids of members whose words were compared."""
        return frozenset(member for (member,) in self._db.execute("SELECT member FROM compared"))

    def mark_compared(self, member: bytes, sealed: bytes | None = None) -> None:
        """Remember that a member's words were compared, once is enough; and the last name for it.

        The name is sealed (`client.remembered`), None where none was seen.
        """
        with transaction(self._db):
            self._db.execute("INSERT OR IGNORE INTO compared VALUES (?)", (member,))
            if sealed is not None:
                self.keep_names({member: sealed})

    def sealed_names(self) -> dict[bytes, bytes]:
        """Return the sealed names under which the words of members were compared, by id.

        None of those who were compared where no name was seen, or before names were kept.
        """
        return dict(self._db.execute("SELECT member, sealed FROM compared_as"))

    def keep_names(self, sealed: Mapping[bytes, bytes]) -> None:
        """Keep sealed names of members whose words were compared."""
        self._db.executemany("INSERT OR REPLACE INTO compared_as VALUES (?, ?)", sealed.items())

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

    def seen(self, batch: bytes, reader: bytes, digests: bytes) -> bytes:
        """Return the hashes of a catalog batch's cells as this reader first saw them.

        If it did not yet, these are kept as those.
        """
        row = (batch, reader, digests)
        self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", row)
        known = "SELECT digests FROM seen WHERE batch = ? AND reader = ?"
        return bytes(self._db.execute(known, row[:2]).fetchone()[0])

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
