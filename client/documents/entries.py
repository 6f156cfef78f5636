"""Which documents there are, as the log and the catalogs say (SPEC section 7.6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from client.catalogs import NAME_CHARACTERS, NamedField, Names, Row, collection_rows, read_rows
from client.documents.chunks import chunks_of
from client.drawn import drawn
from client.errors import InputError, Refused
from client.session import Session
from protocol.blocks import FieldClass
from protocol.encoding import Value
from protocol.errors import IntegrityError
from protocol.ledger.contents import Batch, Collection

CONTENT: Final = 0
"""The number of the one field of a collection of documents."""

KIND: Final = "documents"
FILE_NAME_BYTES: Final = 255
PREFIX_LEAST: Final = 6

# Not this machine's own list, and nothing that a newer Python knows: the same everywhere.
_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
_MEDIA_TYPES: Final = {
    ".csv": "text/csv",
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".eml": "message/rfc822",
    ".gif": "image/gif",
    ".gz": "application/gzip",
    ".html": "text/html",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".md": "text/markdown",
    ".mp4": "video/mp4",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
    ".tiff": "image/tiff",
    ".txt": "text/plain",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    ".xml": "application/xml",
    ".zip": "application/zip",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the catalog says of a document: `size` in bytes, the hash of all of it."""

    name: str
    size: int
    media_type: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it was committed; its id is that of its upload.

    `entry` is None where nothing readable says what it is. `rows` are where that stands: one,
    unless its writer said several things, of which the first counts.
    """

    id: bytes
    where: Collection
    rows: tuple[Row, ...]
    batches: tuple[Batch, ...]

    @property
    def entry(self) -> Entry | None:
        """What is said of it."""
        return entry_of(self.rows[0].values) if self.rows else None

    @property
    def field_class(self) -> FieldClass:
        """The class under which it is sealed."""
        return self.where.classes[CONTENT]

    @property
    def label(self) -> str:
        """Its name, or the beginning of its id."""
        return self.id.hex()[:16] if self.entry is None else self.entry.name

    @property
    def removed(self) -> int:
        """How many of its chunks were erased."""
        return sum(len(batch.erased) for batch in self.batches)

    @property
    def whole(self) -> bool:
        """Say whether every chunk that its entry counts was committed, and is there."""
        committed = sum(batch.records for batch in self.batches)
        return self.entry is not None and committed == chunks_of(self.entry.size)

    @property
    def state(self) -> str:
        """Say in words whether it can be had."""
        if self.removed:
            return "removed in part"
        return "whole" if self.whole else "damaged"

    @property
    def author(self) -> bytes:
        """The id of whoever attached it."""
        return self._first.author

    @property
    def committed_at(self) -> int:
        """The index of the act that showed it."""
        return self._first.committed_at

    @property
    def _first(self) -> Batch:
        return self.rows[0].batch if self.rows else self.batches[0]

    @property
    def stored_bytes(self) -> int:
        """How many sealed bytes the server keeps of its content."""
        refs = (ref for batch in self.batches if batch.records for ref in batch.manifest.blocks)
        return sum(ref.length for ref in refs)

    def expect_whole(self) -> Entry:
        """Return its entry, if all of it is there.

        Raises:
            Refused: parts of it were removed.
            IntegrityError: its writer committed other chunks than its entry counts, or no entry.
        """
        if self.removed:
            raise Refused(
                f"parts of {self.label!r} were removed",
                code="changed",
                hint="'sealroom documents remove' removes the rest.",
            )
        if self.entry is None:
            raise IntegrityError(f"nothing says what document {self.label} is")
        if not self.whole:
            raise IntegrityError(f"{self.label!r} has other chunks than its entry counts")
        return self.entry


# --- names


def holds_documents(names: Names) -> bool:
    """Say whether a collection is one of documents, by what its catalogs say of it."""
    return names.format is not None and names.format.get("kind") == KIND


def collection_name(field_class: FieldClass) -> str:
    """Return what the collection for documents of a class is called."""
    return f"{KIND}-{field_class.name.lower()}"


def media_type_of(name: str) -> str:
    """Return the media type that the end of a name stands for."""
    return _MEDIA_TYPES.get(PurePath(name).suffix.lower(), "application/octet-stream")


def plain_file_name(name: str) -> bool:
    """Say whether a file can be called so in any folder, and lands in that folder, seen by all.

    No way to another folder, no hidden file, nothing that a terminal would act on or not draw.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return False
    harmless = all(drawn(name)) and not name.isspace()
    flat = not set(name) & {"/", "\\"}
    return harmless and flat and not name.startswith(".") and 1 <= length <= FILE_NAME_BYTES


