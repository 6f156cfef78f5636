"""Who holds which key, and who is served which block."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol import acts
from protocol.acts import Role
from protocol.blocks import Address, FieldClass
from protocol.ledger.holders import held, holders, holds, may_fetch, may_read
from tests.test_ledger_members import (
    CARRYING,
    catalogs_of,
    data_of,
    grant,
    withdraw,
    world_with_data,
)
from tests.world import of_class, of_field

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE


HOLDS = {
    # role, rules: data fields, catalogs (3 is people)
    "owner": (Role.OWNER, "none", {0, 1, 2}, {0, 2, 3}),
    "admin": (Role.ADMIN, "none", set(), {0, 2, 3}),
    "admin of core": (Role.ADMIN, "core", {1, 2}, {0, 2, 3}),
    "keyless": (Role.KEYLESS_ADMIN, "none", set(), {0, 2, 3}),
    "bidder": (Role.BIDDER, "none", set(), set()),
    "bidder of general": (Role.BIDDER, "general", {0}, {0}),
    "bidder of core": (Role.BIDDER, "core", {1, 2}, {2}),
    "bidder of one field": (Role.BIDDER, "field", {1}, {2}),
    "bidder of core elsewhere": (Role.BIDDER, "elsewhere", set(), set()),
    "auditor": (Role.AUDITOR, "none", set(), set()),
}


@pytest.mark.parametrize("who", HOLDS)
def test_who_holds_what(who: str) -> None:
    world, data = world_with_data()
    elsewhere = world.collection(SENSITIVE)
    role, rules, fields, catalogs = HOLDS[who]
    named = {
        "none": (),
        "core": (of_class(CORE),),
        "general": (of_class(GENERAL, data),),
        "field": (of_field(data, 1),),
        "elsewhere": (of_class(CORE, elsewhere),),
    }[rules]
    party = world.owner if role is Role.OWNER else world.member(role, named)
    here = {a for a in world.held(party) if a.collection != elsewhere}
    assert data_of(here) == fields
    assert catalogs_of(here) == catalogs
    for number in world.state.collections[data].fields:
        listed = party.member_id in holders(world.state, data, number)
        assert listed == (Address(data, number, 1) in here)
        assert may_read(world.state, party.member_id, data, number) == listed
    assert here <= {a for a in world.opened[party.member_id] if a.collection != elsewhere}


def test_an_invite_holds_catalogs_and_what_policy_lets_it_carry() -> None:
    world, _ = world_with_data(CARRYING)
    rules = (of_class(CORE),)
    _, plain = world.invite(world.owner, rules=rules)
    _, carrying = world.invite(world.owner, rules=rules, carries_data=True)
    assert (data_of(world.held(plain)), catalogs_of(world.held(plain))) == (set(), {2})
    assert (data_of(world.held(carrying)), catalogs_of(world.held(carrying))) == ({1, 2}, {2})


def test_nobody_else_holds_anything() -> None:
    world, data = world_with_data()
    bidder = world.member(Role.BIDDER, (of_class(CORE),))
    member = world.state.members[bidder.member_id]
    assert holds(member, world.state.collections[data], 1)
    world.remove(bidder)
    gone = world.state.members[bidder.member_id]
    assert not holds(replace(member, status=gone.status), world.state.collections[data], 1)
    assert held(world.state, bidder.member_id) == frozenset() == held(world.state, bytes(32))
    for party in (bidder.member_id, bytes(32)):
        assert not may_read(world.state, party, data, 1)
    owner = world.owner.member_id
    assert may_read(world.state, owner, data, 1)
    assert not may_read(world.state, owner, data, 3)
    assert not may_read(world.state, owner, data, 0x8001)
    assert not may_read(world.state, owner, bytes(15) + b"1", 0)


def test_the_buyer_of_an_open_offer_may_read_all() -> None:
    world, data = world_with_data()
    buyer, rival = world.member(), world.member()
    world.offer(buyer)
    assert may_read(world.state, buyer.member_id, data, 1)
    assert not may_read(world.state, rival.member_id, data, 1)


# --- who is served what

SERVED = {
    # role, confirmed: whether it is served blocks that it holds no key of, since it may erase
    "owner": (Role.OWNER, True, True),
    "admin": (Role.ADMIN, True, True),
    "keyless": (Role.KEYLESS_ADMIN, True, True),
    "unconfirmed admin": (Role.ADMIN, False, False),
    "bidder": (Role.BIDDER, True, False),
    "auditor": (Role.AUDITOR, True, False),
}


@pytest.mark.parametrize("who", SERVED)
def test_who_may_erase_is_served_what_it_cannot_open(who: str) -> None:
    world, data = world_with_data()
    role, confirmed, served = SERVED[who]
    party = world.owner if role is Role.OWNER else world.join(world.invite(world.owner, role)[1])
    if confirmed and role is not Role.OWNER:
        world.land(world.owner, acts.Confirm(party.member_id))
    for number in (0, 1, 2):
        assert may_fetch(world.state, party.member_id, Address(data, number, 1)) == served
        assert may_read(world.state, party.member_id, data, number) == (who == "owner")
    for nothing in (Address(data, 3, 1), Address(data, 0x8001, 1), Address(b"x" * 16, 0, 1)):
        assert not may_fetch(world.state, party.member_id, nothing)
    assert not may_fetch(world.state, bytes(32), Address(data, 0, 1))
    if role is not Role.OWNER:
        world.remove(party)
        assert not may_fetch(world.state, party.member_id, Address(data, 0, 1))


def test_who_holds_a_field_is_served_it() -> None:
    world, data = world_with_data()
    bidder = world.member(Role.BIDDER, (of_field(data, 1),))
    served = [n for n in range(3) if may_fetch(world.state, bidder.member_id, Address(data, n, 1))]
    assert served == [1]


@pytest.mark.threat("W4")
@pytest.mark.parametrize("how", ["keyless", "withdrawn", "rotated"])
def test_an_admin_is_not_served_what_it_has_the_key_of_and_holds_no_more(how: str) -> None:
    """It may have kept that key; of what comes after it has none, and may erase it."""
    world, data = world_with_data()
    admin = world.member(Role.ADMIN, (of_class(CORE),))
    if how == "keyless":
        world.land(world.owner, acts.ChangeRole(admin.member_id, Role.KEYLESS_ADMIN))
    else:
        withdraw(world, admin, of_class(CORE))
    if how == "rotated":
        admin = world.rotate(admin)
        world.land(world.owner, acts.Confirm(admin.member_id))
    world.epochs(world.owner, (data, 1))
    kept = world.state.members[admin.member_id].kept
    assert kept == {Address(data, 1, 1), Address(data, 2, 1)}
    for address in world.state.live_addresses():
        if address.collection == data:
            served = may_fetch(world.state, admin.member_id, address)
            assert served == (address not in kept)
    if how != "keyless":
        grant(world, admin, of_class(CORE))
        assert may_fetch(world.state, admin.member_id, Address(data, 1, 1)), "it holds it again"
