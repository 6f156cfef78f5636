"""What one act cannot hold is cut into parts, always the same ones."""

from __future__ import annotations

from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from client.parts import in_parts

MOST = (10, 4)
ITEMS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 5)), max_size=40)


def total(part: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(a for a, _ in part), sum(b for _, b in part)


def fits(part: list[tuple[int, int]]) -> bool:
    return all(weight <= most for weight, most in zip(total(part), MOST, strict=True))


@given(ITEMS)
def test_parts_hold_everything_in_order_and_keep_to_every_limit(
    items: list[tuple[int, int]],
) -> None:
    parts = list(in_parts(items, lambda item: item, MOST))
    assert list(chain(*parts)) == items
    assert all(parts)
    assert all(fits(part) or len(part) == 1 for part in parts)


@given(ITEMS)
def test_a_part_ends_only_where_the_next_item_has_no_room(items: list[tuple[int, int]]) -> None:
    parts = list(in_parts(items, lambda item: item, MOST))
    assert not any(fits([*part, following[0]]) for part, following in pairwise(parts))
