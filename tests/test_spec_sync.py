"""A client's obligations when it syncs (SPEC section 10.5), against a server that lies.

The log is that of the vectors; the liar has the real checkpoint key, as the real liar would.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import pytest
from nacl.signing import SigningKey

from client.crypto.identity import Identity
from client.crypto.secrets import Seed
from client.observing import observations
from client.session import Session
from client.store import VaultStore
from client.trust import Believed
from protocol import api
from protocol.api import LogLeaf, LogPage, LogPart, Observation, ObservationsPage
from protocol.checkpoint import Checkpoint, signed_message
from protocol.errors import (
    ContextMismatch,
    Fork,
    IntegrityError,
    ManifestMismatch,
    NotAuthorised,
    Rollback,
    SealroomError,
    Stale,
)
from protocol.merkle import Tree, leaf_hash
from tests.fixed_draws import flipped
from tests.make_vectors import FOLDER
from tests.world import NOW

FOUND = json.loads((FOLDER / "ledger.json").read_text(encoding="ascii"))
VAULT_ID = bytes.fromhex(FOUND["vault_id"])
SERVER = SigningKey(bytes.fromhex(FOUND["server_seed"]))
# The bidder of that vault owns it here, and has retired what the seller had keys of.
SIZE = FOUND["gone"]["size"]
STEPS = [
    LogLeaf(
        bytes.fromhex(case["leaf"]),
        tuple(LogPart(bytes.fromhex(part), None) for part in case["sides"]),
    )
    for case in FOUND["steps"][:SIZE]
]
GONE = [(index, number) for index, number in FOUND["gone"]["parts"]]
WITH_SIDES = next(i for i, step in enumerate(STEPS) if step.sides)


@dataclass
class Served:
    """A server in memory that shows what it is told to show."""

    leaves: Sequence[LogLeaf] = field(default_factory=lambda: list(STEPS))
    vault_id: bytes = VAULT_ID
    size: int | None = None
    time: int = NOW
    root: bytes | None = None
    observed: tuple[Observation, ...] = ()

    @property
    def tree(self) -> Tree:
        return Tree(leaf_hash(each.leaf) for each in self.leaves)

    def note(self) -> bytes:
        tree = self.tree
        size = tree.size if self.size is None else self.size
        root = self.root or tree.root(min(size, tree.size))
        message = signed_message(self.vault_id, size, root, self.time)
        signature, key = SERVER.sign(message).signature, bytes(SERVER.verify_key)
        given = (self.vault_id, size, root, self.time, signature, key)
        return Checkpoint.verified(*given).note()

    async def log_page(self, vault_id: bytes, start: int) -> LogPage:
        # Small pages, so that there are several.
        return LogPage(start, tuple(self.leaves[start : start + 5]), self.note())

    async def consistency(self, vault_id: bytes, old: int, new: int) -> tuple[bytes, ...]:
        return self.tree.consistency_proof(old, new)

    async def observations(self, vault_id: bytes, start: int) -> ObservationsPage:
        return ObservationsPage(tuple(each for each in self.observed if each.index >= start))

    async def server_info(self) -> NoReturn:
        raise AssertionError

    async def create_vault(self, request: api.CreateVault) -> NoReturn:
        raise AssertionError

    async def submit(self, vault_id: bytes, act: api.SubmitAct) -> NoReturn:
        raise AssertionError

    async def staged(self, vault_id: bytes, upload: bytes) -> NoReturn:
        raise AssertionError

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> NoReturn:
        raise AssertionError

    async def stage_several(
        self, vault_id: bytes, upload: bytes, bodies: Sequence[bytes]
    ) -> NoReturn:
        raise AssertionError

    def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        raise AssertionError

    async def close(self) -> None:
        pass


READER = bytes(32)
"""Whoever reads with a link, say: nobody to whom the log ends before its end."""


def member() -> Identity:
    return Identity(Seed(bytes.fromhex(FOUND["seeds"]["bidder"])))


class Client:
    """A client with a home in memory."""

    def __init__(self, vault_id: bytes = VAULT_ID) -> None:
        self.store = VaultStore(None)
        self.believed = Believed(vault_id, self.store, member())

    async def sync(self, served: Served, now: float = NOW) -> None:
        await self.believed.sync(served, now, READER)

    def kept(self) -> Any:
        return (
            list(self.store.leaves()),
            self.store.pinned_note(),
            self.store.wraps(),
            self.believed.ledger.size,
        )

    async def refuses(self, served: Served, error: type[SealroomError], now: float = NOW) -> str:
        """Sync, be refused, and have changed nothing."""
        before = self.kept()
        with pytest.raises(error) as caught:
            await self.sync(served, now)
        assert type(caught.value) is error
        assert self.kept() == before
        await self.sync(Served())  # the honest control
        return str(caught.value)


async def synced(size: int) -> Client:
    client = Client()
    await client.sync(Served(STEPS[:size]))
    return client


async def test_an_honest_server_is_believed() -> None:
    client = await synced(4)
    await client.sync(Served())
    assert client.believed.state.size == len(STEPS)
    assert client.believed.pin.size == len(STEPS)
    again = Believed(VAULT_ID, client.store, member())
    assert again.state == client.believed.state


async def test_another_vault_s_log_is_refused() -> None:
    other = Client(bytes(32))
    with pytest.raises(ContextMismatch):
        await other.sync(Served(vault_id=bytes(32)))
    assert other.store.pinned_note() is None
    await Client().refuses(Served(vault_id=bytes(32)), ContextMismatch)


async def test_a_smaller_tree_is_a_rollback() -> None:
    await (await synced(9)).refuses(Served(STEPS[:8]), Rollback)
    await Client().refuses(Served([]), Rollback)


@pytest.mark.parametrize("seconds", [301, -301])
async def test_a_checkpoint_has_to_be_recent(seconds: int) -> None:
    await (await synced(4)).refuses(Served(time=NOW + seconds), Stale)
    await Client().sync(Served(time=NOW + seconds - seconds // 301))


async def test_a_rewritten_past_is_a_fork() -> None:
    client = await synced(7)
    other = [*STEPS[:5], LogLeaf(b"\x02" + bytes(32), ()), *STEPS[6:]]
    before = client.kept()
    with pytest.raises(Fork) as caught:
        await client.sync(Served(other))
    assert caught.value.pinned == before[1]
    assert caught.value.shown == Served(other).note()
    await client.refuses(Served(other), Fork)
    await (await synced(7)).refuses(Served(other[:7]), Fork)


async def test_a_refused_leaf_in_the_log_is_named() -> None:
    case = next(c for c in FOUND["refused"] if c["name"] == "a-grant-that-saw-too-little")
    wrong = LogLeaf(bytes.fromhex(case["leaf"]), ())
    said = await (await synced(4)).refuses(Served([*STEPS[: case["after"]], wrong]), NotAuthorised)
    assert f"leaf {case['after']}" in said


def changed(part: LogPart) -> LogPart:
    return LogPart(flipped(part.content or b"", 60), None)


@pytest.mark.parametrize(
    ("sides", "error"),
    [
        (lambda sides: (), ContextMismatch),
        (lambda sides: sides[:-1], ContextMismatch),
        (lambda sides: sides[::-1], ContextMismatch),
        (lambda sides: (*sides, sides[-1]), ContextMismatch),
        (lambda sides: (changed(sides[0]), *sides[1:]), ContextMismatch),
    ],
)
async def test_sides_are_checked_again(sides: Any, error: type[SealroomError]) -> None:
    other = replace(STEPS[WITH_SIDES], sides=sides(STEPS[WITH_SIDES].sides))
    served = Served([*STEPS[:WITH_SIDES], other, *STEPS[WITH_SIDES + 1 :]])
    assert f"leaf {WITH_SIDES}" in await Client().refuses(served, error)


async def test_sides_beside_what_has_none_are_refused() -> None:
    for at in (0, FOUND["observation"]["index"]):
        more = replace(STEPS[at], sides=(LogPart(b"more", None),))
        await Client().refuses(Served([*STEPS[:at], more, *STEPS[at + 1 :]]), NotAuthorised)


def without(*gone: tuple[int, int], steps: Sequence[LogLeaf] = STEPS) -> list[LogLeaf]:
    """Return the log with only the hashes of these parts left."""
    left = list(steps)
    for index, number in gone:
        sides = list(left[index].sides)
        sides[number] = LogPart(None, leaf_hash(sides[number].content or b""))
        left[index] = replace(left[index], sides=tuple(sides))
    return left


async def test_a_part_is_missing_only_of_what_was_retired() -> None:
    """Whichever it is: the server deletes what it may, and withholds nothing that is in use."""
    client, whole = Client(), await synced(SIZE)
    await client.sync(Served(without(*GONE)))
    assert client.believed.state == whole.believed.state
    assert client.believed.wraps == whole.believed.wraps
    every = [(i, n) for i, step in enumerate(STEPS) for n in range(len(step.sides))]
    live = [each for each in every if each not in GONE]
    assert (len(live) > 4, len(GONE) > 10) == (True, True)
    for part in live:
        said = await Client().refuses(Served(without(*GONE, part)), NotAuthorised)
        assert "withholds keys" in said
        assert f"leaf {part[0]} " in said
    # The same parts, before their epochs were retired.
    await Client().refuses(Served(without(*GONE, steps=STEPS[:-1])), NotAuthorised)


async def test_a_client_that_saw_a_part_needs_it_no_more_once_it_is_gone() -> None:
    client = await synced(SIZE - 1)
    await client.sync(Served(without(*GONE)))
    assert client.believed.wraps == (await synced(SIZE)).believed.wraps


async def test_of_what_is_gone_the_hash_is_the_signed_one() -> None:
    index, number = GONE[0]
    shown = without(*GONE)
    sides = list(shown[index].sides)
    for wrong in (bytes(32), sides[number - 1].digest):
        sides[number] = LogPart(None, wrong)
        shown[index] = replace(shown[index], sides=tuple(sides))
        assert f"leaf {index}" in await Client().refuses(Served(shown), ContextMismatch)


async def test_withheld_leaves_are_noticed() -> None:
    tree = Served().tree
    await Client().refuses(Served(STEPS[:-1], size=tree.size, root=tree.root()), Rollback)


async def test_leaves_of_another_root_are_refused() -> None:
    await Client().refuses(Served(root=bytes(32)), IntegrityError)


# --- observations


def observation() -> Observation:
    case = FOUND["observation"]
    return Observation(case["index"], bytes.fromhex(case["salt"]), bytes.fromhex(case["envelope"]))


async def observed(*shown: Observation) -> Any:
    served = Served(observed=shown)
    client = Client()
    await client.sync(served)
    session = Session(member(), client.believed, client.store, served, lambda: NOW)
    return await observations(session)


async def test_observations_are_those_of_the_log() -> None:
    honest = observation()
    (seen,) = await observed(honest)
    known = {m["id"] for m in FOUND["steps"][SIZE - 1]["state"]["members"]}
    assert seen.body.member.hex() in known
    with pytest.raises(ManifestMismatch):
        await observed()
    with pytest.raises(ManifestMismatch):
        await observed(replace(honest, index=honest.index + 1))
    with pytest.raises(IntegrityError):
        await observed(replace(honest, salt=bytes(32)))
    with pytest.raises(IntegrityError):
        await observed(replace(honest, envelope=honest.envelope[:-1] + b"\x00"))
