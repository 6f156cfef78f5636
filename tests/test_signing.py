from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_add
from nacl.signing import SigningKey, VerifyKey

from protocol.errors import IntegrityError, WeakKey
from protocol.group import ORDER
from protocol.labels import Label
from protocol.signing import pae, verify_public_key, verify_signature

KEY = SigningKey(bytes(range(32)))
PUBLIC = bytes(KEY.verify_key)
SIGNATURE = KEY.sign(b"message").signature

# The two points of order 8 up to sign, beside the orders 1, 2 and 4 that everybody knows; and
# the two encodings above the field's prime that stand for small points. Each with both signs.
P = 2**255 - 19
ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
EIGHTH = int.from_bytes(ORDER_8, "little")
LOW = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (0, 1, P - 1, EIGHTH, P - EIGHTH, P, P + 1)
    for sign in (0, 1)
]


def test_pae_is_that_of_dsse() -> None:
    assert pae(Label.ACT, b"hi \n") == b"DSSEv1 15 sealroom/v1/act 4 hi \n"
    assert pae(Label.ACT, b"") == b"DSSEv1 15 sealroom/v1/act 0 "


@given(
    st.sampled_from(Label), st.sampled_from(Label), st.binary(max_size=40), st.binary(max_size=40)
)
def test_no_two_messages_are_framed_alike(a: Label, b: Label, one: bytes, other: bytes) -> None:
    assert (pae(a, one) == pae(b, other)) == ((a, one) == (b, other))


@given(st.binary(max_size=100))
def test_a_signature_verifies(message: bytes) -> None:
    verify_signature(PUBLIC, message, KEY.sign(message).signature)


@pytest.mark.parametrize("bit", range(512))
def test_no_bit_of_a_signature_can_change(bit: int) -> None:
    changed = bytearray(SIGNATURE)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        verify_signature(PUBLIC, b"message", bytes(changed))


def test_another_message_or_key_does_not_verify() -> None:
    with pytest.raises(IntegrityError):
        verify_signature(PUBLIC, b"massage", SIGNATURE)
    with pytest.raises(IntegrityError):
        verify_signature(bytes(SigningKey(bytes(32)).verify_key), b"message", SIGNATURE)


def test_the_scalar_has_one_form() -> None:
    scalar = int.from_bytes(SIGNATURE[32:], "little") + ORDER
    with pytest.raises(IntegrityError):
        verify_signature(PUBLIC, b"message", SIGNATURE[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 32, 63, 65, 128])
def test_a_signature_of_another_length_does_not_verify(size: int) -> None:
    with pytest.raises(IntegrityError):
        verify_signature(PUBLIC, b"message", (SIGNATURE * 2)[:size])


@pytest.mark.parametrize("low", LOW, ids=lambda low: low.hex()[:8] + low.hex()[-2:])
def test_all_fourteen_small_encodings_are_refused_as_key_and_as_r(low: bytes) -> None:
    # Under such a key, R of the same kind with a zero scalar fits one message in eight or more.
    assert len(set(LOW)) == 14
    with pytest.raises(WeakKey):
        verify_public_key(low)
    with pytest.raises(WeakKey):
        verify_signature(low, b"message", low + bytes(32))
    with pytest.raises(IntegrityError):
        verify_signature(PUBLIC, b"message", low + SIGNATURE[32:])


def test_a_signer_cannot_choose_the_identity_as_r(monkeypatch: pytest.MonkeyPatch) -> None:
    # The equation holds for S = h*a. This libsodium refuses R as we do; the rule must not
    # depend on that, so it is tested without the library's help too.
    r, message = (1).to_bytes(32, "little"), b"message"
    hashed = hashlib.sha512(bytes(range(32))).digest()
    secret = int.from_bytes(hashed[:32], "little") & ((1 << 254) - 8) | 1 << 254
    challenge = int.from_bytes(hashlib.sha512(r + PUBLIC + message).digest(), "little")
    signature = r + (challenge * secret % ORDER).to_bytes(32, "little")
    with pytest.raises(IntegrityError):
        verify_signature(PUBLIC, message, signature)
    monkeypatch.setattr(VerifyKey, "verify", lambda *_: message)
    verify_signature(PUBLIC, message, SIGNATURE)
    for refused in (signature, *(low + bytes(32) for low in LOW)):
        with pytest.raises(IntegrityError):
            verify_signature(PUBLIC, message, refused)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        PUBLIC[:31],
        PUBLIC + b"\0",
        bytes(32),
        b"\xff" * 32,
        (2).to_bytes(32, "little"),
        # A + (0, -1): of mixed order, a component of order two beside the prime one.
        crypto_core_ed25519_add(PUBLIC, (P - 1).to_bytes(32, "little")),
    ],
)
def test_no_other_key_is_taken(key: bytes) -> None:
    with pytest.raises(WeakKey):
        verify_public_key(key)


def test_a_good_key_comes_back() -> None:
    assert verify_public_key(PUBLIC) == PUBLIC
