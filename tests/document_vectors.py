"""The vectors of SPEC section 7.6: how files are cut, and what is no document.

A chunk is long, so it is written as its header and the one byte that its content repeats. The
valid ones are cut by this module, by the text of the specification alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from client.documents.chunks import Assembly
from tests.fixed_draws import Draws, Json, refusal

FULL = 1_048_550
ID, OTHER = bytes(range(16)), bytes(range(1, 17))
BYTE = 0x5A


def documents(_: Draws) -> Json:
    sizes = {
        "an empty file": 0,
        "one byte": 1,
        "a full chunk": FULL,
        "a full chunk and a byte": FULL + 1,
        "two full chunks": 2 * FULL,
    }
    return {
        "about": "SPEC section 7.6: chunks, each a header and a byte that its content repeats",
        "documents": [
            {**_entry(size), "name": name, "chunks": list(_cut(size))}
            for name, size in sizes.items()
        ],
        "invalid": _bad_documents(),
    }


def cell_of(chunk: Json) -> bytes:
    """Return the value of a chunk's cell."""
    repeated: bytes = bytes.fromhex(chunk["repeats"]) * chunk["count"]
    return bytes.fromhex(chunk["header"]) + repeated


def assembled(case: Json) -> bytes:
    """Put the chunks of a case together by the real code."""
    given = (bytes.fromhex(case["document"]), case["size"], bytes.fromhex(case["sha256"]))
    assembly = Assembly(*given)
    content = b"".join(assembly.take(cell_of(chunk)) for chunk in case["chunks"])
    assembly.finish()
    return content


def _entry(size: int) -> Json:
    sha256 = hashlib.sha256(bytes([BYTE]) * size).hexdigest()
    return {"document": ID.hex(), "size": size, "sha256": sha256}


def _cut(size: int, document: bytes = ID) -> Iterator[Json]:
    count = max(1, -(-size // FULL))
    for number in range(count):
        length = min(FULL, size - number * FULL)
        yield _chunk(document, number, number == count - 1, length)


def _chunk(document: bytes, number: int, last: bool, length: int, byte: int = BYTE) -> Json:
    header = document + number.to_bytes(8, "big") + bytes([last])
    return {"header": header.hex(), "repeats": f"{byte:02x}", "count": length}


def _bad_documents() -> list[Json]:
    size = FULL + 5
    first, second = _cut(size)
    bad: list[tuple[str, Sequence[Any]]] = [
        ("no chunk", []),
        ("the last chunk left out", [first]),
        ("the first chunk left out", [second]),
        ("chunks exchanged", [second, first]),
        ("a chunk twice", [first, first, second]),
        ("a chunk after the last", [first, second, _chunk(ID, 2, True, 0)]),
        ("a chunk of another document", [first, _chunk(OTHER, 1, True, 5)]),
        ("an end before the end", [_chunk(ID, 0, True, FULL), second]),
        ("no end", [first, _chunk(ID, 1, False, 5)]),
        ("an end that is neither", [first, {**second, "header": second["header"][:-2] + "02"}]),
        ("a chunk that is not full", [_chunk(ID, 0, False, FULL - 1), second]),
        ("a last chunk too short", [first, _chunk(ID, 1, True, 4)]),
        ("a last chunk too long", [first, _chunk(ID, 1, True, 6)]),
        ("other content", [first, _chunk(ID, 1, True, 5, BYTE + 1)]),
        ("a header cut short", [first, {**second, "header": second["header"][:-2], "count": 6}]),
    ]
    cases: list[Json] = []
    for name, chunks in bad:
        case = {**_entry(size), "chunks": list(chunks)}
        cases.append({"name": name.replace(" ", "-"), **case, "error": refusal(assembled, case)})
    return cases
