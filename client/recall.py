"""Going on with an upload from what may give other rows by now, such as a database (SPEC 10.5).

A file is known by its hash. A database has none: what was sent of it stands in the journal with a
keyed hash of each batch's cells. An upload that goes on reads it again from its beginning, and a
batch counts as sent only if its rows are the very same; whatever differs is sealed anew, and what
comes no more is dropped. So what is committed is always what was read in one go, the last one
(docs/adr/0021).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa

from client.crypto.derivation import hkdf
from client.tables import column_cells
from protocol.labels import Label, framed

DIGEST_BYTES: Final = 32


class Recall:
    """What is remembered of each batch: a hash under a key that only holders of the field have.

    Cells that can be guessed could be found by a plain hash, and the journal lies unsealed.
    """

    def __init__(self, field_key: bytes, known: Mapping[int, bytes]) -> None:
        self._key = hkdf(field_key, framed(Label.JOURNAL_KEY))
        self._known = known

    def digest(self, rows: pa.RecordBatch) -> bytes:
        """Return the hash of all cells of some rows: 32 bytes."""
        found = hashlib.blake2b(key=self._key, digest_size=DIGEST_BYTES)
        for column in rows.columns:
            cells = column_cells(column)
            found.update(cells.count.to_bytes(8, "little"))
            found.update(np.ascontiguousarray(cells.offsets, "<i8").tobytes())
            found.update(np.packbits(cells.valid).tobytes())
            found.update(np.frombuffer(cells.values, np.uint8).tobytes())
        return found.digest()

    def is_same(self, sequence: int, rows: pa.RecordBatch) -> bool:
        """Say whether these are the rows that were sent as this batch."""
        return self._known.get(sequence) == self.digest(rows)
