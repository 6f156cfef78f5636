"""How much one member may have among the names of people (SPEC section 10.2).

The ledger sets no bound, and any admin may write there: what nobody goes by, too, which
everybody who may know names then fetches and opens.
"""

from __future__ import annotations

from itertools import chain
from typing import Final

from protocol import acts
from protocol.acts import Act
from protocol.blocks import PEOPLE_COLLECTION, Manifest
from protocol.errors import LimitExceeded
from protocol.ledger.contents import PendingUpload
from protocol.ledger.state import State
from protocol.limits import MIB

NAMES_BYTES: Final = 4 * MIB
"""Sealed bytes: some twenty thousand names, of one member or who it was before."""


def expect_few_names(state: State, act: Act) -> None:
    """Refuse names by whom has too many here already.

    Raises:
        LimitExceeded: with these, its names have more bytes than this server keeps.
    """
    payload = act.payload
    if not isinstance(payload, acts.Commit | acts.Replace):
        return
    if payload.collection != PEOPLE_COLLECTION:
        return
    authors = state.lineage(act.author)
    there = state.collections[PEOPLE_COLLECTION].batches
    pending = (
        each.batches
        for each in state.pending.values()
        if isinstance(each, PendingUpload) and each.collection == PEOPLE_COLLECTION
    )
    known = (each.manifest for each in chain(there, *pending) if each.author in authors)
    if sum(map(_bytes, chain(known, payload.manifests))) > NAMES_BYTES:
        raise LimitExceeded(
            f"names of people by one member have {NAMES_BYTES:,} bytes at most on this server",
            hint="'sealroom erase --names-by' takes away those that nobody goes by.",
        )


def _bytes(manifest: Manifest) -> int:
    return sum(ref.length for ref in manifest.blocks)
