from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from client.crypto.identity import Identity
from client.crypto.secrets import Seed
from client.request_signing import sign_request
from protocol import acts
from protocol.acts import Act, Citation, Policy, Reason, Role, Rule
from protocol.blocks import BlockRef, FieldClass, Manifest, Padding, catalog_field
from protocol.checkpoint import Checkpoint, signed_message
from protocol.errors import (
    IntegrityError,
    LimitExceeded,
    MalformedMessage,
    SealroomError,
    Unsupported,
    WeakKey,
)
from protocol.identity import IdentityCard, verify_card
from protocol.labels import Label, digest
from protocol.limits import LIMITS
from protocol.requests import RequestMessage, verify_request
from protocol.signing import pae, verify_signature
from protocol.wire import Envelope, decode, encode, from_bytes, pack, to_bytes
from tests import edwards
from tests.world import of_class, of_field

AUTHOR = Identity(Seed(b"a" * 32))
SERVER = SigningKey(b"s" * 32)
CARDS = [Identity(Seed(bytes((i,)) * 32)).card(b"v" * 32) for i in range(3)]
KEYS = [bytes(SigningKey(bytes((i,)) * 32).verify_key) for i in range(3)]

id32 = st.binary(min_size=32, max_size=32)
id16 = st.binary(min_size=16, max_size=16).filter(any)
counts = st.integers(0, acts.MAX_UINT)
times = st.integers(0, acts.MAX_TIME)
cards = st.sampled_from(CARDS)
keys = st.sampled_from(KEYS)
roles = st.sampled_from(Role)
reasons = st.sampled_from(Reason)
classes = st.sampled_from([FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE])


