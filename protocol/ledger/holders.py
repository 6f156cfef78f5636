"""Who holds which key: derived from roles and rules, never listed (SPEC section 9.2).

A party (a member or an open invite) holds
- the people catalog, by role: owner and admins;
- a class catalog: owner and admins by role, others by any rule, in force or planned, that
  touches the class in that collection;
- a data field: the owner; admins and bidders by a rule in force.

Every epoch of a held field is held until it is retired. Acts that change what a party holds
carry exactly the entries that are newly held, which `newly_held` computes for the server and
clients alike.
"""

from __future__ import annotations

from protocol.acts import Role, Rule
from protocol.blocks import PEOPLE_FIELD, Address, is_catalog
from protocol.ledger.contents import Collection
from protocol.ledger.parties import Member, MemberStatus, Party
from protocol.ledger.state import State

CATALOG_ROLES = frozenset({Role.OWNER, Role.ADMIN, Role.KEYLESS_ADMIN})
DATA_ROLES = frozenset({Role.ADMIN, Role.BIDDER})
"""Roles that rules may give data to; the owner needs no rule."""


def holds(party: Party, collection: Collection, number: int) -> bool:
    """Say whether a live party holds a field's keys."""
    if not party.live:
        return False
    if party.role is Role.OWNER:
        return True
    if number == PEOPLE_FIELD:
        return party.role in CATALOG_ROLES
    field_class = collection.class_of(number)
    if is_catalog(number):
        if party.role in CATALOG_ROLES:
            return True
        named = (*party.rules, *party.planned)
        return any(
            rule.matches(collection.id, data_field, field_class)
            for data_field, its_class in enumerate(collection.classes)
            if its_class is field_class
            for rule in named
        )
    return any(rule.matches(collection.id, number, field_class) for rule in party.rules)


def covers(state: State, giver: Member, rule: Rule) -> bool:
    """Say whether the giver holds whatever the rule gives, now and in every later epoch."""
    if giver.role is Role.OWNER:
        return True
    if rule.collection is not None and rule.collection not in state.collections:
        return True  # it was retired: there is nothing left to give
    if rule.collection is not None and rule.field is not None:
        return holds(giver, state.collections[rule.collection], rule.field)
    return any(
        mine.field_class is rule.field_class and mine.collection in (None, rule.collection)
        for mine in giver.rules
    )


def is_keyed(role: Role) -> bool:
    """Say whether a role may create epochs and commit data."""
    return role in (Role.OWNER, Role.ADMIN)


def holders(state: State, collection: bytes, number: int) -> tuple[bytes, ...]:
    """Return the ids of every holder of a field, ascending."""
    where = state.collections[collection]
    return tuple(sorted(party.id for party in state.parties() if holds(party, where, number)))


def held(state: State, party_id: bytes) -> frozenset[Address]:
    """Return the address of every live epoch that a party holds."""
    party = state.party(party_id)
    if party is None or not party.live:
        return frozenset()
    return frozenset(
        epoch.address
        for (collection, number), known in state.epochs.items()
        if holds(party, state.collections[collection], number)
        for epoch in known
        if not epoch.retired
    )


def newly_held(before: State, after: State, party_id: bytes) -> tuple[Address, ...]:
    """Return what a party holds after a transition and did not before, ascending."""
    return tuple(sorted(held(after, party_id) - held(before, party_id)))


def may_fetch(state: State, member_id: bytes, address: Address) -> bool:
    """Say whether the server serves a member a block that is sealed under this epoch.

    Whoever may read it; and the owner and admins, keyless ones too, since erasing takes the
    block and no key. But not who held that key once and does no longer: it may have kept it.
    """
    if may_read(state, member_id, address.collection, address.field):
        return True
    member, where = state.members.get(member_id), state.collections.get(address.collection)
    if member is None or where is None or member.role not in CATALOG_ROLES:
        return False
    confirmed = member.status is MemberStatus.CONFIRMED
    return confirmed and where.has(address.field) and address not in member.kept


def may_read(state: State, member_id: bytes, collection: bytes, number: int) -> bool:
    """Say whether the server serves a member the blocks of a field.

    Holders, and while an offer is open its buyer, who verifies every cell before it accepts.
    """
    member = state.members.get(member_id)
    where = state.collections.get(collection)
    if member is None or where is None or not where.has(number) or not member.live:
        return False
    offered = state.offer is not None and state.offer.buyer == member_id
    return offered or holds(member, where, number)
