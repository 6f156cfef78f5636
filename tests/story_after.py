"""After the sale: the new owner makes the vault its own, works in it, loses its keys, ends it."""

from __future__ import annotations

from dataclasses import replace

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Erasure, MovedBlock, Reason, Role, Statement
from protocol.blocks import PEOPLE_COLLECTION, Address, Padding
from protocol.encoding import encode
from tests.dealing_by_spec import Dealt
from tests.fixed_draws import COLLECTION, DAY, VAULT_ID, fixed
from tests.story import (
    CORE,
    GENERAL,
    NAMES_0,
    NAMES_2,
    PEOPLE,
    Story,
    commit,
    everywhere,
    unseen,
)
from tests.world import joining, rotating

FIELDS = tuple((COLLECTION, number) for number in (0, 1, NAMES_0, NAMES_2))


def after(story: Story) -> None:
    """Tell what the buyer does with a vault that is its own."""
    story.owner = story.people_of["bidder"]
    _the_seller_attests(story)
    _taking_over(story)
    _new_people(story)
    _erasing(story)
    _replacing(story)
    _races(story)
    _frozen(story)
    _heads(story)
    _new_identities(story)
    dealt, at = _custodians(story)
    _released(story, dealt, at)
    _the_end(story)


def moving(upload: str, part: int, last: bool, *moves: MovedBlock) -> acts.Reencrypt:
    return acts.Reencrypt(fixed(f"upload {upload}", 16), COLLECTION, part, last, moves)


def erasing(*erasures: Erasure) -> acts.Erase:
    return acts.Erase(COLLECTION, Reason.REQUEST, erasures)


def naming(*addresses: Address) -> acts.RetireEpoch:
    return acts.RetireEpoch(tuple(map(acts.EpochName.of, sorted(addresses))))


def _the_seller_attests(story: Story) -> None:
    seller = story.people_of["owner"]
    story.refuse(
        "a-former-member-does-more-than-attest", seller, acts.Heartbeat(), "not_authorised"
    )
    said = acts.Attest(Statement.KEYS_DESTROYED)
    story.step("the seller says that it has destroyed its keys", seller, said)
    story.refuse("a-statement-made-twice", seller, said, "out_of_order")


# --- everything under keys that the seller never had


def _taking_over(story: Story) -> None:
    owner = story.owner
    half = unseen(story, owner, {NAMES_0: [encode({"file": "y.csv"})]})
    story.step("half an upload of the new owner's", owner, commit("mine", 0, False, half))
    zero, one = story.moved(owner, COLLECTION, 0, 1)
    _bad_moves(story, zero, one)
    old = Address(COLLECTION, 0, 1)
    story.refuse("an-epoch-retired-with-blocks-under-it", owner, naming(old), "out_of_order")
    story.step("a part of what is sealed anew", owner, moving("anew", 0, False, zero))
    story.refuse("a-block-moved-twice", owner, moving("anew", 1, True, zero), "out_of_order")
    story.step("the last part moves all of it", owner, moving("anew", 1, True, one))
    names = story.moved(owner, COLLECTION, NAMES_0, NAMES_2)
    story.step("the fields' names, sealed anew", owner, moving("names anew", 0, True, *names))
    people = story.moved(owner, *PEOPLE)
    again = acts.Reencrypt(fixed("upload people", 16), PEOPLE_COLLECTION, 0, True, people)
    story.step("the people's names, sealed anew", owner, again)
    newest = {story.state.newest(*field) for field in (*FIELDS, PEOPLE)}
    gone = [each.address for each in story.state.live_epochs() if each not in newest]
    latest = story.state.newest(COLLECTION, 0)
    assert latest is not None
    story.refuse(
        "an-epoch-retired-that-is-the-newest", owner, naming(*gone, latest.address), "out_of_order"
    )
    story.step("what the seller had keys of is retired", owner, naming(*gone))
    story.retired_at = story.ledger.size
    story.refuse("an-epoch-retired-twice", owner, naming(old), "out_of_order")


def _bad_moves(story: Story, zero: MovedBlock, one: MovedBlock) -> None:
    owner = story.owner

    def to(epoch: int) -> MovedBlock:
        return replace(zero, block=replace(zero.block, epoch=epoch))

    wrong = [
        ("a-block-moved-to-an-epoch-that-is-not-there", to(zero.block.epoch + 1)),
        ("a-block-moved-to-a-tainted-epoch", to(zero.block.epoch - 1)),
        ("a-block-moved-of-a-batch-that-is-not-there", replace(zero, batch=VAULT_ID[:16])),
        ("a-block-that-grows", replace(one, block=replace(one.block, length=1_000))),
        (
            "a-block-padded-otherwise",
            replace(one, block=replace(one.block, padding=Padding.MULTIPLE_32)),
        ),
    ]
    for name, move in wrong:
        story.refuse(name, owner, moving("bad", 0, True, move), "out_of_order")
    pending = moving("mine", 1, True, zero)
    story.refuse("a-re-encryption-under-a-commit-s-id", owner, pending, "conflict")


