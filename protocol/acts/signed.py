"""A signed act: its body, its envelope, and the kinds that there are (SPEC section 8.1)."""

from __future__ import annotations

from typing import Annotated, Final

from protocol.acts.data import Commit, Erase, Reencrypt, Replace
from protocol.acts.handover import Accept, Offer, Reject
from protocol.acts.keys import CreateEpoch, DefineCollection, RetireCollection, RetireEpoch
from protocol.acts.members import (
    ChangeRole,
    Confirm,
    Grant,
    Invite,
    Join,
    Revoke,
    RotateIdentity,
    WithdrawGrant,
    WithdrawInvite,
)
from protocol.acts.recovery import Custodians, Release
from protocol.acts.terms import VERSION, Citation, Count, Id32
from protocol.acts.vault import (
    Attest,
    ChangePolicy,
    Destroy,
    Expire,
    Freeze,
    Genesis,
    Heartbeat,
    Noop,
    Unfreeze,
)
from protocol.errors import MalformedMessage, Unsupported
from protocol.labels import Label, digest
from protocol.limits import LIMITS
from protocol.wire import (
    Envelope,
    Fixed,
    Maybe,
    Plain,
    Text,
    Uint,
    Value,
    from_bytes,
    pack,
    record,
    to_bytes,
    unpack,
)

Payload = (
    Genesis
    | Invite
    | WithdrawInvite
    | Join
    | Confirm
    | ChangeRole
    | Revoke
    | RotateIdentity
    | DefineCollection
    | RetireCollection
    | CreateEpoch
    | RetireEpoch
    | Grant
    | WithdrawGrant
    | Commit
    | Erase
    | Replace
    | Reencrypt
    | Offer
    | Accept
    | Reject
    | Expire
    | Freeze
    | Unfreeze
    | Destroy
    | ChangePolicy
    | Custodians
    | Release
    | Attest
    | Heartbeat
    | Noop
)

KINDS: Final[dict[str, type[Payload]]] = {
    "genesis": Genesis,
    "invite": Invite,
    "withdraw-invite": WithdrawInvite,
    "join": Join,
    "confirm": Confirm,
    "change-role": ChangeRole,
    "revoke": Revoke,
    "rotate-identity": RotateIdentity,
    "define-collection": DefineCollection,
    "retire-collection": RetireCollection,
    "create-epoch": CreateEpoch,
    "retire-epoch": RetireEpoch,
    "grant": Grant,
    "withdraw-grant": WithdrawGrant,
    "commit": Commit,
    "erase": Erase,
    "replace": Replace,
    "re-encrypt": Reencrypt,
    "offer": Offer,
    "accept": Accept,
    "reject": Reject,
    "expire": Expire,
    "freeze": Freeze,
    "unfreeze": Unfreeze,
    "destroy": Destroy,
    "policy": ChangePolicy,
    "custodians": Custodians,
    "release": Release,
    "attest": Attest,
    "heartbeat": Heartbeat,
    "noop": Noop,
}
_KIND_OF: Final = {cls: kind for kind, cls in KINDS.items()}


def kind_of(payload: Payload) -> str:
    """Return the name of a payload's kind."""
    return _KIND_OF[type(payload)]


@record
class ActBody:
    """What an author signs: the exact bytes of this record."""

    version: Annotated[int, Uint(0xFFFF)]
    vault_id: Id32
    author: Id32
    number: Count
    cited: Annotated[Citation | None, Maybe(Citation)]
    kind: Annotated[str, Text(32)]
    payload: Annotated[Value, Plain()]
    sides_root: Annotated[bytes | None, Maybe(Fixed(32))]


@record
class Act:
    """An act before it is signed, or after its envelope was parsed; who signed it is unchecked."""

    vault_id: Id32
    author: Id32
    number: Count
    cited: Annotated[Citation | None, Maybe(Citation)]
    payload: Annotated[Payload, Plain()]
    sides_root: Annotated[bytes | None, Maybe(Fixed(32))]

    @property
    def kind(self) -> str:
        """The name of the act's kind."""
        return kind_of(self.payload)

    @property
    def cited_size(self) -> int:
        """How many leaves the cited tree has; 0 for a genesis."""
        return self.cited.size if self.cited else 0

    @property
    def cited_time(self) -> int:
        """When the cited checkpoint was signed, by the server's clock; 0 for a genesis."""
        return self.cited.time if self.cited else 0

    def body(self) -> bytes:
        """Return the exact bytes that the author signs.

        Raises:
            LimitExceeded: larger than an act may be.
        """
        return to_bytes(
            ActBody(
                VERSION,
                self.vault_id,
                self.author,
                self.number,
                self.cited,
                self.kind,
                pack(self.payload),
                self.sides_root,
            )
        )


def parse_body(body: bytes) -> Act:
    """Parse the signed bytes of an act (SPEC section 8.1).

    Raises:
        MalformedMessage: not the one encoding of an act.
        Unsupported: another version, or a kind that this build does not know.
        LimitExceeded: larger than allowed.
        WeakKey: a public key outside the prime-order group.
    """
    raw = from_bytes(ActBody, body, max_bytes=LIMITS.act_bytes)
    if raw.version != VERSION:
        raise Unsupported(f"an act of version {raw.version}", hint="Update sealroom.")
    payload_class = KINDS.get(raw.kind)
    if payload_class is None:
        raise Unsupported(
            "an act of a kind that this version does not know", hint="Update sealroom."
        )
    payload = unpack(payload_class, raw.payload)
    return Act(raw.vault_id, raw.author, raw.number, raw.cited, payload, raw.sides_root)


def parse_envelope(encoded: bytes) -> tuple[Envelope, Act]:
    """Parse a signed act; the signature is checked by the ledger, which knows the author's key.

    Raises:
        MalformedMessage: not an envelope of an act.
        Unsupported, LimitExceeded, WeakKey: as `parse_body`.
    """
    envelope = from_bytes(Envelope, encoded, max_bytes=LIMITS.act_bytes + 4096)
    if envelope.payload_type is not Label.ACT:
        raise MalformedMessage("a signed message that is not an act")
    return envelope, parse_body(envelope.body)


def vault_id_of(genesis_envelope: bytes) -> bytes:
    """Return the id of the vault that this genesis begins: the hash of its exact bytes."""
    return digest(Label.VAULT_ID, genesis_envelope)
