"""Random vaults against a second, small model of who may do what and who may hold which key.

The model is written from the protocol's rules over plain sets and names; it shares no code with
the ledger. Every step predicts whether the act lands, and every step compares.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from client.crypto.identity import Identity
from client.crypto.secrets import Seed
from client.crypto.wraps import NewEpoch, create_epoch
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD, Address, FieldClass
from protocol.errors import SealroomError
from protocol.ledger import Ledger
from tests.world import World, in_order, joining, of_class, of_field

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE
DAY = 86_400
ADMINS = {"admin", "keyless-admin"}
STAFF = {"owner", "admin", "keyless-admin"}
KEYED = {"owner", "admin"}
TAKES_DATA = {"admin", "bidder"}
# A rule, here: ("class", collection or None, class) or ("field", collection, number).
Grant = tuple[str, bytes | None, int]
Place = tuple[bytes, int, int]  # collection, field, epoch


@dataclass
class Party:
    role: str
    status: str  # waiting, in, out; an invite: open, out
    rules: set[Grant] = field(default_factory=set)
    planned: set[Grant] = field(default_factory=set)
    knew: set[Place] = field(default_factory=set)  # keys it was ever given
    inviter: bytes = b""
    carries: bool = False
    expiry: int = 0

    @property
    def live(self) -> bool:
        return self.status != "out"

    def named(self) -> set[Grant]:
        return self.rules | self.planned

    def in_force(self) -> set[Grant]:
        return self.planned if self.carries else self.rules


@dataclass
class Model:
    owner: bytes
    members: dict[bytes, Party]
    invites: dict[bytes, Party] = field(default_factory=dict)
    collections: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    epochs: dict[Place, bool] = field(default_factory=dict)  # to whether it is tainted
    pending: dict[bytes, tuple[bytes, set[Place]]] = field(default_factory=dict)
    offer: tuple[bytes, int] | None = None  # buyer, expiry

    # --- who holds what

    def parties(self) -> dict[bytes, Party]:
        return {**self.invites, **self.members}

    def fields(self, collection: bytes) -> list[int]:
        if collection == PEOPLE_COLLECTION:
            return [PEOPLE_FIELD]
        classes = self.collections[collection]
        return [*range(len(classes)), *sorted({0x8000 | each for each in classes})]

    def gives(self, grant: Grant, collection: bytes, number: int) -> bool:
        kind, where, what = grant
        if where is not None and where != collection:
            return False
        return what == (number if kind == "field" else self.collections[collection][number])

    def may_hold(self, party: Party, collection: bytes, number: int) -> bool:
        if party.role == "owner":
            return True
        if number == PEOPLE_FIELD:
            return party.role in STAFF
        if number < 0x8000:
            return any(self.gives(grant, collection, number) for grant in party.in_force())
        of_the_class = [
            n for n, each in enumerate(self.collections[collection]) if each == number & 0xFF
        ]
        return party.role in STAFF or any(
            self.gives(grant, collection, n) for grant in party.named() for n in of_the_class
        )

    def held(self, who: bytes) -> set[Place]:
        party = self.parties()[who]
        if not party.live:
            return set()
        return {place for place in self.epochs if self.may_hold(party, place[0], place[1])}

    def covers(self, giver: Party, grant: Grant) -> bool:
        kind, where, what = grant
        if giver.role == "owner":
            return True
        if kind == "field":
            return any(self.gives(mine, where or b"", what) for mine in giver.rules)
        return any(
            mine[0] == "class" and mine[2] == what and mine[1] in (None, where)
            for mine in giver.rules
        )

    def remember(self) -> None:
        """Whoever holds a key now has known it ever since."""
        for who, party in self.parties().items():
            party.knew |= self.held(who)
        if self.offer:
            self.members[self.offer[0]].knew |= set(self.epochs)

    # --- effects

    def taint(self, places: set[Place]) -> None:
        for place in places:
            self.epochs[place] = True
        self.pending = {k: v for k, v in self.pending.items() if not v[1] & places}

    @staticmethod
    def data(places: set[Place]) -> set[Place]:
        return {place for place in places if place[1] < 0x8000}

    def close(self, invite: bytes) -> None:
        self.taint(self.data(self.held(invite)))
        self.invites[invite].status = "out"

    def close_made_by(self, member: bytes, *, data_only: bool) -> None:
        for key, invite in self.invites.items():
            if invite.live and invite.inviter == member and (invite.carries or not data_only):
                self.close(key)

    def remove(self, member: bytes) -> None:
        self.taint(self.members[member].knew)
        self.close_made_by(member, data_only=False)
        self.pending = {k: v for k, v in self.pending.items() if v[0] != member}
        self.members[member] = Party(
            self.members[member].role, "out", knew=self.members[member].knew
        )

    def end_offer(self) -> None:
        self.taint(set(self.epochs))
        self.offer = None

    def settle(self, author: bytes, now: int) -> None:
        if self.offer and now > self.offer[1]:
            self.end_offer()
        if author in self.members and self.may(author, STAFF):
            for key, invite in self.invites.items():
                if invite.live and now > invite.expiry:
                    self.close(key)

    # --- acts: each says whether it lands, and if so does what it does

    def may(self, author: bytes, roles: set[str]) -> bool:
        found = self.members[author]
        return found.status == "in" and found.role in roles

    def admins_by_owner(self, author: bytes, role: str) -> bool:
        return role not in ADMINS or author == self.owner

    def exists(self, grant: Grant) -> bool:
        kind, where, what = grant
        if where is None:
            return True
        return where in self.collections and (
            kind == "class" or what < len(self.collections[where])
        )

    def invite(self, author: bytes, key: bytes, made: Party) -> bool:
        ok = (
            self.offer is None
            and self.may(author, STAFF)
            and self.admins_by_owner(author, made.role)
            and (not made.planned or made.role in TAKES_DATA)
            and all(map(self.exists, made.planned))
            and (
                not made.carries or all(self.covers(self.members[author], g) for g in made.planned)
            )
        )
        if ok:
            self.invites[key] = made
        return ok

    def withdraw_invite(self, author: bytes, key: bytes) -> bool:
        ok = (
            self.offer is None
            and self.may(author, STAFF)
            and self.invites[key].live
            and self.admins_by_owner(author, self.invites[key].role)
        )
        if ok:
            self.close(key)
        return ok

    def join(self, key: bytes, newcomer: bytes, now: int) -> bool:
        invite = self.invites[key]
        ok = self.offer is None and invite.live and now <= invite.expiry
        if ok:
            rules = set(invite.planned) if invite.carries else set()
            self.close(key)
            self.members[newcomer] = Party(invite.role, "waiting", rules, set(invite.planned))
        return ok

    def confirm(self, author: bytes, member: bytes) -> bool:
        found = self.members[member]
        ok = (
            self.offer is None
            and self.may(author, STAFF)
            and found.status == "waiting"
            and self.admins_by_owner(author, found.role)
            and all(self.covers(self.members[author], g) for g in found.planned)
        )
        if ok:
            found.status, found.rules, found.planned = "in", found.named(), set()
        return ok

    def change_role(self, author: bytes, member: bytes, role: str) -> bool:
        found = self.members[member]
        ok = (
            self.offer is None
            and author == self.owner
            and found.status == "in"
            and found.role not in ("owner", role)
        )
        if ok:
            before = self.held(member)
            found.role = role
            if role not in TAKES_DATA:
                found.rules = set()
            self.taint(self.data(before - self.held(member)))
            if role not in KEYED:
                self.pending = {k: v for k, v in self.pending.items() if v[0] != member}
                self.close_made_by(member, data_only=role in STAFF)
        return ok

    def grant(self, author: bytes, member: bytes, rules: set[Grant]) -> bool:
        found = self.members[member]
        ok = (
            self.offer is None
            and self.may(author, KEYED)
            and found.status == "in"
            and found.role in TAKES_DATA
            and all(self.exists(g) and self.covers(self.members[author], g) for g in rules)
            and not rules <= found.rules
        )
        if ok:
            found.rules |= rules
        return ok

    def withdraw(self, author: bytes, member: bytes, rules: set[Grant]) -> bool:
        found = self.members[member]
        ok = (
            self.offer is None
            and self.may(author, STAFF)
            and found.live
            and self.admins_by_owner(author, found.role)
            and rules <= found.named()
        )
        if ok:
            before = self.held(member)
            found.rules, found.planned = found.rules - rules, found.planned - rules
            self.taint(self.data(before - self.held(member)))
            self.close_made_by(member, data_only=True)
        return ok

    def revoke(self, author: bytes, member: bytes) -> bool:
        found = self.members[member]
        ok = (
            self.may(author, STAFF)
            and found.live
            and found.role != "owner"
            and self.admins_by_owner(author, found.role)
            and (self.offer is None or self.offer[0] != member)
        )
        if ok:
            self.remove(member)
        return ok

    def define(self, author: bytes, collection: bytes, classes: tuple[int, ...]) -> bool:
        ok = self.offer is None and self.may(author, KEYED)
        if ok:
            self.collections[collection] = classes
        return ok

    def newest(self, collection: bytes, number: int) -> int:
        return sum(place[:2] == (collection, number) for place in self.epochs)

    def create_epochs(self, author: bytes, places: list[Place]) -> bool:
        ok = (
            self.offer is None
            and self.may(author, KEYED)
            and all(self.may_hold(self.members[author], place[0], place[1]) for place in places)
        )
        if ok:
            self.epochs.update(dict.fromkeys(places, False))
        return ok

    def commit(
        self, author: bytes, upload: bytes, collection: bytes, numbers: list[int], last: bool
    ) -> bool:
        places = {(collection, n, self.newest(collection, n)) for n in numbers}
        started = self.pending.get(upload)
        ok = (
            self.offer is None
            and self.may(author, STAFF if collection == PEOPLE_COLLECTION else KEYED)
            and all(self.may_hold(self.members[author], *place[:2]) for place in places)
            and all(self.epochs.get(place) is False for place in places)
        )
        if ok and last:
            self.pending.pop(upload, None)
        elif ok:
            self.pending[upload] = (author, places | (started[1] if started else set()))
        return ok

    def make_offer(self, author: bytes, buyer: bytes, expiry: int) -> bool:
        found = self.members[buyer]
        ok = (
            self.offer is None
            and author == self.owner
            and (found.role, found.status) == ("bidder", "in")
        )
        if ok:
            self.offer = (buyer, expiry)
            self.pending = {}
        return ok

    def accept(self, author: bytes) -> bool:
        ok = self.offer is not None and self.offer[0] == author
        if ok:
            self.taint(set(self.epochs))
            for key, invite in self.invites.items():
                if invite.live:
                    self.close(key)
            for member, found in list(self.members.items()):
                if found.live and member != author:
                    self.remove(member)
            self.owner, self.offer = author, None
            self.members[author].role = "owner"
            self.members[author].rules = set()
        return ok

    def reject(self, author: bytes) -> bool:
        ok = self.offer is not None and self.offer[0] == author
        if ok:
            self.end_offer()
        return ok


CLASSES = (int(GENERAL), int(CORE), int(CORE))


class VaultMachine(RuleBasedStateMachine):
    """Random acts by random people, against the real ledger with real keys and the model."""

    @initialize()
    def found(self) -> None:
        self.counted = 0
        owner = self.somebody_new()
        self.world = World(owner=owner, policy=replace(acts.DEFAULT_POLICY, invite_data=True))
        self.people = {owner.member_id: owner}
        self.links: dict[bytes, Identity] = {}
        self.model = Model(owner.member_id, {owner.member_id: Party("owner", "in")})
        self.tainted: set[Place] = set()
        self.create(owner, [(PEOPLE_COLLECTION, PEOPLE_FIELD)])
        self.add_collection(owner)
        self.greet(Role.ADMIN, {("class", None, int(CORE))})
        self.greet(Role.KEYLESS_ADMIN, set())
        self.greet(Role.BIDDER, {("class", None, int(GENERAL))})

    def fresh(self, size: int) -> bytes:
        """Ids and seeds are counted, not random: what is drawn must not depend on them."""
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
    ) -> None:
        """Try it, and expect what the model said."""
        before, size = self.world.state, self.world.ledger.size
        readers = [*self.people.values(), *self.links.values(), *newcomers]
        others = [reader for reader in readers if reader is not author]
        if lands:
            self.world.land(author, payload, readers=others, created=created)
            predicted.remember()
            self.model = predicted
            return
        with pytest.raises(SealroomError):
            self.world.land(author, payload, readers=others, created=created)
        assert self.world.state is before
        assert self.world.ledger.size == size

    def settled(self, author: Identity) -> Model:
        predicted = copy.deepcopy(self.model)
        if self.model.parties()[author.member_id].live:
            predicted.settle(author.member_id, self.world.now)
        return predicted

    def create(self, author: Identity, fields: list[tuple[bytes, int]]) -> None:
        predicted = self.settled(author)
        places = [(c, n, predicted.newest(c, n) + 1) for c, n in sorted(set(fields))]
        lands = predicted.create_epochs(author.member_id, places)
        made = {
            Address(*place): create_epoch(author, self.world.vault_id, Address(*place))
            for place in places
        }
        payload = acts.CreateEpoch(tuple(new.definition for new in made.values()))
        self.act(author, predicted, lands, payload, created=made)

    def add_collection(self, author: Identity) -> None:
        predicted, collection = self.settled(author), self.fresh(16)
        lands = predicted.define(author.member_id, collection, CLASSES)
        classes = tuple(map(FieldClass, CLASSES))
        self.act(author, predicted, lands, acts.DefineCollection(collection, classes))
        if lands:
            owner = self.people[self.model.owner]
            self.create(owner, [(collection, n) for n in self.model.fields(collection)])
            for number in (0x8000, 0x8002):
                self.write(owner, collection, [number])

    def write(
        self,
        author: Identity,
        collection: bytes,
        numbers: list[int],
        upload: bytes | None = None,
        last: bool = True,
    ) -> None:
        predicted, upload = self.settled(author), upload or self.fresh(16)
        lands = predicted.commit(author.member_id, upload, collection, numbers, last)
        manifest = self.world.manifest(collection, numbers, 1)
        known = self.world.state.pending.get(upload)
        part = known.parts if known else 0
        payload = acts.Commit(upload, collection, part, last, (manifest,))
        self.act(author, predicted, lands, payload)

    # --- drawing

    def anyone(self, data: st.DataObject) -> Identity:
        """Somebody, mostly of those who may do something."""
        staff = [who for who in self.people if self.model.may(who, STAFF)]
        return self.people[
            self.one_of(data, data.draw(st.sampled_from([[self.model.owner], staff])))
        ]

    def one_of(self, data: st.DataObject, likely: list[bytes]) -> bytes:
        """One of those whom it concerns, and sometimes anybody at all."""
        pool = data.draw(st.sampled_from([likely, likely, likely, list(self.people)]))
        return data.draw(st.sampled_from(pool or list(self.people)))

    def those_in(self, *roles: str) -> list[bytes]:
        return [who for who in self.people if self.model.may(who, set(roles))]

    def some_rules(self, data: st.DataObject, least: int = 0) -> set[Grant]:
        where = sorted(self.model.collections)
        grants = st.one_of(
            st.tuples(
                st.just("class"),
                st.none() | st.sampled_from(where),
                st.sampled_from([int(GENERAL), int(CORE)]),
            ),
            st.tuples(st.just("field"), st.sampled_from(where), st.integers(0, 2)),
        )
        return set(data.draw(st.lists(grants, min_size=least, max_size=2)))

    @staticmethod
    def typed(rules: set[Grant]) -> tuple[acts.Rule, ...]:
        return in_order(
            of_class(FieldClass(what), where) if kind == "class" else of_field(where or b"", what)
            for kind, where, what in rules
        )

    # --- the rules of the machine

    @rule(data=st.data(), role=st.sampled_from(list(Role)[1:]), carries=st.booleans())
    def invite(self, data: st.DataObject, role: Role, carries: bool) -> None:
        author, rules, link = self.anyone(data), self.some_rules(data), self.somebody_new()
        if role in (Role.KEYLESS_ADMIN, Role.AUDITOR) and data.draw(st.booleans()):
            rules = set()
        days = data.draw(st.sampled_from([3, 20]))
        self.send(author, link, role, rules, carries, days)

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
        made = Party(role.value, "open", set(), rules, set(), author.member_id, carries, expiry)
        predicted = self.settled(author)
        lands = predicted.invite(author.member_id, link.member_id, made)
        access_key = self.somebody_new().public.signing_key
        card = link.card(self.world.vault_id)
        payload = acts.Invite(card, role, self.typed(rules), carries, expiry, access_key)
        self.act(author, predicted, lands, payload, newcomers=[link])
        if lands:
            self.links[link.member_id] = link

    def greet(self, role: Role, rules: set[Grant]) -> None:
        """The owner invites somebody, who joins, and is confirmed; where that lands."""
        owner, link = self.people[self.model.owner], self.somebody_new()
        self.send(owner, link, role, rules)
        if link.member_id in self.links:
            self.enter(link, confirm=True)

    @precondition(lambda self: self.model.offer is None)
    @rule(data=st.data(), role=st.sampled_from(list(Role)[1:]))
    def welcome(self, data: st.DataObject, role: Role) -> None:
        self.greet(role, self.some_rules(data) if role.value in TAKES_DATA else set())

    @precondition(lambda self: self.links)
    @rule(data=st.data())
    def withdraw_invite(self, data: st.DataObject) -> None:
        self.do_withdraw_invite(self.anyone(data), data.draw(st.sampled_from(sorted(self.links))))

    def do_withdraw_invite(self, author: Identity, link: bytes) -> None:
        predicted = self.settled(author)
        lands = predicted.withdraw_invite(author.member_id, link)
        self.act(author, predicted, lands, acts.WithdrawInvite(link))

    @precondition(lambda self: any(each.live for each in self.model.invites.values()))
    @rule(data=st.data(), confirm=st.booleans())
    def join(self, data: st.DataObject, confirm: bool) -> None:
        known = [k for k, each in self.model.invites.items() if each.live] or sorted(self.links)
        self.enter(self.links[data.draw(st.sampled_from(sorted(known)))], confirm)

    @precondition(lambda self: len(self.links) > 1)
    @rule(data=st.data())
    def join_by_another_s_card(self, data: st.DataObject) -> None:
        """What somebody made to join by one invite, sent by the holder of another."""
        links = st.sampled_from(sorted(self.links))
        one, other = data.draw(st.lists(links, min_size=2, max_size=2, unique=True))
        payload = joining(self.somebody_new(), self.world.vault_id, self.links[one])
        self.act(self.links[other], self.settled(self.links[other]), False, payload)

    def enter(self, link: Identity, confirm: bool) -> None:
        newcomer, predicted = self.somebody_new(), self.settled(link)
        lands = predicted.join(link.member_id, newcomer.member_id, self.world.now)
        payload = joining(newcomer, self.world.vault_id, link)
        self.act(link, predicted, lands, payload, newcomers=[newcomer])
        if lands:
            self.people[newcomer.member_id] = newcomer
            if confirm:
                self.do_confirm(self.people[self.model.owner], newcomer.member_id)

    @precondition(lambda self: any(p.status == "waiting" for p in self.model.members.values()))
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        waiting = [w for w, each in self.model.members.items() if each.status == "waiting"]
        member = data.draw(st.sampled_from(waiting or sorted(self.people)))
        self.do_confirm(self.anyone(data), member)

    def do_confirm(self, author: Identity, member: bytes) -> None:
        predicted = self.settled(author)
        lands = predicted.confirm(author.member_id, member)
        self.act(author, predicted, lands, acts.Confirm(member))

    @rule(data=st.data(), role=st.sampled_from(list(Role)[1:]))
    def change_role(self, data: st.DataObject, role: Role) -> None:
        author = self.people[self.one_of(data, [self.model.owner])]
        member = self.one_of(data, self.those_in("admin", "keyless-admin", "bidder", "auditor"))
        predicted = self.settled(author)
        lands = predicted.change_role(author.member_id, member, role.value)
        self.act(author, predicted, lands, acts.ChangeRole(member, role))

    @rule(data=st.data())
    def grant(self, data: st.DataObject) -> None:
        author = self.anyone(data)
        member = self.one_of(data, self.those_in("admin", "bidder"))
        rules, predicted = self.some_rules(data, 1), self.settled(author)
        lands = predicted.grant(author.member_id, member, rules)
        self.act(author, predicted, lands, acts.Grant(member, self.typed(rules)))

    @rule(data=st.data())
    def withdraw_grant(self, data: st.DataObject) -> None:
        author = self.anyone(data)
        granted = [who for who in sorted(self.people) if self.model.members[who].named()]
        member = data.draw(st.sampled_from(granted or sorted(self.people)))
        named = sorted(self.model.members[member].named(), key=repr)
        rules = {data.draw(st.sampled_from(named))} if named else self.some_rules(data, 1)
        self.do_withdraw_grant(author, member, rules)

    @precondition(lambda self: self.model.offer is None)
    @rule(data=st.data(), role=st.sampled_from([Role.ADMIN, Role.KEYLESS_ADMIN]))
    def admins_among_themselves(self, data: st.DataObject, role: Role) -> None:
        """One of them takes from another, or from itself, what the owner gave."""
        author = self.people[self.one_of(data, self.those_in(*ADMINS))]
        granted = [w for w in self.those_in("admin") if self.model.members[w].named()]
        if data.draw(st.booleans()) and granted:
            member = data.draw(st.sampled_from(granted))
            named = sorted(self.model.members[member].named(), key=repr)
            self.do_withdraw_grant(author, member, {data.draw(st.sampled_from(named))})
            return
        link = self.somebody_new()
        self.send(self.people[self.model.owner], link, role, set())
        if link.member_id in self.links:
            self.do_withdraw_invite(author, link.member_id)

    def do_withdraw_grant(self, author: Identity, member: bytes, rules: set[Grant]) -> None:
        predicted = self.settled(author)
        lands = predicted.withdraw(author.member_id, member, rules)
        self.act(author, predicted, lands, acts.WithdrawGrant(member, self.typed(rules)))

    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        author = self.anyone(data)
        live = [who for who in self.people if self.model.members[who].live]
        member = self.one_of(data, [who for who in live if who != self.model.owner])
        predicted = self.settled(author)
        lands = predicted.revoke(author.member_id, member)
        self.act(author, predicted, lands, acts.Revoke(member, Reason.OTHER))

    @precondition(lambda self: len(self.model.collections) < 3)
    @rule(data=st.data())
    def define(self, data: st.DataObject) -> None:
        self.add_collection(self.anyone(data))

    @rule(data=st.data())
    def rotate(self, data: st.DataObject) -> None:
        """New epochs for what is tainted, or for anything."""
        stale = [(c, n) for c, n, _ in self.model.epochs if self.is_stale(c, n)]
        every = sorted({(c, n) for c, n, _ in self.model.epochs})
        pool = data.draw(st.sampled_from([stale or every, every]))
        fields = data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4))
        self.create(self.anyone(data), fields)

    def is_stale(self, collection: bytes, number: int) -> bool:
        return self.model.epochs[collection, number, self.model.newest(collection, number)]

    @rule(data=st.data(), last=st.sampled_from([True, True, True, False]))
    def commit(self, data: st.DataObject, last: bool) -> None:
        author = self.anyone(data)
        if data.draw(st.integers(0, 2)) == 0:
            author = self.people[self.one_of(data, self.those_in("keyless-admin"))]
        collection = data.draw(st.sampled_from(sorted(self.model.collections)))
        numbers = data.draw(
            st.sampled_from([[0, 1, 2], [0, 1, 2], [0x8000], [0x8002], [PEOPLE_FIELD]])
        )
        if numbers == [PEOPLE_FIELD]:
            collection = PEOPLE_COLLECTION
        mine = [
            upload
            for upload, each in self.world.state.pending.items()
            if (each.author, each.collection) == (author.member_id, collection)
        ]
        upload = data.draw(st.sampled_from(sorted(mine))) if mine else None
        self.write(author, collection, numbers, upload, last)

    @rule(data=st.data())
    def offer(self, data: st.DataObject) -> None:
        author = self.people[self.one_of(data, [self.model.owner])]
        if data.draw(st.booleans()):
            self.write(author, PEOPLE_COLLECTION, [PEOPLE_FIELD], last=False)
        buyer = self.one_of(data, self.those_in("bidder"))
        expiry = self.world.now + 10 * DAY
        predicted = self.settled(author)
        lands = predicted.make_offer(author.member_id, buyer, expiry)
        # Settling an expiry does not change the roots.
        payload = acts.Offer(buyer, expiry, self.world.state.roots())
        self.act(author, predicted, lands, payload)

    @precondition(lambda self: self.model.offer)
    @rule(data=st.data(), accept=st.booleans(), by_buyer=st.sampled_from([True, True, False]))
    def answer(self, data: st.DataObject, accept: bool, by_buyer: bool) -> None:
        assert self.model.offer
        assert self.world.state.offer
        author = self.people[self.model.offer[0]] if by_buyer else self.anyone(data)
        predicted, index = self.settled(author), self.world.state.offer.index
        if accept:
            lands = predicted.accept(author.member_id)
            receipts = self.world.receipts()
            self.act(author, predicted, lands, acts.Accept(index, self.world.ledger.size, receipts))
        else:
            lands = predicted.reject(author.member_id)
            self.act(author, predicted, lands, acts.Reject(index, Reason.TERMS))

    @rule(data=st.data(), days=st.sampled_from([0, 0, 4, 11]))
    def wait(self, data: st.DataObject, days: int) -> None:
        self.world.now += days * DAY
        author = self.anyone(data)
        predicted = self.settled(author)
        lands = self.model.members[author.member_id].live
        self.act(author, predicted, lands, acts.Expire())

    # --- what always holds

    @invariant()
    def members_and_their_rules_are_the_model_s(self) -> None:
        state = self.world.state
        assert state.owner == self.model.owner
        assert [m.id for m in state.members.values() if m.live and m.role is Role.OWNER] == [
            self.model.owner
        ]
        status = {"waiting": "unconfirmed", "in": "confirmed", "out": "revoked"}
        assert {m.id: (m.role.value, m.status.value) for m in state.members.values()} == {
            who: (party.role, status[party.status]) for who, party in self.model.members.items()
        }
        for who, party in self.model.members.items():
            assert state.members[who].rules == self.typed(party.rules)
            assert state.members[who].planned == self.typed(party.planned)
        assert {k for k, each in state.invites.items() if each.live} == {
            k for k, each in self.model.invites.items() if each.live
        }
        assert (state.offer.buyer if state.offer else None) == (
            self.model.offer[0] if self.model.offer else None
        )
        assert set(state.pending) == set(self.model.pending)

    @invariant()
    def holders_are_exactly_the_model_s(self) -> None:
        for who, party in self.model.parties().items():
            found = self.world.held((self.people | self.links)[who])
            assert {(a.collection, a.field, a.epoch) for a in found} == self.model.held(who), party

    @invariant()
    def wraps_are_on_record_for_exactly_those_ever_entitled(self) -> None:
        on_record = {((a.collection, a.field, a.epoch), who) for a, who in self.world.wraps}
        assert on_record == {
            (place, who) for who, party in self.model.parties().items() for place in party.knew
        }

    @invariant()
    def everybody_opened_what_it_was_given(self) -> None:
        for who, party in self.model.parties().items():
            opened = self.world.opened.get(who, {})
            assert {(a.collection, a.field, a.epoch) for a in opened} == party.knew

    @invariant()
    def taints_are_the_model_s_and_never_lift(self) -> None:
        found = {(a.collection, a.field, a.epoch) for a in self.world.tainted()}
        assert found == {place for place, tainted in self.model.epochs.items() if tainted}
        assert self.tainted <= found
        self.tainted = found

    @invariant()
    def nobody_can_read_what_is_written_next_but_those_who_may(self) -> None:
        """Keys known by any way, links of one's own making included, against open epochs."""
        reads: dict[bytes, set[Place]] = {w: set(p.knew) for w, p in self.model.members.items()}
        for invite in self.model.invites.values():
            reads[invite.inviter] |= invite.knew
        buyer = self.model.offer[0] if self.model.offer else None
        for who, places in reads.items():
            open_places = {place for place in places if not self.model.epochs[place]}
            if not self.model.members[who].live:
                assert not open_places, "a former member"
            elif who != buyer:
                assert self.model.data(open_places) <= self.model.held(who)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        again = Ledger()
        for leaf, _ in self.world.leaves:
            again.append(again.check(leaf))
        assert again.state == self.world.state
        assert again.tree.root() == self.world.ledger.tree.root()


TestVault = VaultMachine.TestCase
TestVault.settings = settings(
    max_examples=int(os.environ.get("SEALROOM_MODEL_EXAMPLES", "20")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
pytestmark = [pytest.mark.threat(each) for each in ("V8", "W1", "W2", "W3", "W4", "S11")]
