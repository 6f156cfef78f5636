"""What confirming a member puts in force, and who planned it (SPEC section 9.3)."""

from __future__ import annotations

from protocol import acts
from protocol.acts import Rule
from protocol.blocks import FieldClass
from protocol.ledger.holders import covers
from protocol.ledger.parties import InviteState, Member, MemberStatus, Party
from protocol.ledger.state import State
from protocol.ledger.transitions import TRANSITIONS


def planner_of(state: State, party: Party) -> Member | None:
    """Return who planned a party's grants: its inviter, as whom it is here now; None for a founder.

    Whoever rotated its identity since is the new one.
    """
    invite = party if isinstance(party, InviteState) else state.invites.get(party.invite or b"")
    if invite is None:
        return None
    planner = state.members[invite.inviter]
    while planner.successor is not None:
        planner = state.members[planner.successor]
    return planner


def beyond_planner(state: State, party: Party) -> tuple[FieldClass, ...]:
    """Return the classes of which rules are planned that the planner itself could not grant now.

    An invite may plan anything, for nothing is given by it. Ascending, each once.
    """
    planner = planner_of(state, party)
    if planner is None:
        return ()
    grants = TRANSITIONS[acts.Grant].roles
    may = planner.status is MemberStatus.CONFIRMED and planner.role in grants
    beyond = [rule for rule in party.planned if not (may and covers(state, planner, rule))]
    return tuple(sorted({class_of(state, rule) for rule in beyond}))


def class_of(state: State, rule: Rule) -> FieldClass:
    """Return the class of what a rule gives; the highest there is where its collection is gone."""
    if rule.field_class is not None:
        return rule.field_class
    assert rule.collection is not None
    assert rule.field is not None
    where = state.collections.get(rule.collection)
    return FieldClass.CORE if where is None else where.class_of(rule.field)
