"""A member goes on under a new identity: what it gets, what the old one loses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD, Address, FieldClass
from protocol.errors import Conflict, IntegrityError, NotAuthorised, OutOfOrder
from protocol.identity import join_context, recovery_context
from protocol.ledger.holders import holders, may_fetch, may_read
from protocol.ledger.parties import InviteStatus, MemberStatus
from protocol.ledger.sides import required_entries
from protocol.ledger.state import Phase
from tests.test_ledger_commits import commit, world_with_data
from tests.test_ledger_members import CARRYING
from tests.world import World, of_class, of_field, rotating

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE
PEOPLE = (PEOPLE_COLLECTION, PEOPLE_FIELD)
HOLDERS = {
    "owner": (Role.OWNER, ()),
    "admin": (Role.ADMIN, (of_class(CORE),)),
    "keyless": (Role.KEYLESS_ADMIN, ()),
    "bidder": (Role.BIDDER, (of_class(GENERAL),)),
    "auditor": (Role.AUDITOR, ()),
}


def everybody(world: World, who: str) -> Identity:
    role, rules = HOLDERS[who]
    return world.owner if role is Role.OWNER else world.member(role, rules)


@pytest.mark.parametrize("who", HOLDERS)
def test_the_new_identity_gets_exactly_what_the_old_one_held(who: str) -> None:
    world, data = world_with_data()
    world.collection(CORE)
    world.epochs(world.owner, (data, 0), (data, 0x8000))
    world.retire(world.owner, Address(data, 0, 1))
    old = everybody(world, who)
    before, held = world.state, world.held(old)
    assert Address(data, 0, 1) not in held
    new = world.rotate(old)
    _, act = acts.parse_envelope(world.leaves[-1][0][1:])
    needed = required_entries(before, world.state, act)
    assert needed == ({new.member_id: tuple(sorted(held))} if held else {})
    assert world.held(new) == held == frozenset(world.opened.get(new.member_id, {}))
    assert world.held(old) == frozenset()
    for address in held:
        mine, yours = (world.opened[each.member_id][address] for each in (old, new))
        assert mine.key.expose() == yours.key.expose()


@pytest.mark.parametrize("who", HOLDERS)
def test_the_new_identity_stands_where_the_old_one_stood(who: str) -> None:
    world, _ = world_with_data()
    old = everybody(world, who)
    was = world.state.members[old.member_id]
    new = world.rotate(old)
    at, state = world.ledger.size - 1, world.state
    member, gone = state.members[new.member_id], state.members[old.member_id]
    status = MemberStatus.CONFIRMED if who == "owner" else MemberStatus.UNCONFIRMED
    assert member == replace(
        was, identity=new.public, status=status, joined_at=at, predecessor=old.member_id
    )
    assert gone == replace(
        was,
        status=MemberStatus.REPLACED,
        rules=(),
        removed_at=at,
        successor=new.member_id,
    )
    assert not gone.live
    assert state.owner == (new.member_id if who == "owner" else world.owner.member_id)
    assert [m.id for m in state.members.values() if m.live and m.role is Role.OWNER] == [
        state.owner
    ]
    assert new.member_id not in state.numbers, "it begins to count anew"


def test_a_person_is_followed_through_its_identities() -> None:
    world = World()
    world.people()
    first = world.member()
    second = world.rotate(first)
    world.land(world.owner, acts.Confirm(second.member_id))
    third = world.rotate(second)
    ids = [each.member_id for each in (third, second, first)]
    for at in range(3):
        assert world.state.lineage(ids[at]) == tuple(ids[at:])
    stranger = bytes(32)
    assert world.state.lineage(stranger) == (stranger,)
    assert world.state.members[ids[1]].successor == ids[0]


@pytest.mark.threat("W3")
@pytest.mark.parametrize("who", HOLDERS)
def test_whoever_has_the_old_keys_reads_nothing_that_is_written_next(who: str) -> None:
    world, _ = world_with_data()
    old = everybody(world, who)
    held = world.held(old)
    new = world.rotate(old)
    assert world.tainted() == held
    fields = {(each.collection, each.field) for each in held}
    if fields:
        world.epochs(world.owner, *sorted(fields), readers=(new,))
    for collection, number in fields:
        listed = holders(world.state, collection, number)
        assert new.member_id in listed
        assert old.member_id not in listed
    assert world.held(new) - held == {
        Address(collection, number, 2) for collection, number in fields
    }
    with pytest.raises(NotAuthorised, match="removed"):
        world.judge(old, acts.Noop())


def test_the_catalogs_whose_keys_were_kept_are_tainted_too() -> None:
    world, data = world_with_data()
    bidder = world.member(Role.BIDDER, (of_class(CORE),))
    world.land(world.owner, acts.WithdrawGrant(bidder.member_id, (of_class(CORE),)))
    kept = {Address(data, 1, 1), Address(data, 0x8002, 1)}
    assert world.state.members[bidder.member_id].kept == kept
    assert Address(data, 0x8002, 1) not in world.tainted()
    new = world.rotate(bidder)
    assert world.tainted() == kept
    assert world.state.members[new.member_id].kept == kept, "it is the same person"


@pytest.mark.threat("W3")
def test_what_the_old_identity_had_begun_ends() -> None:
    world, data = world_with_data()
    admin = world.member(Role.ADMIN, (of_class(GENERAL), of_class(CORE)))
    links = [world.invite(each)[1] for each in (admin, world.owner)]
    for author, upload in ((admin, b"a" * 16), (world.owner, b"o" * 16)):
        world.land(author, commit(data, world.records(data), upload=upload, last=False))
    world.rotate(admin)
    assert world.state.invites[links[0].member_id].status is InviteStatus.VOID
    assert world.state.invites[links[1].member_id].status is InviteStatus.OPEN
    assert set(world.state.pending) == {b"o" * 16}


def test_its_voided_invites_taint_what_they_carried() -> None:
    """Whether or not the old identity still held it."""
    world = World(policy=CARRYING)
    world.people()
    data = world.collection(GENERAL, CORE)
    _, link = world.invite(world.owner, rules=(of_class(CORE),), carries_data=True)
    old = world.owner
    world.rotate(old)
    assert not world.state.invites[link.member_id].live
    assert {Address(data, 0, 1), Address(data, 1, 1)} <= world.tainted()


# --- until it is confirmed


def test_a_new_identity_waits_to_be_confirmed() -> None:
    """It may be a thief's, with the old keys in its hand: nobody compared its words yet."""
    world, data = world_with_data()
    admin = world.member(Role.ADMIN, (of_class(CORE),))
    new = world.rotate(admin)
    closed: list[acts.Payload] = [
        commit(data, world.manifest(data, (0x8000,), 1)),
        acts.Grant(world.member().member_id, (of_class(CORE),)),
        acts.Freeze(Reason.OTHER),
        acts.Heartbeat(),
        rotating(Identity.generate(), world.vault_id, new),
    ]
    for payload in closed:
        with pytest.raises(NotAuthorised, match="confirmed"):
            world.judge(new, payload)
    world.judge(new, acts.Noop())
    world.judge(new, acts.Expire())
    with pytest.raises(OutOfOrder, match="not confirmed yet"):
        world.judge(world.owner, acts.Grant(new.member_id, (of_class(GENERAL),)))
    # It is served what it holds, and nothing more on the ground of its role.
    assert may_read(world.state, new.member_id, data, 1)
    assert not may_fetch(world.state, new.member_id, Address(data, 0, 1))
    with pytest.raises(NotAuthorised, match="only the owner confirms"):
        world.judge(world.member(Role.ADMIN), acts.Confirm(new.member_id))
    world.land(world.owner, acts.Confirm(new.member_id))
    world.judge(new, acts.Freeze(Reason.OTHER))
    assert may_fetch(world.state, new.member_id, Address(data, 0, 1))


