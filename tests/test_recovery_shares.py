"""Shares of a seed: any few of them rebuild it, fewer tell nothing, false ones are named."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.crypto import sharing
from client.crypto.identity import Identity, seal_box
from client.crypto.secrets import Seed
from client.crypto.sharing import (
    CustodianShare,
    deal,
    open_released,
    open_share,
    rebuild,
    release_share,
)
from protocol.acts import Dealing
from protocol.errors import ApiMisuse, CommitmentMismatch, IntegrityError, MalformedMessage
from protocol.group import SECOND_GENERATOR, base_mul
from protocol.labels import Label, framed
from tests import edwards
from tests.edwards import L

VAULT = b"\x07" * 32


def people(count: int) -> list[Identity]:
    return sorted(
        (Identity(Seed(bytes([i + 1]) * 32)) for i in range(count)), key=lambda each: each.member_id
    )


OWNER = Identity(Seed(b"\xee" * 32))
CUSTODIANS = people(5)


def dealt(threshold: int = 3, count: int = 5) -> Dealing:
    public = [each.public for each in CUSTODIANS[:count]]
    return deal(OWNER, VAULT, public, threshold)


def opened(dealing: Dealing, count: int = 5) -> dict[bytes, CustodianShare]:
    return {
        each.member_id: open_share(each, VAULT, OWNER.member_id, dealing)
        for each in CUSTODIANS[:count]
    }


def test_nobody_knows_the_second_generators_logarithm() -> None:
    """It comes out of a hash, as SPEC 9.9 says, and of nothing that anybody chose."""
    drawn = (
        hashlib.sha256(framed(Label.RECOVERY_GENERATOR, i.to_bytes(4, "big"))).digest()
        for i in itertools.count()
    )
    point = next(found for each in drawn if (found := edwards.decode(each)) is not None)
    found = edwards.mul(8, point)
    assert edwards.is_prime_order(found)
    assert edwards.encode(found) == bytes(SECOND_GENERATOR)


@pytest.mark.parametrize("threshold", [2, 3, 5])
def test_any_so_many_rebuild_the_identity(threshold: int) -> None:
    dealing = dealt(threshold)
    shares = opened(dealing)
    for some in itertools.combinations(shares, threshold):
        found = rebuild(VAULT, OWNER.member_id, dealing, {each: shares[each] for each in some})
        assert found.seed == OWNER.seed
    assert rebuild(VAULT, OWNER.member_id, dealing, shares).seed == OWNER.seed


def test_one_share_too_few_rebuilds_nothing() -> None:
    dealing = dealt(3)
    shares = opened(dealing)
    for some in itertools.combinations(shares, 2):
        with pytest.raises(IntegrityError, match="2 shares are there, 3 are needed"):
            rebuild(VAULT, OWNER.member_id, dealing, {each: shares[each] for each in some})


def test_the_dealt_secret_is_not_on_a_line_through_two_of_three_shares() -> None:
    dealing = dealt(3)
    shares = opened(dealing)
    secret = at_zero(dealing, shares, dealing.custodians[:3])
    for some in itertools.combinations(dealing.custodians, 3):
        assert at_zero(dealing, shares, some) == secret
    for too_few in itertools.combinations(dealing.custodians, 2):
        assert at_zero(dealing, shares, too_few) != secret


def at_zero(dealing: Dealing, shares: dict[bytes, CustodianShare], some: Sequence[bytes]) -> int:
    """Interpolate in plain integers, by Lagrange."""
    places = {each: dealing.custodians.index(each) + 1 for each in some}
    total = 0
    for each, x in places.items():
        weight = 1
        for other in places.values():
            if other != x:
                weight = weight * other * pow(other - x, -1, L) % L
        total += int.from_bytes(shares[each].expose()[:32], "little") * weight
    return total % L


def test_commitments_are_not_those_of_the_secret_alone() -> None:
    """Points a_j·G in the log would give the seed to whoever takes logarithms later."""
    dealing = dealt(2)
    shares = opened(dealing)
    secret = at_zero(dealing, shares, dealing.custodians[:2])
    assert bytes(base_mul(secret.to_bytes(32, "little"))) not in map(bytes, dealing.commitments)


def test_two_dealings_of_one_seed_have_nothing_in_common() -> None:
    first, second = dealt(), dealt()
    assert not set(map(bytes, first.commitments)) & set(map(bytes, second.commitments))
    assert first.seed_box != second.seed_box


# --- what is false


def test_a_wrong_share_is_named() -> None:
    dealing = dealt()
    custodian = CUSTODIANS[1]
    share = opened(dealing)[custodian.member_id].expose()
    rebuilder = Identity.generate()
    for at in range(64):
        changed = share[:at] + bytes([share[at] ^ 1]) + share[at + 1 :]
        box = release_share(
            CustodianShare(changed), VAULT, 7, custodian.member_id, rebuilder.public
        )
        with pytest.raises(CommitmentMismatch, match=custodian.member_id.hex()[:16]):
            open_released(rebuilder, VAULT, 7, dealing, custodian.member_id, box)


@pytest.mark.parametrize("pair", [bytes(64), b"\xff" * 64, bytes(32) + b"\x01" + bytes(31)])
def test_scalars_out_of_range_are_no_share(pair: bytes) -> None:
    dealing, custodian, rebuilder = dealt(), CUSTODIANS[0], Identity.generate()
    box = release_share(CustodianShare(pair), VAULT, 7, custodian.member_id, rebuilder.public)
    with pytest.raises(CommitmentMismatch):
        open_released(rebuilder, VAULT, 7, dealing, custodian.member_id, box)


def test_a_share_of_another_dealing_is_named() -> None:
    first, second = dealt(), dealt()
    custodian, rebuilder = CUSTODIANS[2], Identity.generate()
    share = opened(first)[custodian.member_id]
    box = release_share(share, VAULT, 7, custodian.member_id, rebuilder.public)
    assert open_released(rebuilder, VAULT, 7, first, custodian.member_id, box) == share
    with pytest.raises(CommitmentMismatch, match=custodian.member_id.hex()[:16]):
        open_released(rebuilder, VAULT, 7, second, custodian.member_id, box)


def test_another_custodians_share_is_not_ones_own() -> None:
    dealing, rebuilder = dealt(), Identity.generate()
    one, other = CUSTODIANS[0].member_id, CUSTODIANS[1].member_id
    box = release_share(opened(dealing)[other], VAULT, 7, one, rebuilder.public)
    with pytest.raises(CommitmentMismatch, match=one.hex()[:16]):
        open_released(rebuilder, VAULT, 7, dealing, one, box)


def test_a_dealer_that_lies_to_a_custodian_is_found_out_by_it() -> None:
    dealing = dealt()
    custodian = CUSTODIANS[0]
    info = sharing._share_info(VAULT, OWNER.member_id, custodian.member_id, 1, dealing.commitments)
    false = seal_box(custodian.public, os.urandom(31) + b"\x00" + os.urandom(31) + b"\x00", info)
    shares = (replace(dealing.shares[0], box=false), *dealing.shares[1:])
    lying = replace(dealing, shares=shares)
    with pytest.raises(CommitmentMismatch):
        open_share(custodian, VAULT, OWNER.member_id, lying)
    honest = open_share(CUSTODIANS[1], VAULT, OWNER.member_id, lying)
    assert honest == opened(dealing)[CUSTODIANS[1].member_id]


def test_who_is_no_custodian_has_no_share() -> None:
    with pytest.raises(IntegrityError, match="no share"):
        open_share(Identity.generate(), VAULT, OWNER.member_id, dealt())


@pytest.mark.parametrize("change", ["vault", "owner", "place", "commitments"])
def test_a_box_is_for_one_place_of_one_dealing(change: str) -> None:
    dealing, custodian = dealt(), CUSTODIANS[0]
    vault, owner = VAULT, OWNER.member_id
    if change == "vault":
        vault = bytes(32)
    elif change == "owner":
        owner = bytes(32)
    elif change == "place":
        dealing = replace(dealing, shares=dealing.shares[1:])
        custodian = CUSTODIANS[1]
    else:
        dealing = replace(dealing, commitments=dealing.commitments[::-1])
    with pytest.raises(IntegrityError):
        open_share(custodian, vault, owner, dealing)


@pytest.mark.parametrize("change", ["vault", "dealing", "custodian", "rebuilder"])
def test_a_released_box_is_for_one_rebuilder_and_one_dealing(change: str) -> None:
    dealing, rebuilder = dealt(), Identity.generate()
    custodian = CUSTODIANS[0].member_id
    box = release_share(opened(dealing)[custodian], VAULT, 7, custodian, rebuilder.public)
    vault, at = VAULT, 7
    if change == "vault":
        vault = bytes(32)
    elif change == "dealing":
        at = 8
    elif change == "custodian":
        custodian = CUSTODIANS[1].member_id
    else:
        rebuilder = Identity.generate()
    with pytest.raises(IntegrityError, match=custodian.hex()[:16]):
        open_released(rebuilder, vault, at, dealing, custodian, box)


def test_a_seed_that_is_not_the_owners_is_refused() -> None:
    """The dealer alone can do that, and harms itself."""
    stranger = Identity.generate()
    public = [each.public for each in CUSTODIANS]
    dealing = deal(stranger, VAULT, public, 2)
    shares = {e.member_id: open_share(e, VAULT, stranger.member_id, dealing) for e in CUSTODIANS}
    assert rebuild(VAULT, stranger.member_id, dealing, shares).seed == stranger.seed
    with pytest.raises(CommitmentMismatch, match="not the owner's seed"):
        rebuild(VAULT, OWNER.member_id, dealing, shares)
    changed = bytes([dealing.seed_box[0] ^ 1]) + dealing.seed_box[1:]
    with pytest.raises(CommitmentMismatch, match="not the owner's seed"):
        rebuild(VAULT, stranger.member_id, replace(dealing, seed_box=changed), shares)


def test_a_sealed_seed_that_opens_to_somebody_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sealed under the owner's own context, and still another seed."""
    stranger = Identity.generate()
    false = Identity(stranger.seed)
    monkeypatch.setattr(type(false), "member_id", OWNER.member_id)
    dealing = deal(false, VAULT, [each.public for each in CUSTODIANS], 2)
    monkeypatch.undo()
    shares = opened(dealing)
    with pytest.raises(CommitmentMismatch, match="not the owner's seed"):
        rebuild(VAULT, OWNER.member_id, dealing, shares)


def test_a_dealing_needs_enough_custodians_once_each() -> None:
    public = [each.public for each in CUSTODIANS]
    with pytest.raises(MalformedMessage):
        deal(OWNER, VAULT, public[:2], 3)
    with pytest.raises(MalformedMessage):
        deal(OWNER, VAULT, [public[0], public[0]], 2)


def test_shares_do_not_print_and_have_their_size() -> None:
    assert "<CustodianShare>" in repr(CustodianShare(bytes(64)))
    with pytest.raises(ApiMisuse):
        CustodianShare(bytes(32))


@settings(max_examples=25)
@given(st.integers(2, 6), st.integers(0, 4), st.randoms(use_true_random=False))
def test_every_size_of_dealing_rebuilds(threshold: int, more: int, random: object) -> None:
    custodians = people(threshold + more)
    dealing = deal(OWNER, VAULT, [each.public for each in custodians], threshold)
    shares = {e.member_id: open_share(e, VAULT, OWNER.member_id, dealing) for e in custodians}
    chosen = random.sample(sorted(shares), threshold)  # type: ignore[attr-defined]
    some = {each: shares[each] for each in chosen}
    assert rebuild(VAULT, OWNER.member_id, dealing, some).seed == OWNER.seed
