"""Reading and exporting: what was committed, or an error that says which; never a part of it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from client import exporting
from client.catalogs import read_names
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, SealedBatch, open_block, seal_batch
from client.errors import InputError, Refused
from client.fetching import fetch_blocks, open_committed
from client.session import saying
from client.vault import Vault
from protocol import api
from protocol.acts import DefineCollection, Role
from protocol.blocks import Address, BlockRef, FieldClass, catalog_field
from protocol.errors import IntegrityError, ManifestMismatch, VerificationFailed
from protocol.ledger.contents import Batch
from tests.deals import (
    Deal,
    Tamper,
    Tampering,
    a_deal,
    a_vault,
    acts_since,
    commit_names,
    honest,
    in_batches_of,
    kept_by,
    rows,
    through,
)
from tests.readers import (
    BATCHES,
    CORE,
    FIELDS,
    GENERAL,
    SENSITIVE,
    TABLE,
    collection_of,
    for_exports,
    one_deal,
    swap_cells,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


deal = pytest_asyncio.fixture(scope="module", loop_scope="module")(one_deal)
folder = pytest.fixture(for_exports)


# --- a server that lies about blocks: C1 to C6, C11, C17, H7


async def refused(vault: Vault, tamper: Tamper, folder: Path) -> VerificationFailed:
    """Demand that an export fails, leaves nothing, and that the same without the lie succeeds."""
    await vault.session.sync()
    before, size = kept_by(vault), vault.session.believed.ledger.size
    liar = Tampering(honest(vault), tamper)
    with through(vault, liar), pytest.raises(VerificationFailed) as caught:
        await vault.export("customers", path=folder / "out.csv")
    assert liar.lies
    assert list(folder.iterdir()) == []
    assert kept_by(vault) == before
    assert await acts_since(vault, size) == []
    await vault.export("customers", path=folder / "out.csv")
    (folder / "out.csv").unlink()
    return caught.value


def at(index: int, change: Callable[[bytes], bytes]) -> Tamper:
    def tamper(_: api.FetchBlocks, blocks: list[bytes]) -> list[bytes]:
        blocks[index] = change(blocks[index])
        return blocks

    return tamper


def swapped(one: int, other: int) -> Tamper:
    def tamper(_: api.FetchBlocks, blocks: list[bytes]) -> list[bytes]:
        blocks[one], blocks[other] = blocks[other], blocks[one]
        return blocks

    return tamper


def whole(change: Callable[[list[bytes]], list[bytes]]) -> Tamper:
    return lambda _, blocks: change(blocks)


LIES: dict[str, Tamper] = {
    "C1 two cells of a block": at(0, lambda block: swap_cells(block, 5, 1, 3)),
    "C2 two fields of a batch": swapped(0, 1),
    "C4 two batches of a field": swapped(0, FIELDS),
    "C4 the first batch twice": whole(lambda blocks: blocks[:FIELDS] + blocks[:-FIELDS]),
    "C4 batches in reverse": whole(lambda blocks: blocks[::-1]),
    "C5 the last block": whole(lambda blocks: blocks[:-1]),
    "C5 a block in the middle": whole(lambda blocks: blocks[:7] + blocks[8:]),
    "C5 every block": whole(lambda blocks: []),
    "C5 a block cut short": at(4, lambda block: block[:-36]),
    "C6 a block more": whole(lambda blocks: [*blocks, blocks[-1]]),
    "C6 a block longer": at(4, lambda block: block + block[-36:]),
    "C11 a byte of a cell": at(3, lambda block: block[:-1] + bytes([block[-1] ^ 1])),
    "C11 a byte of a length": at(3, lambda block: bytes([block[0] ^ 16]) + block[1:]),
}


@pytest.mark.threat("C1")
@pytest.mark.threat("C2")
@pytest.mark.threat("C4")
@pytest.mark.threat("C5")
@pytest.mark.threat("C6")
@pytest.mark.threat("C11")
@pytest.mark.parametrize("lie", LIES)
async def test_an_export_of_other_blocks_than_were_committed_leaves_nothing(
    deal: Deal, folder: Path, lie: str
) -> None:
    failed = await refused(deal.seller, LIES[lie], folder)

    assert type(failed) is ManifestMismatch


@pytest.mark.threat("C5")
async def test_a_cut_at_any_block_leaves_nothing(deal: Deal, folder: Path) -> None:
    await deal.seller.session.sync()
    before = kept_by(deal.seller)
    for end in range(BATCHES * FIELDS):
        liar = Tampering(honest(deal.seller), lambda _, blocks, end=end: blocks[:end])  # type: ignore[misc]
        with through(deal.seller, liar), pytest.raises(ManifestMismatch):
            await exporting.export(
                deal.seller.session,
                collection_of(deal.seller),
                fields=None,
                limit=None,
                path=folder / "out.csv",
                overwrite=False,
                on_batch=lambda _: None,
                on_progress=lambda _: None,
            )
        assert list(folder.iterdir()) == []
    assert kept_by(deal.seller) == before


@pytest.mark.threat("C5")
async def test_a_stream_gives_whole_verified_batches_up_to_the_lie(deal: Deal) -> None:
    liar = Tampering(honest(deal.seller), lambda _, blocks: blocks[: 3 * FIELDS + 1])
    given: list[pa.RecordBatch] = []

    async def take() -> None:
        async for batch in deal.seller.stream("customers"):
            given.append(batch)

    with through(deal.seller, liar), pytest.raises(ManifestMismatch):
        await take()
    assert 0 < len(given) <= 3
    assert pa.Table.from_batches(given).equals(TABLE.slice(0, 5 * len(given)))


@pytest.mark.threat("H7")
async def test_an_answer_to_another_request_is_no_answer(deal: Deal, folder: Path) -> None:
    recorded: list[list[bytes]] = []

    def record(_: api.FetchBlocks, blocks: list[bytes]) -> list[bytes]:
        recorded.append(list(blocks))
        return blocks

    with through(deal.seller, Tampering(honest(deal.seller), record)):
        await deal.seller.read("customers", fields=["notes"])
    (notes,) = recorded

    failed = await refused(deal.seller, lambda _, blocks: notes + blocks[len(notes) :], folder)

    assert type(failed) is ManifestMismatch


@pytest.mark.threat("C6")
async def test_a_block_that_a_reader_sealed_itself_is_not_one_of_the_sellers(
    deal: Deal, folder: Path
) -> None:
    # The bidder holds the field's key and works with the server.
    session, where = deal.buyer.session, collection_of(deal.seller)
    cells = Cells.from_list([b"DE%020d" % i for i in range(5)], string_like=True)
    key = session.key(Address(where, 0, 1)).key.expose()
    forged = seal_batch([ColumnToSeal(0, 1, SENSITIVE, key, cells)])
    (block,) = forged.blocks

    def tamper(_: api.FetchBlocks, blocks: list[bytes]) -> list[bytes]:
        assert len(blocks[0]) == len(block)
        return [block, *blocks[1:]]

    assert type(await refused(deal.seller, tamper, folder)) is ManifestMismatch
    # And were its hash not asked for: under the batch's id none of its cells opens.
    batch, ref, _ = (await blocks_of(deal.seller, 0))[0]
    assert opens(key, as_listed(ref, block), batch, block, SENSITIVE) is False
    assert opens(key, forged.manifest.blocks[0], as_batch(forged), block, SENSITIVE) is True


@pytest.mark.threat("C17")
async def test_another_vaults_block_is_not_this_ones(
    deal: Deal, folder: Path, tmp_path: Path
) -> None:
    async with a_vault(tmp_path / "other") as (_, other):
        classes = {"iban": SENSITIVE, "notes": SENSITIVE, "orders": GENERAL}
        await other.upload(TABLE, collection="customers", classes=classes, options=in_batches_of(5))
        foreign = [block for _, _, block in await blocks_of(other, 0)]

    failed = await refused(deal.seller, at(0, lambda _: foreign[0]), folder)

    assert type(failed) is ManifestMismatch
    key = deal.seller.session.key(Address(collection_of(deal.seller), 0, 1)).key.expose()
    batch, ref, _ = (await blocks_of(deal.seller, 0))[0]
    assert opens(key, as_listed(ref, foreign[0]), batch, foreign[0], SENSITIVE) is False


# --- and if the hash were never looked at: the key is the address


async def blocks_of(vault: Vault, number: int) -> list[tuple[Batch, BlockRef, bytes]]:
    where = vault.session.state.collections[collection_of(vault)]
    return [each async for each in fetch_blocks(vault.session, where.id, where.blocks(number))]


def as_batch(sealed: SealedBatch) -> Batch:
    """Return a sealed batch as the ledger has it once it is committed."""
    return Batch(sealed.manifest, bytes(16), 0, bytes(32))


def as_listed(ref: BlockRef, block: bytes) -> BlockRef:
    """Return a manifest's entry that lists another block, as if nobody checked the hash."""
    return replace(ref, length=len(block), sha256=hashlib.sha256(block).digest())


