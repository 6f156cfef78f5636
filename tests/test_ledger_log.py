from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from nacl.signing import SigningKey

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Act, Citation, Reason, Role
from protocol.blocks import FieldClass
from protocol.checkpoint import signed_message
from protocol.errors import (
    ApiMisuse,
    ContextMismatch,
    Fork,
    IntegrityError,
    MalformedMessage,
    NotAuthorised,
    OutOfOrder,
    Replay,
    SealroomError,
    Unsupported,
    WeakKey,
)
from protocol.labels import Label
from protocol.ledger import Ledger, act_leaf
from protocol.ledger.log import LEAF_BYTES, signing_key_of
from protocol.ledger.parties import InviteStatus
from protocol.merkle import leaf_hash, root_of
from protocol.wire import Envelope, pae, to_bytes
from tests import edwards
from tests.world import World, joining, of_class

DAY = 86_400


@pytest.fixture(scope="module")
def quiet() -> World:
    """A world that tests look at and never change."""
    world = World()
    world.people()
    return world


def leaf_of(world: World, act: Act, author: Identity) -> bytes:
    return act_leaf(world.signed(author, act))


# --- the leaf


@pytest.mark.parametrize("leaf", [b"", b"\0", b"\3noop", b"\xff", bytes(33)])
def test_a_leaf_is_an_act_or_an_observation(quiet: World, leaf: bytes) -> None:
    with pytest.raises(MalformedMessage):
        quiet.ledger.check(leaf)
    with pytest.raises(MalformedMessage):
        Ledger().check(leaf)


def test_a_leaf_has_a_largest_size(quiet: World) -> None:
    with pytest.raises(MalformedMessage, match="impossible length"):
        quiet.ledger.check(b"\1" + bytes(LEAF_BYTES))
    with pytest.raises(SealroomError) as inside:
        quiet.ledger.check(b"\1" + bytes(LEAF_BYTES - 1))
    assert "impossible length" not in str(inside.value)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_an_observation_is_a_hash(quiet: World, size: int) -> None:
    with pytest.raises(MalformedMessage, match="observation"):
        quiet.ledger.check(b"\2" + bytes(size))


def test_an_observation_changes_nothing_but_the_size(quiet: World) -> None:
    landed = quiet.ledger.check(b"\2" + bytes(32))
    assert landed.act is None
    assert landed.after == replace(quiet.state, size=quiet.state.size + 1)


def test_no_log_begins_with_an_observation() -> None:
    with pytest.raises(MalformedMessage):
        Ledger().check(b"\2" + bytes(32))


def test_an_observation_stands_in_nobody_s_way() -> None:
    world = World()
    cited = world.citation()
    world.land_leaf(b"\2" + bytes(32), ())
    world.land(world.owner, acts.DefineCollection(b"c" * 16, (FieldClass.CORE,)), cited=cited)
    assert world.ledger.size == 3


@pytest.mark.threat("S6")
def test_an_act_counts_only_as_signed(quiet: World) -> None:
    """Another leaf than the one that was signed is another act, or none."""
    leaf = leaf_of(quiet, quiet.draft(quiet.owner, acts.Noop()), quiet.owner)
    quiet.ledger.check(leaf)
    for at in range(1, len(leaf)):
        changed = bytearray(leaf)
        changed[at] ^= 1
        with pytest.raises(SealroomError):
            quiet.ledger.check(bytes(changed))


# --- genesis


def genesis_of(world: World) -> Act:
    return acts.parse_envelope(world.leaves[0][0][1:])[1]


def test_a_genesis_makes_its_owner_the_only_member(quiet: World) -> None:
    first = Ledger().check(quiet.leaves[0][0])
    assert first.before is None
    assert list(first.after.members) == [first.after.owner] == [quiet.owner.member_id]
    assert first.after.vault_id == acts.vault_id_of(quiet.leaves[0][0][1:])
    assert (first.after.size, first.after.control_head) == (1, 0)
    assert first.after.server_key == bytes(quiet.server.verify_key)


