"""Sealing and opening columns: what comes back, and everything that must not open."""

from __future__ import annotations

import copy
import csv
import hashlib
import hmac
import pickle
import secrets
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from client.columns import Cells
from client.crypto import cells as cells_module
from client.crypto import padding
from client.crypto.block_keys import CellKey, cell_key, fill_cell_keys
from client.crypto.cells import (
    ColumnToSeal,
    SealedBatch,
    open_block,
    open_cell,
    plan_rows,
    seal_batch,
)
from client.crypto.padding import rows_of_few_values, shape_of, shaped_sizes
from protocol import blocks as blocks_module
from protocol.blocks import (
    FieldClass,
    Padding,
    split_batch_body,
)
from protocol.errors import ApiMisuse, IntegrityError, LimitExceeded
from protocol.labels import Label, framed
from protocol.limits import LIMITS, Limits
from protocol.wire import to_bytes
from tests.every_engine import ENGINES
from tests.sealing import (
    KEY,
    OTHER_KEY,
    VALUES,
    Sealed,
    column,
    joined,
    padded_to,
    seal,
    values_of,
)
from tests.shared import shared_path


def refuse(sealed: Sealed) -> None:
    with pytest.raises(IntegrityError, match=r"^field 3 of batch [0-9a-f]{32}(, record \d+)? did"):
        sealed.open()


def keys_of(batch_key: bytes, count: int) -> bytes:
    keys = np.empty(32 * count, np.uint8)
    fill_cell_keys(batch_key, keys)
    return keys.tobytes()


def base_of(
    mode: Padding, field_class: FieldClass = FieldClass.GENERAL, *, string_like: bool = True
) -> Sealed:
    one = seal(column([b"x"], field_class=field_class, string_like=string_like))
    return replace(one, ref=replace(one.ref, padding=mode))


cell_values = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.sampled_from([b"", b"\x80", b"\0", b"a\x80", b"v" * 15, b"v" * 16, b"v" * 1_100]),
)
batches_of_cells = st.lists(cell_values, min_size=1, max_size=20)


class TestRoundTrip:
    @given(
        batches_of_cells,
        st.sampled_from([FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE]),
        st.booleans(),
        st.data(),
    )
    def test_values_nulls_and_erased_cells(
        self,
        some: list[bytes | None],
        field_class: FieldClass,
        string_like: bool,
        data: st.DataObject,
    ) -> None:
        sealed = seal(column(some, field_class=field_class, string_like=string_like))
        assert sealed.values() == some
        gone = data.draw(st.sets(st.integers(0, len(some) - 1)))
        opened = sealed.erase(*gone).open()
        expected = [None if at in gone else value for at, value in enumerate(some)]
        assert values_of(opened.cells) == expected
        assert np.flatnonzero(opened.erased).tolist() == sorted(gone)
        assert opened.cells.string_like is string_like

    @pytest.mark.parametrize("field_class", list(FieldClass)[:3])
    def test_text_of_many_values(self, field_class: FieldClass) -> None:
        some = [b"%d" % at * (at % 11) for at in range(900)]
        sealed = seal(column(some, field_class=field_class))
        assert sealed.ref.padding is Padding.of_text(field_class)
        assert sealed.values() == some
        assert sealed.erase(0, 5, 899).values()[1:5] == some[1:5]

    def test_a_batch_of_several_fields_is_uploaded_and_opened(self) -> None:
        columns = [
            column([b"a", None], field=9, key=OTHER_KEY),
            column([b"bb", b"cc"], field=1, field_class=FieldClass.CORE),
        ]
        batch = seal_batch(columns)
        taken = split_batch_body(batch.body())
        assert [ref.field for ref in taken.manifest.blocks] == [1, 9]
        assert taken.manifest == batch.manifest
        first, second = (
            open_block(
                key, field_class, ref, taken.manifest.batch_id, taken.manifest.records, block, True
            )
            for key, field_class, ref, block in zip(
                (KEY, OTHER_KEY),
                (FieldClass.CORE, FieldClass.GENERAL),
                taken.manifest.blocks,
                taken.blocks,
                strict=True,
            )
        )
        assert values_of(first.cells) == [b"bb", b"cc"]
        assert values_of(second.cells) == [b"a", None]

    def test_values_of_any_buffer(self) -> None:
        made = Cells.from_list(VALUES, string_like=True)
        for values in (memoryview(bytes(made.values)), np.frombuffer(made.values, np.uint8)):
            same = replace(made, values=values)
            assert seal(replace(column(), cells=same)).values() == list(VALUES)

    def test_cells_larger_than_an_arena(self) -> None:
        some = [b"x", b"y" * 300_000, None, b"z" * LIMITS.cell_bytes]
        assert seal(column(some)).values() == some


