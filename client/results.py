"""What the SDK answers: plain, typed, frozen values, ready for JSON (SPEC section 10.5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Progress:
    """How far long work has come: `done` of `total` units (None where nobody knows).

    A total that is `estimated` may still change; `done` reaches it all the same.
    """

    task: str
    done: int
    total: int | None
    unit: str
    estimated: bool = False


OnProgress = Callable[[Progress], None]


def no_progress(_: Progress) -> None:
    """Ignore progress."""


@dataclass(frozen=True, slots=True)
class IdentityInfo:
    """An identity in this home's keyring; `vault_id` is the vault that it serves in, if any."""

    name: str
    member_id: str
    created: int
    vault_id: str | None


@dataclass(frozen=True, slots=True)
class VaultInfo:
    """A vault as this home's keyring lists it; `since` is when its identity there was made."""

    vault_id: str
    title: str
    server: str
    pin: str | None
    identity: str
    joined: bool
    since: int


@dataclass(frozen=True, slots=True)
class OfferInfo:
    """The open handover offer."""

    index: int
    buyer: str
    buyer_name: str
    expires: int
    to_me: bool


class Way(StrEnum):
    """The command by which a member gives fields new keys."""

    ROTATE = "rotate --tainted"
    TAKEOVER = "handover takeover"


@dataclass(frozen=True, slots=True)
class NewKeys:
    """How many fields take no new data until they have new keys, and what a member can do about it.

    `mine` of them it may give new keys now, by the command `way`, which is None where there is
    nothing that it may do. A takeover is due as long as the seller knows a key in use.

    `offered` are those to whom the vault was offered, who did not take it over, and who have keys
    in use since then; whoever makes no keys is told of none.
    """

    fields: int
    mine: int
    way: Way | None
    offered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VaultStatus:
    """A vault as replayed: sizes, phase, my place in it; ages in seconds.

    `collections` and `records` count tables, `documents` what lies beside them, as far as this
    member may know the names of a collection: the `nameless` ones count as tables. `title_sealed`
    says that no name opens to it, and so no title.

    `checkpoint_age` is that of what the server signed; `head_age` that of what the owner, or
    somebody named by the policy, last signed, which writers let be `head_limit` at most, and
    which is negative where that time is yet to come.
    """

    vault_id: str
    title: str
    server: str
    me: str
    role: str
    status: str
    leaves: int
    root: str
    checkpoint_age: int
    members: int
    open_invites: int
    collections: int
    records: int
    offer: OfferInfo | None
    tainted_fields: int
    new_keys: NewKeys
    phase: str
    head_age: int
    head_limit: int
    documents: int = 0
    nameless: int = 0
    title_sealed: bool = False


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field: its name and type where this member may know them."""

    number: int
    name: str | None
    type: str | None
    field_class: str
    readable: bool
    epochs: int
    tainted: bool


@dataclass(frozen=True, slots=True)
class FieldsOf:
    """Some fields of one collection, by name; the collection is None for what is the vault's own.

    A collection is named as `client.people.collection_labels` does: no two are named alike.
    """

    collection: str | None
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """An upload that was begun in this home and has not landed: what of it the server has.

    `file` and `collection` are what it was begun with, None where that does not open any more.
    """

    collection: str | None
    file: str | None
    records: int
    batches: int


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """One collection: names where this member may know them, and what the ledger says.

    `documents` is how many it holds, None for a table, and where no name says what it is: it is
    `closed` then, if it has names and this member may know none.
    `unfinished` are the uploads into it that this home has under way.
    """

    collection_id: str
    name: str | None
    file: str | None
    records: int
    batches: int
    stored_bytes: int
    root: str
    fields: tuple[FieldInfo, ...]
    documents: int | None = None
    unfinished: tuple[UnfinishedUpload, ...] = ()
    closed: bool = False


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """One member or open invite; `words` are the twelve to compare with it."""

    member_id: str
    name: str | None
    role: str
    status: str
    me: bool
    grants: tuple[str, ...]
    planned: tuple[str, ...]
    words: str | None
    compared: bool


@dataclass(frozen=True, slots=True)
class UploadResult:
    """A committed upload; `records` are those that it added.

    `appended` says that the collection was there before. Of an update, `replaced` says how many of
    its records these stand in the place of, `unchanged` how many rows of the table were there as
    they are, and `left` how many of its records no row was about.
    """

    collection_id: str
    collection: str
    records: int
    fields: int
    cells: int
    batches: int
    sealed_bytes: int
    resumed_batches: int
    seconds: float
    notes: tuple[str, ...]
    appended: bool = False
    replaced: int = 0
    unchanged: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Uploads that were begun and are over: how many, and the act that ended their collection.

    That is None where it has records of others: it stays as it is.
    """

    collection_id: str
    uploads: int
    index: int | None


