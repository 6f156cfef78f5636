"""Erasures, replacements and re-encryptions: conditions, and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Erasure, MovedBlock, Reason, Role
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    Address,
    FieldClass,
    Manifest,
    Padding,
)
from protocol.errors import (
    Conflict,
    LimitExceeded,
    ManifestMismatch,
    NotAuthorised,
    OutOfOrder,
)
from protocol.ledger import data as transitions
from protocol.ledger.contents import Batch
from protocol.limits import LIMITS
from protocol.merkle import leaf_hash, root_of
from protocol.wire import to_bytes
from tests.test_ledger_commits import commit
from tests.world import World, of_class, of_field

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE
NAMES = 0x8000


class Filled(World):
    """A vault with two batches of five records, of fields 0 (general) and 1 (core)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.people()
        self.data = self.collection(GENERAL, CORE)
        self.first, self.second = (self.records(self.data, 5) for _ in range(2))
        self.commit(self.owner, self.data, self.first, self.second)
        self.one, self.two = self.first.batch_id, self.second.batch_id

    def here(self, batch_id: bytes) -> Batch:
        return self.batch(self.data, batch_id)

    def erasing(self, *positions: int, batch_id: bytes | None = None) -> Erasure:
        return self.erasure(self.data, batch_id or self.one, positions)

    def judge_erasures(self, *erasures: Erasure, author: Identity | None = None) -> None:
        self.judge(author or self.owner, acts.Erase(self.data, Reason.REQUEST, erasures))

    def part(
        self, *moves: MovedBlock, part: int = 0, last: bool = True, upload: bytes = b"r" * 16
    ) -> acts.Reencrypt:
        return acts.Reencrypt(upload, self.data, part, last, moves)


@pytest.fixture
def world() -> Filled:
    return Filled()


# --- erasures


def test_an_erasure_empties_records_in_every_field(world: Filled) -> None:
    before, where = world.here(world.one), world.state.collections[world.data]
    erasure = world.erasing(1, 3)
    world.land(world.owner, acts.Erase(world.data, Reason.REQUEST, (erasure,)))
    batch = world.here(world.one)
    assert batch.erased == {1, 3}
    assert batch.records == 3
    for ref, was, said in zip(
        batch.manifest.blocks, before.manifest.blocks, erasure.blocks, strict=True
    ):
        assert ref == replace(was, length=said.length, sha256=said.after)
    assert replace(batch, manifest=before.manifest, erased=frozenset()) == before
    now = world.state.collections[world.data]
    assert (now.records, now.cells) == (where.records - 2, where.cells - 4) == (8, 16)
    assert [each.id for each in now.batches] == [each.id for each in where.batches]
    assert now.root() == root_of(leaf_hash(to_bytes(each.manifest)) for each in now.batches)
    assert world.here(world.two).manifest == world.second


def test_erasures_add_up(world: Filled) -> None:
    world.erase(world.owner, world.data, {world.one: [4], world.two: [0]})
    world.erase(world.owner, world.data, {world.one: [0, 1]})
    assert world.here(world.one).erased == {0, 1, 4}
    assert world.here(world.two).erased == {0}
    world.erase(world.owner, world.data, {world.one: [2, 3]})
    assert world.here(world.one).records == 0
    assert world.state.collections[world.data].records == 4


@pytest.mark.parametrize("role", [Role.ADMIN, Role.KEYLESS_ADMIN])
def test_an_erasure_needs_no_key(world: Filled, role: Role) -> None:
    admin = world.member(role)
    assert not any(a.field < 2 for a in world.opened[admin.member_id])
    world.erase(admin, world.data, {world.one: [0]})
    assert world.here(world.one).erased == {0}


def test_what_is_tainted_can_still_be_erased(world: Filled) -> None:
    bidder = world.member(Role.BIDDER, (of_class(GENERAL), of_class(CORE)))
    world.remove(bidder)
    assert Address(world.data, 0, 1) in world.tainted()
    world.erase(world.owner, world.data, {world.one: [0]})