def ascending(items: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    """Lists as acts hold them: without repeats, in the order of the encodings."""
    lists = st.lists(items, min_size=least, max_size=4)
    return lists.map(
        lambda each: tuple(x for _, x in sorted({to_bytes(x): x for x in each}.items()))
    )


rules = st.one_of(
    st.builds(Rule, st.none() | id16, classes, st.none()),
    st.builds(Rule, id16, st.none(), st.integers(0, 0x7FFF)),
)
epochs = st.builds(
    acts.EpochDefinition,
    id16,
    st.integers(0, 0x7FFF),
    st.integers(1, LIMITS.epochs),
    id32,
    id32,
)
policies = st.builds(
    Policy,
    st.integers(1, LIMITS.invite_seconds),
    st.integers(1, LIMITS.offer_seconds),
    st.integers(1, LIMITS.offer_seconds),
    st.booleans(),
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    numbers = draw(st.sets(st.integers(0, 0x7FFF), min_size=1, max_size=3))
    if draw(st.booleans()):
        numbers = {catalog_field(draw(classes))}
    records = draw(st.integers(1, 100))
    blocks = tuple(
        BlockRef(
            number,
            draw(st.integers(1, 9)),
            draw(id16),
            draw(st.integers(4 * records, LIMITS.block_bytes)),
            draw(id32),
            draw(st.sampled_from(Padding)),
        )
        for number in sorted(numbers)
    )
    return Manifest(draw(id16), records, blocks)


PAYLOADS: dict[str, st.SearchStrategy[Any]] = {
    "genesis": st.builds(acts.Genesis, st.integers(0, 0xFFFF), id32, cards, keys, policies),
    "invite": st.builds(acts.Invite, cards, roles, ascending(rules), st.booleans(), times, keys),
    "withdraw-invite": st.builds(acts.WithdrawInvite, id32),
    "join": st.builds(acts.Join, cards),
    "confirm": st.builds(acts.Confirm, id32),
    "change-role": st.builds(acts.ChangeRole, id32, roles),
    "revoke": st.builds(acts.Revoke, id32, reasons),
    "define-collection": st.builds(
        acts.DefineCollection, id16, st.lists(classes, min_size=1, max_size=5).map(tuple)
    ),
    "create-epoch": st.builds(acts.CreateEpoch, ascending(epochs, 1)),
    "grant": st.builds(acts.Grant, id32, ascending(rules, 1)),
    "withdraw-grant": st.builds(acts.WithdrawGrant, id32, ascending(rules, 1)),
    "commit": st.builds(
        acts.Commit,
        id16,
        id16,
        st.integers(0, 0xFFFF),
        st.booleans(),
        st.lists(manifests(), min_size=1, max_size=3).map(tuple),
    ),
    "offer": st.builds(
        acts.Offer, id32, times, ascending(st.builds(acts.CollectionRoot, id16, id32))
    ),
    "accept": st.builds(
        acts.Accept,
        counts,
        counts,
        ascending(st.builds(acts.CollectionReceipt, id16, id32, counts, counts)),
    ),
    "reject": st.builds(acts.Reject, counts, reasons),
    "expire": st.just(acts.Expire()),
    "noop": st.just(acts.Noop()),
}
citations = st.builds(
    Citation, st.integers(1, acts.MAX_UINT), id32, times, st.binary(min_size=64, max_size=64)
)


def acts_of(kind: str) -> st.SearchStrategy[Act]:
    return st.builds(
        Act, id32, id32, counts, st.none() | citations, PAYLOADS[kind], st.none() | id32
    )


def signed(act: Act, author: Identity = AUTHOR, label: Label = Label.ACT) -> bytes:
    body = act.body()
    return to_bytes(Envelope(label, body, author.sign(pae(label, body))))


@cache
def sample(kind: str) -> Act:
    """One act of each kind, the same on every run."""
    cited = Citation(7, b"r" * 32, 1_800_000_000, b"g" * 64)
    return Act(b"v" * 32, AUTHOR.member_id, 3, cited, SAMPLES[kind], b"p" * 32)


SAMPLES: dict[str, acts.Payload] = {
    "genesis": acts.Genesis(acts.SUITE, b"n" * 32, CARDS[0], KEYS[0], acts.DEFAULT_POLICY),
    "invite": acts.Invite(
        CARDS[1], Role.BIDDER, (of_class(FieldClass.CORE),), False, 1_800_100_000, KEYS[1]
    ),
    "withdraw-invite": acts.WithdrawInvite(b"i" * 32),
    "join": acts.Join(CARDS[2]),
    "confirm": acts.Confirm(b"m" * 32),
    "change-role": acts.ChangeRole(b"m" * 32, Role.ADMIN),
    "revoke": acts.Revoke(b"m" * 32, Reason.LEFT),
    "define-collection": acts.DefineCollection(b"c" * 16, (FieldClass.CORE, FieldClass.GENERAL)),
    "create-epoch": acts.CreateEpoch(
        (acts.EpochDefinition(b"c" * 16, 0, 1, b"h" * 32, b"k" * 32),)
    ),
    "grant": acts.Grant(b"m" * 32, (of_field(b"c" * 16, 1),)),
    "withdraw-grant": acts.WithdrawGrant(b"m" * 32, (of_class(FieldClass.CORE, b"c" * 16),)),
    "commit": acts.Commit(
        b"u" * 16,
        b"c" * 16,
        1,
        False,
        (Manifest(b"b" * 16, 2, (BlockRef(0, 1, b"s" * 16, 72, b"x" * 32, Padding.MULTIPLE_16),)),),
    ),
    "offer": acts.Offer(b"m" * 32, 1_800_100_000, (acts.CollectionRoot(b"c" * 16, b"r" * 32),)),
    "accept": acts.Accept(9, 12, (acts.CollectionReceipt(b"c" * 16, b"r" * 32, 5, 10),)),
    "reject": acts.Reject(9, Reason.TERMS),
    "expire": acts.Expire(),
    "noop": acts.Noop(),
}
KINDS = list(acts.KINDS)


def test_every_kind_is_tried() -> None:
    assert set(PAYLOADS) == set(SAMPLES) == set(acts.KINDS)
    assert len(set(acts.KINDS.values())) == len(acts.KINDS) == 17


# --- round trip


@pytest.mark.parametrize("kind", KINDS)
def test_every_act_comes_back_as_it_was(kind: str) -> None:
    @given(acts_of(kind))
    @settings(max_examples=25)
    def comes_back(act: Act) -> None:
        assert act.kind == acts.kind_of(act.payload) == kind
        body = act.body()
        assert acts.parse_body(body) == act
        assert acts.parse_body(body).body() == body
        envelope, parsed = acts.parse_envelope(signed(act))
        assert (envelope.body, parsed) == (body, act)
        verify_signature(
            AUTHOR.public.signing_key, pae(envelope.payload_type, body), envelope.signature
        )

    comes_back()


def test_what_a_genesis_does_not_cite_is_zero() -> None:
    act = replace(sample("genesis"), cited=None)
    assert (act.cited_size, act.cited_time) == (0, 0)
    assert (sample("noop").cited_size, sample("noop").cited_time) == (7, 1_800_000_000)


def test_a_vault_s_id_is_the_hash_of_its_genesis() -> None:
    genesis = signed(sample("genesis"))
    assert acts.vault_id_of(genesis) == digest(Label.VAULT_ID, genesis)
    assert acts.vault_id_of(genesis) != acts.vault_id_of(genesis + b"\0")


# --- any byte flipped


def flipped_is_harmless(encoded: bytes, at: int, flip: int) -> None:
    """An error of our tree, or another act, whose signature then fails."""
    changed = bytearray(encoded)
    changed[at] ^= flip
    try:
        envelope, _ = acts.parse_envelope(bytes(changed))
    except SealroomError:
        return
    with pytest.raises(IntegrityError):
        envelope.verify(AUTHOR.public.signing_key, Label.ACT)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("genesis", "invite", "join")])
