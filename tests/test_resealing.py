"""Sealing a block again under the key of a newer epoch, with what was erased left empty."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.crypto import cells as cells_module
from client.crypto.block_keys import cell_key, derive_batch_key
from client.crypto.cells import reseal_block
from client.crypto.engines import Engine, Fault
from client.crypto.padding import TERMINATOR
from protocol.blocks import FieldClass, Padding, empty_cells
from protocol.errors import ApiMisuse, IntegrityError
from tests.every_engine import ENGINES
from tests.sealing import KEY, OTHER_KEY, Sealed, column, joined, padded_to, seal, values_of


def reseal(old: Sealed, key: bytes = OTHER_KEY, engine: Engine | None = None) -> Sealed:
    ref, block = reseal_block(
        old.key,
        key,
        old.field_class,
        old.ref,
        old.ref.epoch + 1,
        old.batch_id,
        old.records,
        old.block,
        old.string_like,
        old.erased,
        engine,
    )
    return replace(old, ref=ref, block=block, key=key)


def padded_lengths(sealed: Sealed) -> list[int]:
    return [length and length - 16 for length in sealed.lengths]


cell_values = st.one_of(st.none(), st.binary(max_size=40), st.just(b"v" * 1_100))


class TestWhatComesBack:
    @given(
        st.lists(cell_values, min_size=1, max_size=20),
        st.sampled_from([FieldClass.GENERAL, FieldClass.CORE]),
        st.booleans(),
        st.data(),
    )
    def test_the_cells_that_were_left(
        self,
        some: list[bytes | None],
        field_class: FieldClass,
        string_like: bool,
        data: st.DataObject,
    ) -> None:
        gone = data.draw(st.sets(st.integers(0, len(some) - 1)))
        old = seal(column(some, field_class=field_class, string_like=string_like)).erase(*gone)
        new = reseal(old)
        left = [None if at in gone else value for at, value in enumerate(some)]
        assert values_of(new.open().cells) == left
        assert new.open().erased.tolist() == [at in gone for at in range(len(some))]
        # Again, and after more was erased.
        more = gone | data.draw(st.sets(st.integers(0, len(some) - 1)))
        later = reseal(new.erase(*more), KEY)
        left = [None if at in more else value for at, value in enumerate(some)]
        assert values_of(later.open().cells) == left

    def test_it_stays_in_its_batch_and_place_under_another_epoch_and_salt(self) -> None:
        old = seal(column([b"a", b"b", b"c"])).erase(1)
        new = reseal(old)
        assert new.ref.field == old.ref.field
        assert new.ref.epoch == old.ref.epoch + 1
        assert new.ref.salt != old.ref.salt
        assert (new.ref.length, new.ref.sha256) == (
            len(new.block),
            hashlib.sha256(new.block).digest(),
        )
        assert new.lengths[1] == 0
        # The third cell is under the third key, though it is the second that is there.
        sealed, key = new.cell(2), cell_key(OTHER_KEY, new.batch_id, new.ref.salt, 2)
        assert cells_module.open_cell(key, sealed) == b"c"

    def test_every_engine_makes_the_same_block(self, monkeypatch: pytest.MonkeyPatch) -> None:
        old = seal(column([b"%d" % at for at in range(400)])).erase(*range(0, 300, 7))
        monkeypatch.setattr(secrets, "token_bytes", bytes)
        made = {reseal(old, engine=engine).block for engine in ENGINES}
        assert len(made) == 1

    @pytest.mark.threat("V2")
    def test_doing_it_again_seals_nothing_twice_under_one_cell_key(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = seal(column([b"a", b"b"]))
        keys = {derive_batch_key(OTHER_KEY, old.batch_id, reseal(old).ref.salt) for _ in range(20)}
        assert len(keys) == 20
        # Not even where the random bytes are the same and only what is left differs, ...
        monkeypatch.setattr(secrets, "token_bytes", bytes)
        salts = {reseal(each).ref.salt for each in (old, old.erase(0), old.erase(1))}
        assert len(salts) == 3
        # ... of which the control says that nothing else did.
        assert reseal(old).ref.salt == reseal(old).ref.salt


class TestWhatItShows:
    @given(
        st.lists(cell_values, min_size=1, max_size=20),
        st.sampled_from([FieldClass.GENERAL, FieldClass.CORE]),
        st.booleans(),
        st.data(),
    )
    def test_every_length_and_the_mode_stay(
        self,
        some: list[bytes | None],
        field_class: FieldClass,
        string_like: bool,
        data: st.DataObject,
    ) -> None:
        gone = data.draw(st.sets(st.integers(0, len(some) - 1)))
        old = seal(column(some, field_class=field_class, string_like=string_like)).erase(*gone)
        new = reseal(old)
        assert (new.lengths, new.ref.padding) == (old.lengths, old.ref.padding)
        assert new.ref.length == old.ref.length

    def test_a_uniform_block_is_not_narrower_for_what_was_erased(self) -> None:
        old = seal(column([b"v" * 100, b"a", None]))
        new = reseal(old.erase(0))
        assert padded_lengths(new) == [0, 112, 112]
        assert padded_lengths(reseal(new.erase(0, 1), KEY)) == [0, 0, 112]
        # The control: sealed without it, it would have been.
        assert padded_lengths(seal(column([b"a", None]))) == [16, 16]

    def test_nor_is_one_with_a_long_cell(self) -> None:
        old = seal(column([b"v" * 3_000, b"a", b"w" * 1_500]))
        assert padded_lengths(reseal(old.erase(0))) == [0, 1_024, 2_048]
        assert padded_lengths(reseal(old.erase(0, 2))) == [0, 1_024, 0]
        assert padded_lengths(reseal(old)) == [4_096, 1_024, 2_048]

    def test_text_stays_what_it_was_once_few_values_are_left(self) -> None:
        some = [b"%d" % at * (at % 9 + 1) for at in range(300)]
        old = seal(column(some)).erase(*range(44))
        assert reseal(old).ref.padding is Padding.MULTIPLE_16
        # The control: sealed without the others, it would be uniform.
        assert seal(column(some[44:])).ref.padding is Padding.UNIFORM

    def test_a_uniform_block_stays_so_however_many_values_it_has(self) -> None:
        cells = [padded_to(b"%d" % at, 16) for at in range(300)]
        base = seal(column([b"x"]))
        foreign = joined(cells, replace(base, ref=replace(base.ref, padding=Padding.UNIFORM)))
        assert reseal(foreign).ref.padding is Padding.UNIFORM

    def test_of_a_block_without_cells_nothing_but_zeros(self) -> None:
        for string_like in (True, False):
            old = seal(column([b"a", b"b", None], string_like=string_like)).erase(0, 1, 2)
            new = reseal(old)
            assert new.block == bytes(12)
            assert reseal(new, KEY).values() == [None, None, None]


class TestWhatIsRefused:
    def test_whatever_does_not_open(self) -> None:
        old = seal(column([b"a", b"b", b"c"])).erase(1)
        flipped = bytearray(old.block)
        flipped[-1] ^= 1
        others: Sequence[Sealed] = [
            replace(old, block=bytes(flipped)),
            old.with_block(bytes(flipped)),
            replace(old, erased=frozenset()),
            replace(old, erased=frozenset({0, 1})),
            replace(old, key=bytes(32)),
            replace(old, batch_id=bytes(16)),
            old.with_block(empty_cells(old.block, 3, [0])),
        ]
        for other in others:
            with pytest.raises(IntegrityError):
                reseal(other)
        assert values_of(reseal(old).open().cells) == [b"a", None, b"c"]

    def test_a_cell_badly_padded(self) -> None:
        base = seal(column([b"x"]))
        bare = joined([padded_to(b"a", 16), bytes([TERMINATOR + 1]) * 16], base)
        with pytest.raises(IntegrityError, match="record 1") as caught:
            reseal(bare)
        assert getattr(caught.value.__cause__, "fault", None) is Fault.PADDING

    @pytest.mark.parametrize("key", [KEY, bytes(31), b""])
    def test_the_key_that_it_had_or_none_at_all(self, key: bytes) -> None:
        with pytest.raises(ApiMisuse):
            reseal(seal(column([b"a"])), key)

    def test_the_old_key_opens_the_new_block_no_more(self) -> None:
        new = reseal(seal(column([b"a"])))
        with pytest.raises(IntegrityError):
            replace(new, key=KEY).open()
