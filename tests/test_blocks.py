"""Layout of blocks, manifests and uploads: what is taken, and everything that is not."""

from __future__ import annotations

import contextlib
import hashlib
import random
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import blocks
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    Address,
    BlockRef,
    FieldClass,
    Manifest,
    Padding,
    catalog_class,
    catalog_field,
    cell_lengths,
    empty_cells,
    is_catalog,
    join_batch_body,
    join_bundle,
    manifest_bytes_at_most,
    split_batch_body,
    split_bundle,
    verify_block,
)
from protocol.errors import (
    ApiMisuse,
    LimitExceeded,
    MalformedMessage,
    ManifestMismatch,
    SealroomError,
)
from protocol.limits import LIMITS, Limits
from protocol.wire import from_bytes, to_bytes

COLLECTION = b"c" * 16


def block_of(*lengths: int) -> bytes:
    cells = b"".join(bytes([index + 1]) * length for index, length in enumerate(lengths))
    return struct.pack(f"<{len(lengths)}I", *lengths) + cells


def ref_to(block: bytes, field: int = 0) -> BlockRef:
    return BlockRef(
        field, 1, b"s" * 16, len(block), hashlib.sha256(block).digest(), Padding.UNIFORM
    )


def batch_of(*stored: bytes, records: int = 2) -> Manifest:
    refs = tuple(ref_to(block, field) for field, block in enumerate(stored))
    return Manifest(b"b" * 16, records, refs)


BLOCKS = (block_of(32, 48), block_of(0, 32), block_of(64, 64))


class TestAddresses:
    def test_catalog_numbers_name_their_class_and_no_other_number_does(self) -> None:
        for field_class in FieldClass:
            number = catalog_field(field_class)
            assert number == 0x8000 | field_class
            assert is_catalog(number)
            assert catalog_class(number) is field_class
        assert not is_catalog(0x7FFF)

    @pytest.mark.parametrize("number", [0, 0x7FFF, 0x8004, 0xFFFF])
    def test_other_numbers_are_no_catalog(self, number: int) -> None:
        with pytest.raises(MalformedMessage):
            catalog_class(number)

    def test_the_people_catalog_stands_alone_in_the_zero_collection(self) -> None:
        assert Address(PEOPLE_COLLECTION, PEOPLE_FIELD, 1).field == 0x8003
        with pytest.raises(MalformedMessage):
            Address(PEOPLE_COLLECTION, 1, 1)
        with pytest.raises(MalformedMessage):
            Address(COLLECTION, PEOPLE_FIELD, 1)

    def test_a_reserved_number_is_no_address(self) -> None:
        with pytest.raises(MalformedMessage):
            Address(COLLECTION, 0x8004, 1)

    def test_the_encoding_is_every_part_big_endian(self) -> None:
        assert Address(COLLECTION, 0x0102, 0x03040506).encode() == COLLECTION + bytes(
            [1, 2, 3, 4, 5, 6]
        )

    def test_the_text_form_tells_field_and_epoch(self) -> None:
        assert "field 2 epoch 3" in str(Address(COLLECTION, 2, 3))

    @given(
        st.lists(
            st.builds(
                Address,
                st.binary(min_size=16, max_size=16).filter(any),
                st.integers(0, 0x7FFF),
                st.integers(0, 0xFFFF_FFFF),
            ),
            min_size=2,
            max_size=6,
        )
    )
    def test_order_is_that_of_the_parts_and_of_the_encodings(self, some: list[Address]) -> None:
        by_parts = sorted(some, key=lambda one: (one.collection, one.field, one.epoch))
        assert sorted(some) == by_parts
        assert sorted(some, key=to_bytes) == by_parts


class TestPaddingModes:
    def test_core_is_padded_in_32s_and_all_else_in_16s(self) -> None:
        assert {one: one.unit for one in FieldClass} == {
            FieldClass.GENERAL: 16,
            FieldClass.SENSITIVE: 16,
            FieldClass.CORE: 32,
            FieldClass.PEOPLE: 16,
        }
        assert Padding.of_text(FieldClass.CORE) is Padding.MULTIPLE_32
        assert Padding.of_text(FieldClass.SENSITIVE) is Padding.MULTIPLE_16


