"""What every rule of the random vaults needs: acting against both ledgers, and drawing."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from client.crypto.identity import Identity
from client.crypto.secrets import Seed
from client.crypto.wraps import NewEpoch, create_epoch
from protocol import acts
from protocol.acts import Role
from protocol.blocks import Address, BlockRef, FieldClass, Manifest, Padding
from protocol.errors import SealroomError
from tests.model.terms import PEOPLE, PEOPLE_FIELD, STAFF, Batch, Grant, Party, Place
from tests.model.whole import Model
from tests.world import World, in_order, joining, of_class, of_field

GENERAL, CORE = int(FieldClass.GENERAL), int(FieldClass.CORE)
CLASSES = (GENERAL, CORE, CORE)
CELL = 64
DAY = 86_400


class Machine(RuleBasedStateMachine):
    """Random acts by random people, against the real ledger with real keys and the model."""

    @initialize()
    def found(self) -> None:
        self.counted = 0
        owner = self.somebody_new()
        self.world = World(owner=owner, policy=replace(acts.DEFAULT_POLICY, invite_data=True))
        self.people = {owner.member_id: owner}
        self.links: dict[bytes, Identity] = {}
        self.rebuilders: dict[bytes, Identity] = {}
        self.model = Model(owner.member_id, {owner.member_id: Party("owner", "in")})
        # Which records' cells a block has in it, by its hash.
        self.contents: dict[bytes, frozenset[int]] = {}
        self.tainted: set[Place] = set()
        self.create(owner, [(PEOPLE, PEOPLE_FIELD)])
        self.add_collection(owner)
        self.greet(Role.ADMIN, {("class", None, GENERAL), ("class", None, CORE)})
        self.greet(Role.KEYLESS_ADMIN, set())
        self.greet(Role.BIDDER, {("class", None, GENERAL)})
        for collection in self.model.collections:
            self.write(owner, collection, [0, 1, 2])
            self.write(owner, collection, [0, 1, 2])

    def fresh(self, size: int) -> bytes:
        """Ids, seeds and hashes are counted, not random: what is drawn must not depend on them."""
        self.counted += 1
        return self.counted.to_bytes(size, "big")

    def somebody_new(self) -> Identity:
        return Identity(Seed(self.fresh(32)))

    # --- acting

    def act(
        self,
        author: Identity,
        predicted: Model,
        lands: bool,
        payload: acts.Payload,
        *,
        newcomers: Sequence[Identity] = (),
        created: Mapping[Address, NewEpoch] | None = None,
    ) -> bool:
        """Try it, and expect what the model said."""
        before, size = self.world.state, self.world.ledger.size
        readers = [*self.people.values(), *self.links.values(), *newcomers]
        others = [reader for reader in readers if reader is not author]
        if lands:
            self.world.land(author, payload, readers=others, created=created)
            predicted.saw(author.member_id, self.world.now, self.model.owner, self.model.signers)
            predicted.remember()
            self.model = predicted
            return True
        with pytest.raises(SealroomError):
            self.world.land(author, payload, readers=others, created=created)
        assert self.world.state is before
        assert self.world.ledger.size == size
        return False

    def settled(self, author: Identity) -> Model:
        predicted = copy.deepcopy(self.model)
        predicted.settle(author.member_id, self.world.now)
        return predicted

    def create(self, author: Identity, fields: Iterable[tuple[bytes, int]]) -> bool:
        predicted = self.settled(author)
        places = [(c, n, predicted.newest(c, n) + 1) for c, n in sorted(set(fields))]
        lands = predicted.create_epochs(author.member_id, places)
        made = {
            Address(*place): create_epoch(author, self.world.vault_id, Address(*place))
            for place in places
        }
        payload = acts.CreateEpoch(tuple(new.definition for new in made.values()))
        return self.act(author, predicted, lands, payload, created=made)

    def add_collection(self, author: Identity, collection: bytes | None = None) -> None:
        predicted, collection = self.settled(author), collection or self.fresh(16)
        lands = predicted.define(author.member_id, collection, CLASSES)
        classes = tuple(map(FieldClass, CLASSES))
        if self.act(author, predicted, lands, acts.DefineCollection(collection, classes)):
            owner = self.people[self.model.owner]
            if self.create(owner, [(collection, n) for n in self.model.fields(collection)]):
                for number in (0x8000, 0x8002):
                    self.write(owner, collection, [number])

    def block(self, number: int, epoch: int, records: int, content: Iterable[int]) -> BlockRef:
        sha256 = self.fresh(32)
        self.contents[sha256] = frozenset(content)
        return BlockRef(number, epoch, bytes(16), CELL * records, sha256, Padding.UNIFORM)

    def sealed(
        self, collection: bytes, numbers: Sequence[int], records: int, older: int = 0
    ) -> tuple[Manifest, Batch]:
        """Return a batch as both ledgers take it; `older`: how many epochs back the first lies."""
        refs = []
        for number in numbers:
            newest = self.model.newest(collection, number)
            epoch = max(1, newest - (older if number == numbers[0] else 0))
            refs.append(self.block(number, epoch, records, range(records)))
        blocks = {ref.field: (ref.epoch, ref.sha256) for ref in refs}
        return Manifest(self.fresh(16), records, tuple(refs)), Batch(records, blocks)

    def write(
        self,
        author: Identity,
        collection: bytes,
        numbers: list[int],
        upload: bytes | None = None,
        last: bool = True,
        older: int = 0,
    ) -> None:
        predicted, upload = self.settled(author), upload or self.fresh(16)
        manifest, batch = self.sealed(collection, numbers, 3, older)
        known = predicted.pending.get(upload)
        payload = acts.Commit(upload, collection, known.parts if known else 0, last, (manifest,))
        given = (author.member_id, upload, collection, manifest.batch_id, batch, last)
        self.act(author, predicted, predicted.commit(*given), payload)

    # --- people who come in, which other rules need

    def send(
        self,
        author: Identity,
        link: Identity,
        role: Role,
        rules: set[Grant],
        carries: bool = False,
        days: int = 20,
    ) -> None:
        expiry = self.world.now + days * DAY
        made = Party(
            role.value,
            "open",
            planned=rules,
            inviter=author.member_id,
            carries=carries,
            expiry=expiry,
        )
        predicted = self.settled(author)
        lands = predicted.invite(author.member_id, link.member_id, made)
        access_key = self.somebody_new().public.signing_key
        card = link.card(self.world.vault_id)
        payload = acts.Invite(card, role, self.typed(rules), carries, expiry, access_key)
        if self.act(author, predicted, lands, payload, newcomers=[link]):
            self.links[link.member_id] = link

    def greet(self, role: Role, rules: set[Grant]) -> None:
        """The owner invites somebody, who joins, and is confirmed; where that lands."""
        owner, link = self.people[self.model.owner], self.somebody_new()
        self.send(owner, link, role, rules)
        if link.member_id in self.links:
            self.enter(link, confirm=True)

    def enter(self, link: Identity, confirm: bool) -> None:
        newcomer, predicted = self.somebody_new(), self.settled(link)
        lands = predicted.join(link.member_id, newcomer.member_id, self.world.now)
        payload = joining(newcomer, self.world.vault_id, link)
        if self.act(link, predicted, lands, payload, newcomers=[newcomer]):
            self.people[newcomer.member_id] = newcomer
            if confirm:
                self.do_confirm(self.people[self.model.owner], newcomer.member_id)

    def do_confirm(self, author: Identity, member: bytes) -> None:
        predicted = self.settled(author)
        lands = predicted.confirm(author.member_id, member)
        self.act(author, predicted, lands, acts.Confirm(member))

    # --- drawing

    def anyone(self, data: st.DataObject, *likely: bytes) -> Identity:
        """Somebody, mostly of those who may do something; former members too."""
        staff = [who for who in self.people if self.model.has_role(who, STAFF)]
        pools = [[self.model.owner], list(likely) or staff]
        return self.people[self.one_of(data, data.draw(st.sampled_from(pools)))]

    def one_of(self, data: st.DataObject, likely: list[bytes]) -> bytes:
        """One of those whom it concerns, and sometimes anybody at all."""
        pool = data.draw(st.sampled_from([likely, likely, likely, list(self.people)]))
        return data.draw(st.sampled_from(pool or list(self.people)))

    def those_in(self, *roles: str) -> list[bytes]:
        return [who for who in self.people if self.model.has_role(who, set(roles))]

    def some_rules(self, data: st.DataObject, least: int = 0) -> set[Grant]:
        where = sorted({*self.model.collections, *self.model.gone}) or [self.fresh(16)]
        grants = st.one_of(
            st.tuples(
                st.just("class"),
                st.none() | st.sampled_from(where),
                st.sampled_from([GENERAL, CORE]),
            ),
            st.tuples(st.just("field"), st.sampled_from(where), st.integers(0, 2)),
        )
        return set(data.draw(st.lists(grants, min_size=least, max_size=2)))

    def a_collection(self, data: st.DataObject) -> bytes:
        """One of data that is there; now and then one that is gone, or that of people."""
        there = sorted(self.model.collections)
        others = [PEOPLE, *sorted(self.model.gone)]
        pool = data.draw(st.sampled_from([there, there, there, there, others])) or others
        return data.draw(st.sampled_from(pool))

    @staticmethod
    def typed(rules: set[Grant]) -> tuple[acts.Rule, ...]:
        return in_order(
            of_class(FieldClass(what), where) if kind == "class" else of_field(where or b"", what)
            for kind, where, what in rules
        )
