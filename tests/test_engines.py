"""The engines: equal bytes, the same answer to whatever is wrong, and which of them runs."""

from __future__ import annotations

import ctypes
import importlib
import secrets
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from client.columns import Cells
from client.crypto.block_keys import fill_cell_keys
from client.crypto.engines import (
    BareLoop,
    BlockRefused,
    CellRefused,
    CompiledEngine,
    CryptographyEngine,
    Engine,
    Fault,
    Mask,
    Rules,
    SodiumEngine,
)
from client.crypto.engines.columnwise import ColumnwiseEngine
from client.crypto.engines.sodium import ARENA_BYTES, ARENA_CELLS
from client.crypto.padding import Shape, shape_of
from protocol.blocks import FieldClass, Padding
from protocol.errors import ApiMisuse
from tests.every_engine import ENGINES, SANITIZED

KEY = bytes(range(32))
PLAIN = CryptographyEngine()
CLASSES = [FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE]


def columns_of(*cells: bytes | None, string_like: bool = True) -> Cells:
    return Cells.from_list(cells, string_like=string_like)


def values_of(cells: Cells) -> list[bytes | None]:
    return [cells.cell(index) for index in range(cells.count)]


def sealed_by(
    engine: Engine,
    cells: Cells,
    padding: Padding = Padding.MULTIPLE_16,
    field_class: FieldClass = FieldClass.GENERAL,
    erased: Mask | None = None,
) -> tuple[bytes, bytes]:
    """Return the block plaintext and the block."""
    needs = engine.measure(cells, field_class.unit)
    shape = shape_of(needs, cells.count, padding, field_class)
    with engine.draft(cells, shape, erased) as draft:
        plaintext = draft.plaintext.tobytes()
        return plaintext, draft.seal(KEY)


def opened_by(
    engine: Engine,
    block: bytes,
    records: int,
    padding: Padding = Padding.MULTIPLE_16,
    field_class: FieldClass = FieldClass.GENERAL,
    erased: Mask | None = None,
) -> tuple[Any, ...]:
    """Return what comes out, in a form that can be compared: the cells' parts, or the fault."""
    try:
        cells = engine.open(KEY, block, erased, records, Rules(field_class, padding, True))
    except BlockRefused as refused:
        return refused.fault, refused.record
    values = np.frombuffer(cells.values, np.uint8).tobytes()
    return values, cells.offsets.tolist(), cells.valid.tolist()


def block_of(padded: Sequence[bytes | None]) -> bytes:
    """Seal given padded cells, whatever they are; None is an empty one. Independent of engines."""
    keys = np.empty(32 * len(padded), np.uint8)
    fill_cell_keys(KEY, keys)
    sealed = [
        b""
        if cell is None
        else AESGCM(keys[32 * at : 32 * at + 32].tobytes()).encrypt(bytes(12), cell, None)
        for at, cell in enumerate(padded)
    ]
    return struct.pack(f"<{len(sealed)}I", *map(len, sealed)) + b"".join(sealed)


@pytest.fixture
def compiled() -> CompiledEngine:
    try:
        return CompiledEngine()
    except LookupError as why:
        pytest.skip(str(why))


@pytest.fixture(params=[SodiumEngine, CryptographyEngine])
def columnwise(request: pytest.FixtureRequest) -> ColumnwiseEngine:
    try:
        made: ColumnwiseEngine = request.param()
    except LookupError as why:
        pytest.skip(str(why))
    return made


cell_values = st.one_of(
    st.none(),
    st.binary(max_size=70),
    st.sampled_from([b"", b"\x80", b"\0", b"a\x80\0", b"v" * 15, b"v" * 16, b"v" * 1_100]),
)


