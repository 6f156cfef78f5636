"""Who is told to make new keys, and by which command (SPEC sections 9.4, 9.6 and 10.5)."""

from __future__ import annotations

from pathlib import Path

from client.results.vaults import NewKeys, Way
from protocol.acts import Reason
from protocol.blocks import FieldClass
from tests.company import TABLE, company

EVERYBODY = ("olga", "ada", "kim", "bo", "aud")


async def test_only_those_who_may_make_keys_are_told_to_and_only_of_those_they_hold(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        await olga.withdraw_grant("Ada", classes=[FieldClass.CORE])
        await olga.rotate(tainted=True)
        await olga.grant("Bo", classes=[FieldClass.CORE])
        kim = await cast("kim")
        await kim.withdraw_grant("Bo", classes=[FieldClass.CORE, FieldClass.GENERAL])
        told = {}
        for who in EVERYBODY:
            vault = await cast(who)
            told[who] = (await vault.status()).new_keys
            assert await vault.new_keys() == told[who]
        waiting = told["olga"].fields
        assert waiting >= 2
        assert told["olga"] == NewKeys(waiting, waiting, Way.ROTATE)
        assert told["ada"].way is Way.ROTATE
        assert 0 < told["ada"].mine < waiting  # the core field is closed to her
        assert {told[who] for who in ("kim", "bo", "aud")} == {NewKeys(waiting, 0, None)}
        assert (await ada.rotate(tainted=True)).index is not None
        assert await ada.new_keys() == NewKeys(waiting - told["ada"].mine, 0, None)


async def test_while_it_is_offered_or_frozen_nobody_is_told_to(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        await (await cast("kim")).withdraw_grant("Bo", classes=[FieldClass.GENERAL])
        waiting = (await olga.status()).new_keys
        assert waiting.way is Way.ROTATE
        await olga.freeze(Reason.BREACH)
        assert await olga.new_keys() == NewKeys(waiting.fields, 0, None)
        await olga.unfreeze()
        await olga.offer("Bo", yes=True)
        assert await olga.new_keys() == NewKeys(waiting.fields, 0, None)


async def test_an_admin_who_is_not_confirmed_makes_no_keys(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        await (await cast("kim")).withdraw_grant("Bo", classes=[FieldClass.GENERAL])
        uma = (await (await cast("uma")).status()).new_keys
        assert (uma.mine, uma.way) == (0, None)
        assert uma.fields > 0


async def test_a_new_owner_takes_over_until_the_seller_knows_no_key_in_use(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        seller, buyer = await cast("olga"), await cast("bo")
        await seller.offer("Bo", yes=True)
        assert (await buyer.new_keys()).way is None
        await buyer.accept(yes=True)
        assert (await buyer.new_keys()).way is Way.TAKEOVER
        former = (await seller.status()).new_keys
        assert (former.mine, former.way) == (0, None)
        # New keys for what comes next do not make an end of those that the seller knows.
        await buyer.rotate(tainted=True)
        assert await buyer.new_keys() == NewKeys(0, 0, Way.TAKEOVER)
        await buyer.takeover()
        assert await buyer.new_keys() == NewKeys(0, 0, None)
        assert (await buyer.read("customers")).equals(TABLE)
