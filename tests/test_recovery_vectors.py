"""The vectors of a dealing, its release and its rebuilding, by the text of SPEC 9.9 alone."""

from __future__ import annotations

import hashlib
import itertools
import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from client.crypto.derivation import hkdf
from client.crypto.identity import Identity
from client.crypto.secrets import Seed
from protocol import acts
from protocol.acts import Dealing
from protocol.group import SECOND_GENERATOR
from protocol.identity import IdentityCard, verify_card
from protocol.wire import from_bytes, to_bytes
from tests import edwards, xwing
from tests.dealing_by_spec import Dealt, fits, number_of, rebuilt, release_info, scalar, weights
from tests.fixed_draws import Json
from tests.test_spec_vectors import load, raw

FOUND = load("recovery")
DEALT = FOUND["dealing"]


def framed(label: str, *parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(each)) + each for each in (label.encode(), *parts))


def person(case: Json) -> Identity:
    return Identity(Seed(raw(case["seed"])))


def numbers(encoded: list[str]) -> tuple[int, ...]:
    return tuple(number_of(raw(each)) for each in encoded)


def dealt() -> Dealt:
    return Dealt(
        raw(DEALT["vault_id"]),
        raw(DEALT["owner"]["member_id"]),
        tuple(raw(each["custodian"]["member_id"]) for each in DEALT["shares"]),
        numbers(DEALT["a"]),
        numbers(DEALT["b"]),
    )


def test_nobody_knows_the_logarithm_of_the_second_generator() -> None:
    case = FOUND["generator"]
    label = "sealroom/v1/recovery/generator"
    hashes = [
        hashlib.sha256(framed(label, struct.pack(">I", number))).digest()
        for number in range(case["number"] + 1)
    ]
    assert hashes[-1].hex() == case["hashed"]
    assert [edwards.decode(each) for each in hashes[:-1]] == [None] * case["number"]
    point = edwards.decode(hashes[-1])
    assert point is not None
    assert edwards.encode(edwards.mul(8, point)).hex() == case["point"]
    assert bytes(SECOND_GENERATOR).hex() == case["point"]
    assert edwards.is_prime_order(edwards.decode(raw(case["point"])))


def test_scalars_are_drawn_in_order_and_reduced() -> None:
    count = len(DEALT["a"])
    wide = [int.from_bytes(raw(each), "little") % edwards.L for each in DEALT["drawn"]]
    assert tuple(wide[:count]) == numbers(DEALT["a"])
    assert tuple(wide[count : 2 * count]) == numbers(DEALT["b"])
    assert DEALT["drawn"][2 * count :] == [each["coins"] for each in DEALT["shares"]]


def test_commitments_and_shares_are_those_of_the_polynomials() -> None:
    made = dealt()
    assert [each.hex() for each in made.commitments] == DEALT["commitments"]
    ids = [each["custodian"]["member_id"] for each in DEALT["shares"]]
    assert ids == sorted(ids)
    assert [each["place"] for each in DEALT["shares"]] == [1, 2, 3]
    for each in DEALT["shares"]:
        share, place = raw(each["f"] + each["g"]), each["place"]
        assert made.share(place) == share
        assert fits(share, place, made.commitments)
        a, b = numbers(DEALT["a"]), numbers(DEALT["b"])
        assert number_of(share[:32]) == (a[0] + place * a[1]) % edwards.L
        assert number_of(share[32:]) == (b[0] + place * b[1]) % edwards.L


def test_a_custodian_s_box_is_this() -> None:
    vault_id, owner = raw(DEALT["vault_id"]), raw(DEALT["owner"]["member_id"])
    points = [raw(each) for each in DEALT["commitments"]]
    for each in DEALT["shares"]:
        custodian = person(each["custodian"])
        parts = (vault_id, owner, custodian.member_id, bytes((each["place"],)), b"\x02", *points)
        info = hashlib.sha256(framed("sealroom/v1/recovery/share", *parts)).digest()
        assert info.hex() == each["info"]
        share = raw(each["f"] + each["g"])
        assert custodian.open_box(raw(each["box"]), info) == share
        sealed = xwing.seal(custodian.public.kem_key, share, info, raw(each["coins"]))
        assert sealed.hex() == each["box"]