class TestEqualBytes:
    @given(
        st.lists(cell_values, min_size=1, max_size=40),
        st.sampled_from(list(Padding)),
        st.sampled_from(CLASSES),
        st.data(),
    )
    def test_every_engine_seals_and_opens_the_same(
        self,
        some: list[bytes | None],
        padding: Padding,
        field_class: FieldClass,
        data: st.DataObject,
    ) -> None:
        gone = data.draw(st.none() | st.sets(st.integers(0, len(some) - 1)))
        erased = None if gone is None else np.isin(np.arange(len(some)), list(gone))
        left = columns_of(*(v for at, v in enumerate(some) if gone is None or at not in gone))
        expected = [None if gone and at in gone else value for at, value in enumerate(some)]
        made = {sealed_by(engine, left, padding, field_class, erased) for engine in ENGINES}
        assert len(made) == 1
        ((_, block),) = made
        for engine in ENGINES:
            rules = Rules(field_class, padding, True)
            assert values_of(engine.open(KEY, block, erased, len(some), rules)) == expected

    @given(st.lists(cell_values, max_size=40), st.sampled_from([16, 32]))
    def test_every_engine_measures_the_same(self, some: list[bytes | None], unit: int) -> None:
        cells = columns_of(*some)
        assert len({engine.measure(cells, unit) for engine in ENGINES}) == 1

    @given(
        st.integers(1, 300),
        st.integers(0, 3),
        st.integers(0, 600),
        st.randoms(use_true_random=False),
    )
    def test_every_engine_counts_few_values_alike(
        self, distinct: int, nulls: int, before: int, rng: Any
    ) -> None:
        # Values that share beginnings, ends and lengths, repeated, with the new ones anywhere.
        some: list[bytes | None] = [b"%d" % at + b"=" * (at % 11) for at in range(distinct)]
        some += rng.choices(some, k=before) + [None] * nulls
        rng.shuffle(some)
        cells = columns_of(*some)
        counted = {engine.rows_of_few_values(cells) for engine in ENGINES}
        seen: set[bytes | None] = set()
        rows = 0
        for value in some:
            seen.add(value)
            if len(seen) > 256:
                break
            rows += 1
        assert counted == {rows}

    def test_a_column_without_cells_and_one_all_erased(self) -> None:
        erased = np.ones(3, np.bool_)
        for engine in ENGINES:
            plaintext, block = sealed_by(engine, columns_of(), Padding.UNIFORM, erased=erased)
            assert plaintext == block == bytes(12)
            assert opened_by(engine, block, 3, Padding.UNIFORM, erased=erased) == (
                b"",
                [0, 0, 0, 0],
                [False, False, False],
            )

    @pytest.mark.threat("D10")
    def test_arrays_of_any_layout(self) -> None:
        cells = columns_of(b"one", None, b"three")
        strided = Cells(
            memoryview(bytearray(cells.values)),
            np.repeat(cells.offsets, 2)[::2],
            np.repeat(cells.valid, 2)[::2],
            True,
        )
        unaligned = np.frombuffer(b"x" + cells.offsets.tobytes(), np.uint8)[1:].view(np.int64)
        for other in (strided, Cells(cells.values, unaligned, cells.valid, True)):
            for engine in ENGINES:
                assert sealed_by(engine, other) == sealed_by(PLAIN, cells)

    def test_a_value_at_the_very_end_of_what_may_be_read(self) -> None:
        for length in range(70):
            cells = columns_of(b"x", bytes(range(1, length + 1)))
            assert len({sealed_by(engine, cells) for engine in ENGINES}) == 1
            assert len({sealed_by(e, cells, Padding.UNIFORM) for e in ENGINES}) == 1

    @pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
    def test_threads_may_share_one(self, engine: Engine) -> None:
        columns = [columns_of(*(b"%d-%d" % (no, at) for at in range(400))) for no in range(24)]
        with ThreadPoolExecutor(4) as threads:
            blocks = list(threads.map(lambda cells: sealed_by(engine, cells), columns))
            opened = list(threads.map(lambda made: opened_by(engine, made[1], 400), blocks))
        assert blocks == [sealed_by(PLAIN, cells) for cells in columns]
        assert opened == [opened_by(PLAIN, block, 400) for _, block in blocks]


# --- what must be refused, and why


