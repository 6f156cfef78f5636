"""Custodians and the shares that they release: conditions, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Reason, Role, Statement
from protocol.blocks import FieldClass
from protocol.errors import Conflict, IntegrityError, LimitExceeded, NotAuthorised, OutOfOrder
from protocol.identity import join_context, recovery_context, rotation_context
from protocol.ledger import recovery as transitions
from protocol.ledger.state import Recovery, Released
from protocol.limits import LIMITS
from tests.world import World, joining, of_class, rotating

CORE = FieldClass.CORE
DAY = 86_400


class Kept(World):
    """A vault with three custodians, two of whom rebuild, and somebody who wants to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.people()
        self.keepers = [self.member(Role.BIDDER), self.member(Role.AUDITOR)]
        self.keepers.append(self.member(Role.ADMIN))
        self.dealt = self.deal(*self.keepers)
        self.rebuilder = Identity.generate()

    @property
    def recovery(self) -> Recovery:
        assert self.state.recovery is not None
        return self.state.recovery

    def released(self, *keepers: Identity, to: Identity | None = None) -> None:
        for keeper in keepers:
            self.land(keeper, self.release(to or self.rebuilder))


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def rebuilt(kept: Kept) -> Kept:
    kept.released(*kept.keepers[:2])
    return kept


# --- dealing


def test_a_dealing_is_in_force_until_the_next(kept: Kept) -> None:
    first = kept.recovery
    assert (first.at, first.owner) == (kept.dealt, kept.owner.member_id)
    assert set(first.dealing.custodians) == {each.member_id for each in kept.keepers}
    assert (first.rebuilders, first.released, first.rebuilt) == (frozenset(), (), False)
    kept.released(kept.keepers[0])
    second = kept.deal(*kept.keepers[1:])
    assert kept.recovery == Recovery(second, kept.owner.member_id, kept.recovery.dealing)
    assert set(kept.recovery.dealing.custodians) == {e.member_id for e in kept.keepers[1:]}
    kept.land(kept.owner, acts.Custodians(None))
    assert kept.state.recovery is None


@pytest.mark.parametrize("who", ["nobody", "removed", "replaced", "waiting", "invite"])
def test_a_custodian_is_a_confirmed_member(kept: Kept, who: str) -> None:
    other = Identity.generate()
    if who == "invite":
        other = kept.invite(kept.owner)[1]
    elif who == "waiting":
        other = kept.join(kept.invite(kept.owner)[1])
    elif who != "nobody":
        other = kept.member()
        if who == "removed":
            kept.remove(other)
        else:
            kept.rotate(other)
    with pytest.raises(OutOfOrder, match="confirmed member"):
        kept.judge(kept.owner, acts.Custodians(kept.dealing(*kept.keepers, other)))
    kept.judge(kept.owner, acts.Custodians(kept.dealing(*kept.keepers)))


def test_the_owner_keeps_no_share_of_its_own_seed(kept: Kept) -> None:
    with pytest.raises(OutOfOrder, match="no share of its own"):
        kept.judge(kept.owner, acts.Custodians(kept.dealing(*kept.keepers, kept.owner)))


# --- releasing


def test_a_release_is_seen_by_all_and_lets_whoever_rebuilds_read_the_log(kept: Kept) -> None:
    kept.released(kept.keepers[0])
    rebuilder = kept.rebuilder.member_id
    at = kept.ledger.size - 1
    assert kept.recovery.rebuilders == {rebuilder}
    assert kept.state.rebuilders == {rebuilder: kept.rebuilder.public}
    assert kept.recovery.released == (Released(kept.keepers[0].member_id, rebuilder, at),)
    assert kept.state.party(rebuilder) is None, "it is no member, and holds nothing"
    assert kept.held(kept.rebuilder) == frozenset()
    for payload in (acts.Noop(), acts.Attest(Statement.KEYS_DESTROYED)):
        with pytest.raises(NotAuthorised, match="nobody"):
            kept.judge(kept.rebuilder, payload)


@pytest.mark.parametrize("which", ["none", "another", "the one before", "one that never was"])
def test_shares_of_the_dealing_in_force_are_released(kept: Kept, which: str) -> None:
    if which == "none":
        kept.land(kept.owner, acts.Custodians(None))
    elif which == "the one before":
        kept.deal(*kept.keepers)
    named = {"another": kept.dealt + 1, "one that never was": 0}.get(which, kept.dealt)
    with pytest.raises(OutOfOrder, match="not the one in force"):
        kept.judge(kept.keepers[0], kept.release(kept.rebuilder, named))


def test_whoever_rebuilds_is_the_same_somebody_in_the_next_dealing(kept: Kept) -> None:
    """Its key was seen, but as its own: it need not begin anew because the owner dealt again."""
    kept.released(kept.keepers[0])
    rebuilder = kept.rebuilder.member_id
    kept.land(kept.owner, acts.Custodians(None))
    kept.deal(*kept.keepers)
    assert kept.recovery.rebuilders == frozenset(), "the old dealing's share lets nobody read"
    kept.released(kept.keepers[1])
    assert kept.recovery.rebuilders == {rebuilder}


