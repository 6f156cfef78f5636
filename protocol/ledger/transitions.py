"""All transitions of the ledger, as one table (SPEC section 9.1).

The theory, in five lines. A vault is in one of two phases: open, or offered while one
handover offer stands. Each kind of act may be signed by some roles, in some phases. A control
act changes members, keys or the handover; one that `names_head` must cite a tree that holds
the last control act, so that its author decided knowing it. Revocations and withdrawals are
exempt, or whoever floods the log could not be cut off. Anything not in the table is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from protocol import acts
from protocol.acts import Role
from protocol.errors import ApiMisuse
from protocol.ledger import data, handover, keys, members
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
    """One row: who may sign the act, when, what it carries, and what it does."""

    payload: type[acts.Payload]
    roles: frozenset[Role]
    phases: frozenset[Phase]
    control: bool
    names_head: bool
    sides: Sides
    apply: Apply
    confirmed: bool = True
    by_invite: bool = False


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
_OFFERED: Final = frozenset({Phase.OFFERED})
_ANY: Final = frozenset(Phase)

# One line a row, however long, so that the rows can be compared.
# ruff: noqa: E501
# fmt: off
_ROWS: Final = (
    #          payload               who      when      control head   sides          effect
    Transition(acts.Genesis,         frozenset(), frozenset(), True, False, Sides.NONE, _unreachable),
    Transition(acts.Invite,          _ADMINS, _OPEN,    True,  True,  Sides.MEMBER,  members.invite),
    Transition(acts.WithdrawInvite,  _ADMINS, _OPEN,    True,  False, Sides.NONE,    members.withdraw_invite),
    Transition(acts.Join,            frozenset(), _OPEN, True, True,  Sides.MEMBER,  members.join, by_invite=True),
    Transition(acts.Confirm,         _ADMINS, _OPEN,    True,  True,  Sides.MEMBER,  members.confirm),
    Transition(acts.ChangeRole,      _OWNER,  _OPEN,    True,  True,  Sides.MEMBER,  members.change_role),
    Transition(acts.Revoke,          _ADMINS, _ANY,     True,  False, Sides.NONE,    members.revoke),
    Transition(acts.DefineCollection, _KEYED, _OPEN,    True,  True,  Sides.NONE,    keys.define_collection),
    Transition(acts.CreateEpoch,     _KEYED,  _OPEN,    True,  True,  Sides.HOLDERS, keys.create_epoch),
    Transition(acts.Grant,           _KEYED,  _OPEN,    True,  True,  Sides.MEMBER,  members.grant),
    Transition(acts.WithdrawGrant,   _ADMINS, _OPEN,    True,  False, Sides.NONE,    members.withdraw_grant),
    Transition(acts.Commit,          _ADMINS, _OPEN,    False, False, Sides.NONE,    data.commit),
    Transition(acts.Offer,           _OWNER,  _OPEN,    True,  True,  Sides.BUYER,   handover.offer),
    Transition(acts.Accept,          _BIDDER, _OFFERED, True,  True,  Sides.NONE,    handover.accept),
    Transition(acts.Reject,          _BIDDER, _OFFERED, True,  True,  Sides.NONE,    handover.reject),
    Transition(acts.Expire,          _ALL,    _ANY,     False, False, Sides.NONE,    _nothing, confirmed=False),
    Transition(acts.Noop,            _ALL,    _ANY,     False, False, Sides.NONE,    _nothing, confirmed=False),
)
# fmt: on

TRANSITIONS: Final[dict[type[acts.Payload], Transition]] = {row.payload: row for row in _ROWS}
