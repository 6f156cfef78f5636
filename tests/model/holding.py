"""Who holds which key, and what every act needs: the state of the model, and its effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.model.terms import (
    ADMINS,
    PEOPLE,
    PEOPLE_FIELD,
    STAFF,
    Batch,
    Begun,
    Dealing,
    Grant,
    Party,
    Place,
)


@dataclass
class Holding:
    owner: bytes
    members: dict[bytes, Party]
    invites: dict[bytes, Party] = field(default_factory=dict)
    collections: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    gone: set[bytes] = field(default_factory=set)  # ids of retired collections
    batches: dict[bytes, dict[bytes, Batch]] = field(default_factory=lambda: {PEOPLE: {}})
    epochs: dict[Place, str] = field(default_factory=dict)  # open, tainted, retired
    pending: dict[bytes, Begun] = field(default_factory=dict)
    uploads: set[bytes] = field(default_factory=set)
    offer: tuple[bytes, int] | None = None  # buyer, expiry
    frozen: bool = False
    ended: bool = False
    invite_data: bool = True
    signers: set[bytes] = field(default_factory=set)
    head_time: int = 0
    dealing: Dealing | None = None
    attested: set[bytes] = field(default_factory=set)

    # --- who, and when

    @property
    def phase(self) -> str:
        if self.ended:
            return "ended"
        if self.frozen:
            return "frozen offer" if self.offer else "frozen"
        return "offered" if self.offer else "open"

    def parties(self) -> dict[bytes, Party]:
        return {**self.invites, **self.members}

    def has_role(self, author: bytes, roles: set[str]) -> bool:
        found = self.members.get(author)
        return found is not None and found.status == "in" and found.role in roles

    def may(
        self, author: bytes, roles: set[str], phases: set[str], *, rebuilt: bool = False
    ) -> bool:
        held_up = author == self.owner and self.dealing is not None and self.dealing.rebuilt
        return self.has_role(author, roles) and self.phase in phases and (rebuilt or not held_up)

    def admins_by_owner(self, author: bytes, role: str) -> bool:
        return role not in ADMINS or author == self.owner

    # --- who holds what

    def fields(self, collection: bytes) -> list[int]:
        if collection == PEOPLE:
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

    def live_epochs(self) -> set[Place]:
        return {place for place, state in self.epochs.items() if state != "retired"}

    def held(self, who: bytes) -> set[Place]:
        party = self.parties()[who]
        if not party.live:
            return set()
        return {place for place in self.live_epochs() if self.may_hold(party, *place[:2])}

    def covers(self, giver: Party, grant: Grant) -> bool:
        kind, where, what = grant
        if giver.role == "owner" or where in self.gone:
            return True
        if kind == "field":
            return any(self.gives(mine, where or b"", what) for mine in giver.rules)
        return any(
            mine[0] == "class" and mine[2] == what and mine[1] in (None, where)
            for mine in giver.rules
        )

    def persons(self, who: bytes) -> list[bytes]:
        """The identities under which a member has been here."""
        found = [who]
        while before := self.parties()[found[-1]].before:
            found.append(before)
        return found

    def knows(self, who: bytes) -> set[Place]:
        """The keys that a person was ever given, under whichever of its identities."""
        return {place for each in self.persons(who) for place in self.parties()[each].given}

    def remember(self) -> None:
        """Whoever holds a key now was given it, and knows it ever after."""
        for who, party in self.parties().items():
            party.given |= self.held(who)
        if self.offer:
            self.members[self.offer[0]].given |= self.live_epochs()

    # --- effects

    def taint(self, places: set[Place]) -> None:
        for place in places & self.live_epochs():
            self.epochs[place] = "tainted"
        self.drop(lambda begun: begun.kind == "moves" and bool(begun.places() & places))

    def drop(self, which: Callable[[Begun], bool]) -> None:
        self.pending = {key: each for key, each in self.pending.items() if not which(each)}

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

    def cut_off(self, member: bytes, status: str) -> None:
        """What removal and replacement have in common."""
        self.taint(self.knows(member))
        self.close_made_by(member, data_only=False)
        self.drop(lambda begun: begun.author == member)
        self.signers.discard(member)
        found = self.members[member]
        found.status, found.rules, found.planned = status, set(), set()

    def end_offer(self) -> None:
        self.taint(self.live_epochs())
        self.offer = None

    def settle(self, author: bytes, now: int) -> None:
        if self.ended:
            return
        if self.offer and now > self.offer[1]:
            self.end_offer()
        if self.has_role(author, STAFF):
            for key, invite in self.invites.items():
                if invite.live and now > invite.expiry:
                    self.close(key)