padded_cells = st.one_of(
    st.none(),
    st.binary(max_size=40).map(lambda v: (v + b"\x80").ljust(-(-(len(v) + 1) // 16) * 16, b"\0")),
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=20).map(lambda v: (v + b"\x80").ljust(48, b"\0")),
    st.sampled_from([bytes(16), bytes(32), b"v" * 16, b"\x80" + bytes(1_023), bytes(2_048)]),
)


class TestTheSameRefusal:
    @given(
        st.lists(padded_cells, min_size=1, max_size=12),
        st.sampled_from(list(Padding)),
        st.sampled_from(CLASSES),
    )
    def test_of_cells_padded_in_any_way(
        self, padded: list[bytes | None], padding: Padding, field_class: FieldClass
    ) -> None:
        erased = np.array([cell is None for cell in padded])
        block = block_of(padded)
        answers = [
            opened_by(
                engine, block, len(padded), padding, field_class, erased if erased.any() else None
            )
            for engine in ENGINES
        ]
        assert all(answer == answers[0] for answer in answers)

    @given(st.data())
    def test_of_blocks_changed_in_any_way(self, data: st.DataObject) -> None:
        some = data.draw(st.lists(cell_values, min_size=1, max_size=12))
        _, sealed = sealed_by(PLAIN, columns_of(*some))
        block = bytearray(sealed)
        for _ in range(data.draw(st.integers(0, 3))):
            block[data.draw(st.integers(0, len(block) - 1))] ^= data.draw(st.integers(1, 255))
        if data.draw(st.booleans()):
            at = 4 * data.draw(st.integers(0, len(some) - 1))
            length = data.draw(st.sampled_from([0, 16, 32, 47, 48, 2**31, 2**32 - 16]))
            block[at : at + 4] = struct.pack("<I", length)
        cut = max(len(block) - data.draw(st.sampled_from([0, 0, 1, 16, 500])), 4 * len(some))
        gone = data.draw(st.none() | st.sets(st.integers(0, len(some) - 1)))
        erased = None if gone is None else np.isin(np.arange(len(some)), list(gone))
        answers = [
            opened_by(engine, bytes(block[:cut]), len(some), erased=erased) for engine in ENGINES
        ]
        assert all(answer == answers[0] for answer in answers)

    GOOD = b"fine\x80".ljust(16, b"\0")
    BARE = b"no terminator..."
    WIDE = b"fine\x80".ljust(32, b"\0")

    @pytest.mark.parametrize(
        ("padded", "padding", "answer"),
        [
            # Of two faults of a kind the first; no terminator before another length.
            ([GOOD, BARE, BARE], Padding.MULTIPLE_16, (Fault.PADDING, 1)),
            ([WIDE, GOOD, BARE], Padding.MULTIPLE_16, (Fault.PADDING, 2)),
            ([GOOD, WIDE, GOOD], Padding.MULTIPLE_16, (Fault.PADDING, 1)),
            ([WIDE, GOOD, GOOD], Padding.UNIFORM, (Fault.PADDING, 0)),
            ([GOOD, GOOD, WIDE], Padding.UNIFORM, (Fault.PADDING, 2)),
            ([None, GOOD, WIDE], Padding.UNIFORM, (Fault.PADDING, 1)),
            ([None, WIDE, WIDE], Padding.UNIFORM, None),
            # A whole step of zeros behind the value: what is wrong is the length, ...
            ([b"\x80" + bytes(31), BARE], Padding.MULTIPLE_16, (Fault.PADDING, 1)),
            ([b"\x80" + bytes(31), GOOD], Padding.MULTIPLE_16, (Fault.PADDING, 0)),
            # ... or the value has no end.
            ([b"\x01" + bytes(31), BARE], Padding.MULTIPLE_16, (Fault.PADDING, 0)),
        ],
    )
    def test_names_the_first_record_of_the_first_fault(
        self,
        padded: list[bytes | None],
        padding: Padding,
        answer: tuple[Fault, int] | None,
    ) -> None:
        erased = np.array([cell is None for cell in padded])
        block = block_of(padded)
        for engine in ENGINES:
            told = opened_by(
                engine, block, len(padded), padding, erased=erased if erased.any() else None
            )
            opened = isinstance(told[0], bytes)
            assert opened if answer is None else told == answer

    def test_a_cell_that_does_not_authenticate_comes_before_one_badly_padded(self) -> None:
        block = bytearray(block_of([self.BARE, self.GOOD, self.GOOD]))
        block[-1] ^= 1
        for engine in ENGINES:
            assert opened_by(engine, bytes(block), 3) == (Fault.CELL, 2)

    @pytest.mark.parametrize("at", [0, 7, ARENA_CELLS, ARENA_CELLS + 1])
    def test_the_first_of_two_cells_that_do_not_authenticate(self, at: int) -> None:
        records = ARENA_CELLS + 2
        block = bytearray(sealed_by(ENGINES[0], columns_of(*[b"x"] * records))[1])
        block[4 * records + 32 * at] ^= 1
        block[-1] ^= 1
        for engine in ENGINES:
            assert opened_by(engine, bytes(block), records) == (Fault.CELL, at)

    def test_lengths_before_their_sum_before_empty_cells(self) -> None:
        sealed = sealed_by(PLAIN, columns_of(b"a", b"b", b"c"))[1]
        for lengths, answer in (
            ((32, 33, 16), (Fault.LENGTH, 1)),
            ((0, 32, 31), (Fault.LENGTH, 2)),
            ((0, 32, 32), (Fault.SUM, None)),
            ((32, 32, 2**32 - 32), (Fault.SUM, None)),
            ((0, 48, 48), (Fault.EMPTY, None)),
        ):
            block = struct.pack("<3I", *lengths) + sealed[12:]
            for engine in ENGINES:
                assert opened_by(engine, block, 3) == answer

    @pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
    def test_a_shape_of_other_cells_is_our_mistake(self, engine: Engine) -> None:
        cells = columns_of(b"a", b"b" * 20)
        if isinstance(engine, CompiledEngine):
            for shape in (
                Shape(0, 16, 16),
                Shape(0, 16, 64),
                Shape(16, 0, 32),
                Shape(8, 0, 16),
                Shape(0, 24, 48),
                Shape(0, 0, 16),
            ):
                with pytest.raises(ApiMisuse), engine.draft(cells, shape):
                    pass
            for erased in (np.zeros(1, np.bool_), np.zeros(3, np.bool_), np.ones(2, np.bool_)):
                with pytest.raises(ApiMisuse), engine.draft(cells, Shape(0, 16, 48), erased):
                    pass
        # The control: the right shape is taken.
        with engine.draft(cells, Shape(0, 16, 48)) as draft:
            assert len(draft.plaintext) == 8 + 48


# --- the compiled loop


class TestTheLoop:
    def test_offsets_that_lead_out_of_the_values_are_refused(
        self, compiled: CompiledEngine
    ) -> None:
        for offsets in ([0, 9], [1, 4], [0, 2], [0, -4], [0, 2**62]):
            lying = Cells.trusted(b"four", np.array(offsets), np.ones(1, np.bool_), True)
            with pytest.raises(ApiMisuse):
                compiled.measure(lying, 16)
            with pytest.raises(ApiMisuse):
                compiled.rows_of_few_values(lying)
            with pytest.raises(ApiMisuse), compiled.draft(lying, Shape(0, 16, 16)):
                pass
        falling = Cells.trusted(b"four", np.array([0, 6, 4]), np.ones(2, np.bool_), True)
        bytes_of_a_null = Cells.trusted(b"four", np.array([0, 4]), np.zeros(1, np.bool_), True)
        for lying in (falling, bytes_of_a_null):
            with pytest.raises(ApiMisuse):
                compiled.measure(lying, 16)

    def test_a_unit_that_is_none(self, compiled: CompiledEngine) -> None:
        for unit in (0, 24):
            with pytest.raises(ApiMisuse):
                compiled.measure(columns_of(b"a"), unit)

    @pytest.mark.skipif(SANITIZED, reason="the sanitizers want each buffer for itself")
    def test_buffers_are_used_again_and_hold_nothing_afterwards(
        self, compiled: CompiledEngine
    ) -> None:
        cells = columns_of(*(b"value %d" % at for at in range(3_000)))
        block = sealed_by(compiled, cells)[1]
        assert opened_by(compiled, block, 3_000) == opened_by(PLAIN, block, 3_000)
        (rooms,) = compiled._idle
        addresses = rooms.plaintext.memory.ctypes.data, rooms.keys.memory.ctypes.data
        assert sealed_by(compiled, cells)[1] == block
        broken = block[:-1] + bytes([block[-1] ^ 1])
        assert opened_by(compiled, broken, 3_000) == (Fault.CELL, 2_999)
        with (
            pytest.raises(KeyError),
            compiled.draft(cells, Shape(0, 16, compiled.measure(cells, 16).rounded)),
        ):
            raise KeyError
        assert list(compiled._idle) == [rooms]
        assert addresses == (rooms.plaintext.memory.ctypes.data, rooms.keys.memory.ctypes.data)
        assert not rooms.plaintext.memory.any()
        assert not rooms.keys.memory.any()

    def test_a_large_buffer_is_let_go(self, compiled: CompiledEngine) -> None:
        cells = columns_of(*[b"v" * 1_000_000] * 5)
        block = sealed_by(compiled, cells)[1]
        assert opened_by(compiled, block, 5) == opened_by(PLAIN, block, 5)
        (rooms,) = compiled._idle
        for room in (rooms.plaintext, rooms.keys, rooms.block):
            assert len(room.memory) <= 4 * 1024 * 1024

    def test_a_cipher_that_fails_seals_nothing(self, compiled: CompiledEngine) -> None:
        fails = compiled._ffi.callback("int(void *, const unsigned char *)", lambda *_: 1)
        compiled._cipher = compiled._ffi.new("sealroom_cipher *", {"expand": fails})
        with pytest.raises(ApiMisuse):
            sealed_by(compiled, columns_of(b"a"))
        (rooms,) = compiled._idle
        assert not rooms.block.memory.any()
        assert not rooms.plaintext.memory.any()

    def test_the_barest_loop_gives_the_same_cells(self, compiled: CompiledEngine) -> None:
        bare, count = BareLoop(), 100
        keys, cells = (np.frombuffer(secrets.token_bytes(32 * count), np.uint8) for _ in range(2))
        sealed, opened = np.zeros(48 * count, np.uint8), np.zeros(32 * count, np.uint8)
        bare.seal(keys, cells, sealed)
        assert np.array_equal(sealed, PLAIN.seal_cells(keys, cells, np.full(count, 32)))
        bare.open(keys, sealed, opened)
        assert np.array_equal(opened, cells)
        sealed[-1] ^= 1
        for wrong in (sealed, sealed[:-1], sealed[:-48]):
            with pytest.raises(ApiMisuse):
                bare.open(keys, wrong, opened)
        with pytest.raises(ApiMisuse):
            bare.seal(keys[:-1], cells, sealed)
        with pytest.raises(ApiMisuse):
            bare.seal(keys[:0], cells[:0], sealed[:0])

    def test_where_it_was_not_built_it_is_absent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(name: str) -> object:
            raise ModuleNotFoundError(name)

        monkeypatch.setattr(importlib, "import_module", missing)
        with pytest.raises(LookupError, match="not compiled"):
            CompiledEngine()

    @pytest.mark.usefixtures("compiled")
    @pytest.mark.parametrize(
        ("library", "told"),
        [
            ({}, "shows no AES"),
            ({"is_available": lambda: 0, "statebytes": lambda: 512}, "on this processor"),
            ({"is_available": lambda: 1, "statebytes": lambda: 528}, "on this processor"),
        ],
    )
    def test_without_the_library_s_functions_it_is_absent(
        self, monkeypatch: pytest.MonkeyPatch, library: dict[str, Callable[[], int]], told: str
    ) -> None:
        functions = {
            f"crypto_aead_aes256gcm_{name}": made
            for name, made in (dict.fromkeys(CIPHER, int) | library).items()
        }
        shown = SimpleNamespace(**functions) if library else SimpleNamespace()
        monkeypatch.setattr(ctypes, "CDLL", lambda path: shown)
        with pytest.raises(LookupError, match=told):
            CompiledEngine()


CIPHER = ("beforenm", "encrypt_detached_afternm", "decrypt_detached_afternm")


# --- engines that go cell by cell


class TestCellByCell:
    @given(
        st.lists(st.sampled_from([16, 32, 48, 1_024, 2_048]), min_size=1, max_size=30),
        st.randoms(use_true_random=False),
    )
    def test_they_agree_to_the_byte(self, sizes: list[int], rng: Any) -> None:
        self.agree(sizes, rng.randbytes)

    @pytest.mark.parametrize(
        "sizes",
        [
            [16] * (2 * ARENA_CELLS + 5),
            [16, 32] * ARENA_CELLS,
            [ARENA_BYTES - 16] * 2,
            [ARENA_BYTES] * 2,
            [16, ARENA_BYTES * 4, 32],
            [ARENA_BYTES // 2, ARENA_BYTES // 2, 16],
        ],
    )
    def test_and_across_arenas(self, sizes: list[int]) -> None:
        self.agree(sizes, secrets.token_bytes)

    def agree(self, sizes: list[int], draw: Callable[[int], bytes]) -> None:
        engines = [each for each in ENGINES if isinstance(each, ColumnwiseEngine)]
        keys = np.frombuffer(draw(32 * len(sizes)), np.uint8)
        padded = np.frombuffer(draw(sum(sizes)), np.uint8)
        lengths = np.array(sizes)
        sealed = PLAIN.seal_cells(keys, padded, lengths)
        for engine in engines:
            assert np.array_equal(engine.seal_cells(keys, padded, lengths), sealed)
            assert np.array_equal(engine.open_cells(keys, sealed, lengths + 16), padded)

    def test_sizes_and_keys_that_do_not_fit_are_our_mistake(
        self, columnwise: ColumnwiseEngine
    ) -> None:
        for keys, room, sizes in (
            (32, 16, [32]),
            (32, 32, [16]),
            (32, 16, [16, 0]),
            (64, 16, [0, 16]),
            (64, 0, [16, -16]),
            (31, 16, [16]),
            (64, 16, [16]),
            (32, 15, [15]),
            (0, 0, []),
        ):
            for act in (columnwise.seal_cells, columnwise.open_cells):
                with pytest.raises(ApiMisuse):
                    act(np.zeros(keys, np.uint8), np.zeros(room, np.uint8), np.array(sizes, "i8"))

    def test_a_cell_that_is_only_a_tag_is_refused(self, columnwise: ColumnwiseEngine) -> None:
        sealed = np.frombuffer(bytes(32) + AESGCM(bytes(32)).encrypt(bytes(12), b"", None), "u1")
        with pytest.raises(CellRefused):
            columnwise.open_cells(np.zeros(64, np.uint8), sealed, np.array([32, 16]))

    def test_arenas_are_reused_and_hold_nothing_afterwards(self) -> None:
        try:
            engine = SodiumEngine()
        except LookupError as why:
            pytest.skip(str(why))
        for sizes in ([16, 32], [16] * 9):
            keys = np.frombuffer(secrets.token_bytes(32 * len(sizes)), np.uint8)
            padded = np.full(sum(sizes), 1, np.uint8)
            sealed = engine.seal_cells(keys, padded, np.array(sizes)).copy()
            sealed[-1] ^= 1
            with pytest.raises(CellRefused):
                engine.open_cells(keys, sealed, np.array(sizes) + 16)
        (arena,) = engine._idle
        assert not any(strip.memory.any() for strip in (arena.cells, arena.made, arena.keys))