def test_no_byte_of_an_act_can_be_flipped(kind: str) -> None:
    encoded = signed(sample(kind))
    acts.parse_envelope(encoded)[0].verify(AUTHOR.public.signing_key, Label.ACT)
    for at in range(len(encoded)):
        flipped_is_harmless(encoded, at, 1 << at % 8)


@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_of_an_act_can_become_any_other(kind: str) -> None:
    encoded = signed(sample(kind))

    @given(st.integers(0, len(encoded) - 1), st.integers(1, 255))
    @settings(max_examples=60)
    def harmless(at: int, flip: int) -> None:
        flipped_is_harmless(encoded, at, flip)

    harmless()


@given(st.binary(max_size=300))
def test_any_bytes_give_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(SealroomError):
        acts.parse_envelope(data)


@pytest.mark.parametrize("kind", KINDS)
def test_no_act_is_cut_or_continued(kind: str) -> None:
    encoded = signed(sample(kind))
    for data in (encoded[:-1], encoded + b"\0", encoded[1:]):
        with pytest.raises(MalformedMessage):
            acts.parse_envelope(data)


# --- what is no act


def altered(act: Act, place: int, value: Any) -> bytes:
    """Return the body with one of its eight fields replaced."""
    fields = list(decode(act.body(), max_bytes=LIMITS.act_bytes))  # type: ignore[arg-type]
    fields[place] = value
    return encode(tuple(fields))


@pytest.mark.parametrize("version", [0, 2, 0xFFFF])
def test_another_version_is_unsupported(version: int) -> None:
    with pytest.raises(Unsupported, match="version"):
        acts.parse_body(altered(sample("noop"), 0, version))