# --- who works for the new owner


def _new_people(story: Story) -> None:
    owner = story.owner
    for name, role, rules in (
        ("new admin", Role.ADMIN, (everywhere(GENERAL),)),
        ("keeper", Role.BIDDER, ()),
        ("third keeper", Role.AUDITOR, ()),
    ):
        newcomer = story.people_of[name]
        invite, payload = story.invited(name, owner, role, rules)
        story.step(f"an invite: {name}", owner, payload, readers=(invite,))
        join = joining(newcomer, story.vault_id, invite)
        story.step(f"a newcomer: {name}", invite, join, readers=(newcomer,))
        confirm = acts.Confirm(newcomer.member_id)
        story.step(f"confirmed: {name}", owner, confirm, readers=(newcomer,))
    admin = story.people_of["new admin"]
    made = story.next_epochs(owner, (COLLECTION, 1))
    story.step("another key of the second field", owner, **made)
    (one,) = story.moved(owner, COLLECTION, 1)
    mine = moving("bad", 0, True, one)
    story.refuse("a-block-moved-by-whom-does-not-hold-it", admin, mine, "not_authorised")
    story.step("its block, sealed anew", owner, moving("second", 0, True, one))
    below = Address(COLLECTION, 1, one.block.epoch - 1)
    story.refuse(
        "an-epoch-retired-by-whom-does-not-hold-it", admin, naming(below), "not_authorised"
    )


# --- records that go


def _erasing(story: Story) -> None:
    owner, admin, bidder = story.owner, story.people_of["new admin"], story.people_of["keeper"]
    more = story.sealed(
        owner, COLLECTION, {0: [b"Bonn", b"Graz", b"Gent"], 1: [b"DE12", b"AT34", None]}
    )
    story.step("three more records", owner, commit("more", 0, True, more))
    good = story.erasure(COLLECTION, more.batch_id, [1])
    first, *rest = good.blocks
    length = more.blocks[0].length
    wrong = [
        ("an-erasure-of-a-batch-that-is-not-there", replace(good, batch=VAULT_ID[:16])),
        ("an-erasure-of-a-record-that-is-not-there", replace(good, positions=(1, 3))),
        ("an-erasure-that-leaves-a-field-out", replace(good, blocks=(first,))),
        (
            "an-erasure-from-a-block-that-changed",
            replace(good, blocks=(replace(first, before=first.after), *rest)),
        ),
        (
            "an-erasure-that-adds-bytes",
            replace(good, blocks=(replace(first, length=length + 1), *rest)),
        ),
    ]
    for name, erasure in wrong:
        story.refuse(name, owner, erasing(erasure), "out_of_order")
    twice = sorted((good, replace(good, positions=(2,))), key=lambda each: each.positions)
    story.refuse("a-batch-erased-from-twice", owner, erasing(*twice), "out_of_order")
    story.refuse("an-erasure-by-a-bidder", bidder, erasing(good), "not_authorised")
    step = "an admin erases a record of which it reads one field only"
    story.step(step, admin, erasing(good))
    story.refuse(
        "a-record-erased-twice",
        owner,
        erasing(replace(good, blocks=tuple(replace(b, before=b.after) for b in good.blocks))),
        "out_of_order",
    )
    last = story.erasure(COLLECTION, more.batch_id, [0, 2])
    story.step("nothing is left of that batch", owner, erasing(last))


def _replacing(story: Story) -> None:
    owner = story.owner
    (batch, *_) = (
        b for b in story.state.collections[COLLECTION].batches if not b.manifest.is_catalog
    )
    new = story.sealed(owner, COLLECTION, {0: [b"Basel"], 1: [b"CH93"]})
    payload = acts.Replace(
        *(fixed("upload instead", 16), COLLECTION, 0, (new,), Reason.MISTAKE),
        (story.erasure(COLLECTION, batch.id, [0]),),
    )
    story.step("a record takes another's place", owner, payload)


# --- what lands between the parts of a re-encryption


