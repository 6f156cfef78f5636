"""Conditions, taints and voids of the acts on members, invites and grants."""

from __future__ import annotations

from dataclasses import replace

import pytest

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Reason, Role, Rule
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD, Address, FieldClass, is_catalog
from protocol.errors import Conflict, IntegrityError, LimitExceeded, NotAuthorised, OutOfOrder
from protocol.identity import join_context
from protocol.ledger import members as transitions
from protocol.ledger.holders import (
    covers,
    holders,
    newly_held,
)
from protocol.ledger.parties import InviteStatus, MemberStatus
from protocol.limits import LIMITS
from tests.world import World, in_order, joining, of_class, of_field

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
CARRYING = replace(acts.DEFAULT_POLICY, invite_data=True)
PEOPLE = Address(PEOPLE_COLLECTION, PEOPLE_FIELD, 1)


def world_with_data(policy: acts.Policy = acts.DEFAULT_POLICY) -> tuple[World, bytes]:
    """Fields 0 (general), 1 (core), 2 (core), and their two catalogs."""
    world = World(policy=policy)
    world.people()
    return world, world.collection(GENERAL, CORE, CORE)


def data_of(addresses: frozenset[Address] | set[Address]) -> set[int]:
    return {a.field for a in addresses if not is_catalog(a.field)}


def catalogs_of(addresses: frozenset[Address] | set[Address]) -> set[int]:
    return {a.field & 0xFF for a in addresses if is_catalog(a.field)}


def grant(world: World, member: Identity, *rules: Rule, by: Identity | None = None) -> None:
    payload = acts.Grant(member.member_id, in_order(rules))
    world.land(by or world.owner, payload, readers=(member,))


def withdraw(world: World, member: Identity, *rules: Rule, by: Identity | None = None) -> None:
    world.land(by or world.owner, acts.WithdrawGrant(member.member_id, in_order(rules)))


# --- invites


def card(world: World) -> tuple[Identity, acts.Invite]:
    new = Identity.generate()
    key = Identity.generate().public.signing_key
    made = acts.Invite(new.card(world.vault_id), Role.BIDDER, (), False, world.now + 86_400, key)
    return new, made


def test_nobody_is_invited_as_owner() -> None:
    world = World()
    with pytest.raises(NotAuthorised, match="as owner"):
        world.judge(world.owner, replace(card(world)[1], role=Role.OWNER))


@pytest.mark.threat("K14")
@pytest.mark.parametrize("role", [Role.ADMIN, Role.KEYLESS_ADMIN])
def test_admins_are_made_and_removed_by_the_owner_only(role: Role) -> None:
    world = World()
    world.people()
    first, second = world.member(Role.ADMIN), world.member(role)
    _, link = world.invite(world.owner, role)
    waiting = world.join(link)
    for author in (first, second):
        with pytest.raises(NotAuthorised, match="only the owner invites"):
            world.judge(author, replace(card(world)[1], role=role))
        with pytest.raises(NotAuthorised, match="only the owner confirms"):
            world.judge(author, acts.Confirm(waiting.member_id))
        for victim in (first, second, waiting):
            with pytest.raises(NotAuthorised, match="only the owner revokes"):
                world.judge(author, acts.Revoke(victim.member_id, Reason.OTHER))
    for payload in (acts.Confirm(waiting.member_id), acts.Revoke(first.member_id, Reason.OTHER)):
        world.judge(world.owner, payload)


@pytest.mark.threat("K14")
@pytest.mark.parametrize("role", [Role.ADMIN, Role.KEYLESS_ADMIN])
def test_an_invite_of_an_admin_is_withdrawn_by_the_owner_only(role: Role) -> None:
    world = World()
    world.people()
    admins = [world.member(Role.ADMIN), world.member(Role.KEYLESS_ADMIN)]
    of_admin, of_bidder = world.invite(world.owner, role)[1], world.invite(world.owner)[1]
    for author in admins:
        with pytest.raises(NotAuthorised, match="only the owner withdraws the invite"):
            world.judge(author, acts.WithdrawInvite(of_admin.member_id))
        world.judge(author, acts.WithdrawInvite(of_bidder.member_id))
    assert world.state.invites[of_admin.member_id].live
    world.land(world.owner, acts.WithdrawInvite(of_admin.member_id))
    for author in admins:  # what is closed already is so for everybody
        with pytest.raises(OutOfOrder, match="no open invite"):
            world.judge(author, acts.WithdrawInvite(of_admin.member_id))