def test_confirming_a_new_identity_gives_it_nothing_new() -> None:
    world, _ = world_with_data()
    bidder = world.member(Role.BIDDER, (of_class(CORE),))
    new = world.rotate(bidder)
    rules, held = world.state.members[new.member_id].rules, world.held(new)
    landed = world.land(world.owner, acts.Confirm(new.member_id))
    assert landed.act is not None
    assert landed.act.sides_root is None
    assert world.state.members[new.member_id].rules == rules
    assert world.held(new) == held


def test_whoever_waits_to_be_confirmed_does_not_rotate() -> None:
    world = World()
    world.people()
    waiting = world.join(world.invite(world.owner)[1])
    with pytest.raises(NotAuthorised, match="not before being confirmed"):
        world.judge(waiting, rotating(Identity.generate(), world.vault_id, waiting))


# --- when


@pytest.mark.threat("V10")
@pytest.mark.parametrize("phase", [Phase.OFFERED, Phase.FROZEN, Phase.FROZEN_OFFER])
def test_only_an_owner_rotates_while_an_offer_is_open_or_the_vault_is_frozen(phase: Phase) -> None:
    world, _ = world_with_data()
    admin, bidder = world.member(Role.ADMIN), world.member()
    buyer = world.member()
    payloads = {
        each.member_id: rotating(Identity.generate(), world.vault_id, each)
        for each in (admin, bidder, buyer)
    }
    for each in (admin, bidder, buyer):
        world.judge(each, payloads[each.member_id])
    if phase in (Phase.OFFERED, Phase.FROZEN_OFFER):
        world.offer(buyer)
    if phase in (Phase.FROZEN, Phase.FROZEN_OFFER):
        world.land(world.owner, acts.Freeze(Reason.BREACH))
    assert world.state.phase is phase
    for each in (admin, bidder, buyer):
        with pytest.raises(OutOfOrder, match=f"only the owner .* while the vault is {phase.value}"):
            world.judge(each, payloads[each.member_id])
    old = world.owner
    new = world.rotate(old)
    assert world.state.owner == new.member_id
    assert world.state.phase is phase


