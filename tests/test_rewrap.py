from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.crypto.identity import Identity
from client.crypto.proving import prove
from client.crypto.secrets import Seed
from client.crypto.wraps import unwrap
from protocol.blocks import Address
from protocol.errors import IntegrityError, MalformedMessage, SealroomError, WeakKey
from protocol.group import ORDER, Point, Scalar, base_mul, linear, mul, negate
from protocol.identity import PublicIdentity
from protocol.rewrap import (
    REWRAP_PROOF_BYTES,
    WRAP_BYTES,
    RewrapStatement,
    Wrap,
    verify_rewrap,
)
from protocol.sigma import Relation
from tests import edwards

pytestmark = pytest.mark.threat("Z1")


def little(number: int) -> bytes:
    return (number % ORDER).to_bytes(32, "little")


def identity(number: int) -> Identity:
    return Identity(Seed(number.to_bytes(32, "big")))


SELLER, BUYER, OTHER = identity(1), identity(2), identity(3)
ADDRESS = Address(b"c" * 16, 7, 3)
K = base_mul(little(2718281828))
R = little(3141592653)
SOURCE_SCALAR = little(1618033988)


def wrap_of(key: Point, scalar: bytes, recipient: Identity) -> Wrap:
    return Wrap(base_mul(scalar), key + mul(scalar, recipient.public.rewrap_key))


def statement(
    source: Identity = SELLER, recipient: Identity = BUYER, kind: str = "grant"
) -> RewrapStatement:
    return RewrapStatement(
        b"v" * 32,
        kind,
        ADDRESS,
        b"h" * 32,
        source.public,
        wrap_of(K, SOURCE_SCALAR, source),
        recipient.public,
        wrap_of(K, R, recipient),
    )


def proof_of(made: RewrapStatement, source: Identity = SELLER, scalar: bytes = R) -> bytes:
    return prove(made.relation(), (source.rewrap_scalar.expose(), scalar), source.seed)


STATEMENT = statement()
PROOF = proof_of(STATEMENT)


def test_an_honest_rewrap_verifies_and_opens_to_the_same_key() -> None:
    wrap = verify_rewrap(STATEMENT, PROOF)
    assert wrap == STATEMENT.wrap
    assert unwrap(BUYER, wrap) == unwrap(SELLER, STATEMENT.source_wrap) == K
    assert unwrap(OTHER, wrap) != K


@given(st.integers(1, ORDER - 1), st.integers(1, ORDER - 1))
@settings(max_examples=15)
def test_every_key_and_scalar_can_be_rewrapped(key: int, scalar: int) -> None:
    group_key, r = base_mul(little(key)), little(scalar)
    made = replace(
        STATEMENT,
        source_wrap=wrap_of(group_key, SOURCE_SCALAR, SELLER),
        wrap=wrap_of(group_key, r, BUYER),
    )
    if made.wrap.masked != made.source_wrap.masked:
        verify_rewrap(made, proof_of(made, scalar=r))


# --- Z1: another key, or anything altered


@given(st.integers(1, ORDER - 1))
@settings(max_examples=25)
def test_another_key_cannot_be_proved(key: int) -> None:
    other = base_mul(little(key))
    if other == K:
        return
    made = replace(STATEMENT, wrap=wrap_of(other, R, BUYER))
    with pytest.raises(IntegrityError):
        verify_rewrap(made, proof_of(made))


@given(st.integers(1, ORDER - 1), st.integers(1, ORDER - 1))
@settings(max_examples=25)
def test_random_wraps_are_refused(a: int, b: int) -> None:
    made = replace(STATEMENT, wrap=Wrap(base_mul(little(a)), base_mul(little(b))))
    with pytest.raises(IntegrityError):
        verify_rewrap(made, PROOF)
    with pytest.raises(IntegrityError):
        verify_rewrap(made, proof_of(made, scalar=little(a)))


def test_a_wrap_whose_scalar_the_prover_does_not_know_is_refused() -> None:
    """No decryption oracle: a re-randomised copy of another's wrap cannot be passed on."""
    shift = little(99)
    seen = STATEMENT.wrap
    moved = Wrap(
        seen.ephemeral + base_mul(shift), seen.masked + mul(shift, BUYER.public.rewrap_key)
    )
    assert unwrap(BUYER, moved) == K, "the control: it does hold the key"
    made = replace(STATEMENT, source=OTHER.public, wrap=moved)
    with pytest.raises(IntegrityError):
        verify_rewrap(made, proof_of(made, source=OTHER, scalar=shift))


