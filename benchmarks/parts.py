"""Where the time of a block goes: `python -m benchmarks.parts [BYTES]`.

Each part of sealing and opening one block of 4,096 cells alone, with the compiled loop; the least
of many runs, because parts are to be added up and what a busy machine adds is no part. Parts
overlap where one contains another: lines that are indented are inside the one above them.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from benchmarks.cells import BareWork, Batches, Block, batches_of, table_of
from client.crypto.block_keys import KEY_BYTES, derive_batch_key, fill_cell_keys, fresh_salt
from client.crypto.cells import mode_of, seal_batch
from client.crypto.engines import CompiledEngine, Rules
from client.crypto.padding import shape_of
from protocol.limits import LIMITS

CELLS: Final = LIMITS.batch_records_default
RUNS: Final = 400

Part = tuple[str, Callable[[], object]]


def parts(batches: Batches) -> Iterator[Part]:
    """Return every part by name.

    Raises: LookupError where the loop was not compiled.
    """
    engine = CompiledEngine()
    ((column,),) = batches
    cells, field_class, key = column.cells, column.field_class, column.field_key
    needs = engine.measure(cells, field_class.unit)
    mode = mode_of(cells, field_class, engine)
    shape = shape_of(needs, cells.count, mode, field_class)
    batch = seal_batch([column], engine)
    (ref,), (content,), batch_id = batch.manifest.blocks, batch.blocks, batch.manifest.batch_id
    block = Block(column, ref, batch_id, content)
    batch_key = derive_batch_key(key, batch_id, ref.salt)
    with engine.draft(cells, shape) as draft:
        plaintext = draft.plaintext.copy()
    keys = np.empty(KEY_BYTES * cells.count, np.uint8)
    rules = Rules(field_class, mode, cells.string_like)

    def pad() -> None:
        with engine.draft(cells, shape):
            pass

    def pad_and_seal() -> None:
        with engine.draft(cells, shape) as made:
            made.seal(batch_key)

    yield "sealing a block", lambda: seal_batch([column], engine)
    yield "  counting distinct values", lambda: engine.rows_of_few_values(cells)
    yield "  measuring", lambda: engine.measure(cells, field_class.unit)
    yield "  padding, keys, cells", pad_and_seal
    yield "    padding", pad
    yield "    keys of the cells", lambda: fill_cell_keys(batch_key, keys)
    yield "  hash of the plaintext", lambda: hashlib.sha256(plaintext.data)
    yield "  salt", lambda: fresh_salt(key, plaintext[:0])
    yield "  batch key", lambda: derive_batch_key(key, batch_id, ref.salt)
    yield "  hash of the block", lambda: hashlib.sha256(content)
    yield "opening a block", lambda: block.open(engine)
    yield "  hash of the block", lambda: hashlib.sha256(content)
    yield "  batch key", lambda: derive_batch_key(key, batch_id, ref.salt)
    yield "  keys, cells, unpadding", lambda: engine.open(batch_key, content, None, CELLS, rules)
    yield "    keys of the cells", lambda: fill_cell_keys(batch_key, keys)
    yield "resealing a block", lambda: block.reseal(engine)
    bare = BareWork(batches, engine)
    yield "the bare loop, sealing", bare.seal
    yield "the bare loop, opening", bare.open


def least_nanoseconds(work: Callable[[], object], runs: int = RUNS) -> float:
    """Return what a part takes a cell, the least of many runs."""
    least = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - start)
    return least / CELLS * 1e9


def main() -> None:
    """Measure every part, and print a table."""
    length = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(f"ns a cell of {length} bytes, least of {RUNS} runs, {CELLS:,} cells a block")
    for name, work in parts(batches_of(table_of(length, CELLS, 1))):
        print(f"{name:<28}{least_nanoseconds(work):>8.1f}")


if __name__ == "__main__":
    main()