def test_names_are_erased_as_records_are(world: Filled) -> None:
    names = next(b for b in world.state.collections[world.data].batches if b.manifest.is_catalog)
    records = world.state.collections[world.data].records
    world.erase(world.owner, world.data, {names.id: [0]})
    assert world.here(names.id).erased == {0}
    assert world.state.collections[world.data].records == records
    world.commit(world.owner, world.data, world.records(world.data))
    row = world.manifest(PEOPLE_COLLECTION, (PEOPLE_FIELD,), 1)
    world.commit(world.owner, PEOPLE_COLLECTION, row)
    world.erase(world.owner, PEOPLE_COLLECTION, {row.batch_id: [0]})


@pytest.mark.parametrize("position", [5, 6, 65_535])
def test_a_record_that_is_not_there_is_not_erased(world: Filled, position: int) -> None:
    for positions in ((position,), (0, position)):
        with pytest.raises(OutOfOrder, match=f"has no record {position}"):
            world.judge_erasures(world.erasing(*positions))


def test_a_record_is_erased_once(world: Filled) -> None:
    world.erase(world.owner, world.data, {world.one: [2]})
    for positions in ((2,), (1, 2), (2, 3)):
        with pytest.raises(OutOfOrder, match=r"record 2 of batch .* is erased"):
            world.judge_erasures(world.erasing(*positions))
    world.judge_erasures(world.erasing(1, 3))


def test_an_erasure_is_from_a_batch_of_its_collection(world: Filled) -> None:
    other = world.collection(CORE)
    elsewhere = world.records(other)
    world.commit(world.owner, other, elsewhere)
    there = world.erasure(other, elsewhere.batch_id, [0])
    for erasure in (there, replace(world.erasing(0), batch=b"x" * 16)):
        with pytest.raises(OutOfOrder, match="no batch"):
            world.judge_erasures(erasure)
    world.judge(world.owner, acts.Erase(other, Reason.REQUEST, (there,)))
    with pytest.raises(OutOfOrder, match="collection that is not there"):
        world.judge(world.owner, acts.Erase(b"x" * 16, Reason.REQUEST, (there,)))


def test_a_batch_is_erased_from_once_in_an_act(world: Filled) -> None:
    """Else the second would have to name what the first left."""
    twice = tuple(sorted((world.erasing(0), world.erasing(1)), key=to_bytes))
    with pytest.raises(OutOfOrder, match="twice in one act"):
        world.judge_erasures(*twice)
    world.judge_erasures(*sorted((twice[0], world.erasing(1, batch_id=world.two)), key=to_bytes))


@pytest.mark.threat("V3")
@pytest.mark.parametrize(
    "change",
    [
        lambda blocks: blocks[:1],
        lambda blocks: blocks[1:],
        lambda blocks: blocks[::-1],
        lambda blocks: (blocks[0], blocks[0]),
        lambda blocks: (*blocks, replace(blocks[1], field=2)),
        lambda blocks: (*blocks, replace(blocks[1], field=NAMES)),
        lambda blocks: (replace(blocks[0], field=1), blocks[1]),
    ],
)
def test_an_erasure_is_from_every_field(
    world: Filled, change: Callable[..., tuple[acts.EmptiedBlock, ...]]
) -> None:
    erasure = world.erasing(0)
    with pytest.raises(OutOfOrder, match="from every field"):
        world.judge_erasures(replace(erasure, blocks=change(erasure.blocks)))
    world.judge_erasures(erasure)


@pytest.mark.parametrize("field", [0, 1])
def test_an_erasure_starts_from_the_blocks_that_there_are(world: Filled, field: int) -> None:
    erasure, late = world.erasing(0), world.erasing(1)
    blocks = list(erasure.blocks)
    blocks[field] = replace(blocks[field], before=blocks[field].after)
    with pytest.raises(OutOfOrder, match=f"field {field} of batch .* changed") as refused:
        world.judge_erasures(replace(erasure, blocks=tuple(blocks)))
    assert refused.value.hint
    world.judge_erasures(late)
    world.erase(world.owner, world.data, {world.one: [0]})
    with pytest.raises(OutOfOrder, match=r"field 0 of batch .* changed"):
        world.judge_erasures(late)


