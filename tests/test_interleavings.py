"""What meets what (SPEC section 9.10): somebody else's act in the middle of a long work.

Each row of the table, for a re-encryption and for an upload: the other's act lands when all is
sealed and nothing has moved; then again with this client killed at that moment, and the same
command repeated. Whatever happens, every record reads as before or after, and never neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client import reencryption, uploads
from client.errors import InputError, Refused, Unreachable
from client.results.keys import RotateResult
from client.vault import Vault
from protocol.acts import Commit, Reason, Role
from protocol.blocks import FieldClass
from tests.deals import a_vault, acts_since, commit_records, in_batches_of, joined, rows
from tests.in_process import Lab

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
TABLE = rows(50)
CLASSES = {"name": GENERAL, "orders": SENSITIVE, "note": CORE}


@dataclass
class Meeting:
    """A vault in which an admin works long, and others come between."""

    lab: Lab
    owner: Vault
    worker: Vault
    bidder: Vault

    @property
    def where(self) -> bytes:
        state = self.owner.session.state
        return next(each.id for each in state.collections.values() if each.classes)

    async def epochs(self, number: int) -> set[int]:
        """Return under which epochs the records of a field lie."""
        await self.owner.session.sync()
        where = self.owner.session.state.collections[self.where]
        return {ref.epoch for batch, ref in where.blocks(number) if batch.records}

    async def reads(self) -> pa.Table:
        return await self.owner.read("customers")


@pytest.fixture
async def meeting(tmp_path: Path) -> AsyncIterator[Meeting]:
    async with AsyncExitStack() as stack:
        lab, owner = await stack.enter_async_context(a_vault(tmp_path))
        await owner.upload(
            TABLE, collection="customers", classes=CLASSES, options=in_batches_of(20)
        )
        worker = await stack.enter_async_context(joined(lab, owner, "Ada", Role.ADMIN))
        bidder = await stack.enter_async_context(joined(lab, owner, "Bo", classes=[GENERAL]))
        yield Meeting(lab, owner, worker, bidder)


# --- others' acts


async def appends(m: Meeting) -> None:
    await m.owner.upload(TABLE, collection="more", classes=CLASSES)


async def grants(m: Meeting) -> None:
    await m.owner.grant("Bo", classes=[SENSITIVE])


async def erases(m: Meeting) -> None:
    await m.owner.erase("customers", [1, 50])


async def revokes_a_holder(m: Meeting) -> None:
    await m.owner.revoke("Bo", Reason.LOST_BID)


async def withdraws(m: Meeting) -> None:
    await m.owner.withdraw_grant("Bo", classes=[GENERAL])


async def rotates_identity(m: Meeting) -> None:
    await m.lab.home("Bo").rotate_identity(m.bidder)


async def invites(m: Meeting) -> None:
    await m.owner.invite(Role.BIDDER, name="Cy", classes=[GENERAL])


async def creates_an_epoch(m: Meeting) -> None:
    await m.owner.rotate(collection="customers", fields=["name"])


async def re_encrypts_the_same(m: Meeting) -> None:
    await m.owner.rotate(collection="customers", fields=["name"], reencrypt=True)


async def offers(m: Meeting) -> None:
    await m.owner.offer("Bo", yes=True)


async def freezes(m: Meeting) -> None:
    await m.owner.freeze(Reason.BREACH)


async def retires_the_collection(m: Meeting) -> None:
    await m.owner.retire_collection("customers")


async def destroys(m: Meeting) -> None:
    await m.owner.destroy()


Other = Callable[[Meeting], Awaitable[None]]

GOES_ON: list[Other] = [
    appends,
    grants,
    erases,
    revokes_a_holder,
    withdraws,
    rotates_identity,
    invites,
    creates_an_epoch,
    re_encrypts_the_same,
]
STOPS: list[Other] = [offers, freezes, retires_the_collection, destroys]


def named(other: Other) -> str:
    return getattr(other, "__name__", "?")


# --- coming between


@contextmanager
def once_before(
    patch: pytest.MonkeyPatch, where: Any, name: str, act: Callable[[], Awaitable[None]]
) -> Iterator[list[int]]:
    """Do something once, right before a step of the work; later times it is as it was."""
    step, times = getattr(where, name), [0]

    async def between(*args: Any, **kwargs: Any) -> Any:
        times[0] += 1
        if times[0] == 1:
            await act()
        return await step(*args, **kwargs)

    with patch.context() as patched:
        patched.setattr(where, name, between)
        yield times


async def rotate(m: Meeting) -> RotateResult:
    return await m.worker.rotate(collection="customers", fields=["name"], reencrypt=True)


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
@pytest.mark.parametrize("other", GOES_ON, ids=named)
async def test_a_re_encryption_goes_on_or_begins_anew(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch, other: Other, killed: bool
) -> None:
    before = await meeting.reads()

    async def comes_between() -> None:
        await other(meeting)
        if killed:
            raise Unreachable("the cable was cut")

    with once_before(monkeypatch, reencryption._Job, "_move", comes_between) as times:
        if killed:
            with pytest.raises(Unreachable):
                await rotate(meeting)
            await meeting.worker.session.sync()
            assert await meeting.reads()  # in the middle, as ever
            done = await rotate(meeting)
        else:
            done = await rotate(meeting)
    assert times[0] >= 1
    assert done.reencrypted is not None
    after = await meeting.reads()
    if other is erases:
        assert after.equals(before.slice(1, 48))
    else:
        assert after.equals(before)
    state = meeting.owner.session.state
    # Nothing of what was there at the start is left, and what is there is readable to holders.
    assert 1 not in await meeting.epochs(0)
    tainted = {each.address.epoch for each in state.epochs[meeting.where, 0] if each.tainted}
    assert not tainted & await meeting.epochs(0)
    if other is grants:
        assert (await meeting.bidder.read("customers")).num_columns == 2


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
@pytest.mark.parametrize("other", STOPS, ids=named)
async def test_a_re_encryption_stops_and_nothing_is_lost(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch, other: Other, killed: bool
) -> None:
    before = await meeting.reads()

    async def comes_between() -> None:
        await other(meeting)
        if killed:
            raise Unreachable("the cable was cut")

    meets = once_before(monkeypatch, reencryption._Job, "_move", comes_between)
    with meets, pytest.raises(Unreachable if killed else Refused):
        await rotate(meeting)
    await meeting.owner.session.sync()
    if other is offers:
        assert await meeting.epochs(0) == {1}
        await meeting.bidder.accept(yes=True)
        assert (await meeting.bidder.read("customers")).equals(before)
        return
    if other is freezes:
        with pytest.raises(Refused, match="frozen"):
            await rotate(meeting)
        await meeting.owner.unfreeze()
        assert (await meeting.reads()).equals(before)
        done = await rotate(meeting)
        assert done.reencrypted is not None
        assert done.reencrypted.resumed_blocks == 3
        assert (await meeting.reads()).equals(before)
        return
    with pytest.raises(InputError, match="no collection"):
        await meeting.reads()
    assert [each.classes for each in meeting.owner.session.state.collections.values()] == [()]


async def test_the_workers_own_new_identity_begins_anew(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = meeting.lab.home("Ada")

    async def comes_between() -> None:
        await home.rotate_identity(meeting.worker)

    meets = once_before(monkeypatch, reencryption._Job, "_move", comes_between)
    with meets, pytest.raises(Refused):
        await rotate(meeting)
    assert await meeting.epochs(0) == {1}
    with pytest.raises(Refused, match="confirmed"):
        await rotate(meeting)
    await meeting.owner.confirm("Ada", yes=True)
    done = await rotate(meeting)
    assert done.reencrypted is not None
    assert done.reencrypted.blocks == 3
    assert 1 not in await meeting.epochs(0)
    assert (await meeting.reads()).equals(TABLE)


async def test_commits_that_come_meanwhile_move_in_a_second_pass(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that has not seen the new epoch yet commits under the old one, which is open."""
    session = meeting.owner.session
    old = session.state.newest(meeting.where, 0)
    assert old is not None

    async def comes_between() -> None:
        await commit_records(meeting.owner, meeting.where, {0: 1}, 7)

    with once_before(monkeypatch, reencryption._Job, "_move", comes_between) as times:
        done = await rotate(meeting)
    assert times[0] == 2
    assert done.reencrypted is not None
    assert done.reencrypted.blocks == 4
    assert await meeting.epochs(0) == {2}