def _races(story: Story) -> None:
    owner, admin = story.owner, story.people_of["new admin"]
    made = story.next_epochs(owner, (COLLECTION, 0), (COLLECTION, 1))
    story.step("the next keys of both fields", owner, **made, readers=(admin,))
    there = [b.id for b in story.state.collections[COLLECTION].batches if b.records]
    first, *rest = story.moved(owner, COLLECTION, 0, 1, batches=there)
    story.step("a part is sealed anew", owner, moving("race", 0, False, first))
    gone = story.erasure(COLLECTION, first.batch, [2])
    story.step("meanwhile a record of it is erased", admin, erasing(gone))
    story.step("what changed stays as it stands", owner, moving("race", 1, True, *rest))
    second = story.moved(owner, COLLECTION, 0, 1, batches=[first.batch])
    story.step("a part of the second pass", owner, moving("second pass", 0, False, second[0]))
    withdrawn = acts.WithdrawGrant(admin.member_id, (everywhere(GENERAL),))
    story.step("the admin loses that field", owner, withdrawn)
    story.refuse(
        "the-rest-of-a-re-encryption-after-a-taint",
        owner,
        moving("second pass", 1, True, second[1]),
        "out_of_order",
    )
    made = story.next_epochs(owner, (COLLECTION, 0))
    story.step("a key that the admin never had", owner, **made)
    moves = story.moved(owner, COLLECTION, 0, 1, batches=there)
    story.step("everything that is left lies under new keys", owner, moving("all", 0, True, *moves))
    newest = {story.state.newest(COLLECTION, number) for number in (0, 1)}
    old = [
        each.address
        for each in story.state.live_epochs()
        if each.address.collection == COLLECTION
        and each.address.field in (0, 1)
        and each not in newest
    ]
    step = "a batch of which nothing is left keeps no key from being retired"
    story.step(step, owner, naming(*old))


# --- the vault as a whole


def _frozen(story: Story) -> None:
    owner, admin = story.owner, story.people_of["new admin"]
    freeze = acts.Freeze(Reason.BREACH)
    story.step("the admin stops everything", admin, freeze)
    story.refuse("a-freeze-of-what-is-frozen", owner, freeze, "out_of_order")
    grant = acts.Grant(admin.member_id, (everywhere(CORE),))
    story.refuse("a-grant-while-frozen", owner, grant, "out_of_order")
    records = commit("frozen", 0, True, unseen(story, owner))
    story.refuse("a-commit-while-frozen", owner, records, "out_of_order")
    story.refuse("an-admin-lifts-a-freeze", admin, acts.Unfreeze(), "not_authorised")
    story.step("the owner lets it go on", owner, acts.Unfreeze())


def _heads(story: Story) -> None:
    owner, admin = story.owner, story.people_of["new admin"]
    nobody = replace(story.state.policy, head_signers=(VAULT_ID,))
    story.refuse("a-head-signer-who-is-nobody", owner, acts.ChangePolicy(nobody), "out_of_order")
    policy = replace(story.state.policy, head_signers=(admin.member_id,))
    story.step("the admin signs heads too", owner, acts.ChangePolicy(policy))
    story.now += DAY
    story.step("it says how far it has seen the log", admin, acts.Heartbeat())


def _new_identities(story: Story) -> None:
    owner, old, new = story.owner, story.people_of["new admin"], story.people_of["second admin"]
    good = rotating(new, story.vault_id, old)
    seen = rotating(story.people_of["keeper"], story.vault_id, old)
    story.refuse("an-identity-with-a-key-seen-before", old, seen, "conflict")
    foreign = rotating(new, story.vault_id, owner)
    story.refuse("an-identity-with-a-card-for-another-member", old, foreign, "integrity")
    story.step("the admin goes on under new keys", old, good, readers=(new,))
    story.refuse("an-act-by-a-replaced-identity", old, acts.Noop(), "not_authorised")
    made = story.next_epochs(owner, PEOPLE, (COLLECTION, NAMES_0), (COLLECTION, NAMES_2))
    story.step("keys that the old identity never had", owner, **made, readers=(new,))
    story.step("its words were compared anew", owner, acts.Confirm(new.member_id))


# --- an owner that lost its keys


