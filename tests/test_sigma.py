from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.crypto.proving import prove
from client.crypto.secrets import Seed
from protocol.errors import IntegrityError, MalformedMessage
from protocol.group import ORDER, Point, Scalar, base_mul, linear, mul, negate
from protocol.labels import Label
from protocol.sigma import Equation, Proof, Relation, proof_bytes, verify

pytestmark = pytest.mark.threat("Z2")

SEED = Seed(bytes(range(32)))


def little(number: int) -> bytes:
    return (number % ORDER).to_bytes(32, "little")


A, B = 0x1234567, ORDER - 99
X, Y = little(A), little(B)
H, J = base_mul(little(4711)), base_mul(little(1742))
OTHER = base_mul(little(31337))


def relation() -> Relation:
    """P = x·G, Q = y·H, R = x·J - y·H: all the shapes that the protocol uses, and more."""
    return Relation(
        label=Label.REWRAP_PROOF,
        context=(b"vault", b"kind", b""),
        secrets=2,
        equations=(
            Equation(base_mul(X), ((0, 1, None),)),
            Equation(mul(Y, H), ((1, 1, H),)),
            Equation(linear(((X, J), (negate(Y), H))), ((0, 1, J), (1, -1, H))),
        ),
    )


def proved(statement: Relation | None = None) -> Proof:
    statement = statement or relation()
    return Proof.from_bytes(prove(statement, (X, Y), SEED), statement.secrets)


PROOF = proved()


def test_an_honest_proof_verifies() -> None:
    verify(relation(), PROOF)


@given(st.integers(1, ORDER - 1), st.integers(1, ORDER - 1))
@settings(max_examples=20)
def test_every_witness_can_be_proved(x: int, y: int) -> None:
    p, q = little(x), little(y)
    statement = Relation(
        Label.REWRAP_PROOF,
        (),
        2,
        (Equation(linear(((p, None), (q, H))), ((0, 1, None), (1, 1, H))),),
    )
    verify(statement, Proof.from_bytes(prove(statement, (p, q), SEED), 2))


@given(st.integers(0, 1), st.integers(1, ORDER - 1))
@settings(max_examples=20)
def test_a_false_witness_proves_nothing(which: int, other: int) -> None:
    witness = [X, Y]
    if witness[which] == little(other):
        return
    witness[which] = little(other)
    proof = Proof.from_bytes(prove(relation(), (witness[0], witness[1]), SEED), 2)
    with pytest.raises(IntegrityError):
        verify(relation(), proof)


@pytest.mark.parametrize("byte", range(96))
def test_no_byte_of_a_proof_can_change(byte: int) -> None:
    changed = bytearray(bytes(PROOF))
    changed[byte] ^= 1
    with pytest.raises((IntegrityError, MalformedMessage)):
        verify(relation(), Proof.from_bytes(bytes(changed), 2))


def test_a_proof_of_another_number_of_secrets_does_not_verify() -> None:
    with pytest.raises(IntegrityError, match="length"):
        verify(relation(), Proof(PROOF.challenge, PROOF.responses[:1]))


def test_responses_that_cancel_to_the_identity_are_refused() -> None:
    """A commitment would be the identity: such a proof would say nothing about its equation."""
    statement = Relation(Label.REWRAP_PROOF, (), 1, (Equation(H, ((0, 1, H),)),))
    forged = Proof(Scalar(little(5)), (Scalar(little(5)),))
    with pytest.raises(IntegrityError):
        verify(statement, forged)


# --- the encoding


@pytest.mark.parametrize("size", [0, 32, 64, 95, 97, 128])
def test_a_proof_has_one_length(size: int) -> None:
    with pytest.raises(MalformedMessage, match="length"):
        Proof.from_bytes((bytes(PROOF) * 2)[:size], 2)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_scalars_in_a_proof_are_reduced_and_not_zero(place: int, number: int) -> None:
    encoded = bytearray(bytes(PROOF))
    encoded[32 * place : 32 * place + 32] = number.to_bytes(32, "little")
    with pytest.raises(MalformedMessage):
        Proof.from_bytes(bytes(encoded), 2)


@given(st.integers(0, 3), st.binary(max_size=130))
def test_what_parses_encodes_to_the_same_bytes(secrets: int, data: bytes) -> None:
    with suppress(MalformedMessage):
        assert bytes(Proof.from_bytes(data, secrets)) == data
    assert bytes(Proof.from_bytes(bytes(PROOF), 2)) == bytes(PROOF)
    assert proof_bytes(secrets) == 32 * (secrets + 1)


# --- the transcript: each input, changed after proving, and each dropped from the hash


def with_equation(number: int, **changed: Any) -> Relation:
    equations = list(relation().equations)
    equations[number] = replace(equations[number], **changed)
    return replace(relation(), equations=tuple(equations))


