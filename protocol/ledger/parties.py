"""Members and invites as the replayed ledger has them (SPEC section 9.3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from protocol.acts import Role, Rule
from protocol.blocks import Address
from protocol.identity import PublicIdentity


class MemberStatus(StrEnum):
    """A member's life: it never goes back, but for a new identity's, which is confirmed anew."""

    UNCONFIRMED = "unconfirmed"
    CONFIRMED = "confirmed"
    REVOKED = "revoked"
    REPLACED = "replaced"


class InviteStatus(StrEnum):
    """An invite's life: open until exactly one of the others."""

    OPEN = "open"
    USED = "used"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Member:
    """A member; `rules` are grants in force, `planned` those that confirm would make.

    A person that rotated its identity is two members: the old one is replaced, and names its
    `successor`; the new one names its `predecessor`.
    """

    identity: PublicIdentity
    role: Role
    status: MemberStatus
    rules: tuple[Rule, ...]
    planned: tuple[Rule, ...]
    joined_at: int
    invite: bytes | None
    removed_at: int | None = None
    # Epochs it holds no more, whose keys it may have kept: removal taints them too.
    kept: frozenset[Address] = frozenset()
    predecessor: bytes | None = None
    successor: bytes | None = None

    @property
    def id(self) -> bytes:
        """The member id, 32 bytes."""
        return self.identity.member_id

    @property
    def live(self) -> bool:
        """Whether the member was neither removed nor replaced."""
        return self.status in (MemberStatus.UNCONFIRMED, MemberStatus.CONFIRMED)


@dataclass(frozen=True, slots=True)
class InviteState:
    """An invite; a party of its own until somebody joins with it."""

    identity: PublicIdentity
    role: Role
    status: InviteStatus
    planned: tuple[Rule, ...]
    carries_data: bool
    expiry: int
    access_key: bytes
    inviter: bytes
    made_at: int

    @property
    def id(self) -> bytes:
        """The id of the invite's own identity, 32 bytes."""
        return self.identity.member_id

    @property
    def live(self) -> bool:
        """Whether somebody could still join with it."""
        return self.status is InviteStatus.OPEN

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The data rules in force for whoever has the link: none, unless it carries data."""
        return self.planned if self.carries_data else ()


Party = Member | InviteState
