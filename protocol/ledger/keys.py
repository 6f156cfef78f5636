"""Transitions on collections, their fields and their keys (SPEC section 9.4)."""

from __future__ import annotations

from dataclasses import replace

from protocol import acts
from protocol.blocks import PEOPLE_COLLECTION
from protocol.errors import Conflict, LimitExceeded, NotAuthorised, OutOfOrder
from protocol.ledger.contents import Collection, Epoch
from protocol.ledger.holders import holds
from protocol.ledger.state import State
from protocol.limits import LIMITS


def define_collection(
    state: State, act: acts.Act, payload: acts.DefineCollection, at: int
) -> State:
    """Add a collection with its fields' classes; it takes data once its epochs exist."""
    if payload.collection in state.collections or payload.collection in state.retired:
        raise Conflict("a collection with that id exists, or existed")
    if len(state.collections) > LIMITS.collections:
        raise LimitExceeded("too many collections")
    made = Collection(payload.collection, payload.classes, definer=act.author)
    return state.with_collection(made)


def retire_collection(
    state: State, act: acts.Act, payload: acts.RetireCollection, at: int
) -> State:
    """End a collection: nothing of it is left but its name in the log."""
    author, where = state.members[act.author], state.collections.get(payload.collection)
    if where is None or where.id == PEOPLE_COLLECTION:
        raise OutOfOrder("a collection that is not there, or that of people")
    if not all(holds(author, where, number) for number in where.fields):
        raise NotAuthorised("who retires a collection holds all of it", hint="Ask the owner.")
    members = {
        key: replace(each, kept=frozenset(a for a in each.kept if a.collection != where.id))
        for key, each in state.members.items()
    }
    return replace(
        state.without_pending(lambda each: each.collection == where.id),
        members=members,
        collections={key: each for key, each in state.collections.items() if key != where.id},
        epochs={key: each for key, each in state.epochs.items() if key[0] != where.id},
        retired=state.retired | {where.id},
    )


def create_epoch(state: State, act: acts.Act, payload: acts.CreateEpoch, at: int) -> State:
    """Add the next epoch of each named field; its creator holds the field, or learns nothing."""
    author = state.members[act.author]
    epochs = dict(state.epochs)
    for definition in payload.epochs:
        where = state.collections.get(definition.collection)
        if where is None or not where.has(definition.field):
            raise OutOfOrder("an epoch for a field that is not there")
        if not holds(author, where, definition.field):
            raise NotAuthorised("who creates an epoch holds its field")
        key = (definition.collection, definition.field)
        known = epochs.get(key, ())
        if definition.epoch != len(known) + 1:
            raise OutOfOrder(f"the field's next epoch is {len(known) + 1}")
        epochs[key] = (*known, Epoch(definition, author.id, at))
    return replace(state, epochs=epochs)


def retire_epoch(state: State, act: acts.Act, payload: acts.RetireEpoch, at: int) -> State:
    """End epochs of which nothing is left: no block lies under them, and a newer one exists."""
    author = state.members[act.author]
    for named in payload.epochs:
        address = named.address
        epoch = state.epoch(address)
        if epoch is None or epoch.retired:
            raise OutOfOrder(f"no epoch to retire at {address}")
        if epoch is state.newest(address.collection, address.field):
            raise OutOfOrder(
                f"the newest epoch of its field is not retired ({address})",
                hint="Run 'sealroom rotate' first.",
            )
        if not holds(author, state.collections[address.collection], address.field):
            raise NotAuthorised("who retires an epoch holds its field")
    gone = frozenset(named.address for named in payload.epochs)
    for collection in {address.collection for address in gone}:
        lying = gone & state.collections[collection].addresses()
        if lying:
            raise OutOfOrder(
                f"blocks lie under an epoch that is to be retired ({min(lying)})",
                hint="Run 'sealroom rotate --reencrypt' again.",
            )
    return state.without_epochs(gone)
