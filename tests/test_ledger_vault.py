"""Acts on the vault as a whole: freezing, ending, policy, attestations, the age of the head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Reason, Role, Statement
from protocol.blocks import PEOPLE_COLLECTION, FieldClass
from protocol.errors import NotAuthorised, OutOfOrder
from protocol.ledger.contents import Collection
from protocol.ledger.state import Phase, State
from tests.test_ledger_commits import commit, world_with_data
from tests.test_ledger_members import CARRYING
from tests.world import World, joining, of_class

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE
FREEZE, VOW = acts.Freeze(Reason.BREACH), acts.Attest(Statement.KEYS_DESTROYED)
DAY = 86_400


def besides(state: State, *names: str) -> dict[str, Any]:
    """Return the state's fields without those that every act changes, and without these."""
    every = ("size", "numbers", "control_head", "head_time")
    return {
        each.name: getattr(state, each.name)
        for each in fields(state)
        if each.name not in (*every, *names)
    }


def phase(world: World) -> Phase:
    return world.state.phase


# --- freezing


def test_a_freeze_stops_what_adds_and_lets_removals_through() -> None:
    world, data = world_with_data()
    bidder, other = (world.member(Role.BIDDER, (of_class(CORE),)) for _ in range(2))
    _, link = world.invite(world.owner)
    before = world.state
    world.land(world.owner, FREEZE)
    assert phase(world) is Phase.FROZEN
    assert besides(world.state, "frozen") == besides(before, "frozen")
    stopped: list[tuple[Identity, acts.Payload]] = [
        (world.owner, commit(data, world.records(data))),
        (world.owner, acts.Grant(bidder.member_id, (of_class(GENERAL),))),
        (world.owner, acts.DefineCollection(b"x" * 16, (CORE,))),
        (world.owner, acts.RetireCollection(data, Reason.OTHER)),
        (world.owner, acts.Offer(bidder.member_id, world.now + DAY, world.state.roots())),
        (link, joining(Identity.generate(), world.vault_id, link)),
        (world.owner, FREEZE),
    ]
    for author, payload in stopped:
        with pytest.raises(OutOfOrder, match="not while the vault is frozen"):
            world.judge(author, payload)
    world.land(world.owner, acts.WithdrawInvite(link.member_id))
    world.land(world.owner, acts.WithdrawGrant(other.member_id, (of_class(CORE),)))
    world.remove(bidder)
    world.land(world.owner, acts.Unfreeze())
    assert phase(world) is Phase.OPEN
    world.epochs(world.owner, (data, 0), (data, 1))
    world.commit(world.owner, data, world.records(data))


@pytest.mark.parametrize("role", [Role.ADMIN, Role.KEYLESS_ADMIN])
def test_an_admin_freezes_and_the_owner_alone_lifts_it(role: Role) -> None:
    world = World()
    world.people()
    admin = world.member(role)
    with pytest.raises(OutOfOrder, match="nothing is frozen"):
        world.judge(world.owner, acts.Unfreeze())
    world.land(admin, FREEZE)
    with pytest.raises(NotAuthorised, match="may not do this"):
        world.judge(admin, acts.Unfreeze())
    world.land(world.owner, acts.Unfreeze())
    assert not world.state.frozen


@pytest.mark.parametrize("answer", ["accept", "reject", "expire"])
def test_an_open_offer_is_answered_while_the_vault_is_frozen(answer: str) -> None:
    world, _ = world_with_data()
    admin, buyer = world.member(Role.ADMIN), world.member()
    world.offer(buyer)
    world.land(admin, FREEZE)
    assert phase(world) is Phase.FROZEN_OFFER
    with pytest.raises(OutOfOrder, match="frozen, and a handover offer is open"):
        world.judge(admin, FREEZE)
    if answer == "accept":
        world.accept(buyer)
        world.owner = buyer
    elif answer == "reject":
        world.reject(buyer)
    else:
        world.now += 20 * DAY
        world.land(admin, acts.Expire())
    assert world.state.offer is None
    assert phase(world) is Phase.FROZEN, "that is another matter"
    assert world.tainted() == set(world.state.live_addresses())
    world.land(world.owner, acts.Unfreeze())
    assert phase(world) is Phase.OPEN


