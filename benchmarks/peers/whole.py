"""What does not seal cell by cell: Parquet's modular encryption, and age over a whole file.

They are fast because they do less: nothing smaller than a page, or than the file, has a key or
can be given, moved or erased by itself. So they stand apart.
"""

from __future__ import annotations

import base64
import csv
import io
import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from pyarrow.parquet import encryption

from benchmarks.cells import Table
from benchmarks.peers.cellwise import COLUMN, Costs, Reader, nanoseconds


class WholeWork(ABC):
    """A table sealed as a whole. Raises ValueError, if what is opened is not what was sealed."""

    name: ClassVar[str]
    package: ClassVar[str]
    reader: ClassVar[Reader]

    def __init__(self, values: Table) -> None:
        self.values = values
        self.records = len(values[0])
        self.cells = len(values) * self.records
        self.sealed = self.seal()
        if self.opened() != self.plain():
            raise ValueError(f"{self.name} does not give back what it was given")

    @property
    def added_bytes(self) -> float:
        """How many bytes a cell has more than in the same file unsealed."""
        return (len(self.sealed) - self.plain_bytes()) / self.cells

    @abstractmethod
    def plain(self) -> object:
        """Return what is sealed."""

    @abstractmethod
    def plain_bytes(self) -> int:
        """Return how long the same file is unsealed."""

    @abstractmethod
    def seal(self) -> bytes:
        """Seal all of it."""

    @abstractmethod
    def opened(self) -> object:
        """Open all of it."""

    @abstractmethod
    def move(self) -> object:
        """Put one column under a new key: all is opened and sealed, there is no other way."""

    @abstractmethod
    def admit(self) -> object:
        """Let one more reader in."""

    def moved_cell_opens(self) -> bool:
        """Cells have no place of their own to be moved from."""
        return False

    def round(self) -> Costs:
        """Do all of it once; a column, or one cell alone, is moved to a new key with everything."""
        seal, opened, move = map(nanoseconds, (self.seal, self.opened, self.move))
        reader = None if self.reader is Reader.ELSEWHERE else nanoseconds(self.admit)
        return Costs(seal / self.cells, opened / self.cells, move / self.records, move, reader)


class _Service(encryption.KmsClient):  # type: ignore[misc]  # pyarrow ships no types
    """A key management service of no distance: AES key wrap under keys in memory."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        super().__init__()
        self._keys = keys

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(aes_key_wrap(self._keys[master_key_identifier], key_bytes))

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return aes_key_unwrap(self._keys[master_key_identifier], base64.b64decode(wrapped_key))


class ParquetModules(WholeWork):
    """AES-GCM over each page, a key for each column and one for the footer; no compression."""

    name: ClassVar = "Parquet modular encryption"
    package: ClassVar = "pyarrow"
    reader: ClassVar = Reader.ELSEWHERE  # its keys are the business of a key management service

    def __init__(self, values: Table) -> None:
        names = [f"field{number}" for number in range(len(values))]
        self._table = pa.table([pa.array(column, pa.binary()) for column in values], names=names)
        self._keys = {name: os.urandom(32) for name in ("footer", "another", *names)}
        self._column_keys = {name: [name] for name in names}
        self._connection = encryption.KmsConnectionConfig()
        self._factory = encryption.CryptoFactory(lambda _: _Service(self._keys))
        super().__init__(values)

    def plain(self) -> object:
        """Return the table."""
        return self._table

    def plain_bytes(self) -> int:
        """Return the length of the file that is not encrypted."""
        sink = pa.BufferOutputStream()
        pq.write_table(self._table, sink, compression="none")
        return int(sink.getvalue().size)

    def seal(self) -> bytes:
        """Write the file."""
        return self._written(self._column_keys)

    def opened(self) -> object:
        """Read the file."""
        found = self._factory.file_decryption_properties(self._connection)
        return pq.read_table(
            pa.BufferReader(self.sealed), use_threads=False, decryption_properties=found
        )

    def move(self) -> object:
        """Read the file, and write it with another key for a column."""
        column = f"field{COLUMN}"
        others = {key: names for key, names in self._column_keys.items() if key != column}
        self.opened()
        return self._written({**others, "another": [column]})

    def admit(self) -> object:
        """Leave it to the key management service."""
        raise NotImplementedError

    def _written(self, column_keys: dict[str, list[str]]) -> bytes:
        settings = encryption.EncryptionConfiguration(
            footer_key="footer", column_keys=column_keys, data_key_length_bits=256
        )
        made = self._factory.file_encryption_properties(self._connection, settings)
        sink = pa.BufferOutputStream()
        pq.write_table(self._table, sink, compression="none", encryption_properties=made)
        written: bytes = sink.getvalue().to_pybytes()
        return written


class AgeFile(WholeWork):
    """age over the table as one CSV file."""

    name: ClassVar = "age, the whole file"
    package: ClassVar = "pyrage"
    reader: ClassVar = Reader.BYTES

    def __init__(self, values: Table) -> None:
        import pyrage  # where it is not installed, this row is left out and the others stay

        self._age: Any = pyrage
        self._identity = pyrage.x25519.Identity.generate()
        text = io.StringIO(newline="")
        csv.writer(text).writerows(zip(*([c.decode() for c in v] for v in values), strict=True))
        self._content = text.getvalue().encode()
        super().__init__(values)

    def plain(self) -> object:
        """Return the file."""
        return self._content

    def plain_bytes(self) -> int:
        """Return its length."""
        return len(self._content)

    def seal(self) -> bytes:
        """Encrypt it."""
        return self._to(self._content, self._identity)

    def opened(self) -> object:
        """Decrypt it."""
        return self._age.decrypt(self.sealed, [self._identity])

    def move(self) -> object:
        """Decrypt it, and encrypt it to another identity."""
        return self._to(self.opened(), self._age.x25519.Identity.generate())

    def admit(self) -> object:
        """Decrypt it, and encrypt it to both."""
        return self._to(self.opened(), self._identity, self._age.x25519.Identity.generate())

    def _to(self, content: object, *identities: Any) -> bytes:
        sealed: bytes = self._age.encrypt(content, [each.to_public() for each in identities])
        return sealed
