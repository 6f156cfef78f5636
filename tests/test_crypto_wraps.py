"""Wraps open for exactly those entitled, and nobody accepts a key that is not the published one."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from client.crypto.identity import Identity, seal_box
from client.crypto.keys import confirmed_field_key, derive_field_key, key_confirmation
from client.crypto.secrets import Share
from client.crypto.wraps import create_epoch, make_sides, open_keys, rewrap, unwrap
from protocol import acts
from protocol.acts import Role
from protocol.blocks import Address, FieldClass
from protocol.errors import (
    CommitmentMismatch,
    IntegrityError,
    NotAuthorised,
    WeakKey,
)
from protocol.group import base_mul, mul
from protocol.ledger import CheckedSides, check_sides, sides_root
from protocol.ledger.sides import SharesBox
from protocol.rewrap import RewrapStatement, Wrap, verify_rewrap
from tests.world import World, of_class, of_field

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE


def test_a_new_epoch_s_commitments_are_those_of_its_wrap() -> None:
    creator, vault, address = Identity.generate(), b"v" * 32, Address(b"c" * 16, 1, 1)
    new = create_epoch(creator, vault, address)
    key = confirmed_field_key(
        vault,
        address,
        unwrap(creator, new.first_wrap),
        new.share,
        published_share_hash=new.definition.share_hash,
        published_confirmation=new.definition.confirmation,
    )
    assert key_confirmation(key) == new.definition.confirmation
    assert new.definition.address == address
    again = create_epoch(creator, vault, address)
    assert again.first_wrap != new.first_wrap
    assert again.share != new.share
    assert unwrap(creator, again.first_wrap) != unwrap(creator, new.first_wrap)
    assert unwrap(Identity.generate(), new.first_wrap) != unwrap(creator, new.first_wrap)


def test_a_rewrap_gives_the_same_key_and_a_proof() -> None:
    world = World()
    world.people()
    member, other = world.member(Role.ADMIN), Identity.generate()
    address = next(iter(world.held(member)))
    source = world.wraps[address, member.member_id]
    hash_of_share = world.epoch(address).definition.share_hash
    act = world.draft(member, acts.Noop())
    entry = rewrap(member, act, address, hash_of_share, source, other.public)
    assert unwrap(other, entry.wrap) == unwrap(member, source)
    statement = RewrapStatement(
        world.vault_id,
        "noop",
        address,
        hash_of_share,
        member.public,
        source,
        other.public,
        entry.wrap,
    )
    verify_rewrap(statement, entry.proof)
    again = rewrap(member, act, address, hash_of_share, source, other.public)
    assert again.wrap != entry.wrap, "a fresh scalar each time"


@pytest.mark.threat("C12")
def test_a_cloned_machine_repeats_no_scalar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same random bytes, but another recipient, source, address or vault: other scalars."""
    world = World()
    monkeypatch.setattr(secrets, "token_bytes", lambda size: b"r" * size)
    one, two = Identity.generate(), World().owner
    assert one.seed.expose() == b"r" * 32
    people = [Identity(type(one.seed)(bytes((i,)) * 32)) for i in range(2)]
    wraps = [Wrap(base_mul(bytes((i,)) + bytes(31)), base_mul(b"\5" + bytes(31))) for i in (1, 2)]
    addresses = [Address(b"c" * 16, 1, 1), Address(b"c" * 16, 1, 2)]
    drafts = [world.draft(one, acts.Noop())]
    drafts.append(replace(drafts[0], vault_id=b"w" * 32))
    made = [
        rewrap(one, act, address, bytes(32), wrap, person.public).wrap.ephemeral
        for act in drafts
        for address in addresses
        for wrap in wraps
        for person in people
    ]
    assert len({bytes(each) for each in made}) == 16
    first = [
        create_epoch(who, b"v" * 32, a).first_wrap for who in (one, people[0]) for a in addresses
    ]
    assert len({bytes(each.ephemeral) for each in first}) == 4
    assert two is not one


# --- who can open what


