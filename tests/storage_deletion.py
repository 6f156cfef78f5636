"""The storage contract on what replaces blocks, and on what goes: for nobody, then from the files.

Like `tests.storage_contract`, of which this is the other half: an engine's test file runs it
against itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest

from protocol.errors import Conflict
from tests.storage_contract import (
    ANN,
    BATCH,
    BOB,
    FOURTH,
    NEXT,
    NOW,
    OTHER,
    PAGE,
    SECOND,
    THIRD,
    UPLOAD,
    VAULT,
    Engine,
    OnAnEngine,
    block,
    is_shown,
    key_of,
    leaf,
    publish,
    stage,
)
from vault.storage.base import (
    Effects,
    NotStaged,
    Publish,
    Rewrite,
    SidePart,
    SizeMoved,
    Storage,
)

OLD, NEW, NEWER = b"the old block", b"a new block", b"a newer block"
ALL_OF_IT = 1 << 30


async def anew(
    storage: Storage, content: bytes = NEW, upload: bytes = SECOND, member: bytes = ANN
) -> bool:
    """Stage one block that was made anew for the published batch, under a manifest of its own."""
    return await stage(
        storage,
        upload=upload,
        member=member,
        manifest=b"manifest of " + content,
        blocks=(block(content),),
        anew=True,
    )


def rewrite(before: bytes, after: bytes, number: int = 0, batch: bytes = BATCH) -> Rewrite:
    return Rewrite(key_of(before, number, batch), key_of(after).digest, after)


async def swept(storage: Storage) -> None:
    """Delete all that went, from every file."""
    while await storage.sweep(ALL_OF_IT):
        pass
    await storage.scour()


@dataclass
class Log:
    """Appends one leaf after another to the vault's log."""

    storage: Storage
    vault: bytes = VAULT
    size: int = 1

    async def append(self, effects: Effects | None = None, *parts: bytes) -> int:
        effects = Effects() if effects is None else effects
        index = self.size
        await self.storage.append(self.vault, index, [leaf(index, b"leaf", *parts)], effects)
        self.size += 1
        return index