def test_a_source_that_the_prover_cannot_open_is_refused() -> None:
    made = replace(STATEMENT, source=SELLER.public)
    with pytest.raises(IntegrityError):
        verify_rewrap(made, proof_of(made, source=OTHER))


@pytest.mark.parametrize("place", range(4))
@given(number=st.integers(1, ORDER - 1))
@settings(max_examples=8)
def test_every_point_of_both_wraps_is_bound(place: int, number: int) -> None:
    points = [
        STATEMENT.source_wrap.ephemeral,
        STATEMENT.source_wrap.masked,
        STATEMENT.wrap.ephemeral,
        STATEMENT.wrap.masked,
    ]
    if points[place] == base_mul(little(number)):
        return
    points[place] = base_mul(little(number))
    made = replace(
        STATEMENT, source_wrap=Wrap(points[0], points[1]), wrap=Wrap(points[2], points[3])
    )
    with pytest.raises(IntegrityError):
        verify_rewrap(made, PROOF)


@pytest.mark.parametrize("bit", range(0, 8 * REWRAP_PROOF_BYTES, 5))
def test_no_bit_of_the_proof_can_change(bit: int) -> None:
    changed = bytearray(PROOF)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((IntegrityError, MalformedMessage)):
        verify_rewrap(STATEMENT, bytes(changed))


@given(st.binary(min_size=REWRAP_PROOF_BYTES, max_size=REWRAP_PROOF_BYTES))
def test_random_proofs_are_refused(proof: bytes) -> None:
    with pytest.raises((IntegrityError, MalformedMessage)):
        verify_rewrap(STATEMENT, proof)


@given(st.lists(st.integers(1, ORDER - 1), min_size=3, max_size=3))
@settings(max_examples=30)
def test_well_formed_random_proofs_are_refused(numbers: list[int]) -> None:
    with pytest.raises(IntegrityError):
        verify_rewrap(STATEMENT, b"".join(map(little, numbers)))


def test_a_copy_with_the_same_mask_is_refused() -> None:
    """Cb = Ca: the difference is the identity, which no point is."""
    made = replace(STATEMENT, wrap=replace(STATEMENT.wrap, masked=STATEMENT.source_wrap.masked))
    with pytest.raises(WeakKey):
        made.relation()
    with pytest.raises(IntegrityError):
        verify_rewrap(made, PROOF)


# --- Z2 and Z5: everything the statement names is in the transcript


def swapped_key(own: PublicIdentity, other: PublicIdentity) -> PublicIdentity:
    """Another identity, with a different id and KEM key, that has the same rewrap key."""
    return replace(other, rewrap_key=own.rewrap_key)


CHANGES = {
    "vault": replace(STATEMENT, vault_id=b"w" * 32),
    "act kind": replace(STATEMENT, act_kind="offer"),
    "collection": replace(STATEMENT, address=replace(ADDRESS, collection=b"d" * 16)),
    "field": replace(STATEMENT, address=replace(ADDRESS, field=8)),
    "epoch": replace(STATEMENT, address=replace(ADDRESS, epoch=4)),
    "share hash": replace(STATEMENT, share_hash=b"i" * 32),
    "source": replace(STATEMENT, source=OTHER.public),
    "source id": replace(STATEMENT, source=swapped_key(SELLER.public, OTHER.public)),
    "recipient": replace(STATEMENT, recipient=OTHER.public),
    "recipient id": replace(STATEMENT, recipient=swapped_key(BUYER.public, OTHER.public)),
    "source wrap": replace(STATEMENT, source_wrap=wrap_of(K, little(5), SELLER)),
    "wrap": replace(STATEMENT, wrap=wrap_of(K, little(5), BUYER)),
    "both wraps shifted alike": replace(
        STATEMENT,
        source_wrap=replace(STATEMENT.source_wrap, masked=STATEMENT.source_wrap.masked + K),
        wrap=replace(STATEMENT.wrap, masked=STATEMENT.wrap.masked + K),
    ),
}


@pytest.mark.threat("Z2")
@pytest.mark.threat("Z5")
@pytest.mark.parametrize("what", CHANGES)
def test_a_proof_does_not_move_to_another_statement(what: str) -> None:
    with pytest.raises(IntegrityError):
        verify_rewrap(CHANGES[what], PROOF)


# Inputs that appear in no equation: only the context keeps a proof from moving between them.
CONTEXT_ONLY = {
    "vault": 0,
    "act kind": 1,
    "collection": 2,
    "field": 2,
    "epoch": 2,
    "share hash": 3,
    "source id": 4,
    "recipient id": 5,
}


