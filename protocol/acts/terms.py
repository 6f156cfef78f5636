"""What several payloads share: ids, roles, reasons, rules, policies, citations (SPEC section 8)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from protocol.blocks import Address, FieldClass
from protocol.checkpoint import Checkpoint
from protocol.errors import MalformedMessage
from protocol.limits import LIMITS
from protocol.signing import SIGNATURE_BYTES
from protocol.wire import Fixed, ListOf, Maybe, OneOf, Uint, record

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
    REQUEST = "request"
    RETENTION = "retention"
    OTHER = "other"


class Statement(StrEnum):
    """What can be attested: a code. It binds its author's word, and nothing else."""

    KEYS_DESTROYED = "keys-destroyed"


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
    """What a vault's owner lets happen; the ledger and the clients enforce it (SPEC section 11).

    `head_signers` are members whose acts, like the owner's, tell writers that the log which
    they are shown is the newest.
    """

    invite_seconds: Annotated[int, Uint(LIMITS.invite_seconds, 1)]
    offer_seconds: Annotated[int, Uint(LIMITS.offer_seconds, 1)]
    head_seconds: Annotated[int, Uint(LIMITS.head_seconds, 1)]
    invite_data: bool
    head_signers: Annotated[
        tuple[bytes, ...], ListOf(Fixed(32), LIMITS.head_signers, ascending=True)
    ]


DEFAULT_POLICY: Final = Policy(
    invite_seconds=30 * 86_400,
    offer_seconds=30 * 86_400,
    head_seconds=7 * 86_400,
    invite_data=False,
    head_signers=(),
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
class EpochName:
    """An epoch by its address alone.

    Raises:
        MalformedMessage: no field of any vault, as `Address`.
    """

    collection: Id16
    field: FieldNumber
    epoch: Annotated[int, Uint(LIMITS.epochs, 1)]

    def __post_init__(self) -> None:
        """Refuse what no address is."""
        Address(self.collection, self.field, self.epoch)

    @property
    def address(self) -> Address:
        """The (collection, field, epoch) that is named."""
        return Address(self.collection, self.field, self.epoch)

    @classmethod
    def of(cls, address: Address) -> EpochName:
        """Return the name of an address."""
        return cls(address.collection, address.field, address.epoch)


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
