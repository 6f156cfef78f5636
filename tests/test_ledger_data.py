"""Conditions of the acts on collections, their keys and what is committed."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from client.crypto.wraps import create_epoch
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
from protocol.errors import (
    CommitmentMismatch,
    Conflict,
    LimitExceeded,
    NotAuthorised,
    OutOfOrder,
)
from protocol.ledger import keys as transitions
from protocol.ledger.contents import Collection
from protocol.limits import LIMITS
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


# --- collections and epochs


def test_a_collection_is_defined_once() -> None:
    world, data = world_with_data()
    with pytest.raises(Conflict):
        world.judge(world.owner, acts.DefineCollection(data, (CORE,)))


def test_collections_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = world_with_data()
    monkeypatch.setattr(transitions, "LIMITS", replace(LIMITS, collections=2))
    world.land(world.owner, acts.DefineCollection(b"x" * 16, (CORE,)))
    with pytest.raises(LimitExceeded, match="collections"):
        world.judge(world.owner, acts.DefineCollection(b"y" * 16, (CORE,)))


def test_a_collection_has_a_catalog_for_each_class_that_occurs() -> None:
    collection = Collection(b"c" * 16, (CORE, GENERAL, CORE))
    assert collection.fields == (0, 1, 2, 0x8000, 0x8002)
    assert [collection.class_of(n) for n in collection.fields] == [
        CORE,
        GENERAL,
        CORE,
        GENERAL,
        CORE,
    ]
    assert all(map(collection.has, collection.fields))
    assert not any(map(collection.has, (3, 0x7FFF, 0x8001, PEOPLE_FIELD)))
    people = Collection(PEOPLE_COLLECTION, ())
    assert people.fields == (PEOPLE_FIELD,)
    assert people.class_of(PEOPLE_FIELD) is FieldClass.PEOPLE


@pytest.mark.parametrize("epoch", [1, 3, LIMITS.epochs])
def test_epochs_of_a_field_are_numbered_in_order(epoch: int) -> None:
    world, data = world_with_data()
    new = create_epoch(world.owner, world.vault_id, Address(data, 0, epoch))
    with pytest.raises(OutOfOrder, match="next epoch is 2"):
        world.judge(world.owner, acts.CreateEpoch((new.definition,)))


def test_one_act_may_create_two_epochs_of_a_field() -> None:
    world, data = world_with_data()
    made = {
        a: create_epoch(world.owner, world.vault_id, a)
        for a in (Address(data, 0, 2), Address(data, 0, 3))
    }
    payload = acts.CreateEpoch(tuple(new.definition for new in made.values()))
    world.land(world.owner, payload, created=made)
    newest = world.state.newest(data, 0)
    assert newest is not None
    assert (newest.definition.epoch, newest.creator) == (3, world.owner.member_id)
    assert newest.made_at == world.ledger.size - 1


@pytest.mark.parametrize("which", ["no collection", "no field", "no catalog"])
def test_an_epoch_is_for_a_field_that_is_there(which: str) -> None:
    world, data = world_with_data()
    address = {
        "no collection": Address(b"x" * 16, 0, 1),
        "no field": Address(data, 2, 1),
        "no catalog": Address(data, catalog_field(SENSITIVE), 1),
    }[which]
    new = create_epoch(world.owner, world.vault_id, address)
    with pytest.raises(OutOfOrder, match="not there"):
        world.judge(world.owner, acts.CreateEpoch((new.definition,)))


@pytest.mark.parametrize(("field", "holds"), [(0, False), (1, True), (0x8000, True)])
def test_who_creates_an_epoch_holds_its_field(field: int, holds: bool) -> None:
    world, data = world_with_data()
    admin = world.member(Role.ADMIN, (of_class(CORE),))
    new = create_epoch(admin, world.vault_id, Address(data, field, 2))
    payload = acts.CreateEpoch((new.definition,))
    if holds:
        world.land(admin, payload, created={new.definition.address: new})
    else:
        with pytest.raises(NotAuthorised, match="holds its field"):
            world.judge(admin, payload)


def test_what_was_published_about_an_epoch() -> None:
    world, data = world_with_data()
    definition = world.epoch(Address(data, 0, 1)).definition
    assert world.state.published(Address(data, 0, 1)) == definition
    for nothing in (Address(data, 0, 0), Address(data, 0, 2), Address(data, 9, 1)):
        assert world.state.epoch(nothing) is None
        with pytest.raises(CommitmentMismatch, match="never published"):
            world.state.published(nothing)
    assert world.state.newest(data, 9) is None


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
    assert [m.batch_id for m, _ in where.blocks(1)] == [first.batch_id, second.batch_id]
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
    with pytest.raises(OutOfOrder, match="no more commits"):
        world.judge(world.owner, commit(data, written), old)
    world.epochs(world.owner, (data, 1), (data, 0))
    with pytest.raises(OutOfOrder, match="no more commits"):
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
def test_a_taint_between_parts_drops_the_upload() -> None:
    """Else it would never end."""
    world, data = world_with_data()
    bidder = world.member(Role.BIDDER, (of_field(data, 1),))
    world.land(world.owner, commit(data, world.records(data), upload=b"u" * 16, last=False))
    world.remove(bidder)
    assert not world.state.pending
    assert world.state.collections[data].records == 0
    world.epochs(world.owner, (data, 1), (data, catalog_field(CORE)))
    with pytest.raises(OutOfOrder, match="next part of that upload is 0"):
        world.judge(world.owner, commit(data, world.records(data), upload=b"u" * 16, part=1))


def test_a_taint_elsewhere_leaves_the_upload_alone() -> None:
    world, data = world_with_data()
    other = world.collection(SENSITIVE)
    bidder = world.member(Role.BIDDER, (of_class(SENSITIVE),))
    world.land(world.owner, commit(data, world.records(data), upload=b"u" * 16, last=False))
    world.remove(bidder)
    assert Address(other, 0, 1) in world.tainted()
    world.land(world.owner, commit(data, world.records(data), upload=b"u" * 16, part=1))
    assert world.state.collections[data].records == 6