@pytest.mark.threat("K14")
def test_a_grant_of_an_admin_is_withdrawn_by_the_owner_only() -> None:
    """Its own too: else an admin could taint, at will, all that another one works on."""
    world, _ = world_with_data()
    rules = (of_class(CORE),)
    admin, other = world.member(Role.ADMIN, rules), world.member(Role.ADMIN, rules)
    keyless, bidder = world.member(Role.KEYLESS_ADMIN), world.member(Role.BIDDER, rules)
    waiting = world.join(world.invite(world.owner, Role.ADMIN, rules)[1])
    for author in (admin, other, keyless):
        for victim in (admin, other, keyless, waiting):
            with pytest.raises(NotAuthorised, match="only the owner withdraws grants"):
                world.judge(author, acts.WithdrawGrant(victim.member_id, rules))
        world.judge(author, acts.WithdrawGrant(bidder.member_id, rules))
    for victim in (admin, waiting):
        world.land(world.owner, acts.WithdrawGrant(victim.member_id, rules))
    # Made a bidder, it is anybody's to withdraw from.
    world.land(world.owner, acts.ChangeRole(other.member_id, Role.BIDDER))
    world.land(keyless, acts.WithdrawGrant(other.member_id, rules))
    assert data_of(world.held(admin) | world.held(other)) == set()


@pytest.mark.parametrize("role", [Role.KEYLESS_ADMIN, Role.AUDITOR])
def test_roles_without_data_are_granted_none(role: Role) -> None:
    world, _ = world_with_data()
    with pytest.raises(NotAuthorised, match="holds no data"):
        world.judge(world.owner, replace(card(world)[1], role=role, rules=(of_class(CORE),)))
    member = world.member(role)
    with pytest.raises(NotAuthorised, match="holds no data"):
        world.judge(world.owner, acts.Grant(member.member_id, (of_class(CORE),)))


@pytest.mark.parametrize("which", ["no collection", "no field", "people"])
def test_a_rule_is_for_something_that_is_there(which: str) -> None:
    world, data = world_with_data()
    bidder = world.member()
    rule = {
        "no collection": of_class(CORE, b"x" * 16),
        "no field": of_field(data, 3),
        "people": of_class(CORE, PEOPLE_COLLECTION),
    }[which]
    for payload in (
        acts.Grant(bidder.member_id, (rule,)),
        replace(card(world)[1], rules=(rule,)),
    ):
        with pytest.raises(OutOfOrder, match="not there"):
            world.judge(world.owner, payload)


@pytest.mark.threat("V7")
def test_an_invite_carries_data_where_policy_lets_it() -> None:
    carrying = {"rules": (of_class(CORE),), "carries_data": True}
    world, _ = world_with_data()
    with pytest.raises(NotAuthorised, match="policy"):
        world.judge(world.owner, replace(card(world)[1], **carrying))  # type: ignore[arg-type]
    world, _ = world_with_data(CARRYING)
    world.judge(world.owner, replace(card(world)[1], **carrying))  # type: ignore[arg-type]


def test_no_key_is_enrolled_twice() -> None:
    world = World()
    world.people()
    member, link = world.member(), world.invite(world.owner)[1]
    removed = world.member()
    world.remove(removed)
    for seen in (world.owner, member, link, removed):
        payload = replace(card(world)[1], card=seen.card(world.vault_id))
        with pytest.raises(Conflict, match="seen"):
            world.judge(world.owner, payload)
        with pytest.raises(Conflict, match="seen"):
            world.judge(link, joining(seen, world.vault_id, link))


@pytest.mark.parametrize("key", ["kem_key"])
def test_no_single_key_is_enrolled_twice(key: str) -> None:
    """A newcomer that borrows one key of another is refused, whatever the rest."""
    world = World()
    newcomer = Identity.generate()
    public = replace(newcomer.public, **{key: getattr(world.owner.public, key)})
    newcomer.__dict__["public"] = public
    with pytest.raises(Conflict, match="seen"):
        world.judge(world.owner, replace(card(world)[1], card=newcomer.card(world.vault_id)))