# --- uploads


async def upload(m: Meeting, name: str = "others") -> Any:
    return await m.worker.upload(TABLE, collection=name, classes=CLASSES, options=in_batches_of(20))


@pytest.mark.parametrize(
    "other",
    [appends, grants, erases, revokes_a_holder, withdraws, rotates_identity, invites],
    ids=named,
)
async def test_an_upload_goes_on_by_itself(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch, other: Other
) -> None:
    async def comes_between() -> None:
        await other(meeting)

    with once_before(monkeypatch, uploads.Upload, "_commit", comes_between):
        await upload(meeting)
    assert (await meeting.owner.read("others")).equals(TABLE)


@pytest.mark.parametrize("other", [offers, freezes, destroys], ids=named)
async def test_an_upload_stops_with_its_vault(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: Other
) -> None:
    file = tmp_path / "others.parquet"
    pq.write_table(TABLE, file)

    async def go() -> Any:
        options = in_batches_of(20)
        return await meeting.worker.upload(
            file, collection="others", classes=CLASSES, options=options
        )

    async def comes_between() -> None:
        await other(meeting)

    with once_before(monkeypatch, uploads.Upload, "_commit", comes_between), pytest.raises(Refused):
        await go()
    if other is destroys:
        return
    if other is offers:
        await meeting.bidder.reject(Reason.TERMS)
        await meeting.owner.rotate(tainted=True)
    else:
        await meeting.owner.unfreeze()
    size = meeting.owner.session.state.size
    done = await go()
    assert "commit" in await acts_since(meeting.owner, size)
    assert (await meeting.owner.read("others")).equals(TABLE)
    assert done.records == 50


async def test_only_what_has_not_landed_is_sealed_anew(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of a commit that landed before a taint stand, as a whole commit would."""
    monkeypatch.setattr(uploads, "PART_BYTES", 250)
    parts = 0
    landed = asyncio.Event()
    real_act = meeting.worker.session.act

    async def act(build: Any, **more: Any) -> int:
        nonlocal parts
        index = await real_act(build, **more)
        said = meeting.worker.session.believed.acts[index]
        assert said is not None
        parts += isinstance(said.payload, Commit)
        if parts == 3 and not landed.is_set():
            landed.set()
            await revokes_a_holder(meeting)
        return index

    monkeypatch.setattr(meeting.worker.session, "act", act)
    await upload(meeting)
    assert landed.is_set()
    assert (await meeting.owner.read("others")).equals(TABLE)
    (where,) = (
        each
        for each in meeting.owner.session.state.collections.values()
        if each.classes and each.id != meeting.where
    )
    epochs = [
        {ref.epoch for ref in batch.manifest.blocks if ref.field == 0}
        for batch in where.batches
        if not batch.manifest.is_catalog
    ]
    assert epochs == sorted(epochs, key=sorted)