@pytest.mark.parametrize(
    "changes",
    [
        {"vault_id": b"v" * 32},
        {"number": 1},
        {"sides_root": bytes(32)},
        {"cited": Citation(1, bytes(32), 5, bytes(64))},
    ],
)
def test_a_genesis_cites_and_carries_nothing(quiet: World, changes: dict[str, object]) -> None:
    act = replace(genesis_of(quiet), **changes)  # type: ignore[arg-type]
    with pytest.raises(MalformedMessage, match="genesis"):
        Ledger().check(leaf_of(quiet, act, quiet.owner))


def test_a_genesis_is_signed_by_its_owner(quiet: World) -> None:
    act, mallory = genesis_of(quiet), Identity.generate()
    with pytest.raises(IntegrityError):
        Ledger().check(leaf_of(quiet, act, mallory))
    with pytest.raises(NotAuthorised, match="owner it names"):
        Ledger().check(leaf_of(quiet, replace(act, author=mallory.member_id), mallory))


def test_a_genesis_has_its_owner_s_own_card(quiet: World) -> None:
    act = genesis_of(quiet)
    assert isinstance(act.payload, acts.Genesis)
    elsewhere = replace(act.payload, owner=quiet.owner.card(b"w" * 32))
    with pytest.raises(IntegrityError):
        Ledger().check(leaf_of(quiet, replace(act, payload=elsewhere), quiet.owner))


def test_a_genesis_knows_nobody_who_signs_heads(quiet: World) -> None:
    act = genesis_of(quiet)
    assert isinstance(act.payload, acts.Genesis)
    for signer in (quiet.owner.member_id, bytes(32)):
        policy = replace(acts.DEFAULT_POLICY, head_signers=(signer,))
        other = replace(act, payload=replace(act.payload, policy=policy))
        with pytest.raises(NotAuthorised, match="no member who could sign"):
            Ledger().check(leaf_of(quiet, other, quiet.owner))


@pytest.mark.threat("K10")
@pytest.mark.parametrize("suite", [0, 2, 0xFFFF])
def test_another_suite_is_unsupported(quiet: World, suite: int) -> None:
    act = genesis_of(quiet)
    assert isinstance(act.payload, acts.Genesis)
    other = replace(act, payload=replace(act.payload, suite=suite))
    with pytest.raises(Unsupported, match="suite"):
        Ledger().check(leaf_of(quiet, other, quiet.owner))


def test_a_log_begins_with_its_genesis(quiet: World) -> None:
    with pytest.raises(OutOfOrder, match="begins"):
        Ledger().check(leaf_of(quiet, quiet.draft(quiet.owner, acts.Noop()), quiet.owner))


def test_no_second_genesis(quiet: World) -> None:
    with pytest.raises(ContextMismatch):
        quiet.ledger.check(quiet.leaves[0][0])


# --- whose act it is


def test_an_act_of_another_vault_is_refused(quiet: World) -> None:
    act = replace(quiet.draft(quiet.owner, acts.Noop()), vault_id=b"w" * 32)
    with pytest.raises(ContextMismatch, match="another vault"):
        quiet.ledger.check(leaf_of(quiet, act, quiet.owner))


@pytest.mark.threat("K4")
def test_an_act_in_another_s_name_is_refused(quiet: World) -> None:
    mallory = Identity.generate()
    with pytest.raises(IntegrityError):
        quiet.ledger.check(leaf_of(quiet, quiet.draft(quiet.owner, acts.Noop()), mallory))
    with pytest.raises(NotAuthorised, match="nobody is enrolled"):
        quiet.ledger.check(leaf_of(quiet, quiet.draft(mallory, acts.Noop()), mallory))


@pytest.mark.threat("K11")
def test_an_act_signed_as_something_else_is_refused(quiet: World) -> None:
    body = quiet.draft(quiet.owner, acts.Noop()).body()
    for label in (Label.OBSERVATION, Label.IDENTITY_SIGNATURE):
        signature = quiet.owner.sign(pae(label, body))
        with pytest.raises(IntegrityError):
            quiet.ledger.check(act_leaf(to_bytes(Envelope(Label.ACT, body, signature))))


@pytest.mark.threat("K5")
@pytest.mark.parametrize("small", edwards.SMALL_ENCODINGS)
def test_a_small_r_signs_nothing(quiet: World, small: bytes) -> None:
    body = quiet.draft(quiet.owner, acts.Noop()).body()
    with pytest.raises(IntegrityError):
        quiet.ledger.check(act_leaf(to_bytes(Envelope(Label.ACT, body, small + bytes(32)))))


