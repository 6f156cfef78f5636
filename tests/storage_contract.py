"""The storage contract as tests; each engine's test file runs them against itself.

A subclass gives the fixture `engine`: something whose `open()` opens the one store anew, as
a restarted server would.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from protocol.errors import ApiMisuse, Conflict
from vault.storage.base import (
    AlreadyExists,
    Block,
    BlockKey,
    Effects,
    NotStaged,
    Publish,
    Relied,
    SidePart,
    SizeMoved,
    StagedBatch,
    Storage,
    StoredLeaf,
    ToStage,
    UnknownVault,
)

VAULT, OTHER = b"\x01" * 32, b"\x02" * 32
ANN, BOB = b"\xaa" * 32, b"\xbb" * 32
UPLOAD, SECOND = b"\x10" * 16, b"\x20" * 16
THIRD, FOURTH = b"\x30" * 16, b"\x40" * 16
BATCH, NEXT = b"\x77" * 16, b"\x88" * 16
ALL_BYTES = bytes(range(256))
NOW = 1_700_000_000
PAGE = 1 << 22


class Engine(Protocol):
    """One store that can be opened again and again, by one server at a time."""

    async def open(self) -> Storage: ...

    def on_disk(self) -> bytes:
        """Return all that the engine keeps in any of its files."""


def leaf(index: int, text: bytes = b"leaf", *parts: bytes) -> StoredLeaf:
    return StoredLeaf(index, text, tuple(SidePart.of(part) for part in parts))


def block(content: bytes, field: int = 0) -> Block:
    return field, hashlib.sha256(content).digest(), content


def key_of(content: bytes, field: int = 0, batch: bytes = BATCH) -> BlockKey:
    return BlockKey(batch, field, hashlib.sha256(content).digest())


async def stage(
    storage: Storage,
    batch: bytes = BATCH,
    *,
    vault: bytes = VAULT,
    upload: bytes = UPLOAD,
    member: bytes = ANN,
    manifest: bytes = b"manifest",
    blocks: tuple[Block, ...] = (block(b"block"),),
    now: int = NOW,
    under: bytes = b"",
    anew: bool = False,
) -> bool:
    one = ToStage(batch, manifest, blocks, under, anew)
    (is_new,) = await storage.stage_batches(vault, upload, member, [one], now)
    return is_new


async def is_shown(
    storage: Storage,
    content: bytes = b"block",
    field: int = 0,
    batch: bytes = BATCH,
    vault: bytes = VAULT,
) -> bool:
    """Say whether a block is read; if it is, then whole."""
    found = await storage.read_block(vault, key_of(content, field, batch))
    assert found in (None, content)
    return found is not None


def relied(*batches: bytes, upload: bytes = UPLOAD) -> Relied:
    """Return what an append relies on that lists batches as `stage` stages them."""
    digest = hashlib.sha256(b"manifest").digest()
    return Relied(upload, tuple((batch, digest) for batch in batches))


def publish(upload: bytes = UPLOAD, *batches: bytes) -> Effects:
    return Effects(publish=(Publish(upload, batches or (BATCH,)),))


class OnAnEngine:
    """Gives each test one vault in a store, and looks whether the store is sound afterwards."""

    @pytest.fixture
    async def storage(self, engine: Engine) -> AsyncIterator[Storage]:
        async with await engine.open() as storage:
            await storage.create_vault(VAULT, leaf(0, b"genesis"))
            yield storage
            await storage.check()


class StorageContract(OnAnEngine):
    # --- vaults and their logs

    async def test_a_new_vault_has_its_genesis_and_nothing_else(self, storage: Storage) -> None:
        assert await storage.vault_ids() == [VAULT]
        assert await storage.size(VAULT) == 1
        assert await storage.read_leaves(VAULT, 0, 10, PAGE) == [leaf(0, b"genesis")]

    async def test_creating_a_vault_twice_changes_nothing(self, storage: Storage) -> None:
        with pytest.raises(AlreadyExists):
            await storage.create_vault(VAULT, leaf(0, b"another"))
        assert await storage.read_leaves(VAULT, 0, 10, PAGE) == [leaf(0, b"genesis")]

    async def test_vaults_are_listed_ascending(self, storage: Storage) -> None:
        for first in (9, 4, 200):
            await storage.create_vault(bytes([first]) * 32, leaf(0))
        assert [vault[0] for vault in await storage.vault_ids()] == [1, 4, 9, 200]

    async def test_an_unknown_vault_is_named_as_such(self, storage: Storage) -> None:
        for call in (
            storage.size(OTHER),
            storage.append(OTHER, 0, [leaf(0)]),
            stage(storage, vault=OTHER),
        ):
            with pytest.raises(UnknownVault):
                await call
        assert await storage.read_leaves(OTHER, 0, 10, PAGE) == []
        assert await storage.staged(OTHER, UPLOAD) == []
        assert await storage.staged_bytes(OTHER) == 0
        assert not await is_shown(storage, vault=OTHER)
        assert await storage.vault_ids() == [VAULT]

    async def test_leaves_come_back_to_the_byte(self, storage: Storage) -> None:
        full = StoredLeaf(
            1, ALL_BYTES, (SidePart.of(ALL_BYTES), SidePart(b"\x05" * 32, b"")), ALL_BYTES
        )
        empty = StoredLeaf(2, b"", (SidePart(b"\x06" * 32, None),), b"")
        await storage.append(VAULT, 1, [full, empty])
        assert await storage.read_leaves(VAULT, 1, 10, PAGE) == [full, empty]
        assert await storage.size(VAULT) == 3

    async def test_append_is_compare_and_set(self, storage: Storage) -> None:
        await storage.append(VAULT, 1, [leaf(1, b"first")])
        for size in (0, 1, 3, 99):
            with pytest.raises(SizeMoved) as moved:
                await storage.append(VAULT, size, [leaf(size, b"late")])
            assert moved.value.actual == 2
        assert [found.leaf for found in await storage.read_leaves(VAULT, 0, 9, PAGE)] == [
            b"genesis",
            b"first",
        ]

    async def test_of_many_appends_at_one_size_one_lands(self, storage: Storage) -> None:
        answers = await asyncio.gather(
            *(storage.append(VAULT, 1, [leaf(1, bytes([n]))]) for n in range(40)),
            return_exceptions=True,
        )
        won = [n for n, answer in enumerate(answers) if answer is None]
        lost = [answer for answer in answers if isinstance(answer, SizeMoved)]
        assert len(won) == 1
        assert [error.actual for error in lost] == [2] * 39
        assert (await storage.read_leaves(VAULT, 1, 9, PAGE))[0].leaf == bytes(won)

    @pytest.mark.parametrize("leaves", [[], [leaf(0)], [leaf(2)], [leaf(1), leaf(3)]])
    async def test_leaves_must_run_on(self, storage: Storage, leaves: list[StoredLeaf]) -> None:
        with pytest.raises(ApiMisuse):
            await storage.append(VAULT, 1, leaves)
        with pytest.raises(ApiMisuse):
            await storage.create_vault(OTHER, leaf(1))
        assert await storage.size(VAULT) == 1
        assert await storage.vault_ids() == [VAULT]

    async def test_a_page_ends_at_its_limits_but_holds_one_leaf(self, storage: Storage) -> None:
        await storage.append(VAULT, 1, [leaf(n, b"x" * 60, b"y" * 40) for n in range(1, 11)])

        async def page(start: int, limit: int, max_bytes: int) -> list[int]:
            found = await storage.read_leaves(VAULT, start, limit, max_bytes)
            return [each.index for each in found]

        assert await page(1, 3, PAGE) == [1, 2, 3]
        assert await page(1, 99, 300) == [1, 2, 3]
        assert await page(1, 99, 299) == [1, 2]
        assert await page(5, 99, 1) == [5]
        assert await page(5, 0, 0) == [5]
        assert await page(10, 99, PAGE) == [10]
        assert await page(11, 99, PAGE) == []

    async def test_without_parts_a_page_is_light_and_keeps_digests(self, storage: Storage) -> None:
        await storage.append(VAULT, 1, [leaf(n, b"x", b"y" * 1000) for n in (1, 2)])
        found = await storage.read_leaves(VAULT, 1, 9, 10, with_parts=False)
        gone = SidePart(SidePart.of(b"y" * 1000).digest, None)
        assert found == [StoredLeaf(1, b"x", (gone,)), StoredLeaf(2, b"x", (gone,))]

    # --- effects

    async def test_a_commit_makes_all_its_batches_visible_at_once(self, storage: Storage) -> None:
        await stage(storage, BATCH, manifest=b"one", blocks=(block(b"c3", 3), block(b"", 4)))
        await stage(storage, NEXT, manifest=b"two", blocks=(block(b"d3", 3),))
        assert not await is_shown(storage, b"c3", 3)
        await storage.append(VAULT, 1, [leaf(1)], publish(UPLOAD, BATCH, NEXT))
        assert await is_shown(storage, b"c3", 3)
        assert await is_shown(storage, b"", 4)
        assert await is_shown(storage, b"d3", 3, NEXT)
        assert not await is_shown(storage, b"c3", 3, NEXT)
        assert not await is_shown(storage, b"c3", 4)
        assert not await is_shown(storage, b"c4", 3)
        assert await storage.staged(VAULT, UPLOAD) == []
        assert await storage.staged_bytes(VAULT) == 0

    async def test_an_append_that_cannot_publish_does_not_land(self, storage: Storage) -> None:
        await storage.append(VAULT, 1, [leaf(1, b"sides", b"part")])
        await stage(storage, BATCH)
        await stage(storage, NEXT, upload=SECOND)
        await stage(storage, b"\x99" * 16, upload=b"\x30" * 16)
        before = await storage.read_leaves(VAULT, 0, 9, PAGE)
        for broken in (
            Publish(SECOND, (NEXT, BATCH)),  # one is another upload's
            Publish(SECOND, (NEXT, b"\x01" * 16)),  # one is nobody's
            Publish(SECOND, ()),
            Publish(b"\x31" * 16, (BATCH,)),
        ):
            effects = Effects((Publish(UPLOAD, (BATCH,)), broken), (b"\x30" * 16,), ((1, 0),))
            with pytest.raises(NotStaged):
                await storage.append(VAULT, 2, [leaf(2)], effects)
        assert await storage.read_leaves(VAULT, 0, 9, PAGE) == before
        assert not await is_shown(storage)
        assert len(await storage.staged(VAULT, UPLOAD)) == 1
        assert len(await storage.staged(VAULT, b"\x30" * 16)) == 1

    async def test_an_append_relies_on_what_was_staged_as_it_was(self, storage: Storage) -> None:
        def digest(manifest: bytes) -> bytes:
            return hashlib.sha256(manifest).digest()

        def relying(upload: bytes, *manifests: tuple[bytes, bytes]) -> Effects:
            return Effects(relies=(Relied(upload, manifests),))

        await stage(storage, BATCH, manifest=b"one")
        await stage(storage, NEXT, manifest=b"two")
        await stage(storage, b"\x99" * 16, upload=SECOND, manifest=b"three")
        await storage.append(VAULT, 1, [leaf(1)], publish(SECOND, b"\x99" * 16))
        for broken in (
            relying(UPLOAD, (BATCH, digest(b"another"))),
            relying(UPLOAD, (BATCH, digest(b"one")), (NEXT, digest(b"one"))),
            relying(UPLOAD, (b"\x98" * 16, digest(b"one"))),
            relying(SECOND, (BATCH, digest(b"one"))),
            relying(SECOND, (b"\x99" * 16, digest(b"three"))),  # published
        ):
            with pytest.raises(NotStaged):
                await storage.append(VAULT, 2, [leaf(2)], broken)
        assert await storage.size(VAULT) == 2
        rightly = relying(UPLOAD, (NEXT, digest(b"two")), (BATCH, digest(b"one")))
        await storage.append(VAULT, 2, [leaf(2)], rightly)

    async def test_an_append_at_the_wrong_size_has_no_effects(self, storage: Storage) -> None:
        await storage.append(VAULT, 1, [leaf(1, b"sides", b"part")])
        await stage(storage, BATCH)
        await stage(storage, NEXT, upload=SECOND)
        effects = Effects((Publish(UPLOAD, (BATCH,)),), (SECOND,), ((1, 0),))
        with pytest.raises(SizeMoved):
            await storage.append(VAULT, 1, [leaf(1)], effects)
        assert not await is_shown(storage)
        assert len(await storage.staged(VAULT, SECOND)) == 1
        assert (await storage.read_leaves(VAULT, 1, 1, PAGE))[0].sides[0].content == b"part"

    async def test_a_committed_upload_is_closed_for_ever(self, storage: Storage) -> None:
        await stage(storage, BATCH)
        await stage(storage, NEXT)
        await storage.append(VAULT, 1, [leaf(1)], publish(UPLOAD, BATCH))
        for batch in (BATCH, NEXT, b"\x99" * 16):
            with pytest.raises(Conflict):
                await stage(storage, batch)
        with pytest.raises(NotStaged):
            await storage.append(VAULT, 2, [leaf(2)], publish(UPLOAD, BATCH))
        await storage.append(VAULT, 2, [leaf(2)], Effects(drop_uploads=(UPLOAD,)))
        assert await is_shown(storage)

    async def test_what_a_commit_leaves_out_is_gone(self, storage: Storage) -> None:
        await stage(storage, BATCH)
        await stage(storage, NEXT)
        await storage.append(VAULT, 1, [leaf(1)], publish(UPLOAD, BATCH))
        assert not await is_shown(storage, batch=NEXT)
        assert await stage(storage, NEXT, upload=SECOND) is True

    async def test_dropped_uploads_are_gone(self, storage: Storage) -> None:
        await stage(storage, BATCH)
        await stage(storage, NEXT, upload=SECOND)
        effects = Effects(drop_uploads=(UPLOAD, b"\x55" * 16))
        await storage.append(VAULT, 1, [leaf(1)], effects)
        assert await storage.staged(VAULT, UPLOAD) == []
        assert len(await storage.staged(VAULT, SECOND)) == 1
        with pytest.raises(NotStaged):
            await storage.append(VAULT, 2, [leaf(2)], publish(UPLOAD, BATCH))

    async def test_a_members_uploads_go_with_the_member(self, storage: Storage) -> None:
        await stage(storage, BATCH)
        await storage.append(VAULT, 1, [leaf(1)], publish(UPLOAD, BATCH))
        await stage(storage, NEXT, upload=SECOND)
        await stage(storage, b"\x99" * 16, upload=b"\x30" * 16, member=BOB)
        await storage.append(VAULT, 2, [leaf(2)], Effects(drop_members=(ANN,)))
        assert await storage.staged(VAULT, SECOND) == []
        assert len(await storage.staged(VAULT, b"\x30" * 16)) == 1
        assert await is_shown(storage)

    async def test_one_member_is_not_shown_anothers_upload(self, storage: Storage) -> None:
        await stage(storage)
        assert len(await storage.staged(VAULT, UPLOAD, ANN)) == 1
        assert await storage.staged(VAULT, UPLOAD, BOB) == []

    async def test_a_deleted_part_leaves_its_digest(self, storage: Storage) -> None:
        await storage.append(VAULT, 1, [leaf(1, b"a", b"p" * 90, b"q"), leaf(2, b"b", b"r")])
        effects = Effects(delete_parts=((1, 0), (7, 7)))
        for index in (3, 4):  # the second time it is gone already
            await storage.append(VAULT, index, [leaf(index)], effects)
            one, two = await storage.read_leaves(VAULT, 1, 2, 10)
            assert one.sides == (SidePart(SidePart.of(b"p" * 90).digest, None), SidePart.of(b"q"))
            assert two == leaf(2, b"b", b"r")

    # --- staging

    async def test_staging_is_idempotent(self, storage: Storage) -> None:
        assert await stage(storage, manifest=b"12345", blocks=(block(b"123"),)) is True
        assert await stage(storage, manifest=b"12345", blocks=(block(b"123"),)) is False
        digest = hashlib.sha256(b"12345").digest()
        assert await storage.staged(VAULT, UPLOAD) == [StagedBatch(BATCH, digest, 8)]

    async def test_a_batch_id_is_used_once(self, storage: Storage) -> None:
        await stage(storage)
        with pytest.raises(Conflict):
            await stage(storage, manifest=b"other")
        with pytest.raises(Conflict):
            await stage(storage, upload=SECOND)
        with pytest.raises(Conflict):
            await stage(storage, NEXT, member=BOB)
        assert await storage.staged(VAULT, SECOND) == []
        await storage.append(VAULT, 1, [leaf(1)], publish())
        with pytest.raises(Conflict):
            await stage(storage, upload=SECOND)

    async def test_a_field_has_one_block(self, storage: Storage) -> None:
        with pytest.raises(ApiMisuse):
            await stage(storage, blocks=(block(b"a", 1), block(b"b", 1)))
        assert await storage.staged(VAULT, UPLOAD) == []

    @pytest.mark.parametrize(
        "wrong", [{"batch": b"short"}, {"upload": b"short"}, {"member": b"short"}]
    )
    async def test_an_id_of_another_length_is_our_bug(
        self, storage: Storage, wrong: dict[str, bytes]
    ) -> None:
        with pytest.raises(ApiMisuse):
            await stage(storage, **wrong)  # type: ignore[arg-type]
        assert await storage.staged_bytes(VAULT) == 0

    async def test_concurrent_staging_loses_nothing(self, storage: Storage) -> None:
        names = [bytes([n]) * 16 for n in range(100)]
        twice = [stage(storage, name, manifest=name) for name in names + names]
        assert sum(await asyncio.gather(*twice)) == 100
        assert [found.batch_id for found in await storage.staged(VAULT, UPLOAD)] == names

    async def test_a_refused_write_does_not_harm_its_neighbours(self, storage: Storage) -> None:
        await stage(storage)
        answers = await asyncio.gather(
            *(
                stage(storage, manifest=b"other") if n % 2 else stage(storage, bytes([n]) * 16)
                for n in range(20)
            ),
            return_exceptions=True,
        )
        assert [answer is True for answer in answers] == [n % 2 == 0 for n in range(20)]
        assert all(isinstance(answer, Conflict) for answer in answers[1::2])
        assert len(await storage.staged(VAULT, UPLOAD)) == 11

    async def test_staged_bytes_are_counted_by_member(self, storage: Storage) -> None:
        await stage(storage, BATCH, manifest=b"12", blocks=(block(b"345"), block(b"6", 1)))
        await stage(storage, NEXT, upload=SECOND, member=BOB, manifest=b"1", blocks=())
        assert await storage.staged_bytes(VAULT, ANN) == 6
        assert await storage.staged_bytes(VAULT, BOB) == 1
        assert await storage.staged_bytes(VAULT) == 7
        await storage.append(VAULT, 1, [leaf(1)], publish())
        assert await storage.staged_bytes(VAULT, ANN) == 0
        assert await storage.staged_bytes(VAULT) == 1

    async def test_stale_uploads_expire_and_only_those(self, storage: Storage) -> None:
        await storage.create_vault(OTHER, leaf(0))
        await stage(storage, BATCH, now=100)
        await stage(storage, NEXT, upload=SECOND, now=100)
        await stage(storage, NEXT, upload=SECOND, now=200)  # a repetition is activity
        await stage(storage, NEXT, upload=SECOND, now=150)  # and a slow clock takes none away
        await stage(storage, BATCH, vault=OTHER, upload=SECOND, now=100)
        await stage(storage, b"\x99" * 16, upload=b"\x30" * 16, now=1)
        await storage.append(VAULT, 1, [leaf(1)], publish(b"\x30" * 16, b"\x99" * 16))
        assert await storage.expire_staged(100) == 0
        assert await storage.expire_staged(200) == 2
        assert await storage.expire_staged(200) == 0
        assert await storage.staged(VAULT, UPLOAD) == []
        assert await storage.staged(OTHER, SECOND) == []
        assert len(await storage.staged(VAULT, SECOND)) == 1
        assert await is_shown(storage, batch=b"\x99" * 16)
        assert await stage(storage, BATCH, manifest=b"anew") is True

    async def test_what_the_log_names_already_does_not_expire(self, storage: Storage) -> None:
        await storage.create_vault(OTHER, leaf(0))
        await stage(storage, BATCH, now=100)
        await stage(storage, NEXT, upload=SECOND, now=100)
        await stage(storage, BATCH, vault=OTHER, now=100)
        await storage.append(VAULT, 1, [leaf(1)], Effects(hold_uploads=(UPLOAD,)))
        assert await storage.expire_staged(200) == 2
        assert len(await storage.staged(VAULT, UPLOAD)) == 1
        assert await storage.staged(OTHER, UPLOAD) == []
        # It goes if it is dropped, which an upload that is gone does not mind.
        await storage.append(VAULT, 2, [leaf(2)], Effects(drop_uploads=(UPLOAD, SECOND)))
        assert await storage.staged(VAULT, UPLOAD) == []
        assert await storage.expire_staged(200) == 0

    async def test_it_is_known_under_what_that_is_staged_is_sealed(self, storage: Storage) -> None:
        await storage.create_vault(OTHER, leaf(0))
        assert await storage.staged_under(VAULT) == []
        await stage(storage, BATCH, under=b"one")
        await stage(storage, NEXT, under=b"one")
        await stage(storage, b"\x97" * 16, under=b"two")
        await stage(storage, b"\x98" * 16, upload=SECOND, under=b"two")
        await stage(storage, BATCH, vault=OTHER, under=b"elsewhere")
        every = [(UPLOAD, b"one"), (UPLOAD, b"two"), (SECOND, b"two")]
        assert await storage.staged_under(VAULT) == sorted(every)
        # What is published, or in the log already, is as it is.
        await storage.append(VAULT, 1, [leaf(1)], publish(SECOND, b"\x98" * 16))
        assert await storage.staged_under(VAULT) == sorted(every)[:2]
        await storage.append(VAULT, 2, [leaf(2)], Effects(relies=(relied(BATCH, NEXT),)))
        assert await storage.staged_under(VAULT) == [(UPLOAD, b"two")]
        # A published batch's blocks that were made anew are sealed under something else.
        batch = b"\x98" * 16
        new = (block(b"anew"),)
        await stage(storage, batch, upload=THIRD, under=b"three", blocks=new, anew=True)
        assert set(await storage.staged_under(VAULT)) == {(UPLOAD, b"two"), (THIRD, b"three")}
        other = (block(b"newer"),)
        await stage(
            storage, batch, upload=THIRD, manifest=b"m", under=b"four", blocks=other, anew=True
        )
        assert set(await storage.staged_under(VAULT)) == {(UPLOAD, b"two"), (THIRD, b"four")}

    async def test_what_is_sealed_under_something_goes_at_once(self, storage: Storage) -> None:
        await stage(storage, BATCH, under=b"one", blocks=(block(b"1"),))
        await stage(storage, NEXT, under=b"two", blocks=(block(b"2"),))
        await stage(storage, b"\x98" * 16, upload=SECOND, under=b"one", blocks=(block(b"3"),))
        await stage(storage, b"\x97" * 16, upload=THIRD, under=b"one", blocks=(block(b"4"),))
        await storage.append(VAULT, 1, [leaf(1)], publish(THIRD, b"\x97" * 16))
        await storage.append(VAULT, 2, [leaf(2)], Effects(relies=(relied(BATCH),)))
        drops = (UPLOAD, b"one"), (UPLOAD, b"two"), (THIRD, b"one"), (FOURTH, b"one")
        effects = Effects(drop_staged=drops)
        assert effects.deletes
        await storage.append(VAULT, 3, [leaf(3)], effects)
        # The log names the first already, the last is shown; and of the others one was meant.
        assert [each.batch_id for each in await storage.staged(VAULT, UPLOAD)] == [BATCH]
        assert len(await storage.staged(VAULT, SECOND)) == 1
        assert await is_shown(storage, b"4", batch=b"\x97" * 16)
        assert await storage.sweep(0) == 0
        assert await stage(storage, NEXT, upload=SECOND, blocks=(block(b"2"),)) is True

    async def test_nothing_is_held_that_is_not_staged(self, storage: Storage) -> None:
        await stage(storage, NEXT, upload=SECOND)
        await storage.append(VAULT, 1, [leaf(1)], publish(SECOND, NEXT))
        for gone in (UPLOAD, SECOND):
            with pytest.raises(NotStaged):
                await storage.append(VAULT, 2, [leaf(2)], Effects(hold_uploads=(gone,)))
        assert await storage.size(VAULT) == 2

    async def test_a_held_upload_is_shown_and_goes_with_its_member(self, storage: Storage) -> None:
        await stage(storage, BATCH)
        await stage(storage, NEXT, upload=SECOND, member=BOB)
        held = Effects(hold_uploads=(UPLOAD, SECOND))
        await storage.append(VAULT, 1, [leaf(1)], held)
        assert not await is_shown(storage)
        await storage.append(VAULT, 2, [leaf(2)], publish())
        assert await is_shown(storage)
        await storage.append(VAULT, 3, [leaf(3)], Effects(drop_members=(BOB,)))
        assert await storage.staged(VAULT, SECOND) == []

    async def test_a_batch_is_taken_back(self, storage: Storage) -> None:
        await stage(storage, BATCH)
        await stage(storage, NEXT)
        await storage.unstage(VAULT, UPLOAD, [BATCH])
        for vault, upload, batch in (
            (VAULT, UPLOAD, BATCH), (VAULT, SECOND, NEXT), (OTHER, UPLOAD, NEXT)
        ):  # fmt: skip
            await storage.unstage(vault, upload, [batch])
        assert [each.batch_id for each in await storage.staged(VAULT, UPLOAD)] == [NEXT]
        assert await stage(storage, BATCH, upload=SECOND, manifest=b"another") is True

    async def test_what_an_append_names_is_not_taken_back(self, storage: Storage) -> None:
        await stage(storage, BATCH)
        await stage(storage, NEXT, upload=SECOND)
        third = b"\x99" * 16
        await stage(storage, third, upload=SECOND)
        held = Effects(
            (Publish(UPLOAD, (BATCH,)),),
            hold_uploads=(SECOND,),
            relies=(relied(NEXT, upload=SECOND),),
        )
        await storage.append(VAULT, 1, [leaf(1)], held)
        await storage.unstage(VAULT, UPLOAD, [BATCH])
        await storage.unstage(VAULT, SECOND, [NEXT, third])
        assert await is_shown(storage)
        # What no part names can go: whoever was removed may have its key.
        assert [each.batch_id for each in await storage.staged(VAULT, SECOND)] == [NEXT]

    # --- vaults are apart

    @pytest.mark.threat("H10")
    async def test_two_vaults_with_the_same_ids_never_meet(self, storage: Storage) -> None:
        await storage.create_vault(OTHER, leaf(0, b"other genesis"))
        for vault, text in ((VAULT, b"mine"), (OTHER, b"theirs")):
            await storage.append(vault, 1, [leaf(1, text, text)])
            await stage(storage, vault=vault, manifest=text, blocks=(block(text * 2),))
        assert await storage.staged_bytes(VAULT, ANN) == 12
        everything = Effects((Publish(UPLOAD, (BATCH,)),), (), ((1, 0),))
        await storage.append(VAULT, 2, [leaf(2)], everything)
        assert not await is_shown(storage, b"theirstheirs", vault=OTHER)
        assert await storage.read_leaves(OTHER, 1, 9, PAGE) == [leaf(1, b"theirs", b"theirs")]
        await storage.append(OTHER, 2, [leaf(2)], publish())
        for vault, content in ((VAULT, b"minemine"), (OTHER, b"theirstheirs")):
            assert await is_shown(storage, content, vault=vault)
        assert not await is_shown(storage, b"minemine", vault=OTHER)
        stats = await storage.stats()
        assert (stats.vaults, stats.leaves) == (2, 6)

    async def test_dropping_in_one_vault_leaves_the_other(self, storage: Storage) -> None:
        await storage.create_vault(OTHER, leaf(0))
        for vault in (VAULT, OTHER):
            await stage(storage, vault=vault)
        await storage.append(VAULT, 1, [leaf(1)], Effects(drop_uploads=(UPLOAD,)))
        assert await storage.staged(VAULT, UPLOAD) == []
        assert len(await storage.staged(OTHER, UPLOAD)) == 1

    # --- the engine itself

    async def test_everything_is_there_after_a_restart(self, engine: Engine) -> None:
        async with await engine.open() as first:
            await first.create_vault(VAULT, leaf(0, b"genesis", b"part"))
            await stage(first, BATCH)
            await stage(first, NEXT, upload=SECOND)
            await first.append(VAULT, 1, [leaf(1)], publish())
        async with await engine.open() as again:
            found = await again.read_leaves(VAULT, 0, 9, PAGE)
            assert found == [leaf(0, b"genesis", b"part"), leaf(1)]
            assert await is_shown(again)
            assert [each.batch_id for each in await again.staged(VAULT, SECOND)] == [NEXT]
            await again.check()

    async def test_closing_finishes_what_was_asked_and_takes_no_more(self, engine: Engine) -> None:
        async with await engine.open() as storage:
            await storage.create_vault(VAULT, leaf(0))
            waiting = [asyncio.create_task(stage(storage, bytes([n]) * 16)) for n in range(80)]
            await asyncio.sleep(0)
            await storage.close()
            assert await asyncio.gather(*waiting) == [True] * 80
            with pytest.raises(ApiMisuse):
                await storage.size(VAULT)
            with pytest.raises(ApiMisuse):
                await stage(storage)
        async with await engine.open() as again:
            assert len(await again.staged(VAULT, UPLOAD)) == 80

    async def test_whoever_gives_up_waiting_harms_nobody(self, storage: Storage) -> None:
        tasks = [asyncio.create_task(stage(storage, bytes([n]) * 16)) for n in range(30)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(answers[n] is True for n in range(30) if n % 3)
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::3])
        again = [await stage(storage, bytes([n]) * 16) for n in range(30)]
        assert not any(again[n] for n in range(30) if n % 3)
        assert len(await storage.staged(VAULT, UPLOAD)) == 30