class TestKeySchedule:
    """The derivation, done again step by step from the specification."""

    def hkdf(self, key: bytes, info: bytes) -> bytes:
        extracted = hmac.digest(bytes(32), key, "sha256")
        return hmac.digest(extracted, info + b"\x01", "sha256")

    @pytest.mark.threat("C13")
    def test_salt_batch_key_cell_keys_and_cells(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn = iter([b"B" * 16, b"R" * 32])
        monkeypatch.setattr(secrets, "token_bytes", lambda size: next(drawn))
        sealed = seal(column([b"Ada", None]))
        assert next(drawn, None) is None
        cells = b"Ada\x80".ljust(16, b"\0"), bytes(16)
        plaintext = struct.pack("<2I", 16, 16) + b"".join(cells)
        salt_key = self.hkdf(KEY, framed(Label.SALT_KEY))
        message = b"R" * 32 + hashlib.sha256(plaintext).digest()
        salt = hmac.digest(salt_key, message, "sha256")[:16]
        assert (sealed.batch_id, sealed.ref.salt) == (b"B" * 16, salt)
        batch_key = self.hkdf(KEY, framed(Label.BATCH_KEY, b"B" * 16, salt))
        stream = keys_of(batch_key, 2)
        for position, cell in enumerate(cells):
            key = stream[32 * position : 32 * position + 32]
            assert cell_key(KEY, b"B" * 16, salt, position).expose() == key
            assert AESGCM(key).decrypt(bytes(12), sealed.cell(position), None) == cell
        assert sealed.block[:8] == struct.pack("<2I", 32, 32)

    def test_the_keystream_is_aes_ctr_from_zero(self) -> None:
        # The first block is AES-256 of the zero block, here under the zero key: a known answer.
        assert keys_of(bytes(32), 1)[:16].hex() == "dc95c078a2408989ad48a21492842087"

    @pytest.mark.threat("V2")
    def test_two_plaintexts_never_share_a_cell_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(secrets, "token_bytes", bytes)
        one, other = seal(column([b"first"])), seal(column([b"other"]))
        again = seal(column([b"first"]))
        assert one.batch_id == other.batch_id
        keys = [cell_key(KEY, each.batch_id, each.ref.salt, 0) for each in (one, other, again)]
        assert keys[0] != keys[1]
        # The control: only the plaintext made the difference.
        assert keys[0] == keys[2]
        assert one.block == again.block

    @pytest.mark.threat("V2")
    def test_the_same_bytes_cut_differently_are_two_plaintexts(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(secrets, "token_bytes", bytes)
        # Both are 32 zero bytes once padded.
        two, one = seal(column([None, None])), seal(column([None], field_class=FieldClass.CORE))
        assert (two.lengths, one.lengths) == ((32, 32), (48,))
        assert two.ref.salt != one.ref.salt

    @pytest.mark.threat("C16")
    def test_a_thousand_equal_values_are_a_thousand_ciphertexts(self) -> None:
        sealed = seal(column([b"same"] * 1_000))
        assert len({sealed.cell(at) for at in range(1_000)}) == 1_000

    @pytest.mark.threat("C16")
    @pytest.mark.threat("C12")
    def test_every_call_draws_its_own_batch_id_and_salt(self) -> None:
        drawn = [seal(column()) for _ in range(50)]
        assert len({one.batch_id for one in drawn}) == len({one.ref.salt for one in drawn}) == 50


class TestTampering:
    @pytest.fixture(scope="class")
    @classmethod
    def sealed(cls) -> Sealed:
        return seal(column([b"Ada", None, b"Grace"]))

    def test_the_control_opens(self, sealed: Sealed) -> None:
        assert sealed.values() == [b"Ada", None, b"Grace"]
        assert sealed.with_block(sealed.block).values() == [b"Ada", None, b"Grace"]

    @pytest.mark.threat("C11")
    @pytest.mark.parametrize("rehashed", [False, True])
    def test_every_flipped_byte(self, sealed: Sealed, rehashed: bool) -> None:
        for at in range(len(sealed.block)):
            changed = bytearray(sealed.block)
            changed[at] ^= 1 << (at % 8)
            block = bytes(changed)
            refuse(sealed.with_block(block) if rehashed else replace(sealed, block=block))

    @pytest.mark.parametrize("rehashed", [False, True])
    def test_every_cut_and_a_tail(self, sealed: Sealed, rehashed: bool) -> None:
        for block in (
            *(sealed.block[:end] for end in range(len(sealed.block))),
            sealed.block + b"0",
        ):
            refuse(sealed.with_block(block) if rehashed else replace(sealed, block=block))

    @pytest.mark.threat("C1")
    @pytest.mark.parametrize("rehashed", [False, True])
    def test_every_pair_of_cells_swapped(self, rehashed: bool) -> None:
        sealed = seal(column([b"%02d" % at for at in range(50)]))
        size, start = sealed.lengths[0], 4 * 50
        cells = [sealed.cell(at) for at in range(50)]
        refused = 0
        for one in range(50):
            for other in range(one):
                swapped = cells.copy()
                swapped[one], swapped[other] = swapped[other], swapped[one]
                block = sealed.block[:start] + b"".join(swapped)
                refuse(sealed.with_block(block) if rehashed else replace(sealed, block=block))
                refused += 1
        assert (refused, size) == (1_225, 32)

    @pytest.mark.threat("C1")
    def test_a_cell_of_another_field_or_batch_in_the_same_place(self, sealed: Sealed) -> None:
        for key in (KEY, OTHER_KEY):
            foreign = seal(column([b"Eve", None, b"Mallo"], key=key))
            assert foreign.lengths == sealed.lengths
            block = bytearray(sealed.block)
            block[12:44] = foreign.cell(0)
            refuse(sealed.with_block(bytes(block)))

    def test_every_other_circumstance(self, sealed: Sealed) -> None:
        others = [
            replace(sealed, key=OTHER_KEY),
            replace(sealed, batch_id=bytes(16)),
            replace(sealed, ref=replace(sealed.ref, salt=bytes(16))),
            replace(sealed, ref=replace(sealed.ref, sha256=bytes(32))),
            replace(sealed, ref=replace(sealed.ref, length=sealed.ref.length + 1)),
            replace(sealed, ref=replace(sealed.ref, padding=Padding.MULTIPLE_32)),
            replace(sealed, records=2),
            replace(sealed, records=4),
            replace(sealed, records=0),
            replace(sealed, erased=frozenset({1})),
            replace(sealed, field_class=FieldClass.CORE),
        ]
        for other in others:
            refuse(other)

    def test_erased_cells_are_exactly_those_that_should_be(self, sealed: Sealed) -> None:
        emptied = sealed.erase(0, 2)
        assert emptied.values() == [None, None, None]
        for erased in ((), (0,), (2,), (0, 1), (0, 1, 2), (0, 2, 3), (-1, 0, 2)):
            refuse(replace(emptied, erased=frozenset(erased)))

    def test_a_cell_that_was_erased_does_not_come_back(self, sealed: Sealed) -> None:
        refuse(replace(sealed, erased=frozenset({2})))

    def test_the_record_that_did_not_open_is_named_past_erased_ones(self, sealed: Sealed) -> None:
        emptied = sealed.erase(0)
        changed = bytearray(emptied.block)
        changed[-1] ^= 1
        with pytest.raises(IntegrityError, match="record 2"):
            emptied.with_block(bytes(changed)).open()

    def test_nothing_secret_is_in_the_error(self, sealed: Sealed) -> None:
        with pytest.raises(IntegrityError) as caught:
            replace(sealed, key=OTHER_KEY).open()
        told = repr(caught.value) + repr(caught.value.__cause__)
        assert OTHER_KEY.hex() not in told
        assert repr(OTHER_KEY)[2:-1] not in told
        assert "Ada" not in told


class TestWrongPadding:
    """A holder of the key seals, under the right keys, what no honest client would."""

    TIGHT = (b"seventeen bytes..", b"short", None)

    def test_the_control_opens(self) -> None:
        sizes = (32, 16, 16)
        cells = [padded_to(value, size) for value, size in zip(self.TIGHT, sizes, strict=True)]
        sealed = joined(cells, base_of(Padding.MULTIPLE_16))
        assert sealed.values() == list(self.TIGHT)
        uniform = joined([padded_to(v, 32) for v in self.TIGHT], base_of(Padding.UNIFORM))
        assert uniform.values() == list(self.TIGHT)

    @pytest.mark.parametrize(
        "cell",
        [
            b"no terminator...",
            b"after\x80".ljust(15, b"\0") + b"\x01",
            b"after\x80\x80".ljust(16, b"\0")[:15] + b"\x7f",
            b"\x01".ljust(16, b"\0"),
            b"\x81".ljust(16, b"\0"),
            bytes(15) + b"\x01",
            bytes(8) + b"\xff" * 8,
            bytes(7) + b"\x80" + b"\x01" + bytes(7),
        ],
    )
    @pytest.mark.parametrize("mode", [Padding.UNIFORM, Padding.MULTIPLE_16])
    def test_no_terminator_or_something_after_it(self, cell: bytes, mode: Padding) -> None:
        refuse(joined([padded_to(b"fine", 16), cell], base_of(mode)))

    def test_the_terminator_at_every_place(self) -> None:
        for length in range(64):
            value = b"\x80" * length
            size = (length + 16) // 16 * 16
            assert joined([padded_to(value, size)], base_of(Padding.UNIFORM)).values() == [value]

    @pytest.mark.parametrize(
        ("mode", "field_class", "sizes"),
        [
            # not the tight length
            (Padding.MULTIPLE_16, FieldClass.GENERAL, (48, 16, 16)),
            (Padding.MULTIPLE_16, FieldClass.GENERAL, (32, 32, 16)),
            (Padding.MULTIPLE_16, FieldClass.SENSITIVE, (32, 16, 32)),
            (Padding.MULTIPLE_32, FieldClass.CORE, (64, 32, 32)),
            (Padding.MULTIPLE_32, FieldClass.CORE, (32, 32, 64)),
            # the wrong multiple
            (Padding.MULTIPLE_32, FieldClass.CORE, (32, 16, 32)),
            (Padding.UNIFORM, FieldClass.CORE, (48, 48, 48)),
            # not one length
            (Padding.UNIFORM, FieldClass.GENERAL, (32, 16, 16)),
            (Padding.UNIFORM, FieldClass.GENERAL, (32, 32, 16)),
            (Padding.UNIFORM, FieldClass.GENERAL, (32, 32, 48)),
            # one length, but none that a cell needs
            (Padding.UNIFORM, FieldClass.GENERAL, (48, 48, 48)),
            (Padding.UNIFORM, FieldClass.GENERAL, (1_024, 1_024, 1_024)),
            (Padding.UNIFORM, FieldClass.GENERAL, (2_048, 1_024, 1_024)),
        ],
    )
    def test_other_lengths(
        self, mode: Padding, field_class: FieldClass, sizes: tuple[int, ...]
    ) -> None:
        cells = [padded_to(value, size) for value, size in zip(self.TIGHT, sizes, strict=True)]
        refuse(joined(cells, base_of(mode, field_class)))

    @pytest.mark.parametrize("size", [1_040, 4_096, 1_024])
    def test_above_1024_only_powers_of_two(self, size: int) -> None:
        long = b"v" * 1_030
        good = [padded_to(long, 2_048), padded_to(b"a", 1_024), padded_to(None, 1_024)]
        assert joined(good, base_of(Padding.UNIFORM)).values() == [long, b"a", None]
        wrong = (long, b"a", None) if size != 1_024 else (long[:1_000], b"a", b"b")
        first = size if size != 1_024 else 2_048
        cells = [padded_to(wrong[0], first), *(padded_to(v, 1_024) for v in wrong[1:])]
        refuse(joined(cells, base_of(Padding.UNIFORM)))
        refuse(joined([good[0], padded_to(b"a", 16), good[2]], base_of(Padding.UNIFORM)))

    @pytest.mark.parametrize(
        ("mode", "field_class", "string_like"),
        [
            (Padding.MULTIPLE_16, FieldClass.CORE, True),
            (Padding.MULTIPLE_32, FieldClass.GENERAL, True),
            (Padding.MULTIPLE_32, FieldClass.SENSITIVE, True),
            (Padding.MULTIPLE_16, FieldClass.GENERAL, False),
            (Padding.MULTIPLE_32, FieldClass.CORE, False),
        ],
    )
    def test_a_mode_of_another_class_or_type(
        self, mode: Padding, field_class: FieldClass, string_like: bool
    ) -> None:
        base = base_of(mode, field_class, string_like=string_like)
        # 31 bytes and the terminator fit every mode's length.
        cells = [padded_to(b"v" * 31, 32)]
        refuse(joined(cells, base))
        tight = replace(base, ref=replace(base.ref, padding=Padding.UNIFORM))
        assert joined(cells, tight).values() == [b"v" * 31]

    def test_a_value_longer_than_a_cell_may_be(self) -> None:
        base = base_of(Padding.UNIFORM)
        size = 2 * LIMITS.cell_bytes
        longest = joined([padded_to(b"v" * LIMITS.cell_bytes, size)], base)
        assert longest.values() == [b"v" * LIMITS.cell_bytes]
        refuse(joined([padded_to(b"v" * (LIMITS.cell_bytes + 1), size)], base))

    def test_a_ciphertext_without_a_cell(self) -> None:
        base = base_of(Padding.UNIFORM)
        key = cell_key(KEY, base.batch_id, base.ref.salt, 0).expose()
        tag = AESGCM(key).encrypt(bytes(12), b"", None)
        refuse(replace(base.with_block(struct.pack("<I", 16) + tag), records=1))


class TestPaddingAfterErasure:
    def test_the_longest_may_be_the_erased_one(self) -> None:
        some = [b"v" * 100, b"a", None]
        sealed = seal(column(some)).erase(0)
        assert set(sealed.lengths[1:]) == {112 + 16}
        assert sealed.values() == [None, b"a", None]

    def test_the_longest_may_have_been_a_large_one(self) -> None:
        for left in ([b"a", None], [b"a", b"v" * 1_500], [b"w" * 5_000, None]):
            some = [b"v" * 3_000, *left]
            assert seal(column(some)).erase(0).values() == [None, *left]

    @pytest.mark.parametrize(
        "sizes", [(0, 48, 32), (0, 32, 16), (0, 16, 16), (0, 1_040, 1_040), (0, 2_048, 1_024)]
    )
    def test_but_one_length_it_is(self, sizes: tuple[int, ...]) -> None:
        cells = [padded_to(b"", 16), *(padded_to(b"seventeen bytes.."[:15], s) for s in sizes[1:])]
        sealed = joined(cells, base_of(Padding.UNIFORM)).erase(0)
        if sizes == (0, 16, 16):
            assert sealed.values()[1] == b"seventeen bytes"
        else:
            refuse(sealed)

    def test_and_of_the_class_s_unit(self) -> None:
        cells = [padded_to(b"", 32), padded_to(b"a", 48), padded_to(b"b", 48)]
        refuse(joined(cells, base_of(Padding.UNIFORM, FieldClass.CORE)).erase(0))
        control = joined(cells, base_of(Padding.UNIFORM, FieldClass.GENERAL)).erase(0)
        assert control.values() == [None, b"a", b"b"]

    def test_tight_modes_stay_tight(self) -> None:
        cells = [padded_to(b"", 16), padded_to(b"a", 32)]
        refuse(joined(cells, base_of(Padding.MULTIPLE_16)).erase(0))


class TestLengthsTellLittle:
    def test_two_values_of_unlike_length_look_alike(self) -> None:
        sealed = seal(column([b"Male", b"Female", None, b""] * 50))
        assert sealed.ref.padding is Padding.UNIFORM
        assert len(set(sealed.lengths)) == 1

    @pytest.mark.parametrize(
        ("distinct", "mode"), [(256, Padding.UNIFORM), (257, Padding.MULTIPLE_16)]
    )
    @pytest.mark.parametrize("with_null", [False, True])
    @pytest.mark.parametrize("late", [False, True])
    def test_256_values_are_few_and_null_is_one(
        self, distinct: int, mode: Padding, with_null: bool, late: bool
    ) -> None:
        some: list[bytes | None] = [b"%d" % at for at in range(distinct - with_null)]
        some = [b"0"] * (2_000 * late) + some + [None] * with_null + [b"0"] * 40
        sealed = seal(column(some))
        assert sealed.ref.padding is mode
        # A null is not an empty value.
        assert rows_of_few_values(Cells.from_list([None, b""], string_like=True)) == 2
        assert {seal(column(some), engine).ref.padding for engine in ENGINES} == {mode}

    def test_numbers_are_uniform_however_many(self) -> None:
        some = [struct.pack("<Q", at) for at in range(600)]
        assert seal(column(some, string_like=False)).ref.padding is Padding.UNIFORM

    @pytest.mark.parametrize(
        ("field_class", "expected"), [(FieldClass.GENERAL, 16), (FieldClass.CORE, 32)]
    )
    def test_nulls_alone_have_the_least_length(
        self, field_class: FieldClass, expected: int
    ) -> None:
        assert seal(column([None, None], field_class=field_class)).lengths == (expected + 16,) * 2

    @given(st.lists(st.integers(1, 5_000), min_size=1, max_size=20), st.sampled_from([16, 32]))
    def test_lengths_as_the_specification_says_them(self, needed: list[int], unit: int) -> None:
        def power(size: int) -> int:
            return next(p for p in (1_024, 2_048, 4_096, 8_192) if p >= size)

        def multiple(size: int) -> int:
            return -(-size // unit) * unit

        widest = multiple(max(needed))
        uniform = [widest if widest <= 1_024 else power(size) for size in needed]
        field_class = FieldClass.CORE if unit == 32 else FieldClass.GENERAL
        cells = Cells.from_list([b"v" * (size - 1) for size in needed], string_like=True)
        for mode, expected in (
            (Padding.UNIFORM, uniform),
            (Padding.of_text(field_class), [multiple(size) for size in needed]),
        ):
            for engine in ENGINES:
                shape = shape_of(engine.measure(cells, unit), cells.count, mode, field_class)
                assert shape.total == sum(expected)
                assert shaped_sizes(np.array(needed), shape).tolist() == expected

    @pytest.mark.threat("V1")
    def test_no_column_of_the_telco_table_is_told_by_lengths(self) -> None:
        with shared_path("data", "telco_churn.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[1:4_097]
        told = 0
        for values in zip(*rows, strict=True):
            texts = [value.encode() for value in values]
            told += len(set(map(len, texts))) > 1
            assert len(set(seal(column(texts)).lengths)) == 1
        # The control: without padding most columns would have differed.
        assert told > 10


class TestOneCell:
    def test_its_key_opens_it_and_nothing_else(self) -> None:
        sealed = seal(column())
        keys = [
            cell_key(KEY, sealed.batch_id, sealed.ref.salt, position)
            for position in range(len(VALUES))
        ]
        for one, key in enumerate(keys):
            assert open_cell(key, sealed.cell(one)) == VALUES[one]
            for other in set(range(len(VALUES))) - {one}:
                with pytest.raises(IntegrityError):
                    open_cell(key, sealed.cell(other))

    def test_far_positions_have_the_key_of_their_block(self) -> None:
        sealed = seal(column([b"%d" % at for at in range(1_000)]))
        for position in (0, 1, 255, 256, 999):
            key = cell_key(KEY, sealed.batch_id, sealed.ref.salt, position)
            assert open_cell(key, sealed.cell(position)) == b"%d" % position

    @pytest.mark.parametrize(
        "padded",
        [
            b"",
            b"no terminator...",
            b"fifteen bytes\x80\0",
            b"more\x80".ljust(15) + b"\x01",
            b"sixteen bytes...\x80",  # well ended, and of a length that no cell has
        ],
    )
    def test_a_cell_padded_otherwise(self, padded: bytes) -> None:
        with pytest.raises(IntegrityError):
            open_cell(CellKey(KEY), AESGCM(KEY).encrypt(bytes(12), padded, None))
        control = AESGCM(KEY).encrypt(bytes(12), b"fifteen bytes..\x80", None)
        assert open_cell(CellKey(KEY), control) == b"fifteen bytes.."

    @pytest.mark.parametrize("sealed", [b"", b"short", bytes(32)])
    def test_what_is_no_cell(self, sealed: bytes) -> None:
        with pytest.raises(IntegrityError):
            open_cell(CellKey(KEY), sealed)

    @pytest.mark.parametrize("position", [-1, 65_536])
    def test_a_position_outside_any_batch(self, position: int) -> None:
        with pytest.raises(ApiMisuse):
            cell_key(KEY, b"b" * 16, b"s" * 16, position)

    def test_keys_are_equal_only_to_themselves(self) -> None:
        assert CellKey(KEY) == CellKey(bytes(KEY))
        assert CellKey(KEY) != CellKey(OTHER_KEY)


class TestLimitsAndMisuse:
    def test_a_cell_at_the_limit_and_one_above(self) -> None:
        most = LIMITS.cell_bytes
        assert seal(column([b"v" * most])).records == 1
        with pytest.raises(LimitExceeded, match="field 3, record 1"):
            seal(column([b"a", b"v" * (most + 1)]))

    def test_a_block_above_the_limit(self) -> None:
        rows = [b"v" * 600_000] * 16
        with pytest.raises(LimitExceeded, match="field 3: a block"):
            seal(column(rows))
        assert seal(column(rows[:15])).records == 15

    def test_a_batch_above_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("protocol.blocks.LIMITS", Limits(batch_bytes=100))
        with pytest.raises(LimitExceeded):
            seal_batch([column([b"a"], field=field) for field in range(3)])

    @pytest.mark.threat("C13")
    def test_records_at_the_limit_and_one_above(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cells_module, "LIMITS", Limits(batch_records=1_000))
        assert seal(column([b"a"] * 1_000)).records == 1_000
        with pytest.raises(LimitExceeded):
            seal(column([b"a"] * 1_001))

    @pytest.mark.parametrize(
        "columns",
        [
            [],
            [column([])],
            [column([b"a"], field=1), column([b"a", b"b"], field=2)],
            [column([b"a"]), column([b"b"])],
        ],
    )
    @pytest.mark.parametrize("act", [seal_batch, plan_rows])
    def test_columns_that_are_no_batch(
        self, columns: list[ColumnToSeal], act: Callable[[list[ColumnToSeal]], object]
    ) -> None:
        with pytest.raises(ApiMisuse):
            act(columns)

    @pytest.mark.parametrize("size", [0, 31, 33])
    def test_a_key_of_another_size(self, size: int) -> None:
        with pytest.raises(ApiMisuse):
            column(key=bytes(size))
        with pytest.raises(ApiMisuse):
            replace(seal(column()), key=bytes(size)).open()
        with pytest.raises(ApiMisuse):
            cell_key(bytes(size), b"b" * 16, b"s" * 16, 0)

    def test_columns_and_keys_neither_print_nor_pickle(self) -> None:
        one = column()
        assert "Ada" not in repr(one)
        assert repr(KEY)[2:-1] not in repr(one)
        assert repr(CellKey(KEY)) == "<CellKey>"
        for secret in (one, CellKey(KEY)):
            with pytest.raises(TypeError):
                pickle.dumps(secret)
        with pytest.raises(TypeError):
            copy.copy(one)

    def test_no_batch_id_can_be_passed_in(self) -> None:
        with pytest.raises(TypeError):
            seal_batch([column()], batch_id=b"b" * 16)  # type: ignore[call-arg]


class TestPlanning:
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def small_limits(cls) -> Iterator[None]:
        limits = Limits(block_bytes=6_000, batch_bytes=14_000, batch_records=200, cell_bytes=2_000)
        with pytest.MonkeyPatch.context() as patch:
            for module in (cells_module, padding, blocks_module):
                patch.setattr(module, "LIMITS", limits)
            yield

    def fits(self, columns: Sequence[ColumnToSeal], rows: int) -> bool:
        first = [cells_module._first_rows(one, rows) for one in columns]
        try:
            batch: SealedBatch = seal_batch(first)
            batch.body()
        except LimitExceeded:
            return False
        return True

    def test_all_of_what_fits(self) -> None:
        assert plan_rows([column([b"a", b"b"]), column([b"c", None], field=4)]) == 2

    def test_never_more_records_than_a_batch_may_have(self) -> None:
        assert plan_rows([column([None] * 201, string_like=False)]) == 5_999 // 36

    @given(
        st.lists(
            st.tuples(st.integers(0, 400), st.integers(0, 1_980), st.booleans()),
            min_size=1,
            max_size=4,
        ),
        st.integers(1, 220),
    )
    def test_what_is_planned_is_sealed_and_no_more_would_be(
        self, kinds: list[tuple[int, int, bool]], rows: int
    ) -> None:
        columns = [
            column(
                [b"%d" % at * (at % 7) + b"v" * (wide if at == rare else 0) for at in range(rows)],
                field=number,
                string_like=string_like,
            )
            for number, (rare, wide, string_like) in enumerate(kinds)
        ]
        planned = plan_rows(columns)
        assert self.fits(columns, planned)
        # The manifest's size is bounded, not computed, so a batch may end one row early.
        later = [more for more in range(planned + 1, rows + 1) if self.fits(columns, more)]
        assert all(self.nearly_full(columns, more) for more in later)

    def nearly_full(self, columns: Sequence[ColumnToSeal], rows: int) -> bool:
        first = [cells_module._first_rows(one, rows) for one in columns]
        size = len(seal_batch(first).body())
        return size + 28 + 67 * len(columns) > 14_000

    def test_sizes_by_rows_are_those_that_sealing_gives(self) -> None:
        some = [b"%d" % at * (at % 9) for at in range(150)]
        for one in (column(some), column(some, string_like=False)):
            predicted = cells_module._block_bytes_by_rows(one)
            for rows in (1, 2, 77, 100):
                first = cells_module._first_rows(one, rows)
                assert seal(first).ref.length == predicted[rows - 1]

    def test_a_mode_that_changes_on_the_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        limits = Limits(block_bytes=40_000, cell_bytes=2_000)
        monkeypatch.setattr(cells_module, "LIMITS", limits)
        one = column([b"v" * 100, *(b"%d" % at for at in range(700))])
        # 256 values at 112 bytes would be 33,792; from the 257th on each has 16.
        predicted = cells_module._block_bytes_by_rows(one)
        assert predicted[255] == 256 * (112 + 20)
        assert predicted[256] == 112 + 256 * 16 + 257 * 20
        assert plan_rows([one]) == 701

    def test_a_first_record_that_no_batch_has_room_for(self) -> None:
        columns = [column([b"v" * 1_999], field=field) for field in range(7)]
        with pytest.raises(LimitExceeded):
            plan_rows(columns)
        with pytest.raises(LimitExceeded, match="record 0"):
            plan_rows([column([b"v" * 2_001])])


def test_what_the_server_sees_of_a_batch_holds_no_value() -> None:
    canary = b"a canary of sixteen bytes or more"
    batch = seal_batch([column([canary] * 40)])
    seen = to_bytes(batch.manifest) + b"".join(batch.blocks)
    assert canary not in seen
    assert all(canary[at : at + 8] not in seen for at in range(len(canary) - 8))
