"""The model's acts on members, invites and grants."""

from __future__ import annotations

from dataclasses import replace

from tests.model.holding import Holding
from tests.model.terms import (
    IDLE,
    KEYED,
    LIVE,
    OPEN,
    ROLES,
    STAFF,
    TAKES_DATA,
    Grant,
    Party,
)


class Members(Holding):
    def exists(self, grant: Grant) -> bool:
        kind, where, what = grant
        if where is None:
            return True
        return where in self.collections and (
            kind == "class" or what < len(self.collections[where])
        )

    def invite(self, author: bytes, key: bytes, made: Party) -> bool:
        ok = (
            self.may(author, STAFF, OPEN)
            and self.admins_by_owner(author, made.role)
            and (not made.planned or made.role in TAKES_DATA)
            and all(map(self.exists, made.planned))
            and (
                not made.carries
                or (
                    self.invite_data
                    and all(self.covers(self.members[author], g) for g in made.planned)
                )
            )
        )
        if ok:
            self.invites[key] = made
        return ok

    def withdraw_invite(self, author: bytes, key: bytes) -> bool:
        ok = (
            self.may(author, STAFF, IDLE)
            and self.invites[key].live
            and self.admins_by_owner(author, self.invites[key].role)
        )
        if ok:
            self.close(key)
        return ok

    def join(self, key: bytes, newcomer: bytes, now: int) -> bool:
        invite = self.invites[key]
        ok = self.phase in OPEN and invite.live and now <= invite.expiry
        if ok:
            rules = set(invite.planned) if invite.carries else set()
            self.close(key)
            self.members[newcomer] = Party(invite.role, "waiting", rules, set(invite.planned))
        return ok

    def confirm(self, author: bytes, member: bytes) -> bool:
        found = self.members[member]
        ok = (
            self.may(author, STAFF, OPEN)
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
            self.may(author, {"owner"}, OPEN)
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
                self.drop(lambda begun: begun.author == member)
                self.close_made_by(member, data_only=role in STAFF)
        return ok

    def grant(self, author: bytes, member: bytes, rules: set[Grant]) -> bool:
        found = self.members[member]
        ok = (
            self.may(author, KEYED, OPEN)
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
            self.may(author, STAFF, IDLE)
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
            self.may(author, STAFF, LIVE, rebuilt=True)
            and found.live
            and found.role != "owner"
            and self.admins_by_owner(author, found.role)
            and (self.offer is None or self.offer[0] != member)
        )
        if ok:
            self.cut_off(member, "out")
        return ok

    def rotate(self, author: bytes, new: bytes, named: int | None) -> bool:
        """A member goes on under new keys; `named` is the dealing that it says it used."""
        used = self.dealing is not None and (
            (self.dealing.at, self.dealing.owner) == (named, author) and self.dealing.rebuilt
        )
        ok = (
            self.may(author, ROLES, LIVE, rebuilt=True)
            and (author == self.owner or self.phase in OPEN)
            and (named is None or used)
        )
        if ok:
            was = replace(self.members[author])
            self.cut_off(author, "replaced")
            follows = replace(was, status="waiting", given=set(), before=author)
            self.members[new] = follows
            if author == self.owner:
                follows.status, self.owner, self.dealing = "in", new, None
        return ok
