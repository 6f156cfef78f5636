from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_ed25519_pk_to_curve25519

from client.crypto.identity import Identity
from client.crypto.proving import prove
from client.crypto.secrets import Seed
from protocol.errors import (
    ApiMisuse,
    IntegrityError,
    MalformedMessage,
    NonCanonical,
    SealroomError,
    WeakKey,
)
from protocol.group import ORDER, base_mul, negate
from protocol.identity import (
    KEM_KEY_BYTES,
    MLKEM_KEY_BYTES,
    IdentityCard,
    PublicIdentity,
    check_kem_key,
    join_context,
    verify_card,
)
from protocol.labels import Label, framed
from protocol.wire import from_bytes, to_bytes
from tests import edwards
from tests.shared import vectors

VAULT = b"v" * 32
ALICE, BOB = Identity(Seed(b"a" * 32)), Identity(Seed(b"b" * 32))
KEY = ALICE.public.kem_key
P = 2**255 - 19


# --- what an identity is


def test_the_id_is_over_all_three_keys() -> None:
    keys = ALICE.public.keys()
    expected = hashlib.sha256(framed(Label.MEMBER_ID, *keys)).digest()
    assert ALICE.public.member_id == expected
    ids = {
        replace(ALICE.public, signing_key=BOB.public.signing_key).member_id,
        replace(ALICE.public, kem_key=BOB.public.kem_key).member_id,
        replace(ALICE.public, rewrap_key=BOB.public.rewrap_key).member_id,
        ALICE.member_id,
        BOB.member_id,
    }
    assert len(ids) == 5


def test_an_identity_travels_as_its_keys() -> None:
    encoded = to_bytes(ALICE.public)
    assert from_bytes(PublicIdentity, encoded) == ALICE.public
    signing, kem, rewrap = ALICE.public.keys()
    assert encoded.index(signing) < encoded.index(kem) < encoded.index(rewrap)


# --- K5 and Z3: the two curve keys


@pytest.mark.threat("K5")
@pytest.mark.parametrize("bad", edwards.SMALL_ENCODINGS, ids=lambda e: e.hex()[:6] + e.hex()[-2:])
@pytest.mark.parametrize("place", [0, 2])
def test_small_keys_are_refused_when_they_are_read(bad: bytes, place: int) -> None:
    keys = list(ALICE.public.keys())
    encoded = to_bytes(ALICE.public).replace(keys[place], bad)
    with pytest.raises(WeakKey, match=("signing_key", "", "rewrap_key")[place]):
        from_bytes(PublicIdentity, encoded)


@pytest.mark.threat("K12")
def test_one_key_in_two_roles_is_refused() -> None:
    signing = ALICE.public.signing_key
    encoded = to_bytes(ALICE.public).replace(bytes(ALICE.public.rewrap_key), signing)
    with pytest.raises(WeakKey, match="two roles"):
        from_bytes(PublicIdentity, encoded)
    for edwards_key in (signing, bytes(ALICE.public.rewrap_key)):
        u = crypto_sign_ed25519_pk_to_curve25519(edwards_key)
        encoded = to_bytes(ALICE.public).replace(KEY[MLKEM_KEY_BYTES:], u)
        with pytest.raises(WeakKey, match="two roles"):
            from_bytes(PublicIdentity, encoded)


@pytest.mark.threat("K12")
def test_the_seed_s_keys_are_not_made_from_each_other() -> None:
    signing, kem, rewrap = ALICE.public.keys()
    converted = crypto_sign_ed25519_pk_to_curve25519(signing)
    assert kem[MLKEM_KEY_BYTES:] != converted
    assert rewrap != signing
    assert kem[MLKEM_KEY_BYTES:] != crypto_sign_ed25519_pk_to_curve25519(rewrap)


# --- K6 and K7: the KEM key


def with_u(u: bytes) -> bytes:
    return KEY[:MLKEM_KEY_BYTES] + u