class Deal(World):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.people()
        self.data = self.collection(GENERAL, CORE)
        self.bidder = self.member(Role.BIDDER, (of_class(CORE),))
        self.rival = self.member()


@pytest.fixture
def deal() -> Deal:
    return Deal()


def test_everybody_holds_the_one_key(deal: Deal) -> None:
    mine, owners = deal.opened[deal.bidder.member_id], deal.opened[deal.owner.member_id]
    assert set(mine) == set(deal.held(deal.bidder))
    for address, opened in mine.items():
        assert opened.key == owners[address].key
        assert opened.share == owners[address].share
    assert deal.opened.get(deal.rival.member_id, {}) == {}


def test_the_wraps_on_record_are_of_exactly_the_holders(deal: Deal) -> None:
    on_record = {who for address, who in deal.wraps if address == Address(deal.data, 1, 1)}
    assert on_record == {deal.owner.member_id, deal.bidder.member_id}


def grant_to(deal: Deal, cheat: dict[Address, Share]) -> tuple[acts.Act, CheckedSides]:
    """The seller grants the rival core data, with other shares in the box than published."""
    act = deal.draft(deal.owner, acts.Grant(deal.rival.member_id, (of_class(CORE),)))
    after = deal.ledger.preview(act)
    shares = {**deal.shares(deal.owner), **cheat}
    sides = make_sides(deal.owner, act, deal.state, after, on_record=deal.wraps, shares=shares)
    act = replace(act, sides_root=sides_root(sides))
    return act, check_sides(deal.state, after, act, sides, deal.wraps)


@pytest.mark.threat("Z4")
@pytest.mark.parametrize("number", [1, 0x8002])
def test_a_wrong_share_is_refused_by_its_recipient(deal: Deal, number: int) -> None:
    """The server cannot see it: K is proved, the share is in the box."""
    wrong = {Address(deal.data, number, 1): Share(b"t" * 32)}
    act, checked = grant_to(deal, wrong)
    with pytest.raises(CommitmentMismatch, match=f"field {number} epoch 1"):
        open_keys(deal.rival, deal.ledger.preview(act), checked)
    act, checked = grant_to(deal, {})
    assert len(open_keys(deal.rival, deal.ledger.preview(act), checked)) == 2


@pytest.mark.threat("Z4")
def test_a_wrong_share_takes_no_other_of_its_box_along(deal: Deal) -> None:
    good, bad = Address(deal.data, 1, 1), Address(deal.data, 0x8002, 1)
    act, checked = grant_to(deal, {bad: Share(b"t" * 32)})
    after = deal.ledger.preview(act)
    opened = open_keys(deal.rival, after, checked, good)
    assert opened == {good: deal.opened[deal.owner.member_id][good]}
    with pytest.raises(CommitmentMismatch):
        open_keys(deal.rival, after, checked, bad)


@pytest.mark.threat("C8")
def test_a_wrong_key_is_refused_by_its_recipient(deal: Deal) -> None:
    """Should a false proof ever pass, the key confirmation still tells."""
    act, checked = grant_to(deal, {})
    after = deal.ledger.preview(act)
    assert open_keys(deal.rival, after, checked)
    for place, wrap in list(checked.wraps.items()):
        other = base_mul(b"\7" + bytes(31))
        checked.wraps[place] = replace(wrap, masked=wrap.masked + other)
        with pytest.raises(CommitmentMismatch, match="not the published one"):
            open_keys(deal.rival, after, checked)
        checked.wraps[place] = wrap


@pytest.mark.threat("Z3")
def test_a_wrap_of_the_identity_is_refused_by_its_recipient(deal: Deal) -> None:
    act, checked = grant_to(deal, {})
    scalar = (99).to_bytes(32, "little")
    empty = Wrap(base_mul(scalar), mul(scalar, deal.rival.public.rewrap_key))
    checked.wraps[Address(deal.data, 1, 1), deal.rival.member_id] = empty
    with pytest.raises(WeakKey):
        open_keys(deal.rival, deal.ledger.preview(act), checked)


