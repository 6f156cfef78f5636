"""Payloads of the handover's acts (SPEC sections 8.3 and 9.6)."""

from __future__ import annotations

from protocol.acts.terms import Count, Id32, Reason, Receipts, Roots, Time
from protocol.wire import record


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
