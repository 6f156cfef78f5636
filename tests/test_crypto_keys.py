"""Secrets, identities, field keys, proofs' nonces and invites: all that `client.crypto` derives."""

from __future__ import annotations

import copy
import hashlib
import hmac
import itertools
import pickle
import secrets
import traceback
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from client.crypto import keys, proving
from client.crypto import secrets as secret_module
from client.crypto.derivation import hkdf
from client.crypto.identity import HPKE_SUITE, Identity, seal_box
from client.crypto.invites import fresh_invite_secret, invite_access_key, invite_identity
from client.crypto.proving import hedged_scalar, prove
from client.crypto.secrets import FieldKey, InviteSecret, RewrapScalar, Secret, Seed, Share
from client.crypto.wraps import NewEpoch, OpenedKey, create_epoch
from protocol.acts import Role
from protocol.blocks import Address
from protocol.errors import ApiMisuse, CommitmentMismatch, IntegrityError
from protocol.group import ORDER, base_mul, mul
from protocol.labels import Label, digest, framed
from protocol.sigma import Proof, verify
from protocol.signing import verify_signature

VAULT = b"v" * 32
ALICE, BOB = Identity(Seed(b"a" * 32)), Identity(Seed(b"b" * 32))
ADDRESS = Address(b"c" * 16, 7, 3)
MARK = b"SECRET-that-nobody-should-print!"
ROLES = [Seed, InviteSecret, Share, FieldKey, RewrapScalar]


# --- secrets


@pytest.mark.parametrize("role", ROLES)
def test_a_secret_does_not_print(role: type[Secret]) -> None:
    secret = role(MARK)
    for text in (repr(secret), str(secret), f"{secret}", f"{[secret]}"):
        assert MARK.decode() not in text
        assert MARK.hex() not in text
    assert repr(secret) == f"<{role.__name__}>"
    assert secret.expose() == MARK


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_does_not_pickle(role: type[Secret], protocol: int) -> None:
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(role(MARK), protocol)


@pytest.mark.parametrize("role", ROLES)
def test_a_secret_is_no_key_of_a_dictionary(role: type[Secret]) -> None:
    with pytest.raises(TypeError, match="hashable"):
        hash(role(MARK))


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(ROLES, 2)))
def test_a_secret_equals_its_own_role_only(one: type[Secret], other: type[Secret]) -> None:
    assert one(MARK) == one(bytes(MARK))
    assert one(MARK) != one(MARK[::-1])
    assert one(MARK) != other(MARK)
    assert one(MARK) != MARK


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(one: Any, other: Any) -> bool:
        compared.append(one)
        return hmac.compare_digest(one, other)

    class Spy:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(secret_module, "hmac", Spy)
    assert Share(MARK) != Share(MARK[::-1])
    assert Share(MARK) == Share(MARK)
    assert compared == [MARK, MARK]


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_secret_has_one_size(size: int) -> None:
    with pytest.raises(ApiMisuse) as refused:
        Share((MARK * 2)[:size])
    assert "SECRET" not in str(refused.value)


def test_a_copied_secret_is_the_same_object() -> None:
    secret = Share(MARK)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_what_holds_secrets_does_not_print_or_pickle_either() -> None:
    identity = Identity(Seed(MARK))
    new = create_epoch(identity, VAULT, ADDRESS)
    opened = OpenedKey(Share(MARK), FieldKey(MARK))
    for holder in (identity, new, replace(new, share=Share(MARK)), opened):
        assert MARK.decode() not in repr(holder)
        with pytest.raises(TypeError):
            pickle.dumps(holder)
    assert repr(identity) == f"<Identity {identity.member_id.hex()[:16]}>"
    assert isinstance(new, NewEpoch)


def test_errors_about_keys_hold_no_key() -> None:
    with pytest.raises(CommitmentMismatch) as refused:
        confirmed(share=Share(MARK))
    with pytest.raises(IntegrityError) as unopened:
        Identity(Seed(MARK)).open_box(bytes(1200), b"")
    for error in (refused.value, unopened.value):
        text = "".join(traceback.format_exception(error))
        assert MARK.decode() not in text
        assert repr(MARK)[2:-1] not in text


