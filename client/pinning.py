"""TLS to the server: version 1.3, and its key pinned where the link gives a pin (SPEC section 13).

With a pin nobody's certificates are trusted, names and dates are not looked at, and the one
question is whether the server holds the pinned key. TLS itself proves that it holds the key
in its certificate; that this is the pinned one is checked inside the handshake, before the
client has sent its last message of it, let alone a byte of a request.
"""

from __future__ import annotations

import hashlib
import ssl
from typing import Any, Final, NoReturn, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

from protocol.errors import ApiMisuse, MalformedMessage, PinMismatch

PIN_BYTES: Final = 32


def client_ssl_context(pin: bytes | None) -> ssl.SSLContext:
    """Return the TLS settings for one server, for asyncio (SPEC section 13).

    With a pin (32 bytes, `spki_pin` of the server's certificate) the handshake fails unless
    the server's key is that one; without, unless the system trusts the certificate for the
    host's name. `as_pin_error` tells the first from other failures.

    Session keys are never written to a file, whatever SSLKEYLOGFILE says.

    Raises:
        MalformedMessage: a pin that is not 32 bytes.
    """
    context = _trusting_the_system() if pin is None else _trusting_one_key(pin)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def spki_pin(certificate: bytes) -> bytes:
    """Return the pin of a DER certificate: SHA-256 of its SubjectPublicKeyInfo, 32 bytes.

    Raises:
        ValueError: not a certificate, or with a key of an unknown kind.
    """
    try:
        key = load_der_x509_certificate(certificate).public_key()
    except UnsupportedAlgorithm as error:
        raise ValueError("a certificate with a key of an unknown kind") from error
    return hashlib.sha256(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()


def as_pin_error(error: BaseException) -> PinMismatch | None:
    """Return the `PinMismatch` beneath a TLS or HTTP library's error, if that was its cause."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, PinMismatch):
        cause = cause.__cause__
    return cause


class _PinnedConnection(ssl.SSLObject):
    """One connection whose handshake ends well only with the pinned key."""

    def do_handshake(self) -> None:
        super().do_handshake()
        # Reached once, when the server's part is complete and verified, and the client's last
        # message is still in the buffer that asyncio sends only if this returns.
        context = cast(_PinningContext, self.context)
        shown = _shown_pin(self.getpeercert(binary_form=True))
        if shown != context.pin:
            raise ssl.SSLCertVerificationError("the server's key is not the pinned one") from (
                PinMismatch(
                    "the server's TLS key is not the one that was pinned",
                    hint="ask whoever runs the server, by another way, for its present pin",
                )
            )


class _PinningContext(ssl.SSLContext):
    """Settings that make pinned connections, and no other kind."""

    sslobject_class = _PinnedConnection
    pin: bytes

    def wrap_socket(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Refuse: blocking sockets make their handshake elsewhere, past the pin."""
        raise ApiMisuse("a pin is checked on asyncio's connections only")


def _trusting_the_system() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context


def _trusting_one_key(pin: bytes) -> ssl.SSLContext:
    if len(pin) != PIN_BYTES:
        raise MalformedMessage("a pin is 32 bytes")
    context = _PinningContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.pin = pin
    return context


def _shown_pin(certificate: bytes | None) -> bytes | None:
    try:
        return None if certificate is None else spki_pin(certificate)
    except ValueError:
        return None