def test_the_seed_lies_under_the_dealt_secret() -> None:
    owner = person(DEALT["owner"])
    points = [raw(each) for each in DEALT["commitments"]]
    ids = [raw(each["custodian"]["member_id"]) for each in DEALT["shares"]]
    info = framed("sealroom/v1/recovery/seed", owner.member_id, b"\x02", *points, *ids)
    assert info.hex() == DEALT["seed_info"]
    key = hkdf(raw(DEALT["a"][0]), info, salt=raw(DEALT["vault_id"]))
    assert key.hex() == DEALT["seed_key"]
    assert AESGCM(key).decrypt(bytes(12), raw(DEALT["seed_box"]), None) == owner.seed.expose()


def test_the_dealing_of_the_ledger_is_that_one() -> None:
    record = from_bytes(Dealing, raw(DEALT["record"]))
    step = load("ledger")["steps"][DEALT["act"]]
    payload = acts.parse_envelope(raw(step["leaf"])[1:])[1].payload
    assert payload == acts.Custodians(record)
    assert (record.threshold, record.seed_box.hex()) == (2, DEALT["seed_box"])
    assert [bytes(each).hex() for each in record.commitments] == DEALT["commitments"]
    assert [each.box.hex() for each in record.shares] == [each["box"] for each in DEALT["shares"]]
    assert step["state"]["recovery"]["dealing"] == DEALT["act"]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["name"]) for case in FOUND["invalid_shares"]]
)
def test_no_other_share_fits(case: Json) -> None:
    points = [raw(each) for each in DEALT["commitments"]]
    assert not fits(raw(case["share"]), case["place"], points)
    assert case["error"] == "commitment_mismatch"


def test_a_commitment_that_is_no_point_fits_nothing() -> None:
    share = dealt().share(1)
    assert not fits(share, 1, [bytes(31) + b"\xff", *dealt().commitments[1:]])


@pytest.mark.parametrize("number", range(len(FOUND["releases"])))
def test_a_release_is_this(number: int) -> None:
    case = FOUND["releases"][number]
    rebuilder, vault_id = person(case["rebuilder"]), raw(DEALT["vault_id"])
    assert raw(case["card_context"]) == vault_id + b"recovery"
    card = from_bytes(IdentityCard, raw(case["card"]))
    assert verify_card(card, vault_id + b"recovery") == rebuilder.public
    custodian = raw(case["custodian"])
    info = release_info(vault_id, DEALT["act"], custodian, rebuilder.member_id)
    parts = (vault_id, struct.pack(">Q", DEALT["act"]), custodian, rebuilder.member_id)
    assert info == hashlib.sha256(framed("sealroom/v1/recovery/release", *parts)).digest()
    assert info.hex() == case["info"]
    assert rebuilder.open_box(raw(case["box"]), info) == raw(case["share"])
    made = xwing.seal(rebuilder.public.kem_key, raw(case["share"]), info, raw(case["coins"]))
    assert made.hex() == case["box"]
    act = acts.parse_envelope(raw(load("ledger")["steps"][case["act"]]["leaf"])[1:])[1]
    assert act.author == custodian
    assert act.payload == acts.Release(DEALT["act"], card, raw(case["box"]))


def test_two_shares_rebuild_the_seed() -> None:
    case, made = FOUND["rebuilding"], dealt()
    by_place = {made.custodians.index(raw(e["custodian"])) + 1: e for e in FOUND["releases"]}
    assert sorted(by_place) == case["places"]
    shares = {place: raw(each["share"]) for place, each in by_place.items()}
    assert scalar(rebuilt(shares)).hex() == case["a_0"] == DEALT["a"][0]
    found = weights(case["places"])
    assert [scalar(found[place]).hex() for place in case["places"]] == case["weights"]
    (i, j) = case["places"]
    assert found[i] * (j - i) % edwards.L == j


def test_any_two_shares_rebuild_it_and_one_or_a_false_one_does_not() -> None:
    made = dealt()
    for two in itertools.combinations((1, 2, 3), 2):
        assert rebuilt({place: made.share(place) for place in two}) == made.a[0]
    for one in (1, 2, 3):
        assert rebuilt({one: made.share(one)}) != made.a[0]
    assert rebuilt({1: made.share(2), 2: made.share(1)}) != made.a[0]


def test_a_record_of_a_dealing_has_its_one_form() -> None:
    assert to_bytes(from_bytes(Dealing, raw(DEALT["record"]))).hex() == DEALT["record"]
