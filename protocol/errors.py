"""Every error that a user or a peer can meet, in one tree split by who must act (SPEC section 12).

`code` is stable and travels over the wire; the message says what happened and to what,
`hint` what to do next. Neither ever carries a key, a passphrase or a cell.
"""

from __future__ import annotations

from typing import ClassVar


class SealroomError(Exception):
    """The root of the tree; `code` is stable, `hint` names the likely remedy."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


# --- the peer sent something that is not the one encoding, or too much of it


class MalformedMessage(SealroomError):
    """Bytes that are not the one encoding of the value they should hold."""

    code = "malformed"


class NonCanonical(MalformedMessage):
    """Bytes that decode, but not from the one encoding: another writer would write others."""

    code = "non_canonical"


class Unsupported(SealroomError):
    """A version or suite that this build does not speak."""

    code = "unsupported"


class LimitExceeded(SealroomError):
    """More bytes, depth, records or requests than the table of limits allows."""

    code = "limit_exceeded"


class RateLimited(LimitExceeded):
    """Too many requests by one key; after `retry_after` seconds another may come."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: int = 1, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class NotFound(SealroomError):
    """There is nothing there for this key: the one answer to "absent" and to "not for you"."""

    code = "not_found"


class Replay(SealroomError):
    """A signed request that was used before, or is outside its time window."""

    code = "replay"


class ServerRestarted(Replay):
    """A request older than what the server can remember; a freshly signed one will do."""

    code = "server_restarted"


class ClockSkew(Replay):
    """A request whose time is too far from the server's, which `server_time` gives."""

    code = "clock_skew"

    def __init__(self, message: str, *, server_time: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.server_time = server_time


class Unauthenticated(SealroomError):
    """No valid signature of a known key: the one opaque answer to whatever is wrong with it."""

    code = "unauthenticated"


# --- somebody lied, or bytes were changed: the command line ends with 4


class VerificationFailed(SealroomError):
    """A check of what somebody else said came out false."""

    code = "verification_failed"


class PinMismatch(VerificationFailed):
    """A key is not the one that was pinned, linked or compared."""

    code = "pin_mismatch"


class NotAuthorised(VerificationFailed):
    """An act or statement by someone whom the replayed ledger does not entitle."""

    code = "not_authorised"


class WeakKey(VerificationFailed):
    """A public key or point outside the set in which the proofs hold."""

    code = "weak_key"


class ContextMismatch(VerificationFailed):
    """Something genuine that was made for another vault, act, member or place."""

    code = "context_mismatch"


class CommitmentMismatch(VerificationFailed):
    """A key or share that is not the one published when the epoch was created."""

    code = "commitment_mismatch"


class IntegrityError(VerificationFailed):
    """It did not open. The one opaque answer to whatever fails to authenticate."""

    code = "integrity"


class ManifestMismatch(VerificationFailed):
    """Blocks other, fewer or more than the signed commit lists."""

    code = "manifest_mismatch"


class Rollback(VerificationFailed):
    """The server shows a state older than one it has already signed."""

    code = "rollback"


class Fork(VerificationFailed):
    """Two checkpoints of one log that cannot both be true; both are kept as evidence."""

    code = "fork"

    def __init__(
        self, message: str, *, pinned: bytes = b"", shown: bytes = b"", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.pinned = pinned
        self.shown = shown


class Stale(VerificationFailed):
    """What the server shows is true but too old to act upon."""

    code = "stale"


class Downgrade(VerificationFailed):
    """Weaker parameters than the ones fixed earlier."""

    code = "downgrade"


# --- the state, the policy or the role does not allow it: the command line ends with 3


class OutOfOrder(SealroomError):
    """An act that the ledger's state does not allow where it would land."""

    code = "out_of_order"


class Frozen(OutOfOrder):
    """The vault is frozen, or destroyed: no block is served, and none is taken."""

    code = "frozen"


class Moved(OutOfOrder):
    """A block that was replaced since it was looked up; sync, and ask or make it again."""

    code = "moved"


class StaleAct(OutOfOrder):
    """Another control act landed since the author last looked; sync and try again."""

    code = "stale_act"


class Conflict(OutOfOrder):
    """The same id with other bytes: an act number, a batch id or an upload id used before."""

    code = "conflict"


# --- files on the user's own machine


class WrongPassphrase(SealroomError):
    """A keyring file that the passphrase does not open: another passphrase, or changed bytes."""

    code = "wrong_passphrase"


class NoKeyring(SealroomError):
    """There is no keyring file where one should be."""

    code = "no_keyring"


class ExposedFile(SealroomError):
    """A file with secrets in it that others on the machine may read or change."""

    code = "exposed_file"


class ApiMisuse(Exception):
    """A bug of ours: a call that no input from outside should be able to cause."""