@pytest.mark.threat("C8")
def test_an_epoch_published_with_another_s_commitments_is_refused(deal: Deal) -> None:
    """The creator publishes a confirmation that its wrap does not hold: everybody notices."""
    address = Address(deal.data, 1, 2)
    new = create_epoch(deal.owner, deal.vault_id, address)
    for definition in (
        replace(new.definition, confirmation=bytes(32)),
        replace(new.definition, share_hash=bytes(32)),
    ):
        false = replace(new, definition=definition)
        payload = acts.CreateEpoch((false.definition,))
        act = deal.draft(deal.owner, payload)
        sides = deal.sides(deal.owner, act, {address: false})
        act = replace(act, sides_root=sides_root(sides))
        after = deal.ledger.preview(act)
        checked = check_sides(deal.state, after, act, sides, deal.wraps)
        for reader in (deal.owner, deal.bidder):
            with pytest.raises(CommitmentMismatch):
                open_keys(reader, after, checked)


@pytest.mark.threat("C7")
def test_no_second_key_fits_the_published_commitments(deal: Deal) -> None:
    """What opens a cell is pinned by two hashes, so a cell cannot open two ways for two people."""
    address = Address(deal.data, 1, 1)
    definition = deal.epoch(address).definition
    share = deal.opened[deal.owner.member_id][address].share
    group_key = unwrap(deal.owner, deal.wraps[address, deal.owner.member_id])
    other = group_key + base_mul(b"\1" + bytes(31))
    assert derive_field_key(deal.vault_id, address, other, share) != derive_field_key(
        deal.vault_id, address, group_key, share
    )
    with pytest.raises(CommitmentMismatch):
        confirmed_field_key(
            deal.vault_id,
            address,
            other,
            share,
            published_share_hash=definition.share_hash,
            published_confirmation=definition.confirmation,
        )


def test_a_box_of_another_size_is_refused(deal: Deal) -> None:
    act, checked = grant_to(deal, {})
    rival = deal.rival.member_id
    honest = checked.boxes[rival]
    for size in (0, 32, 63, 65, 96):
        box = seal_box(deal.rival.public, bytes(size), honest.info)
        checked.boxes[rival] = replace(honest, box=box)
        with pytest.raises(IntegrityError, match="did not open"):
            open_keys(deal.rival, deal.ledger.preview(act), checked)


def test_keys_of_epochs_that_were_never_published_are_refused(deal: Deal) -> None:
    act, checked = grant_to(deal, {})
    rival = deal.rival.member_id
    info = checked.boxes[rival].info
    box = seal_box(deal.rival.public, bytes(32), info)
    never = Address(deal.data, 1, 9)
    checked.boxes[rival] = SharesBox(box, info, (never,))
    checked.wraps[never, rival] = deal.wraps[Address(deal.data, 1, 1), deal.owner.member_id]
    with pytest.raises(CommitmentMismatch, match="never published"):
        open_keys(deal.rival, deal.ledger.preview(act), checked)


# --- an author that lacks a key


def test_nobody_passes_on_what_it_does_not_hold(deal: Deal) -> None:
    act = deal.draft(deal.owner, acts.Grant(deal.rival.member_id, (of_field(deal.data, 1),)))
    after = deal.ledger.preview(act)
    with pytest.raises(NotAuthorised, match="hold no key of"):
        make_sides(deal.owner, act, deal.state, after, on_record={}, shares=deal.shares(deal.owner))
    with pytest.raises(NotAuthorised, match="no key share of"):
        make_sides(deal.owner, act, deal.state, after, on_record=deal.wraps, shares={})


@pytest.mark.threat("S11")
def test_who_was_removed_opens_no_key_made_since(deal: Deal) -> None:
    deal.remove(deal.bidder)
    fields = sorted({(a.collection, a.field) for a in deal.tainted()})
    deal.epochs(deal.owner, *fields, readers=(deal.bidder,))
    known = deal.opened[deal.bidder.member_id]
    assert all(deal.epoch(address).tainted for address in known)
    assert not any(
        who == deal.bidder.member_id for address, who in deal.wraps if address.epoch == 2
    )
