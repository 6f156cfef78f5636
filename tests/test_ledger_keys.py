"""Conditions and effects of the acts on collections, their fields and their keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from client.crypto.wraps import create_epoch
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    Address,
    FieldClass,
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
from tests.test_ledger_commits import commit, world_with_data
from tests.world import World, in_order, of_class, of_field

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE


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


# --- the end of an epoch


def rotated(*fields: int) -> tuple[World, bytes]:
    """Records under epoch 1 of every field, and epoch 2 of these."""
    world, data = world_with_data()
    world.commit(world.owner, data, world.records(data))
    world.epochs(world.owner, *((data, number) for number in fields))
    return world, data


def retiring(*addresses: Address) -> acts.RetireEpoch:
    return acts.RetireEpoch(tuple(map(acts.EpochName.of, sorted(addresses))))


@pytest.mark.threat("W6")
def test_an_epoch_is_retired_once_nothing_lies_under_it() -> None:
    world, data = rotated(0)
    old, new = Address(data, 0, 1), Address(data, 0, 2)
    with pytest.raises(OutOfOrder, match="blocks lie under") as refused:
        world.judge(world.owner, retiring(old))
    assert refused.value.hint
    world.reencrypt(world.owner, data, 0)
    assert {ref.epoch for _, ref in world.state.collections[data].blocks(0)} == {2}
    world.retire(world.owner, old)
    assert (world.epoch(old).retired, world.epoch(old).tainted) == (True, True)
    assert old not in world.state.live_addresses()
    assert new in world.state.live_addresses()
    assert world.state.is_retired(old)
    assert not world.state.is_retired(new)
    assert world.state.is_retired(Address(b"x" * 16, 0, 1)), "of a collection that is no more"
    assert old not in world.held(world.owner)


@pytest.mark.threat("W6")
@pytest.mark.parametrize("number", [0, 0x8000])
def test_one_block_is_enough_to_keep_an_epoch(number: int) -> None:
    world, data = world_with_data()
    fields = (number,) if number else range(2)
    for _ in range(2):
        world.commit(world.owner, data, world.manifest(data, fields))
    world.epochs(world.owner, (data, number))
    *most, last = world.moves(data, number)
    for upload, moves in ((b"m" * 16, tuple(most)), (b"l" * 16, (last,))):
        with pytest.raises(OutOfOrder, match="blocks lie under"):
            world.judge(world.owner, retiring(Address(data, number, 1)))
        world.land(world.owner, acts.Reencrypt(upload, data, 0, True, moves))
    world.retire(world.owner, Address(data, number, 1))


@pytest.mark.threat("W6")
def test_a_batch_of_which_nothing_is_left_keeps_no_epoch() -> None:
    """It has no cell that a key would open; with one record left it keeps the epochs of all."""
    world, data = world_with_data()
    records = world.records(data, 2)
    world.commit(world.owner, data, records)
    world.epochs(world.owner, (data, 0), (data, 1))
    old = (Address(data, 0, 1), Address(data, 1, 1))
    world.erase(world.owner, data, {records.batch_id: [0]})
    with pytest.raises(OutOfOrder, match="blocks lie under"):
        world.judge(world.owner, retiring(*old))
    world.erase(world.owner, data, {records.batch_id: [1]})
    world.retire(world.owner, *old)
    root, where = world.state.collections[data].root(), world.state.collections[data]
    assert [ref.epoch for ref in where.by_id()[records.batch_id].manifest.blocks] == [1, 1]
    assert (where.records, where.root()) == (0, root), "its manifest is what it was"
    world.reencrypt(world.owner, data, 0, 1)
    moved = world.state.collections[data].by_id()[records.batch_id]
    assert [ref.epoch for ref in moved.manifest.blocks] == [2, 2]


def test_what_is_retired_stays_counted() -> None:
    world, data = rotated(0)
    world.reencrypt(world.owner, data, 0)
    world.retire(world.owner, Address(data, 0, 1))
    for epoch in (1, 2):
        again = create_epoch(world.owner, world.vault_id, Address(data, 0, epoch))
        with pytest.raises(OutOfOrder, match="next epoch is 3"):
            world.judge(world.owner, acts.CreateEpoch((again.definition,)))
    world.epochs(world.owner, (data, 0))
    assert world.state.newest(data, 0) is world.state.epoch(Address(data, 0, 3))


def test_whoever_comes_later_gets_what_is_live() -> None:
    world, data = rotated(0, 1)
    world.reencrypt(world.owner, data, 0)
    world.retire(world.owner, Address(data, 0, 1))
    bidder = world.member(Role.BIDDER, (of_class(GENERAL), of_class(CORE)))
    given = {a for a in world.opened[bidder.member_id] if a.field < 2}
    assert given == {Address(data, 0, 2), Address(data, 1, 1), Address(data, 1, 2)}
    world.offer(bidder)
    assert world.state.offer is not None
    assert Address(data, 0, 1) not in world.state.offer.addresses


def test_the_newest_epoch_of_a_field_is_not_retired() -> None:
    world, data = world_with_data()
    world.collection(CORE)
    world.epochs(world.owner, (data, 0))
    for newest in (Address(data, 0, 2), Address(data, 1, 1)):
        with pytest.raises(OutOfOrder, match="newest") as refused:
            world.judge(world.owner, retiring(newest))
        assert refused.value.hint
        with pytest.raises(OutOfOrder, match="newest"):
            world.judge(world.owner, retiring(Address(data, 0, 1), newest))
    assert not world.epoch(Address(data, 0, 1)).retired, "all of an act, or nothing of it"


@pytest.mark.parametrize("which", ["no collection", "no field", "no epoch", "retired"])
def test_what_is_retired_is_there_and_was_not_before(which: str) -> None:
    world, data = rotated(0)
    world.reencrypt(world.owner, data, 0)
    world.retire(world.owner, Address(data, 0, 1))
    world.epochs(world.owner, (data, 0), (data, 1))
    address = {
        "no collection": Address(b"x" * 16, 0, 1),
        "no field": Address(data, 2, 1),
        "no epoch": Address(data, 0, 4),
        "retired": Address(data, 0, 1),
    }[which]
    with pytest.raises(OutOfOrder, match="no epoch to retire"):
        world.judge(world.owner, retiring(address))
    world.reencrypt(world.owner, data, 0)
    world.judge(world.owner, retiring(Address(data, 0, 2)))


def test_who_retires_an_epoch_holds_its_field() -> None:
    world, data = rotated(0, 1, 0x8000)
    world.reencrypt(world.owner, data, 0, 1, 0x8000)
    admin = world.member(Role.ADMIN, (of_class(CORE),))
    with pytest.raises(NotAuthorised, match="holds its field"):
        world.judge(admin, retiring(Address(data, 0, 1)))
    with pytest.raises(NotAuthorised, match="holds its field"):
        world.judge(admin, retiring(Address(data, 0, 1), Address(data, 1, 1)))
    world.retire(admin, Address(data, 1, 1), Address(data, 0x8000, 1))
    assert world.epoch(Address(data, 1, 1)).retired


def test_epochs_of_several_fields_end_in_one_act() -> None:
    world, data = rotated(0, 1)
    other = world.collection(CORE)
    world.epochs(world.owner, (other, 0), (data, 0), (PEOPLE_COLLECTION, PEOPLE_FIELD))
    world.reencrypt(world.owner, data, 0, 1)
    gone = (
        *(Address(data, 0, epoch) for epoch in (1, 2)),
        *(Address(data, 1, 1), Address(other, 0, 1), Address(PEOPLE_COLLECTION, PEOPLE_FIELD, 1)),
    )
    before = world.state
    world.retire(world.owner, *gone)
    assert world.state.retired_since(before) == set(gone)
    assert world.state.retired_since(world.state) == frozenset()


# --- the end of a collection


def test_a_retired_collection_is_gone_with_all_that_is_of_it() -> None:
    world, data = world_with_data()
    other = world.collection(GENERAL)
    world.commit(world.owner, data, world.records(data))
    bidder = world.member(Role.BIDDER, (of_class(GENERAL), of_field(data, 1)))
    halves = {b"d" * 16: data, b"o" * 16: other}
    for upload, where in halves.items():
        world.land(world.owner, commit(where, world.records(where), upload=upload, last=False))
    before = world.state
    world.land(world.owner, acts.RetireCollection(data, Reason.RETENTION))
    state = world.state
    assert set(state.collections) == {PEOPLE_COLLECTION, other}
    assert state.retired == {data}
    assert set(state.pending) == {b"o" * 16}
    assert [each.collection for each in state.roots()] == sorted((PEOPLE_COLLECTION, other))
    gone = {a for a in before.live_addresses() if a.collection == data}
    assert state.retired_since(before) == gone != set()
    assert {a.collection for a in world.held(bidder)} == {other}
    assert {a.collection for a in world.held(world.owner)} == {PEOPLE_COLLECTION, other}
    assert world.tainted() == set(), "nothing is left that could be tainted"
    for payload in (
        commit(data, world.records(other)),
        acts.Erase(data, Reason.REQUEST, (acts.Erasure(b"b" * 16, (0,), (EMPTIED,)),)),
        acts.Reencrypt(b"r" * 16, data, 0, True, world.moves(other, 0x8000)),
        acts.RetireCollection(data, Reason.RETENTION),
        retiring(Address(data, 0, 1)),
    ):
        with pytest.raises(OutOfOrder, match=r"not there|no epoch"):
            world.judge(world.owner, payload)


EMPTIED = acts.EmptiedBlock(0, bytes(32), 4, bytes(32))


def test_the_id_of_a_retired_collection_is_used_up() -> None:
    world, data = world_with_data()
    world.land(world.owner, acts.RetireCollection(data, Reason.RETENTION))
    with pytest.raises(Conflict, match="existed"):
        world.judge(world.owner, acts.DefineCollection(data, (CORE,)))


def test_what_is_not_there_and_the_people_are_not_retired() -> None:
    world, _ = world_with_data()
    for collection in (PEOPLE_COLLECTION, b"x" * 16):
        with pytest.raises(OutOfOrder, match="not there, or that of people"):
            world.judge(world.owner, acts.RetireCollection(collection, Reason.RETENTION))


@pytest.mark.parametrize(
    ("rules", "may"),
    [
        ((), False),
        ((CORE,), False),
        ((GENERAL,), False),
        ((GENERAL, CORE), True),
    ],
)
def test_who_retires_a_collection_holds_all_of_it(rules: tuple[FieldClass, ...], may: bool) -> None:
    world, data = world_with_data()
    admin = world.member(Role.ADMIN, in_order(map(of_class, rules)))
    payload = acts.RetireCollection(data, Reason.RETENTION)
    if may:
        world.land(admin, payload)
        assert data not in world.state.collections
    else:
        with pytest.raises(NotAuthorised, match="holds all of it") as refused:
            world.judge(admin, payload)
        assert refused.value.hint


def test_keys_of_a_retired_collection_are_kept_no_more_and_others_are() -> None:
    world, data = world_with_data()
    other = world.collection(CORE)
    admin = world.member(Role.ADMIN, (of_class(CORE),))
    world.land(world.owner, acts.WithdrawGrant(admin.member_id, (of_class(CORE),)))
    kept = {Address(data, 1, 1), Address(other, 0, 1)}
    assert world.state.members[admin.member_id].kept == kept
    world.land(world.owner, acts.RetireCollection(data, Reason.RETENTION))
    assert world.state.members[admin.member_id].kept == {Address(other, 0, 1)}


def test_rules_for_a_retired_collection_give_nothing_and_stand_in_nobody_s_way() -> None:
    world, data = world_with_data()
    admin = world.member(Role.ADMIN)
    planned = (of_class(CORE, data), of_field(data, 0))
    waiting = world.join(world.invite(admin, rules=planned)[1])
    with pytest.raises(NotAuthorised, match="holds all of it"):
        world.judge(admin, acts.Confirm(waiting.member_id))
    world.land(world.owner, acts.RetireCollection(data, Reason.RETENTION))
    world.land(admin, acts.Confirm(waiting.member_id))
    assert world.state.members[waiting.member_id].rules == in_order(planned)
    assert world.held(waiting) == frozenset()
    for rule in planned:
        with pytest.raises(OutOfOrder, match="not there"):
            world.judge(world.owner, acts.Grant(admin.member_id, (rule,)))
    world.land(admin, acts.WithdrawGrant(waiting.member_id, (planned[0],)))


def test_a_retired_collection_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    world, data = world_with_data()
    monkeypatch.setattr(transitions, "LIMITS", replace(LIMITS, collections=1))
    with pytest.raises(LimitExceeded, match="collections"):
        world.judge(world.owner, acts.DefineCollection(b"x" * 16, (CORE,)))
    world.land(world.owner, acts.RetireCollection(data, Reason.RETENTION))
    world.land(world.owner, acts.DefineCollection(b"x" * 16, (CORE,)))
