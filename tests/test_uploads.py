"""Uploads that are cut anywhere go on where they stopped: every record once, nothing by halves."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from client import uploads
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, SealedBatch, seal_batch
from client.errors import Refused, Unreachable
from client.home import Home
from client.results import Progress, UploadResult
from client.tables import TableChanged, TableRagged, TableUnreadable
from client.uploads import IN_FLIGHT, ensure_writable
from client.vault import Vault
from protocol import api
from protocol.acts import Commit, Reason, Role, parse_envelope
from protocol.blocks import FieldClass, Manifest
from protocol.limits import LIMITS
from protocol.wire import from_bytes
from tests.deals import (
    Breaking,
    Counter,
    Deal,
    a_deal,
    a_vault,
    acts_since,
    as_killed,
    honest,
    in_batches_of,
    joined,
    journal_of,
    rows,
    through,
)
from tests.in_process import ServiceTransport

pytestmark = pytest.mark.asyncio(loop_scope="module")

GENERAL, SENSITIVE = FieldClass.GENERAL, FieldClass.SENSITIVE
# Two catalogs and four batches, so six requests that stage, and three acts.
TABLE = rows(20)
CLASSES = {"name": SENSITIVE}
OPTIONS = in_batches_of(5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Vault]:
    async with a_vault(tmp_path_factory.mktemp("vault")) as (_, vault):
        yield vault


@pytest.fixture
def mine(opened: Vault) -> Iterator[Vault]:
    """A vault that goes from test to test, its journal empty."""
    yield opened
    opened.session.store._db.execute("DELETE FROM uploads")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "customers.parquet"
    pq.write_table(TABLE, path)
    return path


async def uploaded(vault: Vault, table: Any, name: str = "customers") -> UploadResult:
    return await vault.upload(
        table, collection=name, classes=CLASSES, default=GENERAL, options=OPTIONS
    )


async def exact(vault: Vault, name: str = "customers", table: pa.Table = TABLE) -> None:
    """Demand that a collection is the table, once, and that no journal is left."""
    assert (await vault.read(name)).equals(table)
    where = await vault.collection(name)
    assert where.records == table.num_rows
    assert journal_of(vault) == (0, 0)
    named = [each.name for each in await vault.collections()]
    assert named.count(name) == 1


class Watched(ServiceTransport):
    """The honest server, which notes what was staged."""

    def __init__(self, vault: Vault) -> None:
        like = cast(ServiceTransport, honest(vault))
        self.service, self.keyid = like.service, like.keyid
        self.stages: list[tuple[bytes, bytes]] = []

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        await super().stage(vault_id, upload, batch, body)
        self.stages.append((upload, batch))


class Ending(Watched):
    """The honest server, one batch after the other, until so many are staged."""

    def __init__(self, vault: Vault, most: int) -> None:
        super().__init__(vault)
        self.most = most
        self.turn = asyncio.Lock()

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        async with self.turn:
            if len(self.stages) == self.most:
                raise Unreachable("the cable was cut")
            await super().stage(vault_id, upload, batch, body)


@asynccontextmanager
async def with_ada(directory: Path) -> AsyncIterator[tuple[Deal, Vault]]:
    """A deal that an admin who holds every key helps with."""
    async with (
        a_deal(directory) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN) as ada,
    ):
        yield deal, ada


# --- cut at every awaited step


@pytest.mark.threat("R2")
async def test_an_upload_cut_at_any_request_goes_on(mine: Vault, file: Path) -> None:
    for cut in itertools.count():
        name = f"cut {cut}"
        # The request is lost, or the answer to it.
        breaking = Breaking(honest(mine), cut, after=cut % 2 == 0)
        before = asyncio.all_tasks()
        with through(mine, breaking):
            try:
                await uploaded(mine, file, name)
            except Unreachable:
                assert asyncio.all_tasks() == before
            else:
                break
        kept = journal_of(mine)[1]
        watched = Watched(mine)
        with through(mine, watched):
            result = await uploaded(mine, file, name)
        assert result.resumed_batches == kept
        assert len(watched.stages) == 6 - kept
        await exact(mine, name)
    assert cut > 12


@pytest.mark.threat("R2")
async def test_a_client_killed_at_any_request_goes_on_from_its_disk(
    tmp_path: Path, file: Path
) -> None:
    async with a_vault(tmp_path / "v") as (lab, mine):
        home = lab.home("seller")
        for cut in itertools.count():
            name = f"cut {cut}"
            hanging = Breaking(honest(mine), cut, after=cut % 2 == 1, hang=True)
            with through(mine, hanging):
                working = asyncio.create_task(uploaded(mine, file, name))
                hung = asyncio.create_task(hanging.counter.hung.wait())
                await asyncio.wait({working, hung}, return_when=asyncio.FIRST_COMPLETED)
                if not hung.done():
                    hung.cancel()
                    assert working.result().records == 20
                    break
                home = as_killed(home, lab, f"killed {cut}")
                working.cancel()
                await asyncio.wait({working})
            await mine.close()
            mine = home.vault()
            await uploaded(mine, file, name)
            await exact(mine, name)
        await mine.close()
    assert cut > 12


async def test_an_upload_cut_between_any_two_batches_seals_none_of_them_again(
    mine: Vault, file: Path
) -> None:
    for cut in range(6):
        name = f"boundary {cut}"
        first = Ending(mine, cut)
        with through(mine, first), pytest.raises(Unreachable):
            await uploaded(mine, file, name)
        assert journal_of(mine) == (1, cut)
        second = Watched(mine)
        with through(mine, second):
            assert (await uploaded(mine, file, name)).resumed_batches == cut
        batches = [batch for _, batch in first.stages + second.stages]
        assert len(set(batches)) == len(batches) == 6
        assert {upload for upload, _ in first.stages + second.stages} == {second.stages[0][0]}
        await exact(mine, name)


async def test_a_commit_in_parts_goes_on_from_the_part_that_landed(
    mine: Vault, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 600)
    for cut in itertools.count():
        name = f"part {cut}"
        committing = CommitsUpTo(mine, cut)
        with through(mine, committing):
            try:
                await uploaded(mine, file, name)
            except Unreachable:
                assert name not in [each.name for each in await mine.collections()]
            else:
                break
        size = mine.session.believed.ledger.size
        await uploaded(mine, file, name)
        # What landed before did not land again.
        assert await acts_since(mine, size) == ["commit"] * (3 - cut)
        assert not mine.session.state.pending
        await exact(mine, name)
    assert cut == 3


class CommitsUpTo(Watched):
    """The honest server until so many commits landed."""

    def __init__(self, vault: Vault, most: int) -> None:
        super().__init__(vault)
        self.most = most

    async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        if isinstance(parse_envelope(act.envelope)[1].payload, Commit):
            self.most -= 1
            if self.most < 0:
                raise Unreachable("the cable was cut")
        return await super().submit(vault_id, act)


# --- what is not the same upload


async def test_a_changed_file_is_another_upload(mine: Vault, file: Path) -> None:
    with through(mine, Ending(mine, 4)), pytest.raises(Unreachable):
        await uploaded(mine, file, "changed")
    assert journal_of(mine) == (1, 4)
    other = TABLE.slice(0, 13)
    pq.write_table(other, file)

    assert (await uploaded(mine, file, "changed")).resumed_batches == 0

    # It went into the collection that the first had begun, and nothing else is left of that.
    await exact(mine, "changed", other)
    assert all(each.name for each in await mine.collections())


async def test_an_upload_whose_name_was_taken_meanwhile_is_not_resumed(
    mine: Vault, file: Path
) -> None:
    with through(mine, Ending(mine, 4)), pytest.raises(Unreachable):
        await uploaded(mine, file, "two of a name")
    # Other classes, so another collection.
    await mine.upload(rows(3), collection="two of a name")
    with pytest.raises(Refused, match="there is a collection 'two of a name' already"):
        await uploaded(mine, file, "two of a name")
    assert (await mine.read("two of a name")).equals(rows(3))


@pytest.mark.parametrize(
    "more",
    [
        {"collection": "another"},
        {"classes": {"name": GENERAL}},
        {"options": in_batches_of(6)},
    ],
)
async def test_another_name_class_or_cut_is_another_upload(
    mine: Vault, file: Path, more: dict[str, Any]
) -> None:
    name = f"same {secrets.token_hex(4)}"
    with through(mine, Ending(mine, 4)), pytest.raises(Unreachable):
        await uploaded(mine, file, name)
    given: dict[str, Any] = {
        "collection": name, "classes": CLASSES, "default": GENERAL, "options": OPTIONS, **more
    }  # fmt: skip
    if more.get("collection"):
        given["collection"] += secrets.token_hex(4)
    assert (await mine.upload(file, **given)).resumed_batches == 0
    assert (await mine.read(given["collection"])).equals(TABLE)


async def test_a_table_in_memory_is_never_taken_for_an_earlier_one(
    mine: Vault,
) -> None:
    with through(mine, Ending(mine, 4)), pytest.raises(Unreachable):
        await uploaded(mine, TABLE, "memory")
    assert (await uploaded(mine, TABLE, "memory")).resumed_batches == 0
    assert (await mine.read("memory")).equals(TABLE)


async def test_a_name_that_is_taken_is_refused_and_nothing_is_left_of_it(
    mine: Vault, file: Path
) -> None:
    await uploaded(mine, file, "taken")
    size = mine.session.believed.ledger.size
    with pytest.raises(Refused, match="there is a collection 'taken' already") as caught:
        await uploaded(mine, file, "taken")
    assert caught.value.refusal == "conflict"
    assert await acts_since(mine, size) == []
    await exact(mine, "taken")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_a_file_that_changes_while_it_is_read_leaves_nothing_of_the_other_content(
    mine: Vault, tmp_path: Path, kind: str
) -> None:
    # Were one batch of the changed file kept, going on with the first would mix the two.
    path, name = tmp_path / f"c.{kind}", f"changing {kind}"
    table = pa.table({"n": [f"{i:08}" for i in range(200_000)]})

    def write(content: pa.Table) -> None:
        if kind == "csv":
            path.write_text("n\n" + "\n".join(content["n"].to_pylist()) + "\n")
        else:
            pq.write_table(content, path, row_group_size=10_000, compression="none")

    write(table)
    first = path.read_bytes()
    # As long as it was, with every number another.
    second = first[:2] + first[2:-1_000].replace(b"0", b"9") + first[-1_000:]
    changed: list[int] = []

    def on_progress(progress: Progress) -> None:
        if not changed and journal_of(mine)[1] > 3:
            changed.append(progress.done)
            with path.open("r+b") as stream:
                stream.write(second)
            os.utime(path, ns=(1, 1))

    options = in_batches_of(4_096)
    with pytest.raises((TableChanged, TableUnreadable)):
        await mine.upload(path, collection=name, options=options, on_progress=on_progress)
    path.write_bytes(first)

    result = await mine.upload(path, collection=name, options=options)

    assert result.resumed_batches > 0
    assert (await mine.read(name)).equals(table)
    assert journal_of(mine) == (0, 0)


# --- V9: the journal says what is committed, never the server


class Listing(Watched):
    """The honest server, but for what it says is staged."""

    def __init__(self, vault: Vault, listed: Callable[[set[bytes]], set[bytes]]) -> None:
        super().__init__(vault)
        self.listed = listed
        self.lies = 0

    async def staged(self, vault_id: bytes, upload: bytes) -> api.Staged:
        true = set((await super().staged(vault_id, upload)).batches)
        told = self.listed(true)
        self.lies += told != true
        return api.Staged(tuple(sorted(told)))


def committed_by(vault: Vault) -> set[bytes]:
    return {
        manifest.batch_id
        for act in vault.session.believed.acts
        if act is not None and isinstance(act.payload, Commit)
        for manifest in act.payload.manifests
    }


@pytest.mark.threat("V9")
async def test_batches_that_a_server_lists_are_never_committed(tmp_path: Path, file: Path) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):
        seller = deal.seller
        with through(seller, Ending(seller, 4)), pytest.raises(Unreachable):
            await uploaded(seller, file)
        (begun,) = seller.session.store.unfinished_uploads()
        # Another holder of the keys made a batch of its own, which the server puts there.
        foreign = await forged(ada, begun.collection)
        alien = foreign.manifest.batch_id
        vault_id = seller.session.vault_id
        await honest(seller).stage(vault_id, begun.upload, alien, foreign.body())

        poisoning = Listing(seller, lambda true: {*true, bytes(16), b"f" * 16})
        with through(seller, poisoning):
            assert (await uploaded(seller, file)).resumed_batches == 4

        assert poisoning.lies
        assert len(poisoning.stages) == 2
        assert committed_by(seller).isdisjoint({alien, bytes(16), b"f" * 16})
        await exact(seller)


@pytest.mark.threat("V9")
async def test_batches_that_a_server_has_lost_are_sealed_anew_with_all_the_others(
    mine: Vault, file: Path
) -> None:
    first = Ending(mine, 4)
    with through(mine, first), pytest.raises(Unreachable):
        await uploaded(mine, file, "lost")
    forgetful = Listing(mine, lambda true: true - {min(true)})
    with through(mine, forgetful):
        assert (await uploaded(mine, file, "lost")).resumed_batches == 0
    assert forgetful.lies
    assert len(forgetful.stages) == 6
    assert committed_by(mine).isdisjoint(batch for _, batch in first.stages)
    await exact(mine, "lost")


async def forged(member: Vault, collection: bytes) -> SealedBatch:
    """Seal one batch of other records, as somebody who holds the keys can."""
    session = member.session
    await session.sync()
    columns = []
    for number in range(3):
        address = session.writable(collection, number)
        where = session.state.collections[collection]
        cells = Cells.from_list([b"evil"], string_like=True)
        key = session.key(address).key.expose()
        columns.append(ColumnToSeal(number, address.epoch, where.class_of(number), key, cells))
    return seal_batch(columns)


# --- V5, R11: a removal while an upload is on its way


def kept_manifests(vault: Vault) -> list[Manifest]:
    """Return the manifests of all batches that the journal lists as acknowledged."""
    store = vault.session.store
    return [
        from_bytes(Manifest, manifest)
        for begun in store.unfinished_uploads()
        for _, manifest in store.batches(begun.upload).values()
    ]


@pytest.mark.threat("R11")
@pytest.mark.threat("S11")
@pytest.mark.parametrize("cut", [7, 8, 9, 10, 11])
async def test_a_removal_during_an_upload_has_it_sealed_anew(
    tmp_path: Path, file: Path, cut: int
) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):
        await deal.seller.grant("Bo", classes=[SENSITIVE])
        breaking = Breaking(honest(deal.seller), cut)
        with through(deal.seller, breaking), pytest.raises(Unreachable):
            await uploaded(deal.seller, file)
        # How many batches were acknowledged before the cut is a matter of timing.
        kept = kept_manifests(deal.seller)
        await ada.revoke("Bo", Reason.OTHER)
        tainted = {
            field for (_, field), known in ada.session.state.epochs.items() if len(known) > 1
        }

        result = await uploaded(deal.seller, file)

        stale = any(ref.field in tainted for manifest in kept for ref in manifest.blocks)
        assert result.resumed_batches == (0 if stale else len(kept))
        await exact(deal.seller)
        where = await deal.seller.collection("customers")
        named = {field.name: field.epochs for field in where.fields}
        assert named == {"name": 2, "orders": 1, "note": 1}
        (stored,) = (c for c in deal.seller.session.state.collections.values() if c.classes)
        assert {ref.epoch for _, ref in stored.blocks(0)} == {2}


@pytest.mark.threat("R11")
async def test_a_removal_between_the_last_batch_and_the_commit_is_in_time(
    tmp_path: Path, file: Path
) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):
        await deal.seller.grant("Bo", classes=[SENSITIVE])
        staged: list[bytes] = []

        class Late(Watched):
            async def stage(self, *given: Any) -> None:
                await super().stage(*given)
                staged.append(given[2])
                if len(staged) == 6:
                    await ada.revoke("Bo", Reason.OTHER)

        with through(deal.seller, Late(deal.seller)), pytest.raises(Refused) as caught:
            await uploaded(deal.seller, file)
        assert "takes no more commits" in str(caught.value)
        assert [each.records for each in await deal.seller.collections()] == [0]

        await uploaded(deal.seller, file)
        await exact(deal.seller)
        committed = deal.seller.session.state.batch_ids
        assert committed.isdisjoint(staged)


async def test_an_admin_who_was_removed_uploads_no_more(tmp_path: Path, file: Path) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):
        with through(ada, Breaking(honest(ada), 9)), pytest.raises(Unreachable):
            await uploaded(ada, file)
        await deal.seller.revoke("Ada", Reason.OTHER)
        with pytest.raises(Refused, match="no longer a member"):
            await uploaded(ada, file)
        assert [each.records for each in await deal.seller.collections()] == [0]


async def test_who_holds_not_every_field_cannot_begin(tmp_path: Path, file: Path) -> None:
    async with a_deal(tmp_path / "d") as deal:
        with pytest.raises(Refused):
            await uploaded(deal.buyer, file)
        async with joined(deal.lab, deal.seller, "Ann", Role.ADMIN, classes=[GENERAL]) as part:
            with pytest.raises(Refused):
                await uploaded(part, file)
        assert await ensure_writable(deal.seller.session, []) is None


# --- Ctrl-C


@pytest.mark.parametrize("at", range(13))
async def test_ctrl_c_leaves_no_task_and_the_upload_goes_on(
    mine: Vault, file: Path, at: int
) -> None:
    name = f"stopped {at}"
    hanging = Breaking(honest(mine), at, hang=True)
    before = asyncio.all_tasks()
    with through(mine, hanging):
        working = asyncio.create_task(uploaded(mine, file, name))
        await hanging.counter.hung.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    assert asyncio.all_tasks() == before
    await uploaded(mine, file, name)
    await exact(mine, name)


async def test_few_batches_are_on_their_way_at_once(mine: Vault) -> None:
    on_the_way, most = 0, 0

    class Slow(Watched):
        async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
            nonlocal on_the_way, most
            on_the_way += 1
            most = max(most, on_the_way)
            await asyncio.sleep(0.002)
            await super().stage(vault_id, upload, batch, body)
            on_the_way -= 1

    seen: list[Progress] = []
    with through(mine, Slow(mine)):
        await mine.upload(
            rows(60), collection="slow", options=in_batches_of(3), on_progress=seen.append
        )
    assert most == IN_FLIGHT
    assert [each.done for each in seen] == list(range(3, 61, 3))
    assert {each.total for each in seen} == {60}


async def test_one_batch_that_fails_stops_the_others_on_their_way(mine: Vault, file: Path) -> None:
    ended: list[str] = []
    another = asyncio.Event()

    class OneFails(Watched):
        async def stage(self, *given: Any) -> None:
            mine_is = len(ended)
            ended.append("begun")
            if mine_is == 3:
                await another.wait()
                raise Unreachable("the cable was cut")
            if mine_is > 3:
                another.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append("stopped")
            await super().stage(*given)

    before = asyncio.all_tasks()
    with through(mine, OneFails(mine)), pytest.raises(Unreachable):
        await uploaded(mine, file, "one fails")
    assert asyncio.all_tasks() == before
    assert ended.count("stopped") == ended.count("begun") - 4 > 0
    await uploaded(mine, file, "one fails")
    await exact(mine, "one fails")


# --- the other commands, cut the same way


Step = Callable[[Deal], Awaitable[Any]]


async def cut_everywhere(
    directory: Path, prepare: Step, command: Callable[[Vault], Awaitable[Any]], who: str
) -> AsyncIterator[tuple[Deal, Vault]]:
    """Cut one command at each of its requests, in deals of their own, and do it again."""
    for cut in itertools.count():
        async with a_deal(directory / str(cut)) as deal:
            await prepare(deal)
            member: Vault = getattr(deal, who)
            breaking = Breaking(honest(member), cut, after=bool(cut % 2))
            done = False
            with through(member, breaking):
                try:
                    await command(member)
                    done = True
                except Unreachable:
                    pass
            if not done:
                await command(member)
            yield deal, member
        if done:
            assert cut > 4
            return


async def test_an_acceptance_cut_anywhere_is_made_once(tmp_path: Path) -> None:
    async def prepare(deal: Deal) -> None:
        await deal.seller.upload(TABLE.slice(0, 3), collection="customers")
        await deal.offer()

    async for _, buyer in cut_everywhere(
        tmp_path, prepare, lambda buyer: buyer.accept(yes=True), "buyer"
    ):
        assert (await buyer.status()).role == "owner"
        assert (await acts_since(buyer, 0)).count("accept") == 1
        assert (await buyer.read("customers")).equals(TABLE.slice(0, 3))


async def test_a_rotation_cut_anywhere_ends_with_fresh_keys(tmp_path: Path) -> None:
    async def prepare(deal: Deal) -> None:
        await deal.seller.upload(TABLE.slice(0, 3), collection="customers")
        await deal.seller.grant("Bo", classes=[SENSITIVE])

    async for deal, seller in cut_everywhere(
        tmp_path, prepare, lambda seller: seller.rotate(), "seller"
    ):
        where = await seller.collection("customers")
        assert {field.epochs for field in where.fields} <= {2, 3}
        assert (await deal.buyer.read("customers")).equals(TABLE.slice(0, 3))


async def test_a_removal_cut_anywhere_is_a_removal_and_rotating_ends_it(tmp_path: Path) -> None:
    async def prepare(deal: Deal) -> None:
        await deal.seller.upload(TABLE.slice(0, 3), collection="customers")
        await deal.seller.grant("Bo", classes=[SENSITIVE])

    async def command(seller: Vault) -> None:
        await seller.session.sync()
        live = [m for m in await seller.members() if m.name == "Bo" and m.status == "confirmed"]
        if live:
            await seller.revoke("Bo", Reason.OTHER)
        elif (await seller.status()).tainted_fields:
            await seller.rotate()

    async for deal, seller in cut_everywhere(tmp_path, prepare, command, "seller"):
        assert (await acts_since(seller, 0)).count("revoke") == 1
        assert (await seller.status()).tainted_fields == 0
        with pytest.raises(Refused):
            await deal.buyer.read("customers")


async def test_a_join_cut_anywhere_is_one_join(tmp_path: Path) -> None:
    for cut in itertools.count():
        async with a_vault(tmp_path / str(cut)) as (lab, seller):
            invited = await seller.invite(Role.BIDDER, name="Bo")
            counter = Counter(cut, bool(cut % 2), hang=False)

            def connected(like: ServiceTransport, counter: Counter = counter) -> Breaking:
                breaking = Breaking(like, 0)
                breaking.counter = counter
                return breaking

            lab.wrap = connected
            done = False
            try:
                buyer, _ = await lab.home("buyer").join(invited.link)
                done, counter.at = True, 1_000
            except Unreachable:
                lab.wrap = lambda like: like
                # Another process, which knows what the disk knows.
                buyer, _ = await Home(
                    lab.home("buyer").directory, lambda: "correct horse battery staple",
                    connect=lab.home("buyer").connect,
                ).join(invited.link)  # fmt: skip
            async with buyer:
                assert (await acts_since(seller, 0)).count("join") == 1
                assert (await buyer.status()).status == "unconfirmed"
        if done:
            assert cut > 6
            return


# --- limits


async def test_a_part_has_no_more_batches_than_an_act_may_list(
    mine: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "LIMITS", LIMITS.__class__(act_batches=4))
    size = mine.session.believed.ledger.size
    await mine.upload(rows(9), collection="parts", options=in_batches_of(1))
    parts = [
        len(act.payload.manifests)
        for act in mine.session.believed.acts[size:]
        if act is not None and isinstance(act.payload, Commit)
    ]
    assert parts == [4, 4, 2]
    assert (await mine.read("parts")).equals(rows(9))


async def test_a_home_uploads_to_a_vault_once_at_a_time(mine: Vault, file: Path) -> None:
    with mine.session.store.uploading(), pytest.raises(Refused, match="another upload"):
        await uploaded(mine, file, "twice at once")
    assert (await uploaded(mine, file, "twice at once")).records == TABLE.num_rows


async def test_a_file_that_cannot_be_read_defines_no_collection(
    mine: Vault, tmp_path: Path
) -> None:
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("a,b\n1,2\n3\n")
    before = len(await mine.collections())
    with pytest.raises(TableRagged):
        await mine.upload(ragged, collection="ragged")
    assert len(await mine.collections()) == before
