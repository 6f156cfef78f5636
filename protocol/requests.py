"""Signed HTTP requests: RFC 9421 in the one profile that this protocol speaks (SPEC section 13).

The library builds and checks signatures over whatever a message says is covered. Which
components those are, in which order, with which parameters and in which spelling is fixed
here, by patterns that the header fields match completely or not at all, before anything is
parsed or looked up:

    Signature-Input: sealroom=("@method" "@target-uri" "content-type" "content-digest")
                     ;created=1700000000;keyid="<64 hex>";nonce="<22 base64url>"
                     ;tag="sealroom/v1/request"
    Signature:       sealroom=:<64 bytes, base64>:
    Content-Digest:  sha-256=:<32 bytes, base64>:

(one line each). Without a body, the last two components and their fields are absent.

What is not covered is not trusted: of a request's header fields, a server may act upon these
alone. Time, replay and whose key it is are the server's to judge (`vault.auth`).
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode, urlsafe_b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from http_message_signatures import (
    HTTPMessageVerifier,
    HTTPSignatureAlgorithm,
    HTTPSignatureKeyResolver,
)
from http_message_signatures.exceptions import HTTPMessageSignaturesException

from protocol.errors import IntegrityError, MalformedMessage
from protocol.labels import Label, digest
from protocol.signing import verify_signature

SIGNATURE_LABEL: Final = "sealroom"
# Not in the table of labels: inside a signature base it stands between quotes, so it is no
# prefix of anything, as it would be of REQUEST_HASH there.
TAG: Final = "sealroom/v1/request"
KEYID_BYTES: Final = 32
NONCE_BYTES: Final = 16
URL_CHARACTERS: Final = 4096

_EMPTY_SHA256: Final = hashlib.sha256(b"").digest()

# Each pattern admits exactly one spelling of each value. The last character of a base64 text
# is limited to those whose unused bits are zero: a decoder would ignore the others' bits.
_METHOD: Final = re.compile(r"[A-Z]{1,16}")
AUTHORITY: Final = (
    r"(?:[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])"
    r"(?::(?!443(?![0-9]))[1-9][0-9]{0,4})?"
)
_SEGMENT: Final = r"(?!\.{1,2}(?:[/?]|\Z))[A-Za-z0-9._~-]+"
_PATH: Final = rf"/(?:{_SEGMENT}(?:/{_SEGMENT})*)?"
_QUERY: Final = r"(?:\?(?:[A-Za-z0-9._~!$'()*+,;:@/?&=-]|%[0-9A-F]{2})+)?"
_TARGET: Final = re.compile(_PATH + _QUERY)
_HOST: Final = re.compile(AUTHORITY)
_URL: Final = re.compile(rf"https://{AUTHORITY}{_PATH}{_QUERY}")
_SIGNATURE_INPUT: Final = re.compile(
    rf"{SIGNATURE_LABEL}="
    r'\("@method" "@target-uri"(?P<body> "content-type" "content-digest")?\)'
    r";created=(?P<created>[1-9][0-9]{0,11})"
    r';keyid="(?P<keyid>[0-9a-f]{64})"'
    r';nonce="(?P<nonce>[A-Za-z0-9_-]{21}[AQgw])"'
    rf';tag="{TAG}"'
)
_SIGNATURE: Final = re.compile(rf"{SIGNATURE_LABEL}=:(?P<value>[A-Za-z0-9+/]{{85}}[AQgw]==):")
_CONTENT_DIGEST: Final = re.compile(r"sha-256=:(?P<value>[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=):")
_CONTENT_TYPE: Final = re.compile(r"[a-z0-9]{1,63}/[a-z0-9][a-z0-9.+-]{0,62}")

_BODY_FIELDS: Final = frozenset({"content-type", "content-digest"})
_FIELDS: Final = frozenset(
    {"host", "signature-input", "signature", "content-encoding", *_BODY_FIELDS}
)


@dataclass(frozen=True, slots=True)
class RequestMessage:
    """The covered parts of one request, as the signature library reads them (SPEC section 13).

    A value has a method and a URL in their one spelling: https, lower-case host, no default
    port, no empty or dot segment, no escape in the path. `headers` are those that the profile
    speaks of, each once; `received` gives their names in lower case.

    Raises:
        MalformedMessage: another spelling of the method or the URL.
    """

    method: str
    url: str
    headers: dict[str, str]

    def __post_init__(self) -> None:
        if _METHOD.fullmatch(self.method) is None:
            raise MalformedMessage("the method is not 1 to 16 upper-case letters")
        if len(self.url) > URL_CHARACTERS or _URL.fullmatch(self.url) is None:
            raise MalformedMessage("the URL is not in its one spelling")

    @classmethod
    def received(
        cls, method: str, target: str, headers: Iterable[tuple[str, str]]
    ) -> RequestMessage:
        """Rebuild the message that was signed from what came over TLS (SPEC section 13).

        `target` is the path and query as on the request line, not decoded and not normalised;
        `headers` are all field lines, with the spaces around values removed. Host is whatever
        the sender wrote: whether it names this server (`authority`) is the caller's to check,
        or else what was signed for another server can be shown to this one.

        Raises:
            MalformedMessage: as above; a target that is not a path; Host absent; one of the
                profile's fields twice.
        """
        fields: dict[str, str] = {}
        for name, value in headers:
            lowered = name.lower()
            if lowered not in _FIELDS:
                continue
            if lowered in fields:
                raise MalformedMessage(f"the field {lowered} is there twice")
            fields[lowered] = value
        host = fields.pop("host", "")
        # Each alone, so that no text can move from one to the other.
        if _HOST.fullmatch(host) is None or _TARGET.fullmatch(target) is None:
            raise MalformedMessage("Host or the request target is not in its one spelling")
        return cls(method, f"https://{host}{target}", fields)

    @property
    def authority(self) -> str:
        """The host, and the port unless it is 443, to which the request was signed."""
        return self.url.removeprefix("https://").partition("/")[0]


@dataclass(frozen=True, slots=True)
class RequestSignature:
    """What a request says about its signature, well-formed but not verified (SPEC section 13).

    `created` is in unix seconds, `keyid` 32 bytes, `nonce` 16, `signature` 64; `body_sha256`
    is 32 bytes, or None for a request without a body.
    """

    created: int
    keyid: bytes
    nonce: bytes
    signature: bytes
    body_sha256: bytes | None


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request whose signature was verified, and whose body is the one it covers."""

    signature: RequestSignature
    base: bytes

    @property
    def request_hash(self) -> bytes:
        """The 32 bytes by which observations name this request (SPEC section 13.2)."""
        return request_hash(self.base, self.signature.signature)


