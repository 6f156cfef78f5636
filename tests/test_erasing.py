"""Records that go for ever: which, by whom, and what is left of them (SPEC section 9.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import erasing
from client.erasing import positions_of
from client.errors import InputError, Refused
from client.results.progress import Progress
from client.vault import Vault
from protocol.acts import Erase, Reason, Role
from protocol.api import FetchBlocks
from protocol.blocks import BlockRef, Manifest, Padding
from protocol.errors import IntegrityError, ManifestMismatch
from protocol.ledger.contents import Batch, Collection
from protocol.limits import LIMITS
from tests.customers import GENERAL, TABLE, with_customers
from tests.deals import (
    Tampering,
    acts_since,
    commit_rubbish,
    honest,
    joined,
    through,
)
from tests.in_process import Lab

made = pytest.fixture(with_customers)


def without(*numbers: int) -> pa.Table:
    return TABLE.take([i for i in range(TABLE.num_rows) if i + 1 not in numbers])


def collection_of(vault: Vault) -> Collection:
    state = vault.session.state
    return next(each for each in state.collections.values() if each.classes)


# --- what goes


async def test_records_go_from_every_field_and_keep_their_numbers(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    done = await seller.erase("customers", [1, 20, 21, 50], reason=Reason.REQUEST)
    assert (done.records, done.already_gone, len(done.acts)) == (4, 0, 1)
    assert (await seller.read("customers")).equals(without(1, 20, 21, 50))
    again = await seller.erase("customers", [2, 21])
    assert (again.records, again.already_gone) == (1, 1)
    assert (await seller.read("customers")).equals(without(1, 2, 20, 21, 50))
    info = await seller.collection("customers")
    assert info.records == 45


async def test_all_readers_see_the_same(made: tuple[Lab, Vault]) -> None:
    lab, seller = made
    async with joined(lab, seller, "Bo", classes=[GENERAL]) as bo:
        assert (await bo.read("customers")).num_rows == 50
        await seller.erase("customers", [7])
        assert (await bo.read("customers")).equals(without(7).select(["name"]))
        assert (await bo.read("customers", limit=10)).equals(without(7).select(["name"])[:10])


async def test_a_file_has_exactly_what_is_left(made: tuple[Lab, Vault], tmp_path: Path) -> None:
    _, seller = made
    await seller.erase("customers", [*range(1, 21), 30])
    done = await seller.export("customers", path=tmp_path / "out.csv")
    assert done.records == 29
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 30


async def test_the_last_record_can_go_too(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    await seller.erase("customers", range(1, 51))
    assert (await seller.read("customers")).num_rows == 0
    await seller.rotate(reencrypt=True)
    assert (await seller.read("customers")).num_rows == 0


async def test_the_buyer_is_handed_what_is_left(made: tuple[Lab, Vault]) -> None:
    lab, seller = made
    await seller.erase("customers", [3, 4, *range(21, 41)])
    async with joined(lab, seller, "Bo") as bo:
        await seller.offer("Bo", yes=True)
        taken = await bo.accept(yes=True)
        assert (taken.records, taken.cells) == (28, 28 * 3)
        assert (await bo.read("customers")).equals(without(3, 4, *range(21, 41)))


# --- by whom


async def test_an_admin_without_keys_erases_and_reads_nothing(made: tuple[Lab, Vault]) -> None:
    lab, seller = made
    async with joined(lab, seller, "Kay", Role.KEYLESS_ADMIN) as kay:
        done = await kay.erase("customers", [5])
        assert done.records == 1
        with pytest.raises(Refused, match="reads no data"):
            await kay.read("customers")
    assert (await seller.read("customers")).equals(without(5))


@pytest.mark.parametrize("role", [Role.BIDDER, Role.AUDITOR])
async def test_others_may_not(made: tuple[Lab, Vault], role: Role) -> None:
    lab, seller = made
    async with joined(lab, seller, "Bo", role) as bo:
        size = seller.session.state.size
        with pytest.raises(Refused, match="may not do this"):
            await bo.erase("customers", [1])
        assert "erase" not in await acts_since(seller, size)


async def test_whoever_had_the_keys_and_lost_them_is_not_served_the_blocks(
    made: tuple[Lab, Vault],
) -> None:
    """A demoted admin may have kept them, and erasing needs the blocks."""
    lab, seller = made
    async with joined(lab, seller, "Ada", Role.ADMIN, [GENERAL]) as ada:
        await ada.read("customers")
        await seller.change_role("Ada", Role.KEYLESS_ADMIN)
        with pytest.raises(Refused, match="nothing here for this key"):
            await ada.erase("customers", [1])
    assert (await seller.read("customers")).equals(TABLE)


# --- which


@pytest.mark.parametrize("numbers", [[0], [51], [1, 51], [-1], [10**9]])
async def test_a_record_that_is_not_there_is_named_and_nothing_goes(
    made: tuple[Lab, Vault], numbers: Sequence[int]
) -> None:
    _, seller = made
    size = seller.session.state.size
    missing = next(each for each in numbers if not 1 <= each <= 50)
    with pytest.raises(InputError, match=f"no record {missing:,}: .* from 1 to 50"):
        await seller.erase("customers", numbers)
    assert await acts_since(seller, size) == []


def batch_of(number: int, records: int, *, catalog: bool = False) -> Batch:
    field = 0x8000 if catalog else 0
    ref = BlockRef(field, 1, bytes(16), 4 * records, bytes(32), Padding.UNIFORM)
    manifest = Manifest(number.to_bytes(16, "big"), records, (ref,))
    return Batch(manifest, bytes(16), 0, bytes(32))


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=8), st.data())
def test_numbers_are_those_of_the_order_of_reading(
    sizes: list[tuple[int, bool]], data: st.DataObject
) -> None:
    batches = [batch_of(i, size, catalog=catalog) for i, (size, catalog) in enumerate(sizes)]
    where = Collection(b"c" * 16, (GENERAL,), tuple(batches))
    order = [
        (batch.id, position)
        for batch in batches
        if not batch.manifest.is_catalog
        for position in range(batch.manifest.records)
    ]
    chosen = data.draw(st.sets(st.integers(1, len(order))) if order else st.just(set[int]()))
    found = positions_of(where, sorted(chosen))
    assert {(batch, p) for batch, gone in found.items() for p in gone} == {
        order[number - 1] for number in chosen
    }


# --- within the limits


async def test_a_large_erasure_is_several_acts_of_whole_batches(
    made: tuple[Lab, Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, seller = made
    largest = max(
        sum(ref.length for ref in batch.manifest.blocks) for batch in collection_of(seller).batches
    )
    monkeypatch.setattr(erasing, "LIMITS", replace(LIMITS, erase_bytes=largest))
    heard: list[Progress] = []
    done = await seller.erase("customers", range(1, 51, 2), on_progress=heard.append)
    assert len(done.acts) == 3
    assert done.records == 25
    assert [each.done for each in heard] == [10, 20, 25]
    for index in done.acts:
        act = seller.session.believed.acts[index]
        assert act is not None
        assert isinstance(act.payload, Erase)
        assert len(act.payload.erasures) == 1
    assert (await seller.read("customers")).equals(without(*range(1, 51, 2)))


def test_groups_keep_to_every_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = tuple(batch_of(i, 100) for i in range(10))
    where = Collection(b"c" * 16, (GENERAL,), batches)
    positions = {batch.id: frozenset(range(50)) for batch in batches}

    def sizes() -> list[int]:
        return [len(group) for group in erasing._groups(where, positions)]

    assert sizes() == [10]
    monkeypatch.setattr(erasing, "LIMITS", replace(LIMITS, act_batches=4))
    assert sizes() == [4, 4, 2]
    monkeypatch.setattr(erasing, "LIMITS", replace(LIMITS, erase_bytes=1_200))
    assert sizes() == [3, 3, 3, 1]
    monkeypatch.setattr(erasing, "LIMITS", LIMITS)
    monkeypatch.setattr(erasing, "ACT_ROOM", 700)
    assert sizes() == [2, 2, 2, 2, 2]


# --- what does not open, and what is a lie


async def test_rubbish_is_erased_whole(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    where = collection_of(seller).id
    await commit_rubbish(seller, where, 0x8001)
    done = await seller.erase("customers", unreadable=True, reason=Reason.BREACH)
    assert done.records == 1
    assert (await seller.erase("customers", unreadable=True)).records == 0
    assert (await seller.read("customers")).equals(TABLE)


async def test_from_a_block_that_is_none_only_everything_can_go(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    where = collection_of(seller).id
    await commit_rubbish(seller, where, 0x8001, records=3)
    (batch,) = (each for each in collection_of(seller).batches if each.manifest.records == 3)
    session = seller.session
    some = {batch.id: frozenset({1})}
    with pytest.raises(IntegrityError, match="no cells") as caught:
        await erasing.erase(session, where, some, Reason.OTHER, lambda _: None)
    assert "--unreadable" in (caught.value.hint or "")
    every = {batch.id: frozenset(range(3))}
    done = await erasing.erase(session, where, every, Reason.OTHER, lambda _: None)
    assert done.records == 3


async def test_another_block_than_the_committed_one_is_not_signed(made: tuple[Lab, Vault]) -> None:
    """Else a server could have an eraser put its name to a neighbour's changed cell."""
    _, seller = made

    def tamper(_: FetchBlocks, blocks: list[bytes]) -> list[bytes]:
        return [blocks[0][:-1] + bytes([blocks[0][-1] ^ 1]), *blocks[1:]]

    size = seller.session.state.size
    with (
        through(seller, Tampering(honest(seller), tamper)),
        pytest.raises(ManifestMismatch),
    ):
        await seller.erase("customers", [1])
    assert await acts_since(seller, size) == []
    assert (await seller.read("customers")).equals(TABLE)


async def test_an_erased_collection_that_is_retired_meanwhile(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    where = collection_of(seller).id
    await seller.retire_collection("customers")
    with pytest.raises(Refused, match="retired"):
        await erasing.erase(
            seller.session, where, {bytes(16): frozenset({0})}, Reason.OTHER, lambda _: None
        )
    with pytest.raises(InputError, match="no collection"):
        await seller.erase("customers", [1])