def low_order_u() -> Iterator[bytes]:
    """Every encoding of a low-order u, unreduced and with the top bit that X25519 ignores."""
    small = (
        0,
        1,
        P - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
    for u in small:
        for lifted in (u, u + P):
            if lifted < 2**255:
                yield lifted.to_bytes(32, "little")
                yield (lifted | 1 << 255).to_bytes(32, "little")


def test_a_generated_key_is_taken() -> None:
    assert check_kem_key(KEY) == KEY


@pytest.mark.threat("K6")
@pytest.mark.parametrize("u", list(low_order_u()), ids=lambda u: u.hex()[:6] + u.hex()[-2:])
def test_low_order_x25519_keys_are_refused(u: bytes) -> None:
    # The control: with such a key everybody computes the same secret, which the library refuses.
    with pytest.raises(ValueError, match="shared key"):
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(u))
    with pytest.raises(WeakKey, match="low order"):
        check_kem_key(with_u(u))


def test_all_twelve_or_more_were_tried() -> None:
    assert len(set(low_order_u())) >= 12


@pytest.mark.threat("K6")
def test_every_zero_secret_of_wycheproof_is_refused_at_enrolment() -> None:
    file = vectors("wycheproof", "x25519_test.json")
    tried = 0
    for group in file["testGroups"]:
        for case in group["tests"]:
            if "ZeroSharedSecret" in case["flags"]:
                tried += 1
                with pytest.raises(WeakKey):
                    check_kem_key(with_u(bytes.fromhex(case["public"])))
    assert tried == 31


@pytest.mark.threat("K6")
@pytest.mark.parametrize("u", [P + 2, P + 18, 9 | 1 << 255, 2**256 - 1])
def test_an_x25519_key_has_one_form(u: int) -> None:
    """The library takes it as another; one key under two ids would pass for a fresh one."""
    with pytest.raises(WeakKey, match="not reduced"):
        check_kem_key(with_u(u.to_bytes(32, "little")))
    assert check_kem_key(with_u((9).to_bytes(32, "little")))


@pytest.mark.threat("K7")
@pytest.mark.parametrize("size", [0, 1184, KEM_KEY_BYTES - 1, KEM_KEY_BYTES + 1])
def test_a_kem_key_has_one_length(size: int) -> None:
    with pytest.raises(MalformedMessage, match="1,216"):
        check_kem_key((KEY * 2)[:size])


@pytest.mark.threat("K7")
@given(st.integers(0, 767), st.integers(3329, 4095))
def test_a_coefficient_that_is_not_reduced_is_refused(index: int, value: int) -> None:
    with pytest.raises(WeakKey, match="coefficient"):
        check_kem_key(with_coefficient(index, value))


@given(st.integers(0, 767), st.integers(0, 3328))
def test_a_coefficient_that_is_reduced_is_taken(index: int, value: int) -> None:
    key = with_coefficient(index, value)
    assert check_kem_key(key) == key


def with_coefficient(index: int, value: int) -> bytes:
    """Return the key with one 12-bit coefficient replaced, by bit arithmetic over the whole."""
    packed = int.from_bytes(KEY[: MLKEM_KEY_BYTES - 32], "little")
    packed &= ~(0xFFF << 12 * index)
    packed |= value << 12 * index
    return packed.to_bytes(MLKEM_KEY_BYTES - 32, "little") + KEY[MLKEM_KEY_BYTES - 32 :]


@pytest.mark.threat("K7")
def test_invalid_encapsulation_keys_of_wycheproof_are_refused() -> None:
    refused = taken = 0
    for group in vectors("wycheproof", "mlkem_768_encaps_test.json")["testGroups"]:
        for case in group["tests"]:
            key = bytes.fromhex(case["ek"]) + KEY[MLKEM_KEY_BYTES:]
            if case["result"] == "invalid":
                with pytest.raises((WeakKey, MalformedMessage)):
                    check_kem_key(key)
                refused += 1
            else:
                assert check_kem_key(key) == key
                taken += 1
    assert refused >= 100
    assert taken >= 100


# --- the card


def test_a_card_proves_its_identity() -> None:
    assert verify_card(ALICE.card(VAULT), VAULT) == ALICE.public
    encoded = to_bytes(ALICE.card(VAULT))
    assert verify_card(from_bytes(IdentityCard, encoded), VAULT) == ALICE.public


def test_a_card_is_for_one_vault() -> None:
    with pytest.raises(IntegrityError):
        verify_card(ALICE.card(VAULT), b"w" * 32)
    card = ALICE.card(VAULT)
    moved = replace(card, signature=ALICE.sign(ALICE.public.signed_bytes(b"w" * 32)))
    with pytest.raises(IntegrityError):
        verify_card(moved, b"w" * 32)  # the proof is still for the first


