"""Who asks: what a key id is to a vault at this moment, and so what it may see (SPEC section 10.2).

- a live member reads all of the log; what else it may do goes by its role and the ledger;
- a former member reads the log up to its removal, which shows what became of its acts;
- an open invite reads all of the log and joins; its access key reads and does nothing else;
- whoever custodians released shares to reads all of the log, until there is a new owner's key;
- a closed invite may send its own join again while that member is there, and is nobody
  otherwise;
- nobody is told nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.acts import Role
from protocol.errors import LimitExceeded, NotAuthorised, NotFound
from protocol.ledger.holders import held
from protocol.ledger.parties import InviteState, Member, MemberStatus
from protocol.ledger.state import State
from protocol.limits import KIB

COMMITTERS: Final = frozenset({Role.OWNER, Role.ADMIN, Role.KEYLESS_ADMIN})
OBSERVERS: Final = COMMITTERS | {Role.AUDITOR}
ATTESTATION_BYTES: Final = 4 * KIB
"""More than an attestation has, and little enough to read from somebody who was removed."""
ACT_BYTES: Final = 512 * KIB
"""More than any act has beside its sides that those send who commit nothing.

The longest is the acceptance of a vault with as many collections as there may be.
"""
SHARE_BYTES: Final = 320
"""More than an epoch's share takes in an act's sides: its part of wraps, and 32 bytes in a box."""


def not_found() -> NotFound:
    """Return the one refusal of whatever is absent, or not for this key (H11)."""
    return NotFound(
        "there is nothing here for this key",
        hint="Check the vault's id and the identity: whoever is not a member is told nothing.",
    )


@dataclass(frozen=True, slots=True)
class Caller:
    """What a key id stands for in one state of a vault: a member, an invite or its access key.

    Or somebody who rebuilds the owner's seed: then it is neither a member nor an invite.
    """

    id: bytes
    member: Member | None = None
    invite: InviteState | None = None
    rebuilds: bool = False

    def visible(self, size: int) -> int:
        """Return how many of the log's first leaves this caller may read.

        Raises:
            NotFound: an invite that is closed.
        """
        if self.member is not None:
            removed = self.member.removed_at
            return size if removed is None else removed + 1
        if not self.rebuilds and (self.invite is None or not self.invite.live):
            raise not_found()
        return size

    @property
    def former(self) -> bool:
        """Whether this is somebody who was a member."""
        return self.member is not None and not self.member.live

    def expect_author(self, length: int) -> None:
        """Check that this may sign an act of so many bytes, with all that is sent beside it.

        Live members and open invites may; a former member attests, which is short.

        Raises:
            NotAuthorised: a former member who sends more, an access key, or who rebuilds a seed.
            NotFound: an invite that is closed.
        """
        if self.member is None:
            self.visible(0)
            if self.invite is None or self.id != self.invite.id:
                raise NotAuthorised("this key reads the log, and nothing else")
        elif self.former and length > ATTESTATION_BYTES:
            raise _removed()

    def expect_plausible(self, state: State, length: int) -> None:
        """Check that this may have an act of so many bytes to send, with all that goes beside it.

        Who commits may send as much as the path takes. Whoever else signs passes on what it
        holds at most, to a new identity of its own: the place of a large body is not for them.

        Raises:
            LimitExceeded: it is longer than that.
        """
        if length <= ACT_BYTES or self.commits:
            return
        most = ACT_BYTES + SHARE_BYTES * len(held(state, self.id))
        if length > most:
            raise LimitExceeded(f"an act of {length} bytes, this key's have at most {most}")

    @property
    def commits(self) -> bool:
        """Whether this is somebody who may commit: a confirmed owner or admin of either kind."""
        member = self.member
        if member is None or member.status is not MemberStatus.CONFIRMED:
            return False
        return member.role in COMMITTERS

    def expect_role(self, roles: frozenset[Role]) -> Member:
        """Return the member, who is confirmed, was not removed, and has one of these roles.

        Raises:
            NotAuthorised: it is something else.
            NotFound: an invite that is closed.
        """
        member = self.member
        if member is None:
            self.visible(0)
            raise NotAuthorised("this key reads the log, and nothing else but to join")
        if not member.live:
            raise _removed()
        if member.role not in roles:
            raise NotAuthorised(f"the role {member.role} may not do this")
        if member.status is not MemberStatus.CONFIRMED:
            raise NotAuthorised("not before being confirmed")
        return member


def _removed() -> NotAuthorised:
    return NotAuthorised("not after being removed from the vault")


def caller_of(state: State, keyid: bytes, behind: bytes | None) -> Caller | None:
    """Return what a key id stands for; `behind` is the invite whose access key has this id."""
    if keyid in state.members:
        return Caller(keyid, member=state.members[keyid])
    if state.recovery is not None and keyid in state.recovery.rebuilders:
        return Caller(keyid, rebuilds=True)
    invite = state.invites.get(keyid if behind is None else behind)
    return None if invite is None else Caller(keyid, invite=invite)


def brought(state: State, keyid: bytes) -> bytes | None:
    """Return who is a live member by the invite with this key, if anybody."""
    members = state.members.values()
    return next((each.id for each in members if each.invite == keyid and each.live), None)
