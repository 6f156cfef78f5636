"""Removing people, and replacing what they held, by the real client."""

from __future__ import annotations

from pathlib import Path

import pytest

from client import removing
from client.errors import Refused
from client.fields import field_labels
from client.people import PEOPLE
from protocol.acts import Reason
from tests.company import ALL, CLASSES, TABLE, company, customers, members

GENERAL, SENSITIVE, CORE = ALL


async def test_a_removal_cuts_off_and_replaces_what_its_author_may_hold(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada, bo = await cast("ada"), await cast("bo")
        await bo.read("customers", fields=["name"])
        await ada.grant("Bo", fields=["iban"])
        await ada.withdraw_grant("Bo", fields=["iban"])
        done = await ada.revoke("Bo", Reason.LOST_BID)
        assert done.name == "Bo"
        # What was withdrawn before it could have kept; that counts as what it could have read.
        names = ("name", "iban", "names of general fields", "names of core fields")
        assert set(done.could_read) == set(names)
        assert (done.admitted_reads > 0, done.admitted_blocks > 0) == (True, True)
        assert set(done.rotated.fields) >= {"name", "names of general fields"}
        assert done.left_tainted == ()
        assert done.rotated.index is not None
        assert done.rotated.index > done.index
        with pytest.raises(Refused, match="no longer a member"):
            await bo.read("customers", fields=["name"])
        again = await ada.revoke("Bo", Reason.LOST_BID)
        assert (again.index, again.rotated.index, again.could_read) == (
            done.index,
            None,
            done.could_read,
        )
        assert (await (await cast("olga")).status()).tainted_fields == 0


async def test_an_admin_without_keys_cuts_off_and_leaves_the_rest_to_others(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        kim = await cast("kim")
        done = await kim.revoke("Bo", Reason.LEFT)
        assert (done.rotated.index, done.rotated.fields) == (None, ())
        assert set(done.left_tainted) == {"name", "names of general fields"}
        assert (await kim.status()).tainted_fields == 2
        olga = await cast("olga")
        await olga.upload(TABLE, collection="more", classes=CLASSES)
        rotated = await olga.rotate(collection="customers")
        assert set(rotated.fields) >= set(done.left_tainted)
        assert rotated.wraps > len(rotated.fields)
        assert (await kim.status()).tainted_fields == 0
        assert (await removing.rotate(olga.session, [])).index is None


async def test_what_is_rotated_is_only_what_one_holds(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        await olga.withdraw_grant("Ada", classes=[CORE])
        await olga.grant("Bo", classes=[CORE])
        done = await ada.revoke("Bo", Reason.LEFT)
        assert done.left_tainted == ("iban",)
        assert "iban" not in done.rotated.fields
        assert "field 2" not in done.could_read
        with pytest.raises(Refused):
            await ada.rotate(fields=["iban"])
        people = await field_labels(ada.session, [PEOPLE])
        assert people == ("names of people",)


async def test_nobody_removes_the_owner_and_no_admin_another(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada, kim, bo = await cast("ada"), await cast("kim"), await cast("bo")
        for vault, who, why in [
            (ada, "Olga", "nobody revokes the owner"),
            (kim, "Olga", "nobody revokes the owner"),
            (ada, "Kim", "only the owner revokes an admin"),
            (kim, "Ada", "only the owner revokes an admin"),
            (bo, (await cast.id_of("aud")).hex(), "bidder may not"),
        ]:
            with pytest.raises(Refused, match=why):
                await vault.revoke(who, Reason.BREACH)
        olga = await cast("olga")
        await olga.revoke("Ada", Reason.BREACH)
        await olga.revoke("Una", Reason.LEFT)
        listed = await members(olga)
        assert (listed["Ada"].status, listed["Una"].status) == ("revoked", "revoked")


async def test_fields_whose_names_one_may_not_know_are_numbered(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await cast("bo")
        where = customers(bo)
        assert await field_labels(bo.session, [(where, 0), (where, 2)]) == ("name", "field 2")
        (listed,) = [m for m in await bo.members() if m.me]
        assert listed.grants == ("general",)