@pytest.mark.parametrize("kind", ["", "Noop", "noop ", "freeze", "genesis\0"])
def test_an_unknown_kind_is_unsupported(kind: str) -> None:
    with pytest.raises(Unsupported, match="kind"):
        acts.parse_body(altered(sample("noop"), 5, kind))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, True),
        (1, b"v" * 31),
        (2, b""),
        (3, -1),
        (3, True),
        (3, acts.MAX_UINT + 1),
        (4, ()),
        (4, (0, b"r" * 32, 5, b"g" * 64)),
        (4, (1, b"r" * 32, acts.MAX_TIME + 1, b"g" * 64)),
        (4, (1, b"r" * 32, 5, b"g" * 63)),
        (5, b"noop"),
        (6, None),
        (6, (None,)),
        (7, b""),
        (7, b"p" * 33),
    ],
)
def test_fields_of_another_type_or_size_are_malformed(place: int, value: Any) -> None:
    with pytest.raises(MalformedMessage):
        acts.parse_body(altered(sample("noop"), place, value))


@pytest.mark.parametrize(("kind", "other"), list(itertools.permutations(KINDS, 2)))
def test_no_payload_serves_another_kind(kind: str, other: str) -> None:
    payload = pack(SAMPLES[kind])
    same_shape = {
        frozenset(each)
        for each in [
            ("withdraw-invite", "confirm"),
            ("expire", "noop"),
            ("grant", "withdraw-grant"),
        ]
    }
    if {kind, other} in same_shape:
        changed = acts.parse_body(altered(sample(kind), 5, other))
        assert changed.kind == other
        assert changed.body() != sample(kind).body(), "so its signature fails"
    else:
        with pytest.raises(SealroomError):
            acts.parse_body(altered(sample(other), 6, payload))


def test_only_acts_are_acts() -> None:
    act = sample("noop")
    for label in Label:
        if label is not Label.ACT:
            with pytest.raises(MalformedMessage, match="not an act"):
                acts.parse_envelope(signed(act, label=label))


def test_an_act_has_a_largest_size() -> None:
    many = tuple(
        acts.EpochDefinition(b"c" * 16, number, 1, b"h" * 32, b"k" * 32)
        for number in range(LIMITS.fields)
    )
    whole = replace(sample("noop"), payload=acts.CreateEpoch(many))
    assert len(acts.parse_body(whole.body()).payload.epochs) == LIMITS.fields  # type: ignore[union-attr]
    with pytest.raises(LimitExceeded):
        acts.parse_body(whole.body() + bytes(LIMITS.act_bytes))
    with pytest.raises(LimitExceeded):
        acts.parse_envelope(bytes(LIMITS.act_bytes + 4097))


# --- what a payload may not say


@pytest.mark.parametrize(
    "rule",
    [
        (None, None, None),
        (b"c" * 16, None, None),
        (b"c" * 16, FieldClass.CORE, 0),
        (None, None, 5),
        (None, FieldClass.PEOPLE, None),
        (b"c" * 16, FieldClass.PEOPLE, None),
    ],
)
def test_a_rule_names_a_class_or_a_field_of_a_collection(rule: Any) -> None:
    with pytest.raises(MalformedMessage):
        Rule(*rule)
    plain = tuple(int(each) if isinstance(each, FieldClass) else each for each in rule)
    with pytest.raises(MalformedMessage, match="rules"):
        acts.parse_body(altered(sample("grant"), 6, (b"m" * 32, (plain,))))


def test_a_rule_names_no_catalog() -> None:
    catalog = (b"c" * 16, None, catalog_field(FieldClass.CORE))
    with pytest.raises(MalformedMessage):
        acts.parse_body(altered(sample("grant"), 6, (b"m" * 32, (catalog,))))


@given(id16, id16, st.integers(0, 9), st.integers(0, 9), classes, classes)
def test_a_rule_matches_what_it_names(
    one: bytes, other: bytes, number: int, another: int, core: FieldClass, general: FieldClass
) -> None:
    everywhere, here = of_class(core), of_class(core, one)
    assert everywhere.matches(one, number, core)
    assert everywhere.matches(other, another, core)
    assert everywhere.matches(one, number, general) == (core is general)
    assert here.matches(one, number, core)
    assert here.matches(other, number, core) == (one == other)
    field = of_field(one, number)
    assert field.matches(one, number, core)
    assert field.matches(one, number, general)
    assert field.matches(one, another, core) == (number == another)
    assert field.matches(other, number, core) == (one == other)


