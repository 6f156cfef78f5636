"""Tables and what is done with them: collections, fields, uploads, reads, erasures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field: its name and type where this member may know them."""

    number: int
    name: str | None
    type: str | None
    field_class: str
    readable: bool
    epochs: int
    tainted: bool


@dataclass(frozen=True, slots=True)
class FieldsOf:
    """Some fields of one collection, by name; the collection is None for what is the vault's own.

    A collection is named as `client.people.collection_labels` does: no two are named alike.
    """

    collection: str | None
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """An upload that was begun in this home and has not landed: what of it the server has.

    `file` and `collection` are what it was begun with, None where that does not open any more.
    """

    collection: str | None
    file: str | None
    records: int
    batches: int


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """One collection: names where this member may know them, and what the ledger says.

    `documents` is how many it holds, None for a table, and where no name says what it is: it is
    `closed` then, if it has names and this member may know none.
    `unfinished` are the uploads into it that this home has under way.
    """

    collection_id: str
    name: str | None
    file: str | None
    records: int
    batches: int
    stored_bytes: int
    root: str
    fields: tuple[FieldInfo, ...]
    documents: int | None = None
    unfinished: tuple[UnfinishedUpload, ...] = ()
    closed: bool = False


@dataclass(frozen=True, slots=True)
class UploadResult:
    """A committed upload; `records` are those that it added.

    `appended` says that the collection was there before. Of an update, `replaced` says how many of
    its records these stand in the place of, `unchanged` how many rows of the table were there as
    they are, and `left` how many of its records no row was about.
    """

    collection_id: str
    collection: str
    records: int
    fields: int
    cells: int
    batches: int
    sealed_bytes: int
    resumed_batches: int
    seconds: float
    notes: tuple[str, ...]
    appended: bool = False
    replaced: int = 0
    unchanged: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Uploads that were begun and are over: how many, and the act that ended their collection.

    That is None where it has records of others: it stays as it is.
    """

    collection_id: str
    uploads: int
    index: int | None


@dataclass(frozen=True, slots=True)
class PlannedField:
    """One field of an upload that is planned: its class as it is, or would be.

    Where nobody gave it one, `looks_like` says what it may be by `looked_at`, if that is data which
    deserves more: the class `advised`. Nothing follows from that but advice.
    """

    name: str
    type: str
    field_class: str
    looks_like: str | None = None
    looked_at: str | None = None
    advised: str | None = None


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """What an upload would do. `there` is how many records the collection has, None without one.

    Of an update, `left` says how many of them no row is about. Records and bytes are None where
    nobody looked at all of the table. `seconds` estimates the time, where a rate was measured
    before; `sealing_seconds` is what sealing took here.
    """

    collection: str
    there: int | None
    fields: tuple[PlannedField, ...]
    records: int | None = None
    replaced: int = 0
    unchanged: int = 0
    left: int = 0
    batches: int | None = None
    sealed_bytes: int | None = None
    sealing_seconds: float | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadResult:
    """A finished read or export; `notes` say what the file holds otherwise than the vault does."""

    collection: str
    records: int
    fields: tuple[str, ...]
    cells: int
    fetched_bytes: int
    seconds: float
    path: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EraseResult:
    """Records that are gone for ever, in every field: how many, and the indexes of the acts."""

    acts: tuple[int, ...]
    collection: str
    records: int
    already_gone: int
    seconds: float
