from __future__ import annotations

import hashlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import merkle
from protocol.errors import ApiMisuse, IntegrityError, MalformedMessage
from protocol.merkle import (
    EMPTY_ROOT,
    Tree,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(bytes([number])) for number in range(70)]
TREE = Tree(LEAVES)
SIZES = range(len(LEAVES) + 1)
OTHER = hashlib.sha256(b"another").digest()


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, as it is written."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = by_definition(leaves[:split]), by_definition(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


ROOTS = [by_definition(LEAVES[:size]) for size in SIZES]


def test_hashes_are_those_of_rfc_9162() -> None:
    assert leaf_hash(b"") == hashlib.sha256(b"\x00").digest()
    assert node_hash(b"l", b"r") == hashlib.sha256(b"\x01lr").digest()
    assert hashlib.sha256(b"").digest() == EMPTY_ROOT


@pytest.mark.threat("S8")
def test_no_leaf_passes_for_a_node() -> None:
    """What a node hashes can be somebody's leaf: its hash is another, and so is its tree's root."""
    one, other = leaf_hash(b"one"), leaf_hash(b"other")
    tree = Tree()
    for leaf in (one, other):
        tree.append(leaf)
    for content in (one + other, b"\x01" + one + other, b"\x00" + one + other):
        forged = Tree()
        forged.append(leaf_hash(content))
        assert leaf_hash(content) != tree.root()
        assert forged.root() != tree.root()
        with pytest.raises(IntegrityError):
            verify_inclusion(leaf_hash(content), 0, 1, (), tree.root())
    verify_inclusion(one, 0, 2, (other,), tree.root())


@pytest.mark.parametrize("size", SIZES)
def test_roots_follow_the_definition(size: int) -> None:
    assert TREE.root(size) == ROOTS[size]
    assert root_of(LEAVES[:size]) == ROOTS[size]
    assert Tree(LEAVES[:size]).root() == ROOTS[size]


def test_appending_returns_the_index_and_keeps_the_leaf() -> None:
    tree = Tree()
    assert (tree.size, tree.root()) == (0, EMPTY_ROOT)
    assert [tree.append(leaf) for leaf in LEAVES] == list(range(70))
    assert tree.size == 70
    assert [tree.leaf(index) for index in range(70)] == LEAVES


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_is_proved_in_every_size_and_nowhere_else(size: int) -> None:
    for index in range(size):
        proof = TREE.inclusion_proof(index, size)
        verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
        elsewhere = (index + 1) % size
        if size > 1:
            with pytest.raises((IntegrityError, MalformedMessage)):
                verify_inclusion(LEAVES[index], elsewhere, size, proof, ROOTS[size])


@pytest.mark.parametrize("new", SIZES[1:])
def test_every_size_extends_every_smaller_one(new: int) -> None:
    for old in range(1, new + 1):
        proof = TREE.consistency_proof(old, new)
        verify_consistency(old, ROOTS[old], new, ROOTS[new], proof)
        with pytest.raises(IntegrityError):
            verify_consistency(old, OTHER, new, ROOTS[new], proof)
        with pytest.raises(IntegrityError):
            verify_consistency(old, ROOTS[old], new, OTHER, proof)


places = st.integers(1, 70).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size)))


@given(places, st.randoms(use_true_random=False))
def test_no_bit_of_an_inclusion_proof_can_change(place: tuple[int, int], random: object) -> None:
    index, size = place
    proof = TREE.inclusion_proof(index, size)
    for at in range(len(proof)):
        broken = list(proof)
        broken[at] = flipped(proof[at], random)
        with pytest.raises(IntegrityError):
            verify_inclusion(LEAVES[index], index, size, broken, ROOTS[size])
    with pytest.raises(IntegrityError):
        verify_inclusion(flipped(LEAVES[index], random), index, size, proof, ROOTS[size])
    with pytest.raises(IntegrityError):
        verify_inclusion(LEAVES[index], index, size, proof, flipped(ROOTS[size], random))


