"""`python -m tests.lengths`: what the lengths of sealed cells tell of the example table.

The table is sent as anybody would send it; what is looked at is what the server then has: for each
block, the length of each cell. A row's lengths together are its length vector.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path

import pyarrow as pa

from client.tables import open_source
from client.vault import field_class
from examples.customers import CLASSES, CSV_PATH
from protocol.blocks import Padding, cell_lengths
from tests.deals import a_vault
from vault.storage.base import BlockKey


@dataclass(frozen=True)
class Told:
    """What the server sees of one column, and what it would see without padding."""

    column: str
    field_class: str
    padding: str
    lengths: tuple[int, ...]
    plain: tuple[int, ...]

    @property
    def classes(self) -> int:
        """How many lengths there are."""
        return len(set(self.lengths))

    @property
    def bits(self) -> float:
        """How much the length tells of a cell on average, in bits."""
        return bits(self.lengths)


def bits(values: Sequence[object]) -> float:
    counts = Counter(values).values()
    return sum(count / len(values) * log2(len(values) / count) for count in counts)


def unique(columns: Sequence[Sequence[int]]) -> float:
    """Return the share of rows whose length vector no other row has."""
    vectors = list(zip(*columns, strict=True))
    counts = Counter(vectors)
    return sum(counts[each] == 1 for each in vectors) / len(vectors)


async def measure() -> list[Told]:
    """Send the example table to a server, and look at what it has then."""
    with tempfile.TemporaryDirectory() as directory:
        async with a_vault(Path(directory)) as (made, seller):
            classes = {name: field_class(text) for name, text in CLASSES.items()}
            await seller.upload(CSV_PATH, collection="customers", classes=classes)
            (where,) = (c for c in seller.session.state.collections.values() if c.classes)
            told: dict[int, tuple[str, list[int]]] = {}
            for batch in where.batches:
                if batch.manifest.is_catalog:
                    continue
                for ref in batch.manifest.blocks:
                    place = BlockKey(batch.id, ref.field, ref.sha256)
                    vault_id = seller.session.vault_id
                    block = await made.service._storage.read_block(vault_id, place)
                    assert block is not None
                    lengths = cell_lengths(block, batch.manifest.records)
                    mode = "one length" if ref.padding is Padding.UNIFORM else "steps"
                    told.setdefault(ref.field, (mode, []))[1].extend(lengths)
    table = pa.Table.from_batches(list(open_source(CSV_PATH).batches(65_536)))
    return [
        Told(name, CLASSES[name], told[at][0], tuple(told[at][1]), plain_lengths(table[name]))
        for at, name in enumerate(table.column_names)
    ]


def plain_lengths(column: pa.ChunkedArray) -> tuple[int, ...]:
    """Return how long the values themselves are, as text."""
    texts = (None if each is None else str(each).encode() for each in column.to_pylist())
    return tuple(-1 if each is None else len(each) for each in texts)


def lines(told: Sequence[Told]) -> list[str]:
    """Return the table as SECURITY.md has it."""
    head = [
        "| column | class | padded to | lengths | bits told | unpadded |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    body = [
        f"| {each.column} | {each.field_class} | {each.padding} | "
        f"{', '.join(map(str, sorted(set(each.lengths))))} | {each.bits:.2f} | "
        f"{bits(each.plain):.2f} |"
        for each in told
    ]
    padded, plain = unique([e.lengths for e in told]), unique([e.plain for e in told])
    return [
        *head,
        *body,
        "",
        f"Of {len(told[0].lengths):,} rows, {padded:.1%} have a length vector that no other row "
        f"has; unpadded, {plain:.1%} would.",
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines(asyncio.run(measure()))) + "\n")
