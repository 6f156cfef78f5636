"""Payloads of acts on members, invites and grants (SPEC sections 8.3 and 9.3)."""

from __future__ import annotations

from typing import Annotated

from protocol.acts.terms import Id32, Reason, Role, Rule, Rules, Time
from protocol.identity import IdentityCard
from protocol.limits import LIMITS
from protocol.signing import PUBLIC_KEY_BYTES, verify_public_key
from protocol.wire import ListOf, Maybe, Parsed, Uint, record


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
class RotateIdentity:
    """Signed by the old identity: the new one takes its place, with every key that it held.

    `dealing` names the dealing (SPEC section 9.9) from which the old seed was rebuilt, if it was.
    """

    card: IdentityCard
    dealing: Annotated[int | None, Maybe(Uint(2**53))]


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
