"""Who could have removed somebody, and has said nothing in this log for long (SPEC section 10.5).

What the owner last signed bounds for others how long a removal can be hidden from them. Nothing
bounds it for the owner, nor for whoever else signs heads: an admin that keeps silent is shown in
the same way as one whose acts are hidden. So they are named. Each act of an author has the next
number, so one that is seen here proves that none before it is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping

from client.catalogs import name_of, read_people
from client.results.vaults import Unheard
from client.session import Session
from protocol import acts
from protocol.ledger.parties import Member, MemberStatus
from protocol.ledger.state import State
from protocol.ledger.transitions import TRANSITIONS


async def unheard(session: Session) -> tuple[Unheard, ...]:
    """Return the other members who may remove people and were not heard of within the policy's age.

    Whoever may not remove anybody itself is told of nobody: it goes by the owner.
    """
    state, me = session.state, session.state.members[session.identity.member_id]
    if not _may_remove(me):
        return ()
    others = [each for each in state.members.values() if each.id != me.id and _may_remove(each)]
    newest: dict[bytes | None, int] = {
        act.author: act.cited.time
        for act in session.believed.acts
        if act is not None and act.cited is not None
    }
    people = await read_people(session)
    silent = {each.id: int(session.clock()) - _heard(state, newest, each.id) for each in others}
    return tuple(
        Unheard(each.hex(), name_of(state, people, each), seconds)
        for each, seconds in silent.items()
        if seconds > state.policy.head_seconds
    )


def _heard(state: State, newest: Mapping[bytes | None, int], member_id: bytes) -> int:
    """Return when a member last said something, under any of its ids, or joined as its invite."""
    ids = state.lineage(member_id)
    invites = [state.members[each].invite for each in ids]
    return max(newest[each] for each in (*ids, *invites) if each in newest)


def _may_remove(member: Member) -> bool:
    """Say whether a member's removals of others land: nobody else's can be hidden."""
    return member.status is MemberStatus.CONFIRMED and member.role in TRANSITIONS[acts.Revoke].roles
