"""Rules of the random vaults on members, invites, grants and identities."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Reason, Role, Statement
from tests.model.machine import Machine
from tests.model.terms import ADMINS, TAKES_DATA
from tests.world import joining, rotating

NOT_OWNER = list(Role)[1:]


class MemberRules(Machine):
    @rule(data=st.data(), role=st.sampled_from(NOT_OWNER), carries=st.booleans())
    def invite(self, data: st.DataObject, role: Role, carries: bool) -> None:
        author, rules, link = self.anyone(data), self.some_rules(data), self.somebody_new()
        if role in (Role.KEYLESS_ADMIN, Role.AUDITOR) and data.draw(st.booleans()):
            rules = set()
        days = data.draw(st.sampled_from([3, 20]))
        self.send(author, link, role, rules, carries, days)

    @precondition(lambda self: self.model.phase == "open")
    @rule(data=st.data(), role=st.sampled_from(NOT_OWNER))
    def welcome(self, data: st.DataObject, role: Role) -> None:
        self.greet(role, self.some_rules(data) if role.value in TAKES_DATA else set())

    @precondition(lambda self: self.links)
    @rule(data=st.data())
    def withdraw_invite(self, data: st.DataObject) -> None:
        open_ones = [key for key in sorted(self.links) if self.model.invites[key].live]
        pool = data.draw(st.sampled_from([open_ones, open_ones, sorted(self.links)]))
        link = data.draw(st.sampled_from(pool or sorted(self.links)))
        self.do_withdraw_invite(self.anyone(data), link)

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
    @rule(data=st.data(), really=st.integers(0, 3))
    def a_link_misused(self, data: st.DataObject, really: int) -> None:
        """What somebody made to join by one invite, sent by the holder of another; and worse."""
        if really:
            return
        links = st.sampled_from(sorted(self.links))
        one, other = data.draw(st.lists(links, min_size=2, max_size=2, unique=True))
        tried: list[acts.Payload] = [
            joining(self.somebody_new(), self.world.vault_id, self.links[one]),
            *(acts.Noop(), acts.Expire(), acts.Heartbeat(), acts.Freeze(Reason.OTHER)),
            acts.Attest(Statement.KEYS_DESTROYED),
        ]
        payload = data.draw(st.sampled_from(tried))
        self.act(self.links[other], self.settled(self.links[other]), False, payload)

    @precondition(lambda self: any(p.status == "waiting" for p in self.model.members.values()))
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        waiting = [w for w, each in self.model.members.items() if each.status == "waiting"]
        member = data.draw(st.sampled_from(waiting or sorted(self.people)))
        self.do_confirm(self.anyone(data), member)

    @rule(data=st.data(), role=st.sampled_from(NOT_OWNER))
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

    def do_withdraw_grant(
        self, author: Identity, member: bytes, rules: set[tuple[str, bytes | None, int]]
    ) -> None:
        predicted = self.settled(author)
        lands = predicted.withdraw(author.member_id, member, rules)
        self.act(author, predicted, lands, acts.WithdrawGrant(member, self.typed(rules)))

    @precondition(lambda self: self.model.phase == "open")
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

    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        author = self.anyone(data)
        live = [who for who in self.people if self.model.members[who].live]
        member = self.one_of(data, [who for who in live if who != self.model.owner])
        self.do_revoke(author, member)

    def do_revoke(self, author: Identity, member: bytes) -> None:
        predicted = self.settled(author)
        lands = predicted.revoke(author.member_id, member)
        self.act(author, predicted, lands, acts.Revoke(member, Reason.OTHER))

    @rule(data=st.data(), borrowed=st.sampled_from([False] * 7 + [True]))
    def rotate_identity(self, data: st.DataObject, borrowed: bool) -> None:
        """Somebody goes on under new keys, or under keys that were somebody's."""
        author = self.anyone(data, *self.people)
        new = self.somebody_new()
        if borrowed:
            known = {**self.people, **self.links, **self.rebuilders}
            new = known[data.draw(st.sampled_from(sorted(known)))]
        dealing = self.model.dealing
        used = dealing is not None and dealing.rebuilt and author.member_id == dealing.owner
        said = [None, None, self.world.ledger.size - 1] + [dealing.at if dealing else 0] * 2
        named = data.draw(st.sampled_from(said[-2:] if used else said))
        self.do_rotate(author, new, named, borrowed)

    def do_rotate(
        self, author: Identity, new: Identity, named: int | None, borrowed: bool = False
    ) -> None:
        predicted = self.settled(author)
        lands = not borrowed and predicted.rotate(author.member_id, new.member_id, named)
        payload = rotating(new, self.world.vault_id, author, named)
        if self.act(author, predicted, lands, payload, newcomers=[new]):
            self.people[new.member_id] = new
            if author is self.world.owner:
                self.world.owner = new
            elif self.model.phase == "open" and self.counted % 2:
                self.do_confirm(self.people[self.model.owner], new.member_id)
