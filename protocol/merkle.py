"""The append-only tree: roots, inclusion and consistency proofs (SPEC section 8; RFC 9162).

`Tree` makes proofs, for the server and for a client that keeps the whole log; `verify_inclusion`
and `verify_consistency` check them with nothing but hashes at hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from protocol.errors import ApiMisuse, IntegrityError, MalformedMessage

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash a leaf's bytes; the first byte keeps leaves and nodes apart (RFC 9162 section 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent (RFC 9162 section 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes in order, keeping one hash a level in memory."""
    peaks: list[bytes] = []
    for size, leaf in enumerate(leaf_hashes, start=1):
        peaks.append(_hash_sized(leaf))
        for _ in range(_trailing_zeros(size)):
            right = peaks.pop()
            peaks.append(node_hash(peaks.pop(), right))
    return _folded(peaks)


# --- verifying


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Verify that a tree of that root has the leaf hash at `index`, if it has `size` leaves.

    The size is not proved: one proof may pass for several sizes, as far as they put the leaf on
    the same path. So size and root are the caller's to know, both from one verified checkpoint;
    then a proof for another index does not pass.

    Raises:
        MalformedMessage: no such place, a proof of another length, something not 32 bytes.
        IntegrityError: the proof leads to another root.
    """
    if not 0 <= index < size:
        raise MalformedMessage(f"no leaf {index} in a tree of {size}")
    inner, border = _proof_shape(index, size)
    _hashes_expected(proof, inner + border)
    _expect_hashes(leaf, root, *proof)
    below = _inner(leaf, proof[:inner], index)
    _match(_border(below, proof[inner:]), root)


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Verify that the tree of `new_size` begins with all leaves of the tree of `old_size`.

    Equal sizes need equal roots and an empty proof. From size 0 nothing can be proved, so that
    is refused unless both are 0. Whether a smaller new size is a rollback is the caller's word.

    Raises:
        MalformedMessage: sizes in no such order, a proof of another length, not 32 bytes each.
        IntegrityError: the proof leads to another old or new root: one history or the other.
    """
    if not 0 <= old_size <= new_size:
        raise MalformedMessage(f"a tree of {new_size} cannot extend one of {old_size}")
    if old_size == new_size:
        _hashes_expected(proof, 0)
        _match(old_root, new_root)
        if new_size == 0:
            _match(new_root, EMPTY_ROOT)
        return
    if old_size == 0:
        raise MalformedMessage("nothing can be proved from an empty tree")
    _verify_extension(old_size, old_root, new_size, new_root, proof)