def test_an_offer_outlives_a_new_identity_of_the_seller() -> None:
    world, data = world_with_data()
    world.commit(world.owner, data, world.records(data))
    buyer = world.member()
    world.offer(buyer)
    opened, cited = world.state.offer, world.citation()
    seller = world.owner
    new = world.rotate(seller)
    assert world.state.offer == opened
    assert world.tainted() == set(world.state.live_addresses())
    assert opened is not None
    acceptance = acts.Accept(opened.index, cited.size, world.receipts())
    with pytest.raises(OutOfOrder, match="landed meanwhile"):
        world.judge(buyer, acceptance, cited)
    world.accept(buyer)
    assert world.state.handovers[-1].seller == new.member_id
    assert [m.id for m in world.state.members.values() if m.live] == [buyer.member_id]


# --- which cards, which keys


def test_the_card_of_a_new_identity_is_for_its_vault_and_for_whom_it_follows() -> None:
    world = World()
    world.people()
    member, other = world.member(), world.member()
    new = Identity.generate()
    for context in (
        world.vault_id,
        acts.NO_VAULT,
        world.vault_id + other.member_id,
        bytes(32) + member.member_id,
        join_context(world.vault_id, world.owner.member_id),
        recovery_context(world.vault_id),
    ):
        with pytest.raises(IntegrityError):
            world.judge(member, acts.RotateIdentity(new.card(context), None))
    good = rotating(new, world.vault_id, member)
    with pytest.raises(IntegrityError):
        world.judge(other, good)
    world.judge(member, good)


def test_no_key_of_a_new_identity_was_seen() -> None:
    world = World()
    world.people()
    member, other, link = world.member(), world.member(), world.invite(world.owner)[1]
    removed = world.member()
    world.remove(removed)
    for seen in (member, other, link, removed, world.owner):
        with pytest.raises(Conflict, match="seen"):
            world.judge(member, rotating(seen, world.vault_id, member))
    borrowed = Identity.generate()
    borrowed.__dict__["public"] = replace(borrowed.public, kem_key=member.public.kem_key)
    with pytest.raises(Conflict, match="seen"):
        world.judge(member, rotating(borrowed, world.vault_id, member))
    new = world.rotate(member)
    for again in (member, new):
        with pytest.raises(Conflict, match="seen"):
            world.judge(other, rotating(again, world.vault_id, other))


# --- what goes by a name goes with it


def test_a_new_identity_signs_no_heads_and_releases_no_share() -> None:
    world = World()
    world.people()
    member, keeper = world.member(), world.member()
    signers = tuple(sorted((member.member_id, keeper.member_id)))
    policy = replace(acts.DEFAULT_POLICY, head_signers=signers)
    world.land(world.owner, acts.ChangePolicy(policy))
    world.deal(member, keeper)
    new = world.rotate(member)
    assert world.state.policy.head_signers == (keeper.member_id,)
    assert replace(world.state.policy, head_signers=signers) == policy
    world.land(world.owner, acts.Confirm(new.member_id))
    assert world.state.recovery is not None, "it is another's dealing"
    rebuilder = Identity.generate()
    with pytest.raises(NotAuthorised, match="only a custodian"):
        world.judge(new, world.release(rebuilder))
    with pytest.raises(NotAuthorised, match="removed"):
        world.judge(member, world.release(rebuilder))
    world.judge(keeper, world.release(rebuilder))


def test_an_owner_s_new_identity_ends_the_dealing() -> None:
    world = World()
    world.people()
    world.deal(*(world.member() for _ in range(2)))
    assert world.state.recovery is not None
    world.rotate(world.owner)
    assert world.state.recovery is None


def test_an_owner_without_a_field_key_rotates_all_the_same() -> None:
    world = World()
    new = world.rotate(world.owner)
    assert world.leaves[-1][1] == ()
    assert world.state.owner == new.member_id
    world.people()
    world.member(Role.BIDDER, (of_field(world.collection(CORE), 0),))
