"""Commands that are cut at any of their requests, and given again: each act lands once."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from client.errors import Refused, Unreachable
from client.home import Home
from client.vault import Vault
from protocol.acts import Reason, Role
from tests.deals import Breaking, Counter, Deal, a_deal, a_vault, acts_since, honest, through
from tests.in_process import ServiceTransport
from tests.uploading import SENSITIVE, TABLE

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


@pytest.mark.threat("R10")
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


@pytest.mark.threat("R10")
async def test_an_offer_cut_anywhere_is_made_once(tmp_path: Path) -> None:
    async def prepare(deal: Deal) -> None:
        await deal.seller.upload(TABLE.slice(0, 3), collection="customers")

    async for deal, seller in cut_everywhere(
        tmp_path, prepare, lambda seller: seller.offer("Bo"), "seller"
    ):
        assert (await acts_since(seller, 0)).count("offer") == 1
        await deal.accept()
        assert (await deal.buyer.read("customers")).equals(TABLE.slice(0, 3))


@pytest.mark.threat("R10")
async def test_a_rejection_cut_anywhere_is_made_once(tmp_path: Path) -> None:
    async def prepare(deal: Deal) -> None:
        await deal.seller.upload(TABLE.slice(0, 3), collection="customers")
        await deal.offer()

    async for deal, buyer in cut_everywhere(
        tmp_path, prepare, lambda buyer: buyer.reject(Reason.TERMS), "buyer"
    ):
        assert (await acts_since(buyer, 0)).count("reject") == 1
        assert (await deal.seller.status()).offer is None


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


@pytest.mark.threat("R21")
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
