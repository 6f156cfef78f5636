"""Commits: conditions, parts, and what they show."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from protocol import acts
from protocol.acts import Role
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    Address,
    FieldClass,
    Manifest,
    catalog_field,
)
from protocol.errors import Conflict, NotAuthorised, OutOfOrder
from protocol.ledger.contents import Collection
from protocol.merkle import EMPTY_ROOT, leaf_hash, root_of
from protocol.wire import to_bytes
from tests.world import World, of_class, of_field

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE


def world_with_data(*classes: FieldClass) -> tuple[World, bytes]:
    world = World()
    world.people()
    return world, world.collection(*(classes or (GENERAL, CORE)))


def commit(
    collection: bytes, *manifests: Manifest, upload: bytes = b"", part: int = 0, last: bool = True
) -> acts.Commit:
    return acts.Commit(upload or os.urandom(16), collection, part, last, manifests)


# --- commits


def test_a_commit_shows_its_batches_in_order() -> None:
    world, data = world_with_data()
    first, second = world.records(data, 3), world.records(data, 4)
    landed = world.land(world.owner, commit(data, first, second))
    where = world.state.collections[data]
    assert [b.manifest for b in where.batches[-2:]] == [first, second]
    assert (where.records, where.cells) == (7, 14)
    assert where.root() == root_of(leaf_hash(to_bytes(b.manifest)) for b in where.batches)
    assert where.batches[-1].committed_at == landed.index
    assert where.batches[-1].author == world.owner.member_id
    assert [ref.field for _, ref in where.blocks(1)] == [1, 1]
    assert [b.id for b, _ in where.blocks(1)] == [first.batch_id, second.batch_id]
    assert Collection(b"c" * 16, ()).root() == EMPTY_ROOT
    listed = {each.collection: each.root for each in world.state.roots()}
    assert listed == {PEOPLE_COLLECTION: EMPTY_ROOT, data: where.root()}


def test_a_commit_is_to_a_collection_that_is_there() -> None:
    world, data = world_with_data()
    with pytest.raises(OutOfOrder, match="not there"):
        world.judge(world.owner, commit(b"x" * 16, world.records(data)))


def test_a_batch_of_records_has_all_fields() -> None:
    world, data = world_with_data()
    for fields, why in (
        ([0], "every field"),
        ([1], "every field"),
        ([0, 1, 2], "field that is not there"),
        ([catalog_field(SENSITIVE)], "field that is not there"),
        ([PEOPLE_FIELD], "field that is not there"),
    ):
        with pytest.raises(OutOfOrder, match=why):
            world.judge(world.owner, commit(data, world.manifest(data, fields)))


def test_the_people_catalog_takes_names_and_no_records() -> None:
    world, _ = world_with_data()
    people = PEOPLE_COLLECTION
    world.land(world.owner, commit(people, world.manifest(people, (PEOPLE_FIELD,), 1)))
    with pytest.raises(OutOfOrder, match="not there"):
        world.judge(world.owner, commit(people, world.manifest(people, (0,))))


@pytest.mark.parametrize("epoch", [0, 2])
def test_blocks_are_under_epochs_that_are_there(epoch: int) -> None:
    world, data = world_with_data()
    manifest = world.records(data)
    blocks = (replace(manifest.blocks[0], epoch=epoch), *manifest.blocks[1:])
    with pytest.raises(OutOfOrder, match="epoch that is not there"):
        world.judge(world.owner, commit(data, replace(manifest, blocks=blocks)))


@pytest.mark.threat("V5")
@pytest.mark.threat("W1")
def test_a_tainted_epoch_takes_nothing_and_an_older_one_does() -> None:
    world, data = world_with_data()
    bidder = world.member(Role.BIDDER, (of_field(data, 1),))
    written, old = world.records(data), world.citation()
    world.judge(world.owner, commit(data, written))
    world.land(world.owner, acts.WithdrawGrant(bidder.member_id, (of_field(data, 1),)))
    # The lagging author saw nothing of it, and signs what it believes.
    with pytest.raises(OutOfOrder, match="takes no more"):
        world.judge(world.owner, commit(data, written), old)
    world.epochs(world.owner, (data, 1), (data, 0))
    with pytest.raises(OutOfOrder, match="takes no more"):
        world.judge(world.owner, commit(data, written))
    newer = world.records(data)
    older = replace(newer, blocks=(replace(newer.blocks[0], epoch=1), newer.blocks[1]))
    world.judge(world.owner, commit(data, newer))
    world.judge(world.owner, commit(data, older))


def test_who_writes_a_field_holds_it() -> None:
    world, data = world_with_data()
    partly = world.member(Role.ADMIN, (of_class(CORE),))
    fully = world.member(Role.ADMIN, (of_class(GENERAL), of_class(CORE)))
    keyless = world.member(Role.KEYLESS_ADMIN)
    world.judge(fully, commit(data, world.records(data)))
    with pytest.raises(NotAuthorised, match="holds it"):
        world.judge(partly, commit(data, world.records(data)))
    with pytest.raises(NotAuthorised, match="without keys"):
        world.judge(keyless, commit(data, world.records(data)))
    for author in (partly, fully):
        world.judge(author, commit(data, world.manifest(data, (0x8000,), 1)))


@pytest.mark.threat("K14")
def test_an_admin_without_keys_names_people_and_no_fields() -> None:
    """It could give fields of data that it may not read other names and types."""
    world, data = world_with_data()
    keyless, people = world.member(Role.KEYLESS_ADMIN), PEOPLE_COLLECTION
    assert Address(data, 0x8000, 1) in world.opened[keyless.member_id], "it reads them all"
    for number in (0x8000, 0x8002):
        for last in (True, False):
            names = commit(data, world.manifest(data, (number,), 1), last=last)
            with pytest.raises(NotAuthorised, match="names of people only"):
                world.judge(keyless, names)
    world.judge(keyless, commit(people, world.manifest(people, (PEOPLE_FIELD,), 1)))
    world.land(world.owner, acts.ChangeRole(keyless.member_id, Role.ADMIN))
    world.judge(keyless, commit(data, world.manifest(data, (0x8000,), 1)))


def test_an_upload_and_a_batch_are_committed_once() -> None:
    world, data = world_with_data()
    manifest = world.records(data)
    world.land(world.owner, commit(data, manifest, upload=b"u" * 16))
    with pytest.raises(Conflict, match="committed before"):
        world.judge(world.owner, commit(data, world.records(data), upload=b"u" * 16))
    with pytest.raises(Conflict, match="batch id"):
        world.judge(world.owner, commit(data, manifest))
    twice = world.records(data)
    with pytest.raises(Conflict, match="batch id"):
        world.judge(world.owner, commit(data, twice, twice))


def test_records_come_after_the_names_of_their_fields() -> None:
    world = World()
    world.people()
    data = b"d" * 16
    world.land(world.owner, acts.DefineCollection(data, (GENERAL, CORE)))
    world.epochs(world.owner, *((data, n) for n in world.state.collections[data].fields))
    general, core = (world.manifest(data, (catalog_field(c),), 1) for c in (GENERAL, CORE))
    records = world.records(data)
    for early in ((records,), (general, records), (general, records, core)):
        with pytest.raises(OutOfOrder, match="before the catalog"):
            world.judge(world.owner, commit(data, *early))
    world.land(world.owner, commit(data, general))
    with pytest.raises(OutOfOrder, match="before the catalog"):
        world.judge(world.owner, commit(data, records))
    world.land(world.owner, commit(data, core, records))
    assert world.state.collections[data].records == 3


# --- uploads in parts


def test_nothing_shows_before_the_last_part() -> None:
    world, data = world_with_data()
    shown, parts = world.state.collections[data], [world.records(data) for _ in range(3)]
    for number, part in enumerate(parts):
        assert world.state.collections[data] == shown
        last = number == 2
        world.land(world.owner, commit(data, part, upload=b"u" * 16, part=number, last=last))
    batches = world.state.collections[data].batches
    assert [b.manifest for b in batches[len(shown.batches) :]] == parts
    assert not world.state.pending
    assert b"u" * 16 in world.state.uploads


@pytest.mark.parametrize("part", [0, 2, 3])
def test_parts_come_in_order(part: int) -> None:
    world, data = world_with_data()
    world.land(world.owner, commit(data, world.records(data), upload=b"u" * 16, last=False))
    with pytest.raises(OutOfOrder, match="next part of that upload is 1"):
        world.judge(world.owner, commit(data, world.records(data), upload=b"u" * 16, part=part))
    with pytest.raises(OutOfOrder, match="next part of that upload is 0"):
        world.judge(world.owner, commit(data, world.records(data), part=1))


def test_an_upload_is_its_author_s_and_for_one_collection() -> None:
    world, data = world_with_data()
    other = world.collection(CORE)
    admin = world.member(Role.ADMIN, (of_class(GENERAL), of_class(CORE)))
    world.land(world.owner, commit(data, world.records(data), upload=b"u" * 16, last=False))
    with pytest.raises(Conflict, match="another's"):
        world.judge(admin, commit(data, world.records(data), upload=b"u" * 16, part=1))
    with pytest.raises(Conflict, match="another's"):
        world.judge(world.owner, commit(other, world.records(other), upload=b"u" * 16, part=1))


def test_a_batch_of_a_pending_part_is_used() -> None:
    world, data = world_with_data()
    manifest = world.records(data)
    world.land(world.owner, commit(data, manifest, upload=b"u" * 16, last=False))
    with pytest.raises(Conflict, match="batch id"):
        world.judge(world.owner, commit(data, manifest))


@pytest.mark.threat("V5")
@pytest.mark.threat("R11")
def test_a_part_that_landed_before_a_taint_stands_and_none_lands_after_it() -> None:
    """It was written before; what is written next is sealed anew, and goes on under its id."""
    world, data = world_with_data()
    bidder = world.member(Role.BIDDER, (of_field(data, 1),))
    first, late = world.records(data), world.records(data)
    world.land(world.owner, commit(data, first, upload=b"u" * 16, last=False))
    rest = commit(data, late, upload=b"u" * 16, part=1)
    world.judge(world.owner, rest)  # the control: before the taint it lands
    world.remove(bidder)
    assert set(world.state.pending) == {b"u" * 16}
    assert world.state.collections[data].records == 0
    with pytest.raises(OutOfOrder, match="takes no more"):
        world.judge(world.owner, rest)
    world.epochs(world.owner, (data, 1), (data, catalog_field(CORE)))
    again = world.records(data)
    world.land(world.owner, commit(data, again, upload=b"u" * 16, part=1))
    shown = [batch.manifest for batch in world.state.collections[data].batches[-2:]]
    assert shown == [first, again]


def test_a_retired_epoch_drops_the_parts_under_it() -> None:
    """They would show records under a key that is no more. Their ids stay used."""
    world, data = world_with_data()
    first = world.records(data)
    world.land(world.owner, commit(data, first, upload=b"u" * 16, last=False))
    names = commit(
        data, world.manifest(data, (catalog_field(CORE),), 1), upload=b"n" * 16, last=False
    )
    world.land(world.owner, names)
    world.epochs(world.owner, (data, 0))
    world.retire(world.owner, Address(data, 0, 1))
    assert set(world.state.pending) == {b"n" * 16}, "that lies under another field's epoch"
    with pytest.raises(OutOfOrder, match="next part of that upload is 0"):
        world.judge(world.owner, commit(data, world.records(data), upload=b"u" * 16, part=1))
    with pytest.raises(OutOfOrder, match="takes no more"):
        world.judge(world.owner, commit(data, replace(first, batch_id=b"b" * 16)))
    again = replace(world.records(data), batch_id=first.batch_id)
    with pytest.raises(Conflict, match="batch id"):
        world.judge(world.owner, commit(data, again, upload=b"u" * 16))
    world.land(world.owner, commit(data, world.records(data), upload=b"u" * 16))


def test_a_taint_elsewhere_leaves_the_upload_alone() -> None:
    world, data = world_with_data()
    other = world.collection(SENSITIVE)
    bidder = world.member(Role.BIDDER, (of_class(SENSITIVE),))
    world.land(world.owner, commit(data, world.records(data), upload=b"u" * 16, last=False))
    world.remove(bidder)
    assert Address(other, 0, 1) in world.tainted()
    world.land(world.owner, commit(data, world.records(data), upload=b"u" * 16, part=1))
    assert world.state.collections[data].records == 6
