from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.request_signing import sign_request
from protocol import acts
from protocol.acts import Act, Citation
from protocol.acts.terms import MAX_TIME, MAX_UINT
from protocol.checkpoint import Checkpoint, signed_message
from protocol.errors import (
    IntegrityError,
    LimitExceeded,
    MalformedMessage,
    SealroomError,
    Unsupported,
)
from protocol.identity import IdentityCard, verify_card
from protocol.labels import Label, digest
from protocol.limits import LIMITS
from protocol.requests import RequestMessage, verify_request
from protocol.signing import pae, verify_signature
from protocol.wire import Envelope, from_bytes, pack, to_bytes
from tests.act_samples import (
    AUTHOR,
    CARDS,
    KEYS,
    PAYLOADS,
    SAMPLES,
    SERVER,
    acts_of,
    altered,
    sample,
    signed,
)

KINDS = list(acts.KINDS)


def test_every_kind_is_tried() -> None:
    assert set(PAYLOADS) == set(SAMPLES) == set(acts.KINDS)
    assert len(set(acts.KINDS.values())) == len(acts.KINDS) == 31


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


WITH_CARDS = ("genesis", "invite", "join", "rotate-identity", "custodians", "release")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITH_CARDS])
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


@pytest.mark.parametrize("version", [0, 2, 0xFFFF])
def test_another_version_is_unsupported(version: int) -> None:
    with pytest.raises(Unsupported, match="version"):
        acts.parse_body(altered(sample("noop"), 0, version))


@pytest.mark.parametrize("kind", ["", "Noop", "noop ", "restore", "genesis\0"])
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
        (3, MAX_UINT + 1),
        (4, ()),
        (4, (0, b"r" * 32, 5, b"g" * 64)),
        (4, (1, b"r" * 32, MAX_TIME + 1, b"g" * 64)),
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
            ("grant", "withdraw-grant"),
            ("freeze", "destroy"),
            *itertools.combinations(("expire", "unfreeze", "heartbeat", "noop"), 2),
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