@given(places, st.randoms(use_true_random=False))
def test_no_bit_of_a_consistency_proof_can_change(place: tuple[int, int], random: object) -> None:
    old, new = place[0] + 1, place[1]
    proof = TREE.consistency_proof(old, new)
    for at in range(len(proof)):
        broken = list(proof)
        broken[at] = flipped(proof[at], random)
        with pytest.raises(IntegrityError):
            verify_consistency(old, ROOTS[old], new, ROOTS[new], broken)


def flipped(value: bytes, random: object) -> bytes:
    changed = bytearray(value)
    changed[random.randrange(32)] ^= 1 << random.randrange(8)  # type: ignore[attr-defined]
    return bytes(changed)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 5), (5, 5), (6, 5), (2**70, 5), (0, -1)])
def test_there_is_no_proof_for_a_place_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(MalformedMessage):
        verify_inclusion(LEAVES[0], index, size, (), EMPTY_ROOT)
    with pytest.raises(MalformedMessage):
        TREE.inclusion_proof(index, size)


def test_there_is_no_place_before_the_first() -> None:
    """A negative index has a shape of its own, and so a length that a proof may have."""
    for size in (1, 5, 8):
        for length in range(12):
            with pytest.raises(MalformedMessage, match="no leaf -1"):
                verify_inclusion(LEAVES[0], -1, size, [LEAVES[1]] * length, ROOTS[size])


@pytest.mark.parametrize(("index", "size", "other"), [(0, 3, 4), (2, 5, 8), (4, 7, 8)])
def test_an_inclusion_proof_does_not_prove_the_size(index: int, size: int, other: int) -> None:
    """Whoever took a size from beside the proof would believe whoever sent it."""
    proof = TREE.inclusion_proof(index, size)
    verify_inclusion(LEAVES[index], index, other, proof, ROOTS[size])
    verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
    for place in set(range(size)) - {index}:
        with pytest.raises((IntegrityError, MalformedMessage)):
            verify_inclusion(LEAVES[index], place, size, proof, ROOTS[size])


@pytest.mark.parametrize(("index", "size"), [(0, 1), (3, 5), (4, 5), (69, 70)])
def test_a_proof_has_one_length(index: int, size: int) -> None:
    proof = TREE.inclusion_proof(index, size)
    for wrong in (proof[:-1], (*proof, OTHER), (OTHER, *proof)):
        if wrong != proof:
            with pytest.raises(MalformedMessage):
                verify_inclusion(LEAVES[index], index, size, wrong, ROOTS[size])


@pytest.mark.parametrize(("old", "new"), [(1, 1), (1, 2), (4, 8), (5, 8), (64, 70), (69, 70)])
def test_a_consistency_proof_has_one_length(old: int, new: int) -> None:
    proof = TREE.consistency_proof(old, new)
    for wrong in (proof[:-1], (*proof, OTHER), (OTHER, *proof)):
        if wrong != proof:
            with pytest.raises(MalformedMessage):
                verify_consistency(old, ROOTS[old], new, ROOTS[new], wrong)


def test_hashes_have_one_length() -> None:
    # Were 31 and 33 bytes taken for siblings, one parent would have many pairs of children.
    left, right = LEAVES[0], LEAVES[1]
    with pytest.raises(MalformedMessage):
        verify_inclusion(left + right[:1], 0, 2, (right[1:],), ROOTS[2])
    with pytest.raises(MalformedMessage):
        verify_consistency(1, left + right[:1], 2, ROOTS[2], (right[1:],))
    with pytest.raises(MalformedMessage):
        verify_inclusion(left, 0, 1, (), left + b"\0")


def test_from_an_empty_tree_nothing_can_be_proved() -> None:
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, ())
    with pytest.raises(MalformedMessage):
        verify_consistency(0, EMPTY_ROOT, 5, ROOTS[5], ())
    with pytest.raises(IntegrityError):
        verify_consistency(0, OTHER, 0, OTHER, ())
    with pytest.raises(MalformedMessage):
        TREE.consistency_proof(0, 5)