@dataclass(frozen=True, slots=True)
class VerifiedHead:
    """A request whose signature was verified, before its body was read (SPEC section 13).

    The body is not to be acted upon before `with_body` has seen its hash.
    """

    signature: RequestSignature
    base: bytes

    def with_body(self, body_sha256: bytes | None) -> VerifiedRequest:
        """Check the body that was received: its SHA-256, or None if it had no bytes.

        Raises:
            IntegrityError: another body, or one where none was signed, or the reverse.
        """
        if body_sha256 != self.signature.body_sha256:
            raise IntegrityError("the body is not the one that was signed")
        return VerifiedRequest(self.signature, self.base)


class Ed25519Verification(HTTPSignatureAlgorithm):
    """The library's Ed25519, through the project's one verifier."""

    algorithm_id = "ed25519"

    def __init__(self, public_key: bytes) -> None:
        self._public_key = public_key

    def verify(self, signature: bytes, message: bytes) -> None:
        """Verify a signature base; raises as `verify_signature` does."""
        verify_signature(self._public_key, message, signature)


def covered_components(has_body: bool) -> tuple[str, ...]:
    """Return what a signature covers, in order (SPEC section 13)."""
    covered = ("@method", "@target-uri")
    return (*covered, "content-type", "content-digest") if has_body else covered


def body_sha256(body: bytes) -> bytes | None:
    """Return a body's SHA-256, or None for the empty one: no bytes and no body are the same."""
    return hashlib.sha256(body).digest() if body else None


def content_digest(sha256: bytes) -> str:
    """Return the Content-Digest field (RFC 9530) of a body with this SHA-256."""
    return f"sha-256=:{b64encode(sha256).decode()}:"


def content_type(value: str) -> str:
    """Return a Content-Type that the profile admits: type/subtype in lower case, no parameters.

    Raises:
        MalformedMessage: any other.
    """
    if _CONTENT_TYPE.fullmatch(value) is None:
        raise MalformedMessage("Content-Type is not type/subtype in lower case")
    return value


