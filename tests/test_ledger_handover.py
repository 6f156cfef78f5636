"""Offer, accept, reject: conditions, and what they leave behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import Address, FieldClass
from protocol.errors import Conflict, ManifestMismatch, NotAuthorised, OutOfOrder, StaleAct
from protocol.ledger.holders import may_fetch
from protocol.ledger.parties import InviteStatus, MemberStatus
from protocol.ledger.state import Phase
from tests.world import World, of_class

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE


class Sale(World):
    """A vault with data, an admin, a rival and a buyer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.people()
        self.data = self.collection(GENERAL, CORE)
        self.commit(self.owner, self.data, self.records(self.data))
        self.admin = self.member(Role.ADMIN, (of_class(CORE),))
        self.rival = self.member(Role.BIDDER, (of_class(CORE),))
        self.buyer = self.member(Role.BIDDER, (of_class(GENERAL),))

    def acceptance(self, **changes: object) -> acts.Accept:
        assert self.state.offer is not None
        whole = acts.Accept(self.state.offer.index, self.ledger.size, self.receipts())
        return replace(whole, **changes)  # type: ignore[arg-type]

    def an_offer(self, **changes: object) -> acts.Offer:
        whole = acts.Offer(self.buyer.member_id, self.now + 86_400, self.state.roots())
        return replace(whole, **changes)  # type: ignore[arg-type]


@pytest.fixture
def sale() -> Sale:
    return Sale()


@pytest.fixture
def offered(sale: Sale) -> Sale:
    sale.offer(sale.buyer)
    return sale


# --- offer


def test_an_offer_discloses_every_live_key_to_its_buyer(offered: Sale) -> None:
    opened = offered.state.offer
    assert opened is not None
    assert offered.state.phase is Phase.OFFERED
    assert (opened.buyer, opened.index) == (offered.buyer.member_id, offered.ledger.size - 1)
    assert opened.roots == offered.state.roots()
    assert opened.addresses == set(offered.state.live_addresses())
    assert set(offered.opened[offered.buyer.member_id]) == opened.addresses


def test_an_offer_goes_to_a_confirmed_bidder(sale: Sale) -> None:
    waiting = sale.join(sale.invite(sale.owner)[1])
    removed = sale.member()
    sale.remove(removed)
    link = sale.invite(sale.owner)[1]
    for other in (sale.owner, sale.admin, sale.member(Role.AUDITOR), waiting, removed, link):
        with pytest.raises(OutOfOrder, match="confirmed bidder"):
            sale.judge(sale.owner, sale.an_offer(buyer=other.member_id))
    with pytest.raises(OutOfOrder, match="confirmed bidder"):
        sale.judge(sale.owner, sale.an_offer(buyer=bytes(32)))


@pytest.mark.threat("C9")
def test_an_offer_s_roots_are_current_where_it_lands(sale: Sale) -> None:
    payload = sale.an_offer()
    roots = payload.roots
    other = replace(roots[1], root=bytes(32))
    for wrong in (
        roots[:1],
        (),
        (roots[0], other),
        (*roots, replace(other, collection=b"\xff" * 16)),
    ):
        with pytest.raises(ManifestMismatch, match="roots"):
            sale.judge(sale.owner, replace(payload, roots=wrong))
    sale.judge(sale.owner, payload)
    sale.commit(sale.owner, sale.data, sale.records(sale.data))
    with pytest.raises(ManifestMismatch, match="roots"):
        sale.judge(sale.owner, payload)


@pytest.mark.threat("W10")
@pytest.mark.parametrize("whose", ["admin", "owner"])
def test_an_offer_drops_what_is_half_committed(sale: Sale, whose: str) -> None:
    """Else an admin who never ends an upload keeps the owner from selling."""
    author = sale.admin if whose == "admin" else sale.owner
    first, second = (sale.manifest(sale.data, (0x8002,), 1) for _ in range(2))
    half = acts.Commit(b"u" * 16, sale.data, 0, False, (first,))
    rest = acts.Commit(b"u" * 16, sale.data, 1, True, (second,))
    sale.land(author, half)
    sale.judge(author, rest)  # the control: without an offer it goes on
    roots, shown = sale.state.roots(), sale.state.collections
    sale.offer(sale.buyer)
    assert sale.state.pending == {}
    assert (sale.state.roots(), sale.state.collections) == (roots, shown)
    with pytest.raises(OutOfOrder, match="offer is open"):
        sale.judge(author, rest)
    assert sale.state.offer is not None
    sale.land(sale.buyer, acts.Reject(sale.state.offer.index, Reason.TERMS))
    sale.epochs(sale.owner, (sale.data, 0x8002), readers=(sale.admin,))
    again = sale.manifest(sale.data, (0x8002,), 1)
    with pytest.raises(OutOfOrder, match="next part of that upload is 0"):
        sale.judge(author, acts.Commit(b"u" * 16, sale.data, 1, True, (again,)))
    with pytest.raises(Conflict, match="batch id"):
        sale.judge(
            author,
            acts.Commit(b"u" * 16, sale.data, 0, True, (replace(again, batch_id=first.batch_id),)),
        )
    sale.land(author, acts.Commit(b"u" * 16, sale.data, 0, True, (again,)))
    batches = sale.state.collections[sale.data].batches
    assert [batch.manifest for batch in batches[-1:]] == [again]
    assert len(batches) == len(shown[sale.data].batches) + 1


