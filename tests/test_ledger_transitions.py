"""Who may do what, when: a table written from the protocol's design, not from the code."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest

from client.crypto.identity import Identity
from client.crypto.wraps import create_epoch
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD, Address, FieldClass
from protocol.errors import ApiMisuse, NotAuthorised, OutOfOrder, StaleAct
from protocol.ledger.transitions import TRANSITIONS
from tests.world import World, joining, of_class, of_field

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE


@dataclass(frozen=True)
class Expected:
    """One row: confirmed roles that may, phases, live but unconfirmed ones too, head named."""

    roles: str
    phases: str = "open"
    anyone_live: bool = False
    names_head: bool = True
    control: bool = True


# owner, admin, keyless, bidder, auditor
EXPECTED = {
    "genesis": Expected("", "", names_head=False),
    "invite": Expected("owner admin keyless-admin"),
    "withdraw-invite": Expected("owner admin keyless-admin", names_head=False),
    "join": Expected("invite"),
    "confirm": Expected("owner admin keyless-admin"),
    "change-role": Expected("owner"),
    "revoke": Expected("owner admin keyless-admin", "open offered", names_head=False),
    "define-collection": Expected("owner admin"),
    "create-epoch": Expected("owner admin"),
    "grant": Expected("owner admin"),
    "withdraw-grant": Expected("owner admin keyless-admin", names_head=False),
    "commit": Expected("owner admin keyless-admin", names_head=False, control=False),
    "offer": Expected("owner"),
    "accept": Expected("bidder", "offered"),
    "reject": Expected("bidder", "offered"),
    "expire": Expected(
        "owner admin keyless-admin bidder auditor",
        "open offered",
        anyone_live=True,
        names_head=False,
        control=False,
    ),
    "noop": Expected(
        "owner admin keyless-admin bidder auditor",
        "open offered",
        anyone_live=True,
        names_head=False,
        control=False,
    ),
}
ACTORS = {
    "owner": "owner",
    "admin": "admin",
    "keyless": "keyless-admin",
    "bidder": "bidder",
    "auditor": "auditor",
    "unconfirmed admin": "unconfirmed",
    "unconfirmed bidder": "unconfirmed",
    "removed admin": "removed",
    "removed bidder": "removed",
    "invite": "invite",
    "used invite": "removed",
    "withdrawn invite": "removed",
    "stranger": "removed",
}


class Scene(World):
    """A vault with somebody in every role and state."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.people()
        self.data = self.collection(GENERAL, CORE)
        everything = (of_class(GENERAL), of_class(CORE))
        self.victim = self.member(Role.BIDDER, (of_class(CORE),))
        _, self.invited = self.invite(self.owner)
        _, withdrawn = self.invite(self.owner)
        self.land(self.owner, acts.WithdrawInvite(withdrawn.member_id))
        _, used = self.invite(self.owner, Role.ADMIN)
        self.actors = {
            "owner": self.owner,
            "admin": self.member(Role.ADMIN, everything),
            "keyless": self.member(Role.KEYLESS_ADMIN),
            "bidder": self.member(Role.BIDDER, (of_class(CORE),)),
            "auditor": self.member(Role.AUDITOR),
            "unconfirmed admin": self.join(used),
            "unconfirmed bidder": self.join(self.invite(self.owner)[1]),
            "removed admin": self.removed(Role.ADMIN),
            "removed bidder": self.removed(Role.BIDDER),
            "invite": self.invite(self.owner)[1],
            "used invite": used,
            "withdrawn invite": withdrawn,
            "stranger": Identity.generate(),
        }
        # Those who were removed tainted what they held; what follows is written under new epochs.
        fields = ((self.data, n) for n in self.state.collections[self.data].fields)
        self.epochs(self.owner, (PEOPLE_COLLECTION, PEOPLE_FIELD), *fields)

    def next_epoch(self, author: Identity, number: int) -> acts.CreateEpoch:
        following = len(self.state.epochs[self.data, number]) + 1
        new = create_epoch(author, self.vault_id, Address(self.data, number, following))
        return acts.CreateEpoch((new.definition,))

    def removed(self, role: Role) -> Identity:
        member = self.member(role)
        self.land(self.owner, acts.Revoke(member.member_id, Reason.LEFT))
        return member

    def payload(self, kind: str) -> acts.Payload:
        """Return one that whoever may do this at all may do here."""
        return PAYLOADS[kind](self)


def a_genesis(scene: Scene) -> acts.Payload:
    return acts.Genesis(
        acts.SUITE,
        bytes(32),
        scene.owner.card(acts.NO_VAULT),
        bytes(scene.server.verify_key),
        acts.DEFAULT_POLICY,
    )


def an_invite(scene: Scene) -> acts.Payload:
    card = Identity.generate().card(scene.vault_id)
    key = Identity.generate().public.signing_key
    return acts.Invite(card, Role.BIDDER, (), False, scene.now + 86_400, key)


def an_acceptance(scene: Scene) -> acts.Payload:
    index = scene.state.offer.index if scene.state.offer else 0
    return acts.Accept(index, scene.ledger.size, scene.receipts())


def a_rejection(scene: Scene) -> acts.Payload:
    return acts.Reject(scene.state.offer.index if scene.state.offer else 0, Reason.TERMS)


