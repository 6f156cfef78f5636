"""Which fields wait for new keys, and what this member can do about it right now (SPEC 9.4).

New keys are made by the owner and by admins who hold the field, while the vault is open. A new
owner has one thing to do before: the seller knows every key that is in use, so all of them have to
go, and not only those that take no data. And whoever was offered the vault and did not take it over
has the keys of what is stored, until that is sealed anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from client.catalogs import name_of, read_people
from client.errors import Refused, Unreachable
from client.fields import tainted_fields
from client.removing import makes_keys, may_replace
from client.results.vaults import NewKeys, Way
from client.session import Session
from client.standing import phase_at
from protocol import acts
from protocol.acts import Role
from protocol.ledger.holders import held
from protocol.ledger.state import Phase, State


async def new_keys(session: Session) -> NewKeys:
    """Say how many fields wait, and what this member may do about it as things stand.

    Raises:
        VerificationFailed: the server sent other names than were committed.
    """
    state = session.state
    waiting = tainted_fields(state)
    me = state.members.get(session.identity.member_id)
    if me is None or not me.live or not makes_keys(session):
        return NewKeys(len(waiting), 0, None)
    due = me.role is Role.OWNER and seller_knows(state)
    offered = () if due else await _offered(session)
    if not may_replace(session):
        return NewKeys(len(waiting), 0, None, offered)
    if due:
        return NewKeys(len(waiting), len(waiting), Way.TAKEOVER)
    mine = sum(session.holds(*each) for each in waiting)
    return NewKeys(len(waiting), mine, Way.ROTATE if mine else None, offered)


def seller_knows(state: State) -> bool:
    """Say whether a key is in use that whoever sold the vault has had."""
    if not state.handovers:
        return False
    sold = state.handovers[-1].accepted_at
    return any(epoch.made_at < sold for epoch in state.live_epochs())


async def _offered(session: Session) -> tuple[str, ...]:
    """Return what those are called who were offered the vault in vain, and have keys in use."""
    known = dict.fromkeys(offered_in_vain(session))
    if not known:
        return ()
    try:
        people = await read_people(session)
    except (Refused, Unreachable):  # what the command was for is done, and needs no names
        return tuple(each.hex()[:16] for each in known)
    state = session.state
    return tuple(name_of(state, people, each) or each.hex()[:16] for each in known)


def offered_in_vain(session: Session) -> Iterator[bytes]:
    """Yield whom an offer gave keys that are in use and that it does not hold, oldest first.

    An offer gives its buyer every key there is. One that is open is not in vain yet.
    """
    state = session.state
    over = phase_at(state, session.citation().time) in (Phase.OPEN, Phase.FROZEN)
    settled = {each.offer for each in state.handovers}
    if state.offer is not None and not over:
        settled.add(state.offer.index)
    for index, act in enumerate(session.believed.acts):
        if act is None or not isinstance(act.payload, acts.Offer) or index in settled:
            continue
        buyer = _newest(state, act.payload.buyer)
        given = {epoch.address for epoch in state.live_epochs() if epoch.made_at < index}
        if given - held(state, buyer):
            yield buyer


def _newest(state: State, member: bytes) -> bytes:
    """Return the id that a member has by now, if it replaced its identity."""
    while (successor := state.members[member].successor) is not None:
        member = successor
    return member