class TestManifests:
    def test_round_trip_to_the_same_bytes(self) -> None:
        manifest = batch_of(*BLOCKS)
        encoded = to_bytes(manifest)
        assert from_bytes(Manifest, encoded) == manifest
        assert manifest.ref(1) == manifest.blocks[1]
        assert not manifest.is_catalog

    def test_a_field_that_is_not_listed(self) -> None:
        with pytest.raises(ManifestMismatch):
            batch_of(*BLOCKS).ref(3)

    @pytest.mark.parametrize("fields", [(1, 0), (1, 1), (0, 2, 1)])
    def test_fields_out_of_order_or_twice(self, fields: tuple[int, ...]) -> None:
        refs = tuple(ref_to(BLOCKS[0], field) for field in fields)
        with pytest.raises(MalformedMessage, match="ascend"):
            Manifest(b"b" * 16, 2, refs)

    def test_a_catalog_alone_is_a_batch(self) -> None:
        assert Manifest(b"b" * 16, 2, (ref_to(BLOCKS[0], 0x8000),)).is_catalog

    @pytest.mark.parametrize("fields", [(0, 0x8000), (0x8000, 0x8001)])
    def test_a_catalog_with_company(self, fields: tuple[int, ...]) -> None:
        with pytest.raises(MalformedMessage, match="of its own"):
            Manifest(b"b" * 16, 2, tuple(ref_to(BLOCKS[0], field) for field in fields))

    def test_a_reserved_field(self) -> None:
        with pytest.raises(MalformedMessage, match="reserved"):
            Manifest(b"b" * 16, 2, (ref_to(BLOCKS[0], 0x8004),))

    def test_a_block_without_room_for_its_lengths(self) -> None:
        with pytest.raises(MalformedMessage, match="too short"):
            Manifest(b"b" * 16, 3, (ref_to(bytes(11)),))

    def test_a_block_of_erased_cells_only_is_lengths_only(self) -> None:
        assert Manifest(b"b" * 16, 3, (ref_to(bytes(12)),)).blocks[0].length == 12

    def test_more_bytes_than_a_batch_may_have(self) -> None:
        full = replace(ref_to(BLOCKS[0]), length=LIMITS.block_bytes)
        Manifest(b"b" * 16, 2, tuple(replace(full, field=field) for field in range(4)))
        with pytest.raises(LimitExceeded):
            Manifest(b"b" * 16, 2, tuple(replace(full, field=field) for field in range(5)))

    @pytest.mark.parametrize(
        "changed",
        [
            {"batch_id": b"b" * 15},
            {"records": 0},
            {"records": 65_537},
            {"blocks": ()},
            {"blocks": (replace(ref_to(BLOCKS[0]), epoch=2**32),)},
            {"blocks": (replace(ref_to(BLOCKS[0]), salt=b"s" * 17),)},
            {"blocks": (replace(ref_to(BLOCKS[0]), sha256=b"h" * 31),)},
            {"blocks": (replace(ref_to(BLOCKS[0]), length=16 * 2**20 + 1),)},
        ],
    )
    def test_a_part_of_another_size_does_not_travel(self, changed: dict[str, Any]) -> None:
        with pytest.raises((ApiMisuse, LimitExceeded, MalformedMessage)):
            to_bytes(replace(batch_of(*BLOCKS, records=2), **changed))

    def test_no_manifest_is_larger_than_planned_for(self) -> None:
        widest = BlockRef(0, 2**32 - 1, b"s" * 16, 2**18, b"h" * 32, Padding.MULTIPLE_32)
        for count in (1, 15, 16, 256):
            fields = range(0x7FFF - count + 1, 0x8000)
            refs = tuple(replace(widest, field=field) for field in fields)
            size = len(to_bytes(Manifest(b"b" * 16, 65_536, refs)))
            assert manifest_bytes_at_most(count) - 12 <= size <= manifest_bytes_at_most(count)