def opens(key: bytes, ref: BlockRef, batch: Batch, block: bytes, field_class: FieldClass) -> bool:
    """Say whether a block opens under an entry of a batch."""
    try:
        open_block(key, field_class, ref, batch.id, batch.manifest.records, block, True)
    except IntegrityError:
        return False
    return True


@pytest.mark.threat("C1")
async def test_no_two_cells_of_fifty_can_change_places(deal: Deal) -> None:
    cells = Cells.from_list([b"DE%020d" % i for i in range(50)], string_like=True)
    key = deal.seller.session.key(Address(collection_of(deal.seller), 0, 1)).key.expose()
    sealed = seal_batch([ColumnToSeal(0, 1, CORE, key, cells)])
    (ref,), (block,) = sealed.manifest.blocks, sealed.blocks
    batch = as_batch(sealed)
    where = replace(
        deal.seller.session.state.collections[collection_of(deal.seller)], classes=(CORE,)
    )
    pairs = list(itertools.combinations(range(50), 2))
    assert len(pairs) == 1_225
    for one, other in pairs:
        swapped_block = swap_cells(block, 50, one, other)
        assert len(swapped_block) == len(block)
        # With the hash checked, it is the server's lie; without, it still does not open.
        with pytest.raises(ManifestMismatch):
            open_committed(key, where, batch, ref, swapped_block, True)
        with pytest.raises(IntegrityError, match="did not open"):
            open_committed(key, where, batch, as_listed(ref, swapped_block), swapped_block, True)
    assert open_committed(key, where, batch, ref, block, True).count == 50


