"""Random calls to a store against a model of it in plain dictionaries: they must always agree."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from protocol.errors import Conflict
from tests.storage_contract import (
    ANN,
    BOB,
    NOW,
    OTHER,
    PAGE,
    VAULT,
    Engine,
    block,
    is_shown,
    key_of,
    leaf,
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
    StoredLeaf,
)

Place = tuple[bytes, bytes]
"""A batch, and the content of a block of it."""


class ModelContract:
    @pytest.mark.parametrize("seed", range(6))
    async def test_any_course_of_calls_agrees_with_the_model(
        self, engine: Engine, seed: int
    ) -> None:
        random_ = random.Random(seed)
        models = {VAULT: Model(VAULT, random_), OTHER: Model(OTHER, random_)}
        for model in models.values():
            model.everybody = list(models.values())
        for restart in range(3):
            async with await engine.open() as storage:
                for vault, model in models.items():
                    if not restart:
                        await storage.create_vault(vault, leaf(0, b"genesis"))
                    await model.compare(storage)
                for _ in range(80):
                    await models[random_.choice([VAULT, OTHER])].step(storage)
                for model in models.values():
                    await model.compare(storage)
                await storage.check()
        assert all(model.done >= {"staged", "anew", "shown"} for model in models.values())


@dataclass
class Upload:
    """One upload that is open or was published: the manifest and the block of each batch."""

    member: bytes
    published: bool = False
    held: bool = False
    batches: dict[bytes, bytes] = field(default_factory=dict)
    anew: dict[bytes, bytes] = field(default_factory=dict)


@dataclass
class Model:
    """One vault as dictionaries, and random calls that must meet the same answers there."""

    vault: bytes
    random_: random.Random
    leaves: list[StoredLeaf] = field(default_factory=lambda: [leaf(0, b"genesis")])
    uploads: dict[bytes, Upload] = field(default_factory=dict)
    shown: set[Place] = field(default_factory=set)
    staged: dict[bytes, set[Place]] = field(default_factory=dict)
    ever: set[Place] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    everybody: list[Model] = field(default_factory=list)

    async def step(self, storage: Storage) -> None:
        steps: list[Callable[[Storage], object]] = [
            *(self.stage,) * 5,
            *(self.stage_anew,) * 4,
            *(self.commit,) * 4,
            *(self.rewrite, self.doom, self.drop, self.hold, self.delete_parts, self.sweep),
        ]
        await self.random_.choice(steps)(storage)  # type: ignore[misc]

    def some_upload(self) -> bytes:
        return bytes([self.random_.randrange(12)]) * 16

    def some_batch(self) -> bytes:
        return bytes([self.random_.randrange(30)]) * 16

    def takes(self, upload: bytes, member: bytes) -> bool:
        known = self.uploads.get(upload)
        return known is None or (not known.published and known.member == member)

    def owner_of(self, batch: bytes) -> bytes | None:
        return next((u for u, each in self.uploads.items() if batch in each.batches), None)

    async def stage(self, storage: Storage) -> None:
        upload, batch = self.some_upload(), self.some_batch()
        member = self.random_.choice([ANN, ANN, ANN, BOB])
        manifest = self.random_.choice([b"one", b"one", b"two"])
        content = self.vault[:1] + batch + manifest
        call = stage(
            *(storage, batch),
            vault=self.vault,
            upload=upload,
            member=member,
            manifest=manifest,
            blocks=(block(content),),
        )
        owner = self.owner_of(batch)
        known = self.uploads[owner].batches[batch] if owner is not None else manifest
        if not self.takes(upload, member) or owner not in (None, upload) or known != manifest:
            with pytest.raises(Conflict):
                await call
            return
        assert await call is (owner is None)
        self.uploads.setdefault(upload, Upload(member)).batches[batch] = manifest
        if owner is None:
            self.put(upload, (batch, content))
        self.done.add("staged")

    async def stage_anew(self, storage: Storage) -> None:
        upload, member = self.some_upload(), self.random_.choice([ANN, ANN, ANN, BOB])
        published = [b for each in self.uploads.values() if each.published for b in each.batches]
        batch = self.random_.choice(published or [self.some_batch()])
        # Often what others made too, or what is there already.
        content = self.random_.choice([b"anew 1", b"anew 2", self.vault[:1] + batch + b"one"])
        call = stage(
            *(storage, batch),
            vault=self.vault,
            upload=upload,
            member=member,
            manifest=content,
            blocks=(block(content),),
            anew=True,
        )
        known = self.uploads.get(upload, Upload(member))
        differs = known.anew.get(batch, content) != content
        if (
            not self.takes(upload, member)
            or batch not in published
            or (differs and known.held)  # the log names what is there
        ):
            with pytest.raises(Conflict):
                await call
            return
        mine = self.uploads.setdefault(upload, Upload(member))
        assert await call is (mine.anew.get(batch) != content)
        if differs:
            earlier = {place for place in self.staged.get(upload, set()) if place[0] == batch}
            self.staged[upload] = self.staged.get(upload, set()) - earlier
        self.put(upload, (batch, content))
        mine.anew[batch] = content
        self.done.add("anew")

    def put(self, upload: bytes, place: Place) -> None:
        self.staged.setdefault(upload, set()).add(place)
        self.ever.add(place)

    async def append(self, storage: Storage, effects: Effects, *parts: bytes) -> None:
        new = leaf(len(self.leaves), self.random_.randbytes(5), *parts)
        await storage.append(self.vault, new.index, [new], effects)
        self.leaves.append(new)

    async def commit(self, storage: Storage) -> None:
        upload = self.some_upload()
        mine = self.uploads.get(upload, Upload(ANN, published=True))
        there = {*mine.batches, *mine.anew}
        named = [batch for batch in sorted(there) if self.random_.random() < 0.8]
        effects = Effects(publish=(Publish(upload, tuple(named)),))
        if self.random_.random() < 0.2:
            with pytest.raises(SizeMoved):
                await storage.append(self.vault, 0, [leaf(0)], effects)
        elif mine.published or not named:
            with pytest.raises(NotStaged):
                await self.append(storage, effects)
        else:
            await self.append(storage, effects)
            mine.published = True
            mine.batches = {b: m for b, m in mine.batches.items() if b in named}
            mine.anew = {b: m for b, m in mine.anew.items() if b in named}
            self.shown |= {p for p in self.staged.pop(upload, set()) if p[0] in named}
            self.done.add("shown")

    async def rewrite(self, storage: Storage) -> None:
        batch, content = self.random_.choice(sorted(self.ever) or [(b"\xee" * 16, b"")])
        after = b"rewritten %d" % len(self.leaves)
        one = Rewrite(key_of(content, 0, batch), key_of(after).digest, after)
        if (batch, content) not in self.shown:
            with pytest.raises(NotStaged):
                await self.append(storage, Effects(rewrite=(one,)))
            return
        await self.append(storage, Effects(rewrite=(one,)))
        self.forget(lambda place: place[0] == batch)
        self.shown.add((batch, after))
        self.ever.add((batch, after))

    async def doom(self, storage: Storage) -> None:
        batch, content = self.random_.choice(sorted(self.ever) or [(b"\xee" * 16, b"")])
        luck = self.random_.random()
        if luck < 0.6:
            await self.append(storage, Effects(doom=(key_of(content, 0, batch),)))
            self.shown.discard((batch, content))
        elif luck < 0.95:
            await self.append(storage, Effects(doom_batches=(batch,)))
            self.forget(lambda place: place[0] == batch)
        else:
            await self.append(storage, Effects(doom_all=True))
            self.end([upload for upload, each in self.uploads.items() if not each.published])
            self.forget(lambda place: True)

    def forget(self, gone: Callable[[Place], bool]) -> None:
        self.shown = {place for place in self.shown if not gone(place)}
        self.staged = {u: {p for p in each if not gone(p)} for u, each in self.staged.items()}

    def end(self, uploads: list[bytes]) -> None:
        for upload in uploads:
            self.uploads.pop(upload)
            self.staged.pop(upload, None)

    async def drop(self, storage: Storage) -> None:
        luck, upload = self.random_.random(), self.some_upload()
        open_ones = self.open_ones()
        if luck < 0.6:
            await self.append(storage, Effects(drop_uploads=(upload,)))
            self.end([upload] if upload in open_ones else [])
        elif luck < 0.8:
            await self.append(storage, Effects(drop_members=(BOB,)))
            self.end([u for u, each in open_ones.items() if each.member == BOB])
        else:
            await self.expire(storage)

    def open_ones(self) -> dict[bytes, Upload]:
        return {u: each for u, each in self.uploads.items() if not each.published}

    async def expire(self, storage: Storage) -> None:
        assert await storage.expire_staged(NOW) == 0
        if self.random_.random() < 0.7:
            return
        stale = [
            (model, [u for u, each in model.open_ones().items() if not each.held])
            for model in self.everybody
        ]
        assert await storage.expire_staged(NOW + 1) == sum(len(ended) for _, ended in stale)
        for model, ended in stale:
            model.end(ended)

    async def hold(self, storage: Storage) -> None:
        upload = self.some_upload()
        known = self.uploads.get(upload)
        if known is None or known.published:
            with pytest.raises(NotStaged):
                await self.append(storage, Effects(hold_uploads=(upload,)))
            return
        known.held = True
        await self.append(storage, Effects(hold_uploads=(upload,)))

    async def delete_parts(self, storage: Storage) -> None:
        index, number = self.random_.randrange(len(self.leaves)), self.random_.randrange(2)
        effects = Effects(delete_parts=((index, number),))
        await self.append(storage, effects, self.random_.randbytes(9), self.random_.randbytes(3))
        old = self.leaves[index]
        parts = list(old.sides)
        if number < len(parts):
            parts[number] = SidePart(parts[number].digest, None)
        self.leaves[index] = StoredLeaf(index, old.leaf, tuple(parts))

    async def sweep(self, storage: Storage) -> None:
        await storage.sweep(self.random_.choice([1, 50, 1 << 20]))
        if self.random_.random() < 0.3:
            await storage.scour()

    async def compare(self, storage: Storage) -> None:
        assert await storage.read_leaves(self.vault, 0, 999, PAGE) == self.leaves
        for batch, content in sorted(self.ever):
            shown = (batch, content) in self.shown
            assert await is_shown(storage, content, 0, batch, self.vault) is shown
        for upload in (bytes([number]) * 16 for number in range(12)):
            known = self.uploads.get(upload, Upload(ANN, published=True))
            names = [] if known.published else sorted({*known.batches, *known.anew})
            found = await storage.staged(self.vault, upload)
            assert [each.batch_id for each in found] == names
