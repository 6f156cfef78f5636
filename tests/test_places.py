"""Places for large bodies: how many there are, whose they are, and who comes next."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.places import PLACES_PER_MEMBER, Places

PLACES = 8
ENOUGH_TURNS = 5
"""How often the loop has to go round until whoever was called is in."""


class Room:
    """Everybody who came to some places, in order, and who of them is in."""

    def __init__(self, most: int = PLACES) -> None:
        self.places = Places(most)
        self.inside: list[str] = []
        self.came: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def come(self, *names: str) -> None:
        """Let some come: a letter for the vault, one for the member, and whatever else."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self.came[name] = asyncio.create_task(self._stay(name))
            await settled()

    async def go(self, *names: str) -> None:
        """Let some go who are in."""
        for name in names:
            self._ends[name].set()
            await settled()

    async def give_up(self, *names: str) -> None:
        """Have some cut off, wherever they are."""
        for name in names:
            self.came[name].cancel()
            with suppress(asyncio.CancelledError):
                await self.came[name]
        await settled()

    async def _stay(self, name: str) -> None:
        async with self.places.one(name[0].encode(), name[:2].encode()):
            self.inside.append(name)
            try:
                await self._ends[name].wait()
            finally:
                self.inside.remove(name)


async def settled() -> None:
    for _ in range(ENOUGH_TURNS):
        await asyncio.sleep(0)


def of(vault: str, *members: str, each: int = PLACES) -> list[str]:
    return [f"{vault}{member}{number}" for number in range(each) for member in members]


@pytest.mark.threat("D5")
async def test_one_vault_leaves_half_of_the_places_and_two_a_quarter() -> None:
    room = Room()
    await room.come(*of("A", "1", "2", "3"))
    assert len(room.inside) == 4
    await room.come(*of("B", "1", "2", "3"))
    assert [name[0] for name in room.inside] == [*"AAAABB"]
    await room.come("C1")
    assert room.inside[-1] == "C1"


@pytest.mark.threat("D5")
async def test_it_takes_four_vaults_to_leave_none_of_eight() -> None:
    room = Room()
    for vault in "ABCDE":
        await room.come(*of(vault, "1", "2"))
    assert "".join(sorted(name[0] for name in room.inside)) == "AAAABBCD"


@pytest.mark.threat("D5")
async def test_a_queue_of_one_vault_keeps_another_waiting_for_one_turn_at_most() -> None:
    room = Room(most=1)
    await room.come(*of("A", "1", each=50), "B1")
    await room.go("A10")
    await room.go("A11")
    assert room.inside == ["B1"]
    # nor do those who come anew each time overtake whoever was served before
    await room.come("B2")
    await room.go("B1")
    assert room.inside == ["A12"]
    # nor does one member's queue keep the others of its vault
    await room.come("A2")
    await room.go("A12", "B2")
    assert room.inside == ["A13"]
    await room.go("A13")
    assert room.inside == ["A2"]


@pytest.mark.threat("D5")
async def test_a_member_leaves_places_to_the_others_of_its_vault() -> None:
    room = Room()
    await room.come(*of("A", "1"))
    assert len(room.inside) == PLACES_PER_MEMBER
    await room.come("A2")
    assert room.inside[-1] == "A2"


async def test_whoever_has_fewest_is_next_and_of_equals_whose_turn_is_longest_ago() -> None:
    room = Room(most=2)
    await room.come("A1a", "B1a", "A1b", "A2a", "B1b", "C1a", "C1b")
    assert room.inside == ["A1a", "B1a"]
    # A and B had their turns before C came; then it is C's, and never anybody's twice
    await room.go("A1a")
    assert room.inside == ["B1a", "A1b"]
    await room.go("B1a")
    assert room.inside == ["A1b", "B1b"]
    await room.go("A1b")
    assert room.inside == ["B1b", "C1a"]
    await room.go("B1b")
    assert room.inside == ["C1a", "A2a"]


async def test_the_only_place_is_had_by_one_after_the_other() -> None:
    room = Room(most=1)
    await room.come("A1a", "A1b", "B1")
    order = []
    for _ in range(3):
        order += room.inside
        await room.go(*room.inside)
    assert order == ["A1a", "A1b", "B1"]
    assert room.inside == []


async def test_whoever_gives_up_keeps_nobody_waiting() -> None:
    room = Room(most=1)
    await room.come("A1", "B1", "C1")
    await room.give_up("B1")
    await room.give_up("A1")
    assert room.inside == ["C1"]
    # also whoever is cut off just when it is called
    await room.come("D1", "E1")
    room._ends["C1"].set()
    while not room.came["C1"].done():
        await asyncio.sleep(0)
    await room.give_up("D1")
    assert room.inside == ["E1"]


@settings(max_examples=60, deadline=None)
@given(
    most=st.integers(1, 9),
    steps=st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("12"), st.booleans()),
                   max_size=40),
)  # fmt: skip
def test_nobody_waits_who_may_come_in_and_nobody_has_more_than_may_be(
    most: int, steps: list[tuple[str, str, bool]]
) -> None:
    async def play() -> None:
        room = Room(most)
        for number, (vault, member, stays) in enumerate(steps):
            await room.come(f"{vault}{member}{number}")
            if not stays and room.inside:
                await room.go(room.inside[number % len(room.inside)])
            free = most - len(room.inside)
            assert free >= 0
            for name, task in room.came.items():
                vaults = [each[0] for each in room.inside].count(name[0])
                members = [each[:2] for each in room.inside].count(name[:2])
                assert members <= PLACES_PER_MEMBER
                assert vaults <= (most + 1) // 2
                if name not in room.inside and not task.done():
                    assert vaults >= free or members == PLACES_PER_MEMBER
        await room.give_up(*(name for name, task in room.came.items() if not task.done()))
        assert room.places._free == most
        assert not room.places._taken
        assert not room.places._turns

    asyncio.run(play())
