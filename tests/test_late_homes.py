"""Homes that come late: what the server has deleted since does not make it a liar.

A former member is shown the log up to its removal (SPEC section 10.2), and so never the act by
which the keys were retired that are missing beside it; and keys may go while a log is being read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from client.errors import Refused, Unreachable
from client.transport import Transport
from client.trust import ATTEMPTS
from client.vault import Vault
from protocol.acts import Reason, Role
from protocol.api import LogPage, LogPart
from protocol.blocks import FieldClass
from protocol.errors import NotAuthorised
from protocol.merkle import leaf_hash
from tests.deals import Breaking, a_vault, joined, rows, through
from tests.in_process import Lab
from tests.liars import Altered, Liar, Lie

GENERAL = FieldClass.GENERAL
TABLE = rows(5)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[tuple[Lab, Vault]]:
    async with a_vault(tmp_path) as (lab, owner):
        await owner.upload(TABLE, collection="customers", default=GENERAL)
        yield lab, owner


async def all_is_replaced(lab: Lab, owner: Vault) -> None:
    """Put everything under new keys twice, and delete what lay beside the log of the old ones."""
    for _ in range(2):
        await owner.rotate(reencrypt=True)
    await lab.service.sweep()


async def test_who_was_removed_while_away_learns_it_attests_and_comes_back(
    made: tuple[Lab, Vault],
) -> None:
    lab, owner = made
    async with joined(lab, owner, "Bo", classes=[GENERAL]) as bo:
        await bo.session.sync()
        await owner.rotate()  # keys for Bo, which it does not see in time
        done = await owner.revoke("Bo", Reason.KEY_LOST, reencrypt=True, reinvite=True)
        await all_is_replaced(lab, owner)
        with pytest.raises(Refused) as caught:
            await bo.read("customers")
        assert caught.value.refusal == "removed"
    assert done.invited is not None
    vault, result = await lab.home("Bo").join(done.invited.link)
    async with vault:
        await owner.confirm("Bo", words=result.words)
        assert (await vault.read("customers")).equals(TABLE)


async def test_a_seller_that_was_away_attests(made: tuple[Lab, Vault]) -> None:
    lab, owner = made
    async with (
        joined(lab, owner, "Ada", Role.ADMIN) as ada,
        joined(lab, owner, "Bo") as bo,
    ):
        await ada.session.sync()
        await owner.rotate()
        await owner.offer("Bo", yes=True)
        await bo.accept(yes=True)
        await bo.takeover()
        await all_is_replaced(lab, bo)
        for name, member in (("Ada", ada), ("seller", owner)):
            home = lab.home(name)
            done = await home.attest_destroyed(member)
            assert done.statement == "keys-destroyed"


async def test_a_rotation_of_ones_identity_that_landed_unnoticed_goes_on_late(
    made: tuple[Lab, Vault],
) -> None:
    lab, owner = made
    async with joined(lab, owner, "Bo", classes=[GENERAL]) as bo:
        cut = Breaking(bo.session.transport, 3, after=True)  # the act itself, unanswered
        with through(bo, cut), pytest.raises(Unreachable):
            await lab.home("Bo").rotate_identity(bo)
        await bo.close()
        await owner.session.sync()
        assert owner.session.state.members[bo.identity.member_id].successor is not None
        await all_is_replaced(lab, owner)
        async with lab.home("Bo").vault() as late:
            assert (await late.read("customers")).equals(TABLE)
            assert late.identity.member_id != bo.identity.member_id
            on_record = {address for address, _ in late.session.believed.wraps}
            assert on_record == set(owner.session.state.live_addresses())


def withheld(index: int) -> Callable[[LogPage], LogPage]:
    """Return what leaves out everything beside one leaf, and says that it was deleted."""

    def change(page: LogPage) -> LogPage:
        leaves = list(page.leaves)
        at = index - page.start
        if 0 <= at < len(leaves):
            gone = (LogPart(None, leaf_hash(part.content or b"")) for part in leaves[at].sides)
            leaves[at] = replace(leaves[at], sides=tuple(gone))
        return replace(page, leaves=tuple(leaves))

    return change


@asynccontextmanager
async def replaced_unawares(lab: Lab, owner: Vault) -> AsyncIterator[int]:
    """Let Bo join and replace its identity, and its home not hear of it; give that act's index."""
    async with joined(lab, owner, "Bo", classes=[GENERAL]) as bo:
        await bo.session.sync()
        cut = Breaking(bo.session.transport, 3, after=True)
        with through(bo, cut), pytest.raises(Unreachable):
            await lab.home("Bo").rotate_identity(bo)
        await bo.close()
        await owner.session.sync()
        index = owner.session.state.members[bo.identity.member_id].removed_at
        assert index is not None
        yield index


