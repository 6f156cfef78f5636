"""What the payload of an act may not say, whatever the state of its vault."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import acts
from protocol.acts import Rule
from protocol.acts.recovery import SEED_BOX_BYTES, SHARE_BOX_BYTES
from protocol.blocks import FieldClass, catalog_field
from protocol.errors import LimitExceeded, MalformedMessage, WeakKey
from protocol.limits import LIMITS
from protocol.wire import pack
from tests import edwards
from tests.act_samples import POINTS, altered, classes, id16, sample, with_part
from tests.world import of_class, of_field

# --- what a payload may not say


@pytest.mark.parametrize(
    "rule",
    [
        (None, None, None),
        (b"c" * 16, None, None),
        (b"c" * 16, FieldClass.CORE, 0),
        (None, None, 5),
        (None, FieldClass.PEOPLE, None),
        (b"c" * 16, FieldClass.PEOPLE, None),
    ],
)
def test_a_rule_names_a_class_or_a_field_of_a_collection(rule: Any) -> None:
    with pytest.raises(MalformedMessage):
        Rule(*rule)
    plain = tuple(int(each) if isinstance(each, FieldClass) else each for each in rule)
    with pytest.raises(MalformedMessage, match="rules"):
        acts.parse_body(altered(sample("grant"), 6, (b"m" * 32, (plain,))))


def test_a_rule_names_no_catalog() -> None:
    catalog = (b"c" * 16, None, catalog_field(FieldClass.CORE))
    with pytest.raises(MalformedMessage):
        acts.parse_body(altered(sample("grant"), 6, (b"m" * 32, (catalog,))))


@given(id16, id16, st.integers(0, 9), st.integers(0, 9), classes, classes)
def test_a_rule_matches_what_it_names(
    one: bytes, other: bytes, number: int, another: int, core: FieldClass, general: FieldClass
) -> None:
    everywhere, here = of_class(core), of_class(core, one)
    assert everywhere.matches(one, number, core)
    assert everywhere.matches(other, another, core)
    assert everywhere.matches(one, number, general) == (core is general)
    assert here.matches(one, number, core)
    assert here.matches(other, number, core) == (one == other)
    field = of_field(one, number)
    assert field.matches(one, number, core)
    assert field.matches(one, number, general)
    assert field.matches(one, another, core) == (number == another)
    assert field.matches(other, number, core) == (one == other)


@pytest.mark.parametrize(
    ("collection", "classes_"),
    [
        (bytes(16), (FieldClass.CORE,)),
        (b"c" * 16, (FieldClass.CORE, FieldClass.PEOPLE)),
    ],
)
def test_the_people_catalog_is_no_collection(
    collection: bytes, classes_: tuple[FieldClass, ...]
) -> None:
    with pytest.raises(MalformedMessage, match="people"):
        acts.DefineCollection(collection, classes_)


A, B = (b"a" * 16, b"r" * 32), (b"b" * 16, b"r" * 32)
EMPTIED = (0, b"x" * 32, 40, b"y" * 32)


@pytest.mark.parametrize(
    ("kind", "place", "items"),
    [
        ("offer", 2, (B, A)),
        ("offer", 2, (A, A)),
        ("accept", 2, ((*B, 1, 1), (*A, 1, 1))),
        ("grant", 1, (pack(of_class(FieldClass.CORE)), pack(of_class(FieldClass.GENERAL)))),
        ("grant", 1, (pack(of_class(FieldClass.CORE)),) * 2),
        (
            "create-epoch",
            0,
            ((b"b" * 16, 0, 1, *2 * (b"h" * 32,)), (b"a" * 16, 0, 1, *2 * (b"h" * 32,))),
        ),
        ("grant", 1, ()),
        ("create-epoch", 0, ()),
        ("define-collection", 1, ()),
        ("commit", 4, ()),
        ("retire-epoch", 0, ()),
        ("retire-epoch", 0, ((b"c" * 16, 0, 1), (b"b" * 16, 0, 1))),
        ("retire-epoch", 0, ((b"c" * 16, 0, 1), (b"c" * 16, 0, 1))),
        ("retire-epoch", 0, ((b"c" * 16, 1, 1), (b"c" * 16, 0, 1))),
        ("erase", 2, ()),
        ("erase", 2, ((b"c" * 16, (1,), (EMPTIED,)), (b"b" * 16, (1,), (EMPTIED,)))),
        ("erase", 2, ((b"b" * 16, (), (EMPTIED,)),)),
        ("erase", 2, ((b"b" * 16, (1,), ()),)),
        ("erase", 2, ((b"b" * 16, (1, 0), (EMPTIED,)),)),
        ("erase", 2, ((b"b" * 16, (128, 127), (EMPTIED,)),)),
        ("erase", 2, ((b"b" * 16, (256, 255), (EMPTIED,)),)),
        ("erase", 2, ((b"b" * 16, (1, 1), (EMPTIED,)),)),
        ("replace", 3, ()),
        ("replace", 5, ()),
        ("re-encrypt", 4, ()),
    ],
)
def test_lists_have_one_order_and_are_not_empty(kind: str, place: int, items: Any) -> None:
    with pytest.raises(MalformedMessage):
        with_part(kind, place, items)()


@pytest.mark.parametrize("epoch", [0, LIMITS.epochs + 1])
def test_epochs_are_counted_from_one(epoch: int) -> None:
    with pytest.raises(MalformedMessage):
        with_part("create-epoch", 0, ((b"c" * 16, 0, epoch, b"h" * 32, b"k" * 32),))()


@pytest.mark.parametrize(
    ("collection", "field"),
    [
        (b"c" * 16, 0x8003),
        (b"c" * 16, 0x8004),
        (b"c" * 16, 0xFFFF),
        (bytes(16), 0),
        (bytes(16), 0x8000),
    ],
)
def test_what_is_no_address_is_no_epoch_s_name(collection: bytes, field: int) -> None:
    with pytest.raises(MalformedMessage):
        with_part("retire-epoch", 0, ((collection, field, 1),))()
    with_part("retire-epoch", 0, ((bytes(16), 0x8003, 1), (b"c" * 16, 0x8002, 1)))()


@pytest.mark.parametrize("position", [0, 127, 128, 65_535, 65_536])
def test_positions_are_those_of_a_batch(position: int) -> None:
    erased = with_part("erase", 2, ((b"b" * 16, (position,), (EMPTIED,)),))
    if position < LIMITS.batch_records:
        payload = erased().payload
        assert isinstance(payload, acts.Erase)
        assert payload.erasures[0].positions == (position,)
    else:
        with pytest.raises(MalformedMessage):
            erased()


@given(st.sets(st.integers(0, LIMITS.batch_records - 1), min_size=1, max_size=9))
def test_positions_ascend_as_numbers(positions: set[int]) -> None:
    """Which is the order of their encodings: a receiver looks at the last one only."""
    payload = with_part("erase", 2, ((b"b" * 16, tuple(sorted(positions)), (EMPTIED,)),))().payload
    assert isinstance(payload, acts.Erase)
    assert payload.erasures[0].positions[-1] == max(positions)


# --- dealings


def dealing(
    threshold: int = 2, commitments: int | None = None, custodians: Any = (1, 2, 3)
) -> tuple[Any, ...]:
    points = tuple(bytes(POINTS[0]) for _ in range(commitments or threshold))
    shares = tuple((bytes((each,)) * 32, b"b" * SHARE_BOX_BYTES) for each in custodians)
    return (threshold, points, b"e" * SEED_BOX_BYTES, shares)


@pytest.mark.parametrize(
    "wrong",
    [
        dealing(1, 2),
        dealing(2, 1),
        dealing(2, 3),
        dealing(3, 2),
        dealing(4, 4),
        dealing(2, 2, (1,)),
        dealing(2, 2, ()),
        dealing(2, 2, (2, 1)),
        (*dealing()[:2], b"e" * 47, dealing()[3]),
        (*dealing()[:3], (*dealing(2, 2, (1, 2))[3], (b"\x03" * 32, b"b" * 1199))),
    ],
)
def test_a_dealing_is_of_as_many_as_it_takes(wrong: Any) -> None:
    with pytest.raises(MalformedMessage):
        with_part("custodians", 0, wrong)()
    for good in (dealing(), dealing(3), dealing(2, 2, (1, 2)), None):
        with_part("custodians", 0, good)()


def test_a_custodian_has_one_share() -> None:
    one, other, third = (bytes((each,)) * 32 for each in (1, 2, 3))
    box, another = b"a" * SHARE_BOX_BYTES, b"b" * SHARE_BOX_BYTES
    for shares in (
        ((one, box), (one, another)),
        ((one, box), (other, box), (other, another)),
        ((one, box), (other, box), (other, another), (third, box)),
    ):
        with pytest.raises(MalformedMessage, match="custodian with two shares"):
            with_part("custodians", 0, (*dealing()[:3], shares))()


def test_a_dealing_is_bounded() -> None:
    most = LIMITS.custodians
    with_part("custodians", 0, dealing(most, most, range(most)))()
    for wrong in (dealing(2, 2, range(most + 1)), dealing(2, most + 1)):
        with pytest.raises(LimitExceeded):
            with_part("custodians", 0, wrong)()
    with pytest.raises(MalformedMessage):
        with_part("custodians", 0, dealing(most + 1, most, range(most)))()


@pytest.mark.threat("Z3")
@pytest.mark.parametrize("bad", edwards.SMALL_ENCODINGS)
def test_bad_points_are_no_commitments(bad: bytes) -> None:
    threshold, (first, _), *rest = dealing()
    for points in ((bad, first), (first, bad)):
        with pytest.raises(WeakKey):
            with_part("custodians", 0, (threshold, points, *rest))()


def test_an_epoch_of_people_stands_in_its_own_collection() -> None:
    assert acts.EpochDefinition(bytes(16), 0x8003, 1, b"h" * 32, b"k" * 32).address.epoch == 1


@pytest.mark.parametrize(
    "policy",
    [
        (0, 1, 1, False, ()),
        (1, 0, 1, False, ()),
        (1, 1, 0, False, ()),
        (LIMITS.invite_seconds + 1, 1, 1, False, ()),
        (1, LIMITS.offer_seconds + 1, 1, False, ()),
        (1, 1, LIMITS.head_seconds + 1, False, ()),
        (1, 1, 1, 0, ()),
        (1, 1, 1, False),
        (1, 1, 1, False, (b"m" * 31,)),
        (1, 1, 1, False, (b"n" * 32, b"m" * 32)),
        (1, 1, 1, False, (b"m" * 32, b"m" * 32)),
    ],
)
@pytest.mark.parametrize(("kind", "place"), [("genesis", 4), ("policy", 0)])
def test_a_policy_is_bounded(kind: str, place: int, policy: Any) -> None:
    with pytest.raises(MalformedMessage, match="policy"):
        with_part(kind, place, policy)()
    with_part(kind, place, (1, 1, 1, False, (b"m" * 32, b"n" * 32)))()


def test_so_many_sign_heads_and_no_more() -> None:
    signers = tuple(bytes((i,)) * 32 for i in range(LIMITS.head_signers + 1))
    with_part("policy", 0, (1, 1, 1, False, signers[:-1]))()
    with pytest.raises(LimitExceeded):
        with_part("policy", 0, (1, 1, 1, False, signers))()


@pytest.mark.threat("K5")
@pytest.mark.parametrize("bad", edwards.SMALL_ENCODINGS[:4])
@pytest.mark.parametrize(("kind", "place"), [("genesis", 3), ("invite", 5)])
def test_weak_keys_in_payloads_are_refused(kind: str, place: int, bad: bytes) -> None:
    with pytest.raises(WeakKey):
        with_part(kind, place, bad)()  # type: ignore[arg-type]
