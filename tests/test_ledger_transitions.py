"""Who may do what, when: a table written from the protocol's design, not from the code."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from client.crypto.identity import Identity
from client.crypto.wraps import create_epoch
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    Address,
    BlockRef,
    FieldClass,
    Padding,
)
from protocol.errors import ApiMisuse, NotAuthorised, OutOfOrder, StaleAct
from protocol.ledger.state import Phase, State
from protocol.ledger.transitions import TRANSITIONS
from tests.meeting import a_rejection, an_acceptance
from tests.world import World, joining, of_class, of_field, rotating

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE


PHASES = ("open", "offered", "frozen", "frozen offer", "ended")
LIVE = PHASES[:-1]
EVERYBODY = "owner admin keyless-admin bidder auditor"
ADMINS = "owner admin keyless-admin"


@dataclass(frozen=True)
class Expected:
    """One row: confirmed roles that may, phases, head named, control act; and whoever else may.

    `anyone_live`: those too who wait to be confirmed. `former`: those too who were removed.
    `elsewhen`: who may in the first of the phases only, by the act's own condition.
    """

    roles: str
    phases: tuple[str, ...] = ("open",)
    anyone_live: bool = False
    names_head: bool = True
    control: bool = True
    former: bool = False
    rebuilt: bool = False
    elsewhen: str = ""


def quiet(roles: str, phases: tuple[str, ...] = ("open",), **others: Any) -> Expected:
    """Return a row of an act that is no control act."""
    return Expected(roles, phases, names_head=False, control=False, **others)


def cutting(roles: str, phases: tuple[str, ...], **others: Any) -> Expected:
    """Return a row of a control act that names no head."""
    return Expected(roles, phases, names_head=False, **others)


EXPECTED = {
    "genesis": Expected("", (), names_head=False),
    "invite": Expected(ADMINS),
    "withdraw-invite": cutting(ADMINS, ("open", "frozen")),
    "join": Expected("invite"),
    "confirm": Expected(ADMINS),
    "change-role": Expected("owner"),
    "revoke": cutting(ADMINS, LIVE, rebuilt=True),
    "rotate-identity": Expected(
        EVERYBODY, LIVE, rebuilt=True, elsewhen="admin keyless-admin bidder auditor"
    ),
    "define-collection": Expected("owner admin"),
    "retire-collection": Expected("owner admin"),
    "create-epoch": Expected("owner admin"),
    "retire-epoch": Expected("owner admin"),
    "grant": Expected("owner admin"),
    "withdraw-grant": cutting(ADMINS, ("open", "frozen")),
    "commit": quiet(ADMINS),
    "erase": quiet(ADMINS),
    "replace": quiet(ADMINS),
    "re-encrypt": quiet("owner admin"),
    "offer": Expected("owner"),
    "accept": Expected("bidder", ("offered", "frozen offer")),
    "reject": Expected("bidder", ("offered", "frozen offer")),
    "expire": quiet(EVERYBODY, LIVE, anyone_live=True, rebuilt=True),
    "freeze": cutting(ADMINS, ("open", "offered"), rebuilt=True),
    "unfreeze": Expected("owner", ("frozen", "frozen offer")),
    "destroy": Expected("owner", ("open", "frozen")),
    "policy": Expected("owner"),
    "custodians": Expected("owner"),
    "release": cutting(EVERYBODY, LIVE),
    "attest": quiet(EVERYBODY, PHASES, anyone_live=True, former=True, rebuilt=True),
    "heartbeat": quiet(EVERYBODY, LIVE, rebuilt=True),
    "noop": quiet(EVERYBODY, LIVE, anyone_live=True, rebuilt=True),
}
ACTORS = {
    "owner": "owner",
    "admin": "admin",
    "keyless": "keyless-admin",
    "bidder": "bidder",
    "auditor": "auditor",
    "unconfirmed admin": "unconfirmed",
    "unconfirmed bidder": "unconfirmed",
    "rotated admin": "unconfirmed",
    "replaced admin": "former",
    "removed admin": "former",
    "removed bidder": "former",
    "invite": "invite",
    "used invite": "nobody",
    "withdrawn invite": "nobody",
    "stranger": "nobody",
}


class Scene(World):
    """A vault with somebody in every role and state, and something for every act to be about."""

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
        replaced = self.member(Role.ADMIN)
        self.actors = {
            "owner": self.owner,
            "admin": self.member(Role.ADMIN, everything),
            "keyless": self.member(Role.KEYLESS_ADMIN),
            "bidder": self.member(Role.BIDDER, (of_class(CORE),)),
            "auditor": self.member(Role.AUDITOR),
            "unconfirmed admin": self.join(used),
            "unconfirmed bidder": self.join(self.invite(self.owner)[1]),
            "rotated admin": self.rotate(replaced),
            "replaced admin": replaced,
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
        self.row = self.manifest(PEOPLE_COLLECTION, (PEOPLE_FIELD,), 3)
        self.commit(self.owner, PEOPLE_COLLECTION, self.row)
        keepers = ("admin", "keyless", "bidder", "auditor")
        self.deal(*(self.actors[each] for each in keepers))

    def next_epoch(self, author: Identity, number: int) -> acts.CreateEpoch:
        following = len(self.state.epochs[self.data, number]) + 1
        new = create_epoch(author, self.vault_id, Address(self.data, number, following))
        return acts.CreateEpoch((new.definition,))

    def removed(self, role: Role) -> Identity:
        member = self.member(role)
        self.land(self.owner, acts.Revoke(member.member_id, Reason.LEFT))
        return member

    def payload(self, kind: str, author: Identity) -> acts.Payload:
        """Return one that whoever may do this at all may do here."""
        if kind == "rotate-identity":
            return rotating(Identity.generate(), self.vault_id, author)
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


def an_erasure(scene: Scene) -> acts.Payload:
    where = scene.state.collections[PEOPLE_COLLECTION]
    erasures = [scene.erasure(where.id, batch.id, [0]) for batch in where.batches]
    return acts.Erase(where.id, Reason.REQUEST, tuple(erasures or [NOTHING]))


def a_replacement(scene: Scene) -> acts.Payload:
    erased, committed = an_erasure(scene), a_commit(scene)
    assert isinstance(erased, acts.Erase)
    assert isinstance(committed, acts.Commit)
    return acts.Replace(
        *(committed.upload, committed.collection, 0, committed.manifests),
        *(Reason.MISTAKE, erased.erasures),
    )


def a_re_encryption(scene: Scene) -> acts.Payload:
    moves = scene.moves(scene.data, 0x8000) if scene.data in scene.state.collections else ()
    return acts.Reencrypt(b"r" * 16, scene.data, 0, True, moves or (NO_MOVE,))


def a_commit(scene: Scene) -> acts.Payload:
    row = scene.manifest(PEOPLE_COLLECTION, (PEOPLE_FIELD,), 1)
    return acts.Commit(os.urandom(16), PEOPLE_COLLECTION, 0, True, (row,))


def an_epoch(scene: Scene) -> acts.Payload:
    if scene.data not in scene.state.collections:
        return acts.CreateEpoch((acts.EpochDefinition(scene.data, 0, 1, bytes(32), bytes(32)),))
    return scene.next_epoch(scene.owner, 0)


def a_dealing(scene: Scene) -> acts.Payload:
    return acts.Custodians(scene.dealing(scene.actors["admin"], scene.actors["bidder"]))


def a_release(scene: Scene) -> acts.Payload:
    return scene.release(
        Identity.generate(), scene.state.recovery.at if scene.state.recovery else 0
    )


NOTHING = acts.Erasure(b"b" * 16, (0,), (acts.EmptiedBlock(0, bytes(32), 4, bytes(32)),))
NO_MOVE = acts.MovedBlock(
    b"b" * 16, bytes(32), BlockRef(0, 1, bytes(16), 4, bytes(32), Padding.UNIFORM)
)
PAYLOADS: dict[str, Callable[[Scene], acts.Payload]] = {
    "genesis": a_genesis,
    "invite": an_invite,
    "withdraw-invite": lambda s: acts.WithdrawInvite(s.invited.member_id),
    "join": lambda s: joining(Identity.generate(), s.vault_id, s.actors["invite"]),
    "confirm": lambda s: acts.Confirm(s.actors["unconfirmed bidder"].member_id),
    "change-role": lambda s: acts.ChangeRole(s.victim.member_id, Role.AUDITOR),
    "revoke": lambda s: acts.Revoke(s.victim.member_id, Reason.LEFT),
    "define-collection": lambda s: acts.DefineCollection(os.urandom(16), (CORE,)),
    "retire-collection": lambda s: acts.RetireCollection(s.data, Reason.RETENTION),
    "create-epoch": an_epoch,
    "retire-epoch": lambda s: acts.RetireEpoch((acts.EpochName(s.data, 0, 1),)),
    "grant": lambda s: acts.Grant(s.victim.member_id, (of_field(s.data, 0),)),
    "withdraw-grant": lambda s: acts.WithdrawGrant(s.victim.member_id, (of_class(CORE),)),
    "commit": a_commit,
    "erase": an_erasure,
    "replace": a_replacement,
    "re-encrypt": a_re_encryption,
    "offer": lambda s: acts.Offer(s.actors["bidder"].member_id, s.now + 86_400, s.state.roots()),
    "accept": an_acceptance,
    "reject": a_rejection,
    "expire": lambda s: acts.Expire(),
    "freeze": lambda s: acts.Freeze(Reason.BREACH),
    "unfreeze": lambda s: acts.Unfreeze(),
    "destroy": lambda s: acts.Destroy(Reason.RETENTION),
    "policy": lambda s: acts.ChangePolicy(acts.DEFAULT_POLICY),
    "custodians": a_dealing,
    "release": a_release,
    "attest": lambda s: acts.Attest(acts.Statement.KEYS_DESTROYED),
    "heartbeat": lambda s: acts.Heartbeat(),
    "noop": lambda s: acts.Noop(),
}


@cache
def scene(phase: str) -> Scene:
    made = Scene()
    if "offer" in phase:
        made.offer(made.actors["bidder"])
    if "frozen" in phase:
        made.land(made.owner, acts.Freeze(Reason.OTHER))
    if phase == "ended":
        made.land(made.owner, acts.Destroy(Reason.OTHER))
    assert made.state.phase.value == phase
    return made


@cache
def snapshot(phase: str) -> State:
    return copy.deepcopy(scene(phase).state)


def verdict(kind: str, actor: str, phase: str) -> type[Exception] | None:
    """Return what the table above says."""
    row, standing = EXPECTED[kind], ACTORS[actor]
    if standing == "former":
        may = row.former
    elif standing == "unconfirmed":
        may = row.anyone_live
    else:
        may = standing in row.roles.split()
    if not may:
        return NotAuthorised
    if phase not in row.phases or (standing in row.elsewhen.split() and phase != row.phases[0]):
        return OutOfOrder
    # The one thing that its own condition keeps from an owner.
    return NotAuthorised if (kind, actor) == ("release", "owner") else None


@pytest.mark.threat("K14")
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("kind", EXPECTED)
def test_who_may_do_what_and_when(kind: str, actor: str, phase: str) -> None:
    world = scene(phase)
    author = world.actors[actor]
    payload, tree = world.payload(kind, author), world.ledger.tree.root()
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
    assert world.state == snapshot(phase), "judging changes nothing"
    assert world.ledger.tree.root() == tree


def test_the_table_says_the_same() -> None:
    """The rows themselves, so that no row hides behind a condition."""
    assert {acts.KINDS[kind] for kind in EXPECTED} == set(TRANSITIONS)
    assert set(PHASES) == {phase.value for phase in Phase}
    for kind, row in EXPECTED.items():
        found = TRANSITIONS[acts.KINDS[kind]]
        members = set(row.roles.split()) - {"invite"}
        assert {role.value for role in found.roles} == members, kind
        assert found.by_invite == ("invite" in row.roles), kind
        assert {phase.value for phase in found.phases} == set(row.phases), kind
        assert found.names_head == row.names_head, kind
        assert found.control == row.control, kind
        assert found.confirmed != row.anyone_live, kind
        assert found.former == row.former, kind
        assert found.rebuilt == row.rebuilt, kind


def test_a_genesis_applies_to_no_state() -> None:
    world = scene("open")
    row, payload = TRANSITIONS[acts.Genesis], world.payload("genesis", world.owner)
    with pytest.raises(ApiMisuse):
        row.apply(world.state, world.draft(world.owner, payload), payload, 9)


# --- the control head

DOERS = {"join": "invite", "accept": "bidder", "reject": "bidder", "release": "bidder"}


@pytest.mark.threat("S14")
@pytest.mark.threat("W10")
@pytest.mark.parametrize("kind", [kind for kind in EXPECTED if kind != "genesis"])
def test_control_acts_see_the_last_one_and_those_that_cut_off_need_not(kind: str) -> None:
    row = EXPECTED[kind]
    world = scene(row.phases[0])
    author = world.actors[DOERS.get(kind, "owner")]
    payload, head = world.payload(kind, author), world.state.control_head
    seen, unseen = world.citation(head + 1), world.citation(head)
    landed = world.judge(author, payload, seen)
    assert landed.after.control_head == (landed.index if row.control else head)
    if row.names_head:
        with pytest.raises(StaleAct):
            world.judge(author, payload, unseen)
    else:
        assert world.judge(author, payload, unseen).after.size == world.ledger.size + 1


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
