"""Random vaults against a second, small ledger: who may do what, who may hold which key.

The model (`tests/model`) is written from the protocol's rules over plain sets and names; it shares
no code with the ledger. Every step predicts whether the act lands, and every step compares.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant

from protocol.acts import Role
from protocol.blocks import Address
from protocol.ledger import Ledger
from protocol.ledger.contents import PendingUpload
from protocol.ledger.holders import may_fetch
from tests.model.data_rules import DataRules
from tests.model.terms import PEOPLE, STAFF, Place
from tests.model.whole_rules import WholeRules

STATUS = {"waiting": "unconfirmed", "in": "confirmed", "out": "revoked", "replaced": "replaced"}


def places(addresses: object) -> set[Place]:
    assert isinstance(addresses, frozenset | set | dict | tuple | list)
    return {(a.collection, a.field, a.epoch) for a in addresses if isinstance(a, Address)}


class VaultMachine(DataRules, WholeRules):
    """What always holds, whatever random people have done."""

    # --- both ledgers say the same

    @invariant()
    def members_and_their_rules_are_the_model_s(self) -> None:
        state = self.world.state
        assert state.owner == self.model.owner
        assert [m.id for m in state.members.values() if m.live and m.role is Role.OWNER] == [
            self.model.owner
        ]
        assert {m.id: (m.role.value, m.status.value) for m in state.members.values()} == {
            who: (party.role, STATUS[party.status]) for who, party in self.model.members.items()
        }
        for who, party in self.model.members.items():
            assert state.members[who].rules == self.typed(party.rules)
            assert state.members[who].planned == self.typed(party.planned)
            assert state.lineage(who) == tuple(self.model.persons(who))
        assert {k for k, each in state.invites.items() if each.live} == {
            k for k, each in self.model.invites.items() if each.live
        }

    @invariant()
    def the_vault_is_where_the_model_says(self) -> None:
        state, model = self.world.state, self.model
        assert state.phase.value == model.phase
        assert (state.offer.buyer if state.offer else None) == (
            model.offer[0] if model.offer else None
        )
        assert set(state.policy.head_signers) == model.signers
        assert state.policy.invite_data == model.invite_data
        assert state.head_time == model.head_time
        assert {who for who, _ in state.attested} == model.attested
        assert state.uploads == model.uploads
        kinds = {True: "commit", False: "moves"}
        found = {
            upload: (kinds[isinstance(each, PendingUpload)], each.author, each.parts)
            for upload, each in state.pending.items()
        }
        begun = {u: (each.kind, each.author, each.parts) for u, each in model.pending.items()}
        assert found == begun

    @invariant()
    def the_dealing_is_the_model_s(self) -> None:
        found, dealing = self.world.state.recovery, self.model.dealing
        assert (found is None) == (dealing is None)
        if found is not None and dealing is not None:
            assert (found.at, found.owner) == (dealing.at, dealing.owner)
            assert set(found.dealing.custodians) == dealing.custodians
            assert found.rebuilt == dealing.rebuilt
            assert {(each.rebuilder, each.custodian) for each in found.released} == {
                (to, by) for to, given in dealing.released.items() for by in given
            }

    # --- keys

    @invariant()
    def holders_are_exactly_the_model_s(self) -> None:
        for who, party in self.model.parties().items():
            found = self.world.held((self.people | self.links)[who])
            assert places(found) == self.model.held(who), party

    @invariant()
    def wraps_are_on_record_for_exactly_those_ever_entitled(self) -> None:
        """And of no epoch that was retired."""
        on_record = {((a.collection, a.field, a.epoch), who) for a, who in self.world.wraps}
        live = self.model.live_epochs()
        assert on_record == {
            (place, who)
            for who, party in self.model.parties().items()
            for place in party.given & live
        }

    @invariant()
    def everybody_opened_what_it_was_given(self) -> None:
        gone = self.model.gone | ({PEOPLE} if self.model.ended else set())
        for who, party in self.model.parties().items():
            opened = places(self.world.opened.get(who, {}))
            assert {place for place in opened if place[0] not in gone} == party.given

    @invariant()
    def epochs_are_the_model_s_and_taints_never_lift(self) -> None:
        known = {
            (e.address.collection, e.address.field, e.address.epoch): e
            for each in self.world.state.epochs.values()
            for e in each
        }
        assert {
            place: "retired" if e.retired else "tainted" if e.tainted else "open"
            for place, e in known.items()
        } == self.model.epochs
        assert all(e.tainted for e in known.values() if e.retired)
        found = {place for place, e in known.items() if e.tainted}
        assert self.tainted & known.keys() <= found
        self.tainted |= found

    @invariant()
    def nobody_can_read_what_is_written_next_but_those_who_may(self) -> None:
        """Keys known by any way, links of one's own making included, against open epochs."""
        buyer = self.model.offer[0] if self.model.offer else None
        for who, party in self.model.members.items():
            persons = self.model.persons(who)
            known = set(self.model.knows(who))
            for invite in self.model.invites.values():
                if invite.inviter in persons:
                    known |= invite.given
            open_places = {place for place in known if self.model.epochs[place] == "open"}
            if not party.live:
                assert not open_places, "a former member"
            elif who != buyer:
                assert self.model.data(open_places) <= self.model.held(who)

    @invariant()
    def what_a_member_knows_and_holds_no_more_is_kept(self) -> None:
        """Removal taints it, and it is not served as to somebody who cannot open it."""
        buyer = self.model.offer[0] if self.model.offer else None
        for who, party in self.model.members.items():
            if party.live and who != buyer:
                kept = places(self.world.state.members[who].kept)
                held, live = self.model.held(who), self.model.live_epochs()
                assert (kept & live) - held == (self.model.knows(who) & live) - held

    @invariant()
    def blocks_are_served_to_whoever_may_read_them_or_never_could(self) -> None:
        state, buyer = self.world.state, self.model.offer[0] if self.model.offer else None
        for who, party in self.model.members.items():
            held, knows = self.model.held(who), self.model.knows(who)
            erases = party.status == "in" and party.role in STAFF
            for place in self.model.live_epochs():
                may = place in held or who == buyer or (erases and place not in knows)
                assert may_fetch(state, who, Address(*place)) == may

    # --- blocks

    @invariant()
    def blocks_are_the_model_s_and_none_lies_under_a_key_that_is_no_more(self) -> None:
        state = self.world.state
        assert set(state.collections) == {PEOPLE, *self.model.collections}
        assert state.retired == self.model.gone
        for where in state.collections.values():
            those = self.model.batches[where.id]
            assert [batch.id for batch in where.batches] == list(those)
            for batch in where.batches:
                found = {ref.field: (ref.epoch, ref.sha256) for ref in batch.manifest.blocks}
                assert found == those[batch.id].blocks
        assert not {p for p in self.model.lying() if self.model.epochs[p] == "retired"}

    @invariant()
    def what_was_erased_is_in_no_block_and_everything_else_is(self) -> None:
        for where in self.world.state.collections.values():
            for batch in where.batches:
                assert batch.erased == self.model.batches[where.id][batch.id].erased
                left = frozenset(range(batch.manifest.records)) - batch.erased
                for ref in batch.manifest.blocks:
                    assert self.contents[ref.sha256] == left

    @invariant()
    def receipts_count_what_is_left(self) -> None:
        for receipt in self.world.receipts():
            records = self.model.counted(receipt.collection)
            classes = self.model.collections.get(receipt.collection, ())
            assert (receipt.records, receipt.cells) == (records, records * len(classes))
            assert receipt.root == self.world.state.collections[receipt.collection].root()

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
    stateful_step_count=int(os.environ.get("SEALROOM_MODEL_STEPS", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
pytestmark = [
    pytest.mark.threat(each) for each in ("V8", "W1", "W2", "W3", "W4", "W5", "W6", "S11")
]