@pytest.mark.parametrize(
    ("collection", "classes_"),
    [
        (bytes(16), (FieldClass.CORE,)),
        (b"c" * 16, (FieldClass.CORE, FieldClass.PEOPLE)),
    ],
)
def test_the_people_catalog_is_no_collection(
    collection: bytes, classes_: tuple[FieldClass, ...]
) -> None:
    with pytest.raises(MalformedMessage, match="people"):
        acts.DefineCollection(collection, classes_)


def unordered(kind: str, place: int, items: tuple[Any, ...]) -> Callable[[], Act]:
    fields = list(pack(SAMPLES[kind]))  # type: ignore[arg-type]
    fields[place] = items
    return lambda: acts.parse_body(altered(sample(kind), 6, tuple(fields)))


A, B = (b"a" * 16, b"r" * 32), (b"b" * 16, b"r" * 32)


@pytest.mark.parametrize(
    ("kind", "place", "items"),
    [
        ("offer", 2, (B, A)),
        ("offer", 2, (A, A)),
        ("accept", 2, ((*B, 1, 1), (*A, 1, 1))),
        ("grant", 1, (pack(of_class(FieldClass.CORE)), pack(of_class(FieldClass.GENERAL)))),
        ("grant", 1, (pack(of_class(FieldClass.CORE)),) * 2),
        (
            "create-epoch",
            0,
            ((b"b" * 16, 0, 1, *2 * (b"h" * 32,)), (b"a" * 16, 0, 1, *2 * (b"h" * 32,))),
        ),
        ("grant", 1, ()),
        ("create-epoch", 0, ()),
        ("define-collection", 1, ()),
        ("commit", 4, ()),
    ],
)
def test_lists_have_one_order_and_are_not_empty(kind: str, place: int, items: Any) -> None:
    with pytest.raises(MalformedMessage):
        unordered(kind, place, items)()


@pytest.mark.parametrize("epoch", [0, LIMITS.epochs + 1])
def test_epochs_are_counted_from_one(epoch: int) -> None:
    with pytest.raises(MalformedMessage):
        unordered("create-epoch", 0, ((b"c" * 16, 0, epoch, b"h" * 32, b"k" * 32),))()


def test_an_epoch_of_people_stands_in_its_own_collection() -> None:
    assert acts.EpochDefinition(bytes(16), 0x8003, 1, b"h" * 32, b"k" * 32).address.epoch == 1


@pytest.mark.parametrize(
    "policy",
    [
        (0, 1, 1, False),
        (1, 0, 1, False),
        (1, 1, 0, False),
        (LIMITS.invite_seconds + 1, 1, 1, False),
        (1, LIMITS.offer_seconds + 1, 1, False),
        (1, 1, 1, 0),
    ],
)
def test_a_policy_is_bounded(policy: Any) -> None:
    with pytest.raises(MalformedMessage, match="policy"):
        unordered("genesis", 4, policy)()


@pytest.mark.threat("K5")
@pytest.mark.parametrize("bad", edwards.SMALL_ENCODINGS[:4])
@pytest.mark.parametrize(("kind", "place"), [("genesis", 3), ("invite", 5)])
def test_weak_keys_in_payloads_are_refused(kind: str, place: int, bad: bytes) -> None:
    with pytest.raises(WeakKey):
        unordered(kind, place, bad)()  # type: ignore[arg-type]


def test_a_citation_is_a_checkpoint_that_verifies() -> None:
    vault, root, key = b"v" * 32, b"r" * 32, bytes(SERVER.verify_key)
    signature = SERVER.sign(signed_message(vault, 5, root, 99)).signature
    checkpoint = Checkpoint.verified(vault, 5, root, 99, signature, key)
    cited = Citation.of(checkpoint)
    assert cited == Citation(5, root, 99, signature)
    assert cited.verified(vault, key) == checkpoint
    for other in (
        replace(cited, size=6),
        replace(cited, root=b"q" * 32),
        replace(cited, time=100),
        replace(cited, signature=bytes(64)),
    ):
        with pytest.raises(IntegrityError):
            other.verified(vault, key)
    with pytest.raises(IntegrityError):
        cited.verified(b"w" * 32, key)
    with pytest.raises(IntegrityError):
        cited.verified(vault, KEYS[0])


