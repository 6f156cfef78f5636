"""The acts as typed values (SPEC section 8): everything that changes who may do what.

An act is a body, signed in an envelope over its exact bytes. The body names the vault, the
author, the author's consecutive number, the checkpoint the author last saw, the kind, the
kind's payload, and the root of its sides (wraps, proofs and boxes that travel beside it).
What each kind does is in `protocol.ledger`; this module says only what it looks like.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from protocol.blocks import Address, FieldClass, Manifest
from protocol.checkpoint import Checkpoint
from protocol.errors import MalformedMessage, Unsupported
from protocol.identity import IdentityCard
from protocol.labels import Label, digest
from protocol.limits import LIMITS
from protocol.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, verify_public_key
from protocol.wire import (
    Envelope,
    Fixed,
    ListOf,
    Maybe,
    OneOf,
    Parsed,
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

VERSION: Final = 1
SUITE: Final = 1
"""Suite 1: X-Wing, HKDF-SHA256, AES-256-GCM, edwards25519, Ed25519, SHA-256 (SPEC section 2)."""

NO_VAULT: Final = bytes(32)
"""Stands for the vault's id inside a genesis, which is what the id is the hash of."""

MAX_UINT: Final = 2**53
MAX_TIME: Final = 2**40

Id32 = Annotated[bytes, Fixed(32)]
Id16 = Annotated[bytes, Fixed(16)]
Count = Annotated[int, Uint(MAX_UINT)]
Time = Annotated[int, Uint(MAX_TIME)]
FieldNumber = Annotated[int, Uint(0xFFFF)]


class Role(StrEnum):
    """What a member is (SPEC section 8.2)."""

    OWNER = "owner"
    ADMIN = "admin"
    KEYLESS_ADMIN = "keyless-admin"
    BIDDER = "bidder"
    AUDITOR = "auditor"


class Reason(StrEnum):
    """Why, in an act: a code. Words go into a catalog, sealed."""

    LOST_BID = "lost-bid"
    LEFT = "left"
    KEY_LOST = "key-lost"
    BREACH = "breach"
    MISTAKE = "mistake"
    TERMS = "terms"
    VERIFICATION = "verification"
    OTHER = "other"


# --- what several payloads share


@record
class Citation:
    """The checkpoint that an author last saw: size, root, time and the server's signature."""

    size: Annotated[int, Uint(MAX_UINT, 1)]
    root: Id32
    time: Time
    signature: Annotated[bytes, Fixed(SIGNATURE_BYTES)]

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Citation:
        """Return the citation of a verified checkpoint."""
        return cls(checkpoint.size, checkpoint.root, checkpoint.time, checkpoint.signature)

    def verified(self, vault_id: bytes, server_key: bytes) -> Checkpoint:
        """Return the checkpoint once its signature verifies; raises as `Checkpoint.verified`."""
        return Checkpoint.verified(
            vault_id, self.size, self.root, self.time, self.signature, server_key
        )


@record
class Policy:
    """What a vault fixes at genesis; the ledger enforces it (SPEC section 11)."""

    invite_seconds: Annotated[int, Uint(LIMITS.invite_seconds, 1)]
    offer_seconds: Annotated[int, Uint(LIMITS.offer_seconds, 1)]
    head_seconds: Annotated[int, Uint(LIMITS.offer_seconds, 1)]
    invite_data: bool


DEFAULT_POLICY: Final = Policy(
    invite_seconds=30 * 86_400,
    offer_seconds=30 * 86_400,
    head_seconds=7 * 86_400,
    invite_data=False,
)


@record
class Rule:
    """A grant's rule: a class, in one collection or in all, or one field of a collection."""

    collection: Annotated[bytes | None, Maybe(Fixed(16))]
    field_class: Annotated[FieldClass | None, Maybe(OneOf(FieldClass))]
    field: Annotated[int | None, Maybe(Uint(0x7FFF))]

    def __post_init__(self) -> None:
        """Refuse a rule that names neither or both, and a field without its collection."""
        if (self.field_class is None) == (self.field is None):
            raise MalformedMessage("a rule names either a class or a field")
        if self.field is not None and self.collection is None:
            raise MalformedMessage("a rule for a field names its collection")
        if self.field_class is FieldClass.PEOPLE:
            raise MalformedMessage("the people catalog goes with a role, not with a rule")

    def matches(self, collection: bytes, field: int, field_class: FieldClass) -> bool:
        """Say whether the rule covers this data field."""
        if self.collection not in (None, collection):
            return False
        return self.field == field if self.field is not None else self.field_class is field_class


Rules = Annotated[tuple[Rule, ...], ListOf(Rule, LIMITS.rules, ascending=True)]


@record
class EpochDefinition:
    """The commitments to one new field key: what every later recipient checks its copy against."""

    collection: Id16
    field: FieldNumber
    epoch: Annotated[int, Uint(LIMITS.epochs, 1)]
    share_hash: Id32
    confirmation: Id32

    @property
    def address(self) -> Address:
        """The (collection, field, epoch) that the key is for."""
        return Address(self.collection, self.field, self.epoch)


