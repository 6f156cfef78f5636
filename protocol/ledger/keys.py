"""Transitions on collections' fields and their keys (SPEC section 9.4)."""

from __future__ import annotations

from dataclasses import replace

from protocol import acts
from protocol.errors import Conflict, LimitExceeded, NotAuthorised, OutOfOrder
from protocol.ledger.holders import holds
from protocol.ledger.state import Collection, Epoch, State
from protocol.limits import LIMITS


def define_collection(
    state: State, act: acts.Act, payload: acts.DefineCollection, at: int
) -> State:
    """Add a collection with its fields' classes; it takes data once its epochs exist."""
    if payload.collection in state.collections:
        raise Conflict("a collection with that id exists")
    if len(state.collections) > LIMITS.collections:
        raise LimitExceeded("too many collections")
    made = Collection(payload.collection, payload.classes)
    return replace(state, collections={**state.collections, made.id: made})


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