# --- K11: one signing key, five things that it signs

NOW = 1_800_000_000.0
URL = "https://vault.example/v1/server"


def act_bytes() -> bytes:
    return pae(Label.ACT, sample("noop").body())


def observation_bytes() -> bytes:
    return pae(Label.OBSERVATION, sample("noop").body())


def checkpoint_bytes() -> bytes:
    return signed_message(b"v" * 32, 5, b"r" * 32, int(NOW))


def card_bytes() -> bytes:
    return AUTHOR.public.signed_bytes(b"v" * 32)


def request_bytes() -> bytes:
    headers = sign_request("GET", URL, None, None, AUTHOR.request_key, AUTHOR.member_id, NOW)
    message = RequestMessage.received(
        "GET", "/v1/server", [("Host", "vault.example"), *headers.items()]
    )
    return verify_request(message, None, AUTHOR.public.signing_key).base


def check_act(signature: bytes, label: Label = Label.ACT) -> None:
    envelope = Envelope(label, sample("noop").body(), signature)
    from_bytes(Envelope, to_bytes(envelope)).verify(AUTHOR.public.signing_key, label)


def check_checkpoint(signature: bytes) -> None:
    key = AUTHOR.public.signing_key
    Checkpoint.verified(b"v" * 32, 5, b"r" * 32, int(NOW), signature, key)


def check_card(signature: bytes) -> None:
    verify_card(replace(AUTHOR.card(b"v" * 32), signature=signature), b"v" * 32)


def check_request(signature: bytes) -> None:
    verify_signature(AUTHOR.public.signing_key, REQUEST, signature)


REQUEST = request_bytes()
SIGNED: dict[str, tuple[bytes, Callable[[bytes], None]]] = {
    "act": (act_bytes(), check_act),
    "observation": (observation_bytes(), lambda s: check_act(s, Label.OBSERVATION)),
    "checkpoint": (checkpoint_bytes(), check_checkpoint),
    "card": (card_bytes(), check_card),
    "request": (REQUEST, check_request),
}
# What the bytes of each type begin with; no two of them can begin alike.
BEGINNINGS = {
    "act": b"DSSEv1 15 sealroom/v1/act ",
    "observation": b"DSSEv1 23 sealroom/v1/observation ",
    "checkpoint": b"cosignature/v1\ntime ",
    "card": len(Label.IDENTITY_SIGNATURE).to_bytes(4, "big") + Label.IDENTITY_SIGNATURE,
    "request": b'"@method": ',
}


@pytest.mark.threat("K11")
@pytest.mark.parametrize(("made_as", "shown_as"), list(itertools.permutations(SIGNED, 2)))
def test_no_signature_serves_another_type(made_as: str, shown_as: str) -> None:
    signature = AUTHOR.sign(SIGNED[made_as][0])
    SIGNED[made_as][1](signature)
    with pytest.raises(IntegrityError):
        SIGNED[shown_as][1](signature)


@pytest.mark.threat("K11")
def test_no_two_types_begin_alike() -> None:
    assert set(BEGINNINGS) == set(SIGNED)
    for one, other in itertools.permutations(BEGINNINGS, 2):
        assert SIGNED[one][0].startswith(BEGINNINGS[one])
        assert not SIGNED[one][0].startswith(BEGINNINGS[other])
        assert not BEGINNINGS[one].startswith(BEGINNINGS[other])


def test_a_card_is_not_an_envelope() -> None:
    with pytest.raises(MalformedMessage):
        acts.parse_envelope(to_bytes(CARDS[0]))
    with pytest.raises(MalformedMessage):
        from_bytes(IdentityCard, signed(sample("noop")))
