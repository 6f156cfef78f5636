"""Every two acts that can meet, in both orders: a state in which all is well, or a refusal.

Both are signed on one state, so the second knows nothing of the first. Where that has it refused,
its author looks again and signs anew; it lands then, or is refused for good. Whatever comes of
it, nothing that was readable is lost, nothing that was erased comes back, and nobody reads on who
was to stop.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import FieldClass
from protocol.errors import ManifestMismatch, NotAuthorised, OutOfOrder, Replay
from protocol.ledger.contents import PendingMoves
from protocol.ledger.transitions import TRANSITIONS
from tests.meeting import (
    DOINGS,
    Meeting,
    Signed,
    a_commit,
    a_replacement,
    an_erasure,
    assert_sound,
    land,
    moving,
    signed,
)
from tests.world import of_class

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE
SPEC = Path(__file__).resolve().parent.parent / "protocol" / "SPEC.md"


# --- all pairs


PHASES = ("open", "offered", "frozen", "frozen offer")


@cache
def scene(phase: str) -> Meeting:
    world = Meeting()
    if "offer" in phase:
        world.offer(world.buyer)
    if "frozen" in phase:
        world.land(world.owner, acts.Freeze(Reason.OTHER))
    return world


@cache
def first_of(phase: str, kind: str) -> Signed:
    """One act of a kind, signed on the state in which both begin; there it lands."""
    world = scene(phase)
    return signed(world, kind, DOINGS[kind].who(world))


def may_land(kind: str, phase: str) -> bool:
    """Whether the table has the kind in this phase, and here it says something."""
    allowed = {each.value for each in TRANSITIONS[acts.KINDS[kind]].phases}
    return phase in allowed


PAIRS = [
    pytest.param(phase, one, other, id=f"{phase}: {one}, {other}")
    for phase in PHASES
    for one, other in itertools.product(
        [kind for kind in DOINGS if may_land(kind, phase)], repeat=2
    )
]


def test_there_is_an_act_of_every_kind() -> None:
    assert {*DOINGS, "genesis"} == set(acts.KINDS)
    assert len(PAIRS) > 900


@pytest.mark.threat("W5")
@pytest.mark.threat("W6")
@pytest.mark.parametrize(("phase", "one", "other"), PAIRS)
def test_two_acts_that_meet_leave_all_well_or_one_is_refused(
    phase: str, one: str, other: str
) -> None:
    world = scene(phase).copied()
    before = world.state
    second = _second(phase, one, other)
    land(world, first_of(phase, one))
    assert_sound(world, before)
    between = world.state
    try:
        land(world, second)
    except REFUSALS:
        assert world.state is between, "a refusal changes nothing"
        _try_again(world, other)
    assert_sound(world, before)
    assert_sound(world, between)


# What the second may be told; anything else would be somebody's lie, or a mistake of ours.
REFUSALS = (OutOfOrder, Replay, NotAuthorised, ManifestMismatch)


def _second(phase: str, one: str, other: str) -> Signed:
    """The second act, by somebody else than the first where somebody else may."""
    world = scene(phase)
    author, first = DOINGS[other].who(world), DOINGS[one].who(world)
    alone = ("release", "rotate-identity")
    owners = Role.OWNER in TRANSITIONS[acts.KINDS[other]].roles and other not in alone
    if author is first and author is not world.owner and owners:
        return signed(world, other, world.owner)
    return first_of(phase, other)


def _try_again(world: Meeting, kind: str) -> None:
    """Sign anew on what is there now; it lands, or is refused for good."""
    between = world.state
    try:
        land(world, signed(world, kind, DOINGS[kind].who(world)))
    except REFUSALS:
        assert world.state is between


# --- what meets a re-encryption: the table of SPEC section 9.10, row by row


def meanwhile(*payloads: Callable[[Meeting], tuple[Identity, acts.Payload]]) -> list[Meanwhile]:
    def lands(which: Callable[[Meeting], tuple[Identity, acts.Payload]]) -> Meanwhile:
        def play(world: Meeting) -> None:
            author, payload = which(world)
            readers = (*world.everybody, *world.former)
            world.land(author, payload, readers=[each for each in readers if each is not author])

        return play

    return [lands(each) for each in payloads]


Meanwhile = Callable[[Meeting], None]


def a_new_identity_of_a_holder(world: Meeting) -> None:
    world.newcomers.append(world.rotate(world.other))


def a_new_identity_of_its_author(world: Meeting) -> None:
    world.newcomers.append(world.rotate(world.admin))


def a_reader_that_was_never_one(world: Meeting) -> None:
    world.remove(world.auditor)


def the_next_epoch(world: Meeting) -> None:
    world.epochs(world.owner, (world.data, 0), readers=world.everybody)


def another_join(world: Meeting) -> None:
    world.newcomers.append(world.join(world.link))


def a_join_with_data(world: Meeting) -> None:
    world.newcomers.append(world.join(world.carrying))


def the_same_by_somebody_else(world: Meeting) -> None:
    moves = world.moves(world.data, 0, 1)
    world.land(world.other, acts.Reencrypt(b"o" * 16, world.data, 0, True, moves))


def an_offer(world: Meeting) -> None:
    world.offer(world.buyer)


ROWS: dict[str, list[Meanwhile]] = {
    "commit, replace": meanwhile(
        lambda w: (w.other, a_commit(w)),
        lambda w: (w.owner, a_replacement(w)),
    ),
    "erase of a record that it has sealed anew": meanwhile(lambda w: (w.other, an_erasure(w))),
    (
        "revoke or rotation of somebody who holds the new epoch; a withdrawal or change of role"
        " that takes it, if it is of data; the end of an invite that carries it, by a join too"
    ): [
        *meanwhile(
            lambda w: (w.owner, acts.Revoke(w.reader.member_id, Reason.LEFT)),
            lambda w: (w.owner, acts.WithdrawGrant(w.reader.member_id, (of_class(CORE),))),
            lambda w: (w.owner, acts.ChangeRole(w.reader.member_id, Role.AUDITOR)),
            lambda w: (w.owner, acts.WithdrawInvite(w.carrying.member_id)),
        ),
        a_new_identity_of_a_holder,
        a_join_with_data,
    ],
    "revoke of somebody who does not hold it": [a_reader_that_was_never_one],
    "grant, confirm, any other join": [
        *meanwhile(
            lambda w: (w.owner, acts.Grant(w.buyer.member_id, (of_class(CORE),))),
            lambda w: (w.owner, acts.Confirm(w.waiting.member_id)),
        ),
        another_join,
    ],
    "create-epoch of the same field": [the_next_epoch],
    "re-encryption of the same blocks by somebody else": [the_same_by_somebody_else],
    "offer": [an_offer],
    "freeze": meanwhile(lambda w: (w.other, acts.Freeze(Reason.OTHER))),
    "retire-collection, destroy": meanwhile(
        lambda w: (w.owner, acts.RetireCollection(w.data, Reason.RETENTION)),
        lambda w: (w.owner, acts.Destroy(Reason.RETENTION)),
    ),
    "rotate-identity of its author": [a_new_identity_of_its_author],
    "revoke of its author, or a role other than admin for it": meanwhile(
        lambda w: (w.owner, acts.Revoke(w.admin.member_id, Reason.LEFT)),
        lambda w: (w.owner, acts.ChangeRole(w.admin.member_id, Role.KEYLESS_ADMIN)),
    ),
}


def spec_rows() -> dict[str, str]:
    """What the specification says of each row: what lands, and what then becomes of the rest."""
    table = (
        SPEC.read_text(encoding="utf-8").partition("| lands meanwhile |")[2].partition("\n\n")[0]
    )
    lines = [line.strip("|").split(" | ") for line in table.splitlines()[2:]]
    return {cells[0].strip(): cells[1].strip() for cells in lines}


def test_every_row_is_played_and_no_other() -> None:
    assert list(ROWS) == list(spec_rows())


@cache
def half_moved() -> Meeting:
    """The admin has sealed all records anew, and signed the first part of it."""
    world = Meeting(policy=replace(acts.DEFAULT_POLICY, invite_data=True))
    world.carrying = world.invite(world.owner, rules=(of_class(CORE),), carries_data=True)[1]
    world.made = world.moves(world.data, 1, 0)
    world.land(world.admin, moving(world, *world.made[:2], last=False))
    return world


@pytest.mark.threat("W5")
@pytest.mark.parametrize(
    ("row", "number"),
    [(row, number) for row, played in ROWS.items() for number in range(len(played))],
)
def test_what_meets_a_re_encryption_is_as_the_specification_says(row: str, number: int) -> None:
    world, said = half_moved().copied(), spec_rows()[row]
    before = world.state
    ROWS[row][number](world)
    if said.startswith("is dropped") or said.startswith("is gone"):
        assert b"r" * 16 not in world.state.pending
        assert refused(world)
    elif said.startswith("its next part is refused"):
        assert isinstance(world.state.pending[b"r" * 16], PendingMoves)
        assert refused(world)
        world.land(world.owner, acts.Unfreeze())
        assert the_rest_moves(world) == 4
    elif said.startswith("whoever lands first wins"):
        assert the_rest_moves(world) == 0
    else:
        assert said.startswith("goes on")
        changed = row.startswith("erase") or (row.startswith("commit") and number == 1)
        assert the_rest_moves(world) == (2 if changed else 4)
    if row == "rotate-identity of its author" or row.startswith("revoke of its author"):
        world.former = (*world.former, world.admin)
    assert_sound(world, before)


def lying(world: Meeting) -> dict[bytes, int]:
    """The hash of each block of records, and the epoch that it lies under."""
    where = world.state.collections.get(world.data)
    found = () if where is None else (*where.blocks(0), *where.blocks(1))
    return {ref.sha256: ref.epoch for _, ref in found}


def refused(world: Meeting) -> bool:
    """Whether the last part is refused, and nothing has moved."""
    with pytest.raises((OutOfOrder, NotAuthorised)):
        world.judge(world.admin, moving(world, *world.made[2:], part=1))
    return all(epoch == 1 for epoch in lying(world).values())


def the_rest_moves(world: Meeting) -> int:
    """Land the last part; return how many blocks moved: those that started from what was there."""
    current = lying(world)
    world.land(world.admin, moving(world, *world.made[2:], part=1))
    moved = {move.block.sha256 for move in world.made} & lying(world).keys()
    assert moved == {move.block.sha256 for move in world.made if move.before in current}
    return len(moved)


def test_what_is_to_come_is_refused_where_it_would_move_to_a_tainted_key() -> None:
    """What has landed moves elsewhere, and waits for another last part."""
    world = half_moved().copied()
    world.land(world.owner, acts.Revoke(world.buyer.member_id, Reason.LEFT))
    assert isinstance(world.state.pending[b"r" * 16], PendingMoves)
    assert refused(world)
    the_next_epoch(world)
    rest = moving(world, *world.moves(world.data, 0), part=1)
    world.land(world.admin, rest)
    assert sorted(lying(world).values()) == [2, 2, 3, 3]
