"""Who sent a request, and that it was sent once (SPEC section 13).

No transport is named here: a handler gives what came over the wire and a clock's reading.
What the key may ask for is the service's to decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Final

from protocol.errors import (
    ClockSkew,
    IntegrityError,
    LimitExceeded,
    MalformedMessage,
    Replay,
    ServerRestarted,
    Unauthenticated,
)
from protocol.requests import (
    KEYID_BYTES,
    RequestMessage,
    RequestSignature,
    VerifiedHead,
    VerifiedRequest,
    parse_signature,
    verify_head,
)

KeyLookup = Callable[[bytes], bytes | None]

# The group's generator: a sound key that is nobody's. Unknown key ids cost one verification
# under it, so that the time of a refusal does not tell who is enrolled. Anybody can sign for
# it (its secret is 1), hence obligation (4).
_NOBODYS_KEY: Final = b"\x58" + b"\x66" * 31

_REFUSAL: Final = "the request is not authenticated"

# At most 250 bytes a nonce: 64 MB when full. One key may hold an eighth, 270 requests a second
# for the two minutes in which a nonce can matter, so that no member locks the others out.
NONCES_HELD: Final = 262_144
NONCES_PER_KEY: Final = NONCES_HELD // 8


@dataclass(frozen=True, slots=True)
class RequestParts:
    """A request's head as it was received.

    `target` is the path and query as on the request line, untouched; `headers` are all field
    lines in order, Host among them.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]


class Stranger(Unauthenticated):
    """The key id is nobody's here, or the signature is not by its key; which, is not told."""


class ReplayGuard:
    """Remembers what was accepted for as long as its time would be accepted again.

    One guard serves one process, and one process the vaults: two guards would each accept
    the same request once. Nothing is forgotten early: beyond the caps it refuses.

    `started_at` is when the process started: what an earlier one accepted is not remembered,
    so nothing older is accepted. (A server on new storage had no earlier one: 0 will do.) A
    client whose clock runs ahead signs with times after a restart, too; `keep_horizon` is
    called with the time of such a request before it is accepted, must have stored it when it
    returns, and the next process is given it as `horizon`. Without that, whoever captured such
    a request can repeat it once after a restart, within its client's lead (60 s at most).
    """

    def __init__(
        self,
        window_seconds: int,
        started_at: float,
        *,
        horizon: int = 0,
        keep_horizon: Callable[[int], None] | None = None,
        capacity: int = NONCES_HELD,
        capacity_per_key: int = NONCES_PER_KEY,
    ) -> None:
        self._window = window_seconds
        self._horizon = horizon
        self._keep_horizon = keep_horizon
        self._capacity = capacity
        self._capacity_per_key = capacity_per_key
        # Nothing created up to this second is accepted any more: it may have been, unknown to us.
        self._forgotten = max(floor(started_at), horizon)
        self._seen: dict[int, set[bytes]] = {}
        self._held = 0
        self._held_by: Counter[bytes] = Counter()

    def check_window(self, created: int, now: float) -> None:
        """Refuse times from which a replay could not be told; changes nothing.

        Raises:
            ClockSkew: further than the window from `now`, in either direction.
            ServerRestarted: within it, but from before this process, or before the server's
                clock was set back.
        """
        if abs(now - created) > self._window:
            raise ClockSkew(
                f"the request's time, {created}, is not within {self._window} s of "
                f"the server's, {int(now)}",
                server_time=int(now),
                hint="set the clock of the machine that sent it",
            )
        if created <= self._forgotten:
            raise ServerRestarted(
                "server restarted; send again", hint="sign the request again, and send it"
            )

    def remember(self, signature: RequestSignature, now: float) -> None:
        """Accept a verified request once; on any error it is as if it had not come.

        Raises:
            ClockSkew, ServerRestarted: as in `check_window`, which may have been a while ago.
            Replay: it was accepted before.
            LimitExceeded: too many requests in the window, by this key or by all.
        """
        self._forget(now)
        self.check_window(signature.created, now)
        entry = signature.keyid + signature.nonce
        # A key's nonces are distinct within the window, whatever the times they came with.
        if any(entry in seen for seen in self._seen.values()):
            raise Replay("this request was used before", hint="sign it again, and send it")
        if self._held >= self._capacity or self._held_by[signature.keyid] >= self._capacity_per_key:
            raise LimitExceeded("too many requests", hint=f"Wait {self._window} s.")
        self._raise_horizon(signature.created, now)
        self._seen.setdefault(signature.created, set()).add(entry)
        self._held += 1
        self._held_by[signature.keyid] += 1

    def _raise_horizon(self, created: int, now: float) -> None:
        if created <= max(now, self._horizon):
            return
        if self._keep_horizon is not None:
            self._keep_horizon(created)
        self._horizon = created

    def _forget(self, now: float) -> None:
        for created in [second for second in self._seen if now - second > self._window]:
            for entry in self._seen.pop(created):
                self._release(entry[:KEYID_BYTES])
            # Should the clock be set back, what is forgotten here stays refused.
            self._forgotten = max(self._forgotten, created)

    def _release(self, keyid: bytes) -> None:
        self._held -= 1
        self._held_by[keyid] -= 1
        if not self._held_by[keyid]:
            del self._held_by[keyid]


