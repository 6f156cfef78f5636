"""What a block may cost, in counts that do not depend on the machine's mood.

Calls, objects, hashed bytes and memory: a regression of speed shows here first. The bounds are
what was counted, with a little room for another version of Python or of a library.
"""

from __future__ import annotations

import gc
import hashlib
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from client.columns import Cells
from client.crypto import block_keys
from client.crypto import cells as cells_module
from client.crypto.cells import ColumnToSeal, SealedBatch, open_block, reseal_block, seal_batch
from client.crypto.engines import CompiledEngine, Engine
from protocol import blocks as blocks_module
from protocol.blocks import FieldClass
from tests.every_engine import ENGINES

KEY, OTHER_KEY = bytes(range(32)), bytes(32)
FEW, MANY = 512, 4_096


@pytest.fixture
def compiled() -> CompiledEngine:
    try:
        return CompiledEngine()
    except LookupError as why:
        pytest.skip(str(why))


def column(count: int, field: int = 0) -> ColumnToSeal:
    values = [b"value number %08d" % at for at in range(count)]
    return ColumnToSeal(
        field, 1, FieldClass.GENERAL, KEY, Cells.from_list(values, string_like=True)
    )


def acts(engine: Engine, count: int) -> dict[str, Callable[[], object]]:
    """Return sealing, opening and resealing one block, each done once before so as to be warm."""
    one = column(count)
    batch = seal_batch([one], engine)
    (ref,), (block,), batch_id = batch.manifest.blocks, batch.blocks, batch.manifest.batch_id

    def opening() -> object:
        return open_block(KEY, FieldClass.GENERAL, ref, batch_id, count, block, True, engine=engine)

    def resealing() -> object:
        return reseal_block(
            KEY, OTHER_KEY, FieldClass.GENERAL, ref, 2, batch_id, count, block, True, engine=engine
        )

    made: dict[str, Callable[[], object]] = {
        "seal": lambda: seal_batch([one], engine),
        "open": opening,
        "reseal": resealing,
    }
    for act in made.values():
        act()
    return made


def calls_of(act: Callable[[], object]) -> int:
    """Count the calls that it makes, of Python and of C."""
    calls = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
    return calls


class TestCompiled:
    @pytest.fixture(autouse=True)
    def no_collection(self) -> Iterator[None]:
        """Let no collection fall into what is counted: it frees objects, and calls who asked."""
        gc.collect()
        gc.disable()
        yield
        gc.enable()

    @pytest.mark.parametrize(("act", "most"), [("seal", 300), ("open", 165), ("reseal", 420)])
    def test_calls_do_not_depend_on_the_number_of_cells(
        self, compiled: CompiledEngine, act: str, most: int
    ) -> None:
        few, many = (calls_of(acts(compiled, count)[act]) for count in (FEW, MANY))
        # Keys are made so many cells at a time, and that is all.
        assert few == many
        assert many <= most

    @pytest.mark.parametrize("act", ["seal", "open", "reseal"])
    def test_no_object_is_made_for_a_cell(self, compiled: CompiledEngine, act: str) -> None:
        living = {}
        for count in (FEW, MANY):
            work = acts(compiled, count)[act]
            kept = [work()]
            before = sys.getallocatedblocks()
            kept.append(work())
            living[count] = sys.getallocatedblocks() - before
            assert len(kept) == 2
        assert abs(living[MANY] - living[FEW]) < 10

    def test_memory_beyond_what_comes_out_is_small(self, compiled: CompiledEngine) -> None:
        work = acts(compiled, MANY)
        block = MANY * (4 + 32 + 16)
        values, shape = MANY * 21, MANY * 9
        for act, comes_out in (
            ("seal", block),
            ("open", values + shape),
            ("reseal", block + values + shape),
        ):
            tracemalloc.start()
            try:
                work[act]()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < comes_out + 32 * 1024, act

    def test_nothing_is_kept(self, compiled: CompiledEngine) -> None:
        work = acts(compiled, MANY)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for act in work.values():
                act()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 4 * 1024


class Counted:
    """Counts the bytes that are hashed in large pieces."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.hashed: list[int] = []
        for module in (cells_module, block_keys, blocks_module):
            patch.setattr(module, "hashlib", self)

    def sha256(self, content: bytes = b"") -> Any:
        if memoryview(content).nbytes > 1_000:
            self.hashed.append(memoryview(content).nbytes)
        return hashlib.sha256(content)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    with monkeypatch.context() as patch:
        yield Counted(patch)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
class TestHashes:
    PLAINTEXT, BLOCK = FEW * (4 + 32), FEW * (4 + 32 + 16)

    def test_sealing_hashes_plaintext_and_block_once_and_sending_nothing(
        self, engine: Engine, counted: Counted
    ) -> None:
        batch: SealedBatch = seal_batch([column(FEW)], engine)
        assert counted.hashed == [self.PLAINTEXT, self.BLOCK]
        assert len(batch.body()) > self.BLOCK
        assert counted.hashed == [self.PLAINTEXT, self.BLOCK]

    def test_opening_hashes_the_block_once(self, engine: Engine, counted: Counted) -> None:
        work = acts(engine, FEW)
        counted.hashed.clear()
        work["open"]()
        assert counted.hashed == [self.BLOCK]

    def test_resealing_hashes_each_thing_once(self, engine: Engine, counted: Counted) -> None:
        work = acts(engine, FEW)
        counted.hashed.clear()
        work["reseal"]()
        assert counted.hashed == [self.BLOCK, self.PLAINTEXT, self.BLOCK]


def test_a_cell_adds_20_bytes_to_its_padded_length() -> None:
    batch = seal_batch([column(MANY)])
    assert len(batch.blocks[0]) == MANY * (32 + 16 + 4)
    assert len(batch.body()) - len(batch.blocks[0]) < 128