class DeletionContract(OnAnEngine):
    @pytest.fixture
    async def log(self, storage: Storage) -> Log:
        """The vault's log, with one batch published that has the old block."""
        log = Log(storage)
        await stage(storage, blocks=(block(OLD), block(b"another field", 1)))
        await log.append(publish())
        return log

    # --- blocks made anew

    async def test_a_block_made_anew_waits_unseen_like_any_other(
        self, storage: Storage, log: Log
    ) -> None:
        assert await anew(storage) is True
        assert await anew(storage) is False
        assert [each.batch_id for each in await storage.staged(VAULT, SECOND)] == [BATCH]
        assert await storage.staged(VAULT, SECOND, BOB) == []
        assert await storage.staged_bytes(VAULT, ANN) == len(NEW) + len(b"manifest of " + NEW)
        assert not await is_shown(storage, NEW)
        await log.append(publish(SECOND))
        assert await is_shown(storage, NEW)
        assert await storage.staged(VAULT, SECOND) == []
        assert await storage.staged_bytes(VAULT) == 0

    async def test_publishing_a_block_made_anew_takes_nothing_away(
        self, storage: Storage, log: Log
    ) -> None:
        await anew(storage)
        await log.append(publish(SECOND))
        assert await is_shown(storage, OLD)  # what else goes, an effect says
        assert await is_shown(storage, b"another field", 1)

    async def test_blocks_are_made_anew_of_what_is_published_only(
        self, storage: Storage, log: Log
    ) -> None:
        await stage(storage, NEXT, upload=THIRD)
        for batch in (NEXT, b"\x99" * 16):
            with pytest.raises(Conflict):
                await stage(storage, batch, upload=SECOND, manifest=b"anew", anew=True)
        assert await storage.staged(VAULT, SECOND) == []

    async def test_what_is_made_anew_gives_way_to_what_its_upload_makes_later(
        self, storage: Storage, log: Log
    ) -> None:
        """What it was made from may have changed; the server keeps no more than one of each."""
        await anew(storage)
        assert await anew(storage, NEWER) is True
        assert await anew(storage, NEWER) is False
        assert len(await storage.staged(VAULT, SECOND)) == 1
        assert await storage.staged_bytes(VAULT) == len(b"manifest of " + NEWER + NEWER)
        assert await storage.sweep(ALL_OF_IT) == 0
        await log.append(publish(SECOND))
        assert await is_shown(storage, NEWER)
        assert not await is_shown(storage, NEW)

    async def test_what_the_log_names_gives_way_to_nothing(
        self, storage: Storage, log: Log
    ) -> None:
        await anew(storage)
        await log.append(Effects(hold_uploads=(SECOND,)))
        with pytest.raises(Conflict):
            await anew(storage, NEWER)
        assert await anew(storage) is False
        await log.append(publish(SECOND))
        assert await is_shown(storage, NEW)

    async def test_what_is_made_anew_is_one_members_and_of_an_open_upload(
        self, storage: Storage, log: Log
    ) -> None:
        await anew(storage)
        with pytest.raises(Conflict):
            await anew(storage, NEWER, member=BOB)
        with pytest.raises(Conflict):
            await anew(storage, upload=UPLOAD)  # which was published
        with pytest.raises(Conflict):
            await stage(storage, upload=THIRD)  # the batch id was used
        await log.append(publish(SECOND))
        with pytest.raises(Conflict):
            await anew(storage)

    async def test_several_uploads_may_have_a_block_for_one_place(
        self, storage: Storage, log: Log
    ) -> None:
        await anew(storage, NEW, SECOND)
        await anew(storage, NEWER, THIRD, member=BOB)
        await anew(storage, b"a third one", FOURTH)
        await log.append(publish(THIRD))
        assert await is_shown(storage, NEWER)
        assert not await is_shown(storage, NEW)
        await log.append(Effects(publish=(Publish(SECOND, (BATCH,)),), drop_uploads=(FOURTH,)))
        assert await is_shown(storage, NEW)
        assert not await is_shown(storage, b"a third one")

    async def test_an_upload_may_bring_batches_and_blocks_made_anew(
        self, storage: Storage, log: Log
    ) -> None:
        await stage(storage, NEXT, upload=SECOND)
        await anew(storage)
        assert [each.batch_id for each in await storage.staged(VAULT, SECOND)] == [BATCH, NEXT]
        await log.append(publish(SECOND, NEXT, BATCH))
        assert await is_shown(storage, NEW)
        assert await is_shown(storage, batch=NEXT)

    async def test_what_a_commit_leaves_out_of_what_was_made_anew_is_gone(
        self, storage: Storage, log: Log
    ) -> None:
        await stage(storage, NEXT, upload=SECOND)
        await anew(storage)
        with pytest.raises(NotStaged):
            await log.append(publish(SECOND, NEXT, b"\x99" * 16))
        await log.append(publish(SECOND, NEXT))
        assert not await is_shown(storage, NEW)
        assert await is_shown(storage, OLD)

    @pytest.mark.parametrize("how", ["dropped", "expired", "member"])
    async def test_what_was_made_anew_goes_as_other_uploads_do(
        self, storage: Storage, log: Log, how: str
    ) -> None:
        await anew(storage)
        if how == "expired":
            assert await storage.expire_staged(NOW + 1) == 1
        else:
            gone = Effects(drop_uploads=(SECOND,)), Effects(drop_members=(ANN,))
            await log.append(gone[how == "member"])
        assert await storage.staged(VAULT, SECOND) == []
        with pytest.raises(NotStaged):
            await log.append(publish(SECOND))
        assert await is_shown(storage, OLD)
        assert await anew(storage) is True

    async def test_what_was_made_anew_and_named_does_not_expire(
        self, storage: Storage, log: Log
    ) -> None:
        await anew(storage)
        await log.append(Effects(hold_uploads=(SECOND,)))
        assert await storage.expire_staged(NOW + 1) == 0
        await log.append(publish(SECOND))
        assert await is_shown(storage, NEW)

    async def test_a_block_may_be_made_anew_as_it_is(self, storage: Storage, log: Log) -> None:
        """What is left of records that were all erased is the same under every key."""
        for upload in (SECOND, THIRD, FOURTH):
            await anew(storage, OLD, upload)
        await log.append(Effects(drop_uploads=(SECOND,)))
        assert await is_shown(storage, OLD)
        for upload in (THIRD, FOURTH):
            await log.append(publish(upload))
            assert await is_shown(storage, OLD)
        await log.append(Effects(rewrite=(rewrite(OLD, NEW),)))
        assert not await is_shown(storage, OLD)
        assert await is_shown(storage, NEW)

    async def test_what_went_does_not_take_along_the_same_that_came_again(
        self, storage: Storage, log: Log
    ) -> None:
        await anew(storage)
        await log.append(publish(SECOND))
        await log.append(Effects(doom=(key_of(OLD),)))
        await anew(storage, OLD, THIRD)
        await swept(storage)
        await log.append(publish(THIRD))
        assert await is_shown(storage, OLD)
        await swept(storage)
        assert await is_shown(storage, OLD)

    async def test_what_was_made_anew_is_taken_back(self, storage: Storage, log: Log) -> None:
        await anew(storage, NEW, SECOND)
        await anew(storage, NEWER, THIRD)
        await storage.unstage(VAULT, SECOND, [BATCH])
        assert await storage.staged(VAULT, SECOND) == []
        await swept(storage)
        await log.append(publish(THIRD))
        assert await is_shown(storage, NEWER)
        assert await is_shown(storage, OLD)
        assert await anew(storage, NEWER, SECOND) is True

    # --- rewriting

    async def test_a_rewrite_puts_other_bytes_in_a_blocks_place(
        self, storage: Storage, log: Log
    ) -> None:
        await storage.create_vault(OTHER, leaf(0))
        await stage(storage, vault=OTHER, blocks=(block(OLD),))
        await storage.append(OTHER, 1, [leaf(1)], publish())
        await stage(storage, NEXT, upload=SECOND, blocks=(block(OLD),))
        await log.append(publish(SECOND, NEXT))
        await log.append(Effects(rewrite=(rewrite(OLD, NEW),)))
        assert not await is_shown(storage, OLD)
        assert await is_shown(storage, NEW)
        assert await is_shown(storage, b"another field", 1)
        assert await is_shown(storage, OLD, batch=NEXT)
        assert await is_shown(storage, OLD, vault=OTHER)
        # and again, from what it is now
        await log.append(Effects(rewrite=(rewrite(NEW, b""), rewrite(b"another field", b"x", 1))))
        assert await is_shown(storage, b"")
        assert await is_shown(storage, b"x", 1)

    async def test_whatever_else_stood_in_that_place_goes_with_it(
        self, storage: Storage, log: Log
    ) -> None:
        await anew(storage, NEWER, SECOND)
        await log.append(publish(SECOND))
        await anew(storage, b"staged by one", THIRD)
        await anew(storage, b"staged by two", FOURTH, member=BOB)
        await log.append(Effects(rewrite=(rewrite(OLD, NEW),)))
        assert not await is_shown(storage, NEWER)
        # what it is to show, it must have; else to publish it is no harm, and shows nothing
        shown = (key_of(b"staged by one"),)
        with pytest.raises(NotStaged):
            await log.append(Effects(publish=(Publish(THIRD, (BATCH,), shown),)))
        await log.append(Effects(publish=(Publish(THIRD, (BATCH,)), Publish(FOURTH, (BATCH,)))))
        for gone in (OLD, NEWER, b"staged by one", b"staged by two"):
            assert not await is_shown(storage, gone)
        assert await is_shown(storage, NEW)
        assert await is_shown(storage, b"another field", 1)

    async def test_only_what_is_there_is_rewritten(self, storage: Storage, log: Log) -> None:
        await stage(storage, NEXT, upload=SECOND)
        await anew(storage, NEWER, THIRD)
        await log.append(Effects(doom=(key_of(b"another field", 1),)))
        before = await storage.read_leaves(VAULT, 0, 9, PAGE)
        for absent in (
            rewrite(b"block", NEW, batch=NEXT),  # staged
            rewrite(NEWER, NEW),  # staged for that place
            rewrite(b"another field", NEW, 1),  # gone
            rewrite(OLD, NEW, 1),
            rewrite(b"no such", NEW),
        ):
            with pytest.raises(NotStaged):
                await log.append(Effects(rewrite=(rewrite(OLD, NEW), absent)))
        assert await storage.read_leaves(VAULT, 0, 9, PAGE) == before
        assert await is_shown(storage, OLD)
        assert not await is_shown(storage, NEW)

    async def test_records_are_replaced_in_one_append(self, storage: Storage, log: Log) -> None:
        await stage(storage, NEXT, upload=SECOND)
        both = Effects(publish=(Publish(SECOND, (NEXT,)),), rewrite=(rewrite(OLD, NEW),))
        with pytest.raises(SizeMoved):
            await storage.append(VAULT, 1, [leaf(1)], both)
        assert await is_shown(storage, OLD)
        assert not await is_shown(storage, batch=NEXT)
        await log.append(both)
        assert not await is_shown(storage, OLD)
        assert await is_shown(storage, NEW)
        assert await is_shown(storage, batch=NEXT)

    # --- blocks that go

    async def test_a_doomed_block_is_served_no_more(self, storage: Storage, log: Log) -> None:
        await storage.create_vault(OTHER, leaf(0))
        await stage(storage, vault=OTHER, blocks=(block(OLD),))
        await storage.append(OTHER, 1, [leaf(1)], publish())
        await anew(storage)
        await log.append(publish(SECOND))
        await anew(storage, NEWER, THIRD)
        unknown = key_of(b"no such"), key_of(OLD, 7), key_of(OLD, 0, NEXT), key_of(NEWER)
        await log.append(Effects(doom=(key_of(OLD), *unknown)))
        assert not await is_shown(storage, OLD)
        assert await is_shown(storage, NEW)
        assert await is_shown(storage, b"another field", 1)
        assert await is_shown(storage, OLD, vault=OTHER)
        await log.append(Effects(doom=(key_of(OLD),)))  # again is no harm
        await log.append(Effects(publish=(Publish(THIRD, (BATCH,), (key_of(NEWER),)),)))
        assert await is_shown(storage, NEWER)  # which was only staged
        await swept(storage)
        assert not await is_shown(storage, OLD)
        assert await is_shown(storage, NEW)

    async def test_all_blocks_of_a_batch_go(self, storage: Storage, log: Log) -> None:
        await stage(storage, NEXT, upload=SECOND)
        await log.append(publish(SECOND, NEXT))
        await anew(storage, upload=THIRD)
        await log.append(Effects(doom_batches=(BATCH, b"\x99" * 16)))
        assert not await is_shown(storage, OLD)
        assert not await is_shown(storage, b"another field", 1)
        assert await is_shown(storage, batch=NEXT)
        await log.append(publish(THIRD))
        assert not await is_shown(storage, NEW)

    async def test_all_that_a_vault_has_goes(self, storage: Storage, log: Log) -> None:
        await storage.create_vault(OTHER, leaf(0))
        for upload, batch in ((UPLOAD, BATCH), (SECOND, NEXT)):
            await stage(storage, batch, vault=OTHER, upload=upload, blocks=(block(OLD),))
        await storage.append(OTHER, 1, [leaf(1)], publish())
        await anew(storage)
        await stage(storage, NEXT, upload=THIRD)
        await log.append(Effects(doom_all=True))
        for content, number in ((OLD, 0), (NEW, 0), (b"another field", 1)):
            assert not await is_shown(storage, content, number)
        assert await storage.staged_bytes(VAULT) == 0
        assert await storage.staged(VAULT, SECOND) == await storage.staged(VAULT, THIRD) == []
        # what was published stays used
        with pytest.raises(Conflict):
            await stage(storage, upload=FOURTH)
        with pytest.raises(Conflict):
            await stage(storage, NEXT, upload=UPLOAD)
        await swept(storage)
        assert await is_shown(storage, OLD, vault=OTHER)
        assert len(await storage.staged(OTHER, SECOND)) == 1

    async def test_what_is_refused_dooms_nothing(self, storage: Storage, log: Log) -> None:
        index = await log.append(None, b"part")
        everything = Effects(
            rewrite=(rewrite(OLD, NEW),),
            doom=(key_of(b"another field", 1),),
            doom_batches=(BATCH,),
            doom_all=True,
            delete_parts=((index, 0),),
        )
        with pytest.raises(SizeMoved):
            await storage.append(VAULT, 1, [leaf(1)], everything)
        with pytest.raises(NotStaged):
            await log.append(replace(everything, hold_uploads=(FOURTH,)))
        assert await is_shown(storage, OLD)
        assert await is_shown(storage, b"another field", 1)
        assert (await storage.read_leaves(VAULT, index, 1, PAGE))[0].sides[0].content == b"part"
        assert await storage.sweep(ALL_OF_IT) == 0

    # --- sweeping

    async def test_what_went_is_swept_in_steps(self, storage: Storage, log: Log) -> None:
        sizes = (100, 100, 100, 5_000, 10)
        blocks = tuple(block(bytes(size), number) for number, size in enumerate(sizes))
        await stage(storage, NEXT, upload=SECOND, blocks=blocks)
        await log.append(publish(SECOND, NEXT))
        await log.append(Effects(doom_batches=(NEXT,)))
        assert await storage.sweep(250) == 3
        assert await storage.sweep(0) == 2  # one at least
        assert await storage.sweep(10) == 1  # and if it is large
        assert await storage.sweep(10) == 0
        assert await storage.sweep(10) == 0
        assert await is_shown(storage, OLD)

    async def test_parts_are_swept_too(self, storage: Storage, log: Log) -> None:
        index = await log.append(None, b"p" * 90, b"q" * 90, b"r")
        await log.append(Effects(delete_parts=((index, 0), (index, 1), (index, 7), (99, 0))))
        (found,) = await storage.read_leaves(VAULT, index, 1, PAGE)
        gone = [SidePart(SidePart.of(letter * 90).digest, None) for letter in (b"p", b"q")]
        assert found.sides == (*gone, SidePart.of(b"r"))
        assert await storage.sweep(100) == 1
        assert await storage.sweep(100) == 0
        assert (await storage.read_leaves(VAULT, index, 1, PAGE)) == [found]

    async def test_sweeping_goes_on_after_a_restart(self, engine: Engine) -> None:
        async with await engine.open() as first:
            await first.create_vault(VAULT, leaf(0))
            log = Log(first)
            blocks = tuple(block(bytes([n]) * 50, n) for n in range(5))
            await stage(first, blocks=blocks)
            await log.append(publish())
            await log.append(Effects(doom_batches=(BATCH,)))
            assert await first.sweep(100) == 3
        async with await engine.open() as again:
            assert not any([await is_shown(again, bytes([n]) * 50, n) for n in range(5)])
            assert await again.sweep(100) == 1
            assert await again.sweep(100) == 0
            await again.check()

    # --- scouring

    async def test_a_scouring_comes_between_others_writes(
        self, engine: Engine, storage: Storage, log: Log
    ) -> None:
        await log.append(Effects(doom_batches=(BATCH,)))
        names = [bytes([n]) * 16 for n in range(60)]
        writes = [stage(storage, name, upload=SECOND, manifest=name) for name in names]
        answers = await asyncio.gather(
            *writes[:20], storage.scour(), *writes[20:40], storage.sweep(9), *writes[40:]
        )
        assert sum(answer is True for answer in answers) == 60
        await swept(storage)
        assert OLD not in engine.on_disk()
        assert [each.batch_id for each in await storage.staged(VAULT, SECOND)] == names