def test_a_freeze_is_lifted_with_the_offer_still_open() -> None:
    world, _ = world_with_data()
    buyer = world.member()
    world.offer(buyer)
    opened = world.state.offer
    world.land(world.owner, FREEZE)
    world.land(world.owner, acts.Unfreeze())
    assert phase(world) is Phase.OFFERED
    assert world.state.offer == opened


# --- the end


def ended(world: World) -> World:
    world.land(world.owner, acts.Destroy(Reason.RETENTION))
    return world


def test_a_destroyed_vault_has_nothing_left_but_its_log() -> None:
    world, data = world_with_data()
    admin = world.member(Role.ADMIN, (of_class(CORE),))
    world.land(world.owner, acts.WithdrawGrant(admin.member_id, (of_class(CORE),)))
    world.epochs(world.owner, (data, 1))
    world.commit(world.owner, data, world.records(data))
    world.land(world.owner, commit(data, world.records(data), upload=b"u" * 16, last=False))
    world.deal(admin, world.member())
    world.land(world.owner, FREEZE)
    before = world.state
    assert before.members[admin.member_id].kept
    state = ended(world).state
    assert state.phase is Phase.ENDED
    assert state.collections == {PEOPLE_COLLECTION: Collection(PEOPLE_COLLECTION, ())}
    assert state.retired == {data}
    assert (state.epochs, state.pending, state.recovery, state.frozen) == ({}, {}, None, False)
    assert all(map(state.is_retired, before.live_addresses()))
    for member in (world.owner, admin):
        assert world.held(member) == frozenset()
    assert state.members == {
        key: replace(each, kept=frozenset()) for key, each in before.members.items()
    }
    gone = ("collections", "retired", "epochs", "members", "pending", "recovery", "frozen", "ended")
    assert besides(state, *gone) == besides(before, *gone)


def test_nothing_lands_after_the_end_but_attestations() -> None:
    world, data = world_with_data()
    admin, removed = world.member(Role.ADMIN), world.member()
    world.remove(removed)
    waiting = world.join(world.invite(world.owner)[1])
    _, link = world.invite(world.owner)
    record = world.records(data)
    ended(world)
    refused: list[tuple[Identity, acts.Payload]] = [
        (world.owner, acts.Noop()),
        (world.owner, acts.Expire()),
        (world.owner, acts.Heartbeat()),
        (world.owner, acts.Unfreeze()),
        (world.owner, FREEZE),
        (world.owner, acts.Destroy(Reason.OTHER)),
        (world.owner, commit(data, record)),
        (world.owner, acts.Revoke(admin.member_id, Reason.OTHER)),
        (world.owner, acts.ChangePolicy(acts.DEFAULT_POLICY)),
        (link, joining(Identity.generate(), world.vault_id, link)),
    ]
    for author, payload in refused:
        with pytest.raises(OutOfOrder, match="not while the vault is destroyed"):
            world.judge(author, payload)
    before = world.state
    for author in (world.owner, admin, waiting, removed):
        world.land(author, VOW)
    assert besides(world.state, "attested") == besides(before, "attested")
    for author in (link, Identity.generate()):
        with pytest.raises(NotAuthorised):
            world.judge(author, VOW)


def test_a_vault_is_not_destroyed_under_a_buyer() -> None:
    world = World()
    world.people()
    buyer = world.member()
    world.offer(buyer)
    for frozen in (False, True):
        with pytest.raises(OutOfOrder, match="offer is open"):
            world.judge(world.owner, acts.Destroy(Reason.OTHER))
        if not frozen:
            world.land(world.owner, FREEZE)
    world.reject(buyer)
    ended(world)


