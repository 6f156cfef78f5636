"""What a server can answer that is not so, beside the log: blocks, acts, and news of itself.

The homes that it is told to know the whole log. So nothing new is true in it, and a command that is
lied to has no reason to keep anything.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from client.errors import Refused
from client.transport import Transport
from protocol import api
from protocol.blocks import is_catalog
from protocol.errors import (
    Frozen,
    IntegrityError,
    ManifestMismatch,
    Rollback,
    SealroomError,
    Unsupported,
    WeakKey,
)
from tests.liars import Deaf, Lie
from tests.lied_to import BATCHES, ROWS
from tests.readers import swap_cells

Blocks = list[bytes]
Tamper = Callable[[Blocks], Blocks]
CELLS: Final = ROWS // BATCHES


class OtherBlocks(Lie):
    """Sends other blocks than were asked for: of data, or of names."""

    def __init__(self, tamper: Tamper, *, names: bool) -> None:
        super().__init__()
        self.tamper, self.names = tamper, names
        self.lies = 0

    async def fetch(
        self,
        honest: Transport,
        vault_id: bytes,
        request: api.FetchBlocks,
        sizes: tuple[int, ...],
    ) -> AsyncGenerator[bytes, None]:
        blocks = [each async for each in honest.fetch(vault_id, request, sizes)]
        fields = [number for batch in request.batches for number in batch.fields]
        # Names come first in an answer that has both.
        first = sum(map(is_catalog, fields))
        names, data = blocks[:first], blocks[first:]
        if self.names:
            told = [*self.tamper(names), *data] if names else blocks
        else:
            told = [*names, *self.tamper(data)] if len(data) >= 2 * BATCHES else blocks
        self.lies += told != blocks
        for block in told:
            yield block


def at(index: int, change: Callable[[bytes], bytes]) -> Tamper:
    def tamper(blocks: Blocks) -> Blocks:
        return [*blocks[:index], change(blocks[index]), *blocks[index:][1:]]

    return tamper


def swapped(one: int, other: int) -> Tamper:
    def tamper(blocks: Blocks) -> Blocks:
        told = blocks.copy()
        told[one], told[other] = blocks[other], blocks[one]
        return told

    return tamper


def flipped(block: bytes) -> bytes:
    return block[:-1] + bytes([block[-1] ^ 1])


def lies_about_data(fields: int) -> dict[str, Tamper]:
    """Return the lies about an answer with so many blocks of each batch."""
    return {
        "two cells exchanged": at(0, lambda block: swap_cells(block, CELLS, 0, 2)),
        "two fields of a batch exchanged": swapped(0, 1),
        "two batches of a field exchanged": swapped(0, fields),
        "the first batch sent again for the second": lambda all: (
            all[:fields] + all[:fields] + all[2 * fields :]
        ),
        "batches in reverse": lambda all: all[::-1],
        "a batch moved to the end": lambda all: all[fields:] + all[:fields],
        "the last block dropped": lambda all: all[:-1],
        "the last batch dropped": lambda all: all[:-fields],
        "a block in the middle dropped": lambda all: all[:1] + all[2:],
        "every block dropped": lambda _: [],
        "a block sent twice": lambda all: [all[0], *all],
        "a block more": lambda all: [*all, all[-1]],
        "a block cut short": at(1, lambda block: block[:-40]),
        "a block longer": at(1, lambda block: block + block[-40:]),
        "a block of nothing": at(1, lambda _: b""),
        "one bit of the first cell": at(0, flipped),
        "one bit of the last cell": at(-1, flipped),
        "one bit of a length": at(0, lambda block: bytes([block[0] ^ 16]) + block[1:]),
    }


DATA_LIES: Final = tuple(lies_about_data(2))

NAME_LIES: Final[dict[str, Tamper]] = {
    "no names": lambda _: [],
    "one bit of a name": at(0, flipped),
    "a name cut short": at(0, lambda block: block[:-16]),
    "other names": at(0, lambda block: bytes(len(block))),
    "names backwards": lambda all: [block[::-1] for block in all],
}


class SaysFrozen(Lie):
    """Says of names, once so many blocks of them were sent, that the vault is frozen."""

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self.left = after
        self.lies = 0

    async def fetch(
        self,
        honest: Transport,
        vault_id: bytes,
        request: api.FetchBlocks,
        sizes: tuple[int, ...],
    ) -> AsyncGenerator[bytes, None]:
        fields = [number for batch in request.batches for number in batch.fields]
        async with aclosing(honest.fetch(vault_id, request, sizes)) as blocks:
            async for block in blocks:
                if all(map(is_catalog, fields)):
                    if self.left == 0:
                        self.lies += 1
                        raise Refused("the vault is frozen", code=Frozen.code)
                    self.left -= 1
                yield block


# --- what became of an act


class Elsewhere(Lie):
    """Lands an act nowhere, and says that it is where another one is."""

    async def submit(self, honest: Transport, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        page = await honest.log_page(vault_id, 0)
        return api.Submitted(1, page.checkpoint, None)


class LongBefore(Lie):
    """Says of an act that it landed where the log has not come to yet."""

    async def submit(self, honest: Transport, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        page = await honest.log_page(vault_id, 0)
        return api.Submitted(2**31, page.checkpoint, None)


@dataclass(frozen=True)
class AnswerLie:
    """A lie, and what whoever is told it calls it."""

    make: Callable[[], Lie]
    error: type[SealroomError]


ACT_LIES: Final = {
    "an act taken and forgotten": AnswerLie(Deaf, Rollback),
    "an act said to be where another is": AnswerLie(Elsewhere, Rollback),
    "an act said to be where nothing is": AnswerLie(LongBefore, Rollback),
}


# --- what the server says of itself, and of what it served


class OtherInfo(Lie):
    """Says something else of itself."""

    def __init__(self, change: Callable[[api.ServerInfo], api.ServerInfo]) -> None:
        super().__init__()
        self.change = change

    async def server_info(self, honest: Transport) -> api.ServerInfo:
        return self.change(await honest.server_info())


INFO_LIES: Final = {
    "only a version before this one": AnswerLie(
        lambda: OtherInfo(lambda info: replace(info, versions=(0,))), Unsupported
    ),
    "a key that signs everything": AnswerLie(
        lambda: OtherInfo(lambda info: replace(info, checkpoint_key=b"\x01" + bytes(31))), WeakKey
    ),
}

Observed = tuple[api.Observation, ...]


class OtherObservations(Lie):
    """Shows other reads than it signed for in the log."""

    def __init__(self, change: Callable[[Observed], Sequence[api.Observation]]) -> None:
        super().__init__()
        self.change = change

    async def observations(
        self, honest: Transport, vault_id: bytes, start: int
    ) -> api.ObservationsPage:
        page = await honest.observations(vault_id, start)
        return replace(page, observations=tuple(self.change(page.observations)))


def other_reads(all: Observed) -> Sequence[api.Observation]:
    """Show each read at the place of another."""
    turned = all[1:] + all[:1]
    return [
        replace(one, salt=other.salt, envelope=other.envelope)
        for one, other in zip(all, turned, strict=True)
    ]


READ_LIES: Final = {
    "a read kept secret": AnswerLie(
        lambda: OtherObservations(lambda all: (all[0], *all[2:])), ManifestMismatch
    ),
    "every read kept secret": AnswerLie(lambda: OtherObservations(lambda _: ()), ManifestMismatch),
    "reads by others than who read": AnswerLie(
        lambda: OtherObservations(other_reads), IntegrityError
    ),
}