# --- identities


def test_a_seed_gives_its_keys_and_no_other() -> None:
    again = Identity(Seed(b"a" * 32))
    assert again.public == ALICE.public
    assert again.member_id == ALICE.member_id
    assert not set(ALICE.public.keys()) & set(BOB.public.keys())
    assert Identity.generate().member_id != Identity.generate().member_id


@pytest.mark.threat("K12")
def test_the_keys_are_derived_as_specified() -> None:
    seed = b"a" * 32
    scalar = int.from_bytes(hkdf(seed, framed(Label.SEED_REWRAP), length=64), "little") % ORDER
    assert ALICE.rewrap_scalar.expose() == scalar.to_bytes(32, "little")
    assert ALICE.public.rewrap_key == base_mul(scalar.to_bytes(32, "little"))
    wide = hkdf(seed, framed(Label.SEED_KEM), length=96)
    assert ALICE.public.kem_key[:1184] == (
        MLKEM768PrivateKey.from_seed_bytes(wide[:64]).public_key().public_bytes_raw()
    )


def test_an_identity_signs() -> None:
    verify_signature(ALICE.public.signing_key, b"message", ALICE.sign(b"message"))
    assert bytes(ALICE.request_key.verify_key) == ALICE.public.signing_key


def test_hkdf_is_that_of_rfc_5869() -> None:
    """Written out, with an empty salt standing for zeros and labels keeping purposes apart."""
    for salt in (b"", b"salt"):
        prk = hmac.new(salt or bytes(32), b"secret", hashlib.sha256).digest()
        first = hmac.new(prk, b"info\1", hashlib.sha256).digest()
        second = hmac.new(prk, first + b"info\2", hashlib.sha256).digest()
        assert hkdf(b"secret", b"info", salt=salt, length=64) == first + second
        assert hkdf(b"secret", b"info", salt=salt) == first


# --- boxes


@given(st.binary(max_size=100), st.binary(max_size=40))
def test_a_box_opens_for_its_recipient_under_its_info(plaintext: bytes, info: bytes) -> None:
    box = seal_box(ALICE.public, plaintext, info)
    assert len(box) == 1120 + len(plaintext) + 16
    assert ALICE.open_box(box, info) == plaintext
    for who, other in ((BOB, info), (ALICE, info + b"\0")):
        with pytest.raises(IntegrityError):
            who.open_box(box, other)


@pytest.mark.parametrize("size", [0, 1, 32, 1119, 1120, 1135])
def test_a_box_cut_short_does_not_open(size: int) -> None:
    box = seal_box(ALICE.public, b"share", b"info")
    with pytest.raises(IntegrityError):
        ALICE.open_box(box[:size], b"info")


@pytest.mark.threat("K9")
def test_every_box_has_a_fresh_encapsulation() -> None:
    boxes = {seal_box(ALICE.public, b"share", b"info")[:1120] for _ in range(200)}
    assert len(boxes) == 200


@pytest.mark.threat("K10")
def test_the_suite_is_the_hybrid_one() -> None:
    """Opened by the library alone, with X-Wing, HKDF-SHA256 and AES-256-GCM named."""
    box = seal_box(ALICE.public, b"share", b"info")
    assert HPKE_SUITE.decrypt(box, hybrid_key(), b"info") == b"share"


def hybrid_key() -> Any:
    wide = hkdf(b"a" * 32, framed(Label.SEED_KEM), length=96)
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(wide[:64]),
        X25519PrivateKey.from_private_bytes(wide[64:]),
    )


# --- field keys

GROUP_KEY = base_mul((271828).to_bytes(32, "little"))
SHARE = Share(b"s" * 32)


def confirmed(**changed: Any) -> FieldKey:
    """Confirm a key against what was published, with something changed."""
    key = keys.derive_field_key(VAULT, ADDRESS, GROUP_KEY, SHARE)
    values: dict[str, Any] = {
        "vault_id": VAULT,
        "address": ADDRESS,
        "group_key": GROUP_KEY,
        "share": SHARE,
        "published_share_hash": keys.share_hash(SHARE),
        "published_confirmation": keys.key_confirmation(key),
        **changed,
    }
    return keys.confirmed_field_key(**values)


