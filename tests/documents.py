"""Files to attach, with short chunks, and what a vault says of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client.documents import chunks
from client.documents.entries import Document, read_documents
from client.results.documents import DocumentInfo
from client.vault import Vault
from protocol.blocks import FieldClass
from protocol.ledger.contents import Collection

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE

CHUNK = 1_000
"""Bytes in a chunk, of which a batch has eight: a file of 20,000 has three batches."""

PIECE = 8 * CHUNK


@contextmanager
def short_chunks() -> Iterator[None]:
    """Cut documents into chunks that a test does not wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BYTES", CHUNK)
        patch.setattr(chunks, "CHUNKS_A_BATCH", PIECE // CHUNK)
        yield


def all_short() -> Iterator[None]:
    """Cut documents so throughout a test; a fixture."""
    with short_chunks():
        yield


async def with_no_document(opened: Vault) -> AsyncIterator[Vault]:
    """Give the vault of a module's tests, and leave no document and nothing begun; a fixture."""
    yield opened
    opened.session.store._db.execute("DELETE FROM uploads")
    for each in await opened.documents():
        await opened.remove_document(each.document_id)


def a_contract(tmp_path: Path) -> Path:
    """Give a file to attach, of three batches; a fixture."""
    return a_file(tmp_path / "in")


def content_of(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def a_file(folder: Path, name: str = "contract.pdf", size: int = 20_000, seed: int = 1) -> Path:
    """Write a file of three batches, or of another size."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(content_of(size, seed))
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def only(vault: Vault) -> DocumentInfo:
    """Return the only document there is."""
    (found,) = await vault.documents()
    return found


async def listed(vault: Vault) -> dict[str | None, DocumentInfo]:
    return {each.name: each for each in await vault.documents()}


async def document(vault: Vault, name: str | None = None) -> Document:
    """Return the document of a name, or the only one, as the client works with it."""
    await vault.session.sync()
    known = await read_documents(vault.session)
    (found,) = (d for d in known if name is None or (d.entry and d.entry.name == name))
    return found


async def got(vault: Vault, name: str, folder: Path) -> bytes:
    """Fetch a document into a new file, and return what that holds; nothing else is left."""
    folder.mkdir(exist_ok=True)
    before = set(folder.iterdir())
    place = folder / f"got {len(before)}"
    await vault.get_document(name, path=place)
    assert set(folder.iterdir()) - before == {place}
    assert place.stat().st_mode & 0o777 == 0o600
    return place.read_bytes()


def collection_of(vault: Vault, field_class: FieldClass = SENSITIVE) -> Collection:
    """Return the one collection whose only field has this class."""
    known = vault.session.state.collections.values()
    (found,) = (each for each in known if each.classes == (field_class,))
    return found
