"""age through pyrage: a file for each cell, to the X25519 identity of its field."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import pyrage

from benchmarks.cells import Table
from benchmarks.peers.cellwise import Function, Peer, Reader


class AgeCells(Peer):
    """X25519 and ChaCha20-Poly1305, a header for each cell."""

    name: ClassVar = "age, a cell"
    package: ClassVar = "pyrage"
    records: ClassVar = 100
    binds: ClassVar = False
    reader: ClassVar = Reader.CELLS

    def fresh_key(self) -> Any:
        """Make a field's identity."""
        return pyrage.x25519.Identity.generate()

    def sealer(self, key: Any) -> Function:
        """Seal to one recipient."""
        return self._to([key])

    def opener(self, key: Any) -> Function:
        """Open."""
        return lambda sealed: pyrage.decrypt(sealed, [key])

    def admit(self, keys: Sequence[Any], sealed: Table, places: Table) -> object:
        """Seal every cell anew, to both: age adds no recipient to what is sealed."""
        reader = pyrage.x25519.Identity.generate()
        return [
            list(map(self._to([key, reader]), map(self.opener(key), column)))
            for key, column in zip(keys, sealed, strict=True)
        ]

    def _to(self, identities: Sequence[Any]) -> Function:
        recipients = [each.to_public() for each in identities]
        return partial(_encrypted, recipients)


def _encrypted(recipients: Sequence[Any], value: bytes) -> bytes:
    sealed: bytes = pyrage.encrypt(value, recipients)
    return sealed