@record
class CollectionRoot:
    """A collection and the RFC 6962 root over its manifests in commit order."""

    collection: Id16
    root: Id32


@record
class CollectionReceipt:
    """What the buyer verified of one collection before it accepted."""

    collection: Id16
    root: Id32
    records: Count
    cells: Count


Roots = Annotated[
    tuple[CollectionRoot, ...], ListOf(CollectionRoot, LIMITS.collections + 1, ascending=True)
]
Receipts = Annotated[
    tuple[CollectionReceipt, ...], ListOf(CollectionReceipt, LIMITS.collections + 1, ascending=True)
]

# --- the payloads, one class a kind


@record
class Genesis:
    """The first act: owner, policy, suite, the server's checkpoint key. Its hash is the vault."""

    suite: Annotated[int, Uint(0xFFFF)]
    nonce: Id32
    owner: IdentityCard
    server_key: Annotated[bytes, Parsed(bytes, verify_public_key, PUBLIC_KEY_BYTES)]
    policy: Policy


@record
class Invite:
    """An identity whose seed derives from the link's secret; it may join once, until it expires."""

    card: IdentityCard
    role: Role
    rules: Rules
    carries_data: bool
    expiry: Time
    access_key: Annotated[bytes, Parsed(bytes, verify_public_key, PUBLIC_KEY_BYTES)]


@record
class WithdrawInvite:
    """Close an open invite."""

    invite: Id32


@record
class Join:
    """Signed by the invite's key: the newcomer's own identity takes the invite's place."""

    card: IdentityCard


@record
class Confirm:
    """The author compared the member's words; the grants that the invite planned are made."""

    member: Id32


@record
class ChangeRole:
    """Give a confirmed member another role."""

    member: Id32
    role: Role


@record
class Revoke:
    """Remove a member and taint every epoch it held."""

    member: Id32
    reason: Reason


@record
class DefineCollection:
    """A new collection: the class of each data field, numbered from 0 in this order."""

    collection: Id16
    classes: Annotated[tuple[FieldClass, ...], ListOf(OneOf(FieldClass), LIMITS.fields, 1)]

    def __post_init__(self) -> None:
        """Refuse the people catalog's id and class."""
        if self.collection == bytes(16) or FieldClass.PEOPLE in self.classes:
            raise MalformedMessage("the people catalog is not a collection of data")


@record
class CreateEpoch:
    """New field keys, each wrapped for exactly the holders of its field."""

    epochs: Annotated[
        tuple[EpochDefinition, ...], ListOf(EpochDefinition, LIMITS.fields, 1, ascending=True)
    ]


@record
class Grant:
    """New rules for a confirmed member, with the keys they cover."""

    member: Id32
    rules: Annotated[tuple[Rule, ...], ListOf(Rule, LIMITS.rules, 1, ascending=True)]


@record
class WithdrawGrant:
    """End rules of a member; the epochs it could read take no more commits."""

    member: Id32
    rules: Annotated[tuple[Rule, ...], ListOf(Rule, LIMITS.rules, 1, ascending=True)]


@record
class Commit:
    """Manifests of one upload, in parts; nothing is visible before the last."""

    upload: Id16
    collection: Id16
    part: Annotated[int, Uint(0xFFFF)]
    last: bool
    manifests: Annotated[tuple[Manifest, ...], ListOf(Manifest, LIMITS.act_batches, 1)]


@record
class Offer:
    """Every live key for the buyer, and the roots of all collections as they stand."""

    buyer: Id32
    expiry: Time
    roots: Roots


@record
class Accept:
    """The buyer takes over: names the offer, the tree it saw, and what it verified."""

    offer: Count
    tree_size: Count
    receipts: Receipts


@record
class Reject:
    """The buyer declines the open offer."""

    offer: Count
    reason: Reason


@record
class Expire:
    """Nothing by itself: its citation dates what has expired."""


@record
class Noop:
    """Nothing: spends a number."""


Payload = (
    Genesis
    | Invite
    | WithdrawInvite
    | Join
    | Confirm
    | ChangeRole
    | Revoke
    | DefineCollection
    | CreateEpoch
    | Grant
    | WithdrawGrant
    | Commit
    | Offer
    | Accept
    | Reject
    | Expire
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
    "define-collection": DefineCollection,
    "create-epoch": CreateEpoch,
    "grant": Grant,
    "withdraw-grant": WithdrawGrant,
    "commit": Commit,
    "offer": Offer,
    "accept": Accept,
    "reject": Reject,
    "expire": Expire,
    "noop": Noop,
}
_KIND_OF: Final = {cls: kind for kind, cls in KINDS.items()}


def kind_of(payload: Payload) -> str:
    """Return the name of a payload's kind."""
    return _KIND_OF[type(payload)]


@record
class _Body:
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
            _Body(
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
    raw = from_bytes(_Body, body, max_bytes=LIMITS.act_bytes)
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
