"""Whose words name a collection and its fields (SPEC section 7.4).

Every admin with keys can write to every class catalog. Were all of it believed, one could exchange
two names, and wait for the owner to grant by name what the admin does not hold.
"""

from __future__ import annotations

from protocol.ledger.contents import Batch, Collection
from protocol.ledger.state import State


class Naming:
    """Which rows name a collection, by the log as it is.

    Those of the owner and of former ones; and of whoever defined it, those of its first upload:
    later it may hold less of it, and others may have begun to go by the names.
    """

    def __init__(self, state: State, where: Collection) -> None:
        self._owners = _owners(state)
        mine = (each.upload for each in where.batches if _defined(state, where, each.author))
        self._first = next(mine, None)

    def counts(self, batch: Batch) -> bool:
        """Say whether what a batch of the collection's catalogs says names anything."""
        return batch.author in self._owners or batch.upload == self._first


def is_familiar(state: State, where: Collection, member_id: bytes) -> bool:
    """Say whether a member may take a collection for what it is called, by its name alone.

    So it may if the owner defined it or a former one, or if it did so itself, or has committed to
    it before: it has seen what classes the fields have there. Each counts under all of its ids.
    """
    mine = state.lineage(member_id)
    if where.definer in _owners(state) or where.definer in mine:
        return True
    return any(batch.author in mine for batch in where.batches if not batch.manifest.is_catalog)


def _owners(state: State) -> set[bytes]:
    sellers = (each.seller for each in state.handovers)
    return {each for owner in (state.owner, *sellers) for each in state.lineage(owner)}


def _defined(state: State, where: Collection, author: bytes) -> bool:
    """Say whether an author defined a collection, as itself or as who it was before."""
    return where.definer in state.lineage(author)
