"""What an engine says of all that it holds, by which a server looks whether something is missing.

See `storage_contract`, of which this is a part.
"""

from __future__ import annotations

import hashlib

from tests.storage_contract import (
    ANN,
    BATCH,
    BOB,
    NEXT,
    OTHER,
    SECOND,
    THIRD,
    UPLOAD,
    VAULT,
    OnAnEngine,
    block,
    leaf,
    publish,
    relied,
    stage,
)
from vault.storage.base import BlockPlace, Effects, Storage, StoredUpload


def place(
    content: bytes, batch: bytes = BATCH, field: int = 0, upload: bytes = UPLOAD
) -> BlockPlace:
    return BlockPlace(batch, field, hashlib.sha256(content).digest(), upload)


async def everywhere(storage: Storage, vault: bytes = VAULT) -> dict[BlockPlace, bytes]:
    """Return every block, each in its turn."""
    found: dict[BlockPlace, bytes] = {}
    at: BlockPlace | None = None
    while (following := await storage.next_block(vault, at)) is not None:
        assert at is None or at < following[0]
        at, found[following[0]] = following
    return found


class ListingContract(OnAnEngine):
    async def test_every_upload_is_listed_as_it_stands(self, storage: Storage) -> None:
        await stage(storage, BATCH)
        await stage(storage, NEXT, upload=SECOND, member=BOB)
        await stage(storage, b"\x99" * 16, upload=THIRD)
        await storage.append(VAULT, 1, [leaf(1)], publish())
        await storage.append(VAULT, 2, [leaf(2)], Effects(hold_uploads=(SECOND,)))
        assert await storage.uploads(VAULT) == [
            StoredUpload(UPLOAD, ANN, published=True, held=False),
            StoredUpload(SECOND, BOB, published=False, held=True),
            StoredUpload(THIRD, ANN, published=False, held=False),
        ]
        assert await storage.uploads(OTHER) == []

    async def test_the_lengths_of_a_batch_are_those_of_what_is_shown(
        self, storage: Storage
    ) -> None:
        two = (block(b"", 0), block(b"second", 1))
        await stage(storage, BATCH, blocks=two)
        assert await storage.block_sizes(VAULT, BATCH) == {}
        await storage.append(VAULT, 1, [leaf(1)], publish())
        shown = {(0, two[0][1]): 0, (1, two[1][1]): 6}
        assert await storage.block_sizes(VAULT, BATCH) == shown
        anew = block(b"made anew", 1)
        await stage(storage, BATCH, upload=SECOND, manifest=b"anew", blocks=(anew,), anew=True)
        assert await storage.block_sizes(VAULT, BATCH) == shown
        await storage.append(VAULT, 2, [leaf(2)], publish(SECOND, BATCH))
        assert await storage.block_sizes(VAULT, BATCH) == shown | {(1, anew[1]): 9}
        assert await storage.block_sizes(OTHER, BATCH) == {}
        assert await storage.block_sizes(VAULT, NEXT) == {}

    async def test_the_lengths_of_what_is_held_are_those_of_what_was_relied_on(
        self, storage: Storage
    ) -> None:
        await stage(storage, NEXT, upload=SECOND, blocks=(block(b"shown"),))
        await storage.append(VAULT, 1, [leaf(1)], publish(SECOND, NEXT))
        await stage(storage, BATCH, blocks=(block(b"own"),))
        anew = (block(b"anew"),)
        await stage(storage, NEXT, manifest=b"manifest", blocks=anew, anew=True)
        left_out = b"\x99" * 16
        await stage(storage, left_out)

        async def held(batch: bytes, upload: bytes = UPLOAD) -> list[int]:
            return [*(await storage.block_sizes(VAULT, batch, held=upload)).values()]

        assert await held(BATCH) == []
        holding = Effects(relies=(relied(BATCH, NEXT),), hold_uploads=(UPLOAD,))
        await storage.append(VAULT, 2, [leaf(2)], holding)
        assert [await held(each) for each in (BATCH, NEXT, left_out)] == [[3], [4], []]
        assert await held(BATCH, SECOND) == await held(NEXT, SECOND) == []
        await storage.append(VAULT, 3, [leaf(3)], publish(UPLOAD, BATCH, NEXT))
        assert await held(BATCH) == []

    async def test_every_block_is_read_once_whether_it_is_shown_or_not(
        self, storage: Storage
    ) -> None:
        assert await everywhere(storage) == {}
        await storage.create_vault(OTHER, leaf(0, b"other genesis"))
        await stage(storage, BATCH, blocks=(block(b"one", 0), block(b"two", 1)))
        await storage.append(VAULT, 1, [leaf(1)], publish())
        again = (block(b"one", 0),)
        await stage(storage, BATCH, upload=SECOND, manifest=b"anew", blocks=again, anew=True)
        await stage(storage, NEXT, upload=THIRD, blocks=(block(b""),))
        await stage(storage, NEXT, vault=OTHER, blocks=(block(b"theirs"),))
        assert await everywhere(storage) == {
            place(b"one"): b"one",
            place(b"one", upload=SECOND): b"one",
            place(b"two", field=1): b"two",
            place(b"", NEXT, upload=THIRD): b"",
        }
        assert await everywhere(storage, OTHER) == {place(b"theirs", NEXT): b"theirs"}
