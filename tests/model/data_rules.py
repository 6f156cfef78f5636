"""Rules of the random vaults on collections, keys, and what is stored."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import EmptiedBlock, Erasure, MovedBlock, Reason
from protocol.blocks import BlockRef
from tests.model.machine import Machine
from tests.model.terms import PEOPLE, PEOPLE_FIELD, Move, Place


@dataclass
class Job:
    """Blocks that somebody has sealed anew, and not all of them signed yet."""

    author: Identity
    collection: bytes
    left: list[MovedBlock]


class DataRules(Machine):
    @property
    def jobs(self) -> dict[bytes, Job]:
        """The re-encryptions under way in somebody's home, whatever the ledger says of them."""
        found: dict[bytes, Job] = self.__dict__.setdefault("_jobs", {})
        return found

    @precondition(lambda self: len(self.model.collections) < 3)
    @rule(data=st.data())
    def define(self, data: st.DataObject) -> None:
        gone = [None, None, *sorted(self.model.gone)]
        self.add_collection(self.anyone(data), data.draw(st.sampled_from(gone)))

    @precondition(lambda self: self.model.epochs)
    @rule(data=st.data())
    def rotate(self, data: st.DataObject) -> None:
        """New epochs for what is tainted, or for anything."""
        every = sorted({(c, n) for c, n, _ in self.model.epochs})
        stale = [each for each in every if self.is_stale(*each)]
        pool = data.draw(st.sampled_from([stale or every, every]))
        fields = data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4))
        self.create(self.anyone(data), fields)

    def is_stale(self, collection: bytes, number: int) -> bool:
        newest = self.model.newest(collection, number)
        return self.model.epochs[collection, number, newest] != "open"

    @rule(data=st.data(), last=st.sampled_from([True, True, True, False]))
    def commit(self, data: st.DataObject, last: bool) -> None:
        author = self.anyone(data)
        if data.draw(st.integers(0, 2)) == 0:
            author = self.people[self.one_of(data, self.those_in("keyless-admin"))]
        numbers = data.draw(
            st.sampled_from([[0, 1, 2], [0, 1, 2], [0x8000], [0x8002], [PEOPLE_FIELD]])
        )
        collection = PEOPLE if numbers == [PEOPLE_FIELD] else self.a_collection(data)
        if collection == PEOPLE:
            numbers = [PEOPLE_FIELD]
        mine = [
            upload
            for upload, each in self.model.pending.items()
            if (each.author, each.collection) == (author.member_id, collection)
        ]
        upload = data.draw(st.sampled_from(mine)) if mine else None
        older = data.draw(st.sampled_from([0, 0, 0, 1]))
        self.write(author, collection, numbers, upload, last, older)

    # --- what goes

    @precondition(lambda self: any(self.model.batches.values()))
    @rule(data=st.data(), stale=st.sampled_from([False] * 9 + [True]))
    def erase(self, data: st.DataObject, stale: bool) -> None:
        author = self.anyone(data, *self.those_in("keyless-admin", "admin"))
        collection, batch_id, erasure = self.an_erasure(data, stale)
        predicted = self.settled(author)
        left = {block.field: block.after for block in erasure.blocks}
        given = (author.member_id, collection, batch_id, set(erasure.positions), left)
        lands = predicted.erase(*given, stale=stale)
        payload = acts.Erase(collection, Reason.REQUEST, (erasure,))
        self.act(author, predicted, lands, payload)

    @precondition(lambda self: any(self.model.batches.values()))
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        author = self.anyone(data)
        collection, batch_id, erasure = self.an_erasure(data)
        numbers = [PEOPLE_FIELD] if collection == PEOPLE else [0, 1, 2]
        manifest, batch = self.sealed(collection, numbers, 2)
        upload, predicted = self.fresh(16), self.settled(author)
        lands = predicted.erasable(collection, batch_id, set(erasure.positions))
        given = (author.member_id, upload, collection, manifest.batch_id, batch, True)
        lands = lands and predicted.commit(*given)
        if lands:
            left = {block.field: block.after for block in erasure.blocks}
            predicted.empty(collection, batch_id, set(erasure.positions), left)
        payload = acts.Replace(upload, collection, 0, (manifest,), Reason.MISTAKE, (erasure,))
        self.act(author, predicted, lands, payload)

    def an_erasure(self, data: st.DataObject, stale: bool = False) -> tuple[bytes, bytes, Erasure]:
        """Draw a batch, and records of it that are mostly there."""
        filled = [collection for collection, those in self.model.batches.items() if those]
        collection = data.draw(st.sampled_from(filled))
        batch_id = data.draw(st.sampled_from(list(self.model.batches[collection])))
        batch = self.model.batches[collection][batch_id]
        left = sorted({*range(batch.records)} - batch.erased)
        pool = data.draw(st.sampled_from([left, left, left, list(range(batch.records + 1))]))
        positions = data.draw(
            st.sets(st.sampled_from(pool or [0]), min_size=1, max_size=len(pool) or 1)
        )
        blocks = []
        for ref in self.refs(collection, batch_id):
            after, before = self.fresh(32), self.fresh(32) if stale else ref.sha256
            self.contents[after] = self.contents[ref.sha256] - positions
            length = max(4 * batch.records, ref.length - 60 * len(positions))
            blocks.append(EmptiedBlock(ref.field, before, length, after))
        return collection, batch_id, Erasure(batch_id, tuple(sorted(positions)), tuple(blocks))

    def refs(self, collection: bytes, batch_id: bytes) -> tuple[BlockRef, ...]:
        """The blocks of a batch, whose hashes are the model's; it knows no lengths."""
        found = self.world.batch(collection, batch_id).manifest.blocks
        known = self.model.batches[collection][batch_id].blocks
        assert {ref.field: (ref.epoch, ref.sha256) for ref in found} == known
        return found

    # --- what is sealed anew

    @rule(data=st.data(), whole=st.booleans())
    def re_encrypt(self, data: st.DataObject, whole: bool) -> None:
        """Seal what there is of some fields anew; sign all of it, or a first part."""
        author = self.anyone(data, *self.those_in("admin"))
        collection = self.a_collection(data)
        if collection not in self.model.batches:
            return
        every = self.model.fields(collection)
        fields = data.draw(st.sets(st.sampled_from(every), min_size=1, max_size=3))
        if data.draw(st.booleans()):
            self.create(author, [(collection, number) for number in sorted(fields)])
        moves = self.all_sealed_anew(collection, fields)
        if moves:
            upload = self.fresh(16)
            self.jobs[upload] = Job(author, collection, moves)
            self.go_on(upload, len(moves) if whole else 1, whole)

    def all_sealed_anew(self, collection: bytes, fields: set[int]) -> list[MovedBlock]:
        return [
            self.sealed_anew(collection, batch_id, ref)
            for batch_id in self.model.batches[collection]
            for ref in self.refs(collection, batch_id)
            if ref.field in fields
        ]

    def sealed_anew(self, collection: bytes, batch_id: bytes, ref: BlockRef) -> MovedBlock:
        batch = self.model.batches[collection][batch_id]
        epoch = self.model.newest(collection, ref.field)
        new = self.block(ref.field, epoch, batch.records, self.contents[ref.sha256])
        made = BlockRef(new.field, epoch, new.salt, ref.length, new.sha256, new.padding)
        return MovedBlock(batch_id, ref.sha256, made)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), last=st.sampled_from([True, True, False]))
    def go_on_re_encrypting(self, data: st.DataObject, last: bool) -> None:
        """Sign more of what was sealed anew then, whatever has happened since."""
        upload = data.draw(st.sampled_from(list(self.jobs)))
        left = len(self.jobs[upload].left)
        self.go_on(upload, left if last else 1, last)

    def go_on(self, upload: bytes, count: int, last: bool) -> None:
        job = self.jobs[upload]
        moves, job.left = job.left[:count], job.left[count:]
        if last or not job.left:
            del self.jobs[upload]
        predicted = self.settled(job.author)
        begun = predicted.pending.get(upload)
        part = begun.parts if begun else 0
        typed = [
            Move(m.batch, m.block.field, m.before, m.block.epoch, m.block.sha256) for m in moves
        ]
        given = (job.author.member_id, upload, job.collection, typed, last)
        lands = job.collection in predicted.batches and predicted.move(*given)
        payload = acts.Reencrypt(upload, job.collection, part, last, tuple(moves))
        self.act(job.author, predicted, lands, payload)

    # --- what ends

    @precondition(lambda self: self.model.phase == "open")
    @rule(data=st.data(), upto=st.sampled_from(["created", "moved", "retired", "retired"]))
    def rotate_in_full(self, data: st.DataObject, upto: str) -> None:
        """All three steps of it, or a crash between them; what is left waits for other rules."""
        author = self.people[self.one_of(data, [self.model.owner])]
        collection = self.a_collection(data)
        if collection not in self.model.batches:
            return
        fields = data.draw(
            st.sets(st.sampled_from(self.model.fields(collection)), min_size=1, max_size=3)
        )
        self.create(author, [(collection, number) for number in sorted(fields)])
        if upto == "created":
            return
        moves = self.all_sealed_anew(collection, fields)
        if moves:
            upload = self.fresh(16)
            self.jobs[upload] = Job(author, collection, moves)
            self.go_on(upload, len(moves), last=True)
        behind = {place for place in self.behind() if place[0] == collection}
        if upto == "retired" and behind:
            self.do_retire(author, behind)

    @precondition(lambda self: self.behind())
    @rule(data=st.data())
    def retire_epochs(self, data: st.DataObject) -> None:
        author = self.anyone(data, *self.those_in("admin"))
        behind = sorted(self.behind())
        pool = data.draw(st.sampled_from([behind, behind, behind, sorted(self.model.epochs)]))
        places = data.draw(st.sets(st.sampled_from(pool), min_size=1, max_size=4))
        self.do_retire(author, places)

    def behind(self) -> set[Place]:
        """Keys that are no field's newest, under which nothing lies."""
        live, lying = self.model.live_epochs(), self.model.lying()
        return {p for p in live if p[2] < self.model.newest(*p[:2]) and p not in lying}

    def do_retire(self, author: Identity, places: set[Place]) -> None:
        predicted = self.settled(author)
        lands = predicted.retire_epochs(author.member_id, places)
        names = tuple(acts.EpochName(*place) for place in sorted(places))
        self.act(author, predicted, lands, acts.RetireEpoch(names))

    @precondition(lambda self: len(self.model.collections) > 1)
    @rule(data=st.data())
    def retire_collection(self, data: st.DataObject) -> None:
        author, collection = self.anyone(data), self.a_collection(data)
        predicted = self.settled(author)
        lands = predicted.retire_collection(author.member_id, collection)
        self.act(author, predicted, lands, acts.RetireCollection(collection, Reason.RETENTION))
