"""New keys and new holders: rotations, removals, handovers, identities."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from client.results.data import FieldsOf
from client.results.people import InviteResult


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
