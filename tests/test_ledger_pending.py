"""Re-encryptions that have begun and not ended: their ids, and what drops them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import Address, FieldClass
from protocol.errors import Conflict, OutOfOrder
from tests.test_ledger_commits import commit
from tests.test_ledger_data import Filled, epochs_of, replacing
from tests.world import of_class, of_field

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE


@pytest.fixture
def moving() -> Filled:
    """A vault whose fields have a second epoch."""
    world = Filled()
    world.epochs(world.owner, (world.data, 0), (world.data, 1))
    return world


# --- upload ids


def test_a_re_encryption_is_its_author_s_and_for_one_collection(moving: Filled) -> None:
    admin = moving.member(Role.ADMIN, (of_class(GENERAL), of_class(CORE)))
    other = moving.collection(CORE)
    moving.commit(moving.owner, other, moving.records(other))
    first, second = moving.moves(moving.data, 0)
    moving.land(moving.owner, moving.part(first, last=False))
    with pytest.raises(Conflict, match="another's"):
        moving.judge(admin, moving.part(second, part=1))
    elsewhere = acts.Reencrypt(b"r" * 16, other, 1, True, moving.moves(other, 0))
    with pytest.raises(Conflict, match="another's"):
        moving.judge(moving.owner, elsewhere)
    for part in (0, 2):
        with pytest.raises(OutOfOrder, match="next part of that upload is 1"):
            moving.judge(moving.owner, moving.part(second, part=part))
    with pytest.raises(OutOfOrder, match="next part of that upload is 0"):
        moving.judge(moving.owner, moving.part(second, part=1, upload=b"n" * 16))
    moving.land(moving.owner, moving.part(second, part=1))
    with pytest.raises(Conflict, match="committed before"):
        moving.judge(moving.owner, moving.part(first))


def test_commits_and_re_encryptions_share_no_upload_id(moving: Filled) -> None:
    (move, *_) = moving.moves(moving.data, 0)
    moving.land(moving.owner, moving.part(move, last=False, upload=b"r" * 16))
    row = moving.records(moving.data)
    moving.land(moving.owner, commit(moving.data, row, upload=b"c" * 16, last=False))
    for part in (0, 1):
        again = commit(moving.data, moving.records(moving.data), upload=b"r" * 16, part=part)
        with pytest.raises(Conflict, match="re-encryption's"):
            moving.judge(moving.owner, again)
        with pytest.raises(Conflict, match="commit's"):
            moving.judge(moving.owner, moving.part(move, part=part, upload=b"c" * 16))
    with pytest.raises(Conflict, match="re-encryption's"):
        moving.judge(moving.owner, replacing(moving, 0, upload=b"r" * 16))


# --- what drops a pending re-encryption


def drop_by_taint(world: Filled, admin: Identity) -> None:
    bidder = world.member(Role.BIDDER, (of_field(world.data, 0),))
    world.remove(bidder)


def drop_by_retiring_its_epoch(world: Filled, admin: Identity) -> None:
    world.epochs(world.owner, (world.data, 0))
    world.retire(world.owner, Address(world.data, 0, 2))


def drop_by_retiring_the_collection(world: Filled, admin: Identity) -> None:
    world.land(world.owner, acts.RetireCollection(world.data, Reason.RETENTION))


def drop_by_removing_its_author(world: Filled, admin: Identity) -> None:
    world.remove(admin)


def drop_by_a_new_identity_of_its_author(world: Filled, admin: Identity) -> None:
    world.rotate(admin)


def drop_by_a_role_that_writes_no_data(world: Filled, admin: Identity) -> None:
    world.land(world.owner, acts.ChangeRole(admin.member_id, Role.BIDDER))


def drop_by_an_offer(world: Filled, admin: Identity) -> None:
    world.offer(world.member())


def drop_by_the_end_of_all(world: Filled, admin: Identity) -> None:
    world.land(world.owner, acts.Destroy(Reason.OTHER))


DROPS = [value for name, value in list(globals().items()) if name.startswith("drop_by")]


@pytest.mark.threat("W5")
@pytest.mark.parametrize("drop", DROPS, ids=lambda each: each.__name__)
def test_what_would_move_blocks_to_lost_keys_is_dropped(
    moving: Filled, drop: Callable[[Filled, Identity], None]
) -> None:
    admin = moving.member(Role.ADMIN, (of_class(GENERAL), of_class(CORE)))
    (move, *_) = moving.moves(moving.data, 0)
    moving.land(admin, moving.part(move, last=False))
    assert set(moving.state.pending) == {b"r" * 16}
    drop(moving, admin)
    assert set(moving.state.pending) == set()
    assert b"r" * 16 not in moving.state.uploads


def test_what_does_not_concern_a_re_encryption_leaves_it_alone(moving: Filled) -> None:
    admin = moving.member(Role.ADMIN, (of_class(GENERAL), of_class(CORE)))
    reader = moving.member(Role.BIDDER, (of_field(moving.data, 1),))
    newcomer = moving.member()
    zero = moving.moves(moving.data, 0)
    moving.land(admin, moving.part(zero[0], last=False))
    moving.remove(reader)
    moving.land(moving.owner, acts.Grant(newcomer.member_id, (of_class(GENERAL),)))
    moving.rotate(moving.member())
    moving.epochs(moving.owner, (moving.data, 0), (moving.data, 1))
    moving.commit(admin, moving.data, moving.records(moving.data))
    moving.land(moving.owner, acts.Freeze(Reason.OTHER))
    with pytest.raises(OutOfOrder, match="frozen"):
        moving.judge(admin, moving.part(zero[1], part=1))
    moving.land(moving.owner, acts.Unfreeze())
    moving.land(admin, moving.part(zero[1], part=1))
    assert epochs_of(moving, 0) == [2, 2, 3]


def test_a_dropped_re_encryption_begins_again_with_its_first_part(moving: Filled) -> None:
    first, second = moving.moves(moving.data, 0)
    moving.land(moving.owner, moving.part(first, last=False))
    drop_by_taint(moving, moving.owner)
    moving.epochs(moving.owner, (moving.data, 0))
    first, second = moving.moves(moving.data, 0)
    with pytest.raises(OutOfOrder, match="next part of that upload is 0"):
        moving.judge(moving.owner, moving.part(second, part=1))
    moving.land(moving.owner, moving.part(first, second))
    assert epochs_of(moving, 0) == [3, 3]