def test_only_a_custodian_releases(kept: Kept) -> None:
    for other in (kept.owner, kept.member(Role.ADMIN)):
        with pytest.raises(NotAuthorised, match="only a custodian"):
            kept.judge(other, kept.release(kept.rebuilder))


def test_a_custodian_that_was_removed_releases_nothing(kept: Kept) -> None:
    gone, fine, also = kept.keepers
    kept.released(gone)
    for keeper in (gone, also):
        kept.remove(keeper)
        with pytest.raises(NotAuthorised, match="removed"):
            kept.judge(keeper, kept.release(kept.rebuilder))
    assert set(kept.recovery.dealing.custodians) == {e.member_id for e in kept.keepers}
    kept.released(fine)
    assert kept.recovery.rebuilt, "what was released before counts"


def test_a_share_is_released_once_to_each(kept: Kept) -> None:
    keeper, other = kept.keepers[0], Identity.generate()
    kept.released(keeper)
    with pytest.raises(OutOfOrder, match="released before"):
        kept.judge(keeper, kept.release(kept.rebuilder))
    kept.released(keeper, to=other)
    assert [each.rebuilder for each in kept.recovery.released] == [
        kept.rebuilder.member_id,
        other.member_id,
    ]
    kept.released(kept.keepers[1])


@pytest.mark.threat("W10")
def test_a_custodian_releases_to_so_many_and_the_others_still_may(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one of them could use up what there is, and keep the owner out."""
    monkeypatch.setattr(transitions, "LIMITS", replace(LIMITS, rebuilders=2))
    hostile, *honest = kept.keepers
    for _ in range(2):
        kept.released(hostile, to=Identity.generate())
    with pytest.raises(LimitExceeded, match="too many"):
        kept.judge(hostile, kept.release(Identity.generate()))
    kept.released(*honest)
    assert kept.recovery.rebuilt


@pytest.mark.threat("K2")
@pytest.mark.parametrize("known", [False, True])
def test_the_card_of_whoever_rebuilds_is_for_that_in_this_vault(kept: Kept, known: bool) -> None:
    """However often it comes: a false one in the log would be nobody's word."""
    author = kept.keepers[1]
    if known:
        kept.released(kept.keepers[0])
    good = kept.release(kept.rebuilder)
    for context in (
        kept.vault_id,
        acts.NO_VAULT,
        recovery_context(bytes(32)),
        join_context(kept.vault_id, kept.owner.member_id),
        rotation_context(kept.vault_id, kept.owner.member_id),
        kept.vault_id + kept.dealt.to_bytes(8, "big"),
    ):
        with pytest.raises(IntegrityError):
            kept.judge(author, replace(good, card=kept.rebuilder.card(context)))
    kept.judge(author, good)


def test_no_key_of_whoever_rebuilds_was_seen_nor_is_used_again(kept: Kept) -> None:
    keeper = kept.keepers[0]
    for seen in (kept.owner, keeper, kept.invite(kept.owner)[1]):
        with pytest.raises(Conflict, match="seen"):
            kept.judge(keeper, kept.release(seen))
    kept.released(keeper)
    _, link = kept.invite(kept.owner)
    with pytest.raises(Conflict, match="seen"):
        kept.judge(link, joining(kept.rebuilder, kept.vault_id, link))
    with pytest.raises(Conflict, match="seen"):
        kept.judge(kept.owner, rotating(kept.rebuilder, kept.vault_id, kept.owner))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("offered", [False, True])
def test_a_release_lands_whatever_the_vault_is_doing(
    kept: Kept, frozen: bool, offered: bool
) -> None:
    """A lost owner cannot lift a freeze, nor end an offer."""
    if offered:
        kept.offer(kept.keepers[0])
    if frozen:
        kept.land(kept.owner, acts.Freeze(Reason.OTHER))
    kept.released(*kept.keepers[1:])
    old = kept.owner
    new = kept.rotate(old, kept.dealt)
    assert kept.state.owner == new.member_id
    assert kept.state.recovery is None


# --- rebuilt


def test_a_seed_is_rebuilt_once_enough_went_to_one(kept: Kept) -> None:
    one, two, three = kept.keepers
    kept.released(one)
    kept.released(two, to=Identity.generate())
    assert not kept.recovery.rebuilt, "two shares, but not in one hand"
    kept.released(three)
    assert kept.recovery.rebuilt


def test_a_dealing_that_nobody_was_given_is_not_rebuilt(kept: Kept) -> None:
    dealing = replace(kept.recovery.dealing)
    assert not Recovery(0, bytes(32), dealing).rebuilt


ALLOWED: list[Callable[[Kept], acts.Payload]] = [
    lambda kept: acts.Revoke(kept.keepers[0].member_id, Reason.BREACH),
    lambda kept: acts.Freeze(Reason.BREACH),
    lambda kept: acts.Attest(Statement.KEYS_DESTROYED),
    lambda kept: acts.Heartbeat(),
    lambda kept: acts.Expire(),
    lambda kept: acts.Noop(),
    lambda kept: rotating(Identity.generate(), kept.vault_id, kept.owner, kept.dealt),
    lambda kept: rotating(Identity.generate(), kept.vault_id, kept.owner),
]
STOPPED: list[Callable[[Kept], acts.Payload]] = [
    lambda kept: acts.Offer(kept.keepers[0].member_id, kept.now + DAY, kept.state.roots()),
    lambda kept: acts.Grant(kept.keepers[0].member_id, (of_class(CORE),)),
    lambda kept: acts.DefineCollection(b"x" * 16, (CORE,)),
    lambda kept: acts.Custodians(None),
    lambda kept: acts.ChangePolicy(acts.DEFAULT_POLICY),
    lambda kept: acts.ChangeRole(kept.keepers[0].member_id, Role.ADMIN),
    lambda kept: acts.Destroy(Reason.OTHER),
    lambda kept: acts.Commit(
        b"u" * 16, bytes(16), 0, True, (kept.manifest(bytes(16), (0x8003,), 1),)
    ),
]


@pytest.mark.parametrize("number", range(len(STOPPED)))
def test_an_owner_whose_seed_was_rebuilt_does_little_else_than_rotate(
    kept: Kept, number: int
) -> None:
    payload = STOPPED[number](kept)
    kept.judge(kept.owner, payload)
    kept.released(*kept.keepers[:2])
    with pytest.raises(OutOfOrder, match="before the owner has new keys") as refused:
        kept.judge(kept.owner, payload)
    assert refused.value.hint
    kept.rotate(kept.owner, kept.dealt)
    kept.people()
    kept.judge(kept.owner, STOPPED[number](kept))


@pytest.mark.parametrize("number", range(len(ALLOWED)))
def test_what_an_owner_whose_seed_was_rebuilt_still_does(rebuilt: Kept, number: int) -> None:
    rebuilt.judge(rebuilt.owner, ALLOWED[number](rebuilt))


def test_nobody_else_is_held_up_by_a_seed_that_was_rebuilt(rebuilt: Kept) -> None:
    admin = rebuilt.keepers[2]
    rebuilt.land(admin, acts.DefineCollection(b"x" * 16, (CORE,)))
    rebuilt.land(admin, acts.Freeze(Reason.OTHER))
    with pytest.raises(OutOfOrder, match="new keys"):
        rebuilt.judge(rebuilt.owner, acts.Unfreeze())
    rebuilt.rotate(rebuilt.owner, rebuilt.dealt)
    rebuilt.land(rebuilt.owner, acts.Unfreeze())


def test_a_buyer_takes_over_from_an_owner_whose_seed_was_rebuilt(kept: Kept) -> None:
    buyer = kept.keepers[0]
    kept.offer(buyer)
    kept.released(*kept.keepers[1:])
    kept.accept(buyer)
    assert kept.state.recovery is None
    kept.judge(buyer, acts.DefineCollection(b"x" * 16, (CORE,)))


# --- the dealing that a new identity names


@pytest.mark.parametrize("which", ["none", "not rebuilt", "another", "replaced", "not the owner"])
def test_a_new_identity_names_a_dealing_that_was_rebuilt(kept: Kept, which: str) -> None:
    author, named = kept.owner, kept.dealt
    if which == "none":
        kept.land(kept.owner, acts.Custodians(None))
    elif which == "not rebuilt":
        kept.released(kept.keepers[0])
    elif which == "replaced":
        kept.deal(*kept.keepers)
        kept.released(*kept.keepers[:2])
    else:
        kept.released(*kept.keepers[:2])
        named += which == "another"
        author = kept.keepers[2] if which == "not the owner" else kept.owner
    said = "fewer shares" if which == "not rebuilt" else "not this owner's"
    with pytest.raises(OutOfOrder, match=said):
        kept.judge(author, rotating(Identity.generate(), kept.vault_id, author, named))
    kept.judge(author, rotating(Identity.generate(), kept.vault_id, author))


def test_whoever_rebuilt_the_seed_takes_the_owner_s_place(rebuilt: Kept) -> None:
    old = rebuilt.owner
    held = rebuilt.held(old)
    new = rebuilt.rotate(old, rebuilt.dealt)
    assert rebuilt.state.owner == new.member_id
    assert rebuilt.state.recovery is None
    assert rebuilt.held(new) == held <= rebuilt.tainted()
    with pytest.raises(OutOfOrder, match="not the one in force"):
        rebuilt.judge(rebuilt.keepers[2], rebuilt.release(Identity.generate(), rebuilt.dealt))
    with pytest.raises(NotAuthorised, match="removed"):
        rebuilt.judge(old, acts.Revoke(new.member_id, Reason.OTHER))