def test_a_field_key_is_derived_as_specified() -> None:
    info = framed(Label.FIELD_KEY, ADDRESS.encode())
    expected = hkdf(bytes(GROUP_KEY) + b"s" * 32, info, salt=VAULT)
    assert confirmed().expose() == expected
    assert keys.share_hash(SHARE) == digest(Label.SHARE_HASH, b"s" * 32)
    assert (
        keys.key_confirmation(FieldKey(expected))
        == hmac.new(expected, framed(Label.KEY_CONFIRMATION), hashlib.sha256).digest()
    )


OTHER_KEY = base_mul((314159).to_bytes(32, "little"))
DIFFERENT: dict[str, dict[str, Any]] = {
    "vault": {"vault_id": b"w" * 32},
    "collection": {"address": replace(ADDRESS, collection=b"d" * 16)},
    "field": {"address": replace(ADDRESS, field=8)},
    "epoch": {"address": replace(ADDRESS, epoch=4)},
    "K": {"group_key": OTHER_KEY},
    "share": {"share": Share(b"t" * 32)},
    "share with its hash": {
        "share": Share(b"t" * 32),
        "published_share_hash": keys.share_hash(Share(b"t" * 32)),
    },
    "share hash": {"published_share_hash": bytes(32)},
    "confirmation": {"published_confirmation": bytes(32)},
}


@pytest.mark.threat("Z4")
@pytest.mark.threat("C8")
@pytest.mark.threat("C17")
@pytest.mark.parametrize("what", DIFFERENT)
def test_a_key_that_is_not_the_published_one_is_refused(what: str) -> None:
    with pytest.raises(CommitmentMismatch) as refused:
        confirmed(**DIFFERENT[what])
    assert "epoch" in str(refused.value)


def test_commitments_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    class Spy:
        new = staticmethod(hmac.new)

        @staticmethod
        def compare_digest(one: bytes, other: bytes) -> bool:
            compared.append(one)
            return hmac.compare_digest(one, other)

    monkeypatch.setattr(keys, "hmac", Spy)
    key = confirmed()
    assert compared == [keys.share_hash(SHARE), keys.key_confirmation(key)]


def test_fresh_keys_and_shares_are_fresh() -> None:
    assert len({bytes(keys.fresh_group_key()) for _ in range(50)}) == 50
    assert len({keys.fresh_share().expose() for _ in range(50)}) == 50
    assert len({fresh_invite_secret().expose() for _ in range(50)}) == 50


# --- nonces that a cloned machine does not repeat


@pytest.fixture
def cloned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random source that gives the same bytes for ever."""
    monkeypatch.setattr(secrets, "token_bytes", lambda size: b"r" * size)


@pytest.mark.threat("C12")
@pytest.mark.usefixtures("cloned")
def test_hedged_scalars_differ_by_seed_and_context() -> None:
    contexts = [(), (b"",), (b"a",), (b"a", b""), (b"", b"a"), (b"ab",), (b"a", b"b")]
    found = {
        bytes(hedged_scalar(seed, *context))
        for seed in (Seed(b"a" * 32), Seed(b"b" * 32))
        for context in contexts
    }
    assert len(found) == 2 * len(contexts)
    assert hedged_scalar(Seed(b"a" * 32), b"a") == hedged_scalar(Seed(b"a" * 32), b"a")


def test_hedged_scalars_differ_where_randomness_is_good() -> None:
    assert len({bytes(hedged_scalar(Seed(b"a" * 32), b"same")) for _ in range(50)}) == 50


def nonces_of(monkeypatch: pytest.MonkeyPatch, *statements: Any) -> list[bytes]:
    """Prove each statement, and return the nonces that were drawn."""
    drawn: list[bytes] = []

    def spy(seed: Seed, *context: bytes) -> Any:
        scalar = hedged_scalar(seed, *context)
        drawn.append(bytes(scalar))
        return scalar

    monkeypatch.setattr(proving, "hedged_scalar", spy)
    for statement in statements:
        witness = (ALICE.rewrap_scalar.expose(),)
        proof = prove(statement, witness, ALICE.seed)
        verify(statement, Proof.from_bytes(proof, 1))
    return drawn


@pytest.mark.threat("C12")
@pytest.mark.usefixtures("cloned")
def test_two_statements_never_share_a_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two proofs with one nonce would give the scalar away by subtraction."""
    base = ALICE.public.knowledge(VAULT)
    point = base_mul((7).to_bytes(32, "little"))
    scalar = ALICE.rewrap_scalar.expose()
    (equation,) = base.equations
    other_base = replace(equation, image=mul(scalar, point), terms=((0, 1, point),))
    statements = [
        base,
        ALICE.public.knowledge(b"w" * 32),
        replace(base, label=Label.REWRAP_PROOF),
        replace(base, context=(*base.context, b"")),
        replace(base, equations=(equation, equation)),
        replace(base, equations=(other_base,)),
        replace(base, equations=(equation, other_base)),
    ]
    nonces = nonces_of(monkeypatch, *statements)
    assert len(set(nonces)) == len(nonces) == len(statements)