@pytest.mark.threat("K13")
def test_an_access_key_stands_for_one_invite() -> None:
    world = World()
    world.people()
    new, made = card(world)
    world.land(world.owner, made)
    member = world.member()
    for key in (
        made.access_key,
        member.public.signing_key,
        world.owner.public.signing_key,
        new.public.signing_key,
    ):
        with pytest.raises(Conflict, match="access key"):
            world.judge(world.owner, replace(card(world)[1], access_key=key))
    _, own = card(world)
    own = replace(own, access_key=own.card.identity.signing_key)
    with pytest.raises(Conflict, match="access key"):
        world.judge(world.owner, own)


def test_only_an_open_invite_is_withdrawn() -> None:
    world = World()
    world.people()
    _, link = world.invite(world.owner)
    world.land(world.owner, acts.WithdrawInvite(link.member_id))
    assert world.state.invites[link.member_id].status is InviteStatus.WITHDRAWN
    for closed in (link.member_id, bytes(32), world.owner.member_id):
        with pytest.raises(OutOfOrder, match="no open invite"):
            world.judge(world.owner, acts.WithdrawInvite(closed))


@pytest.mark.threat("V7")
@pytest.mark.parametrize("carries_data", [False, True])
@pytest.mark.parametrize("how", ["withdrawn", "joined", "expired"])
def test_closing_an_invite_taints_the_data_it_carried_and_no_catalog(
    how: str, carries_data: bool
) -> None:
    world, _ = world_with_data(CARRYING)
    rules = (of_class(CORE),)
    _, link = world.invite(world.owner, rules=rules, carries_data=carries_data, days=1)
    if how == "joined":
        world.join(link)
    else:
        world.now += 86_401
        payload = acts.Noop() if how == "expired" else acts.WithdrawInvite(link.member_id)
        if how == "withdrawn":
            world.now -= 86_401
        world.land(world.owner, payload)
    assert not world.state.invites[link.member_id].live
    assert data_of(world.tainted()) == ({1, 2} if carries_data else set())
    assert catalogs_of(world.tainted()) == set()


@pytest.mark.threat("V7")
def test_a_leaked_link_opens_names_at_most_and_nothing_after_it_was_used() -> None:
    world, data = world_with_data()
    _, link = world.invite(world.owner, rules=(of_class(CORE),))
    assert data_of(set(world.opened[link.member_id])) == set()
    world.join(link)
    with pytest.raises(NotAuthorised, match="closed"):
        world.judge(link, joining(Identity.generate(), world.vault_id, link))
    assert link.member_id not in holders(
        world.state, data, world.state.collections[data].catalogs[1]
    )


def test_an_invite_can_do_nothing_but_join() -> None:
    world = World()
    world.people()
    _, link = world.invite(world.owner, Role.ADMIN)
    for payload in (acts.Noop(), acts.Expire(), acts.Revoke(link.member_id, Reason.OTHER)):
        with pytest.raises(NotAuthorised, match="only join"):
            world.judge(link, payload)


def test_open_invites_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.people()
    monkeypatch.setattr(transitions, "LIMITS", replace(LIMITS, open_invites=2))
    _, first = world.invite(world.owner)
    world.invite(world.owner)
    with pytest.raises(LimitExceeded, match="invites"):
        world.judge(world.owner, card(world)[1])
    world.land(world.owner, acts.WithdrawInvite(first.member_id))
    world.judge(world.owner, card(world)[1])


def test_live_members_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.people()
    monkeypatch.setattr(transitions, "LIMITS", replace(LIMITS, members=2))
    member, (_, link) = world.member(), world.invite(world.owner)
    newcomer = joining(Identity.generate(), world.vault_id, link)
    with pytest.raises(LimitExceeded, match="members"):
        world.judge(link, newcomer)
    world.remove(member)
    world.judge(link, newcomer)


# --- join and confirm


