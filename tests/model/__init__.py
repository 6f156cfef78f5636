"""A second, small ledger over plain sets and names, written from the rules and not from the code.

It shares no code with `protocol.ledger`: each act says whether it lands, and if so does what it
does. `tests/test_ledger_model.py` plays random vaults against it.
"""

from __future__ import annotations

from tests.model.terms import Grant, Party, Place
from tests.model.whole import Model

__all__ = ["Grant", "Model", "Party", "Place"]