def _custodians(story: Story) -> tuple[Dealt, int]:
    owner, admin = story.owner, story.people_of["second admin"]
    keepers = [admin, story.people_of["keeper"], story.people_of["third keeper"]]
    story.draws.taken()
    dealt = story.dealt(*keepers)
    dealing = story.in_boxes(dealt)
    payload = acts.Custodians(dealing)
    drawn = story.draws.taken()
    for name, other in (
        ("a-custodian-who-is-nobody", story.people_of["rebuilder"]),
        ("the-owner-as-its-own-custodian", owner),
    ):
        shares = sorted(
            (replace(dealing.shares[0], custodian=other.member_id), *dealing.shares[1:]),
            key=lambda share: share.custodian,
        )
        wrong = acts.Custodians(replace(dealing, shares=tuple(shares)))
        story.refuse(name, owner, wrong, "out_of_order")
    story.refuse("a-dealing-by-an-admin", admin, payload, "not_authorised")
    story.step("the owner deals its seed to three, of whom two rebuild it", owner, payload)
    at = story.ledger.size - 1
    story.dealings.append((at, dealt, drawn))
    new = story.people_of["new owner"]
    early = rotating(new, story.vault_id, owner, at)
    story.refuse("an-identity-of-a-dealing-that-was-not-rebuilt", owner, early, "out_of_order")
    return dealt, at


def _released(story: Story, dealt: Dealt, at: int) -> None:
    owner, admin, keeper = story.owner, story.people_of["second admin"], story.people_of["keeper"]
    rebuilder, new = story.people_of["rebuilder"], story.people_of["new owner"]
    release = story.releasing(keeper, dealt, at, rebuilder)
    story.refuse("a-release-by-whom-holds-no-share", owner, release, "not_authorised")
    other = replace(release, dealing=at - 1)
    story.refuse("a-release-of-another-dealing", keeper, other, "out_of_order")
    invited = replace(release, card=rebuilder.card(story.vault_id))
    story.refuse("a-release-with-a-card-for-an-invite", keeper, invited, "integrity")
    known = story.releasing(keeper, dealt, at, owner)
    story.refuse("a-release-to-a-key-seen-before", keeper, known, "conflict")
    _step_of_a_release(story, "one custodian gives its share", keeper, dealt, at)
    story.refuse("a-share-released-twice", keeper, release, "out_of_order")
    false = replace(story.releasing(admin, dealt, at, rebuilder), card=invited.card)
    story.refuse("a-second-release-with-a-false-card", admin, false, "integrity")
    _step_of_a_release(story, "a second one does, and that is enough", admin, dealt, at)
    offer = acts.Offer(keeper.member_id, story.now + DAY, story.state.roots())
    name = "an-offer-by-an-owner-whose-seed-was-rebuilt"
    story.refuse(name, owner, offer, "out_of_order")
    rotate = rotating(new, story.vault_id, owner, at)
    story.step("the owner goes on under new keys", owner, rotate, readers=(new,))
    story.owner = new
    made = story.next_epochs(new, *FIELDS, PEOPLE)
    story.step("and under new keys for all", new, **made, readers=(admin,))


def _step_of_a_release(story: Story, name: str, custodian: Identity, dealt: Dealt, at: int) -> None:
    story.draws.taken()
    release = story.releasing(custodian, dealt, at, story.people_of["rebuilder"])
    story.releases.append((story.ledger.size, release, story.draws.taken()))
    story.step(name, custodian, release)


# --- the end


def _the_end(story: Story) -> None:
    owner, admin, buyer = story.owner, story.people_of["second admin"], story.people_of["keeper"]
    offer = acts.Offer(buyer.member_id, story.now + DAY, story.state.roots())
    story.step("somebody else might buy", owner, offer, readers=(buyer,))
    index = story.ledger.size - 1
    destroy = acts.Destroy(Reason.RETENTION)
    story.refuse("a-destruction-while-an-offer-is-open", owner, destroy, "out_of_order")
    story.step("and does not", buyer, acts.Reject(index, Reason.TERMS))
    retire = acts.RetireCollection(COLLECTION, Reason.RETENTION)
    story.refuse("a-collection-retired-by-whom-does-not-hold-it", admin, retire, "not_authorised")
    people = acts.RetireCollection(PEOPLE_COLLECTION, Reason.RETENTION)
    story.refuse("the-people-collection-retired", owner, people, "out_of_order")
    story.step("the records are kept no longer", owner, retire)
    define = acts.DefineCollection(COLLECTION, (GENERAL,))
    story.refuse("a-retired-collection-s-id", owner, define, "conflict")
    nobody = acts.Custodians(None)
    story.step("nobody keeps shares of the new owner's seed", owner, nobody)
    story.step("the vault ends", owner, destroy)
    story.refuse("anything-after-the-end", owner, acts.Noop(), "out_of_order")
    story.step("the owner's keys are gone too", owner, acts.Attest(Statement.KEYS_DESTROYED))
