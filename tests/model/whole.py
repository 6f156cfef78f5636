"""The model's acts on the vault as a whole: handover, freezing, ending, policy, recovery."""

from __future__ import annotations

from tests.model.data import Data
from tests.model.terms import IDLE, LIVE, OPEN, PEOPLE, ROLES, STAFF, Dealing


class Model(Data):
    # --- handover

    def make_offer(self, author: bytes, buyer: bytes, expiry: int) -> bool:
        ok = self.may(author, {"owner"}, OPEN) and self.has_role(buyer, {"bidder"})
        if ok:
            self.offer = (buyer, expiry)
            self.pending = {}
        return ok

    def answers(self, author: bytes) -> bool:
        answered = {"offered", "frozen offer"}
        found = self.offer is not None and self.offer[0] == author
        return found and self.may(author, {"bidder"}, answered)

    def accept(self, author: bytes) -> bool:
        ok = self.answers(author)
        if ok:
            self.taint(self.live_epochs())
            for key, invite in self.invites.items():
                if invite.live:
                    self.close(key)
            for member, found in list(self.members.items()):
                if found.live and member != author:
                    self.cut_off(member, "out")
            self.owner, self.offer, self.dealing, self.signers = author, None, None, set()
            self.members[author].role = "owner"
            self.members[author].rules = set()
        return ok

    def reject(self, author: bytes) -> bool:
        ok = self.answers(author)
        if ok:
            self.end_offer()
        return ok

    # --- the vault

    def freeze(self, author: bytes) -> bool:
        ok = self.may(author, STAFF, {"open", "offered"}, rebuilt=True)
        if ok:
            self.frozen = True
        return ok

    def unfreeze(self, author: bytes) -> bool:
        ok = self.may(author, {"owner"}, {"frozen", "frozen offer"})
        if ok:
            self.frozen = False
        return ok

    def destroy(self, author: bytes) -> bool:
        ok = self.may(author, {"owner"}, IDLE)
        if ok:
            for collection in [*self.collections, PEOPLE]:
                self.forget(collection)
            self.gone.discard(PEOPLE)
            self.batches[PEOPLE] = {}
            self.ended, self.frozen, self.dealing = True, False, None
        return ok

    def change_policy(self, author: bytes, signers: set[bytes], invite_data: bool) -> bool:
        ok = self.may(author, {"owner"}, OPEN) and all(
            self.has_role(signer, ROLES) for signer in signers
        )
        if ok:
            self.signers, self.invite_data = set(signers), invite_data
        return ok

    def attest(self, author: bytes) -> bool:
        ok = author in self.members and author not in self.attested
        if ok:
            self.attested.add(author)
        return ok

    def heartbeat(self, author: bytes) -> bool:
        return self.may(author, ROLES, LIVE, rebuilt=True)

    def expire(self, author: bytes) -> bool:
        return self.members[author].live and not self.ended

    def saw(self, author: bytes, now: int, owner_before: bytes, signers: set[bytes]) -> None:
        """Note how far whoever counts has seen the log, by an act that landed."""
        if author in (owner_before, self.owner) or author in signers:
            self.head_time = now

    # --- recovery

    def deal(self, author: bytes, at: int, custodians: set[bytes], threshold: int) -> bool:
        ok = (
            self.may(author, {"owner"}, OPEN)
            and all(self.has_role(each, ROLES) for each in custodians)
            and self.owner not in custodians
        )
        if ok:
            self.dealing = Dealing(at, self.owner, set(custodians), threshold)
        return ok

    def deal_nothing(self, author: bytes) -> bool:
        ok = self.may(author, {"owner"}, OPEN)
        if ok:
            self.dealing = None
        return ok

    def release(self, author: bytes, named: int, rebuilder: bytes) -> bool:
        dealing = self.dealing
        ok = (
            self.may(author, ROLES, LIVE)
            and dealing is not None
            and dealing.at == named
            and author in dealing.custodians
            and author not in dealing.released.get(rebuilder, set())
        )
        if ok and dealing is not None:
            dealing.released.setdefault(rebuilder, set()).add(author)
        return ok
