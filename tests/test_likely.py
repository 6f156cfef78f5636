"""What is mistyped is named, where the names are one's own to know."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import InputError, Refused
from client.likely import likely, spelt_otherwise
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


@pytest.mark.parametrize(
    ("missing", "other", "how"),
    [
        ("phone", "phone ", "blanks around it"),
        ("phone", "Phone", "upper and lower case"),
        ("ABC", "\uff21\uff22\uff23", "the width or form of its characters"),
        ("birth date", "Birth_Date", "blanks, marks, case or width"),
        ("telephone", "telefone", "some characters"),
        ("\u624b\u673a\u53f7\u7801", "\u624b\u673a\u53f7\u7801 ", "blanks around it"),
        ("\u624b\u673a\u53f7\u7801", "\u624b\u673a\u53f7", "some characters"),
        ("--", " --", "blanks around it"),
    ],
)
def test_a_column_that_is_spelt_otherwise_is_paired_with_what_is_meant(
    missing: str, other: str, how: str
) -> None:
    assert spelt_otherwise([missing], ["orders", other]) == {missing: (other, how)}


def test_each_name_is_paired_once_and_the_surest_first() -> None:
    assert spelt_otherwise(["phone1", "phone"], ["Phone", "phones1"]) == {
        "phone": ("Phone", "upper and lower case"),
        "phone1": ("phones1", "some characters"),
    }
    assert spelt_otherwise(["name", "iban"], ["note", "x"]) == {}
    many = [f"column{n}" for n in range(60)]
    assert spelt_otherwise([*many, "a"], ["A", *(f"{each}x" for each in many)]) == {
        "a": ("A", "upper and lower case")
    }
    assert spelt_otherwise([], ["a"]) == spelt_otherwise(["a"], []) == {}


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
