"""Rules of the random vaults on handover, freezing, ending, policy and recovery."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Reason, Statement
from tests.model.machine import DAY
from tests.model.member_rules import MemberRules
from tests.model.terms import PEOPLE, PEOPLE_FIELD


class WholeRules(MemberRules):
    # --- handover

    @rule(data=st.data())
    def offer(self, data: st.DataObject) -> None:
        author = self.people[self.one_of(data, [self.model.owner])]
        if data.draw(st.booleans()):
            self.write(author, PEOPLE, [PEOPLE_FIELD], last=False)
        self.do_offer(author, self.one_of(data, self.those_in("bidder")))

    @precondition(lambda self: self.model.phase == "open" and self.those_in("bidder"))
    @rule(data=st.data(), meanwhile=st.sampled_from(["nothing", "rotated", "frozen", "removed"]))
    def sale(self, data: st.DataObject, meanwhile: str) -> None:
        """An offer, what may land while it is open, and an acceptance."""
        owner = self.people[self.model.owner]
        buyer = self.people[data.draw(st.sampled_from(self.those_in("bidder")))]
        self.do_offer(owner, buyer.member_id)
        others = self.those_in("admin", "keyless-admin", "auditor")
        if meanwhile == "rotated":
            self.do_rotate(owner, self.somebody_new(), None)
        elif meanwhile == "frozen":
            self.do_freeze(owner)
        elif meanwhile == "removed" and others:
            self.do_revoke(owner, data.draw(st.sampled_from(others)))
        self.do_answer(buyer, data.draw(st.sampled_from([True, True, False])))
        self.do_unfreeze(self.people[self.model.owner])

    def do_offer(self, author: Identity, buyer: bytes) -> None:
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
        self.do_answer(self.people[self.model.offer[0]] if by_buyer else self.anyone(data), accept)

    def do_answer(self, author: Identity, accept: bool) -> None:
        predicted, opened = self.settled(author), self.world.state.offer
        index = opened.index if opened else 0
        if not accept:
            lands = predicted.reject(author.member_id)
            self.act(author, predicted, lands, acts.Reject(index, Reason.TERMS))
            return
        lands = predicted.accept(author.member_id)
        receipts = self.world.receipts()
        payload = acts.Accept(index, self.world.ledger.size, receipts)
        if self.act(author, predicted, lands, payload):
            self.world.owner = author

    @rule(data=st.data(), days=st.sampled_from([0, 0, 4, 11]))
    def wait(self, data: st.DataObject, days: int) -> None:
        self.world.now += days * DAY
        author = self.anyone(data)
        predicted = self.settled(author)
        self.act(author, predicted, predicted.expire(author.member_id), acts.Expire())

    # --- the vault

    @rule(data=st.data(), really=st.integers(0, 3))
    def freeze(self, data: st.DataObject, really: int) -> None:
        """Now and then: little lands afterwards."""
        if really:
            return
        self.do_freeze(self.anyone(data))

    def do_freeze(self, author: Identity) -> None:
        predicted = self.settled(author)
        self.act(author, predicted, predicted.freeze(author.member_id), acts.Freeze(Reason.OTHER))

    @precondition(lambda self: self.model.frozen)
    @rule(data=st.data())
    def unfreeze(self, data: st.DataObject) -> None:
        self.do_unfreeze(self.people[self.one_of(data, [self.model.owner])])

    def do_unfreeze(self, author: Identity) -> None:
        predicted = self.settled(author)
        self.act(author, predicted, predicted.unfreeze(author.member_id), acts.Unfreeze())

    @rule(data=st.data(), really=st.integers(0, 19))
    def destroy(self, data: st.DataObject, really: int) -> None:
        """Rarely: nothing much happens afterwards."""
        if really:
            return
        author = self.people[self.one_of(data, [self.model.owner])]
        predicted = self.settled(author)
        lands = predicted.destroy(author.member_id)
        self.act(author, predicted, lands, acts.Destroy(Reason.OTHER))

    @rule(data=st.data(), invite_data=st.sampled_from([True, True, False]))
    def policy(self, data: st.DataObject, invite_data: bool) -> None:
        author = self.people[self.one_of(data, [self.model.owner])]
        members = self.those_in("owner", "admin", "keyless-admin", "bidder", "auditor")
        pool = data.draw(st.sampled_from([members, members, list(self.people)]))
        signers = data.draw(st.sets(st.sampled_from(pool or list(self.people)), max_size=2))
        predicted = self.settled(author)
        lands = predicted.change_policy(author.member_id, signers, invite_data)
        policy = replace(
            acts.DEFAULT_POLICY, invite_data=invite_data, head_signers=tuple(sorted(signers))
        )
        self.act(author, predicted, lands, acts.ChangePolicy(policy))

    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        author = self.anyone(data, *self.people)
        self.world.now += 60
        predicted = self.settled(author)
        lands = predicted.heartbeat(author.member_id)
        self.act(author, predicted, lands, acts.Heartbeat())

    @rule(data=st.data())
    def attest(self, data: st.DataObject) -> None:
        """Also those who have been removed; and they do nothing else."""
        former = [who for who in self.people if not self.model.members[who].live]
        author = self.anyone(data, *(former or self.people))
        predicted = self.settled(author)
        lands = predicted.attest(author.member_id)
        self.act(author, predicted, lands, acts.Attest(Statement.KEYS_DESTROYED))

    # --- recovery

    @rule(data=st.data(), threshold=st.sampled_from([2, 2, 3]))
    def deal(self, data: st.DataObject, threshold: int) -> None:
        author = self.people[self.one_of(data, [self.model.owner])]
        others = self.those_in("admin", "keyless-admin", "bidder", "auditor")
        pool = data.draw(st.sampled_from([others, others, list(self.people)]))
        if len(pool) < threshold:
            return
        custodians = data.draw(st.sets(st.sampled_from(pool), min_size=threshold, max_size=4))
        self.do_deal(author, custodians, threshold)

    def do_deal(self, author: Identity, custodians: set[bytes], threshold: int) -> None:
        predicted, at = self.settled(author), self.world.ledger.size
        lands = predicted.deal(author.member_id, at, custodians, threshold)
        dealing = self.world.dealing(
            *(self.people[each] for each in custodians), threshold=threshold
        )
        self.act(author, predicted, lands, acts.Custodians(dealing))

    @precondition(lambda self: self.model.dealing)
    @rule(data=st.data(), really=st.integers(0, 3))
    def deal_nothing(self, data: st.DataObject, really: int) -> None:
        if really:
            return
        author = self.people[self.one_of(data, [self.model.owner])]
        predicted = self.settled(author)
        lands = predicted.deal_nothing(author.member_id)
        self.act(author, predicted, lands, acts.Custodians(None))

    @precondition(lambda self: self.model.dealing)
    @rule(data=st.data(), fresh=st.booleans())
    def release(self, data: st.DataObject, fresh: bool) -> None:
        dealing = self.model.dealing
        assert dealing is not None
        author = self.anyone(data, *sorted(dealing.custodians))
        rebuilder = self.somebody_new()
        if self.rebuilders and not fresh:
            rebuilder = self.rebuilders[data.draw(st.sampled_from(list(self.rebuilders)))]
        self.do_release(author, rebuilder, data.draw(st.sampled_from([dealing.at] * 4 + [0])))

    def do_release(self, author: Identity, rebuilder: Identity, named: int) -> None:
        predicted = self.settled(author)
        lands = predicted.release(author.member_id, named, rebuilder.member_id)
        payload = self.world.release(rebuilder, named)
        if self.act(author, predicted, lands, payload):
            self.rebuilders[rebuilder.member_id] = rebuilder

    @precondition(lambda self: len(self.those_in("admin", "keyless-admin", "bidder")) > 1)
    @rule(data=st.data(), then=st.sampled_from(["rotates", "tries more", "is left so"]))
    def rebuild(self, data: st.DataObject, then: str) -> None:
        """Enough custodians release to one; then the seed is good for one thing only."""
        owner, keepers = self.people[self.model.owner], self.those_in("admin", "keyless-admin")
        keepers = [*keepers, *self.those_in("bidder")][:3]
        if self.model.dealing is None:
            self.do_deal(owner, set(keepers), 2)
        dealing = self.model.dealing
        if dealing is None:
            return
        rebuilder = self.somebody_new()
        for custodian in sorted(dealing.custodians)[: dealing.threshold]:
            self.do_release(self.people[custodian], rebuilder, dealing.at)
        if then == "tries more":
            self.do_offer(owner, data.draw(st.sampled_from(list(self.people))))
        if then != "is left so":
            self.do_rotate(owner, self.somebody_new(), dealing.at)
