"""The ledger: one log that is both the access control and the audit trail (SPEC section 9).

`Ledger.check` and `Ledger.append` replay it, `check_sides` verifies what travels beside an
act, `holders` says who holds what. The transitions themselves are a table in `transitions`.
"""

from __future__ import annotations

from protocol.ledger.log import Landed, Ledger, act_leaf
from protocol.ledger.sides import CheckedSides, Gone, check_sides, encode_part, sides_root
from protocol.ledger.state import State

__all__ = [
    "CheckedSides",
    "Gone",
    "Landed",
    "Ledger",
    "State",
    "act_leaf",
    "check_sides",
    "encode_part",
    "sides_root",
]