@pytest.mark.parametrize(("old", "new"), [(5, 4), (-1, 4), (-1, -1), (1, 0)])
def test_sizes_do_not_go_back(old: int, new: int) -> None:
    with pytest.raises(MalformedMessage):
        verify_consistency(old, ROOTS[5], new, ROOTS[4], ())


@pytest.mark.parametrize(("old", "new"), [(5, 4), (-1, 4), (5, 71), (5, -1)])
def test_no_consistency_proof_is_made_of_what_is_not_there(old: int, new: int) -> None:
    with pytest.raises(MalformedMessage):
        TREE.consistency_proof(old, new)


def test_two_histories_of_one_size_are_told_apart() -> None:
    with pytest.raises(IntegrityError):
        verify_consistency(5, ROOTS[5], 5, OTHER, ())
    with pytest.raises(MalformedMessage):
        verify_consistency(5, ROOTS[5], 5, ROOTS[5], (OTHER,))


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 39))
def test_a_rewritten_past_has_no_proof(old: int, more: int, where: int) -> None:
    forged = list(LEAVES[: old + more])
    forged[where % old] = OTHER
    tree = Tree(forged)
    proof = tree.consistency_proof(old)
    with pytest.raises(IntegrityError):
        verify_consistency(old, ROOTS[old], old + more, tree.root(), proof)
    with pytest.raises(IntegrityError):
        verify_consistency(old, tree.root(old), old + more, ROOTS[old + more], proof)


@pytest.mark.parametrize("index", [-1, 70])
def test_a_leaf_that_is_not_there_is_not_returned(index: int) -> None:
    with pytest.raises(MalformedMessage):
        TREE.leaf(index)


@pytest.mark.parametrize("size", [-1, 71])
def test_the_root_of_a_size_that_is_not_there_is_not_returned(size: int) -> None:
    with pytest.raises(MalformedMessage):
        TREE.root(size)


@pytest.mark.parametrize("leaf", [b"", bytes(31), bytes(33)])
def test_a_tree_is_built_of_hashes(leaf: bytes) -> None:
    tree = Tree(LEAVES[:3])
    with pytest.raises(ApiMisuse):
        tree.append(leaf)
    with pytest.raises(ApiMisuse):
        root_of([leaf])
    assert (tree.size, tree.root()) == (3, ROOTS[3])


@pytest.mark.parametrize("size", [0, 1, 3, 6, 7, 15, 31, 63])
@pytest.mark.parametrize("fails_at", range(7))
def test_a_failed_append_leaves_the_tree_as_it_was(
    monkeypatch: pytest.MonkeyPatch, size: int, fails_at: int
) -> None:
    tree = Tree(LEAVES[:size])
    calls = iter(range(100))

    def failing(left: bytes, right: bytes) -> bytes:
        if next(calls) == fails_at:
            raise MemoryError
        return node_hash(left, right)

    monkeypatch.setattr(merkle, "node_hash", failing)
    try:
        tree.append(OTHER)
    except MemoryError:
        monkeypatch.undo()
        assert (tree.size, tree.root()) == (size, ROOTS[size])
        for leaf in LEAVES[size:]:
            tree.append(leaf)
        assert tree.root() == ROOTS[70]
        assert tree.inclusion_proof(size, 70) == TREE.inclusion_proof(size, 70)
    else:
        # As many joins as the size has ones at its end: fewer than this case wanted to break.
        assert fails_at >= (size ^ (size + 1)).bit_count() - 1


def test_a_leaf_takes_about_64_bytes() -> None:
    tracemalloc.start()
    try:
        tree = Tree(LEAVES[index % 70] for index in range(20_000))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 20_000 * 64 * 1.2
    assert tree.size == 20_000
