"""Rotation in full: everything under new keys at once, whatever comes between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from client import reencryption, resealing
from client.crypto.wraps import OpenedKey
from client.errors import Refused, Unreachable
from client.results.keys import RotateResult
from client.results.progress import Progress
from client.session import Draft
from client.vault import Vault
from protocol.acts import CreateEpoch, Reencrypt, Role
from protocol.api import FetchBlocks
from protocol.blocks import Address, BlockRef
from protocol.errors import CommitmentMismatch, IntegrityError, ManifestMismatch
from protocol.limits import LIMITS
from tests.company import named
from tests.customers import CORE, GENERAL, SENSITIVE, TABLE, with_customers
from tests.deals import (
    Tampering,
    acts_since,
    commit_rubbish,
    honest,
    joined,
    through,
)
from tests.in_process import Lab

made = pytest.fixture(with_customers)


def collection_of(vault: Vault) -> bytes:
    (found,) = (each.id for each in vault.session.state.collections.values() if each.classes)
    return found


def epochs_in_use(vault: Vault, number: int) -> set[int]:
    where = vault.session.state.collections[collection_of(vault)]
    return {ref.epoch for _, ref in where.blocks(number)}


def live_epochs(vault: Vault, number: int) -> set[int]:
    known = vault.session.state.epochs[collection_of(vault), number]
    return {epoch.address.epoch for epoch in known if not epoch.retired}


async def test_everything_is_under_new_keys_and_reads_as_before(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    done = await seller.rotate(reencrypt=True)
    assert done.reencrypted is not None
    assert done.reencrypted.blocks == 3 * 3 + 3 + 1
    assert done.reencrypted.retired == 7
    for number in (0, 1, 2, 0x8000, 0x8001, 0x8002):
        assert epochs_in_use(seller, number) == live_epochs(seller, number) == {2}
    assert (await seller.read("customers")).equals(TABLE)
    assert await seller.title() == "Project Lark"


async def test_of_one_field_only_its_blocks_move(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    root = seller.session.state.collections[collection_of(seller)].root()
    asked: list[set[int]] = []
    await seller.collection("customers")  # so that the names are here already

    class Watching(Tampering):
        def fetch(self, vault_id, request, sizes):  # type: ignore[no-untyped-def]
            asked.append({number for batch in request.batches for number in batch.fields})
            return super().fetch(vault_id, request, sizes)

    with through(seller, Watching(honest(seller), lambda _, blocks: blocks)):
        done = await seller.rotate(collection="customers", fields=["orders"], reencrypt=True)
    assert asked == [{1}]
    assert named(done.fields) == ["customers: orders"]
    assert epochs_in_use(seller, 1) == live_epochs(seller, 1) == {2}
    assert epochs_in_use(seller, 0) == live_epochs(seller, 0) == {1}
    assert seller.session.state.collections[collection_of(seller)].root() != root
    assert (await seller.read("customers")).equals(TABLE)


async def test_the_server_keeps_no_block_and_no_wrap_of_what_was_replaced(
    made: tuple[Lab, Vault],
) -> None:
    lab, seller = made
    before = {
        ref.sha256
        for where in seller.session.state.collections.values()
        for batch in where.batches
        for ref in batch.manifest.blocks
    }
    await seller.rotate(reencrypt=True)
    await lab.service.sweep()
    storage = lab.service._storage
    stored = {row[0] for row in await storage._read("SELECT digest FROM blocks")}  # type: ignore[attr-defined]
    assert not stored & before
    now = {
        ref.sha256
        for where in seller.session.state.collections.values()
        for batch in where.batches
        for ref in batch.manifest.blocks
    }
    assert stored == now
    kept = {address for address, _ in seller.session.believed.wraps}
    assert kept == set(seller.session.state.live_addresses())


async def test_who_read_before_reads_after_and_newcomers_too(made: tuple[Lab, Vault]) -> None:
    lab, seller = made
    async with joined(lab, seller, "Bo", classes=[GENERAL, SENSITIVE]) as bo:
        before = await bo.read("customers")
        await seller.rotate(reencrypt=True)
        assert (await bo.read("customers")).equals(before)
        async with joined(lab, seller, "Cy", classes=[CORE]) as cy:
            assert (await cy.read("customers")).equals(TABLE.select(["note"]))


async def test_a_home_that_begins_after_a_retirement_gets_all_that_is_live(
    made: tuple[Lab, Vault],
) -> None:
    """Its box of shares holds some of what was retired, whose wraps are gone."""
    lab, seller = made
    async with joined(lab, seller, "Bo", classes=[GENERAL, SENSITIVE]) as bo:
        await seller.rotate(collection="customers", fields=["orders"], reencrypt=True)
        home = lab.home("Bo")
        kit = home.kit(bo)
        elsewhere = await lab.home("elsewhere").restore(kit)
        async with elsewhere:
            assert (await elsewhere.read("customers")).num_rows == 50
            assert (await elsewhere.log(verify=True)).verified


async def test_an_admin_rotates_what_it_holds(made: tuple[Lab, Vault]) -> None:
    lab, seller = made
    async with joined(lab, seller, "Ada", Role.ADMIN, [GENERAL]) as ada:
        done = await ada.rotate(collection="customers", reencrypt=True)
        assert "customers: orders" not in named(done.fields)
        await seller.session.sync()
        assert epochs_in_use(seller, 0) == {2}
        assert epochs_in_use(seller, 1) == {1}
        assert (await seller.read("customers")).equals(TABLE)


@pytest.mark.parametrize("role", [Role.BIDDER, Role.KEYLESS_ADMIN, Role.AUDITOR])
async def test_others_may_not(made: tuple[Lab, Vault], role: Role) -> None:
    lab, seller = made
    async with joined(lab, seller, "Bo", role) as bo:
        await seller.session.sync()
        size = seller.session.state.size
        with pytest.raises(Refused, match="may not do this"):
            await bo.rotate(reencrypt=True)
        assert await acts_since(seller, size) == []


async def test_erased_records_stay_erased(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    await seller.erase("customers", [1, 25, 26])
    left = await seller.read("customers")
    assert left.num_rows == 47
    await seller.rotate(collection="customers", reencrypt=True)
    assert (await seller.read("customers")).equals(left)
    again = await seller.erase("customers", [25])
    assert (again.records, again.already_gone) == (0, 1)


async def test_a_batch_that_is_erased_whole_lies_under_no_key(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    """It has no cell that could be under any key, so it holds up no retirement either."""
    await seller.erase("customers", range(1, 21))
    await seller.rotate(collection="customers", reencrypt=True)
    assert epochs_in_use(seller, 0) == {1, 2}
    assert live_epochs(seller, 0) == {2}
    assert (await seller.read("customers")).equals(TABLE.slice(20))


# --- saying first what would be done


async def test_a_plan_says_what_for_whom_and_how_long(made: tuple[Lab, Vault]) -> None:
    lab, seller = made
    async with joined(lab, seller, "Bo", classes=[GENERAL]):
        size = seller.session.state.size
        plan = await seller.plan_rotation(collection="customers", fields=["name"], reencrypt=True)
        assert named(plan.fields) == ["customers: name"]
        assert set(plan.holders) == {"Sue", "Bo"}
        assert (plan.blocks, plan.cells, plan.seconds) == (3, 50, None)
        assert plan.sealed_bytes == sum(
            ref.length
            for _, ref in seller.session.state.collections[collection_of(seller)].blocks(0)
        )
        assert await acts_since(seller, size) == []
        await seller.rotate(collection="customers", fields=["name"], reencrypt=True)
        plan = await seller.plan_rotation(collection="customers", fields=["name"], reencrypt=True)
        rate = seller.session.store.rate(reencryption.RATE)
        assert rate
        assert plan.seconds == 50 / rate
        forward = await seller.plan_rotation()
        assert (forward.blocks, forward.cells, forward.seconds) == (0, 0, None)


async def test_progress_counts_every_cell_once(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    heard: list[Progress] = []
    await seller.rotate(collection="customers", reencrypt=True, on_progress=heard.append)
    assert {each.total for each in heard} == {50 * 3 + 3}
    assert [each.done for each in heard] == sorted(each.done for each in heard)
    assert heard[-1].done == heard[-1].total


async def test_nothing_to_rotate_is_no_error(made: tuple[Lab, Vault]) -> None:
    lab, seller = made
    assert (await seller.rotate(tainted=True)).index is None
    assert (await seller.rotate(tainted=True, reencrypt=True)).index is None
    async with joined(lab, seller, "Ada", Role.ADMIN, [GENERAL]) as ada:
        await seller.withdraw_grant("Ada", classes=[GENERAL])
        done = await seller.rotate(tainted=True)
        assert named(done.fields) == ["customers: name"]
        assert not (await seller.status()).tainted_fields
        assert (await ada.new_keys()).way is None


# --- in parts, and again


async def test_many_blocks_move_in_parts_and_none_before_the_last(
    made: tuple[Lab, Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, seller = made
    monkeypatch.setattr(reencryption, "LIMITS", replace(LIMITS, act_moves=4))
    size = seller.session.state.size
    await seller.rotate(collection="customers", reencrypt=True)
    kinds = await acts_since(seller, size)
    parts = [
        each.payload
        for each in seller.session.believed.acts
        if each is not None and isinstance(each.payload, Reencrypt)
    ]
    assert kinds == ["create-epoch", *("re-encrypt" for _ in parts), "retire-epoch"]
    assert len(parts) >= 3
    assert [each.last for each in parts] == [*(False for _ in parts[1:]), True]
    # All of one batch stand in one part, since they are staged under one manifest.
    batches = [{move.batch for move in each.moves} for each in parts]
    assert sum(map(len, batches)) == len(set.union(*batches)) == 6
    assert (await seller.read("customers")).equals(TABLE)


async def cut_before_it_moves(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin to rotate one field; the connection breaks when all is sealed and nothing moved."""

    async def cut(*_: object) -> None:
        raise Unreachable("the cable was cut")

    with monkeypatch.context() as patch:
        patch.setattr(reencryption._Job, "_move", cut)
        with pytest.raises(Unreachable):
            await vault.rotate(collection="customers", fields=["orders"], reencrypt=True)