@pytest.mark.threat("K1")
@pytest.mark.threat("K2")
@pytest.mark.parametrize("role", [Role.BIDDER, Role.ADMIN])
def test_a_joiner_s_card_serves_the_invite_it_was_made_for_and_no_other(role: Role) -> None:
    """A server that holds a join back could hand its card to the holder of another invite."""
    world = World()
    world.people()
    _, invite = world.invite(world.owner, Role.AUDITOR)
    _, other = world.invite(world.owner, role)
    newcomer = Identity.generate()
    held_back = joining(newcomer, world.vault_id, invite)
    with pytest.raises(IntegrityError):
        world.judge(other, held_back)
    for context in (
        world.vault_id,
        join_context(bytes(32), invite.member_id),
        join_context(world.vault_id, world.owner.member_id),
        acts.NO_VAULT,
    ):
        with pytest.raises(IntegrityError):
            world.judge(invite, acts.Join(newcomer.card(context)))
    world.land(invite, held_back, readers=(newcomer,))
    assert world.state.members[newcomer.member_id].role is Role.AUDITOR


def test_the_card_of_an_invite_is_for_the_vault_alone() -> None:
    world = World()
    new, made = card(world)
    for context in (join_context(world.vault_id, new.member_id), bytes(32)):
        with pytest.raises(IntegrityError):
            world.judge(world.owner, replace(made, card=new.card(context)))
    world.judge(world.owner, made)


def test_a_newcomer_waits_with_what_its_invite_planned() -> None:
    world, _ = world_with_data()
    _, link = world.invite(world.owner, rules=(of_class(CORE),))
    newcomer = world.join(link)
    member = world.state.members[newcomer.member_id]
    assert (member.status, member.role) == (MemberStatus.UNCONFIRMED, Role.BIDDER)
    assert (member.rules, member.planned) == ((), (of_class(CORE),))
    assert (member.invite, member.joined_at) == (link.member_id, world.ledger.size - 1)
    assert world.state.invites[link.member_id].status is InviteStatus.USED
    assert data_of(world.held(newcomer)) == set()
    world.land(world.owner, acts.Confirm(newcomer.member_id), readers=(newcomer,))
    member = world.state.members[newcomer.member_id]
    assert (member.rules, member.planned) == ((of_class(CORE),), ())
    assert data_of(world.held(newcomer)) == {1, 2} == data_of(set(world.opened[newcomer.member_id]))


def test_confirm_is_for_those_who_wait() -> None:
    world = World()
    world.people()
    member, removed = world.member(), world.member()
    world.remove(removed)
    with pytest.raises(OutOfOrder, match="not waiting"):
        world.judge(world.owner, acts.Confirm(member.member_id))
    for nobody in (removed.member_id, bytes(32), world.invite(world.owner)[1].member_id):
        with pytest.raises(OutOfOrder, match="no such member"):
            world.judge(world.owner, acts.Confirm(nobody))


@pytest.mark.threat("K2")
def test_nothing_is_granted_before_confirm() -> None:
    world, _ = world_with_data()
    waiting = world.join(world.invite(world.owner)[1])
    for payload in (
        acts.Grant(waiting.member_id, (of_class(CORE),)),
        acts.ChangeRole(waiting.member_id, Role.AUDITOR),
    ):
        with pytest.raises(OutOfOrder, match="not confirmed yet"):
            world.judge(world.owner, payload)
    with pytest.raises(OutOfOrder, match="confirmed bidder"):
        world.judge(
            world.owner,
            acts.Offer(waiting.member_id, world.now + 86_400, world.state.roots()),
        )


# --- grants: nobody gives what it does not hold, not even before there is anything to hold


@pytest.mark.threat("K14")
@pytest.mark.parametrize("role", [Role.ADMIN, Role.KEYLESS_ADMIN])
def test_an_admin_does_not_grant_itself_or_a_friend_what_it_lacks(role: Role) -> None:
    """No epoch of the class exists yet, so that no missing wrap would stop it."""
    world, _ = world_with_data()
    admin = world.member(role, (of_class(GENERAL),) if role is Role.ADMIN else ())
    friend = world.member()
    rule = (of_class(SENSITIVE),)
    for member in (admin, friend):
        with pytest.raises(NotAuthorised):
            world.judge(admin, acts.Grant(member.member_id, rule))
    _, link = world.invite(admin, rules=rule)
    puppet = world.join(link)
    with pytest.raises(NotAuthorised, match="who grants data"):
        world.judge(admin, acts.Confirm(puppet.member_id))
    world.land(world.owner, acts.Confirm(puppet.member_id))  # the control: the owner may
    later = world.collection(SENSITIVE, readers=(puppet,))
    assert Address(later, 0, 1) in world.held(puppet)
    assert Address(later, 0, 1) not in world.held(admin) | world.held(friend)


