"""Signed requests: the profile, whom it lets in, and that it does so once (THREATS H1 to H6)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count

import pytest
from http_message_signatures import HTTPMessageVerifier
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings
from nacl.signing import SigningKey
from yarl import URL

from client.request_signing import sign_request
from protocol import requests
from protocol.errors import (
    ClockSkew,
    IntegrityError,
    LimitExceeded,
    MalformedMessage,
    Replay,
    SealroomError,
    ServerRestarted,
    Unauthenticated,
)
from protocol.group import ORDER
from protocol.labels import Label, framed
from protocol.limits import LIMITS
from protocol.requests import (
    Ed25519Verification,
    RequestMessage,
    RequestSignature,
    VerifiedRequest,
    body_sha256,
    content_digest,
    covered_components,
    parse_signature,
    request_hash,
    verify_head,
    verify_request,
)
from protocol.signing import verify_signature
from vault.auth import (
    KeyLookup,
    ReplayGuard,
    RequestParts,
    authenticate,
    authenticate_head,
)

NOW = 1_700_000_000.0
STARTED = NOW - 3600
WINDOW = LIMITS.request_skew_seconds
AUTHORITY = "vault.example:8443"
TARGET = f"/v1/vaults/{'ab' * 32}/acts?after=17"
URL_ = f"https://{AUTHORITY}{TARGET}"
BODY = b"an act"
TYPE = "application/msgpack"
KEY = SigningKey(bytes(range(32)))
PUBLIC = bytes(KEY.verify_key)
KEYID = bytes(range(32, 64))

Headers = tuple[tuple[str, str], ...]


def enrolled(keyid: bytes) -> bytes | None:
    return PUBLIC if keyid == KEYID else None


def guard(started_at: float = STARTED) -> ReplayGuard:
    return ReplayGuard(WINDOW, started_at)


def signed(
    *,
    method: str = "POST",
    target: str = TARGET,
    body: bytes | None = BODY,
    now: float = NOW,
    key: SigningKey = KEY,
    keyid: bytes = KEYID,
) -> RequestParts:
    url = f"https://{AUTHORITY}{target}"
    fields = sign_request(method, url, body, TYPE, key, keyid, now)
    return RequestParts(method, target, (("Host", AUTHORITY), *fields.items()))


def admit(
    request: RequestParts,
    *,
    body: bytes = BODY,
    keys: KeyLookup = enrolled,
    memory: ReplayGuard | None = None,
    now: float = NOW,
    authorities: frozenset[str] | None = frozenset({AUTHORITY}),
) -> VerifiedRequest:
    return authenticate(
        request, body_sha256(body), keys, memory or guard(), now, authorities=authorities
    )


def refusal(request: RequestParts, *, body: bytes = BODY) -> BaseException | None:
    """Return why a request was refused; what the peer is told must not say."""
    with pytest.raises(Unauthenticated) as caught:
        admit(request, body=body)
    assert str(caught.value) == "the request is not authenticated"
    return caught.value.__cause__


def without(headers: Headers, *names: str) -> Headers:
    return tuple((name, value) for name, value in headers if name.lower() not in names)


def with_field(request: RequestParts, name: str, value: str) -> RequestParts:
    kept = without(request.headers, name.lower())
    return replace(request, headers=(*kept, (name, value)))


def field(request: RequestParts, name: str) -> str:
    (value,) = [value for given_, value in request.headers if given_ == name]
    return value


# --- a second implementation of RFC 9421, which signs whatever it is told to


NONCE = "AAECAwQFBgcICQoLDA0ODw"
COVERED = '"@method" "@target-uri" "content-type" "content-digest"'
CREATED = f";created={int(NOW)}"
KEYID_PARAMETER = f';keyid="{KEYID.hex()}"'
NONCE_PARAMETER = f';nonce="{NONCE}"'
TAG_PARAMETER = ';tag="sealroom/v1/request"'
PARAMETERS = CREATED + KEYID_PARAMETER + NONCE_PARAMETER + TAG_PARAMETER
DIGEST = content_digest(hashlib.sha256(BODY).digest())


@dataclass(frozen=True)
class Forgery:
    """A request that is soundly signed by an enrolled key, over whatever its input covers."""

    covered: str = COVERED
    parameters: str = PARAMETERS
    label: str = "sealroom"
    fields: tuple[tuple[str, str], ...] = (("content-type", TYPE), ("content-digest", DIGEST))

    def base(self) -> bytes:
        known = {"@method": "POST", "@target-uri": URL_, "@authority": AUTHORITY, "@path": TARGET}
        known |= {"date": "Tue, 14 Nov 2023 22:13:20 GMT", **dict(self.fields)}
        names = [name.strip('"') for name in self.covered.split()]
        lines = [f'"{name}": {known[name]}' for name in names]
        lines.append(f'"@signature-params": ({self.covered}){self.parameters}')
        return "\n".join(lines).encode()

    def request(self, sign: Callable[[bytes], bytes] | None = None) -> RequestParts:
        value = (sign or (lambda base: KEY.sign(base).signature))(self.base())
        return RequestParts(
            "POST",
            TARGET,
            (
                ("Host", AUTHORITY),
                ("Date", "Tue, 14 Nov 2023 22:13:20 GMT"),
                *self.fields,
                ("Signature-Input", f"{self.label}=({self.covered}){self.parameters}"),
                ("Signature", f"{self.label}=:{b64encode(value).decode()}:"),
            ),
        )


@dataclass(frozen=True)
class Plain:
    """A message as the library alone would read it."""

    method: str
    url: str
    headers: dict[str, str]


class AnyKeyId:
    def resolve_public_key(self, key_id: str) -> bytes:
        return PUBLIC


def library_accepts(request: RequestParts) -> bool:
    """Whether RFC 9421 alone, without the profile, would take it."""
    verifier = HTTPMessageVerifier(
        signature_algorithm=Ed25519Verification,
        key_resolver=AnyKeyId(),  # type: ignore[arg-type]
    )
    verifier.require_created = False
    verifier.verify(Plain(request.method, URL_, dict(request.headers)), max_age=None)
    return True


# --- the honest request


def test_a_signed_request_is_let_in_and_says_who_sent_it() -> None:
    verified = admit(signed())
    assert verified.signature.keyid == KEYID
    assert verified.signature.created == int(NOW)
    assert verified.signature.body_sha256 == hashlib.sha256(BODY).digest()


@pytest.mark.parametrize("body", [None, b""])
def test_no_body_and_no_bytes_are_the_same_request(body: bytes | None) -> None:
    request = signed(method="GET", body=body)
    assert [name for name, _ in request.headers] == ["Host", "Signature-Input", "Signature"]
    assert admit(request, body=b"").signature.body_sha256 is None


def test_the_client_signs_what_the_specification_says_byte_by_byte() -> None:
    request = signed()
    verified = admit(request)
    nonce = urlsafe_b64encode(verified.signature.nonce).rstrip(b"=").decode()
    expected = Forgery(parameters=PARAMETERS.replace(NONCE, nonce))
    assert verified.base == expected.base()
    # signatures are deterministic, so the fields are the same too
    assert dict(request.headers) == {
        name.title(): value for name, value in expected.request().headers if name != "Date"
    }


def test_another_implementation_of_the_profile_is_understood() -> None:
    verified = admit(Forgery().request())
    assert verified.base == Forgery().base()
    assert verified.signature.nonce == bytes(range(16))


def test_nonces_are_fresh() -> None:
    made = {parse_signature(_message(signed())).nonce for _ in range(100)}
    assert len(made) == 100
    assert {len(nonce) for nonce in made} == {requests.NONCE_BYTES}


def test_observations_name_a_request_by_its_base_and_signature() -> None:
    verified = admit(signed())
    signature = verified.signature.signature
    verify_signature(PUBLIC, verified.base, signature)
    expected = hashlib.sha256(framed(Label.REQUEST_HASH, verified.base, signature)).digest()
    assert verified.request_hash == request_hash(verified.base, signature) == expected


def test_a_body_may_be_hashed_while_it_is_read() -> None:
    head = authenticate_head(signed(), enrolled, guard(), NOW, authorities=None)
    assert head.with_body(hashlib.sha256(BODY).digest()).base == head.base
    for other in (hashlib.sha256(b"another").digest(), None, b""):
        with pytest.raises(IntegrityError):
            head.with_body(other)


def test_a_head_uses_its_nonce_up_before_the_body_is_there() -> None:
    memory, request = guard(), signed()
    authenticate_head(request, enrolled, memory, NOW, authorities=None)
    with pytest.raises(Replay):
        authenticate_head(request, enrolled, memory, NOW, authorities=None)


def test_pure_verification_agrees() -> None:
    message = _message(signed())
    assert (
        verify_request(message, body_sha256(BODY), PUBLIC).base
        == verify_head(message, PUBLIC).with_body(body_sha256(BODY)).base
    )
    with pytest.raises(IntegrityError):
        verify_request(message, None, PUBLIC)


def test_what_is_covered() -> None:
    assert covered_components(False) == ("@method", "@target-uri")
    assert covered_components(True) == (
        "@method",
        "@target-uri",
        "content-type",
        "content-digest",
    )


# --- H1: once


@pytest.mark.threat("H1")
def test_of_ten_thousand_replays_none_is_accepted() -> None:
    memory, request, accepted = guard(), signed(), 0
    admit(request, memory=memory)
    for attempt in range(10_000):
        try:
            admit(request, memory=memory, now=NOW + 60 * attempt / 10_000)
        except Replay:
            continue
        accepted += 1
    assert accepted == 0
    # the control: the same act, signed anew, is let in as often as one likes
    for _ in range(100):
        admit(signed(), memory=memory)


@pytest.mark.threat("H1")
@pytest.mark.parametrize("age", [-WINDOW, 0, WINDOW])
def test_the_window_and_the_memory_leave_no_gap(age: int) -> None:
    memory, request = guard(), signed(now=NOW + age)
    admit(request, memory=memory)
    for tenth in range(0, 2000):
        with pytest.raises((Replay, ClockSkew)):
            memory.remember(_signature(request), NOW + tenth / 10)


@pytest.mark.threat("H1")
def test_to_the_end_of_its_window_a_request_is_let_in_after_others_of_its_second() -> None:
    memory = guard()
    admit(signed(), memory=memory)
    admit(signed(), memory=memory, now=NOW + WINDOW)


@pytest.mark.threat("H1")
def test_a_restart_forgets_nothing_that_could_be_replayed() -> None:
    request = signed()
    admit(request)
    restarted = guard(started_at=NOW + 1.5)
    with pytest.raises(ServerRestarted, match=r"^server restarted; send again$") as caught:
        admit(request, memory=restarted, now=NOW + 2)
    assert caught.value.code == "server_restarted"
    admit(signed(now=NOW + 2), memory=restarted, now=NOW + 2)


@pytest.mark.threat("H1")
def test_the_second_of_the_restart_is_refused_too() -> None:
    with pytest.raises(ServerRestarted):
        admit(signed(), memory=guard(started_at=NOW), now=NOW)
    admit(signed(now=NOW + 1), memory=guard(started_at=NOW), now=NOW + 1)


@pytest.mark.threat("H1")
def test_a_clock_that_runs_ahead_opens_no_replay_across_a_restart() -> None:
    kept: list[int] = []
    first = ReplayGuard(WINDOW, STARTED, keep_horizon=kept.append)
    admit(signed(), memory=first)
    assert kept == []
    ahead = signed(now=NOW + 30)
    admit(ahead, memory=first)
    admit(signed(now=NOW + 20), memory=first)
    assert kept == [int(NOW) + 30]

    second = ReplayGuard(WINDOW, NOW + 1, horizon=kept[-1])
    for seconds in range(2, 91):
        with pytest.raises(ServerRestarted):
            admit(ahead, memory=second, now=NOW + seconds)
    admit(signed(now=NOW + 31), memory=second, now=NOW + 31)


@pytest.mark.threat("H1")
def test_a_request_is_not_accepted_unless_its_horizon_was_stored() -> None:
    def fails(_: int) -> None:
        raise OSError

    memory, ahead = ReplayGuard(WINDOW, STARTED, keep_horizon=fails), signed(now=NOW + 30)
    for _ in range(2):
        with pytest.raises(OSError):  # noqa: PT011  # the second time too: nothing was remembered
            admit(ahead, memory=memory)


@pytest.mark.threat("R20")
@pytest.mark.threat("H1")
def test_a_server_clock_set_back_opens_no_replay() -> None:
    memory, request = guard(), signed()
    admit(request, memory=memory)
    admit(signed(now=NOW + 3600), memory=memory, now=NOW + 3600)
    with pytest.raises(ServerRestarted):
        admit(request, memory=memory, now=NOW)
    admit(signed(now=NOW + 1), memory=memory, now=NOW + 1)


@pytest.mark.threat("H1")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda request: replace(request, method="PUT"),
        lambda request: with_field(request, "Signature", f"sealroom=:{'A' * 86}==:"),
    ],
)
def test_nobody_can_use_up_anothers_nonce(spoil: Callable[[RequestParts], RequestParts]) -> None:
    memory, request = guard(), signed()
    with pytest.raises(Unauthenticated):
        admit(spoil(request), memory=memory)
    with pytest.raises(Unauthenticated):
        admit(request, body=b"another", memory=memory)
    admit(request, memory=memory)


@pytest.mark.threat("H1")
def test_two_keys_may_draw_one_nonce_and_one_key_may_not() -> None:
    memory = guard()
    one = RequestSignature(int(NOW), KEYID, bytes(16), bytes(64), None)
    memory.remember(one, NOW)
    memory.remember(replace(one, keyid=bytes(32)), NOW)
    with pytest.raises(Replay):
        memory.remember(replace(one, created=int(NOW) - 1), NOW)


@pytest.mark.threat("H1")
def test_a_full_memory_refuses_and_forgets_nothing() -> None:
    memory = ReplayGuard(WINDOW, STARTED, capacity=30, capacity_per_key=20)
    first, nonces = signed(), count()
    admit(first, memory=memory)

    def fill(keyid: bytes, how_many: int, now: float) -> None:
        for _ in range(how_many):
            nonce = next(nonces).to_bytes(16, "big")
            memory.remember(RequestSignature(int(now), keyid, nonce, bytes(64), None), now)

    fill(KEYID, 19, NOW)
    with pytest.raises(LimitExceeded):
        fill(KEYID, 1, NOW)
    fill(bytes(32), 10, NOW)  # one key's share is not the others' harm
    with pytest.raises(LimitExceeded):
        fill(b"\x01" * 32, 1, NOW)
    with pytest.raises(Replay):
        admit(first, memory=memory)
    # the memory empties with time, of one second after the other
    later = NOW + WINDOW + 1
    fill(KEYID, 20, later)
    with pytest.raises(LimitExceeded):
        fill(KEYID, 1, later)
    fill(bytes(32), 10, later)


# --- H2: the body


@pytest.mark.threat("H2")
def test_another_body_is_refused() -> None:
    assert isinstance(refusal(signed(), body=b"another act"), IntegrityError)
    assert isinstance(refusal(signed(), body=b""), IntegrityError)
    assert isinstance(refusal(signed(body=None), body=BODY), IntegrityError)


SHA512 = f"sha-512=:{b64encode(hashlib.sha512(BODY).digest()).decode()}:"
EMPTY_DIGEST = content_digest(hashlib.sha256(b"").digest())


@pytest.mark.threat("H2")
@pytest.mark.parametrize(
    "digest",
    [
        pytest.param("", id="empty field"),
        pytest.param("sha-256", id="flag"),
        pytest.param("sha-256=::", id="empty digest"),
        pytest.param(SHA512, id="sha-512 alone"),
        pytest.param(f"{DIGEST}, {SHA512}", id="a right sha-512 beside it"),
        pytest.param(f"{DIGEST}, sha-512=:{'A' * 86}==:", id="a wrong sha-512 beside it"),
        pytest.param(f"{SHA512}, {DIGEST}", id="a right sha-512 before it"),
        pytest.param(f"{DIGEST}, {DIGEST}", id="twice"),
        pytest.param(DIGEST.replace("sha-256", "md5"), id="md5"),
        pytest.param(DIGEST.replace("sha-256", "SHA-256"), id="upper case"),
        pytest.param(DIGEST.replace("sha-256=", "sha-256 ="), id="space"),
        pytest.param(f"{DIGEST};q=1", id="parameter"),
        pytest.param(DIGEST.replace("=:", ":", 1), id="no equals"),
        pytest.param(DIGEST[:-2] + ":", id="no padding"),
        pytest.param(f"sha-256=:{'A' * 42}B=:", id="unused bits set"),
        pytest.param(f'sha-256="{DIGEST[9:-1]}"', id="a string"),
        pytest.param(
            f"sha-256=:{b64encode(hashlib.sha256(BODY).digest()[:31]).decode()}:", id="31"
        ),
    ],
)
def test_a_digest_is_sha_256_once_in_one_spelling(digest: str) -> None:
    soundly = Forgery(fields=(("content-type", TYPE), ("content-digest", digest)))
    assert isinstance(refusal(soundly.request()), MalformedMessage)


@pytest.mark.threat("H2")
def test_a_digest_is_there_once_and_wherever_there_is_a_body() -> None:
    request = signed()
    missing = replace(request, headers=without(request.headers, "content-digest"))
    assert isinstance(refusal(missing), MalformedMessage)
    twice = replace(request, headers=(*request.headers, ("content-digest", DIGEST)))
    assert isinstance(refusal(twice), MalformedMessage)


@pytest.mark.threat("H2")
def test_an_empty_body_has_no_digest() -> None:
    soundly = Forgery(fields=(("content-type", TYPE), ("content-digest", EMPTY_DIGEST))).request()
    assert library_accepts(soundly)
    assert isinstance(refusal(soundly, body=b""), MalformedMessage)


@pytest.mark.threat("H2")
@pytest.mark.parametrize("name", ["Content-Digest", "Content-Type", "content-encoding"])
def test_without_a_body_nothing_describes_one(name: str) -> None:
    request = signed(body=None)
    admit(request, body=b"")
    described = replace(request, headers=(*request.headers, (name, DIGEST)))
    assert isinstance(refusal(described, body=b""), MalformedMessage)


@pytest.mark.threat("H2")
@pytest.mark.parametrize("coding", ["gzip", "identity", ""])
def test_a_body_is_sent_as_it_is(coding: str) -> None:
    request = with_field(signed(), "Content-Encoding", coding)
    assert isinstance(refusal(request), MalformedMessage)


@pytest.mark.threat("H2")
@pytest.mark.parametrize(
    "kind", ["", "Application/msgpack", "application/msgpack; charset=utf-8", "application", "a /b"]
)
def test_a_content_type_has_one_spelling(kind: str) -> None:
    soundly = Forgery(fields=(("content-type", kind), ("content-digest", DIGEST)))
    assert isinstance(refusal(soundly.request()), MalformedMessage)
    with pytest.raises(MalformedMessage):
        sign_request("POST", URL_, BODY, kind, KEY, KEYID, NOW)


def test_a_body_without_a_type_is_not_signed() -> None:
    with pytest.raises(MalformedMessage):
        sign_request("POST", URL_, BODY, None, KEY, KEYID, NOW)


# --- H3: what is covered


INSUFFICIENT = {
    "no method": COVERED.removeprefix('"@method" '),
    "no target": COVERED.replace('"@target-uri" ', ""),
    "no type": COVERED.replace(' "content-type"', ""),
    "no digest": COVERED.replace(' "content-digest"', ""),
    "nothing": "",
    "more": f'{COVERED} "date"',
    "authority too": COVERED.replace('"@target-uri"', '"@target-uri" "@authority"'),
    "path for target": COVERED.replace("@target-uri", "@authority"),
    "another order": '"@target-uri" "@method" "content-type" "content-digest"',
    "body first": '"content-type" "content-digest" "@method" "@target-uri"',
}


@pytest.mark.threat("H3")
@pytest.mark.parametrize("covered", INSUFFICIENT.values(), ids=INSUFFICIENT)
def test_components_are_exactly_those_of_the_profile(covered: str) -> None:
    soundly = Forgery(covered=covered).request()
    assert library_accepts(soundly)
    assert isinstance(refusal(soundly), MalformedMessage)


@pytest.mark.threat("H3")
def test_a_body_that_is_not_covered_is_refused_however_it_is_described() -> None:
    uncovered = Forgery(covered='"@method" "@target-uri"')
    assert isinstance(refusal(uncovered.request()), MalformedMessage)
    assert isinstance(refusal(replace(uncovered, fields=()).request()), IntegrityError)


MISPARAMETERED = {
    "no created": PARAMETERS.replace(CREATED, ""),
    "no nonce": PARAMETERS.replace(NONCE_PARAMETER, ""),
    "no tag": PARAMETERS.replace(TAG_PARAMETER, ""),
    "alg": PARAMETERS + ';alg="ed25519"',
    "expires": f"{PARAMETERS};expires=4000000000",
    "another order": CREATED + NONCE_PARAMETER + KEYID_PARAMETER + TAG_PARAMETER,
    "another tag": PARAMETERS.replace("sealroom/v1/request", "sealroom/v2/request"),
    "a longer tag": PARAMETERS.replace("v1/request", "v1/request-hash"),
    "upper-case key id": PARAMETERS.replace(KEYID.hex(), KEYID.hex().upper()),
    "short key id": PARAMETERS.replace(KEYID.hex(), KEYID.hex()[:8]),
    "long key id": PARAMETERS.replace(KEYID.hex(), KEYID.hex() + "00"),
    "short nonce": PARAMETERS.replace(NONCE, NONCE[:21]),
    "empty nonce": PARAMETERS.replace(NONCE, ""),
    "padded nonce": PARAMETERS.replace(NONCE, NONCE + "=="),
    "nonce's unused bits": PARAMETERS.replace(NONCE, NONCE[:-1] + "x"),
    "nonce in the other alphabet": PARAMETERS.replace(NONCE, "+" + NONCE[1:]),
    "negative created": PARAMETERS.replace("created=", "created=-"),
}


@pytest.mark.threat("H3")
@pytest.mark.parametrize("parameters", MISPARAMETERED.values(), ids=MISPARAMETERED)
def test_parameters_are_exactly_those_of_the_profile(parameters: str) -> None:
    soundly = Forgery(parameters=parameters).request()
    assert library_accepts(soundly)
    assert isinstance(refusal(soundly), MalformedMessage)


MISSPELT = {
    "no key id": PARAMETERS.replace(KEYID_PARAMETER, ""),
    "unknown": PARAMETERS + ";x=1",
    "nonce twice": PARAMETERS + NONCE_PARAMETER,
    "created a string": PARAMETERS.replace(CREATED, f';created="{int(NOW)}"'),
    "created with a fraction": PARAMETERS.replace(CREATED, f"{CREATED}.0"),
    "created with a zero": PARAMETERS.replace("created=", "created=0"),
    "created huge": PARAMETERS.replace("created=", "created=1000"),
    "created zero": PARAMETERS.replace(CREATED, ";created=0"),
    "space": PARAMETERS.replace(";keyid", "; keyid"),
    "trailing space": PARAMETERS + " ",
    "a second label": f'{PARAMETERS}, other=("@method"){PARAMETERS}',
    "the same label": f"{PARAMETERS}, sealroom=({COVERED}){PARAMETERS}",
}


@pytest.mark.threat("H3")
@pytest.mark.threat("H4")
@pytest.mark.parametrize("parameters", MISSPELT.values(), ids=MISSPELT)
def test_a_signature_input_has_one_spelling(parameters: str) -> None:
    assert isinstance(refusal(Forgery(parameters=parameters).request()), MalformedMessage)


@pytest.mark.threat("H3")
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda r: replace(r, method="PUT"), id="method"),
        pytest.param(lambda r: replace(r, target=r.target.replace("17", "18")), id="query"),
        pytest.param(lambda r: replace(r, target=r.target + "&x=1"), id="query longer"),
        pytest.param(lambda r: replace(r, target=r.target.partition("?")[0]), id="no query"),
        pytest.param(lambda r: replace(r, target=r.target.replace("ab", "ac")), id="vault"),
        pytest.param(lambda r: with_field(r, "Content-Type", "text/csv"), id="type"),
        pytest.param(lambda r: with_field(r, "Host", "vault.example"), id="port"),
        pytest.param(lambda r: _edited(r, str(int(NOW)), str(int(NOW) + 1)), id="created"),
        pytest.param(lambda r: _edited(r, NONCE, "B" + NONCE[1:]), id="nonce"),
    ],
)
def test_whatever_is_covered_cannot_be_changed(
    changed: Callable[[RequestParts], RequestParts],
) -> None:
    request = Forgery().request()
    admit(request)
    with pytest.raises(Unauthenticated) as caught:
        admit(changed(request), authorities=None)
    assert isinstance(caught.value.__cause__, IntegrityError)


# --- where a request was sent to


def test_a_request_to_another_server_is_refused_and_the_reason_given() -> None:
    request = signed()
    with pytest.raises(Unauthenticated, match="does not know as its own"):
        admit(request, authorities=frozenset({"another.example"}))
    admit(request, authorities=None)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "vault.example:443",
        "vault.example:",
        "vault.example:08443",
        "VAULT.example:8443",
        "user@vault.example:8443",
        "vault.example:8443/x",
        "vault.example:8443?x",
        "vault.example:8443#x",
        "vault.example:8443, other",
        "vault.example.",
        "-vault.example",
        "vault example",
        "vault.example:8443\n",
        "[::1]]",
        "väult.example",
        "%76ault.example:8443",
    ],
)
def test_host_has_one_spelling(host: str) -> None:
    assert isinstance(refusal(with_field(signed(), "Host", host)), MalformedMessage)


@pytest.mark.parametrize("host", ["localhost", "10.0.0.1:8443", "[::1]:8443", "a_b.c-d", "x:4430"])
def test_ordinary_hosts_are_understood(host: str) -> None:
    fields = sign_request("GET", f"https://{host}/", None, None, KEY, KEYID, NOW)
    message = RequestMessage.received("GET", "/", [("Host", host), *fields.items()])
    assert message.authority == host
    verify_request(message, None, PUBLIC)


def test_host_is_there_once() -> None:
    request = signed()
    assert isinstance(
        refusal(replace(request, headers=without(request.headers, "host"))), MalformedMessage
    )
    twice = replace(request, headers=(*request.headers, ("host", AUTHORITY)))
    assert isinstance(refusal(twice), MalformedMessage)


TARGETS = [
    "",
    "v1",
    "*",
    "https://other.example/v1",
    "//other.example/v1",
    "/v1//x",
    "/v1/",
    "/v1/../x",
    "/v1/..",
    "/./v1",
    "/v1/%2e%2e/x",
    "/v1/%61",
    "/v1?",
    "/v1?a=%2f",
    "/v1?a=%zz",
    "/v1#x",
    "/v1?a#x",
    "/v1 x",
    "/v1\n",
    "/v1?a\n",
    "/v1\\x",
    "/v1@host/x",
    "/é",
    "/\udc80",
    "/" + "a" * requests.URL_CHARACTERS,
]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_has_one_spelling(target: str) -> None:
    assert isinstance(refusal(replace(signed(), target=target)), MalformedMessage)
    with pytest.raises(MalformedMessage):
        sign_request("POST", f"https://{AUTHORITY}{target}", BODY, TYPE, KEY, KEYID, NOW)


@pytest.mark.parametrize("target", ["0/v1", ":1/v1", ".other.example/v1", "@other.example/v1"])
def test_a_target_adds_nothing_to_the_host(target: str) -> None:
    for host in (AUTHORITY, "vault.example"):
        with pytest.raises(MalformedMessage):
            RequestMessage.received("GET", target, [("Host", host)])


@pytest.mark.parametrize("target", ["/", "/v1", "/.x/..y", "/a?b=/?%2F+~&c", "/v1?x=.."])
def test_ordinary_targets_are_understood(target: str) -> None:
    admit(signed(target=target))


@pytest.mark.parametrize("url", ["http://a/", "HTTPS://a/", "https://a", "https:///x", "a/", ""])
def test_a_client_signs_https_urls_alone(url: str) -> None:
    with pytest.raises(MalformedMessage):
        sign_request("GET", url, None, None, KEY, KEYID, NOW)


@pytest.mark.parametrize("method", ["", "get", "POST ", "P\u00d6ST", "A" * 17, "GET\n"])
def test_a_method_has_one_spelling(method: str) -> None:
    assert isinstance(refusal(replace(signed(), method=method)), MalformedMessage)


@given(st.from_regex(requests._TARGET, fullmatch=True))
def test_what_a_target_may_be_no_url_library_rewrites(target: str) -> None:
    if len(target) > 1000:
        return
    message = RequestMessage.received("GET", target, [("Host", AUTHORITY)])
    url = URL(message.url, encoded=True)
    assert (str(url), url.raw_path_qs) == (message.url, target)
    assert message.authority == AUTHORITY


@given(st.text(), st.text(st.characters()))
def test_no_host_or_target_moves_the_line_between_them(host: str, target: str) -> None:
    try:
        message = RequestMessage.received("GET", target, [("Host", host)])
    except MalformedMessage:
        return
    assert (message.authority, message.url) == (host, f"https://{host}{target}")


# --- H4: one signature, ours


@pytest.mark.threat("H4")
@pytest.mark.parametrize("label", ["sig1", "sealroom2", "*sealroom"])
def test_another_label_is_refused(label: str) -> None:
    soundly = Forgery(label=label).request()
    assert library_accepts(soundly)
    assert isinstance(refusal(soundly), MalformedMessage)


@pytest.mark.threat("H4")
@pytest.mark.parametrize("name", ["Signature-Input", "Signature"])
def test_signature_fields_are_there_once(name: str) -> None:
    request = signed()
    for again in (name, name.lower(), name.upper()):
        twice = replace(request, headers=(*request.headers, (again, field(request, name))))
        assert isinstance(refusal(twice), MalformedMessage)
    missing = replace(request, headers=without(request.headers, name.lower()))
    assert isinstance(refusal(missing), MalformedMessage)


@pytest.mark.threat("H4")
def test_a_second_signature_is_refused_wherever_it_stands() -> None:
    request, other = signed(), Forgery(label="other").request()
    for order in ((request, other), (other, request)):
        both = request
        for name in ("Signature-Input", "Signature"):
            both = with_field(both, name, ", ".join(field(each, name) for each in order))
        assert isinstance(refusal(both), MalformedMessage)
        for name in ("Signature-Input", "Signature"):
            one = with_field(request, name, field(both, name))
            assert isinstance(refusal(one), MalformedMessage)


@pytest.mark.threat("H4")
@pytest.mark.parametrize(
    "respell",
    [
        pytest.param(lambda s: s.replace("==:", ":"), id="no padding"),
        pytest.param(lambda s: s.replace("==:", "===:"), id="more padding"),
        pytest.param(lambda s: s[:-4] + "B==:", id="unused bits"),
        pytest.param(lambda s: s + ";x", id="parameter"),
        pytest.param(lambda s: s.replace("=:", "= :", 1), id="space"),
        pytest.param(lambda s: f"sealroom=({s[9:]})", id="inner list"),
        pytest.param(lambda s: s.replace(":", '"'), id="string"),
        pytest.param(lambda s: "sealroom=::", id="empty"),
        pytest.param(lambda s: "sealroom", id="flag"),
        pytest.param(lambda s: s.replace("sealroom=", ""), id="no label"),
    ],
)
def test_a_signature_has_one_spelling(respell: Callable[[str], str]) -> None:
    request = signed()
    respelt = with_field(request, "Signature", respell(field(request, "Signature")))
    assert isinstance(refusal(respelt), MalformedMessage)


# --- H5: the algorithm and the key


@pytest.mark.threat("H5")
@pytest.mark.parametrize("alg", ["", ';alg="hmac-sha256"', ';alg="ed25519"'])
@pytest.mark.parametrize("length", [32, 64])
def test_an_hmac_under_the_public_key_is_no_signature(alg: str, length: int) -> None:
    def mac(base: bytes) -> bytes:
        return hmac.digest(PUBLIC, base, "sha256").ljust(length, b"\0")

    refused = refusal(Forgery(parameters=PARAMETERS + alg).request(mac))
    well_formed = not alg and length == 64
    assert isinstance(refused, IntegrityError if well_formed else MalformedMessage)


@pytest.mark.threat("H5")
def test_another_key_is_refused() -> None:
    stranger = SigningKey(bytes(32))
    assert isinstance(refusal(signed(key=stranger)), IntegrityError)
    assert isinstance(refusal(signed(key=stranger, keyid=bytes(32))), IntegrityError)
    # the control: enrolled, it is let in
    admit(signed(key=stranger), keys=lambda _: bytes(stranger.verify_key))


@pytest.mark.threat("H5")
@pytest.mark.parametrize("key", [b"", bytes(32), b"\x01" + bytes(31), PUBLIC[:31], PUBLIC + b"\0"])
def test_a_weak_key_lets_nobody_in(key: bytes) -> None:
    with pytest.raises(Unauthenticated) as caught:
        admit(signed(), keys=lambda _: key)
    assert isinstance(caught.value.__cause__, IntegrityError)


@pytest.mark.threat("H11")
def test_an_unknown_key_id_costs_a_verification_and_is_told_the_same() -> None:
    def lookup(_: bytes) -> None:
        return None

    known, unknown = with_field(signed(), "Signature", f"sealroom=:{'A' * 86}==:"), signed()
    told = []
    for request, keys in ((known, enrolled), (unknown, lookup)):
        with pytest.raises(Unauthenticated) as caught:
            admit(request, keys=keys)
        assert isinstance(caught.value.__cause__, IntegrityError)
        told.append((str(caught.value), caught.value.code, caught.value.hint))
    assert told[0] == told[1]


@pytest.mark.threat("H5")
def test_the_key_that_is_nobodys_lets_nobody_in() -> None:
    """Unknown key ids are verified under the generator, for which anybody can sign."""
    generator = b"\x58" + b"\x66" * 31

    def sign_with_one(base: bytes) -> bytes:
        nonce = (12345).to_bytes(32, "little")
        commitment = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
        challenge = hashlib.sha512(commitment + generator + base).digest()
        response = (12345 + int.from_bytes(challenge, "little")) % ORDER
        return commitment + response.to_bytes(32, "little")

    request = Forgery().request(sign_with_one)
    verify_request(_message(request), body_sha256(BODY), generator)  # it does verify
    memory = guard()
    with pytest.raises(Unauthenticated) as caught:
        admit(request, keys=lambda _: None, memory=memory)
    assert caught.value.__cause__ is None
    memory.remember(_signature(request), NOW)  # and nothing was remembered


# --- H6: clocks


@pytest.mark.threat("H6")
@pytest.mark.parametrize("skew", [-WINDOW, -1, 0, 1, WINDOW])
def test_clocks_may_differ_by_the_window(skew: int) -> None:
    admit(signed(now=NOW + skew))


@pytest.mark.threat("H6")
@pytest.mark.parametrize("skew", [-172_800, -3600, -WINDOW - 1, WINDOW + 1, 3600, 172_800])
def test_a_client_whose_clock_is_wrong_is_told_the_servers(skew: int) -> None:
    with pytest.raises(ClockSkew) as caught:
        admit(signed(now=NOW + skew))
    assert caught.value.code == "clock_skew"
    assert caught.value.server_time == int(NOW)
    assert str(int(NOW)) in str(caught.value)


@pytest.mark.threat("H6")
def test_a_fraction_beyond_the_window_is_beyond() -> None:
    admit(signed(), now=NOW + WINDOW)
    with pytest.raises(ClockSkew):
        admit(signed(), now=NOW + WINDOW + 0.001)


def test_time_is_judged_before_any_key_is_looked_up() -> None:
    def never(_: bytes) -> bytes:
        raise AssertionError

    with pytest.raises(ClockSkew):
        admit(signed(now=NOW - 3600), keys=never)
    with pytest.raises(Unauthenticated):
        admit(with_field(signed(), "Signature", ""), keys=never)


# --- whatever comes


HONEST = signed()
SIGNED_NAMES = {"host", "content-type", "content-digest", "signature-input", "signature"}


def _outcome(request: RequestParts) -> VerifiedRequest | SealroomError:
    try:
        return admit(request, authorities=None)
    except SealroomError as error:
        return error


@given(
    st.sampled_from([index for index, _ in enumerate(HONEST.headers)]),
    st.integers(0, 400),
    st.integers(0, 5),
    st.text(st.characters(), max_size=8),
)
def test_no_changed_field_is_let_in_or_breaks_anything(
    which: int, start: int, removed: int, inserted: str
) -> None:
    name, value = HONEST.headers[which]
    changed = value[:start] + inserted + value[start + removed :]
    headers = list(HONEST.headers)
    headers[which] = (name, changed)
    outcome = _outcome(replace(HONEST, headers=tuple(headers)))
    assert isinstance(outcome, VerifiedRequest) == (changed == value)


@given(st.integers(0, len(HONEST.headers) - 1), st.integers(0, 400), st.integers(1, 255))
def test_no_flipped_byte_is_let_in(which: int, position: int, flip: int) -> None:
    name, value = HONEST.headers[which]
    raw = bytearray(value.encode())
    raw[position % len(raw)] ^= flip
    headers = list(HONEST.headers)
    headers[which] = (name, raw.decode("utf-8", "surrogateescape"))
    assert isinstance(_outcome(replace(HONEST, headers=tuple(headers))), SealroomError)


@given(
    st.text(st.characters(), max_size=10),
    st.text(st.characters(), max_size=10),
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(sorted(SIGNED_NAMES)), st.text(st.characters(), max_size=5)),
            st.one_of(
                st.sampled_from([value for _, value in HONEST.headers]),
                st.text(st.characters(), max_size=40),
            ),
        ),
        max_size=8,
    ),
)
def test_arbitrary_requests_are_refused_within_the_error_tree(
    method: str, target: str, headers: Iterable[tuple[str, str]]
) -> None:
    outcome = _outcome(RequestParts(method, target, tuple(headers)))
    assert isinstance(outcome, SealroomError)


@given(st.permutations(HONEST.headers), st.lists(st.text(st.characters(), max_size=9), max_size=3))
def test_order_and_uncovered_fields_do_not_matter(
    headers: list[tuple[str, str]], others: list[str]
) -> None:
    more = [(f"X-{index}", other) for index, other in enumerate(others)]
    assert isinstance(_outcome(replace(HONEST, headers=(*more, *headers))), VerifiedRequest)


def _edited(request: RequestParts, old: str, new: str) -> RequestParts:
    before = field(request, "Signature-Input")
    assert before.count(old) == 1
    return with_field(request, "Signature-Input", before.replace(old, new))


def _message(request: RequestParts) -> RequestMessage:
    return RequestMessage.received(request.method, request.target, request.headers)


def _signature(request: RequestParts) -> RequestSignature:
    return parse_signature(_message(request))


def test_the_library_alone_would_take_a_day_old_signature_over_nothing() -> None:
    """The control of this file's forgeries: without the profile they are good (THREATS)."""
    nothing = Forgery(covered="", fields=()).request()
    verifier = HTTPMessageVerifier(
        signature_algorithm=Ed25519Verification,
        key_resolver=AnyKeyId(),  # type: ignore[arg-type]
    )
    message = Plain("DELETE", "https://another.example/", dict(nothing.headers))
    (result,) = verifier.verify(message, max_age=timedelta(days=36_500))
    assert list(result.covered_components) == ['"@signature-params"']