def test_a_refused_offer_drops_nothing(sale: Sale) -> None:
    half = acts.Commit(b"u" * 16, sale.data, 0, False, (sale.records(sale.data),))
    sale.land(sale.owner, half)
    with pytest.raises(ManifestMismatch):
        sale.judge(sale.owner, sale.an_offer(roots=()))
    assert set(sale.state.pending) == {b"u" * 16}


def test_one_offer_at_a_time(offered: Sale) -> None:
    with pytest.raises(OutOfOrder, match="offer is open"):
        offered.judge(offered.owner, offered.an_offer(buyer=offered.rival.member_id))


@pytest.mark.threat("V10")
def test_nothing_moves_under_the_buyer(offered: Sale) -> None:
    """Everything that could change data, keys or members, but for removing somebody else."""
    sale, owner = offered, offered.owner
    card = Identity.generate()
    frozen: list[acts.Payload] = [
        acts.DefineCollection(b"x" * 16, (CORE,)),
        acts.Commit(b"u" * 16, sale.data, 0, True, (sale.records(sale.data),)),
        acts.Grant(sale.rival.member_id, (of_class(GENERAL),)),
        acts.WithdrawGrant(sale.rival.member_id, (of_class(CORE),)),
        acts.ChangeRole(sale.rival.member_id, Role.AUDITOR),
        acts.Invite(
            card.card(sale.vault_id),
            Role.BIDDER,
            (),
            False,
            sale.now + 1,
            Identity.generate().public.signing_key,
        ),
    ]
    for payload in frozen:
        with pytest.raises(OutOfOrder, match="offer is open"):
            sale.judge(owner, payload)
    with pytest.raises(OutOfOrder, match="offer to that member"):
        sale.judge(owner, acts.Revoke(sale.buyer.member_id, Reason.OTHER))
    sale.remove(sale.rival)
    sale.accept(sale.buyer)


# --- accept


def test_an_acceptance_makes_the_buyer_the_owner_and_all_others_former(sale: Sale) -> None:
    _, link = sale.invite(sale.admin)
    sale.offer(sale.buyer)
    offer = sale.state.offer
    sale.accept(sale.buyer)
    state, seller = sale.state, sale.owner.member_id
    assert (state.owner, state.offer, state.phase) == (sale.buyer.member_id, None, Phase.OPEN)
    live = [member for member in state.members.values() if member.live]
    assert [(m.id, m.role, m.rules) for m in live] == [(sale.buyer.member_id, Role.OWNER, ())]
    for former in (seller, sale.admin.member_id, sale.rival.member_id):
        assert state.members[former].status is MemberStatus.REVOKED
        assert state.members[former].removed_at == sale.ledger.size - 1
    assert state.invites[link.member_id].status is InviteStatus.VOID
    assert sale.tainted() == set(state.live_addresses())
    (done,) = state.handovers
    assert offer is not None
    assert (done.offer, done.accepted_at) == (offer.index, sale.ledger.size - 1)
    assert (done.seller, done.buyer) == (seller, sale.buyer.member_id)


def test_an_acceptance_ends_the_seller_s_recovery(sale: Sale) -> None:
    """What its custodians hold shares of opens nothing that is written from now on."""
    sale.deal(sale.admin, sale.rival)
    sale.offer(sale.buyer)
    assert sale.state.recovery is not None
    sale.accept(sale.buyer)
    assert sale.state.recovery is None


def test_the_new_owner_goes_on_from_there_and_can_sell_again(offered: Sale) -> None:
    sale = offered
    sale.accept(sale.buyer)
    with pytest.raises(NotAuthorised):
        sale.judge(sale.owner, acts.Noop())
    sale.owner = sale.buyer
    fields = [(a.collection, a.field) for a in sale.state.live_addresses()]
    sale.epochs(sale.owner, *sorted(set(fields)))
    sale.commit(sale.owner, sale.data, sale.records(sale.data))
    second = sale.member()
    sale.offer(second)
    sale.accept(second)
    assert [h.buyer for h in sale.state.handovers] == [sale.buyer.member_id, second.member_id]