def _verify_extension(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    _expect_hashes(old_root, new_root, *proof)
    inner, border = _proof_shape(old_size - 1, new_size)
    complete = _trailing_zeros(old_size)
    inner -= complete
    # The largest complete subtree at the old tree's right edge starts both chains. Where that
    # is the whole old tree, its root is known and the proof leaves it out.
    whole = old_size == 1 << complete
    _hashes_expected(proof, inner + border + (0 if whole else 1))
    seed, rest = (old_root, proof) if whole else (proof[0], proof[1:])
    path = (old_size - 1) >> complete
    old = _border(_inner_right(seed, rest[:inner], path), rest[inner:])
    new = _border(_inner(seed, rest[:inner], path), rest[inner:])
    _match(old, old_root)
    _match(new, new_root)


def _proof_shape(index: int, size: int) -> tuple[int, int]:
    """Return how many hashes of a proof lie below, and how many on, the tree's right edge."""
    inner = (index ^ (size - 1)).bit_length()
    return inner, (index >> inner).bit_count()


def _inner(below: bytes, proof: Sequence[bytes], path: int) -> bytes:
    for level, sibling in enumerate(proof):
        right = path >> level & 1
        below = node_hash(sibling, below) if right else node_hash(below, sibling)
    return below


def _inner_right(below: bytes, proof: Sequence[bytes], path: int) -> bytes:
    """Climb as `_inner`, past those siblings that the old tree did not have yet."""
    for level, sibling in enumerate(proof):
        if path >> level & 1:
            below = node_hash(sibling, below)
    return below


def _border(below: bytes, proof: Sequence[bytes]) -> bytes:
    for sibling in proof:
        below = node_hash(sibling, below)
    return below


def _match(computed: bytes, claimed: bytes) -> None:
    if computed != claimed:
        raise IntegrityError("the proof leads to another root")


def _hashes_expected(proof: Sequence[bytes], count: int) -> None:
    if len(proof) != count:
        raise MalformedMessage(f"a proof of {len(proof)} hashes where {count} are needed")


def _expect_hashes(*hashes: bytes) -> None:
    if any(len(one) != HASH_BYTES for one in hashes):
        raise MalformedMessage("a hash that is not 32 bytes")


# --- proving


class Tree:
    """An append-only tree in memory: two hashes, 64 bytes, for each leaf.

    An `append` that fails leaves the tree as it was. Nothing is ever taken back.
    """

    __slots__ = ("_levels", "_size")

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        # Level k holds the roots of all complete subtrees of 2^k leaves, side by side.
        self._levels: list[bytearray] = []
        self._size = 0
        for leaf in leaf_hashes:
            self.append(leaf)

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    def copy(self) -> Tree:
        """Return a tree of the same leaves, to append to without this one growing."""
        other = Tree()
        other._levels = [level.copy() for level in self._levels]
        other._size = self._size
        return other

    def append(self, leaf: bytes) -> int:
        """Add a leaf by its hash and return its index."""
        node = _hash_sized(leaf)
        size = self._size + 1
        for level in range(_trailing_zeros(size) + 1):
            if level:
                node = node_hash(self._node(level - 1, (size >> level - 1) - 2), node)
            self._put(level, (size >> level) - 1, node)
        # Only now does the leaf exist: had anything failed above, the next append would write
        # to the same places.
        self._size = size
        return size - 1

    def leaf(self, index: int) -> bytes:
        """Return the hash of the leaf at `index`.

        Raises:
            MalformedMessage: there is none.
        """
        if not 0 <= index < self._size:
            raise MalformedMessage(f"no leaf {index} in a tree of {self._size}")
        return self._node(0, index)

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` leaves, or of all.

        Raises:
            MalformedMessage: the tree has fewer leaves.
        """
        return self._subtree(0, self._prefix(size))

    def inclusion_proof(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Prove that the leaf at `index` is among the first `size` (RFC 9162 section 2.1.3.1).

        Raises:
            MalformedMessage: no such leaf or size.
        """
        end = self._prefix(size)
        if not 0 <= index < end:
            raise MalformedMessage(f"no leaf {index} in a tree of {end}")
        start, proof = 0, []
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                proof.append(self._subtree(middle, end))
                end = middle
            else:
                proof.append(self._subtree(start, middle))
                start = middle
        return tuple(reversed(proof))

    def consistency_proof(self, old_size: int, new_size: int | None = None) -> tuple[bytes, ...]:
        """Prove that the first `old_size` leaves begin `new_size` (RFC 9162 section 2.1.4.1).

        Raises:
            MalformedMessage: sizes in no such order, beyond the tree, or an old size of 0.
        """
        new_end = self._prefix(new_size)
        if not 0 < old_size <= new_end:
            raise MalformedMessage(f"no proof from size {old_size} to size {new_end}")
        start, end, proof = 0, new_end, []
        while end != old_size:
            middle = start + _split(end - start)
            if old_size <= middle:
                proof.append(self._subtree(middle, end))
                end = middle
            else:
                proof.append(self._subtree(start, middle))
                start = middle
        if start:
            proof.append(self._subtree(start, end))
        return tuple(reversed(proof))

    def _prefix(self, size: int | None) -> int:
        if size is None:
            return self._size
        if not 0 <= size <= self._size:
            raise MalformedMessage(f"no size {size} in a tree of {self._size}")
        return size

    def _subtree(self, start: int, end: int) -> bytes:
        """Return the root over leaves `start` to `end`, where `start` is as RFC 9162 splits."""
        peaks: list[bytes] = []
        while start < end:
            level = (end - start).bit_length() - 1
            peaks.append(self._node(level, start >> level))
            start += 1 << level
        return _folded(peaks)

    def _node(self, level: int, index: int) -> bytes:
        at = index * HASH_BYTES
        return bytes(self._levels[level][at : at + HASH_BYTES])

    def _put(self, level: int, index: int, node: bytes) -> None:
        if level == len(self._levels):
            self._levels.append(bytearray())
        at = index * HASH_BYTES
        self._levels[level][at : at + HASH_BYTES] = node


def _folded(peaks: list[bytes]) -> bytes:
    """Join complete subtrees, largest first, from the right."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _trailing_zeros(size: int) -> int:
    return (size & -size).bit_length() - 1


def _hash_sized(leaf: bytes) -> bytes:
    if len(leaf) != HASH_BYTES:
        raise ApiMisuse("a tree is built of leaf hashes, 32 bytes each")
    return leaf