PAYLOADS: dict[str, Callable[[Scene], acts.Payload]] = {
    "genesis": a_genesis,
    "invite": an_invite,
    "withdraw-invite": lambda s: acts.WithdrawInvite(s.invited.member_id),
    "join": lambda s: joining(Identity.generate(), s.vault_id, s.actors["invite"]),
    "confirm": lambda s: acts.Confirm(s.actors["unconfirmed bidder"].member_id),
    "change-role": lambda s: acts.ChangeRole(s.victim.member_id, Role.AUDITOR),
    "revoke": lambda s: acts.Revoke(s.victim.member_id, Reason.LEFT),
    "define-collection": lambda s: acts.DefineCollection(os.urandom(16), (CORE,)),
    "create-epoch": lambda s: s.next_epoch(s.owner, 0),
    "grant": lambda s: acts.Grant(s.victim.member_id, (of_field(s.data, 0),)),
    "withdraw-grant": lambda s: acts.WithdrawGrant(s.victim.member_id, (of_class(CORE),)),
    "commit": lambda s: acts.Commit(
        os.urandom(16),
        PEOPLE_COLLECTION,
        0,
        True,
        (s.manifest(PEOPLE_COLLECTION, (PEOPLE_FIELD,), 1),),
    ),
    "offer": lambda s: acts.Offer(s.actors["bidder"].member_id, s.now + 86_400, s.state.roots()),
    "accept": an_acceptance,
    "reject": a_rejection,
    "expire": lambda s: acts.Expire(),
    "noop": lambda s: acts.Noop(),
}


@cache
def scene(phase: str) -> Scene:
    made = Scene()
    if phase == "offered":
        made.offer(made.actors["bidder"])
    return made


def verdict(kind: str, actor: str, phase: str) -> type[Exception] | None:
    """Return what the table above says."""
    row, standing = EXPECTED[kind], ACTORS[actor]
    if standing == "removed":
        return NotAuthorised
    may = row.anyone_live if standing == "unconfirmed" else standing in row.roles.split()
    if not may:
        return NotAuthorised
    return None if phase in row.phases.split() else OutOfOrder


@pytest.mark.threat("K14")
@pytest.mark.parametrize("phase", ["open", "offered"])
@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("kind", EXPECTED)
def test_who_may_do_what_and_when(kind: str, actor: str, phase: str) -> None:
    world = scene(phase)
    author, payload = world.actors[actor], world.payload(kind)
    before, tree = copy.deepcopy(world.state), world.ledger.tree.root()
    expected = verdict(kind, actor, phase)
    if expected is None:
        landed = world.judge(author, payload)
        number = world.state.numbers.get(author.member_id, 0)
        assert landed.after.numbers[author.member_id] == number + 1
        assert landed.after.size == world.ledger.size + 1
    else:
        with pytest.raises(expected) as refused:
            world.judge(author, payload)
        assert type(refused.value) is expected
    assert world.state == before, "judging changes nothing"
    assert world.ledger.tree.root() == tree


def test_the_table_says_the_same() -> None:
    """The rows themselves, so that no row hides behind a condition."""
    assert {acts.KINDS[kind] for kind in EXPECTED} == set(TRANSITIONS)
    for kind, row in EXPECTED.items():
        found = TRANSITIONS[acts.KINDS[kind]]
        members = set(row.roles.split()) - {"invite"}
        assert {role.value for role in found.roles} == members, kind
        assert found.by_invite == ("invite" in row.roles), kind
        assert {phase.value for phase in found.phases} == set(row.phases.split()), kind
        assert found.names_head == row.names_head, kind
        assert found.control == row.control, kind
        assert found.confirmed != row.anyone_live, kind


def test_a_genesis_applies_to_no_state() -> None:
    world = scene("open")
    row, payload = TRANSITIONS[acts.Genesis], world.payload("genesis")
    with pytest.raises(ApiMisuse):
        row.apply(world.state, world.draft(world.owner, payload), payload, 9)


# --- the control head

DOERS = {
    "join": "invite",
    "accept": "bidder",
    "reject": "bidder",
}


@pytest.mark.threat("S14")
@pytest.mark.threat("W10")
@pytest.mark.parametrize("kind", [kind for kind in EXPECTED if kind != "genesis"])
def test_control_acts_see_the_last_one_and_those_that_cut_off_need_not(kind: str) -> None:
    row = EXPECTED[kind]
    world = scene("offered" if row.phases == "offered" else "open")
    author = world.actors[DOERS.get(kind, "owner")]
    head = world.state.control_head
    seen, unseen = world.citation(head + 1), world.citation(head)
    landed = world.judge(author, world.payload(kind), seen)
    assert landed.after.control_head == (landed.index if row.control else head)
    if row.names_head:
        with pytest.raises(StaleAct):
            world.judge(author, world.payload(kind), unseen)
    else:
        assert world.judge(author, world.payload(kind), unseen).after.size == world.ledger.size + 1


@pytest.mark.threat("S14")
def test_of_two_epochs_made_at_once_the_second_is_refused() -> None:
    world = Scene()
    cited = world.citation()
    second = world.next_epoch(world.actors["admin"], 1)
    world.judge(world.actors["admin"], second, cited)
    world.epochs(world.owner, (world.data, 1))
    with pytest.raises(StaleAct):
        world.judge(world.actors["admin"], second, cited)
    with pytest.raises(OutOfOrder, match="next epoch is 4"):
        world.judge(world.actors["admin"], second)


@pytest.mark.threat("W10")
def test_a_flood_of_control_acts_does_not_keep_a_revocation_off() -> None:
    world = Scene()
    admin = world.actors["admin"]
    cited = world.citation()
    for _ in range(5):
        world.land(admin, acts.DefineCollection(os.urandom(16), (CORE,)))
    with pytest.raises(StaleAct):
        world.judge(world.owner, acts.ChangeRole(admin.member_id, Role.AUDITOR), cited)
    landed = world.land(world.owner, acts.Revoke(admin.member_id, Reason.BREACH), cited=cited)
    assert not landed.after.members[admin.member_id].live