@pytest.mark.threat("S10")
@pytest.mark.parametrize("how", ["revoked", "replaced"])
def test_only_the_live_sign_but_for_attestations(how: str) -> None:
    world = World()
    member, stranger = world.member(), Identity.generate()
    spent, vow = acts.Noop(), acts.Attest(acts.Statement.KEYS_DESTROYED)
    key = member.public.signing_key
    for payload in (spent, vow):
        assert signing_key_of(world.state, world.draft(member, payload)) == key
    if how == "revoked":
        world.remove(member)
    else:
        world.rotate(member)
    with pytest.raises(NotAuthorised, match="removed"):
        signing_key_of(world.state, world.draft(member, spent))
    assert signing_key_of(world.state, world.draft(member, vow)) == key
    for payload in (spent, vow):
        with pytest.raises(NotAuthorised, match="nobody"):
            signing_key_of(world.state, world.draft(stranger, payload))


def test_a_closed_invite_attests_nothing() -> None:
    world = World()
    world.people()
    _, link = world.invite(world.owner)
    world.judge(link, joining(Identity.generate(), world.vault_id, link))
    world.land(world.owner, acts.WithdrawInvite(link.member_id))
    with pytest.raises(NotAuthorised, match="closed"):
        world.judge(link, acts.Attest(acts.Statement.KEYS_DESTROYED))


# --- V4: numbers


@pytest.mark.threat("V4")
@pytest.mark.parametrize("number", [0, 1, 3, 4, 2**53])
def test_numbers_are_consecutive(quiet: World, number: int) -> None:
    assert quiet.state.numbers[quiet.owner.member_id] == 2
    act = replace(quiet.draft(quiet.owner, acts.Noop()), number=number)
    with pytest.raises(Replay, match="number 2"):
        quiet.ledger.check(leaf_of(quiet, act, quiet.owner))


@pytest.mark.threat("V4")
def test_a_withheld_act_is_not_slipped_in_later() -> None:
    """The server keeps a grant back; its author spends the number otherwise; too late for it."""
    world = World()
    world.people()
    world.collection(FieldClass.CORE)
    bidder = world.member()
    payload = acts.Grant(bidder.member_id, (of_class(FieldClass.CORE),))
    withheld = leaf_of(world, world.draft(world.owner, payload), world.owner)
    world.ledger.check(withheld)
    world.land(world.owner, acts.Noop())
    with pytest.raises(Replay):
        world.ledger.check(withheld)


@pytest.mark.threat("V4")
def test_no_act_lands_twice() -> None:
    world = World()
    landed = world.land(world.owner, acts.Noop())
    with pytest.raises(Replay):
        world.ledger.check(landed.leaf)


# --- citations


def test_an_act_cites_a_checkpoint(quiet: World) -> None:
    act = replace(quiet.draft(quiet.owner, acts.Noop()), cited=None)
    with pytest.raises(MalformedMessage, match="cites"):
        quiet.ledger.check(leaf_of(quiet, act, quiet.owner))


def cite(
    world: World, size: int, root: bytes, *, key: SigningKey | None = None, vault: bytes = b""
) -> Citation:
    message = signed_message(vault or world.vault_id, size, root, world.now)
    return Citation(size, root, world.now, (key or world.server).sign(message).signature)


@pytest.mark.threat("S3")
def test_a_tree_that_is_no_prefix_is_a_fork(quiet: World) -> None:
    for cited in (
        cite(quiet, quiet.ledger.size, b"r" * 32),
        cite(quiet, quiet.ledger.size, quiet.ledger.tree.root(1)),
        cite(quiet, quiet.ledger.size + 1, quiet.ledger.tree.root()),
    ):
        with pytest.raises(Fork) as fork:
            quiet.judge(quiet.owner, acts.Noop(), cited)
        assert f"\n{cited.size}\n".encode() in fork.value.shown, "the server's signature is kept"