def test_nothing_expires_after_the_end() -> None:
    world = World()
    world.people()
    _, link = world.invite(world.owner, days=1)
    ended(world)
    world.now += 2 * DAY
    world.land(world.owner, VOW)
    assert world.state.invites[link.member_id].live


# --- policy


def test_a_policy_takes_the_place_of_the_one_there_was() -> None:
    world, _ = world_with_data()
    signer = world.member(Role.AUDITOR)
    signers = tuple(sorted((signer.member_id, world.owner.member_id)))
    policy = acts.Policy(DAY, 2 * DAY, 3 * DAY, True, signers)
    before = world.state
    world.land(world.owner, acts.ChangePolicy(policy))
    assert world.state.policy == policy
    assert besides(world.state, "policy") == besides(before, "policy")
    with pytest.raises(OutOfOrder, match="within 1 days"):
        world.invite(world.owner, days=2)
    world.invite(world.owner, rules=(of_class(CORE),), carries_data=True, days=1)


def test_what_an_old_policy_let_in_stands() -> None:
    world = World(policy=CARRYING)
    world.people()
    world.collection(CORE)
    _, link = world.invite(world.owner, rules=(of_class(CORE),), carries_data=True)
    world.land(world.owner, acts.ChangePolicy(acts.DEFAULT_POLICY))
    held = world.held(link)
    assert {each.field for each in held} == {0, 0x8002}
    assert held <= frozenset(world.opened[world.join(link).member_id])


@pytest.mark.parametrize("who", ["nobody", "removed", "replaced", "waiting", "an invite"])
def test_who_signs_heads_is_a_confirmed_member(who: str) -> None:
    world = World()
    world.people()
    fine = world.member()
    if who == "removed":
        other = world.member()
        world.remove(other)
    elif who == "replaced":
        other = world.member()
        world.rotate(other)
    else:
        other = world.invite(world.owner)[1]
        if who == "waiting":
            other = world.join(other)
    ids = {fine.member_id, bytes(32) if who == "nobody" else other.member_id}
    policy = replace(acts.DEFAULT_POLICY, head_signers=tuple(sorted(ids)))
    with pytest.raises(OutOfOrder, match="confirmed member"):
        world.judge(world.owner, acts.ChangePolicy(policy))
    world.judge(world.owner, acts.ChangePolicy(replace(policy, head_signers=(fine.member_id,))))


# --- attestations


@pytest.mark.parametrize("who", ["owner", "waiting", "removed", "replaced", "seller"])
def test_a_statement_is_made_once_and_changes_nothing_else(who: str) -> None:
    world = World()
    world.people()
    if who == "waiting":
        author = world.join(world.invite(world.owner)[1])
    elif who in ("owner", "seller"):
        author, buyer = world.owner, world.member()
        if who == "seller":
            world.offer(buyer)
            world.accept(buyer)
    else:
        author = world.member()
        if who == "removed":
            world.remove(author)
        else:
            world.rotate(author)
    before = world.state
    world.land(author, VOW)
    assert world.state.attested == {(author.member_id, Statement.KEYS_DESTROYED)}
    assert besides(world.state, "attested") == besides(before, "attested")
    with pytest.raises(OutOfOrder, match="attested before"):
        world.judge(author, VOW)


def test_a_former_member_s_date_ends_an_offer_as_anybody_s_does_and_no_invite() -> None:
    world = World()
    world.people()
    gone, buyer = world.member(), world.member()
    _, link = world.invite(world.owner, days=1)
    world.remove(gone)
    world.offer(buyer, days=1)
    world.now += 2 * DAY
    world.land(gone, VOW)
    assert world.state.offer is None
    assert world.state.invites[link.member_id].live


# --- the age of the head


