"""Under which epochs what is staged is sealed, and whether it can land yet (SPEC section 10.2).

Whoever was removed may have the key of what somebody else has staged. Once its epoch takes no
more, such a batch can never be shown: it goes then, rather than lie on the disk until it expires.
"""

from __future__ import annotations

from typing import Annotated, Final

from protocol.blocks import Address, Manifest
from protocol.errors import MalformedMessage, OutOfOrder
from protocol.ledger.contents import Collection
from protocol.ledger.state import State
from protocol.limits import LIMITS
from protocol.wire import Fixed, ListOf, Maybe, Uint, from_bytes, record, to_bytes

FIELDS: Final = 1 << 16


@record
class FieldEpoch:
    """A field's number, and the epoch that its block is sealed under."""

    field: Annotated[int, Uint(FIELDS - 1)]
    epoch: Annotated[int, Uint(LIMITS.epochs, 1)]


@record
class SealedUnder:
    """The epochs of a staged batch, and its collection, if it was committed before.

    An upload does not say which collection it is for: it may be any.
    """

    collection: Annotated[bytes | None, Maybe(Fixed(16))]
    epochs: Annotated[tuple[FieldEpoch, ...], ListOf(FieldEpoch, FIELDS, 1)]


def sealed_under(manifest: Manifest, collection: bytes | None) -> bytes:
    """Return what the store keeps beside a batch; equal for those that stand and fall as one."""
    epochs = tuple(FieldEpoch(ref.field, ref.epoch) for ref in manifest.blocks)
    return to_bytes(SealedUnder(collection, epochs))


def may_land(state: State, under: bytes) -> bool:
    """Say whether there is a collection in which all of these epochs take commits.

    There is none for what a store gives back as something else than was put there.
    """
    try:
        sealed = from_bytes(SealedUnder, under)
    except MalformedMessage:
        return False
    return any(
        all(_takes(state, where, each) for each in sealed.epochs)
        for where in state.collections.values()
        if sealed.collection in (None, where.id)
    )


def expect_may_land(state: State, under: bytes) -> None:
    """Refuse to keep what could not be shown.

    Raises:
        OutOfOrder: an epoch of it is not there, or takes no more.
    """
    if not may_land(state, under):
        raise OutOfOrder(
            "a batch under epochs that are not there, or take no more",
            hint="Someone who held a key was removed. Run 'sealroom rotate', then try again.",
        )


def closes(before: State, after: State) -> bool:
    """Say whether an epoch that took commits takes none any more."""
    if before.epochs is after.epochs:
        return False
    return not _open(before) <= _open(after)


def _takes(state: State, where: Collection, named: FieldEpoch) -> bool:
    if not where.has(named.field):
        return False
    epoch = state.epoch(Address(where.id, named.field, named.epoch))
    return epoch is not None and not epoch.tainted


def _open(state: State) -> frozenset[Address]:
    return frozenset(each.address for each in state.live_epochs() if not each.tainted)