@pytest.mark.threat("S3")
def test_a_made_up_tree_is_no_evidence_of_a_fork(quiet: World) -> None:
    """Whoever invents a root must not make the server look guilty."""
    for root in (b"r" * 32, quiet.ledger.tree.root()):
        for cited in (
            cite(quiet, quiet.ledger.size, root, key=SigningKey.generate()),
            cite(quiet, quiet.ledger.size, root, vault=b"w" * 32),
            replace(cite(quiet, quiet.ledger.size, root), time=quiet.now + 1),
            replace(cite(quiet, quiet.ledger.size, root), signature=bytes(64)),
        ):
            with pytest.raises(IntegrityError):
                quiet.judge(quiet.owner, acts.Noop(), cited)


def test_any_true_prefix_may_be_cited(quiet: World) -> None:
    for size in range(1, quiet.ledger.size + 1):
        quiet.judge(quiet.owner, acts.Noop(), quiet.citation(size))


def test_a_weak_server_key_enrols_no_vault() -> None:
    world = World()
    act = genesis_of(world)
    body = act.body().replace(bytes(world.server.verify_key), edwards.SMALL_ENCODINGS[2])
    signature = world.owner.sign(pae(Label.ACT, body))
    with pytest.raises(WeakKey):
        Ledger().check(act_leaf(to_bytes(Envelope(Label.ACT, body, signature))))


# --- check, append, replay


def test_an_empty_ledger_has_no_state() -> None:
    assert Ledger().size == 0
    with pytest.raises(ApiMisuse):
        _ = Ledger().state


def test_what_was_checked_against_another_state_is_not_appended() -> None:
    world = World()
    landed = world.judge(world.owner, acts.Noop())
    world.land(world.owner, acts.Noop())
    before, root = copy.deepcopy(world.state), world.ledger.tree.root()
    with pytest.raises(ApiMisuse):
        world.ledger.append(landed)
    with pytest.raises(ApiMisuse):
        world.ledger.append(replace(landed, before=world.state))
    with pytest.raises(ApiMisuse):
        world.ledger.append(replace(landed, index=world.ledger.size))
    assert (world.state, world.ledger.tree.root()) == (before, root)


def test_a_copy_grows_without_its_original() -> None:
    world = World()
    before, root, size = world.state, world.ledger.tree.root(), world.ledger.size
    copied = world.ledger.copy()
    assert (copied.state, copied.tree.root()) == (before, root)
    copied.append(copied.check(b"\2" + bytes(32)))
    assert (world.state, world.ledger.tree.root(), world.ledger.size) == (before, root, size)
    world.land(world.owner, acts.Noop())
    assert copied.size == world.ledger.size == size + 1
    assert copied.tree.root() != world.ledger.tree.root()


def test_replaying_the_leaves_gives_the_same_state_and_root() -> None:
    world = World()
    world.people()
    data = world.collection(FieldClass.CORE)
    world.land_leaf(b"\2" + bytes(32), ())
    world.commit(world.owner, data, world.records(data))
    world.member(Role.BIDDER, (of_class(FieldClass.CORE),))
    again = Ledger()
    for leaf, _ in world.leaves:
        again.append(again.check(leaf))
    assert again.state == world.state
    assert again.tree.root() == root_of(leaf_hash(leaf) for leaf, _ in world.leaves)


# --- expiry: settled before judging, strictly later


def invited(**policy: int) -> tuple[World, Identity]:
    world = World(policy=replace(acts.DEFAULT_POLICY, **policy))  # type: ignore[arg-type]
    world.people()
    world.collection(FieldClass.CORE)
    return world, world.invite(world.owner, rules=(of_class(FieldClass.CORE),), days=1)[1]


@pytest.mark.parametrize(("late", "status"), [(0, InviteStatus.OPEN), (1, InviteStatus.EXPIRED)])
def test_an_invite_ends_with_the_first_act_of_an_admin_that_cites_later(
    late: int, status: InviteStatus
) -> None:
    world, invite = invited()
    world.now += DAY + late
    world.land(world.owner, acts.Expire())
    assert world.state.invites[invite.member_id].status is status


@pytest.mark.parametrize("late", [0, 1])
def test_an_invite_does_not_join_with_a_later_citation(late: int) -> None:
    world, invite = invited()
    world.now += DAY + late
    if late:
        with pytest.raises(OutOfOrder, match="expired"):
            world.join(invite)
        world.now -= late
    assert world.join(invite).member_id in world.state.members