@pytest.mark.parametrize("kind", ["accept", "reject"])
def test_only_the_buyer_answers_the_open_offer(offered: Sale, kind: str) -> None:
    sale = offered
    assert sale.state.offer is not None
    index = sale.state.offer.index

    def answer(number: int) -> acts.Payload:
        if kind == "accept":
            return sale.acceptance(offer=number)
        return acts.Reject(number, Reason.TERMS)

    with pytest.raises(NotAuthorised, match="only its buyer"):
        sale.judge(sale.rival, answer(index))
    for other in (index - 1, index + 1, 0):
        with pytest.raises(OutOfOrder, match="not open"):
            sale.judge(sale.buyer, answer(other))
    sale.judge(sale.buyer, answer(index))


def test_an_acceptance_names_a_tree_with_its_offer_that_it_cites(offered: Sale) -> None:
    sale = offered
    assert sale.state.offer is not None
    index = sale.state.offer.index
    cited = sale.citation()
    sale.land(sale.rival, acts.Noop())
    for size, fits in (
        (index, False),
        (index + 1, True),
        (cited.size, True),
        (cited.size + 1, False),
        (sale.ledger.size + 1, False),
    ):
        payload = sale.acceptance(tree_size=size)
        if fits:
            sale.judge(sale.buyer, payload, cited)
        else:
            with pytest.raises(OutOfOrder, match="tree"):
                sale.judge(sale.buyer, payload, cited)
    sale.judge(sale.buyer, sale.acceptance(tree_size=sale.ledger.size))


def test_an_acceptance_sees_who_was_removed_since(offered: Sale) -> None:
    sale = offered
    cited = sale.citation()
    sale.remove(sale.rival)
    with pytest.raises(StaleAct):
        sale.judge(sale.buyer, sale.acceptance(tree_size=cited.size), cited)
    sale.judge(sale.buyer, sale.acceptance())


def test_a_receipt_is_of_exactly_what_was_offered(offered: Sale) -> None:
    sale = offered
    people, data = sale.receipts()
    assert (data.records, data.cells) == (3, 6)
    wrong = [
        (),
        (people,),
        (data,),
        (people, replace(data, records=2)),
        (people, replace(data, cells=5)),
        (people, replace(data, root=bytes(32))),
        (people, data, replace(data, collection=b"\xff" * 16)),
        # A second, false one for a collection must not hide beside the true one.
        (people, *sorted((replace(data, root=bytes(32)), data), key=lambda each: each.root)),
    ]
    for receipts in wrong:
        with pytest.raises(ManifestMismatch, match="receipt"):
            sale.judge(sale.buyer, sale.acceptance(receipts=receipts))
    sale.judge(sale.buyer, sale.acceptance())


# --- reject


@pytest.mark.threat("W2")
@pytest.mark.parametrize("how", ["reject", "expire"])
def test_an_offer_that_ends_taints_what_it_disclosed(offered: Sale, how: str) -> None:
    sale = offered
    assert sale.state.offer is not None
    disclosed = sale.state.offer.addresses
    if how == "reject":
        sale.land(sale.buyer, acts.Reject(sale.state.offer.index, Reason.TERMS))
    else:
        sale.now += 15 * 86_400
        sale.land(sale.rival, acts.Expire())
    assert sale.state.phase is Phase.OPEN
    assert sale.tainted() == disclosed
    assert sale.state.owner == sale.owner.member_id
    with pytest.raises(OutOfOrder, match="takes no more"):
        sale.commit(sale.owner, sale.data, sale.records(sale.data))
    sale.epochs(sale.owner, (sale.data, 0), (sale.data, 1))
    sale.commit(sale.owner, sale.data, sale.records(sale.data))
    # What the buyer holds of what came after is what it was granted, no more.
    news = {a for a in sale.held(sale.buyer) if a not in disclosed}
    assert {a.field for a in news} == {0}
    sale.offer(sale.buyer)


@pytest.mark.threat("W2")
@pytest.mark.parametrize("how", ["reject", "expire"])
def test_a_buyer_that_did_not_buy_is_never_served_what_it_has_the_keys_of(
    offered: Sale, how: str
) -> None:
    """Admins are served blocks that they hold no key of, since erasing takes them."""
    sale, buyer = offered, offered.buyer
    assert sale.state.offer is not None
    disclosed, held = sale.state.offer.addresses, sale.held(buyer)
    if how == "reject":
        sale.reject(buyer)
    else:
        sale.now += 15 * 86_400
        sale.land(sale.rival, acts.Expire())
    assert sale.state.members[buyer.member_id].kept == disclosed - held
    sale.epochs(sale.owner, (sale.data, 0), (sale.data, 1))
    for role in (Role.KEYLESS_ADMIN, Role.ADMIN):
        sale.land(sale.owner, acts.ChangeRole(buyer.member_id, role))
        served = {
            a for a in sale.state.live_addresses() if may_fetch(sale.state, buyer.member_id, a)
        }
        known = {a for a in disclosed if not a.field & 0x8000 and a not in sale.held(buyer)}
        assert Address(sale.data, 1, 1) in known
        assert served & known == set()
        assert Address(sale.data, 1, 2) in served, "whose key it never had"
