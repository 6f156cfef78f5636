"""Serving blocks: admit, observe in the log, and only then send (SPEC section 10.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from protocol.api import LENGTH_BYTES, FetchBlocks
from protocol.blocks import BlockRef
from protocol.errors import Moved
from vault.checkpoints import SignedObservation
from vault.fetches import FetchPlan, expect_served, expect_thawed, plan_fetch
from vault.storage.base import BlockKey, Storage, StorageDamaged, StorageFailed, StoredLeaf
from vault.tls import CheckpointKey
from vault.unbroken import Unbroken
from vault.vaults import OpenVault, Waiting

Pieces = AsyncGenerator[bytes, None]


class BlockServer:
    """Serves blocks of vaults of one store; `now` gives whole unix seconds."""

    def __init__(
        self, storage: Storage, key: CheckpointKey, now: Callable[[], int], unbroken: Unbroken
    ) -> None:
        self._storage = storage
        self._key = key
        self._now = now
        self._unbroken = unbroken

    async def fetch(
        self, vault: OpenVault, keyid: bytes, request: bytes, wanted: FetchBlocks
    ) -> tuple[int, Pieces]:
        """Admit a fetch, append its observation, and return the answer's length and pieces.

        Whether the member may read is judged where the observation lands, and again before
        each block: a removal cuts off what is still under way (S10). `request` is the hash of
        the signed request.

        Raises:
            NotFound, Frozen, LimitExceeded: as `plan_fetch`.
        """
        plans: list[FetchPlan] = []

        def admit() -> SignedObservation:
            plan = plan_fetch(vault, keyid, wanted)
            plans.append(plan)
            body = plan.observed(vault.id, keyid, request, self._now())
            return SignedObservation.of(body, self._key)

        waiting = Waiting(admit, asyncio.get_running_loop().create_future())
        vault.waiting.append(waiting)
        await self._unbroken.run(self._append_observations(vault))
        await waiting.answer
        (plan,) = plans
        return plan.length, self._pieces(vault, keyid, plan)

    async def _append_observations(self, vault: OpenVault) -> None:
        """Append the observations of all fetches that wait, at once: they share one write."""
        async with vault.lock:
            group, vault.waiting = vault.waiting, []
            admitted: list[tuple[Waiting, SignedObservation]] = []
            for waiting in group:
                try:
                    admitted.append((waiting, waiting.admit()))
                except Exception as error:
                    waiting.tell(error)
            try:
                await self._append_all(vault, [observation for _, observation in admitted])
            except Exception as error:
                for waiting, _ in admitted:
                    waiting.tell(error)
            for waiting, _ in admitted:
                waiting.tell(None)

    async def _append_all(self, vault: OpenVault, observations: list[SignedObservation]) -> None:
        if not observations:
            return
        stored = [
            StoredLeaf(index, one.leaf, (), one.stored)
            for index, one in enumerate(observations, vault.size)
        ]
        await self._storage.append(vault.id, vault.size, stored)
        for leaf in stored:
            vault.take(vault.check(leaf.leaf, ()))

    async def _pieces(self, vault: OpenVault, keyid: bytes, plan: FetchPlan) -> Pieces:
        collection = plan.wanted.collection
        for batch, ref in plan.blocks:
            _expect_current(vault)
            expect_thawed(vault.state)
            expect_served(vault.state, keyid, collection, ref)
            block = await self._storage.read_block(vault.id, _key(batch, ref))
            if block is None:
                # An act that replaced it may be stored, and about to be taken.
                async with vault.lock:
                    _expect_current(vault)
                    expect_unchanged(vault, batch, ref)
            if block is None or len(block) != ref.length:
                raise StorageDamaged("a block is not as its manifest lists it")
            yield len(block).to_bytes(LENGTH_BYTES, "big")
            yield block


def _key(batch: bytes, ref: BlockRef) -> BlockKey:
    return BlockKey(batch, ref.field, ref.sha256)


def _expect_current(vault: OpenVault) -> None:
    """Check that the vault still hears of removals.

    Raises:
        StorageFailed: it fell behind its store, and was loaded anew for whoever asks next.
    """
    if vault.forgotten:
        raise StorageFailed("the vault was loaded anew", hint="Ask again.")


def expect_unchanged(vault: OpenVault, batch: bytes, ref: BlockRef) -> None:
    """Say of a block that is no longer there whether an act has replaced it meanwhile.

    Raises:
        Moved: one has.
    """
    committed = vault.committed(batch)
    if committed is None or ref not in committed.manifest.blocks:
        raise Moved("a block was replaced while it was being sent", hint="Sync, and ask again.")
