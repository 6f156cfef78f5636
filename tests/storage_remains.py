"""The storage contract on what is left of what went: nothing, in any file, however it went."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from tests.remains import traces
from tests.storage_contract import (
    ANN,
    BOB,
    NEXT,
    SECOND,
    THIRD,
    VAULT,
    Engine,
    OnAnEngine,
    block,
    key_of,
    leaf,
    publish,
    stage,
)
from tests.storage_deletion import Log, anew, rewrite, swept
from vault.storage.base import Effects, Publish, Storage


class RemainsContract(OnAnEngine):
    async def test_nothing_that_went_is_left_in_any_file(
        self, engine: Engine, storage: Storage
    ) -> None:
        left = Remains(storage)
        await left.make()
        assert left.missing(engine) == []  # all of it was there
        await left.delete()
        await swept(storage)
        assert left.found(engine) == []
        assert left.missing(engine, kept=True) == []

    async def test_nor_if_the_server_stops_before_that_is_done(self, engine: Engine) -> None:
        async with await engine.open() as first:
            await first.create_vault(VAULT, leaf(0))
            left = Remains(first)
            await left.make()
            await left.delete()
            await first.sweep(1)
        async with await engine.open() as again:
            await swept(again)
            assert left.found(engine) == []
            assert left.missing(engine, kept=True) == []

    @pytest.mark.parametrize("seed", range(3))
    async def test_nothing_is_left_of_many_that_came_and_went(
        self, engine: Engine, storage: Storage, seed: int
    ) -> None:
        """Rows that are moved within a file must leave no copies where they were before."""
        random_ = random.Random(seed)
        log = Log(storage)
        course = Course(log, random_)
        for _ in range(60):
            await course.step()
        await swept(storage)
        on_disk = engine.on_disk()
        assert [each for each in course.gone if traces(each, on_disk)] == []
        assert [each for each in course.live.values() if not traces(each, on_disk)] == []
        assert len(course.gone) > 300
        assert len(course.live) > 30


def canary(what: str, times: int = 300) -> bytes:
    return f"[canary {what}]".encode() * times


@dataclass
class Remains:
    """Something of everything that can go, in every way in which it can."""

    storage: Storage
    gone: list[bytes] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)

    def will_go(self, what: str, times: int = 300) -> bytes:
        self.gone.append(canary(what, times))
        return self.gone[-1]

    def stays(self, what: str) -> bytes:
        self.kept.append(canary(what))
        return self.kept[-1]

    async def make(self) -> None:
        storage = self.storage
        self.log = Log(storage)
        parts = (self.will_go("part"), self.stays("part that stays"), self.will_go("short part", 2))
        self.index = await self.log.append(None, *parts)
        self.before = self.will_go("erased")
        blocks = (
            block(self.before, 0),
            block(self.will_go("superseded"), 1),
            block(self.stays("published"), 2),
        )
        await stage(storage, blocks=blocks)
        gone_with_its_batch = block(self.will_go("of a batch", 2))
        left_out = block(self.will_go("left out"))
        await stage(storage, NEXT, upload=SECOND, blocks=(gone_with_its_batch,))
        await stage(storage, b"\x01" * 16, upload=SECOND, blocks=(left_out,))
        await self.log.append(publish())
        await self.log.append(publish(SECOND, NEXT))
        for upload, what, member in (
            (b"\x02" * 16, "dropped", ANN),
            (b"\x03" * 16, "a member's", BOB),
        ):
            await stage(
                storage, upload, upload=upload, member=member, blocks=(block(self.will_go(what)),)
            )
        await stage(
            *(storage, b"\x04" * 16),
            upload=b"\x04" * 16,
            blocks=(block(self.will_go("expired")),),
            now=1,
        )
        await anew(storage, self.will_go("anew in the place of what is erased"), THIRD)

    async def delete(self) -> None:
        superseded = key_of(canary("superseded"), 1)
        await self.log.append(
            Effects(
                drop_uploads=(b"\x02" * 16,),
                drop_members=(BOB,),
                delete_parts=((self.index, 0), (self.index, 2)),
                rewrite=(rewrite(self.before, self.stays("what is left")),),
                doom=(superseded,),
                doom_batches=(NEXT,),
            )
        )
        assert await self.storage.expire_staged(2) == 1

    def found(self, engine: Engine) -> list[bytes]:
        on_disk = engine.on_disk()
        return [each[:40] for each in self.gone if traces(each, on_disk)]

    def missing(self, engine: Engine, *, kept: bool = False) -> list[bytes]:
        on_disk = engine.on_disk()
        listed = self.kept if kept else self.gone + self.kept
        return [each[:40] for each in listed if not traces(each, on_disk)]


@dataclass
class Course:
    """Many blocks and parts of all lengths that come and go, a few at a time."""

    log: Log
    random_: random.Random
    live: dict[tuple[int, int] | bytes, bytes] = field(default_factory=dict)
    gone: list[bytes] = field(default_factory=list)

    def content(self) -> bytes:
        return self.random_.randbytes(self.random_.choice([60, 120, 300, 900, 3_000, 9_000]))

    async def step(self) -> None:
        storage, random_ = self.log.storage, self.random_
        upload = random_.randbytes(16)
        for _ in range(random_.randrange(1, 8)):
            batch = random_.randbytes(16)
            self.live[batch] = self.content()
            await stage(
                *(storage, batch), upload=upload, manifest=batch, blocks=(block(self.live[batch]),)
            )
        parts = [self.content() for _ in range(random_.randrange(8))]
        leaving = random_.sample(list(self.live), min(len(self.live), random_.randrange(14)))
        mine = [batch for batch in self.live if isinstance(batch, bytes)]
        staged = [each.batch_id for each in await storage.staged(VAULT, upload)]
        blocks = [each for each in leaving if isinstance(each, bytes)]
        assert set(staged) <= set(mine)
        index = await self.log.append(
            Effects(
                publish=(Publish(upload, tuple(staged)),),
                doom=tuple(key_of(self.live[each], 0, each) for each in blocks),
                delete_parts=tuple(each for each in leaving if not isinstance(each, bytes)),
            ),
            *parts,
        )
        self.gone += [self.live.pop(each) for each in leaving]
        self.live |= {(index, number): part for number, part in enumerate(parts)}
        if random_.random() < 0.5:
            await storage.sweep(random_.choice([1, 2_000, 100_000]))
        if random_.random() < 0.1:
            await storage.scour()