def request_hash(base: bytes, signature: bytes) -> bytes:
    """Hash a signature base and its signature: 32 bytes, for observations (SPEC section 13.2).

    Whoever is shown both can verify them against this hash and the requester's key.
    """
    return digest(Label.REQUEST_HASH, base, signature)


def parse_signature(message: RequestMessage) -> RequestSignature:
    """Read a request's signature fields, admitting the profile alone (SPEC section 13).

    No key, clock or parser is involved: a few pattern matches, cheap enough to come first.
    Nothing is proved yet.

    Raises:
        MalformedMessage: anything else than exactly one signature of the profile; a digest
            where no body is covered, or of the empty body; any Content-Encoding, since the
            digest is of the bytes that the server reads.
    """
    declared = _matched(_SIGNATURE_INPUT, message, "signature-input")
    signature = _matched(_SIGNATURE, message, "signature")
    if "content-encoding" in message.headers:
        raise MalformedMessage("a request's body is sent as it is")
    return RequestSignature(
        created=int(declared["created"]),
        keyid=bytes.fromhex(declared["keyid"]),
        nonce=urlsafe_b64decode(declared["nonce"] + "=="),
        signature=b64decode(signature["value"]),
        body_sha256=_covered_digest(message, has_body=declared["body"] is not None),
    )


def verify_head(message: RequestMessage, public_key: bytes) -> VerifiedHead:
    """Verify a request's signature, all but its body (SPEC section 13).

    Obligations:
      (0) the fields are those of the profile, in their one spelling;
      (1) the Ed25519 signature is one of this method, URL, type and digest by this key.
    The caller still owes: that the key is that of `keyid` and may ask this, that `authority`
    names this server, the time window, the nonce, and the body (`VerifiedHead.with_body`).

    Raises:
        MalformedMessage: obligation (0) fails.
        IntegrityError: obligation (1) fails, or the key is weak.
    """
    # (0)
    claimed = parse_signature(message)
    # (1)
    verifier = _ProfileVerifier(
        signature_algorithm=Ed25519Verification, key_resolver=_OneKey(public_key)
    )
    try:
        (result,) = verifier.verify(
            message,
            max_age=None,
            expect_tag=TAG,
            expect_label=SIGNATURE_LABEL,
            require_components=covered_components(claimed.body_sha256 is not None),
        )
    except HTTPMessageSignaturesException as error:
        raise IntegrityError("the request's signature does not verify") from error
    lines = (f"{name}: {value}" for name, value in result.covered_components.items())
    return VerifiedHead(claimed, "\n".join(lines).encode())


def verify_request(
    message: RequestMessage, body_sha256: bytes | None, public_key: bytes
) -> VerifiedRequest:
    """Verify a request whose body was received: `verify_head`, then `VerifiedHead.with_body`."""
    return verify_head(message, public_key).with_body(body_sha256)


class _OneKey(HTTPSignatureKeyResolver):
    """Gives the key that the caller looked up, whatever the key id."""

    def __init__(self, public_key: bytes) -> None:
        self._public_key = public_key

    def resolve_public_key(self, key_id: str) -> bytes:
        return self._public_key


class _ProfileVerifier(HTTPMessageVerifier):
    """The library's verifier without its clock: the window is judged by whoever has one."""

    def validate_created_and_expires(self, sig_input: object, max_age: object = None) -> None:
        return


def _matched(pattern: re.Pattern[str], message: RequestMessage, name: str) -> re.Match[str]:
    found = pattern.fullmatch(message.headers.get(name, ""))
    if found is None:
        raise MalformedMessage(f"the field {name} is absent or not as the profile has it")
    return found


def _covered_digest(message: RequestMessage, *, has_body: bool) -> bytes | None:
    if not has_body:
        if not _BODY_FIELDS.isdisjoint(message.headers):
            raise MalformedMessage("a body is described but not covered")
        return None
    content_type(message.headers.get("content-type", ""))
    sha256 = b64decode(_matched(_CONTENT_DIGEST, message, "content-digest")["value"])
    if sha256 == _EMPTY_SHA256:
        raise MalformedMessage("an empty body is no body, and has no digest")
    return sha256