class TestUploads:
    def test_round_trip(self) -> None:
        manifest = batch_of(*BLOCKS)
        taken = split_batch_body(join_batch_body(manifest, BLOCKS))
        assert taken.manifest == manifest
        assert taken.manifest_bytes == to_bytes(manifest)
        assert taken.blocks == BLOCKS

    def test_the_layout(self) -> None:
        manifest = batch_of(*BLOCKS)
        encoded = to_bytes(manifest)
        expected = len(encoded).to_bytes(4, "big") + encoded + b"".join(BLOCKS)
        assert join_batch_body(manifest, BLOCKS) == expected

    def test_blocks_that_the_manifest_does_not_list_are_not_joined(self) -> None:
        manifest = batch_of(*BLOCKS)
        for wrong in (BLOCKS[:2], BLOCKS[::-1], (*BLOCKS, BLOCKS[0])):
            with pytest.raises(ManifestMismatch):
                join_batch_body(manifest, wrong)

    def test_every_cut_and_every_tail_is_refused(self) -> None:
        body = join_batch_body(batch_of(*BLOCKS), BLOCKS)
        for end in range(len(body)):
            with pytest.raises(MalformedMessage):
                split_batch_body(body[:end])
        with pytest.raises(MalformedMessage, match=r"inside the manifest$"):
            split_batch_body(body[:50])
        with pytest.raises(MalformedMessage):
            split_batch_body(body + b"\0")

    def test_every_flipped_byte_of_a_block_is_a_mismatch(self) -> None:
        manifest = batch_of(*BLOCKS)
        body = bytearray(join_batch_body(manifest, BLOCKS))
        for at in range(4 + len(to_bytes(manifest)), len(body)):
            body[at] ^= 1
            with pytest.raises(ManifestMismatch):
                split_batch_body(bytes(body))
            body[at] ^= 1

    def test_every_flipped_byte_before_the_blocks_is_refused_or_another_manifest(self) -> None:
        manifest = batch_of(*BLOCKS)
        body = bytearray(join_batch_body(manifest, BLOCKS))
        for at in range(4 + len(to_bytes(manifest))):
            body[at] ^= 1
            with contextlib.suppress(SealroomError):
                assert split_batch_body(bytes(body)).manifest != manifest
            body[at] ^= 1

    def test_a_body_over_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        manifest = batch_of(*BLOCKS)
        body = join_batch_body(manifest, BLOCKS)
        monkeypatch.setattr(blocks, "LIMITS", Limits(batch_bytes=len(body) - 1))
        with pytest.raises(LimitExceeded):
            split_batch_body(body)
        with pytest.raises(LimitExceeded):
            join_batch_body(manifest, BLOCKS)

    @given(st.lists(st.binary(max_size=40), min_size=1, max_size=8))
    def test_a_bundle_is_its_bodies(self, bodies: list[bytes]) -> None:
        assert split_bundle(join_bundle(bodies)) == tuple(bodies)

    def test_a_bundle_cut_off_anywhere_is_none(self) -> None:
        bundle = join_bundle([b"one", b"", b"three"])
        whole = {7: (b"one",), 11: (b"one", b"")}
        for end in range(len(bundle)):
            if end in whole:
                assert split_bundle(bundle[:end]) == whole[end]
                continue
            with pytest.raises(MalformedMessage):
                split_bundle(bundle[:end])
        for tail in (b"\0", b"\0\0\0\1", b"\xff\xff\xff\xff"):
            with pytest.raises(MalformedMessage):
                split_bundle(bundle + tail)

    def test_a_bundle_has_bounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ApiMisuse):
            join_bundle([])
        bundle = join_bundle([b"four", b"four"])
        for limits in (Limits(bundle_batches=1), Limits(bundle_bytes=len(bundle) - 1)):
            monkeypatch.setattr(blocks, "LIMITS", limits)
            with pytest.raises(LimitExceeded):
                split_bundle(bundle)
            with pytest.raises(LimitExceeded):
                join_bundle([b"four", b"four"])
        monkeypatch.setattr(blocks, "LIMITS", Limits(bundle_batches=2, bundle_bytes=len(bundle)))
        assert split_bundle(bundle) == (b"four", b"four")

    def test_verify_returns_the_block_itself(self) -> None:
        assert verify_block(ref_to(BLOCKS[0]), BLOCKS[0]) is BLOCKS[0]
        with pytest.raises(ManifestMismatch):
            verify_block(ref_to(BLOCKS[0]), BLOCKS[0][:-1] + b"\0")
        with pytest.raises(ManifestMismatch):
            verify_block(replace(ref_to(BLOCKS[0]), length=1), BLOCKS[0])

    @given(st.binary(max_size=200))
    def test_arbitrary_bytes_are_a_body_or_refused(self, body: bytes) -> None:
        try:
            taken = split_batch_body(body)
        except SealroomError:
            return
        assert join_batch_body(taken.manifest, taken.blocks) == body


class TestInsideABlock:
    def test_lengths_of_sealed_and_erased_cells(self) -> None:
        assert cell_lengths(block_of(32, 0, 2_048), 3) == (32, 0, 2_048)

    @pytest.mark.parametrize(
        ("block", "records"),
        [
            (b"", 1),
            (bytes(3), 1),
            (block_of(16), 1),
            (block_of(31), 1),
            (block_of(40), 1),
            (block_of(32) + b"x", 1),
            (block_of(32)[:-1], 1),
            (block_of(32), 2),
            (struct.pack("<2I", 2**32 - 16, 32), 2),
        ],
    )
    def test_what_is_no_block(self, block: bytes, records: int) -> None:
        with pytest.raises(MalformedMessage):
            cell_lengths(block, records)

    def test_erasing_leaves_the_neighbours_as_they_were(self) -> None:
        block = block_of(32, 48, 64)
        emptied = empty_cells(block, 3, {1})
        assert cell_lengths(emptied, 3) == (32, 0, 64)
        assert emptied[12:] == b"\x01" * 32 + b"\x03" * 64

    @given(st.lists(st.sampled_from([0, 32, 48]), min_size=1, max_size=12), st.randoms())
    def test_erasing_in_steps_or_at_once_gives_the_same_bytes(
        self, lengths: list[int], rng: random.Random
    ) -> None:
        block, count = block_of(*lengths), len(lengths)
        chosen = sorted(rng.sample(range(count), rng.randint(0, count)))
        in_steps = block
        for position in chosen:
            in_steps = empty_cells(in_steps, count, [position])
        assert in_steps == empty_cells(block, count, chosen)
        expected = tuple(0 if at in chosen else length for at, length in enumerate(lengths))
        assert cell_lengths(in_steps, count) == expected

    @pytest.mark.parametrize("position", [-1, 2])
    def test_a_position_outside_the_batch_is_our_mistake(self, position: int) -> None:
        with pytest.raises(ApiMisuse):
            empty_cells(block_of(32, 32), 2, [position])