CHANGES: dict[str, Relation] = {
    "label": replace(relation(), label=Label.IDENTITY_PROOF),
    "context": replace(relation(), context=(b"vault", b"kine", b"")),
    "context joined": replace(relation(), context=(b"vaultkind", b"", b"")),
    "context split": replace(relation(), context=(b"vault", b"k", b"ind")),
    "context longer": replace(relation(), context=(b"vault", b"kind", b"", b"")),
    "context shorter": replace(relation(), context=(b"vault", b"kind")),
    "an equation less": replace(relation(), equations=relation().equations[:2]),
    "an equation twice": replace(
        relation(), equations=(*relation().equations, relation().equations[0])
    ),
    "order": replace(relation(), equations=relation().equations[::-1]),
    "image": with_equation(0, image=OTHER),
    "base": with_equation(1, terms=((1, 1, J),)),
    "base for generator": with_equation(0, terms=((0, 1, H),)),
    "sign": with_equation(2, terms=((0, 1, J), (1, 1, H))),
    "secret": with_equation(0, terms=((1, 1, None),)),
    "a term less": with_equation(2, terms=((0, 1, J),)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_proof_cannot_be_moved_to_a_changed_statement(what: str) -> None:
    with pytest.raises(IntegrityError):
        verify(CHANGES[what], PROOF)


@pytest.mark.parametrize("what", CHANGES)
def test_every_change_changes_the_challenge(what: str) -> None:
    commitments = relation().commitments((X, Y))
    assert CHANGES[what].challenge(commitments) != relation().challenge(commitments)


def test_every_commitment_is_in_the_challenge() -> None:
    commitments = relation().commitments((X, Y))
    seen = {relation().challenge(commitments)}
    for number in range(len(commitments)):
        changed = (*commitments[:number], OTHER, *commitments[number + 1 :])
        seen.add(relation().challenge(changed))
    assert len(seen) == 1 + len(commitments)


def forged_image() -> tuple[Relation, Proof]:
    """Commit and be challenged first, then solve for the image: works where it is not hashed."""
    nonce, response = little(77), little(88)
    statement = Relation(Label.IDENTITY_PROOF, (b"v",), 1, (Equation(H, ((0, 1, None),)),))
    commitment = base_mul(nonce)
    challenge = statement.challenge((commitment,))
    # s·G - c·image = nonce·G, so image = (s - nonce)/c · G, for whatever s
    inverse = pow(int.from_bytes(bytes(challenge), "little"), -1, ORDER)
    image = base_mul(little((88 - 77) * inverse))
    moved = replace(statement, equations=(Equation(image, ((0, 1, None),)),))
    return moved, Proof(challenge, (Scalar(response),))


def forged_base() -> tuple[Relation, Proof]:
    """As above, with a base that is chosen last."""
    statement = Relation(Label.IDENTITY_PROOF, (b"v",), 1, (Equation(OTHER, ((0, 1, H),)),))
    commitment = base_mul(little(77))
    challenge = statement.challenge((commitment,))
    # s·base = nonce·G + c·image
    total = linear(((little(77), None), (bytes(challenge), OTHER)))
    base = mul(little(pow(88, -1, ORDER)), total)
    moved = replace(statement, equations=(Equation(OTHER, ((0, 1, base),)),))
    return moved, Proof(challenge, (Scalar(little(88)),))


def forged_context() -> tuple[Relation, Proof]:
    return CHANGES["context"], proved()


def without_images(self: Relation, commitments: tuple[Point, ...]) -> Scalar:
    blank = tuple(replace(each, image=OTHER) for each in self.equations)
    return original(replace(self, equations=blank), commitments)


def without_bases(self: Relation, commitments: tuple[Point, ...]) -> Scalar:
    blank = tuple(
        replace(each, terms=tuple((i, sign, None) for i, sign, _ in each.terms))
        for each in self.equations
    )
    return original(replace(self, equations=blank), commitments)


def without_context(self: Relation, commitments: tuple[Point, ...]) -> Scalar:
    return original(replace(self, context=()), commitments)


original = Relation.challenge
Forgery = Callable[[], tuple[Relation, Proof]]
Challenge = Callable[[Relation, tuple[Point, ...]], Scalar]


@pytest.mark.parametrize(
    ("mutant", "forgery"),
    [
        (without_images, forged_image),
        (without_bases, forged_base),
        (without_context, forged_context),
    ],
)
def test_a_transcript_that_left_something_out_would_be_forged(
    monkeypatch: pytest.MonkeyPatch, mutant: Challenge, forgery: Forgery
) -> None:
    """The forger succeeds against the mutant and fails against the real thing."""
    with pytest.raises(IntegrityError):
        verify(*forgery())
    with monkeypatch.context() as patched:
        patched.setattr(Relation, "challenge", mutant)
        verify(*forgery())
