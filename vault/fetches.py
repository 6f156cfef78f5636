"""What a fetch of blocks comes to: which blocks, how many bytes, and what is observed of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

from protocol.api import LENGTH_BYTES, FetchBlocks
from protocol.blocks import Address, BlockRef, Manifest
from protocol.errors import Frozen, LimitExceeded
from protocol.ledger.holders import may_fetch
from protocol.ledger.state import State
from protocol.limits import LIMITS
from protocol.observations import ObservationBody
from vault.callers import not_found
from vault.vaults import OpenVault


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """The blocks of one admitted fetch, in the order in which they were asked for."""

    wanted: FetchBlocks
    blocks: tuple[tuple[bytes, BlockRef], ...]
    fields: tuple[int, ...]

    @property
    def length(self) -> int:
        """How many bytes the answer has."""
        return sum(LENGTH_BYTES + ref.length for _, ref in self.blocks)

    def observed(
        self, vault_id: bytes, member: bytes, request: bytes, time: int
    ) -> ObservationBody:
        """Return what the server says of this fetch."""
        batches = tuple(batch.batch for batch in self.wanted.batches)
        return ObservationBody(
            vault_id, member, request, time, self.wanted.collection, self.fields, batches
        )


def expect_bounded(wanted: FetchBlocks) -> None:
    """Refuse a request for more blocks than one answer holds, before anything is looked up."""
    if sum(len(batch.fields) for batch in wanted.batches) > LIMITS.fetch_blocks:
        raise LimitExceeded(
            f"at most {LIMITS.fetch_blocks} blocks are fetched at once", hint="Ask for fewer."
        )


def plan_fetch(vault: OpenVault, member: bytes, wanted: FetchBlocks) -> FetchPlan:
    """Return what a member is served of what it asks for, as the ledger stands (SPEC section 10.4).

    Raises:
        Frozen: nothing is served to anybody.
        NotFound: anything of it is not there, or not for this member to read; which, is not told.
        LimitExceeded: more bytes than one answer holds.
    """
    expect_thawed(vault.state)
    fields = tuple(sorted({number for batch in wanted.batches for number in batch.fields}))
    blocks: list[tuple[bytes, BlockRef]] = []
    for each in wanted.batches:
        committed = vault.committed(each.batch)
        if committed is None or committed.collection != wanted.collection:
            raise not_found()
        blocks += [(each.batch, ref) for ref in _refs(committed.manifest, each.fields)]
    # Of many blocks few are of different keys, and what a key's holders are is not soon said.
    for ref in {(ref.field, ref.epoch): ref for _, ref in blocks}.values():
        expect_served(vault.state, member, wanted.collection, ref)
    plan = FetchPlan(wanted, tuple(blocks), fields)
    if plan.length > LIMITS.fetch_bytes:
        raise LimitExceeded(
            f"at most {LIMITS.fetch_bytes} bytes are fetched at once", hint="Ask for fewer blocks."
        )
    return plan


def expect_thawed(state: State) -> None:
    """Check that blocks are served and taken at all.

    Raises:
        Frozen: the vault is frozen, or destroyed.
    """
    if state.ended:
        raise Frozen("the vault is destroyed")
    if state.frozen:
        raise Frozen("the vault is frozen", hint="The owner lifts it, with 'sealroom unfreeze'.")


def expect_served(state: State, member: bytes, collection: bytes, ref: BlockRef) -> None:
    """Check that a member is served a block, as things stand.

    Raises:
        NotFound: it is not.
    """
    if not may_fetch(state, member, Address(collection, ref.field, ref.epoch)):
        raise not_found()


def _refs(manifest: Manifest, fields: tuple[int, ...]) -> Iterator[BlockRef]:
    """Return the entries of some fields. A manifest's ascend, so a wide one is never walked."""
    for number in fields:
        at = bisect_left(manifest.blocks, number, key=attrgetter("field"))
        if at == len(manifest.blocks) or manifest.blocks[at].field != number:
            raise not_found()
        yield manifest.blocks[at]
