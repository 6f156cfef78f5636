"""Granting, and changing roles, by the real client."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import InputError, Refused
from client.fields import make_rules
from client.people import rule_text
from protocol.acts import Role, Rule
from protocol.wire import to_bytes
from tests.company import ALL, CLASSES, TABLE, company, customers, members
from tests.world import of_class, of_field

GENERAL, SENSITIVE, CORE = ALL


async def test_grants_are_made_and_ended_by_class_and_by_field(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada, bo = await cast("olga"), await cast("ada"), await cast("bo")
        assert (await ada.grant("Bo", fields=["iban"])).kind == "grant"
        assert (await bo.read("customers", fields=["iban"])).num_rows == 3
        assert (await members(olga))["Bo"].grants == ("general", "field 2 in customers")
        await ada.withdraw_grant("Bo", fields=["iban"], collection="customers")
        with pytest.raises(Refused):
            await bo.read("customers", fields=["iban"])
        with pytest.raises(Refused, match="has no such grant"):
            await ada.withdraw_grant("Bo", fields=["iban"])
        await ada.grant("Bo", classes=[SENSITIVE], collection="customers")
        assert "sensitive in customers" in (await members(olga))["Bo"].grants
        await ada.withdraw_grant("Una", classes=[GENERAL])
        assert (await members(olga))["Una"].planned == ()
        una = (await cast.id_of("una")).hex()
        for vault in (bo, await cast("kim"), await cast("una"), await cast("aud")):
            with pytest.raises(Refused):
                await vault.grant(una, classes=[GENERAL])
        with pytest.raises(Refused):
            await bo.withdraw_grant(una, classes=[GENERAL])
        with pytest.raises(Refused, match="not confirmed yet"):
            await olga.grant("Una", classes=[CORE])
        with pytest.raises(Refused, match="holds no data"):
            await olga.grant("Aud", classes=[CORE])
        with pytest.raises(InputError, match="nothing named"):
            await olga.grant("Bo")


async def test_rules_are_made_of_names_that_stand_for_one_field(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        session, where = olga.session, customers(olga)
        both = await make_rules(session, [CORE, GENERAL, CORE], ["iban"], where)
        assert set(both) == {of_class(CORE, where), of_class(GENERAL, where), of_field(where, 2)}
        assert list(both) == sorted(both, key=to_bytes)
        assert await make_rules(session, [], ["phone"], None) == (of_field(where, 1),)
        with pytest.raises(InputError, match="no field 'fax'"):
            await make_rules(session, [], ["fax"], None)
        await olga.upload(TABLE, collection="more", classes=CLASSES)
        with pytest.raises(InputError, match="several collections have a field 'phone'"):
            await make_rules(session, [], ["phone"], None)
        assert await make_rules(session, [], ["phone"], where) == (of_field(where, 1),)
        assert rule_text(Rule(bytes(16), CORE, None), {}) == "core in ?"


async def test_a_role_is_changed_by_the_owner_alone(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        assert (await olga.change_role("Ada", Role.KEYLESS_ADMIN)).kind == "change-role"
        assert (await members(olga))["Ada"].grants == ()
        await ada.session.sync()
        # It sees names as before, and nothing sealed from now on.
        await olga.rotate()
        (seen,) = await ada.collections()
        assert [field.name for field in seen.fields] == ["name", "phone", "iban"]
        assert not any(field.readable for field in seen.fields)
        for member, role in (("Olga", Role.ADMIN), ("Bo", Role.OWNER)):
            with pytest.raises(Refused, match="by handover only"):
                await olga.change_role(member, role)
        with pytest.raises(Refused):
            await ada.change_role("Bo", Role.ADMIN)
        await olga.change_role("Aud", Role.ADMIN)
        assert await (await cast("aud")).members()
