"""From the first act to the sale: what the vectors' vault does, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Reason, Role, Rule
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD, Manifest
from protocol.encoding import Value, encode
from protocol.labels import Label
from protocol.ledger import act_leaf
from protocol.ledger.sides import BoxPart, WrapsPart, parse_part
from protocol.signing import pae
from protocol.wire import Envelope, to_bytes
from tests.fixed_draws import COLLECTION, DAY, SERVER, VAULT_ID, fixed, flipped, parts_of
from tests.story import (
    CORE,
    GENERAL,
    NAMES_0,
    NAMES_2,
    PEOPLE,
    Story,
    citing,
    commit,
    encoded,
    enveloped,
    everywhere,
    larger_than_a_batch,
    unseen,
)
from tests.world import NOW, joining


def sale(story: Story) -> None:
    """Tell of a vault, of those who work with it, and how it is sold to the bidder."""
    _beginning(story)
    _an_admin(story)
    _data(story)
    _a_bidder(story)
    _less(story)
    _handover(story)


def _beginning(story: Story) -> None:
    owner, admin = story.people_of["owner"], story.people_of["admin"]
    noop = acts.Noop()
    good = act_leaf(story.signed(owner, story.draft(owner, noop)))
    # (1) and (2)
    story.refuse_leaf("an-empty-leaf", b"", "malformed")
    story.refuse_leaf("a-leaf-of-an-unknown-type", b"\x03" + good[1:], "malformed")
    story.refuse_leaf("an-observation-too-short", b"\x02" + bytes(31), "malformed")
    story.refuse_leaf("an-observation-too-long", b"\x02" + bytes(33), "malformed")
    story.refuse_leaf("a-leaf-with-a-tail", good + b"\x00", "malformed")
    story.refuse_leaf("an-envelope-of-another-type", _retyped(story, owner), "malformed")
    story.refuse("an-act-of-another-vault", owner, noop, "context_mismatch", vault_id=VAULT_ID)
    body = story.draft(owner, noop).body()
    version, *rest = parts_of(body)
    story.refuse_leaf("another-version", enveloped(owner, encode((2, *rest))), "unsupported")
    kind = encode((version, *rest[:4], "restore", (), None))
    story.refuse_leaf("an-unknown-kind", enveloped(owner, kind), "unsupported")
    misfit = encode((version, *rest[:4], "noop", (1,), None))
    story.refuse_leaf("a-payload-of-another-kind", enveloped(owner, misfit), "malformed")
    # (3)
    story.refuse_leaf("a-changed-signature", flipped(good, len(good) - 1), "integrity")
    by_another = story.draft(owner, noop)
    story.refuse_leaf("signed-by-another", act_leaf(story.signed(admin, by_another)), "integrity")
    story.refuse("an-author-who-is-nobody", admin, noop, "not_authorised")
    # (4)
    story.refuse("a-number-used-before", owner, noop, "replay", number=0)
    story.refuse("a-number-skipped", owner, noop, "replay", number=2)
    # (5)
    cited = story.citation()
    forged = citing(story, cited.size, fixed("another root"))
    story.refuse("no-checkpoint", owner, noop, "malformed", cited=None)
    story.refuse("a-checkpoint-of-another-tree", owner, noop, "fork", cited=forged)
    larger = citing(story, 9, fixed("another root"))
    story.refuse("a-checkpoint-of-a-larger-tree", owner, noop, "fork", cited=larger)
    unsigned = replace(cited, signature=flipped(cited.signature, 3))
    story.refuse("a-checkpoint-that-nobody-signed", owner, noop, "integrity", cited=unsigned)
    later = replace(cited, time=cited.time + 1)
    story.refuse("a-checkpoint-with-another-time", owner, noop, "integrity", cited=later)
    # (6)
    again = acts.Genesis(
        1,
        fixed("a nonce"),
        owner.card(acts.NO_VAULT),
        bytes(SERVER.verify_key),
        acts.DEFAULT_POLICY,
    )
    story.refuse("a-second-genesis", owner, again, "not_authorised")
    # keys of the people catalog
    made = story.next_epochs(owner, PEOPLE)
    after = story.sides(owner, story.draft(owner, made["payload"]), made["created"])
    story.draws.taken()
    _bad_first_wraps(story, owner, made["payload"], after)
    made = story.next_epochs(owner, PEOPLE)
    story.step("a key for the names of people", owner, **made)
    row = encode({"name": "Ada", "party": owner.member_id, "title": "Project Lark"})
    named = story.sealed(owner, PEOPLE_COLLECTION, {PEOPLE_FIELD: [row]})
    story.step("the owner's name and the vault's title", owner,
               commit("names", 0, True, named, to=PEOPLE_COLLECTION))  # fmt: skip


def _bad_first_wraps(
    story: Story, owner: Identity, payload: acts.CreateEpoch, sides: tuple[bytes, ...]
) -> None:
    wraps_part, box = (parse_part(part) for part in sides)
    assert isinstance(wraps_part, WrapsPart)
    assert isinstance(box, BoxPart)
    (entry,) = wraps_part.entries
    proved = replace(wraps_part, entries=(replace(entry, proof=bytes(96)),))
    story.refuse(
        "a-first-wrap-with-a-proof", owner, payload, "malformed", sides=encoded(proved, box)
    )
    short = replace(box, box=box.box[:-32])
    story.refuse(
        "a-box-of-another-size", owner, payload, "malformed", sides=encoded(wraps_part, short)
    )
    story.refuse("sides-out-of-order", owner, payload, "malformed", sides=encoded(box, wraps_part))
    story.refuse("no-sides", owner, payload, "not_authorised", sides=())
    story.refuse("no-box", owner, payload, "not_authorised", sides=encoded(wraps_part))
    twice = encoded(wraps_part, box, box)
    story.refuse("a-box-too-many", owner, payload, "not_authorised", sides=twice)
    story.refuse(
        "sides-that-were-not-signed", owner, payload, "context_mismatch",
        sides=sides, sides_root=fixed("another root"),
    )  # fmt: skip
    story.refuse("sides-where-none-are-due", owner, acts.Noop(), "not_authorised", sides=sides)
    story.refuse(
        "a-sides-root-where-none-is-due", owner, acts.Noop(), "not_authorised",
        sides_root=fixed("a root of nothing"),
    )  # fmt: skip


def _retyped(story: Story, owner: Identity) -> bytes:
    body = story.draft(owner, acts.Noop()).body()
    signature = owner.sign(pae(Label.OBSERVATION, body))
    return act_leaf(to_bytes(Envelope(Label.OBSERVATION, body, signature)))


def _an_admin(story: Story) -> None:
    owner, admin = story.people_of["owner"], story.people_of["admin"]
    core = (everywhere(CORE),)
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("an-invite-as-owner", {"role": Role.OWNER}, "not_authorised"),
        ("an-invite-for-too-long", {"expiry": NOW + 31 * DAY}, "out_of_order"),
        ("an-invite-that-has-ended", {"expiry": NOW}, "out_of_order"),
        ("an-invite-with-data-against-policy", {"data": True}, "not_authorised"),
        ("data-for-an-auditor", {"role": Role.AUDITOR, "rules": core}, "not_authorised"),
        ("a-rule-for-no-collection", {"rules": (Rule(VAULT_ID[:16], CORE, None),)}, "out_of_order"),
        ("a-rule-for-people", {"rules": (Rule(bytes(16), CORE, None),)}, "out_of_order"),
    ]
    for name, options, code in refused:
        asked = {"role": Role.BIDDER, **options}
        _, payload = story.invited(name, owner, **asked)
        story.refuse(name, owner, payload, code)
    _, payload = story.invited("keys seen", owner, Role.BIDDER)
    seen = replace(payload, card=owner.card(story.vault_id))
    story.refuse("an-invite-of-a-key-seen-before", owner, seen, "conflict")
    foreign = replace(payload, card=admin.card(VAULT_ID))
    story.refuse("a-card-for-another-vault", owner, foreign, "integrity")
    joins = replace(payload, card=joining(admin, story.vault_id, admin).card)
    story.refuse("an-invite-with-a-card-for-a-join", owner, joins, "integrity")
    invite, payload = story.invited("admin", owner, Role.ADMIN, core)
    story.refuse("an-invite-without-its-catalogs", owner, payload, "not_authorised", sides=())
    story.step("an invite for an admin", owner, payload, readers=(invite,))
    story.refuse("an-invite-that-does-more-than-join", invite, acts.Noop(), "not_authorised")
    again = replace(story.invited("again", owner, Role.BIDDER)[1], access_key=payload.access_key)
    story.refuse("an-access-key-seen-before", owner, again, "conflict")
    join = joining(admin, story.vault_id, invite)
    late = citing(story, story.ledger.size, story.ledger.tree.root(), payload.expiry + 1)
    story.refuse("a-join-after-its-invite-ended", invite, join, "out_of_order", cited=late)
    story.refuse(
        "a-join-with-a-key-seen-before", invite, joining(owner, story.vault_id, invite), "conflict"
    )
    for_the_vault = acts.Join(admin.card(story.vault_id))
    story.refuse("a-join-with-a-card-for-no-invite", invite, for_the_vault, "integrity")
    spare, payload = story.invited("spare", owner, Role.BIDDER)
    story.step("an invite for somebody else", owner, payload, readers=(spare,))
    # What was made for the first invite, the server gives to whoever holds the second.
    story.refuse("a-join-with-a-card-for-another-invite", spare, join, "integrity")
    withdraw = acts.WithdrawInvite(spare.member_id)
    story.step("which is withdrawn", owner, withdraw)
    story.step("the admin joins", invite, join, readers=(admin,))
    story.refuse("a-join-with-a-used-invite", invite, join, "not_authorised", number=1)
    confirm = acts.Confirm(admin.member_id)
    story.refuse(
        "an-unconfirmed-member-acts", admin, acts.Confirm(owner.member_id), "not_authorised"
    )
    rules = acts.Grant(admin.member_id, (everywhere(GENERAL),))
    story.refuse("a-grant-to-an-unconfirmed-member", owner, rules, "out_of_order")
    story.refuse("a-confirmation-of-nobody", owner, acts.Confirm(VAULT_ID), "out_of_order")
    story.step("the admin is confirmed", owner, confirm, readers=(admin,))
    story.refuse("a-second-confirmation", owner, confirm, "out_of_order")
    owned = acts.ChangeRole(admin.member_id, Role.OWNER)
    story.refuse("ownership-by-change-of-role", owner, owned, "not_authorised")
    same = acts.ChangeRole(admin.member_id, Role.ADMIN)
    story.refuse("a-role-that-it-has", owner, same, "out_of_order")
    story.refuse("an-admin-changes-a-role", admin, same, "not_authorised")
    _, second = story.invited("a second admin", admin, Role.KEYLESS_ADMIN)
    story.refuse("an-admin-invites-an-admin", admin, second, "not_authorised")
    story.refuse(
        "an-admin-revokes-an-admin",
        admin,
        acts.Revoke(admin.member_id, Reason.LEFT),
        "not_authorised",
    )
    story.refuse(
        "the-owner-is-revoked", admin, acts.Revoke(owner.member_id, Reason.OTHER), "not_authorised"
    )
    own = acts.WithdrawGrant(admin.member_id, core)
    story.refuse("an-admin-ends-a-grant-of-an-admin", admin, own, "not_authorised")
    second_invite, second = story.invited("a second admin", owner, Role.KEYLESS_ADMIN)
    story.step("an invite for a second admin", owner, second, readers=(second_invite,))
    withdraw = acts.WithdrawInvite(second_invite.member_id)
    story.refuse("an-admin-withdraws-the-invite-of-an-admin", admin, withdraw, "not_authorised")
    story.step("the owner withdraws it", owner, withdraw)


def _data(story: Story) -> None:
    owner, admin = story.people_of["owner"], story.people_of["admin"]
    define = acts.DefineCollection(COLLECTION, (GENERAL, CORE))
    story.step("a collection of two fields", owner, define)
    story.refuse("a-collection-defined-twice", owner, define, "conflict")
    other = story.next_epochs(admin, (COLLECTION, 0))
    story.refuse("an-epoch-by-whom-does-not-hold-it", admin, other["payload"], "not_authorised")
    fields = [(COLLECTION, n) for n in (0, 1, NAMES_0, NAMES_2)]
    made = story.next_epochs(owner, *fields)
    definition = made["payload"].epochs[0]
    skipped = acts.CreateEpoch((replace(definition, epoch=2),))
    story.refuse("an-epoch-skipped", owner, skipped, "out_of_order")
    nowhere = acts.CreateEpoch((replace(definition, field=9),))
    story.refuse("an-epoch-for-no-field", owner, nowhere, "out_of_order")
    made = story.next_epochs(owner, *fields)
    sides = story.sides(owner, story.draft(owner, made["payload"]), made["created"])
    _bad_sides(story, owner, made["payload"], sides)
    made = story.next_epochs(owner, *fields)
    story.step("keys for its fields and their names", owner, **made, readers=(admin,))
    rows: list[list[Value]] = [
        [number, name, "string"] for number, name in enumerate(("city", "iban"))
    ]
    catalogs = [
        story.sealed(
            owner,
            COLLECTION,
            {
                number: [
                    encode({
                        "collection": "customers", "fields": [row], "file": "customers.csv",
                        "format": {}, "title": "Project Lark",
                    })
                ]
            },
        )
        for number, row in zip((NAMES_0, NAMES_2), rows, strict=True)
    ]  # fmt: skip
    records = story.sealed(
        owner, COLLECTION, {0: [b"Bern", b"Lyon", None], 1: [b"CH93", b"FR14", b"DE89"]}
    )
    _bad_commits(story, owner, admin, catalogs, records)
    story.step("the fields' names", owner, commit("one", 0, False, *catalogs))
    story.refuse("a-part-twice", owner, commit("one", 0, True, records), "out_of_order")
    story.refuse("a-part-skipped", owner, commit("one", 2, True, records), "out_of_order")
    story.refuse("a-part-by-another", admin, commit("one", 1, True, records), "conflict")
    story.refuse("a-batch-id-used-before", owner, commit("one", 1, True, catalogs[0]), "conflict")
    story.step("three records", owner, commit("one", 1, True, records))
    story.refuse("an-upload-committed-before", owner, commit("one", 0, True, records), "conflict")
    story.observation = story.observe("the admin reads", admin, records.batch_id, (1,))


def _bad_sides(
    story: Story, owner: Identity, payload: acts.CreateEpoch, sides: tuple[bytes, ...]
) -> None:
    parts = [parse_part(part) for part in sides]
    listed = [part for part in parts if isinstance(part, WrapsPart)]
    boxes = [part for part in parts if isinstance(part, BoxPart)]
    # Field 1 is the admin's too: two entries, of which one has a proof.
    at = next(i for i, part in enumerate(listed) if part.field == 1)
    one = listed[at]
    proved = next(e for e in one.entries if e.proof)
    others = tuple(e for e in one.entries if e is not proved)

    def with_entries(entries: Any) -> tuple[bytes, ...]:
        return encoded(*listed[:at], replace(one, entries=entries), *listed[at + 1 :], *boxes)

    broken = replace(proved, proof=flipped(proved.proof, 5))
    swapped = replace(proved, wrap=others[0].wrap)
    order = {e.recipient: e for e in one.entries}

    def instead(entry: Any) -> tuple[Any, ...]:
        return tuple(entry if e is proved else e for e in order.values())

    refuse: list[tuple[str, tuple[bytes, ...], str]] = [
        ("a-holder-left-out", with_entries(others), "not_authorised"),
        ("an-entry-twice", with_entries((*one.entries, proved)), "not_authorised"),
        ("entries-out-of-order", with_entries(one.entries[::-1]), "not_authorised"),
        ("a-proof-that-does-not-verify", with_entries(instead(broken)), "integrity"),
        ("a-wrap-of-another-key", with_entries(instead(swapped)), "integrity"),
        ("no-proof", with_entries(instead(replace(proved, proof=b""))), "malformed"),
        ("an-epoch-left-out", encoded(*listed[1:], *boxes), "not_authorised"),
        ("a-box-left-out", encoded(*listed, boxes[0]), "not_authorised"),
        ("epochs-out-of-order", encoded(*listed[::-1], *boxes), "not_authorised"),
    ]
    for name, wrong, code in refuse:
        story.refuse(name, owner, payload, code, sides=wrong)
    story.draws.taken()


def _bad_commits(
    story: Story, owner: Identity, admin: Identity, catalogs: Sequence[Manifest], records: Manifest
) -> None:
    ref = records.blocks[0]
    elsewhere = commit("bad", 0, True, records, to=VAULT_ID[:16])
    story.refuse("a-commit-to-no-collection", owner, elsewhere, "out_of_order")
    alone = replace(records, blocks=records.blocks[:1])
    story.refuse("a-field-left-out", owner, commit("bad", 0, True, alone), "out_of_order")
    more = replace(records, blocks=(*records.blocks, replace(ref, field=2)))
    story.refuse("a-field-too-many", owner, commit("bad", 0, True, more), "out_of_order")
    future = replace(records, blocks=(replace(ref, epoch=2), *records.blocks[1:]))
    story.refuse(
        "an-epoch-that-is-not-there", owner, commit("bad", 0, True, future), "out_of_order"
    )
    first = commit("bad", 0, True, records)
    story.refuse("records-before-their-names", owner, first, "out_of_order")
    story.refuse("a-commit-by-whom-does-not-hold-it", admin, first, "not_authorised")
    twice = commit("bad", 0, True, catalogs[0], catalogs[0])
    story.refuse("a-batch-twice", owner, twice, "conflict")
    large = enveloped(owner, larger_than_a_batch(story.draft(owner, first).body()))
    story.refuse_leaf("a-commit-of-more-bytes-than-a-batch-has", large, "limit_exceeded")


def _a_bidder(story: Story) -> None:
    owner, admin, bidder = (story.people_of[n] for n in ("owner", "admin", "bidder"))
    planned = (Rule(COLLECTION, None, 1),)
    invite, payload = story.invited("bidder", admin, Role.BIDDER, planned)
    story.step("an invite for a bidder, by the admin", admin, payload, readers=(invite,))
    story.step(
        "the bidder joins", invite, joining(bidder, story.vault_id, invite), readers=(bidder,)
    )
    confirm = acts.Confirm(bidder.member_id)
    story.step("the bidder is confirmed by the admin", admin, confirm, readers=(bidder,))
    story.refuse(
        "a-bidder-invites", bidder, story.invited("x", bidder, Role.BIDDER)[1], "not_authorised"
    )
    story.refuse("a-bidder-grants", bidder, acts.Grant(bidder.member_id, planned), "not_authorised")
    general = (everywhere(GENERAL),)
    grant = acts.Grant(bidder.member_id, general)
    story.refuse("a-grant-of-what-one-does-not-hold", admin, grant, "not_authorised")
    already = acts.Grant(bidder.member_id, planned)
    story.refuse("a-grant-that-was-made", owner, already, "out_of_order")
    old = story.citation(size=story.state.control_head)
    story.refuse("a-grant-that-saw-too-little", owner, grant, "stale_act", cited=old)
    spare, payload = story.invited("nobody", owner, Role.BIDDER)
    story.step("an invite that nobody uses", owner, payload, readers=(spare,))
    story.step("it is withdrawn", owner, acts.WithdrawInvite(spare.member_id), cited=old)
    closed = acts.WithdrawInvite(spare.member_id)
    story.refuse("an-invite-withdrawn-twice", owner, closed, "out_of_order")
    story.step("general fields for the bidder", owner, grant, readers=(bidder,))


def _less(story: Story) -> None:
    owner, admin, bidder = (story.people_of[n] for n in ("owner", "admin", "bidder"))
    narrower = acts.WithdrawGrant(bidder.member_id, (Rule(COLLECTION, GENERAL, None),))
    story.refuse("an-end-of-a-grant-that-was-not-made", owner, narrower, "out_of_order")
    withdraw = acts.WithdrawGrant(bidder.member_id, (everywhere(GENERAL),))
    story.step("and no longer", owner, withdraw)
    tainted = unseen(story, owner)
    story.refuse(
        "a-commit-under-a-tainted-epoch", owner, commit("two", 0, True, tainted), "out_of_order"
    )
    story.step("the next key of that field", owner, **story.next_epochs(owner, (COLLECTION, 0)))
    story.refuse(
        "a-tainted-epoch-once-more", owner, commit("two", 0, True, tainted), "out_of_order"
    )
    keyless = acts.ChangeRole(admin.member_id, Role.KEYLESS_ADMIN)
    story.step("the admin gives up its keys", owner, keyless)
    story.step("the next key of the other field", owner,
               **story.next_epochs(owner, (COLLECTION, 1)), readers=(bidder,))  # fmt: skip
    records = unseen(story, owner)
    keyless_data = commit("two", 0, True, records)
    story.refuse("data-by-an-admin-without-keys", admin, keyless_data, "not_authorised")
    names = commit("two", 0, True, unseen(story, owner, {NAMES_0: [encode({"file": "x.csv"})]}))
    story.refuse("names-of-fields-by-an-admin-without-keys", admin, names, "not_authorised")
    row = encode({"name": "Bob", "party": bidder.member_id})
    named = story.sealed(admin, PEOPLE_COLLECTION, {PEOPLE_FIELD: [row]})
    story.step("the admin without keys names the bidder", admin,
               commit("named", 0, True, named, to=PEOPLE_COLLECTION))  # fmt: skip
    own = story.next_epochs(owner, (COLLECTION, NAMES_0))["payload"]
    story.refuse("a-key-by-an-admin-without-keys", admin, own, "not_authorised")
    story.step("the bidder spends a number", bidder, acts.Noop())
    auditor, payload = story.invited("auditor", admin, Role.AUDITOR, expiry=NOW + DAY)
    story.step("an invite for an auditor", admin, payload, readers=(auditor,))
    late = citing(story, story.ledger.size, story.ledger.tree.root(), NOW + DAY + 1)
    story.step("a bidder's date ends no invite", bidder, acts.Expire(), cited=late)
    on_time = citing(story, story.ledger.size, story.ledger.tree.root(), NOW + DAY)
    story.step("nor does its last second", owner, acts.Expire(), cited=on_time)
    late = citing(story, story.ledger.size, story.ledger.tree.root(), NOW + DAY + 1)
    story.step("the owner's later date does", owner, acts.Expire(), cited=late)
    join = joining(story.people_of["auditor"], story.vault_id, auditor)
    story.refuse("a-join-with-an-invite-that-ended", auditor, join, "not_authorised")


def _handover(story: Story) -> None:
    owner, admin, bidder = (story.people_of[n] for n in ("owner", "admin", "bidder"))
    _before_the_offer(story)
    story.now += 2 * DAY
    roots = story.state.roots()
    offer = acts.Offer(bidder.member_id, story.now + 7 * DAY, roots)
    story.step("an offer to the bidder", owner, offer, readers=(bidder,))
    index = story.ledger.size - 1
    story.refuse("a-second-offer", owner, offer, "out_of_order")
    invited = story.invited("y", owner, Role.BIDDER)[1]
    story.refuse("an-invite-while-an-offer-is-open", owner, invited, "out_of_order")
    records = commit("three", 0, True, unseen(story, owner))
    story.refuse("a-commit-while-an-offer-is-open", owner, records, "out_of_order")
    buyer = acts.Revoke(bidder.member_id, Reason.LOST_BID)
    story.refuse("the-buyer-is-revoked", owner, buyer, "out_of_order")
    story.refuse(
        "a-rejection-of-no-offer", bidder, acts.Reject(index + 1, Reason.TERMS), "out_of_order"
    )
    story.refuse(
        "a-rejection-by-the-seller", owner, acts.Reject(index, Reason.TERMS), "not_authorised"
    )
    late = citing(story, story.ledger.size, story.ledger.tree.root(), offer.expiry + 1)
    after_the_end = acts.Accept(index, story.ledger.size, story.receipts())
    story.refuse("an-acceptance-after-the-end", bidder, after_the_end, "out_of_order", cited=late)
    story.step("the bidder declines", bidder, acts.Reject(index, Reason.TERMS))
    fields = [PEOPLE, *((COLLECTION, n) for n in (0, 1, NAMES_0, NAMES_2))]
    story.step(
        "every key anew", owner, **story.next_epochs(owner, *fields), readers=(bidder, admin)
    )
    row = encode({"name": "Cy", "party": admin.member_id})
    rest = unseen(story, owner, {PEOPLE_FIELD: [row]}, PEOPLE_COLLECTION)
    other_half = commit("half", 1, True, rest, to=PEOPLE_COLLECTION)
    story.refuse("the-other-half-after-an-offer", owner, other_half, "out_of_order")
    revoke = acts.Revoke(admin.member_id, Reason.LEFT)
    story.step("the admin leaves", owner, revoke, cited=story.citation(size=1))
    story.refuse("an-act-by-somebody-removed", admin, acts.Noop(), "not_authorised")
    made = story.next_epochs(owner, PEOPLE)
    wraps_part, *_ = (
        parse_part(p)
        for p in story.sides(owner, story.draft(owner, made["payload"]), made["created"])
    )
    assert isinstance(wraps_part, WrapsPart)
    extra = replace(wraps_part.entries[0], recipient=admin.member_id, proof=bytes(96))
    entries = tuple(sorted((*wraps_part.entries, extra), key=lambda e: e.recipient))
    story.refuse(
        "a-key-for-somebody-removed", owner, made["payload"], "not_authorised",
        sides=encoded(replace(wraps_part, entries=entries)),
    )  # fmt: skip
    _sold(story)


def _before_the_offer(story: Story) -> None:
    owner, admin, bidder = (story.people_of[n] for n in ("owner", "admin", "bidder"))
    roots = story.state.roots()
    ends = story.now + 7 * DAY
    to_admin = acts.Offer(admin.member_id, ends, roots)
    story.refuse("an-offer-to-an-admin", owner, to_admin, "out_of_order")
    wrong = (replace(roots[0], root=fixed("another root")), *roots[1:])
    story.refuse(
        "an-offer-of-other-roots",
        owner,
        acts.Offer(bidder.member_id, ends, wrong),
        "manifest_mismatch",
    )
    fewer = acts.Offer(bidder.member_id, ends, roots[:1])
    story.refuse("an-offer-of-fewer-collections", owner, fewer, "manifest_mismatch")
    long = acts.Offer(bidder.member_id, story.now + 31 * DAY, roots)
    story.refuse("an-offer-for-too-long", owner, long, "out_of_order")
    none = acts.Accept(3, story.ledger.size, story.receipts())
    story.refuse("an-acceptance-of-nothing", bidder, none, "out_of_order")
    row = encode({"name": "Cy", "party": admin.member_id})
    half = unseen(story, owner, {PEOPLE_FIELD: [row]}, PEOPLE_COLLECTION)
    story.step("half an upload", owner, commit("half", 0, False, half, to=PEOPLE_COLLECTION))


def _sold(story: Story) -> None:
    owner, bidder = story.people_of["owner"], story.people_of["bidder"]
    offer = acts.Offer(bidder.member_id, story.now + 7 * DAY, story.state.roots())
    story.step("another offer", owner, offer, readers=(bidder,))
    index = story.ledger.size - 1
    receipts = story.receipts()
    size = story.ledger.size
    fewer = acts.Accept(index, size, receipts[:1])
    story.refuse("a-receipt-of-fewer-collections", bidder, fewer, "manifest_mismatch")
    less = replace(receipts[1], records=receipts[1].records - 1)
    story.refuse(
        "a-receipt-of-fewer-records",
        bidder,
        acts.Accept(index, size, (receipts[0], less)),
        "manifest_mismatch",
    )
    story.refuse(
        "a-tree-that-ends-before-the-offer",
        bidder,
        acts.Accept(index, index, receipts),
        "out_of_order",
    )
    story.refuse(
        "a-tree-beyond-the-one-cited",
        bidder,
        acts.Accept(index, size + 1, receipts),
        "out_of_order",
    )
    story.refuse(
        "an-acceptance-of-another-offer",
        bidder,
        acts.Accept(index - 1, size, receipts),
        "out_of_order",
    )
    accept = acts.Accept(index, size, receipts)
    story.refuse("an-acceptance-by-the-seller", owner, accept, "not_authorised")
    story.step("the bidder accepts", bidder, accept)
    story.refuse("an-act-by-the-seller-afterwards", owner, acts.Noop(), "not_authorised")
    fields = [PEOPLE, *((COLLECTION, n) for n in (0, 1, NAMES_0, NAMES_2))]
    story.step("the new owner's keys", bidder, **story.next_epochs(bidder, *fields))
