"""The model's acts on collections, keys, and what is stored."""

from __future__ import annotations

from collections.abc import Sequence

from tests.model.members import Members
from tests.model.terms import KEYED, OPEN, PEOPLE, STAFF, Batch, Begun, Move, Place


class Data(Members):
    def define(self, author: bytes, collection: bytes, classes: tuple[int, ...]) -> bool:
        known = collection in self.collections or collection in self.gone
        ok = self.may(author, KEYED, OPEN) and not known
        if ok:
            self.collections[collection] = classes
            self.batches[collection] = {}
        return ok

    def newest(self, collection: bytes, number: int) -> int:
        return sum(place[:2] == (collection, number) for place in self.epochs)

    def create_epochs(self, author: bytes, places: list[Place]) -> bool:
        ok = self.may(author, KEYED, OPEN) and all(
            self.may_hold(self.members[author], place[0], place[1]) for place in places
        )
        if ok:
            self.epochs.update(dict.fromkeys(places, "open"))
        return ok

    def lying(self) -> set[Place]:
        """The keys under which something lies: of a batch with no record left, nothing does."""
        return {
            (collection, number, epoch)
            for collection, batches in self.batches.items()
            for batch in batches.values()
            if len(batch.erased) < batch.records
            for number, (epoch, _) in batch.blocks.items()
        }

    def retire_epochs(self, author: bytes, places: set[Place]) -> bool:
        ok = (
            self.may(author, KEYED, OPEN)
            and all(self.epochs.get(place, "retired") != "retired" for place in places)
            and all(place[2] < self.newest(*place[:2]) for place in places)
            and all(self.may_hold(self.members[author], *place[:2]) for place in places)
            and not places & self.lying()
        )
        if ok:
            self.drop(lambda begun: bool(begun.places() & places))
            self.epochs.update(dict.fromkeys(places, "retired"))
        return ok

    def retire_collection(self, author: bytes, collection: bytes) -> bool:
        ok = (
            self.may(author, KEYED, OPEN)
            and collection in self.collections
            and all(
                self.may_hold(self.members[author], collection, number)
                for number in self.fields(collection)
            )
        )
        if ok:
            self.forget(collection)
        return ok

    def forget(self, collection: bytes) -> None:
        self.drop(lambda begun: begun.collection == collection)
        self.collections.pop(collection, None)
        self.batches.pop(collection, None)
        self.gone.add(collection)
        # A key that is no more is known to nobody.
        self.epochs = {p: s for p, s in self.epochs.items() if p[0] != collection}
        for party in self.parties().values():
            party.given = {place for place in party.given if place[0] != collection}

    # --- what is written

    def begun(self, author: bytes, upload: bytes, collection: bytes, kind: str) -> Begun | None:
        """What an upload id continues, or begins; nothing, if it may not."""
        found = self.pending.get(upload)
        if found is None:
            return None if upload in self.uploads else Begun(kind, author, collection)
        mine = (found.kind, found.author, found.collection) == (kind, author, collection)
        return found if mine else None

    def writable(self, author: bytes, places: set[Place]) -> bool:
        return all(
            self.may_hold(self.members[author], *place[:2]) and self.epochs.get(place) == "open"
            for place in places
        )

    def commit(
        self,
        author: bytes,
        upload: bytes,
        collection: bytes,
        batch_id: bytes,
        batch: Batch,
        last: bool,
    ) -> bool:
        begun = self.begun(author, upload, collection, "commit")
        places = {(collection, n, epoch) for n, (epoch, _) in batch.blocks.items()}
        ok = (
            self.may(author, STAFF if collection == PEOPLE else KEYED, OPEN)
            and collection in self.batches
            and begun is not None
            and self.writable(author, places)
        )
        if not ok or begun is None:
            return False
        grown = [*begun.batches, (batch_id, batch)]
        if last and not self.all_named(collection, [each for _, each in grown]):
            return False
        if last:
            self.batches[collection].update(grown)
            self.end(upload)
        else:
            begun.batches, begun.parts = grown, begun.parts + 1
            self.pending[upload] = begun
        return True

    def all_named(self, collection: bytes, grown: Sequence[Batch]) -> bool:
        """Whether no record comes before the catalog of each class."""
        named: set[int] = set()
        for batch in (*self.batches[collection].values(), *grown):
            if batch.names:
                named |= set(batch.blocks)
            elif not {0x8000 | each for each in self.collections[collection]} <= named:
                return False
        return True

    def end(self, upload: bytes) -> None:
        self.pending.pop(upload, None)
        self.uploads.add(upload)

    # --- what goes

    def erasable(self, collection: bytes, batch_id: bytes, positions: set[int]) -> bool:
        batch = self.batches.get(collection, {}).get(batch_id)
        return batch is not None and max(positions) < batch.records and not positions & batch.erased

    def erase(
        self,
        author: bytes,
        collection: bytes,
        batch_id: bytes,
        positions: set[int],
        left: dict[int, bytes],
        *,
        stale: bool = False,
    ) -> bool:
        """`left` has the hash of each field's emptied block; `stale`: made of other blocks."""
        ok = (
            self.may(author, STAFF, OPEN)
            and self.erasable(collection, batch_id, positions)
            and not stale
        )
        if ok:
            self.empty(collection, batch_id, positions, left)
        return ok

    def empty(
        self, collection: bytes, batch_id: bytes, positions: set[int], left: dict[int, bytes]
    ) -> None:
        batch = self.batches[collection][batch_id]
        batch.erased |= positions
        batch.blocks = {n: (epoch, left[n]) for n, (epoch, _) in batch.blocks.items()}

    # --- what is sealed anew

    def move(
        self, author: bytes, upload: bytes, collection: bytes, moves: list[Move], last: bool
    ) -> bool:
        begun = self.begun(author, upload, collection, "moves")
        there = self.batches.get(collection, {})
        ok = (
            self.may(author, KEYED, OPEN)
            and collection in self.batches
            and begun is not None
            and all(each.field in there[each.batch].blocks for each in moves)
            and self.writable(author, {(collection, each.field, each.epoch) for each in moves})
        )
        if not ok or begun is None:
            return False
        grown = [*begun.moves, *moves]
        if len({(each.batch, each.field) for each in grown}) != len(grown):
            return False
        if not last:
            begun.moves, begun.parts = grown, begun.parts + 1
            self.pending[upload] = begun
            return True
        for each in grown:
            epoch, current = there[each.batch].blocks[each.field]
            if current == each.before and epoch < each.epoch:
                there[each.batch].blocks[each.field] = (each.epoch, each.after)
        self.end(upload)
        return True

    def counted(self, collection: bytes) -> int:
        """How many records of data are there."""
        return sum(
            batch.records - len(batch.erased)
            for batch in self.batches[collection].values()
            if not batch.names
        )
