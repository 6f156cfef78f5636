"""What is mistyped is named, where the names are one's own to know."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import InputError, Refused
from client.likely import likely
from client.plans import plan_upload
from client.tables import open_source
from protocol.blocks import FieldClass
from tests.company import TABLE, company

KNOWN = ("Customers", "orders", "order lines")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("custmers", "Did you mean 'Customers'? Look."),
        ("CUSTOMERS", "Did you mean 'Customers'? Look."),
        ("order", "Did you mean 'orders' or 'order lines'? Look."),
        ("invoices", "Look."),
        ("", "Look."),
    ],
)
def test_the_likeliest_names_come_first(typed: str, hint: str) -> None:
    assert likely(typed, KNOWN, "Look.") == hint


def test_nothing_is_likely_where_nothing_is_known() -> None:
    assert likely("customers", (), "Look.") == "Look."


async def test_collections_fields_and_vaults_that_are_mistyped_are_named(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        owner, bo, actor = await cast("olga"), await cast("bo"), await cast.actor("olga")
        with pytest.raises(InputError, match="no collection 'custmers'") as found:
            await owner.read("custmers")
        assert (found.value.hint or "").startswith("Did you mean 'customers'? ")
        with pytest.raises(InputError, match="no field 'phon'") as found:
            await owner.read("customers", fields=["phon"])
        assert (found.value.hint or "").startswith("Did you mean 'phone'? There are: ")
        with pytest.raises(InputError, match="no field 'ibann'") as found:
            await owner.grant("Bo", fields=["ibann"])
        assert (found.value.hint or "").startswith("Did you mean 'iban'? ")
        with pytest.raises(InputError, match="no such vault") as found:
            actor.home.vault("Project Lrak")
        assert (found.value.hint or "").startswith("Did you mean 'Project Lark'? ")
        # Nobody is told by a hint what it was not granted.
        with pytest.raises(Refused, match="no field 'phon'") as refused:
            await bo.read("customers", fields=["phon"])
        assert "phone" not in (refused.value.hint or "").replace("'phon'", "")


def test_columns_that_are_mistyped_are_named() -> None:
    source = open_source(TABLE)
    with pytest.raises(InputError, match="no column 'nmae'") as found:
        plan_upload(source, "customers", {"nmae": FieldClass.CORE}, FieldClass.CORE)
    assert found.value.hint == "Did you mean 'name'? It has: name, phone, iban."


async def test_a_name_of_a_person_is_never_recommended(tmp_path: Path) -> None:
    """Others give them: one that is like a trusted name may be there for that."""
    async with company(tmp_path) as cast:
        owner = await cast("olga")
        with pytest.raises(InputError, match="'Adaa' names nobody") as found:
            await owner.words("Adaa")
        assert "mean" not in (found.value.hint or "")