async def test_what_is_withheld_from_who_was_replaced_is_missed_by_who_follows(
    made: tuple[Lab, Vault],
) -> None:
    """The log of the old identity ends early, and so proves nothing; the new one's does not."""
    lab, owner = made
    async with replaced_unawares(lab, owner) as index:
        lie = Altered(withheld(index))
        async with lab.home("Bo", lambda honest: Liar(honest, lie)).vault() as late:
            with pytest.raises(NotAuthorised, match=f"leaf {index} .* withholds keys"):
                await late.session.sync()


class OnlyFirst(Altered):
    """Withholds what is beside one leaf, and is gone after the first page."""

    def __init__(self, index: int) -> None:
        super().__init__(withheld(index))
        self.pages = 0

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        self.pages += 1
        if self.pages > 1:
            raise Unreachable("the cable was cut")
        return await super().log_page(honest, vault_id, start)


async def test_what_was_withheld_from_who_was_replaced_is_missed_by_a_later_process_too(
    made: tuple[Lab, Vault],
) -> None:
    """The one that read the old identity's log is cut off; the server is honest afterwards."""
    lab, owner = made
    async with replaced_unawares(lab, owner) as index:
        lie = OnlyFirst(index)
        async with lab.home("Bo", lambda honest: Liar(honest, lie)).vault() as first:
            with pytest.raises(Unreachable):
                await first.session.sync()
            owed = first.session.store.owed()
        assert set(owed.values()) == {index}
        for _ in range(2):
            async with lab.home("Bo").vault() as late:
                with pytest.raises(NotAuthorised, match=f"leaf {index} .* withholds keys"):
                    await late.session.sync()
        # Retired, they are owed to nobody.
        await owner.confirm("Bo", yes=True)
        await all_is_replaced(lab, owner)
        async with lab.home("Bo").vault() as late:
            assert (await late.read("customers")).equals(TABLE)
            assert late.session.store.owed() == {}


class Meanwhile(Lie):
    """Sends the log leaf by leaf; something is done once the first of them is out."""

    def __init__(self, act: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self.act = act
        self.pages = 0

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        page = await honest.log_page(vault_id, start)
        self.pages += 1
        if self.pages == 1:
            await self.act()
        return replace(page, leaves=page.leaves[:1])


async def test_keys_may_be_retired_while_the_log_is_being_read(made: tuple[Lab, Vault]) -> None:
    lab, owner = made
    async with joined(lab, owner, "Bo", classes=[GENERAL]) as bo:
        await bo.session.sync()
        for _ in range(2):
            await owner.rotate()
        meanwhile = Meanwhile(lambda: all_is_replaced(lab, owner))
        with through(bo, Liar(bo.session.transport, meanwhile)):
            await bo.session.sync()
        assert meanwhile.pages > 4
        assert bo.session.state.control_head == owner.session.state.control_head
        assert (await bo.read("customers")).equals(TABLE)


async def test_what_is_withheld_is_missed_where_the_log_does_not_grow(
    made: tuple[Lab, Vault],
) -> None:
    lab, owner = made
    async with joined(lab, owner, "Bo", classes=[GENERAL]) as bo:
        await bo.session.sync()
        await owner.rotate()
        index = owner.session.state.control_head
        lie = Altered(withheld(index))
        liar = Liar(bo.session.transport, lie)
        refused = pytest.raises(NotAuthorised, match=f"leaf {index} .* withholds keys")
        with through(bo, liar), refused:
            await bo.session.sync()
        await bo.session.sync()


class Growing(Lie):
    """Withholds keys, and has something land before each page: its log never stands still."""

    def __init__(self, land: Callable[[], Awaitable[object]], index: int) -> None:
        super().__init__()
        self.land = land
        self.change = withheld(index)
        self.pages = 0

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        self.pages += 1
        await self.land()
        return self.change(await honest.log_page(vault_id, start))


async def test_what_is_withheld_is_missed_though_the_log_grows_for_ever(
    made: tuple[Lab, Vault],
) -> None:
    lab, owner = made
    async with joined(lab, owner, "Bo", classes=[GENERAL]) as bo:
        await bo.session.sync()
        pin = bo.session.believed.pin
        await owner.rotate()
        index = owner.session.state.control_head
        lie = Growing(owner.heartbeat, index)
        liar = Liar(bo.session.transport, lie)
        refused = pytest.raises(NotAuthorised, match=f"leaf {index} .* withholds keys")
        with through(bo, liar), refused:
            await bo.session.sync()
        assert lie.pages > ATTEMPTS
        assert bo.session.believed.pin == pin
        await bo.session.sync()