COVERS = [
    # the giver's rule, the rule it gives, whether it may (classes: field 0 general, 1 and 2 core)
    ("core", "core", True),
    ("core", "core here", True),
    ("core", "field 1", True),
    ("core", "field 0", False),
    ("core", "general", False),
    ("core here", "core here", True),
    ("core here", "core", False),
    ("core here", "core there", False),
    ("core here", "field 1", True),
    ("core there", "field 1", False),
    ("field 1", "field 1", True),
    ("field 1", "field 2", False),
    ("field 1", "core here", False),
    ("none", "core", False),
    ("owner", "core", True),
    ("owner", "field 1", True),
]


@pytest.mark.parametrize(("mine", "given", "may"), COVERS)
def test_who_grants_data_holds_all_of_it(mine: str, given: str, may: bool) -> None:
    world, here = world_with_data()
    there = world.collection(GENERAL, CORE)
    rules = {
        "core": of_class(CORE),
        "general": of_class(GENERAL),
        "core here": of_class(CORE, here),
        "core there": of_class(CORE, there),
        "field 0": of_field(here, 0),
        "field 1": of_field(here, 1),
        "field 2": of_field(here, 2),
    }
    if mine == "owner":
        giver = world.owner
    else:
        giver = world.member(Role.ADMIN, (rules[mine],) if mine in rules else ())
    assert covers(world.state, world.state.members[giver.member_id], rules[given]) == may
    payload = acts.Grant(world.member().member_id, (rules[given],))
    if may:
        world.land(giver, payload)
    else:
        with pytest.raises(NotAuthorised, match="who grants data"):
            world.judge(giver, payload)


def test_an_invite_that_carries_data_carries_its_maker_s() -> None:
    world, _ = world_with_data(CARRYING)
    admin = world.member(Role.ADMIN, (of_class(GENERAL),))
    made = replace(card(world)[1], rules=(of_class(SENSITIVE),), carries_data=True)
    with pytest.raises(NotAuthorised, match="who grants data"):
        world.judge(admin, made)
    world.judge(admin, replace(made, rules=(of_class(GENERAL),)))
    world.judge(admin, replace(made, carries_data=False))


def test_a_grant_that_is_there_already_is_refused() -> None:
    world, data = world_with_data()
    bidder = world.member(Role.BIDDER, (of_class(CORE),))
    with pytest.raises(OutOfOrder, match="already"):
        world.judge(world.owner, acts.Grant(bidder.member_id, (of_class(CORE),)))
    grant(world, bidder, of_class(CORE), of_field(data, 0))
    rules = world.state.members[bidder.member_id].rules
    assert rules == in_order((of_class(CORE), of_field(data, 0)))


@pytest.mark.parametrize("first", [0, 1])
def test_rules_have_one_order_however_they_came(first: int) -> None:
    world, data = world_with_data()
    bidder = world.member()
    rules = [of_class(CORE), of_field(data, 0)]
    grant(world, bidder, rules[first])
    grant(world, bidder, rules[1 - first])
    assert world.state.members[bidder.member_id].rules == in_order(rules)


def test_a_grant_covers_later_epochs_too() -> None:
    world, data = world_with_data()
    bidder = world.member(Role.BIDDER, (of_class(CORE),))
    world.epochs(world.owner, (data, 1), readers=(bidder,))
    assert Address(data, 1, 2) in world.opened[bidder.member_id]


@pytest.mark.threat("W1")
def test_withdrawing_taints_the_data_that_is_lost_and_no_catalog() -> None:
    world, data = world_with_data()
    bidder = world.member(Role.BIDDER, (of_class(CORE), of_field(data, 1)))
    withdraw(world, bidder, of_class(CORE))
    assert data_of(world.tainted()) == {2}, "field 1 is still granted by itself"
    withdraw(world, bidder, of_field(data, 1))
    assert data_of(world.tainted()) == {1, 2}
    assert catalogs_of(world.tainted()) == set()
    assert world.held(bidder) == frozenset()