@pytest.mark.parametrize("field", [0, 1])
@pytest.mark.parametrize(
    ("length", "fits"), [(19, False), (20, True), (64 * 5, True), (64 * 5 + 1, False)]
)
def test_a_block_has_no_more_bytes_after_an_erasure_and_all_its_lengths(
    world: Filled, field: int, length: int, fits: bool
) -> None:
    erasure = world.erasing(0)
    blocks = list(erasure.blocks)
    blocks[field] = replace(blocks[field], length=length)
    changed = replace(erasure, blocks=tuple(blocks))
    if fits:
        world.judge_erasures(changed)
    else:
        with pytest.raises(OutOfOrder, match="grow, or lose its lengths, by an erasure"):
            world.judge_erasures(changed)


def test_an_erasure_is_bounded(world: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the blocks as they are before it: those the server reads to empty them."""
    each = 2 * 64 * 5
    both = (world.erasing(0), world.erasing(0, batch_id=world.two))
    monkeypatch.setattr(transitions, "LIMITS", replace(LIMITS, erase_bytes=2 * each))
    world.judge_erasures(*sorted(both, key=to_bytes))
    monkeypatch.setattr(transitions, "LIMITS", replace(LIMITS, erase_bytes=2 * each - 1))
    with pytest.raises(LimitExceeded, match="one erasure"):
        world.judge_erasures(*sorted(both, key=to_bytes))
    for one in both:
        world.judge_erasures(one)
    world.erase(world.owner, world.data, {world.one: [1]})
    both = (world.erasing(0), both[1])
    world.judge_erasures(*sorted(both, key=to_bytes))


def test_of_an_act_all_records_are_erased_or_none(world: Filled) -> None:
    before = world.state
    good, bad = world.erasing(0), world.erasing(5, batch_id=world.two)
    with pytest.raises(OutOfOrder, match="has no record"):
        world.land(
            world.owner,
            acts.Erase(world.data, Reason.REQUEST, tuple(sorted((good, bad), key=to_bytes))),
        )
    assert world.state is before


def test_a_receipt_counts_what_is_left(world: Filled) -> None:
    world.erase(world.owner, world.data, {world.one: [0, 1], world.two: [4]})
    buyer = world.member()
    world.offer(buyer)
    people, data = world.receipts()
    assert (data.records, data.cells) == (7, 14)
    assert world.state.offer is not None
    all_of_it = replace(data, records=10, cells=20)
    with pytest.raises(ManifestMismatch, match="receipt"):
        world.judge(
            buyer, acts.Accept(world.state.offer.index, world.ledger.size, (people, all_of_it))
        )
    world.accept(buyer)


# --- replacements


def replacing(
    world: Filled, *positions: int, new: Manifest | None = None, **changes: object
) -> acts.Replace:
    manifests = (new or world.records(world.data, len(positions)),)
    payload = acts.Replace(
        b"u" * 16, world.data, 0, manifests, Reason.MISTAKE, (world.erasing(*positions),)
    )
    return replace(payload, **changes)  # type: ignore[arg-type]


def test_a_replacement_erases_and_commits_in_one_moment(world: Filled) -> None:
    new = world.records(world.data, 2)
    landed = world.land(world.owner, replacing(world, 0, 4, new=new))
    where = world.state.collections[world.data]
    assert world.here(world.one).erased == {0, 4}
    assert [batch.id for batch in where.batches[-3:]] == [world.one, world.two, new.batch_id]
    assert where.batches[-1] == Batch(new, b"u" * 16, landed.index, world.owner.member_id)
    assert (where.records, where.cells) == (10, 20)
    assert b"u" * 16 in world.state.uploads
    with pytest.raises(Conflict, match="committed before"):
        world.judge(world.owner, replacing(world, 1))


def test_a_replacement_may_be_the_last_part_of_an_upload(world: Filled) -> None:
    first, last = world.records(world.data), world.records(world.data)
    world.land(world.owner, commit(world.data, first, upload=b"u" * 16, last=False))
    with pytest.raises(OutOfOrder, match="next part of that upload is 1"):
        world.judge(world.owner, replacing(world, 0))
    world.land(world.owner, replacing(world, 0, new=last, part=1))
    shown = [batch.manifest for batch in world.state.collections[world.data].batches[-2:]]
    assert shown == [first, last]
    assert not world.state.pending


def test_a_replacement_is_refused_as_an_erasure_or_as_a_commit(world: Filled) -> None:
    before, good = world.state, replacing(world, 0)
    new = good.manifests[0]
    other = world.collection(CORE)
    for change, error, why in (
        ({"erasures": (world.erasing(5),)}, OutOfOrder, "has no record"),
        ({"erasures": (replace(world.erasing(0), batch=new.batch_id),)}, OutOfOrder, "no batch"),
        ({"manifests": (world.manifest(world.data, (0,)),)}, OutOfOrder, "every field"),
        ({"manifests": (world.first,)}, Conflict, "batch id"),
        ({"manifests": (new, new)}, Conflict, "batch id"),
        ({"collection": b"x" * 16}, OutOfOrder, "not there"),
        ({"collection": other}, OutOfOrder, "field that is not there"),
        ({"part": 1}, OutOfOrder, "next part"),
    ):
        with pytest.raises(error, match=why):
            world.judge(world.owner, replace(good, **change))
    assert world.state.collections[world.data] == before.collections[world.data]
    world.judge(world.owner, good)


def test_who_replaces_writes(world: Filled) -> None:
    keyless, admin = world.member(Role.KEYLESS_ADMIN), world.member(Role.ADMIN)
    with pytest.raises(NotAuthorised, match="without keys"):
        world.judge(keyless, replacing(world, 0))
    with pytest.raises(NotAuthorised, match="holds it"):
        world.judge(admin, replacing(world, 0))
    row, other = (world.manifest(PEOPLE_COLLECTION, (PEOPLE_FIELD,), 1) for _ in range(2))
    world.commit(world.owner, PEOPLE_COLLECTION, row)
    erasure = world.erasure(PEOPLE_COLLECTION, row.batch_id, [0])
    payload = acts.Replace(b"p" * 16, PEOPLE_COLLECTION, 0, (other,), Reason.MISTAKE, (erasure,))
    world.land(keyless, payload)
    assert world.batch(PEOPLE_COLLECTION, row.batch_id).records == 0


# --- re-encryptions


@pytest.fixture
def moving(world: Filled) -> Filled:
    """A vault whose fields, and their names, have a second epoch."""
    world.epochs(world.owner, *((world.data, number) for number in (0, 1, NAMES)))
    return world


def epochs_of(world: Filled, number: int) -> list[int]:
    return [ref.epoch for _, ref in world.state.collections[world.data].blocks(number)]


def test_a_re_encryption_moves_exactly_the_fields_that_it_names(moving: Filled) -> None:
    before = moving.state.collections[moving.data]
    moves = moving.moves(moving.data, 0)
    moving.land(moving.owner, moving.part(*moves))
    after = moving.state.collections[moving.data]
    assert [ref for _, ref in after.blocks(0)] == [move.block for move in moves]
    assert (epochs_of(moving, 0), epochs_of(moving, 1)) == ([2, 2], [1, 1])
    for was, now in zip(before.batches, after.batches, strict=True):
        assert replace(now, manifest=was.manifest) == was
        assert now.manifest.blocks[1:] == was.manifest.blocks[1:]
    assert after.root() == root_of(leaf_hash(to_bytes(each.manifest)) for each in after.batches)
    assert after.root() != before.root()
    assert (after.records, after.cells) == (before.records, before.cells)
    assert b"r" * 16 in moving.state.uploads
    assert not moving.state.pending


def test_nothing_moves_before_the_last_part(moving: Filled) -> None:
    moves = moving.moves(moving.data, 0, 1)
    shown = moving.state.collections[moving.data]
    for number, move in enumerate(moves):
        assert moving.state.collections[moving.data] == shown
        last = number == len(moves) - 1
        moving.land(moving.owner, moving.part(move, part=number, last=last))
    assert epochs_of(moving, 0) == epochs_of(moving, 1) == [2, 2]


def test_names_move_as_records_do(moving: Filled) -> None:
    moving.reencrypt(moving.owner, moving.data, NAMES)
    assert epochs_of(moving, NAMES) == [2]


@pytest.mark.threat("W5")
@pytest.mark.parametrize("how", ["erased", "replaced", "moved by another"])
def test_a_block_that_changed_stays_as_it_stands(moving: Filled, how: str) -> None:
    """The cells that were sealed anew are those of before: what is erased must not come back."""
    admin = moving.member(Role.ADMIN, (of_class(GENERAL), of_class(CORE)))
    moves = moving.moves(moving.data, 0, 1)
    half = len(moves) // 2
    moving.land(moving.owner, moving.part(*moves[:half], last=False))
    if how == "erased":
        moving.erase(admin, moving.data, {moving.one: [1]})
    elif how == "replaced":
        moving.land(admin, replacing(moving, 1))
    else:
        moving.land(
            admin,
            moving.part(*moving.moves(moving.data, 0, 1, batches=[moving.one]), upload=b"o" * 16),
        )
    changed = moving.here(moving.one)
    moving.land(moving.owner, moving.part(*moves[half:], part=1))
    assert moving.here(moving.one) == changed
    assert [ref.epoch for ref in moving.here(moving.two).manifest.blocks] == [2, 2]
    assert b"r" * 16 in moving.state.uploads, "it has ended, whatever stayed"
    # The second pass.
    moving.reencrypt(moving.owner, moving.data, 0, 1)
    assert {ref.epoch for ref in moving.here(moving.one).manifest.blocks} == {2}
    assert moving.here(moving.one).erased == changed.erased


def test_of_one_batch_a_field_may_move_and_another_stay(moving: Filled) -> None:
    zero, one = moving.moves(moving.data, 0, 1, batches=[moving.one])
    moving.land(moving.owner, moving.part(zero, upload=b"z" * 16))
    again = replace(zero, block=replace(zero.block, sha256=b"n" * 32))
    moving.land(moving.owner, moving.part(again, one))
    assert moving.here(moving.one).manifest.blocks == (zero.block, one.block)


@pytest.mark.parametrize("epoch", [1, 2])
def test_blocks_move_to_newer_epochs_only(moving: Filled, epoch: int) -> None:
    moving.reencrypt(moving.owner, moving.data, 0)
    before = moving.state.collections[moving.data]
    back = tuple(
        replace(each, block=replace(each.block, epoch=epoch))
        for each in moving.moves(moving.data, 0)
    )
    moving.land(moving.owner, moving.part(*back))
    assert moving.state.collections[moving.data] == before


@pytest.mark.threat("V3")
def test_what_was_erased_stays_erased_where_it_moves(moving: Filled) -> None:
    moving.erase(moving.owner, moving.data, {moving.one: [0, 3]})
    moving.reencrypt(moving.owner, moving.data, 0, 1)
    assert moving.here(moving.one).erased == {0, 3}
    assert moving.state.collections[moving.data].records == 8
    with pytest.raises(OutOfOrder, match="is erased"):
        moving.judge_erasures(moving.erasing(3))


def test_who_re_encrypts_a_field_holds_it(moving: Filled) -> None:
    admin = moving.member(Role.ADMIN, (of_class(CORE),))
    zero, one = (moving.moves(moving.data, number) for number in (0, 1))
    with pytest.raises(NotAuthorised, match="holds it"):
        moving.judge(admin, moving.part(*zero))
    with pytest.raises(NotAuthorised, match="holds it"):
        moving.judge(admin, moving.part(*one, *zero))
    moving.judge(admin, moving.part(*one))
    moving.judge(admin, moving.part(*moving.moves(moving.data, NAMES)))


@pytest.mark.parametrize("epoch", [0, 3])
def test_blocks_move_to_epochs_that_are_there(moving: Filled, epoch: int) -> None:
    (first, *_) = moving.moves(moving.data, 0)
    with pytest.raises(OutOfOrder, match="epoch that is not there"):
        moving.judge(
            moving.owner, moving.part(replace(first, block=replace(first.block, epoch=epoch)))
        )


def test_blocks_move_to_no_tainted_epoch(moving: Filled) -> None:
    bidder = moving.member(Role.BIDDER, (of_field(moving.data, 0),))
    zero, one = (moving.moves(moving.data, number) for number in (0, 1))
    moving.judge(moving.owner, moving.part(*zero))
    moving.land(moving.owner, acts.WithdrawGrant(bidder.member_id, (of_field(moving.data, 0),)))
    with pytest.raises(OutOfOrder, match="takes no more"):
        moving.judge(moving.owner, moving.part(*zero))
    moving.judge(moving.owner, moving.part(*one))


def test_no_block_moves_twice_in_one_re_encryption(moving: Filled) -> None:
    first, second = moving.moves(moving.data, 0)
    again = replace(first, block=replace(first.block, sha256=b"n" * 32))
    with pytest.raises(OutOfOrder, match="moves twice"):
        moving.judge(moving.owner, moving.part(first, again))
    moving.land(moving.owner, moving.part(first, last=False))
    for last in (True, False):
        with pytest.raises(OutOfOrder, match="moves twice"):
            moving.judge(moving.owner, moving.part(second, again, part=1, last=last))
    moving.judge(moving.owner, moving.part(second, part=1))


@pytest.mark.parametrize("which", ["no batch", "no field", "another batch's", "no collection"])
def test_what_moves_is_there(moving: Filled, which: str) -> None:
    (move, *_) = moving.moves(moving.data, 0)
    other = moving.collection(CORE)
    elsewhere = moving.records(other)
    moving.commit(moving.owner, other, elsewhere)
    moving.epochs(moving.owner, (other, 0))
    payload = {
        "no batch": moving.part(replace(move, batch=b"x" * 16)),
        "no field": moving.part(replace(move, block=replace(move.block, field=NAMES))),
        "another batch's": moving.part(replace(move, batch=elsewhere.batch_id)),
        "no collection": replace(moving.part(move), collection=b"x" * 16),
    }[which]
    with pytest.raises(OutOfOrder, match=r"no block of that field|not there"):
        moving.judge(moving.owner, payload)


@pytest.mark.parametrize(
    "change",
    [
        {"length": 64 * 5 + 1},
        {"length": 64 * 5 - 1},
        {"length": 20},
        {"padding": Padding.MULTIPLE_16},
        {"padding": Padding.MULTIPLE_32},
    ],
)
def test_a_block_is_cut_and_padded_as_it_was(moving: Filled, change: dict[str, Any]) -> None:
    (move, *_) = moving.moves(moving.data, 0)
    changed = replace(move, block=replace(move.block, **change))
    for last in (True, False):
        moving.judge(moving.owner, moving.part(move, last=last))
        with pytest.raises(OutOfOrder, match="another length, or padding"):
            moving.judge(moving.owner, moving.part(changed, last=last))
    # What starts from another block stays as it stands, whatever it is.
    moving.land(moving.owner, moving.part(replace(changed, before=b"s" * 32)))
    assert epochs_of(moving, 0) == [1, 1]


def test_a_block_does_not_grow_by_one_that_another_re_encryption_shows(moving: Filled) -> None:
    """The first part of one names, as what it starts from, what the other will show."""
    first, second = moving.moves(moving.data, 0)
    moving.epochs(moving.owner, (moving.data, 0))
    grown = replace(first.block, epoch=3, length=LIMITS.block_bytes)
    ahead = MovedBlock(first.batch, first.block.sha256, grown)
    moving.land(moving.owner, moving.part(ahead, last=False, upload=b"a" * 16))
    moving.land(moving.owner, moving.part(first))
    rest = moving.part(second, part=1, upload=b"a" * 16)
    with pytest.raises(OutOfOrder, match="another length"):
        moving.judge(moving.owner, rest)