def test_the_head_is_as_old_as_the_owner_s_newest_citation() -> None:
    world, _ = world_with_data()
    admin = world.member(Role.ADMIN)
    now = world.now
    assert world.state.head_time == now
    world.now += 10
    world.land(admin, acts.Heartbeat())
    world.land(admin, FREEZE)
    assert world.state.head_time == now
    for payload in (acts.Heartbeat(), acts.Unfreeze(), acts.Noop()):
        world.now += 10
        before = world.state
        landed = world.land(world.owner, payload)
        assert landed.after.head_time == world.now
        assert besides(landed.after, "frozen") == besides(before, "frozen")


def test_the_head_time_is_that_of_the_newest_act_and_may_go_back() -> None:
    """A time that is false, of a clock or of a liar, ends with the next act of a head signer."""
    world = World()
    world.land(world.owner, acts.Heartbeat(), cited=world.citation(time=2**40 - 1))
    assert world.state.head_time == 2**40 - 1
    world.land(world.owner, acts.Heartbeat())
    assert world.state.head_time == world.now


def test_a_genesis_has_seen_nothing() -> None:
    world = World()
    assert world.state.head_time == 0
    world.land(world.owner, acts.Heartbeat())
    assert world.state.head_time == world.now


def signer_removed(world: World, signer: Identity) -> None:
    world.remove(signer)


def signer_replaced(world: World, signer: Identity) -> None:
    world.rotate(signer)


def signer_unnamed(world: World, signer: Identity) -> None:
    world.land(world.owner, acts.ChangePolicy(acts.DEFAULT_POLICY))


@pytest.mark.parametrize("end", [signer_removed, signer_replaced, signer_unnamed])
def test_whom_the_policy_names_signs_heads_until_it_is_removed(
    end: Callable[[World, Identity], None],
) -> None:
    world = World()
    world.people()
    signer, other = world.member(Role.AUDITOR), world.member(Role.AUDITOR)
    signers = tuple(sorted((signer.member_id, other.member_id)))
    policy = replace(acts.DEFAULT_POLICY, head_signers=signers)
    world.land(world.owner, acts.ChangePolicy(policy))
    world.now += 10
    world.land(signer, acts.Heartbeat())
    assert world.state.head_time == world.now
    end(world, signer)
    last = world.now
    assert world.state.head_time == last
    world.now += 10
    world.land(signer, VOW)
    assert world.state.head_time == last
    named = other.member_id in world.state.policy.head_signers
    assert named == (end is not signer_unnamed)
    assert signer.member_id not in world.state.policy.head_signers


def test_a_buyer_signs_heads_from_its_acceptance_on_and_the_seller_no_more() -> None:
    world, _ = world_with_data()
    buyer, signer = world.member(), world.member()
    policy = replace(acts.DEFAULT_POLICY, head_signers=(signer.member_id,))
    world.land(world.owner, acts.ChangePolicy(policy))
    world.offer(buyer)
    before = world.state.head_time
    world.now += 10
    world.land(buyer, acts.Heartbeat())
    assert world.state.head_time == before
    world.accept(buyer)
    assert world.state.head_time == world.now
    assert world.state.policy.head_signers == ()
    last = world.now
    world.now += 10
    world.land(world.owner, VOW)
    assert world.state.head_time == last


def test_an_owner_s_new_identity_goes_on_signing_heads() -> None:
    world = World()
    old = world.owner
    world.now += 10
    world.rotate(old)
    assert world.state.head_time == world.now
    world.now += 10
    world.land(world.owner, acts.Heartbeat())
    assert world.state.head_time == world.now
    last = world.now
    world.now += 10
    world.land(old, VOW)
    assert world.state.head_time == last


def test_a_buyer_that_signed_heads_before_is_named_no_more() -> None:
    """It is the owner now; whom else it trusts to sign is its own to say."""
    world = World()
    world.people()
    buyer = world.member()
    policy = replace(acts.DEFAULT_POLICY, head_signers=(buyer.member_id,))
    world.land(world.owner, acts.ChangePolicy(policy))
    world.offer(buyer)
    world.accept(buyer)
    assert world.state.policy == replace(policy, head_signers=())