@pytest.mark.threat("C2")
@pytest.mark.threat("C3")
@pytest.mark.threat("C4")
async def test_a_block_opens_in_its_field_epoch_and_batch_only(deal: Deal) -> None:
    session, where = deal.seller.session, collection_of(deal.seller)
    iban, notes = await blocks_of(deal.seller, 0), await blocks_of(deal.seller, 1)
    keys = [session.key(Address(where, number, 1)).key.expose() for number in (0, 1)]
    await deal.seller.rotate(collection="customers", fields=["iban"])
    newer = session.key(Address(where, 0, 2)).key.expose()
    batch, ref, block = iban[0]

    assert opens(keys[0], ref, batch, block, SENSITIVE)
    assert not opens(keys[1], ref, batch, block, SENSITIVE)
    assert not opens(newer, ref, batch, block, SENSITIVE)
    assert not opens(keys[0], ref, iban[1][0], block, SENSITIVE)
    assert not opens(keys[0], as_listed(iban[1][1], block), iban[1][0], block, SENSITIVE)
    assert not opens(keys[0], as_listed(ref, notes[0][2]), batch, notes[0][2], SENSITIVE)


@pytest.mark.threat("C11")
async def test_no_byte_of_a_block_can_be_changed(deal: Deal) -> None:
    key = deal.seller.session.key(Address(collection_of(deal.seller), 0, 1)).key.expose()
    batch, ref, block = (await blocks_of(deal.seller, 0))[0]
    for index in range(len(block)):
        changed = block[:index] + bytes([block[index] ^ 0x10]) + block[index + 1 :]
        assert not opens(key, as_listed(ref, changed), batch, changed, SENSITIVE), index


