"""The vectors of SPEC section 9.9: the dealing of ledger.json with every secret in it."""

from __future__ import annotations

from protocol import acts
from protocol.identity import recovery_context
from protocol.wire import to_bytes
from tests import edwards
from tests.dealing_by_spec import (
    Dealt,
    fits,
    number_of,
    rebuilt,
    release_info,
    scalar,
    second_generator,
    value_at,
    weights,
)
from tests.fixed_draws import Draws, Json, fixed_randomness, flipped, identity_of
from tests.stories import told
from tests.story import Story


def recovery(draws: Draws) -> Json:
    with fixed_randomness("ledger") as same:
        story = told(same)
    ((at, dealt, drawn),) = story.dealings
    number, hashed, point = second_generator()
    return {
        "about": "SPEC section 9.9: the dealing in ledger.json, its release, and its rebuilding",
        "generator": {
            "number": number,
            "hashed": hashed.hex(),
            "point": edwards.encode(point).hex(),
        },
        "dealing": {"act": at, **_dealing(story, dealt, drawn)},
        "invalid_shares": _bad_shares(dealt),
        "releases": [_release(story, dealt, at, *each) for each in story.releases],
        "rebuilding": _rebuilding(story, dealt),
    }


def _dealing(story: Story, dealt: Dealt, drawn: list[str]) -> Json:
    people = {each.member_id: each for each in story.people_of.values()}
    seed = people[dealt.owner].seed.expose()
    coins = drawn[2 * len(dealt.a) :]
    (index,) = (at for at, _, _ in story.dealings)
    recovery = story.states[index].recovery
    assert recovery is not None
    boxes = [share.box for share in recovery.dealing.shares]
    assert recovery.dealing.seed_box == dealt.seed_box(seed)
    return {
        "vault_id": dealt.vault_id.hex(),
        "owner": identity_of(people[dealt.owner]),
        "drawn": drawn,
        "a": [scalar(each).hex() for each in dealt.a],
        "b": [scalar(each).hex() for each in dealt.b],
        "commitments": [each.hex() for each in dealt.commitments],
        "shares": [
            {
                "place": place,
                "custodian": identity_of(people[custodian]),
                "f": scalar(value_at(dealt.a, place)).hex(),
                "g": scalar(value_at(dealt.b, place)).hex(),
                "info": dealt.share_info(place).hex(),
                "coins": coins[place - 1],
                "box": boxes[place - 1].hex(),
            }
            for place, custodian in enumerate(dealt.custodians, 1)
        ],
        "seed_info": dealt.seed_info.hex(),
        "seed_key": dealt.seed_key.hex(),
        "seed_box": dealt.seed_box(seed).hex(),
        "record": to_bytes(recovery.dealing).hex(),
    }


def _bad_shares(dealt: Dealt) -> Json:
    first, second = dealt.share(1), dealt.share(2)
    a = tuple(each + 1 for each in dealt.a)
    other = Dealt(dealt.vault_id, dealt.owner, dealt.custodians, a, dealt.b)
    beyond = (number_of(first[:32]) + edwards.L).to_bytes(32, "little") + first[32:]
    cases = [
        ("a-share-of-another-place", 1, second),
        ("a-share-of-another-dealing", 1, other.share(1)),
        ("a-changed-share", 1, flipped(first, 0)),
        ("a-changed-share-of-the-hiding-polynomial", 2, flipped(second, 40)),
        ("a-share-turned-round", 1, first[32:] + first[:32]),
        ("a-share-that-is-not-reduced", 1, beyond),
    ]
    assert all(fits(dealt.share(i), i, dealt.commitments) for i in (1, 2, 3))
    assert not any(fits(share, place, dealt.commitments) for _, place, share in cases)
    return [
        {"name": name, "place": place, "share": share.hex(), "error": "commitment_mismatch"}
        for name, place, share in cases
    ]


def _release(
    story: Story, dealt: Dealt, at: int, index: int, release: acts.Release, drawn: list[str]
) -> Json:
    custodian = acts.parse_envelope(story.leaves[index][0][1:])[1].author
    rebuilder = story.people_of["rebuilder"]
    return {
        "act": index,
        "custodian": custodian.hex(),
        "rebuilder": identity_of(rebuilder),
        "card_context": recovery_context(story.vault_id).hex(),
        "card": to_bytes(release.card).hex(),
        "info": release_info(story.vault_id, at, custodian, rebuilder.member_id).hex(),
        "coins": drawn[1],
        "share": dealt.share(dealt.custodians.index(custodian) + 1).hex(),
        "box": release.box.hex(),
    }


def _rebuilding(story: Story, dealt: Dealt) -> Json:
    places = sorted(
        dealt.custodians.index(acts.parse_envelope(story.leaves[index][0][1:])[1].author) + 1
        for index, _, _ in story.releases
    )
    total = rebuilt({place: dealt.share(place) for place in places})
    assert total == dealt.a[0]
    return {
        "places": places,
        "weights": [scalar(each).hex() for _, each in sorted(weights(places).items())],
        "a_0": scalar(total).hex(),
    }