# --- rows


def entry_rows(title: str, field_class: FieldClass, entry: Entry) -> list[dict[str, Value]]:
    """Return the two cells of a document's catalog: its collection's names, and its entry.

    Each upload has both, so that the names outlive any document.
    """
    names = collection_rows(
        title=title,
        collection=collection_name(field_class),
        file=None,
        table_format={"kind": KIND},
        fields={CONTENT: NamedField("content", "large_binary")},
    )
    described: dict[str, Value] = {
        "name": entry.name,
        "size": entry.size,
        "media": entry.media_type,
        "sha256": entry.sha256,
    }
    return [*names, {"document": described}]


def entry_of(values: Mapping[str, Value]) -> Entry | None:
    """Read a document's entry from a row, None where there is none or it cannot be right."""
    match values.get("document"):
        case {
            "name": str(name),
            "size": int(size),
            "media": str(media),
            "sha256": bytes(sha256),
        } if name and type(size) is int and size >= 0 and len(sha256) == 32:
            return Entry(name[:NAME_CHARACTERS], size, media[:NAME_CHARACTERS], sha256)
    return None


# --- reading


async def read_documents(session: Session) -> tuple[Document, ...]:
    """Return the documents whose catalogs this member holds, in the order of their commits.

    Raises:
        ManifestMismatch: the server sent a block that is not the committed one, or withholds some.
        Refused: as `documents_in`.
    """
    found: list[Document] = []
    for collection in tuple(session.state.collections):
        found += await documents_in(session, collection)
    return tuple(sorted(found, key=lambda each: each.committed_at))


async def documents_in(session: Session, collection: bytes) -> tuple[Document, ...]:
    """Return the documents of one collection; a collection is of documents if it has any entry.

    What was removed whole is there no more.

    Raises:
        Refused: the vault is frozen, and this home does not know all of them.
        ManifestMismatch: as `read_documents`.
    """
    where = session.state.collections.get(collection)
    if where is None or len(where.classes) != 1:
        return ()
    found = await read_rows(session, where, where.catalogs[0])
    if found.missing is not None:
        raise found.missing
    # An upload describes itself and nothing else.
    described: dict[bytes, list[Row]] = {}
    for row in found.rows:
        if entry_of(row.values) is not None:
            described.setdefault(row.batch.upload, []).append(row)
    where = session.state.collections.get(collection)
    if where is None or not described:
        return ()
    batches: dict[bytes, list[Batch]] = {}
    for batch in where.batches:
        its_own = batches.setdefault(batch.upload, [])
        if not batch.manifest.is_catalog:
            its_own.append(batch)
    listed = (
        Document(upload, where, tuple(described.get(upload, ())), tuple(its_own))
        for upload, its_own in batches.items()
    )
    return tuple(each for each in listed if each.rows or any(b.records for b in each.batches))


def find_document(documents: Iterable[Document], text: str) -> Document:
    """Return the document of this name, this id, or the one whose id begins so.

    Raises:
        InputError: there is none, or there are several.
    """
    known = tuple(documents)
    # Names are given by people: one that is another's id, or begins like it, must not win.
    found = [each for each in known if each.id.hex() == text] or [
        each
        for each in known
        if (each.entry is not None and each.entry.name == text)
        or (len(text) >= PREFIX_LEAST and each.id.hex().startswith(text))
    ]
    if len(found) != 1:
        how = "no document" if not found else "several documents fit"
        raise InputError(f"{how} {text!r}", hint="'sealroom documents list' shows them.")
    return found[0]
