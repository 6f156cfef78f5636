"""Sides of which parts are gone: what is still checked, and what cannot be."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from client.crypto.wraps import open_keys
from protocol import acts
from protocol.errors import ContextMismatch, IntegrityError, MalformedMessage, NotAuthorised
from protocol.ledger import Gone, encode_part, sides_root
from protocol.ledger.sides import SentPart
from protocol.merkle import leaf_hash, root_of
from tests.test_sides import KINDS, Case, crowd, gone_but, honest


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_that_is_gone_had_to_be_there(kind: str) -> None:
    made = honest(kind)
    hashes = [leaf_hash(part) for part in made.sides]
    # The hash of a whole subtree in the place of its leaves has the same root.
    tops = [[Gone(root_of(hashes))]]
    if len(hashes) > 2:
        half = 1 << (len(hashes) - 1).bit_length() - 1
        tops.append([Gone(root_of(hashes[:half])), Gone(root_of(hashes[half:]))])
    for fewer in tops:
        assert sides_root(fewer) == sides_root(made.sides)
        with pytest.raises(NotAuthorised, match="exactly"):
            made.show(fewer)
    more: list[list[SentPart]] = [
        [*made.sides, Gone(bytes(32))],
        [Gone(bytes(32)), *made.sides],
        [*map(Gone, hashes), Gone(bytes(32))],
        [*map(Gone, hashes[:-1])],
    ]
    for parts in more:
        with pytest.raises(NotAuthorised, match="exactly"):
            made.check(parts)
    with pytest.raises(ContextMismatch):
        made.show([*made.sides, Gone(bytes(32))])


def test_where_nothing_is_due_nothing_is_gone() -> None:
    world = crowd()
    made = Case(world, world.owner, world.draft(world.owner, acts.Noop()), (), ())
    with pytest.raises(ContextMismatch):
        made.show([Gone(bytes(32))])
    with pytest.raises(NotAuthorised, match="nothing travels beside"):
        made.check([Gone(bytes(32))])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_stands_in_its_place_beside_what_is_gone(kind: str) -> None:
    """A cheating author signs its parts in another order, and a server shows one of them."""
    made, tried = honest(kind), 0
    for one, other in itertools.permutations(range(len(made.sides)), 2):
        shown: list[SentPart] = [Gone(bytes(32))] * len(made.sides)
        shown[other] = made.sides[one]
        with pytest.raises((NotAuthorised, MalformedMessage)):
            made.check(shown)
        tried += 1
    assert tried >= 2


def test_a_part_is_for_everybody_who_is_due_also_beside_what_is_gone() -> None:
    made = honest("create-epoch")
    for index, part in made.wraps:
        short = replace(part, entries=part.entries[1:])
        shown = gone_but(made)
        shown[index] = encode_part(short)
        with pytest.raises(NotAuthorised, match="exactly"):
            made.check(shown)


@pytest.mark.parametrize("kind", KINDS)
def test_wraps_of_an_epoch_that_is_gone_are_neither_proved_nor_put_on_record(kind: str) -> None:
    """There may be nothing on record to prove them from; the epoch has to be retired anyway."""
    made = honest(kind)
    for index, part in made.wraps:
        proved = next(e for e in part.entries if e.proof)
        forged = replace(proved, proof=bytes((*proved.proof[:-1], proved.proof[-1] ^ 1)))
        entries = tuple(forged if e is proved else e for e in part.entries)
        changed = made.with_part(index, replace(part, entries=entries))
        with pytest.raises((IntegrityError, MalformedMessage)):
            made.check(changed)
        found = made.check(changed, gone=[part.address])
        assert found.gone == {part.address}
        assert part.address not in {address for address, _ in found.wraps}
        others = {a for _, each in made.wraps for a in [each.address]} - {part.address}
        assert {address for address, _ in found.wraps} == others


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_opens_what_is_left_of_its_epochs(kind: str) -> None:
    made = honest(kind)
    after = made.world.ledger.preview(made.act)
    for index, part in made.wraps:
        others = [at for at in range(len(made.sides)) if at != index]
        found = made.show(gone_but(made, *others))
        for reader in made.readers:
            whole = open_keys(reader, after, made.check())
            left = open_keys(reader, after, found)
            assert left == {a: key for a, key in whole.items() if a != part.address}
