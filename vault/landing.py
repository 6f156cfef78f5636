"""Appending acts: check, store with all effects, and only then believe (SPEC section 10.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Final

from protocol import acts
from protocol.acts import Act
from protocol.api import SubmitAct
from protocol.errors import Conflict, OutOfOrder, StaleAct
from protocol.ledger import Landed, act_leaf
from protocol.limits import LIMITS
from vault.callers import not_found
from vault.effects import effects_of, relied_on, rewrites_of
from vault.logs import Event, IdPrefix, log_event
from vault.names import expect_few_names
from vault.storage.base import Relied, Rewrite, Storage
from vault.under import closes, may_land
from vault.vaults import OpenVault

ERASURES_AT_ONCE: Final = 2
"""Of all vaults together: each holds up to twice `erase_bytes` (SPEC section 11) in memory."""


class Landing:
    """Appends acts to vaults of one store; `now` gives whole unix seconds.

    `swept` is called when an append left something in the store that is to be deleted.
    """

    def __init__(self, storage: Storage, now: Callable[[], int], swept: Callable[[], None]) -> None:
        self._storage = storage
        self._now = now
        self._swept = swept
        self._erasures = asyncio.Semaphore(ERASURES_AT_ONCE)

    async def land(self, vault: OpenVault, act: Act, sent: SubmitAct) -> int:
        """Append an act that its author sent, with its sides; return the index of its leaf.

        Obligations, in this order, the first of `VaultService.submit` being the caller's:
        (2) its number was not used before; the very same act again is answered as before;
        (3) the checkpoint it cites is recent, so that what has expired is expired, and its author
            has not written more names of people than the server keeps of one member;
        (4) the ledger takes it, and its sides are exactly what it must carry, proofs and all;
        (5) what it lists is staged, by its author under that upload, and what it erases from is
            what it says afterwards;
        (6) it is stored, with all its effects, before the ledger in memory has it.

        Raises:
            SealroomError: one of these fails; nothing changed.
        """
        leaf = act_leaf(sent.envelope)
        async with vault.lock:
            # (2)
            earlier = vault.place(act.author, act.number)
            if earlier is not None:
                return _same(vault, earlier, leaf)
            _expect_known(vault, act)
            due = vault.state.numbers.get(act.author, 0)
            if act.number != due:
                raise OutOfOrder(f"the author's next act is number {due}", hint="Sync first.")
            # (3)
            _expect_recent(act, self._now())
            expect_few_names(vault.state, act)
            # (4)
            admitted = await asyncio.to_thread(vault.check, leaf, sent.sides)
            async with self._room(act):
                # (5)
                relies = await self._relied_on(vault, act)
                rewrites = await self._rewrites(vault, act)
                # (6)
                retired, closed = admitted.retired.parts, await self._closed(vault, admitted.landed)
                effects = await asyncio.to_thread(
                    effects_of, admitted.landed, relies, rewrites, retired, closed
                )
                await self._storage.append(vault.id, vault.size, [admitted.stored], effects)
            vault.take(admitted)
        if effects.deletes:
            self._swept()
        index = admitted.landed.index
        log_event(Event.ACT_APPENDED, vault=IdPrefix.of(vault.id), index=index)
        return index

    def _room(self, act: Act) -> AbstractAsyncContextManager[None]:
        erases = isinstance(act.payload, acts.Erase | acts.Replace)
        return self._erasures if erases else nullcontext()

    async def _relied_on(self, vault: OpenVault, act: Act) -> tuple[Relied, ...]:
        payload = act.payload
        if not isinstance(payload, acts.Commit | acts.Replace | acts.Reencrypt):
            return ()
        staged = await self._storage.staged(vault.id, payload.upload, act.author)
        return (await asyncio.to_thread(relied_on, vault.state, payload, staged),)

    async def _rewrites(self, vault: OpenVault, act: Act) -> tuple[Rewrite, ...]:
        if not isinstance(act.payload, acts.Erase | acts.Replace):
            return ()
        read = partial(self._storage.read_block, vault.id)
        return await rewrites_of(vault.state, act.payload, read)

    async def _closed(self, vault: OpenVault, landed: Landed) -> tuple[tuple[bytes, bytes], ...]:
        """Return what is staged, and may land before this act and not after it."""
        before, after = landed.before, landed.after
        assert before is not None
        if not await asyncio.to_thread(closes, before, after):
            return ()
        staged = await self._storage.staged_under(vault.id)
        verdicts = await asyncio.to_thread(
            lambda: {under: may_land(after, under) for under in {under for _, under in staged}}
        )
        return tuple(each for each in staged if not verdicts[each[1]])


def _expect_known(vault: OpenVault, act: Act) -> None:
    """Tell whoever is nobody here, or is no longer, what strangers are told."""
    caller = vault.caller(act.author)
    if caller is None:
        raise not_found()
    caller.visible(vault.size)


def _expect_recent(act: Act, now: int) -> None:
    """Refuse a citation kept from long ago, by which an expired invite or offer would live on.

    The ledger reads no clock: there, only somebody's later citation ends what has expired.

    Raises:
        StaleAct: it is older than the table of limits allows.
    """
    if now - act.cited_time > LIMITS.citation_age_seconds:
        raise StaleAct("an act cites a checkpoint of long ago", hint="Sync, and try again.")


def _same(vault: OpenVault, index: int, leaf: bytes) -> int:
    if not vault.holds_leaf(index, leaf):
        raise Conflict(
            "that number of the author's was used for another act", hint="Sync, and sign it anew."
        )
    return index