# --- choosing


@pytest.mark.parametrize("limit", [0, 1, 5, 6, 99, 100, 1_000])
async def test_a_limit_takes_the_first_records_and_no_more_blocks_than_it_needs(
    deal: Deal, folder: Path, limit: int
) -> None:
    asked: list[int] = []

    def count(_: api.FetchBlocks, blocks: list[bytes]) -> list[bytes]:
        asked.append(len(blocks))
        return blocks

    with through(deal.seller, Tampering(honest(deal.seller), count)):
        given = await deal.seller.read("customers", limit=limit)
    wrote = await deal.seller.export("customers", path=folder / "out.parquet", limit=limit)

    assert given.equals(TABLE.slice(0, limit))
    assert pq.read_table(folder / "out.parquet").equals(given)
    assert wrote.records == min(limit, 100)
    assert sum(asked) == FIELDS * min(BATCHES, -(-limit // 5))


async def test_a_limit_below_zero_is_no_limit_at_all(deal: Deal, folder: Path) -> None:
    with pytest.raises(InputError, match="-1"):
        await deal.seller.export("customers", path=folder / "out.csv", limit=-1)
    assert list(folder.iterdir()) == []


async def test_fields_come_in_the_order_they_were_named_in(deal: Deal) -> None:
    given = await deal.seller.read("customers", fields=["orders", "iban"])
    assert given.equals(TABLE.select(["orders", "iban"]))
    assert (await deal.buyer.read("customers")).equals(TABLE.select(["iban", "notes"]))


@pytest.mark.parametrize("fields", [[], ["iban", "iban"]])
async def test_no_field_or_one_twice_is_a_slip(deal: Deal, fields: list[str]) -> None:
    with pytest.raises(InputError, match="no field is named, or one twice"):
        await deal.seller.read("customers", fields=fields)


async def test_a_field_that_was_not_granted_is_refused_by_its_name_or_without(deal: Deal) -> None:
    with pytest.raises(Refused, match="1 others are closed to you") as caught:
        await deal.buyer.read("customers", fields=["orders"])
    assert caught.value.refusal == "not_granted"
    with pytest.raises(InputError, match="there is no field 'phone'"):
        await deal.seller.read("customers", fields=["phone"])


async def test_a_field_of_a_class_whose_names_one_knows_may_still_be_closed(
    tmp_path: Path,
) -> None:
    async with a_deal(tmp_path) as deal:
        await deal.seller.upload(rows(3), collection="c", default=GENERAL)
        with pytest.raises(InputError, match="no collection 'c'"):
            await deal.buyer.read("c")
        short = collection_of(deal.seller).hex()[:8]
        await deal.seller.grant("Bo", fields=["name"])
        assert (await deal.buyer.read("c")).schema.names == ["name"]
        with pytest.raises(Refused, match="not granted the field 'orders'"):
            await deal.buyer.read("c", fields=["orders"])
        await deal.seller.withdraw_grant("Bo", fields=["name"])
        with pytest.raises(Refused, match="granted no field"):
            await deal.buyer.read(short)


async def test_a_collection_without_anything_is_said_to_be_unfinished(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (_, vault):
        await vault.session.act(saying(DefineCollection(b"c" * 16, (GENERAL,))))
        with pytest.raises(Refused, match="nothing was committed to it yet"):
            await vault.read((b"c" * 16).hex())


async def test_records_are_numbered_as_they_are_erased(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (_, vault):
        await vault.upload(rows(20), collection="c", options=in_batches_of(6))
        await vault.erase("c", [2, 7, 8, 20])
        left = [n for n in range(1, 21) if n not in (2, 7, 8, 20)]
        out = tmp_path / "out.parquet"

        given = await vault.read("c", fields=["orders"], numbers=True)
        await vault.export("c", path=out, numbers=True)
        first = await anext(vault.stream("c", fields=["orders"], limit=3, numbers=True))

        assert given.schema.names == ["record", "orders"]
        assert given["record"].to_pylist() == left
        assert given["orders"].to_pylist() == [n - 1 for n in left]
        assert pq.read_table(out)["record"].to_pylist() == left
        assert pq.read_table(out).schema.names == ["record", *rows(1).schema.names]
        assert first.to_pydict() == {"record": [1, 3, 4], "orders": [0, 2, 3]}
        # What a number names is what is erased by it.
        await vault.erase("c", [given["record"][5].as_py()])
        assert given["orders"][5] not in (await vault.read("c"))["orders"].to_pylist()


async def test_a_field_that_is_called_as_the_numbers_are_is_no_riddle(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (_, vault):
        table = pa.table({"record": [7], "n": [1]})
        await vault.upload(table, collection="c")
        assert (await vault.read("c")).equals(table)
        with pytest.raises(InputError, match="a field is called 'record' itself"):
            await vault.read("c", numbers=True)
        numbered = await vault.read("c", fields=["n"], numbers=True)
        assert numbered.to_pydict() == {"record": [1], "n": [1]}


# --- a writer that lies: whoever holds the keys may write what it likes


@pytest.mark.parametrize(
    "kind",
    ["int64", "bool", "string", "dictionary<values=string, indices=int8, ordered=0>", "null"],
)
async def test_cells_that_are_not_of_the_type_their_writer_names(tmp_path: Path, kind: str) -> None:
    async with a_vault(tmp_path) as (_, vault):
        table = pa.table({"n": pa.array([-1, 2], pa.int32())})
        await vault.upload(table, collection="c", default=GENERAL)
        where, number = collection_of(vault), catalog_field(GENERAL)
        await commit_names(vault, where, number, {"fields": [[0, "n", kind]]})
        out = tmp_path / "out.parquet"
        with pytest.raises(IntegrityError, match=r"field 'n' holds what is no|did not open"):
            await vault.export("c", path=out)
        assert not out.exists()
        # Four bytes are four bytes: which four-byte type they are, the last writer says.
        await commit_names(vault, where, number, {"fields": [[0, "day", "date32"]]})
        assert (await vault.read("c")).schema.types == [pa.date32()]


async def test_two_fields_of_one_name_are_not_told_apart_by_chance(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (_, vault):
        await vault.upload(rows(3), collection="c", default=GENERAL)
        number = catalog_field(GENERAL)
        await commit_names(vault, collection_of(vault), number, {"fields": [[1, "name", "int32"]]})
        with pytest.raises(IntegrityError, match="two fields one name"):
            await vault.read("c", fields=["name"])


async def test_a_field_without_a_name_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_vault(tmp_path) as (_, vault):
        monkeypatch.setattr("client.plans.NamedField", lambda name, _: _Nameless(name))
        await vault.upload(rows(3), collection="c", default=GENERAL)
        assert (await read_names(vault.session, collection_of(vault))).fields == {}
        with pytest.raises(IntegrityError, match="does not name field 0"):
            await vault.read("c")


class _Nameless:
    """A field whose type is the text of no type."""

    def __init__(self, name: str) -> None:
        self.name, self.type = name, "no type"


async def test_whoever_is_not_confirmed_is_told_so_and_no_other_reason(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (lab, owner):
        await owner.upload(rows(3), collection="customers", default=FieldClass.GENERAL)
        invited = await owner.invite(Role.BIDDER, name="Bo", classes=[FieldClass.GENERAL])
        joined_one, result = await lab.home("Bo").join(invited.link)
        async with joined_one:
            with pytest.raises(Refused, match="not confirmed yet") as caught:
                await joined_one.read(next(iter(await joined_one.collections())).collection_id)
            assert caught.value.refusal == "not_granted"
            await owner.confirm("Bo", words=result.words)
            assert (await joined_one.read("customers")).num_rows == 3