def authenticate_head(
    request: RequestParts,
    key_lookup: KeyLookup,
    guard: ReplayGuard,
    now: float,
    *,
    authorities: frozenset[str] | None,
) -> VerifiedHead:
    """Authenticate a request before its body is read, and use it up (SPEC section 13).

    For bodies too large to be read for strangers. As `authenticate`, but for obligation (5),
    which the caller owes: hash the body while it is read, call `VerifiedHead.with_body`, and
    act upon nothing before. The nonce is used up now, so that two requests that are still
    being read cannot be one.
    """
    head = _verified(request, key_lookup, guard, now, authorities)
    guard.remember(head.signature, now)
    return head


def authenticate(
    request: RequestParts,
    body_sha256: bytes | None,
    key_lookup: KeyLookup,
    guard: ReplayGuard,
    now: float,
    *,
    authorities: frozenset[str] | None,
) -> VerifiedRequest:
    """Authenticate a request of which all was received (SPEC section 13).

    Obligations, in this order:
      (0) the request has one signature of the profile, and nothing about it is ambiguous;
      (1) it is addressed to this server;
      (2) its time is within the window, and not before what the guard remembers;
      (3) the signature verifies, under the key that `key_lookup` gives for its key id;
      (4) there is such a key;
      (5) the body is the one that was signed;
      (6) the key has not used this nonce; it is used from now on. Only a request that passed
          all before gets there, so that nobody can use up another's nonces.
    The caller still owes: whether the key may do this, in which vault (the key lookup is that
    of the vault in the path), and to act upon covered header fields alone.

    `authorities` are the names, with ports other than 443, by which clients reach this server.
    With None any will do; then a server that members also use can show their requests here.
    Vault ids are unique and stand in the path, so that is of use only with a vault that both
    hold, and only for what was not seen here yet.

    `body_sha256` is None if the body had no bytes; `now` is in unix seconds.

    Raises:
        ClockSkew, ServerRestarted: obligation (2). Judged before the key, so as to be told to
            anybody: the server's time is no secret.
        Replay, LimitExceeded: obligation (6).
        Stranger: obligations (3) and (4). Where a vault is asked for, its answer is that of a
            vault that is not there, or whoever is asked about would be found out.
        Unauthenticated: any other, without saying which; its cause does, for the tests.
    """
    head = _verified(request, key_lookup, guard, now, authorities)
    # (5)
    try:
        verified = head.with_body(body_sha256)
    except IntegrityError as error:
        raise _refusal() from error
    # (6)
    guard.remember(verified.signature, now)
    return verified


def _verified(
    request: RequestParts,
    key_lookup: KeyLookup,
    guard: ReplayGuard,
    now: float,
    authorities: frozenset[str] | None,
) -> VerifiedHead:
    # (0)
    try:
        message = RequestMessage.received(request.method, request.target, request.headers)
        claimed = parse_signature(message)
    except MalformedMessage as error:
        raise _refusal() from error
    # (1) told apart, as it is no secret and whoever runs the server must find it
    if authorities is not None and message.authority not in authorities:
        raise Unauthenticated(
            "the request is addressed to a name that this server does not know as its own",
            hint="reach the server by the name it was configured with",
        )
    # (2)
    guard.check_window(claimed.created, now)
    # (3)
    key = key_lookup(claimed.keyid)
    try:
        head = verify_head(message, _NOBODYS_KEY if key is None else key)
    except IntegrityError as error:
        raise Stranger(_REFUSAL) from error
    # (4)
    if key is None:
        raise Stranger(_REFUSAL)
    return head


def _refusal() -> Unauthenticated:
    return Unauthenticated(_REFUSAL)