@pytest.mark.threat("K1")
def test_a_joiner_s_card_is_for_one_vault_and_one_invite() -> None:
    context = join_context(VAULT, BOB.member_id)
    assert context == VAULT + BOB.member_id
    card = ALICE.card(context)
    assert verify_card(card, context) == ALICE.public
    for other in (
        VAULT,
        BOB.member_id,
        BOB.member_id + VAULT,
        join_context(b"w" * 32, BOB.member_id),
        join_context(VAULT, ALICE.member_id),
    ):
        with pytest.raises(IntegrityError):
            verify_card(card, other)
        resigned = replace(card, signature=ALICE.sign(ALICE.public.signed_bytes(other)))
        with pytest.raises(IntegrityError):
            verify_card(resigned, other)  # the proof is for the first invite as well
        reproved = replace(card, proof=ALICE.card(other).proof)
        with pytest.raises(IntegrityError):
            verify_card(reproved, other)
    with pytest.raises(IntegrityError):
        verify_card(ALICE.card(VAULT), context)


@pytest.mark.parametrize("key", ["signing_key", "kem_key", "rewrap_key"])
def test_nobody_enrols_a_key_of_another(key: str) -> None:
    """Mallory puts one of Alice's keys beside her own; some half of the card fails."""
    stolen = replace(BOB.public, **{key: getattr(ALICE.public, key)})
    signature = BOB.sign(stolen.signed_bytes(VAULT))
    witness = (BOB.rewrap_scalar.expose(),)
    card = IdentityCard(stolen, signature, prove(stolen.knowledge(VAULT), witness, BOB.seed))
    if key == "kem_key":
        # A KEM key that its owner cannot use harms its owner only; the ledger refuses a seen one.
        assert verify_card(card, VAULT) == stolen
    else:
        with pytest.raises(IntegrityError):
            verify_card(card, VAULT)


def test_a_rogue_key_made_from_another_s_is_refused() -> None:
    """P = Q - P(Alice): its scalar is known to nobody, yet sums of keys would be Mallory's."""
    made = BOB.public.rewrap_key - ALICE.public.rewrap_key
    rogue = replace(BOB.public, rewrap_key=made)
    signature = BOB.sign(rogue.signed_bytes(VAULT))
    witness = (BOB.rewrap_scalar.expose(),)
    card = IdentityCard(rogue, signature, prove(rogue.knowledge(VAULT), witness, BOB.seed))
    with pytest.raises(IntegrityError):
        verify_card(card, VAULT)


def test_a_proof_of_knowledge_does_not_serve_the_negated_key() -> None:
    scalar = negate(ALICE.rewrap_scalar.expose())
    negated = replace(ALICE.public, rewrap_key=base_mul(scalar))
    card = IdentityCard(negated, ALICE.sign(negated.signed_bytes(VAULT)), ALICE.card(VAULT).proof)
    with pytest.raises(IntegrityError):
        verify_card(card, VAULT)


def test_a_proof_that_is_not_reduced_is_malformed() -> None:
    card = ALICE.card(VAULT)
    unreduced = replace(card, proof=card.proof[:32] + ORDER.to_bytes(32, "little"))
    with pytest.raises(MalformedMessage):
        verify_card(unreduced, VAULT)


ENCODED_CARD = to_bytes(ALICE.card(VAULT))


@given(st.integers(0, len(ENCODED_CARD) - 1), st.integers(1, 255))
@settings(max_examples=150)
def test_no_byte_of_a_card_can_change(at: int, flip: int) -> None:
    changed = bytearray(ENCODED_CARD)
    changed[at] ^= flip
    with pytest.raises(SealroomError):
        verify_card(from_bytes(IdentityCard, bytes(changed)), VAULT)


@given(st.binary(max_size=60))
def test_any_bytes_give_an_identity_or_an_error_of_ours(data: bytes) -> None:
    with pytest.raises((MalformedMessage, NonCanonical)):
        from_bytes(PublicIdentity, data)


def test_a_record_is_not_made_of_other_types() -> None:
    with pytest.raises(ApiMisuse):
        to_bytes(PublicIdentity(ALICE.public.signing_key, KEY[:-1], ALICE.public.rewrap_key))
