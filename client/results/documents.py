"""Documents: what there is, and what was attached, written to files, and removed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """One document; `size` in bytes. Names and all of that are None where nothing readable says it.

    `state` is `whole`, `removed in part` or `damaged`; `committed_at` the leaf that showed it.
    """

    document_id: str
    name: str | None
    field_class: str
    size: int | None
    media_type: str | None
    sha256: str | None
    readable: bool
    state: str
    stored_bytes: int
    author: str
    author_name: str | None
    committed_at: int


@dataclass(frozen=True, slots=True)
class AttachResult:
    """A document that is there: `already` if the same file was, under this name and class."""

    document: DocumentInfo
    already: bool
    resumed_batches: int
    seconds: float


@dataclass(frozen=True, slots=True)
class GetResult:
    """A document that was verified and is a file; `resumed_bytes` were there from before."""

    document_id: str
    name: str
    path: str
    size: int
    sha256: str
    resumed_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class NotGot:
    """A document that was not written, by whom it is, and why: an error's code and words.

    `untrue` says that it is not what was attached: its writer committed something else.
    """

    document_id: str
    name: str | None
    author: str
    author_name: str | None
    code: str
    message: str
    hint: str | None
    untrue: bool


@dataclass(frozen=True, slots=True)
class GetAllResult:
    """Documents that were verified and are files, and those that are not."""

    documents: tuple[GetResult, ...]
    failed: tuple[NotGot, ...]


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """A document that is gone for ever: the indexes of the acts that say so."""

    acts: tuple[int, ...]
    document_id: str
    name: str | None
    seconds: float
