"""Removing people, and replacing what they held, by the real client."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from client import removing, table_uploads
from client.errors import Refused
from client.fields import field_names
from client.people import PEOPLE
from client.results.data import FieldsOf
from client.results.keys import KeysWait, Undone
from protocol.acts import Reason
from tests.company import ALL, CLASSES, TABLE, company, customers, members, named

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
        assert done.could_read == (FieldsOf("customers", names),)
        assert (done.admitted_reads > 0, done.admitted_blocks > 0) == (True, True)
        replaced = {"customers: name", "customers: names of general fields"}
        assert set(named(done.rotated.fields)) >= replaced
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
        left = FieldsOf("customers", ("name", "names of general fields"))
        assert done.left_tainted == (left,)
        assert (await kim.status()).tainted_fields == 2
        olga = await cast("olga")
        await olga.upload(TABLE, collection="more", classes=CLASSES)
        rotated = await olga.rotate(collection="customers")
        assert set(named(rotated.fields)) >= set(named(done.left_tainted))
        assert rotated.wraps > len(named(rotated.fields))
        assert (await kim.status()).tainted_fields == 0
        assert (await removing.rotate(olga.session, [])).index is None


async def test_what_is_rotated_is_only_what_one_holds(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        await olga.withdraw_grant("Ada", classes=[CORE])
        await olga.grant("Bo", classes=[CORE])
        done = await ada.revoke("Bo", Reason.LEFT)
        assert done.left_tainted == (FieldsOf("customers", ("iban",)),)
        assert "customers: iban" not in named(done.rotated.fields)
        assert "customers: field 2" not in named(done.could_read)
        with pytest.raises(Refused):
            await ada.rotate(fields=["iban"])
        people = await field_names(ada.session, [PEOPLE])
        assert people == (FieldsOf(None, ("names of people",)),)


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
        assert await field_names(bo.session, [(where, 0), (where, 2)]) == (
            FieldsOf("customers", ("name", "field 2")),
        )
        (listed,) = [m for m in await bo.members() if m.me]
        assert listed.grants == ("general",)


async def test_fields_are_told_by_their_collections_however_those_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        # Nobody finds the other's, as when two members begin at once.
        monkeypatch.setattr(table_uploads, "collection_named", AsyncMock(return_value=None))
        made = [
            (await olga.upload(TABLE.slice(at), collection=name, classes=CLASSES)).collection_id
            for at, name in enumerate(["twins", "twins", "orders"])
        ]
        fields = [(bytes.fromhex(each), 0) for each in made]
        told = await field_names(olga.session, [PEOPLE, *fields, (customers(olga), 0)])
        assert told == (
            FieldsOf("customers", ("name",)),
            FieldsOf("orders", ("name",)),
            *(FieldsOf(f"twins ({each[:8]})", ("name",)) for each in sorted(made[:2])),
            FieldsOf(None, ("names of people",)),
        )


async def test_under_an_open_offer_a_removal_lands_and_what_waits_is_told_and_done_later(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        olga, kim, bo = await cast("olga"), await cast("kim"), await cast("bo")
        await olga.offer("Bo", yes=True)
        both = (Undone.REENCRYPT, Undone.REINVITE)
        plan = await olga.plan_revocation("Ada", reencrypt=True, reinvite=True)
        assert (plan.keys_wait, plan.undone, plan.replaced) == (KeysWait.OFFER, both, ())
        assert (await olga.plan_revocation("Ada")).undone == ()
        done = await olga.revoke("Ada", Reason.KEY_LOST, reencrypt=True, reinvite=True)
        assert (done.keys_wait, done.undone) == (KeysWait.OFFER, both)
        assert (done.rotated.index, done.invited) == (None, None)
        assert done.left_tainted
        assert (await members(olga))["Ada"].status == "revoked"
        # A plan that a rotation could not keep is none.
        for rotate in (olga.plan_rotation, olga.rotate):
            with pytest.raises(Refused, match="offer"):
                await rotate(tainted=True)
        await bo.reject(Reason.OTHER)
        again = await olga.revoke("Ada", Reason.KEY_LOST, reencrypt=True, reinvite=True)
        assert (again.index, again.keys_wait, again.undone) == (done.index, None, ())
        assert again.rotated.reencrypted is not None
        assert again.invited is not None
        assert again.left_tainted == ()
        assert (await olga.plan_rotation()).fields
        lacking = await kim.plan_revocation("Bo", reencrypt=True)
        assert (lacking.keys_wait, lacking.undone) == (KeysWait.ROLE, (Undone.REENCRYPT,))


async def test_what_waits_under_a_freeze_is_told_as_such(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        await olga.offer("Bo", yes=True)
        await olga.freeze(Reason.BREACH)
        done = await olga.revoke("Ada", Reason.BREACH, reencrypt=True)
        assert (done.keys_wait, done.undone) == (KeysWait.FREEZE, (Undone.REENCRYPT,))


async def test_after_the_end_nothing_waits(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        ada = (await cast.id_of("ada")).hex()
        await olga.revoke(ada, Reason.LEFT)
        await olga.destroy(Reason.TERMS)
        again = await olga.revoke(ada, Reason.LEFT, reencrypt=True)
        assert (again.keys_wait, again.undone) == (None, ())
