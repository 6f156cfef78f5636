"""Reading while others re-encrypt, erase, retire and freeze: as it was, as it is, or told so."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.catalogs import Names, read_names
from client.errors import Refused, Unreachable
from client.reading import read_batches, select_fields
from client.vault import Vault
from protocol import api
from protocol.acts import Reason
from protocol.blocks import Address, FieldClass, catalog_field
from protocol.errors import ManifestMismatch, Moved, NotAuthorised, SealroomError
from tests.deals import Deal, a_deal, honest, in_batches_of, rows, through
from tests.in_process import ServiceTransport
from tests.readers import collection_of

GENERAL = FieldClass.GENERAL
TABLE = rows(20)
BATCHES = 4
BLOCKS = BATCHES * len(TABLE.schema.names)


@pytest.fixture
async def deal(tmp_path: Path) -> AsyncIterator[Deal]:
    """A seller with one collection, and a bidder who reads all of it."""
    async with a_deal(tmp_path) as made:
        options = in_batches_of(20 // BATCHES)
        await made.seller.upload(TABLE, collection="customers", default=GENERAL, options=options)
        await made.seller.grant("Bo", classes=[GENERAL])
        yield made


Act = Callable[[], Awaitable[Any]]


BEFORE = -1


class Meanwhile(ServiceTransport):
    """The honest server; before it sends block number `at`, somebody does something.

    With BEFORE it is done before the first request is looked at. What fails later cuts the
    connection, as over HTTP.
    """

    def __init__(self, vault: Vault, at: int, act: Act) -> None:
        like = cast(ServiceTransport, honest(vault))
        self.service, self.keyid = like.service, like.keyid
        self.at, self.act = at, act
        self.sent, self.fetches = 0, 0

    async def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        self.fetches += 1
        if self.at == BEFORE and self.fetches == 1:
            await self.act()
        try:
            async with aclosing(super().fetch(vault_id, request, sizes)) as blocks:
                async for block in blocks:
                    if self.sent == self.at:
                        await self.act()
                    self.sent += 1
                    yield block
        except SealroomError as error:
            if isinstance(error, Refused):
                raise
            raise Unreachable("the answer was cut off") from error


async def nothing() -> None:
    pass


# --- cut off


@pytest.mark.parametrize(
    ("waited", "cuts", "fetches"), [(False, 3, 4), (False, 99, 4), (True, 99, 1)]
)
async def test_a_connection_that_breaks_is_made_anew_a_few_times_from_where_it_broke(
    deal: Deal, monkeypatch: pytest.MonkeyPatch, waited: bool, cuts: int, fetches: int
) -> None:
    monkeypatch.setattr("client.fetching.PAUSE_SECONDS", 0.001)

    class Cut(Meanwhile):
        async def fetch(
            self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
        ) -> AsyncGenerator[bytes, None]:
            self.fetches += 1
            async with aclosing(ServiceTransport.fetch(self, vault_id, request, sizes)) as blocks:
                yield await anext(blocks)
                if self.fetches <= cuts:
                    gone = Unreachable("the cable was cut")
                    gone.waited = waited
                    raise gone
                async for block in blocks:
                    yield block

    await deal.buyer.collections()
    cut = Cut(deal.buyer, BLOCKS, nothing)
    with through(deal.buyer, cut):
        if cuts < fetches:
            assert (await deal.buyer.read("customers")).equals(TABLE)
        else:
            with pytest.raises(Unreachable, match="the cable was cut"):
                await deal.buyer.read("customers")
    assert cut.fetches == fetches


# --- re-encrypted


@pytest.mark.parametrize("at", [BEFORE, 0, 1, 4, BLOCKS - 1])
async def test_a_read_goes_on_over_a_re_encryption(deal: Deal, tmp_path: Path, at: int) -> None:
    async def rotated() -> None:
        await deal.seller.rotate(reencrypt=True)

    await deal.buyer.collections()  # so that the names are at home
    over = Meanwhile(deal.buyer, at, rotated)
    with through(deal.buyer, over):
        done = await deal.buyer.export("customers", path=tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").equals(TABLE)
    assert done.records == 20
    assert over.fetches > 1 or at == BLOCKS - 1
    where = deal.seller.session.state.collections[collection_of(deal.seller)]
    assert {ref.epoch for _, ref in where.blocks(0)} == {2}


async def test_a_read_goes_on_where_the_server_says_that_a_block_was_replaced(deal: Deal) -> None:
    """It looks for the block when the act has landed in between, and before it has sent any."""

    class Replaced(Meanwhile):
        async def fetch(
            self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
        ) -> AsyncGenerator[bytes, None]:
            if not self.fetches:
                self.fetches += 1
                await self.act()
                raise Refused("a block was replaced", code=Moved.code)
            async for block in super().fetch(vault_id, request, sizes):
                yield block

    async def rotated() -> None:
        await deal.seller.rotate(collection="customers", reencrypt=True)

    await deal.buyer.collections()
    with through(deal.buyer, Replaced(deal.buyer, BEFORE, rotated)):
        assert (await deal.buyer.read("customers")).equals(TABLE)
    # Where the log has no such act, the server lies.
    with (
        through(deal.buyer, Replaced(deal.buyer, BEFORE, nothing)),
        pytest.raises(ManifestMismatch),
    ):
        await deal.buyer.read("customers")


async def test_what_another_task_has_learned_since_is_known_to_a_read(deal: Deal) -> None:
    """Two tasks share a session: the old key is gone before the first block is asked for."""
    session, where = deal.buyer.session, collection_of(deal.seller)
    await session.sync()
    chosen = await select_fields(session, where, None)
    await deal.seller.rotate(reencrypt=True)
    await session.sync()
    batches = [batch async for batch in read_batches(session, chosen)]
    assert pa.Table.from_batches(batches).equals(TABLE)

    await deal.seller.erase("customers", [20])
    await session.sync()
    with pytest.raises(Refused, match="records were erased while they were being read"):
        await anext(read_batches(session, chosen))


async def test_names_that_were_sealed_anew_are_fetched_anew(deal: Deal) -> None:
    async def rotated() -> None:
        await deal.seller.rotate(reencrypt=True)

    session, where = deal.buyer.session, collection_of(deal.seller)
    await session.sync()
    over = Meanwhile(deal.buyer, BEFORE, rotated)
    with through(deal.buyer, over):
        assert (await read_names(session, where)).name == "customers"
    assert over.fetches == 2


@pytest.mark.parametrize("ended", ["retired", "no longer granted"])
async def test_names_that_one_may_no_longer_know_are_none(deal: Deal, ended: str) -> None:
    async def end() -> None:
        if ended == "retired":
            await deal.seller.retire_collection("customers")
        else:
            await deal.seller.withdraw_grant("Bo", classes=[GENERAL])

    session, where = deal.buyer.session, collection_of(deal.seller)
    await session.sync()
    with through(deal.buyer, Meanwhile(deal.buyer, BEFORE, end)):
        assert await read_names(session, where) == Names()


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("not_found", ManifestMismatch, "the server withholds names"),
        ("rate_limited", Refused, "nothing there"),
    ],
)
async def test_names_that_the_server_withholds_are_asked_for_in_vain(
    deal: Deal, code: str, error: type[SealroomError], said: str
) -> None:
    """Where the log says that they are there, and whose, an answer of nothing is a lie."""

    class Withholding(Meanwhile):
        async def fetch(
            self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
        ) -> AsyncGenerator[bytes, None]:
            self.fetches += 1
            if not self.sent:
                raise Refused("there is nothing there", code=code)
            yield b""

    session, where = deal.buyer.session, collection_of(deal.seller)
    await session.sync()
    withholding = Withholding(deal.buyer, 0, nothing)
    with through(deal.buyer, withholding), pytest.raises(error, match=said):
        await read_names(session, where)
    assert withholding.fetches == 1


# --- erased, retired, frozen


@pytest.mark.parametrize(("record", "told"), [(1, False), (20, True)])
async def test_a_read_ends_where_a_record_was_erased_that_it_had_not_come_to(
    deal: Deal, tmp_path: Path, record: int, told: bool
) -> None:
    async def erased() -> None:
        await deal.seller.erase("customers", [record])

    out = tmp_path / "out.parquet"
    await deal.buyer.collections()
    with through(deal.buyer, Meanwhile(deal.buyer, 8, erased)):
        if told:
            with pytest.raises(Refused, match="erased while they were being read") as caught:
                await deal.buyer.export("customers", path=out)
            assert caught.value.refusal == "changed"
            assert not out.exists()
        else:
            await deal.buyer.export("customers", path=out)
            assert pq.read_table(out).equals(TABLE)
    assert (await deal.buyer.read("customers")).num_rows == 19


async def test_a_read_ends_where_its_collection_is_retired(deal: Deal, tmp_path: Path) -> None:
    async def retired() -> None:
        await deal.seller.retire_collection("customers")

    await deal.buyer.collections()
    with (
        through(deal.buyer, Meanwhile(deal.buyer, 2, retired)),
        pytest.raises(Refused),
    ):
        await deal.buyer.export("customers", path=tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    session, where = deal.buyer.session, collection_of(deal.buyer)
    await session.sync()
    assert await read_names(session, where) == Names()
    assert await deal.buyer.collections() == ()


async def test_a_frozen_vault_is_read_by_nobody_and_what_is_known_of_it_stays_known(
    deal: Deal,
) -> None:
    await deal.buyer.collections()
    await deal.seller.freeze(Reason.BREACH)
    with pytest.raises(Refused) as caught:
        await deal.buyer.read("customers")
    assert caught.value.refusal == "frozen"
    assert (await deal.buyer.status()).phase == "frozen"
    (seen,) = await deal.buyer.collections()
    assert seen.name == "customers"
    # A home that never fetched the names does without them.
    forgetful = deal.buyer.session.store
    forgetful._db.execute("DELETE FROM blocks")
    (seen,) = await deal.buyer.collections()
    assert seen.name is None
    assert (await read_names(deal.buyer.session, collection_of(deal.buyer))).failure is not None
    await deal.seller.unfreeze()
    assert (await deal.buyer.read("customers")).equals(TABLE)


# --- what a home had of it


async def test_a_key_that_was_retired_is_held_no_longer(deal: Deal) -> None:
    """Its share is still in a box at home, beside others: the wrap is gone."""
    session = deal.buyer.session
    address = Address(collection_of(deal.seller), 0, 1)
    await session.sync()
    assert session.key(address).key.expose()
    await deal.seller.rotate(reencrypt=True)
    await session.sync()
    boxes = session.store.boxes(session.identity.member_id)
    assert any(address in box.shares.addresses for box in boxes)
    with pytest.raises(NotAuthorised, match="you hold no key"):
        session.key(address)


async def test_what_was_replaced_or_retired_is_kept_at_home_no_longer(deal: Deal) -> None:
    session, where = deal.buyer.session, collection_of(deal.seller)
    number = catalog_field(GENERAL)
    await deal.buyer.collections()
    (batch,) = (batch for batch, _ in session.state.collections[where].blocks(number))
    before = session.store.block(batch.id, number)
    assert before is not None
    # What is only added to is kept.
    await deal.seller.upload(TABLE, collection="more", default=GENERAL)
    await session.sync()
    assert session.store.block(batch.id, number) == before
    await deal.seller.rotate(collection="customers", reencrypt=True)
    await session.sync()
    assert session.store.block(batch.id, number) is None
    await deal.buyer.collections()
    assert session.store.block(batch.id, number) not in (None, before)
    await deal.seller.retire_collection("customers")
    await session.sync()
    assert session.store.block(batch.id, number) is None
    assert not [address for address, _ in session.believed.wraps if address.collection == where]