@dataclass(frozen=True, slots=True)
class PlannedField:
    """One field of an upload that is planned: its class as it is, or would be.

    Where nobody gave it one, `looks_like` says what it may be by `looked_at`, if that is data which
    deserves more: the class `advised`. Nothing follows from that but advice.
    """

    name: str
    type: str
    field_class: str
    looks_like: str | None = None
    looked_at: str | None = None
    advised: str | None = None


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """What an upload would do. `there` is how many records the collection has, None without one.

    Of an update, `left` says how many of them no row is about. Records and bytes are None where
    nobody looked at all of the table. `seconds` estimates the time, where a rate was measured
    before; `sealing_seconds` is what sealing took here.
    """

    collection: str
    there: int | None
    fields: tuple[PlannedField, ...]
    records: int | None = None
    replaced: int = 0
    unchanged: int = 0
    left: int = 0
    batches: int | None = None
    sealed_bytes: int | None = None
    sealing_seconds: float | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadResult:
    """A finished read or export; `notes` say what the file holds otherwise than the vault does."""

    collection: str
    records: int
    fields: tuple[str, ...]
    cells: int
    fetched_bytes: int
    seconds: float
    path: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """One document; `size` in bytes. Names and all of that are None where nothing readable says it.

    `state` is `whole`, `removed in part` or `damaged`; `committed_at` the leaf that showed it.
    """

    document_id: str
    name: str | None
    field_class: str
    size: int | None
    media_type: str | None
    sha256: str | None
    readable: bool
    state: str
    stored_bytes: int
    author: str
    author_name: str | None
    committed_at: int


@dataclass(frozen=True, slots=True)
class AttachResult:
    """A document that is there: `already` if the same file was, under this name and class."""

    document: DocumentInfo
    already: bool
    resumed_batches: int
    seconds: float


@dataclass(frozen=True, slots=True)
class GetResult:
    """A document that was verified and is a file; `resumed_bytes` were there from before."""

    document_id: str
    name: str
    path: str
    size: int
    sha256: str
    resumed_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class NotGot:
    """A document that was not written, by whom it is, and why: an error's code and words.

    `untrue` says that it is not what was attached: its writer committed something else.
    """

    document_id: str
    name: str | None
    author: str
    author_name: str | None
    code: str
    message: str
    hint: str | None
    untrue: bool


@dataclass(frozen=True, slots=True)
class GetAllResult:
    """Documents that were verified and are files, and those that are not."""

    documents: tuple[GetResult, ...]
    failed: tuple[NotGot, ...]


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """A document that is gone for ever: the indexes of the acts that say so."""

    acts: tuple[int, ...]
    document_id: str
    name: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class InviteResult:
    """A fresh invite. Whoever has the link can join once with it."""

    link: str
    invite_id: str
    name: str
    role: str
    classes: tuple[str, ...]
    expires: int


@dataclass(frozen=True, slots=True)
class JoinResult:
    """A membership: `words` are to be compared with the inviter, by voice or in person.

    `title_sealed` as in `VaultStatus`.
    """

    vault_id: str
    title: str
    member_id: str
    inviter_id: str
    role: str
    status: str
    words: str
    compared: bool
    head_age: int
    title_sealed: bool = False


@dataclass(frozen=True, slots=True)
class ActResult:
    """An act that landed: its kind, and its index in the log."""

    kind: str
    index: int
    member_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatResult(ActResult):
    """A head that was signed; `counts` where the policy lets its signer tell writers its age."""

    counts: bool = True


@dataclass(frozen=True, slots=True)
class ReencryptResult:
    """What was sealed anew: `moved_by_others` are blocks that somebody else rotated meanwhile.

    `resumed_blocks` were sealed by an earlier run that was interrupted; `retired` counts the
    epochs that ended, with all that the server had of them.
    """

    blocks: int
    cells: int
    sealed_bytes: int
    resumed_blocks: int
    moved_by_others: int
    retired: int


@dataclass(frozen=True, slots=True)
class RotateResult:
    """New epochs: of which fields, how many wraps in all, and what moved to them, if anything."""

    index: int | None
    fields: tuple[FieldsOf, ...]
    wraps: int
    reencrypted: ReencryptResult | None
    seconds: float


@dataclass(frozen=True, slots=True)
class RotatePlan:
    """What a rotation would do; `seconds` is an estimate, where a rate was measured before."""

    fields: tuple[FieldsOf, ...]
    holders: tuple[str, ...]
    blocks: int
    cells: int
    sealed_bytes: int
    seconds: float | None


class KeysWait(StrEnum):
    """Why a member makes no new keys now: what has to end first, or that its role makes none."""

    OFFER = "offer"
    FREEZE = "freeze"
    ROLE = "role"


