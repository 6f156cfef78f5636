"""RFC 9421's published vectors, through the classes that sign and verify here.

Of the six cases two are Ed25519, B.2.6 and B.4: both are verified and, being deterministic,
signed again. The others are named below with the reason for which they do not apply, and
a test checks that nobody here would take them. None is of the profile, which is stricter
than the RFC, so each is shown to be refused as a request.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, InvalidSignature
from nacl.signing import SigningKey

from client.request_signing import Ed25519Signing
from protocol.errors import IntegrityError, MalformedMessage
from protocol.requests import Ed25519Verification, RequestMessage, parse_signature
from protocol.signing import verify_signature
from tests.shared import vectors

APPLICABLE = ("B.2.6", "B.4")
NOT_APPLICABLE = {
    "B.2.4": "ECDSA over a response: the profile signs requests, with Ed25519",
    "B.2.5": "HMAC: the server would have to hold the secret",
    "B.3": "ECDSA by a TLS terminator that vouches for a client certificate",
    "2.4-reqres": "ECDSA over a response bound to its request",
}


@dataclass
class Lines:
    """Header field lines, repeated ones included."""

    lines: list[tuple[str, str]]

    def items(self) -> list[tuple[str, str]]:
        return self.lines

    def __iter__(self) -> Any:
        return iter([name for name, _ in self.lines])

    def __contains__(self, name: str) -> bool:
        return any(name.lower() == each.lower() for each, _ in self.lines)

    def __setitem__(self, name: str, value: str) -> None:
        self.lines.append((name, value))


@dataclass
class Message:
    method: str
    url: str
    headers: Lines = field(default_factory=lambda: Lines([]))


@dataclass(frozen=True)
class Case:
    id: str
    keyid: str
    label: str
    signature_input: str
    base: str
    signature: bytes
    method: str
    url: str
    lines: tuple[tuple[str, str], ...]

    def message(self, *, signed: bool = True) -> Message:
        lines = list(self.lines)
        if signed:
            lines.append(("Signature-Input", f"{self.label}={self.signature_input}"))
            lines.append(("Signature", f"{self.label}=:{b64encode(self.signature).decode()}:"))
        return Message(self.method, self.url, Lines(lines))


@pytest.fixture(scope="module")
def published() -> Any:
    return vectors("rfc9421", "rfc9421_appendix_b.json")


@pytest.fixture
def public_key(published: Any) -> bytes:
    pem = published["keys"]["test-key-ed25519"]["public_pem"].encode()
    return load_pem_public_key(pem).public_bytes(Encoding.Raw, PublicFormat.Raw)


@pytest.fixture
def signing_key(published: Any) -> SigningKey:
    pem = published["keys"]["test-key-ed25519"]["private_pem"].encode()
    key = load_pem_private_key(pem, None)
    assert isinstance(key, Ed25519PrivateKey)
    return SigningKey(key.private_bytes_raw())


class OneKey:
    def __init__(self, key: object) -> None:
        self.key = key

    def resolve_public_key(self, key_id: str) -> object:
        return self.key

    def resolve_private_key(self, key_id: str) -> object:
        return self.key


def case_of(published: Any, name: str) -> Case:
    (found,) = [each for each in published["cases"] if each["id"] == name]
    message = found["message"]
    message = published["messages"].get(message) if isinstance(message, str) else message
    message = message or {}
    return Case(
        id=name,
        keyid=found["keyid"],
        label=found["label"],
        signature_input=found["signature_input"],
        base=found["base"],
        signature=b64decode(found["signature"]),
        method=message.get("method", "GET"),
        url="{}://{}{}{}".format(
            message.get("scheme", "https"),
            message.get("authority", "example.com"),
            message.get("path", "/"),
            message.get("query", ""),
        ),
        lines=tuple((name, value) for name, value in message.get("headers", [])),
    )


def base_of(message: Message, key: bytes) -> bytes:
    """Verify a message as the RFC alone has it, and return the base that was verified."""
    verifier = HTTPMessageVerifier(
        signature_algorithm=Ed25519Verification,
        key_resolver=OneKey(key),  # type: ignore[arg-type]
    )
    (result,) = verifier.verify(message, max_age=None)
    return "\n".join(f"{k}: {v}" for k, v in result.covered_components.items()).encode()


def test_every_published_case_is_run_or_says_why_not(published: Any) -> None:
    named = {each["id"] for each in published["cases"]}
    assert named == {*APPLICABLE, *NOT_APPLICABLE}


@pytest.mark.parametrize("name", APPLICABLE)
def test_the_published_signatures_verify(published: Any, public_key: bytes, name: str) -> None:
    case = case_of(published, name)
    verify_signature(public_key, case.base.encode(), case.signature)
    assert base_of(case.message(), public_key) == case.base.encode()


@pytest.mark.parametrize("name", APPLICABLE)
def test_the_published_signatures_are_what_we_would_make(
    published: Any, signing_key: SigningKey, name: str
) -> None:
    case = case_of(published, name)
    assert Ed25519Signing(signing_key).sign(case.base.encode()) == case.signature

    message = case.message(signed=False)
    covered = case.signature_input.partition(")")[0].lstrip("(").replace('"', "").split()
    HTTPMessageSigner(
        signature_algorithm=Ed25519Signing,
        key_resolver=OneKey(signing_key),  # type: ignore[arg-type]
    ).sign(
        message,
        key_id=case.keyid,
        created=datetime.fromtimestamp(1618884473, UTC),
        label=case.label,
        include_alg=False,
        use_existing_digest="Content-Digest" in message.headers,
        covered_component_ids=covered,
    )
    assert sorted(message.headers.lines) == sorted(case.message().headers.lines)


@pytest.mark.parametrize("name", APPLICABLE)
def test_no_byte_of_a_published_base_or_signature_can_be_changed(
    published: Any, public_key: bytes, name: str
) -> None:
    case = case_of(published, name)
    for base, signature in (
        *((_flipped(case.base.encode(), at), case.signature) for at in range(len(case.base))),
        *((case.base.encode(), _flipped(case.signature, at)) for at in range(64)),
    ):
        with pytest.raises(IntegrityError):
            verify_signature(public_key, base, signature)


def _flipped(value: bytes, at: int) -> bytes:
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]


TRANSFORMATIONS: dict[str, Callable[[Case], Case]] = {
    "query parameter added": lambda c: replace(c, url=c.url + "&param=added"),
    "Accept-Language header added": lambda c: replace(
        c, lines=(*c.lines, ("Accept-Language", "en-US,en;q=0.5"))
    ),
    "Date removed + Referer added": lambda c: replace(
        c,
        lines=(
            *(line for line in c.lines if line[0] != "Date"),
            ("Referer", "https://developer.example.org/demo"),
        ),
    ),
    "Accept lines merged into one comma list": lambda c: replace(
        c, lines=(c.lines[0], ("Accept", "application/json, */*"))
    ),
    "method changed to POST": lambda c: replace(c, method="POST"),
    "authority changed to example.com": lambda c: replace(
        c, url=c.url.replace("example.org", "example.com")
    ),
    "Accept values reordered": lambda c: replace(
        c, lines=(c.lines[0], ("Accept", "*/*"), ("Accept", "application/json"))
    ),
}


def test_the_published_transformations_have_their_published_outcome(
    published: Any, public_key: bytes
) -> None:
    (entry,) = [each for each in published["cases"] if each["id"] == "B.4"]
    assert {*entry["transformed_valid"], *entry["transformed_invalid"]} == set(TRANSFORMATIONS)
    case = case_of(published, "B.4")
    for name in entry["transformed_valid"]:
        assert base_of(TRANSFORMATIONS[name](case).message(), public_key) == case.base.encode()
    for name in entry["transformed_invalid"]:
        with pytest.raises(InvalidSignature):
            base_of(TRANSFORMATIONS[name](case).message(), public_key)


@pytest.mark.parametrize("name", NOT_APPLICABLE)
def test_signatures_of_other_algorithms_do_not_verify(
    published: Any, public_key: bytes, name: str
) -> None:
    case = case_of(published, name)
    with pytest.raises(IntegrityError):
        verify_signature(public_key, case.base.encode(), case.signature)


@pytest.mark.parametrize("name", [*APPLICABLE, *NOT_APPLICABLE])
def test_no_published_case_is_of_the_profile(published: Any, name: str) -> None:
    case = case_of(published, name)
    headers = {each.lower(): value for each, value in case.message().headers.lines}
    with pytest.raises(MalformedMessage):
        parse_signature(RequestMessage(case.method, case.url, headers))