@pytest.mark.threat("Z2")
@pytest.mark.parametrize("what", CONTEXT_ONLY)
def test_the_test_above_would_notice_a_transcript_that_leaves_it_out(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """With that one input dropped from the hash, the moved proof does verify."""
    dropped = CONTEXT_ONLY[what]
    whole = Relation.challenge

    def mutant(self: Relation, commitments: tuple[Point, ...]) -> Scalar:
        context = (*self.context[:dropped], *self.context[dropped + 1 :])
        return whole(replace(self, context=context), commitments)

    monkeypatch.setattr(Relation, "challenge", mutant)
    proof = proof_of(STATEMENT)
    verify_rewrap(STATEMENT, proof)
    verify_rewrap(CHANGES[what], proof)


@pytest.mark.threat("Z2")
def test_both_wraps_shifted_alike_satisfy_the_equations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the difference of the masks is in an equation; the context binds each."""
    whole = Relation.challenge

    def mutant(self: Relation, commitments: tuple[Point, ...]) -> Scalar:
        return whole(replace(self, context=self.context[:6]), commitments)

    monkeypatch.setattr(Relation, "challenge", mutant)
    verify_rewrap(CHANGES["both wraps shifted alike"], proof_of(STATEMENT))


@pytest.mark.threat("Z5")
def test_no_proof_serves_for_another_vault_kind_epoch_or_member() -> None:
    made = []
    for vault, kind, epoch, (source, recipient) in itertools.product(
        (b"v" * 32, b"w" * 32),
        ("grant", "join"),
        (3, 4),
        ((SELLER, BUYER), (SELLER, OTHER), (OTHER, BUYER)),
    ):
        each = replace(
            statement(source, recipient, kind),
            vault_id=vault,
            address=replace(ADDRESS, epoch=epoch),
        )
        made.append((each, proof_of(each, source)))
    assert len(made) == 24
    refused = 0
    for (one, _), (other, proof) in itertools.product(made, made):
        if one is other:
            verify_rewrap(one, proof)
            continue
        with pytest.raises(IntegrityError):
            verify_rewrap(one, proof)
        refused += 1
    assert refused == 24 * 23


# --- Z3: points that are none, at each place


def test_a_wrap_is_two_points() -> None:
    encoded = bytes(STATEMENT.wrap)
    assert len(encoded) == WRAP_BYTES
    assert Wrap.from_bytes(encoded) == STATEMENT.wrap
    for size in (0, 32, 63, 65, 96):
        with pytest.raises(MalformedMessage, match="64 bytes"):
            Wrap.from_bytes((encoded * 2)[:size])


@pytest.mark.threat("Z3")
@pytest.mark.parametrize("place", [0, 32])
@pytest.mark.parametrize(
    "bad", [*edwards.SMALL_ENCODINGS, (2).to_bytes(32, "little"), b"\xff" * 32]
)
def test_bad_points_are_refused_at_each_place_of_a_wrap(place: int, bad: bytes) -> None:
    encoded = bytearray(bytes(STATEMENT.wrap))
    encoded[place : place + 32] = bad
    with pytest.raises(WeakKey):
        Wrap.from_bytes(bytes(encoded))


@pytest.mark.threat("Z3")
def test_a_wrap_of_the_identity_is_no_key() -> None:
    """A creator may publish C = r·P, which holds the identity: known to everyone, so refused."""
    r = little(12345)
    empty = Wrap(base_mul(r), mul(r, BUYER.public.rewrap_key))
    with pytest.raises(WeakKey):
        unwrap(BUYER, empty)


def test_the_sign_of_a_response_matters() -> None:
    """-pa also satisfies P' = -P: the proof says which."""
    negated = replace(SELLER.public, rewrap_key=base_mul(negate(SELLER.rewrap_scalar.expose())))
    with pytest.raises(IntegrityError):
        verify_rewrap(replace(STATEMENT, source=negated), PROOF)


@given(st.binary(max_size=130))
def test_any_bytes_are_a_wrap_that_encodes_the_same_or_an_error_of_ours(data: bytes) -> None:
    with suppress(SealroomError):
        assert bytes(Wrap.from_bytes(data)) == data


def test_equations_hold_as_written() -> None:
    """The statement's equations are those of the SPEC, checked with the secrets in hand."""
    pa, relation = SELLER.rewrap_scalar.expose(), STATEMENT.relation()
    images = [each.image for each in relation.equations]
    assert images == list(relation.commitments((pa, R)))
    assert images[2] == linear(
        ((R, BUYER.public.rewrap_key), (negate(pa), STATEMENT.source_wrap.ephemeral))
    )