@pytest.mark.threat("W7")
@pytest.mark.parametrize("role", [Role.BIDDER, Role.AUDITOR])
def test_nobody_but_an_admin_ends_an_invite(role: Role) -> None:
    world = World()
    world.people()
    member = world.member(role)
    _, invite = world.invite(world.owner, days=1)
    world.now += 2 * DAY
    world.land(member, acts.Noop())
    assert world.state.invites[invite.member_id].live


@pytest.mark.threat("W7")
@pytest.mark.threat("K14")
def test_an_unconfirmed_admin_ends_no_invite() -> None:
    """It may be the server itself, that read a link, and signs whatever time it likes."""
    world = World()
    world.people()
    _, link = world.invite(world.owner, Role.ADMIN)
    unconfirmed = world.join(link)
    _, invite = world.invite(world.owner, days=1)
    world.now += 2 * DAY
    world.land(unconfirmed, acts.Noop())
    assert world.state.invites[invite.member_id].live
    world.land(world.owner, acts.Noop())
    assert not world.state.invites[invite.member_id].live


@pytest.mark.threat("W7")
def test_a_time_that_the_server_did_not_sign_ends_nothing() -> None:
    world, invite = invited()
    cited = replace(world.citation(), time=world.now + 300 * DAY)
    with pytest.raises(IntegrityError):
        world.judge(world.owner, acts.Expire(), cited)
    assert world.state.invites[invite.member_id].live


def offered(days: int = 1) -> tuple[World, Identity]:
    world = World()
    world.people()
    world.collection(FieldClass.CORE)
    buyer = world.member()
    world.offer(buyer, days=days)
    return world, buyer


@pytest.mark.parametrize("late", [0, 1])
def test_an_offer_ends_with_the_first_act_of_anyone_that_cites_later(late: int) -> None:
    world, buyer = offered()
    world.now += DAY + late
    world.land(buyer, acts.Noop())
    assert (world.state.offer is None) == bool(late)
    assert world.tainted() == (set(world.state.live_addresses()) if late else set())


def test_expiry_is_settled_before_the_act_is_judged() -> None:
    """The very act whose citation ends the offer may be one that an open offer forbids."""
    world, _ = offered()
    payload = acts.DefineCollection(b"c" * 16, (FieldClass.CORE,))
    world.now += DAY
    with pytest.raises(OutOfOrder, match="offer is open"):
        world.judge(world.owner, payload)
    world.now += 1
    landed = world.land(world.owner, payload)
    assert landed.after.offer is None
    assert b"c" * 16 in landed.after.collections


def test_an_expired_offer_is_not_accepted() -> None:
    world, buyer = offered()
    assert world.state.offer is not None
    payload = acts.Accept(world.state.offer.index, world.ledger.size, world.receipts())
    world.judge(buyer, payload)
    world.now += DAY + 1
    with pytest.raises(OutOfOrder, match="no offer is open"):
        world.judge(buyer, payload)


def test_a_refused_act_settles_nothing() -> None:
    world, _ = offered()
    world.now += DAY + 1
    with pytest.raises(OutOfOrder):
        world.judge(world.owner, acts.Revoke(bytes(32), Reason.LEFT))
    assert world.state.offer is not None
    assert not world.tainted()


def test_times_are_those_of_the_citation_not_of_the_clock() -> None:
    world, buyer = offered()
    old = world.citation()
    world.now += 9 * DAY
    world.land(buyer, acts.Noop(), cited=old)
    assert world.state.offer is not None


def test_policy_caps_what_an_offer_and_an_invite_may_last() -> None:
    policy = replace(acts.DEFAULT_POLICY, invite_seconds=DAY, offer_seconds=DAY)
    world = World(policy=policy)
    world.people()
    bidder = world.member(days=1)
    for seconds, fits in ((0, False), (1, True), (DAY, True), (DAY + 1, False)):
        offer = acts.Offer(bidder.member_id, world.now + seconds, world.state.roots())
        card, key = Identity.generate().card(world.vault_id), Identity.generate().public.signing_key
        invite = acts.Invite(card, Role.BIDDER, (), False, world.now + seconds, key)
        for payload in (offer, invite):
            if fits:
                world.judge(world.owner, payload)
            else:
                with pytest.raises(OutOfOrder, match="within 1 days"):
                    world.judge(world.owner, payload)
