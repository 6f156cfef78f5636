from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from protocol.errors import MalformedMessage, SealroomError, WeakKey
from protocol.group import (
    ORDER,
    Point,
    Scalar,
    base_mul,
    linear,
    mul,
    negate,
)
from tests import edwards

pytestmark = pytest.mark.threat("Z3")

numbers = st.integers(1, ORDER - 1)
edge_numbers = st.one_of(numbers, st.sampled_from([1, 2, 8, ORDER - 1, ORDER // 2, 2**252]))


def little(number: int) -> bytes:
    return number.to_bytes(32, "little")


def point(number: int) -> Point:
    return base_mul(little(number))


def modelled(number: int) -> bytes:
    return edwards.encode(edwards.mul(number % ORDER, edwards.BASE))


def test_the_model_is_the_curve_of_rfc_8032() -> None:
    assert ORDER == edwards.L
    assert edwards.is_prime_order(edwards.BASE)
    assert edwards.encode(edwards.BASE) == b"\x58" + b"\x66" * 31
    assert edwards.mul(8, edwards.EIGHTH) == edwards.IDENTITY != edwards.mul(4, edwards.EIGHTH)
    assert len(set(edwards.SMALL_ENCODINGS)) == 14


# --- what is no point


@pytest.mark.threat("K5")
@pytest.mark.threat("V11")
@pytest.mark.parametrize(
    "encoded", edwards.SMALL_ENCODINGS, ids=lambda e: e.hex()[:6] + e.hex()[-2:]
)
def test_small_and_unreduced_points_are_refused(encoded: bytes) -> None:
    with pytest.raises(WeakKey):
        Point.from_bytes(encoded)


@pytest.mark.parametrize("step", range(1, 8))
def test_a_point_of_mixed_order_is_refused(step: int) -> None:
    torsion = edwards.mul(step, edwards.EIGHTH)
    mixed = edwards.add(edwards.mul(5, edwards.BASE), torsion)
    assert edwards.decode(edwards.encode(mixed)) == mixed, "the control: it is on the curve"
    with pytest.raises(WeakKey):
        Point.from_bytes(edwards.encode(mixed))


def test_a_y_of_the_twist_is_refused() -> None:
    off_curve = [y for y in range(2, 60) if edwards.recover_x(y, 0) is None]
    assert len(off_curve) > 20
    for y in off_curve:
        with pytest.raises(WeakKey):
            Point.from_bytes(little(y))


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_point_and_a_scalar_are_32_bytes(size: int) -> None:
    with pytest.raises(MalformedMessage, match="a point is 32 bytes"):
        Point.from_bytes(b"\x58" + b"\x66" * (size - 1) if size else b"")
    with pytest.raises(MalformedMessage, match="a scalar is 32 bytes"):
        Scalar.from_bytes(b"\1" * size)


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=30)
def test_random_bytes_are_a_point_exactly_where_the_model_says(encoded: bytes) -> None:
    try:
        taken = bytes(Point.from_bytes(encoded)) == encoded
    except WeakKey:
        taken = False
    assert taken == edwards.is_prime_order(edwards.decode(encoded))


@given(numbers)
@settings(max_examples=30)
def test_a_point_has_one_encoding(number: int) -> None:
    encoded = bytes(point(number))
    assert bytes(Point.from_bytes(encoded)) == encoded
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    if y < 19:  # only then is there room above the prime
        with pytest.raises(WeakKey):
            Point.from_bytes(little(y + edwards.P))


# --- what is no scalar


@pytest.mark.threat("V11")
@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2 * ORDER + 1, 2**255 - 1, 2**256 - 1])
def test_zero_and_unreduced_scalars_are_refused(number: int) -> None:
    with pytest.raises(MalformedMessage, match="reduced and not zero"):
        Scalar.from_bytes(little(number))


@pytest.mark.parametrize("number", [1, 2, 2**252, ORDER - 1])
def test_the_scalars_next_to_those_are_taken(number: int) -> None:
    assert bytes(Scalar.from_bytes(little(number))) == little(number)


@given(st.binary(min_size=64, max_size=64))
def test_wide_bytes_are_reduced_as_integers_are(wide: bytes) -> None:
    number = int.from_bytes(wide, "little") % ORDER
    assume(number)
    assert bytes(Scalar.reduced(wide)) == little(number)


@pytest.mark.parametrize("multiple", [0, 1, 2**256])
def test_wide_bytes_that_reduce_to_zero_are_refused(multiple: int) -> None:
    with pytest.raises(MalformedMessage):
        Scalar.reduced((multiple * ORDER).to_bytes(64, "little"))


# --- arithmetic, against the model and against itself


@given(edge_numbers, edge_numbers)
@settings(max_examples=12)
def test_products_sums_and_differences_are_the_model_s(a: int, b: int) -> None:
    assert bytes(point(a)) == modelled(a)
    assert bytes(mul(little(a), point(b))) == modelled(a * b)
    if (a * b + b) % ORDER:
        assert bytes(linear(((little(a), point(b)), (little(b), None)))) == modelled(a * b + b)
    if (a + b) % ORDER:
        assert bytes(point(a) + point(b)) == modelled(a + b)
    if a != b:
        assert bytes(point(a) - point(b)) == modelled(a - b)


@given(numbers, numbers, numbers)
def test_multiplication_distributes(a: int, b: int, c: int) -> None:
    if (a + b) % ORDER:
        total = little((a + b) % ORDER)
        assert mul(total, point(c)) == mul(little(a), point(c)) + mul(little(b), point(c))
    assert mul(little(a), point(c)) == mul(little(c), point(a))


@given(numbers)
def test_arithmetic_gives_what_parsing_takes(number: int) -> None:
    for made in (point(number), mul(little(number), point(7)), point(number) + point(number)):
        assert Point.from_bytes(bytes(made)) == made


@given(numbers)
def test_negation(number: int) -> None:
    assert negate(little(number)) == little(ORDER - number)
    assert linear(
        ((little(number), None), (negate(little(number)), None), (little(1), None))
    ) == point(1)


@given(numbers)
def test_no_operation_returns_the_identity(number: int) -> None:
    some = point(number)
    opposite = base_mul(negate(little(number)))
    with pytest.raises(WeakKey, match="identity"):
        _ = some - some
    with pytest.raises(WeakKey, match="identity"):
        _ = some + opposite
    with pytest.raises(WeakKey, match="identity"):
        linear(((little(number), None), (negate(little(number)), None)))


@pytest.mark.parametrize("number", [0, ORDER])
def test_multiplying_by_zero_is_refused_by_our_error(number: int) -> None:
    with pytest.raises(WeakKey, match="identity"):
        base_mul(little(number))
    with pytest.raises(WeakKey, match="identity"):
        mul(little(number), point(3))


@given(st.binary(max_size=70))
def test_any_bytes_give_a_value_or_an_error_of_ours(data: bytes) -> None:
    for parse in (Point.from_bytes, Scalar.from_bytes):
        with suppress(SealroomError):
            assert bytes(parse(data)) == data
