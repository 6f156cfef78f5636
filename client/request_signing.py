"""Signing HTTP requests (SPEC section 13)."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from datetime import UTC, datetime

from http_message_signatures import (
    HTTPMessageSigner,
    HTTPSignatureAlgorithm,
    HTTPSignatureKeyResolver,
)
from nacl.signing import SigningKey

from protocol.requests import (
    NONCE_BYTES,
    SIGNATURE_LABEL,
    TAG,
    RequestMessage,
    body_sha256,
    content_digest,
    covered_components,
)
from protocol.requests import content_type as checked_content_type


class Ed25519Signing(HTTPSignatureAlgorithm):
    """The library's Ed25519 with a key of libsodium's."""

    algorithm_id = "ed25519"

    def __init__(self, private_key: SigningKey) -> None:
        self._private_key = private_key

    def sign(self, message: bytes) -> bytes:
        """Sign a signature base: 64 bytes."""
        return self._private_key.sign(message).signature


def sign_request(
    method: str,
    url: str,
    body: bytes | None,
    content_type: str | None,
    signing_key: SigningKey,
    keyid: bytes,
    now: float,
) -> dict[str, str]:
    """Sign a request once, and return the header fields to send with it (SPEC section 13).

    Binds method, URL, content type and body to the key, the second and a fresh nonce. A body
    of no bytes is no body, and `content_type` then has no say. The caller sends exactly this
    URL (with yarl: `URL(url, encoded=True)`), exactly these bytes, no Content-Encoding, and
    neither follows redirects nor sends it twice: a retry is signed anew.

    `keyid` is 32 bytes, `now` in unix seconds.

    Raises:
        MalformedMessage: a method, URL or content type in another than its one spelling.
    """
    message = RequestMessage(method, url, _body_fields(body, content_type))
    has_body = bool(message.headers)
    signer = HTTPMessageSigner(
        signature_algorithm=Ed25519Signing, key_resolver=_OneSigningKey(signing_key)
    )
    signer.sign(
        message,
        key_id=keyid.hex(),
        created=datetime.fromtimestamp(int(now), UTC),
        nonce=urlsafe_b64encode(secrets.token_bytes(NONCE_BYTES)).rstrip(b"=").decode(),
        label=SIGNATURE_LABEL,
        tag=TAG,
        include_alg=False,
        covered_component_ids=covered_components(has_body),
        use_existing_digest=has_body,
    )
    return message.headers


def _body_fields(body: bytes | None, content_type: str | None) -> dict[str, str]:
    sha256 = body_sha256(body or b"")
    if sha256 is None:
        return {}
    return {
        "Content-Type": checked_content_type(content_type or ""),
        "Content-Digest": content_digest(sha256),
    }


class _OneSigningKey(HTTPSignatureKeyResolver):
    """Gives the one key of this request."""

    def __init__(self, signing_key: SigningKey) -> None:
        self._signing_key = signing_key

    def resolve_private_key(self, key_id: str) -> SigningKey:
        return self._signing_key
