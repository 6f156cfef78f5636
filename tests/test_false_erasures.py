"""Erasures by an admin who lies, on a server that lets it through (THREATS: V3, Z7).

An erasure is signed with the hashes of what it leaves, and needs no key. So whoever erases could
name one record and empty another, or change it. The honest server makes the blocks itself, and
refuses that; here it does not, and only the readers are left to notice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from client.errors import Refused
from client.session import saying
from client.transport import Transport
from protocol import api
from protocol.blocks import empty_cells
from protocol.errors import IntegrityError
from tests.company import company
from tests.erasures import Blocks, blocks_of, data_batch, emptied, erasing
from tests.liars import ForgedLog, Forger
from tests.readers import swap_cells

Make = Callable[[bytes], bytes]
"""Makes, of the first field's block as it was, what is said to be left of it."""


class Erasing(Forger):
    """Serves the blocks that an accomplice made, beside a log that says so."""

    def __init__(self, log: ForgedLog, blocks: Blocks) -> None:
        super().__init__(log)
        self.blocks = blocks

    async def fetch(
        self,
        honest: Transport,
        vault_id: bytes,
        request: api.FetchBlocks,
        sizes: tuple[int, ...],
    ) -> AsyncGenerator[bytes, None]:
        numbers = [number for batch in request.batches for number in batch.fields]
        if set(numbers) <= self.blocks.keys():
            for number in numbers:
                yield self.blocks[number]
        else:
            async for block in honest.fetch(vault_id, request, sizes):
                yield block


def another_cell(block: bytes) -> bytes:
    return block[:-1] + bytes([block[-1] ^ 1])


LIES: dict[str, Make] = {
    "a neighbour goes too": lambda block: empty_cells(block, 3, {1, 2}),
    "a neighbour goes instead": lambda block: empty_cells(block, 3, {2}),
    "nothing goes": lambda block: block,
    "a neighbour is changed": lambda block: another_cell(empty_cells(block, 3, {1})),
    "neighbours change places": lambda block: swap_cells(empty_cells(block, 3, {1}), 3, 0, 2),
}


@pytest.mark.threat("V3")
@pytest.mark.threat("Z7")
@pytest.mark.parametrize("lie", [None, *LIES])
async def test_an_erasure_takes_exactly_what_it_names_and_changes_nothing(
    tmp_path: Path, lie: str | None
) -> None:
    async with company(tmp_path) as cast:
        blocks = await blocks_of((await cast("olga")).session)
        left = emptied(blocks, {1})
        if lie is not None:
            left[0] = LIES[lie](blocks[0])
        ada = await cast("ada")
        log = await ForgedLog.of(cast.lab, ada.session)
        log.take(log.spoken(ada.identity, erasing(log.state, {1}, left)))
        _, batch = data_batch(log.state)
        reader = await cast.actor("olga", Erasing(log, left))
        if lie is None:
            assert (await reader.vault.read("customers"))["name"].to_pylist() == ["Mo", "Ed"]
            return
        with reader.catches(IntegrityError, match=batch.id.hex(), but="learned"):
            await reader.vault.read("customers")
        # What was not touched reads as ever; and the honest server has none of it.
        assert (await reader.vault.read("customers", fields=["iban"])).num_rows == 2
        with pytest.raises(Refused) as caught:
            await ada.session.act(saying(erasing(ada.session.state, {1}, left)))
        assert caught.value.refusal == "refused"


@pytest.mark.threat("V3")
async def test_what_was_erased_is_not_given_back_by_a_later_erasure(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        blocks = await blocks_of((await cast("olga")).session)
        ada = await cast("ada")
        log = await ForgedLog.of(cast.lab, ada.session)
        log.take(log.spoken(ada.identity, erasing(log.state, {1}, emptied(blocks, {1}))))
        honest, false = emptied(blocks, {1, 2}), emptied(blocks, {2})
        for left in (honest, honest | {0: false[0]}):
            later = log.branch()
            later.take(later.spoken(ada.identity, erasing(log.state, {2}, left)))
            assert data_batch(later.state)[1].erased == {1, 2}
            reader = await cast.actor("olga", Erasing(later, left), fresh=True)
            if left is honest:
                assert (await reader.vault.read("customers"))["name"].to_pylist() == ["Mo"]
            else:
                with reader.catches(IntegrityError, match="did not open", but="learned"):
                    await reader.vault.read("customers")
