"""Which fields wait for new keys, and what this member can do about it right now (SPEC 9.4).

New keys are made by the owner and by admins who hold the field, while the vault is open. A new
owner has one thing to do before: the seller knows every key that is in use, so all of them have to
go, and not only those that take no data.
"""

from __future__ import annotations

from client.fields import tainted_fields
from client.removing import may_replace
from client.results import NewKeys, Way
from client.session import Session
from protocol.acts import Role
from protocol.ledger.state import State


def new_keys(session: Session) -> NewKeys:
    """Say how many fields wait, and what this member may do about it as things stand."""
    state = session.state
    waiting = tainted_fields(state)
    me = state.members.get(session.identity.member_id)
    if me is None or not me.live or not may_replace(session):
        return NewKeys(len(waiting), 0, None)
    if me.role is Role.OWNER and seller_knows(state):
        return NewKeys(len(waiting), len(waiting), Way.TAKEOVER)
    mine = sum(session.holds(*each) for each in waiting)
    return NewKeys(len(waiting), mine, Way.ROTATE if mine else None)


def seller_knows(state: State) -> bool:
    """Say whether a key is in use that whoever sold the vault has had."""
    if not state.handovers:
        return False
    sold = state.handovers[-1].accepted_at
    every = (epoch for known in state.epochs.values() for epoch in known)
    return any(epoch.made_at < sold and not epoch.retired for epoch in every)