class Undone(StrEnum):
    """What was asked beside a removal and cannot be done now; the removal itself can."""

    REENCRYPT = "reencrypt"
    REINVITE = "reinvite"


@dataclass(frozen=True, slots=True)
class RevokePlan:
    """What a removal would cut off: what the member could read, and did, as the server admits.

    `replaced` are the fields that get new keys by the same command. Where it makes none,
    `keys_wait` says why; `undone` is what was asked and would have to wait too.
    """

    member_id: str
    name: str | None
    could_read: tuple[FieldsOf, ...]
    admitted_reads: int
    admitted_blocks: int
    voided_invites: tuple[str, ...]
    replaced: tuple[FieldsOf, ...]
    keys_wait: KeysWait | None = None
    undone: tuple[Undone, ...] = ()


@dataclass(frozen=True, slots=True)
class RevokeResult:
    """A removal: what the member could have read, what the server says it did, what was rotated.

    Where no new keys could be made, `keys_wait` says why, and `undone` what was asked and was not
    done. The same command does it later.
    """

    index: int
    member_id: str
    name: str | None
    could_read: tuple[FieldsOf, ...]
    admitted_reads: int
    admitted_blocks: int
    voided_invites: tuple[str, ...]
    rotated: RotateResult
    left_tainted: tuple[FieldsOf, ...]
    invited: InviteResult | None = None
    keys_wait: KeysWait | None = None
    undone: tuple[Undone, ...] = ()


@dataclass(frozen=True, slots=True)
class EraseResult:
    """Records that are gone for ever, in every field: how many, and the indexes of the acts."""

    acts: tuple[int, ...]
    collection: str
    records: int
    already_gone: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RotateIdentityResult:
    """A member under new keys: `words` are to be compared with the owner, unless it is the owner.

    `rotated` are the keys that an owner's client replaced at once, `left` the epochs whose keys
    had been given to it false, and were left behind. With `deal_anew` there were custodians, and
    the owner has to deal shares anew: of its new keys, or to a custodian's new ones.
    """

    index: int
    old_id: str
    new_id: str
    status: str
    words: str | None
    rotated: RotateResult | None
    left: tuple[str, ...]
    seconds: float
    deal_anew: bool = False


@dataclass(frozen=True, slots=True)
class AttestResult:
    """A statement that the log has; `proof` is the file that proves it to anybody."""

    statement: str
    index: int
    member_id: str
    proof: str


@dataclass(frozen=True, slots=True)
class CustodianInfo:
    """One custodian, by name; `released` says to how many it has given its share."""

    member_id: str
    name: str | None
    live: bool
    released: int


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """A vault's policy; `head_signers` are the ids of those whose acts keep writers writing."""

    invite_days: float
    offer_days: float
    head_days: float
    invite_data: bool
    head_signers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecoveryStatus:
    """The dealing in force: `mine` says whether this member's own share is right, if it has one."""

    index: int
    threshold: int
    custodians: tuple[CustodianInfo, ...]
    rebuilt: bool
    mine: bool | None


@dataclass(frozen=True, slots=True)
class RescueRequest:
    """What whoever lost an owner's keys sends to custodians: text, and the id to compare by."""

    text: str
    vault_id: str
    member_id: str


@dataclass(frozen=True, slots=True)
class RescueResult:
    """An owner who is one again: by which custodians' shares, and which did not fit.

    `left` are the epochs whose keys had been given to the owner false, and were left behind.
    """

    index: int
    old_id: str
    new_id: str
    custodians: tuple[str, ...]
    wrong: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfferResult:
    """An offer that landed."""

    index: int
    buyer: str
    keys: int
    expires: int
    seconds: float


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """A handover that was verified in full and accepted.

    `collections` and `records` are those of tables, `documents` lie beside them; cells are of both.
    """

    index: int
    keys: int
    collections: int
    records: int
    cells: int
    verified_bytes: int
    seconds: float
    documents: int = 0


OBSERVATION: Final = "observation"
"""The kind of a leaf in which the server says what it served."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One leaf of the log, in words; of an observation, who read what and when, if one may know."""

    index: int
    kind: str
    author: str | None
    author_name: str | None
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LogResult:
    """The replayed log; `verified` says how many leaves were checked from the genesis on.

    What the server says of the reads at `false_observations` the log rules out.
    """

    vault_id: str
    size: int
    root: str
    checkpoint: str
    checkpoint_age: int
    verified: int
    entries: tuple[LogEntry, ...]
    false_observations: tuple[int, ...] = ()


def as_json(value: object) -> Any:
    """Turn a result into what `json.dumps` takes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, Enum):
        return as_json(value.value)
    return value.hex() if isinstance(value, bytes) else value
