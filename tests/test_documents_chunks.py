"""A document's chunks: put together only whole, in order, and from one document (SPEC 7.6)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.documents import chunks
from client.documents.chunks import (
    CHUNK_BYTES,
    HEADER_BYTES,
    Assembly,
    chunk_header,
    chunk_length,
    chunks_of,
    cut,
)
from protocol.errors import ApiMisuse, IntegrityError
from protocol.limits import MIB

ID, OTHER = b"d" * 16, b"e" * 16
CHUNK = 10


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", CHUNK)


def content_of(size: int) -> bytes:
    return bytes(i % 251 for i in range(size))


def sealed(size: int, document: bytes = ID) -> list[bytes]:
    return list(cut(document, size, 0, content_of(size)))


def assembly(size: int) -> Assembly:
    return Assembly(ID, size, hashlib.sha256(content_of(size)).digest())


def joined(size: int, cells: list[bytes]) -> bytes:
    """Put cells together as the document of this size."""
    whole = assembly(size)
    content = b"".join(bytes(whole.take(cell)) for cell in cells)
    whole.finish()
    return content


def test_a_full_chunk_fills_its_cell() -> None:
    assert HEADER_BYTES + CHUNK_BYTES + 1 == MIB


def test_a_header_says_which_chunk_it_is() -> None:
    assert chunk_header(ID, 258, last=True).hex() == ID.hex() + "0000000000000102" + "01"
    assert chunk_header(ID, 0, last=False)[-1] == 0
    with pytest.raises(ApiMisuse):
        chunk_header(ID + b"d", 0, last=False)


@given(st.integers(0, 7 * CHUNK))
def test_whatever_was_cut_is_put_together_again(size: int) -> None:
    cells = sealed(size)
    assert len(cells) == chunks_of(size)
    assert sum(chunk_length(size, number) for number in range(len(cells))) == size
    assert joined(size, cells) == content_of(size)


@pytest.mark.threat("C15")
@pytest.mark.parametrize("size", [1, CHUNK, 3 * CHUNK + 7])
def test_nothing_in_a_chunk_is_compressed(size: int) -> None:
    """A page of blanks, which a compressor would make short, and one that none can."""
    seen = [[len(cell) for cell in cut(ID, size, 0, of)] for of in (bytes(size), content_of(size))]
    assert seen[0] == seen[1]
    assert sum(seen[0]) == size + len(seen[0]) * HEADER_BYTES


@given(st.integers(0, 7 * CHUNK), st.integers(1, 4))
def test_it_is_cut_alike_in_one_piece_or_in_several(size: int, chunks_a_piece: int) -> None:
    whole, length = content_of(size), chunks_a_piece * CHUNK
    pieces = [whole[at : at + length] for at in range(0, max(1, size), length)]
    cells = [
        cell
        for number, piece in enumerate(pieces)
        for cell in cut(ID, size, number * chunks_a_piece, piece)
    ]
    assert cells == sealed(size)


def test_a_document_of_nothing_has_one_chunk() -> None:
    assert sealed(0) == [chunk_header(ID, 0, last=True)]
    assert joined(0, sealed(0)) == b""


DAMAGE: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "the last chunk left out": lambda cells: cells[:-1],
    "the first left out": lambda cells: cells[1:],
    "one in the middle left out": lambda cells: [*cells[:1], *cells[2:]],
    "two exchanged": lambda cells: [cells[1], cells[0], *cells[2:]],
    "one twice": lambda cells: [cells[0], *cells],
    "the last twice": lambda cells: [*cells, cells[-1]],
    "the other way round": lambda cells: cells[::-1],
    "one of another document": lambda cells: [*cells[:1], sealed(35, OTHER)[1], *cells[2:]],
    "the last of a shorter one": lambda cells: [*cells[:-1], sealed(31)[3]],
    "the last one called none": lambda cells: [*cells[:-1], without_its_end(cells[-1])],
    "one called the last": lambda cells: [chunk_header(ID, 0, last=True) + cells[0][25:], *cells],
    "one shortened": lambda cells: [cells[0][:-1], *cells[1:]],
    "one lengthened": lambda cells: [cells[0] + b"x", *cells[1:]],
    "one byte changed": lambda cells: [cells[0][:-1] + b"x", *cells[1:]],
    "one emptied": lambda cells: [cells[0], b"", *cells[2:]],
}  # fmt: skip


def without_its_end(cell: bytes) -> bytes:
    return cell[:24] + bytes([0]) + cell[25:]


@pytest.mark.threat("C14")
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_chunks_that_are_not_the_document_s_are_refused(
    damage: Callable[[list[bytes]], list[bytes]],
) -> None:
    cells = sealed(35)
    assert joined(35, cells) == content_of(35)
    with pytest.raises(IntegrityError, match=r"^document 6464646464646464 "):
        joined(35, damage(cells))


def test_an_empty_chunk_after_the_last_is_refused_where_it_stands() -> None:
    """It would change nothing of the content, and be counted only at the end."""
    assembly = Assembly(ID, 20, hashlib.sha256(content_of(20)).digest())
    for chunk in sealed(20):
        assembly.take(chunk)
    with pytest.raises(IntegrityError, match="goes on after its 2 chunks"):
        assembly.take(chunk_header(ID, 2, last=False))


def test_a_document_of_nothing_whose_chunk_is_missing_is_none() -> None:
    """Its hash is right: only the count tells."""
    assembly = Assembly(ID, 0, hashlib.sha256(b"").digest())
    with pytest.raises(IntegrityError, match="ends after 0 of 1 chunks"):
        assembly.finish()


def test_a_cell_without_a_value_is_no_chunk() -> None:
    with pytest.raises(IntegrityError, match="in the place of chunk 1"):
        assembly(0).take(None)


@given(st.permutations(range(4)), st.integers(0, 4))
def test_only_one_order_of_all_chunks_is_a_document(order: list[int], kept: int) -> None:
    cells = sealed(35)
    chosen = [cells[at] for at in order][:kept]
    if chosen == cells:
        assert joined(35, chosen) == content_of(35)
    else:
        with pytest.raises(IntegrityError):
            joined(35, chosen)


@given(st.integers(0, 34), st.integers(1, 255))
def test_no_byte_of_the_content_can_change(at: int, flip: int) -> None:
    cells = sealed(35)
    number, offset = divmod(at, CHUNK)
    changed = bytearray(cells[number])
    changed[HEADER_BYTES + offset] ^= flip
    cells[number] = bytes(changed)
    with pytest.raises(IntegrityError, match="is not the file that was attached"):
        joined(35, cells)


@given(st.integers(0, 24), st.integers(1, 255), st.integers(0, 3))
def test_no_byte_of_a_header_can_change(at: int, flip: int, number: int) -> None:
    cells = sealed(35)
    changed = bytearray(cells[number])
    changed[at] ^= flip
    cells[number] = bytes(changed)
    with pytest.raises(IntegrityError, match=f"in the place of chunk {number + 1}"):
        joined(35, cells)


def test_what_was_there_before_counts_if_it_was_right() -> None:
    cells, content = sealed(35), content_of(35)
    resumed = assembly(35)
    resumed.resume(2, [content[:15], content[15:20]])
    assert bytes(resumed.take(cells[2])) + bytes(resumed.take(cells[3])) == content[20:]
    resumed.finish()

    wrong = assembly(35)
    wrong.resume(2, [content[:19] + b"x"])
    for cell in cells[2:]:
        wrong.take(cell)
    with pytest.raises(IntegrityError, match="is not the file"):
        wrong.finish()