async def test_what_an_interrupted_run_has_sealed_is_not_sealed_again(
    made: tuple[Lab, Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, seller = made
    await cut_before_it_moves(seller, monkeypatch)
    assert epochs_in_use(seller, 1) == {1}
    with monkeypatch.context() as patch:
        patch.setattr(resealing, "reseal_block", None)
        done = await seller.rotate(collection="customers", fields=["orders"], reencrypt=True)
    assert done.reencrypted is not None
    assert done.reencrypted.resumed_blocks == done.reencrypted.blocks == 3
    assert seller.session.store.rotations.unfinished() == ()
    assert (await seller.read("customers")).equals(TABLE)


async def test_what_the_server_lost_is_sealed_again(
    made: tuple[Lab, Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, seller = made
    await cut_before_it_moves(seller, monkeypatch)
    assert await lab.service._storage.expire_staged(2**40)
    done = await seller.rotate(collection="customers", fields=["orders"], reencrypt=True)
    assert done.reencrypted is not None
    assert (done.reencrypted.resumed_blocks, done.reencrypted.blocks) == (0, 3)
    assert (await seller.read("customers")).equals(TABLE)


async def test_two_at_once_from_one_home_take_turns(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    with seller.session.store.uploading(), pytest.raises(Refused, match="another upload"):
        await seller.rotate(reencrypt=True)


async def test_of_two_admins_one_wins_and_the_other_is_told(made: tuple[Lab, Vault]) -> None:
    lab, seller = made
    async with joined(lab, seller, "Ada", Role.ADMIN) as ada:
        both = await asyncio.gather(
            seller.rotate(collection="customers", reencrypt=True),
            ada.rotate(collection="customers", reencrypt=True),
            return_exceptions=True,
        )
        done = [each for each in both if isinstance(each, RotateResult)]
        told = [each for each in both if isinstance(each, Refused)]
        assert len(done) + len(told) == 2, both
        assert done
        moved = [each.reencrypted for each in done if each.reencrypted]
        assert any(each.blocks for each in moved)
        for vault in (seller, ada):
            again = await vault.rotate(collection="customers", reencrypt=True)
            assert again.reencrypted is not None
            assert again.reencrypted.blocks == 12
        assert (await seller.read("customers")).equals(TABLE)
        assert (await ada.read("customers")).equals(TABLE)
        newest = {
            each: known[-1].address.epoch for each, known in seller.session.state.epochs.items()
        }
        for (collection, number), epoch in newest.items():
            if collection == collection_of(seller):
                assert epochs_in_use(seller, number) == {epoch}


# --- what does not open


async def test_names_that_do_not_open_are_told_and_all_else_is_done(
    made: tuple[Lab, Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keyed admin's rubbish keeps nobody from the rest, and can be erased."""
    _, seller = made
    where = collection_of(seller)
    await commit_rubbish(seller, where, 0x8000)
    with pytest.raises(IntegrityError, match="1 blocks do not open") as caught:
        await seller.rotate(reencrypt=True)
    assert "--unreadable" in (caught.value.hint or "")
    assert epochs_in_use(seller, 0) == {2}
    assert epochs_in_use(seller, 0x8000) == {1, 2}
    assert live_epochs(seller, 0x8000) == {1, 2}
    erased = await seller.erase("customers", unreadable=True)
    assert erased.records == 1
    await seller.rotate(reencrypt=True)
    assert len(live_epochs(seller, 0x8000)) == 1
    assert (await seller.read("customers")).equals(TABLE)


async def test_an_epoch_that_nobody_can_open_is_retired(made: tuple[Lab, Vault]) -> None:
    """Made with a false confirmation, it kept everybody from being granted the field."""
    lab, seller = made
    session = seller.session
    await seller.session.sync()
    draft = session.next_epochs([(collection_of(seller), 0)])
    (address, new) = next(iter(draft.created.items()))
    false = replace(new.definition, confirmation=bytes(32))
    created = {address: replace(new, definition=false)}
    await session.act(lambda _: Draft(CreateEpoch((false,)), created))
    async with joined(lab, seller, "Bo") as bo:
        with pytest.raises(CommitmentMismatch):
            await seller.grant("Bo", fields=["name"])
        await seller.rotate(collection="customers", fields=["name"], reencrypt=True)
        assert live_epochs(seller, 0) == {3}
        await seller.grant("Bo", fields=["name"])
        assert (await bo.read("customers")).equals(TABLE.select(["name"]))


async def test_another_block_than_the_committed_one_is_the_servers_lie(
    made: tuple[Lab, Vault],
) -> None:
    _, seller = made

    def tamper(_: FetchBlocks, blocks: list[bytes]) -> list[bytes]:
        return [blocks[0][:-1] + bytes([blocks[0][-1] ^ 1]), *blocks[1:]]

    liar = Tampering(honest(seller), tamper)
    with through(seller, liar), pytest.raises(ManifestMismatch):
        await seller.rotate(collection="customers", fields=["name"], reencrypt=True)
    assert liar.lies
    assert epochs_in_use(seller, 0) == {1}
    await seller.rotate(collection="customers", fields=["name"], reencrypt=True)
    assert epochs_in_use(seller, 0) == live_epochs(seller, 0) == {2}


async def test_a_block_that_no_key_opens_is_the_committed_one_or_the_servers_lie(
    made: tuple[Lab, Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a server that sends anything instead would be covered by whoever made the false key."""
    _, seller = made
    await seller.session.sync()
    false, key = Address(collection_of(seller), 0, 1), seller.session.key

    def opened(address: Address) -> OpenedKey:
        if address == false:
            raise CommitmentMismatch("not the key that was published")
        return key(address)

    monkeypatch.setattr(seller.session, "key", opened)
    liar = Tampering(honest(seller), lambda _, blocks: [bytes(len(each)) for each in blocks])
    with through(seller, liar), pytest.raises(ManifestMismatch):
        await seller.rotate(collection="customers", fields=["name"], reencrypt=True)
    with pytest.raises(IntegrityError, match="blocks do not open"):
        await seller.rotate(collection="customers", fields=["name"], reencrypt=True)


async def test_a_new_salt_and_a_new_key_for_every_block(made: tuple[Lab, Vault]) -> None:
    _, seller = made
    before = {ref.salt for ref in refs(seller)}
    await seller.rotate(collection="customers", reencrypt=True)
    after = {ref.salt for ref in refs(seller)}
    assert not before & after
    assert len(after) == len(list(refs(seller)))


def refs(vault: Vault) -> Iterator[BlockRef]:
    where = vault.session.state.collections[collection_of(vault)]
    return (ref for batch in where.batches for ref in batch.manifest.blocks)
