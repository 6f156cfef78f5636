"""All transitions of the ledger, as one table (SPEC section 9.1).

The theory, in five lines. A vault is open, offered while a handover offer stands, frozen, both
of these, or ended. Each kind of act may be signed by some roles, in some phases. A control act
changes members, keys or the handover; one that `names_head` must cite a tree that holds the
last control act, so that its author decided knowing it. Revocations, withdrawals and freezes
are exempt, or whoever floods the log could not be cut off. What is not in the table is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from protocol import acts
from protocol.acts import Role
from protocol.errors import ApiMisuse
from protocol.ledger import data, handover, keys, members, recovery, vault
from protocol.ledger.state import Phase, State

Apply = Callable[[State, acts.Act, Any, int], State]


class Sides(StrEnum):
    """Which entries an act carries beside it (SPEC section 6.3)."""

    NONE = "none"
    MEMBER = "what one party newly holds"
    HOLDERS = "one entry for each holder of each new epoch"
    BUYER = "one entry for each live epoch"


@dataclass(frozen=True, slots=True)
class Transition:
    """One row: who may sign the act, when, what it carries, and what it does.

    `confirmed`: only once its author's words were compared. `former`: also after its author was
    removed. `rebuilt`: also by an owner whose seed custodians have put together.
    """

    payload: type[acts.Payload]
    roles: frozenset[Role]
    phases: frozenset[Phase]
    control: bool
    names_head: bool
    sides: Sides
    apply: Apply
    confirmed: bool = True
    by_invite: bool = False
    former: bool = False
    rebuilt: bool = False


def _unreachable(state: State, act: acts.Act, payload: Any, at: int) -> State:
    raise ApiMisuse("a genesis does not apply to a state")


def _nothing(state: State, act: acts.Act, payload: Any, at: int) -> State:
    return state


_OWNER: Final = frozenset({Role.OWNER})
_KEYED: Final = frozenset({Role.OWNER, Role.ADMIN})
_ADMINS: Final = frozenset({Role.OWNER, Role.ADMIN, Role.KEYLESS_ADMIN})
_BIDDER: Final = frozenset({Role.BIDDER})
_ALL: Final = frozenset(Role)
_OPEN: Final = frozenset({Phase.OPEN})
_IDLE: Final = frozenset({Phase.OPEN, Phase.FROZEN})
_THAWED: Final = frozenset({Phase.OPEN, Phase.OFFERED})
_OFFERED: Final = frozenset({Phase.OFFERED, Phase.FROZEN_OFFER})
_FROZEN: Final = frozenset({Phase.FROZEN, Phase.FROZEN_OFFER})
_LIVE: Final = frozenset(Phase) - {Phase.ENDED}
_ANY: Final = frozenset(Phase)

# One line a row, however long, so that the rows can be compared.
# ruff: noqa: E501
# fmt: off
_ROWS: Final = (
    #          payload               who      when      control head   sides          effect
    Transition(acts.Genesis,         frozenset(), frozenset(), True, False, Sides.NONE, _unreachable),
    Transition(acts.Invite,          _ADMINS, _OPEN,    True,  True,  Sides.MEMBER,  members.invite),
    Transition(acts.WithdrawInvite,  _ADMINS, _IDLE,    True,  False, Sides.NONE,    members.withdraw_invite),
    Transition(acts.Join,            frozenset(), _OPEN, True, True,  Sides.MEMBER,  members.join, by_invite=True),
    Transition(acts.Confirm,         _ADMINS, _OPEN,    True,  True,  Sides.MEMBER,  members.confirm),
    Transition(acts.ChangeRole,      _OWNER,  _OPEN,    True,  True,  Sides.MEMBER,  members.change_role),
    Transition(acts.Revoke,          _ADMINS, _LIVE,    True,  False, Sides.NONE,    members.revoke, rebuilt=True),
    Transition(acts.RotateIdentity,  _ALL,    _LIVE,    True,  True,  Sides.MEMBER,  members.rotate_identity, rebuilt=True),
    Transition(acts.DefineCollection, _KEYED, _OPEN,    True,  True,  Sides.NONE,    keys.define_collection),
    Transition(acts.RetireCollection, _KEYED, _OPEN,    True,  True,  Sides.NONE,    keys.retire_collection),
    Transition(acts.CreateEpoch,     _KEYED,  _OPEN,    True,  True,  Sides.HOLDERS, keys.create_epoch),
    Transition(acts.RetireEpoch,     _KEYED,  _OPEN,    True,  True,  Sides.NONE,    keys.retire_epoch),
    Transition(acts.Grant,           _KEYED,  _OPEN,    True,  True,  Sides.MEMBER,  members.grant),
    Transition(acts.WithdrawGrant,   _ADMINS, _IDLE,    True,  False, Sides.NONE,    members.withdraw_grant),
    Transition(acts.Commit,          _ADMINS, _OPEN,    False, False, Sides.NONE,    data.commit),
    Transition(acts.Erase,           _ADMINS, _OPEN,    False, False, Sides.NONE,    data.erase),
    Transition(acts.Replace,         _ADMINS, _OPEN,    False, False, Sides.NONE,    data.replace_records),
    Transition(acts.Reencrypt,       _KEYED,  _OPEN,    False, False, Sides.NONE,    data.reencrypt),
    Transition(acts.Offer,           _OWNER,  _OPEN,    True,  True,  Sides.BUYER,   handover.offer),
    Transition(acts.Accept,          _BIDDER, _OFFERED, True,  True,  Sides.NONE,    handover.accept),
    Transition(acts.Reject,          _BIDDER, _OFFERED, True,  True,  Sides.NONE,    handover.reject),
    Transition(acts.Expire,          _ALL,    _LIVE,    False, False, Sides.NONE,    _nothing, confirmed=False, rebuilt=True),
    Transition(acts.Freeze,          _ADMINS, _THAWED,  True,  False, Sides.NONE,    vault.freeze, rebuilt=True),
    Transition(acts.Unfreeze,        _OWNER,  _FROZEN,  True,  True,  Sides.NONE,    vault.unfreeze),
    Transition(acts.Destroy,         _OWNER,  _IDLE,    True,  True,  Sides.NONE,    vault.destroy),
    Transition(acts.ChangePolicy,    _OWNER,  _OPEN,    True,  True,  Sides.NONE,    vault.change_policy),
    Transition(acts.Custodians,      _OWNER,  _OPEN,    True,  True,  Sides.NONE,    recovery.custodians),
    Transition(acts.Release,         _ALL,    _LIVE,    True,  False, Sides.NONE,    recovery.release),
    Transition(acts.Attest,          _ALL,    _ANY,     False, False, Sides.NONE,    vault.attest, confirmed=False, former=True, rebuilt=True),
    Transition(acts.Heartbeat,       _ALL,    _LIVE,    False, False, Sides.NONE,    _nothing, rebuilt=True),
    Transition(acts.Noop,            _ALL,    _LIVE,    False, False, Sides.NONE,    _nothing, confirmed=False, rebuilt=True),
)
# fmt: on

TRANSITIONS: Final[dict[type[acts.Payload], Transition]] = {row.payload: row for row in _ROWS}