def test_a_grant_ends_as_it_was_made() -> None:
    world, data = world_with_data()
    bidder = world.member(Role.BIDDER, (of_class(CORE),))
    for rules in (
        (of_field(data, 1),),
        (of_class(CORE, data),),
        (of_class(CORE), of_class(GENERAL)),
    ):
        payload = acts.WithdrawGrant(bidder.member_id, in_order(rules))
        with pytest.raises(OutOfOrder, match="no such grant") as refused:
            world.judge(world.owner, payload)
        assert refused.value.hint
    with pytest.raises(OutOfOrder, match="no such member"):
        world.judge(world.owner, acts.WithdrawGrant(bytes(32), (of_class(CORE),)))


def test_a_planned_grant_can_be_withdrawn() -> None:
    world, _ = world_with_data()
    waiting = world.join(world.invite(world.owner, rules=(of_class(CORE),))[1])
    assert catalogs_of(world.held(waiting)) == {2}
    withdraw(world, waiting, of_class(CORE))
    assert world.held(waiting) == frozenset()
    world.land(world.owner, acts.Confirm(waiting.member_id))
    assert world.state.members[waiting.member_id].rules == ()


def test_a_field_granted_again_is_wrapped_again() -> None:
    world, data = world_with_data()
    bidder = world.member(Role.BIDDER, (of_field(data, 1),))
    withdraw(world, bidder, of_field(data, 1))
    before = world.state
    grant(world, bidder, of_field(data, 1))
    assert data_of(set(newly_held(before, world.state, bidder.member_id))) == {1}


# --- roles


@pytest.mark.threat("W4")
@pytest.mark.parametrize("role", [Role.KEYLESS_ADMIN, Role.AUDITOR])
def test_a_demoted_admin_loses_its_data_tainted(role: Role) -> None:
    world, _ = world_with_data()
    admin = world.member(Role.ADMIN, (of_class(CORE),))
    world.land(world.owner, acts.ChangeRole(admin.member_id, role))
    assert data_of(world.held(admin)) == set()
    assert data_of(world.tainted()) == {1, 2}
    assert world.state.members[admin.member_id].rules == ()
    assert world.state.members[admin.member_id].role is role


def test_a_bidder_made_admin_gets_the_catalogs_and_keeps_its_rules() -> None:
    world, _ = world_with_data()
    bidder = world.member(Role.BIDDER, (of_class(CORE),))
    world.land(world.owner, acts.ChangeRole(bidder.member_id, Role.ADMIN), readers=(bidder,))
    assert data_of(world.held(bidder)) == {1, 2}
    assert catalogs_of(world.held(bidder)) == {0, 2, 3}
    assert world.held(bidder) == frozenset(world.opened[bidder.member_id])
    assert not world.tainted()


def test_ownership_is_no_role_to_change() -> None:
    world = World()
    world.people()
    admin = world.member(Role.ADMIN)
    for payload in (
        acts.ChangeRole(admin.member_id, Role.OWNER),
        acts.ChangeRole(world.owner.member_id, Role.ADMIN),
        acts.ChangeRole(world.owner.member_id, Role.OWNER),
    ):
        with pytest.raises(NotAuthorised, match="handover"):
            world.judge(world.owner, payload)
    with pytest.raises(OutOfOrder, match="already"):
        world.judge(world.owner, acts.ChangeRole(admin.member_id, Role.ADMIN))


# --- removal


@pytest.mark.threat("W1")
def test_a_revocation_taints_all_that_was_held_and_it_never_lifts() -> None:
    world, data = world_with_data()
    admin = world.member(Role.ADMIN, (of_class(CORE),))
    held_then = set(world.held(admin))
    assert PEOPLE in held_then
    world.remove(admin)
    assert world.tainted() == held_then
    world.epochs(world.owner, (data, 1))
    assert world.tainted() == held_then
    gone = world.state.members[admin.member_id]
    assert (gone.status, gone.rules, gone.planned) == (MemberStatus.REVOKED, (), ())
    assert gone.removed_at == world.ledger.size - 2