@pytest.mark.threat("C12")
@pytest.mark.usefixtures("cloned")
def test_statements_that_differ_in_a_base_alone_do_not_share_a_nonce(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Image and context alike, so that only the base tells them apart (the witness fits one)."""
    base = ALICE.public.knowledge(VAULT)
    (equation,) = base.equations
    point = base_mul((7).to_bytes(32, "little"))
    drawn: list[bytes] = []

    def spy(seed: Seed, *context: bytes) -> Any:
        drawn.append(bytes(hedged_scalar(seed, *context)))
        return hedged_scalar(seed, *context)

    monkeypatch.setattr(proving, "hedged_scalar", spy)
    for terms in (((0, 1, None),), ((0, 1, point),), ((0, -1, None),)):
        moved = replace(base, equations=(replace(equation, terms=terms),))
        prove(moved, (ALICE.rewrap_scalar.expose(),), ALICE.seed)
    assert len(set(drawn)) == 3


def test_a_witness_for_another_number_of_secrets_is_our_bug() -> None:
    with pytest.raises(ValueError, match="zip"):
        prove(ALICE.public.knowledge(VAULT), (), ALICE.seed)


# --- invites

SECRET = InviteSecret(b"i" * 32)
BOUND: tuple[Any, ...] = (VAULT, ALICE.member_id, Role.BIDDER, 1_800_000_000, 7, b"r" * 32)


def test_an_invite_s_identity_is_re_derived_from_its_secret() -> None:
    first, second = invite_identity(SECRET, *BOUND), invite_identity(SECRET, *BOUND)
    assert first.public == second.public
    assert invite_access_key(SECRET) == invite_access_key(InviteSecret(b"i" * 32))


@pytest.mark.threat("V6")
@pytest.mark.parametrize("place", range(6))
def test_an_invite_binds_vault_inviter_role_expiry_and_head(place: int) -> None:
    other: tuple[Any, ...] = (b"w" * 32, BOB.member_id, Role.ADMIN, 1_800_000_001, 8, b"q" * 32)
    changed = (*BOUND[:place], other[place], *BOUND[place + 1 :])
    assert invite_identity(SECRET, *changed).member_id != invite_identity(SECRET, *BOUND).member_id


def test_another_secret_is_another_invite() -> None:
    other = InviteSecret(b"j" * 32)
    assert invite_identity(other, *BOUND).member_id != invite_identity(SECRET, *BOUND).member_id
    assert invite_access_key(other) != invite_access_key(SECRET)


def test_the_access_key_is_none_of_the_invite_s_keys() -> None:
    access = bytes(invite_access_key(SECRET).verify_key)
    own = invite_identity(SECRET, *BOUND).public
    assert access not in (own.signing_key, bytes(own.rewrap_key), own.kem_key[1184:])