@pytest.mark.threat("S11")
@pytest.mark.parametrize("how", ["withdraw", "change role", "withdraw a plan"])
def test_a_revocation_taints_the_catalogs_whose_keys_were_kept(how: str) -> None:
    """A catalog outlives a withdrawn grant; who was removed must not read what is named next."""
    world, data = world_with_data()
    if how == "withdraw a plan":
        member = world.join(world.invite(world.owner, rules=(of_class(CORE),))[1])
    else:
        role = Role.ADMIN if how == "change role" else Role.BIDDER
        member = world.member(role, (of_class(CORE),))
    names = set(catalogs_of(world.held(member)))
    if how == "change role":
        world.land(world.owner, acts.ChangeRole(member.member_id, Role.AUDITOR))
    else:
        withdraw(world, member, of_class(CORE))
    assert catalogs_of(world.tainted()) == set()
    world.remove(member)
    assert catalogs_of(world.tainted()) == names != set()
    kept = world.opened[member.member_id].keys()
    assert not {a for a in kept if not world.epoch(a).tainted}
    with pytest.raises(OutOfOrder, match="takes no more"):
        world.judge(
            world.owner,
            acts.Commit(
                b"u" * 16, data, 0, True, (world.manifest(data, (0x8000 | CORE,), records=1),)
            ),
        )


@pytest.mark.threat("W3")
def test_a_removed_admin_s_invites_are_void() -> None:
    world, data = world_with_data(CARRYING)
    admin = world.member(Role.ADMIN, (of_class(GENERAL),))
    _, link = world.invite(admin, rules=(of_class(GENERAL),), carries_data=True)
    _, other = world.invite(world.owner, rules=(of_class(GENERAL),))
    world.remove(admin)
    assert world.state.invites[link.member_id].status is InviteStatus.VOID
    assert world.state.invites[other.member_id].live
    assert data_of(world.tainted()) == {0}
    world.epochs(world.owner, (data, 0))
    assert Address(data, 0, 2) not in world.held(link)
    with pytest.raises(NotAuthorised):
        world.join(link)


@pytest.mark.threat("W3")
@pytest.mark.parametrize("how", ["withdraw", "keyless-admin", "auditor"])
def test_who_lost_a_grant_does_not_keep_it_by_an_invite_of_its_own(how: str) -> None:
    """The exact set would wrap every new epoch for an invite whose secret it knows."""
    world, data = world_with_data(CARRYING)
    admin = world.member(Role.ADMIN, (of_class(CORE),))
    _, carrying = world.invite(admin, rules=(of_class(CORE),), carries_data=True)
    _, plain = world.invite(admin, rules=(of_class(CORE),))
    if how == "withdraw":
        withdraw(world, admin, of_class(CORE))
    else:
        world.land(world.owner, acts.ChangeRole(admin.member_id, Role(how)))
    world.epochs(world.owner, (data, 1))
    assert set(holders(world.state, data, 1)) == {world.owner.member_id}
    assert not world.state.invites[carrying.member_id].live
    # Names it may still hand on while it is an admin, and only then.
    assert world.state.invites[plain.member_id].live == (how != "auditor")


def test_what_cannot_be_revoked() -> None:
    world = World()
    world.people()
    keyless, removed = world.member(Role.KEYLESS_ADMIN), world.member()
    world.land(keyless, acts.Revoke(removed.member_id, Reason.LOST_BID))
    for author in (world.owner, keyless):
        with pytest.raises(NotAuthorised, match="nobody revokes the owner"):
            world.judge(author, acts.Revoke(world.owner.member_id, Reason.OTHER))
        for nobody in (removed.member_id, bytes(32)):
            with pytest.raises(OutOfOrder, match="no such member"):
                world.judge(author, acts.Revoke(nobody, Reason.OTHER))


def test_a_removed_member_s_uploads_are_dropped_and_nobody_else_s() -> None:
    world, data = world_with_data()
    admin = world.member(Role.ADMIN)
    catalog = (0x8000 | GENERAL,)
    for author, upload in ((admin, b"a" * 16), (world.owner, b"o" * 16)):
        payload = acts.Commit(upload, data, 0, False, (world.manifest(data, catalog, 1),))
        world.land(author, payload)
    assert set(world.state.pending) == {b"a" * 16, b"o" * 16}
    world.remove(admin)
    # The owner's part is under an epoch that is tainted now, and was written before.
    assert set(world.state.pending) == {b"o" * 16}


def test_an_admin_made_auditor_leaves_no_upload_behind() -> None:
    """It could never end one."""
    world, data = world_with_data()
    admin = world.member(Role.ADMIN)
    part = acts.Commit(b"a" * 16, data, 0, False, (world.manifest(data, (0x8000,), 1),))
    world.land(admin, part)
    world.land(world.owner, acts.ChangeRole(admin.member_id, Role.AUDITOR))
    assert not world.state.pending
